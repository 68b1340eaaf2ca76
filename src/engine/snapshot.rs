//! What the discipline thread shows to the control thread: one fixed value, written 32 times a second.

use crate::clock::{CardView, Segments};
use crate::limits::{CARDS_MAX, PEERS_MAX};
use crate::pipeline::{Pipeline, Snapshot};

/// A node as it was at its last tick.
#[derive(Clone, Copy, Debug)]
pub struct NodeSnapshot {
    /// The node and its peers, as the pipeline sees them.
    pub pipeline: Snapshot,
    /// Reach registers by slot: one bit an interval, the newest lowest.
    pub reach: [u8; PEERS_MAX],
    /// How a virtual clock has run lately.
    pub segments: Option<Segments>,
    /// The clocks of the cards that stamp for this node.
    pub cards: [Option<CardView>; CARDS_MAX],
    /// Notes that did not fit.
    pub notes_dropped: u64,
    /// Times that somebody else was at the clock.
    pub interferences: u64,
    /// Times that the node started anew because its oscillator was no longer what it was.
    pub upheavals: u64,
}

impl NodeSnapshot {
    /// The snapshot of a node before its first tick.
    #[must_use]
    pub fn new(pipeline: &Pipeline, segments: Option<Segments>) -> Self {
        let pipeline = Snapshot::empty(pipeline.node_view());
        let (reach, cards) = ([0; PEERS_MAX], [None; CARDS_MAX]);
        NodeSnapshot { pipeline, reach, segments, cards, notes_dropped: 0, interferences: 0, upheavals: 0 }
    }
}
