//! A model of an edge: offset, rate, floor and asymmetry with their covariance, and the update by a likelihood that is
//! not Gaussian. Six of them, apart in nothing but how much the oscillators wander, make the floor
//! filter; they are computed side by side. Every
//! expression is symmetric under the exchange of the two ends, bit by bit: a term that changes its sign with the end
//! stands apart from those that do not.

use super::duo::LANES;
use super::levels::Level;
use super::mixture::{FLAT_MAX, INFORMATION_MIN, Likelihood, Mixture, STAMP_STEP};
use super::pack::{Masks, Pack};
use super::special::exp_all;

/// By how much the floor's variance grows with each exchange: old knowledge of the floor fades.
const FLOOR_FADING: f64 = 1.0 + 1.0 / 256.0;
/// And with each second, ns².
const FLOOR_WANDER: f64 = 1e-3;
/// Bounds of the curvature, in units of 1/S: variance neither vanishes in one step nor runs away.
const CURVATURE_MIN: f64 = -0.9999;
const CURVATURE_MAX: f64 = 0.3;
/// What a whole exchange leaves of a variance at least, as a part of it: less is lost in rounding.
const WHOLE_SHARE_MIN: f64 = 1e-9;
/// Rounding may eat the last digits of two nearly equal variances; it must not leave a negative one. ns².
const VARIANCE_MIN: f64 = 1e-3;

/// Models of a filter, and pairs of them.
pub(super) const MODELS: usize = 6;
const PAIRS: usize = MODELS / LANES;
/// A number of every model.
pub(super) type Six = Pack<PAIRS>;

/// What one direction of an exchange looks like before it is taken in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Innovation {
    /// Apparent delay minus what the model expects, ns.
    pub nu: Six,
    /// Variance of the expectation, ns².
    pub variance: Six,
}

/// What an exchange was worth under each model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Of the two directions, in the order in which they were taken.
    pub likelihoods: [Likelihood<PAIRS>; 2],
    /// The squares of the likelihoods' scales, ns².
    pub variances: [Six; 2],
}

/// One model's offset and rate with their covariance.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Peer minus self, relative to the edge's base, ns.
    pub offset: f64,
    /// Its rate, ns per second of both clocks' mean.
    pub rate: f64,
    /// Variance of the offset, ns².
    pub p_offset: f64,
    /// Covariance of offset and rate, ns²/s.
    pub p_offset_rate: f64,
    /// Variance of the rate, ns²/s².
    pub p_rate: f64,
}

/// All models: their states (ns, ns/s, ns, ns) and their covariances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Models {
    /// Peer minus self, relative to the edge's base, ns.
    offset: Six,
    /// Its rate, ns per second of both clocks' mean.
    rate: Six,
    /// Half of the smallest round trip, ns.
    floor: Six,
    /// Half of the difference of the two directions' floors, as far as changes of route have shown it, ns.
    asymmetry: Six,
    p_offset: Six,
    p_offset_rate: Six,
    p_offset_floor: Six,
    p_offset_asymmetry: Six,
    p_rate: Six,
    p_rate_floor: Six,
    p_rate_asymmetry: Six,
    p_floor: Six,
    p_floor_asymmetry: Six,
    p_asymmetry: Six,
    /// Standard deviation of the stamps' error as each model sees it, ns, and the mean square of the score of its
    /// logarithm.
    stamp_ns: Six,
    stamp_information: Six,
}

impl Models {
    /// From one exchange: its offset and its half round trip, ns, and the rate's prior with its variance.
    pub(super) fn new(offset: f64, half: f64, rate: f64, rate_var: f64, mixture: &Mixture) -> Self {
        let none = Six::all(0.0);
        let half_var = Six::all(half * half / 3.0);
        Models {
            offset: Six::all(offset),
            rate: Six::all(rate),
            floor: Six::all(0.7 * half),
            asymmetry: none,
            p_offset: half_var,
            p_offset_rate: none,
            p_offset_floor: none,
            p_offset_asymmetry: none,
            p_rate: Six::all(rate_var),
            p_rate_floor: none,
            p_rate_asymmetry: none,
            p_floor: half_var,
            p_floor_asymmetry: none,
            p_asymmetry: none,
            stamp_ns: Six::all(mixture.stamp_ns()),
            stamp_information: Six::all(mixture.information()),
        }
    }

