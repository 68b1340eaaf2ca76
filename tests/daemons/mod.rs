//! Real llts daemons on loopback for tests: started in a runtime folder of their own, asked over their status sockets,
//! always ended. No packet leaves the machine and no clock but their virtual ones is steered.
#![allow(dead_code)] // each test binary uses its own part of this

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use llts::report::{ClockView, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A folder for some daemons, removed with everything in it.
pub struct Lab {
    dir: tempfile::TempDir,
}

/// One running daemon; killed when dropped.
pub struct Daemon {
    pub name: String,
    pub port: u16,
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

/// A UDP port of loopback that nobody used a moment ago.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs the program to its end with these words.
pub fn llts(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llts")).args(words).stdin(Stdio::null()).output().unwrap()
}

/// Waits until `holds`, at most `seconds`; panics with `what` otherwise.
pub fn wait_for(what: &str, seconds: f64, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed().as_secs_f64() < seconds, "not within {seconds} s: {what}");
        sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

impl Lab {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Lab { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a daemon called `name` on a free port with these further words.
    pub fn start(&self, name: &str, words: &[&str]) -> Daemon {
        self.start_at(free_port(), name, words)
    }

    /// The same on a given port.
    pub fn start_at(&self, port: u16, name: &str, words: &[&str]) -> Daemon {
        self.spawn(self.command(port, name, words), port, name)
    }

    /// Runs a daemon that is expected to end by itself.
    pub fn run(&self, port: u16, name: &str, words: &[&str]) -> Output {
        self.command(port, name, words).output().unwrap()
    }

    /// Starts a daemon by a command that someone has prepared, in a namespace for instance; it gets the words appended.
    pub fn start_by(&self, command: Command, port: u16, name: &str, words: &[&str]) -> Daemon {
        self.spawn(self.complete(command, port, name, words), port, name)
    }

    fn spawn(&self, mut command: Command, port: u16, name: &str) -> Daemon {
        let log = self.path().join(format!("{name}.log"));
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Daemon { name: name.to_owned(), port, child, socket: self.path().join(format!("llts-{port}.sock")), log }
    }

    fn command(&self, port: u16, name: &str, words: &[&str]) -> Command {
        self.complete(Command::new(env!("CARGO_BIN_EXE_llts")), port, name, words)
    }

    fn complete(&self, mut command: Command, port: u16, name: &str, words: &[&str]) -> Command {
        command.args(["run", "--port", &port.to_string(), "--name", name, "--runtime-dir"]).arg(self.path());
        command.arg("--state-dir").arg(self.path().join("state")).args(words).stdin(Stdio::null());
        // What this machine's administrator configured is not what is tested.
        command.env("LLTS_CONFIG", "/dev/null");
        command
    }
}

impl Daemon {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn ask(&self, question: &str) -> Option<String> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(format!("{question}\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then_some(text)
    }

    pub fn status(&self) -> Option<Status> {
        self.ask("status").map(|text| serde_json::from_str(&text).unwrap())
    }

    pub fn clock(&self) -> Option<ClockView> {
        self.ask("clock").map(|text| serde_json::from_str(&text).unwrap())
    }

    pub fn used_peers(&self) -> usize {
        self.status().map_or(0, |s| s.peers.iter().filter(|p| p.state == "used").count())
    }

    pub fn counter(&self, name: &str) -> u64 {
        let status = self.status().unwrap();
        *status.counters.get(name).unwrap_or_else(|| panic!("no counter {name} in {:?}", status.counters.keys()))
    }

    /// The sum of all counters whose names begin so.
    pub fn counters(&self, prefix: &str) -> u64 {
        let status = self.status().unwrap();
        status.counters.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, n)| n).sum()
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits for the end of the process and gives its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends the process at once, as a power failure would.
    pub fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone is as good.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// True distances of every two clocks at one instant that all documents cover, ns; `None` if there is no such instant.
pub fn true_distances_ns(daemons: &[&Daemon]) -> Option<Vec<f64>> {
    let views: Vec<ClockView> = daemons.iter().map(|d| d.clock()).collect::<Option<_>>()?;
    let at_ns = views.iter().map(|v| v.raw_ns).min()?;
    let read = views.iter().map(|v| v.at(at_ns)).collect::<Option<Vec<_>>>()?;
    let pairs = (0..read.len()).flat_map(|i| (0..i).map(move |k| (i, k)));
    Some(pairs.map(|(i, k)| read[i].minus_ns(read[k]).abs()).collect())
}

/// The largest of [`true_distances_ns`].
pub fn worst_distance_ns(daemons: &[&Daemon]) -> Option<f64> {
    true_distances_ns(daemons).map(|d| d.into_iter().fold(0.0, f64::max))
}
