//! A recording of a real node's exchanges, fed through a pipeline as if they came now: the same exchanges at the same
//! raw times, under whatever algorithm is asked for. A third way to run the core, beside the daemon and the simulated
//! cluster; it reads no file and knows no truth.
//!
//! A recording holds what was measured, not what was done with it. So the delivered clock is a simulated one that
//! obeys, and it starts where the first peer heard says that time is; ticks come [`TICK_NS`] apart from the first
//! exchange on; the node is an equal peer. What the *peers* did is recorded, and they reacted to the node as it was
//! then: a replay shows what another algorithm would have made of the same measurements, not what the cluster would
//! have become.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::world::SECOND_NS;
use crate::flow::{Exchange, Mapping, NodeState, PeerIdentity, Reading};
use crate::limits::{PEERS_MAX, TICK_NS};
use crate::pipeline::{Algorithm, Config, Outcome, Pipeline, Snapshot, Taken};
use crate::unit::{BootId, ClockTime, Name, NodeId, RawTime};

/// Two exchanges of one run further apart than this are not of one run, ns: a day.
const PAUSE_NS_MAX: i64 = 86_400 * SECOND_NS;

/// What the pipeline made of one peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerMoment {
    /// Its node id, in hex.
    pub peer: String,
    /// What is made of it, in one word.
    pub standing: String,
    /// The delivered clock minus the peer's cluster time, ns: positive = the local clock is ahead.
    pub offset_ns: Option<f64>,
    /// How much faster the peer's raw clock runs than the own, ppb.
    pub rate_ppb: Option<f64>,
    /// One standard deviation of the offset, ns.
    pub sigma_ns: Option<f64>,
    /// The peer's clock is no further away than this, ns.
    pub bound_ns: Option<f64>,
    /// The shortest round trip seen lately, ns.
    pub delay_ns: Option<f64>,
    /// Exchanges behind the estimate.
    pub samples: u32,
}

/// The node at the end of one second, and what was decided in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// Seconds since the first exchange.
    pub t_s: u64,
    /// How far it has come.
    pub state: String,
    /// The delivered clock minus cluster time, ns.
    pub offset_ns: Option<f64>,
    /// Rate of cluster time against the raw oscillator, ppb.
    pub frequency_ppb: Option<f64>,
    /// One standard deviation of the delivered clock, ns.
    pub sigma_ns: Option<f64>,
    /// The published bound, ns; null while nothing can be promised.
    pub bound_ns: Option<f64>,
    /// By how much the decisions of this second moved cluster time, ns.
    pub moved_ns: f64,
    /// By how much they changed its rate, ppb.
    pub rate_moved_ppb: f64,
    /// Peers whose word counted in the last of them.
    pub used: u16,
    /// Liars that it tolerated.
    pub faults: u16,
    /// Peers that it left out as outliers.
    pub rejected: u32,
    /// The peers, by their place in the table.
    pub peers: Vec<PeerMoment>,
}

/// One peer over the whole recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PeerTotal {
    /// Exchanges with it.
    pub exchanges: u64,
    /// What its filter made of them, in words of docs/SIMULATION.md.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// RMS over the ticks in track of the delivered clock minus its cluster time, ns.
    pub offset_rms_ns: Option<f64>,
    /// What it was at the end.
    pub last: Option<PeerMoment>,
    #[serde(skip)]
    squares: (f64, f64),
}

/// The whole recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The node that recorded, in hex.
    pub node: String,
    /// The algorithm that was asked.
    pub algorithm: String,
    /// Exchanges fed in.
    pub exchanges: u64,
    /// From the first to the last, s.
    pub seconds: f64,
    /// The state at the end.
    pub state: String,
    /// When it first agreed with its peers, s; null if never.
    pub tracked_s: Option<f64>,
    /// Mean published sigma while it did, ns.
    pub sigma_ns: Option<f64>,
    /// Mean published bound while it did, ns.
    pub bound_ns: Option<f64>,
    /// The peers by their node ids in hex.
    pub peers: BTreeMap<String, PeerTotal>,
}

/// A recording being fed through a pipeline.
pub struct Replay {
    node: NodeId,
    algorithm: Algorithm,
    run: Option<Run>,
    exchanges: u64,
    totals: BTreeMap<String, PeerTotal>,
}

