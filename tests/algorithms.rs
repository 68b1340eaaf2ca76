//! Every algorithm of the registry, whole: it agrees in a plain simulated cluster and among real daemons on loopback,
//! and those that tolerate liars keep together under an attack that parts or moves the others.

mod daemons;

use daemons::{Daemon, Lab, wait_for, worst_distance_ns};
use llts::pipeline::ALGORITHMS;
use llts::sim::run::{Report, run};
use llts::sim::scenario::{Scenario, shipped};
use rayon::prelude::*;

/// Every algorithm in the same world.
fn in_all(text: &str) -> Vec<Report> {
    let scenario = Scenario::parse("here", text).unwrap_or_else(|error| panic!("{error}"));
    let run_one = |name: &str| run(&scenario, name.parse().expect("it is in the list"), 1, &|| {}, None);
    ALGORITHMS.par_iter().map(|entry| run_one(entry.name)).collect()
}

#[test]
fn three_plain_nodes_agree_under_every_algorithm() {
    let reports = in_all(
        "summary = 'three plain nodes'\nduration = '90s'\n[link]\ndelay = '20us'\njitter = 'normal 100ns'\n\
         loss = 0.01\n",
    );
    for report in reports {
        let Report { algorithm, pairwise_rms_ns, converged_s, bound_violations, .. } = &report;
        assert!(pairwise_rms_ns.is_some_and(|ns| ns < 300.0), "{algorithm}: {pairwise_rms_ns:?} ns apart");
        assert!(converged_s["10us"].is_some_and(|at_s| at_s < 30.0), "{algorithm}: {converged_s:?}");
        assert_eq!(*bound_violations, 0, "{algorithm}");
        assert!(report.sigma_ratio.is_some_and(|ratio| ratio < 3.0), "{algorithm}: {:?}", report.sigma_ratio);
    }
}

#[test]
fn a_node_that_dies_is_missed_by_nobody_under_any_algorithm() {
    // Node 0 or another is the leader of `tree`: each of the three dies once.
    let reports = in_all(
        "summary = 'each dies once'\nduration = '120s'\n[cluster]\nnodes = 4\n[link]\njitter = 'normal 100ns'\n\
         [[event]]\nkind = 'crash'\nat = '30s'\nnodes = [0]\ndown = '5s'\n\
         [[event]]\nkind = 'crash'\nat = '50s'\nnodes = [1]\ndown = '5s'\n\
         [[event]]\nkind = 'crash'\nat = '70s'\nnodes = [2]\ndown = '5s'\n\
         [[event]]\nkind = 'crash'\nat = '90s'\nnodes = [3]\ndown = '5s'\n[measure]\nfrom = '20s'\n",
    );
    for report in reports {
        let Report { algorithm, pairwise_max_ns, rejoined_s, .. } = &report;
        assert!(pairwise_max_ns.is_some_and(|ns| ns < 20_000.0), "{algorithm}: {pairwise_max_ns:?} ns apart");
        assert!(rejoined_s.is_some_and(|s| s < 15.0), "{algorithm}: {rejoined_s:?} s to be back");
        assert_eq!(report.bound_violations, 0, "{algorithm}");
    }
}

#[test]
fn one_random_liar_of_four_parts_those_that_say_so_and_none_of_the_others() {
    let reports = in_all(
        "summary = 'one liar of four'\nduration = '60s'\n[cluster]\nnodes = 4\n[link]\njitter = 'normal 100ns'\n\
         [[liar]]\nnodes = [3]\nattack = { kind = 'random', amplitude = '1ms' }\nfrom = '10s'\n",
    );
    for (report, entry) in reports.iter().zip(ALGORITHMS) {
        let rms_ns = report.pairwise_rms_ns.expect("three are honest");
        // The leader of a tree is one of the honest here, or the liar: it is no promise either way.
        if entry.tolerates_liars {
            assert!(rms_ns < 1_000.0, "{}: {rms_ns} ns apart", entry.name);
        } else if entry.name != "tree" && entry.name != "median" {
            assert!(rms_ns > 1_000.0, "{}: {rms_ns} ns apart, and is said to tolerate no liars", entry.name);
        }
    }
}

#[test]
fn liars_who_agree_with_everybody_freeze_the_median_and_not_those_that_tolerate_them() {
    let reports = in_all(shipped()["490-median-split"]);
    for (report, entry) in reports.iter().zip(ALGORITHMS) {
        let rms_ns = report.pairwise_rms_ns.expect("seven are honest");
        match entry.name {
            "median" => assert!(rms_ns > 10_000.0, "{rms_ns} ns: the groups have met"),
            _ if entry.tolerates_liars => assert!(rms_ns < 1_000.0, "{}: {rms_ns} ns", entry.name),
            _ => {}
        }
    }
}

#[test]
fn three_real_daemons_agree_under_every_algorithm() {
    for entry in ALGORITHMS {
        let lab = Lab::new();
        let algorithm = format!("--algorithm={}", entry.name);
        let thrown = [["8ms", "40ppm"], ["-9ms", "-30ppm"], ["2ms", "-45ppm"]];
        let start = |(n, [offset, drift]): (usize, [&str; 2])| {
            let words = [format!("--virtual-offset={offset}"), format!("--virtual-drift={drift}"), algorithm.clone()];
            lab.start(&format!("n{n}"), &words.each_ref().map(String::as_str))
        };
        let nodes: Vec<Daemon> = thrown.into_iter().enumerate().map(start).collect();
        let all: Vec<&Daemon> = nodes.iter().collect();
        let agreed =
            || all.iter().all(|n| n.used_peers() == 2) && worst_distance_ns(&all).is_some_and(|d| d < 100_000.0);
        wait_for(&format!("three nodes agree under {}", entry.name), 20.0, agreed);
        assert!(all.iter().all(|n| n.status().is_some_and(|s| s.algorithm == entry.name)), "{}", entry.name);
    }
}
