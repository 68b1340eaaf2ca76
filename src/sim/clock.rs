//! The delivered clock of a simulated node: what programs on it would read. Runs off the raw oscillator at the rate it
//! was told, and is stepped where it was told; between two commands it is a known function of true time, so its error
//! is exact. It takes a leap second that it was told of by itself, as a kernel does.

use super::oscillator::FineRaw;
use super::world::TrueNs;
use crate::flow::{Leap, LeapNews};
use crate::unit::{ClockTime, RawTime};

const SECOND_NS: i64 = 1_000_000_000;
/// A UTC day, ns.
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// So long before and after a leap second of UTC the whole seconds of an error say nothing, ns: no two clocks take it
/// at the same instant, and in that time whole seconds say nothing to the pipeline either (decision 21).
const AROUND_LEAP_NS: i64 = 2 * SECOND_NS;

/// What the right time is.
#[derive(Clone, Copy, Debug)]
pub struct Utc {
    begins_ns: i64,
    /// When UTC takes a leap second, true time, and by how much it moves.
    leap: Option<(TrueNs, i64)>,
}

impl Utc {
    /// UTC that reads `begins_ns` when the world begins, and takes `leap` at the end of that day.
    #[must_use]
    pub fn new(begins_ns: i64, leap: Leap) -> Self {
        let leap = (leap != Leap::None).then(|| (due_ns(begins_ns, leap) - begins_ns, leap.step_s() * SECOND_NS));
        Utc { begins_ns, leap }
    }

    /// What it is, ns.
    #[must_use]
    pub fn at(&self, now: TrueNs) -> i64 {
        let leapt_ns = self.leap.filter(|(at, _)| now >= *at).map_or(0, |(_, step_ns)| step_ns);
        self.begins_ns + now + leapt_ns
    }

    /// The error that counts at `now`: around a leap second that without its whole seconds.
    #[must_use]
    pub fn counted_ns(&self, now: TrueNs, error_ns: f64) -> f64 {
        let second = SECOND_NS as f64;
        let around = self.leap.is_some_and(|(at, _)| (now - at).abs() <= AROUND_LEAP_NS);
        if around { error_ns - (error_ns / second).round() * second } else { error_ns }
    }
}

/// When a clock that reads `clock_ns` reads next that `leap` is due.
fn due_ns(clock_ns: i64, leap: Leap) -> i64 {
    let midnight_ns = clock_ns - clock_ns.rem_euclid(DAY_NS) + DAY_NS;
    match leap {
        Leap::None => i64::MAX,
        Leap::Insert => midnight_ns,
        Leap::Delete => midnight_ns - SECOND_NS,
    }
}

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
    /// The leap second that it has been told of, and what it reads when that is due.
    leap: LeapNews,
    due_ns: i64,
    /// It forgets the leap second that it is told of.
    forgets_leap: bool,
}

impl SimClock {
    /// A clock that reads `nanos` at raw time `at` and runs `rate` faster than raw; commanded rates are rounded to
    /// multiples of `rate_grain` unless that is zero.
    #[must_use]
    pub fn new(at: FineRaw, nanos: i64, rate: f64, rate_grain: f64) -> Self {
        let (leap, due_ns, forgets_leap) = (LeapNews::default(), i64::MAX, false);
        let (offset_ns, offset_frac_ns) = (nanos - at.nanos, -at.frac_ns);
        SimClock { epoch: at, offset_ns, offset_frac_ns, rate, rate_grain, leap, due_ns, forgets_leap }
    }

    /// Clock minus raw at `at`: whole ns and the rest.
    #[must_use]
    pub fn offset_at(&self, at: FineRaw) -> (i64, f64) {
        let (whole, frac) = self.offset_before_leap(at);
        (whole + self.leap_due_ns(at, whole), frac)
    }

    /// The same without a leap second that is due and has not been looked at.
    fn offset_before_leap(&self, at: FineRaw) -> (i64, f64) {
        let since = (at.nanos - self.epoch.nanos) as f64 + (at.frac_ns - self.epoch.frac_ns);
        let moved = self.offset_frac_ns + self.rate * since;
        let whole = moved.floor();
        (self.offset_ns + whole as i64, moved - whole)
    }

