//! One of the sockets of a watch: an observer of its own, with a protocol instance, the places that it has, and what is
//! known of who sits there. A watch of thousands of nodes is many of these on one thread, so that no table is larger
//! than a node's and the kernel sorts the answers. Reads packets and stamps as the hot thread does; logs nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use crate::clock::StampConverter;
use crate::engine::tickets::{KernelStamp, Ticket, Tickets};
use crate::exchange::{Config, Counters, Outgoing, Protocol, Roster};
use crate::flow::{Claim, Stamp, StampClass};
use crate::limits::PEERS_MAX;
use crate::sys::random::Entropy;
use crate::sys::socket::{Received, StampWish, StampedSocket};
use crate::unit::RawTime;
use crate::watch::{Board, Sighting};
use crate::wire::{DATAGRAM_LEN, Identity, Keyring};

/// Datagrams read from one socket before another has its turn.
const BATCH: usize = 64;
/// A transmit stamp that has not come by then is given up, ns.
const STAMP_LIFETIME_NS: i64 = 1_000_000_000;
/// After so many in a row, nodes are no longer told to wait for them.
const MISSES_BEFORE_DOUBT: u32 = 8;

/// What the sockets of one thread share.
pub(super) struct Tools {
    /// From the kernel's stamps to raw time.
    pub converter: StampConverter,
    /// Nonces.
    pub entropy: Entropy,
}

/// How a shard speaks.
pub(super) struct Voice {
    /// As whom.
    pub identity: Identity,
    /// With which keys.
    pub keys: Keyring,
    /// Exchanges a second and node, both ends together.
    pub rate_hz: f64,
    /// Exchanges in the burst with which a node is met.
    pub rounds: u32,
    /// What it says of itself.
    pub claim: Claim,
}

/// One socket and the nodes that it asks.
pub(super) struct Shard {
    socket: StampedSocket,
    protocol: Protocol,
    board: Board,
    tickets: Tickets,
    datagram: [u8; DATAGRAM_LEN + 1],
    addresses: Vec<SocketAddr>,
    /// So many of them are asked by now, from the first on.
    met: usize,
    misses_in_a_row: u32,
}

impl Shard {
    /// An observer that asks nobody yet.
    pub fn new(mut socket: StampedSocket, voice: Voice, now: RawTime) -> io::Result<Self> {
        let granted = socket.enable_stamps(StampWish::Kernel)?;
        let promise = if granted.kernel_transmit { StampClass::Kernel } else { StampClass::User };
        let Voice { identity, keys, rate_hz, rounds, claim } = voice;
        let config = Config { identity, keys, rate_hz, rounds, capacity: PEERS_MAX, claim, promise };
        Ok(Shard {
            socket,
            protocol: Protocol::new(config, now),
            board: Board::new(PEERS_MAX),
            tickets: Tickets::new(false),
            datagram: [0; DATAGRAM_LEN + 1],
            addresses: Vec::new(),
            met: 0,
            misses_in_a_row: 0,
        })
    }

    /// The descriptor that becomes readable with each datagram and each transmit stamp.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// How many addresses it has been given.
    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// What its protocol has counted.
    pub fn counters(&self) -> &Counters {
        self.protocol.counters()
    }

    /// One address more, to be asked once it is its turn.
    pub fn give(&mut self, address: SocketAddr) {
        self.addresses.push(address);
    }

    /// This address is asked no longer.
    pub fn leave(&mut self, address: SocketAddr, tools: &mut Tools) {
        let Some(at) = self.addresses.iter().position(|a| *a == address) else { return };
        self.addresses.remove(at);
        self.met -= usize::from(at < self.met);
        self.commit(tools);
    }

    /// True if there are addresses whose turn has not come.
    pub fn has_unmet(&self) -> bool {
        self.met < self.addresses.len()
    }

    /// Begins to ask up to `most` addresses more.
    pub fn meet(&mut self, most: usize, tools: &mut Tools) {
        self.met = self.addresses.len().min(self.met + most);
        self.commit(tools);
    }

    fn commit(&mut self, tools: &mut Tools) {
        let (roster, left_over) = Roster::new(self.addresses[..self.met].iter().copied());
        debug_assert_eq!(left_over, 0, "a shard is given no more addresses than a roster holds");
        self.protocol.set_roster(&roster, tools.converter.now(), tools.entropy.next_u64());
        self.drain();
    }

