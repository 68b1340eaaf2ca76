//! Saturn's two roles with sockets, clocks and signals around them. One thread each; what happens is told as events,
//! into a bounded queue, so that whoever prints them cannot hold up an answer.

mod event;
mod master;
mod slave;

pub use event::{Event, MasterSummary};
pub use master::{MasterSettings, master};
pub use slave::{MasterAddress, SlaveSettings, preferred, slave};

use std::net::SocketAddr;

use crossbeam_channel::{Sender, TrySendError};

use crate::saturn::Reading;
use crate::sys::socket::Received;
use crate::sys::time::{raw_now, real_now};
use crate::unit::{RawTime, RealTime};

/// The port of a Saturn master unless told.
pub const PORT_DEFAULT: u16 = 4123;

/// A kernel stamp further than this before its being read is not believed, ns: the clock has been set.
const STAMP_AGE_NS_MAX: i64 = 1_000_000_000;

/// The queue of events, from this side.
struct Outbox {
    sender: Sender<Event>,
    dropped: u64,
    /// Nobody reads any longer.
    closed: bool,
}

impl Outbox {
    fn new(sender: Sender<Event>) -> Self {
        Outbox { sender, dropped: 0, closed: false }
    }

    fn tell(&mut self, event: Event) {
        match self.sender.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.dropped += 1,
            Err(TrySendError::Disconnected(_)) => self.closed = true,
        }
    }
}

/// How many refused datagrams are told one by one: Saturn has a line for each, with which anybody can fill a disk.
#[derive(Default)]
struct RefusalBudget {
    second: i64,
    told: u32,
}

/// Refused datagrams that are told in one second; the others are in the counters like these.
const REFUSALS_TOLD_PER_S: u32 = 10;

impl RefusalBudget {
    /// True if one more may be told at `now`.
    fn take(&mut self, now: RawTime) -> bool {
        let second = now.nanos().div_euclid(1_000_000_000);
        if second != self.second {
            *self = RefusalBudget { second, told: 0 };
        }
        self.told = self.told.saturating_add(1);
        self.told <= REFUSALS_TOLD_PER_S
    }
}

/// A datagram's arrival on the clock, from the kernel if it can be, and otherwise as it was read just now.
fn arrival(received: &Received) -> RealTime {
    let read_ns = real_now();
    let stamp = received.kernel_real_ns.filter(|at_ns| (0..=STAMP_AGE_NS_MAX).contains(&read_ns.wrapping_sub(*at_ns)));
    RealTime::from_nanos(stamp.unwrap_or(read_ns))
}

fn now(ahead_ns: i64) -> Reading {
    Reading { real: RealTime::from_nanos(real_now()).plus(ahead_ns), raw: RawTime::from_nanos(raw_now()) }
}

/// Every interface: both families with one socket where the machine has both.
#[must_use]
pub fn everywhere(port: u16, has_ipv6: bool) -> SocketAddr {
    if has_ipv6 { ([0u16; 8], port).into() } else { ([0u8; 4], port).into() }
}
