//! Configuration of real daemons on loopback: by file, by reload while exchanges flow, and through a rotation of keys.

mod daemons;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use daemons::{Daemon, Lab, free_port, llts, wait_for};
use nix::sys::signal::Signal;

const KEY_1: &str = "1 HEX:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
const KEY_2: &str = "2 B64:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\n";

/// Puts a file in the place of another in one go, as an editor or an orchestrator does.
fn put(path: &Path, text: &str, mode: u32) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(new, path).unwrap();
}

/// A node with a configuration file and a key file of its own.
struct Node {
    daemon: Daemon,
    config: PathBuf,
    keys: PathBuf,
    reloads: usize,
}

impl Node {
    fn start(lab: &Lab, name: &str, port: u16, keys: &str, config: &str) -> Node {
        let (config_path, key_path) =
            (lab.path().join(format!("{name}.toml")), lab.path().join(format!("{name}.keys")));
        put(&key_path, keys, 0o600);
        put(&config_path, &format!("key-file = \"{}\"\n{config}", key_path.display()), 0o644);
        let daemon = lab.start_at(port, name, &["--config", config_path.to_str().unwrap()]);
        Node { daemon, config: config_path, keys: key_path, reloads: 0 }
    }

    fn configure(&self, config: &str) {
        put(&self.config, &format!("key-file = \"{}\"\n{config}", self.keys.display()), 0o644);
    }

    fn reload(&mut self) {
        self.reloads += 1;
        self.daemon.signal(Signal::SIGHUP);
        wait_for("the reload is told", 20.0, || self.daemon.log().matches("reloaded: ").count() == self.reloads);
    }

    /// What must not grow when nothing is lost.
    fn losses(&self) -> [u64; 4] {
        ["unanswered", "rejected_", "ring_dropped", "departures"].map(|prefix| self.daemon.counters(prefix))
    }
}

/// Three nodes that name each other and hold these keys.
fn three(lab: &Lab, keys: &str) -> (Vec<Node>, Vec<u16>) {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let nodes = (0..3).map(|n| Node::start(lab, &format!("n{n}"), ports[n], keys, &named(&ports, n))).collect();
    (nodes, ports)
}

/// The configuration of the node `own`: all others, by address.
fn named(ports: &[u16], own: usize) -> String {
    let others = ports.iter().enumerate().filter(|(n, _)| *n != own).map(|(_, port)| format!("\"127.0.0.1:{port}\""));
    format!("no-discovery = true\npeers = [{}]\n", others.collect::<Vec<_>>().join(", "))
}

fn agreed(nodes: &[Node]) {
    wait_for("three nodes count on each other", 30.0, || nodes.iter().all(|node| node.daemon.used_peers() == 2));
    // Probes of the start, when not everybody was there yet, are given up within two seconds.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
}

#[test]
fn a_node_runs_by_its_file_and_the_command_line_wins() {
    let lab = Lab::new();
    let config = lab.path().join("llts.toml");
    put(&config, "cluster = \"filed\"\nrole = \"observer\"\nvirtual-offset = \"5ms\"\nno-discovery = true\n", 0o644);
    let node = lab.start("a", &["--config", config.to_str().unwrap(), "--role=peer", "--no-discovery=false"]);
    wait_for("it answers", 20.0, || node.status().is_some());
    let status = node.status().unwrap();
    assert_eq!((status.cluster.as_str(), status.role.as_str()), ("filed", "peer"));
    let other = lab.start("b", &["--cluster=filed"]);
    wait_for("the flag took discovery's refusal back", 20.0, || node.used_peers() == 1 && other.used_peers() == 1);
}

