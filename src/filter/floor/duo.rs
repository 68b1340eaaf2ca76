//! Two doubles computed side by side: two models of the filter take every step together, which the compiler turns into
//! packed arithmetic where it can. The operations are those of IEEE 754 lane by lane and nothing else, so every machine
//! gets the same bits: no fused multiply-add, and no intrinsics, which would need unsafe code.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// How many go side by side.
pub(super) const LANES: usize = 2;

/// Two doubles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Duo([f64; LANES]);

/// For each of two lanes, whether something holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask([bool; LANES]);

impl Duo {
    #[inline(always)]
    pub(super) fn new(lanes: [f64; LANES]) -> Self {
        Duo(lanes)
    }

    /// The same in both lanes.
    #[inline(always)]
    pub(super) fn both(x: f64) -> Self {
        Duo::new([x; LANES])
    }

    #[inline(always)]
    pub(super) fn lanes(self) -> [f64; LANES] {
        self.0
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Duo([f(self.0[0]), f(self.0[1])])
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Duo([f(self.0[0], other.0[0]), f(self.0[1], other.0[1])])
    }

    #[inline(always)]
    pub(super) fn bits(self) -> [u64; LANES] {
        self.lanes().map(f64::to_bits)
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Self {
        self.map(f64::sqrt)
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        self.map(f64::abs)
    }

    /// The greater one; `least` where the lane is not a number.
    #[inline(always)]
    pub(super) fn max(self, least: f64) -> Self {
        self.map(|a| if a > least { a } else { least })
    }

    /// The smaller one; `most` where the lane is not a number.
    #[inline(always)]
    pub(super) fn min(self, most: f64) -> Self {
        self.map(|a| if a < most { a } else { most })
    }

    #[inline(always)]
    pub(super) fn less(self, than: Duo) -> Mask {
        Mask([self.0[0] < than.0[0], self.0[1] < than.0[1]])
    }

    #[inline(always)]
    pub(super) fn equals(self, other: Duo) -> Mask {
        Mask([self.0[0] == other.0[0], self.0[1] == other.0[1]])
    }

    /// Two to the power of the integer in the bits above the lowest `cut` (modulo 4096, exponent bias included).
    #[inline(always)]
    pub(super) fn power_of_bits<const CUT: i32>(self, bias: u64) -> Self {
        self.map(|a| f64::from_bits((a.to_bits() >> CUT).wrapping_add(bias) << 52))
    }
}

impl Mask {
    /// `yes` where the mask is set, else `no`.
    #[inline(always)]
    pub(super) fn choose(self, yes: Duo, no: Duo) -> Duo {
        Duo([0, 1].map(|lane| if self.0[lane] { yes.0[lane] } else { no.0[lane] }))
    }

    #[inline(always)]
    pub(super) fn or(self, other: Mask) -> Mask {
        Mask([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    #[inline(always)]
    pub(super) fn and(self, other: Mask) -> Mask {
        Mask([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }

    #[inline(always)]
    pub(super) fn of(holds: [bool; LANES]) -> Mask {
        Mask(holds)
    }

    #[inline(always)]
    pub(super) fn lanes(self) -> [bool; LANES] {
        self.0
    }

    #[inline(always)]
    pub(super) fn all(self) -> bool {
        self.0[0] & self.0[1]
    }

    #[inline(always)]
    pub(super) fn none(self) -> bool {
        !(self.0[0] | self.0[1])
    }
}

impl Add for Duo {
    type Output = Duo;
    #[inline(always)]
    fn add(self, other: Duo) -> Duo {
        self.zip(other, |a, b| a + b)
    }
}

impl Sub for Duo {
    type Output = Duo;
    #[inline(always)]
    fn sub(self, other: Duo) -> Duo {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul for Duo {
    type Output = Duo;
    #[inline(always)]
    fn mul(self, other: Duo) -> Duo {
        self.zip(other, |a, b| a * b)
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
        self.zip(other, |a, b| a / b)
    }
}

impl Neg for Duo {
    type Output = Duo;
    #[inline(always)]
    fn neg(self) -> Duo {
        self.map(|a| -a)
    }
}

impl AddAssign for Duo {
    #[inline(always)]
    fn add_assign(&mut self, other: Duo) {
        *self = *self + other;
    }
}
