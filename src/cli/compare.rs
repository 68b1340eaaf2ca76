//! `llts compare`: algorithms side by side in the simulator, as a table. Touches no clock and sends no packet.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::exit::{Failure, say};
use super::sim::find;
use crate::pipeline::{ALGORITHMS, Algorithm};
use crate::sim::compare::{Comparison, Matrix, Row, compare as run_matrix};
use crate::sim::plot::draw_comparison;
use crate::sim::quantity::Span;
use crate::sim::run::seed_of;
use crate::sim::scenario::{Scenario, shipped};
use crate::sys::time::thread_cpu_now;

/// The scenarios unless told: each link of the prototype's table, queues that come in bursts, heat, a crash, and two
/// attacks.
const SCENARIOS_DEFAULT: [&str; 8] = [
    "102-hw-mesh-10",
    "103-lan-mesh-10",
    "104-mix-mesh-10",
    "303-restart",
    "308-correlated-queues",
    "310-temperature",
    "402-liars-edge-10",
    "405-liars-smart-drag-10",
];
/// The first seed.
const SEED: u64 = 1;

/// Options of `llts compare`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct CompareArgs {
    /// Scenarios: names, numbers or files, or `all` [default: eight that tell algorithms apart]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub scenarios: Vec<String>,
    /// Algorithms, or `all`
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "all")]
    pub algorithms: Vec<String>,
    /// Runs of each algorithm in each scenario, all on the same seeds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub seeds: u32,
    /// One JSON object a row, one a line
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Tables for a Markdown file
    #[arg(long)]
    pub markdown: bool,
    /// Draw the first run of each algorithm into this folder, one picture for each scenario
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
}

/// Runs algorithms in scenarios and prints the table.
pub(super) fn compare(args: &CompareArgs) -> Result<(), Failure> {
    let scenarios = scenarios(&args.scenarios)?;
    let algorithms = algorithms(&args.algorithms)?;
    let seeds: Vec<u64> = (0..args.seeds).map(|n| seed_of(SEED, n)).collect();
    if let Some(folder) = &args.plot {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Usage(format!("the folder {} cannot be made: {error}", folder.display())))?;
    }
    let bar = progress_bar(&scenarios, algorithms.len() * seeds.len(), args.json || args.markdown);
    let started = Instant::now();
    let matrix = Matrix { scenarios: &scenarios, algorithms: &algorithms, seeds: &seeds };
    let comparison = run_matrix(&matrix, args.plot.is_some(), Some(&thread_cpu_now), &|| bar.inc(1));
    bar.finish_and_clear();
    if let Some(folder) = &args.plot {
        draw(folder, &matrix, &comparison)?;
    }
    let elapsed_s = started.elapsed().as_secs_f64();
    if args.json {
        say(&comparison
            .rows
            .iter()
            .map(|row| serde_json::to_string(row).expect("it is plain data") + "\n")
            .collect::<String>())
    } else if args.markdown {
        say(&tables(&matrix, &comparison.rows, &MARKDOWN))
    } else {
        let runs = comparison.rows.len() * seeds.len();
        let text = tables(&matrix, &comparison.rows, &PLAIN);
        say(&format!("{text}{runs} runs in {elapsed_s:.1} s\n"))
    }
}

