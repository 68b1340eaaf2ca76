//! Saturn: the wire-compatible core of the older program (Go, 2016) by which one master watches the clocks of many
//! slaves. Messages, their signature, and both roles as state machines: datagrams, stamps and time in, datagrams and
//! results out. docs/SATURN.md has the protocol; nothing of the native one is known here, and no clock is steered.
//!
//! The signature of this protocol covers *parsed* fields, not bytes. So a datagram must be parsed before it can be
//! verified: the one place in the house where that is so. What is parsed is used for nothing else until it is verified.

mod float_text;
pub mod key;
pub mod master;
pub mod message;
pub mod offset;
mod refusal;
pub mod slave;
mod table;

pub use float_text::FloatText;
pub use refusal::{Refusal, Refusals};

use crate::unit::{RawTime, RealTime};

/// What the clocks read when a message is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The clock that is being compared, ns since 1970.
    pub real: RealTime,
    /// A clock that nobody sets, for round trips and deadlines.
    pub raw: RawTime,
}

/// How far `diff + time` of a report is behind the time it answers, ns: how long its sender had held our message
/// between the two stamps it took. Zero for Saturn itself, which reads its clock once; positive for an llts that stamps
/// arrival and departure apart. Negative, it answers a message that had not been sent yet, one of another transaction;
/// beyond [`SATURN_PATIENCE_NS`] the answer came too late.
///
/// [`SATURN_PATIENCE_NS`]: crate::limits::SATURN_PATIENCE_NS
fn held_ns(report: &message::Report, answered: RealTime) -> i64 {
    report.diff.wrapping_add(report.time).wrapping_sub(answered.nanos())
}

/// Whether a report that answers what left at `answered` is none that an honest peer could have made.
fn is_absurd(report: &message::Report, answered: RealTime) -> bool {
    report.time < 0 || !(0..=crate::limits::SATURN_PATIENCE_NS).contains(&held_ns(report, answered))
}
