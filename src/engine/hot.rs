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
use super::tickets::{Ticket, Tickets};
use crate::clock::{Machine, Oscillator, StampConverter};
use crate::exchange::{Counters, Outgoing, Protocol, Roster};
use crate::flow::{Claim, Event, Stamp, StampClass};
use crate::limits::HYBRID_SPIN_NS;
use crate::report::HotLatencies;
use crate::sys::random::Entropy;
use crate::sys::seqlock::{SeqReader, SeqWriter};
use crate::sys::socket::{Received, SocketCounters, StampedSocket};
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
    /// Transmit stamps that came from the kernel or the card.
    pub transmit_stamps: u64,
    /// Transmit stamps that never came.
    pub transmit_stamps_missing: u64,
    /// Transmit stamps that came when their packet was no longer remembered.
    pub transmit_stamps_late: u64,
    /// What went wrong at the socket.
    pub socket: SocketCounters,
    /// Times that `CLOCK_REALTIME` was set by somebody while stamps were being converted.
    pub clock_jumps: u64,
    /// Datagrams that arrived with a kernel stamp.
    pub receive_stamps_kernel: u64,
    /// Datagrams that arrived without one.
    pub receive_stamps_user: u64,
}

/// The hot thread's ends of what it shares.
pub struct Lines {
    /// What this node says of itself, from the discipline thread.
    pub claim: SeqReader<Claim>,
    /// Whom to probe, from the control thread.
    pub roster: SeqReader<Roster>,
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
/// After so many in a row, peers are no longer told to wait for them.
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
    stamps_missed_in_a_row: u32,
}

impl Hot {
    /// Joins a socket and a protocol. `mode` must have been chosen; `poll` is where the caller's waker is registered.
    ///
    /// # Errors
    /// The socket cannot be registered, or the system gives no random numbers.
    pub fn new(
        socket: StampedSocket,
        protocol: Protocol,
        oscillator: Oscillator,
        mode: PollMode,
        poll: Poll,
        lines: Lines,
    ) -> io::Result<Self> {
        assert_ne!(mode, PollMode::Auto, "the mode is chosen before the thread starts");
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE)?;
        Ok(Hot {
            converter: StampConverter::new(Machine, oscillator),
            socket,
            protocol,
            oscillator,
            entropy: Entropy::new()?,
            mode,
            poll,
            lines,
            tickets: Tickets::new(),
            latencies: Box::new(HotLatencies::new()),
            report: HotReport::default(),
            datagram: [0; DATAGRAM_LEN + 1],
            claim_version: 0,
            roster_version: 0,
            stamps_missed_in_a_row: 0,
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
            self.stamps_missed_in_a_row += given_up as u32;
            if self.stamps_missed_in_a_row >= MISSES_BEFORE_DOUBT {
                self.protocol.set_promise(StampClass::User);
            }
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
        let now = self.raw_now();
        let stamp = match received.kernel_real_ns.and_then(|real_ns| self.converter.convert(real_ns)) {
            Some(at) => {
                self.report.receive_stamps_kernel += 1;
                self.latencies.stamp_to_user(now.since(at));
                Stamp { at, class: StampClass::Kernel }
            }
            None => {
                self.report.receive_stamps_user += 1;
                Stamp { at: now, class: StampClass::User }
            }
        };
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
        match self.socket.send(outgoing.to, datagram) {
            Ok(number) => {
                let ticket = Ticket { outgoing: *outgoing, answers, sent_at: self.raw_now() };
                self.tickets.issue(number, ticket);
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
            let Some(ticket) = self.tickets.redeem(sent.ticket) else {
                self.report.transmit_stamps_late += 1;
                continue;
            };
            // A stamp that cannot be brought to raw time (the clock was set a moment ago) is as good as none.
            let Some(at) = self.converter.convert(sent.real_ns) else { continue };
            self.report.transmit_stamps += 1;
            if self.stamps_missed_in_a_row > 0 {
                self.stamps_missed_in_a_row = 0;
                self.protocol.set_promise(StampClass::Kernel);
            }
            if let Some(arrived) = ticket.answers {
                self.latencies.turn_around(at.since(arrived));
            }
            if ticket.outgoing.stamp_wanted {
                let now = self.raw_now();
                self.protocol.on_transmit_stamp(&ticket.outgoing, Stamp { at, class: sent.class }, now);
                self.drain();
            }
        }
        Ok(worked)
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
        let until_due_ns = self.protocol.deadline().since(self.raw_now()).clamp(0, WAIT_NS_MAX);
        match self.poll.poll(events, Some(Duration::from_nanos(until_due_ns as u64))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }
}
