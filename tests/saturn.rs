//! `llts saturn` as its users meet it: real daemons on loopback sockets, both roles, crowds, keys and signals. No
//! packet leaves the machine and no clock is steered.

mod namespaces;
mod schemas;

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use llts::saturn::key::Key;
use llts::saturn::message::{Fin, Inner, TxMsg};
use llts::saturn::{Reading, slave};
use llts::unit::{RawTime, RealTime};
use namespaces::Namespaces;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use schemas::holds;
use serde_json::Value;

const KEY: &str = "a key of the tests";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon with the lines that it prints; killed when dropped.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    fn start(words: &[&str]) -> Self {
        Daemon::start_with_key(words, KEY)
    }

    fn start_with_key(words: &[&str], key: &str) -> Self {
        Daemon::start_by(Command::new(env!("CARGO_BIN_EXE_llts")), words, key)
    }

    /// By a command that ends in the program.
    fn start_by(mut command: Command, words: &[&str], key: &str) -> Self {
        command.arg("saturn").args(words).env("SATURN_HMAC_KEY", key).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Daemon { child, lines }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line within a minute")
    }

    /// The next JSON object of this kind.
    fn event(&self, kind: &str) -> Value {
        loop {
            let line = self.line();
            holds("saturn", &line);
            let object: Value = serde_json::from_str(&line).expect("JSON was asked for");
            if object["event"] == kind {
                return object;
            }
        }
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// A master that listens, and its address.
fn master(words: &[&str]) -> (Daemon, String) {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let daemon = Daemon::start(&[&["--listen-addr", &address, "--json"], words].concat());
    assert_eq!(daemon.event("listening")["listen_addr"], address);
    (daemon, address)
}

fn run(words: &[&str], key: Option<&str>) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llts"));
    command.arg("saturn").args(words).env_remove("SATURN_HMAC_KEY").stdin(Stdio::null());
    command.envs(key.map(|key| ("SATURN_HMAC_KEY", key)));
    let output = command.output().unwrap();
    let sentence = String::from_utf8(output.stderr.clone()).unwrap();
    (output, sentence)
}

fn now() -> Reading {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    Reading { real: RealTime::from_nanos(since), raw: RawTime::from_nanos(since) }
}

#[test]
fn both_roles_make_whole_transactions_and_the_error_is_at_most_the_latency() {
    for (rounds, more) in [("1", ""), ("5", ""), ("100", ""), ("5", "--compat"), ("100", "--compat")] {
        let more: Vec<&str> = more.split_whitespace().collect();
        let (master, address) = master(&[&["--rounds", rounds], &more[..]].concat());
        let words = ["--master-addr", &address, "--name", "node-a", "--virtual-offset", "2s", "--json"];
        let slave = Daemon::start(&[&words[..], &["--log-level", "debug"], &more].concat());
        let found = master.event("offset");
        assert_eq!(found["trips"].to_string(), rounds);
        assert_eq!(found["client_name"], "node-a");
        let told = slave.event("fin");
        assert_eq!((&told["offset_ms"], &told["tx_id"]), (&found["offset_ms"], &found["tx_id"]));
        let (offset_ms, latency_ms) = (found["offset_ms"].as_f64().unwrap(), found["latency_ms"].as_f64().unwrap());
        // What one way took more than the other can have taken at most all of the round trip.
        let error_ms = (offset_ms - 2_000.0).abs();
        assert!(error_ms <= latency_ms + 0.001, "{error_ms} ms off, latency {latency_ms} ms, {rounds} rounds {more:?}");
    }
}

