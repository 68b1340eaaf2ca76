//! The edge filter of the raw-clock ensemble (ALGORITHMS 2 to 4): a two-state Kalman filter over the relation of
//! two raw clocks, with the gain that suits a node which fuses many edges, and beside it a bank of filters that only
//! scores how much the two oscillators wander. Open loop: knows nothing of mappings, and nobody's steering reaches it.
//!
//! Everything is written so that the two ends of an edge, fed with the same four stamps, hold exact negatives of each
//! other: time between exchanges is the mean of what passed on both raw scales, and the correction for drift within an
//! exchange is the mean of both ends' view of it. Float arithmetic is symmetric under negation, so the property is
//! exact.

use super::envelope::Envelope;
use super::noise::Noise;
use super::{EdgeFilter, Fetch, Hard, Outcome, Pair, Scores, fetch_whole, grain_ns, prior_var};
use crate::flow::{Exchange, Relation, Span, StampClass};
use crate::limits::OSCILLATOR_RATE_MAX;
use crate::unit::RawTime;

/// Seconds in a nanosecond. Inside, offsets are ns, rates ns/s and q ns²/s³, so that the numbers stay near one.
const S_PER_NS: f64 = 1e-9;
const NS_PER_S: f64 = 1e9;
/// q in 1/s to q in ns²/s³.
const WANDER_SCALE: f64 = NS_PER_S * NS_PER_S;

/// One standard deviation of two unknown oscillators' rate against each other, ns/s (200 ppm).
const RATE_PRIOR: f64 = 200e3;
/// Innovations beyond this many standard deviations are clipped.
const GATE_SIGMAS: f64 = 5.0;
/// Clipped exchanges in a row that mean a jump.
const CLIPPED_MAX: u32 = 8;
/// Exchanges of a weaker class in a row after which that class is all there is.
const WEAKER_MAX: u32 = 16;

/// Candidates of the bank: q of the pair, 1/s. Two oscillators of 1e-9/sqrt(s) make 2e-18.
const BANK: [f64; 8] = [1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14];
/// Where the bank starts: 1e-18.
const BANK_START: usize = 3;
/// Pair wander that is assumed until the bank has seen enough, 1/s: two ordinary crystals of 1e-9/sqrt(s).
#[cfg(test)]
const WANDER_PRIOR: f64 = 2e-18;
/// Exchanges before the bank is scored (its filters are still finding the rate) and before it is believed.
const BANK_SETTLING: u32 = 8;
const BANK_BELIEVED: u32 = 24;
/// Memory of the bank's scores, exchanges.
const BANK_MEMORY: u32 = 300;
/// A candidate must be better by this much to replace the chosen one.
const BANK_HYSTERESIS: f64 = 0.003;
/// Memory of the typical noise of an exchange.
const NOISE_MEMORY: f64 = 64.0;

/// Offset and rate with their covariance; rate wanders as a random walk.
#[derive(Clone, Copy, Debug)]
struct TwoState {
    offset: f64,
    rate: f64,
    p_offset: f64,
    p_cross: f64,
    p_rate: f64,
}

impl TwoState {
    fn new(offset: f64, variance: f64) -> Self {
        TwoState { offset, rate: 0.0, p_offset: variance, p_cross: 0.0, p_rate: RATE_PRIOR * RATE_PRIOR }
    }

    /// Carries the state `t` seconds on, under process noise `q` in ns²/s³.
    fn predict(&mut self, t: f64, q: f64) {
        self.offset += self.rate * t;
        self.p_offset += t * (2.0 * self.p_cross + t * self.p_rate) + q * t * t * t / 3.0;
        self.p_cross += t * self.p_rate + q * t * t / 2.0;
        self.p_rate += q * t;
    }

    /// Takes in an innovation of variance `noise` beside the state's own.
    fn update(&mut self, innovation: f64, noise: f64) {
        let s = self.p_offset + noise;
        self.offset += self.p_offset / s * innovation;
        self.rate += self.p_cross / s * innovation;
        self.p_rate -= self.p_cross * self.p_cross / s;
        self.p_cross *= noise / s;
        self.p_offset *= noise / s;
    }
}

/// One filter of the bank and how well it has predicted: mean of nu²/S and of ln S.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    state: TwoState,
    surprise: f64,
    log_var: f64,
}

