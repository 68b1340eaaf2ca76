//! The noise of one path, learnt from its own exchanges: a floor blurred by the stamps' Gaussian error, on which
//! queueing stands as a mixture of exponentials, one mixture per direction. Gives the likelihood of an innovation with
//! its first two derivatives, which is all that the estimator needs, and learns from the estimator's innovations.
//! Estimates no offset and knows nothing of time.
//!
//! Everything is in units of the innovation's own standard deviation sg: z = nu / sg, k = sg / mu. With E = exp(-z²/2),
//! M the Mills ratio and b = k - z, the density of Gaussian plus Exp(mu) over that of the Gaussian's peak is
//! c = k E M(b), and its derivatives in z are c' = k (E - c) and c'' = -k (z E + c').

use super::pack::{Masks, Pack};
use super::special::{MILLS_END, exp, exp_all, ln, mills};

/// Exponential parts of the mixture: means of 20 ns times powers of 5, to 39 ms.
pub(super) const PARTS: usize = 10;
const fn means_ns() -> [f64; PARTS] {
    let mut means = [20.0; PARTS];
    let mut part = 1;
    while part < PARTS {
        means[part] = means[part - 1] * 5.0;
        part += 1;
    }
    means
}
const MEANS_NS: [f64; PARTS] = means_ns();
const fn inverse_means() -> [f64; PARTS] {
    let mut inverses = [0.0; PARTS];
    let mut part = 0;
    while part < PARTS {
        inverses[part] = 1.0 / MEANS_NS[part];
        part += 1;
    }
    inverses
}
const INVERSE_MEANS: [f64; PARTS] = inverse_means();

/// Density of what no law explains, per ns (1e-3 per second): it lets an absurd exchange pass by without effect.
const FLAT_PER_NS: f64 = 1e-12;
const SQRT_TAU: f64 = 2.506_628_274_631_000_7;
/// The stamps' error is never taken to be below this, ns.
const STAMP_NS_MIN: f64 = 1.0;
/// Nor below this part of the inverse density of the floor, or a few lucky packets would make it vanish.
const STAMP_SHARE_MIN: f64 = 0.003;
/// No part's weight is below this, so that each can come back.
const WEIGHT_MIN: f64 = 1e-5;
/// Parts lighter than this in both directions are left out of the likelihood, but not of the learning: 28 conditions of
/// 20 seeds each show no difference in the third digit, and half the cost.
const WEIGHT_COUNTED: f64 = 1e-4;
/// Part of the packets that is taken to be queued where delays are known to scatter little.
const QUEUED: f64 = 0.1;
/// Learning never becomes slower than this per exchange.
const LEARN_MIN: f64 = 1.0 / 400.0;
/// The stamps' error is learnt by no more than this at once, in ln of its square, and no faster than if the score's
/// mean square were this.
pub(super) const STAMP_STEP: f64 = 0.5;
pub(super) const INFORMATION_MIN: f64 = 0.003;
/// Exchanges after which the two directions' weights are learnt half apart.
const APART_AFTER: f64 = 300.0;
/// Parts shorter than this many standard deviations of the stamps' error are near the floor.
const NEAR: f64 = 10.0;
/// An innovation explained by the flat part to more than this teaches nothing.
pub(super) const FLAT_MAX: f64 = 0.5;

/// How much the `n`th exchange counts in what is learnt.
pub(super) fn gain(n: u32) -> f64 {
    exp(-0.6 * ln(f64::from(n) + 5.0)).max(LEARN_MIN)
}

/// Of both directions: forward, backward.
type Pair = Pack<1>;

/// The likelihood of one innovation under each model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Likelihood<const N: usize> {
    /// Density times sqrt(2 pi) sg.
    pub density: Pack<N>,
    /// Of that, the flat part.
    pub flat: Pack<N>,
    /// First derivative in z over the density.
    pub first: Pack<N>,
    /// Second derivative in z over the density.
    pub second: Pack<N>,
}

/// One exponential part at (z, k): the density and its derivatives in z, `gauss` being exp(-z²/2).
#[inline(always)]
fn part<const N: usize>(z: Pack<N>, k: Pack<N>, gauss: Pack<N>) -> [Pack<N>; 3] {
    let b = k - z;
    let far = Pack::all(MILLS_END).less(b);
    let some_far = !far.none();
    let far_part = if some_far { part_far(z, k, gauss, b) } else { [Pack::all(0.0); 3] };
    if some_far && far.all() {
        return far_part;
    }
    if b.less(Pack::all(-MILLS_END)).all() {
        return part_late(z, k, gauss);
    }
    let near = part_near(z, k, gauss, b);
    if some_far { [0, 1, 2].map(|i| far.choose(far_part[i], near[i])) } else { near }
}

