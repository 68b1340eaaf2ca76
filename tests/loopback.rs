//! Real daemons on loopback: they find each other, agree, come and go, and shrug off what is thrown at them.

mod daemons;

use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use daemons::{Daemon, Lab, free_port, llts, wait_for, worst_distance_ns};
use llts::flow::{Claim, Mapping, Role, Stamp, StampClass};
use llts::unit::{BootId, ClusterId, Name, NodeId, RawTime, VirtualTime};
use llts::wire::{DATAGRAM_LEN, Identity, Keyring, Kind, Message};
use nix::sys::signal::Signal;

/// Far wider than what is reached (docs/measurements), so that a busy machine does not fail the test, and a hundred
/// times narrower than the offsets that the nodes start with.
const AGREED_NS: f64 = 100_000.0;

const THROWN: [[&str; 2]; 5] = [
    ["--virtual-offset=8ms", "--virtual-drift=40ppm"],
    ["--virtual-offset=-9ms", "--virtual-drift=-30ppm"],
    ["--virtual-offset=2ms", "--virtual-drift=-45ppm"],
    ["--virtual-offset=-4ms", "--virtual-drift=15ppm"],
    ["--virtual-offset=6ms", "--virtual-drift=5ppm"],
];

fn cluster(lab: &Lab, n: usize) -> Vec<Daemon> {
    (0..n).map(|i| lab.start(&format!("n{i}"), &THROWN[i])).collect()
}

/// Everyone uses everyone, the clocks agree, and every node says so itself: while it still says `acquire` its clock may
/// pass by the others on its way.
fn agreed(nodes: &[&Daemon]) -> bool {
    nodes.iter().all(|n| n.used_peers() == nodes.len() - 1)
        && worst_distance_ns(nodes).is_some_and(|d| d < AGREED_NS)
        && nodes.iter().all(|n| n.status().is_some_and(|s| s.state == "track"))
}

fn all(nodes: &[Daemon]) -> Vec<&Daemon> {
    nodes.iter().collect()
}

#[test]
fn three_nodes_that_were_told_nothing_find_each_other_and_agree() {
    let lab = Lab::new();
    let nodes = cluster(&lab, 3);
    wait_for("three nodes agree", 10.0, || agreed(&all(&nodes)));
    for node in &nodes {
        let status = node.status().unwrap();
        assert!(status.peers.iter().all(|p| p.reason.is_empty()), "{:?}", status.peers);
        assert!(status.peers.iter().all(|p| p.rx_stamp.as_deref() == Some("kernel")), "{:?}", status.peers);
        assert!(status.peers.iter().all(|p| p.tx_stamp.as_deref() == Some("kernel")), "{:?}", status.peers);
        assert_eq!(status.clock.kind, "virtual");
        assert_eq!(node.counter("ring_dropped"), 0);
    }
}

#[test]
fn ipv6_and_named_peers_without_discovery_work_too() {
    let lab = Lab::new();
    let (a, b) = (free_port(), free_port());
    let words = |port: u16, other: u16| {
        [
            format!("--listen-addr=[::1]:{port}"),
            format!("--peers=[::1]:{other},no-such-host.invalid:4123"),
            "--no-discovery".to_owned(),
        ]
    };
    let (to_a, to_b) = (words(a, b), words(b, a));
    let nodes = [
        lab.start_at(a, "a", &to_a.each_ref().map(String::as_str)),
        lab.start_at(b, "b", &to_b.each_ref().map(String::as_str)),
    ];
    wait_for("two nodes agree over IPv6", 10.0, || agreed(&all(&nodes)));
    wait_for("the unresolvable peer is named", 10.0, || nodes[0].log().contains("no-such-host.invalid"));
    sleep(Duration::from_secs(1));
    assert_eq!(nodes[0].log().matches("no-such-host.invalid").count(), 1, "it is said once: {}", nodes[0].log());
}

#[test]
fn a_node_killed_without_warning_disturbs_nobody_and_agrees_again_when_it_is_back() {
    let lab = Lab::new();
    let mut nodes = cluster(&lab, 5);
    wait_for("five nodes agree", 15.0, || agreed(&all(&nodes)));
    for victim in [4, 0] {
        let port = nodes[victim].port;
        nodes[victim].crash();
        let others: Vec<&Daemon> = nodes.iter().enumerate().filter(|(i, _)| *i != victim).map(|(_, n)| n).collect();
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let worst = worst_distance_ns(&others).unwrap_or(0.0);
            assert!(worst < AGREED_NS, "the others are {worst} ns apart");
            sleep(Duration::from_millis(50));
        }
        let name = format!("n{victim}");
        nodes[victim] = lab.start_at(port, &name, &THROWN[victim]);
        wait_for("the returned node agrees", 10.0, || agreed(&all(&nodes)));
    }
    assert!(nodes.iter().any(|n| n.log().contains("has fallen silent")));
}

