//! An adversary that searches: it holds valid keys, chooses what to say, how far to go and through which part of the
//! protocol, and keeps what hurts most. What it found is printed; a bound holds it.
//!
//! What it tries first is a matter of the *fused* estimate's sigma, which is far below that of one edge: a lie of
//! many sigma is seen through, one of a tenth moves nobody. The ratios are to the same runs without a lie, seed by
//! seed. What looks worst is tried again on seeds that the search has not seen: the worst of many noisy numbers is
//! too bad.
//!
//! The test command searches little, on one core in less than a minute. All of it, on as many seeds as one likes:
//!
//!     LLTS_ADVERSARY_SEED=5 cargo test --test adversary -- --ignored --nocapture

use std::ops::Range;

use llts::pipeline::Algorithm;
use llts::sim::run::{Report, run, seed_of};
use llts::sim::scenario::Scenario;
use rayon::prelude::*;

/// The seed from which those of the runs are drawn, unless the environment names another.
const SEED: u64 = 77;
/// A drag by rates goes this long before it has moved as far as one by phases does at once, s.
const SLOW_DRAG_S: f64 = 20.0;

/// One way of lying, as a scenario writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Attack {
    kind: &'static str,
    via: &'static str,
    /// In sigma of the fused estimate.
    sigmas: f64,
}

impl Attack {
    const fn new(kind: &'static str, via: &'static str) -> Self {
        Attack { kind, via, sigmas: 1.0 }
    }

    fn by(self, sigmas: f64) -> Self {
        Attack { sigmas, ..self }
    }

    /// Echoing somebody's own time has no size.
    fn has_size(&self) -> bool {
        self.kind != "echo"
    }

    fn toml(&self, liars: Range<usize>, sigma_ns: f64, from_s: u32) -> String {
        let size = match self.kind {
            "echo" => String::new(),
            "slow-drag" => format!(", rate = '{:.5}ppb'", self.sigmas * sigma_ns / SLOW_DRAG_S),
            _ => format!(", amplitude = '{:.2}ns'", self.sigmas * sigma_ns),
        };
        let nodes: Vec<usize> = liars.collect();
        format!(
            "[[liar]]\nnodes = {nodes:?}\nattack = {{ kind = '{}'{size} }}\nvia = '{}'\nfrom = '{from_s}s'\n",
            self.kind, self.via,
        )
    }

    fn told(&self, sigma_ns: f64) -> String {
        match self.kind {
            "echo" => format!("echo by {}", self.via),
            kind => format!("{kind} by {}, {:.2} sigma = {:.1} ns", self.via, self.sigmas, self.sigmas * sigma_ns),
        }
    }
}

const EDGE: Attack = Attack::new("edge", "claim");
const EDGE_STAMPS: Attack = Attack::new("edge", "stamps");
const TWO_FACED: Attack = Attack::new("two-faced", "claim");
const SMART_DRAG: Attack = Attack::new("smart-drag", "claim");
const SMART_DRAG_STAMPS: Attack = Attack::new("smart-drag", "stamps");
const SLOW_DRAG: Attack = Attack::new("slow-drag", "claim");
const ECHO: Attack = Attack::new("echo", "claim");
const ECHO_STAMPS: Attack = Attack::new("echo", "stamps");
const ALL: [Attack; 8] = [EDGE, EDGE_STAMPS, TWO_FACED, SMART_DRAG, SMART_DRAG_STAMPS, SLOW_DRAG, ECHO, ECHO_STAMPS];

/// A kind of link.
#[derive(Clone, Copy, Debug)]
struct Links {
    name: &'static str,
    toml: &'static str,
}

const CARDS: Links = Links { name: "cards", toml: "delay = '5us'\njitter = 'normal 30ns'\n" };
const LAN: Links = Links { name: "LAN", toml: "delay = '20us'\njitter = 'exp 10us + normal 100ns'\n" };

/// The world in which the adversary searches, and how much of it lies.
#[derive(Clone, Copy)]
struct World {
    links: Links,
    nodes: usize,
    liars: usize,
    rate_hz: f64,
    duration_s: u32,
    lies_from_s: u32,
    measured_from_s: u32,
}

