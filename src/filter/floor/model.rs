//! A model of an edge: offset, rate, floor and asymmetry with their covariance, and the update by a likelihood that is
//! not Gaussian. Six of them, apart in nothing but how much the oscillators wander, make the floor
//! filter; they are computed two by two. Every
//! expression is symmetric under the exchange of the two ends, bit by bit: a term that changes its sign with the end
//! stands apart from those that do not.

use super::duo::{Duo, LANES, Mask};
use super::levels::Level;
use super::mixture::{Likelihood, Mixture};

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

/// What one direction of an exchange looks like before it is taken in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Innovation {
    /// Apparent delay minus what the model expects, ns.
    pub nu: Duo,
    /// Variance of the expectation, ns².
    pub variance: Duo,
}

/// What an exchange was worth under two models.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Of the two directions, in the order in which they were taken.
    pub likelihoods: [Likelihood; 2],
    /// The squares of the likelihoods' scales, ns².
    pub variances: [Duo; 2],
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

/// Two models: the states (ns, ns/s, ns, ns) and their covariances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Models {
    /// Peer minus self, relative to the edge's base, ns.
    offset: Duo,
    /// Its rate, ns per second of both clocks' mean.
    rate: Duo,
    /// Half of the smallest round trip, ns.
    floor: Duo,
    /// Half of the difference of the two directions' floors, as far as changes of route have shown it, ns.
    asymmetry: Duo,
    p_offset: Duo,
    p_offset_rate: Duo,
    p_offset_floor: Duo,
    p_offset_asymmetry: Duo,
    p_rate: Duo,
    p_rate_floor: Duo,
    p_rate_asymmetry: Duo,
    p_floor: Duo,
    p_floor_asymmetry: Duo,
    p_asymmetry: Duo,
}

impl Models {
    /// From one exchange: its offset and its half round trip, ns, and the rate's prior with its variance.
    pub(super) fn new(offset: f64, half: f64, rate: f64, rate_var: f64) -> Self {
        let none = Duo::both(0.0);
        let half_var = Duo::both(half * half / 3.0);
        Models {
            offset: Duo::both(offset),
            rate: Duo::both(rate),
            floor: Duo::both(0.7 * half),
            asymmetry: none,
            p_offset: half_var,
            p_offset_rate: none,
            p_offset_floor: none,
            p_offset_asymmetry: none,
            p_rate: Duo::both(rate_var),
            p_rate_floor: none,
            p_rate_asymmetry: none,
            p_floor: half_var,
            p_floor_asymmetry: none,
            p_asymmetry: none,
        }
    }

    /// One of the two.
    pub(super) fn view(&self, lane: usize) -> View {
        View {
            offset: self.offset.lanes()[lane],
            rate: self.rate.lanes()[lane],
            p_offset: self.p_offset.lanes()[lane],
            p_offset_rate: self.p_offset_rate.lanes()[lane],
            p_rate: self.p_rate.lanes()[lane],
        }
    }

    /// What one of the two knows of the floors.
    pub(super) fn level(&self, lane: usize) -> Level {
        Level {
            floor: self.floor.lanes()[lane],
            p_floor: self.p_floor.lanes()[lane],
            asymmetry: self.asymmetry.lanes()[lane],
            p_asymmetry: self.p_asymmetry.lanes()[lane],
        }
    }

    /// Carries the states `t` seconds on, under process noise `q` in ns²/s³.
    #[inline(always)]
    pub(super) fn predict(&mut self, t: f64, q: Duo) {
        self.offset += self.rate * t;
        self.p_offset += (self.p_offset_rate * 2.0 + self.p_rate * t) * t + q * (t * t * t * (1.0 / 3.0));
        self.p_offset_rate += self.p_rate * t + q * (t * t * 0.5);
        self.p_rate += q * t;
        self.p_offset_floor += self.p_rate_floor * t;
        self.p_offset_asymmetry += self.p_rate_asymmetry * t;
        self.p_floor = self.p_floor * FLOOR_FADING + Duo::both(FLOOR_WANDER * t);
    }

    /// What the apparent delay `y` of the direction of sign `sign` (+1 mine to the peer, -1 the peer's to me) adds.
    #[inline(always)]
    pub(super) fn innovation(&self, sign: Duo, y: Duo) -> Innovation {
        let common = self.p_offset + self.p_floor + self.p_asymmetry + self.p_offset_asymmetry * 2.0;
        let odd = (self.p_offset_floor + self.p_floor_asymmetry) * 2.0;
        let expected = self.floor + sign * (self.offset + self.asymmetry);
        Innovation { nu: y - expected, variance: (common + sign * odd).max(VARIANCE_MIN) }
    }

