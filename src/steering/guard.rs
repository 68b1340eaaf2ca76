//! What may be done to the delivered clock: a step only once, only at start and only if the error is large; fast
//! slewing until the clock has first caught up with V; gentle slewing for ever after. Does not know why V is where it
//! is.

use super::law::steer;

/// Fastest slew while the clock catches up at start: what adjtimex can do (ADJ_TICK, 10 %). 10 ms are gone in 0.2 s.
const SLEW_START: f64 = 0.1;
/// Fastest slew afterwards: what programs have always had to live with (500 ppm).
const SLEW_TRACK: f64 = 500e-6;
/// Ticks in which C closes on V. Two: one would overshoot whenever a tick comes late.
const CLOSING_TICKS: f64 = 1.0;
/// V must have held still, against the step threshold, for so many decisions before the one step is spent on it.
const STILL_DECISIONS: u32 = 8;
/// Closer than this the clock has caught up whatever sigma says, ns.
const CAUGHT_UP_NS: f64 = 1_000.0;

/// The limits of one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardConfig {
    /// An error above this at start is stepped, ns.
    pub step_threshold_ns: i64,
    /// Whether the clock may be stepped at all.
    pub allow_step: bool,
    /// Time between two ticks, ns.
    pub tick_ns: i64,
}

/// What the clock is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// Rate against raw (seconds per second).
    pub rate: f64,
    /// Step to take first, ns.
    pub step_ns: i64,
}

/// The guard of one delivered clock.
#[derive(Clone, Debug)]
pub struct Guard {
    config: GuardConfig,
    step_left: bool,
    caught_up_once: bool,
    still: u32,
}

impl Guard {
    /// A guard for a clock that has just started.
    #[must_use]
    pub fn new(config: GuardConfig) -> Self {
        assert!(config.tick_ns > 0, "ticks follow one another");
        Guard { config, step_left: config.allow_step, caught_up_once: false, still: 0 }
    }

    /// An error at start above this is stepped from now on, ns; no news for a clock that has settled.
    pub fn set_step_threshold(&mut self, step_threshold_ns: i64) {
        self.config.step_threshold_ns = step_threshold_ns;
    }

    /// Whether a clock `lag_ns` behind V with standard deviation `sigma_ns` has caught up with it.
    #[must_use]
    pub fn caught_up(lag_ns: f64, sigma_ns: f64) -> bool {
        lag_ns.abs() <= CAUGHT_UP_NS.max(3.0 * sigma_ns)
    }

    /// The clock is being steered by agreement and has caught up: from now on it is never stepped and slewed gently.
    pub fn settle(&mut self) {
        self.caught_up_once = true;
        self.step_left = false;
    }

    /// What to do about a lag of `lag_ns` (V minus C) when V runs at `v_rate`; `moved_ns` is how far the newest
    /// decision moved V.
    pub fn advise(&mut self, v_rate: f64, lag_ns: f64, moved_ns: f64) -> Move {
        let closing_s = CLOSING_TICKS * self.config.tick_ns as f64 * 1e-9;
        let threshold_ns = self.config.step_threshold_ns.max(0) as f64;
        if self.step_left && lag_ns.abs() > threshold_ns {
            // V may still be moving as one peer after another is heard; a step spent too early would be missed later.
            self.still = if moved_ns.abs() * 10.0 <= threshold_ns { self.still + 1 } else { 0 };
            if self.still < STILL_DECISIONS {
                return Move { rate: v_rate, step_ns: 0 };
            }
            self.step_left = false;
            return Move { rate: v_rate, step_ns: lag_ns.round() as i64 };
        }
        let slew_max = if self.caught_up_once { SLEW_TRACK } else { SLEW_START };
        Move { rate: steer(v_rate, lag_ns, closing_s, slew_max), step_ns: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: GuardConfig = GuardConfig { step_threshold_ns: 100_000_000, allow_step: true, tick_ns: 62_500_000 };

    /// Lets a clock follow a still V for `ticks`; gives the lag left and the steps taken.
    fn follow(guard: &mut Guard, mut lag_ns: f64, ticks: u32) -> (f64, Vec<i64>) {
        let mut steps = Vec::new();
        for _ in 0..ticks {
            let advice = guard.advise(0.0, lag_ns, 0.0);
            if advice.step_ns != 0 {
                steps.push(advice.step_ns);
            }
            lag_ns -= advice.step_ns as f64 + advice.rate * CONFIG.tick_ns as f64;
        }
        (lag_ns, steps)
    }

    #[test]
    fn a_large_error_at_start_is_stepped_exactly_once() {
        let mut guard = Guard::new(CONFIG);
        let (lag_ns, steps) = follow(&mut guard, 3e9, 10);
        assert_eq!(steps, [3_000_000_000]);
        assert!(lag_ns.abs() < 1.0);
        let (_, steps) = follow(&mut guard, 3e9, 10);
        assert!(steps.is_empty());
    }

    #[test]
    fn an_error_at_the_threshold_is_slewed_and_one_past_it_is_stepped() {
        assert!(follow(&mut Guard::new(CONFIG), 100_000_000.0, 10).1.is_empty());
        assert_eq!(follow(&mut Guard::new(CONFIG), 100_000_001.0, 10).1, [100_000_001]);
    }

    #[test]
    fn ten_milliseconds_are_gone_within_half_a_second() {
        let (lag_ns, steps) = follow(&mut Guard::new(CONFIG), 10e6, 8);
        assert!(steps.is_empty() && lag_ns < 100_000.0, "{lag_ns} ns left");
        assert!(follow(&mut Guard::new(CONFIG), 10e6, 16).0 < 1_000.0);
    }

    #[test]
    fn the_step_waits_until_v_holds_still() {
        let mut guard = Guard::new(CONFIG);
        for _ in 0..20 {
            assert_eq!(guard.advise(0.0, 2e9, 500e6).step_ns, 0);
        }
        assert_eq!(follow(&mut guard, 2e9, 8).1, [2_000_000_000]);
    }

    #[test]
    fn after_the_start_nothing_is_stepped_and_nothing_slewed_faster_than_500_ppm() {
        let mut guard = Guard::new(CONFIG);
        guard.settle();
        let advice = guard.advise(0.0, 5e9, 0.0);
        assert_eq!(advice, Move { rate: 500e-6, step_ns: 0 });
    }

    #[test]
    fn a_clock_that_must_not_be_stepped_is_slewed_however_far_it_is() {
        let mut guard = Guard::new(GuardConfig { allow_step: false, ..CONFIG });
        assert_eq!(guard.advise(0.0, 5e9, 0.0), Move { rate: 0.1, step_ns: 0 });
    }
}
