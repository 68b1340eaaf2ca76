//! From settings to a running node: opens what a node needs, in the order in which it may fail, starts the threads, and
//! stays in the control thread until the end.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::Context;
use crossbeam_channel::bounded;
use mio::{Poll, Waker};
use tracing::{debug, info, warn};

use super::answers::{Answers, Constants};
use super::control::{self, Control, Threads};
use super::discipline::{self, Discipline};
use super::hot::{self, Hot, HotReport, WAKER};
use super::keeper::Keeper;
use super::kept::drift_path;
use super::machine::MachineWatch;
use super::measuring::Measuring;
use super::notes::notes;
use super::poll_mode::{self, Chosen};
use super::preflight::preflight;
use super::privileges::{self, Needs, Plan};
use super::reload::{Configuration, Reloading, Reread};
use super::ring::ring;
use super::snapshot::NodeSnapshot;
use super::stamping::{self, ShownCard, Stamping, Wanted};
use super::{ClockChoice, KeySource, PollMode, Settings, Timestamps};
use super::{logging, outputs, reload};
use crate::clock::{Clock, Commands, Machine, Oscillator, Rivals, SYSTEM_LOCK_PATH, SystemClock, VirtualClock};
use crate::discovery::{self, Dirs, Discovery, StaticPeer, prepare_dir, prepare_dir_for};
use crate::exchange::{self, Protocol, Roster};
use crate::flow::{Claim, Correction, Mapping, Role, StampClass};
use crate::limits::{PEERS_MAX, TICK_NS};
use crate::pipeline::{self, Algorithm, Pipeline};
use crate::report::MeasurementLog;
use crate::sys::caps::{self, Account};
use crate::sys::nic::KernelNics;
use crate::sys::random::Entropy;
use crate::sys::rt;
use crate::sys::seqlock::seqlock;
use crate::sys::socket::{SocketOptions, StampWish, StampedSocket, StampsGranted};
use crate::sys::time::raw_now;
use crate::unit::{BootId, ClusterId, Name, NodeId, VirtualTime};
use crate::wire::Identity;

/// Why a node did not start because of what it was told; one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Sockets reachable from elsewhere need a key that was handed out on purpose.
    #[error(
        "listening on {0} needs a key: make one with `llts keygen --out FILE`, copy it to every node, and pass \
             --key-file FILE"
    )]
    NoKey(IpAddr),
    /// There is nobody to become.
    #[error("there is no user called {0} on this machine: make one with `useradd --system {0}`, or leave --user out")]
    NoUser(String),
    /// Other time daemons run, and that was to end it.
    #[error("{0}, and --on-conflict is refuse: stop it, or use --clock virtual or --on-conflict warn")]
    Rivals(String),
    /// A peer's name cannot be a name.
    #[error(transparent)]
    Peer(#[from] discovery::PeerNameError),
}

/// Reads of the socket poll the card's queue for this long in the modes that spin, us: as long as hybrid spins.
const BUSY_POLL_US: i32 = (crate::limits::HYBRID_SPIN_NS / 1_000) as i32;

/// Stack of the hot and the discipline thread, bytes; locked in memory with `--mlock`, so not more than is needed.
const STACK_BYTES: usize = 256 * 1024;

/// Runs a node until a signal ends it.
///
/// # Errors
/// What it was told cannot be done, or a thread failed; one sentence.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    start(settings, None, None)
}

/// Runs a node until a signal ends it; SIGHUP reads the configuration again.
///
/// # Errors
/// As [`run`].
pub fn run_reloadable(first: Reread, configuration: Box<dyn Configuration>) -> anyhow::Result<()> {
    let Reread { settings, said, file } = first;
    start(settings, Some((configuration, said)), file.as_deref())
}