#[test]
fn the_lines_are_saturns_and_an_offset_over_the_threshold_is_warned_of() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Every interface, in Go's form: nothing but loopback is told of it.
    let master = Daemon::start(&["--listen-addr", &format!(":{port}"), "--threshold", "100"]);
    assert!(master.line().starts_with("~ INFO -- listening -- listenAddr=\""));
    let address = format!("127.0.0.1:{port}");
    let name = "n".repeat(943);
    let words = ["--master-addr", &address, "--name", &name, "--virtual-offset", "-6s"];
    let _slave = Daemon::start(&words);
    let (told, warning) = (master.line(), master.line());
    let keys = |line: &str| -> Vec<String> {
        line.split("=\"").map(|part| part.rsplit([' ', '"']).next().unwrap().to_owned()).collect()
    };
    assert!(told.starts_with("~ INFO -- slave offset -- absOffset=\""), "{told}");
    assert!(told.contains(&format!(" clientName=\"{name}\" latency=\"")), "{told}");
    assert_eq!(keys(&told)[..6], ["absOffset", "clientName", "latency", "offset", "txID", "txNumTrips"]);
    assert!(warning.starts_with("~ WARN -- slave offset is over threshold -- clientName=\"n"), "{warning}");
    assert_eq!(keys(&warning)[..4], ["clientName", "offset", "txID", "txNumTrips"]);
    assert!(told.contains(" offset=\"-6000") || told.contains(" offset=\"-5999.9"), "{told}");
}

#[test]
fn a_threshold_warning_is_a_line_of_our_own_log_too_if_that_is_asked_for() {
    for (form, parts) in [
        ("text", &[" WARN ", "slave offset is over threshold", "client_name=\"slow\"", " offset_ms=-"][..]),
        ("journal", &["<4>slave offset is over threshold", "client_name=\"slow\"", "threshold_ms=100"]),
        ("json", &["\"level\":\"WARN\"", "\"message\":\"slave offset is over threshold\"", "\"offset_ms\":-"]),
    ] {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_llts"));
        command.args(["saturn", "--listen-addr", &address, "--threshold", "100", "--log-format", form]);
        command.env("SATURN_HMAC_KEY", KEY).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let _slave = Daemon::start(&[
            "--master-addr",
            &address,
            "--name=slow",
            "--virtual-offset=-6s",
            "--interval=0.5",
            "--json",
        ]);
        let warning = lines.find(|line| line.contains("over threshold")).unwrap();
        assert!(parts.iter().all(|part| warning.contains(part)), "{form}: {warning}");
        child.kill().unwrap();
        let printed = child.wait_with_output().unwrap().stdout;
        assert!(printed.is_empty(), "one log is enough: {printed:?}");
    }
}

#[test]
fn two_thousand_slaves_at_once_lose_no_transaction() {
    const SLAVES: usize = 2_000;
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    if hard < SLAVES as u64 + 100 {
        println!("skipped: this user may open {hard} files only");
        return;
    }
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let (master, address) = master(&[]);
    let address: SocketAddr = address.parse().unwrap();
    let configs: Vec<slave::Config> = (0..SLAVES)
        .map(|n| slave::Config { key: Key::new(KEY.as_bytes()), name: format!("s{n}").into_bytes(), compat: false })
        .collect();
    let mut poll = mio::Poll::new().unwrap();
    let mut out = Vec::new();
    let mut slaves = Vec::new();
    for (n, config) in configs.iter().enumerate() {
        let mut socket = mio::net::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        poll.registry().register(&mut socket, mio::Token(n), mio::Interest::READABLE).unwrap();
        let id = slave::transaction_id(socket.local_addr().unwrap(), n as u64);
        slaves.push((slave::Transaction::begin(config, address, id, now(), &mut out), socket, out.clone(), None));
    }
    for (_, socket, first, _) in &slaves {
        socket.send_to(first, address).unwrap();
    }
    let (began, mut left, mut events) = (Instant::now(), SLAVES, mio::Events::with_capacity(1_024));
    let mut datagram = [0; 2_048];
    while left > 0 {
        assert!(began.elapsed() < PATIENCE, "{left} slaves were not served");
        poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
        for event in &events {
            let (transaction, socket, _, told) = &mut slaves[event.token().0];
            while let Ok((len, from)) = socket.recv_from(&mut datagram) {
                let Ok(opened) = transaction.open(from, &datagram[..len]) else { continue };
                match transaction.answer(opened, now().real, now(), &mut out) {
                    slave::Outcome::Answer => {
                        socket.send_to(&out, address).unwrap();
                    }
                    slave::Outcome::Finished(finished) => {
                        *told = Some(finished);
                        left -= 1;
                    }
                }
            }
        }
    }
    let mut found: HashMap<String, f64> = HashMap::new();
    for _ in 0..SLAVES {
        let offset = master.event("offset");
        found.insert(offset["client_name"].as_str().unwrap().to_owned(), offset["offset_ms"].as_f64().unwrap());
    }
    for (n, (_, _, _, told)) in slaves.iter().enumerate() {
        assert_eq!(told.as_ref().unwrap().offset_ms, found[&format!("s{n}")]);
    }
    master.signal(Signal::SIGHUP);
    let summary = master.event("summary");
    for (name, count) in [("begun", SLAVES as u64), ("finished", SLAVES as u64), ("live", 0), ("events_dropped", 0)] {
        assert_eq!(summary[name], count, "{name}");
    }
}

