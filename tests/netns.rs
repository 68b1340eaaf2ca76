//! Nodes on different machines find each other by multicast DNS: shown between network namespaces, with real packets
//! that cannot leave this machine. Discovery only; that the nodes found then agree on the time is shown elsewhere.
//!
//! Needs root and the `ip` command, and says so when it skips.

mod namespaces;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use llts::discovery::{Config, Discovery};
use namespaces::Namespaces;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Within this everybody must have found everybody, from when the last one started.
const FIND_PATIENCE: Duration = Duration::from_secs(5);
/// A goodbye takes one second by itself (RFC 6762 section 10.1).
const LOSE_PATIENCE: Duration = Duration::from_secs(5);
/// What a probe is to be: address, name and cluster.
const PROBE_VARIABLE: &str = "LLTS_TEST_PROBE";

/// The other process of the tests below: looks for nodes from inside a namespace, says whom it finds and loses, one
/// line each, and ends when its input does.
#[test]
#[ignore = "the other process of the tests below, not a test"]
fn probe() {
    let Ok(variable) = std::env::var(PROBE_VARIABLE) else { return };
    let [listen, name, cluster] = variable.split(' ').collect::<Vec<_>>().try_into().expect("three words");
    let config = Config {
        listen: listen.parse().unwrap(),
        name: name.into(),
        cluster: cluster.into(),
        peers: Vec::new(),
        runtime_dir: None,
        mdns: true,
    };
    let (mut discovery, warnings) = Discovery::start(config).unwrap();
    for warning in warnings {
        println!("told {warning}");
    }
    println!("\nready");
    let began = Instant::now();
    let stdin = std::io::stdin();
    loop {
        let now_ns = i64::try_from(began.elapsed().as_nanos()).unwrap();
        let changes = discovery.poll(now_ns);
        changes.added.iter().for_each(|c| println!("found {} {}", c.address, c.label));
        changes.removed.iter().for_each(|c| println!("lost {} {}", c.address, c.label));
        changes.messages.iter().for_each(|message| println!("told {message}"));
        // As the control thread does it: until a descriptor is readable or the deadline has come.
        let pause_ms = (discovery.next_deadline() - now_ns) / 1_000_000;
        let timeout = PollTimeout::try_from(pause_ms.clamp(0, 10_000)).unwrap();
        let mut fds: Vec<PollFd> = discovery.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        poll(&mut fds, timeout).unwrap();
        let input_ended = fds.last().is_some_and(|fd| fd.any().unwrap());
        drop(fds);
        if input_ended && matches!(stdin.lock().read(&mut [0]), Ok(0) | Err(_)) {
            return;
        }
    }
}

/// A probe in a namespace, and what it has found so far.
struct Probe {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    found: BTreeSet<String>,
}

