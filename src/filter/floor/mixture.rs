//! The noise of one path, learnt from its own exchanges: a floor blurred by the stamps' Gaussian error, on which
//! queueing stands as a mixture of exponentials, one mixture per direction. Gives the likelihood of an innovation with
//! its first two derivatives, which is all that the estimator needs, and learns from the estimator's innovations.
//! Estimates no offset and knows nothing of time.
//!
//! Everything is in units of the innovation's own standard deviation sg: z = nu / sg, k = sg / mu. With E = exp(-z²/2),
//! M the Mills ratio and b = k - z, the density of Gaussian plus Exp(mu) over that of the Gaussian's peak is
//! c = k E M(b), and its derivatives in z are c' = k (E - c) and c'' = -k (z E + c').

use super::duo::{Duo, LANES};
use super::special::{MILLS_END, exp, exp_both, ln, mills};

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
/// Learning never becomes slower than this per exchange.
const LEARN_MIN: f64 = 1.0 / 400.0;
/// Exchanges after which the two directions' weights are learnt half apart.
const APART_AFTER: f64 = 300.0;
/// Parts shorter than this many standard deviations of the stamps' error are near the floor.
const NEAR: f64 = 10.0;
/// An innovation explained by the flat part to more than this teaches nothing.
pub(super) const FLAT_MAX: f64 = 0.5;

/// The likelihood of one innovation under two models.
#[derive(Clone, Copy, Debug)]
pub(super) struct Likelihood {
    /// Density times sqrt(2 pi) sg.
    pub density: Duo,
    /// Of that, the flat part.
    pub flat: Duo,
    /// First derivative in z over the density.
    pub first: Duo,
    /// Second derivative in z over the density.
    pub second: Duo,
}

/// One exponential part at (z, k): the density and its derivatives in z, `gauss` being exp(-z²/2).
#[inline(always)]
fn part(z: Duo, k: Duo, gauss: Duo) -> [Duo; 3] {
    let b = k - z;
    let far = Duo::both(MILLS_END).less(b);
    if far.all() {
        return part_far(z, k, gauss, b);
    }
    if b.less(Duo::both(-MILLS_END)).all() {
        return part_late(z, k, gauss);
    }
    let near = part_near(z, k, gauss, b);
    if far.none() {
        return near;
    }
    let far_part = part_far(z, k, gauss, b);
    [0, 1, 2].map(|i| far.choose(far_part[i], near[i]))
}

/// For b > 12, by the asymptotic series of M, with E - c and z E + c' worked out by hand: as differences they would
/// cancel.
#[inline(always)]
fn part_far(z: Duo, k: Duo, gauss: Duo, b: Duo) -> [Duo; 3] {
    let r = Duo::both(1.0) / b;
    let r2 = r * r;
    let tail = r2 * (Duo::both(1.0) - r2 * (Duo::both(3.0) - r2 * (Duo::both(15.0) - r2 * 105.0)));
    let scale = k * gauss;
    let kr = k * r;
    let zr = z * r;
    [scale * (r - r * tail), scale * (kr * tail - zr), scale * (z * zr - k * (kr * tail))]
}

/// For b < -12, where M(b) is sqrt(2 pi) exp(b²/2) and nothing else: the same as [`part_near`] makes of it, cheaper.
#[inline(always)]
fn part_late(z: Duo, k: Duo, gauss: Duo) -> [Duo; 3] {
    let c = k * (exp_both((k * (k * 0.5 - z)).min(0.0)) * SQRT_TAU);
    let first = k * (gauss - c);
    [c, first, -(k * (z * gauss + first))]
}

/// For b <= 12, by the table of M.
#[inline(always)]
fn part_near(z: Duo, k: Duo, gauss: Duo, b: Duo) -> [Duo; 3] {
    let beyond = gauss * mills(b.abs().min(MILLS_END));
    let mut c = k * beyond;
    let rising = b.less(Duo::both(0.0));
    if !rising.none() {
        // M(b) = sqrt(2 pi) exp(b²/2) - M(-b). Twelve and more below zero the second term is lost beside the first.
        let whole = exp_both((k * (k * 0.5 - z)).min(0.0)) * SQRT_TAU;
        let rest = Duo::both(-MILLS_END).less(b).choose(beyond, Duo::both(0.0));
        c = rising.choose(k * (whole - rest), c);
    }
    let first = k * (gauss - c);
    [c, first, -(k * (z * gauss + first))]
}

