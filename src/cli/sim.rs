//! `llts sim`: runs scenarios of the simulator and shows what came out. Touches no clock and sends no packet.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::exit::{Failure, say};
use crate::pipeline::Algorithm;
use crate::sim::check::{Wrong, ratio_of};
use crate::sim::limit::{are_drawn, cramer_rao_ns, left_out, linear_ns};
use crate::sim::plot::{Trace, draw};
use crate::sim::quantity::Span;
use crate::sim::run::{Report, run as run_once, run_all, seed_of};
use crate::sim::scenario::{Scenario, shipped};
use crate::sim::topology::Topology;

/// The first seed unless told.
const SEED_DEFAULT: u64 = 1;

/// Options of `llts sim`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct SimArgs {
    /// Scenario: a name, the number it begins with, or a file
    #[arg(required_unless_present_any = ["list", "explain", "all"], conflicts_with_all = ["list", "explain", "all"])]
    pub scenario: Option<String>,
    /// Run every scenario that comes with the program, on all its seeds
    #[arg(long, conflicts_with_all = ["list", "explain", "plot"])]
    pub all: bool,
    /// List the scenarios that come with the program; with --json one object a scenario, one a line
    #[arg(long, conflicts_with = "explain")]
    pub list: bool,
    /// Show a scenario as it is written, and what can be reached in it at best
    #[arg(long, value_name = "SCENARIO")]
    pub explain: Option<String>,
    /// How agreement is reached, instead of as the scenario says
    #[arg(long)]
    pub algorithm: Option<String>,
    /// Runs, each of its own seed [default: as the scenario says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub seeds: Option<u32>,
    /// First seed; alone, the only one
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// One JSON object a run (or, with --list, a scenario), one a line
    #[arg(long)]
    pub json: bool,
    /// Draw the first run
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

/// Runs scenarios, or tells of them. A bound that does not hold is a failure.
pub(super) fn sim(args: &SimArgs) -> Result<(), Failure> {
    if args.list {
        return list(args.json);
    }
    if let Some(name) = &args.explain {
        return explain(name);
    }
    if args.all {
        return all(args);
    }
    let name = args.scenario.as_deref().ok_or_else(|| Failure::Usage("name a scenario, or see --list".into()))?;
    let (scenario, _) = find(name)?;
    let shown_again_by = again(name, &scenario);
    let (algorithm, seeds) = choices(args, &scenario)?;

    args.plot.as_deref().map_or(Ok(()), can_be_written)?;
    let bar = progress_bar(&scenario, seeds.len() as u32, args.json);
    let started = Instant::now();
    let mut reports = Vec::new();
    let mut rest = seeds.as_slice();
    let mut drawn = Ok(());
    if let Some(file) = &args.plot {
        let mut trace = Trace::new(&scenario);
        let report = run_once(&scenario, algorithm, seeds[0], &|| bar.inc(1), Some(&mut trace));
        let title = format!("{}, {algorithm}, seed {}", scenario.name, seeds[0]);
        drawn = draw(file, &scenario, &title, &trace).map_err(runtime);
        reports.push(report);
        rest = &seeds[1..];
    }
    reports.extend(run_all(&scenario, algorithm, rest, &|| bar.inc(1)));
    bar.finish_and_clear();

    let elapsed_s = started.elapsed().as_secs_f64();
    let text = if args.json { json(&reports) } else { table(&scenario, &reports, elapsed_s, &shown_again_by) };
    // A picture that could not be drawn takes no result with it.
    say(&text)?;
    drawn?;
    match reports.iter().filter(|report| !report.pass).count() {
        0 => Ok(()),
        failed => Err(runtime(format!("{failed} of {} runs of {} broke a bound", reports.len(), scenario.name))),
    }
}

/// A picture is drawn after the run: that there is no place for it is said before.
fn can_be_written(file: &Path) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let usage = |what: String| Err(Failure::Usage(format!("--plot: {what}")));
    match () {
        () if file.is_dir() => usage(format!("{} is a folder: name a file in it", file.display())),
        () if !folder.is_dir() => usage(format!("there is no folder {}: make it first", folder.display())),
        () => Ok(()),
    }
}

