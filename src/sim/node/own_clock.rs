//! What a simulated node sees of its own clock when it reads it: leap seconds and interference. Leap seconds are
//! announced to the clock by whatever disciplines it or by the pipeline, it takes them by itself, and the pipeline
//! hears of both at the next tick, as in the daemon's discipline thread.

use super::Node;
use crate::flow::{Leap, Reading};
use crate::sim::oscillator::FineRaw;
use crate::sim::world::TrueNs;

/// What the daemon's system clock allows before it says that somebody else has moved it, ns.
const MOVED_NS_MIN: f64 = 5_000.0;
/// The same, for the rate (seconds per second).
const RATE_STRAY_MAX: f64 = 1e-6;
/// Two readings are apart by no more than so many standard deviations of one.
const READING_SIGMAS: f64 = 8.0;

impl Node {
    /// What disciplines the node's clock, or an administrator, announces a leap second to it.
    pub fn announce_leap(&mut self, now: TrueNs, leap: Leap) {
        let raw = self.oscillator.read(now);
        self.clock.announce(raw, leap);
    }

    /// From now on its clock does not take leap seconds, whatever it is told.
    pub fn forget_leap(&mut self, now: TrueNs) {
        let raw = self.oscillator.read(now);
        self.clock.forget_leap(raw);
    }

    /// Tells the pipeline what the clock has to say, before it is read. A leap second that it has taken is nobody's
    /// interference.
    pub(super) fn hear_of_leap(&mut self, raw: FineRaw) {
        let news = self.clock.leap_news(raw);
        if let Some((then, _)) = &mut self.left {
            then.clock = then.clock.plus(news.taken.step_s() * 1_000_000_000);
        }
        self.pipeline.on_leap(news);
    }

    /// By how much the clock stands elsewhere at `now` than the last command let it go, ns: somebody else has set it. 0
    /// for what may be the noise of reading it. The daemon's system clock looks at itself in the same way.
    pub(super) fn moved_by_others_ns(&self, now: &Reading) -> i64 {
        let Some((then, rate)) = &self.left else { return 0 };
        let span_ns = now.raw.since(then.raw);
        let gained_ns = now.clock.nanos() - then.clock.nanos() - span_ns;
        let moved_ns = gained_ns as f64 - rate * span_ns as f64;
        let noise_ns = READING_SIGMAS * self.read_noise.variance().sqrt();
        let doubt_ns = noise_ns + RATE_STRAY_MAX * span_ns as f64;
        if moved_ns.abs() > MOVED_NS_MIN + doubt_ns { moved_ns.round() as i64 } else { 0 }
    }
}
