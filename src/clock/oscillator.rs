//! The oscillator of a node. On a real node it is the machine's own; on a test node it is a *known* affine function of
//! it, so that many nodes of one machine have clocks of their own whose true differences can be computed.

use crate::unit::RawTime;

/// One, in the fixed point of the drift.
const ONE: i128 = 1 << FRACTION_BITS;
const FRACTION_BITS: u32 = 60;

/// Largest drift of a fake oscillator (seconds per second): far more than any real one has, and far from overflow.
const DRIFT_MAX: f64 = 0.1;

/// node raw = machine raw + offset + drift * (machine raw - epoch), cut to whole nanoseconds.
///
/// In 128-bit fixed point: exact to a nanosecond over any span, where an `f64` of an absolute time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oscillator {
    epoch_raw_ns: i64,
    offset_ns: i64,
    /// In units of 2^-60.
    drift: i64,
}

impl Default for Oscillator {
    fn default() -> Self {
        Oscillator::IDENTITY
    }
}

impl Oscillator {
    /// The machine's own oscillator.
    pub const IDENTITY: Oscillator = Oscillator { epoch_raw_ns: 0, offset_ns: 0, drift: 0 };

    /// An oscillator that is `offset_ns` ahead of the machine's at the machine's raw time `epoch_raw_ns`, and runs
    /// `drift` faster (seconds per second).
    ///
    /// # Panics
    /// If the drift is not within +-10 %: options are checked where they are read.
    #[must_use]
    pub fn new(epoch_raw_ns: i64, offset_ns: i64, drift: f64) -> Self {
        assert!(drift.abs() <= DRIFT_MAX, "a drift of {drift} is beyond {DRIFT_MAX}");
        Oscillator { epoch_raw_ns, offset_ns, drift: (drift * ONE as f64).round() as i64 }
    }

    /// How far ahead of the machine's it was at its epoch, ns.
    #[must_use]
    pub const fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// How much faster than the machine's it runs (seconds per second).
    #[must_use]
    pub fn drift(&self) -> f64 {
        self.drift as f64 / ONE as f64
    }

    /// What this oscillator shows when the machine's raw clock shows `machine_raw_ns`.
    #[must_use]
    pub const fn node_raw(&self, machine_raw_ns: i64) -> RawTime {
        let span_ns = machine_raw_ns as i128 - self.epoch_raw_ns as i128;
        RawTime::from_nanos((machine_raw_ns as i128 + self.offset_ns as i128 + self.gained_ns(span_ns)) as i64)
    }

    /// The first nanosecond of the machine's raw clock at which this oscillator shows `node_raw` or more.
    #[must_use]
    pub const fn machine_raw(&self, node_raw: RawTime) -> i64 {
        let target_ns = node_raw.nanos() as i128 - self.offset_ns as i128 - self.epoch_raw_ns as i128;
        let mut span_ns = (target_ns << FRACTION_BITS).div_euclid(ONE + self.drift as i128);
        // The division is within a nanosecond or two of it: cutting to whole nanoseconds is not linear.
        while span_ns + self.gained_ns(span_ns) < target_ns {
            span_ns += 1;
        }
        while span_ns - 1 + self.gained_ns(span_ns - 1) >= target_ns {
            span_ns -= 1;
        }
        (span_ns + self.epoch_raw_ns as i128) as i64
    }

    /// Whole nanoseconds gained over `span_ns`, rounded down.
    const fn gained_ns(&self, span_ns: i128) -> i128 {
        (span_ns * self.drift as i128) >> FRACTION_BITS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_NS: i64 = 86_400_000_000_000;

    #[test]
    fn the_identity_changes_nothing() {
        for raw_ns in [i64::MIN, -1, 0, 1_790_000_000_123_456_789, i64::MAX] {
            assert_eq!(Oscillator::IDENTITY.node_raw(raw_ns).nanos(), raw_ns);
            assert_eq!(Oscillator::IDENTITY.machine_raw(RawTime::from_nanos(raw_ns)), raw_ns);
        }
    }

    #[test]
    fn twenty_ppm_are_1728_ms_a_day_to_the_nanosecond() {
        let epoch = 1_234_567_890_123_456_789;
        let fast = Oscillator::new(epoch, 10_000_000, 20e-6);
        assert_eq!(fast.node_raw(epoch).nanos(), epoch + 10_000_000);
        let gained_ns = fast.node_raw(epoch + DAY_NS).nanos() - (epoch + DAY_NS) - 10_000_000;
        assert!((gained_ns - 1_728_000_000).abs() <= 1, "{gained_ns}");
        let slow = Oscillator::new(epoch, 0, -20e-6);
        let lost_ns = (epoch + DAY_NS) - slow.node_raw(epoch + DAY_NS).nanos();
        assert!((lost_ns - 1_728_000_000).abs() <= 1, "{lost_ns}");
    }

    proptest! {
        #[test]
        fn the_inverse_leads_back(
            epoch in -DAY_NS..DAY_NS,
            span_ns in -100 * DAY_NS..100 * DAY_NS,
            offset_ns in -DAY_NS..DAY_NS,
            drift in -0.1f64..0.1,
        ) {
            let oscillator = Oscillator::new(epoch, offset_ns, drift);
            let raw_ns = epoch + span_ns;
            let node = oscillator.node_raw(raw_ns);
            let back_ns = oscillator.machine_raw(node);
            prop_assert_eq!(oscillator.node_raw(back_ns), node);
            prop_assert!((0..=1).contains(&(raw_ns - back_ns)));
        }

        #[test]
        fn it_never_runs_backwards(raw_ns in -DAY_NS..DAY_NS, drift in -0.1f64..0.1) {
            let oscillator = Oscillator::new(0, 0, drift);
            prop_assert!(oscillator.node_raw(raw_ns + 1) >= oscillator.node_raw(raw_ns));
        }

        #[test]
        fn any_raw_time_from_outside_can_be_asked_for(node in any::<i64>(), drift in -0.1f64..0.1) {
            let _ = Oscillator::new(0, 0, drift).machine_raw(RawTime::from_nanos(node));
        }
    }
}