/// The algorithm and the seeds of a scenario as the options want them.
fn choices(args: &SimArgs, scenario: &Scenario) -> Result<(Algorithm, Vec<u64>), Failure> {
    let algorithm = args.algorithm.as_deref().unwrap_or(&scenario.cluster.algorithm);
    let algorithm: Algorithm = algorithm.parse().map_err(|e| Failure::Usage(format!("--algorithm: {e}")))?;
    let count = args.seeds.unwrap_or(if args.seed.is_some() { 1 } else { scenario.seeds.max(1) });
    let first = args.seed.unwrap_or(SEED_DEFAULT);
    let seeds: Vec<u64> = (0..count).map(|n| seed_of(first, n)).collect();
    if are_drawn(scenario) {
        for seed in &seeds {
            let told = |wrong: Wrong| format!("scenario {}, seed {seed}: {}", scenario.name, wrong.sentence(""));
            ratio_of(scenario, *seed).map_err(|wrong| Failure::Usage(told(wrong)))?;
        }
    }
    Ok((algorithm, seeds))
}

/// Runs everything that is shipped, one scenario after the other, each on all cores; tells of each when it is done.
fn all(args: &SimArgs) -> Result<(), Failure> {
    let (mut runs, mut broken, mut count) = (0, 0, 0);
    for (name, text) in shipped() {
        let scenario = Scenario::parse(name, text).map_err(runtime)?;
        let (algorithm, seeds) = choices(args, &scenario)?;
        let bar = progress_bar(&scenario, seeds.len() as u32, args.json);
        let started = Instant::now();
        let reports = run_all(&scenario, algorithm, &seeds, &|| bar.inc(1));
        bar.finish_and_clear();
        (runs, count) = (runs + reports.len(), count + 1);
        broken += reports.iter().filter(|report| !report.pass).count();
        say(&if args.json { json(&reports) } else { line(&scenario, &reports, started.elapsed().as_secs_f64()) })?;
    }
    if broken > 0 {
        return Err(runtime(format!("{broken} of {runs} runs of {count} scenarios broke a bound")));
    }
    if args.json { Ok(()) } else { say(&format!("{runs} runs of {count} scenarios: every bound held\n")) }
}

/// One scenario of many: the worst of its runs, and what failed.
fn line(scenario: &Scenario, reports: &[Report], elapsed_s: f64) -> String {
    let passed = reports.iter().filter(|report| report.pass).count();
    let worst = reports
        .iter()
        .filter_map(|report| report.pairwise_rms_ns)
        .fold(None, |worst: Option<f64>, rms| Some(worst.map_or(rms, |worst| worst.max(rms))));
    let mut out = format!(
        "{:<32} {passed:>3} of {:<3} pass   worst rms {:>10}   violations {:>4}   {elapsed_s:>7.1} s\n",
        scenario.name,
        reports.len(),
        worst.map_or("-".to_owned(), |rms| Span(rms).to_string()),
        reports.iter().map(|report| report.bound_violations).sum::<u64>(),
    );
    out.push_str(&failed(reports, &scenario.name));
    out
}

/// What did not hold, and the commands that show it again; `called` is what the scenario is called there.
fn failed(reports: &[Report], called: &str) -> String {
    let mut out = String::new();
    for report in reports.iter().filter(|report| !report.pass) {
        for failure in &report.failures {
            writeln!(out, "FAIL seed {}: {failure}", report.seed).expect("a string takes everything");
        }
        writeln!(out, "  replay: {}", replay(report, called)).expect("a string takes everything");
    }
    out
}

fn runtime(sentence: String) -> Failure {
    Failure::Runtime(anyhow::anyhow!(sentence))
}

/// The scenario called `name`, and its text.
pub(super) fn find(name: &str) -> Result<(Scenario, String), Failure> {
    if is_file(name) {
        let unread = |error| Failure::Usage(format!("the scenario {name} cannot be read: {error}"));
        let text = std::fs::read_to_string(name).map_err(unread)?;
        // Its mistakes are told with the whole path, its results with what it is called.
        let mut scenario = Scenario::parse(name, &text).map_err(Failure::Usage)?;
        scenario.name = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok((scenario, text));
    }
    let scenarios = shipped();
    let number = format!("{name}-");
    let by_number = || scenarios.iter().find(|(shipped, _)| shipped.starts_with(&number));
    let (name, text) = scenarios.get_key_value(name).or_else(by_number).ok_or_else(|| {
        Failure::Usage(format!("there is no scenario '{name}': see `llts sim --list`, or name a file ending in .toml"))
    })?;
    let scenario = Scenario::parse(name, text).map_err(Failure::Usage)?;
    Ok((scenario, (*text).to_owned()))
}

