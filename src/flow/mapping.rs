//! The affine mapping of a node's raw time to cluster time: V(raw) = raw + offset + rate * (raw - epoch).

use crate::unit::{RawTime, VirtualTime};

/// How one node turns its raw time into V. The offset is held as whole nanoseconds plus a fraction in [0, 1), because
/// V minus raw is far too large for an `f64` to keep its nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapping {
    /// The raw time at which `offset` holds.
    pub epoch: RawTime,
    /// V minus raw at the epoch, whole nanoseconds.
    pub offset_ns: i64,
    /// The rest of V minus raw at the epoch, in [0, 1) ns.
    pub offset_frac_ns: f64,
    /// How much faster V runs than raw (seconds per second).
    pub rate: f64,
}

impl Mapping {
    /// The mapping under which V reads `v` at raw time `at` and runs `rate` faster than raw.
    #[must_use]
    pub fn through(at: RawTime, v: VirtualTime, rate: f64) -> Self {
        Mapping { epoch: at, offset_ns: v.nanos().wrapping_sub(at.nanos()), offset_frac_ns: 0.0, rate }
    }

    /// V minus raw at `at`: whole nanoseconds and the fraction in [0, 1).
    #[must_use]
    pub fn offset_at(&self, at: RawTime) -> (i64, f64) {
        split(self.offset_ns, self.offset_frac_ns + self.rate * at.since(self.epoch) as f64)
    }

    /// V at `at`, cut to whole nanoseconds.
    #[must_use]
    pub fn virtual_at(&self, at: RawTime) -> VirtualTime {
        VirtualTime::from_nanos(at.nanos().wrapping_add(self.offset_at(at).0))
    }

    /// The same mapping written for another epoch.
    #[must_use]
    pub fn rebased(&self, epoch: RawTime) -> Self {
        let (offset_ns, offset_frac_ns) = self.offset_at(epoch);
        Mapping { epoch, offset_ns, offset_frac_ns, rate: self.rate }
    }

    /// The mapping moved at its epoch: V becomes `phase_ns` later and runs `rate` faster than before.
    #[must_use]
    pub fn moved(&self, phase_ns: f64, rate: f64) -> Self {
        let (offset_ns, offset_frac_ns) = split(self.offset_ns, self.offset_frac_ns + phase_ns);
        Mapping { epoch: self.epoch, offset_ns, offset_frac_ns, rate: self.rate + rate }
    }

    /// Own minus other V-minus-raw when each is read at its own node's time, in ns. Precise to the float's grain of the
    /// *difference*; `base_ns` (the relation's own whole part) is added in integers first.
    #[must_use]
    pub fn offset_difference_ns(&self, at: RawTime, other: &Mapping, other_at: RawTime, base_ns: i64) -> f64 {
        let (whole, frac) = self.offset_at(at);
        let (other_whole, other_frac) = other.offset_at(other_at);
        whole.wrapping_sub(other_whole).wrapping_add(base_ns) as f64 + (frac - other_frac)
    }
}

fn split(whole_ns: i64, rest_ns: f64) -> (i64, f64) {
    let floor = rest_ns.floor();
    (whole_ns.wrapping_add(floor as i64), rest_ns - floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebasing_changes_nothing_that_can_be_read() {
        let m = Mapping {
            epoch: RawTime::from_nanos(7),
            offset_ns: 1_790_000_000_000_000_000,
            offset_frac_ns: 0.25,
            rate: 3e-5,
        };
        let later = m.rebased(RawTime::from_nanos(10_000_000_007));
        let at = RawTime::from_nanos(25_000_000_000);
        let (a, b) = (m.offset_at(at), later.offset_at(at));
        assert!(((a.0 - b.0) as f64 + (a.1 - b.1)).abs() < 1e-6);
        assert_eq!(m.virtual_at(at).nanos(), later.virtual_at(at).nanos());
    }

    #[test]
    fn a_move_by_a_negative_fraction_keeps_the_fraction_in_range() {
        let m = Mapping::through(RawTime::from_nanos(0), VirtualTime::from_nanos(10), 0.0).moved(-0.25, 0.0);
        assert_eq!((m.offset_ns, m.offset_frac_ns), (9, 0.75));
    }

    #[test]
    fn the_difference_of_two_mappings_keeps_its_fraction_of_a_nanosecond() {
        let at = RawTime::from_nanos(5);
        let a = Mapping { epoch: at, offset_ns: 1_790_000_000_000_000_003, offset_frac_ns: 0.5, rate: 0.0 };
        let b = Mapping { epoch: at, offset_ns: 1_790_000_000_000_000_001, offset_frac_ns: 0.25, rate: 0.0 };
        assert_eq!(a.offset_difference_ns(at, &b, at, 10), 12.25);
    }
}