impl Probe {
    fn start(namespaces: &Namespaces, node: usize, listen: SocketAddr, name: &str, cluster: &str) -> Self {
        let mut child = namespaces
            .exec(node, std::env::current_exe().unwrap())
            .args(["probe", "--exact", "--ignored", "--nocapture"])
            .env(PROBE_VARIABLE, format!("{listen} {name} {cluster}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let probe = Probe { stdin: child.stdin.take(), child, lines, found: BTreeSet::new() };
        while probe.lines.recv_timeout(Duration::from_secs(20)).expect("the probe must start") != "ready" {}
        probe
    }

    /// Waits until what the probe sees is exactly `expected` (`address name`).
    fn sees(&mut self, expected: &[String], patience: Duration) {
        let expected: BTreeSet<String> = expected.iter().cloned().collect();
        let began = Instant::now();
        while self.found != expected {
            match self.lines.recv_timeout(patience.saturating_sub(began.elapsed())) {
                Ok(line) => self.take(&line),
                Err(error) => panic!("{error}: saw {:?}, expected {expected:?}", self.found),
            }
        }
    }

    /// What the probe sees after nothing has changed for `quiet`.
    fn sees_still(&mut self, expected: &[String], quiet: Duration) {
        loop {
            match self.lines.recv_timeout(quiet) {
                Ok(line) => self.take(&line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the probe has ended"),
            }
        }
        assert_eq!(self.found, expected.iter().cloned().collect());
    }

    /// Waits until the probe complains, and returns what about.
    fn complains(&mut self, patience: Duration) -> String {
        loop {
            let line = self.lines.recv_timeout(patience).expect("the probe must complain");
            if let Some(message) = line.strip_prefix("told ") {
                return message.into();
            }
        }
    }

    fn take(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("found", who)) => assert!(self.found.insert(who.into()), "found twice: {who}"),
            Some(("lost", who)) => assert!(self.found.remove(who), "lost, but never found: {who}"),
            Some(("told", message)) => panic!("a probe has something to complain about: {message}"),
            _ => {}
        }
    }

    /// Ends the probe as SIGTERM ends a daemon: it says goodbye.
    fn end(mut self) {
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The namespaces, or a line that says why there are none.
fn namespaces(nodes: usize, networks: usize) -> Option<Namespaces> {
    Namespaces::new(nodes, networks).map_err(|reason| println!("skipped: {reason}")).ok()
}

fn seen(address: impl Into<SocketAddr>, name: &str) -> String {
    format!("{} {name}", address.into())
}

#[test]
fn nodes_on_a_network_find_each_other_and_nobody_else_and_notice_who_leaves() {
    let Some(net) = namespaces(4, 1) else { return };
    let at = |node| SocketAddr::from((net.ipv4(node, 0), 4123));
    let mut a = Probe::start(&net, 0, at(0), "db1.example.org:4123", "blue");
    let mut b = Probe::start(&net, 1, at(1), "b", "blue");
    // Bound to everything, with a port of its own.
    let mut c = Probe::start(&net, 2, "0.0.0.0:8080".parse().unwrap(), "c", "blue");
    let mut other = Probe::start(&net, 3, at(3), "b", "green");

    let (seen_a, seen_b) = (seen(at(0), "db1.example.org:4123"), seen(at(1), "b"));
    let seen_c = seen((net.ipv4(2, 0), 8080), "c");
    let began = Instant::now();
    a.sees(&[seen_b.clone(), seen_c.clone()], FIND_PATIENCE);
    b.sees(&[seen_a.clone(), seen_c.clone()], FIND_PATIENCE);
    c.sees(&[seen_a.clone(), seen_b], FIND_PATIENCE);
    println!("everybody found everybody {} ms after the last one started", began.elapsed().as_millis());
    other.sees_still(&[], Duration::from_millis(500));

    b.end();
    a.sees(std::slice::from_ref(&seen_c), LOSE_PATIENCE);
    c.sees(std::slice::from_ref(&seen_a), LOSE_PATIENCE);
}

#[test]
fn nodes_on_ipv6_find_each_other() {
    let Some(net) = namespaces(3, 1) else { return };
    let at = |node| SocketAddr::from((net.ipv6(node, 0), 4123));
    let mut a = Probe::start(&net, 0, at(0), "a", "blue");
    let mut b = Probe::start(&net, 1, at(1), "b", "blue");
    let mut c = Probe::start(&net, 2, "[::]:4123".parse().unwrap(), "c", "blue");
    let [seen_a, seen_b, seen_c] = [(0, "a"), (1, "b"), (2, "c")].map(|(node, name)| seen(at(node), name));
    c.sees(&[seen_a.clone(), seen_b.clone()], FIND_PATIENCE);
    a.sees(&[seen_b, seen_c.clone()], FIND_PATIENCE);
    b.sees(&[seen_a, seen_c], FIND_PATIENCE);
}

#[test]
fn a_node_is_announced_only_on_the_network_that_it_is_bound_to() {
    let Some(net) = namespaces(3, 2) else { return };
    let at = |node, network| SocketAddr::from((net.ipv4(node, network), 4123));
    // All three are in both networks; two are bound to one of them each.
    let mut first = Probe::start(&net, 0, at(0, 0), "first", "blue");
    let mut second = Probe::start(&net, 1, at(1, 1), "second", "blue");
    let mut both = Probe::start(&net, 2, "0.0.0.0:4123".parse().unwrap(), "both", "blue");
    both.sees(&[seen(at(0, 0), "first"), seen(at(1, 1), "second")], FIND_PATIENCE);
    first.sees(&[seen(at(2, 0), "both")], FIND_PATIENCE);
    second.sees(&[seen(at(2, 1), "both")], FIND_PATIENCE);
    first.sees_still(&[seen(at(2, 0), "both")], Duration::from_secs(1));
    second.sees_still(&[seen(at(2, 1), "both")], Duration::from_secs(1));
}

#[test]
fn a_node_that_cannot_be_announced_says_so_and_is_announced_when_its_link_comes_up() {
    let Some(net) = namespaces(2, 1) else { return };
    let at = |node| SocketAddr::from((net.ipv4(node, 0), 4123));
    net.set_link(0, 0, "down");
    let mut a = Probe::start(&net, 0, at(0), "a", "blue");
    let mut b = Probe::start(&net, 1, at(1), "b", "blue");
    let message = a.complains(Duration::from_secs(10));
    assert!(message.contains("10.77.0.1") && message.contains("--peers"), "{message}");
    net.set_link(0, 0, "up");
    // The mDNS thread looks for new interfaces every five seconds.
    a.sees(&[seen(at(1), "b")], 3 * FIND_PATIENCE);
    b.sees(&[seen(at(0), "a")], FIND_PATIENCE);
}
