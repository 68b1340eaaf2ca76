//! The golden table: every algorithm in a few short scenarios on one seed, in numbers. A change of behaviour, wanted or
//! not, shows as a diff of numbers; whoever meant it takes the new ones over with
//!
//!     INSTA_UPDATE=always cargo test --test golden
//!
//! and the diff is part of the change. Numbers within 3 % of the golden ones count as the same, because logarithms and
//! exponentials differ in the last bit between machines. Nothing here is a bound: what must hold stands in scenarios.

use std::collections::BTreeMap;
use std::path::Path;

use llts::pipeline::{ALGORITHMS, Algorithm};
use llts::sim::compare::{Matrix, Row, compare};
use llts::sim::scenario::Scenario;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/table.snap");
/// How far a number may be from the golden one and still be the same.
const TOLERANCE: f64 = 0.03;
/// Smaller numbers than this are as good as zero, in the unit of their column.
const NOTHING: f64 = 0.02;
const SEED: u64 = 1;

const SCENARIOS: [(&str, &str); 6] = [
    ("hw-3", "duration = '40s'\n[link]\ndelay = '5us'\njitter = 'normal 30ns'\nloss = 0.01\n"),
    ("lan-3", "duration = '40s'\n[link]\ndelay = '20us'\njitter = 'exp 10us + normal 100ns'\nloss = 0.01\n"),
    ("mix-4", "duration = '40s'\n[cluster]\nnodes = 4\n[link]\njitter = 'normal 100ns + 10% exp 20us'\n"),
    (
        "slow-4",
        "duration = '60s'\n[cluster]\nnodes = 4\nrate = 1.0\n[oscillator]\nwander = 1e-8\n\
         [link]\njitter = 'normal 1us'\n",
    ),
    (
        "crash-4",
        "duration = '50s'\n[cluster]\nnodes = 4\n[link]\njitter = 'normal 100ns'\n\
         [[event]]\nkind = 'crash'\nat = '25s'\nnodes = [1]\ndown = '5s'\n",
    ),
    (
        "liar-7",
        "duration = '30s'\n[cluster]\nnodes = 7\n[link]\njitter = 'normal 100ns'\n[[liar]]\nnodes = [5, 6]\n\
         attack = { kind = 'edge', amplitude = '50ns' }\n",
    ),
];

const HEAD: [&str; 12] = [
    "scenario",
    "algorithm",
    "rms",
    "p99",
    "max",
    "ratio",
    "CR-ratio",
    "<10us",
    "drift",
    "sigma",
    "violations",
    "packets",
];

type Cells = [String; HEAD.len()];

fn cells(row: &Row) -> Cells {
    let number = |n: Option<f64>, digits: usize| n.map_or("-".to_owned(), |n| format!("{n:.digits$}"));
    [
        row.scenario.clone(),
        row.algorithm.clone(),
        number(row.pairwise_rms_ns, 2),
        number(row.pairwise_p99_ns, 1),
        number(row.pairwise_max_ns, 1),
        number(row.ratio, 3),
        number(row.cramer_rao_ratio, 3),
        number(row.converged_s["10us"], 2),
        number(row.ensemble_drift_ppb, 2),
        number(row.sigma_ratio, 2),
        row.bound_violations.to_string(),
        format!("{:.2}", row.packets_per_node_s),
    ]
}

fn table() -> Vec<Cells> {
    let parse = |(name, text): &(&str, &str)| Scenario::parse(name, &format!("summary = 'golden'\n{text}")).unwrap();
    let scenarios = SCENARIOS.each_ref().map(parse);
    let algorithms: Vec<Algorithm> = ALGORITHMS.iter().map(|entry| entry.name.parse().unwrap()).collect();
    let matrix = Matrix { scenarios: &scenarios, algorithms: &algorithms, seeds: &[SEED] };
    compare(&matrix, false, None, &|| {}).rows.iter().map(cells).collect()
}

/// The golden rows by scenario and algorithm.
fn golden(text: &str) -> BTreeMap<(String, String), Cells> {
    let row = |line: &str| -> Option<Cells> {
        let cells: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        cells.try_into().ok()
    };
    text.lines().filter_map(row).map(|cells| ((cells[0].clone(), cells[1].clone()), cells)).collect()
}

/// The fresh cell, or the golden one if they are the same number.
fn settled(fresh: &str, golden: &str) -> String {
    let same = |a: f64, b: f64| (a - b).abs() <= (TOLERANCE * a.abs().max(b.abs())).max(NOTHING);
    match (fresh.parse(), golden.parse()) {
        (Ok(a), Ok(b)) if same(a, b) => golden.to_owned(),
        _ => fresh.to_owned(),
    }
}

fn written(rows: &[Cells]) -> String {
    let lines: Vec<Cells> = std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().cloned()).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let line = |cells: &Cells| {
        let pad = |(column, cell): (usize, &String)| match column {
            0 | 1 => format!("{cell:<width$}", width = width(column)),
            _ => format!("{cell:>width$}", width = width(column)),
        };
        cells.iter().enumerate().map(pad).collect::<Vec<_>>().join("  ")
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_table_is_the_golden_one() {
    let mut rows = table();
    let anew = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    if !anew {
        let stored = golden(&std::fs::read_to_string(Path::new(FILE)).unwrap_or_default());
        for row in &mut rows {
            if let Some(golden) = stored.get(&(row[0].clone(), row[1].clone())) {
                *row = std::array::from_fn(|column| settled(&row[column], &golden[column]));
            }
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description("Regenerate: INSTA_UPDATE=always cargo test --test golden");
    settings.bind(|| insta::assert_snapshot!("table", written(&rows)));
}

#[test]
fn a_number_that_moved_by_more_than_three_per_cent_is_another() {
    assert_eq!(settled("104.00", "100.00"), "104.00");
    assert_eq!(settled("102.00", "100.00"), "100.00");
    assert_eq!(settled("-0.01", "0.00"), "0.00");
    assert_eq!(settled("-", "100.00"), "-");
    assert_eq!(settled("1", "0"), "1", "a violated bound is never within a tolerance");
}
