//! Things that can be read and steered: the delivered clock C of a node, and the raw scale beneath it. Measures and
//! obeys; holds no filter and decides nothing.

pub mod card;
mod cards;
mod commands;
#[cfg(test)]
mod fake_kernel;
mod interference;
mod oscillator;
mod phc;
mod rivals;
mod source;
mod stamps;
mod system;
mod virtual_clock;

use std::fmt;
use std::io;

pub use cards::{CardClock, CardEvent, CardMiss, CardTimes, CardView, Cards};
pub use commands::Commands;
pub use interference::Interference;
pub use oscillator::Oscillator;
pub use phc::{PhcEvent, PhcRelation, PhcTrack};
pub use rivals::Rivals;
pub use source::{Machine, TimeSource};
pub use stamps::StampConverter;
pub use system::{Abandoned, ForeignSlew, SYSTEM_LOCK_PATH, SystemClock, SystemClockError, release_abandoned};
pub use virtual_clock::{SEGMENTS_KEPT, Segment, Segments, VirtualClock};

use crate::flow::{Correction, Leap, LeapNews, Reading};

/// A clock that this node delivers to its users, and that follows V.
pub trait Clock: Send {
    /// Reads the clock and the node's raw oscillator at one instant. Always measured, never computed from commands.
    ///
    /// # Errors
    /// If the clock cannot be read now.
    fn read(&mut self) -> io::Result<Reading>;

    /// Obeys: first the step, then the new rate, which holds until the next correction. Allocates nothing.
    ///
    /// # Errors
    /// If the kernel refuses; the clock then goes on as before.
    fn apply(&mut self, correction: &Correction) -> io::Result<()>;

    /// Gives the clock up at exit: whoever reads it later must not take it for synchronised, but it keeps its rate,
    /// which is the best anyone knows.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn release(&mut self) -> io::Result<()>;

    /// What somebody else did to the clock between the last command and the last [`Clock::read`]; told once. Only this
    /// node can move a clock of its own.
    fn interference(&mut self) -> Option<Interference> {
        None
    }

    /// What the clock still had to slew for a program that was here before, and was kept from by the last
    /// [`Clock::apply`]; told once.
    fn foreign_slew_ended(&mut self) -> Option<ForeignSlew> {
        None
    }

    /// What the clock had to say of leap seconds at the last [`Clock::read`].
    fn leap(&self) -> LeapNews {
        LeapNews::default()
    }

    /// Tells the clock which leap second it has to take at the end of this UTC day; it takes it by itself.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn announce_leap(&mut self, leap: Leap) -> io::Result<()>;

    /// How much faster than raw the clock was last told to run, or was found running (seconds per second).
    fn rate(&self) -> f64;

    /// What sort of clock this is.
    fn kind(&self) -> ClockKind;

    /// For the system clock, the rates it was told lately: with them the kernel's stamps can be carried to raw time.
    fn commands(&self) -> Option<&Commands> {
        None
    }

    /// For a virtual clock, how it has run lately against this machine's CLOCK_MONOTONIC_RAW: with it a bystander can
    /// compute what the clock showed at any recent instant.
    fn segments(&self) -> Option<Segments> {
        None
    }
}

/// The sorts of clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockKind {
    /// In memory, for unprivileged nodes and for many nodes on one machine.
    Virtual,
    /// `CLOCK_REALTIME` of this machine.
    System,
}

impl ClockKind {
    /// The word shown to people and in JSON: `virtual` or `system`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ClockKind::Virtual => "virtual",
            ClockKind::System => "system",
        }
    }
}

impl fmt::Display for ClockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
