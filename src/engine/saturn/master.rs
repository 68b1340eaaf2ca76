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

use super::{Event, MasterSummary, Outbox, arrival, now};
use crate::limits::{SATURN_DATAGRAM_BYTES_MAX, SATURN_RECEIVE_BUFFER_BYTES};
use crate::saturn::key::Key;
use crate::saturn::master::{Config, Master, Outcome};
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
    };
    node.outbox.tell(Event::Listening { address, kernel_stamps });
    let mut ready = Events::with_capacity(4);
    loop {
        let is_idle = node.serve_batch()?;
        node.master.sweep(RawTime::from_nanos(raw_now()));
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
        // A refused datagram has been counted by its reason; that is all that may come of it.
        let Ok(opened) = self.master.open(datagram) else { return };
        let finished = match self.master.answer(opened, arrived, now(0), &mut self.answer) {
            Outcome::Answer => None,
            Outcome::Finished(finished) => Some(finished),
            Outcome::Ended => return,
        };
        if self.socket.send(received.from, &self.answer).is_err() {
            self.send_failed += 1;
        }
        if let Some(finished) = finished {
            self.outbox.tell(Event::Offset(finished));
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