/// For b > 12, by the asymptotic series of M, with E - c and z E + c' worked out by hand: as differences they would
/// cancel.
#[inline(always)]
fn part_far<const N: usize>(z: Pack<N>, k: Pack<N>, gauss: Pack<N>, b: Pack<N>) -> [Pack<N>; 3] {
    let r = Pack::all(1.0) / b;
    let r2 = r * r;
    let tail = r2 * (Pack::all(1.0) - r2 * (Pack::all(3.0) - r2 * (Pack::all(15.0) - r2 * 105.0)));
    let scale = k * gauss;
    let kr = k * r;
    let zr = z * r;
    [scale * (r - r * tail), scale * (kr * tail - zr), scale * (z * zr - k * (kr * tail))]
}

/// For b < -12, where M(b) is sqrt(2 pi) exp(b²/2) and nothing else: the same as [`part_near`] makes of it, cheaper.
#[inline(always)]
fn part_late<const N: usize>(z: Pack<N>, k: Pack<N>, gauss: Pack<N>) -> [Pack<N>; 3] {
    let c = k * (exp_all((k * (k * 0.5 - z)).min(0.0)) * SQRT_TAU);
    let first = k * (gauss - c);
    [c, first, -(k * (z * gauss + first))]
}

/// For b <= 12, by the table of M.
#[inline(always)]
fn part_near<const N: usize>(z: Pack<N>, k: Pack<N>, gauss: Pack<N>, b: Pack<N>) -> [Pack<N>; 3] {
    let beyond = gauss * mills(b.abs().min(MILLS_END));
    let mut c = k * beyond;
    let rising = b.less(Pack::all(0.0));
    if !rising.none() {
        // M(b) = sqrt(2 pi) exp(b²/2) - M(-b). Twelve and more below zero the second term is lost beside the first.
        let whole = exp_all((k * (k * 0.5 - z)).min(0.0)) * SQRT_TAU;
        let rest = Pack::all(-MILLS_END).less(b).choose(beyond, Pack::all(0.0));
        c = rising.choose(k * (whole - rest), c);
    }
    let first = k * (gauss - c);
    [c, first, -(k * (z * gauss + first))]
}

/// What the learning needs of both directions' innovations under the best model, before its update.
#[derive(Clone, Copy, Debug)]
struct Lessons {
    /// Part of each component in the explanation, of both directions: the undelayed one last.
    shares: [Pair; PARTS + 1],
    /// s0² / 2 times the second derivative of the density over the density: the score of ln s0².
    stretch: [f64; 2],
    /// Which direction's innovation teaches anything: not one that the flat part explains.
    known: [bool; 2],
}

/// A part that is heavy enough for the likelihood to count it.
#[derive(Clone, Copy, Debug)]
struct Counted {
    inverse_mean: f64,
    weights: [f64; 2],
}

/// The two directions' mixtures, and the stamps' error they share.
#[derive(Clone, Debug)]
pub(super) struct Mixture {
    /// One standard deviation of the stamps' error, ns.
    stamp_ns: f64,
    stamp_var: f64,
    /// What the grain of the stamps alone makes of it, ns.
    stamp_ns_min: f64,
    /// Nor below what the floor's density makes of it besides, ns.
    stamp_ns_least: f64,
    /// Mean square of the score of ln s0²: its Fisher information.
    information: f64,
    /// Weights of the exponential parts and, last, of no queueing; of each direction they sum to one.
    pub(super) weights: [Pair; PARTS + 1],
    counted: [Counted; PARTS],
    counted_len: usize,
    /// The first part that is longer than the stamps' error; those before it have no weight.
    unblurred: usize,
}

impl Mixture {
    /// Of a path of which only one half round trip is known, ns.
    pub(super) fn new(half_ns: f64) -> Self {
        let stamp_ns = (0.05 * half_ns).max(STAMP_NS_MIN);
        let mut mixture = Mixture {
            stamp_ns,
            stamp_var: stamp_ns * stamp_ns,
            stamp_ns_min: STAMP_NS_MIN,
            stamp_ns_least: STAMP_NS_MIN,
            information: 0.1,
            weights: [Pack::all(1.0 / (PARTS + 1) as f64); PARTS + 1],
            counted: [Counted { inverse_mean: 0.0, weights: [0.0; 2] }; PARTS],
            counted_len: 0,
            unblurred: 0,
        };
        mixture.choose();
        mixture
    }

    /// One standard deviation of the stamps' error, ns.
    pub(super) fn stamp_ns(&self) -> f64 {
        self.stamp_ns
    }

