//! What a Saturn master costs and how well it measures, with real daemons on loopback. Run:
//! `cargo bench --bench saturn`.
//!
//! 1. Messages that one core serves in a second: messages answered by processor time spent (all threads of the daemon,
//!    from schedstat), so that neither the load's own cost nor other programs count. Beside it a bare echo of datagrams
//!    of the same size in the same run, which receives and sends and does nothing else; the ratio is what the protocol
//!    costs. Sending on loopback does the receiver's network work too, for both alike.
//! 2. The error of the offset at 5 rounds, of slaves whose clock is ahead by a known amount.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;

use llts::saturn::key::Key;
use llts::saturn::message::TxMsg;
use llts::saturn::{Reading, slave};
use llts::sys::socket::{SocketOptions, StampedSocket};
use llts::sys::time::{raw_now, real_now};
use llts::unit::{RawTime, RealTime};

const KEY: &str = "a key of the benchmarks";
const LOAD: Duration = Duration::from_secs(6);
/// Transactions, or echoes, under way at one time.
const WINDOW: usize = 64;
/// Bytes of a slave's report.
const REPORT_BYTES: usize = 88;
const OFFSETS: usize = 500;
const AHEAD_MS: f64 = 250.0;

fn main() {
    // `cargo test --benches` calls every bench with this: build, do not measure.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let echo = echo();
    let master = master_under_load();
    println!("messages answered in a second of processor time, {WINDOW} at a time for {} s, loopback", LOAD.as_secs());
    println!("{:<28} {:>12} {:>8}", "", "messages/s", "ratio");
    println!("{:<28} {echo:>12.0} {:>8.2}", "bare echo", 1.0);
    println!("{:<28} {master:>12.0} {:>8.2}", "llts saturn, master", master / echo);
    println!("\nerror of the offset, {OFFSETS} transactions of 5 rounds, slave ahead by {AHEAD_MS} ms, loopback, us");
    println!("{:<28} {:>8} {:>8} {:>8} {:>8}", "", "p50", "p90", "p99", "max");
    for (what, master, slave) in [
        ("both llts", &[][..], &[][..]),
        ("llts master, as-Saturn slave", &[], &["--compat"]),
        ("as-Saturn master, llts slave", &["--compat"], &[]),
        ("both as Saturn", &["--compat"], &["--compat"]),
    ] {
        let mut errors_us = offset_errors_us(master, slave);
        errors_us.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| errors_us[((errors_us.len() - 1) as f64 * q) as usize];
        println!("{what:<28} {:>8.2} {:>8.2} {:>8.2} {:>8.2}", at(0.5), at(0.9), at(0.99), at(1.0));
    }
}

/// Time that a thread, or every thread of a process, has spent on a processor, s.
fn processor_s(path: &str) -> f64 {
    let spent_ns = |path: &str| -> f64 {
        let text = std::fs::read_to_string(path).expect("this kernel has schedstat");
        text.split_whitespace().next().expect("three numbers").parse().expect("a number")
    };
    match std::fs::read_dir(format!("{path}/task")) {
        Ok(tasks) => {
            tasks.map(|task| spent_ns(&format!("{}/schedstat", task.expect("a task").path().display()))).sum::<f64>()
                / 1e9
        }
        Err(_) => spent_ns(&format!("{path}/schedstat")) / 1e9,
    }
}

/// Echoes a second of processor time.
fn echo() -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let mut socket = StampedSocket::open(([127, 0, 0, 1], 0).into(), &SocketOptions::default()).expect("loopback");
    let to = socket.local_address();
    let answering = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut poll = Poll::new().expect("epoll");
            poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(0), Interest::READABLE).expect("epoll");
            let (mut events, mut buffer, mut answered) = (Events::with_capacity(4), [0; 1_025], 0u64);
            while !stop.load(Ordering::Relaxed) {
                while let Some(received) = socket.receive(&mut buffer).expect("the socket works") {
                    socket.send(received.from, &buffer[..received.len]).expect("loopback takes it");
                    answered += 1;
                }
                poll.poll(&mut events, Some(Duration::from_millis(50))).expect("epoll");
            }
            answered as f64 / processor_s("/proc/thread-self")
        })
    };
    let asker = asker();
    let mut buffer = [0; 2_048];
    let began = Instant::now();
    while began.elapsed() < LOAD {
        for _ in 0..WINDOW {
            asker.send_to(&[7; REPORT_BYTES], to).expect("loopback takes it");
        }
        (0..WINDOW).take_while(|_| asker.recv_from(&mut buffer).is_ok()).count();
    }
    stop.store(true, Ordering::Relaxed);
    answering.join().expect("the echo ended")
}

