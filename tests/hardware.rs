//! Time stamps, privileges and `llts doctor` with real daemons and real interfaces: loopback, and network namespaces
//! without cards. What needs a stamping card is shown in a virtual machine, and by played cards beside the code.

mod daemons;
mod namespaces;

use std::fs;

use daemons::{Daemon, Lab, free_port, llts, wait_for};
use namespaces::Namespaces;
use nix::sys::signal::Signal;

/// The mask in one line of a thread's or process's status file.
fn mask(path: &str, line: &str) -> u64 {
    let status = fs::read_to_string(path).unwrap();
    let mask = status.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in {path}"));
    u64::from_str_radix(mask.split_whitespace().next().unwrap(), 16).unwrap()
}

/// Name, effective and permitted capabilities of every thread.
fn threads(daemon: &Daemon) -> Vec<(String, u64, u64)> {
    let folder = format!("/proc/{}/task", daemon.pid());
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .map(|path| {
            let status = path.join("status").display().to_string();
            let name = fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
            (name, mask(&status, "CapEff:"), mask(&status, "CapPrm:"))
        })
        .collect();
    all.sort();
    all
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: only root has something to give up");
    }
    root
}

#[test]
fn no_thread_of_a_running_node_keeps_a_privilege_that_it_does_not_need() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    let node = lab.start("a", &["--peers", "localhost:9", "--sched", "fifo:1", "--mlock"]);
    wait_for("it answers", 20.0, || node.status().is_some());
    // Where the limit of locked memory could not be lifted, each keeps CAP_IPC_LOCK (bit 14).
    let may = if mask(&format!("/proc/{}/status", std::process::id()), "CapEff:") >> 24 & 1 == 1 { 0 } else { 1 << 14 };
    // A thread that has only just begun is given the time to name itself and to give up what it has.
    wait_for("every thread is there and has given up its privileges", 20.0, || {
        let all = threads(&node);
        let named = ["llts", "llts-hot", "llts-discipline"].iter().all(|name| all.iter().any(|(n, ..)| n == name));
        // The resolver has threads too.
        named && all.len() > 3 && all.iter().all(|(_, effective, permitted)| (effective | permitted) & !may == 0)
    });
    println!("{:x?}", threads(&node));
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    assert!(status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])), "{status}");
}

#[test]
fn a_node_becomes_the_user_it_is_told_and_finds_its_folder_again_after_a_restart() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    for _ in 0..2 {
        let mut node = lab.start("a", &["--user", "nobody"]);
        wait_for("it answers", 20.0, || node.status().is_some());
        let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
        let ids = |line: &str| -> Vec<u32> {
            let line = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
            line.split_whitespace().map(|id| id.parse().unwrap()).collect()
        };
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        assert_eq!(ids("Uid:"), [nobody.uid.as_raw(); 4]);
        assert_eq!(ids("Gid:"), [nobody.gid.as_raw(); 4]);
        // Threads that have only just begun are given the time to.
        wait_for("every thread has given up its privileges", 20.0, || {
            threads(&node).iter().all(|(_, effective, permitted)| effective | permitted == 0)
        });
        node.signal(Signal::SIGTERM);
        assert_eq!(node.exit_code(), Some(0), "{}", node.log());
    }
    let refused = lab.run(free_port(), "b", &["--user", "llts-no-such-user"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("there is no user called llts-no-such-user"), "{said}");
}

#[test]
fn each_packet_has_the_stamps_that_were_asked_for() {
    let lab = Lab::new();
    for (word, class) in [("user", "user"), ("kernel", "kernel"), ("auto", "kernel")] {
        let a = lab.start(&format!("a-{word}"), &["--timestamps", word, "--cluster", word]);
        let b = lab.start(&format!("b-{word}"), &["--timestamps", word, "--cluster", word]);
        wait_for("they agree", 30.0, || a.used_peers() == 1 && b.used_peers() == 1);
        wait_for("packets are counted", 10.0, || a.counter("received") > 8);
        let status = a.status().unwrap();
        let peer = &status.peers[0];
        assert_eq!((peer.rx_stamp.as_deref(), peer.tx_stamp.as_deref()), (Some(class), Some(class)), "{word}");
        assert_eq!((status.timestamps.as_str(), status.cards.len()), (word, 0));
        let (kernel, user) = (a.counter("receive_stamps_kernel"), a.counter("receive_stamps_user"));
        assert!(if class == "user" { kernel == 0 && user > 0 } else { kernel > user }, "{word}: {kernel} {user}");
        assert_eq!(a.counter("receive_stamps_nic") + a.counter("transmit_stamps_nic"), 0);
        // Where nobody stamps, no stamp is missed.
        assert_eq!(a.counter("transmit_stamps_missing"), 0);
    }
}

