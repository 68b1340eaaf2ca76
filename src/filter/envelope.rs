//! The hard interval of one edge: no packet arrives before it was sent, so the relation lies between minus the backward
//! and plus the forward apparent delay, whatever the delays were. Intervals of many exchanges are intersected, each
//! carried in time by a hard interval for the *rate*, which two hard intervals some time apart give by themselves. It
//! takes nothing from any estimate: a filter that is too sure of its rate must not be able to cut the truth off.
//!
//! The one assumption: an oscillator's rate stays within [`DRIFT_RATE`] of what it was over the last minutes.

use crate::flow::Span;
use crate::limits::{DRIFT_RATE, OSCILLATOR_RATE_MAX};
use crate::unit::RawTime;

/// How much two oscillators together can differ in rate from what they did (seconds per second).
const PAIR_DRIFT: f64 = 2.0 * DRIFT_RATE;
/// How much two working oscillators can differ in rate at all (seconds per second).
const PAIR_RATE_MAX: f64 = 2.0 * OSCILLATOR_RATE_MAX;
/// Intervals closer together say nothing useful of the rate, ns.
const RATE_SPAN_NS_MIN: f64 = 100_000_000.0;
/// The interval from which the rate is measured is exchanged for the present one after this, ns.
const ANCHOR_NS: f64 = 64_000_000_000.0;

/// A range of rates (seconds per second).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    low: f64,
    high: f64,
}

impl Rates {
    const ANY: Rates = Rates { low: -PAIR_RATE_MAX, high: PAIR_RATE_MAX };

    fn within(self, other: Rates) -> Option<Rates> {
        let both = Rates { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }
}

/// The tightest interval known, in ns relative to the edge's base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    at: RawTime,
    span: Span,
    /// An interval of some time ago, against which the rate is measured, and the rates that are possible.
    anchor: (RawTime, Span),
    rates: Rates,
}

impl Envelope {
    /// The interval of a single exchange whose middle is `at`.
    pub(super) fn new(at: RawTime, span: Span) -> Self {
        Envelope { at, span, anchor: (at, span), rates: Rates::ANY }
    }

    /// The interval at `at`, earlier or later than its own time.
    pub(super) fn carried(&self, at: RawTime) -> Span {
        self.carry(self.span, at.since(self.at))
    }

    /// The middle of the rates that are possible, and how far from it the rate can be (seconds per second).
    pub(super) fn rate(&self) -> (f64, f64) {
        let Rates { low, high } = self.rates;
        ((low + high) / 2.0, (high - low) / 2.0 + PAIR_DRIFT)
    }

    /// Cuts the interval with that of another exchange, which may be an older one. False if they have nothing in
    /// common: something jumped, and the interval starts anew from the exchange.
    pub(super) fn cut(&mut self, at: RawTime, span: Span) -> bool {
        let newest = if at.since(self.at) > 0 { at } else { self.at };
        let kept = self.carried(newest);
        let cut = self.carry(span, newest.since(at));
        let both = Span { low_ns: kept.low_ns.max(cut.low_ns), high_ns: kept.high_ns.min(cut.high_ns) };
        if both.low_ns > both.high_ns {
            *self = Envelope::new(newest, cut);
            return false;
        }
        (self.at, self.span) = (newest, both);
        self.learn_rates();
        true
    }

    fn learn_rates(&mut self) {
        let (then, before) = self.anchor;
        let apart_ns = self.at.since(then) as f64;
        if apart_ns < RATE_SPAN_NS_MIN {
            return;
        }
        let mean = Rates {
            low: (self.span.low_ns - before.high_ns) / apart_ns - PAIR_DRIFT,
            high: (self.span.high_ns - before.low_ns) / apart_ns + PAIR_DRIFT,
        };
        // What nothing of the last minutes allows is a jump: begin again with any rate.
        self.rates = self.rates.within(mean).or_else(|| mean.within(Rates::ANY)).unwrap_or(Rates::ANY);
        if apart_ns >= ANCHOR_NS {
            // The rate of minutes ago binds no longer than the assumption does.
            self.anchor = (self.at, self.span);
            self.rates = Rates { low: self.rates.low - PAIR_DRIFT, high: self.rates.high + PAIR_DRIFT };
        }
    }