fn start(
    settings: Settings,
    configuration: Option<(Box<dyn Configuration>, BTreeMap<String, String>)>,
    file: Option<&Path>,
) -> anyhow::Result<()> {
    let (log, log_limit) = logging::start(&settings.log_level, settings.log_format)?;
    if let Some(file) = file {
        info!("options are read from {}", file.display());
    }
    preflight(&settings).allowed()?;
    let account = account(&settings)?;
    let usual = Dirs::of_this_user();
    let (runtime_dir, runtime_usable) = runtime_dir(&settings, usual.runtime, account.as_ref());
    let state_dir = settings.state_dir.clone().unwrap_or(usual.state);
    if let Err(error) = prepare(&state_dir, account.as_ref()) {
        warn!("{error}; going on without: nothing will be found again after a restart");
    }
    if !settings.measurements.logs.is_empty() {
        outputs::prepare_log_dir(&outputs::log_dir(&settings, &state_dir), account.as_ref());
    }
    // A key file may be root's alone; a user's own key is that of the user who is to be.
    let keys = match (&account, &settings.keys) {
        (Some(_), KeySource::LocalUser) => None,
        _ => Some(keys_of(&settings, &runtime_dir)?),
    };
    let algorithm = Algorithm::named(&settings.algorithm)?;
    let peers = StaticPeer::parse_list(&settings.peers).map_err(StartError::Peer)?;

    let mut socket = StampedSocket::open(settings.listen, &SocketOptions::default())?;
    let listen = socket.local_address();
    let Stamping { cards, shown, guard } = set_up_cards(&settings, listen, &peers)?;
    let granted = socket.enable_stamps(stamp_wish(settings.timestamps, &shown))?;
    let promise = promise(settings.timestamps, granted);
    let epoch_raw_ns = raw_now();
    let (mut clock, oscillator) = open_clock(settings.clock, epoch_raw_ns)?;
    let steers_system = settings.clock == ClockChoice::System && settings.role == Role::Peer;
    if steers_system {
        meet_rivals();
    }
    let record = outputs::open_record(&settings)?;
    let chosen = choose_mode(&settings);
    tune(&socket, &chosen, settings.cpu);
    let locks_memory = settings.mlock && lock_memory();
    let needs =
        Needs { system_clock: settings.clock == ClockChoice::System, restores_card: guard.has_work(), locks_memory };
    let plan = needs.plan();
    if let Some(account) = &account {
        if settings.clock == ClockChoice::System {
            privileges::hand_over(Path::new(SYSTEM_LOCK_PATH), account);
        }
        caps::become_account(account, plan.process)
            .with_context(|| format!("the process cannot become the user {}", account.name))?;
        info!("running as user {}", account.name);
    }
    let keys = match keys {
        Some(keys) => keys,
        None => keys_of(&settings, &runtime_dir)?,
    };

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
        let drift_path = drift_path(settings.drift_file.as_deref(), &state_dir);
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
        keys: keys.ring.clone(),
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
    let (cards_writer, cards_reader) = seqlock(cards.times());
    let (commands_writer, commands_reader) = seqlock(Commands::default());
    let (report_writer, report_reader) = seqlock(HotReport::default());
    let (state_writer, state_reader) = seqlock(NodeSnapshot::new(&pipeline, clock.segments()));
    let (ring_sender, ring_receiver) = ring();
    let (live_writer, live) = seqlock(reload::Live::of(&settings));
    let (reloading, hot_keys) = Reloading::new(configuration, &settings, &runtime_dir, &keys, log, live_writer);
    let (note_sender, note_receiver) = notes();
    let (hot_wanted_sender, hot_wanted) = bounded(1);
    let (hot_latencies_sender, hot_latencies) = bounded(1);
    let (discipline_wanted_sender, discipline_wanted) = bounded(1);
    let (discipline_latencies_sender, discipline_latencies) = bounded(1);
    let stop = Arc::new(AtomicBool::new(false));
    let clock_source_changed = Arc::new(AtomicBool::new(false));
    let clock_set_by_others = Arc::new(AtomicBool::new(false));
    let poll = Poll::new()?;
    let hot_waker = Waker::new(poll.registry(), WAKER)?;

    let hot_lines = hot::Lines {
        claim: claim_reader,
        roster: roster_reader,
        cards: (!cards.is_empty()).then_some(cards_reader),
        commands: steers_system.then_some(commands_reader),
        keys: hot_keys,
        report: report_writer,
        ring: ring_sender,
        latencies_wanted: hot_wanted,
        latencies: hot_latencies_sender,
        stop: Arc::clone(&stop),
    };
    let hot = Hot::new(socket, protocol, promise, oscillator, chosen.mode, poll, hot_lines)?;
    let discipline_lines = discipline::Lines {
        ring: ring_receiver,
        claim: claim_writer,
        cards: cards_writer,
        commands: commands_writer,
        tuning: live,
        state: state_writer,
        notes: note_sender,
        latencies_wanted: discipline_wanted,
        latencies: discipline_latencies_sender,
        stop: Arc::clone(&stop),
        clock_source_changed: Arc::clone(&clock_source_changed),
        clock_set_by_others: Arc::clone(&clock_set_by_others),
    };
    let measuring = outputs::open_measuring(&settings, &state_dir, &plan)?;
    let stamps = if shown.is_empty() { promise.as_str() } else { "the card where it can" };
    let constants = Constants {
        listen,
        clock: clock.kind(),
        epoch_raw_ns,
        oscillator,
        poll_mode: chosen.clone(),
        cards: shown,
        lost_lines: measuring.as_ref().map(Measuring::lost_lines).unwrap_or_default(),
    };
    let answers = Answers::new(&settings, constants, state_reader, report_reader);
    let discovery = discovery::Config {
        listen,
        name: settings.name.clone(),
        cluster: settings.cluster.clone(),
        peers,
        runtime_dir: (runtime_usable && settings.discovery).then(|| runtime_dir.clone()),
        mdns: settings.discovery,
    };
    let (discovery, warnings) = start_discovery(discovery, &plan)?;
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
        log_limit,
        measuring,
    };
    let socket_path = socket_path(&settings, &runtime_dir, runtime_usable, listen.port());
    let tells_exchanges = record.is_some() || settings.measurements.logs.contains(&MeasurementLog::Exchanges);
    let endpoint = outputs::open_endpoint(settings.metrics, &answers, &plan)?;
    let machine = MachineWatch::new(steers_system, clock_source_changed, clock_set_by_others);
    let control = Control::new(
        discovery,
        socket_path.as_deref(),
        answers,
        record,
        reloading,
        endpoint,
        machine,
        keeper,
        control_lines,
    )?;

    info!(
        "{} of cluster {} listens on {listen} as {}; clock {}, algorithm {}, stamps by {}; poll mode {}: {}",
        settings.name,
        settings.cluster,
        settings.role.as_str(),
        clock.kind(),
        settings.algorithm,
        stamps,
        chosen.mode.as_str(),
        chosen.reason
    );
    let on_conflict = settings.on_conflict;
    let discipline =
        Discipline::new(pipeline, clock, cards, discipline_lines, settings.rate_hz, tells_exchanges, on_conflict);
    // Threads inherit what this one has, so it gives up first what none of them needs.
    keep(plan.process, plan.process);
    let no_new = caps::forbid_new_privileges();
    if let Err(error) = no_new {
        warn!("programs started by this one could gain privileges: {error}");
    }
    let threads = spawn(&settings, hot, discipline, plan)?;
    keep(plan.control_permitted, plan.control);
    let ended = control.run(threads);
    // The cards are put back once nobody needs their stamps.
    drop(guard);
    ended
}