    /// The floor is about this, ns; it and the offset are known to these standard deviations at worst, ns. For models
    /// that have seen no more than one exchange.
    pub(super) fn narrow(&mut self, floor: f64, [floor_sigma, offset_sigma]: [f64; 2]) {
        self.floor = Six::all(floor);
        self.p_floor = self.p_floor.min(floor_sigma * floor_sigma);
        self.p_offset = self.p_offset.min(offset_sigma * offset_sigma);
    }

    /// One of them.
    pub(super) fn view(&self, lane: usize) -> View {
        View {
            offset: self.offset.lane(lane),
            rate: self.rate.lane(lane),
            p_offset: self.p_offset.lane(lane),
            p_offset_rate: self.p_offset_rate.lane(lane),
            p_rate: self.p_rate.lane(lane),
        }
    }

    /// What one of them knows of the floors.
    pub(super) fn level(&self, lane: usize) -> Level {
        Level {
            floor: self.floor.lane(lane),
            p_floor: self.p_floor.lane(lane),
            asymmetry: self.asymmetry.lane(lane),
            p_asymmetry: self.p_asymmetry.lane(lane),
        }
    }

    /// All offsets, ns, and their variances, ns².
    pub(super) fn offsets(&self) -> Six {
        self.offset
    }

    pub(super) fn offset_variances(&self) -> Six {
        self.p_offset
    }

    /// Carries the states `t` seconds on, under process noise `q` in ns²/s³.
    #[inline(always)]
    pub(super) fn predict(&mut self, t: f64, q: Six) {
        self.offset += self.rate * t;
        self.p_offset += (self.p_offset_rate * 2.0 + self.p_rate * t) * t + q * (t * t * t * (1.0 / 3.0));
        self.p_offset_rate += self.p_rate * t + q * (t * t * 0.5);
        self.p_rate += q * t;
        self.p_offset_floor += self.p_rate_floor * t;
        self.p_offset_asymmetry += self.p_rate_asymmetry * t;
        self.p_floor = self.p_floor * FLOOR_FADING + Six::all(FLOOR_WANDER * t);
    }

    /// What the apparent delays of both directions add, ns.
    #[inline(always)]
    pub(super) fn expected(&self, delays: [f64; 2]) -> [Innovation; 2] {
        [(1.0, delays[0]), (-1.0, delays[1])].map(|(sign, delay)| self.innovation(Six::all(sign), Six::all(delay)))
    }

    /// What the apparent delay `y` of the direction of sign `sign` (+1 mine to the peer, -1 the peer's to me) adds.
    #[inline(always)]
    fn innovation(&self, sign: Six, y: Six) -> Innovation {
        let common = self.p_offset + self.p_floor + self.p_asymmetry + self.p_offset_asymmetry * 2.0;
        let odd = (self.p_offset_floor + self.p_floor_asymmetry) * 2.0;
        let expected = self.floor + sign * (self.offset + self.asymmetry);
        Innovation { nu: y - expected, variance: (common + sign * odd).max(VARIANCE_MIN) }
    }