/// Filters that differ in nothing but their process noise, scored by likelihood.
#[derive(Clone, Debug)]
struct Bank {
    candidates: [Candidate; BANK.len()],
    log_likelihood: [f64; BANK.len()],
    seen: u32,
    best: usize,
}

impl Bank {
    fn new(offset: f64, variance: f64) -> Self {
        let candidate = Candidate { state: TwoState::new(offset, variance), surprise: 1.0, log_var: 0.0 };
        Bank { candidates: [candidate; BANK.len()], log_likelihood: [0.0; BANK.len()], seen: 0, best: BANK_START }
    }

    fn best(&self) -> &TwoState {
        &self.candidates[self.best].state
    }

    fn predict(&mut self, t: f64) {
        for (candidate, q) in self.candidates.iter_mut().zip(BANK) {
            candidate.state.predict(t, q * WANDER_SCALE);
        }
    }

    fn inflate(&mut self, variance: f64) {
        for candidate in &mut self.candidates {
            candidate.state.p_offset += variance;
        }
    }

    fn update(&mut self, offset: f64, noise: f64) {
        self.seen = self.seen.saturating_add(1);
        // An exchange is left out of the scores only if even the most agile candidate finds it impossible: leaving out
        // what surprises a sluggish one would make sluggishness look good.
        let agile = &self.candidates[BANK.len() - 1].state;
        let impossible = (offset - agile.offset).abs() > GATE_SIGMAS * (agile.p_offset + noise).sqrt();
        let scored = self.seen > BANK_SETTLING && !impossible;
        let weight = 1.0 / f64::from(self.seen.saturating_sub(BANK_SETTLING).clamp(1, BANK_MEMORY));
        for (candidate, likelihood) in self.candidates.iter_mut().zip(&mut self.log_likelihood) {
            let innovation = offset - candidate.state.offset;
            let s = candidate.state.p_offset + noise;
            if scored {
                candidate.surprise += weight * (innovation * innovation / s - candidate.surprise);
                candidate.log_var += weight * (s.ln() - candidate.log_var);
                *likelihood = -0.5 * (candidate.surprise + candidate.log_var);
            }
            let gate = GATE_SIGMAS * s.sqrt();
            candidate.state.update(innovation.clamp(-gate, gate), noise);
        }
        if self.seen > BANK_BELIEVED {
            let mut top = self.best;
            for (index, likelihood) in self.log_likelihood.iter().enumerate() {
                if *likelihood > self.log_likelihood[top] {
                    top = index;
                }
            }
            if self.log_likelihood[top] > self.log_likelihood[self.best] + BANK_HYSTERESIS / 2.0 {
                self.best = top;
            }
        }
    }

    /// The pair's q in 1/s: the top of a parabola through the best candidate and its neighbours. A node pools the
    /// scores of all its edges instead; a test of one edge has no others.
    #[cfg(test)]
    fn wander(&self) -> f64 {
        if self.seen <= BANK_BELIEVED {
            return WANDER_PRIOR;
        }
        let here = self.best;
        if here == 0 || here + 1 == BANK.len() {
            return BANK[here];
        }
        let (left, mid, right) =
            (self.log_likelihood[here - 1], self.log_likelihood[here], self.log_likelihood[here + 1]);
        let bend = 2.0 * mid - left - right;
        let lean = if bend > 1e-12 { ((right - left) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 };
        BANK[here] * (BANK[here + 1] / BANK[here]).powf(lean)
    }
}

/// The estimate of an edge that has seen at least one exchange.
#[derive(Clone, Debug)]
struct Track {
    /// Whole part of peer minus self, ns.
    base_ns: i64,
    /// Sum of the newest exchange's four stamps: four times the mean of both raw clocks, wrapping.
    stamps_sum: i64,
    /// Own raw time in the middle of the newest exchange.
    mid: RawTime,
    state: TwoState,
    bank: Bank,
    envelope: Envelope,
    /// Mean of 1/R: the information one exchange brings.
    information: f64,
    /// Process noise of the pair as both ends last agreed on it, ns²/s³.
    q: f64,
    boost: f64,
    samples: u32,
    clipped: u32,
}

impl Track {
    /// How much faster the peer's raw clock runs than one's own. Inside, rate is per second of the *mean* of both.
    fn rate(&self) -> f64 {
        let symmetric = self.state.rate * S_PER_NS;
        symmetric / (1.0 - symmetric / 2.0)
    }

