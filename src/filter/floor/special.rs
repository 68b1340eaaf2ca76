//! The three functions the floor filter's likelihoods are made of: exponential, logarithm and the Mills ratio of the
//! normal law. Written out in plain additions and multiplications because both ends of an edge must hold *exact*
//! opposites, on whatever machine and C library each of them runs; and because they are most of the filter's cost.
//! Not for general use: arguments are those the likelihoods produce.

use super::pack::Pack;

/// Below this the exponential is as good as zero. Far above the smallest normal number, so that no product of a few
/// such numbers leaves the range in which the processor is fast.
const EXPONENT_MIN: f64 = -230.0;
/// Adding and taking away 1.5 * 2^52 rounds to the nearest integer, which then stands in the sum's low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts, the first with enough trailing zeros that its products with small integers are exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
const EXPONENT_BIAS: u64 = 1023;
const FRACTION_BITS: u32 = 52;

/// 2^(i/32).
const POWER_GRAIN: f64 = 32.0;
const POWER_BITS: i32 = 5;
static POWERS: [f64; 1 << POWER_BITS] = powers();

const fn powers() -> [f64; 1 << POWER_BITS] {
    let mut powers = [1.0; 1 << POWER_BITS];
    let mut index = 1;
    while index < powers.len() {
        let x = index as f64 / POWER_GRAIN * std::f64::consts::LN_2;
        let (mut term, mut sum, mut n) = (1.0, 1.0, 1);
        while n < 24 {
            term *= x / n as f64;
            sum += term;
            n += 1;
        }
        powers[index] = sum;
        index += 1;
    }
    powers
}

/// e^x for x <= 300, relative error below 2e-12; e^-230 for all below -230. The nearest 32nd power of two from a table,
/// and a Taylor polynomial of degree 4 within +-ln 2 / 64.
#[inline(always)]
pub(super) fn exp_all<const N: usize>(x: Pack<N>) -> Pack<N> {
    let x = x.max(EXPONENT_MIN);
    let shifted = x * (std::f64::consts::LOG2_E * POWER_GRAIN) + Pack::all(ROUNDER);
    let whole = shifted - Pack::all(ROUNDER);
    let r = (x - whole * (LN2_HIGH / POWER_GRAIN)) - whole * (LN2_LOW / POWER_GRAIN);
    let r2 = r * r;
    let fraction = (r + Pack::all(1.0)) + r2 * ((r * (1.0 / 6.0) + Pack::all(1.0 / 2.0)) + r2 * (1.0 / 24.0));
    let near = shifted.look_up(|bits| POWERS[(bits & ((1 << POWER_BITS) - 1)) as usize]);
    let power = shifted.power_of_bits::<POWER_BITS>(EXPONENT_BIAS);
    fraction * (near * power)
}

/// One exponential.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    exp_all::<1>(Pack::all(x)).lane(0)
}

/// ln x for a normal positive x, absolute error below 1e-13.
#[inline(always)]
pub(super) fn ln_all<const N: usize>(x: Pack<N>) -> Pack<N> {
    // The fraction is brought to [1/sqrt 2, sqrt 2) by taking the offset of 1/sqrt 2 before the exponent is cut off.
    let offset = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let power = x.look_up(|bits| ((bits.wrapping_sub(offset) as i64) >> FRACTION_BITS) as f64);
    let fraction =
        x.look_up(|bits| f64::from_bits((bits.wrapping_sub(offset) & ((1 << FRACTION_BITS) - 1)).wrapping_add(offset)));
    let term = |divisor: f64| Pack::all(1.0 / divisor);
    let s = (fraction - Pack::all(1.0)) / (fraction + Pack::all(1.0));
    let s2 = s * s;
    let s4 = s2 * s2;
    let series = (Pack::all(1.0) + s2 * term(3.0))
        + s4 * ((term(5.0) + s2 * term(7.0))
            + s4 * ((term(9.0) + s2 * term(11.0)) + s4 * (term(13.0) + s2 * term(15.0))));
    power * std::f64::consts::LN_2 + s * 2.0 * series
}

/// One logarithm.
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    ln_all::<1>(Pack::all(x)).lane(0)
}

/// Where the table of the Mills ratio ends and its asymptotic series is used.
pub(super) const MILLS_END: f64 = 12.0;
/// Table points per unit.
const MILLS_GRAIN: f64 = 16.0;
const MILLS_POINTS: usize = (MILLS_END * MILLS_GRAIN) as usize + 1;
static MILLS: [f64; MILLS_POINTS] = mills_points();