    /// When [`Shard::send_due`] has something to do.
    pub fn deadline(&self) -> RawTime {
        self.protocol.deadline()
    }

    /// The nodes that have a place, at `now`.
    pub fn sightings(&self, now: RawTime) -> impl Iterator<Item = Sighting> {
        self.board.sightings(now)
    }

    /// Sends what is due.
    pub fn send_due(&mut self, tools: &mut Tools) -> io::Result<()> {
        let mut out = [0; DATAGRAM_LEN];
        loop {
            let now = tools.converter.now();
            let outgoing = self.protocol.poll(now, tools.entropy.next_u64(), &mut out);
            self.drain();
            let Some(outgoing) = outgoing else { return Ok(()) };
            self.send(&outgoing, &out, now);
            // On most paths the stamp is there when the call returns; taken at once it goes with the next packet.
            self.collect_stamps(tools)?;
        }
    }

    /// Reads what has come; true if there may be more.
    pub fn receive(&mut self, tools: &mut Tools) -> io::Result<bool> {
        for _ in 0..BATCH {
            let Some(received) = self.socket.receive(&mut self.datagram)? else {
                self.collect_stamps(tools)?;
                return Ok(false);
            };
            self.on_datagram(&received, tools);
            self.collect_stamps(tools)?;
        }
        Ok(true)
    }

    /// Stamps that a driver promised and never gave must not make every exchange wait for them.
    pub fn give_up_stamps(&mut self, now: RawTime) {
        self.misses_in_a_row += self.tickets.expire(now.plus(-STAMP_LIFETIME_NS)) as u32;
        if self.misses_in_a_row >= MISSES_BEFORE_DOUBT {
            self.protocol.set_promise(StampClass::User);
        }
    }

    fn on_datagram(&mut self, received: &Received, tools: &mut Tools) {
        let now = tools.converter.now();
        let stamp = match received.kernel_real_ns.and_then(|real_ns| tools.converter.convert(real_ns)) {
            Some(at) => Stamp { at, class: StampClass::Kernel },
            None => Stamp { at: now, class: StampClass::User },
        };
        let mut answer = [0; DATAGRAM_LEN];
        let (datagram, entropy) = (&self.datagram[..received.len], tools.entropy.next_u64());
        // A refused datagram has been counted by its reason; that is all that may come of it.
        let outcome = self.protocol.on_datagram(now, received.from, datagram, stamp, entropy, &mut answer);
        if let Ok(Some(outgoing)) = outcome {
            self.send(&outgoing, &answer, now);
        }
        self.drain();
    }

    fn send(&mut self, outgoing: &Outgoing, datagram: &[u8; DATAGRAM_LEN], now: RawTime) {
        // Unreachable networks and full queues are the network's weather: tried again on schedule, and a node that
        // cannot be asked is shown as silent.
        if let Ok(number) = self.socket.send(outgoing.to, datagram) {
            let ticket = Ticket { outgoing: *outgoing, answers: None, given_ns: now.nanos(), sent_at: now };
            self.tickets.issue(number, ticket);
        }
    }

    fn collect_stamps(&mut self, tools: &mut Tools) -> io::Result<()> {
        while self.tickets.awaited() > 0 {
            let Some(sent) = self.socket.transmit_stamp()? else { break };
            let Some(at) = tools.converter.convert(sent.real_ns) else { continue };
            let now_ns = tools.converter.now().nanos();
            // Only the kernel stamps here, so there is no better stamp to be patient for.
            let KernelStamp::Told(ticket) = self.tickets.kernel(sent.ticket, at.nanos(), now_ns, false) else {
                continue;
            };
            if self.misses_in_a_row > 0 {
                self.misses_in_a_row = 0;
                self.protocol.set_promise(StampClass::Kernel);
            }
            if ticket.outgoing.stamp_wanted {
                let stamp = Stamp { at, class: sent.class };
                self.protocol.on_transmit_stamp(&ticket.outgoing, stamp, tools.converter.now());
                self.drain();
            }
        }
        Ok(())
    }

    fn drain(&mut self) {
        while let Some(event) = self.protocol.next_event() {
            self.board.on_event(&event);
        }
    }
}