    /// Takes in both apparent delays of an exchange, ns, of which `expected` is what each direction looks like, with
    /// gradient and curvature of their likelihoods tempered by `temper`.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        delays: [f64; 2],
        expected: &[Innovation; 2],
        initiator: bool,
        mixture: &Mixture,
        temper: f64,
    ) -> Taken {
        let [forward, backward] = expected;
        // The smaller innovation first. If they are equal, the packet that was sent first: both ends know which.
        let tied = forward.nu.equals(backward.nu).and(Masks::all_same(initiator));
        let forward_first = forward.nu.less(backward.nu).or(tied);
        let sign = forward_first.choose(Six::all(1.0), Six::all(-1.0));
        let innovation = Innovation {
            nu: forward_first.choose(forward.nu, backward.nu),
            variance: forward_first.choose(forward.variance, backward.variance),
        };
        let (first, first_var) = self.update(sign, innovation, mixture, forward_first, temper);
        let late = forward_first.choose(Six::all(delays[1]), Six::all(delays[0]));
        let innovation = self.innovation(-sign, late);
        let (second, second_var) = self.update(-sign, innovation, mixture, forward_first.not(), temper);
        Taken { likelihoods: [first, second], variances: [first_var, second_var] }
    }

    /// Takes in one direction's innovation. Returns the likelihood and the square of its scale. Not inlined: twice in a
    /// row it would be more code than the processor's first cache holds.
    #[inline(never)]
    fn update(
        &mut self,
        sign: Six,
        innovation: Innovation,
        mixture: &Mixture,
        forward: Masks<PAIRS>,
        temper: f64,
    ) -> (Likelihood<PAIRS>, Six) {
        let s = innovation.variance;
        let v = s + self.stamp_ns * self.stamp_ns;
        let sigma = v.sqrt();
        let inverse_sigma = Six::all(1.0) / sigma;
        let likelihood = mixture.likelihood(forward, innovation.nu * inverse_sigma, sigma);
        let gradient = -(likelihood.first * inverse_sigma * temper);
        let bend = (likelihood.second - likelihood.first * likelihood.first) * (inverse_sigma * inverse_sigma) * temper;
        let inverse_s = Six::all(1.0) / s;
        let curvature = (bend * s).max(CURVATURE_MIN).min(CURVATURE_MAX) * inverse_s;

        let offset = sign * (self.p_offset + self.p_offset_asymmetry) + self.p_offset_floor;
        let rate = sign * (self.p_offset_rate + self.p_rate_asymmetry) + self.p_rate_floor;
        let floor = sign * (self.p_offset_floor + self.p_floor_asymmetry) + self.p_floor;
        let asymmetry = sign * (self.p_offset_asymmetry + self.p_asymmetry) + self.p_floor_asymmetry;
        self.offset += offset * gradient;
        self.rate += rate * gradient;
        self.floor += floor * gradient;
        self.asymmetry += asymmetry * gradient;
        self.bend([offset, rate, floor, asymmetry], curvature);
        (likelihood, v)
    }

    /// Each model learns the stamps' error from what it has taken in, as the mixture does from the best one's
    /// innovations. Were it one for all, learnt by the best, an agile model that is the best by chance would take noise
    /// for wander, leave none for the stamps, and so make all others unlikely for good: three links of a hundred did.
    pub(super) fn learn_stamps(&mut self, taken: &Taken, gain: f64, least_ns: f64) {
        let score = [0, 1].map(|turn| {
            let likelihood = &taken.likelihoods[turn];
            let score = self.stamp_ns * self.stamp_ns * 0.5 / taken.variances[turn] * likelihood.second;
            (likelihood.density * FLAT_MAX).less(likelihood.flat).choose(Six::all(0.0), score)
        });
        let score = score[0] + score[1];
        self.stamp_information += (score * score - self.stamp_information) * gain;
        let step = score * gain / (self.stamp_information + Six::all(INFORMATION_MIN));
        let step = step.max(-STAMP_STEP).min(STAMP_STEP);
        self.stamp_ns = (self.stamp_ns * exp_all(step * 0.5)).max(least_ns);
    }

    /// What one model thinks of the stamps' error: its standard deviation, ns, and the score's mean square.
    pub(super) fn stamp(&self, lane: usize) -> (f64, f64) {
        (self.stamp_ns.lane(lane), self.stamp_information.lane(lane))
    }

    /// The model in use takes over what the mixture has learnt of the stamps' error.
    pub(super) fn know_stamp(&mut self, lane: usize, mixture: &Mixture) {
        self.stamp_ns.set(lane, mixture.stamp_ns());
        self.stamp_information.set(lane, mixture.information());
    }

    /// All of them do.
    pub(super) fn share_stamp(&mut self, mixture: &Mixture) {
        self.stamp_ns = Six::all(mixture.stamp_ns());
        self.stamp_information = Six::all(mixture.information());
    }

    /// Takes in an exchange as one measurement of the offset, ns, with `variance`, ns²: a Kalman update that asks
    /// nothing of the noise.
    pub(super) fn take_whole(&mut self, measured: f64, variance: f64) {
        let (offset, rate, floor, asymmetry) = (
            self.p_offset + self.p_offset_asymmetry,
            self.p_offset_rate + self.p_rate_asymmetry,
            self.p_offset_floor + self.p_floor_asymmetry,
            self.p_offset_asymmetry + self.p_asymmetry,
        );
        let s = offset + asymmetry;
        let inverse = Six::all(1.0) / (s * (1.0 + WHOLE_SHARE_MIN) + Six::all(variance));
        let gain = (Six::all(measured) - self.offset - self.asymmetry) * inverse;
        self.offset += offset * gain;
        self.rate += rate * gain;
        self.floor += floor * gain;
        self.asymmetry += asymmetry * gain;
        self.bend([offset, rate, floor, asymmetry], -inverse);
    }

    /// Changes the covariance by `curvature` along what an observation is correlated with: offset, rate, floor and
    /// asymmetry.
    #[inline(always)]
    fn bend(&mut self, [offset, rate, floor, asymmetry]: [Six; 4], curvature: Six) {
        let (o, r, f, a) = (offset * curvature, rate * curvature, floor * curvature, asymmetry * curvature);
        self.p_offset += o * offset;
        self.p_offset_rate += o * rate;
        self.p_offset_floor += o * floor;
        self.p_offset_asymmetry += o * asymmetry;
        self.p_rate += r * rate;
        self.p_rate_floor += r * floor;
        self.p_rate_asymmetry += r * asymmetry;
        self.p_floor += f * floor;
        self.p_floor_asymmetry += f * asymmetry;
        self.p_asymmetry += a * asymmetry;
    }

    /// Lowers the floor to at most `highest`, ns, with the doubt that goes with it.
    pub(super) fn cap_floor(&mut self, highest: f64) {
        let above = (self.floor - Six::all(highest)).max(0.0);
        self.floor = self.floor.min(highest);
        self.p_floor += above * above;
    }

    /// All models know what this one does.
    pub(super) fn all_as(&mut self, lane: usize) {
        for number in [
            &mut self.offset,
            &mut self.rate,
            &mut self.floor,
            &mut self.asymmetry,
            &mut self.p_offset,
            &mut self.p_offset_rate,
            &mut self.p_offset_floor,
            &mut self.p_offset_asymmetry,
            &mut self.p_rate,
            &mut self.p_rate_floor,
            &mut self.p_rate_asymmetry,
            &mut self.p_floor,
            &mut self.p_floor_asymmetry,
            &mut self.p_asymmetry,
        ] {
            *number = Six::all(number.lane(lane));
        }
    }

    /// One of the clocks has jumped: the offset moves by `by`, ns, and is unsure by `variance` more.
    pub(super) fn step_offset(&mut self, by: f64, variance: f64) {
        self.offset += Six::all(by);
        self.p_offset += Six::all(variance);
    }

    /// One of the oscillators runs at another rate, ns²/s² unsure.
    pub(super) fn unsettle_rate(&mut self, variance: f64) {
        self.p_rate += Six::all(variance);
    }

    /// Both directions' floors have moved alike.
    pub(super) fn move_floor(&mut self, by: f64, variance: f64) {
        self.floor += Six::all(by);
        self.p_floor += Six::all(variance);
    }

    /// The asymmetry is `known`, ns, with `variance`, ns²: what it was thought to be goes to the offset.
    pub(super) fn know_asymmetry(&mut self, known: f64, variance: f64) {
        let inverse = Six::all(1.0) / (self.p_asymmetry + Six::all(variance)).max(VARIANCE_MIN);
        let gain = (Six::all(known) - self.asymmetry) * inverse;
        let along = [self.p_offset_asymmetry, self.p_rate_asymmetry, self.p_floor_asymmetry, self.p_asymmetry];
        self.offset += along[0] * gain;
        self.rate += along[1] * gain;
        self.floor += along[2] * gain;
        self.asymmetry += along[3] * gain;
        self.bend(along, -inverse);
        if variance == 0.0 {
            // To the last bit, or the rest would grow again.
            let none = Six::all(0.0);
            (self.asymmetry, self.p_asymmetry) = (Six::all(known), none);
            (self.p_offset_asymmetry, self.p_rate_asymmetry, self.p_floor_asymmetry) = (none, none, none);
        }
    }

    /// The directions' floors have moved by `forward` and `backward`, ns, each on its own: the offset is held by
    /// continuity, and floor and asymmetry take up the difference.
    pub(super) fn move_floors(&mut self, forward: f64, backward: f64) {
        self.floor += Six::all(0.5 * (forward + backward));
        self.asymmetry += Six::all(0.5 * (forward - backward));
        let (f, b) = (forward * forward / 16.0, backward * backward / 16.0);
        self.p_floor += Six::all(f + b);
        self.p_asymmetry += Six::all(f + b);
        self.p_floor_asymmetry += Six::all(f - b);
    }
}
