//! What a node says of its own error: sigma, an estimate, and bound, a promise. The two are never mixed. Sigma comes
//! from filters; bound comes from hard intervals and from how fast oscillators can drift, and is infinite where nothing
//! can be promised.

use crate::limits::{DRIFT_RATE, PEERS_MAX};

/// Standard deviations of the rate that a promise allows for while nobody can be heard.
const RATE_SIGMAS: f64 = 4.0;

/// Sigma and bound of the delivered clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// One standard deviation of own V against the cluster, ns.
    v_sigma_ns: f64,
    /// How far any peer that counts can be from own V, ns.
    v_bound_ns: f64,
    /// One standard deviation of own V's rate.
    rate_sigma: f64,
    /// Seconds since anybody was heard.
    coasting_s: f64,
}

impl Promise {
    /// Nothing is promised.
    pub(super) const NOTHING: Promise =
        Promise { v_sigma_ns: f64::INFINITY, v_bound_ns: f64::INFINITY, rate_sigma: 0.0, coasting_s: 0.0 };
    /// A reference is right by definition.
    pub(super) const TRUTH: Promise = Promise { v_sigma_ns: 0.0, v_bound_ns: 0.0, rate_sigma: 0.0, coasting_s: 0.0 };

    /// A node that agrees: `v_bound_ns` is [`reach`] of its peers.
    pub(super) fn agreed(v_sigma_ns: f64, rate_sigma: f64, v_bound_ns: f64) -> Self {
        Promise { v_sigma_ns, v_bound_ns, rate_sigma, coasting_s: 0.0 }
    }

    /// A node that has lost what it agreed with, `dt_s` later; its V has been moved by `moved_ns` meanwhile.
    pub(super) fn coasted(self, dt_s: f64, moved_ns: f64) -> Self {
        let growth = 2.0 * DRIFT_RATE + RATE_SIGMAS * self.rate_sigma;
        Promise {
            v_bound_ns: self.v_bound_ns + growth * dt_s * 1e9 + moved_ns.abs(),
            coasting_s: self.coasting_s + dt_s,
            ..self
        }
    }

    /// One standard deviation of the clock, ns, whose oscillator wanders by `wander` (1/s) and which lags V by
    /// `lag_ns`. Never less than the lag: peers rely on that to bound this clock by its V.
    pub(super) fn sigma_ns(&self, wander: f64, lag_ns: f64) -> f64 {
        let t = self.coasting_s;
        let drifted_ns = self.rate_sigma * t * 1e9;
        let wandered_var = wander * t * t * t / 3.0 * 1e18;
        (self.v_sigma_ns * self.v_sigma_ns + drifted_ns * drifted_ns + wandered_var + lag_ns * lag_ns).sqrt()
    }

    /// The bound of the clock, ns, that holds until the next tick in `tick_ns`.
    pub(super) fn bound_ns(&self, lag_ns: f64, tick_ns: i64) -> f64 {
        self.v_bound_ns + lag_ns.abs() + 2.0 * DRIFT_RATE * tick_ns as f64
    }
}

/// How far the clock of any peer can be from own V, ns, given each one's own reach: the largest, after the `faults`
/// largest, which liars may have inflated, are left out. Infinite if nobody is left.
pub(super) fn reach(each_ns: impl Iterator<Item = f64>, faults: usize) -> f64 {
    let mut sorted = [0.0; PEERS_MAX];
    let mut count = 0;
    for ns in each_ns {
        sorted[count] = ns;
        count += 1;
    }
    sorted[..count].sort_unstable_by(|a, b| b.total_cmp(a));
    if count > faults { sorted[faults] } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liars_cannot_inflate_the_bound_but_too_few_peers_promise_nothing() {
        assert_eq!(reach([10.0, 1e30, 20.0].into_iter(), 1), 20.0);
        assert_eq!(reach([10.0, f64::INFINITY].into_iter(), 0), f64::INFINITY);
        assert_eq!(reach([10.0].into_iter(), 1), f64::INFINITY);
        assert_eq!(reach(std::iter::empty(), 0), f64::INFINITY);
    }

    #[test]
    fn bound_and_sigma_grow_while_nobody_is_heard() {
        let promise = Promise::agreed(5.0, 1e-9, 1_000.0);
        let later = (0..100).fold(promise, |p, _| p.coasted(0.1, 0.0));
        assert!((later.bound_ns(0.0, 0) - 1_000.0 - 10.0 * (2e9 * DRIFT_RATE + 4.0)).abs() < 1e-3);
        assert!(later.sigma_ns(1e-18, 0.0) > promise.sigma_ns(1e-18, 0.0) + 5.0);
    }

    #[test]
    fn sigma_is_never_less_than_what_the_clock_lacks_to_v() {
        assert!(Promise::agreed(5.0, 0.0, 9.0).sigma_ns(0.0, -300.0) >= 300.0);
    }
}
