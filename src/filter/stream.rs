//! What the simple filters of the lab share: from an exchange to a sample (when, offset, half round trip), and from a
//! straight line through samples to a relation. Keeps the base, the hard interval and the class; estimates nothing.
//!
//! Times and offsets are those of the Kalman filter: time is the mean of both raw scales, so that both ends of an edge
//! hold exact opposites.

use super::envelope::Envelope;
use super::kalman::{relative, stamps_sum};
use super::{Hard, Outcome, grain_ns, prior_var};
use crate::flow::{Exchange, Relation, Span, StampClass};
use crate::limits::OSCILLATOR_RATE_MAX;
use crate::unit::RawTime;

const S_PER_NS: f64 = 1e-9;
const NS_PER_S: f64 = 1e9;
/// One standard deviation of two unknown oscillators' rate against each other, ns/s (200 ppm).
pub(super) const RATE_PRIOR: f64 = 200e3;
/// Exchanges of a weaker class in a row after which that class is all there is.
const WEAKER_MAX: u32 = 16;
/// Half round trips among which the smallest is sought.
const FLOOR_SAMPLES: usize = 64;

/// One exchange, as a filter sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Seconds since the stream's first exchange.
    pub t_s: f64,
    /// Peer minus self, ns, relative to the base.
    pub offset_ns: f64,
    /// Half of the round trip, ns.
    pub half_ns: f64,
}

/// A rate that no two clocks exceed, ns a second: one of them stands still. Absurd exchanges end here, and not in an
/// infinity.
pub(super) fn bounded(rate: f64) -> f64 {
    rate.clamp(-NS_PER_S, NS_PER_S)
}

/// See [`known`].
const VARIANCE_MIN: f64 = 1e-12;
const VARIANCE_MAX: f64 = 1e37;

/// A straight line through samples: offset and rate at the newest sample, with their covariance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub offset_ns: f64,
    /// ns a second.
    pub rate: f64,
    pub offset_var: f64,
    pub cross: f64,
    pub rate_var: f64,
    /// Variance of one sample, ns².
    pub noise_var: f64,
}

impl Line {
    /// All that one sample says.
    pub(super) fn through(sample: &Sample, class: StampClass) -> Self {
        let variance = prior_var(class);
        Line {
            offset_ns: sample.offset_ns,
            rate: 0.0,
            offset_var: variance,
            cross: 0.0,
            rate_var: RATE_PRIOR * RATE_PRIOR,
            noise_var: variance,
        }
    }

    /// Carries the line `t` seconds on, under process noise `q` in ns²/s³.
    pub(super) fn carry(&mut self, t: f64, q: f64) {
        self.offset_ns += self.rate * t;
        self.offset_var += t * (2.0 * self.cross + t * self.rate_var) + q * t * t * t / 3.0;
        self.cross += t * self.rate_var + q * t * t / 2.0;
        self.rate_var += q * t;
        self.bound();
    }

    /// Brings back what absurd stamps have left without meaning.
    pub(super) fn bound(&mut self) {
        for variance in [&mut self.offset_var, &mut self.rate_var, &mut self.noise_var] {
            *variance = known(*variance);
        }
        let largest = (self.offset_var * self.rate_var).sqrt();
        self.cross = if self.cross.is_finite() { self.cross.clamp(-largest, largest) } else { 0.0 };
    }
}

/// A variance, ns² or ns²/s², kept positive and finite: no clock is more than a century off.
pub(super) fn known(variance: f64) -> f64 {
    if variance.is_finite() { variance.clamp(VARIANCE_MIN, VARIANCE_MAX) } else { VARIANCE_MAX }
}

/// Where and when the stream began, and what is known for certain.
#[derive(Clone, Copy, Debug)]
struct Track {
    base_ns: i64,
    /// Four times the mean of both raw clocks at the first exchange, and at the newest.
    first_sum: i64,
    newest_sum: i64,
    /// Own raw time in the middle of the newest exchange.
    mid: RawTime,
    envelope: Envelope,
    samples: u32,
}

impl Track {
    /// What the exchange says of the relation without any assumption on its delays.
    fn hard(&self, exchange: &Exchange) -> Span {
        let span_ns = exchange.half_span_ns();
        let (rate, rate_doubt) = self.envelope.rate();
        let doubt_ns = grain_ns(exchange.class) + rate_doubt * span_ns.abs();
        let (forward, backward) = relative(exchange, self.base_ns);
        let within = rate * span_ns;
        Span { low_ns: -(backward + within) - doubt_ns, high_ns: forward + within + doubt_ns }
    }
}

/// The exchanges with one peer, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    track: Option<Track>,
    class: StampClass,
    weaker: u32,
    halves: [f64; FLOOR_SAMPLES],
    seen: usize,
}

