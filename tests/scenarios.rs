//! Every shipped scenario, held to its bounds on a few seeds of its own (`test_seeds`); all seeds are run by `llts
//! sim`. And the promise on which all of it rests: the same seed gives the same bytes.

use std::collections::BTreeSet;

use llts::pipeline::Algorithm;
use llts::sim::plot::{Trace, draw};
use llts::sim::run::{Report, run, run_all, seed_of};
use llts::sim::scenario::{Scenario, shipped};
use rayon::prelude::*;

const SEED: u64 = 1;

fn scenario(name: &str) -> Scenario {
    let text = shipped()[name];
    Scenario::parse(name, text).unwrap_or_else(|error| panic!("{error}"))
}

fn json(reports: &[Report]) -> String {
    serde_json::to_string(reports).expect("a report is plain data")
}

#[test]
fn every_scenario_holds_its_bounds() {
    let scenarios: Vec<Scenario> = shipped().keys().map(|name| scenario(name)).collect();
    let runs: Vec<(&Scenario, u64)> =
        scenarios.iter().flat_map(|s| (0..s.test_seeds).map(move |n| (s, seed_of(SEED, n)))).collect();
    let failures: Vec<String> = runs
        .par_iter()
        .flat_map_iter(|(scenario, seed)| {
            let algorithm: Algorithm = scenario.cluster.algorithm.parse().expect("it was checked when parsed");
            let report = run(scenario, algorithm, *seed, &|| {}, None);
            let replay = format!("llts sim {} --algorithm {algorithm} --seed {seed}", scenario.name);
            report.failures.into_iter().map(move |failure| format!("{failure}\n    replay: {replay}"))
        })
        .collect();
    assert!(failures.is_empty(), "{} bounds do not hold:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_every_run_and_number_of_threads() {
    let text = "summary = 'all that is random'\nduration = '20s'\n[cluster]\nnodes = 5\n[oscillator]\nflicker = 1e-10\n\
                white = 1e-10\n[stamps]\nkind = 'kernel'\nmissing = 0.1\nlate = 'exp 50us'\n[link]\n\
                jitter = 'exp 10us'\nloss = 0.1\nduplicate = 0.1\nreorder = 0.1\n[[liar]]\nnodes = [4]\n\
                attack = { kind = 'random', amplitude = '1ms' }\n\
                [[event]]\nkind = 'crash'\nat = '8s'\nnodes = [1]\ndown = '2s'\n";
    let scenario = Scenario::parse("bytes", text).unwrap();
    let seeds: Vec<u64> = (0..6).map(|n| seed_of(SEED, n)).collect();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be had");
        json(&pool.install(|| run_all(&scenario, Algorithm::default(), &seeds, &|| {})))
    };
    let one = with_threads(1);
    assert_eq!(one, with_threads(4));
    assert_eq!(one, with_threads(1));
    let others = json(&run_all(&scenario, Algorithm::default(), &[99], &|| {}));
    assert!(!one.contains(&others[1..others.len() - 1]), "another seed gives other bytes");
}

#[test]
fn the_folder_and_the_catalogue_hold_the_same_scenarios() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let files = std::fs::read_dir(folder).expect("the scenarios have a folder");
    let names: BTreeSet<String> = files
        .map(|file| file.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned())
        .collect();
    let shipped: BTreeSet<String> = shipped().into_keys().map(str::to_owned).collect();
    assert_eq!(names, shipped);
    let numbers: BTreeSet<&str> = shipped.iter().map(|name| &name[..4]).collect();
    assert_eq!(numbers.len(), shipped.len(), "each scenario has a number of its own");
}

#[test]
fn the_scenarios_behind_measurements_can_be_run_by_others() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/mesh");
    let files =
        std::fs::read_dir(folder).expect("they have a folder").map(|file| file.expect("it can be listed").path());
    let parsed = files.map(|file| Scenario::parse(&file.to_string_lossy(), &std::fs::read_to_string(&file).unwrap()));
    let wrong: Vec<String> = parsed.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_bound_that_does_not_hold_fails_and_says_so() {
    let mut scenario = scenario("101-hw-mesh-3");
    scenario.bounds.ratio = Some(0.01);
    scenario.duration = llts::sim::quantity::Span(20e9);
    let report = run(&scenario, Algorithm::default(), SEED, &|| {}, None);
    assert!(!report.pass);
    assert!(report.failures[0].contains("ratio to the limit"), "{:?}", report.failures);
}

