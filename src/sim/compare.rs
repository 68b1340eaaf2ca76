//! Algorithms side by side: every algorithm in every scenario on the same seeds, so that all meet the same oscillators,
//! queues and liars, and one row of numbers for each pair. Judges nothing: bounds are the scenarios' affair.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::limit::Limits;
use super::plot::Trace;
use super::run::{Report, run_against};
use super::scenario::Scenario;
use crate::pipeline::Algorithm;

/// What one algorithm came to in one scenario, over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The algorithm.
    pub algorithm: String,
    /// Runs behind the numbers.
    pub seeds: u32,
    /// Root mean square of the true error of all pairs of honest nodes, ns, over all runs.
    pub pairwise_rms_ns: Option<f64>,
    /// The worst run's 99th percentile of its magnitude, ns.
    pub pairwise_p99_ns: Option<f64>,
    /// Its largest magnitude in any run, ns.
    pub pairwise_max_ns: Option<f64>,
    /// From when on, s, the worst pair stayed within each spread, in the slowest run; null if one run never did.
    pub converged_s: BTreeMap<String, Option<f64>>,
    /// Change of the rate of the mean clock against the mean oscillator, ppb: the run in which it was largest.
    pub ensemble_drift_ppb: Option<f64>,
    /// Samples at which two neighbours were further apart than both of them promised, in all runs.
    pub bound_violations: u64,
    /// RMS of error over published sigma, over all runs.
    pub sigma_ratio: Option<f64>,
    /// The linear limit of the scenario, ns, over all runs; null where there is none, see `llts sim --explain`.
    pub limit_ns: Option<f64>,
    /// Pairwise RMS over the linear limit.
    pub ratio: Option<f64>,
    /// The Cramér-Rao bound of the scenario, which no estimator beats, ns, over all runs; null where there is none, see
    /// `llts sim --explain`.
    pub cramer_rao_ns: Option<f64>,
    /// Pairwise RMS over the Cramér-Rao bound.
    pub cramer_rao_ratio: Option<f64>,
    /// Packets that a node sent a second.
    pub packets_per_node_s: f64,
    /// Processor time of the run, ns, for each exchange, both ends and the simulator included; null if not measured.
    /// The only number that differs from run to run and from machine to machine.
    pub cpu_ns_per_exchange: Option<f64>,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The scenarios.
    pub scenarios: &'a [Scenario],
    /// The algorithms.
    pub algorithms: &'a [Algorithm],
    /// The seeds that each pair of them is run on.
    pub seeds: &'a [u64],
}

/// The rows, scenario by scenario, and for each row the trace of the first seed's run if they were asked for.
#[derive(Debug)]
pub struct Comparison {
    /// One for each scenario and algorithm, in the order of the matrix.
    pub rows: Vec<Row>,
    /// The traces, in the order of the rows; empty if they were not asked for.
    pub traces: Vec<Trace>,
}

