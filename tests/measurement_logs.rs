//! Measurement logs of real daemons: what is in them, that rotation loses no line, and that a full disk costs nothing
//! but lines, by count. The flood of log lines stands here too.

mod daemons;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use daemons::{Lab, free_port, wait_for};
use llts::exchange::{Config, Protocol, Roster};
use llts::flow::{Claim, Event, Mapping, Role, Stamp, StampClass};
use llts::report::RecordReader;
use llts::sys::random::Entropy;
use llts::sys::time::raw_now;
use llts::unit::{BootId, ClusterId, Name, NodeId, RawTime, VirtualTime};
use llts::wire::{DATAGRAM_LEN, Identity, Keyring};
use nix::sys::signal::Signal;

fn values(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("utc,")).collect()
}

#[test]
fn rotation_by_move_and_sighup_loses_no_line_and_a_new_file_has_its_banner() {
    let lab = Lab::new();
    let (logs, recording) = (lab.path().join("log"), lab.path().join("a.rec"));
    let words = ["--rate=64", "--log-measurements=measurements", "--log-dir", logs.to_str().unwrap()];
    let mut a = lab.start("a", &[words.as_slice(), &["--record", recording.to_str().unwrap()]].concat());
    let _b = lab.start("b", &["--rate=64"]);
    let current = logs.join("exchanges.csv");
    let lines = |path: &Path| fs::read_to_string(path).map_or(0, |text| values(&text).len());
    wait_for("the first lines", 30.0, || lines(&current) > 30);
    for round in 1..=5 {
        fs::rename(&current, logs.join(format!("exchanges.csv.{round}"))).unwrap();
        // Between the two the node goes on in the file that was moved.
        std::thread::sleep(Duration::from_millis(100));
        a.signal(Signal::SIGHUP);
        wait_for("a new file with lines", 30.0, || lines(&current) > 30);
    }
    assert_eq!(a.counter("measurements_lost"), 0);
    a.signal(Signal::SIGTERM);
    assert_eq!(a.exit_code(), Some(0), "{}", a.log());

    let mut sent = Vec::new();
    for name in (1..=5).map(|round| format!("exchanges.csv.{round}")).chain(["exchanges.csv".into()]) {
        let text = fs::read_to_string(logs.join(&name)).unwrap();
        let mut head = text.lines();
        assert!(head.next().unwrap().starts_with("# llts "), "{name}: {text}");
        let columns: Vec<&str> = head.next().unwrap().split(',').collect();
        let at = columns.iter().position(|column| *column == "local_sent_ns").unwrap();
        for line in values(&text) {
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields.len(), columns.len(), "{line}");
            assert_eq!(fields[1], "b", "{line}");
            sent.push(fields[at].parse::<i64>().unwrap());
        }
    }
    let recorded: Vec<i64> =
        RecordReader::open(&recording).unwrap().map(|exchange| exchange.unwrap().local_sent.nanos()).collect();
    assert_eq!(sent, recorded, "the files together hold what the recording holds, in its order");
}

#[test]
fn the_recipe_for_logrotate_moves_and_the_node_makes_new_files() {
    let recipe = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/logrotate")).unwrap();
    if Command::new("logrotate").arg("--version").output().is_err() {
        return println!("skipped: there is no logrotate here");
    }
    let lab = Lab::new();
    let logs = lab.path().join("log");
    let words = ["--log-measurements=tracking", "--log-interval=100ms", "--log-dir", logs.to_str().unwrap()];
    let node = lab.start("a", &words);
    let current = logs.join("tracking.csv");
    let lines = |path: &Path| fs::read_to_string(path).map_or(0, |text| values(&text).len());
    wait_for("the first lines", 30.0, || lines(&current) > 3);
    // This lab instead of the machine, and this node instead of the service.
    let here = recipe
        .replace("/var/log/llts", logs.to_str().unwrap())
        .replace("    su llts llts\n", "")
        .replace("systemctl reload llts.service", &format!("kill -HUP {}", node.pid()));
    assert!(here.contains("kill -HUP"), "{here}");
    let (config, state) = (lab.path().join("rotate"), lab.path().join("rotate.state"));
    fs::write(&config, here).unwrap();
    let rotated = Command::new("logrotate").arg("--force").arg("-s").arg(&state).arg(&config).output().unwrap();
    assert!(rotated.status.success() && rotated.stderr.is_empty(), "{rotated:?}");
    wait_for("a new file with lines", 30.0, || lines(&current) > 3);
    assert!(lines(&logs.join("tracking.csv.1")) > 3);
    assert!(fs::read_to_string(&current).unwrap().starts_with("# llts "));
}