#[test]
fn plain_averaging_loses_to_one_liar_what_the_default_keeps() {
    let mut scenario = scenario("403-liars-random-10");
    scenario.duration = llts::sim::quantity::Span(60e9);
    let rms = |name: &str| run(&scenario, name.parse().unwrap(), SEED, &|| {}, None).pairwise_rms_ns.unwrap();
    let (default, plain) = (rms("rce"), rms("average"));
    assert!(plain > 100.0 * default, "rce {default} ns, average {plain} ns");
}

#[test]
fn a_plot_shows_the_run() {
    let mut scenario = scenario("303-restart");
    scenario.duration = llts::sim::quantity::Span(70e9);
    let mut trace = Trace::new(&scenario);
    let _report = run(&scenario, Algorithm::default(), SEED, &|| {}, Some(&mut trace));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("run.svg");
    draw(&file, &scenario, "a restart", &trace).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("<svg") && text.contains("crash") && text.matches("<polyline").count() >= 5);
}

/// What the parser says it expects where `text` says `wrong`: the names of all fields or variants that there are.
fn expected_at(text: &str) -> Vec<String> {
    let says = Scenario::parse("x", &format!("summary = 'x'\nduration = '10s'\n{text}\n")).unwrap_err();
    let (_, expected) = says.split_once("expected ").unwrap_or_else(|| panic!("{text}: {says}"));
    let names: Vec<String> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!names.is_empty() && !names.contains(&"wrong".to_owned()), "{text}: {says}");
    names
}

#[test]
fn every_key_that_the_parser_takes_stands_in_the_reference() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SIMULATION.md")).unwrap();
    let (_, reference) = guide.split_once("\n## Every key\n").expect("the reference has its heading");
    let reference = reference.split("\n## ").next().unwrap();
    let section = |heading: &str| {
        let (_, rest) = reference.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
        rest.split("\n### ").next().unwrap()
    };
    let mut missing = Vec::new();
    let mut look = |heading: &str, text: &str| {
        let names = expected_at(text);
        missing.extend(
            names.iter().filter(|n| !section(heading).contains(&format!("`{n}`"))).map(|n| format!("{heading} {n}")),
        );
        names
    };
    for (heading, text) in [
        ("At the top", "wrong = 1"),
        ("`[cluster]`", "[cluster]\nwrong = 1"),
        ("`[cluster]`", "[cluster]\ntopology = 'wrong'"),
        ("`[cluster]`", "[cluster]\nfidelity = 'wrong'"),
        ("`[oscillator]`", "[oscillator]\nwrong = 1"),
        ("`[clock]`", "[clock]\nwrong = 1"),
        ("`[stamps]`", "[stamps]\nwrong = 1"),
        ("`[stamps]`", "[stamps]\nkind = 'wrong'"),
        ("`card` of `[stamps]`", "[stamps]\nkind = 'nic'\ncard = { wrong = 1 }"),
        ("`[link]`", "[link]\nwrong = 1"),
        ("`[link.loss_bursts]`", "[link.loss_bursts]\nwrong = 1"),
        ("`[link.queue]`", "[link.queue]\nwrong = 1"),
        ("`[link.wire]`", "[link.wire]\nwrong = 1"),
        ("`[link.backward]`", "[link.backward]\nwrong = 1"),
        ("`[[edge]]`", "[[edge]]\nwrong = 1"),
        ("`[[node]]`", "[[node]]\nwrong = 1"),
        ("`limits` of `[[node]]`", "[[node]]\nnodes = [0]\nlimits = { wrong = 1 }"),
        ("`[[liar]]`", "[[liar]]\nwrong = 1"),
        ("`[[liar]]`", "[[liar]]\nvia = 'wrong'"),
        ("`[measure]`", "[measure]\nwrong = 1"),
        ("`[bounds]`", "[bounds]\nwrong = 1"),
    ] {
        look(heading, text);
    }
    // Of events and attacks each kind has keys of its own, and a row of its own.
    for kind in look("`[[event]]`", "[[event]]\nkind = 'wrong'") {
        look("`[[event]]`", &format!("[[event]]\nkind = '{kind}'\nwrong = 1"));
    }
    for kind in look("`attack` of `[[liar]]`", "[[liar]]\nnodes = [0]\nattack = { kind = 'wrong' }") {
        if !["echo", "replay", "silence"].contains(&kind.as_str()) {
            look(
                "`attack` of `[[liar]]`",
                &format!("[[liar]]\nnodes = [0]\nattack = {{ kind = '{kind}', wrong = 1 }}"),
            );
        }
    }
    assert!(missing.is_empty(), "docs/SIMULATION.md does not tell of: {}", missing.join(", "));
}