impl World {
    const fn new(links: Links, nodes: usize) -> Self {
        let liars = (nodes - 1) / 3;
        World { links, nodes, liars, rate_hz: 8.0, duration_s: 140, lies_from_s: 20, measured_from_s: 75 }
    }

    /// The same for half an hour: what a drag does to the mean of all is seen late.
    const fn long(links: Links, nodes: usize) -> Self {
        let world = World::new(links, nodes);
        World { rate_hz: 4.0, duration_s: 1_500, lies_from_s: 200, measured_from_s: 300, ..world }
    }

    fn run(&self, attack: Option<(Attack, f64)>, seed: u64) -> Report {
        let World { nodes, liars, rate_hz, duration_s, measured_from_s, .. } = *self;
        let lie = attack.map(|(attack, sigma_ns)| attack.toml(nodes - liars..nodes, sigma_ns, self.lies_from_s));
        let (links, lie) = (self.links.toml, lie.unwrap_or_default());
        let text = format!(
            "summary = 'searched'\nduration = '{duration_s}s'\n[cluster]\nnodes = {nodes}\nfaults = {liars}\n\
             rate = {rate_hz:.1}\n[link]\n{links}loss = 0.01\n[measure]\nfrom = '{measured_from_s}s'\n\
             drift_from = '30s'\nsample_hz = 4\n{lie}"
        );
        let scenario = Scenario::parse("searched", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let report = run(&scenario, Algorithm::default(), seed, &|| {}, None);
        assert_eq!(report.bound_violations, 0, "a published bound was broken, seed {seed}:\n{text}");
        report
    }

    /// Every attack on every seed; of each attack its runs.
    fn runs(&self, attacks: &[(Attack, f64)], seeds: &[u64]) -> Vec<Vec<Report>> {
        let each = |attack: &(Attack, f64)| seeds.par_iter().map(|seed| self.run(Some(*attack), *seed)).collect();
        attacks.par_iter().map(each).collect()
    }

    fn peace(&self, seeds: &[u64]) -> Vec<Report> {
        seeds.par_iter().map(|seed| self.run(None, *seed)).collect()
    }
}

fn rms_ns(reports: &[Report]) -> f64 {
    let squares = reports.iter().map(|r| r.pairwise_rms_ns.expect("honest nodes are measured").powi(2));
    (squares.sum::<f64>() / reports.len() as f64).sqrt()
}

/// How hard it is searched.
struct Effort {
    attacks: &'static [Attack],
    /// Sizes to begin with, in sigma of the fused estimate.
    sigmas: &'static [f64],
    /// Factors by which the two worst are then made larger and smaller, one after the other.
    strides: &'static [f64],
    seeds: u32,
    /// So many of the worst are tried again, on as many other seeds.
    again: usize,
    seeds_again: u32,
}

const LITTLE: Effort =
    Effort { attacks: &ALL, sigmas: &[1.0, 2.5], strides: &[1.6], seeds: 2, again: 2, seeds_again: 4 };
/// Of ten nodes a run takes eight times as long.
const LEAST: Effort = Effort {
    attacks: &[EDGE, EDGE_STAMPS, TWO_FACED, SMART_DRAG, SLOW_DRAG, ECHO],
    sigmas: &[2.0],
    strides: &[1.5],
    seeds: 1,
    again: 1,
    seeds_again: 3,
};
const MUCH: Effort = Effort {
    attacks: &ALL,
    sigmas: &[0.35, 0.7, 1.4, 2.8, 5.6, 11.2],
    strides: &[1.4, 1.2],
    seeds: 3,
    again: 4,
    seeds_again: 8,
};

fn first_seed() -> u64 {
    let named = std::env::var("LLTS_ADVERSARY_SEED").ok();
    named.map_or(SEED, |seed| seed.parse().expect("LLTS_ADVERSARY_SEED is a number"))
}

fn seeds(from: u32, count: u32) -> Vec<u64> {
    (from..from + count).map(|n| seed_of(first_seed(), n)).collect()
}

/// Tries every way of lying at sizes spread over the range, climbs from the worst few, tries the worst of all
/// again, and returns the worst of these and what it did, as a multiple of what happens without it.
fn worst_lie(world: &World, effort: &Effort) -> (String, f64) {
    let searched = seeds(0, effort.seeds);
    let calm_ns = rms_ns(&world.peace(&searched));
    // Two clocks are as far apart as two of their estimates are wrong.
    let sigma_ns = calm_ns / std::f64::consts::SQRT_2;
    let mut tried: Vec<(f64, Attack)> = Vec::new();
    let attempt = |tried: &mut Vec<(f64, Attack)>, attacks: Vec<Attack>| {
        let sized: Vec<(Attack, f64)> = attacks.iter().map(|attack| (*attack, sigma_ns)).collect();
        let harm = world.runs(&sized, &searched);
        tried.extend(harm.iter().map(|reports| rms_ns(reports) / calm_ns).zip(attacks));
        tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    };
    let (sized, plain): (Vec<Attack>, Vec<Attack>) = effort.attacks.iter().partition(|attack| attack.has_size());
    let spread = sized.iter().flat_map(|attack| effort.sigmas.iter().map(|sigmas| attack.by(*sigmas)));
    attempt(&mut tried, spread.chain(plain).collect());
    for stride in effort.strides {
        let worst = tried.iter().map(|(_, attack)| *attack).filter(Attack::has_size).take(2);
        let further = worst.flat_map(|attack| [attack.by(attack.sigmas * stride), attack.by(attack.sigmas / stride)]);
        let new = further.filter(|attack| tried.iter().all(|(_, known)| known != attack)).collect();
        attempt(&mut tried, new);
    }
    let here = format!("{}, {} of {}", world.links.name, world.liars, world.nodes);
    println!("{here}: {calm_ns:.2} ns without lies; the worst of {} attacks:", tried.len());
    for (ratio, attack) in tried.iter().take(6) {
        println!("    {ratio:.2}x by {}", attack.told(sigma_ns));
    }
    let fresh = seeds(100, effort.seeds_again);
    let calm_ns = rms_ns(&world.peace(&fresh));
    let again: Vec<(Attack, f64)> = tried.iter().take(effort.again).map(|(_, attack)| (*attack, sigma_ns)).collect();
    let harm = world.runs(&again, &fresh);
    let mut found: Vec<(f64, Attack)> =
        harm.iter().zip(&again).map(|(reports, (attack, _))| (rms_ns(reports) / calm_ns, *attack)).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (ratio, attack) in &found {
        println!("    again on {} other seeds: {ratio:.2}x by {}", fresh.len(), attack.told(sigma_ns));
    }
    (found[0].1.told(sigma_ns), found[0].0)
}

/// Tries both drags at sizes spread over the range; returns the one that pulled the mean clock's rate most, and by
/// how much, ppb. Oscillators wander by tens of ppb in such a time, and the mean of all with them, whoever lies:
/// what a drag does is half of what it changes by pulling the other way, all else being equal.
fn worst_drag(world: &World, drags: &[Attack], sigmas: &[f64], seeds: &[u64]) -> (String, f64) {
    let peace = world.peace(seeds);
    let sigma_ns = rms_ns(&peace) / std::f64::consts::SQRT_2;
    let drift_ppb = |report: &Report| report.ensemble_drift_ppb.expect("the run is long enough");
    let pulls: Vec<Attack> =
        drags.iter().flat_map(|attack| sigmas.iter().map(move |sigmas| attack.by(*sigmas))).collect();
    let both: Vec<(Attack, f64)> =
        pulls.iter().flat_map(|pull| [(*pull, sigma_ns), (pull.by(-pull.sigmas), sigma_ns)]).collect();
    let harm = world.runs(&both, seeds);
    let pulled_ppb = |ways: &[Vec<Report>]| {
        let each = ways[0].iter().zip(&ways[1]).map(|(one, other)| (drift_ppb(one) - drift_ppb(other)).abs() / 2.0);
        each.fold(0.0, f64::max)
    };
    let mut tried: Vec<(f64, Attack)> = harm.chunks(2).map(pulled_ppb).zip(pulls).collect();
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{}, {} of {}: the worst of {} drags:", world.links.name, world.liars, world.nodes, tried.len());
    for (pulled, attack) in tried.iter().take(4) {
        println!("    pulled by {pulled:.1} ppb by {}", attack.told(sigma_ns));
    }
    (tried[0].1.told(sigma_ns), tried[0].0)
}

fn assert_harm(world: &World, effort: &Effort, most: f64) {
    let (attack, ratio) = worst_lie(world, effort);
    assert!(ratio <= most, "{ratio:.2}x by {attack}, above {most}x");
    assert!(ratio > 1.05, "a search that finds nothing has not searched: {ratio:.2}x by {attack}");
}

/// Most that the searches may find, as multiples of peace. Aimed at: 1.4 for every attack, 1.8 for the worst size.
/// Found by searches from five seeds, the worst of them here: cards 1.30 and 1.59, LAN 1.45 and 1.95, of four and of
/// ten. What is above 1.4 comes of lies in the stamps, which tell both halves of the honest that they are right and a
/// little more (docs/measurements/2026-11-27-adversary.md).
const FOUR_CARDS: f64 = 1.4;
const FOUR_OF_A_LAN: f64 = 1.6;
const TEN_CARDS: f64 = 1.75;
const TEN_OF_A_LAN: f64 = 2.1;
/// Most that a drag may pull the mean of all, ppb.
const PULL_PPB: f64 = 20.0;

#[test]
fn the_worst_lie_that_a_search_finds_among_four_cards_is_held() {
    assert_harm(&World::new(CARDS, 4), &LITTLE, FOUR_CARDS);
}

#[test]
fn the_worst_lie_that_a_search_finds_among_four_of_a_lan_is_held() {
    assert_harm(&World::new(LAN, 4), &LITTLE, FOUR_OF_A_LAN);
}

#[test]
fn the_worst_lie_that_a_search_finds_for_three_of_ten_cards_is_held() {
    assert_harm(&World::new(CARDS, 10), &LEAST, TEN_CARDS);
}

#[test]
fn the_worst_lie_that_a_search_finds_for_three_of_ten_of_a_lan_is_held() {
    assert_harm(&World::new(LAN, 10), &LEAST, TEN_OF_A_LAN);
}

#[test]
fn the_worst_drag_that_a_search_finds_moves_four_nodes_by_less_than_20_ppb() {
    for links in [CARDS, LAN] {
        let world = World { duration_s: 900, ..World::long(links, 4) };
        let (attack, pulled_ppb) = worst_drag(&world, &[SMART_DRAG, SLOW_DRAG], &[1.0], &seeds(0, 1));
        assert!(pulled_ppb < PULL_PPB, "{pulled_ppb:.1} ppb by {attack}");
    }
}

#[test]
#[ignore = "an hour of one core; the top of the file says how"]
fn the_worst_lie_that_a_full_search_finds_is_held() {
    let worlds = [(CARDS, 4, FOUR_CARDS), (LAN, 4, FOUR_OF_A_LAN), (CARDS, 10, TEN_CARDS), (LAN, 10, TEN_OF_A_LAN)];
    for (links, nodes, most) in worlds {
        assert_harm(&World::new(links, nodes), &MUCH, most);
    }
}

#[test]
#[ignore = "ten minutes of one core; the top of the file says how"]
fn the_worst_drag_that_a_full_search_finds_pulls_nobody_by_20_ppb() {
    for (links, nodes) in [(CARDS, 4), (LAN, 4), (CARDS, 10), (LAN, 10)] {
        let drags = [SMART_DRAG, SMART_DRAG_STAMPS, SLOW_DRAG];
        let (attack, pulled_ppb) = worst_drag(&World::long(links, nodes), &drags, &[0.5, 1.0, 2.0, 4.0], &seeds(0, 2));
        assert!(pulled_ppb < PULL_PPB, "{pulled_ppb:.1} ppb by {attack}");
    }
}
