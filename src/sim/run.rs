//! From a scenario and a seed to a report: one run, and many runs on all cores. The report of a run is a function of
//! the scenario, the algorithm and the seed; how many threads there are and how long it took is not in it.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::cluster::Cluster;
use super::limit::Limits;
use super::plot::Trace;
use super::random::{Purpose, Stream};
use super::scenario::Scenario;
use super::score::{Score, Scorer};
use super::world::SECOND_NS;
use crate::pipeline::Algorithm;

/// What came out of one run; the JSON of `llts sim`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// The algorithm.
    pub algorithm: String,
    /// The seed.
    pub seed: u64,
    /// Root mean square of the true error of all pairs of honest nodes, ns.
    pub pairwise_rms_ns: Option<f64>,
    /// 99th percentile of its magnitude, ns.
    pub pairwise_p99_ns: Option<f64>,
    /// Its largest magnitude, ns.
    pub pairwise_max_ns: Option<f64>,
    /// Largest magnitude of a following clock's error against true time, ns.
    pub error_max_ns: Option<f64>,
    /// From when on, s, the worst pair stayed within each spread; null if it did not.
    pub converged_s: BTreeMap<String, Option<f64>>,
    /// Change of the rate of the mean clock against the mean oscillator, ppb.
    pub ensemble_drift_ppb: Option<f64>,
    /// Samples at which two neighbours were further apart than both of them promised.
    pub bound_violations: u64,
    /// RMS of error over published sigma.
    pub sigma_ratio: Option<f64>,
    /// Mean of the published bounds, ns.
    pub bound_ns: Option<f64>,
    /// The linear limit of the scenario, ns; null where there is none, see `llts sim --explain`.
    pub limit_ns: Option<f64>,
    /// Pairwise RMS over the linear limit.
    pub ratio: Option<f64>,
    /// The Cramér-Rao bound of the scenario, which no estimator beats, ns; null where there is none, see
    /// `llts sim --explain`.
    pub cramer_rao_ns: Option<f64>,
    /// Pairwise RMS over the Cramér-Rao bound.
    pub cramer_rao_ratio: Option<f64>,
    /// Packets that a node sent a second.
    pub packets_per_node_s: f64,
    /// Worst 5 s of the undisturbed nodes after the first event over the worst 5 s of the same nodes where nothing
    /// happens; null where no bound asks for it, since it takes a second run.
    pub disturbance: Option<f64>,
    /// The longest that a node took to be back among the others, s.
    pub rejoined_s: Option<f64>,
    /// Honest nodes that noticed liars; null where nobody lies.
    pub noticed: Option<usize>,
    /// Exchanges completed.
    pub exchanges: u64,
    /// Whether every bound held.
    pub pass: bool,
    /// Those that did not, each in a sentence.
    pub failures: Vec<String>,
}

/// The seed of the `n`-th run of a series that began with `first`: the first is `first` itself, so that a failing run
/// is replayed by naming the seed it printed.
#[must_use]
pub fn seed_of(first: u64, n: u32) -> u64 {
    match n {
        0 => first,
        // 32 bits are enough to be picked by nobody and few enough to be typed.
        n => Stream::new(first, Purpose::Run, u64::from(n), 0).bits() >> 32,
    }
}

/// Runs the scenario once. `progress` is told of each second of virtual time that has passed; `trace` takes what a plot
/// needs.
#[must_use]
pub fn run(
    scenario: &Scenario,
    algorithm: Algorithm,
    seed: u64,
    progress: &(dyn Fn() + Sync),
    trace: Option<&mut Trace>,
) -> Report {
    run_against(Limits::of(scenario, seed), scenario, algorithm, seed, progress, trace)
}

