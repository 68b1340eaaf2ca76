//! What the hot thread tells the discipline thread: finished exchanges, and changes of who is there.

use std::net::SocketAddr;

use super::Exchange;
use crate::unit::{BootId, Name, NodeId, PeerSlot};

/// Who sits in a slot of the peer table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerIdentity {
    /// The place in the table.
    pub slot: PeerSlot,
    /// Who it is.
    pub node: NodeId,
    /// Which run of it.
    pub boot: BootId,
    /// What it calls itself.
    pub name: Name,
    /// Where its packets come from.
    pub address: SocketAddr,
}

/// One message on the ring from the hot thread to the discipline thread, in the order in which things happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// An exchange is complete.
    Exchanged(Exchange),
    /// A node has proved that it holds a key and took this slot, or came back in a new run: its edge starts anew.
    Arrived(PeerIdentity),
    /// The peer in this slot has finished no exchange for too long. What is known of its clock stays good if the same
    /// run of it comes back.
    Silent(PeerSlot),
    /// The silent peer in this slot is heard again, in the same run.
    Returned(PeerSlot),
    /// The slot is empty again.
    Left(PeerSlot),
}
