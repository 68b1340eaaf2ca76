//! Recordings of real daemons on loopback, replayed under every algorithm: the same bytes each time, numbers that agree
//! with what the daemon itself said, and one sentence for a file that is damaged.

mod daemons;
mod schemas;

use std::path::Path;
use std::process::Output;

use daemons::{Lab, llts, wait_for, worst_distance_ns};
use nix::sys::signal::Signal;
use schemas::holds;
use serde_json::Value;

fn replay(file: &Path, words: &[&str]) -> Output {
    let file = file.to_str().unwrap();
    llts(&[&["replay", file], words].concat())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The recording of one of three daemons that have agreed and gone on for a while.
fn recorded(lab: &Lab) -> std::path::PathBuf {
    let file = lab.path().join("a.rec");
    let record = format!("--record={}", file.display());
    let mut a = lab.start("a", &["--virtual-offset=8ms", "--virtual-drift=40ppm", &record]);
    let b = lab.start("b", &["--virtual-offset=-9ms", "--virtual-drift=-30ppm"]);
    let c = lab.start("c", &["--virtual-offset=2ms"]);
    let nodes = [&a, &b, &c];
    let agreed = || nodes.iter().all(|n| n.used_peers() == 2) && worst_distance_ns(&nodes).is_some_and(|d| d < 1e5);
    wait_for("three nodes agree", 20.0, agreed);
    wait_for("two hundred exchanges", 30.0, || a.counter("exchanges") >= 200);
    a.signal(Signal::SIGTERM);
    assert_eq!(a.exit_code(), Some(0));
    file
}

#[test]
fn a_recording_of_real_daemons_is_replayed_under_every_algorithm_and_is_refused_when_damaged() {
    let lab = Lab::new();
    let file = recorded(&lab);

    for entry in llts::pipeline::ALGORITHMS {
        let (first, again) = (
            replay(&file, &["--json", "--algorithm", entry.name]),
            replay(&file, &["--json", "--algorithm", entry.name]),
        );
        assert!(first.status.success(), "{}: {}", entry.name, text(&first.stderr));
        assert_eq!(first.stdout, again.stdout, "{}: the same bytes each time", entry.name);
        let lines: Vec<Value> = text(&first.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        text(&first.stdout).lines().for_each(|line| holds("replay", line));
        let (summary, seconds) = lines.split_last().unwrap();
        let summary = &summary["summary"];
        assert_eq!(summary["algorithm"], entry.name);
        assert!(summary["exchanges"].as_u64().unwrap() >= 200, "{summary}");
        assert!(summary["tracked_s"].is_f64(), "{}: {summary}", entry.name);
        assert_eq!(summary["peers"].as_object().unwrap().len(), 2, "{summary}");
        let last = seconds.last().unwrap();
        for peer in last["peers"].as_array().unwrap() {
            assert_eq!(peer["standing"], "used", "{}: {last}", entry.name);
            // b and c ran 70 and 40 ppm slower than a; they were told so, and the machine is not that noisy.
            let rate_ppb = peer["rate_ppb"].as_f64().unwrap();
            assert!((-80e3..-30e3).contains(&rate_ppb), "{}: {peer}", entry.name);
            // Under `tree` the lowest of names leads and does not move, and its recorded peers did not follow.
            let agreed = entry.name == "tree" || peer["bound_ns"].as_f64().unwrap() < 1e6;
            assert!(agreed, "{}: {peer}", entry.name);
        }
    }
    let shown = replay(&file, &[]);
    assert!(shown.status.success() && text(&shown.stdout).contains("agreed first after"), "{}", text(&shown.stdout));

    let whole = std::fs::read(&file).unwrap();
    let damaged = lab.path().join("damaged.rec");
    let fault = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        let output = replay(&damaged, &["--json"]);
        let said = text(&output.stderr).trim_end().to_owned();
        assert_eq!(said.lines().count(), 1, "{said}");
        (said, output.status.code().unwrap(), text(&output.stdout).lines().count())
    };
    let (said, code, lines) = fault(&whole[..whole.len() - 1]);
    assert!(said.contains("ends in the middle of record"), "{said}");
    assert!(code == 1 && lines > 3, "what stands before is shown: {lines} lines");
    let mut flipped = whole.clone();
    flipped[24 + 112 * 100 + 30] ^= 4;
    let (said, code, _) = fault(&flipped);
    assert!(said.contains("record 101 of") && said.contains("is damaged"), "{said}");
    assert_eq!(code, 1);
    let (said, code, _) = fault(&whole[..24]);
    assert!(said.contains("holds no exchange") && code == 1, "{said}");
    for bytes in [&whole[..10], b"not a recording at all, but long enough to be one"] {
        let (said, code, _) = fault(bytes);
        assert!(said.contains("is not a recording of llts") && code == 2, "{said}");
    }
    let output = replay(&lab.path().join("nowhere.rec"), &[]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("cannot read the recording"));
}
