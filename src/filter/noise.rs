//! How much one exchange can be trusted: its variance from its own delay. Two models of the path are kept, and the
//! exchanges themselves say which one fits (ALGORITHMS 3.3). Learns from half round trips, which need no clock to be
//! right, and from the innovations of a filter that it is told of; estimates no offset.

use super::prior_var;
use crate::flow::StampClass;

/// Half round trips that are remembered.
const HISTORY: usize = 64;
/// Exchanges before the path's own history replaces the prior.
const WARM: u32 = 12;
/// Forgetting of the models' scores: 1 / this many exchanges.
const SCORE_MEMORY: f64 = 50.0;
/// No path is quieter than this, ns² (one nanosecond, the grain of a stamp).
const VAR_MIN: f64 = 1.0;
/// A surprise counts at most this much in a model's score: one jump of a clock must not blind it for 50 exchanges.
const SURPRISE_MAX: f64 = 100.0;
/// Exchanges in a row that must lie off the floor before a route is said to have changed.
const ROUTE_STREAK: usize = 16;
/// How far off the floor, in standard deviations of the stamps' noise.
const ROUTE_SIGMAS: f64 = 5.0;

/// The two models of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    /// Most packets pass undelayed and the stamps' own noise dominates; delay beyond it is penalised.
    Mode,
    /// Queueing dominates: the error is uniform within the excess delay.
    Excess,
}

/// Concentrated Gaussian likelihood of one model: `ln(mean(nu²/S)) + mean(ln S)`, smaller is better.
#[derive(Clone, Copy, Debug)]
struct Score {
    surprise: f64,
    log_var: f64,
}

impl Score {
    const NEW: Score = Score { surprise: 1.0, log_var: 0.0 };

    fn learn(&mut self, innovation_ns: f64, variance: f64, weight: f64) {
        let surprise = (innovation_ns * innovation_ns / variance).min(SURPRISE_MAX);
        self.surprise += weight * (surprise - self.surprise);
        self.log_var += weight * (variance.ln() - self.log_var);
    }

    fn value(&self) -> f64 {
        self.surprise.max(1e-9).ln() + self.log_var
    }

    /// By how much the model's variance must be scaled to fit what was seen.
    fn calibration(&self) -> f64 {
        self.surprise.clamp(0.2, 5.0)
    }
}

/// The variances that both models give one exchange, before calibration, ns².
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidates {
    mode: f64,
    excess: f64,
}

/// The noise of one path at one stamp class.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    class: StampClass,
    /// Half round trips in ns, newest at `next - 1`. f32: at 20 ms their grain is 2 ns, far below such a path's noise.
    recent: [f32; HISTORY],
    /// The same, ascending: kept sorted by one insertion and one removal per exchange.
    sorted: [f32; HISTORY],
    filled: usize,
    next: usize,
    samples: u32,
    mode: Score,
    excess: Score,
    scored: u32,
    above: usize,
    below: usize,
}

impl Noise {
    /// Nothing known yet but the class of the stamps.
    pub(super) fn new(class: StampClass) -> Self {
        Noise {
            class,
            recent: [0.0; HISTORY],
            sorted: [0.0; HISTORY],
            filled: 0,
            next: 0,
            samples: 0,
            mode: Score::NEW,
            excess: Score::NEW,
            scored: 0,
            above: 0,
            below: 0,
        }
    }

    /// The class whose noise this is.
    pub(super) fn class(&self) -> StampClass {
        self.class
    }

    /// Smallest half round trip of the history, ns.
    pub(super) fn floor_ns(&self) -> f64 {
        if self.filled == 0 { 0.0 } else { f64::from(self.sorted[0]) }
    }