    fn carry(&self, span: Span, later_ns: i64) -> Span {
        let (moved_ns, drifted_ns) = (later_ns as f64, PAIR_DRIFT * (later_ns as f64).abs());
        let (slow, fast) =
            if moved_ns >= 0.0 { (self.rates.low, self.rates.high) } else { (self.rates.high, self.rates.low) };
        Span {
            low_ns: span.low_ns + slow * moved_ns - drifted_ns,
            high_ns: span.high_ns + fast * moved_ns + drifted_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: i64) -> RawTime {
        RawTime::from_nanos(ns)
    }

    #[test]
    fn a_second_exchange_narrows_the_interval() {
        let mut envelope = Envelope::new(at(0), Span { low_ns: -50.0, high_ns: 20.0 });
        assert!(envelope.cut(at(0), Span { low_ns: -30.0, high_ns: 40.0 }));
        assert_eq!(envelope.carried(at(0)), Span { low_ns: -30.0, high_ns: 20.0 });
    }

    #[test]
    fn before_anything_is_known_of_the_rate_an_interval_grows_by_all_that_oscillators_can_do() {
        let envelope = Envelope::new(at(0), Span { low_ns: -1.0, high_ns: 1.0 });
        for later_ns in [1_000_000_000, -1_000_000_000] {
            let span = envelope.carried(at(later_ns));
            assert!((span.high_ns - 1.0 - 1e9 * (PAIR_RATE_MAX + PAIR_DRIFT)).abs() < 1e-3, "{span:?}");
            assert!((span.low_ns + 1.0 + 1e9 * (PAIR_RATE_MAX + PAIR_DRIFT)).abs() < 1e-3, "{span:?}");
        }
    }

    #[test]
    fn two_intervals_without_a_common_point_leave_the_newest() {
        let mut envelope = Envelope::new(at(0), Span { low_ns: 0.0, high_ns: 10.0 });
        assert!(!envelope.cut(at(5), Span { low_ns: 500.0, high_ns: 600.0 }));
        assert_eq!(envelope.carried(at(5)), Span { low_ns: 500.0, high_ns: 600.0 });
    }

    #[test]
    fn the_rate_is_learnt_from_intervals_alone_and_the_truth_is_never_cut_off() {
        // A peer 40 ppm fast at a path of 20 us and up to 2 ms of one-sided queueing, for twenty minutes.
        let (rate, mut seed) = (40e-6, 7u64);
        let mut envelope: Option<Envelope> = None;
        for n in 0..9_600i64 {
            let now = at(n * 125_000_000);
            let truth_ns = rate * now.nanos() as f64;
            let mut queue_ns = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                20_000.0 + ((seed >> 33) as f64 / (1u64 << 31) as f64).powi(3) * 2e6
            };
            let span = Span { low_ns: truth_ns - queue_ns(), high_ns: truth_ns + queue_ns() };
            match &mut envelope {
                None => envelope = Some(Envelope::new(now, span)),
                Some(e) => assert!(e.cut(now, span)),
            }
            for ahead_ns in [0, 60_000_000, 2_000_000_000] {
                let later = now.plus(ahead_ns);
                let known = envelope.unwrap().carried(later);
                let truth_ns = rate * later.nanos() as f64;
                assert!(known.low_ns <= truth_ns && truth_ns <= known.high_ns, "{known:?} without {truth_ns} at {n}");
            }
        }
        let known = envelope.unwrap().carried(at(9_600 * 125_000_000));
        assert!(known.high_ns - known.low_ns < 120_000.0, "{known:?}: as narrow as the lucky exchanges make it");
    }
}
