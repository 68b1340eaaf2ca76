//! The hot and the discipline thread allocate nothing after their start: two nodes of this process synchronise over
//! loopback while an allocator counts by thread.
#![allow(unsafe_code)] // a counting allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use llts::engine::{self, ClockChoice, KeySource, OnConflict, PollMode, Settings, Timestamps};
use llts::flow::Role;
use llts::pipeline::Limits;

/// Counts allocations by thread id.
struct Counting;

const THREADS: usize = 1 << 15;
static COUNTS: [AtomicU64; THREADS] = [const { AtomicU64::new(0) }; THREADS];

fn count() {
    // SAFETY: gettid takes no arguments and touches no memory.
    let thread = unsafe { libc::gettid() } as usize;
    COUNTS[thread % THREADS].fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above; the pointer came from System.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn settings(name: &str, port: u16, dir: &std::path::Path, poll_mode: PollMode) -> Settings {
    Settings {
        listen: ([127, 0, 0, 1], port).into(),
        name: name.to_owned(),
        cluster: "no-alloc".to_owned(),
        peers: Vec::new(),
        discovery: true,
        keys: KeySource::LocalUser,
        rate_hz: 32.0,
        rounds: 8,
        role: Role::Peer,
        algorithm: "rce".to_owned(),
        faults: None,
        clock: ClockChoice::Virtual { offset_ns: 1_000_000, drift: 20e-6 },
        timestamps: Timestamps::Auto,
        interfaces: Vec::new(),
        phc: None,
        user: None,
        limits: Limits::default(),
        on_conflict: OnConflict::Warn,
        drift_file: None,
        cpu: None,
        fifo: None,
        mlock: false,
        poll_mode,
        runtime_dir: Some(dir.to_owned()),
        state_dir: None,
        socket: None,
        metrics: None,
        record: None,
        measurements: engine::Measurements::default(),
        log_level: "warn".to_owned(),
        log_format: engine::LogFormat::Text,
    }
}

/// Allocations so far of each thread of this process that has this name.
fn allocations(name: &str) -> Vec<(usize, u64)> {
    let mut counts = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").unwrap() {
        let entry = entry.unwrap();
        let thread = entry.file_name().to_str().unwrap().parse::<usize>().unwrap();
        let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.trim() == name {
            counts.push((thread, COUNTS[thread % THREADS].load(Ordering::Relaxed)));
        }
    }
    counts.sort_unstable();
    counts
}

#[test]
fn the_hot_and_the_discipline_thread_allocate_nothing_after_their_start() {
    let dir = tempfile::tempdir().unwrap();
    let free_port = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nodes = [("a", PollMode::Block), ("b", PollMode::Hybrid), ("c", PollMode::Busy)].map(|(name, mode)| {
        let settings = settings(name, free_port(), dir.path(), mode);
        thread::spawn(move || engine::run(settings))
    });
    thread::sleep(Duration::from_millis(1_500));
    let before = (allocations("llts-hot"), allocations("llts-discipline"));
    thread::sleep(Duration::from_secs(2));
    let after = (allocations("llts-hot"), allocations("llts-discipline"));
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
    for node in nodes {
        node.join().unwrap().unwrap();
    }
    assert_eq!((before.0.len(), before.1.len()), (3, 3), "three nodes of two such threads each");
    assert_eq!(before, after);
    assert!(allocations("no_alloc").iter().chain(&before.0).any(|(_, n)| *n > 0), "the allocator counts at all");
}