#[test]
fn a_node_that_was_held_up_says_so_and_agrees_and_promises_again() {
    let lab = Lab::new();
    let nodes = cluster(&lab, 3);
    wait_for("three nodes agree", 10.0, || agreed(&all(&nodes)));
    nodes[1].signal(Signal::SIGSTOP);
    sleep(Duration::from_secs(4));
    nodes[1].signal(Signal::SIGCONT);
    wait_for("it says that it was held up", 5.0, || nodes[1].log().contains("this process was held up for"));
    let promises = |node: &Daemon| node.status().is_some_and(|s| s.state == "track" && s.bound_ns.is_some());
    wait_for("it agrees and promises again", 5.0, || agreed(&all(&nodes)) && nodes.iter().all(promises));
    assert!(nodes.iter().all(|node| node.counter("upheavals") == 0), "nobody's oscillator has jumped");
}

/// Well sealed datagrams that must change nothing however often they come: of another cluster, in the target's own
/// name, and an answer to a question that was never asked.
fn sealed_datagrams(lab: &Lab, target: &str) -> [[u8; DATAGRAM_LEN]; 3] {
    let key = llts::discovery::load_or_create_local_key(lab.path()).unwrap();
    let mut keys = Keyring::new();
    keys.insert(llts::discovery::LOCAL_KEY_ID, key.as_slice(), None).unwrap();
    let target = NodeId::derive("default", target);
    let at = RawTime::from_nanos(1_000_000);
    let claim = Claim::unset(Mapping::through(at, VirtualTime::from_nanos(0), 0.0), Role::Peer);
    let sealed = |cluster: &str, sender: NodeId, kind: Kind| {
        let (boot, name) = (BootId(7), Name::new("recorded"));
        let identity = Identity { cluster: ClusterId::derive(cluster), node: sender, boot, name };
        let stamp = Stamp { at, class: StampClass::User };
        let message = Message {
            kind,
            boot,
            sender,
            receiver: target,
            sequence: 5,
            nonce: 1,
            echo: 2,
            receive: stamp,
            transmit: stamp,
            earlier: None,
            claim,
            name,
        };
        let mut datagram = [0; DATAGRAM_LEN];
        message.seal(&identity, &keys, keys.choose(target, 0).unwrap(), &mut datagram);
        datagram
    };
    let stranger = NodeId::derive("default", "recorded");
    [
        sealed("another", stranger, Kind::Probe),
        sealed("default", target, Kind::Reply),
        sealed("default", stranger, Kind::Reply),
    ]
}

#[test]
fn garbage_forgeries_and_recorded_answers_at_full_speed_are_counted_and_do_nothing_else() {
    let lab = Lab::new();
    let nodes = cluster(&lab, 3);
    wait_for("three nodes agree", 10.0, || agreed(&all(&nodes)));
    let (target, before_bytes) = (&nodes[0], nodes[0].resident_bytes());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = ("127.0.0.1", target.port);
    let mut forged = [0u8; DATAGRAM_LEN];
    forged[..8].copy_from_slice(&[0x4c, 0x54, 0x10, 1, 0, 1, 0, 0]);
    let mut unknown_key = forged;
    unknown_key[5] = 9;
    let mut other_version = forged;
    other_version[2] = 0x20;
    let sealed = sealed_datagrams(&lab, "n0");
    let mut worst_ns: f64 = 0.0;
    let until = Instant::now() + Duration::from_secs(3);
    let mut n = 0u32;
    while Instant::now() < until {
        for _ in 0..200 {
            n += 1;
            forged[60..64].copy_from_slice(&n.to_be_bytes());
            socket.send_to(b"not a time stamp", to).unwrap();
            socket.send_to(&[], to).unwrap();
            socket.send_to(&[7; DATAGRAM_LEN], to).unwrap();
            socket.send_to(&[7; DATAGRAM_LEN + 900], to).unwrap();
            for datagram in [&forged, &unknown_key, &other_version].into_iter().chain(&sealed) {
                socket.send_to(datagram, to).unwrap();
            }
        }
        worst_ns = worst_ns.max(worst_distance_ns(&all(&nodes)).unwrap_or(0.0));
    }
    let reasons = ["length", "magic", "bad_mac", "unknown_key", "version"];
    for reason in reasons.into_iter().chain(["wrong_cluster", "duplicate_identity", "no_nonce"]) {
        assert!(
            target.counter(&format!("rejected_{reason}")) > 100,
            "{reason}: {:?}",
            target.status().unwrap().counters
        );
    }
    assert!(worst_ns < AGREED_NS, "{worst_ns} ns apart under fire");
    let grown = target.resident_bytes().saturating_sub(before_bytes);
    assert!(grown < 1_000_000, "grew by {grown} bytes");
    assert!(agreed(&all(&nodes)));
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv_from(&mut forged).is_err(), "nobody was answered");
}