    /// What such a leap second does to it, ns.
    fn leap_due_ns(&self, at: FineRaw, offset_ns: i64) -> i64 {
        if at.nanos + offset_ns < self.due_ns { 0 } else { self.leap.announced.step_s() * SECOND_NS }
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
        self.take_leap(at);
        let (whole, frac) = self.offset_at(at);
        let rate = if self.rate_grain > 0.0 { (rate / self.rate_grain).round() * self.rate_grain } else { rate };
        *self = SimClock { epoch: at, offset_ns: whole + step_ns, offset_frac_ns: frac, rate, ..*self };
    }
}

impl SimClock {
    /// From `at` on it takes `leap` at the end of its UTC day; what is announced stays until another word is said.
    pub fn announce(&mut self, at: FineRaw, leap: Leap) {
        self.take_leap(at);
        if leap != self.leap.announced {
            self.leap.announced = leap;
            self.due_ns = if self.forgets_leap { i64::MAX } else { due_ns(self.read(at).nanos(), leap) };
        }
    }

    /// From now on it takes no leap second, whatever it is told.
    pub fn forget_leap(&mut self, at: FineRaw) {
        self.take_leap(at);
        (self.forgets_leap, self.due_ns) = (true, i64::MAX);
    }

    /// What it has to say of leap seconds at `at`, of one that it has taken once.
    pub fn leap_news(&mut self, at: FineRaw) -> LeapNews {
        self.take_leap(at);
        let news = self.leap;
        self.leap.taken = Leap::None;
        news
    }

    /// Keeps a leap second that was due by `at`.
    fn take_leap(&mut self, at: FineRaw) {
        let leapt_ns = self.leap_due_ns(at, self.offset_before_leap(at).0);
        if leapt_ns != 0 {
            (self.leap.taken, self.due_ns) = (self.leap.announced, i64::MAX);
            self.offset_ns += leapt_ns;
        }
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

    #[test]
    fn an_announced_leap_second_is_taken_at_the_end_of_the_day_once_and_told_once() {
        let begins_ns = 20_818 * DAY_NS + DAY_NS - 10 * SECOND_NS;
        for (leap, due_s) in [(Leap::Insert, 10), (Leap::Delete, 9)] {
            let (mut clock, utc) = (SimClock::new(raw(0, 0.0), begins_ns, 0.0, 0.0), Utc::new(begins_ns, leap));
            clock.announce(raw(0, 0.0), leap);
            let due_ns = due_s * SECOND_NS;
            for (at_ns, leapt_s) in [(due_ns - 1, 0), (due_ns, leap.step_s()), (due_ns + 5 * SECOND_NS, leap.step_s())]
            {
                let at = raw(at_ns, 0.0);
                assert_eq!(clock.read(at).nanos(), begins_ns + at_ns + leapt_s * SECOND_NS, "{leap:?}");
                assert_eq!(clock.error_ns(at, utc.at(at_ns)), 0.0, "UTC does the same");
            }
            clock.command(raw(due_ns + 6 * SECOND_NS, 0.0), 0.0, 0);
            let later = raw(due_ns + 7 * SECOND_NS, 0.0);
            assert_eq!(clock.leap_news(later), LeapNews { announced: leap, taken: leap });
            assert_eq!(clock.leap_news(later), LeapNews { announced: leap, taken: Leap::None });
            assert_eq!(clock.error_ns(later, utc.at(later.nanos)), 0.0);
            assert_eq!(utc.counted_ns(due_ns + AROUND_LEAP_NS, 1e9 - 40.0), -40.0);
            assert_eq!(utc.counted_ns(due_ns + AROUND_LEAP_NS + 1, 1e9 - 40.0), 1e9 - 40.0);
        }
    }

    #[test]
    fn a_leap_second_that_is_taken_back_or_forgotten_is_not_taken() {
        let begins_ns = 20_818 * DAY_NS + DAY_NS - 10 * SECOND_NS;
        let later = raw(20 * SECOND_NS, 0.0);
        let mut taken_back = SimClock::new(raw(0, 0.0), begins_ns, 0.0, 0.0);
        taken_back.announce(raw(0, 0.0), Leap::Insert);
        taken_back.announce(raw(1, 0.0), Leap::None);
        let mut forgetful = SimClock::new(raw(0, 0.0), begins_ns, 0.0, 0.0);
        forgetful.announce(raw(0, 0.0), Leap::Insert);
        forgetful.forget_leap(raw(1, 0.0));
        for clock in [&mut taken_back, &mut forgetful] {
            assert_eq!(clock.read(later).nanos(), begins_ns + later.nanos);
            assert_eq!(clock.leap_news(later).taken, Leap::None);
        }
    }
}
