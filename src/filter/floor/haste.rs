//! Whether even the most agile model lags behind the oscillators, as it does behind a card that is heated by parts per
//! million in a minute, and how much more agile it has to be. What such a model did not expect lies on the same side
//! time and again, where noise changes sides: the innovations of a filter that is right are white (Mehra 1970). Left
//! alone it takes its lag for the stamps' error, weighs stamps less for it, and lags the more, without end. Decides by
//! how much; the models are the caller's.

/// How much faster than the bank's most agile model oscillators may change, as a factor of its q: 1.7 ppm/sqrt(s).
const FACTOR_MAX: f64 = 300.0;
/// An innovation is a lag from so many of the stamps' standard deviations on: what a card's clock is read with lies on
/// one side for many exchanges too (scenario 222: 81 ns without this, 56 with it, 53 at 2 and 50 at 3, where the LAN of
/// 358 is 7 us).
pub(super) const LAG_STAMPS: f64 = 1.5;
/// An innovation of the offset tells if both directions together lie off by less than this part of it.
const OPPOSITE: f64 = 0.5;
/// Memory of how many innovations lie on the side of the last, exchanges.
const SAME_SIDE_MEMORY: f64 = 8.0;
/// By how much the factor grows with each exchange if all of them do, and shrinks if none, in nats. Heat pauses where
/// it turns, and is behind again at once.
const GROWTH: f64 = 0.5;
const SHRINKAGE: f64 = 0.1;

/// What is known of the most agile model's lag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Haste {
    factor: f64,
    last_ns: f64,
    /// How many more of the innovations lie beyond their sigma on the side of the last than not: 1 all, -1 none.
    same_side: f64,
}

impl Haste {
    pub(super) fn new() -> Self {
        Haste { factor: 1.0, last_ns: 0.0, same_side: -1.0 }
    }

    /// The most agile model's process noise is to be so many times the bank's.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// True while it lags, and what it did not expect is no noise.
    pub(super) fn lags(&self) -> bool {
        self.factor > 1.0
    }

    /// Takes in the most agile model's innovations of both directions, the standard deviation of the model's own part
    /// in the offset's, ns, and whether there is no better model.
    pub(super) fn note(&mut self, innovations_ns: [f64; 2], sigma_ns: f64, best: bool) {
        let [forward_ns, backward_ns] = innovations_ns;
        let offset_ns = (forward_ns - backward_ns) / 2.0;
        // What a clock does comes late one way and early the other; a queue or a longer route does not.
        if ((forward_ns + backward_ns) / 2.0).abs() < OPPOSITE * offset_ns.abs() {
            let same = offset_ns * self.last_ns > 0.0 && offset_ns.abs() > sigma_ns;
            self.last_ns = offset_ns;
            self.same_side += (if same { 1.0 } else { -1.0 } - self.same_side) / SAME_SIDE_MEMORY;
        }
        let step = match best {
            true if self.same_side > 0.0 => GROWTH * self.same_side,
            true => SHRINKAGE * self.same_side,
            false => -GROWTH,
        };
        if step > 0.0 || self.lags() {
            self.factor = (self.factor * step.exp()).clamp(1.0, FACTOR_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn innovations_on_one_side_hasten_the_most_agile_model_up_to_a_limit() {
        let mut haste = Haste::new();
        (0..30).for_each(|_| haste.note([-100.0, 90.0], 20.0, true));
        assert!(haste.factor() > 10.0);
        (0..300).for_each(|_| haste.note([-100.0, 90.0], 20.0, true));
        assert_eq!(haste.factor(), FACTOR_MAX);
    }

    #[test]
    fn neither_noise_nor_a_longer_route_nor_what_the_model_allows_for_hastens_it_nor_while_another_is_better() {
        let hastened = |best: bool, innovations_ns: fn(i32) -> [f64; 2]| {
            let mut haste = Haste::new();
            (0..300).for_each(|n| haste.note(innovations_ns(n), 20.0, best));
            haste.lags()
        };
        assert!(hastened(true, |_| [100.0, -90.0]));
        assert!(!hastened(true, |n| if n % 2 == 0 { [100.0, -90.0] } else { [-100.0, 90.0] }));
        assert!(!hastened(true, |_| [100.0, 0.0]));
        assert!(!hastened(true, |_| [10.0, -9.0]));
        assert!(!hastened(false, |_| [100.0, -90.0]));
    }

    #[test]
    fn the_sign_of_what_was_not_expected_does_not_matter() {
        let after = |sign: f64| {
            let mut haste = Haste::new();
            let innovation = |n: i32| sign * f64::from(n % 7 - 1) * 30.0;
            (0..40).for_each(|n| haste.note([innovation(n), -innovation(n)], 20.0, true));
            haste.factor()
        };
        assert_eq!(after(1.0), after(-1.0));
    }
}
