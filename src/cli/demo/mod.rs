//! `llts demo`: real daemons on this machine with clocks thrown off, their true error while they find together, and a
//! verdict. Only looks at its nodes from outside, through their status sockets, as anybody could.

mod fleet;
mod score;
mod screen;
mod summary;
mod throw;
mod truth;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use nix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::args::DemoArgs;
use super::ask::{self, AskError};
use super::exit::{Failure, say};
use crate::report::{ClockView, Status};
use fleet::Fleet;
use score::{Phases, Score};
use screen::{Scene, Screen};
use summary::{NodeSummary, Restart, Summary};
use truth::Sample;

/// Nodes are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Their peers and counters, which only people look at, are asked for at every so many looks.
const LOOKS_BETWEEN_STATUS: u64 = 20;
/// A node that does not answer within this is left out of the look: its exact past comes with its next answer.
const LOOK_PATIENCE: Duration = Duration::from_millis(200);
/// All nodes have to answer once within this.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long a killed node stays away.
const AWAY: Duration = Duration::from_secs(1);

/// Runs the demo to its end, or until a signal.
pub(super) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    if args.kill_restart.is_some_and(|node| node == 0 || node > args.nodes) {
        return Err(Failure::Usage(format!("--kill-restart names a node from 1 to {}", args.nodes)));
    }
    // Before the first node: a signal must never find nodes that nobody will end.
    let stop = Stop::on_signals()?;
    let seed = args.seed.map_or_else(fleet::random, Ok)?;
    let throws = throw::throws(seed, args.nodes.into());
    let screen = if args.json { Screen::Dark } else { Screen::of_stdout() };
    screen.announce(&format!(
        "{} nodes on loopback for {} s, thrown off by up to 10 ms and 50 ppm (--seed {seed}); \
         true errors are against their mean\n",
        args.nodes, args.seconds
    ))?;
    let mut watch = Watch::new(Fleet::start(args, &throws)?, screen, args);
    let outcome = watch.look_until_the_end(&stop);
    outcome?;
    let (score, summary) = watch.judge(seed)?;
    // The nodes end before the verdict is told: whoever reads it finds the machine as it was.
    drop(watch);
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    } else {
        say(&format!("\n{}\n", summary.text()))?;
    }
    match score.fault() {
        None => Ok(()),
        Some(fault) => Err(anyhow!("the nodes did not agree: {fault} (again the same with --seed {seed})").into()),
    }
}

/// The signal that asks to stop, once one has come.
struct Stop(Arc<AtomicUsize>);

impl Stop {
    fn on_signals() -> Result<Self, Failure> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        Ok(Stop(signal))
    }

    fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Failure::Interrupted(signal as i32)),
        }
    }
}

/// A running demo: the nodes and what was seen of them.
struct Watch<'a> {
    args: &'a DemoArgs,
    fleet: Fleet,
    screen: Screen,
    started: Instant,
    started_raw_ns: i64,
    looks: u64,
    views: Vec<Option<ClockView>>,
    statuses: Vec<Option<Status>>,
    samples: Vec<Sample>,
    all_answered: bool,
    restart: Option<RestartPlan>,
}

/// The kill and the return of one node.
struct RestartPlan {
    node: usize,
    kill_at: Duration,
    killed_raw_ns: Option<i64>,
    /// How many samples had been taken by then.
    samples_before: usize,
    restarted_raw_ns: Option<i64>,
    /// What it counted before it was killed.
    exchanges_before: u64,
}

impl<'a> Watch<'a> {
    fn new(fleet: Fleet, screen: Screen, args: &'a DemoArgs) -> Self {
        let nodes = fleet.nodes().len();
        let plan = |node: u16| RestartPlan {
            node: usize::from(node) - 1,
            kill_at: Duration::from_secs(args.seconds.into()) / 4,
            killed_raw_ns: None,
            samples_before: usize::MAX,
            restarted_raw_ns: None,
            exchanges_before: 0,
        };
        Watch {
            args,
            fleet,
            screen,
            started: Instant::now(),
            started_raw_ns: raw_now_ns(),
            looks: 0,
            views: vec![None; nodes],
            statuses: vec![None; nodes],
            samples: Vec::new(),
            all_answered: false,
            restart: args.kill_restart.map(plan),
        }
    }

    fn look_until_the_end(&mut self, stop: &Stop) -> Result<(), Failure> {
        let total = Duration::from_secs(self.args.seconds.into());
        let mut next = self.started;
        while self.started.elapsed() < total {
            stop.check()?;
            self.fleet.check()?;
            self.follow_restart_plan()?;
            self.look()?;
            self.show()?;
            next += LOOK_INTERVAL;
            // A look that took too long is not made up for.
            next = next.max(Instant::now());
            thread::sleep(next - Instant::now().min(next));
        }
        stop.check()
    }