#[test]
fn a_thousand_reloads_in_a_row_under_traffic_lose_no_exchange_and_leave_nothing_behind() {
    let lab = Lab::new();
    let both = format!("{KEY_1}{KEY_2}");
    let (mut nodes, ports) = three(&lab, &both);
    agreed(&nodes);
    let before: Vec<[u64; 4]> = nodes.iter().map(Node::losses).collect();
    let exchanges = nodes[0].daemon.counter("exchanges");
    let (began, mut settled) = (std::time::Instant::now(), (0, 0));
    // A thousand, and on a fast machine as many more as it takes for some exchanges to happen meanwhile.
    let mut n = 0;
    while n < 1_000 || nodes[0].daemon.counter("exchanges") - exchanges <= 50 {
        assert!(n < 20_000, "there was no traffic");
        // All that a reload can change, to and fro: who is named, which key seals, thresholds, the log level.
        let (own, keys, level) = match n % 2 {
            0 => (named(&ports[..2], 0), format!("{KEY_2}{KEY_1}"), "debug"),
            _ => (named(&ports, 0), both.clone(), "info"),
        };
        put(&nodes[0].keys, &keys, 0o600);
        nodes[0].configure(&format!(
            "{own}step-threshold = \"{}ms\"\nmax-change = \"{}s\"\nlog-level = \"{level}\"\n",
            100 + n,
            1_000 + n
        ));
        nodes[0].reload();
        if n == 99 {
            settled = (nodes[0].daemon.descriptors(), nodes[0].daemon.resident_bytes());
        }
        n += 1;
    }
    let after: Vec<[u64; 4]> = nodes.iter().map(Node::losses).collect();
    // For docs/measurements: cargo test --test config a_thousand -- --nocapture
    println!(
        "{n} reloads in {:.1} s, {} exchanges meanwhile; descriptors and resident bytes after 100: {settled:?}, at the \
         end: {:?}; unanswered, rejected, dropped, departures of the three nodes before: {before:?}, after: {after:?}",
        began.elapsed().as_secs_f64(),
        nodes[0].daemon.counter("exchanges") - exchanges,
        (nodes[0].daemon.descriptors(), nodes[0].daemon.resident_bytes()),
    );
    assert_eq!(before, after, "unanswered, rejected, dropped, departures");
    assert!(nodes.iter().all(|node| node.daemon.used_peers() == 2));
    assert_eq!(nodes[0].daemon.descriptors(), settled.0);
    let grown = nodes[0].daemon.resident_bytes().saturating_sub(settled.1);
    assert!(grown < 1_000_000, "grew by {grown} bytes");
    let log = nodes[0].daemon.log();
    for part in [
        "step-threshold was 100ms and is 101ms",
        "max-change was 1000s and is 1001s",
        "key 2 seals from now on",
        "log-level was info and is debug",
        "peers was ",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_rotation_step_by_step_on_running_nodes_loses_nothing_and_ends_with_the_new_key_alone() {
    let lab = Lab::new();
    let (mut nodes, ports) = three(&lab, KEY_1);
    agreed(&nodes);
    let before: Vec<[u64; 4]> = nodes.iter().map(Node::losses).collect();
    for (keys, told) in [
        (format!("{KEY_1}{KEY_2}"), "key 2 is new"),
        (format!("{KEY_2}{KEY_1}"), "key 2 seals from now on"),
        (KEY_2.to_owned(), "key 1 is gone"),
    ] {
        // Node after node, as a person does it, with exchanges in between.
        for node in &mut nodes {
            put(&node.keys, &keys, 0o600);
            node.reload();
            assert!(node.daemon.log().contains(told), "{told}: {}", node.daemon.log());
            std::thread::sleep(std::time::Duration::from_millis(600));
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let after: Vec<[u64; 4]> = nodes.iter().map(Node::losses).collect();
    assert_eq!(before, after, "unanswered, rejected, dropped, departures");
    assert!(nodes.iter().all(|node| node.daemon.used_peers() == 2));

    let old = free_port();
    let peers = named(&ports, 3);
    let late = Node::start(&lab, "late", old, KEY_1, &peers);
    wait_for("the old key opens nothing any more", 20.0, || nodes[0].daemon.counter("rejected_unknown_key") > 0);
    assert_eq!(late.daemon.used_peers(), 0);
}

#[test]
fn a_reload_with_a_mistake_changes_nothing_and_one_that_needs_a_restart_says_so() {
    let lab = Lab::new();
    let (mut nodes, ports) = three(&lab, KEY_1);
    agreed(&nodes);
    let good = named(&ports, 0);
    let refused = |node: &Node, times: usize| {
        node.daemon.signal(Signal::SIGHUP);
        wait_for("the refusal is told", 20.0, || node.daemon.log().matches("reload refused").count() == times);
    };
    nodes[0].configure("stepthreshold = \"1s\"\n");
    refused(&nodes[0], 1);
    let log = nodes[0].daemon.log();
    assert!(log.contains("nothing has changed"), "{log}");
    assert!(log.contains("n0.toml:2:1: unknown key `stepthreshold`, did you mean `step-threshold`?"), "{log}");
    nodes[0].configure(&good);
    put(&nodes[0].keys, KEY_2, 0o644);
    refused(&nodes[0], 2);
    assert!(nodes[0].daemon.log().contains("is open to other users"), "{}", nodes[0].daemon.log());
    put(&nodes[0].keys, KEY_1, 0o600);

    nodes[0].configure(&format!("{good}rate = 16\nfaults = 0\n"));
    nodes[0].reload();
    let log = nodes[0].daemon.log();
    assert!(log.contains("rate is to be 16 and stays 8 until llts is restarted"), "{log}");
    assert!(log.contains("reloaded: faults was not set and is 0"), "{log}");
    // All that may be done to the clock is live, and is put back below.
    let policy = "no-step = true\nslew-limit = \"20ppm\"\nmax-change = \"1s\"\nmax-change-at-start = \"2s\"\n\
                  max-total = \"3s\"\non-conflict = \"refuse\"\n";
    nodes[0].configure(&format!("{good}faults = 0\n{policy}"));
    nodes[0].reload();
    let log = nodes[0].daemon.log();
    for part in [
        "no-step was false and is true",
        "slew-limit was not set and is 20ppm",
        "max-change was 1000s and is 1s",
        "max-change-at-start was none and is 2s",
        "max-total was 3600s and is 3s",
        "on-conflict was warn and is refuse",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    nodes[0].configure(&format!("{good}faults = 0\n"));
    nodes[0].reload();
    nodes[0].configure(&good);
    nodes[0].reload();
    assert!(nodes[0].daemon.log().contains("reloaded: faults was 0 and is not set"), "{}", nodes[0].daemon.log());
    assert!(nodes.iter().all(|node| node.daemon.used_peers() == 2));
}

#[test]
fn a_name_given_by_a_reload_is_resolved_and_its_peer_is_met() {
    let lab = Lab::new();
    let (a, b) = (free_port(), free_port());
    let mut one = Node::start(&lab, "one", a, KEY_1, "no-discovery = true\n");
    let two = Node::start(&lab, "two", b, KEY_1, "no-discovery = true\n");
    wait_for("both answer", 20.0, || one.daemon.status().is_some() && two.daemon.status().is_some());
    assert_eq!(one.daemon.status().unwrap().peers, []);
    one.configure(&format!("no-discovery = true\npeers = \"localhost:{b}\"\n"));
    one.reload();
    wait_for("they count on each other", 30.0, || one.daemon.used_peers() == 1 && two.daemon.used_peers() == 1);
}

#[test]
fn check_config_says_what_a_good_file_means_and_where_a_bad_one_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (config, keys) = (dir.path().join("llts.toml"), dir.path().join("keys"));
    put(&keys, KEY_1, 0o600);
    let file = config.to_str().unwrap();
    let check = |text: &str| {
        put(&config, text, 0o644);
        let output = llts(&["check-config", file]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let others: Vec<&str> = text.lines().skip(1).collect();
        assert!(others.iter().all(|line| line.starts_with("note: ") && output.status.success()), "{text}");
        (output.status.code().unwrap(), text)
    };
    let good = format!(
        "name = \"db1\"\nlisten-addr = \":4123\"\nkey-file = \"{}\"\npeers = [\"db2\", \"db3\"]\n",
        keys.display()
    );
    let (code, text) = check(&good);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("is good: db1 of cluster default on ") && text.contains(":4123, 2 named peers"), "{text}");
    assert!(text.contains("a reload changes peers, ") && text.contains("waits for a restart"), "{text}");
    for (wrong, part) in [
        ("rate = 8\nlisten-adr = \":1\"\n", ":2:1: unknown key `listen-adr`, did you mean `listen-addr`?"),
        ("rate = 1000\n", ":1:8: invalid value '1000' for '--rate <HZ>'"),
        ("rate = [\n", "llts.toml:"),
        ("listen-addr = \":4123\"\n", "llts.toml: binding "),
        ("peers = \"192.0.2.1\"\n", "is not on this machine"),
        ("key-file = \"/nonexistent\"\n", "cannot read the key file /nonexistent"),
    ] {
        let (code, text) = check(wrong);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(part), "{wrong}: {text}");
    }
    fs::remove_file(&config).unwrap();
    assert_eq!(llts(&["check-config", file]).status.code(), Some(2));
}

/// The exit code of a command, and all that it said.
fn said(output: std::process::Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// What `check-config` says of a file.
fn checked(lab: &Lab, text: &str) -> (i32, String) {
    let config = lab.path().join("tried.toml");
    put(&config, text, 0o600);
    said(llts(&["check-config", config.to_str().unwrap()]))
}

/// What `run` says of a configuration; it has a socket of its own.
fn ran(lab: &Lab, text: &str) -> (i32, String) {
    let config = lab.path().join("tried.toml");
    put(&config, text, 0o600);
    said(lab.run(free_port(), "tried", &["--config", config.to_str().unwrap()]))
}

/// `check-config` refuses a configuration as wrong, and `run` ends with `code`; both sentences have this part.
fn both_refuse(lab: &Lab, text: &str, part: &str, code: i32) {
    let ((checked_code, told), (run_code, run_told)) = (checked(lab, text), ran(lab, text));
    assert_eq!((checked_code, run_code), (2, code), "{text}: {told}{run_told}");
    assert!(told.contains(part) && run_told.contains(part), "{text}: {told}{run_told}");
}

#[test]
fn check_config_refuses_whatever_run_would_refuse_in_the_same_words_and_with_the_same_code() {
    let lab = Lab::new();
    let taken = lab.path().join("taken");
    fs::write(&taken, "").unwrap();
    let (taken, folder, long) = (taken.to_str().unwrap(), lab.path().display(), "x".repeat(100));
    let faults = [
        ("user = \"nobody-there\"\n".to_owned(), "there is no user called nobody-there on this machine"),
        ("cpu = 4096\n".to_owned(), "there is no CPU 4096 on this machine"),
        ("record = \"/nonexistent/a.rec\"\n".to_owned(), "there is no folder /nonexistent: make it first"),
        (format!("record = \"{folder}\"\n"), "there is something that is no file"),
        ("record = \"/dev/null\"\n".to_owned(), "there is something that is no file"),
        ("record = \"/proc/a.rec\"\n".to_owned(), "nothing can be kept in /proc/a.rec (--record)"),
        ("log-measurements = \"peers\"\nlog-dir = \"/proc/log\"\n".to_owned(), "(--log-dir): the kernel shows"),
        (format!("log-measurements = \"peers\"\nlog-dir = \"{taken}\"\n"), "is not a folder"),
        (format!("socket = \"{taken}\"\n"), "is no socket and is left alone"),
        (
            format!("socket = \"/tmp/{long}.sock\"\n"),
            "has 110 bytes, and the kernel takes 107: give a shorter --socket",
        ),
        ("timestamps = \"hardware\"\niface = \"lo\"\n".to_owned(), "no hardware time stamps"),
        ("key-file = \"/nonexistent\"\n".to_owned(), "cannot read the key file /nonexistent"),
    ];
    for (text, part) in &faults {
        both_refuse(&lab, text, part, 2);
    }
    // What `lab.run` says itself.
    let (code, told) = checked(&lab, "state-dir = \"/sys/llts\"\n");
    assert!(code == 2 && told.contains("nothing can be kept in /sys/llts (--state-dir): the kernel"), "{told}");
    // No test tells a node to steer the machine's clock, not even one that would be refused.
    let (code, told) = checked(&lab, "clock = \"system\"\ndrift-file = \"/sys/drift\"\n");
    assert!(code == 2 && told.contains("nothing can be kept in /sys/drift (--drift-file): the kernel"), "{told}");
}

#[test]
fn what_may_mend_itself_is_wrong_to_check_config_and_only_a_failure_to_run_which_is_started_again() {
    let lab = Lab::new();
    for (text, part) in [
        ("listen-addr = \"192.0.2.77\"\nhmac-key = \"0123456789abcdef\"\n", "is not an address of this machine"),
        ("metrics = \"192.0.2.77:9124\"\n", "cannot serve metrics at 192.0.2.77:9124 (--metrics)"),
        ("iface = \"llts-none\"\n", "there is no network interface called llts-none"),
    ] {
        both_refuse(&lab, text, part, 1);
    }
    // What will not mend itself comes first: no start would help.
    let (code, told) = ran(&lab, "iface = \"llts-none\"\ncpu = 4096\n");
    assert!(code == 2 && told.contains("no CPU 4096"), "{told}");

    // A port that is taken is no fault of the settings, and may be free the next moment.
    let held = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (udp, tcp) = (held.0.local_addr().unwrap().port(), held.1.local_addr().unwrap().port());
    let (code, told) = checked(&lab, &format!("port = {udp}\nmetrics = \"{tcp}\"\n"));
    assert_eq!(code, 0, "{told}");
    for part in [format!("note: UDP port {udp} "), format!("note: TCP port {tcp} (--metrics) is in use now: by llts")] {
        assert!(told.contains(&part), "{part}: {told}");
    }
    let (code, told) = ran(&lab, &format!("metrics = \"{tcp}\"\n"));
    assert!(code == 1 && told.contains("cannot listen for monitoring at 127.0.0.1"), "{told}");
}

#[test]
fn a_node_that_is_started_again_records_beside_what_it_has_recorded() {
    let lab = Lab::new();
    let record = lab.path().join("a.rec");
    let text = format!("record = \"{}\"\n", record.display());
    let starts = |name: &str| {
        let mut node = lab.start("a", &["--record", record.to_str().unwrap()]);
        wait_for("it answers", 20.0, || node.status().is_some());
        let told = format!("every exchange is recorded into {}", lab.path().join(name).display());
        assert!(node.log().contains(&told), "{told}: {}", node.log());
        node.signal(Signal::SIGTERM);
        assert_eq!(node.exit_code(), Some(0));
    };
    let (code, told) = checked(&lab, &text);
    assert!(code == 0 && !told.contains("is there already"), "{told}");
    starts("a.rec");
    let first = fs::read(&record).unwrap();
    for name in ["a.rec.1", "a.rec.2"] {
        let (code, told) = checked(&lab, &text);
        let would = format!("would record into {}", lab.path().join(name).display());
        assert!(code == 0 && told.contains(&would), "{told}");
        starts(name);
    }
    assert_eq!(fs::read(&record).unwrap(), first, "what was there is left alone");
}

#[test]
fn check_config_refuses_what_a_node_would_have_to_do_without_and_says_what_it_cannot_know() {
    let lab = Lab::new();
    let taken = lab.path().join("taken");
    fs::write(&taken, "").unwrap();
    let taken = taken.to_str().unwrap();
    for (text, part) in [
        (format!("state-dir = \"{taken}\"\n"), "taken is not a folder"),
        (format!("state-dir = \"{taken}/below\"\n"), "cannot use the folder"),
        (format!("runtime-dir = \"{taken}\"\nhmac-key = \"0123456789abcdef\"\n"), "taken is not a folder"),
        ("socket = \"/nonexistent/a.sock\"\n".to_owned(), "no status socket at /nonexistent/a.sock"),
        ("clock = \"system\"\ndrift-file = \"/nonexistent/drift\"\n".to_owned(), "there is no folder /nonexistent"),
        ("iface = \"lo\"\nphc = \"/dev/null/ptp7\"\n".to_owned(), "there is no clock of a card at /dev/null/ptp7"),
    ] {
        let (code, told) = checked(&lab, &text);
        assert_eq!((code, told.lines().count()), (2, 1), "{text}: {told}");
        assert!(told.contains(part) && told.contains("a node would go on without"), "{text}: {told}");
    }
    // Everything that is wrong is told at once.
    let (code, told) = checked(&lab, "user = \"nobody-there\"\ncpu = 4096\n");
    assert!(code == 2 && told.contains("nobody-there") && told.contains("no CPU 4096"), "{told}");
    let (code, told) = checked(&lab, "metrics = \":9124\"\n");
    assert!(code == 0 && told.contains("note: metrics are served beyond loopback"), "{told}");
    // Nothing was made on the way.
    assert!(!lab.path().join("state").exists());
}

#[test]
fn what_another_user_may_do_is_said_to_be_unknown_rather_than_good() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: to look with the eyes of another user needs root");
        return;
    }
    let lab = Lab::new();
    let config = lab.path().join("tried.toml");
    put(&config, "clock = \"system\"\nsched = \"fifo:50\"\n", 0o644);
    let output = llts(&["check-config", config.to_str().unwrap()]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && told.contains("note: checked as root: what another user"), "{told}");

    // Somebody who has none of root's powers and cannot write anywhere.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (program, config) = (open.path().join("llts"), open.path().join("tried.toml"));
    fs::copy(env!("CARGO_BIN_EXE_llts"), &program).unwrap();
    let check = |text: &str| {
        use std::os::unix::process::CommandExt;
        put(&config, text, 0o644);
        let mut command = std::process::Command::new(&program);
        command.args(["check-config", config.to_str().unwrap()]).uid(65_534).gid(65_534).current_dir(open.path());
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let runtime = format!("runtime-dir = \"{}/run\"\n", open.path().display());
    let (code, told) = check("clock = \"system\"\nsched = \"fifo:50\"\nport = 123\n");
    assert_eq!(code, 0, "{told}");
    for part in ["needs CAP_SYS_TIME", "needs CAP_SYS_NICE", "CAP_NET_BIND_SERVICE", "is not known here"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for (text, part) in [
        (format!("record = \"{}/a.rec\"\n", open.path().display()), "this user may not write into"),
        (format!("log-measurements = \"peers\"\nlog-dir = \"{}/log\"\n", open.path().display()), "may not write into"),
        (runtime, "cannot use the folder"),
        ("user = \"root\"\n".to_owned(), "--user needs a start as root"),
    ] {
        let (code, told) = check(&text);
        assert!(code == 2 && told.contains(part), "{text}: {told}");
    }
}
