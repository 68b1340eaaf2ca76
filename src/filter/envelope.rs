//! The hard interval of one edge: no packet arrives before it was sent, so the relation lies between minus the backward
//! and plus the forward apparent delay, whatever the delays were. Intervals of many exchanges are intersected, each
//! aged by how far two free-running oscillators can have drifted apart since. Holds no estimate and trusts none except
//! for the rate, whose uncertainty it adds.

use crate::flow::Span;
use crate::limits::{DRIFT_RATE, OSCILLATOR_RATE_MAX};
use crate::unit::RawTime;

/// Standard deviations of the rate estimate that ageing allows for.
const RATE_SIGMAS: f64 = 4.0;

/// The rate by which an interval is carried in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drift {
    /// How much faster the peer's raw clock runs (seconds per second).
    pub rate: f64,
    /// One standard deviation of it.
    pub rate_sigma: f64,
}

impl Drift {
    /// How fast each end of an interval moves outwards, seconds per second: two oscillators against their last known
    /// rate, and the doubt about that rate, which is never greater than what two working oscillators can differ by.
    pub(super) fn growth(self) -> f64 {
        2.0 * DRIFT_RATE + (RATE_SIGMAS * self.rate_sigma).min(2.0 * OSCILLATOR_RATE_MAX)
    }
}

/// The tightest interval known, in ns relative to the edge's base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    at: RawTime,
    span: Span,
}

impl Envelope {
    /// The interval of a single exchange whose middle is `at`.
    pub(super) fn new(at: RawTime, span: Span) -> Self {
        Envelope { at, span }
    }

    /// The interval at `at`, earlier or later than its own time.
    pub(super) fn carried(&self, at: RawTime, drift: Drift) -> Span {
        carried(self.span, at.since(self.at), drift)
    }

    /// Cuts the interval with that of another exchange, which may be an older one. False if they have nothing in
    /// common: something jumped, and the interval starts anew from the exchange.
    pub(super) fn cut(&mut self, at: RawTime, span: Span, drift: Drift) -> bool {
        let newest = if at.since(self.at) > 0 { at } else { self.at };
        let kept = self.carried(newest, drift);
        let cut = carried(span, newest.since(at), drift);
        let both = Span { low_ns: kept.low_ns.max(cut.low_ns), high_ns: kept.high_ns.min(cut.high_ns) };
        let common = both.low_ns <= both.high_ns;
        *self = Envelope { at: newest, span: if common { both } else { cut } };
        common
    }
}

fn carried(span: Span, later_ns: i64, drift: Drift) -> Span {
    let span_ns = later_ns as f64;
    let (moved_ns, grown_ns) = (drift.rate * span_ns, drift.growth() * span_ns.abs());
    Span { low_ns: span.low_ns + moved_ns - grown_ns, high_ns: span.high_ns + moved_ns + grown_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Drift = Drift { rate: 0.0, rate_sigma: 0.0 };

    fn at(ns: i64) -> RawTime {
        RawTime::from_nanos(ns)
    }

    #[test]
    fn a_second_exchange_narrows_the_interval() {
        let mut envelope = Envelope::new(at(0), Span { low_ns: -50.0, high_ns: 20.0 });
        assert!(envelope.cut(at(0), Span { low_ns: -30.0, high_ns: 40.0 }, STILL));
        assert_eq!(envelope.carried(at(0), STILL), Span { low_ns: -30.0, high_ns: 20.0 });
    }

    #[test]
    fn an_interval_grows_by_twice_the_drift_rate_on_each_side() {
        let envelope = Envelope::new(at(0), Span { low_ns: -1.0, high_ns: 1.0 });
        let later = envelope.carried(at(1_000_000_000), STILL);
        assert!((later.high_ns - 1.0 - 2e9 * DRIFT_RATE).abs() < 1e-6);
        assert!((later.low_ns + 1.0 + 2e9 * DRIFT_RATE).abs() < 1e-6);
    }

    #[test]
    fn two_intervals_without_a_common_point_leave_the_newest() {
        let mut envelope = Envelope::new(at(0), Span { low_ns: 0.0, high_ns: 10.0 });
        assert!(!envelope.cut(at(5), Span { low_ns: 500.0, high_ns: 600.0 }, STILL));
        assert_eq!(envelope.carried(at(5), STILL), Span { low_ns: 500.0, high_ns: 600.0 });
    }

    #[test]
    fn an_older_exchange_is_aged_before_it_cuts() {
        let mut envelope = Envelope::new(at(1_000_000_000), Span { low_ns: -9_000.0, high_ns: 9_000.0 });
        assert!(envelope.cut(at(0), Span { low_ns: -10.0, high_ns: 10.0 }, STILL));
        let now = envelope.carried(at(1_000_000_000), STILL);
        assert!((now.high_ns - 2_010.0).abs() < 1e-6, "{now:?}");
    }
}