    /// Remembers a half round trip. Returns by how much the floor has moved (ns, positive = longer) if the last
    /// exchanges all lie off it: the route has changed, and the history before the change is forgotten.
    pub(super) fn observe(&mut self, half_ns: f64) -> Option<f64> {
        if self.samples >= WARM && self.filled >= ROUTE_STREAK {
            let (centre, deviation) = self.centre();
            let off = half_ns - centre;
            self.above = if off > ROUTE_SIGMAS * deviation { self.above + 1 } else { 0 };
            self.below = if off < -ROUTE_SIGMAS * deviation { self.below + 1 } else { 0 };
        }
        let changed = self.above >= ROUTE_STREAK || self.below >= ROUTE_STREAK;
        let before = self.floor_ns();
        self.push(half_ns as f32);
        if !changed {
            return None;
        }
        self.keep_newest(ROUTE_STREAK);
        (self.above, self.below) = (0, 0);
        Some(self.floor_ns() - before)
    }

    /// Variance of an exchange under both models; `half_ns` has been observed already.
    pub(super) fn candidates(&self, half_ns: f64) -> Candidates {
        if self.samples < WARM {
            let var = self.early_var();
            return Candidates { mode: var, excess: var };
        }
        let (centre, deviation) = self.centre();
        let beyond = (half_ns - centre - 1.5 * deviation).max(0.0);
        let floor = self.floor_ns();
        let lift = f64::from(self.sorted[self.filled / 2]) - floor;
        let excess = (half_ns - floor).max(0.0);
        Candidates {
            mode: (deviation * deviation + 0.7 * beyond * beyond).max(VAR_MIN),
            excess: (0.01 * lift * lift + excess * excess / 3.0).max(VAR_MIN),
        }
    }

    /// The variance to use: that of the likelier model, calibrated by its own record.
    pub(super) fn variance(&self, candidates: Candidates) -> f64 {
        match self.choice() {
            Model::Mode => candidates.mode * self.mode.calibration(),
            Model::Excess => candidates.excess * self.excess.calibration(),
        }
    }

    /// Scores both models by what a filter that did not yet know the exchange thought of it.
    pub(super) fn learn(&mut self, candidates: Candidates, innovation_ns: f64, predicted_var: f64) {
        if self.samples < WARM {
            return;
        }
        self.scored = self.scored.saturating_add(1);
        let weight = 1.0 / f64::from(self.scored).min(SCORE_MEMORY);
        self.mode.learn(innovation_ns, predicted_var + candidates.mode, weight);
        self.excess.learn(innovation_ns, predicted_var + candidates.excess, weight);
    }

    fn choice(&self) -> Model {
        if self.mode.value() <= self.excess.value() { Model::Mode } else { Model::Excess }
    }

    /// Before the path is known: the class's prior and the spread of the half round trips, which is that of the offsets
    /// if both directions are alike, each exchange counting as much as the prior.
    fn early_var(&self) -> f64 {
        let seen = &self.recent[..self.filled];
        let count = seen.len() as f64;
        let mean = seen.iter().map(|h| f64::from(*h)).sum::<f64>() / count.max(1.0);
        let squares = seen.iter().map(|h| (f64::from(*h) - mean).powi(2)).sum::<f64>();
        ((prior_var(self.class) + squares) / (1.0 + (count - 1.0).max(0.0))).max(VAR_MIN)
    }

    /// Centre and standard deviation of the undelayed packets: the shortest interval of the lower half that holds a
    /// quarter of all (0.64 deviations wide if they are Gaussian).
    fn centre(&self) -> (f64, f64) {
        let sorted = &self.sorted[..self.filled];
        let quarter = (self.filled / 4).max(2);
        let mut best = (f64::INFINITY, 0.0);
        for window in sorted[..(self.filled / 2 + 1).max(quarter)].windows(quarter) {
            let (low, high) = (f64::from(window[0]), f64::from(window[quarter - 1]));
            if high - low < best.0 {
                best = (high - low, (low + high) / 2.0);
            }
        }
        (best.1, (best.0 / 0.64).max(VAR_MIN.sqrt()))
    }

