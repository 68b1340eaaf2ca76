//! The relation of a card's free-running clock to `CLOCK_MONOTONIC_RAW`, estimated from readings of both together, and
//! whether that clock is to be believed. Steers nothing and reads nothing: readings come in as arguments.
//!
//! Both clocks are oscillators that nobody steers, so their relation is physics: an offset, and a rate that wanders. A
//! two-state Kalman filter follows it (the textbook one; the edge filters of `filter` solve another problem, a path of
//! unknown delay seen from two ends). A reading says itself how noisy it is; how much the two oscillators wander is
//! learnt from how the filter is surprised. A card that somebody does steer, `ptp4l` for instance, looks like one that
//! wanders a great deal: it is followed, less well.
//!
//! Three things end belief at once: a jump, a rate that no oscillator has, and a clock that no longer answers. What was
//! known is then forgotten, and the estimate starts anew from the readings that come.

use crate::limits::{DRIFT_RATE, PHC_AGE_NS_MAX, PHC_RATE_MAX};
use crate::sys::ptp::PtpReading;

const S_PER_NS: f64 = 1e-9;
const NS_PER_S: f64 = 1e9;

/// One standard deviation of the rate before anything is known, ns/s: 1000 ppm.
const RATE_PRIOR: f64 = 1e6;
/// Wander of the two oscillators together, ns²/s³: the least assumed (two quartzes of 1e-9/sqrt(s)), and the most (a
/// clock that is being steered).
const WANDER_MIN: f64 = 2.0;
const WANDER_MAX: f64 = 1e10;
/// By how much a reading that the gate had to cut raises the wander: somebody may have begun to steer the clock, and
/// must be followed before the cuts end belief.
const WANDER_LEAP: f64 = 4.0;
/// Readings that the mean surprise remembers.
const SURPRISE_MEMORY: f64 = 32.0;
/// A mean surprise above this raises the wander, one below that lowers it; 1 is what the filter expects.
const SURPRISE_HIGH: f64 = 2.0;
const SURPRISE_LOW: f64 = 0.8;
/// One reading's surprise counts at most this much.
const SURPRISE_MAX: f64 = 36.0;
/// An innovation beyond this many standard deviations moves the estimate only so far.
const GATE_SIGMAS: f64 = 6.0;
/// Readings before the relation is believed: half a second of ticks, after which the rate is known to better than 1 ppm
/// and the next tick can be foretold.
const WARM: u32 = 8;
/// Readings in a row that contradict the relation and so end it; the first already suspends it.
const CONTRADICTIONS: u32 = 3;
/// Readings in a row that the gate had to cut, after which the estimate starts anew.
const CUTS: u32 = 16;
/// Failed readings in a row after which the clock is gone.
const FAILURES: u32 = 3;
/// A reading that is off by less than this, beyond what both it and the relation can be wrong by, contradicts nothing,
/// ns.
const JUMP_NS_MIN: f64 = 1_000.0;

/// Card time and machine raw time at one instant, and how they run against each other from there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhcRelation {
    /// The card's clock at the latest reading, ns.
    pub at_card_ns: i64,
    /// `CLOCK_MONOTONIC_RAW` of the machine at that instant, whole ns, as estimated.
    pub at_raw_ns: i64,
    /// How much faster RAW runs than the card (seconds per second).
    pub rate: f64,
    /// One standard deviation of `at_raw_ns`, ns: an estimate.
    pub sigma_ns: f64,
    /// `at_raw_ns` cannot be further off than this if the readings were honest, ns: a bound.
    pub doubt_ns: f64,
}

impl PhcRelation {
    /// Machine raw time at the card time `card_ns`, ns; `None` if it is too far from the latest reading to be told.
    #[must_use]
    pub fn raw_at(&self, card_ns: i64) -> Option<i64> {
        let since_ns = card_ns.wrapping_sub(self.at_card_ns);
        if since_ns.checked_abs()? > PHC_AGE_NS_MAX {
            return None;
        }
        Some(self.at_raw_ns.wrapping_add(since_ns).wrapping_add((since_ns as f64 * self.rate).round() as i64))
    }
}