fn scenarios(names: &[String]) -> Result<Vec<Scenario>, Failure> {
    let mut found: Vec<Scenario> = Vec::new();
    let all = || shipped().into_keys().map(str::to_owned).collect();
    let names: Vec<String> = match names {
        [] => SCENARIOS_DEFAULT.map(str::to_owned).to_vec(),
        names if names.iter().any(|name| name == "all") => all(),
        names => names.to_vec(),
    };
    for name in names {
        let scenario = find(&name)?.0;
        if found.iter().any(|other| other.name == scenario.name) {
            return Err(Failure::Usage(format!("--scenarios: {} is named twice", scenario.name)));
        }
        found.push(scenario);
    }
    Ok(found)
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, Failure> {
    let wrong = |error| Failure::Usage(format!("--algorithms: {error}"));
    if names.iter().any(|name| name == "all") {
        return ALGORITHMS.iter().map(|entry| Algorithm::named(entry.name).map_err(wrong)).collect();
    }
    let mut found: Vec<Algorithm> = Vec::new();
    for name in names {
        let algorithm = Algorithm::named(name).map_err(wrong)?;
        if found.contains(&algorithm) {
            return Err(Failure::Usage(format!("--algorithms: {algorithm} is named twice")));
        }
        found.push(algorithm);
    }
    Ok(found)
}

fn progress_bar(scenarios: &[Scenario], runs: usize, quiet: bool) -> ProgressBar {
    let seconds: u64 = scenarios.iter().map(|s| s.duration.nanos().unsigned_abs() / 1_000_000_000).sum();
    let bar = ProgressBar::new(seconds * runs as u64);
    if quiet || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("comparing {bar:40} {pos}/{len} s of virtual time, {eta} left");
    bar.set_style(style.expect("the template is written here"));
    bar
}

fn draw(folder: &Path, matrix: &Matrix<'_>, comparison: &Comparison) -> Result<(), Failure> {
    let names: Vec<&str> = matrix.algorithms.iter().map(|a| a.as_str()).collect();
    for (scenario, traces) in matrix.scenarios.iter().zip(comparison.traces.chunks(names.len())) {
        let lines: Vec<_> = names.iter().copied().zip(traces).collect();
        let file = folder.join(format!("{}.svg", scenario.name));
        draw_comparison(&file, scenario, &lines).map_err(|sentence| Failure::Runtime(anyhow::anyhow!(sentence)))?;
    }
    Ok(())
}

/// How a table is written: what stands before its head and after it, between its cells and around its lines.
struct Format {
    title: &'static str,
    edge: &'static str,
    between: &'static str,
    ruled: bool,
}

const PLAIN: Format = Format { title: "", edge: "", between: "  ", ruled: false };
const MARKDOWN: Format = Format { title: "### ", edge: "|", between: "|", ruled: true };

const HEAD: [&str; 13] = [
    "algorithm",
    "rms",
    "p99",
    "max",
    "ratio",
    "CR ratio",
    "<10us s",
    "<1us s",
    "drift ppb",
    "sigma",
    "viol",
    "pkt/n/s",
    "cpu us",
];

fn tables(matrix: &Matrix<'_>, rows: &[Row], format: &Format) -> String {
    let mut out = String::new();
    let mut put = |line: &str| writeln!(out, "{line}").expect("a string takes everything");
    for (scenario, rows) in matrix.scenarios.iter().zip(rows.chunks(matrix.algorithms.len())) {
        let told = |name: &str, ns: Option<f64>| ns.map_or(format!("no {name}"), |ns| format!("{name} {}", Span(ns)));
        let limit = told("linear limit", rows[0].limit_ns);
        let best = told("Cramer-Rao bound", rows[0].cramer_rao_ns);
        put(&format!(
            "{}{}: {} ({}, {limit}, {best})",
            format.title, scenario.name, scenario.summary, scenario.duration
        ));
        if format.ruled {
            put("");
        }
        let lines: Vec<[String; HEAD.len()]> =
            std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        for (n, line) in lines.iter().enumerate() {
            let padded = line.iter().enumerate().map(|(column, cell)| match column {
                0 => format!("{cell:<width$}", width = width(column)),
                _ => format!("{cell:>width$}", width = width(column)),
            });
            let text = padded.collect::<Vec<_>>().join(format.between);
            put(format!("{}{text}{}", format.edge, format.edge).trim_end());
            if n == 0 && format.ruled {
                let rule = (0..HEAD.len()).map(|column| if column == 0 { "---" } else { "--:" });
                put(&format!("|{}|", rule.collect::<Vec<_>>().join("|")));
            }
        }
        put("");
    }
    out
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let span = |ns: Option<f64>| ns.map_or("-".to_owned(), |ns| Span(ns).to_string());
    let number = |n: Option<f64>, digits: usize| n.map_or("-".to_owned(), |n| format!("{n:.digits$}"));
    let time = |name: &str| number(row.converged_s.get(name).copied().flatten(), 2);
    [
        row.algorithm.clone(),
        span(row.pairwise_rms_ns),
        span(row.pairwise_p99_ns),
        span(row.pairwise_max_ns),
        number(row.ratio, 3),
        number(row.cramer_rao_ratio, 3),
        time("10us"),
        time("1us"),
        number(row.ensemble_drift_ppb, 2),
        number(row.sigma_ratio, 2),
        row.bound_violations.to_string(),
        format!("{:.1}", row.packets_per_node_s),
        number(row.cpu_ns_per_exchange.map(|ns| ns / 1e3), 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T>(outcome: Result<T, Failure>) -> String {
        match outcome {
            Err(Failure::Usage(sentence)) => sentence,
            _ => panic!("it was taken"),
        }
    }

    #[test]
    fn the_scenarios_of_the_default_table_are_there() {
        let names: Vec<String> = scenarios(&[]).unwrap().into_iter().map(|s| s.name).collect();
        assert_eq!(names, SCENARIOS_DEFAULT);
        assert_eq!(scenarios(&["all".into()]).unwrap().len(), shipped().len());
    }

    #[test]
    fn what_is_not_there_or_named_twice_is_one_sentence() {
        assert!(said(scenarios(&["nowhere".into()])).contains("llts sim --list"));
        assert!(said(scenarios(&["102".into(), "102-hw-mesh-10".into()])).contains("named twice"));
        assert!(said(algorithms(&["astrology".into()])).contains("choose one of rce"));
        assert!(said(algorithms(&["rce".into(), "rce".into()])).contains("named twice"));
    }

    #[test]
    fn a_markdown_table_has_as_many_cells_in_every_line() {
        let scenarios = [Scenario::parse("x", "summary = 'x'\nduration = '5s'\n").unwrap()];
        let algorithms = algorithms(&["all".into()]).unwrap();
        let matrix = Matrix { scenarios: &scenarios, algorithms: &algorithms, seeds: &[1] };
        let rows = run_matrix(&matrix, false, None, &|| {}).rows;
        let text = tables(&matrix, &rows, &MARKDOWN);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines.len(), 2 + ALGORITHMS.len());
        assert!(lines.iter().all(|line| line.matches('|').count() == HEAD.len() + 1), "{text}");
    }
}
