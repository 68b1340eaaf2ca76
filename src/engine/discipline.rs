//! The discipline thread: 32 times a second it drains the ring, lets the pipeline decide, steers the clock and
//! publishes what came of it. It runs at its own pace whatever arrives, allocates nothing after its start, and never
//! waits for another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::OnConflict;
use super::notes::{Note, NoteSender};
use super::reload::Live;
use super::ring::RingReceiver;
use super::snapshot::NodeSnapshot;
use crate::clock::{CardTimes, Cards, Clock, Commands, Interference};
use crate::flow::{Claim, Event, Exchange, Leap, PeerIdentity, Role};
use crate::limits::{PEERS_MAX, TICK_NS};
use crate::pipeline::{ClockRefusal, Pipeline, Upheaval};
use crate::report::DisciplineLatencies;
use crate::sys::seqlock::{SeqReader, SeqWriter};
use crate::sys::time::{monotonic_now, raw_now, sleep_until_monotonic, suspended_ns};
use crate::unit::PeerSlot;

/// A suspend shorter than this is none, ns: two readings of two clocks.
const SUSPENDED_NS_MIN: i64 = 10_000_000;
/// Readings of the time suspended before it is left to the next tick.
const SUSPENDED_TRIES: usize = 5;
/// A tick that comes so late is worth a word, ns: the pipeline promises nothing then until peers have been heard.
const HELD_UP_NS: i64 = 2_000_000_000;

/// The discipline thread's ends of what it shares.
pub struct Lines {
    /// Finished exchanges, from the hot thread.
    pub ring: RingReceiver,
    /// What this node says of itself, to the hot thread.
    pub claim: SeqWriter<Claim>,
    /// What the cards' clocks show, to the hot thread.
    pub cards: SeqWriter<CardTimes>,
    /// What the system clock is told, to the hot thread.
    pub commands: SeqWriter<Commands>,
    /// Limits that may change while it runs, from the control thread.
    pub tuning: SeqReader<Live>,
    /// What is shown, to the control thread.
    pub state: SeqWriter<NodeSnapshot>,
    /// What is logged and recorded, to the control thread.
    pub notes: NoteSender,
    /// An empty set of histograms is a request for the full one.
    pub latencies_wanted: Receiver<Box<DisciplineLatencies>>,
    /// The full ones.
    pub latencies: Sender<Box<DisciplineLatencies>>,
    /// Raised to end the thread.
    pub stop: Arc<AtomicBool>,
    /// Raised by the control thread when the kernel counts another oscillator.
    pub clock_source_changed: Arc<AtomicBool>,
    /// Raised by the control thread when the clock was set by somebody, by less than this thread can see.
    pub clock_set_by_others: Arc<AtomicBool>,
}

/// Why the discipline thread ended by itself; one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum DisciplineEnd {
    /// The clock cannot be read, or cannot be given up.
    #[error("the clock failed: {0}")]
    Clock(#[from] io::Error),
    /// The guard refuses to move the clock so far.
    #[error(transparent)]
    Refused(#[from] ClockRefusal),
    /// Somebody else is at the clock, and that was to end it.
    #[error(
        "{0}, and --on-conflict is refuse: llts no longer steers; stop whoever did that, or use --on-conflict warn"
    )]
    Conflict(Interference),
}

impl DisciplineEnd {
    /// Whether it may not go on, rather than cannot: a new start would forget why, and do what was refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, DisciplineEnd::Refused(_) | DisciplineEnd::Conflict(_))
    }
}

/// The discipline thread's state.
pub struct Discipline {
    pipeline: Pipeline,
    clock: Box<dyn Clock>,
    cards: Cards,
    lines: Lines,
    latencies: Box<DisciplineLatencies>,
    snapshot: Box<NodeSnapshot>,
    identities: Box<[Option<PeerIdentity>; PEERS_MAX]>,
    recording: bool,
    ticks_per_bit: u32,
    ticks: u32,
    heard: [bool; PEERS_MAX],
    tuning_version: u64,
    on_conflict: OnConflict,
    /// The last tick commanded the clock: what it does since is this node's doing, or somebody's interference.
    steering: bool,
    suspended_ns: Option<i64>,
}

