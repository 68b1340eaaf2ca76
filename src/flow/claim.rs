//! What a node says of itself in every packet: its mapping, how sure it is, what part it plays.

use super::{Leap, Mapping};
use crate::unit::RawTime;

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum NodeState {
    /// Has agreed with nobody since it started.
    #[default]
    Unset = 0,
    /// Has peers and is closing in on them.
    Acquire = 1,
    /// Agrees with its peers.
    Track = 2,
    /// Has agreed, and has lost those it agreed with; free-runs on its last rate with a growing bound.
    Holdover = 3,
}

impl NodeState {
    /// The state a two-bit field of a packet stands for.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => NodeState::Unset,
            1 => NodeState::Acquire,
            2 => NodeState::Track,
            _ => NodeState::Holdover,
        }
    }

    /// The word shown to people and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeState::Unset => "unset",
            NodeState::Acquire => "acquire",
            NodeState::Track => "track",
            NodeState::Holdover => "holdover",
        }
    }
}

/// The part a node plays in the agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Role {
    /// An equal in the consensus.
    #[default]
    Peer = 0,
    /// Its clock is the cluster's truth: it measures and answers but never moves.
    Reference = 1,
    /// Measures everyone, weighs nothing, steers nothing.
    Observer = 2,
}

impl Role {
    /// The role a two-bit field of a packet stands for; an unknown role weighs nothing.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Role::Peer,
            1 => Role::Reference,
            _ => Role::Observer,
        }
    }

    /// The word of `--role` and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Peer => "peer",
            Role::Reference => "reference",
            Role::Observer => "observer",
        }
    }
}

/// What a node publishes of itself. Everything a peer needs to fuse this node's time with its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// Raw time to V at the claiming node.
    pub mapping: Mapping,
    /// Counts every change of the mapping.
    pub version: u32,
    /// How far the node has come.
    pub state: NodeState,
    /// Its part in the agreement.
    pub role: Role,
    /// True until a node that joined a settled cluster has agreed with it for a while; others give it no weight.
    pub joining: bool,
    /// Random-walk frequency noise of its oscillator, q in 1/s (seconds squared per second cubed).
    pub wander: f32,
    /// By how much it divides an edge's noise because it fuses many edges; both ends average theirs (ALGORITHMS 4.3).
    pub boost: f32,
    /// One standard deviation of its delivered clock against the cluster, ns. An estimate, not a promise.
    pub sigma_ns: f32,
    /// Of the settled peers it uses, the clocks of all but the f furthest are within this of its own, ns; with f = 0
    /// that is all of them. With f > 0 one bound alone covers no particular honest peer: the *sum* of both nodes'
    /// bounds covers any honest pair (ALGORITHMS 9.3, with its conditions). Infinite while nothing can be promised.
    pub bound_ns: f32,
    /// Members it counts as alive, itself included.
    pub alive: u16,
    /// By how much its stamps can be wrong beyond the delays that they measure, ns: the error with which a card's clock
    /// is brought to its raw time. 0 for stamps of the kernel and of the program.
    pub stamp_doubt_ns: u16,
    /// The leap second that its clock will take at the end of this UTC day. Only a reference knows of one.
    pub leap: Leap,
    /// Who it hears, itself included, as one number: the exclusive or of their node identities. 0 says nothing.
    /// Members of a mesh all say the same, so that each knows whether it is in one.
    pub circle: u64,
}

impl Claim {
    /// The claim of a node that has just started and knows nobody.
    #[must_use]
    pub fn unset(mapping: Mapping, role: Role) -> Self {
        Claim {
            mapping,
            version: 0,
            state: NodeState::Unset,
            role,
            joining: true,
            wander: 1e-18,
            boost: 1.0,
            sigma_ns: f32::INFINITY,
            bound_ns: f32::INFINITY,
            alive: 1,
            stamp_doubt_ns: 0,
            leap: Leap::None,
            circle: 0,
        }
    }

    /// V minus raw at `at` of the claiming node, whole ns and fraction.
    #[must_use]
    pub fn offset_at(&self, at: RawTime) -> (i64, f64) {
        self.mapping.offset_at(at)
    }
}