/// Runs the whole matrix on all cores. `cpu_ns` reads the processor time of the calling thread, for the cost of a run;
/// `progress` is told of each second of virtual time. The result does not depend on the number of threads.
#[must_use]
pub fn compare(
    matrix: &Matrix<'_>,
    traced: bool,
    cpu_ns: Option<&(dyn Fn() -> i64 + Sync)>,
    progress: &(dyn Fn() + Sync),
) -> Comparison {
    // Before the runs: limits are no cost of an algorithm, and the same for all.
    let limits: Vec<Vec<Limits>> = matrix.scenarios.par_iter().map(|s| Limits::of_each(s, matrix.seeds)).collect();
    let cells: Vec<(&Scenario, &Vec<Limits>, Algorithm)> = (matrix.scenarios.iter().zip(&limits))
        .flat_map(|(s, limits)| matrix.algorithms.iter().map(move |a| (s, limits, *a)))
        .collect();
    let runs: Vec<(&Scenario, Limits, Algorithm, u64, bool)> = cells
        .iter()
        .flat_map(|(s, limits, a)| {
            let each = matrix.seeds.iter().zip(*limits).enumerate();
            each.map(move |(n, (seed, limits))| (*s, *limits, *a, *seed, traced && n == 0))
        })
        .collect();
    // One by one: a run of ten liars takes a hundred times as long as one of three nodes.
    let done: Vec<(Report, Option<i64>, Option<Trace>)> = runs
        .into_par_iter()
        .with_max_len(1)
        .map(|(scenario, limits, algorithm, seed, traced)| {
            let mut trace = traced.then(|| Trace::new(scenario));
            let began = cpu_ns.map(|read| read());
            let report = run_against(limits, scenario, algorithm, seed, progress, trace.as_mut());
            let spent = began.zip(cpu_ns).map(|(began, read)| read() - began);
            (report, spent, trace)
        })
        .collect();
    let mut comparison = Comparison { rows: Vec::with_capacity(cells.len()), traces: Vec::new() };
    let mut done = done.into_iter();
    for _ in 0..cells.len() {
        let (mut reports, mut spent) = (Vec::new(), Some(0));
        for (report, cost, trace) in done.by_ref().take(matrix.seeds.len()) {
            reports.push(report);
            spent = spent.zip(cost).map(|(sum, cost)| sum + cost);
            comparison.traces.extend(trace);
        }
        comparison.rows.extend(row(&reports, spent));
    }
    comparison
}

/// The row of some runs of one algorithm in one scenario; `None` without a run.
fn row(reports: &[Report], spent_ns: Option<i64>) -> Option<Row> {
    let first = reports.first()?;
    let worst = |of: fn(&Report) -> Option<f64>| most(reports.iter().map(of));
    let rms = |of: fn(&Report) -> Option<f64>| {
        let squares: Option<f64> = reports.iter().map(|r| of(r).map(|v| v * v)).sum();
        squares.map(|sum| (sum / reports.len() as f64).sqrt())
    };
    let pairwise_rms_ns = rms(|r| r.pairwise_rms_ns);
    // Where the seed draws the links, each run has its own.
    let (limit_ns, cramer_rao_ns) = (rms(|r| r.limit_ns), rms(|r| r.cramer_rao_ns));
    let over = |limit_ns: Option<f64>| pairwise_rms_ns.zip(limit_ns).map(|(rms, limit)| rms / limit);
    let slowest = |name: &String| most(reports.iter().map(|r| r.converged_s.get(name).copied().flatten()));
    let drifts = reports.iter().filter_map(|r| r.ensemble_drift_ppb);
    let exchanges = reports.iter().map(|r| r.exchanges).sum::<u64>();
    Some(Row {
        scenario: first.scenario.clone(),
        algorithm: first.algorithm.clone(),
        seeds: reports.len() as u32,
        pairwise_rms_ns,
        pairwise_p99_ns: worst(|r| r.pairwise_p99_ns),
        pairwise_max_ns: worst(|r| r.pairwise_max_ns),
        converged_s: first.converged_s.keys().map(|name| (name.clone(), slowest(name))).collect(),
        ensemble_drift_ppb: drifts.max_by(|a, b| a.abs().total_cmp(&b.abs())),
        bound_violations: reports.iter().map(|r| r.bound_violations).sum(),
        sigma_ratio: rms(|r| r.sigma_ratio),
        limit_ns,
        ratio: over(limit_ns),
        cramer_rao_ns,
        cramer_rao_ratio: over(cramer_rao_ns),
        packets_per_node_s: reports.iter().map(|r| r.packets_per_node_s).sum::<f64>() / reports.len() as f64,
        cpu_ns_per_exchange: spent_ns.filter(|_| exchanges > 0).map(|ns| ns as f64 / exchanges as f64),
    })
}