/// Terms with which the table is made; 12 units off, the series' smallest term is beyond f64's precision.
const ASYMPTOTIC_TERMS: usize = 40;
const TAYLOR_TERMS: usize = 24;

/// M at the table's points. M' = b M - 1, so from one point the next follows by its Taylor series; backwards from the
/// far end, because that way errors shrink.
const fn mills_points() -> [f64; MILLS_POINTS] {
    let mut points = [0.0; MILLS_POINTS];
    let (mut term, mut sum, mut n) = (1.0, 1.0, 0);
    while n < ASYMPTOTIC_TERMS {
        term *= -((2 * n + 1) as f64) / (MILLS_END * MILLS_END);
        sum += term;
        n += 1;
    }
    points[MILLS_POINTS - 1] = sum / MILLS_END;
    let mut point = MILLS_POINTS - 1;
    while point > 0 {
        let b = point as f64 / MILLS_GRAIN;
        let step = -1.0 / MILLS_GRAIN;
        let (mut before, mut here) = (points[point], b * points[point] - 1.0);
        let (mut factor, mut value) = (step, points[point] + here * step);
        let mut order = 1;
        while order < TAYLOR_TERMS {
            let next = order as f64 * before + b * here;
            (before, here) = (here, next);
            order += 1;
            factor *= step / order as f64;
            value += here * factor;
        }
        point -= 1;
        points[point] = value;
    }
    points
}

/// The Mills ratio of the normal law, M(b) = Q(b) / phi(b) = sqrt(pi/2) erfcx(b / sqrt 2), for 0 <= b <= 12. A Taylor
/// polynomial of degree 5 around the nearest of 193 points; relative error below 1e-9 (measured in the tests).
#[inline(always)]
pub(super) fn mills<const N: usize>(b: Pack<N>) -> Pack<N> {
    let shifted = b * MILLS_GRAIN + Pack::all(ROUNDER);
    let near = (shifted - Pack::all(ROUNDER)) * (1.0 / MILLS_GRAIN);
    let m0 = shifted.look_up(|bits| MILLS[((bits & 0xff) as usize).min(MILLS_POINTS - 1)]);
    let step = b - near;
    let m1 = near * m0 - Pack::all(1.0);
    let m2 = near * m1 + m0;
    let m3 = near * m2 + m1 * 2.0;
    let m4 = near * m3 + m2 * 3.0;
    let m5 = near * m4 + m3 * 4.0;
    let s2 = step * step;
    (m0 + step * m1)
        + s2 * ((m2 * (1.0 / 2.0) + step * (m3 * (1.0 / 6.0))) + s2 * (m4 * (1.0 / 24.0) + step * (m5 * (1.0 / 120.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Mills ratio by the trapezoid rule on its integral, the integral of exp(-b t - t²/2) over t > 0: slow, and
    /// knows nothing of the table. Substituted t = e^u, for which the rule converges faster than any power.
    fn mills_integral(b: f64) -> f64 {
        let step = 1.0 / 128.0;
        (-128 * 40..128 * 5)
            .map(|i| {
                let t = (f64::from(i) * step).exp();
                (-b * t - t * t / 2.0).exp() * t * step
            })
            .sum()
    }

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for i in 0..200_000 {
            let x = -229.9 + 0.001_6 * f64::from(i);
            assert!((exp(x) / x.exp() - 1.0).abs() < 2e-12, "{x}");
        }
        assert!(exp(-1e9) < 2e-100 && exp(f64::NEG_INFINITY) < 2e-100);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn the_logarithm_is_that_of_the_library() {
        for i in 0..100_000 {
            let x = (-600.0 + 0.012 * f64::from(i)).exp();
            assert!((ln(x) - x.ln()).abs() < 2e-13 * x.ln().abs().max(1.0), "{x}");
        }
        for x in [0.5, 0.707, 0.7072, 1.0, 1.414, 1.4143, 2.0] {
            assert!((ln(x) - x.ln()).abs() < 1e-13, "{x}");
        }
    }

    #[test]
    fn the_mills_ratio_is_its_integral() {
        let mut worst = 0.0_f64;
        for i in 0..=2_401 {
            let b = (f64::from(i) * 0.005).min(MILLS_END);
            worst = worst.max((mills::<1>(Pack::all(b)).lane(0) / mills_integral(b) - 1.0).abs());
        }
        assert!(worst < 1e-9, "{worst:e}");
        assert!((mills::<1>(Pack::all(0.0)).lane(1) - (std::f64::consts::PI / 2.0).sqrt()).abs() < 1e-14);
    }
}
