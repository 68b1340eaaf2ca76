//! One finished exchange with one peer: four stamps, and what the peer said of itself.

use super::{Claim, StampClass};
use crate::unit::{BootId, NodeId, PeerSlot, RawTime};

/// Four stamps of two packets that crossed between this node and a peer: mine to the peer, and the peer's to me. Both
/// ends of an exchange own the same four stamps, so both form the same numbers with opposite sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Where this node keeps the peer.
    pub peer: PeerSlot,
    /// Who the peer is.
    pub node: NodeId,
    /// Which run of the peer took the stamps; another run has another raw scale.
    pub boot: BootId,
    /// True if this node sent the first of the two packets (then `local_sent` is before `local_received`).
    pub initiator: bool,
    /// When my packet left, my raw time.
    pub local_sent: RawTime,
    /// When my packet arrived, the peer's raw time.
    pub remote_received: RawTime,
    /// When the peer's packet left, the peer's raw time.
    pub remote_sent: RawTime,
    /// When the peer's packet arrived, my raw time.
    pub local_received: RawTime,
    /// The weakest of the four stamps' classes: the class whose noise this exchange has.
    pub class: StampClass,
    /// How I stamped the arrival of the peer's packet.
    pub local_rx_class: StampClass,
    /// How I stamped the departure of my packet.
    pub local_tx_class: StampClass,
    /// What the peer said of itself in the packet that completed the exchange.
    pub claim: Claim,
}

impl Exchange {
    /// Apparent one-way delay of my packet, the peer's raw minus mine, ns: the relation plus the true delay.
    #[must_use]
    pub const fn forward_ns(&self) -> i64 {
        self.remote_received.nanos().wrapping_sub(self.local_sent.nanos())
    }

    /// Apparent one-way delay of the peer's packet, my raw minus the peer's, ns: the true delay minus the relation.
    #[must_use]
    pub const fn backward_ns(&self) -> i64 {
        self.local_received.nanos().wrapping_sub(self.remote_sent.nanos())
    }

    /// My raw time in the middle of the exchange: where the relation `(forward - backward) / 2` belongs.
    #[must_use]
    pub const fn local_mid(&self) -> RawTime {
        self.local_sent.midpoint(self.local_received)
    }

    /// Half of the time from my sending to my receiving, ns; negative if the peer started. Multiplied by the relation's
    /// rate it corrects both apparent delays for the drift between the two stamps of this node.
    #[must_use]
    pub fn half_span_ns(&self) -> f64 {
        self.local_received.since(self.local_sent) as f64 / 2.0
    }

    /// The same exchange as the other end sees it, filed under `peer`/`node`/`boot` with the claim of this end.
    /// For tests and the simulator.
    #[must_use]
    pub fn mirrored(&self, peer: PeerSlot, node: NodeId, boot: BootId, claim: Claim) -> Exchange {
        Exchange {
            peer,
            node,
            boot,
            initiator: !self.initiator,
            local_sent: self.remote_sent,
            remote_received: self.local_received,
            remote_sent: self.local_sent,
            local_received: self.remote_received,
            class: self.class,
            local_rx_class: self.class,
            local_tx_class: self.class,
            claim,
        }
    }
}