    /// Learns that stamps come in steps, whose rounding has this variance, ns². Without it a link whose jitter is finer
    /// than the steps looks perfect for minutes, and every beat of the two rasters like a changed route.
    pub(super) fn know_grain(&mut self, variance: f64) {
        self.stamp_ns_min = variance.sqrt().max(STAMP_NS_MIN);
    }

    /// Learns that the stamps' error is no more than this, ns, and that it is nearly all of the noise: were all parts
    /// alike, a floor far below all delays and a part that makes up for it would explain them too, for minutes.
    pub(super) fn know_scatter(&mut self, most_ns: f64) {
        self.stamp_ns = self.stamp_ns.min(most_ns);
        self.weights = [Pack::all(QUEUED / PARTS as f64); PARTS + 1];
        self.weights[PARTS] = Pack::all(1.0 - QUEUED);
        self.settle();
    }

    /// The same squared, ns².
    pub(super) fn stamp_var(&self) -> f64 {
        self.stamp_var
    }

    /// What no model's idea of the stamps' error is below, ns.
    pub(super) fn stamp_ns_least(&self) -> f64 {
        self.stamp_ns_least
    }

    /// Mean square of the score of ln s0².
    pub(super) fn information(&self) -> f64 {
        self.information
    }

    /// Another model is the best: its idea of the stamps' error (standard deviation, ns, and the score's mean square)
    /// is taken over.
    pub(super) fn believe(&mut self, (stamp_ns, information): (f64, f64)) {
        (self.stamp_ns, self.information) = (stamp_ns, information);
        self.settle();
    }

    /// The likelihood of the innovation z (in units of `sigma`, its Gaussian part's standard deviation in ns) under
    /// several models, each of which looks `forward` or at the other direction.
    #[inline(always)]
    pub(super) fn likelihood<const N: usize>(&self, forward: Masks<N>, z: Pack<N>, sigma: Pack<N>) -> Likelihood<N> {
        let of = |weights: [f64; 2]| forward.choose(Pack::all(weights[0]), Pack::all(weights[1]));
        let gauss = exp_all(z * z * -0.5);
        let flat = sigma * (FLAT_PER_NS * SQRT_TAU);
        let undelayed = gauss * of(self.weights[PARTS].lanes());
        let mut density = flat + undelayed;
        let mut first = -(z * undelayed);
        let mut second = (z * z - Pack::all(1.0)) * undelayed;
        for counted in &self.counted[..self.counted_len] {
            let [c, c1, c2] = part(z, sigma * counted.inverse_mean, gauss);
            let weight = of(counted.weights);
            density += weight * c;
            first += weight * c1;
            second += weight * c2;
        }
        let inverse = Pack::all(1.0) / density;
        Likelihood { density, flat, first: first * inverse, second: second * inverse }
    }

    /// ln of the probability that a delay lies above the innovation z.
    pub(super) fn ln_above(&self, direction: usize, z: f64, sigma: f64) -> f64 {
        let gauss = Pair::all(exp(-0.5 * z * z));
        let normal = (gauss * mills(Pack::all(z.abs().min(MILLS_END)))).lane(0) / SQRT_TAU;
        let mut above = if z < 0.0 { 1.0 - normal } else { normal };
        for counted in &self.counted[..self.counted_len] {
            let k = sigma * counted.inverse_mean;
            above += counted.weights[direction] * part(Pack::all(z), Pack::all(k), gauss)[0].lane(0) / (k * SQRT_TAU);
        }
        ln(above.clamp(f64::MIN_POSITIVE, 1.0))
    }

    /// What both directions' innovations teach.
    #[inline(always)]
    fn lessons(&self, z: Pair, sigma: Pair) -> Lessons {
        let gauss = exp_all(z * z * -0.5);
        let flat = sigma * (FLAT_PER_NS * SQRT_TAU);
        let mut shares = [Pair::all(0.0); PARTS + 1];
        shares[PARTS] = self.weights[PARTS] * gauss;
        let mut density = flat + shares[PARTS];
        let mut second = (z * z - Pack::all(1.0)) * shares[PARTS];
        for index in self.unblurred..PARTS {
            let [c, _, c2] = part(z, sigma * INVERSE_MEANS[index], gauss);
            shares[index] = self.weights[index] * c;
            density += shares[index];
            second += self.weights[index] * c2;
        }
        let inverse = Pack::all(1.0) / density;
        let stretch = Pack::all(0.5 * self.stamp_var) / (sigma * sigma) * second * inverse;
        let known = flat.less(density * FLAT_MAX);
        Lessons { shares: shares.map(|share| share * inverse), stretch: stretch.lanes(), known: known.lanes() }
    }

