//! From settings to a running node: opens what a node needs, in the order in which it may fail, starts the threads, and
//! stays in the control thread until the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::Context;
use crossbeam_channel::bounded;
use mio::{Poll, Waker};
use tracing::{info, warn};

use super::answers::{Answers, Constants};
use super::control::{self, Control, Threads};
use super::discipline::{self, Discipline};
use super::hot::{self, Hot, HotReport, WAKER};
use super::keeper::Keeper;
use super::machine::MachineWatch;
use super::notes::notes;
use super::poll_mode::{self, Chosen};
use super::ring::ring;
use super::rivals::Rivals;
use super::snapshot::NodeSnapshot;
use super::{ClockChoice, KeySource, OnConflict, PollMode, Settings};
use super::{keyfile, logging};
use crate::clock::{Clock, Machine, Oscillator, SYSTEM_LOCK_PATH, SystemClock, VirtualClock};
use crate::discovery::{self, Dirs, Discovery, LOCAL_KEY_ID, StaticPeer, load_or_create_local_key, prepare_dir};
use crate::exchange::{self, Protocol, Roster};
use crate::flow::{Claim, Correction, Mapping, Role, StampClass};
use crate::limits::{PEERS_MAX, TICK_NS};
use crate::pipeline::{self, Algorithm, Pipeline};
use crate::report::RecordWriter;
use crate::sys::random::Entropy;
use crate::sys::rt;
use crate::sys::seqlock::seqlock;
use crate::sys::socket::{SocketOptions, StampedSocket};
use crate::sys::time::raw_now;
use crate::unit::{BootId, ClusterId, KeyId, Name, NodeId, VirtualTime};
use crate::wire::{Identity, Keyring};

/// Why a node did not start because of what it was told; one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Sockets reachable from elsewhere need a key that was handed out on purpose.
    #[error(
        "listening on {0} needs a key: make one with `llts keygen --out FILE`, copy it to every node, and pass \
             --key-file FILE"
    )]
    NoKey(std::net::IpAddr),
    /// Other time daemons run, and that was to end it.
    #[error("{0}, and --on-conflict is refuse: stop it, or use --clock virtual or --on-conflict warn")]
    Rivals(String),
    /// A peer's name cannot be a name.
    #[error(transparent)]
    Peer(#[from] discovery::PeerNameError),
}

/// Stack of the hot and the discipline thread, bytes; locked in memory with `--mlock`, so not more than is needed.
const STACK_BYTES: usize = 256 * 1024;

