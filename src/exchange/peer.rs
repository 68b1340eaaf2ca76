//! What is kept of one peer, and of one node that is still proving itself.

use std::net::SocketAddr;

use super::bucket::Bucket;
use super::pending::{Departures, Pending, PendingTable};
use super::schedule::Schedule;
use crate::unit::{BootId, NodeId, RawTime};
use crate::wire::{Message, ReplayWindow};

/// One place in the peer table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Where to send.
    pub address: SocketAddr,
    /// True while configuration or discovery lists the address; others are kept only as long as they speak.
    pub listed: bool,
    /// The listed address turned out to be this node's own: it is left alone until then.
    pub own_until: Option<RawTime>,
    /// Who sits here: known once it has echoed a nonce of ours.
    pub proven: Option<Proven>,
    pub schedule: Schedule,
    pub pending: PendingTable,
    pub departures: Departures,
    pub bucket: Bucket,
    /// Counts probes to a node whose key is not known yet.
    pub attempts: u32,
    /// Finished exchanges may be awaited in vain for so long before the peer counts as gone.
    pub last_finished: RawTime,
    /// An `Arrived` without a `Left` since.
    pub announced: bool,
    /// It says that it only observes.
    pub observes: bool,
}

impl Peer {
    /// Somebody who looks on uninvited: it asks for itself, nobody asks it, and its place is not kept for it.
    pub fn is_guest(&self) -> bool {
        self.observes && !self.listed
    }

    /// When this end should probe it; never, if it is a guest.
    pub fn due(&self) -> Option<RawTime> {
        (!self.is_guest()).then(|| self.schedule.due())
    }

    /// A packet with this number has been taken: it is never taken again.
    pub fn note_sequence(&mut self, sequence: u64) {
        if let Some(proven) = &mut self.proven {
            let fresh = proven.window.accept(sequence);
            debug_assert!(fresh, "the caller has asked the window");
        }
    }
}

/// A peer that has proved itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proven {
    pub node: NodeId,
    pub boot: BootId,
    pub window: ReplayWindow,
}

/// A node that asked without having a place: it has been answered once, and gets a place when it echoes the nonce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub node: NodeId,
    pub boot: BootId,
    pub address: SocketAddr,
    pub pending: Pending,
    pub heard_at: RawTime,
}

impl Candidate {
    /// True if `message` comes from this run of this node.
    pub fn is_run(&self, message: &Message) -> bool {
        self.node == message.sender && self.boot == message.boot
    }
}
