//! What a pipeline is built for, and what it gives back. Plain values.

use crate::consensus::Algorithm;
use crate::filter::Outcome;
use crate::flow::{Claim, Correction, Leap, NodeState, Role, Verdict};
use crate::limits::{PEERS_MAX, RATE_HZ_DEFAULT, TICK_NS};
use crate::steering::{Limits, Refusal};
use crate::unit::NodeId;

use super::upheaval::Upheaval;

/// What a pipeline is built for.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Own identity.
    pub node: NodeId,
    /// Part in the agreement.
    pub role: Role,
    /// How agreement is reached.
    pub algorithm: Algorithm,
    /// Time between two exchanges with one peer, ns.
    pub interval_ns: i64,
    /// Liars to tolerate; unless told, as many as the members alive allow: floor((n-1)/3).
    pub faults: Option<u16>,
    /// Slots of the peer table.
    pub capacity: usize,
    /// Time between two ticks, ns.
    pub tick_ns: i64,
    /// What may be done to the delivered clock.
    pub limits: Limits,
    /// The mapping it starts with was saved by an earlier run on the same raw scale: until somebody is heard, V goes by
    /// it and not by the clock, which others may have moved meanwhile.
    pub resumed: bool,
}

impl Config {
    /// The defaults for the node `node`.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Config {
            node,
            role: Role::Peer,
            algorithm: Algorithm::default(),
            interval_ns: (1e9 / RATE_HZ_DEFAULT) as i64,
            faults: None,
            capacity: PEERS_MAX,
            tick_ns: TICK_NS,
            limits: Limits::default(),
            resumed: false,
        }
    }
}

/// What a tick gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// What to tell the delivered clock; `None` if it is to be left alone (references, observers, nodes without peers,
    /// and after a refusal).
    pub correction: Option<Correction>,
    /// What to tell peers from now on.
    pub claim: Claim,
    /// The state left and the state entered, if this tick changed it.
    pub changed: Option<(NodeState, NodeState)>,
    /// What the consensus decided.
    pub verdict: Verdict,
    /// Why the node has just started anew, if it has.
    pub upheaval: Option<Upheaval>,
    /// The clock would have to be moved further than allowed: the node is to end.
    pub refusal: Option<Refusal>,
    /// What the delivered clock is to be told of the end of this UTC day, if it does not know.
    pub leap: Option<Leap>,
}

/// What became of an exchange that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The peer's filter has seen it.
    Filtered(Outcome),
    /// Nobody sits in that slot, or somebody else, or it began before the node started anew: it was under way when what
    /// it belongs to ended.
    Stray,
}
