//! V for a node whose clock is not to be moved: it is what the clock reads. Serves references, whose clock is the
//! cluster's truth, and nodes that have found nobody yet. Steers nothing and filters only the rate.

use super::peer::V_RATE_MAX;
use crate::flow::{Mapping, Reading};
use crate::unit::VirtualTime;

/// Memory of the rate, seconds: readings are good to about 10 ns, so the rate is good to 1e-8.
const RATE_S: f64 = 2.0;

/// Follows a clock that somebody else steers, or nobody.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    last: Option<Reading>,
}

impl Follower {
    pub(super) fn new() -> Self {
        Follower { last: None }
    }

    /// The mapping of the clock as just read; `rate` is what is known of its rate against raw so far.
    pub(super) fn follow(&mut self, now: Reading, rate: f64) -> Mapping {
        let rate = self.last.map_or(rate, |last| learn(last, now, rate));
        self.last = Some(now);
        Mapping::through(now.raw, VirtualTime::from_nanos(now.clock.nanos()), rate)
    }

    /// The clock is not being followed for a while: the next slope would span other things than its own rate.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

/// V minus the delivered clock, ns.
pub(super) fn lag_ns(mapping: &Mapping, now: Reading) -> f64 {
    let (whole_ns, frac_ns) = mapping.offset_at(now.raw);
    let clock_ns = now.clock.nanos().wrapping_sub(now.raw.nanos());
    whole_ns.wrapping_sub(clock_ns) as f64 + frac_ns
}

fn learn(last: Reading, now: Reading, rate: f64) -> f64 {
    let raw_ns = now.raw.since(last.raw);
    if raw_ns <= 0 {
        return rate;
    }
    let slope = now.clock.since(last.clock).wrapping_sub(raw_ns) as f64 / raw_ns as f64;
    if slope.abs() > V_RATE_MAX {
        return rate; // the clock was stepped: that is no rate
    }
    rate + (raw_ns as f64 * 1e-9 / RATE_S).min(1.0) * (slope - rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{ClockTime, RawTime};

    fn reading(raw_ns: i64, clock_ns: i64) -> Reading {
        Reading { raw: RawTime::from_nanos(raw_ns), clock: ClockTime::from_nanos(clock_ns) }
    }

    #[test]
    fn v_is_what_the_clock_reads_and_its_rate_is_learnt() {
        let mut follower = Follower::new();
        let mut mapping = follower.follow(reading(0, 5_000_000), 0.0);
        for turn in 1..400i64 {
            let raw = turn * 62_500_000;
            mapping = follower.follow(reading(raw, 5_000_000 + raw + raw / 50_000), mapping.rate);
        }
        let raw = 399 * 62_500_000;
        assert_eq!(mapping.virtual_at(RawTime::from_nanos(raw)).nanos(), 5_000_000 + raw + raw / 50_000);
        assert!((mapping.rate - 20e-6).abs() < 1e-9, "{}", mapping.rate);
    }

    #[test]
    fn a_step_of_the_clock_is_followed_and_is_no_rate() {
        let mut follower = Follower::new();
        follower.follow(reading(0, 0), 0.0);
        let mapping = follower.follow(reading(62_500_000, 1_062_500_000), 0.0);
        assert_eq!((mapping.offset_ns, mapping.rate), (1_000_000_000, 0.0));
    }
}