/// What happened to the belief in a card's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PhcEvent {
    /// The relation is known: stamps of the card can be used from now on.
    Ready,
    /// The clock moved against RAW by this much, ns, positive if RAW is ahead of what was foretold: it was set or
    /// reset.
    Jumped(f64),
    /// RAW runs faster than the clock by this much (seconds per second), which no oscillator explains.
    RateAbsurd(f64),
    /// It does not answer any more; the number of the last error.
    Gone(i32),
}

/// Follows one card's clock.
#[derive(Clone, Debug)]
pub struct PhcTrack {
    state: Option<State>,
    /// Readings in a row that contradicted the relation.
    contradicted: u32,
    failures: u32,
    /// `Ready` has been told and nothing has ended it since.
    believed: bool,
    /// Times that belief ended.
    losses: u64,
}

#[derive(Clone, Debug)]
struct State {
    /// The latest reading.
    latest: PtpReading,
    /// RAW minus card at the first reading, whole ns.
    base_ns: i64,
    /// RAW minus card minus the base at the latest reading, ns, and how fast it grows, ns per second of RAW.
    offset: f64,
    rate: f64,
    p_offset: f64,
    p_cross: f64,
    p_rate: f64,
    wander: f64,
    surprise: f64,
    samples: u32,
    cuts: u32,
    /// The offset cannot be further off than this, ns.
    doubt: f64,
}

impl State {
    fn new(reading: &PtpReading) -> Self {
        let width = reading.width_ns as f64;
        State {
            latest: *reading,
            base_ns: reading.raw_ns.wrapping_sub(reading.ptp_ns),
            offset: 0.0,
            rate: 0.0,
            p_offset: variance(reading),
            p_cross: 0.0,
            p_rate: RATE_PRIOR * RATE_PRIOR,
            wander: WANDER_MIN,
            surprise: 1.0,
            samples: 1,
            cuts: 0,
            doubt: width / 2.0,
        }
    }

    /// RAW minus card of a reading, relative to the base, ns.
    fn measured(&self, reading: &PtpReading) -> f64 {
        reading.raw_ns.wrapping_sub(reading.ptp_ns).wrapping_sub(self.base_ns) as f64
    }

    fn predict(&mut self, t: f64) {
        self.offset += self.rate * t;
        self.p_offset += t * (2.0 * self.p_cross + t * self.p_rate) + self.wander * t * t * t / 3.0;
        self.p_cross += t * self.p_rate + self.wander * t * t / 2.0;
        self.p_rate += self.wander * t;
    }

    /// Takes a reading in; false if too many in a row had to be cut.
    fn update(&mut self, reading: &PtpReading) -> bool {
        let noise = variance(reading);
        let innovation = self.measured(reading) - self.offset;
        let s = self.p_offset + noise;
        let gate = GATE_SIGMAS * s.sqrt();
        let cut = innovation.clamp(-gate, gate);
        let moved = self.p_offset / s * cut;
        let elapsed_ns = reading.raw_ns.wrapping_sub(self.latest.raw_ns) as f64;
        self.offset += moved;
        self.rate += self.p_cross / s * cut;
        self.p_rate -= self.p_cross * self.p_cross / s;
        self.p_cross *= noise / s;
        self.p_offset *= noise / s;
        self.samples = self.samples.saturating_add(1);
        // The truth is inside this reading; it is also where it was before, give or take what the oscillators may have
        // drifted and the estimate has moved. The narrower of the two counts, so that one wide reading spoils nothing.
        let by_this = reading.width_ns as f64 / 2.0 + (self.measured(reading) - self.offset).abs();
        let by_those_before = self.doubt + moved.abs() + DRIFT_RATE * elapsed_ns;
        self.doubt = if self.samples > WARM { by_this.min(by_those_before) } else { by_this };
        self.latest = *reading;
        if self.samples > WARM {
            self.learn(innovation * innovation / s);
            self.cuts = if innovation.abs() > gate { self.cuts + 1 } else { 0 };
            if self.cuts > 0 {
                self.wander = (self.wander * WANDER_LEAP).min(WANDER_MAX);
            }
        }
        self.cuts < CUTS
    }

