//! What happens at a Saturn node, for whoever prints it.

use std::net::SocketAddr;

use crate::saturn::{Refusal, Refusals, master, slave};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A master is ready.
    Listening {
        /// Where.
        address: SocketAddr,
        /// The kernel stamps what arrives.
        kernel_stamps: bool,
    },
    /// A master has found a slave's offset.
    Offset(master::Finished),
    /// What a master has done so far: when asked, and at the end.
    Summary(MasterSummary),
    /// A datagram was refused; told only by who plays Saturn, and only of some of many.
    Refused {
        /// Who sent it, or pretends to have.
        from: SocketAddr,
        /// Why.
        reason: Refusal,
    },
    /// What a master has refused since it last told of it.
    Refusals(Refusals),
    /// A slave opens a transaction.
    Reporting {
        /// With whom.
        master: SocketAddr,
        /// Its id.
        id: Vec<u8>,
    },
    /// A slave was told its offset.
    Told {
        /// The transaction's id.
        id: Vec<u8>,
        /// What it was told.
        finished: slave::Finished,
        /// What it refused meanwhile.
        refusals: Refusals,
    },
    /// A slave was not answered in time.
    Silent {
        /// By whom.
        master: SocketAddr,
        /// The transaction's id.
        id: Vec<u8>,
        /// What it refused meanwhile.
        refusals: Refusals,
    },
    /// A slave could not even ask; it will try again.
    Failed(String),
}

/// What a master has done so far.
#[derive(Clone, Copy, Debug)]
pub struct MasterSummary {
    /// Transactions under way.
    pub live: usize,
    /// Transactions so far.
    pub counters: master::Counters,
    /// Datagrams refused so far.
    pub refusals: Refusals,
    /// Answers that the network did not take.
    pub send_failed: u64,
    /// Events that nobody could print in time.
    pub events_dropped: u64,
}
