//! `llts watch` and `llts query` against real daemons on loopback whose offsets are known, and against thousands of
//! nodes played by this process. References do not move, so what was thrown stays.

mod daemons;
mod responders;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use daemons::{Daemon, Lab, free_port, llts, wait_for};
use llts::report::{WatchEvent, WatchLine};
use llts::wire::DATAGRAM_LEN;
use responders::Responders;

/// What a busy machine's stamps may add to a skew of milliseconds: a fifth of the smallest one that is thrown (1 ms),
/// so that a sign, a factor or a neighbour that is taken for another is found. Where a bound is told, that is the
/// measure.
const NOISE_NS: f64 = 200_000.0;

/// What a watch may take for a node, as docs/WATCH.md says.
const BYTES_A_NODE: u64 = 96 * 1024;

/// A running `llts watch --json`; killed when dropped.
struct Watcher {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watcher {
    fn start(lab: &Lab, words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llts"));
        command.args(["watch", "--json", "--runtime-dir"]).arg(lab.path()).args(words).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watcher { child, lines }
    }

    fn next(&mut self) -> WatchLine {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The first line of which `holds`, within `seconds`.
    fn until(&mut self, what: &str, seconds: u64, holds: impl Fn(&WatchLine) -> bool) -> WatchLine {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            let line = self.next();
            if holds(&line) {
                return line;
            }
            assert!(Instant::now() < until, "not within {seconds} s: {what}; last was {line:?}");
        }
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn reference(lab: &Lab, name: &str, offset: &str) -> Daemon {
    lab.start(name, &["--role=reference", "--no-discovery", &format!("--virtual-offset={offset}")])
}

fn up(daemons: &[&Daemon]) {
    wait_for("the daemons answer", 10.0, || daemons.iter().all(|d| d.status().is_some()));
}

fn list(daemons: &[&Daemon]) -> String {
    daemons.iter().map(|d| format!("127.0.0.1:{}", d.port)).collect::<Vec<_>>().join(",")
}

fn index(line: &WatchLine, name: &str) -> usize {
    line.nodes.iter().position(|n| n.name == name).unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

/// True time of `one` minus `other`, from their clocks, ns.
fn truth_ns(one: &Daemon, other: &Daemon) -> f64 {
    let (one, other) = (one.clock().unwrap(), other.clock().unwrap());
    let at_ns = one.raw_ns.min(other.raw_ns);
    one.at(at_ns).unwrap().minus_ns(other.at(at_ns).unwrap())
}

fn near(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() < NOISE_NS)
}

#[test]
fn a_watch_reports_the_known_skews_of_three_nodes_and_offsets_from_their_median() {
    let lab = Lab::new();
    let (a, b, c) = (reference(&lab, "a", "0"), reference(&lab, "b", "3ms"), reference(&lab, "c", "-40ms"));
    up(&[&a, &b, &c]);
    let mut watcher = Watcher::start(&lab, &["--peers", &list(&[&a, &b, &c]), "--interval=250ms", "--threshold=5"]);
    let line = watcher.until("three nodes are live and measured well", 20, |line| {
        line.live == 3 && line.nodes.iter().all(|n| n.exchanges.is_some_and(|n| n > 5))
    });
    let (ia, ib, ic) = (index(&line, "a"), index(&line, "b"), index(&line, "c"));
    let matrix = line.skew_ns.as_ref().unwrap();
    for (one, other, i, j) in [(&a, &b, ia, ib), (&b, &c, ib, ic), (&c, &a, ic, ia)] {
        let truth = truth_ns(one, other);
        assert!(near(matrix[i][j], truth), "{} minus {}: {:?} for {truth}", one.name, other.name, matrix[i][j]);
        assert_eq!(matrix[i][j], matrix[j][i].map(|ns| -ns));
    }
    // b is 3 ms ahead of a and c far behind: a is the median.
    assert_eq!(line.nodes[ia].offset_ns, Some(0.0));
    assert!(near(line.nodes[ib].offset_ns, truth_ns(&b, &a)), "{line:?}");
    assert!(near(line.nodes[ic].offset_ns, truth_ns(&c, &a)), "{line:?}");
    let largest = line.largest_skew.as_ref().unwrap();
    assert_eq!((largest.ahead.as_str(), largest.behind.as_str()), ("b", "c"));
    assert!((largest.skew_ns - truth_ns(&b, &c)).abs() <= largest.bound_ns.unwrap(), "{largest:?}");
    assert!(line.over && line.nodes[ic].over && !line.nodes[ib].over, "{line:?}");
    assert!(line.nodes.iter().all(|n| n.delay_ns.is_some_and(|ns| ns > 0.0) && n.sigma_ns.is_some()), "{line:?}");
    assert_eq!(line.nodes[ia].role.as_deref(), Some("reference"));
}

#[test]
fn a_watcher_is_answered_in_full_and_probed_by_nobody_and_leaves_no_ghost() {
    let lab = Lab::new();
    let a = reference(&lab, "a", "0");
    up(&[&a]);
    let mut watcher = Watcher::start(&lab, &["--peers", &list(&[&a]), "--interval=250ms"]);
    let line = watcher.until("kernel stamps", 20, |line| line.nodes[0].exchanges.is_some_and(|n| n > 8));
    assert_eq!(line.nodes[0].stamps.as_deref(), Some("kernel"), "{line:?}");
    let status = a.status().unwrap();
    assert_eq!(status.peers.iter().map(|p| p.state.as_str()).collect::<Vec<_>>(), ["observer"]);
    assert_eq!(a.counter("probes"), 0);
    drop(watcher);
    wait_for("the watcher is forgotten", 20.0, || a.status().is_some_and(|s| s.peers.is_empty()));
}

/// What the endpoint of a node answers.
fn fetched(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
    text
}

#[test]
fn who_only_looks_has_no_series_no_history_no_line_and_is_not_missed() {
    let lab = Lab::new();
    let (port, logs) = (TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(), lab.path().join("log"));
    let (metrics, logs_word) = (format!("--metrics={port}"), format!("--log-dir={}", logs.display()));
    let a = lab.start(
        "a",
        &["--no-discovery", &metrics, "--log-measurements=peers,tracking", "--log-interval=100ms", &logs_word],
    );
    up(&[&a]);
    let mut watcher = Watcher::start(&lab, &["--peers", &list(&[&a]), "--interval=250ms"]);
    watcher.until("it is seen for some seconds", 30, |line| line.nodes[0].exchanges.is_some_and(|n| n > 16));
    assert_eq!(a.status().unwrap().peers.len(), 1, "status shows it");
    let look = || {
        let text = fetched(port, "/metrics");
        assert!(text.contains("\nllts_peers_known 0\n"), "{text}");
        assert!(!text.contains("peer=\"") && !text.contains("watch"), "{text}");
        let history: serde_json::Value =
            serde_json::from_str(fetched(port, "/history.json").split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(history["peers"], serde_json::json!([]), "{history}");
        let events = fetched(port, "/events.json");
        assert!(events.contains("runs as a") && !events.contains("peer "), "{events}");
    };
    look();
    drop(watcher);
    wait_for("the watcher is forgotten", 20.0, || a.status().is_some_and(|s| s.peers.is_empty()));
    thread::sleep(Duration::from_millis(1_100));
    look();
    assert_eq!((a.counter("departures"), a.counter("arrivals")), (0, 1));
    let lines = |name: &str| {
        let text = std::fs::read_to_string(logs.join(name)).unwrap();
        text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("utc,")).count()
    };
    assert!(lines("tracking.csv") > 20);
    assert_eq!(lines("peers.csv"), 0);
    let log = a.log();
    assert!(log.contains(" observes no longer") && !log.contains("has fallen silent"), "{log}");
}

#[test]
fn a_node_that_dies_is_silent_and_the_others_are_compared_without_it() {
    let lab = Lab::new();
    let (a, b, mut c) = (reference(&lab, "a", "0"), reference(&lab, "b", "1ms"), reference(&lab, "c", "9ms"));
    up(&[&a, &b, &c]);
    let peers = format!("{},127.0.0.1:{}", list(&[&a, &b, &c]), free_port());
    let mut watcher = Watcher::start(&lab, &["--peers", &peers, "--interval=250ms", "--rate=4"]);
    let line = watcher.until("three are live and one is unheard", 20, |line| line.live == 3);
    assert_eq!(line.nodes.iter().filter(|n| n.seen == "unheard").count(), 1, "{line:?}");
    assert!(line.largest_skew.unwrap().skew_ns > 8e6);
    c.crash();
    let line = watcher.until("the dead one is silent", 20, |line| line.nodes[index(line, "c")].seen == "silent");
    assert_eq!((line.live, line.nodes[index(&line, "c")].offset_ns), (2, None));
    assert!(line.largest_skew.unwrap().skew_ns < 2e6);
}

/// A server that takes each POST and hands its body over.
fn posts() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut piece) = (String::new(), [0; 4096]);
            while !request.ends_with('}') {
                let n = stream.read(&mut piece).unwrap();
                request += std::str::from_utf8(&piece[..n]).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

fn hook(dir: &Path) -> (String, std::path::PathBuf) {
    let (program, seen) = (dir.join("hook"), dir.join("seen"));
    let text = format!("#!/bin/sh\necho \"$1 $2 $3 $LLTS_OTHER $LLTS_VALUE_NS\" >> {}\n", seen.display());
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (program.display().to_string(), seen)
}

#[test]
fn hook_and_webhook_are_told_once_of_a_crossing_and_once_of_the_recovery() {
    let lab = Lab::new();
    let (a, b, mut c) = (reference(&lab, "a", "0"), reference(&lab, "b", "0"), reference(&lab, "c", "20ms"));
    up(&[&a, &b, &c]);
    let (url, posted) = posts();
    let (program, seen) = hook(lab.path());
    let words = ["--interval=250ms", "--rate=4", "--threshold=5", "--exec", &program, "--webhook", &url];
    let peers = list(&[&a, &b, &c]);
    let mut watcher = Watcher::start(&lab, &[&["--peers", &peers], &words[..]].concat());
    let raised = watcher.until("the threshold is crossed", 20, |line| !line.events.is_empty());
    assert!(raised.over, "{raised:?}");
    // The node comes back with its clock set right, as an operator would do it.
    let port = c.port;
    c.crash();
    let c = lab.start_at(port, "c", &["--role=reference", "--no-discovery", "--virtual-offset=1ms"]);
    let mut events = raised.events.clone();
    let until = Instant::now() + Duration::from_secs(40);
    let mut calm = 0;
    while calm < 8 {
        let line = watcher.next();
        calm = if line.live == 3 && !line.over && line.hooks.delivered == 8 { calm + 1 } else { 0 };
        events.extend(line.events);
        assert!(Instant::now() < until, "{:?} {:?}", line.hooks, c.log());
    }
    let told: Vec<(&str, &str)> = events.iter().map(|e| (e.event.as_str(), e.subject.as_str())).collect();
    let expected = [("raised", "cluster"), ("raised", "node"), ("cleared", "cluster"), ("cleared", "node")];
    assert_eq!(told, expected, "{events:?}");
    assert!(events.iter().filter(|e| e.subject == "node").all(|e| e.node == "c"), "{events:?}");
    let bodies: Vec<WatchEvent> = posted
        .try_iter()
        .map(|request| {
            assert!(request.starts_with("POST /alerts HTTP/1.1\r\n"), "{request}");
            serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(bodies, events, "the webhook got what the lines say");
    let seen = std::fs::read_to_string(seen).unwrap();
    let words: Vec<String> = seen.lines().map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(words, ["raised cluster", "raised node", "cleared cluster", "cleared node"], "{seen}");
    let value_ns: f64 = seen.lines().nth(1).unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((value_ns - 20e6).abs() < 2e6, "{seen}");
}

#[test]
fn what_a_running_node_sees_is_shown_over_its_socket() {
    let lab = Lab::new();
    let (a, b) = (reference(&lab, "a", "0"), reference(&lab, "b", "4ms"));
    let peers = list(&[&a, &b]);
    let eye = lab.start("eye", &["--role=observer", "--no-discovery", "--peers", &peers, "--virtual-offset=-2s"]);
    wait_for("the observer sees both", 15.0, || {
        eye.status().is_some_and(|s| s.peers.len() == 2 && s.peers.iter().all(|p| p.reach == 0o377))
    });
    let socket = lab.path().join(format!("llts-{}.sock", eye.port)).display().to_string();
    let mut watcher = Watcher::start(&lab, &["--socket", &socket, "--interval=250ms", "--threshold=3"]);
    let line = watcher.next();
    assert_eq!((line.source.as_str(), line.live, line.nodes.len()), ("socket", 2, 3), "{line:?}");
    let (ia, ib) = (index(&line, "a"), index(&line, "b"));
    assert!(near(line.skew_ns.as_ref().unwrap()[ib][ia], truth_ns(&b, &a)), "{line:?}");
    assert!(near(line.nodes[ib].offset_ns, truth_ns(&b, &a) / 2.0), "the median of two is in the middle: {line:?}");
    assert_eq!(line.nodes[index(&line, "eye")].seen, "observer");
    assert!(line.over && line.events.len() == 1, "{line:?}");
    let only = llts(&["watch", "--count=1", "--runtime-dir", lab.path().to_str().unwrap()]);
    assert!(!only.status.success(), "three nodes run here: one must be chosen");
}

#[test]
fn a_query_prints_the_offset_of_the_local_clock_and_ends_with_0_1_or_2() {
    let lab = Lab::new();
    let a = reference(&lab, "a", "20ms");
    up(&[&a]);
    let (dir, host) = (lab.path().to_str().unwrap().to_owned(), format!("127.0.0.1:{}", a.port));
    let query = |words: &[&str]| {
        let output = llts(&[&["query", "--runtime-dir", &dir], words].concat());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };

    let (code, out, _) = query(&[&host, "--json", "--rounds=5"]);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    // The node is ahead, so this machine's clock is behind: negative.
    let offset_ns = found["offset_ns"].as_f64().unwrap();
    assert!((offset_ns + 20e6).abs() < 2e6, "{out}");
    assert_eq!(
        (code, found["local_clock"].as_str(), found["node"].as_str()),
        (Some(0), Some("CLOCK_REALTIME"), Some("a"))
    );
    assert!(found["exchanges"].as_u64().unwrap() >= 5 && found["bound_ns"].as_f64().unwrap() < 5e6, "{out}");
    assert!(found["delay_ns"].as_f64().unwrap() > 0.0 && found["over"] == false, "{out}");

    let (code, out, _) = query(&[&host, "--threshold=50"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("positive means that the local clock is ahead") && out.contains("within"), "{out}");
    let (code, out, _) = query(&[&host, "--threshold=500us"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("OVER"), "{out}");

    let nobody = format!("127.0.0.1:{}", free_port());
    for (words, part) in [
        (vec![nobody.as_str(), "--timeout=500ms"], "no sealed answer from"),
        (vec![host.as_str(), "--timeout=500ms", "--cluster=other"], "no sealed answer from"),
        (vec![host.as_str(), "--timeout=500ms", "--hmac-key=0123456789abcdef"], "no sealed answer from"),
        (vec!["192.0.2.1"], "needs the cluster's key"),
        (vec!["no-such-host.invalid", "--timeout=20s"], "does not resolve"),
        (vec![host.as_str(), "--rounds=0"], "--rounds"),
        (vec![host.as_str(), "--threshold=x"], "is no threshold"),
        (vec!["a,b"], "one node"),
        (vec![], "required"),
    ] {
        let (code, out, err) = query(&words);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}: {err}");
        assert!(err.contains(part), "{words:?}: {err}");
    }
}

#[test]
fn people_get_lines_and_a_mistake_gets_one_sentence() {
    let lab = Lab::new();
    let (a, b) = (reference(&lab, "a", "0"), reference(&lab, "b", "9ms"));
    up(&[&a, &b]);
    let dir = lab.path().to_str().unwrap();
    let peers = list(&[&a, &b]);
    let output = llts(&["watch", "--runtime-dir", dir, "--peers", &peers, "--threshold=5", "--count=8"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.lines().last().unwrap().contains("2 of 2 nodes live, largest skew"), "{text}");
    assert_eq!(text.lines().filter(|l| l.contains("warning: the largest skew is")).count(), 1, "{text}");
    for (words, part) in [
        (vec!["--peers=192.0.2.1"], "needs the cluster's key"),
        (vec!["--peers=127.0.0.1:1", "--socket=x"], "cannot be used with"),
        (vec!["--peers-file=/nonexistent"], "cannot read --peers-file"),
        (vec!["--peers=a,,b"], "empty entry"),
        (vec!["--peers=127.0.0.1:1", "--exec=/bin/true"], "--threshold"),
        (vec!["--peers=127.0.0.1:1", "--threshold=5", "--webhook=https://x/"], "not plain http"),
        (vec!["--peers=127.0.0.1:1", "--interval=1ms"], "outside of"),
    ] {
        let output = llts(&[&["watch"], &words[..]].concat());
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {sentence}");
        assert!(sentence.contains(part) && sentence.lines().count() == 1, "{words:?}: {sentence}");
    }
    let nobody = llts(&["watch", "--socket", "/nonexistent/llts.sock"]);
    assert_eq!(nobody.status.code(), Some(1));
}

/// Lets this process open so many files; why not, if it may not.
fn allow_files(count: u64) -> Result<(), String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft >= count {
        return Ok(());
    }
    // Root may raise the hard limit too.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count));
    raised.map_err(|_| format!("this user may open {hard} files, and {count} are needed"))
}

/// How often a node was live, and how far off it was found at most, as part of what was promised.
#[derive(Clone, Copy, Default)]
struct Course {
    live: usize,
    worst: f64,
}

/// Reads lines until every node has been live in one of them, and looks at whatever is live on the way: an offset is
/// never further from the truth than the watch says it can be. Which of thousands are late in one second is the
/// scheduler's affair; that none stays lost is the watch's.
fn until_each_was_live(watcher: &mut Watcher, responders: &Responders, nodes: usize, seconds: u64) -> WatchLine {
    let mut courses = vec![Course::default(); nodes];
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let line = watcher.next();
        let number = |name: &str| name.trim_start_matches('r').parse::<usize>().unwrap();
        // The median is between two of the live nodes, whose bounds it has.
        let mut live: Vec<_> = line.nodes.iter().filter(|n| n.seen == "live").collect();
        live.sort_by(|a, b| a.offset_ns.unwrap().total_cmp(&b.offset_ns.unwrap()));
        if !live.is_empty() {
            let middle = [live[(live.len() - 1) / 2], live[live.len() / 2]];
            let truth_ns = |name: &str| responders.offset_ns(number(name) as f64);
            let median_ns = middle.iter().map(|n| truth_ns(&n.name)).sum::<f64>() / 2.0;
            let median_bound_ns = middle.iter().map(|n| n.bound_ns.unwrap()).fold(0.0, f64::max);
            for node in live {
                let error_ns = (node.offset_ns.unwrap() - (truth_ns(&node.name) - median_ns)).abs();
                let course = &mut courses[number(&node.name)];
                course.live += 1;
                course.worst = course.worst.max(error_ns / (node.bound_ns.unwrap() + median_bound_ns));
                assert!(course.worst <= 1.0, "{node:?} is {error_ns} ns wrong, the median {median_bound_ns} at most");
            }
        }
        let missed = courses.iter().filter(|course| course.live == 0).count();
        if missed == 0 {
            return line;
        }
        assert!(Instant::now() < until, "{missed} of {nodes} nodes were not live once in {seconds} s");
    }
}

#[test]
fn one_process_watches_three_thousand_nodes_within_fixed_memory_and_loses_none() {
    const NODES: usize = 3_000;
    const THRESHOLD_NS: f64 = 20e6;
    if let Err(why) = allow_files(NODES as u64 + 200) {
        println!("skipped: {why}");
        return;
    }
    let lab = Lab::new();
    let responders = Responders::start(lab.path(), NODES);
    let file = lab.path().join("nodes");
    std::fs::write(&file, responders.addresses().iter().map(|a| format!("{a}\n")).collect::<String>()).unwrap();
    let file = file.display().to_string();
    let mut watcher = Watcher::start(&lab, &["--peers-file", &file, "--interval=1s", "--threshold=20"]);
    let line = until_each_was_live(&mut watcher, &responders, NODES, 240);
    let (before_bytes, made_before) = (watcher.resident_bytes(), line.exchanges.unwrap());
    assert_eq!((line.nodes.len(), &line.skew_ns, line.furthest_pairs.len()), (NODES, &None, 10));
    let working = Instant::now();
    while working.elapsed() < Duration::from_secs(15) {
        watcher.next();
    }
    let line = until_each_was_live(&mut watcher, &responders, NODES, 240);
    // The two furthest apart are known too, as well as their bound says.
    let largest = line.largest_skew.as_ref().unwrap();
    let number = |name: &str| name.trim_start_matches('r').parse::<f64>().unwrap();
    let truth_ns = responders.offset_ns(number(&largest.ahead)) - responders.offset_ns(number(&largest.behind));
    assert!((largest.skew_ns - truth_ns).abs() <= largest.bound_ns.unwrap(), "{largest:?} is {truth_ns} in truth");
    // Node n is n * 100 us ahead: far more than half of them are over 20 ms from the median, whoever is late.
    for node in line.nodes.iter().filter(|n| n.seen == "live") {
        let offset_ns = node.offset_ns.unwrap().abs();
        assert!(node.over || offset_ns <= THRESHOLD_NS, "{node:?}");
        assert!(!node.over || offset_ns >= 0.8 * THRESHOLD_NS, "{node:?}");
    }
    assert!(line.nodes.iter().filter(|n| n.over).count() > NODES / 2);
    // Nothing is kept of an exchange: what has grown is less than a packet for each that was made meanwhile. What a
    // line takes while it is written comes and goes, and the allocator keeps some of it: as much as the line itself.
    let line_bytes = serde_json::to_string(&line).unwrap().len() as u64;
    let made = line.exchanges.unwrap() - made_before;
    let after_bytes = watcher.resident_bytes();
    let grown = after_bytes.saturating_sub(before_bytes);
    println!("{before_bytes} bytes with all, {after_bytes} after {made} exchanges, {line_bytes} a line");
    assert!(grown < line_bytes + made * DATAGRAM_LEN as u64, "grew by {grown} bytes in {made} exchanges");
    let each = before_bytes / NODES as u64;
    assert!(each < BYTES_A_NODE, "{each} bytes for each of {NODES} nodes");
}

#[test]
fn a_stopped_reader_does_not_stop_the_measuring() {
    let lab = Lab::new();
    let a = reference(&lab, "a", "0");
    up(&[&a]);
    let mut watcher = Watcher::start(&lab, &["--peers", &list(&[&a]), "--interval=100ms"]);
    // Past the burst with which a node is met, a watch asks once a second.
    watcher.until("it measures", 60, |line| line.live == 1 && line.exchanges.unwrap() > 12);
    let size = nix::fcntl::fcntl(watcher.lines.get_ref(), nix::fcntl::FcntlArg::F_SETPIPE_SZ(4_096)).unwrap();
    let before = watcher.next().exchanges.unwrap();
    // Nobody reads for long enough that lines of half a kilobyte, ten a second, fill the pipe many times over.
    assert!(size <= 4_096, "{size}");
    thread::sleep(Duration::from_secs(8));
    // Seven lines fit the pipe, and few are made while these are read: a watch that had waited for its reader would
    // show at most what it did in a second.
    let after = (0..16).map(|_| watcher.next().exchanges.unwrap()).last().unwrap();
    assert!(after >= before + 5, "{before} to {after} in more than eight seconds");
}