    /// Takes in both apparent delays of an exchange, ns, with gradient and curvature of their likelihoods tempered by
    /// `temper`.
    #[inline(always)]
    pub(super) fn take(&mut self, delays: [f64; 2], initiator: bool, mixture: &Mixture, temper: f64) -> Taken {
        let forward = self.innovation(Duo::both(1.0), Duo::both(delays[0]));
        let backward = self.innovation(Duo::both(-1.0), Duo::both(delays[1]));
        // The smaller innovation first. If they are equal, the packet that was sent first: both ends know which.
        let tied = forward.nu.equals(backward.nu).and(Mask::of([initiator; LANES]));
        let forward_first = forward.nu.less(backward.nu).or(tied);
        let sign = forward_first.choose(Duo::both(1.0), Duo::both(-1.0));
        let first = forward_first.lanes().map(|forward| usize::from(!forward));
        let second = first.map(|direction| 1 - direction);
        let innovation = Innovation {
            nu: forward_first.choose(forward.nu, backward.nu),
            variance: forward_first.choose(forward.variance, backward.variance),
        };
        let (first, first_var) = self.update(sign, innovation, mixture, first, temper);
        let late = forward_first.choose(Duo::both(delays[1]), Duo::both(delays[0]));
        let innovation = self.innovation(-sign, late);
        let (second, second_var) = self.update(-sign, innovation, mixture, second, temper);
        Taken { likelihoods: [first, second], variances: [first_var, second_var] }
    }

    /// Takes in one direction's innovation. Returns the likelihood and the square of its scale.
    #[inline(always)]
    fn update(
        &mut self,
        sign: Duo,
        innovation: Innovation,
        mixture: &Mixture,
        directions: [usize; LANES],
        temper: f64,
    ) -> (Likelihood, Duo) {
        let s = innovation.variance;
        let v = s + Duo::both(mixture.stamp_var());
        let sigma = v.sqrt();
        let inverse_sigma = Duo::both(1.0) / sigma;
        let likelihood = mixture.likelihood(directions, innovation.nu * inverse_sigma, sigma);
        let gradient = -(likelihood.first * inverse_sigma * temper);
        let bend = (likelihood.second - likelihood.first * likelihood.first) * (inverse_sigma * inverse_sigma) * temper;
        let inverse_s = Duo::both(1.0) / s;
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
        let inverse = Duo::both(1.0) / (s * (1.0 + WHOLE_SHARE_MIN) + Duo::both(variance));
        let gain = (Duo::both(measured) - self.offset - self.asymmetry) * inverse;
        self.offset += offset * gain;
        self.rate += rate * gain;
        self.floor += floor * gain;
        self.asymmetry += asymmetry * gain;
        self.bend([offset, rate, floor, asymmetry], -inverse);
    }

    /// Changes the covariance by `curvature` along what an observation is correlated with: offset, rate, floor and
    /// asymmetry.
    #[inline(always)]
    fn bend(&mut self, [offset, rate, floor, asymmetry]: [Duo; 4], curvature: Duo) {
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
        let above = (self.floor - Duo::both(highest)).max(0.0);
        self.floor = self.floor.min(highest);
        self.p_floor += above * above;
    }

    /// One of the clocks has jumped: the offset moves by `by`, ns, and is unsure by `variance` more.
    pub(super) fn step_offset(&mut self, by: f64, variance: f64) {
        self.offset += Duo::both(by);
        self.p_offset += Duo::both(variance);
    }

    /// One of the oscillators runs at another rate, ns²/s² unsure.
    pub(super) fn unsettle_rate(&mut self, variance: f64) {
        self.p_rate += Duo::both(variance);
    }

    /// Both directions' floors have moved alike.
    pub(super) fn move_floor(&mut self, by: f64, variance: f64) {
        self.floor += Duo::both(by);
        self.p_floor += Duo::both(variance);
    }

    /// The asymmetry is `known`, ns, with `variance`, ns²: what it was thought to be goes to the offset.
    pub(super) fn know_asymmetry(&mut self, known: f64, variance: f64) {
        let inverse = Duo::both(1.0) / (self.p_asymmetry + Duo::both(variance)).max(VARIANCE_MIN);
        let gain = (Duo::both(known) - self.asymmetry) * inverse;
        let along = [self.p_offset_asymmetry, self.p_rate_asymmetry, self.p_floor_asymmetry, self.p_asymmetry];
        self.offset += along[0] * gain;
        self.rate += along[1] * gain;
        self.floor += along[2] * gain;
        self.asymmetry += along[3] * gain;
        self.bend(along, -inverse);
        if variance == 0.0 {
            // To the last bit, or the rest would grow again.
            let none = Duo::both(0.0);
            (self.asymmetry, self.p_asymmetry) = (Duo::both(known), none);
            (self.p_offset_asymmetry, self.p_rate_asymmetry, self.p_floor_asymmetry) = (none, none, none);
        }
    }

    /// The directions' floors have moved by `forward` and `backward`, ns, each on its own: the offset is held by
    /// continuity, and floor and asymmetry take up the difference.
    pub(super) fn move_floors(&mut self, forward: f64, backward: f64) {
        self.floor += Duo::both(0.5 * (forward + backward));
        self.asymmetry += Duo::both(0.5 * (forward - backward));
        let (f, b) = (forward * forward / 16.0, backward * backward / 16.0);
        self.p_floor += Duo::both(f + b);
        self.p_asymmetry += Duo::both(f + b);
        self.p_floor_asymmetry += Duo::both(f - b);
    }
}
