//! The limit of what a linear estimator can reach in a scenario: the steady state of a Kalman filter that knows the
//! true model and fuses every edge of the node (ALGORITHMS section 5). With Gaussian noise nothing beats it; where
//! delays are one-sided it is a yardstick, not a bound. Events, liars and correlated noise are not in it.

use super::random::{Purpose, Stream};
use super::scenario::Scenario;
use super::topology::Topology;
use crate::flow::Role;

/// Pairwise standard deviation, ns, right after an exchange; `None` if the noise of the links has no variance or is
/// zero.
#[must_use]
pub fn limit_ns(scenario: &Scenario) -> Option<f64> {
    let [forward, backward] = scenario.link.build(&mut Stream::new(0, Purpose::Edge, 0, 0));
    let stamps = scenario.stamps.build();
    let grain_var = if stamps.grain_ns > 1 { (stamps.grain_ns as f64).powi(2) / 12.0 } else { 0.0 };
    let stamp_var = stamps.receive.variance() + stamps.transmit.variance() + 2.0 * grain_var;
    let one_way = |jitter: f64| jitter + stamp_var;
    let noise_var = (one_way(forward.jitter.variance()) + one_way(backward.jitter.variance())) / 4.0;
    if !(noise_var.is_finite() && noise_var > 0.0) {
        return None;
    }
    let count = scenario.cluster.nodes as f64;
    let wander_var = scenario.oscillator.wander.powi(2);
    let interval_s = 1.0 / scenario.cluster.rate;
    let led = (0..scenario.cluster.nodes).any(|n| scenario.role(n) == Role::Reference);
    if led {
        // One end is perfect: a single node's error against it.
        return Some(steady_var(noise_var, wander_var, interval_s).sqrt());
    }
    let averaged = match scenario.cluster.topology {
        Topology::Mesh | Topology::TwoSites => count,
        // Effective resistance of a random regular graph (ALGORITHMS section 6).
        Topology::Overlay => {
            let k = scenario.cluster.degree as f64;
            if k > 2.0 { k * (k - 2.0) / (k - 1.0) } else { 1.0 }
        }
        Topology::Star | Topology::Ring => 1.0,
    };
    Some((2.0 * steady_var(noise_var / averaged, wander_var, interval_s)).sqrt())
}

/// Posterior variance of the offset, ns², in the steady state of the two-state filter with measurement variance `r`
/// (ns²) every `t` seconds and random-walk frequency noise `q` (1/s).
fn steady_var(r: f64, q: f64, t: f64) -> f64 {
    let q = q * 1e18;
    let noise = [q * t * t * t / 3.0, q * t * t / 2.0, q * t];
    let mut p = [r, 0.0, 1e6];
    let mut last = f64::INFINITY;
    for _ in 0..1_000_000 {
        let a = p[0] + 2.0 * t * p[1] + t * t * p[2] + noise[0];
        let b = p[1] + t * p[2] + noise[1];
        let c = p[2] + noise[2];
        let gain = a / (a + r);
        p = [a - gain * a, b - gain * b, c - b * b / (a + r)];
        if (p[0] - last).abs() <= 1e-12 * p[0] {
            break;
        }
        last = p[0];
    }
    p[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(nodes: usize, rate: f64, wander: f64, jitter: &str) -> f64 {
        let text = format!(
            "summary = 'x'\nduration = '10s'\n[cluster]\nnodes = {nodes}\nrate = {rate}\n\
             [oscillator]\nwander = {wander}\n[link]\njitter = '{jitter}'\n"
        );
        limit_ns(&Scenario::parse("limit", &text).unwrap()).unwrap()
    }

    #[test]
    fn the_limits_are_those_of_the_prototype_s_table() {
        let (hw, lan, mix) = ("normal 30ns", "exp 10us + normal 100ns", "10% exp 20us + normal 100ns");
        // ALGORITHMS section 5.1 and EDGE_FILTER's mesh table.
        let table = [
            (hw, 1e-9, 3, 1.0, 10.0),
            (hw, 1e-9, 3, 8.0, 4.9),
            (hw, 1e-9, 10, 1.0, 6.2),
            (hw, 1e-9, 10, 8.0, 3.1),
            (hw, 1e-8, 10, 1.0, 8.6),
            (hw, 1e-8, 10, 8.0, 5.2),
            (lan, 1e-9, 3, 8.0, 393.0),
            (lan, 1e-9, 10, 1.0, 543.0),
            (lan, 1e-9, 10, 8.0, 250.0),
            (lan, 1e-8, 10, 8.0, 444.0),
            (mix, 1e-9, 3, 8.0, 355.0),
            (mix, 1e-8, 10, 8.0, 400.0),
        ];
        for (jitter, wander, nodes, rate, listed) in table {
            let limit = limit(nodes, rate, wander, jitter);
            assert!(
                (limit / listed - 1.0).abs() < 0.025,
                "{jitter} w={wander} N={nodes} {rate}/s: {limit}, not {listed}"
            );
        }
    }

    #[test]
    fn noise_without_a_variance_has_no_limit() {
        let text = "summary = 'x'\nduration = '10s'\n[link]\njitter = 'pareto 5us 1.5'\n";
        assert_eq!(limit_ns(&Scenario::parse("limit", text).unwrap()), None);
    }
}