/// What a list says of a scenario; its JSON.
#[derive(serde::Serialize)]
struct Entry<'a> {
    name: &'a str,
    summary: &'a str,
    duration_s: f64,
    nodes: usize,
    topology: Topology,
    rate_hz: f64,
    algorithm: &'a str,
    seeds: u32,
    test_seeds: u32,
    events: usize,
    liars: usize,
}

fn list(as_json: bool) -> Result<(), Failure> {
    let mut out = String::new();
    for (name, text) in shipped() {
        let scenario = Scenario::parse(name, text).map_err(runtime)?;
        if as_json {
            let entry = Entry {
                name,
                summary: &scenario.summary,
                duration_s: scenario.duration.seconds(),
                nodes: scenario.cluster.nodes,
                topology: scenario.cluster.topology,
                rate_hz: scenario.cluster.rate,
                algorithm: &scenario.cluster.algorithm,
                seeds: scenario.seeds,
                test_seeds: scenario.test_seeds,
                events: scenario.events.len(),
                liars: scenario.liars.iter().map(|liar| liar.nodes.len()).sum(),
            };
            out += &serde_json::to_string(&entry).expect("it is plain data");
            out.push('\n');
        } else {
            writeln!(out, "{name:<32} {}", scenario.summary).expect("a string takes everything");
        }
    }
    say(&out)
}

fn explain(name: &str) -> Result<(), Failure> {
    let (scenario, text) = find(name)?;
    let limits = limits(&scenario, SEED_DEFAULT);
    say(&format!("# {}: {}\n{limits}\n{}\n", scenario.name, scenario.summary, text.trim_end()))
}

/// What can be reached in a scenario at best, in comment lines.
fn limits(scenario: &Scenario, seed: u64) -> String {
    let told = |name: &str, limit: Result<f64, &str>| match limit {
        Ok(ns) => format!("# {name} of the pairwise error: {}\n", Span(ns)),
        Err(reason) => format!("# no {name}: {reason}\n"),
    };
    let mut out = told("linear limit (steady-state Kalman filter)", linear_ns(scenario, seed));
    out += &told("Cramer-Rao bound (any estimator)", cramer_rao_ns(scenario, seed));
    let left_out = left_out(scenario);
    if !left_out.is_empty() {
        writeln!(out, "# left out of both: {}", left_out.join(", ")).expect("a string takes everything");
    }
    if are_drawn(scenario) {
        writeln!(out, "# the links are those that seed {seed} draws").expect("a string takes everything");
    }
    out
}

fn progress_bar(scenario: &Scenario, runs: u32, quiet: bool) -> ProgressBar {
    let seconds = scenario.duration.nanos().unsigned_abs() / 1_000_000_000 * u64::from(runs);
    let bar = ProgressBar::new(seconds);
    if quiet || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} s of virtual time, {eta} left");
    bar.set_style(style.expect("the template is written here"));
    bar.set_prefix(scenario.name.clone());
    bar
}

fn json(reports: &[Report]) -> String {
    let line = |report| serde_json::to_string(report).expect("a report is plain data") + "\n";
    reports.iter().map(line).collect()
}

fn table(scenario: &Scenario, reports: &[Report], elapsed_s: f64, called: &str) -> String {
    let mut out = String::new();
    let mut put = |line: String| writeln!(out, "{line}").expect("a string takes everything");
    let span = |ns: Option<f64>| ns.map_or("-".to_owned(), |ns| Span(ns).to_string());
    let number = |n: Option<f64>, digits: usize| n.map_or("-".to_owned(), |n| format!("{n:.digits$}"));
    put(format!("{}: {}", scenario.name, scenario.summary));
    put(format!("{} runs of {}, {}", reports.len(), scenario.duration, reports[0].algorithm));
    let best = [reports[0].limit_ns, reports[0].cramer_rao_ns];
    put(format!("at best: linear limit {}, Cramer-Rao bound {}", span(best[0]), span(best[1])));
    put(format!(
        "{:>12} {:>10} {:>10} {:>10} {:>6} {:>8} {:>7} {:>7} {:>7} {:>8} {:>6} {:>5} {:>7} {:>5}",
        "seed",
        "rms",
        "p99",
        "max",
        "ratio",
        "CR ratio",
        "<10us s",
        "<1us s",
        "<200ns",
        "drift",
        "sigma",
        "viol",
        "pkt/n/s",
        ""
    ));
    for report in reports {
        let time = |name: &str| number(report.converged_s.get(name).copied().flatten(), 2);
        put(format!(
            "{:>12} {:>10} {:>10} {:>10} {:>6} {:>8} {:>7} {:>7} {:>7} {:>8} {:>6} {:>5} {:>7.1} {:>5}",
            report.seed,
            span(report.pairwise_rms_ns),
            span(report.pairwise_p99_ns),
            span(report.pairwise_max_ns),
            number(report.ratio, 3),
            number(report.cramer_rao_ratio, 3),
            time("10us"),
            time("1us"),
            time("200ns"),
            number(report.ensemble_drift_ppb, 2),
            number(report.sigma_ratio, 2),
            report.bound_violations,
            report.packets_per_node_s,
            if report.pass { "pass" } else { "FAIL" },
        ));
    }
    let virtual_s = scenario.duration.seconds() * reports.len() as f64;
    put(format!("{virtual_s:.0} s of virtual time in {elapsed_s:.2} s"));
    out.push_str(&failed(reports, called));
    out
}