/// A master of the test's own that answers each first word with an end.
struct Ender {
    socket: UdpSocket,
}

impl Ender {
    fn new() -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        (Ender { socket }, address)
    }

    fn hear(&self) -> (TxMsg, SocketAddr) {
        let mut datagram = [0; 2_048];
        let (len, from) = self.socket.recv_from(&mut datagram).unwrap();
        (TxMsg::read(&datagram[..len]).unwrap(), from)
    }

    fn end(message: TxMsg, offset_ms: f64) -> Vec<u8> {
        let mut end = TxMsg { seq: 2, inner: Some(Inner::Fin(Fin::new(offset_ms))), ..message };
        Key::new(KEY.as_bytes()).sign(&mut end);
        let mut datagram = Vec::new();
        end.write(&mut datagram);
        datagram
    }
}

#[test]
fn sighup_is_a_report_at_once_also_during_the_first_and_ends_nobody() {
    let (ender, address) = Ender::new();
    let mut slave = Daemon::start(&["--master-addr", &address, "--json"]);
    let (first, from) = ender.hear();
    slave.signal(Signal::SIGHUP);
    ender.socket.send_to(&Ender::end(first.clone(), 1.5), from).unwrap();
    assert_eq!(slave.event("fin")["offset_ms"], 1.5);
    // The interval is three minutes: this one is the signal's.
    let (second, from) = ender.hear();
    assert_ne!(second.id, first.id);
    ender.socket.send_to(&Ender::end(second, -0.25), from).unwrap();
    assert_eq!(slave.event("fin")["offset_ms"], -0.25);
    slave.signal(Signal::SIGHUP);
    ender.hear();
    assert!(slave.is_alive());
    slave.signal(Signal::SIGTERM);
    assert_eq!(slave.child.wait().unwrap().code(), Some(0));

    let (mut master, _) = master(&[]);
    master.signal(Signal::SIGHUP);
    assert_eq!(master.event("summary")["begun"], 0);
    assert!(master.is_alive());
    master.signal(Signal::SIGINT);
    assert_eq!(master.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reply_from_another_address_is_ignored_unless_saturn_is_played() {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (ender, address) = Ender::new();
    let words = ["--master-addr", &address, "--json", "--log-level", "debug"];
    let slave = Daemon::start(&words);
    let (first, from) = ender.hear();
    stranger.send_to(&Ender::end(first.clone(), 1.0), from).unwrap();
    ender.socket.send_to(&Ender::end(first, 2.0), from).unwrap();
    let told = slave.event("fin");
    assert_eq!((&told["offset_ms"], &told["wrong_address"]), (&2.0.into(), &1.into()));

    let slave = Daemon::start(&[&words[..], &["--compat"]].concat());
    let (first, from) = ender.hear();
    assert!(matches!(&first.inner, Some(Inner::InitialReport(report)) if report.name == b"::"));
    stranger.send_to(&Ender::end(first, 1.0), from).unwrap();
    assert_eq!(slave.event("fin")["offset_ms"], 1.0);
}

#[test]
fn patience_is_five_seconds_and_garbage_does_not_renew_it() {
    let (ender, address) = Ender::new();
    let slave = Daemon::start(&["--master-addr", &address, "--json"]);
    let (first, from) = ender.hear();
    let began = Instant::now();
    let mut forged = Ender::end(first, 1.0);
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(200));
        ender.socket.send_to(&forged, from).unwrap();
    }
    let silence = slave.event("no_answer");
    // Renewed by the last of the forged packets, it would have been 8.8 s.
    let spent = began.elapsed();
    assert!(spent > Duration::from_millis(4_500), "{spent:?}");
    assert_eq!(silence["bad_signature"], 20);
}