#[test]
fn peers_and_tracking_are_logged_now_and_then_as_json_too() {
    let lab = Lab::new();
    let words = ["--log-measurements=statistics,tracking", "--log-measurements-format=jsonl", "--log-interval=100ms"];
    let logs = lab.path().join("log");
    let a = lab.start("a", &[words.as_slice(), &["--log-dir", logs.to_str().unwrap()]].concat());
    let _b = lab.start("b", &["--virtual-offset=1ms"]);
    let read = |name: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(logs.join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let last_is = |name: &str, key: &str, word: &str| read(name).last().is_some_and(|line| line[key] == word);
    wait_for("both agree, as the logs say", 30.0, || {
        last_is("tracking.jsonl", "state", "track") && last_is("peers.jsonl", "state", "used")
    });
    let (tracking, peers) = (read("tracking.jsonl"), read("peers.jsonl"));
    assert!(tracking[0]["banner"].as_str().unwrap().contains("one line an interval"), "{}", tracking[0]);
    let last = tracking.last().unwrap();
    assert_eq!((last["peers_used"].as_u64(), last["furthest_peer"].as_str()), (Some(1), Some("b")));
    assert!(last["bound_ns"].is_null() || last["bound_ns"].as_f64().unwrap() > 0.0);
    assert_eq!(peers.last().unwrap()["peer"], "b");
    let utc = |line: &serde_json::Value| line["utc"].as_str().unwrap().to_owned();
    assert!(tracking[1..].windows(2).all(|pair| utc(&pair[0]) < utc(&pair[1])), "in the order of time");
    assert_eq!(a.counter("measurements_lost"), 0);
}

#[test]
fn a_log_that_cannot_be_opened_is_one_sentence_and_so_is_a_second_writer() {
    let lab = Lab::new();
    let logs = lab.path().join("log");
    let words = ["--log-measurements=tracking", "--log-dir", logs.to_str().unwrap()];
    let first = lab.start("a", &words);
    wait_for("it answers", 20.0, || first.status().is_some());
    let nowhere = ["--log-measurements=tracking", "--log-dir=/dev/null/x"];
    for (words, part, code) in
        [(words, "another llts writes it", 1), ([nowhere[0], nowhere[1], "--no-discovery"], "/dev/null/x", 2)]
    {
        let output = lab.run(free_port(), "b", &words);
        let text = String::from_utf8(output.stderr).unwrap();
        let sentence = text.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(sentence.starts_with("llts: cannot log measurements into ") && sentence.contains(part), "{text}");
    }
}

#[test]
fn a_full_disk_costs_lines_by_count_and_nothing_else() {
    let lab = Lab::new();
    let small = lab.path().join("small");
    fs::create_dir(&small).unwrap();
    let script = format!("mount -t tmpfs -o size=16k none {} && exec \"$0\" \"$@\"", small.display());
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]);
        command
    };
    if !private(&script).arg("true").status().is_ok_and(|status| status.success()) {
        return println!("skipped: no file system can be mounted here");
    }
    let mut command = private(&script);
    command.arg(env!("CARGO_BIN_EXE_llts"));
    let words = ["--rate=64", "--log-measurements=exchanges", "--log-dir", small.to_str().unwrap()];
    let a = lab.start_by(command, free_port(), "a", &words);
    let b = lab.start("b", &["--rate=64"]);
    wait_for("lines are lost, and that is told", 60.0, || {
        a.status().is_some() && a.counter("measurements_lost") > 10 && a.log().contains("lines are lost until it can")
    });
    assert!(a.log().contains("cannot be written: No space left on device"), "{}", a.log());
    wait_for("they agree nevertheless", 30.0, || a.used_peers() == 1 && b.used_peers() == 1);
    let told = a.log().matches("cannot be written").count();
    assert_eq!(told, 1, "{}", a.log());
    assert_eq!(a.counter("ring_dropped") + a.counter("notes_dropped"), 0);
}

