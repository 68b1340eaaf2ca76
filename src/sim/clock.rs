//! The delivered clock of a simulated node: what programs on it would read. Runs off the raw oscillator at the rate it
//! was told, and is stepped where it was told; between two commands it is a known function of true time, so its error
//! is exact.

use super::oscillator::FineRaw;
use crate::unit::{ClockTime, RawTime};

/// A clock that obeys.
#[derive(Clone, Copy, Debug)]
pub struct SimClock {
    epoch: FineRaw,
    /// Clock minus raw at the epoch, whole ns and the fraction.
    offset_ns: i64,
    offset_frac_ns: f64,
    /// How much faster than raw.
    rate: f64,
    rate_grain: f64,
}

impl SimClock {
    /// A clock that reads `nanos` at raw time `at` and runs `rate` faster than raw; commanded rates are rounded to
    /// multiples of `rate_grain` unless that is zero.
    #[must_use]
    pub fn new(at: FineRaw, nanos: i64, rate: f64, rate_grain: f64) -> Self {
        SimClock { epoch: at, offset_ns: nanos - at.nanos, offset_frac_ns: -at.frac_ns, rate, rate_grain }
    }

    /// Clock minus raw at `at`: whole ns and the rest.
    #[must_use]
    pub fn offset_at(&self, at: FineRaw) -> (i64, f64) {
        let since = (at.nanos - self.epoch.nanos) as f64 + (at.frac_ns - self.epoch.frac_ns);
        let moved = self.offset_frac_ns + self.rate * since;
        let whole = moved.floor();
        (self.offset_ns + whole as i64, moved - whole)
    }

    /// The clock at `at` minus `nanos`, in ns with their fraction.
    #[must_use]
    pub fn error_ns(&self, at: FineRaw, nanos: i64) -> f64 {
        let (whole, frac) = self.offset_at(at);
        (whole + at.nanos - nanos) as f64 + (frac + at.frac_ns)
    }

    /// What a program reads at `at`.
    #[must_use]
    pub fn read(&self, at: FineRaw) -> ClockTime {
        let (whole, frac) = self.offset_at(at);
        ClockTime::from_nanos(at.nanos + whole + (frac + at.frac_ns).floor() as i64)
    }

    /// The rate against raw (seconds per second).
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// From `at` on the clock runs at `rate` against raw, `step_ns` further on.
    pub fn command(&mut self, at: FineRaw, rate: f64, step_ns: i64) {
        let (whole, frac) = self.offset_at(at);
        let rate = if self.rate_grain > 0.0 { (rate / self.rate_grain).round() * self.rate_grain } else { rate };
        *self = SimClock { epoch: at, offset_ns: whole + step_ns, offset_frac_ns: frac, rate, ..*self };
    }
}

/// The point of a node's raw scale that a program can name: cut to whole nanoseconds.
#[must_use]
pub fn whole(raw: FineRaw) -> RawTime {
    RawTime::from_nanos(raw.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn raw(nanos: i64, frac_ns: f64) -> FineRaw {
        FineRaw { nanos, frac_ns }
    }

    #[test]
    fn a_command_takes_effect_from_its_instant_and_changes_nothing_before() {
        let mut clock = SimClock::new(raw(1_000, 0.5), 1_800_000_000_000_000_000, 0.0, 0.0);
        assert_eq!(clock.error_ns(raw(1_000, 0.5), 1_800_000_000_000_000_000), 0.0);
        clock.command(raw(2_000, 0.5), 0.001, 50);
        assert_eq!(clock.error_ns(raw(2_000, 0.5), 1_800_000_000_000_001_000), 50.0);
        let error = clock.error_ns(raw(3_000, 0.75), 1_800_000_000_000_002_050);
        assert!((error - 1.250_25).abs() < 1e-9, "{error}");
        assert_eq!(clock.read(raw(3_000, 0.75)).nanos(), 1_800_000_000_000_002_051);
    }

    #[test]
    fn a_coarse_clock_takes_the_nearest_rate_it_has() {
        let mut clock = SimClock::new(raw(0, 0.0), 0, 0.0, 1e-6);
        clock.command(raw(0, 0.0), 2.6e-6, 0);
        assert!((clock.rate() - 3e-6).abs() < 1e-18);
    }
}