/// What the learning needs of one direction's innovation under the best model, before its update.
#[derive(Clone, Copy, Debug)]
struct Lesson {
    /// Part of each component in the explanation: the undelayed one last.
    shares: [f64; PARTS + 1],
    /// s0² / 2 times the second derivative of the density over the density: the score of ln s0².
    stretch: f64,
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
    /// Mean square of the score of ln s0²: its Fisher information.
    information: f64,
    /// Weights of the exponential parts and, last, of no queueing; per direction; they sum to one.
    pub(super) weights: [[f64; PARTS + 1]; 2],
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
            information: 0.1,
            weights: [[1.0 / (PARTS + 1) as f64; PARTS + 1]; 2],
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

    /// The same squared, ns².
    pub(super) fn stamp_var(&self) -> f64 {
        self.stamp_var
    }

    /// The likelihood of the innovation z (in units of `sigma`, its Gaussian part's standard deviation in ns) under two
    /// models, each of which may look at another direction.
    #[inline(always)]
    pub(super) fn likelihood(&self, directions: [usize; LANES], z: Duo, sigma: Duo) -> Likelihood {
        let gauss = exp_both(z * z * -0.5);
        let flat = sigma * (FLAT_PER_NS * SQRT_TAU);
        let undelayed = gauss * Duo::new(directions.map(|direction| self.weights[direction][PARTS]));
        let mut density = flat + undelayed;
        let mut first = -(z * undelayed);
        let mut second = (z * z - Duo::both(1.0)) * undelayed;
        for counted in &self.counted[..self.counted_len] {
            let [c, c1, c2] = part(z, sigma * counted.inverse_mean, gauss);
            let weight = Duo::new(directions.map(|direction| counted.weights[direction]));
            density += weight * c;
            first += weight * c1;
            second += weight * c2;
        }
        let inverse = Duo::both(1.0) / density;
        Likelihood { density, flat, first: first * inverse, second: second * inverse }
    }

    /// ln of the probability that a delay lies above the innovation z.
    pub(super) fn ln_above(&self, direction: usize, z: f64, sigma: f64) -> f64 {
        let gauss = Duo::both(exp(-0.5 * z * z));
        let normal = (gauss * mills(Duo::both(z.abs().min(MILLS_END)))).lanes()[0] / SQRT_TAU;
        let mut above = if z < 0.0 { 1.0 - normal } else { normal };
        for counted in &self.counted[..self.counted_len] {
            let k = sigma * counted.inverse_mean;
            above +=
                counted.weights[direction] * part(Duo::both(z), Duo::both(k), gauss)[0].lanes()[0] / (k * SQRT_TAU);
        }
        ln(above.clamp(f64::MIN_POSITIVE, 1.0))
    }

    /// What both directions' innovations teach: `None` for one that the flat part explains.
    fn lessons(&self, z: Duo, sigma: Duo) -> [Option<Lesson>; 2] {
        let gauss = exp_both(z * z * -0.5);
        let flat = sigma * (FLAT_PER_NS * SQRT_TAU);
        let mut shares = [Duo::both(0.0); PARTS + 1];
        let weights = |index: usize| Duo::new([self.weights[0][index], self.weights[1][index]]);
        shares[PARTS] = weights(PARTS) * gauss;
        let mut density = flat + shares[PARTS];
        let mut second = (z * z - Duo::both(1.0)) * shares[PARTS];
        for index in self.unblurred..PARTS {
            let [c, _, c2] = part(z, sigma * INVERSE_MEANS[index], gauss);
            shares[index] = weights(index) * c;
            density += shares[index];
            second += weights(index) * c2;
        }
        let inverse = Duo::both(1.0) / density;
        let stretch = (Duo::both(0.5 * self.stamp_var) / (sigma * sigma) * second * inverse).lanes();
        let known = flat.less(density * FLAT_MAX).lanes();
        let shares = shares.map(|share| (share * inverse).lanes());
        [0, 1].map(|d| known[d].then(|| Lesson { shares: shares.map(|share| share[d]), stretch: stretch[d] }))
    }