#[test]
fn nodes_of_another_cluster_or_another_key_stay_strangers() {
    let (lab, other_lab) = (Lab::new(), Lab::new());
    let nodes = cluster(&lab, 2);
    let same_key = lab.start("x", &["--cluster=other", &format!("--peers=127.0.0.1:{}", nodes[0].port)]);
    let other_key = other_lab.start("y", &[&format!("--peers=127.0.0.1:{}", nodes[1].port)]);
    wait_for("the two agree", 10.0, || agreed(&all(&nodes)));
    wait_for("the other cluster is counted", 5.0, || nodes[0].counter("rejected_wrong_cluster") > 3);
    wait_for("the other key is counted", 5.0, || nodes[1].counter("rejected_bad_mac") > 3);
    for stranger in [&same_key, &other_key] {
        let status = stranger.status().unwrap();
        assert_eq!(status.state, "unset");
        assert_eq!(status.peers.len(), 1);
        assert!(!status.peers[0].reason.is_empty(), "every unused peer says why");
        assert_eq!(stranger.counter("exchanges"), 0);
    }
}

#[test]
fn a_reference_leads_and_an_observer_follows_without_weight() {
    let lab = Lab::new();
    let reference = lab.start("ref", &["--role=reference", "--virtual-offset=5ms", "--virtual-drift=20ppm"]);
    let followers = [lab.start("p1", &THROWN[0]), lab.start("p2", &THROWN[1])];
    let observer = lab.start("eye", &["--role=observer", "--virtual-offset=-7ms"]);
    let led = [&reference, &followers[0], &followers[1]];
    wait_for("the followers are where the reference is", 15.0, || {
        worst_distance_ns(&led).is_some_and(|d| d < AGREED_NS)
            && followers.iter().all(|f| f.status().unwrap().state == "track")
    });
    let untouched = reference.clock().unwrap();
    assert_eq!(untouched.segments.len(), 1, "a reference is never steered");
    wait_for("the observer sees how far off it is", 10.0, || {
        observer.status().is_some_and(|s| s.clock.offset_ns.is_some_and(|o| o.abs() > 5e6) && s.peers.len() == 3)
    });
    assert_eq!(observer.clock().unwrap().segments.len(), 1, "an observer steers nothing");
    drop(reference);
    wait_for("the followers say that they have lost it", 15.0, || {
        followers.iter().all(|f| f.status().unwrap().state == "holdover")
    });
    sleep(Duration::from_secs(2));
    assert!(worst_distance_ns(&[&followers[0], &followers[1]]).unwrap() < AGREED_NS, "and stay together");
}

