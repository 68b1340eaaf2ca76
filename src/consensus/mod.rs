//! From what the peers say to how this node's mapping should move: the seam behind which whole algorithms sit. An
//! algorithm sees its peers' V against its own V, already mapped, and returns one move. It knows no stamps, no filters,
//! no roles and no states: who may speak at all has been decided before it is asked.

mod average;
mod hybrid;
mod lynch_welch;
mod marzullo;
mod median;
mod rce;
mod registry;
mod regression;
mod round;
mod saturn;
mod tree;
mod trimmed_mean;

#[cfg(test)]
mod tests;

use crate::flow::{Span, Verdict};
use crate::unit::{NodeId, PeerSlot};

pub use average::Average;
pub use hybrid::{Fused, GATES_RCE, Gates, Hybrid, Input};
pub use lynch_welch::LynchWelch;
pub use marzullo::Marzullo;
pub use median::Median;
pub use rce::Rce;
pub use registry::{ALGORITHMS, Algorithm, EdgeModel, Entry, UnknownAlgorithm};
pub use regression::Regression;
pub use saturn::Saturn;
pub use tree::Tree;
pub use trimmed_mean::TrimmedMean;

/// One peer, as the consensus hears it. All signs are peer minus self.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voice {
    /// Where this node keeps the peer: the key of an algorithm's memory of it.
    pub slot: PeerSlot,
    /// Who it is: the same word at every node, where slots are not.
    pub node: NodeId,
    /// It says that it agrees with its peers.
    pub tracks: bool,
    /// The peer's V minus own V now, ns.
    pub z_ns: f64,
    /// What lasts of that, ns: both V's moves followed at once, the edge averaged for longer than its filter does.
    pub steady_ns: f64,
    /// What the round trips alone allow for it, ns: the peer's V minus own V lies within, whatever the delays were.
    pub hard: Span,
    /// How much faster the peer's V runs than own V (seconds per second).
    pub g: f64,
    /// The same if the peer's V still ran at the rate it had before it agreed with anybody; `None` if that was not
    /// heard.
    pub start_g: Option<f64>,
    /// How long it has been heard without a silence, seconds.
    pub present_s: f64,
    /// Variance of one filtered edge, ns².
    pub edge_var: f64,
    /// The same for the rate.
    pub edge_rate_var: f64,
    /// Variance of one exchange with this peer, ns².
    pub noise_var: f64,
    /// How far the peer's V, moves of phase included, has left its raw clock's rate since both agreed (seconds per
    /// second), once that is known.
    pub drift: Option<f64>,
}

/// What an algorithm decides upon.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Those whose word counts.
    pub voices: &'a [Voice],
    /// Who this node is.
    pub own_node: NodeId,
    /// This node agrees with its peers.
    pub own_tracks: bool,
    /// Liars to tolerate among them and self.
    pub faults: usize,
    /// The members do not all hear one another.
    pub sparse: bool,
    /// False if this node follows the others and its own V does not count: it joins, observes, or follows references.
    pub own_counts: bool,
    /// Seconds since this node first heard a usable peer; infinite if it has agreed before.
    pub elapsed_s: f64,
    /// The rate own V had before this node agreed with anybody, minus its rate now (seconds per second).
    pub own_start: f64,
    /// How far own V has left the own raw clock's rate since agreement, like [`Voice::drift`].
    pub own_drift: Option<f64>,
    /// How far back drifts look, seconds.
    pub drift_memory_s: f64,
    /// How far own V has moved since the peers last spoke, ns, on average over them: their words answer to own V as it
    /// was then. Without it a node that hears seldom would go all the way to where the others were, and they to where
    /// it was.
    pub own_moved_ns: f64,
    /// The same for the rate of own V (seconds per second).
    pub own_rate_moved: f64,
}

#[cfg(test)]
impl View<'_> {
    /// Nobody is heard; for tests to fill in.
    pub(super) const EMPTY: View<'static> = View {
        voices: &[],
        own_node: NodeId(1),
        own_tracks: true,
        faults: 0,
        sparse: false,
        own_counts: true,
        elapsed_s: 100.0,
        own_start: 0.0,
        own_drift: None,
        drift_memory_s: 5.0,
        own_moved_ns: 0.0,
        own_rate_moved: 0.0,
    };
}

#[cfg(test)]
impl Voice {
    /// A peer that agrees with this node in everything; for tests to change.
    pub(super) const AGREES: Voice = Voice {
        slot: PeerSlot(0),
        node: NodeId(2),
        tracks: true,
        z_ns: 0.0,
        steady_ns: 0.0,
        hard: Span { low_ns: -1_000.0, high_ns: 1_000.0 },
        g: 0.0,
        start_g: None,
        present_s: f64::INFINITY,
        edge_var: 100.0,
        edge_rate_var: 1e-18,
        noise_var: 900.0,
        drift: Some(0.0),
    };
}

/// An agreement algorithm. Sans-IO, no allocation after construction, every number it is given is finite.
pub trait Consensus: Send {
    /// Decides how own V moves now; `dt_s` has passed since the last decision.
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict;
    /// Another peer sits in `slot` from now on.
    fn forget(&mut self, slot: PeerSlot);
}

/// Values of one decision: every peer's and the own.
const VALUES_MAX: usize = crate::limits::PEERS_MAX + 1;
/// Seconds at the start in which rates are taken over in full: nothing is known yet that could be spoilt.
const START_S: f64 = 1.0;

/// Median of the numbers yielded, by a buffer on the stack; zero if there are none.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted = [0.0; crate::limits::PEERS_MAX];
    let mut count = 0;
    for number in numbers.take(sorted.len()) {
        sorted[count] = number;
        count += 1;
    }
    let sorted = &mut sorted[..count];
    sorted.sort_unstable_by(f64::total_cmp);
    match count {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}