fn asker() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    socket
}

fn now() -> Reading {
    Reading { real: RealTime::from_nanos(real_now()), raw: RawTime::from_nanos(raw_now()) }
}

/// Saturn messages a second of processor time.
fn master_under_load() -> f64 {
    let (daemon, to) = Daemon::master(&["--log-level", "error"]);
    let config = slave::Config { key: Key::new(KEY.as_bytes()), name: b"load".to_vec(), compat: false };
    let process = format!("/proc/{}", daemon.child.id());
    let socket = asker();
    let (mut out, mut begun, mut sent) = (Vec::new(), 0u64, 0u64);
    let mut live: HashMap<Vec<u8>, slave::Transaction> = HashMap::new();
    let mut begin = |out: &mut Vec<u8>| {
        begun += 1;
        let id = slave::transaction_id(to, begun);
        let transaction = slave::Transaction::begin(&config, to, id.clone(), now(), out);
        socket.send_to(out, to).expect("loopback takes it");
        (id, transaction)
    };
    let spent_s = processor_s(&process);
    live.extend((0..WINDOW).map(|_| begin(&mut out)));
    let (began, mut buffer) = (Instant::now(), [0; 2_048]);
    while began.elapsed() < LOAD {
        let (len, from) = socket.recv_from(&mut buffer).expect("the master answers everything");
        sent += 1;
        let message = TxMsg::read(&buffer[..len]).expect("a message");
        let transaction = live.get_mut(&message.id).expect("one of ours");
        let opened = transaction.open(from, &buffer[..len]).expect("genuine and next");
        match transaction.answer(opened, now().real, now(), &mut out) {
            slave::Outcome::Answer => {
                socket.send_to(&out, to).expect("loopback takes it");
            }
            slave::Outcome::Finished(_) => {
                live.remove(&message.id);
                live.extend([begin(&mut out)]);
            }
        }
    }
    sent as f64 / (processor_s(&process) - spent_s)
}

/// The distance of each offset from the truth, us.
fn offset_errors_us(master: &[&str], slave: &[&str]) -> Vec<f64> {
    let (mut master, address) = Daemon::master(master);
    let (address, ahead) = (address.to_string(), format!("{AHEAD_MS}ms"));
    let words = ["--master-addr", &address, "--interval", "0.02", "--virtual-offset", &ahead, "--json"];
    let _slave = Daemon::start(&[&words, slave].concat());
    let lines = master.lines();
    let offsets_ms = lines.filter_map(|line| {
        let object: Value = serde_json::from_str(&line).expect("JSON was asked for");
        (object["event"] == "offset").then(|| object["offset_ms"].as_f64().unwrap_or(f64::INFINITY))
    });
    // The first one pays for cold caches and for the kernel's beginning to stamp, once in a process's life.
    offsets_ms.skip(1).take(OFFSETS).map(|offset_ms| (offset_ms - AHEAD_MS).abs() * 1e3).collect()
}

/// A daemon that ends with this value.
struct Daemon {
    child: Child,
}

impl Daemon {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llts"));
        command.arg("saturn").args(words).env("SATURN_HMAC_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::null());
        Daemon { child: command.spawn().expect("the daemon starts") }
    }

    fn master(words: &[&str]) -> (Self, SocketAddr) {
        let address = UdpSocket::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
        let daemon = Daemon::start(&[&["--listen-addr", &address.to_string(), "--json"], words].concat());
        // It is ready when its port is taken.
        while UdpSocket::bind(address).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        (daemon, address)
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.child.stdout.take().expect("it was piped")).lines().map_while(Result::ok)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it was killed");
    }
}