    /// Learns from both directions' innovations `(z, sigma)` of the `n`th exchange. Weights move towards the parts'
    /// shares in the explanation, first alike in both directions, later apart (asymmetric queueing needs that). The
    /// stamps' error moves by the natural gradient of the likelihood: plain expectation-maximisation stalls, since the
    /// smallest exponential parts explain a blurred floor almost as well.
    pub(super) fn learn(&mut self, innovations: [(f64, f64); 2], n: u32) {
        let [forward, backward] = innovations;
        let lessons = self.lessons(Duo::new([forward.0, backward.0]), Duo::new([forward.1, backward.1]));
        let n = f64::from(n);
        let gain = exp(-0.6 * ln(n + 5.0)).max(LEARN_MIN);
        let apart = n / (n + APART_AFTER);
        let score = match &lessons {
            [Some(forward), Some(backward)] => {
                for index in 0..=PARTS {
                    let (f, b) = (forward.shares[index], backward.shares[index]);
                    let shared = (1.0 - apart) * 0.5 * (f + b);
                    let (wf, wb) = (self.weights[0][index], self.weights[1][index]);
                    self.weights[0][index] = wf + gain * (apart * f + shared - wf);
                    self.weights[1][index] = wb + gain * (apart * b + shared - wb);
                }
                forward.stretch + backward.stretch
            }
            [Some(lesson), None] => self.learn_one(0, lesson, gain),
            [None, Some(lesson)] => self.learn_one(1, lesson, gain),
            [None, None] => return,
        };
        self.information += gain * (score * score - self.information);
        let step = (gain * score / (self.information + 0.003)).clamp(-0.5, 0.5);
        self.stamp_ns *= exp(0.5 * step);
        self.settle();
    }

    fn learn_one(&mut self, direction: usize, lesson: &Lesson, gain: f64) -> f64 {
        for (weight, share) in self.weights[direction].iter_mut().zip(lesson.shares) {
            *weight += gain * (share - *weight);
        }
        lesson.stretch
    }

    /// Brings stamps' error and weights back within their bounds.
    fn settle(&mut self) {
        let mean = |index: usize| 0.5 * (self.weights[0][index] + self.weights[1][index]);
        let mut floor_density = mean(PARTS) / self.stamp_ns;
        for (index, inverse) in INVERSE_MEANS.iter().enumerate() {
            floor_density += mean(index) * inverse;
        }
        self.stamp_ns = self.stamp_ns.max(self.stamp_ns_min).max(STAMP_SHARE_MIN / floor_density);
        self.stamp_var = self.stamp_ns * self.stamp_ns;
        self.unblurred = MEANS_NS.iter().take_while(|mean| **mean < self.stamp_ns).count();
        for weights in &mut self.weights {
            let (parts, undelayed) = weights.split_at_mut(PARTS);
            let (blurred, parts) = parts.split_at_mut(self.unblurred);
            for weight in blurred {
                // Shorter than the blur: not to be told from no queueing.
                undelayed[0] += std::mem::take(weight);
            }
            undelayed[0] = undelayed[0].max(WEIGHT_MIN);
            let mut sum = undelayed[0];
            for weight in parts {
                *weight = weight.max(WEIGHT_MIN);
                sum += *weight;
            }
            let scale = 1.0 / sum;
            for weight in weights.iter_mut() {
                *weight *= scale;
            }
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
        let [forward, backward] = &mut self.weights;
        let mass = |weights: &[f64; PARTS + 1]| weights[PARTS] + weights[..near].iter().sum::<f64>();
        let (forward_mass, backward_mass) = (mass(forward), mass(backward));
        let total = forward_mass + backward_mass;
        let (to_forward, to_backward) = (forward_mass / total, backward_mass / total);
        for index in (self.unblurred..near).chain([PARTS]) {
            let both = forward[index] + backward[index];
            forward[index] = both * to_forward;
            backward[index] = both * to_backward;
        }
    }

    /// Notes which parts the likelihood must count.
    fn choose(&mut self) {
        self.counted_len = 0;
        for (index, inverse_mean) in INVERSE_MEANS.into_iter().enumerate().skip(self.unblurred) {
            let weights = [self.weights[0][index], self.weights[1][index]];
            if weights[0] >= WEIGHT_COUNTED || weights[1] >= WEIGHT_COUNTED {
                self.counted[self.counted_len] = Counted { inverse_mean, weights };
                self.counted_len += 1;
            }
        }
    }
}