impl Stream {
    pub(super) fn new() -> Self {
        Stream { track: None, class: StampClass::User, weaker: 0, halves: [f64::INFINITY; FLOOR_SAMPLES], seen: 0 }
    }

    /// The class of the samples.
    pub(super) fn class(&self) -> StampClass {
        self.class
    }

    /// The smallest half round trip of late, ns.
    pub(super) fn floor_ns(&self) -> f64 {
        self.halves.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The exchange as a sample, with the seconds since the one before it (zero for the first). `rate` is what the
    /// filter believes, ns a second.
    ///
    /// # Errors
    /// Why it may not move the estimate.
    pub(super) fn take(&mut self, exchange: &Exchange, rate: f64) -> Result<(Sample, f64), Outcome> {
        // Halving each first keeps the base an exact opposite at the other end: integer division cuts towards zero.
        let fresh_ns = (exchange.forward_ns() / 2).wrapping_sub(exchange.backward_ns() / 2);
        let base_ns = self.track.map_or(fresh_ns, |track| track.base_ns);
        let (forward, backward) = relative(exchange, base_ns);
        let remote_half_span = exchange.remote_received.since(exchange.remote_sent) as f64 / 2.0;
        let drift_ns = rate * S_PER_NS * (exchange.half_span_ns() - remote_half_span) / 2.0;
        let half_ns = (forward + backward) / 2.0 + drift_ns;
        let doubt_ns = grain_ns(exchange.class) + exchange.half_span_ns().abs() * 2.0 * OSCILLATOR_RATE_MAX;
        if half_ns < -doubt_ns {
            return Err(Outcome::Impossible);
        }
        let mid = exchange.local_mid();
        if let Some(track) = &mut self.track {
            let hard = track.hard(exchange);
            track.envelope.cut(mid, hard);
        }
        if exchange.class < self.class && self.weaker < WEAKER_MAX && self.track.is_some() {
            self.weaker += 1;
            return Err(Outcome::WeakerStamp);
        }
        (self.weaker, self.class) = (0, exchange.class);

        let sum = stamps_sum(exchange);
        let mut since_s = 0.0;
        let track = match &mut self.track {
            Some(track) => {
                since_s = sum.wrapping_sub(track.newest_sum) as f64 / 4.0 * S_PER_NS;
                if since_s <= 0.0 {
                    return Err(Outcome::Late);
                }
                (track.newest_sum, track.mid, track.samples) = (sum, mid, track.samples.saturating_add(1));
                track
            }
            None => {
                let envelope = Envelope::new(mid, Span { low_ns: 0.0, high_ns: 0.0 });
                let mut track = Track { base_ns, first_sum: sum, newest_sum: sum, mid, envelope, samples: 1 };
                track.envelope = Envelope::new(mid, track.hard(exchange));
                self.track.insert(track)
            }
        };
        self.halves[self.seen % FLOOR_SAMPLES] = half_ns;
        self.seen = self.seen.wrapping_add(1);
        let t_s = sum.wrapping_sub(track.first_sum) as f64 / 4.0 * S_PER_NS;
        Ok((Sample { t_s, offset_ns: (forward - backward) / 2.0, half_ns }, since_s))
    }

    /// What is certain of the relation at `at`.
    pub(super) fn hard(&self, at: RawTime) -> Option<Hard> {
        self.track.as_ref().map(|track| Hard { base_ns: track.base_ns, span: track.envelope.carried(at) })
    }

    /// The relation that a line at the newest sample stands for, carried to `at` under the wander `q` of the pair, 1/s.
    pub(super) fn relation(&self, at: RawTime, line: &Line, wander: f64) -> Option<Relation> {
        let track = self.track.as_ref()?;
        let later_s = at.since(track.mid) as f64 * S_PER_NS;
        // Inside, rate is per second of the mean of both raw clocks; outside, per second of the own.
        let symmetric = line.rate * S_PER_NS;
        let rate = symmetric / (1.0 - symmetric / 2.0);
        let mut aged = *line;
        aged.carry(later_s.max(0.0), wander * NS_PER_S * NS_PER_S);
        Some(Relation {
            at,
            base_ns: track.base_ns,
            offset_ns: line.offset_ns + rate * NS_PER_S * later_s,
            rate,
            offset_var: aged.offset_var,
            offset_rate_cov: aged.cross * S_PER_NS,
            rate_var: aged.rate_var * S_PER_NS * S_PER_NS,
            noise_var: line.noise_var,
            edge_var: aged.offset_var,
            edge_rate_var: aged.rate_var * S_PER_NS * S_PER_NS,
            hard: track.envelope.carried(at),
            delay_ns: 2.0 * self.floor_ns(),
            class: self.class,
            samples: track.samples,
        })
    }
}
