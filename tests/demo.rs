//! `llts demo` as a user meets it, with real daemons: what it prints, how it ends, and that nothing of it stays behind.
//! How well the nodes agree is shown in docs/measurements: here the machine may be busy.

mod schemas;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use schemas::holds;
use serde_json::Value;

/// A demo whose temporary folder is `temp`.
fn demo(temp: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llts"));
    command.arg("demo").args(words).env("TMPDIR", temp).stdin(Stdio::null());
    command
}

/// Process ids of the nodes whose runtime folder is below `temp`. One that has ended has no command line any more.
fn nodes(temp: &Path) -> Vec<i32> {
    let below = temp.to_str().unwrap();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_node = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("\0run\0") && words.contains(below)
    };
    pids.filter(is_node).collect()
}

/// Waits until `holds`; panics with `what` if that takes too long even for a busy machine.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "never came: {what}");
        sleep(Duration::from_millis(20));
    }
}

fn folders(temp: &Path) -> usize {
    fs::read_dir(temp).unwrap().count()
}

#[test]
fn a_demo_ends_with_one_object_and_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let output = demo(temp.path(), &["--nodes", "3", "--seconds", "8", "--json", "--seed", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    holds("demo", &object.to_string());
    for key in ["pairwise_rms_ns", "pairwise_max_ns", "ensemble_drift_ppb"] {
        assert!(object[key].is_f64(), "{key}: {}", object[key]);
    }
    for key in ["converged_100us_s", "converged_10us_s"] {
        assert!(object[key].is_f64() || object[key].is_null(), "{key}: {}", object[key]);
    }
    assert!(object["exchanges"].as_u64().unwrap() > 20, "{}", object["exchanges"]);
    let nodes_shown = object["nodes"].as_array().unwrap();
    assert_eq!(nodes_shown.iter().map(|node| node["name"].as_str().unwrap()).collect::<Vec<_>>(), ["n1", "n2", "n3"]);
    for node in nodes_shown {
        assert!(node["initial_offset_ns"].as_i64().unwrap().abs() <= 10_000_000);
        assert!(node["initial_drift_ppb"].as_f64().unwrap().abs() <= 50_000.0);
        assert!(node["true_error_rms_ns"].is_f64());
    }

    // The verdict, the figures and the exit code say the same.
    let agreed = object["pairwise_max_ns"].as_f64().unwrap() < 10_000.0 && object["bound_violations"] == 0;
    assert_eq!(object["agreed"], agreed);
    assert_eq!(output.status.code(), Some(i32::from(!agreed)), "{said}");
    assert_eq!(said.lines().count(), usize::from(!agreed), "{said}");
    // Clocks thrown off by milliseconds have found together, however busy this machine is.
    assert!(object["pairwise_max_ns"].as_f64().unwrap() < 1_000_000.0, "{object}");

    assert!(nodes(temp.path()).is_empty());
    assert_eq!(folders(temp.path()), 0);
}

#[test]
fn without_a_terminal_a_demo_prints_plain_lines_and_its_figures() {
    let temp = tempfile::tempdir().unwrap();
    let output = demo(temp.path(), &["--nodes", "2", "--seconds", "6"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\x1b'), "{text}");
    assert!(text.lines().filter(|line| line.contains("worst true pair")).count() >= 2, "{text}");
    assert!(text.contains("TRUE ERROR RMS") && text.contains("broken bounds"), "{text}");
}

fn start(temp: &Path, count: usize) -> Child {
    let words = ["--nodes", &count.to_string(), "--seconds", "600"];
    let child = demo(temp, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("its nodes run", || nodes(temp).len() == count);
    child
}

#[test]
fn an_interrupted_demo_takes_its_nodes_and_its_folder_with_it() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let temp = tempfile::tempdir().unwrap();
        let mut child = start(temp.path(), 3);
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code));
        assert!(nodes(temp.path()).is_empty());
        assert_eq!(folders(temp.path()), 0);
    }
}

#[test]
fn nodes_do_not_outlive_a_demo_that_was_killed() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = start(temp.path(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("its nodes have ended", || nodes(temp.path()).is_empty());
}

#[test]
fn a_node_that_dies_ends_the_demo_which_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = start(temp.path(), 2);
    kill(Pid::from_raw(nodes(temp.path())[0]), Signal::SIGKILL).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(said.starts_with("llts: node n") && said.contains("ended by itself (signal: 9"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(nodes(temp.path()).is_empty());
    assert_eq!(folders(temp.path()), 0);
}
