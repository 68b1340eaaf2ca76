//! Two doubles computed side by side: two models of the filter take every step together, in packed registers. The
//! operations are those of IEEE 754 lane by lane and nothing else, so every machine gets the same bits: no fused
//! multiply-add, no approximation. Packed arithmetic comes from the `wide` crate, because intrinsics would need unsafe
//! code, and from two plain doubles the compiler makes scalar operations for the most part.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use wide::bytemuck::cast;
use wide::{f64x2, u64x2};

/// How many go side by side.
pub(super) const LANES: usize = 2;

/// Two doubles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Duo(f64x2);

/// For each of two lanes, whether something holds: all its bits are set or none is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask(f64x2);

impl Duo {
    #[inline(always)]
    pub(super) fn new(lanes: [f64; LANES]) -> Self {
        Duo(f64x2::new(lanes))
    }

    /// The same in both lanes.
    #[inline(always)]
    pub(super) fn both(x: f64) -> Self {
        Duo(f64x2::splat(x))
    }

    #[inline(always)]
    pub(super) fn lanes(self) -> [f64; LANES] {
        self.0.to_array()
    }

    #[inline(always)]
    pub(super) fn bits(self) -> [u64; LANES] {
        cast(self.0)
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Self {
        Duo(self.0.sqrt())
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        Duo(self.0.abs())
    }

    /// The greater one; `least` where the lane is not a number.
    #[inline(always)]
    pub(super) fn max(self, least: f64) -> Self {
        let least = f64x2::splat(least);
        if cfg!(target_feature = "sse2") {
            // MAXPD takes its second operand unless the first is greater.
            return Duo(self.0.fast_max(least));
        }
        Duo(self.0.simd_gt(least).bitselect(self.0, least))
    }

    /// The smaller one; `most` where the lane is not a number.
    #[inline(always)]
    pub(super) fn min(self, most: f64) -> Self {
        let most = f64x2::splat(most);
        if cfg!(target_feature = "sse2") {
            return Duo(self.0.fast_min(most));
        }
        Duo(self.0.simd_lt(most).bitselect(self.0, most))
    }

    #[inline(always)]
    pub(super) fn less(self, than: Duo) -> Mask {
        Mask(self.0.simd_lt(than.0))
    }

    #[inline(always)]
    pub(super) fn equals(self, other: Duo) -> Mask {
        Mask(self.0.simd_eq(other.0))
    }

    /// Two to the power of the integer in the bits above the lowest `cut` (modulo 4096, exponent bias included).
    #[inline(always)]
    pub(super) fn power_of_bits<const CUT: i32>(self, bias: u64) -> Self {
        let bits: u64x2 = cast(self.0);
        Duo(cast(((bits >> CUT) + u64x2::splat(bias)) << 52))
    }
}

impl Mask {
    /// `yes` where the mask is set, else `no`.
    #[inline(always)]
    pub(super) fn choose(self, yes: Duo, no: Duo) -> Duo {
        Duo(self.0.bitselect(yes.0, no.0))
    }

    #[inline(always)]
    pub(super) fn or(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }

    #[inline(always)]
    pub(super) fn and(self, other: Mask) -> Mask {
        Mask(self.0 & other.0)
    }

    #[inline(always)]
    pub(super) fn not(self) -> Mask {
        Mask(self.0 ^ cast::<u64x2, f64x2>(u64x2::splat(u64::MAX)))
    }

    #[inline(always)]
    pub(super) fn both(holds: bool) -> Mask {
        Mask(cast(u64x2::splat(if holds { u64::MAX } else { 0 })))
    }

    #[inline(always)]
    pub(super) fn lanes(self) -> [bool; LANES] {
        let bits = self.0.to_bitmask();
        [bits & 1 != 0, bits & 2 != 0]
    }

    #[inline(always)]
    pub(super) fn all(self) -> bool {
        self.0.all()
    }

    #[inline(always)]
    pub(super) fn none(self) -> bool {
        !self.0.any()
    }
}

impl Add for Duo {
    type Output = Duo;
    #[inline(always)]
    fn add(self, other: Duo) -> Duo {
        Duo(self.0 + other.0)
    }
}

impl Sub for Duo {
    type Output = Duo;
    #[inline(always)]
    fn sub(self, other: Duo) -> Duo {
        Duo(self.0 - other.0)
    }
}

impl Mul for Duo {
    type Output = Duo;
    #[inline(always)]
    fn mul(self, other: Duo) -> Duo {
        Duo(self.0 * other.0)
    }
}

impl Mul<f64> for Duo {
    type Output = Duo;
    #[inline(always)]
    fn mul(self, other: f64) -> Duo {
        self * Duo::both(other)
    }
}

impl Div for Duo {
    type Output = Duo;
    #[inline(always)]
    fn div(self, other: Duo) -> Duo {
        Duo(self.0 / other.0)
    }
}

impl Neg for Duo {
    type Output = Duo;
    #[inline(always)]
    fn neg(self) -> Duo {
        // The sign bit alone, as a scalar does it: zero minus zero would be +0.
        Duo(self.0 ^ f64x2::splat(-0.0))
    }
}

impl AddAssign for Duo {
    #[inline(always)]
    fn add_assign(&mut self, other: Duo) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: [f64; 9] =
        [0.0, -0.0, 1.0, -2.5, 3e300, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE / 8.0, f64::NAN];

    #[test]
    fn each_lane_is_what_a_double_alone_would_be() {
        for a in ODD {
            for b in ODD {
                let (x, y) = (Duo::new([a, b]), Duo::new([b, a]));
                let table = [
                    (x + y, a + b, b + a),
                    (x - y, a - b, b - a),
                    (x * y, a * b, b * a),
                    (x / y, a / b, b / a),
                    (-x, -a, -b),
                    (x.abs(), a.abs(), b.abs()),
                    (x.sqrt(), a.sqrt(), b.sqrt()),
                    (x.max(0.5), if a > 0.5 { a } else { 0.5 }, if b > 0.5 { b } else { 0.5 }),
                    (x.min(0.5), if a < 0.5 { a } else { 0.5 }, if b < 0.5 { b } else { 0.5 }),
                    (x.less(y).choose(x, y), if a < b { a } else { b }, if b < a { b } else { a }),
                    (
                        x.equals(y).choose(Duo::both(1.0), Duo::both(2.0)),
                        [2.0, 1.0][usize::from(a == b)],
                        [2.0, 1.0][usize::from(a == b)],
                    ),
                ];
                for (operation, (duo, first, second)) in table.into_iter().enumerate() {
                    for (lane, alone) in duo.lanes().into_iter().zip([first, second]) {
                        let same = lane.to_bits() == alone.to_bits() || lane.is_nan() && alone.is_nan();
                        assert!(same, "operation {operation} on {a} and {b}: {lane} is not {alone}");
                    }
                }
                assert_eq!(x.less(y).lanes(), [a < b, b < a]);
                assert_eq!(x.less(y).none(), !(a < b || b < a));
                assert_eq!(x.equals(y).all(), a == b);
            }
        }
    }
}
