//! The hot thread: reads packets and stamps, answers at once, collects transmit stamps, pushes finished exchanges. It
//! owns its socket and its protocol; it takes no lock, writes no log, allocates nothing after its start and does no
//! algebra. All that others know of it are snapshots; all that it knows of others are snapshots.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use super::PollMode;
use super::reload::HotKeys;
use super::ring::RingSender;
use super::tickets::{KernelStamp, Ticket, Tickets};
use crate::clock::{CardMiss, CardTimes, Commands, Machine, Oscillator, StampConverter};
use crate::exchange::{Counters, Outgoing, Protocol, Roster};
use crate::flow::{Claim, Event, Stamp, StampClass};
use crate::limits::HYBRID_SPIN_NS;
use crate::report::HotLatencies;
use crate::sys::random::Entropy;
use crate::sys::seqlock::{SeqReader, SeqWriter};
use crate::sys::socket::{Received, SocketCounters, StampedSocket, TxStamp};
use crate::sys::time::{monotonic_now, raw_now};
use crate::unit::RawTime;
use crate::wire::DATAGRAM_LEN;

/// What the hot thread tells the control thread ten times a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct HotReport {
    /// The protocol's counters.
    pub protocol: Counters,
    /// Exchanges and arrivals that did not fit into the ring.
    pub ring_dropped: u64,
    /// Datagrams that the socket did not take.
    pub send_failed: u64,
    /// Transmit stamps that came from the kernel or the card and were used.
    pub transmit_stamps: u64,
    /// Those among them that came from the card.
    pub transmit_stamps_nic: u64,
    /// Transmit stamps of the card that did not come in time, so that the kernel's was used.
    pub transmit_stamps_nic_missing: u64,
    /// Transmit stamps of the card that came after the kernel's had been used.
    pub transmit_stamps_nic_late: u64,
    /// Transmit stamps that never came.
    pub transmit_stamps_missing: u64,
    /// Transmit stamps that came when their packet was no longer remembered.
    pub transmit_stamps_late: u64,
    /// What went wrong at the socket.
    pub socket: SocketCounters,
    /// Times that `CLOCK_REALTIME` was set by somebody while stamps were being converted.
    pub clock_jumps: u64,
    /// Datagrams that arrived with a usable stamp of the card.
    pub receive_stamps_nic: u64,
    /// Datagrams that arrived with a kernel stamp and none of the card.
    pub receive_stamps_kernel: u64,
    /// Datagrams that arrived with neither.
    pub receive_stamps_user: u64,
    /// Stamps of a card that this node does not measure.
    pub nic_stamps_foreign: u64,
    /// Stamps of a card whose clock was not believed when they came.
    pub nic_stamps_unrelated: u64,
    /// Stamps of a card that contradicted what else was known of their packet.
    pub nic_stamps_implausible: u64,
}

impl HotReport {
    fn count(&mut self, miss: CardMiss) {
        *match miss {
            CardMiss::Foreign => &mut self.nic_stamps_foreign,
            CardMiss::NoRelation => &mut self.nic_stamps_unrelated,
            CardMiss::Implausible => &mut self.nic_stamps_implausible,
        } += 1;
    }
}

/// The hot thread's ends of what it shares.
pub struct Lines {
    /// What this node says of itself, from the discipline thread.
    pub claim: SeqReader<Claim>,
    /// Whom to probe, from the control thread.
    pub roster: SeqReader<Roster>,
    /// What the cards' clocks show, from the discipline thread; `None` if no card stamps for this node.
    pub cards: Option<SeqReader<CardTimes>>,
    /// What the system clock is told, from the discipline thread; `None` if this node does not steer it.
    pub commands: Option<SeqReader<Commands>>,
    /// Other keys, from the control thread, and where the old ones go.
    pub keys: HotKeys,
    /// What is told to the control thread.
    pub report: SeqWriter<HotReport>,
    /// Finished exchanges, to the discipline thread.
    pub ring: RingSender,
    /// An empty set of histograms is a request for the full one.
    pub latencies_wanted: Receiver<Box<HotLatencies>>,
    /// The full ones.
    pub latencies: Sender<Box<HotLatencies>>,
    /// Raised to end the thread.
    pub stop: Arc<AtomicBool>,
}

/// The token under which the socket is registered; the waker has the next one.
pub const SOCKET: Token = Token(0);
/// The token of the waker that ends a blocked wait.
pub const WAKER: Token = Token(1);

/// Datagrams read before anything else is looked at again.
const BATCH: usize = 32;
/// Spinning, the snapshots are looked at once in so many turns.
const TURNS_BETWEEN_LOOKS: u32 = 16;
/// The report is written this often, ns.
const REPORT_INTERVAL_NS: i64 = 100_000_000;
/// The longest blocked wait, ns: the report must stay fresh.
const WAIT_NS_MAX: i64 = 500_000_000;