    fn push(&mut self, half_ns: f32) {
        self.samples = self.samples.saturating_add(1);
        if self.filled == HISTORY {
            let gone = self.recent[self.next];
            let place = self.sorted.partition_point(|h| *h < gone);
            self.sorted.copy_within(place + 1.., place);
            self.filled -= 1;
        }
        let place = self.sorted[..self.filled].partition_point(|h| *h < half_ns);
        self.sorted.copy_within(place..self.filled, place + 1);
        self.sorted[place] = half_ns;
        self.filled += 1;
        self.recent[self.next] = half_ns;
        self.next = (self.next + 1) % HISTORY;
    }

    fn keep_newest(&mut self, count: usize) {
        let mut newest = [0.0; HISTORY];
        for (back, place) in newest[..count].iter_mut().enumerate() {
            *place = self.recent[(self.next + HISTORY - count + back) % HISTORY];
        }
        self.recent = newest;
        self.next = count % HISTORY;
        self.filled = count;
        self.sorted = newest;
        self.sorted[..count].sort_unstable_by(f32::total_cmp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repeatable jumble in [0, 1).
    fn jumble(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as f64 / (1u64 << 31) as f64
    }

    #[test]
    fn the_sorted_history_is_the_newest_exchanges_in_order() {
        let mut noise = Noise::new(StampClass::Kernel);
        let mut seed = 1;
        let mut all = Vec::new();
        for _ in 0..500 {
            let half = (jumble(&mut seed) * 8.0).floor();
            all.push(half as f32);
            noise.push(half as f32);
            let mut newest = all[all.len().saturating_sub(HISTORY)..].to_vec();
            newest.sort_unstable_by(f32::total_cmp);
            assert_eq!(&noise.sorted[..noise.filled], &newest[..]);
        }
    }

    #[test]
    fn a_longer_route_is_noticed_after_sixteen_exchanges_and_gives_a_new_floor() {
        let mut noise = Noise::new(StampClass::Nic);
        let mut seed = 2;
        for _ in 0..100 {
            assert_eq!(noise.observe(5_000.0 + 30.0 * jumble(&mut seed)), None);
        }
        let mut moved = None;
        for turn in 1..=16 {
            moved = noise.observe(9_000.0 + 30.0 * jumble(&mut seed));
            assert_eq!(moved.is_some(), turn == 16, "turn {turn}");
        }
        assert!((moved.unwrap() - 4_000.0).abs() < 60.0);
        assert!(noise.floor_ns() >= 9_000.0);
    }

    #[test]
    fn a_shorter_route_is_noticed_too() {
        let mut noise = Noise::new(StampClass::Nic);
        let mut seed = 3;
        for _ in 0..100 {
            noise.observe(5_000.0 + 30.0 * jumble(&mut seed));
        }
        // Half of the new exchanges make the shortest quarter their own before the streak is long enough, unless the
        // streak is counted against the centre of what came before.
        let moved: Vec<f64> = (0..40).filter_map(|_| noise.observe(3_000.0 + 30.0 * jumble(&mut seed))).collect();
        assert!(moved.len() <= 1 && noise.floor_ns() < 3_031.0, "{moved:?}");
    }

    #[test]
    fn a_delayed_exchange_is_trusted_less_than_a_prompt_one_under_both_models() {
        let mut noise = Noise::new(StampClass::Kernel);
        let mut seed = 4;
        for _ in 0..64 {
            noise.observe(20_000.0 - 5_000.0 * (1.0 - jumble(&mut seed)).ln());
        }
        let (prompt, delayed) = (noise.candidates(20_100.0), noise.candidates(120_000.0));
        assert!(delayed.mode > 100.0 * prompt.mode && delayed.excess > 100.0 * prompt.excess);
    }

    #[test]
    fn the_early_variance_shrinks_from_the_prior_towards_what_is_seen() {
        let mut noise = Noise::new(StampClass::Kernel);
        noise.observe(5_000.0);
        assert!((noise.candidates(5_000.0).mode - prior_var(StampClass::Kernel)).abs() < 1.0);
        for _ in 0..9 {
            noise.observe(5_000.0);
        }
        assert!(noise.candidates(5_000.0).mode < prior_var(StampClass::Kernel) / 9.0);
    }
}
