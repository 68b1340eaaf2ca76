//! Several pairs of doubles computed side by side: all six models of the filter take every step together. What a model
//! computes is one long chain, each step waiting for the last; six chains abreast keep the processor busy while each of
//! them waits, and every decision that they have in common is taken once. Lane by lane the operations of [`Duo`] and
//! nothing else.

use std::array::from_fn;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use super::duo::{Duo, LANES, Mask};

/// `N` pairs of doubles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pack<const N: usize>([Duo; N]);

/// For each lane of `N` pairs, whether something holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masks<const N: usize>([Mask; N]);

impl<const N: usize> Pack<N> {
    /// The same in all lanes.
    #[inline(always)]
    pub(super) fn all(x: f64) -> Self {
        Pack([Duo::both(x); N])
    }

    /// From numbers that stand in the order of the lanes; `L` must be twice `N`.
    #[inline(always)]
    pub(super) fn of<const L: usize>(numbers: &[f64; L]) -> Self {
        const { assert!(L == N * LANES) }
        Pack(from_fn(|pair| Duo::new([numbers[pair * LANES], numbers[pair * LANES + 1]])))
    }

    /// The numbers in the order of the lanes; `L` must be twice `N`.
    #[inline(always)]
    pub(super) fn lanes<const L: usize>(self) -> [f64; L] {
        const { assert!(L == N * LANES) }
        from_fn(|lane| self.0[lane / LANES].lanes()[lane % LANES])
    }

    /// One lane.
    #[inline(always)]
    pub(super) fn lane(&self, lane: usize) -> f64 {
        self.0[lane / LANES].lanes()[lane % LANES]
    }

    /// Another number in one lane.
    pub(super) fn set(&mut self, lane: usize, number: f64) {
        let mut lanes = self.0[lane / LANES].lanes();
        lanes[lane % LANES] = number;
        self.0[lane / LANES] = Duo::new(lanes);
    }

    #[inline(always)]
    fn map(self, f: impl Fn(Duo) -> Duo) -> Self {
        Pack(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(Duo, Duo) -> Duo) -> Self {
        Pack(from_fn(|pair| f(self.0[pair], other.0[pair])))
    }

    /// A number that each lane looks up by its bits.
    #[inline(always)]
    pub(super) fn look_up(self, table: impl Fn(u64) -> f64) -> Self {
        self.map(|duo| Duo::new(duo.bits().map(&table)))
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Self {
        self.map(Duo::sqrt)
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        self.map(Duo::abs)
    }

    /// The greater one; `least` where the lane is not a number.
    #[inline(always)]
    pub(super) fn max(self, least: f64) -> Self {
        self.map(|duo| duo.max(least))
    }

    /// The smaller one; `most` where the lane is not a number.
    #[inline(always)]
    pub(super) fn min(self, most: f64) -> Self {
        self.map(|duo| duo.min(most))
    }

    #[inline(always)]
    pub(super) fn less(self, than: Self) -> Masks<N> {
        Masks(from_fn(|pair| self.0[pair].less(than.0[pair])))
    }

    #[inline(always)]
    pub(super) fn equals(self, other: Self) -> Masks<N> {
        Masks(from_fn(|pair| self.0[pair].equals(other.0[pair])))
    }

    /// See [`Duo::power_of_bits`].
    #[inline(always)]
    pub(super) fn power_of_bits<const CUT: i32>(self, bias: u64) -> Self {
        self.map(|duo| duo.power_of_bits::<CUT>(bias))
    }
}

impl Pack<1> {
    /// The other lane in each.
    #[inline(always)]
    pub(super) fn swapped(self) -> Self {
        let [first, second] = self.0[0].lanes();
        Pack([Duo::new([second, first])])
    }
}

impl<const N: usize> Masks<N> {
    /// `yes` where the mask is set, else `no`.
    #[inline(always)]
    pub(super) fn choose(self, yes: Pack<N>, no: Pack<N>) -> Pack<N> {
        Pack(from_fn(|pair| self.0[pair].choose(yes.0[pair], no.0[pair])))
    }

    #[inline(always)]
    pub(super) fn or(self, other: Self) -> Self {
        Masks(from_fn(|pair| self.0[pair].or(other.0[pair])))
    }

    #[inline(always)]
    pub(super) fn and(self, other: Self) -> Self {
        Masks(from_fn(|pair| self.0[pair].and(other.0[pair])))
    }

    #[inline(always)]
    pub(super) fn not(self) -> Self {
        Masks(self.0.map(Mask::not))
    }

    /// The same in all lanes.
    #[inline(always)]
    pub(super) fn all_same(holds: bool) -> Self {
        Masks([Mask::both(holds); N])
    }

    #[inline(always)]
    fn folded(self, f: impl Fn(Mask, Mask) -> Mask) -> Mask {
        self.0.into_iter().reduce(f).expect("there is at least one pair")
    }

    #[inline(always)]
    pub(super) fn all(self) -> bool {
        self.folded(Mask::and).all()
    }

    #[inline(always)]
    pub(super) fn none(self) -> bool {
        self.folded(Mask::or).none()
    }
}

impl Masks<1> {
    #[inline(always)]
    pub(super) fn lanes(self) -> [bool; LANES] {
        self.0[0].lanes()
    }
}

impl<const N: usize> Add for Pack<N> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl<const N: usize> Sub for Pack<N> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl<const N: usize> Mul for Pack<N> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl<const N: usize> Mul<f64> for Pack<N> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        self * Pack::all(other)
    }
}

impl<const N: usize> Div for Pack<N> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
}

impl<const N: usize> Neg for Pack<N> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.map(|a| -a)
    }
}

impl<const N: usize> AddAssign for Pack<N> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
