//! The steering law: feed forward the rate of V, and close what is left of the phase within a few ticks
//! (ALGORITHMS 8.1). No integral term: V's rate is known, so there is nothing to learn here.

/// The rate at which C must run against raw so that it runs with V and loses `lag_ns` (V minus C) with time constant
/// `closing_s`, at most `slew_max` (seconds per second) faster or slower than V.
#[must_use]
pub fn steer(v_rate: f64, lag_ns: f64, closing_s: f64, slew_max: f64) -> f64 {
    v_rate + (lag_ns * 1e-9 / closing_s).clamp(-slew_max, slew_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_behind_v_runs_faster_than_v() {
        assert!((steer(20e-6, 1_000.0, 0.125, 500e-6) - 28e-6).abs() < 1e-15);
    }

    #[test]
    fn the_slew_is_limited_around_the_rate_of_v_in_both_directions() {
        assert_eq!(steer(0.0, 1e9, 0.125, 500e-6), 500e-6);
        assert_eq!(steer(0.0, -1e9, 0.125, 500e-6), -500e-6);
    }
}
