//! What must come out of a scenario, in numbers, and which of it did not. A bound that is not written is not checked.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::quantity::{Rate, Span};
use super::score::Score;

/// The numeric bounds of a scenario. All of them hold for every seed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Root mean square of the true pairwise error.
    pub pairwise_rms: Option<Span>,
    /// It must be at least this: what does not agree, and is said not to, has to be seen not to.
    pub pairwise_rms_above: Option<Span>,
    /// 99th percentile of its magnitude.
    pub pairwise_p99: Option<Span>,
    /// Its largest magnitude.
    pub pairwise_max: Option<Span>,
    /// Largest error of a clock that follows others, against true time: for clusters led by a right reference.
    pub error_max: Option<Span>,
    /// Pairwise RMS over the linear limit.
    pub ratio: Option<f64>,
    /// From when on the worst pair stays within each of these.
    pub converged: BTreeMap<String, Span>,
    /// Change of the ensemble's rate.
    pub ensemble_drift: Option<Rate>,
    /// Times that a true error exceeded the published bound.
    pub bound_violations: Option<u64>,
    /// RMS of error over published sigma: least and most.
    pub sigma_ratio: Option<[f64; 2]>,
    /// Packets that a node sends a second.
    pub packets_per_node_s: Option<f64>,
    /// Worst 5 s of the undisturbed nodes after the first event, over the worst 5 s of the same nodes in the same span
    /// of the same world, of the same seed, in which nothing happens and nobody joins.
    pub disturbance: Option<f64>,
    /// A node that joins, returns or merges is within this of the others...
    pub rejoined_within: Option<Span>,
    /// ... after at most this.
    pub rejoined_after: Option<Span>,
    /// So many honest nodes at least must have noticed the liars: rejected a peer, left track or withdrawn their
    /// bound.
    pub noticed: Option<usize>,
    /// Nodes that must never have synchronised.
    pub must_not_sync: Vec<usize>,
    /// Nodes that must have ended because the guard refused to move their clocks any further; no other may have.
    pub ended: Vec<usize>,
    /// Nodes whose clocks must never have been commanded.
    pub untouched: Vec<usize>,
    /// Links over which no exchange may ever have been completed.
    pub unused: Vec<[usize; 2]>,
    /// The algorithms for which the bounds hold; the scenario's own unless told.
    pub algorithms: Option<Vec<String>>,
}

impl Bounds {
    /// The bounds that do not hold, each in one sentence.
    #[must_use]
    pub fn failures(&self, score: &Score) -> Vec<String> {
        let mut failures = Vec::new();
        let mut most = |what: &str, seen: Option<f64>, bound: Option<f64>, show: &dyn Fn(f64) -> String| {
            let Some(bound) = bound else { return };
            match seen {
                Some(seen) if seen <= bound => {}
                Some(seen) => failures.push(format!("{what} is {}, above {}", show(seen), show(bound))),
                None => failures.push(format!("{what} is unknown, and should be at most {}", show(bound))),
            }
        };
        let span = |ns: f64| Span(ns).to_string();
        let plain = |number: f64| format!("{number:.3}");
        let seconds = |s: f64| format!("{s:.2}s");
        most("pairwise RMS", score.pairwise_rms_ns, self.pairwise_rms.map(|b| b.0), &span);
        most("pairwise p99", score.pairwise_p99_ns, self.pairwise_p99.map(|b| b.0), &span);
        most("pairwise maximum", score.pairwise_max_ns, self.pairwise_max.map(|b| b.0), &span);
        most("error against true time", score.error_max_ns, self.error_max.map(|b| b.0), &span);
        most("ratio to the limit", score.ratio, self.ratio, &plain);
        let drift_ppb = score.ensemble_drift_ppb.map(f64::abs);
        most("ensemble drift in ppb", drift_ppb, self.ensemble_drift.map(|b| b.0 * 1e9), &plain);
        most("packets per node and second", Some(score.packets_per_node_s), self.packets_per_node_s, &plain);
        most("disturbance of the undisturbed", score.disturbance, self.disturbance, &plain);
        let violations = self.bound_violations.map(|b| b as f64);
        most("number of bound violations", Some(score.bound_violations as f64), violations, &|n| format!("{n}"));
        for (within, by) in &self.converged {
            let seen = score.converged_s.get(within).copied().flatten();
            most(&format!("time to converge to {within}"), seen, Some(by.seconds()), &seconds);
        }
        if self.rejoined_after.is_some() {
            most("time to rejoin", score.rejoined_s, self.rejoined_after.map(Span::seconds), &seconds);
        }
        if let Some([least, largest]) = self.sigma_ratio {
            match score.sigma_ratio {
                Some(seen) if (least..=largest).contains(&seen) => {}
                seen => failures.push(format!("RMS of error over sigma is {seen:.3?}, outside {least} to {largest}")),
            }
        }
        if let Some(least) = self.noticed.filter(|least| score.noticed < *least) {
            failures.push(format!("{} honest nodes noticed the liars, and at least {least} should", score.noticed));
        }
        if let Some(least) = self.pairwise_rms_above {
            match score.pairwise_rms_ns {
                Some(seen) if seen >= least.0 => {}
                seen => failures.push(format!(
                    "pairwise RMS is {}, and should be above {least}",
                    seen.map_or("unknown".to_owned(), span)
                )),
            }
        }
        for n in self.must_not_sync.iter().filter(|n| score.synced.contains(n)) {
            failures.push(format!("node {n} has synchronised and must not"));
        }
        for n in self.untouched.iter().filter(|n| score.steered.contains(n)) {
            failures.push(format!("the clock of node {n} has been steered and must not"));
        }
        for n in self.ended.iter().filter(|n| score.ended.iter().all(|(ended, _)| ended != *n)) {
            failures.push(format!("node {n} has not ended, and its guard should have refused to move its clock"));
        }
        for (n, sentence) in score.ended.iter().filter(|(n, _)| !self.ended.contains(n)) {
            failures.push(format!("node {n} has ended: {sentence}"));
        }
        for [a, b] in &self.unused {
            let used = score.exchanged.iter().find(|((x, y), _)| (x, y) == (a.min(b), a.max(b)));
            if let Some((_, count)) = used.filter(|(_, count)| *count > 0) {
                failures.push(format!("{count} exchanges were completed between nodes {a} and {b}, and none may be"));
            }
        }
        failures
    }
}