fn keys_of(settings: &Settings, runtime_dir: &Path) -> anyhow::Result<reload::Keys> {
    reload::keys(&settings.keys, &settings.cluster, settings.listen.ip(), runtime_dir)
}

/// The user that the process is to become.
pub(super) fn account(settings: &Settings) -> anyhow::Result<Option<Account>> {
    let Some(name) = &settings.user else { return Ok(None) };
    caps::account(name).map(Some).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StartError::NoUser(name.clone()).into(),
        _ => anyhow::Error::new(error).context(format!("the user {name} cannot be looked up")),
    })
}

/// Makes a folder ready for this user, or for the one that the process will become.
fn prepare(path: &Path, account: Option<&Account>) -> Result<(), discovery::DirError> {
    match account {
        Some(account) => prepare_dir_for(path, account.uid, account.gid),
        None => prepare_dir(path),
    }
}

fn set_up_cards(settings: &Settings, listen: SocketAddr, peers: &[StaticPeer]) -> anyhow::Result<Stamping> {
    let known: Vec<_> = peers.iter().filter_map(StaticPeer::literal).collect();
    Ok(stamping::set_up(&mut KernelNics, &wanted_stamps(settings, listen, peers.len(), &known))?)
}

/// The stamps that a node wants which has so many peers, some of `known` addresses.
pub(super) fn wanted_stamps<'a>(
    settings: &'a Settings,
    listen: SocketAddr,
    peers: usize,
    known: &'a [SocketAddr],
) -> Wanted<'a> {
    Wanted {
        timestamps: settings.timestamps,
        interfaces: &settings.interfaces,
        phc: settings.phc.as_deref(),
        listen,
        peers: known,
        more_peers: known.len() < peers || settings.discovery,
    }
}

/// The stamps to ask the kernel for.
fn stamp_wish(timestamps: Timestamps, cards: &[ShownCard]) -> StampWish {
    match timestamps {
        Timestamps::User => StampWish::User,
        _ if cards.is_empty() => StampWish::Kernel,
        _ => StampWish::Card,
    }
}

/// The class of transmit stamps that peers are told to wait for. A card's is promised when its clock is known.
fn promise(timestamps: Timestamps, granted: StampsGranted) -> StampClass {
    if granted.kernel_transmit {
        return StampClass::Kernel;
    }
    if timestamps != Timestamps::User {
        warn!(
            "the kernel gives no transmit stamps here: departures are read by the program, which is some 10 us worse"
        );
    }
    StampClass::User
}