/// Lets a run of a node with the key of `dir` prove itself at `daemon`.
fn prove(dir: &Path, daemon: u16, boot: u32, entropy: &mut Entropy) {
    let key = llts::discovery::load_or_create_local_key(dir).unwrap();
    let mut keys = Keyring::new();
    keys.insert(llts::discovery::LOCAL_KEY_ID, key.as_slice(), None).unwrap();
    let now = || RawTime::from_nanos(raw_now());
    let identity = Identity {
        cluster: ClusterId::derive("default"),
        node: NodeId::derive("default", "restless"),
        boot: BootId(boot),
        name: Name::new("restless"),
    };
    let mapping = Mapping::through(now(), VirtualTime::from_nanos(0), 0.0);
    let claim = Claim::unset(mapping, Role::Observer);
    let (rate_hz, rounds, promise) = (8.0, 1, StampClass::User);
    let mut protocol = Protocol::new(Config { identity, keys, rate_hz, rounds, capacity: 4, claim, promise }, now());
    let (roster, _) = Roster::new([([127, 0, 0, 1], daemon).into()]);
    protocol.set_roster(&roster, now(), entropy.next_u64());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (mut bytes, mut out) = ([0; DATAGRAM_LEN + 1], [0; DATAGRAM_LEN]);
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        while let Some(outgoing) = protocol.poll(now(), entropy.next_u64(), &mut out) {
            socket.send_to(&out, outgoing.to).unwrap();
        }
        if let Ok((len, from)) = socket.recv_from(&mut bytes) {
            let stamp = Stamp { at: now(), class: StampClass::User };
            let outcome = protocol.on_datagram(now(), from, &bytes[..len], stamp, entropy.next_u64(), &mut out);
            if let Ok(Some(outgoing)) = outcome {
                socket.send_to(&out, outgoing.to).unwrap();
            }
        }
        while let Some(event) = protocol.next_event() {
            if matches!(event, Event::Exchanged(_)) {
                return;
            }
        }
    }
    panic!("run {boot} was not answered");
}

#[test]
fn a_peer_that_restarts_without_end_fills_no_disk_and_what_was_not_shown_is_told() {
    const RUNS: u32 = 400;
    let lab = Lab::new();
    let mut daemon = lab.start("a", &["--no-discovery"]);
    wait_for("it answers", 20.0, || daemon.status().is_some());
    let mut entropy = Entropy::new().unwrap();
    for boot in 1..=RUNS {
        prove(lab.path(), daemon.port, boot, &mut entropy);
    }
    let runs = || daemon.counter("reboots") + daemon.counter("arrivals");
    wait_for("most runs have been met", 20.0, || runs() > 300);
    let met = runs();
    // What the hot thread has met the discipline thread hears of at its next tick, and only then it can be told.
    std::thread::sleep(Duration::from_millis(300));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit_code(), Some(0));
    let log = daemon.log();
    let shown = log.lines().filter(|l| l.contains("has proved itself") && !l.contains("not shown")).count() as u64;
    let hidden: u64 = log
        .lines()
        .filter(|line| line.contains("more like this were not shown: peer restless at "))
        .filter_map(|line| line.split(" more like").next()?.split_whitespace().last()?.parse::<u64>().ok())
        .sum();
    let burst = u64::from(llts::limits::LOG_LINES_BURST);
    assert!((burst..burst + 20).contains(&shown), "{shown} of {met} shown");
    assert!(hidden > 100 && shown + hidden >= met, "{shown} shown, {hidden} told as hidden, {met} met");
    assert!(log.lines().count() < 250, "{log}");
}