    /// Learns from both directions' innovations `(z, sigma)` of the `n`th exchange. Weights move towards the parts'
    /// shares in the explanation, first alike in both directions, later apart (asymmetric queueing needs that). The
    /// stamps' error moves by the natural gradient of the likelihood: plain expectation-maximisation stalls, since the
    /// smallest exponential parts explain a blurred floor almost as well. While the models lag it learns nothing of it:
    /// a lag is no noise.
    pub(super) fn learn(&mut self, innovations: [(f64, f64); 2], n: u32, lags: bool) {
        let [forward, backward] = innovations;
        let lessons = self.lessons(Pack::of(&[forward.0, backward.0]), Pack::of(&[forward.1, backward.1]));
        let gain = gain(n);
        let n = f64::from(n);
        let apart = n / (n + APART_AFTER);
        let score = match lessons.known {
            [true, true] => {
                for (weights, share) in self.weights.iter_mut().zip(lessons.shares) {
                    let shared = (share + share.swapped()) * ((1.0 - apart) * 0.5);
                    *weights += (share * apart + shared - *weights) * gain;
                }
                lessons.stretch[0] + lessons.stretch[1]
            }
            [true, false] => self.learn_one(0, &lessons, gain),
            [false, true] => self.learn_one(1, &lessons, gain),
            [false, false] => return,
        };
        if lags {
            return self.settle();
        }
        self.information += gain * (score * score - self.information);
        let step = (gain * score / (self.information + INFORMATION_MIN)).clamp(-STAMP_STEP, STAMP_STEP);
        self.stamp_ns *= exp(0.5 * step);
        self.settle();
    }

    fn learn_one(&mut self, direction: usize, lessons: &Lessons, gain: f64) -> f64 {
        for (weights, share) in self.weights.iter_mut().zip(lessons.shares) {
            let mut lanes: [f64; 2] = weights.lanes();
            lanes[direction] += gain * (share.lane(direction) - lanes[direction]);
            *weights = Pack::of(&lanes);
        }
        lessons.stretch[direction]
    }

    /// Brings stamps' error and weights back within their bounds.
    fn settle(&mut self) {
        let mean = |weights: Pair| {
            let [forward, backward] = weights.lanes();
            0.5 * (forward + backward)
        };
        let mut floor_density = mean(self.weights[PARTS]) / self.stamp_ns;
        for (weights, inverse) in self.weights.iter().zip(INVERSE_MEANS) {
            floor_density += mean(*weights) * inverse;
        }
        self.stamp_ns_least = self.stamp_ns_min.max(STAMP_SHARE_MIN / floor_density);
        self.stamp_ns = self.stamp_ns.max(self.stamp_ns_least);
        self.stamp_var = self.stamp_ns * self.stamp_ns;
        self.unblurred = MEANS_NS.iter().take_while(|mean| **mean < self.stamp_ns).count();
        let (parts, undelayed) = self.weights.split_at_mut(PARTS);
        let (blurred, parts) = parts.split_at_mut(self.unblurred);
        for weights in blurred {
            // Shorter than the blur: not to be told from no queueing.
            undelayed[0] += std::mem::replace(weights, Pack::all(0.0));
        }
        undelayed[0] = undelayed[0].max(WEIGHT_MIN);
        let mut sum = undelayed[0];
        for weights in parts {
            *weights = weights.max(WEIGHT_MIN);
            sum += *weights;
        }
        let scale = Pack::all(1.0) / sum;
        for weights in &mut self.weights {
            *weights = *weights * scale;
        }
        self.share_near();
        self.choose();
    }

    /// Makes the two directions agree on how the mass near the floor is made up. A part not much longer than the
    /// stamps' error shifts the edge of the delays and little else, just as the offset does: left to itself it took 90
    /// % of one direction and 30 % of the other where both had the same bursts, and the offset stood 18 ns off for
    /// good.
    fn share_near(&mut self) {
        let near = MEANS_NS.iter().take_while(|mean| **mean < NEAR * self.stamp_ns).count();
        let mut of_parts = Pair::all(0.0);
        for weights in &self.weights[..near] {
            of_parts += *weights;
        }
        let mass = self.weights[PARTS] + of_parts;
        let to_each = mass / (mass + mass.swapped());
        for index in (self.unblurred..near).chain([PARTS]) {
            let weights = self.weights[index];
            self.weights[index] = (weights + weights.swapped()) * to_each;
        }
    }

    /// Notes which parts the likelihood must count.
    fn choose(&mut self) {
        self.counted_len = 0;
        for (index, inverse_mean) in INVERSE_MEANS.into_iter().enumerate().skip(self.unblurred) {
            let weights: [f64; 2] = self.weights[index].lanes();
            if weights[0] >= WEIGHT_COUNTED || weights[1] >= WEIGHT_COUNTED {
                self.counted[self.counted_len] = Counted { inverse_mean, weights };
                self.counted_len += 1;
            }
        }
    }
}