    fn look(&mut self) -> Result<(), Failure> {
        let ask_status = self.looks.is_multiple_of(LOOKS_BETWEEN_STATUS);
        self.looks += 1;
        for (index, node) in self.fleet.nodes().iter().enumerate() {
            self.views[index] = None;
            if !node.is_up() {
                self.statuses[index] = None;
                continue;
            }
            match ask::clock(&node.socket, LOOK_PATIENCE) {
                Ok(view) => self.views[index] = Some(view),
                // Starting, or too busy for one look. One that stays away is noticed below, a dead one by its process.
                Err(AskError::Nobody { .. } | AskError::Silent { .. }) => continue,
                Err(error @ AskError::Unclear { .. }) => return Err(error.into()),
            }
            if ask_status && let Ok((_, status)) = ask::status(&node.socket, LOOK_PATIENCE) {
                self.statuses[index] = Some(status);
            }
        }
        if let Some(sample) = Sample::of(&self.views) {
            self.all_answered |= sample.is_complete();
            self.samples.push(sample);
        }
        if !self.all_answered && self.started.elapsed() > START_PATIENCE {
            let missing = self.fleet.nodes().iter().zip(&self.views).find(|(_, view)| view.is_none());
            let name = missing.map_or("one of the nodes", |(node, _)| node.name.as_str());
            return Err(anyhow!("{name} has not answered within {} s of its start", START_PATIENCE.as_secs()).into());
        }
        Ok(())
    }

    fn show(&mut self) -> Result<(), Failure> {
        let used = |status: &Status| status.peers.iter().filter(|peer| peer.state == "used").count();
        let peers: Vec<_> = self.statuses.iter().map(|status| status.as_ref().map(used)).collect();
        self.screen.show(&Scene {
            at_ms: self.started.elapsed().as_millis(),
            nodes: self.fleet.nodes(),
            views: &self.views,
            peers: &peers,
            sample: self.samples.last(),
        })
    }

    fn follow_restart_plan(&mut self) -> Result<(), Failure> {
        let Some(plan) = &mut self.restart else { return Ok(()) };
        let elapsed = self.started.elapsed();
        if plan.killed_raw_ns.is_none() && elapsed >= plan.kill_at {
            plan.exchanges_before = self.statuses[plan.node].as_ref().map_or(0, exchanges);
            self.fleet.node_mut(plan.node).kill()?;
            plan.killed_raw_ns = Some(raw_now_ns());
            plan.samples_before = self.samples.len();
        } else if plan.restarted_raw_ns.is_none() && elapsed >= plan.kill_at + AWAY {
            self.fleet.node_mut(plan.node).start()?;
            plan.restarted_raw_ns = Some(raw_now_ns());
        }
        Ok(())
    }

    fn judge(&mut self, seed: u64) -> Result<(Score, Summary), Failure> {
        for (index, node) in self.fleet.nodes().iter().enumerate() {
            self.statuses[index] = Some(ask::status(&node.socket, START_PATIENCE)?.1);
        }
        let half_ns = i64::from(self.args.seconds) * 1_000_000_000 / 2;
        let phases = Phases {
            started_ns: self.started_raw_ns,
            undisturbed: self.restart.as_ref().map_or(usize::MAX, |plan| plan.samples_before),
            half_ns: self.started_raw_ns + half_ns,
        };
        let score = Score::of(&self.samples, &phases)
            .ok_or_else(|| anyhow!("the nodes could not be watched: this machine was too busy in the last half"))?;
        let before = self.restart.as_ref().map_or(0, |plan| plan.exchanges_before);
        let summary = Summary {
            exchanges: before + self.statuses.iter().flatten().map(exchanges).sum::<u64>(),
            seed,
            seconds: self.args.seconds,
            algorithm: self.args.algorithm.as_str().to_owned(),
            restart: self.restart.as_ref().and_then(|plan| self.judge_restart(plan, &phases)),
            nodes: self.node_summaries(&score),
            ..Summary::of(&score)
        };
        Ok((score, summary))
    }

    fn node_summaries(&self, score: &Score) -> Vec<NodeSummary> {
        let nodes = self.fleet.nodes().iter().zip(&self.statuses).zip(&score.true_error_rms_ns);
        nodes
            .map(|((node, status), true_error_rms_ns)| NodeSummary {
                name: node.name.clone(),
                initial_offset_ns: node.throw.offset_ns,
                initial_drift_ppb: node.throw.drift_ppb,
                true_error_rms_ns: *true_error_rms_ns,
                sigma_ns: status.as_ref().and_then(|status| status.sigma_ns),
                bound_ns: status.as_ref().and_then(|status| status.bound_ns),
            })
            .collect()
    }

    fn judge_restart(&self, plan: &RestartPlan, phases: &Phases) -> Option<Restart> {
        let (killed_ns, restarted_ns) = (plan.killed_raw_ns?, plan.restarted_raw_ns?);
        let between = |sample: &&Sample| (killed_ns..phases.half_ns).contains(&sample.raw_ns);
        let others_ns = self.samples.iter().filter(between).map(|sample| sample.without(plan.node).worst_ns());
        let after = Phases { started_ns: restarted_ns, undisturbed: usize::MAX, ..*phases };
        let seconds = |raw_ns: i64| (raw_ns - phases.started_ns) as f64 * 1e-9;
        Some(Restart {
            node: self.fleet.nodes()[plan.node].name.clone(),
            killed_s: seconds(killed_ns),
            restarted_s: seconds(restarted_ns),
            others_max_ns: others_ns.fold(0.0, f64::max),
            returned_10us_s: score::converged_s(&self.samples, &after, score::AGREED_NS),
        })
    }
}

fn exchanges(status: &Status) -> u64 {
    status.counters.get("exchanges").copied().unwrap_or(0)
}

/// The clock by which all nodes' documents are dated.
fn raw_now_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_RAW).expect("Linux has had this clock since 2.6.28");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