/// From the first exchange on.
struct Run {
    pipeline: Pipeline,
    snapshot: Snapshot,
    clock: Mapping,
    seats: [Option<(NodeId, BootId)>; PEERS_MAX],
    began: RawTime,
    last: RawTime,
    due: RawTime,
    told_s: u64,
    moved: (f64, f64),
    rejected: u32,
    tracked: Option<RawTime>,
    sigmas: (f64, f64),
    bounds: (f64, f64),
}

impl Replay {
    /// A replay of what `node` recorded.
    #[must_use]
    pub fn new(node: NodeId, algorithm: Algorithm) -> Self {
        Replay { node, algorithm, run: None, exchanges: 0, totals: BTreeMap::new() }
    }

    /// Takes the next exchange; `tell` is told of every second that has passed before it.
    ///
    /// # Errors
    /// In a sentence, if it cannot be the next of this recording. Nothing has changed then.
    pub fn take(&mut self, exchange: &Exchange, tell: &mut dyn FnMut(Moment)) -> Result<(), String> {
        let number = self.exchanges + 1;
        let slot = exchange.peer.index();
        if slot >= PEERS_MAX {
            return Err(format!("record {number} is of peer {slot}, and no table has more than {PEERS_MAX}"));
        }
        let at = exchange.local_received;
        let run = match &mut self.run {
            Some(run) if at.since(run.last) > PAUSE_NS_MAX => {
                return Err(format!("record {number} is more than a day after the one before: not of one run"));
            }
            Some(run) => run,
            None => self.run.insert(Run::new(self.node, self.algorithm, exchange)),
        };
        if at.since(run.last) > 0 {
            run.last = at;
        }
        while run.due.since(at) <= 0 {
            run.tick(&mut self.totals, tell);
        }
        let seat = (exchange.node, exchange.boot);
        if run.seats[slot] != Some(seat) {
            run.seats[slot] = Some(seat);
            run.pipeline.arrived(&PeerIdentity {
                slot: exchange.peer,
                node: exchange.node,
                boot: exchange.boot,
                name: Name::new(&hex(exchange.node)),
                address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            });
        }
        self.exchanges = number;
        let total = self.totals.entry(hex(exchange.node)).or_default();
        total.exchanges += 1;
        *total.outcomes.entry(word(run.pipeline.on_exchange(exchange))).or_default() += 1;
        Ok(())
    }

    /// Ends the replay with the second that the last exchange belongs to.
    pub fn finish(mut self, tell: &mut dyn FnMut(Moment)) -> Summary {
        let mut seconds = 0.0;
        if let Some(run) = &mut self.run {
            seconds = run.last.since(run.began) as f64 * 1e-9;
            let told = run.told_s;
            while run.told_s == told {
                run.tick(&mut self.totals, tell);
            }
        }
        for total in self.totals.values_mut() {
            let (squares, count) = total.squares;
            total.offset_rms_ns = finite((squares / count).sqrt());
        }
        let run = self.run.as_ref();
        Summary {
            node: hex(self.node),
            algorithm: self.algorithm.as_str().to_owned(),
            exchanges: self.exchanges,
            seconds,
            state: run.map_or(NodeState::Unset, |r| r.snapshot.node.state).as_str().to_owned(),
            tracked_s: run.and_then(|r| r.tracked.map(|at| at.since(r.began) as f64 * 1e-9)),
            sigma_ns: run.and_then(|r| finite(r.sigmas.0 / r.sigmas.1)),
            bound_ns: run.and_then(|r| finite(r.bounds.0 / r.bounds.1)),
            peers: self.totals,
        }
    }
}

impl Run {
    fn new(node: NodeId, algorithm: Algorithm, first: &Exchange) -> Self {
        let at = first.local_received;
        // Late by the packet's way here: nothing that agreement would notice.
        let clock = Mapping::through(at, first.claim.mapping.virtual_at(first.remote_sent), 0.0);
        let config = Config { algorithm, ..Config::new(node) };
        let pipeline = Pipeline::new(&config, clock, at);
        Run {
            snapshot: Snapshot::empty(pipeline.node_view()),
            pipeline,
            clock,
            seats: [None; PEERS_MAX],
            began: at,
            last: at,
            due: at.plus(TICK_NS),
            told_s: 0,
            moved: (0.0, 0.0),
            rejected: 0,
            tracked: None,
            sigmas: (0.0, 0.0),
            bounds: (0.0, 0.0),
        }
    }

