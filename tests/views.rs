//! What `llts status`, `llts peers`, `llts tracking` and `llts waitsync` show of real daemons, against the schemas that
//! docs/schema promises to programs.

mod daemons;
mod schemas;

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use daemons::{Daemon, Lab, free_port, llts, wait_for};
use schemas::holds;
use serde_json::Value;

fn shown(lab: &Lab, node: &Daemon, words: &[&str]) -> String {
    let socket = lab.path().join(format!("llts-{}.sock", node.port));
    let output = llts(&[words, &["--socket", socket.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn real_documents_are_what_the_schemas_promise_from_the_first_moment_to_agreement() {
    let lab = Lab::new();
    let nobody = format!("--peers=127.0.0.1:{}", free_port());
    let node = lab.start("a", &[&nobody, "--virtual-offset=3ms"]);
    wait_for("it answers", 20.0, || node.status().is_some());
    for name in ["status", "peers", "tracking"] {
        holds(name, &shown(&lab, &node, &[name, "--json"]));
    }
    let others = [lab.start("b", &[]), lab.start("c", &["--role=observer"])];
    wait_for("they agree", 30.0, || node.used_peers() == 1 && others[0].used_peers() == 1);
    for name in ["status", "peers", "tracking"] {
        for node in [&node, &others[0], &others[1]] {
            holds(name, &shown(&lab, node, &[name, "--json"]));
        }
    }
    // Every peer that is not used says why: the observer, and the one that nobody ever heard.
    let peers: Value = serde_json::from_str(&shown(&lab, &node, &["sources", "--json"])).unwrap();
    let peers = peers["peers"].as_array().unwrap();
    let reason_is_there = |peer: &Value| (peer["state"] == "used") == peer["reason"].as_str().unwrap().is_empty();
    assert!(peers.len() == 3 && peers.iter().all(reason_is_there), "{peers:?}");
    let text = shown(&lab, &node, &["peers"]);
    for part in ["it only observes", "no sealed answer has come from there yet", "positive means that the local clock"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = shown(&lab, &node, &["tracking"]);
    for part in ["1 of 3 peers used", "\nskew ", "\nbound ", "\nfurthest   b, ", "(an estimate"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_watched_view_comes_again_and_again_one_document_a_line() {
    let lab = Lab::new();
    let node = lab.start("a", &[]);
    wait_for("it answers", 20.0, || node.status().is_some());
    let file = lab.path().join("watched");
    let socket = lab.path().join(format!("llts-{}.sock", node.port));
    let mut watching = Command::new(env!("CARGO_BIN_EXE_llts"))
        .args(["tracking", "--json", "--watch", "50ms", "--socket", socket.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    wait_for("four documents", 30.0, || fs::read_to_string(&file).unwrap().lines().count() >= 4);
    watching.kill().unwrap();
    watching.wait().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    text.lines().take(3).for_each(|line| holds("tracking", line));
}

fn waitsync(lab: &Lab, node: &Daemon, words: &[&str]) -> (i32, String) {
    said(&llts(&[&["waitsync", "--accept-virtual", "--socket", &socket(lab, node)], words].concat()))
}

fn socket(lab: &Lab, node: &Daemon) -> String {
    lab.path().join(format!("llts-{}.sock", node.port)).to_str().unwrap().to_owned()
}

fn said(output: &Output) -> (i32, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn waitsync_ends_with_0_at_the_bound_1_too_late_and_2_where_there_is_nothing_to_wait_for() {
    let lab = Lab::new();
    let alone = Lab::new();
    let lonely = alone.start("lonely", &[]);
    let nodes = [lab.start("a", &["--virtual-offset=5ms"]), lab.start("b", &[])];
    let observer = lab.start("o", &["--role=observer"]);
    for node in nodes.iter().chain([&lonely, &observer]) {
        wait_for("it answers", 20.0, || node.status().is_some());
    }
    // Nobody's clock is set right by a virtual one.
    let (code, text) = said(&llts(&["waitsync", "--timeout", "40s", "--socket", &socket(&lab, &nodes[0])]));
    assert!(code == 2 && text.contains("a will never make this machine's clock right: it keeps a virtual"), "{text}");
    let (code, text) = waitsync(&lab, &nodes[0], &["--bound", "2ms", "--timeout", "40s"]);
    assert_eq!(code, 0, "{text}");
    let status = nodes[0].status().unwrap();
    assert!(status.state == "track" && status.bound_ns.unwrap() <= 2e6, "ready means the bound: {status:?}");

    let (code, text) = waitsync(&lab, &nodes[0], &["--bound", "1ns", "--timeout", "300ms"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no bound of 1.00 ns within 300 ms: state track, bound "), "{text}");
    let (code, text) = waitsync(&alone, &lonely, &["--timeout", "0"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("state unset, bound -"), "{text}");

    let (code, text) = waitsync(&lab, &observer, &["--timeout", "40s"]);
    assert_eq!((code, text.contains("it is an observer")), (2, true), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let (code, text) = said(&llts(&["waitsync", "--runtime-dir", empty.path().to_str().unwrap()]));
    assert_eq!((code, text.contains("no llts daemon is running here")), (2, true), "{text}");
    let (code, text) = said(&llts(&["waitsync", "--runtime-dir", lab.path().to_str().unwrap()]));
    assert_eq!((code, text.contains("choose one with --socket")), (2, true), "{text}");
    // Nothing was ever there.
    let gone = lab.path().join("gone.sock");
    let words = ["waitsync", "--socket", gone.to_str().unwrap(), "--timeout", "40s"];
    let (code, text) = said(&llts(&words));
    assert_eq!((code, text.contains("no llts daemon answers at")), (2, true), "{text}");
    // A daemon that was killed may be starting again: that is waited for.
    let mut killed = lab.start("k", &[]);
    wait_for("it answers", 20.0, || killed.status().is_some());
    killed.crash();
    let began = std::time::Instant::now();
    let (code, _) = waitsync(&lab, &killed, &["--timeout", "400ms"]);
    assert!(code == 1 && began.elapsed() >= Duration::from_millis(400));
}

#[test]
fn waitsync_takes_the_promise_of_a_node_in_holdover() {
    let lab = Lab::new();
    let (a, mut b) = (lab.start("a", &[]), lab.start("b", &[]));
    wait_for("they agree", 40.0, || a.status().is_some_and(|s| s.state == "track" && s.bound_ns.is_some()));
    b.crash();
    wait_for("holdover", 40.0, || a.status().is_some_and(|s| s.state == "holdover"));
    let (code, text) = waitsync(&lab, &a, &["--bound", "1s", "--timeout", "0"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = waitsync(&lab, &a, &["--bound", "1ns", "--timeout", "0"]);
    assert!(code == 1 && text.contains("state holdover, bound "), "{text}");
}

#[test]
fn a_view_that_is_watched_outlives_a_restart_of_its_node_and_says_so() {
    let lab = Lab::new();
    let mut node = lab.start("a", &[]);
    wait_for("it answers", 20.0, || node.status().is_some());
    let (out, told) = (lab.path().join("watched"), lab.path().join("told"));
    let mut watching = Command::new(env!("CARGO_BIN_EXE_llts"))
        .args(["status", "--json", "--watch", "50ms", "--socket", &socket(&lab, &node)])
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let shows = |node: &Daemon| fs::read_to_string(&out).unwrap().contains(&format!("\"pid\":{}", node.pid()));
    wait_for("it is shown", 30.0, || shows(&node));
    node.crash();
    let said = || fs::read_to_string(&told).unwrap();
    wait_for("that it is gone is told", 30.0, || said().contains("waiting for it\n"));
    let again = lab.start_at(node.port, "a", &[]);
    wait_for("the new one is shown", 30.0, || shows(&again));
    watching.kill().unwrap();
    watching.wait().unwrap();
    let said = said();
    assert!(said.lines().count() == 2 && said.ends_with("llts: the llts daemon answers again\n"), "{said}");
    // A node that was never there is not waited for.
    let gone = lab.path().join("gone.sock");
    let output = llts(&["status", "--watch", "50ms", "--socket", gone.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
}