/// The largest; `None` if one of them is unknown.
fn most(mut numbers: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    numbers.try_fold(f64::NEG_INFINITY, |most, number| number.map(|n| most.max(n))).filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::run::run;
    use super::*;

    fn scenario(name: &str) -> Scenario {
        let text = "summary = 'x'\nduration = '12s'\n[link]\njitter = 'normal 30ns'\n";
        Scenario::parse(name, text).expect("it is well formed")
    }

    #[test]
    fn the_table_has_a_row_for_each_pair_and_does_not_depend_on_the_threads() {
        let scenarios = [scenario("a"), scenario("b")];
        let algorithms = ["average", "tree"].map(|name| name.parse().expect("it is there"));
        let matrix = Matrix { scenarios: &scenarios, algorithms: &algorithms, seeds: &[1, 2] };
        let with_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be had");
            pool.install(|| compare(&matrix, true, None, &|| {}))
        };
        let one = with_threads(1);
        let names: Vec<_> = one.rows.iter().map(|r| (r.scenario.as_str(), r.algorithm.as_str(), r.seeds)).collect();
        assert_eq!(names, [("a", "average", 2), ("a", "tree", 2), ("b", "average", 2), ("b", "tree", 2)]);
        assert_eq!(one.traces.len(), 4);
        assert_eq!(one.rows, with_threads(3).rows);
        // All met the same world: the two scenarios differ in nothing but their names.
        assert_eq!(one.rows[0].pairwise_rms_ns, one.rows[2].pairwise_rms_ns);
        assert_ne!(one.rows[0].pairwise_rms_ns, one.rows[1].pairwise_rms_ns);
    }

    #[test]
    fn both_limits_of_gaussian_noise_are_one_and_behind_exponentials_a_run_lies_between_them() {
        let told = |jitter: &str| {
            let text = format!("summary = 'x'\nduration = '30s'\n[cluster]\nnodes = 4\n[link]\njitter = '{jitter}'\n");
            let scenarios = [Scenario::parse("a", &text).expect("it is well formed")];
            let algorithms = ["rce".parse().expect("it is there")];
            let matrix = Matrix { scenarios: &scenarios, algorithms: &algorithms, seeds: &[1, 2] };
            compare(&matrix, false, None, &|| {}).rows.remove(0)
        };
        let numbers = |row: &Row| {
            let known = "the limit can be computed";
            let [limit, ratio] = [row.limit_ns, row.ratio].map(|n| n.expect(known));
            let [best, over_best] = [row.cramer_rao_ns, row.cramer_rao_ratio].map(|n| n.expect(known));
            let rms = row.pairwise_rms_ns.expect("the nodes were there");
            assert!((ratio * limit / rms - 1.0).abs() < 1e-9 && (over_best * best / rms - 1.0).abs() < 1e-9, "{row:?}");
            (limit, ratio, best, over_best)
        };
        let (limit, ratio, best, over_best) = numbers(&told("normal 30ns"));
        assert!((best / limit - 1.0).abs() < 0.005, "{limit} and {best}");
        assert!((over_best / ratio - 1.0).abs() < 0.005, "{ratio} and {over_best}");
        let (limit, ratio, best, over_best) = numbers(&told("exp 10us + normal 100ns"));
        assert!(best < 0.3 * limit && ratio < 1.0 && over_best > 1.0, "{limit} and {best}, {ratio} and {over_best}");
        // Behind a sharp edge there is a linear limit, and no bound on what others reach.
        let sharp = told("exp 10us");
        assert!(sharp.ratio.is_some() && sharp.cramer_rao_ns.is_none() && sharp.cramer_rao_ratio.is_none());
    }

    #[test]
    fn a_row_tells_the_worst_of_its_runs_and_nothing_if_one_is_unknown() {
        let scenario = scenario("a");
        let algorithm = "tree".parse().expect("it is there");
        let runs: Vec<Report> = [1, 2, 3].iter().map(|seed| run(&scenario, algorithm, *seed, &|| {}, None)).collect();
        let told = row(&runs, Some(3_000_000)).expect("there are runs");
        let max = runs.iter().filter_map(|r| r.pairwise_max_ns).fold(0.0, f64::max);
        assert_eq!(told.pairwise_max_ns, Some(max));
        let exchanges: u64 = runs.iter().map(|r| r.exchanges).sum();
        assert_eq!(told.cpu_ns_per_exchange, Some(3e6 / exchanges as f64));
        let mut unknown = runs;
        unknown[1].converged_s.insert("10us".into(), None);
        assert_eq!(row(&unknown, None).expect("there are runs").converged_s["10us"], None);
    }
}