    fn tick(&mut self, totals: &mut BTreeMap<String, PeerTotal>, tell: &mut dyn FnMut(Moment)) {
        let now = self.due;
        self.due = now.plus(TICK_NS);
        self.clock = self.clock.rebased(now);
        let reading = Reading { raw: now, clock: ClockTime::from_nanos(self.clock.virtual_at(now).nanos()) };
        let tick = self.pipeline.tick(reading);
        if let Some(correction) = tick.correction {
            self.clock = Mapping { rate: correction.rate, ..self.clock.moved(correction.step_ns as f64, 0.0) };
        }
        self.moved.0 += tick.verdict.phase_ns;
        self.moved.1 += tick.verdict.rate;
        self.rejected = tick.verdict.rejected.count_ones();
        self.pipeline.snapshot(&mut self.snapshot);
        if self.snapshot.node.state == NodeState::Track {
            self.tracked.get_or_insert(now);
            add(&mut self.sigmas, self.snapshot.node.sigma_ns);
            add(&mut self.bounds, self.snapshot.node.bound_ns);
            for peer in self.snapshot.peers() {
                if let Some(total) = totals.get_mut(&hex(peer.identity.node)) {
                    add(&mut total.squares, peer.offset_ns * peer.offset_ns);
                }
            }
        }
        let second = (now.since(self.began) / SECOND_NS) as u64;
        if second > self.told_s {
            self.told_s = second;
            let moment = self.moment();
            for peer in &moment.peers {
                if let Some(total) = totals.get_mut(&peer.peer) {
                    total.last = Some(peer.clone());
                }
            }
            tell(moment);
            self.moved = (0.0, 0.0);
        }
    }

    fn moment(&self) -> Moment {
        let node = &self.snapshot.node;
        let peers = self.snapshot.peers().map(|peer| PeerMoment {
            peer: hex(peer.identity.node),
            standing: peer.standing.as_str().to_owned(),
            offset_ns: finite(peer.offset_ns),
            rate_ppb: finite(peer.rate * 1e9),
            sigma_ns: finite(peer.sigma_ns),
            bound_ns: finite(peer.bound_ns),
            delay_ns: finite(peer.delay_ns),
            samples: peer.samples,
        });
        Moment {
            t_s: self.told_s,
            state: node.state.as_str().to_owned(),
            offset_ns: finite(node.offset_ns),
            frequency_ppb: finite(node.frequency * 1e9),
            sigma_ns: finite(node.sigma_ns),
            bound_ns: finite(node.bound_ns),
            moved_ns: self.moved.0,
            rate_moved_ppb: self.moved.1 * 1e9,
            used: node.used,
            faults: node.faults,
            rejected: self.rejected,
            peers: peers.collect(),
        }
    }
}

/// A mean in the making takes one more number, unless it is none.
fn add(mean: &mut (f64, f64), number: f64) {
    if number.is_finite() {
        *mean = (mean.0 + number, mean.1 + 1.0);
    }
}

fn finite(number: f64) -> Option<f64> {
    Some(number).filter(|n| n.is_finite())
}

fn hex(node: NodeId) -> String {
    format!("{:016x}", node.0)
}

fn word(taken: Taken) -> &'static str {
    match taken {
        Taken::Stray => "stray",
        Taken::Filtered(Outcome::Taken) => "taken",
        Taken::Filtered(Outcome::Clipped) => "clipped",
        Taken::Filtered(Outcome::Restarted) => "restarted",
        Taken::Filtered(Outcome::RouteChanged) => "route_changed",
        Taken::Filtered(Outcome::Late) => "late",
        Taken::Filtered(Outcome::WeakerStamp) => "weaker_stamp",
        Taken::Filtered(Outcome::Impossible) => "impossible",
    }
}

#[cfg(test)]
mod tests;