#[test]
fn signals_print_the_histograms_and_end_the_node_cleanly() {
    let lab = Lab::new();
    let mut nodes = cluster(&lab, 2);
    wait_for("two nodes agree", 10.0, || agreed(&all(&nodes)));
    nodes[0].signal(Signal::SIGUSR1);
    wait_for("the histograms are printed", 5.0, || nodes[0].log().contains("turn-around"));
    let log = nodes[0].log();
    for name in ["user space", "turn-around", "round trip", "ring", "poll loop gap", "tick lateness"] {
        assert!(log.contains(name), "{name} is missing in {log}");
    }
    nodes[0].signal(Signal::SIGTERM);
    assert_eq!(nodes[0].exit_code(), Some(0));
    nodes[1].signal(Signal::SIGINT);
    assert_eq!(nodes[1].exit_code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(lab.path().join("nodes")).unwrap().collect();
    assert!(left.is_empty(), "announcements are taken back: {left:?}");
}

#[test]
fn a_recording_holds_every_exchange_that_was_finished() {
    let lab = Lab::new();
    let file = lab.path().join("run.rec");
    let mut recorder = lab.start("rec", &["--record", file.to_str().unwrap()]);
    let other = lab.start("b", &THROWN[1]);
    wait_for("some exchanges", 10.0, || recorder.status().is_some_and(|s| s.counters["exchanges"] >= 40));
    recorder.signal(Signal::SIGTERM);
    assert_eq!(recorder.exit_code(), Some(0));
    let reader = llts::report::RecordReader::open(&file).unwrap();
    let exchanges: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    assert!(exchanges.len() >= 40, "{}", exchanges.len());
    assert!(exchanges.iter().all(|e| e.forward_ns() + e.backward_ns() > 0));
    assert!(exchanges.iter().any(|e| e.initiator) && exchanges.iter().any(|e| !e.initiator));
    drop(other);
}

#[test]
fn what_cannot_start_says_so_in_one_sentence_and_fails() {
    let lab = Lab::new();
    let running = lab.start("first", &[]);
    wait_for("it answers", 5.0, || running.status().is_some());
    let taken = running.port;
    let exposed = lab.path().join("exposed.key");
    std::fs::write(&exposed, "1 HEX:000102030405060708090a0b0c0d0e0f\n").unwrap();
    let exposed = exposed.to_str().unwrap();
    let cases: [(u16, &str, Vec<&str>, &str); 7] = [
        (taken, "second", vec![], "in use"),
        (free_port(), "first", vec![], "first"),
        (free_port(), "k", vec!["--key-file", "/no/such/key"], "/no/such/key"),
        (free_port(), "k", vec!["--key-file", exposed], "chmod 600"),
        (free_port(), "k", vec!["--cpu", "4095"], "4095"),
        (free_port(), "k", vec!["--algorithm", "astrology"], "astrology"),
        (free_port(), "k", vec!["--hmac-key", "secret"], "16"),
    ];
    for (port, name, words, part) in cases {
        let output = lab.run(port, name, &words);
        let text = String::from_utf8(output.stderr).unwrap();
        let sentence = text.lines().last().unwrap_or_default();
        assert!(!output.status.success(), "{words:?} started");
        assert!(sentence.starts_with("llts: ") && sentence.contains(part), "{words:?}: {text}");
        assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
    }
    let status = llts(&["status", "--socket", lab.path().join("nobody.sock").to_str().unwrap()]);
    assert!(!status.status.success());
    assert_eq!(String::from_utf8(status.stderr).unwrap().lines().count(), 1);
}

#[test]
fn the_system_clock_without_the_right_to_steer_it_is_refused_in_one_sentence() {
    let lab = Lab::new();
    // Nothing but a process that provably lacks the capability is ever told to steer this machine's clock.
    let without = ["--bounding-set=-sys_time", "--inh-caps=-all", "--ambient-caps=-all"];
    let shown = std::process::Command::new("setpriv").args(without).args(["cat", "/proc/self/status"]).output();
    let effective = shown.ok().and_then(|o| {
        let text = String::from_utf8(o.stdout).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("CapEff:"))?.trim().to_owned();
        u64::from_str_radix(&line, 16).ok()
    });
    const SYS_TIME: u64 = 1 << 25;
    if effective.is_none_or(|bits| bits & SYS_TIME != 0) {
        return println!("skipped: setpriv cannot take CAP_SYS_TIME away here");
    }
    let mut command = std::process::Command::new("setpriv");
    command.args(without).arg(env!("CARGO_BIN_EXE_llts"));
    let mut node = lab.start_by(command, free_port(), "sys", &["--clock", "system"]);
    assert_eq!(node.exit_code(), Some(1));
    let log = node.log();
    let sentence = log.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("llts: ") && sentence.contains("CAP_SYS_TIME"), "{log}");
}

#[test]
fn a_node_that_may_not_change_its_clock_so_far_ends_with_3_and_says_why() {
    let lab = Lab::new();
    let truth = lab.start("truth", &["--role=reference"]);
    wait_for("it answers", 20.0, || truth.status().is_some());
    let mut refuses = lab.start("b", &["--virtual-offset=3s", "--max-change-at-start=1s"]);
    assert_eq!(refuses.exit_code(), Some(3), "{}", refuses.log());
    let log = refuses.log();
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("llts: at its start the clock is -3.000 s off"), "{log}");
    assert!(last.contains("--max-change-at-start is 1.000 s"), "{log}");
    assert!(truth.status().is_some(), "nobody else minds");
}