/// Runs a node until a signal ends it.
///
/// # Errors
/// What it was told cannot be done, or a thread failed; one sentence.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    logging::start(&settings.log_level)?;
    let usual = Dirs::of_this_user();
    let (runtime_dir, runtime_usable) = runtime_dir(&settings, usual.runtime);
    let state_dir = settings.state_dir.clone().unwrap_or(usual.state);
    if let Err(error) = prepare_dir(&state_dir) {
        warn!("{error}; going on without: nothing will be found again after a restart");
    }
    let keys = keyring(&settings, &runtime_dir)?;
    let algorithm = Algorithm::named(&settings.algorithm)?;
    let peers = StaticPeer::parse_list(&settings.peers).map_err(StartError::Peer)?;

    let mut socket = StampedSocket::open(settings.listen, &SocketOptions::default())?;
    let listen = socket.local_address();
    let granted = socket.enable_stamps()?;
    let promise = if granted.kernel_transmit { StampClass::Kernel } else { StampClass::User };
    if promise == StampClass::User {
        warn!(
            "the kernel gives no transmit stamps here: departures are read by the program, which is some 10 us worse"
        );
    }
    let epoch_raw_ns = raw_now();
    let (mut clock, oscillator) = open_clock(settings.clock, epoch_raw_ns)?;
    let steers_system = settings.clock == ClockChoice::System && settings.role == Role::Peer;
    if steers_system {
        meet_rivals(settings.on_conflict)?;
    }
    let record = open_record(settings.record.as_deref(), &settings)?;
    let chosen = choose_mode(&settings)?;
    if settings.mlock
        && let Err(error) = rt::lock_memory()
    {
        warn!("memory is not locked ({error}): a page that was swapped out can delay an answer");
    }

    let mut entropy = Entropy::new()?;
    let identity = Identity {
        cluster: ClusterId::derive(&settings.cluster),
        node: NodeId::derive(&settings.cluster, &settings.name),
        boot: BootId((entropy.next_u64() >> 32) as u32),
        name: Name::new(&settings.name),
    };
    let mut keeper = None;
    let mut resumed = None;
    if steers_system {
        let drift_path = settings.drift_file.clone().unwrap_or_else(|| state_dir.join("drift"));
        let mapping_path = runtime_usable.then(|| runtime_dir.join(format!("mapping-{}", listen.port())));
        let (found, kept) = Keeper::open(drift_path, mapping_path);
        if let Some(rate) = found.rate {
            clock.apply(&first_rate(rate)).context("the clock refuses the rate it starts with")?;
        }
        (keeper, resumed) = (Some(kept), found.mapping);
    }
    let first = clock.read().context("the clock cannot be read")?;
    let by_clock = Mapping::through(first.raw, VirtualTime::from_nanos(first.clock.nanos()), clock.rate());
    let mapping = resumed.unwrap_or(by_clock);
    if resumed.is_some() {
        let ahead_ns = by_clock.offset_difference_ns(first.raw, &mapping, first.raw, 0);
        info!("goes on from the time of the run before; the clock is {:+.6} s off it", ahead_ns * 1e-9);
    }
    let claim = Claim::unset(mapping, settings.role);
    let now = oscillator.node_raw(raw_now());
    let config = exchange::Config {
        identity,
        keys,
        rate_hz: settings.rate_hz,
        rounds: settings.rounds,
        capacity: PEERS_MAX,
        claim,
        promise,
    };
    let protocol = Protocol::new(config, now);
    let config = pipeline::Config {
        algorithm,
        faults: settings.faults,
        role: settings.role,
        capacity: PEERS_MAX,
        tick_ns: TICK_NS,
        interval_ns: (1e9 / settings.rate_hz) as i64,
        limits: settings.limits,
        resumed: resumed.is_some(),
        ..pipeline::Config::new(identity.node)
    };
    let pipeline = Pipeline::new(&config, mapping, now);

    let (claim_writer, claim_reader) = seqlock(claim);
    let (roster_writer, roster_reader) = seqlock(Roster::default());
    let (report_writer, report_reader) = seqlock(HotReport::default());
    let (state_writer, state_reader) = seqlock(NodeSnapshot::new(&pipeline, clock.segments()));
    let (ring_sender, ring_receiver) = ring();
    let (note_sender, note_receiver) = notes();
    let (hot_wanted_sender, hot_wanted) = bounded(1);
    let (hot_latencies_sender, hot_latencies) = bounded(1);
    let (discipline_wanted_sender, discipline_wanted) = bounded(1);
    let (discipline_latencies_sender, discipline_latencies) = bounded(1);
    let stop = Arc::new(AtomicBool::new(false));
    let clock_source_changed = Arc::new(AtomicBool::new(false));
    let poll = Poll::new()?;
    let hot_waker = Waker::new(poll.registry(), WAKER)?;

    let hot_lines = hot::Lines {
        claim: claim_reader,
        roster: roster_reader,
        report: report_writer,
        ring: ring_sender,
        latencies_wanted: hot_wanted,
        latencies: hot_latencies_sender,
        stop: Arc::clone(&stop),
    };
    let hot = Hot::new(socket, protocol, oscillator, chosen.mode, poll, hot_lines)?;
    let discipline_lines = discipline::Lines {
        ring: ring_receiver,
        claim: claim_writer,
        state: state_writer,
        notes: note_sender,
        latencies_wanted: discipline_wanted,
        latencies: discipline_latencies_sender,
        stop: Arc::clone(&stop),
        clock_source_changed: Arc::clone(&clock_source_changed),
    };
    let constants = Constants { listen, clock: clock.kind(), epoch_raw_ns, oscillator, poll_mode: chosen.clone() };
    let answers = Answers::new(&settings, constants, state_reader, report_reader);
    let discovery = discovery::Config {
        listen,
        name: settings.name.clone(),
        cluster: settings.cluster.clone(),
        peers,
        runtime_dir: (runtime_usable && settings.discovery).then(|| runtime_dir.clone()),
        mdns: settings.discovery,
    };
    let (discovery, warnings) = Discovery::start(discovery)?;
    for warning in warnings {
        warn!("{warning}");
    }
    let control_lines = control::Lines {
        roster: roster_writer,
        notes: note_receiver,
        hot_latencies_wanted: hot_wanted_sender,
        hot_latencies,
        discipline_latencies_wanted: discipline_wanted_sender,
        discipline_latencies,
        stop,
        hot_waker,
    };
    let socket_path = socket_path(&settings, &runtime_dir, runtime_usable, listen.port());
    let recording = record.is_some();
    let machine = MachineWatch::new(steers_system, clock_source_changed);
    let control = Control::new(discovery, socket_path.as_deref(), answers, record, machine, keeper, control_lines)?;

    info!(
        "{} of cluster {} listens on {listen} as {}; clock {}, algorithm {}, stamps by {}; poll mode {}: {}",
        settings.name,
        settings.cluster,
        settings.role.as_str(),
        clock.kind(),
        settings.algorithm,
        promise.as_str(),
        chosen.mode.as_str(),
        chosen.reason
    );
    let on_conflict = settings.on_conflict;
    let discipline = Discipline::new(pipeline, clock, discipline_lines, settings.rate_hz, recording, on_conflict);
    let threads = spawn(&settings, hot, discipline)?;
    control.run(threads)
}