    /// What the exchange says of the relation without any assumption on its delays, relative to the base, at its
    /// middle.
    fn hard(&self, exchange: &Exchange) -> Span {
        let span_ns = exchange.half_span_ns();
        let (rate, rate_doubt) = self.envelope.rate();
        let doubt_ns = grain_ns(exchange.class) + rate_doubt * span_ns.abs();
        let (forward, backward) = relative(exchange, self.base_ns);
        let within = rate * span_ns;
        Span { low_ns: -(backward + within) - doubt_ns, high_ns: forward + within + doubt_ns }
    }
}

/// Apparent delays of an exchange when the base is taken out of the relation, ns.
pub(super) fn relative(exchange: &Exchange, base_ns: i64) -> (f64, f64) {
    let forward = exchange.forward_ns().wrapping_sub(base_ns) as f64;
    let backward = exchange.backward_ns().wrapping_add(base_ns) as f64;
    (forward, backward)
}

/// Four times the mean of both raw clocks in the middle of the exchange, ns, wrapping.
pub(super) fn stamps_sum(exchange: &Exchange) -> i64 {
    let local = exchange.local_sent.nanos().wrapping_add(exchange.local_received.nanos());
    let remote = exchange.remote_sent.nanos().wrapping_add(exchange.remote_received.nanos());
    local.wrapping_add(remote)
}

/// The Kalman edge filter. About 1.4 KiB.
#[derive(Clone, Debug)]
pub struct Kalman {
    track: Option<Track>,
    noise: Noise,
    class: StampClass,
    weaker: u32,
}

impl Default for Kalman {
    fn default() -> Self {
        Kalman::new()
    }
}

impl Kalman {
    /// A filter that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Kalman { track: None, noise: Noise::new(StampClass::User), class: StampClass::User, weaker: 0 }
    }

    /// The pair's q in 1/s as this edge alone finds it.
    #[cfg(test)]
    pub(super) fn wander(&self) -> f64 {
        self.track.as_ref().map_or(WANDER_PRIOR, |track| track.bank.wander())
    }

    /// Starts the estimate from one exchange; the noise of the path is remembered.
    fn start(&mut self, exchange: &Exchange, pair: &Pair) {
        // Halving each first keeps the base an exact opposite at the other end: integer division cuts towards zero.
        let base_ns = (exchange.forward_ns() / 2).wrapping_sub(exchange.backward_ns() / 2);
        let (forward, backward) = relative(exchange, base_ns);
        let offset = (forward - backward) / 2.0;
        let variance = prior_var(exchange.class);
        let mut track = Track {
            base_ns,
            stamps_sum: stamps_sum(exchange),
            mid: exchange.local_mid(),
            state: TwoState::new(offset, variance),
            bank: Bank::new(offset, variance),
            envelope: Envelope::new(exchange.local_mid(), Span { low_ns: 0.0, high_ns: 0.0 }),
            information: 1.0 / variance,
            q: pair.wander * WANDER_SCALE,
            boost: pair.boost,
            samples: 1,
            clipped: 0,
        };
        track.envelope = Envelope::new(track.mid, track.hard(exchange));
        self.track = Some(track);
    }

    /// Decides by the class of its stamps whether an exchange may be mixed with its neighbours.
    fn admits(&mut self, class: StampClass) -> bool {
        if class < self.class && self.weaker < WEAKER_MAX && self.track.is_some() {
            self.weaker += 1;
            return false;
        }
        self.weaker = 0;
        if class != self.noise.class() {
            self.noise = Noise::new(class);
        }
        self.class = class;
        true
    }
}