/// The command that repeats a run.
fn replay(report: &Report, called: &str) -> String {
    format!("llts sim {called} --algorithm {} --seed {}", report.algorithm, report.seed)
}

/// How a scenario is named to a shell so that it is found again: a file as it was given, a shipped one by its name.
fn again(given: &str, scenario: &Scenario) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    match () {
        () if !is_file(given) => scenario.name.clone(),
        () if given.chars().all(plain) => given.to_owned(),
        () => format!("'{}'", given.replace('\'', "'\\''")),
    }
}

/// Whether the scenario is named by a file.
fn is_file(given: &str) -> bool {
    Path::new(given).extension().is_some_and(|ending| ending == "toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_found_by_its_name_and_by_its_number() {
        let (name, _) = shipped().into_iter().next().unwrap();
        assert_eq!(find(name).unwrap().0.name, name);
        assert_eq!(find(&name[..3]).unwrap().0.name, name);
    }

    #[test]
    fn a_failed_run_of_a_file_is_repeated_by_the_path_as_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("too strict.toml").to_string_lossy().into_owned();
        std::fs::write(&given, "summary = 'x'\nduration = '5s'\n[bounds]\npairwise_rms = '1ps'\n").unwrap();
        let (scenario, _) = find(&given).unwrap();
        let reports = run_all(&scenario, Algorithm::default(), &[7], &|| {});
        let said = table(&scenario, &reports, 1.0, &again(&given, &scenario));
        assert!(said.contains(&format!("replay: llts sim '{given}' --algorithm rce --seed 7\n")), "{said}");
        assert_eq!(again("a/b.toml", &scenario), "a/b.toml");
        let (shipped, _) = find("101").unwrap();
        assert_eq!(again("101", &shipped), "101-hw-mesh-3");
    }

    #[test]
    fn a_picture_without_a_place_is_refused_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let said = |file: PathBuf| match can_be_written(&file) {
            Err(Failure::Usage(said)) => said,
            Err(_) => panic!("it is not the run's fault"),
            Ok(()) => "fine".to_owned(),
        };
        assert!(said(folder.path().join("missing/run.svg")).contains("there is no folder"));
        assert!(said(folder.path().to_owned()).contains("is a folder"));
        assert_eq!(said(folder.path().join("run.svg")), "fine");
        assert_eq!(said(PathBuf::from("run.svg")), "fine");
    }

    #[test]
    fn a_mistake_in_a_file_is_told_with_its_path_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("f.toml").to_string_lossy().into_owned();
        std::fs::write(&given, "summary = 'x'\nduration = '5s'\n[link]\nloss = 2.0\n").unwrap();
        match find(&given) {
            Err(Failure::Usage(said)) => {
                assert!(said.starts_with(&format!("scenario {given}: line 4: link.loss is 2,")), "{said}");
            }
            _ => panic!("it was taken"),
        }
    }

    #[test]
    fn a_scenario_that_is_not_there_is_answered_with_where_to_look() {
        let said = |name| match find(name) {
            Err(Failure::Usage(sentence)) => sentence,
            _ => panic!("{name} was found"),
        };
        assert!(said("nowhere").contains("--list"));
        assert!(said("nowhere.toml").contains("cannot be read"));
    }
}