impl Discipline {
    /// Joins a pipeline and a clock. `rate_hz` sets the pace of the reach registers; with `recording` every exchange is
    /// also handed to the control thread, to be recorded or logged; `on_conflict` says what to do when somebody
    /// else is at the clock.
    #[must_use]
    pub fn new(
        pipeline: Pipeline,
        clock: Box<dyn Clock>,
        cards: Cards,
        lines: Lines,
        rate_hz: f64,
        recording: bool,
        on_conflict: OnConflict,
    ) -> Self {
        let snapshot = Box::new(NodeSnapshot::new(&pipeline, clock.segments()));
        // Two intervals a bit: exchanges are spread on purpose, so that a single interval may hold none.
        let ticks_per_bit = (2e9 / rate_hz / TICK_NS as f64).ceil().max(2.0) as u32;
        Discipline {
            pipeline,
            clock,
            cards,
            lines,
            latencies: Box::new(DisciplineLatencies::new()),
            snapshot,
            identities: Box::new([None; PEERS_MAX]),
            recording,
            ticks_per_bit,
            ticks: 0,
            heard: [false; PEERS_MAX],
            tuning_version: 0,
            on_conflict,
            steering: false,
            suspended_ns: suspended_ns(),
        }
    }

    /// Runs until told to stop, then lets the clock go at the best rate that is known.
    ///
    /// # Errors
    /// [`DisciplineEnd`]: it may not or cannot go on; the clock has been given up as far as it could be.
    pub fn run(mut self) -> Result<(), DisciplineEnd> {
        let ended = self.keep_time();
        // A clock that somebody else steers is not pulled about once more.
        if !matches!(ended, Err(DisciplineEnd::Conflict(_)))
            && let Some(farewell) = self.pipeline.farewell()
            && let Err(error) = self.clock.apply(&farewell)
        {
            self.lines.notes.send(Note::ClockFailed(error.raw_os_error().unwrap_or(0)));
        }
        let released = self.clock.release();
        ended?;
        Ok(released?)
    }