/// The folder for sockets, announcements and the user's key, and whether it can be used: as told, or the usual one with
/// a warning.
fn runtime_dir(settings: &Settings, usual: PathBuf) -> (PathBuf, bool) {
    let told = settings.runtime_dir.clone().unwrap_or_else(|| usual.clone());
    let error = match prepare_dir(&told) {
        Ok(()) => {
            if told == usual && nix::unistd::geteuid().is_root() {
                // Others may ask root's daemon how the clock is doing; the key and the announcements have modes of
                // their own.
                let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                if let Err(error) = std::fs::set_permissions(&told, open) {
                    warn!("other users cannot ask this node: {}: {error}", told.display());
                }
            }
            return (told, true);
        }
        Err(error) => error,
    };
    if told != usual && prepare_dir(&usual).is_ok() {
        warn!("{error}; using {} instead", usual.display());
        return (usual, true);
    }
    warn!("{error}; going on without a status socket and without finding nodes on this machine");
    (told, false)
}

/// Starts the two threads. Each pins and raises itself: threads inherit the affinity of the one that makes them.
fn spawn(settings: &Settings, hot: Hot, discipline: Discipline) -> anyhow::Result<Threads> {
    let (cpu, fifo) = (settings.cpu, settings.fifo);
    let run_hot = move || {
        rt::name_thread("llts-hot");
        if let Some(cpu) = cpu
            && let Err(error) = rt::pin(cpu)
        {
            warn!("the hot thread is not pinned: {error}");
        }
        if let Some(priority) = fifo
            && let Err(error) = rt::set_fifo(i32::from(priority))
        {
            warn!("the hot thread keeps its normal priority ({error}): grant CAP_SYS_NICE for --sched fifo:{priority}");
        }
        hot.run()
    };
    let run_discipline = move || {
        rt::name_thread("llts-discipline");
        discipline.run()
    };
    let builder = || thread::Builder::new().stack_size(STACK_BYTES);
    let hot = builder().spawn(run_hot).context("cannot start the hot thread")?;
    let discipline = builder().spawn(run_discipline).context("cannot start the discipline thread")?;
    Ok(Threads { hot, discipline })
}

