//! The discipline thread: sixteen times a second it drains the ring, lets the pipeline decide, steers the clock and
//! publishes what came of it. It runs at its own pace whatever arrives, allocates nothing after its start, and never
//! waits for another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::notes::{Note, NoteSender};
use super::ring::RingReceiver;
use super::snapshot::NodeSnapshot;
use crate::clock::{CardTimes, Cards, Clock};
use crate::flow::{Claim, Event, Exchange, PeerIdentity};
use crate::limits::{PEERS_MAX, TICK_NS};
use crate::pipeline::Pipeline;
use crate::pipeline::tuning::Tuning;
use crate::report::DisciplineLatencies;
use crate::sys::seqlock::{SeqReader, SeqWriter};
use crate::sys::time::{monotonic_now, raw_now, sleep_until_monotonic};
use crate::unit::PeerSlot;

/// The discipline thread's ends of what it shares.
pub struct Lines {
    /// Finished exchanges, from the hot thread.
    pub ring: RingReceiver,
    /// What this node says of itself, to the hot thread.
    pub claim: SeqWriter<Claim>,
    /// What the cards' clocks show, to the hot thread.
    pub cards: SeqWriter<CardTimes>,
    /// Limits that may change while it runs, from the control thread.
    pub tuning: SeqReader<Tuning>,
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
}

impl Discipline {
    /// Joins a pipeline and a clock. `rate_hz` sets the pace of the reach registers; with `recording` every exchange is
    /// also handed to the control thread.
    #[must_use]
    pub fn new(
        pipeline: Pipeline,
        clock: Box<dyn Clock>,
        cards: Cards,
        lines: Lines,
        rate_hz: f64,
        recording: bool,
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
        }
    }

    /// Runs until told to stop, then lets the clock go.
    ///
    /// # Errors
    /// The clock can no longer be read.
    pub fn run(mut self) -> io::Result<()> {
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
                due_ns = now_ns;
            }
            sleep_until_monotonic(due_ns);
        }
        self.clock.release()
    }

    fn tick(&mut self) -> io::Result<()> {
        let version = self.lines.tuning.version();
        if version != self.tuning_version {
            self.tuning_version = version;
            self.pipeline.retune(self.lines.tuning.read());
        }
        while let Some(pushed) = self.lines.ring.pop() {
            self.latencies.ring(monotonic_now() - pushed.at_ns);
            self.take(&pushed.event);
        }
        self.measure_cards();
        let reading = self.clock.read()?;
        let tick = self.pipeline.tick(reading);
        if let Some(correction) = &tick.correction {
            match self.clock.apply(correction) {
                Ok(()) if correction.step_ns != 0 => self.lines.notes.send(Note::Stepped(correction.step_ns)),
                Ok(()) => {}
                Err(error) => self.lines.notes.send(Note::ClockFailed(error.raw_os_error().unwrap_or(0))),
            }
        }
        self.lines.claim.write(tick.claim);
        if let Some((from, to)) = tick.changed {
            self.lines.notes.send(Note::State { from, to, used: tick.verdict.used });
        }
        self.roll_reach();
        self.publish();
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
            Event::Silent(slot) => self.note(*slot, Note::Silent),
            Event::Returned(slot) => self.note(*slot, Note::Returned),
            Event::Left(slot) => {
                self.pipeline.left(*slot);
                self.note(*slot, Note::Left);
                self.identities[slot.index()] = None;
            }
        }
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
            self.lines.notes.send(Note::Recorded(*exchange));
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
