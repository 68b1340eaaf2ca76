//! What the pipeline shows of itself: fixed in size and Copy, so that it can cross threads without a lock. Shows, never
//! influences; the words for people are [`Standing`]'s.

use super::standing::Standing;
use crate::flow::{Mapping, NodeState, PeerIdentity, Role, StampClass};
use crate::limits::PEERS_MAX;
use crate::unit::NodeId;

/// The node itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeView {
    /// Who this is.
    pub node: NodeId,
    /// Its state.
    pub state: NodeState,
    /// Its part in the agreement.
    pub role: Role,
    /// Whether it joined a settled cluster and asks for no weight yet.
    pub joining: bool,
    /// Whether references are alive and lead.
    pub led: bool,
    /// Algorithm in use.
    pub algorithm: &'static str,
    /// Raw time to V.
    pub mapping: Mapping,
    /// The delivered clock minus V at the last tick, ns: positive = the clock is ahead of the cluster's time.
    pub offset_ns: f64,
    /// Rate of V against the raw oscillator (seconds per second).
    pub frequency: f64,
    /// One standard deviation of the delivered clock against the cluster, ns. An estimate.
    pub sigma_ns: f64,
    /// Of the settled peers used, the clocks of all but the `faults` furthest are within this, ns; the sum of two
    /// honest nodes' bounds covers the pair (ALGORITHMS 9.3). Infinite while nothing can be promised.
    pub bound_ns: f64,
    /// Random-walk frequency noise of the own oscillator, q in 1/s.
    pub wander: f64,
    /// By how much the noise of an exchange is divided for the gain.
    pub boost: f64,
    /// Members alive, itself included.
    pub alive: u16,
    /// Liars that the last decision tolerated.
    pub faults: u16,
    /// Peers whose word counted.
    pub used: u16,
}

/// One peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerView {
    /// Who it is and where.
    pub identity: PeerIdentity,
    /// Where it stands, with its reason.
    pub standing: Standing,
    /// Its own state, as it says.
    pub state: NodeState,
    /// Its role, as it says.
    pub role: Role,
    /// The delivered clock minus the peer's V, ns: positive = the local clock is ahead. NaN before the first exchange.
    pub offset_ns: f64,
    /// How much faster the peer's raw clock runs than the own (seconds per second). NaN before the first exchange.
    pub rate: f64,
    /// Smallest round trip of late, ns.
    pub delay_ns: f64,
    /// One standard deviation of the offset, ns.
    pub sigma_ns: f64,
    /// The peer's clock is no further away than this, ns. Infinite if nothing can be said.
    pub bound_ns: f64,
    /// How its packets' arrivals are stamped here.
    pub rx_class: StampClass,
    /// How departures to it are stamped here.
    pub tx_class: StampClass,
    /// Exchanges behind the estimate.
    pub samples: u32,
    /// Time since the newest exchange, ns.
    pub age_ns: i64,
}

/// The node and its peers in the order of their slots.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// The node itself.
    pub node: NodeView,
    /// The first `count` are peers, the rest is `None`.
    pub peers: [Option<PeerView>; PEERS_MAX],
    /// Peers in the table.
    pub count: usize,
}

impl Snapshot {
    /// A snapshot to be filled, of a node about which nothing is known.
    #[must_use]
    pub fn empty(node: NodeView) -> Self {
        Snapshot { node, peers: [None; PEERS_MAX], count: 0 }
    }

    /// The peers.
    pub fn peers(&self) -> impl Iterator<Item = &PeerView> {
        self.peers[..self.count].iter().flatten()
    }
}
