//! The control thread: signals, the status socket, discovery, logs and files. Everything slow lives here, and nothing
//! here can hold up the other two threads.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;
use tracing::{Level, error, info, warn};

use super::answers::{Answers, Listed};
use super::discipline::DisciplineEnd;
use super::endpoint::Endpoint;
use super::keeper::Keeper;
use super::log_limit::{LogLimit, TELLING};
use super::machine::MachineWatch;
use super::measuring::Measuring;
use super::notes::Note;
use super::recollection::Recollection;
use super::reload::Reloading;
use super::service::Service;
use super::status_socket::StatusSocket;
use crate::clock::{CardEvent, PhcEvent};
use crate::discovery::Discovery;
use crate::exchange::Roster;
use crate::flow::{Leap, NodeState};
use crate::report::{DisciplineLatencies, HotLatencies, Latencies, RecordWriter, print_latencies};
use crate::sys::seqlock::SeqWriter;
use crate::sys::time::monotonic_now;

/// The control thread's ends of what it shares.
pub(super) struct Lines {
    pub roster: SeqWriter<Roster>,
    pub notes: Receiver<Note>,
    pub hot_latencies_wanted: Sender<Box<HotLatencies>>,
    pub hot_latencies: Receiver<Box<HotLatencies>>,
    pub discipline_latencies_wanted: Sender<Box<DisciplineLatencies>>,
    pub discipline_latencies: Receiver<Box<DisciplineLatencies>>,
    pub stop: Arc<AtomicBool>,
    /// Ends a blocked wait of the hot thread.
    pub hot_waker: Waker,
    /// What was logged too often to be shown.
    pub log_limit: Arc<LogLimit>,
    /// The measurement logs, if there are to be any.
    pub measuring: Option<Measuring>,
}

/// The other two threads.
pub(super) struct Threads {
    pub hot: JoinHandle<io::Result<()>>,
    pub discipline: JoinHandle<Result<(), DisciplineEnd>>,
}

pub(super) struct Control {
    poll: Poll,
    signals: Signals,
    discovery: Discovery,
    socket: Option<StatusSocket>,
    answers: Answers,
    record: Option<RecordWriter>,
    /// Interfaces by the number of their card's clock.
    card_names: Vec<(usize, String)>,
    /// What is known to be amiss with the cards has been told.
    card_silence_told: bool,
    reloading: Reloading,
    /// Descriptors of discovery that wake this thread.
    watched: Vec<RawFd>,
    lines: Lines,
    listed: Listed,
    endpoint: Option<Endpoint>,
    recollection: Recollection,
    service: Service,
    collecting: Option<Collecting>,
    /// When histograms were last asked for.
    collected_ns: i64,
    /// A signal wants them printed.
    print_wanted: bool,
    /// What has come since they were last printed.
    unprinted: Box<Latencies>,
    /// Histograms that were emptied, to be filled again.
    spare: Option<(Box<HotLatencies>, Box<DisciplineLatencies>)>,
    machine: MachineWatch,
    /// The last word about leap seconds.
    leap_told: Option<Leap>,
    keeper: Option<Keeper>,
}

/// Histograms asked for, as far as they have come.
struct Collecting {
    since_ns: i64,
    hot: Option<Box<HotLatencies>>,
    discipline: Option<Box<DisciplineLatencies>>,
}

const SIGNALS: Token = Token(0);
const DISCOVERY: Token = Token(1);
const CLOCK_SET: Token = Token(2);
/// The status socket's token; its clients have the ones after it.
const STATUS: Token = Token(3);
/// Notes are looked for this often.
const TURN: Duration = Duration::from_millis(250);
/// With an endpoint for monitoring, and while somebody asks for them at the socket, histograms are asked for this
/// often, ns: however often they are read.
const COLLECT_INTERVAL_NS: i64 = 1_000_000_000;
/// Histograms that have not come by then are given up, ns.
const LATENCIES_PATIENCE_NS: i64 = 2_000_000_000;