fn keyring(settings: &Settings, runtime_dir: &Path) -> anyhow::Result<Keyring> {
    let mut keys = Keyring::new();
    match &settings.keys {
        KeySource::File(path) => {
            for line in keyfile::read(path)? {
                let owner = line.node.as_deref().map(|name| NodeId::derive(&settings.cluster, name));
                keys.insert(KeyId(line.id), &line.bytes, owner).with_context(|| path.display().to_string())?;
            }
        }
        KeySource::Inline(text) => {
            let line = keyfile::inline(text)?;
            keys.insert(KeyId(line.id), &line.bytes, None)?;
        }
        KeySource::LocalUser => {
            if !settings.listen.ip().is_loopback() {
                return Err(StartError::NoKey(settings.listen.ip()).into());
            }
            let key = load_or_create_local_key(runtime_dir)?;
            keys.insert(LOCAL_KEY_ID, key.as_slice(), None)?;
        }
    }
    Ok(keys)
}

fn open_clock(choice: ClockChoice, epoch_raw_ns: i64) -> anyhow::Result<(Box<dyn Clock>, Oscillator)> {
    match choice {
        ClockChoice::System => {
            let clock = SystemClock::open(Path::new(SYSTEM_LOCK_PATH))?;
            Ok((Box::new(clock), Oscillator::IDENTITY))
        }
        ClockChoice::Virtual { offset_ns, drift } => {
            let oscillator = Oscillator::new(epoch_raw_ns, offset_ns, drift);
            Ok((Box::new(VirtualClock::new(Machine, oscillator)), oscillator))
        }
    }
}

/// Says which other time daemons run, before they and this node pull at one clock.
fn meet_rivals(on_conflict: OnConflict) -> Result<(), StartError> {
    let rivals = Rivals::of_this_machine();
    if rivals.is_empty() {
        return Ok(());
    }
    if on_conflict == OnConflict::Refuse {
        return Err(StartError::Rivals(rivals.to_string()));
    }
    warn!("{rivals}: if it steers the system clock too, the two will pull at it; stop it, or use --clock virtual");
    Ok(())
}

/// The rate of a warm start: nothing is known yet but how the oscillator runs.
fn first_rate(rate: f64) -> Correction {
    Correction { rate, step_ns: 0, sigma_ns: f64::INFINITY, bound_ns: f64::INFINITY, synchronised: false }
}

fn open_record(path: Option<&Path>, settings: &Settings) -> anyhow::Result<Option<RecordWriter>> {
    let Some(path) = path else { return Ok(None) };
    let node = NodeId::derive(&settings.cluster, &settings.name);
    let writer = RecordWriter::create(path, node).with_context(|| format!("cannot record into {}", path.display()))?;
    Ok(Some(writer))
}

fn choose_mode(settings: &Settings) -> io::Result<Chosen> {
    if let Some(cpu) = settings.cpu
        && !rt::cpu_exists(cpu)
    {
        let text = format!("there is no CPU {cpu} on this machine: see /sys/devices/system/cpu/online for --cpu");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let chosen = poll_mode::choose(settings.poll_mode, settings.cpu, &rt::isolated_cpus(), cores);
    if chosen.mode == PollMode::Busy && settings.cpu.is_none() {
        warn!("busy polling on a core that others use is slower than blocking: name one with --cpu N");
    }
    Ok(chosen)
}

fn socket_path(settings: &Settings, runtime_dir: &Path, usable: bool, port: u16) -> Option<PathBuf> {
    settings.socket.clone().or_else(|| usable.then(|| runtime_dir.join(format!("llts-{port}.sock"))))
}