/// A transmit stamp that has not come by then is given up, ns.
const STAMP_LIFETIME_NS: i64 = 1_000_000_000;
/// After so many in a row, peers are no longer told to wait for them; nor does this node wait for a card's.
const MISSES_BEFORE_DOUBT: u32 = 8;

/// The hot thread's state.
pub struct Hot {
    socket: StampedSocket,
    protocol: Protocol,
    oscillator: Oscillator,
    converter: StampConverter,
    entropy: Entropy,
    mode: PollMode,
    poll: Poll,
    lines: Lines,
    tickets: Tickets,
    latencies: Box<HotLatencies>,
    report: HotReport,
    datagram: [u8; DATAGRAM_LEN + 1],
    claim_version: u64,
    roster_version: u64,
    cards_version: u64,
    cards: CardTimes,
    /// Somebody stamps what leaves.
    stamping: bool,
    /// What peers were told to expect last.
    promise: StampClass,
    stamps_missed_in_a_row: u32,
    card_stamps_missed_in_a_row: u32,
}

impl Hot {
    /// Joins a socket and a protocol, which was told to promise transmit stamps of class `promise`. `mode` must have
    /// been chosen; `poll` is where the caller's waker is registered.
    ///
    /// # Errors
    /// The socket cannot be registered, or the system gives no random numbers.
    pub fn new(
        socket: StampedSocket,
        protocol: Protocol,
        promise: StampClass,
        oscillator: Oscillator,
        mode: PollMode,
        poll: Poll,
        lines: Lines,
    ) -> io::Result<Self> {
        assert_ne!(mode, PollMode::Auto, "the mode is chosen before the thread starts");
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE)?;
        let mut converter = StampConverter::new(Machine, oscillator);
        if let Some(commands) = &lines.commands {
            converter.heed(commands.clone());
        }
        Ok(Hot {
            converter,
            socket,
            protocol,
            oscillator,
            entropy: Entropy::new()?,
            mode,
            poll,
            tickets: Tickets::new(lines.cards.is_some()),
            latencies: Box::new(HotLatencies::new()),
            report: HotReport::default(),
            datagram: [0; DATAGRAM_LEN + 1],
            claim_version: 0,
            roster_version: 0,
            cards_version: 0,
            cards: CardTimes::default(),
            stamping: promise != StampClass::User,
            promise,
            stamps_missed_in_a_row: 0,
            card_stamps_missed_in_a_row: 0,
            lines,
        })
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// The socket or the poll failed in a way that no packet can cause.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = mio::Events::with_capacity(4);
        let (mut turns, mut busy_until_ns, mut turn_began_ns, mut reported_ns) = (0u32, 0i64, 0i64, 0i64);
        self.look_at_snapshots();
        loop {
            let now_ns = monotonic_now();
            if turn_began_ns != 0 {
                self.latencies.loop_gap(now_ns - turn_began_ns);
            }
            turn_began_ns = now_ns;
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_BETWEEN_LOOKS) || self.mode != PollMode::Busy {
                if self.lines.stop.load(Ordering::Relaxed) {
                    self.publish();
                    return Ok(());
                }
                self.look_at_snapshots();
                if now_ns - reported_ns >= REPORT_INTERVAL_NS {
                    self.publish();
                    reported_ns = now_ns;
                }
            }

