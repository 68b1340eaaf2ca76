//! How the clocks of a demo are thrown off: at random, but known, and again the same for the same number.

/// The furthest a clock is thrown, ns.
const OFFSET_NS_MAX: f64 = 10e6;
/// The fastest or slowest an oscillator is made, ppb.
const DRIFT_PPB_MAX: f64 = 50e3;

/// What one clock is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Throw {
    /// How far it is ahead at start, ns.
    pub offset_ns: i64,
    /// How much too fast its oscillator runs, ppb, to a thousandth.
    pub drift_ppb: f64,
}

/// One throw for each of `nodes` clocks, by SplitMix64 (Steele, Lea, Flood 2014) from `seed`.
pub(super) fn throws(seed: u64, nodes: usize) -> Vec<Throw> {
    let mut state = seed;
    let mut within = |max: f64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        max * (2.0 * unit - 1.0)
    };
    let mut throw = || Throw {
        offset_ns: within(OFFSET_NS_MAX).round() as i64,
        drift_ppb: (within(DRIFT_PPB_MAX) * 1e3).round() / 1e3,
    };
    (0..nodes).map(|_| throw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_throws_the_same_and_another_one_does_not() {
        assert_eq!(throws(7, 5), throws(7, 5));
        assert_eq!(throws(7, 5)[..3], throws(7, 3));
        assert_ne!(throws(7, 3), throws(8, 3));
    }

    #[test]
    fn throws_fill_their_range_and_stay_within_it() {
        let many = throws(1, 10_000);
        for (numbers, max) in [
            (many.iter().map(|t| t.offset_ns as f64).collect::<Vec<_>>(), OFFSET_NS_MAX),
            (many.iter().map(|t| t.drift_ppb).collect(), DRIFT_PPB_MAX),
        ] {
            assert!(numbers.iter().all(|x| x.abs() <= max));
            assert!(numbers.iter().any(|x| *x > 0.99 * max) && numbers.iter().any(|x| *x < -0.99 * max));
            assert!((numbers.iter().sum::<f64>() / 10_000.0).abs() < 0.03 * max);
        }
    }
}
