//! How long the real engine takes to answer, beside a bare echo: from the kernel's receive stamp of a probe to the
//! kernel's transmit stamp of the reply, both on loopback in this one run. The echo does nothing but receive and send;
//! what the engine adds is checking the seal, the state machine and sealing the answer.
//!
//! `cargo bench --bench turnaround`. Prints p50 and p99 of both and their ratio. With two cores the answering thread
//! has core 1 and the asking one core 0; anything else that runs disturbs the figures of both alike.

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use llts::sys::rt;
use llts::sys::socket::{SocketOptions, StampWish, StampedSocket};
use llts::wire::DATAGRAM_LEN;

const SECONDS: u64 = 12;
const RATE_HZ: u64 = 128;

fn main() {
    // `cargo test --benches` calls every bench with this: build, do not measure.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    println!(
        "turn-around, kernel receive stamp to kernel transmit stamp, {RATE_HZ} probes/s for {SECONDS} s, loopback"
    );
    println!("{:<24} {:>12} {:>12} {:>10} {:>10}", "", "p50 us", "p99 us", "p50 ratio", "p99 ratio");
    for (mode, spin) in [("busy", true), ("block", false)] {
        let echo = echo(spin);
        let engine = engine(mode);
        let row = |name: String, p: (f64, f64), base: (f64, f64)| {
            let ratios = (p.0 / base.0, p.1 / base.1);
            println!("{name:<24} {:>12.2} {:>12.2} {:>10.2} {:>10.2}", p.0, p.1, ratios.0, ratios.1);
        };
        row(format!("bare echo, {mode}"), echo, echo);
        row(format!("llts, {mode}"), engine, echo);
    }
}

fn percentiles(mut spans_ns: Vec<i64>) -> (f64, f64) {
    spans_ns.sort_unstable();
    let at = |q: f64| spans_ns[((spans_ns.len() - 1) as f64 * q) as usize] as f64 * 1e-3;
    (at(0.5), at(0.99))
}

/// p50 and p99 of an echo that spins or blocks, us.
fn echo(spin: bool) -> (f64, f64) {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let answering = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            rt::pin(1).or_else(|_| rt::pin(0)).expect("one of the first two cores is ours");
            let mut socket = open();
            sender.send(socket.local_address()).expect("the asker waits for it");
            answer(&mut socket, spin, &stop)
        })
    };
    let to = receiver.recv().expect("the echo has opened its socket");
    let _pinned = rt::pin(0);
    let mut asker = open();
    let mut buffer = [0; 2 * DATAGRAM_LEN];
    let began = Instant::now();
    let mut n = 0u32;
    while began.elapsed() < Duration::from_secs(SECONDS) {
        asker.send(to, &[7; DATAGRAM_LEN]).expect("loopback takes it");
        n += 1;
        let next = Duration::from_micros(u64::from(n) * 1_000_000 / RATE_HZ);
        thread::sleep(next.saturating_sub(began.elapsed()));
        while asker.receive(&mut buffer).expect("the socket works").is_some() {}
        while asker.transmit_stamp().expect("the socket works").is_some() {}
    }
    stop.store(true, Ordering::Relaxed);
    asker.send(to, &[0; DATAGRAM_LEN]).expect("loopback takes it");
    percentiles(answering.join().expect("the echo ended"))
}

fn open() -> StampedSocket {
    let mut socket = StampedSocket::open(([127, 0, 0, 1], 0).into(), &SocketOptions::default()).expect("loopback");
    socket.enable_stamps(StampWish::Kernel).expect("stamps");
    socket
}

fn answer(socket: &mut StampedSocket, spin: bool, stop: &AtomicBool) -> Vec<i64> {
    let mut poll = Poll::new().expect("epoll");
    let registered = poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(0), Interest::READABLE);
    registered.expect("a socket can be polled");
    let mut events = Events::with_capacity(4);
    let mut buffer = [0; 2 * DATAGRAM_LEN];
    let mut spans_ns = Vec::with_capacity(100_000);
    while !stop.load(Ordering::Relaxed) {
        let Some(received) = socket.receive(&mut buffer).expect("the socket works") else {
            if !spin {
                poll.poll(&mut events, None).expect("epoll");
            }
            continue;
        };
        let ticket = socket.send(received.from, &buffer[..received.len]).expect("loopback takes it");
        let Some(arrived_ns) = received.kernel_real_ns else { continue };
        while let Some(stamp) = socket.transmit_stamp().expect("the socket works") {
            if stamp.ticket == ticket {
                spans_ns.push(stamp.real_ns - arrived_ns);
            }
        }
    }
    spans_ns
}

/// p50 and p99 of the engine in `mode`, us, from the histogram that it prints on SIGUSR1.
fn engine(mode: &str) -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let runtime_dir = dir.path().to_str().expect("a path that is text");
    let start = |name: &str, more: &[&str]| {
        let port = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_llts"));
        command.args(["run", "--name", name, "--port", &port.to_string(), "--rate", &RATE_HZ.to_string()]);
        command.args(["--runtime-dir", runtime_dir, "--state-dir", runtime_dir]).args(more);
        Daemon(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the daemon starts"))
    };
    let core = if rt::cpu_exists(1) { "1" } else { "0" };
    let mut measured = start("measured", &["--poll-mode", mode, "--cpu", core]);
    let _asker = start("asker", &["--poll-mode", "block", "--cpu", "0"]);
    thread::sleep(Duration::from_secs(SECONDS));
    let pid = nix::unistd::Pid::from_raw(measured.0.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).expect("it is our child");
    let output = measured.0.stdout.take().expect("it was piped");
    let row = BufReader::new(output).lines().map_while(Result::ok).find(|l| l.starts_with("turn-around"));
    let row = row.expect("the daemon prints its histograms on SIGUSR1");
    // After the name: count, min, p50, p90, p99, p99.9, max, each of the last six with its unit.
    let words: Vec<&str> = row.rsplit(')').next().expect("the row has figures").split_whitespace().collect();
    let span = |n: usize| {
        let unit = match words[2 + 2 * n] {
            "ns" => 1e-3,
            "us" => 1.0,
            "ms" => 1e3,
            other => panic!("{other} is no unit of a latency"),
        };
        words[1 + 2 * n].parse::<f64>().expect("a figure") * unit
    };
    (span(1), span(3))
}

/// A daemon that ends with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().expect("it is our child");
        self.0.wait().expect("it was killed");
    }
}