impl EdgeFilter for Kalman {
    fn on_exchange(&mut self, exchange: &Exchange, pair: &Pair) -> Outcome {
        let rate = self.track.as_ref().map_or(0.0, |t| t.state.rate * S_PER_NS);
        let base_ns = self
            .track
            .as_ref()
            .map_or((exchange.forward_ns() / 2).wrapping_sub(exchange.backward_ns() / 2), |t| t.base_ns);
        let (forward, backward) = relative(exchange, base_ns);
        // The relation drifts between the two stamps of each node. Both ends' half spans, averaged: ALGORITHMS 2.1.
        let remote_half_span = exchange.remote_received.since(exchange.remote_sent) as f64 / 2.0;
        let half_ns = (forward + backward) / 2.0 + rate * (exchange.half_span_ns() - remote_half_span) / 2.0;
        let doubt_ns = grain_ns(exchange.class) + exchange.half_span_ns().abs() * 2.0 * OSCILLATOR_RATE_MAX;
        if half_ns < -doubt_ns {
            return Outcome::Impossible;
        }
        if !self.admits(exchange.class) {
            if let Some(track) = &mut self.track {
                track.envelope.cut(exchange.local_mid(), track.hard(exchange));
            }
            return Outcome::WeakerStamp;
        }
        let Some(track) = &mut self.track else {
            self.noise.observe(half_ns);
            self.start(exchange, pair);
            return Outcome::Taken;
        };
        let mid = exchange.local_mid();
        track.envelope.cut(mid, track.hard(exchange));

        let sum = stamps_sum(exchange);
        let elapsed_s = sum.wrapping_sub(track.stamps_sum) as f64 / 4.0 * S_PER_NS;
        if elapsed_s <= 0.0 {
            return Outcome::Late;
        }
        let route = self.noise.observe(half_ns);
        track.stamps_sum = sum;
        track.mid = mid;
        track.q = pair.wander * WANDER_SCALE;
        track.boost = pair.boost;
        track.samples = track.samples.saturating_add(1);
        track.state.predict(elapsed_s, track.q);
        track.bank.predict(elapsed_s);
        if let Some(moved_ns) = route {
            // The asymmetry may have changed by as much as the floor.
            let variance = moved_ns * moved_ns / 4.0;
            track.state.p_offset += variance / track.boost;
            track.bank.inflate(variance);
        }

        let offset = (forward - backward) / 2.0;
        let candidates = self.noise.candidates(half_ns);
        let noise = self.noise.variance(candidates);
        let honest = track.bank.best();
        self.noise.learn(candidates, offset - honest.offset, honest.p_offset);
        track.bank.update(offset, noise);
        let weight = 1.0 / f64::from(track.samples).min(NOISE_MEMORY);
        track.information += weight * (1.0 / noise - track.information);

        let innovation = offset - track.state.offset;
        let gate = GATE_SIGMAS * (track.boost * track.state.p_offset + noise).sqrt();
        track.state.update(innovation.clamp(-gate, gate), noise / track.boost);
        if innovation.abs() <= gate {
            track.clipped = 0;
            return if route.is_some() { Outcome::RouteChanged } else { Outcome::Taken };
        }
        track.clipped += 1;
        if track.clipped < CLIPPED_MAX {
            return Outcome::Clipped;
        }
        self.start(exchange, pair);
        Outcome::Restarted
    }

    fn relation(&self, at: RawTime) -> Option<Relation> {
        let track = self.track.as_ref()?;
        let later_s = at.since(track.mid) as f64 * S_PER_NS;
        let rate = track.rate();
        let mut aged = track.state;
        aged.predict(later_s.max(0.0), track.q);
        Some(Relation {
            at,
            base_ns: track.base_ns,
            offset_ns: track.state.offset + rate * NS_PER_S * later_s,
            rate,
            offset_var: aged.p_offset,
            offset_rate_cov: aged.p_cross * S_PER_NS,
            rate_var: aged.p_rate * S_PER_NS * S_PER_NS,
            noise_var: 1.0 / track.information,
            edge_var: aged.p_offset * track.boost,
            edge_rate_var: aged.p_rate * track.boost * S_PER_NS * S_PER_NS,
            hard: track.envelope.carried(at),
            delay_ns: 2.0 * self.noise.floor_ns(),
            class: self.class,
            samples: track.samples,
        })
    }

    fn hard(&self, at: RawTime) -> Option<Hard> {
        self.track.as_ref().map(|track| Hard { base_ns: track.base_ns, span: track.envelope.carried(at) })
    }

    fn scores(&self) -> Scores<'_> {
        match &self.track {
            Some(track) => Scores {
                wander: &BANK,
                log_likelihood: &track.bank.log_likelihood,
                samples: track.bank.seen.saturating_sub(BANK_SETTLING).min(BANK_MEMORY),
            },
            None => Scores { wander: &[], log_likelihood: &[], samples: 0 },
        }
    }

    fn foresee(&self, fetch: Fetch) {
        fetch_whole(self, fetch);
    }

    fn reset(&mut self) {
        *self = Kalman::new();
    }
}

#[cfg(test)]
mod tests;