            let worked = self.receive_batch()? | self.send_due()? | self.collect_stamps()?;
            self.release_held_stamps();
            if worked {
                busy_until_ns = now_ns + HYBRID_SPIN_NS;
                continue;
            }
            let spin = match self.mode {
                PollMode::Busy => true,
                PollMode::Hybrid => now_ns < busy_until_ns,
                PollMode::Block | PollMode::Auto => false,
            };
            if spin {
                std::hint::spin_loop();
            } else {
                self.wait(&mut events)?;
                turn_began_ns = 0;
            }
        }
    }

    fn look_at_snapshots(&mut self) {
        let version = self.lines.claim.version();
        if version != self.claim_version {
            self.claim_version = version;
            self.protocol.set_claim(self.lines.claim.read());
        }
        let version = self.lines.roster.version();
        if version != self.roster_version {
            self.roster_version = version;
            let (now, entropy) = (self.raw_now(), self.entropy.next_u64());
            self.protocol.set_roster(&self.lines.roster.read(), now, entropy);
        }
        if let Some(cards) = &self.lines.cards {
            let version = cards.version();
            if version != self.cards_version {
                self.cards_version = version;
                self.cards = cards.read();
                self.keep_promise();
            }
        }
        if let Ok(mut keys) = self.lines.keys.fresh.try_recv() {
            self.protocol.swap_keys(&mut keys);
            // The control thread makes room before it sends a set; if it has gone, memory no longer matters.
            let _control_gone = self.lines.keys.spent.try_send(keys);
        }
        if let Ok(mut empty) = self.lines.latencies_wanted.try_recv() {
            std::mem::swap(&mut empty, &mut self.latencies);
            // The asker waits for one answer at a time, so there is room; if it has gone, the histograms go with it.
            let _asker_gone = self.lines.latencies.try_send(empty);
        }
    }

    /// Stamps that a driver promised and never gave must not make every exchange wait for them.
    fn give_up_stamps(&mut self) {
        let given_up = self.tickets.expire(self.raw_now().plus(-STAMP_LIFETIME_NS));
        if given_up > 0 {
            self.report.transmit_stamps_missing += given_up as u64;
            self.stamps_missed_in_a_row = self.stamps_missed_in_a_row.saturating_add(given_up as u32);
            self.keep_promise();
        }
    }

    /// Whether a card's transmit stamp is worth waiting for.
    fn card_stamps_come(&self) -> bool {
        self.card_stamps_missed_in_a_row < MISSES_BEFORE_DOUBT && self.cards.any()
    }

    /// Peers are told to wait for what they will get.
    fn keep_promise(&mut self) {
        let class = if self.stamps_missed_in_a_row >= MISSES_BEFORE_DOUBT {
            StampClass::User
        } else if self.card_stamps_come() {
            StampClass::Nic
        } else {
            StampClass::Kernel
        };
        if self.stamping && class != self.promise {
            self.promise = class;
            self.protocol.set_promise(class);
        }
    }

    fn publish(&mut self) {
        self.give_up_stamps();
        self.report.protocol = *self.protocol.counters();
        self.report.ring_dropped = self.lines.ring.dropped();
        self.report.socket = self.socket.counters();
        self.report.clock_jumps = self.converter.jumps();
        self.lines.report.write(self.report);
    }

    fn raw_now(&self) -> RawTime {
        self.oscillator.node_raw(raw_now())
    }

    fn receive_batch(&mut self) -> io::Result<bool> {
        for n in 0..BATCH {
            let Some(received) = self.socket.receive(&mut self.datagram)? else { return Ok(n > 0) };
            self.on_datagram(&received);
        }
        Ok(true)
    }

    fn on_datagram(&mut self, received: &Received) {
        let now_ns = raw_now();
        let now = self.oscillator.node_raw(now_ns);
        let stamp = self.arrival(received, now_ns);
        if stamp.class != StampClass::User {
            self.latencies.stamp_to_user(now.since(stamp.at));
        }
        let entropy = self.entropy.next_u64();
        let mut answer = [0; DATAGRAM_LEN];
        let datagram = &self.datagram[..received.len];
        // A refused datagram has been counted by its reason; that is all that may come of it.
        let outcome = self.protocol.on_datagram(now, received.from, datagram, stamp, entropy, &mut answer);
        if let Ok(Some(outgoing)) = outcome {
            self.send(&outgoing, &answer, Some(stamp.at));
        }
        self.drain();
    }

    /// The best stamp of an arrival: the card's if it can be told and believed, else the kernel's, else the present.
    fn arrival(&mut self, received: &Received, now_ns: i64) -> Stamp {
        let kernel_ns = received.kernel_real_ns.and_then(|real_ns| self.converter.machine_raw(real_ns));
        let stamp = |at_ns, class| Stamp { at: self.oscillator.node_raw(at_ns), class };
        if let Some(card_ns) = received.nic_ns {
            match self.cards.arrival(received.nic_device, card_ns, kernel_ns.unwrap_or(now_ns)) {
                Ok(at_ns) => {
                    self.report.receive_stamps_nic += 1;
                    return stamp(at_ns, StampClass::Nic);
                }
                Err(miss) => self.report.count(miss),
            }
        }
        match kernel_ns {
            Some(at_ns) => {
                self.report.receive_stamps_kernel += 1;
                stamp(at_ns, StampClass::Kernel)
            }
            None => {
                self.report.receive_stamps_user += 1;
                stamp(now_ns, StampClass::User)
            }
        }
    }

    fn send_due(&mut self) -> io::Result<bool> {
        let mut out = [0; DATAGRAM_LEN];
        let mut worked = false;
        loop {
            let now = self.raw_now();
            if now < self.protocol.deadline() {
                return Ok(worked);
            }
            let entropy = self.entropy.next_u64();
            let outgoing = self.protocol.poll(now, entropy, &mut out);
            self.drain();
            match outgoing {
                Some(outgoing) => self.send(&outgoing, &out, None),
                None => return Ok(worked),
            }
            worked = true;
        }
    }

    /// Sends, and remembers for whose transmit stamp to look; `answers` is when the packet arrived that this one
    /// answers.
    fn send(&mut self, outgoing: &Outgoing, datagram: &[u8; DATAGRAM_LEN], answers: Option<RawTime>) {
        let given_ns = raw_now();
        match self.socket.send(outgoing.to, datagram) {
            Ok(number) => {
                if self.stamping {
                    let ticket = Ticket { outgoing: *outgoing, answers, given_ns, sent_at: self.raw_now() };
                    self.tickets.issue(number, ticket);
                }
            }
            // Unreachable networks and full queues are the network's weather: counted, tried again on schedule.
            Err(_) => self.report.send_failed += 1,
        }
    }

    fn collect_stamps(&mut self) -> io::Result<bool> {
        let mut worked = false;
        while self.tickets.awaited() > 0 {
            let Some(sent) = self.socket.transmit_stamp()? else { break };
            worked = true;
            match sent.class {
                StampClass::Nic => self.on_card_stamp(&sent),
                StampClass::Kernel | StampClass::User => self.on_kernel_stamp(&sent),
            }
        }
        Ok(worked)
    }

    fn on_kernel_stamp(&mut self, sent: &TxStamp) {
        // A stamp that cannot be brought to raw time (the clock was set a moment ago) is as good as none.
        let Some(at_ns) = self.converter.machine_raw(sent.real_ns) else { return };
        let patient = self.card_stamps_come();
        match self.tickets.kernel(sent.ticket, at_ns, raw_now(), patient) {
            KernelStamp::Told(ticket) => self.on_departure(&ticket, at_ns, StampClass::Kernel),
            KernelStamp::Held => {}
            KernelStamp::Late => self.report.transmit_stamps_late += 1,
        }
    }

    fn on_card_stamp(&mut self, sent: &TxStamp) {
        let now_ns = raw_now();
        let Some(found) = self.tickets.card(sent.ticket, now_ns) else {
            self.report.transmit_stamps_late += 1;
            return;
        };
        let given_ns = found.ticket.given_ns;
        match self.cards.departure(sent.device, sent.real_ns, given_ns, found.kernel_ns, now_ns) {
            Ok(at_ns) => {
                if found.in_time && self.card_stamps_missed_in_a_row > 0 {
                    self.card_stamps_missed_in_a_row = 0;
                    self.keep_promise();
                }
                if found.told {
                    self.report.transmit_stamps_nic_late += 1;
                } else {
                    self.tickets.card_told(sent.ticket);
                    self.report.transmit_stamps_nic += 1;
                    self.on_departure(&found.ticket, at_ns, StampClass::Nic);
                }
            }
            Err(miss) => {
                self.report.count(miss);
                if let Some(at_ns) = found.kernel_ns.filter(|_| !found.told) {
                    self.on_departure(&found.ticket, at_ns, StampClass::Kernel);
                }
            }
        }
    }

    /// Kernel stamps whose card has kept silent for too long.
    fn release_held_stamps(&mut self) {
        if self.tickets.held_until().is_none() {
            return;
        }
        while let Some((ticket, at_ns)) = self.tickets.overdue(raw_now()) {
            self.report.transmit_stamps_nic_missing += 1;
            self.card_stamps_missed_in_a_row = self.card_stamps_missed_in_a_row.saturating_add(1);
            self.keep_promise();
            self.on_departure(&ticket, at_ns, StampClass::Kernel);
        }
    }

    /// The true departure of a packet is known, `at_ns` in machine raw time.
    fn on_departure(&mut self, ticket: &Ticket, at_ns: i64, class: StampClass) {
        let at = self.oscillator.node_raw(at_ns);
        self.report.transmit_stamps += 1;
        if self.stamps_missed_in_a_row > 0 {
            self.stamps_missed_in_a_row = 0;
            self.keep_promise();
        }
        if let Some(arrived) = ticket.answers {
            self.latencies.turn_around(at.since(arrived));
        }
        if ticket.outgoing.stamp_wanted {
            let now = self.raw_now();
            self.protocol.on_transmit_stamp(&ticket.outgoing, Stamp { at, class }, now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.protocol.next_event() {
            if let Event::Exchanged(exchange) = &event
                && exchange.initiator
            {
                self.latencies.round_trip(exchange.forward_ns() + exchange.backward_ns());
            }
            self.lines.ring.push(event, monotonic_now());
        }
    }

    fn wait(&mut self, events: &mut mio::Events) -> io::Result<()> {
        let until_due_ns = self.protocol.deadline().since(self.raw_now());
        let until_held_ns = self.tickets.held_until().map_or(i64::MAX, |until_ns| until_ns - raw_now());
        let until_due_ns = until_due_ns.min(until_held_ns).clamp(0, WAIT_NS_MAX);
        match self.poll.poll(events, Some(Duration::from_nanos(until_due_ns as u64))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }
}
