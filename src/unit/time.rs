//! Points in time, tagged by the scale they were read on, so that a raw stamp is never subtracted from a clock reading.
//! Spans are plain `i64` nanoseconds (names end in `_ns`); a difference exists only within one scale.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

/// A node's free-running oscillator, which nobody steers (`CLOCK_MONOTONIC_RAW`, or a free-running NIC clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Raw;
/// V, the cluster time that a node computes from its raw time by an affine mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Virtual;
/// C, the delivered clock: what programs read (`CLOCK_REALTIME`, or a virtual clock in memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Clock;
/// `CLOCK_REALTIME` of this machine, in which the kernel stamps packets, whoever steers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Real;

/// A point on the scale `S`, in nanoseconds since that scale's zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time<S>(i64, PhantomData<S>);

/// A point on a node's raw scale.
pub type RawTime = Time<Raw>;
/// A point on the cluster's scale V.
pub type VirtualTime = Time<Virtual>;
/// A point on the delivered clock C.
pub type ClockTime = Time<Clock>;
/// A point on this machine's `CLOCK_REALTIME`.
pub type RealTime = Time<Real>;

impl<S> Time<S> {
    /// The point `nanos` nanoseconds after the scale's zero.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Time(nanos, PhantomData)
    }

    /// Nanoseconds since the scale's zero.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }
}

impl<S: Copy> Time<S> {
    /// Nanoseconds from `earlier` to `self`, negative when `self` is the earlier one. Wraps instead of overflowing:
    /// a peer's stamps are data from outside, and outside data never panics.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The point `span_ns` later (earlier when negative); wraps like [`Time::since`].
    #[must_use]
    pub const fn plus(self, span_ns: i64) -> Self {
        Time(self.0.wrapping_add(span_ns), PhantomData)
    }

    /// The point halfway between two points of the scale.
    #[must_use]
    pub const fn midpoint(self, other: Self) -> Self {
        self.plus(other.since(self) / 2)
    }
}

impl<S> fmt::Debug for Time<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_added_to_a_point_comes_back_as_the_difference() {
        let start = RawTime::from_nanos(i64::MAX - 5);
        assert_eq!(start.plus(10).since(start), 10);
        assert_eq!(start.since(start.plus(10)), -10);
    }

    #[test]
    fn the_midpoint_lies_between_its_ends_in_either_order() {
        let (a, b) = (VirtualTime::from_nanos(-4), VirtualTime::from_nanos(10));
        assert_eq!(a.midpoint(b).nanos(), 3);
        assert_eq!(b.midpoint(a).nanos(), 3);
    }
}