    fn keep_time(&mut self) -> Result<(), DisciplineEnd> {
        let mut due_ns = monotonic_now();
        while !self.lines.stop.load(Ordering::Relaxed) {
            let now_ns = monotonic_now();
            self.latencies.tick_late(now_ns - due_ns);
            self.tick()?;
            due_ns += TICK_NS;
            let now_ns = monotonic_now();
            if due_ns < now_ns {
                // Held up for more than a tick (a suspend, a stopped machine): ticks that were missed are not made up
                // for.
                if now_ns - due_ns >= HELD_UP_NS {
                    self.lines.notes.send(Note::HeldUp(now_ns - due_ns));
                }
                due_ns = now_ns;
            }
            sleep_until_monotonic(due_ns);
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), DisciplineEnd> {
        let version = self.lines.tuning.version();
        if version != self.tuning_version {
            self.tuning_version = version;
            let live = self.lines.tuning.read();
            self.on_conflict = live.on_conflict;
            self.pipeline.retune(live.tuning);
        }
        while let Some(pushed) = self.lines.ring.pop() {
            self.latencies.ring(monotonic_now() - pushed.at_ns);
            self.take(&pushed.event);
        }
        self.measure_cards();
        let told = self.look_at_the_machine();
        let reading = self.clock.read()?;
        let set = self.lines.clock_set_by_others.swap(false, Ordering::Relaxed).then_some(Interference::Set);
        let interference = self.clock.interference().or(set);
        let news = self.clock.leap();
        if news.taken != Leap::None {
            self.lines.notes.send(Note::LeapTaken(news.taken));
        }
        self.pipeline.on_leap(news);
        // A clock that the kernel sets on waking, or that runs by another oscillator, is nobody's interference.
        if let Some(interference) = interference.filter(|_| self.steering && !told) {
            self.meet(interference)?;
        }
        let tick = self.pipeline.tick(reading);
        if let Some(upheaval) = tick.upheaval {
            self.snapshot.upheavals += 1;
            self.lines.notes.send(Note::Upheaval(upheaval));
        }
        self.steering = tick.correction.is_some();
        if let Some(correction) = &tick.correction {
            let applied = self.clock.apply(correction);
            if let Some(slew) = self.clock.foreign_slew_ended() {
                self.lines.notes.send(Note::ForeignSlewEnded(slew));
            }
            if let Some(commands) = self.clock.commands() {
                self.lines.commands.write(*commands);
            }
            match applied {
                Ok(()) if correction.step_ns != 0 => self.lines.notes.send(Note::Stepped(correction.step_ns)),
                Ok(()) => {}
                Err(error) => self.lines.notes.send(Note::ClockFailed(error.raw_os_error().unwrap_or(0))),
            }
        }
        if let Some(leap) = tick.leap {
            match self.clock.announce_leap(leap) {
                Ok(()) => self.lines.notes.send(Note::LeapAnnounced(leap)),
                Err(error) => self.lines.notes.send(Note::ClockFailed(error.raw_os_error().unwrap_or(0))),
            }
        }
        self.lines.claim.write(tick.claim);
        if let Some((from, to)) = tick.changed {
            self.lines.notes.send(Note::State { from, to, used: tick.verdict.used });
        }
        self.roll_reach();
        self.publish();
        if let Some(refusal) = tick.refusal {
            return Err(refusal.into());
        }
        if let Ok(mut empty) = self.lines.latencies_wanted.try_recv() {
            std::mem::swap(&mut empty, &mut self.latencies);
            // The asker waits for one answer at a time, so there is room; if it has gone, the histograms go with it.
            let _asker_gone = self.lines.latencies.try_send(empty);
        }
        Ok(())
    }

    /// Reads the cards' clocks, so that the hot thread can tell what their stamps mean. A reading is some 20 us; of a
    /// card on a slow bus it is done less often, and in the meantime its stamps are told by the last one.
    fn measure_cards(&mut self) {
        if self.cards.is_empty() {
            return;
        }
        let notes = &mut self.lines.notes;
        self.cards.measure(raw_now, |event| notes.send(Note::Card(event)));
        let times = self.cards.times();
        self.lines.cards.write(times);
        self.pipeline.set_stamp_doubt(times.doubt_ns());
    }

    /// Some of what can happen to an oscillator the machine tells. True if it has told something.
    fn look_at_the_machine(&mut self) -> bool {
        let mut told = None;
        if self.lines.clock_source_changed.swap(false, Ordering::Relaxed) {
            told = Some(Upheaval::ClockSource);
        }
        // More than one try: the first tick after a suspend is the one that must know.
        if let Some(now_ns) = (0..SUSPENDED_TRIES).find_map(|_| suspended_ns()) {
            let before_ns = self.suspended_ns.replace(now_ns).unwrap_or(now_ns);
            if now_ns - before_ns >= SUSPENDED_NS_MIN {
                told = Some(Upheaval::Suspended(now_ns - before_ns));
            }
        }
        if let Some(why) = told {
            self.pipeline.unsettle(why);
        }
        told.is_some()
    }

    /// Somebody else was at a clock that was commanded a tick ago.
    fn meet(&mut self, interference: Interference) -> Result<(), DisciplineEnd> {
        self.snapshot.interferences += 1;
        self.lines.notes.send(Note::Interference(interference));
        if self.on_conflict == OnConflict::Refuse {
            return Err(DisciplineEnd::Conflict(interference));
        }
        self.pipeline.moved_by_others();
        Ok(())
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Exchanged(exchange) => self.take_exchange(exchange),
            Event::Arrived(identity) => {
                self.pipeline.arrived(identity);
                let index = identity.slot.index();
                self.identities[index] = Some(*identity);
                (self.snapshot.reach[index], self.heard[index]) = (0, false);
                self.lines.notes.send(Note::Arrived(*identity));
            }
            // Asked now: a guest that falls silent leaves in the same breath.
            Event::Silent(slot) if self.observes(*slot) => self.note(*slot, Note::ObserverGone),
            Event::Silent(slot) => self.note(*slot, Note::Silent),
            Event::Returned(slot) => self.note(*slot, Note::Returned),
            Event::Left(slot) => {
                self.pipeline.left(*slot);
                self.note(*slot, Note::Left);
                self.identities[slot.index()] = None;
            }
        }
    }

    /// Whether the peer in this slot only observed at the last tick: such a one comes and goes as it likes.
    fn observes(&self, slot: PeerSlot) -> bool {
        self.snapshot.pipeline.peers().any(|peer| peer.identity.slot == slot && peer.role == Role::Observer)
    }

    fn note(&mut self, slot: PeerSlot, note: fn(PeerIdentity) -> Note) {
        if let Some(identity) = self.identities[slot.index()] {
            self.lines.notes.send(note(identity));
        }
    }

    fn take_exchange(&mut self, exchange: &Exchange) {
        self.pipeline.on_exchange(exchange);
        self.heard[exchange.peer.index()] = true;
        if self.recording {
            self.lines.notes.send(Note::Exchanged(*exchange));
        }
    }

    /// Every two intervals each peer's register moves by one bit: was there an exchange?
    fn roll_reach(&mut self) {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(self.ticks_per_bit) {
            return;
        }
        for (reach, heard) in self.snapshot.reach.iter_mut().zip(&mut self.heard) {
            *reach = *reach << 1 | u8::from(*heard);
            *heard = false;
        }
    }

    fn publish(&mut self) {
        self.pipeline.snapshot(&mut self.snapshot.pipeline);
        self.snapshot.segments = self.clock.segments();
        self.snapshot.cards = self.cards.views();
        self.snapshot.notes_dropped = self.lines.notes.dropped();
        self.lines.state.write(*self.snapshot);
    }
}