    /// How the filter was surprised tells whether it takes the oscillators for too steady.
    fn learn(&mut self, surprise: f64) {
        self.surprise += (surprise.min(SURPRISE_MAX) - self.surprise) / SURPRISE_MEMORY;
        if self.surprise > SURPRISE_HIGH {
            self.wander = (self.wander * 1.5).min(WANDER_MAX);
        } else if self.surprise < SURPRISE_LOW {
            self.wander = (self.wander / 1.1).max(WANDER_MIN);
        }
    }
}

impl Default for PhcTrack {
    fn default() -> Self {
        PhcTrack::new()
    }
}

impl PhcTrack {
    /// Nothing known yet.
    #[must_use]
    pub const fn new() -> Self {
        PhcTrack { state: None, contradicted: 0, failures: 0, believed: false, losses: 0 }
    }

    /// Takes a reading. At most one event comes of it.
    pub fn on_reading(&mut self, reading: &PtpReading) -> Option<PhcEvent> {
        self.failures = 0;
        let Some(state) = &mut self.state else {
            self.state = Some(State::new(reading));
            return None;
        };
        let t = reading.raw_ns.wrapping_sub(state.latest.raw_ns) as f64 * S_PER_NS;
        if t <= 0.0 {
            return None;
        }
        let mut next = state.clone();
        next.predict(t);
        let off = next.measured(reading) - next.offset;
        if next.samples >= WARM {
            // Both the reading and the relation have a width that they cannot be wrong beyond; in between the clocks
            // may have parted a little.
            let explained = reading.width_ns as f64 / 2.0
                + next.doubt
                + GATE_SIGMAS * next.p_offset.sqrt()
                + DRIFT_RATE * NS_PER_S * t;
            if off.abs() > JUMP_NS_MIN + explained {
                self.contradicted += 1;
                if self.contradicted < CONTRADICTIONS {
                    return None;
                }
                return self.lose(PhcEvent::Jumped(off), Some(reading));
            }
        }
        self.contradicted = 0;
        let steady = next.update(reading);
        let (warm, rate) = (next.samples >= WARM, next.rate * S_PER_NS);
        self.state = Some(next);
        if !steady {
            return self.lose(PhcEvent::Jumped(off), Some(reading));
        }
        if warm && rate.abs() > PHC_RATE_MAX {
            // It is followed on, so that it is noticed when it comes to its senses.
            return if self.believed { self.lose(PhcEvent::RateAbsurd(rate), None) } else { None };
        }
        if warm && !self.believed {
            self.believed = true;
            return Some(PhcEvent::Ready);
        }
        None
    }

    /// A reading has failed.
    pub fn on_failure(&mut self, errno: i32) -> Option<PhcEvent> {
        self.failures = self.failures.saturating_add(1);
        if self.failures != FAILURES {
            return None;
        }
        self.state = None;
        // A clock that never answered has not been lost.
        self.believed.then(|| self.lose(PhcEvent::Gone(errno), None)).flatten()
    }

    fn lose(&mut self, event: PhcEvent, anew: Option<&PtpReading>) -> Option<PhcEvent> {
        if let Some(reading) = anew {
            self.state = Some(State::new(reading));
        }
        self.contradicted = 0;
        let told = self.believed;
        self.believed = false;
        self.losses += u64::from(told);
        told.then_some(event)
    }

    /// The relation, if it can be believed now.
    #[must_use]
    pub fn relation(&self) -> Option<PhcRelation> {
        let state = self.state.as_ref().filter(|_| self.believed && self.contradicted == 0 && self.failures == 0)?;
        // The state's rate is per second of RAW; what is wanted is per second of the card.
        let symmetric = state.rate * S_PER_NS;
        Some(PhcRelation {
            at_card_ns: state.latest.ptp_ns,
            at_raw_ns: state.latest.ptp_ns.wrapping_add(state.base_ns).wrapping_add(state.offset.round() as i64),
            rate: symmetric / (1.0 - symmetric),
            sigma_ns: state.p_offset.sqrt(),
            doubt_ns: state.doubt,
        })
    }

    /// Whether the clock has stopped answering.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        self.failures >= FAILURES
    }

    /// Times that belief in the clock ended.
    #[must_use]
    pub const fn losses(&self) -> u64 {
        self.losses
    }
}

fn variance(reading: &PtpReading) -> f64 {
    (reading.noise_ns * reading.noise_ns).max(1.0)
}

#[cfg(test)]
mod tests;
