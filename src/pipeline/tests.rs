//! What many pipelines do together, held to the numbers of ALGORITHMS 5, and what no single one may be talked into.
//! Each test runs several seeds and prints what it measured.

use proptest::prelude::*;

use super::testbed::{Dice, Lie, Link, Score, World, mean_rate};
use super::*;
use crate::consensus::Algorithm;
use crate::flow::StampClass;
use crate::unit::{BootId, ClockTime, Name};

struct Run {
    score: Score,
    /// Last time the worst pair was beyond 10 us.
    locked_s: f64,
    drift: f64,
    rate: f64,
}

/// A run of `seconds` of which the second half is scored.
fn run(mut world: World, seconds: f64) -> Run {
    let mut locked_s = 0.0;
    let (mut early, mut score) = (Score::default(), Score::default());
    world.run(seconds / 2.0, |w| {
        early.watch_bounds(w);
        if w.worst_pair_ns() > 10_000.0 {
            locked_s = w.t_s();
        }
    });
    let before = mean_rate(&world);
    world.run(seconds / 2.0, |w| {
        score.watch(w);
        if w.worst_pair_ns() > 10_000.0 {
            locked_s = w.t_s();
        }
    });
    score.violations += early.violations;
    score.sum_violations += early.sum_violations;
    assert!(world.honest().all(|n| n.state() == NodeState::Track), "all track after {seconds} s");
    Run { score, locked_s, drift: mean_rate(&world) - before, rate: before }
}

fn report(name: &str, seed: u64, run: &Run) {
    println!(
        "{name} seed {seed}: rms {:.1} ns, v {:.1}, worst {:.0}, 10 us after {:.2} s, rate {:.1e}, drift {:.1e}, \
         bound {:.0} ns, violations {} (sum {}), error/sigma {:.2}",
        run.score.rms_ns(),
        run.score.v_rms_ns(),
        run.score.worst_ns,
        run.locked_s,
        run.rate,
        run.drift,
        run.score.bound_ns(),
        run.score.violations,
        run.score.sum_violations,
        run.score.sigma_ratio(),
    );
}

fn mesh(name: &str, count: usize, link: Link, seconds: f64, rms_max_ns: f64, seeds: std::ops::Range<u64>) {
    let runs = (seeds.end - seeds.start) as f64;
    let mut squares = 0.0;
    for seed in seeds {
        let run = run(World::new(count, link, seed, |_, _| {}), seconds);
        report(name, seed, &run);
        squares += run.score.rms_ns().powi(2);
        assert!(run.locked_s < 2.0, "seed {seed}: beyond 10 us until {} s", run.locked_s);
        assert_eq!((run.score.violations, run.score.sum_violations), (0, 0), "seed {seed}");
        assert!(run.score.promised > 0, "seed {seed}: nothing was promised");
    }
    let rms = (squares / runs).sqrt();
    println!("{name}: rms over seeds {rms:.2} ns");
    assert!(rms <= rms_max_ns, "{name}: {rms} ns");
}

#[test]
fn ten_nodes_with_hardware_stamps_agree_to_nanoseconds() {
    mesh("hw 10", 10, Link::Hw, 80.0, 5.0, 1..4);
}

#[test]
fn ten_nodes_on_a_lan_agree_well_below_the_linear_limit() {
    mesh("lan 10", 10, Link::Lan, 120.0, 200.0, 1..4);
}

#[test]
fn three_nodes_agree() {
    mesh("hw 3", 3, Link::Hw, 120.0, 8.0, 1..4);
    mesh("lan 3", 3, Link::Lan, 120.0, 330.0, 1..4);
}