/// The same where the limits of this scenario and seed are known already.
#[must_use]
pub fn run_against(
    limits: Limits,
    scenario: &Scenario,
    algorithm: Algorithm,
    seed: u64,
    progress: &(dyn Fn() + Sync),
    trace: Option<&mut Trace>,
) -> Report {
    let (mut score, exchanges) = simulate(scenario, scenario, algorithm, seed, progress, trace);
    if scenario.bounds.disturbance.is_some() {
        let (control, _) = simulate(&scenario.without_events(), scenario, algorithm, seed, &|| (), None);
        let worst = score.undisturbed_worst_ns.zip(control.undisturbed_worst_ns);
        score.disturbance = worst.filter(|(_, quiet)| *quiet > 0.0).map(|(disturbed, quiet)| disturbed / quiet);
    }
    let over = |limit_ns: Option<f64>| score.pairwise_rms_ns.zip(limit_ns).map(|(rms, limit)| rms / limit);
    let cramer_rao_ratio = over(limits.cramer_rao_ns);
    score.ratio = over(limits.linear_ns);
    let judged = match &scenario.bounds.algorithms {
        Some(names) => names.iter().any(|name| name == algorithm.as_str()),
        None => algorithm.as_str() == scenario.cluster.algorithm,
    };
    let failures = if judged { scenario.bounds.failures(&score) } else { Vec::new() };
    Report {
        scenario: scenario.name.clone(),
        algorithm: algorithm.as_str().to_owned(),
        seed,
        pairwise_rms_ns: score.pairwise_rms_ns,
        pairwise_p99_ns: score.pairwise_p99_ns,
        pairwise_max_ns: score.pairwise_max_ns,
        error_max_ns: score.error_max_ns,
        converged_s: score.converged_s,
        ensemble_drift_ppb: score.ensemble_drift_ppb,
        bound_violations: score.bound_violations,
        sigma_ratio: score.sigma_ratio,
        bound_ns: score.bound_ns,
        limit_ns: limits.linear_ns,
        ratio: score.ratio,
        cramer_rao_ns: limits.cramer_rao_ns,
        cramer_rao_ratio,
        packets_per_node_s: score.packets_per_node_s,
        disturbance: score.disturbance,
        rejoined_s: score.rejoined_s,
        noticed: (!scenario.liars.is_empty()).then_some(score.noticed),
        exchanges,
        pass: failures.is_empty(),
        failures,
    }
}

/// Runs `world` once and scores it as `scenario` says. Returns the score and how many exchanges were completed.
fn simulate(
    world: &Scenario,
    scenario: &Scenario,
    algorithm: Algorithm,
    seed: u64,
    progress: &(dyn Fn() + Sync),
    mut trace: Option<&mut Trace>,
) -> (Score, u64) {
    let mut cluster = Cluster::new(world, algorithm, seed);
    let mut scorer = Scorer::new(scenario, seed);
    let end = world.duration.nanos();
    let step = (SECOND_NS as f64 / scenario.measure.sample_hz) as i64;
    // Not a divisor of the ticks' spacing, or samples would always hit the same phase of them.
    let step = step + step / 97;
    let (mut at, mut told) = (0, 0);
    while at < end {
        at = (at + step).min(end);
        cluster.run_until(at);
        scorer.sample(&mut cluster, at);
        if let Some(trace) = trace.as_deref_mut() {
            trace.sample(&cluster, &scorer, at);
        }
        while told < at / SECOND_NS {
            told += 1;
            progress();
        }
    }
    (scorer.finish(&cluster), cluster.exchanges())
}

/// Runs the scenario under `algorithm` once for each seed, on all cores; reports come in the order of the seeds.
#[must_use]
pub fn run_all(scenario: &Scenario, algorithm: Algorithm, seeds: &[u64], progress: &(dyn Fn() + Sync)) -> Vec<Report> {
    let limits = Limits::of_each(scenario, seeds);
    let runs = seeds.par_iter().zip(limits);
    runs.map(|(seed, limits)| run_against(limits, scenario, algorithm, *seed, progress, None)).collect()
}