#[test]
fn hardware_stamps_that_cannot_be_had_end_the_start_with_one_sentence_that_says_why() {
    let lab = Lab::new();
    let refused = lab.run(free_port(), "a", &["--timestamps", "hardware"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("--timestamps hardware needs a network card"), "{said}");
    let refused = lab.run(free_port(), "b", &["--iface", "llts-none"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "it may come up later: {said}");
    assert!(said.contains("there is no network interface called llts-none"), "{said}");
}

#[test]
fn a_node_on_an_interface_without_a_card_says_so_once_and_has_kernel_stamps() {
    let net = match Namespaces::new(2, 1) {
        Ok(net) => net,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let lab = Lab::new();
    let key = ["--hmac-key", "a key for two nodes of a test"];
    let start = |node: usize, name: &str, iface: &[&str]| {
        let (own, peer) = (format!("{}:4123", net.ipv4(node, 0)), format!("{}:4123", net.ipv4(1 - node, 0)));
        let words = [&["--listen-addr", &own, "--peers", &peer, "--no-discovery"][..], &key, iface].concat();
        lab.start_by(net.exec(node, env!("CARGO_BIN_EXE_llts")), 4123, name, &words)
    };
    let refused = {
        let own = format!("{}:4123", net.ipv4(0, 0));
        let mut command = net.exec(0, env!("CARGO_BIN_EXE_llts"));
        command.args(["run", "--listen-addr", &own, "--no-discovery", "--timestamps", "hardware"]).args(key);
        command.args(["--runtime-dir", lab.path().to_str().unwrap(), "--state-dir", lab.path().to_str().unwrap()]);
        command.output().unwrap()
    };
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("eth0 has no hardware time stamps"), "{said}");

    let socket = |name: &str| lab.path().join(format!("{name}.sock")).display().to_string();
    let (at_a, at_b) = (socket("a"), socket("b"));
    let a = start(0, "a", &["--iface", "eth0", "--socket", &at_a]);
    let b = start(1, "b", &["--socket", &at_b]);
    let used = |at: &str| {
        let out = llts(&["status", "--json", "--socket", at]);
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        json["peers"][0]["state"] == "used" && json["peers"][0]["rx_stamp"] == "kernel"
    };
    wait_for("they agree over the bridge by kernel stamps", 40.0, || used(&at_a) && used(&at_b));
    let told = a.log().matches("eth0 has no hardware time stamps").count();
    assert_eq!(told, 1, "the interface was named: {}", a.log());
    assert!(!b.log().contains("hardware time stamps"), "nobody asked: {}", b.log());
}

#[test]
fn the_doctor_says_what_is_and_exits_by_the_worst_of_it() {
    let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port().to_string();
    for (port, code) in [(free_port().to_string(), None), (taken, Some(2))] {
        let json = llts(&["doctor", "--json", "--iface", "lo", "--port", &port]);
        let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let exit = json.status.code().unwrap();
        assert_eq!(document["exit_code"].as_i64(), Some(i64::from(exit)));
        assert!(code.is_none_or(|code| code == exit) && (code.is_some() || exit < 2), "{document:#}");
        let text = String::from_utf8(llts(&["doctor", "--iface", "lo", "--port", &port]).stdout).unwrap();
        for finding in document["findings"].as_array().unwrap() {
            assert!(text.contains(finding["says"].as_str().unwrap()), "{finding} is not in {text}");
        }
        let has = |topic: &str| document["findings"].as_array().unwrap().iter().any(|f| f["topic"] == topic);
        assert!(["port", "clock-source", "kernel-stamps", "card-stamps", "real-time"].into_iter().all(has));
    }
    let wrong = llts(&["doctor", "--iface", "llts-none"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no network interface called llts-none"));
}
