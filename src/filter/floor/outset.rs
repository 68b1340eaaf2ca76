//! How an edge sets out. As long as its noise is not known its first exchanges count in part, and the stamps' error,
//! which begins at a part of the round trip, takes dozens of them to come down from microseconds to the nanoseconds of
//! a card: two seconds at 8/s, fifteen where packets are lost. But half round trips scatter as the path does, whatever
//! the offset does. As soon as there are a few of them, and they say that the path is much finer than was assumed, the
//! edge goes through its first exchanges again with what they say. Where they scatter as was assumed, or more, all is
//! left as it was: tails are not learnt from a handful (decision 29).

use super::mixture::Mixture;
use super::model::{MODELS, Models};
use super::{BANK_START, S_PER_NS, Track};

/// An edge sets out again after so many exchanges, and whenever there are twice as many, ...
const AGAIN_AFTER: u32 = 4;
/// ... if the start burst has not brought more than this many ...
const AGAIN_BEFORE: u32 = super::BELIEVED_AFTER;
/// ... by this time, seconds. Within a burst all edges of a node must be known alike: ten cards of which a few were
/// surer than the rest, by chance, took 1.5 s to agree to 200 ns instead of 0.7.
const AGAIN_AFTER_S: f64 = 1.0;
/// The stamps' error is taken to be no more than this many times the way from the smallest half round trip to the
/// middle one. Far too much, because that is unlearnt within a few exchanges, and a wide Gaussian takes their mean in
/// the meantime; with 2, what the two directions' noise made of it stayed for minutes (60 us, 120 ns one way and 40
/// the other, one exchange in two seconds: 60 ns instead of 37).
const SPREADS: f64 = 8.0;
/// Nor is anything done unless that is less than this part of what was assumed: few exchanges scatter little by chance.
const FINER: f64 = 0.5;
/// What is known of the first floor and offset is worth this many times the scatter.
const START_SIGMAS: f64 = 2.0;
/// The nth exchange counts n and the first over the second: before and after the path's scatter is known.
const TEMPER: (f64, f64) = (4.0, 48.0);
const TEMPER_AGAIN: (f64, f64) = (4.0, 24.0);

/// Where an edge set out from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outset {
    /// Apparent delays of the first exchange, relative to the base, ns.
    delays: [f64; 2],
    /// What was known of the rate, ns/s, and its variance, ns²/s².
    rate: f64,
    rate_var: f64,
    /// True if it has set out again, knowing how much its path scatters.
    again: bool,
    /// The number of exchanges from which on it may do so.
    due: u32,
    /// The longest time between the middles of an exchange's packets, ns: what the rate, not known yet, makes of it is
    /// in the delays.
    span_ns: f64,
}

impl Outset {
    /// From the first exchange's apparent delays and what is known of the rate, ns/s and ns²/s².
    pub(super) fn new(delays: [f64; 2], rate: f64, rate_var: f64) -> Self {
        Outset { delays, rate, rate_var, again: false, due: AGAIN_AFTER, span_ns: 0.0 }
    }

    /// Takes in the time between the middles of an exchange's packets, ns.
    pub(super) fn note_span(&mut self, span_ns: f64) {
        self.span_ns = self.span_ns.max(span_ns.abs());
    }

    /// Half of the first round trip, ns.
    pub(super) fn half_ns(&self) -> f64 {
        let [forward, backward] = self.delays;
        ((forward + backward) / 2.0).max(1.0)
    }

    /// The models as they are after the first exchange.
    pub(super) fn models(&self, mixture: &Mixture) -> Models {
        let [forward, backward] = self.delays;
        Models::new((forward - backward) / 2.0, self.half_ns(), self.rate, self.rate_var, mixture)
    }

    /// How much the `n`th exchange counts, as a part of what it would if the noise were known: noise that has not been
    /// learnt yet is wrong noise.
    pub(super) fn temper(&self, n: u32) -> f64 {
        let (start, span) = if self.again { TEMPER_AGAIN } else { TEMPER };
        ((f64::from(n) + start) / span).min(1.0)
    }
}

impl Track {
    /// Sets out again if it is time to, and the half round trips so far say that the path is finer than was assumed, or
    /// said so before and no longer do. True if it has.
    pub(super) fn set_out_again(&mut self) -> bool {
        let n = self.samples;
        if n < self.outset.due || n > AGAIN_BEFORE || self.history.now_s() < AGAIN_AFTER_S {
            return false;
        }
        self.outset.due = 2 * n;
        let Some(mut cursor) = self.history.beginning() else { return false };
        let mut mixture = Mixture::new(self.outset.half_ns());
        let best = self.model(self.best);
        let drifted_ns = ((best.rate - self.outset.rate).abs() + best.p_rate.sqrt()) * S_PER_NS * self.outset.span_ns;
        let scatter_ns = SPREADS * self.halves.spread() + drifted_ns;
        let finer = scatter_ns < FINER * mixture.stamp_ns();
        if !finer && !self.outset.again {
            return false;
        }
        self.outset.again = finer;
        mixture.know_grain(self.grain.variance());
        if finer {
            mixture.know_scatter(scatter_ns);
        }
        self.models = self.outset.models(&mixture);
        if finer {
            let least_ns = f64::from(self.halves.least());
            let above_ns = self.outset.half_ns() - least_ns;
            self.models.narrow(least_ns, [0.0, above_ns].map(|ns| START_SIGMAS * (ns + mixture.stamp_ns())));
        }
        (self.mixture, self.log_likelihood, self.best, self.samples) = (mixture, [0.0; MODELS], BANK_START, 1);
        self.information = 1.0 / self.model(self.best).p_offset;
        self.reliving = true;
        while let Some(past) = self.history.next(&mut cursor) {
            self.take(past.elapsed_s, past.delays, past.initiator);
        }
        self.reliving = false;
        true
    }
}
