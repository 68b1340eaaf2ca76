//! A Saturn master's loop: read, verify, read the clocks, answer. It allocates (the protocol's messages are protobuf)
//! and is no hot thread in the sense of the native engine.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crossbeam_channel::Sender;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::{Event, MasterSummary, Outbox, RefusalBudget, arrival, now};
use crate::limits::{SATURN_DATAGRAM_BYTES_MAX, SATURN_RECEIVE_BUFFER_BYTES};
use crate::saturn::key::Key;
use crate::saturn::master::{Config, Master, Outcome};
use crate::saturn::{Refusal, Refusals};
use crate::sys::random::Entropy;
use crate::sys::socket::{Received, SocketOptions, StampedSocket};
use crate::sys::time::raw_now;
use crate::unit::RawTime;

/// What a master is told.
#[derive(Clone, Debug)]
pub struct MasterSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The key all share.
    pub key: Key,
    /// Trips of a transaction.
    pub rounds: u32,
    /// Behave as Saturn does.
    pub compat: bool,
}

const SOCKET: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Datagrams read before signals and abandoned transactions are looked at.
const BATCH: usize = 64;

struct Node {
    socket: StampedSocket,
    master: Master,
    outbox: Outbox,
    answer: Vec<u8>,
    send_failed: u64,
    /// Who plays Saturn has a line for each refused datagram; see there how many.
    each_refusal: Option<RefusalBudget>,
    /// What had been refused when it was last told.
    refused_before: Refusals,
}

/// Runs a master until a signal ends it, or until nobody takes its events any longer.
///
/// # Errors
/// The socket cannot be had, or fails in a way that no packet can cause.
pub fn master(settings: MasterSettings, events: Sender<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let options = SocketOptions {
        receive_buffer_bytes: Some(SATURN_RECEIVE_BUFFER_BYTES),
        send_buffer_bytes: Some(SATURN_RECEIVE_BUFFER_BYTES),
        ..SocketOptions::default()
    };
    let mut socket = StampedSocket::open(settings.listen, &options)?;
    let kernel_stamps = !settings.compat && socket.enable_receive_stamps()?;
    if settings.listen.ip().is_unspecified() {
        // A slave on a machine with several addresses is answered from the one that it asked.
        socket.enable_local_addresses();
    }
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE)?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;

    let address = socket.local_address();
    let config = Config { key: settings.key, rounds: settings.rounds, compat: settings.compat };
    let mut node = Node {
        master: Master::new(config, RawTime::from_nanos(raw_now()), Entropy::new()?.next_u64()),
        socket,
        outbox: Outbox::new(events),
        answer: Vec::with_capacity(2 * SATURN_DATAGRAM_BYTES_MAX),
        send_failed: 0,
        each_refusal: settings.compat.then(RefusalBudget::default),
        refused_before: Refusals::default(),
    };
    node.outbox.tell(Event::Listening { address, kernel_stamps });
    let mut ready = Events::with_capacity(4);
    loop {
        let is_idle = node.serve_batch()?;
        node.sweep(RawTime::from_nanos(raw_now()));
        let left_ns = node.master.deadline().since(RawTime::from_nanos(raw_now())).max(0);
        let wait = if is_idle { Duration::from_nanos(left_ns as u64) } else { Duration::ZERO };
        match poll.poll(&mut ready, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        if ready.iter().any(|event| event.token() == SIGNALS) {
            let mut end = false;
            for signal in signals.pending() {
                node.summarise();
                end |= signal != SIGHUP;
            }
            if end {
                return Ok(());
            }
        }
        if node.outbox.closed {
            return Ok(());
        }
    }
}

impl Node {
    /// Answers what waits, up to a batch; true if nothing waits any longer.
    fn serve_batch(&mut self) -> io::Result<bool> {
        // One more than the longest, so that a longer one is seen to be longer.
        let mut datagram = [0; SATURN_DATAGRAM_BYTES_MAX + 1];
        for _ in 0..BATCH {
            let Some(received) = self.socket.receive(&mut datagram)? else { return Ok(true) };
            self.serve(&received, &datagram[..received.len]);
        }
        Ok(false)
    }

    fn serve(&mut self, received: &Received, datagram: &[u8]) {
        let arrived = arrival(received);
        // A refused datagram has been counted by its reason; that is all that comes of it but for what is told of the
        // counters.
        let opened = match self.master.open(datagram) {
            Ok(opened) => opened,
            Err(reason) => return self.refused(reason, received),
        };
        let finished = match self.master.answer(opened, arrived, now(0), &mut self.answer) {
            Outcome::Answer => None,
            Outcome::Finished(finished) => Some(finished),
            Outcome::Ended => return,
        };
        let sent = match received.local_ip {
            Some(local_ip) => self.socket.send_from(local_ip, received.from, &self.answer),
            None => self.socket.send(received.from, &self.answer).map(drop),
        };
        self.send_failed += u64::from(sent.is_err());
        if let Some(finished) = finished {
            self.outbox.tell(Event::Offset(finished));
        }
    }

    fn refused(&mut self, reason: Refusal, received: &Received) {
        if self.each_refusal.as_mut().is_some_and(|budget| budget.take(RawTime::from_nanos(raw_now()))) {
            self.outbox.tell(Event::Refused { from: received.from, reason });
        }
    }

    /// Drops abandoned transactions, and as seldom says what was refused since it was last said.
    fn sweep(&mut self, now: RawTime) {
        if now < self.master.deadline() {
            return;
        }
        self.master.sweep(now);
        let refused = self.master.refusals().since(&self.refused_before);
        self.refused_before = *self.master.refusals();
        if refused.total() > 0 {
            self.outbox.tell(Event::Refusals(refused));
        }
    }

    fn summarise(&mut self) {
        let summary = MasterSummary {
            live: self.master.live(),
            counters: self.master.counters(),
            refusals: *self.master.refusals(),
            send_failed: self.send_failed,
            events_dropped: self.outbox.dropped,
        };
        self.outbox.tell(Event::Summary(summary));
    }
}