#[test]
fn a_wrong_key_is_counted_at_the_master_and_a_key_may_stand_in_a_file() {
    let (master, address) = master(&[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let words = ["--master-addr", &address, "--json", "--key-file", path.to_str().unwrap(), "--name", "from-file"];
    for (key, mode, is_good) in [("another key", 0o600, false), (KEY, 0o600, true)] {
        fs::write(&path, format!("{key}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let slave = Daemon::start_with_key(&words, "the file is stronger than the environment");
        if is_good {
            slave.event("fin");
            assert_eq!(master.event("offset")["client_name"], "from-file");
        } else {
            assert!(slave.event("no_answer")["error"].as_str().unwrap().contains("the same key"));
        }
    }
    master.signal(Signal::SIGHUP);
    assert_eq!(master.event("summary")["bad_signature"], 1);
    // Without being asked it tells every 30 s what it has refused, once.
    let told = master.event("refusals");
    assert_eq!((&told["bad_signature"], &told["level"]), (&1.into(), &"warn".into()));
}

#[test]
fn who_plays_saturn_says_of_refused_datagrams_what_saturn_says_ten_times_a_second_at_most() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let master = Daemon::start(&["--listen-addr", &address, "--compat"]);
    master.line();
    let (stranger, mut wrong) = (UdpSocket::bind("127.0.0.1:0").unwrap(), Vec::new());
    let report = Inner::Fin(Fin::new(1.0));
    let mut message = TxMsg { id: b"x".to_vec(), sig: Vec::new(), seq: 1, inner: Some(report) };
    Key::new(b"another").sign(&mut message);
    message.write(&mut wrong);
    let began = Instant::now();
    for _ in 0..500 {
        stranger.send_to(&wrong, &address).unwrap();
    }
    stranger.send_to(b"", &address).unwrap();
    assert!(master.line().starts_with("~ WARN -- received incorrectly signed message -- addr=\"127.0.0.1:"));
    // A second later the next ones are told again.
    thread::sleep(Duration::from_millis(1_100));
    stranger.send_to(&[0xff; 3], &address).unwrap();
    let mut lines = 1;
    while !master.line().starts_with("~ ERROR -- error unmarshaling proto msg -- ") {
        lines += 1;
    }
    let seconds = began.elapsed().as_secs() + 2;
    assert!(lines <= 10 * seconds, "{lines} lines in {seconds} s");
}

#[test]
fn a_slave_is_answered_from_the_address_that_it_asked() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let master = Daemon::start(&["--listen-addr", &format!(":{port}"), "--json"]);
    master.event("listening");
    // The route to a slave at 127.0.0.2 prefers 127.0.0.1, and such an answer would be a stranger's.
    for address in ["127.0.0.2", "127.0.0.1"] {
        let slave = Daemon::start(&["--master-addr", &format!("{address}:{port}"), "--json"]);
        assert_eq!(slave.event("fin")["wrong_address"], Value::Null);
    }
}

/// Answers questions for names as a resolver does: `with.test` has a service at port 5123 of `clock.test`, which like
/// `bare.test` is this machine; there is nothing else.
fn answer_names(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((len, from)) = socket.recv_from(&mut question) {
        let asked = &question[12..len];
        let end = asked.iter().position(|b| *b == 0).unwrap();
        let labels = &asked[..end];
        let kind = u16::from_be_bytes([asked[end + 1], asked[end + 2]]);
        let data = match (labels, kind) {
            (b"\x07_saturn\x04_udp\x04with\x04test", 33) => {
                Some([&[0, 0, 0, 0][..], &5_123u16.to_be_bytes(), b"\x05clock\x04test\0"].concat())
            }
            (b"\x05clock\x04test" | b"\x04bare\x04test", 1) => Some(vec![127, 0, 0, 1]),
            _ => None,
        };
        // The question again, and to it a record of its name, if there is one.
        let mut answer = question[..2].to_vec();
        answer.extend([0x85, 0x80, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
        answer.extend(&asked[..end + 5]);
        if let Some(data) = data {
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 9]);
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn a_master_is_found_by_its_srv_record_or_else_at_port_4123() {
    let namespaces = match Namespaces::new(1, 0) {
        Ok(namespaces) => namespaces,
        Err(why) => return println!("skipped: {why}"),
    };
    let resolver = namespaces.bind(0, "127.0.0.1:53");
    thread::spawn(move || answer_names(&resolver));
    let dir = tempfile::tempdir().unwrap();
    let resolv_conf = dir.path().join("resolv.conf");
    fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();
    // The program, where the resolver is ours and nobody else's is changed.
    let within = || {
        let mut command = namespaces.exec(0, "unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
        command.arg(&resolv_conf).arg(env!("CARGO_BIN_EXE_llts"));
        command
    };
    for (name, port) in [("with.test", 5_123), ("bare.test", 4_123)] {
        let master = Daemon::start_by(within(), &["--listen-addr", &format!("127.0.0.1:{port}"), "--json"], KEY);
        master.event("listening");
        let slave =
            Daemon::start_by(within(), &["--master-addr", name, "--json", "--log-level=debug", "--name", name], KEY);
        assert_eq!(slave.event("reporting")["master_addr"], format!("127.0.0.1:{port}"));
        assert_eq!(master.event("offset")["client_name"], name);
    }
    let slave = Daemon::start_by(within(), &["--master-addr", "none.test", "--json"], KEY);
    let failed = slave.event("cannot_report");
    assert!(failed["error"].as_str().unwrap().starts_with("cannot find the master none.test"), "{failed}");
}

#[test]
fn what_is_wrong_with_the_words_is_one_sentence_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let open_file = dir.path().join("open");
    fs::write(&open_file, "abc").unwrap();
    fs::set_permissions(&open_file, Permissions::from_mode(0o644)).unwrap();
    let open_file = open_file.to_str().unwrap();
    for (line, key, part) in [
        ("", None, "the key is Saturn's default"),
        ("", Some("secret"), "--allow-default-key"),
        ("--hmac-key secret", Some(KEY), "the key is Saturn's default"),
        ("", Some(""), "the key is empty"),
        ("--key-file /nonexistent/key", None, "cannot read the key file /nonexistent/key"),
        (&format!("--key-file {open_file}"), None, "chmod 600"),
        ("--hmac-key a --key-file b", None, "cannot be used with"),
        ("--rounds 0", Some(KEY), "--rounds"),
        ("--rounds abc", Some(KEY), "--rounds"),
        ("--rounds 101", Some(KEY), "--rounds"),
        ("--interval 0", Some(KEY), "is no interval"),
        ("--threshold loud", Some(KEY), "is no threshold"),
        ("--listen-addr nowhere", Some(KEY), "is no address to listen on"),
        ("--master-addr a:0", Some(KEY), "is no address of a master"),
        ("--log-level loud", Some(KEY), "possible values: error, warn, info, debug"),
        ("--version-of-saturn", Some(KEY), "unexpected argument"),
    ] {
        let (output, sentence) = run(&line.split_whitespace().collect::<Vec<_>>(), key);
        assert_eq!(output.status.code(), Some(2), "{line}: {sentence}");
        assert!(sentence.contains(part), "{line}: {sentence}");
        assert_eq!(sentence.lines().count(), 1, "{line}: {sentence}");
        assert!(output.stdout.is_empty() && !sentence.contains(KEY), "{line}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_in_a_sentence() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (output, sentence) = run(&["--listen-addr", &taken.local_addr().unwrap().to_string()], Some(KEY));
    assert_eq!(output.status.code(), Some(1));
    assert!(sentence.contains("is in use by another program"), "{sentence}");
}