/// Tells the kernel how the socket is read. Refusals cost response time, nothing else.
fn tune(socket: &StampedSocket, chosen: &Chosen, cpu: Option<usize>) {
    if let Some(cpu) = cpu
        && let Err(error) = socket.incoming_cpu(cpu)
    {
        warn!("packets may be delivered on another core than {cpu}: {error}");
    }
    if chosen.mode != PollMode::Busy {
        return;
    }
    match socket.busy_poll(BUSY_POLL_US) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            warn!("reads wait for the card's interrupt ({error}): grant CAP_NET_ADMIN for SO_BUSY_POLL");
        }
        Err(error) => warn!("reads wait for the card's interrupt: {error}"),
        // What it adds is small, and old kernels do not have it.
        Ok(()) => {
            if let Err(error) = socket.prefer_busy_poll() {
                info!("the card's interrupts stay on while it is polled: {error}");
            }
        }
    }
}

/// Locks the memory; true if what is allocated later needs the privilege too.
fn lock_memory() -> bool {
    let unlimited = rt::unlimit_locked_memory().is_ok();
    if let Err(error) = rt::lock_memory() {
        warn!("memory is not locked ({error}): a page that was swapped out can delay an answer");
        return false;
    }
    !unlimited
}

/// Starts discovery from a thread that has no privileges, so that the threads it starts have none.
fn start_discovery(config: discovery::Config, plan: &Plan) -> anyhow::Result<(Discovery, Vec<String>)> {
    let helpers = plan.helpers;
    let start = move || {
        keep(helpers, helpers);
        Discovery::start(config)
    };
    let starter = thread::Builder::new().name("llts-discovery".to_owned()).spawn(start)?;
    Ok(starter.join().map_err(|_| anyhow::anyhow!("the start of discovery panicked"))??)
}

/// Keeps these privileges in the calling thread, or says that it has more than it should.
pub(super) fn keep(permitted: caps::CapabilitySet, effective: caps::CapabilitySet) {
    if let Err(sentence) = privileges::keep(permitted, effective) {
        warn!("{sentence}");
    }
}

/// The folder for sockets, announcements and the user's key, and whether it can be used: as told, or the usual one with
/// a warning.
fn runtime_dir(settings: &Settings, usual: PathBuf, account: Option<&Account>) -> (PathBuf, bool) {
    let told = settings.runtime_dir.clone().unwrap_or_else(|| usual.clone());
    let error = match prepare(&told, account) {
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
    if told != usual && prepare(&usual, account).is_ok() {
        warn!("{error}; using {} instead", usual.display());
        return (usual, true);
    }
    warn!("{error}; going on without a status socket and without finding nodes on this machine");
    (told, false)
}

/// Starts the two threads. Each pins and raises itself: threads inherit the affinity of the one that makes them.
fn spawn(settings: &Settings, hot: Hot, discipline: Discipline, plan: Plan) -> anyhow::Result<Threads> {
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
        keep(plan.hot, plan.hot);
        hot.run()
    };
    let run_discipline = move || {
        rt::name_thread("llts-discipline");
        // It wants the CPU 32 times a second for some 50 us: before a hot thread that spins on the same core, if that
        // is real-time, else before whatever else the machine does.
        let raised = match fifo {
            Some(priority) => rt::set_fifo(i32::from(priority.saturating_add(1).min(99))),
            None => rt::go_first(),
        };
        if let Err(error) = raised {
            debug!("the discipline thread keeps its normal priority ({error}): its ticks come late on a busy machine");
        }
        keep(plan.discipline, plan.discipline);
        discipline.run()
    };
    let builder = || thread::Builder::new().stack_size(STACK_BYTES);
    let hot = builder().spawn(run_hot).context("cannot start the hot thread")?;
    let discipline = builder().spawn(run_discipline).context("cannot start the discipline thread")?;
    Ok(Threads { hot, discipline })
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
fn meet_rivals() {
    let rivals = Rivals::of_this_machine();
    if !rivals.is_empty() {
        warn!("{rivals}: if it steers the system clock too, the two will pull at it; stop it, or use --clock virtual");
    }
}

/// The rate of a warm start: nothing is known yet but how the oscillator runs.
fn first_rate(rate: f64) -> Correction {
    Correction { rate, step_ns: 0, sigma_ns: f64::INFINITY, bound_ns: f64::INFINITY, synchronised: false }
}

fn choose_mode(settings: &Settings) -> Chosen {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let chosen = poll_mode::choose(settings.poll_mode, settings.cpu, &rt::isolated_cpus(), cores);
    if chosen.mode == PollMode::Busy && settings.cpu.is_none() {
        warn!("busy polling on a core that others use is slower than blocking: name one with --cpu N");
    }
    chosen
}

/// Where the status socket is, or would be in a runtime folder that is usable.
pub(super) fn socket_path(settings: &Settings, runtime_dir: &Path, usable: bool, port: u16) -> Option<PathBuf> {
    settings.socket.clone().or_else(|| usable.then(|| runtime_dir.join(format!("llts-{port}.sock"))))
}