impl Control {
    /// Registers everything that can wake this thread. `socket_path` is `None` where no status socket can be had.
    #[expect(
        clippy::too_many_arguments,
        reason = "everything slow lives on this thread, and each comes from elsewhere"
    )]
    pub fn new(
        mut discovery: Discovery,
        socket_path: Option<&std::path::Path>,
        answers: Answers,
        record: Option<RecordWriter>,
        reloading: Reloading,
        endpoint: Option<Endpoint>,
        machine: MachineWatch,
        keeper: Option<Keeper>,
        lines: Lines,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        if let Some(fd) = machine.fd() {
            poll.registry().register(&mut SourceFd(&fd), CLOCK_SET, Interest::READABLE)?;
        }
        let socket = match socket_path {
            None => None,
            Some(path) => match StatusSocket::bind(path, STATUS, poll.registry()) {
                Ok(socket) => Some(socket),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    anyhow::bail!("{} is no socket and is left alone: give another --socket", path.display())
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    anyhow::bail!(
                        "another llts daemon answers at {}: give this one another --port or --socket",
                        path.display()
                    )
                }
                Err(error) => {
                    warn!("no status socket at {}: {error}; `llts status` cannot ask this node", path.display());
                    None
                }
            },
        };
        let card_names = answers.card_names();
        let service = Service::here(monotonic_now(), answers.pulse());
        let first = discovery.poll(monotonic_now());
        let mut control = Control {
            poll,
            signals,
            discovery,
            socket,
            answers,
            record,
            card_names,
            card_silence_told: false,
            reloading,
            watched: Vec::new(),
            lines,
            listed: Listed::default(),
            endpoint,
            recollection: Recollection::new(monotonic_now()),
            service,
            collecting: None,
            collected_ns: monotonic_now(),
            print_wanted: false,
            unprinted: Box::default(),
            spare: None,
            machine,
            leap_told: None,
            keeper,
        };
        control.watch_discovery()?;
        control.take_changes(first);
        Ok(control)
    }

    /// Lets every descriptor of discovery wake this thread.
    fn watch_discovery(&mut self) -> io::Result<()> {
        for fd in self.discovery.fds().map(|fd| fd.as_raw_fd()) {
            if !self.watched.contains(&fd) {
                self.poll.registry().register(&mut SourceFd(&fd), DISCOVERY, Interest::READABLE)?;
                self.watched.push(fd);
            }
        }
        Ok(())
    }

    fn reload(&mut self, now_ns: i64) {
        self.service.reloading();
        if let Some(measuring) = &self.lines.measuring {
            measuring.reopen();
        }
        let keys_changed = self.reloading.reload(&mut self.discovery);
        if let Err(error) = self.watch_discovery() {
            warn!("names of peers are resolved late: {error}");
        }
        if keys_changed {
            // As for the roster.
            let _late_at_worst = self.lines.hot_waker.wake();
        }
        let changes = self.discovery.poll(now_ns);
        self.take_changes(changes);
        self.service.reloaded();
    }

    /// Runs until a signal or the end of another thread; then ends those threads.
    pub fn run(mut self, threads: Threads) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(64);
        self.service.ready();
        let ended = loop {
            let now_ns = monotonic_now();
            let until_discovery_ns = self.discovery.next_deadline().saturating_sub(now_ns).max(0);
            let wait = TURN.min(Duration::from_nanos(until_discovery_ns as u64));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let now_ns = monotonic_now();
            if self.serve(&events, now_ns) {
                break Ended::BySignal;
            }
            if self.discovery.next_deadline() <= now_ns || events.iter().any(|e| e.token() == DISCOVERY) {
                let changes = self.discovery.poll(now_ns);
                self.take_changes(changes);
            }
            self.take_notes();
            if let Some(measuring) = &mut self.lines.measuring {
                measuring.look(now_ns, || self.answers.status());
            }
            self.watch_card_stamps();
            self.machine.look(now_ns);
            if let Some(keeper) = &mut self.keeper {
                keeper.keep(&self.answers.node_view(), now_ns);
            }
            self.recollection.look(now_ns, &self.answers);
            self.collect_latencies(now_ns);
            self.service.watch(now_ns, self.answers.pulse());
            self.tell_hidden(now_ns, false);
            if let Some(socket) = &mut self.socket {
                socket.expire(self.poll.registry(), now_ns);
            }
            if threads.hot.is_finished() || threads.discipline.is_finished() {
                break Ended::ByThread;
            }
        };
        self.end(threads, &ended)
    }

    /// Serves what is ready; true if a signal asks to stop.
    fn serve(&mut self, events: &Events, now_ns: i64) -> bool {
        for event in events {
            match event.token() {
                SIGNALS => {
                    let pending: Vec<_> = self.signals.pending().collect();
                    for signal in pending {
                        match signal {
                            SIGUSR1 => self.print_wanted = true,
                            SIGHUP => self.reload(now_ns),
                            _ => return true,
                        }
                    }
                }
                DISCOVERY => {}
                CLOCK_SET => self.machine.clock_set(now_ns),
                token => {
                    let (answers, past, registry) = (&self.answers, &mut self.recollection, self.poll.registry());
                    let mut answer =
                        |question: &str| answers.answer(question).or_else(|| past.answer(question, now_ns));
                    if let Some(socket) = &mut self.socket {
                        socket.on_ready(token, registry, now_ns, &mut answer);
                    }
                }
            }
        }
        false
    }

    fn take_changes(&mut self, changes: crate::discovery::Changes) {
        for message in changes.messages {
            warn!("{message}");
        }
        let unresolved = self.discovery.unresolved();
        if unresolved != self.listed.unresolved {
            self.listed.unresolved = unresolved;
            self.tell_listed();
        }
        if changes.added.is_empty() && changes.removed.is_empty() {
            return;
        }
        for candidate in changes.removed {
            info!("no longer looking for a peer at {} ({})", candidate.address, candidate.label);
            self.listed.addresses.remove(&candidate.address);
        }
        for candidate in changes.added {
            if self.listed.addresses.insert(candidate.address, candidate.label.clone()).is_none() {
                info!("looking for a peer at {} ({})", candidate.address, candidate.label);
            }
        }
        let (roster, left_over) = Roster::new(self.listed.addresses.keys().copied());
        if left_over > 0 {
            warn!("{left_over} addresses more than this node can keep as peers: they are left out");
        }
        self.lines.roster.write(roster);
        // A blocked hot thread looks at its snapshots when it wakes; if it cannot be woken it does so twice a second.
        let _late_at_worst = self.lines.hot_waker.wake();
        self.tell_listed();
    }

    fn tell_listed(&mut self) {
        self.answers.set_listed(&self.listed);
        if let Some(endpoint) = &self.endpoint {
            endpoint.set_listed(&self.listed);
        }
    }

    /// Says how much was not said.
    fn tell_hidden(&self, now_ns: i64, all: bool) {
        for hidden in self.lines.log_limit.hidden(now_ns, all) {
            match hidden.level {
                Level::ERROR => error!(target: TELLING, "{hidden}"),
                Level::WARN => warn!(target: TELLING, "{hidden}"),
                _ => info!(target: TELLING, "{hidden}"),
            }
        }
    }

    fn take_notes(&mut self) {
        while let Ok(note) = self.lines.notes.try_recv() {
            self.recollection.note(&note);
            if let (Some(endpoint), Some((gravity, text))) = (&self.endpoint, note.sentence()) {
                endpoint.tell(gravity, text);
            }
            match note {
                Note::Arrived(peer) => {
                    info!("peer {} at {} has proved itself", peer.name, peer.address);
                    if let Some(measuring) = &mut self.lines.measuring {
                        measuring.arrived(&peer);
                    }
                }
                Note::ObserverGone(peer) => {
                    info!("{} at {} observes no longer", peer.name, peer.address);
                }
                Note::Silent(peer) => warn!("peer {} at {} has fallen silent", peer.name, peer.address),
                Note::Returned(peer) => info!("peer {} at {} is heard again", peer.name, peer.address),
                Note::Left(peer) => info!("peer {} at {} has given its place up", peer.name, peer.address),
                Note::State { from, to, used } => {
                    log_state(from, to, used);
                    self.service.state(to, used);
                }
                Note::Stepped(by_ns) => {
                    warn!("stepped the clock by {:+.6} s to the cluster's time", by_ns as f64 * 1e-9);
                    self.machine.explained(monotonic_now());
                }
                Note::ForeignSlewEnded(slew) => {
                    warn!("{slew}");
                    self.machine.explained(monotonic_now());
                }
                // Told at every tick to a clock to which somebody else keeps telling something else.
                Note::LeapAnnounced(leap) if self.leap_told.replace(leap) == Some(leap) => {}
                Note::LeapAnnounced(Leap::None) => info!("no leap second is announced to the clock any more"),
                Note::LeapAnnounced(leap) => info!(
                    "references announce that a second is {} at the end of this UTC day: the clock has been told",
                    if leap == Leap::Insert { "inserted" } else { "left out" }
                ),
                Note::LeapTaken(leap) => {
                    info!("the clock has taken a leap second: {:+} s, as announced", leap.step_s());
                    self.machine.explained(monotonic_now());
                }
                Note::Interference(interference) => self.machine.interference(interference, monotonic_now()),
                Note::Upheaval(why) => {
                    warn!(
                        "{why}: all that was known of the peers is dropped, nothing is promised, and they are met anew"
                    );
                    self.machine.explained(monotonic_now());
                }
                Note::HeldUp(ns) => warn!(
                    "this process was held up for {:.1} s: nothing is promised until peers have been heard again",
                    ns as f64 * 1e-9
                ),
                Note::ClockFailed(code) => {
                    error!("the clock refused a command: {}", io::Error::from_raw_os_error(code));
                }
                Note::Card(event) => self.log_card(&event),
                Note::Exchanged(exchange) => {
                    if let Some(measuring) = &mut self.lines.measuring {
                        let utc_ns = self.answers.real_at(exchange.local_received);
                        measuring.exchange(utc_ns, &exchange, &self.answers.node_view().mapping);
                    }
                    if let Some(record) = &mut self.record
                        && let Err(error) = record.write(&exchange)
                    {
                        error!("recording has stopped: {error}");
                        self.record = None;
                    }
                }
            }
        }
    }

    fn log_card(&self, event: &CardEvent) {
        let behind = self.card_names.iter().filter(|(clock, _)| *clock == usize::from(event.clock));
        let names = behind.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
        const UNTIL: &str = "kernel stamps are used until its time is known again, and what it stamped is forgotten";
        match event.event {
            PhcEvent::Ready => info!("the clock of the card of {names} is known: its stamps are used"),
            PhcEvent::Jumped(by_ns) => {
                warn!("the clock of the card of {names} was set or reset (by {:+.6} s): {UNTIL}", by_ns * -1e-9);
            }
            PhcEvent::RateAbsurd(rate) => warn!(
                "the clock of the card of {names} runs {:+.0} ppm off this machine's: {UNTIL}",
                crate::unit::rate_to_ppm(-rate)
            ),
            PhcEvent::Gone(errno) => warn!(
                "the clock of the card of {names} does not answer ({}): {UNTIL}",
                io::Error::from_raw_os_error(errno)
            ),
        }
    }

    /// What a driver promised is compared with what came; a broken promise is told once.
    fn watch_card_stamps(&mut self) {
        if self.card_names.is_empty() || self.card_silence_told {
            return;
        }
        if let Some(sentence) = self.answers.broken_promise() {
            warn!("{sentence}");
            self.card_silence_told = true;
        }
    }

    /// Asks both threads for their histograms when somebody wants them, and takes them when they have come.
    fn collect_latencies(&mut self, now_ns: i64) {
        let regularly = self.endpoint.is_some() || self.recollection.wants_latencies(now_ns);
        let due = regularly && now_ns - self.collected_ns >= COLLECT_INTERVAL_NS;
        if self.collecting.is_none() && (self.print_wanted || due) {
            self.ask_for_latencies(now_ns);
        }
        let Some(collecting) = &mut self.collecting else { return };
        let Collecting { since_ns, hot, discipline } = collecting;
        *hot = hot.take().or_else(|| self.lines.hot_latencies.try_recv().ok());
        *discipline = discipline.take().or_else(|| self.lines.discipline_latencies.try_recv().ok());
        if hot.is_some() && discipline.is_some() {
            let (hot, discipline) = (hot.take(), discipline.take());
            self.collecting = None;
            if let (Some(hot), Some(discipline)) = (hot, discipline) {
                self.take_latencies(hot, discipline);
            }
        } else if now_ns - *since_ns > LATENCIES_PATIENCE_NS {
            warn!("a thread did not hand over its histograms within 2 s");
            (self.collecting, self.print_wanted) = (None, false);
        }
    }

    fn ask_for_latencies(&mut self, now_ns: i64) {
        // What a thread handed over too late for an earlier request is not the answer to this one.
        let _late = (self.lines.hot_latencies.try_recv(), self.lines.discipline_latencies.try_recv());
        let (hot, discipline) =
            self.spare.take().unwrap_or_else(|| (Box::new(HotLatencies::new()), Box::new(DisciplineLatencies::new())));
        // One request at a time and a channel of one place: there is room unless that thread is gone, which ends us
        // anyway.
        let _hot_gone = self.lines.hot_latencies_wanted.try_send(hot);
        let _discipline_gone = self.lines.discipline_latencies_wanted.try_send(discipline);
        let _late_at_worst = self.lines.hot_waker.wake();
        self.collecting = Some(Collecting { since_ns: now_ns, hot: None, discipline: None });
        self.collected_ns = now_ns;
    }

    fn take_latencies(&mut self, mut hot: Box<HotLatencies>, mut discipline: Box<DisciplineLatencies>) {
        self.unprinted.merge(&hot, &discipline);
        self.recollection.add(&hot, &discipline);
        if let Some(endpoint) = &self.endpoint {
            endpoint.add(&hot, &discipline);
        }
        if std::mem::take(&mut self.print_wanted) {
            print_latencies(&self.unprinted.hot, &self.unprinted.discipline);
            self.unprinted.reset();
        }
        hot.reset();
        discipline.reset();
        self.spare = Some((hot, discipline));
    }

    fn end(mut self, threads: Threads, ended: &Ended) -> anyhow::Result<()> {
        self.service.stopping();
        self.lines.stop.store(true, Ordering::Relaxed);
        // If the hot thread cannot be woken it ends half a second later.
        let _late_at_worst = self.lines.hot_waker.wake();
        let hot = threads.hot.join().map_err(|_| anyhow::anyhow!("the hot thread panicked"))?;
        let discipline = threads.discipline.join().map_err(|_| anyhow::anyhow!("the discipline thread panicked"))?;
        self.take_notes();
        self.tell_hidden(monotonic_now(), true);
        if let Some(keeper) = &mut self.keeper {
            keeper.last(&self.answers.node_view());
        }
        if let Some(record) = self.record {
            record.finish()?;
        }
        hot.map_err(|error| anyhow::anyhow!("the socket failed: {error}"))?;
        discipline?;
        match ended {
            Ended::BySignal => info!("ended"),
            Ended::ByThread => anyhow::bail!("a thread ended that should not have"),
        }
        Ok(())
    }
}

enum Ended {
    BySignal,
    ByThread,
}

/// So many peers, as people say it.
fn peers(count: u16) -> String {
    if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") }
}

fn log_state(from: NodeState, to: NodeState, used: u16) {
    let (from, name) = (from.as_str(), to.as_str());
    match to {
        NodeState::Acquire if used == 0 => info!("{from} -> {name}: somebody is heard; closing in"),
        NodeState::Acquire => info!("{from} -> {name}: closing in on {}", peers(used)),
        NodeState::Track => info!("{from} -> {name}: in agreement with {}", peers(used)),
        NodeState::Holdover if used > 0 => {
            warn!("{from} -> {name}: the references are gone; the {} left go on without them", peers(used));
        }
        NodeState::Holdover => {
            warn!("{from} -> {name}: no peer to follow; the clock runs on at its last rate and the bound grows")
        }
        NodeState::Unset => warn!("{from} -> {name}: no peer to agree with; the clock is left as it is"),
    }
}
