//! A Saturn slave's loop: a report at once, then one every interval, and one whenever SIGHUP comes. Each transaction
//! has a socket of its own, as Saturn's have.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use crossbeam_channel::{Sender, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::{Event, Outbox, PORT_DEFAULT, RefusalBudget, arrival, everywhere, now};
use crate::discovery::srv::{RESOLV_CONF_PATH, Resolvers};
use crate::limits::SATURN_DATAGRAM_BYTES_MAX;
use crate::saturn::slave::{Config, Outcome, Transaction, transaction_id};
use crate::sys::random::Entropy;
use crate::sys::socket::{OpenError, SocketOptions, StampedSocket};
use crate::sys::time::{monotonic_now, raw_now};
use crate::unit::RawTime;

/// What a slave is told.
#[derive(Clone, Debug)]
pub struct SlaveSettings {
    /// Where the master is.
    pub master: MasterAddress,
    /// How to speak with it.
    pub config: Config,
    /// From one report to the next, ns.
    pub interval_ns: i64,
    /// Report a clock that is this much ahead of the machine's, ns: to try an alarm.
    pub virtual_offset_ns: i64,
}

/// Where a master is; a name is looked up for every report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterAddress {
    /// There.
    Fixed(SocketAddr),
    /// At this name; without a port, where the domain's SRV records say, or else at [`PORT_DEFAULT`].
    Named(String, Option<u16>),
}

const SOCKET: Token = Token(0);
const SIGNALS: Token = Token(1);
const WAKER: Token = Token(2);
/// The service that SRV records name.
const SERVICE: &str = "_saturn._udp";
/// Datagrams read before signals and the deadline are looked at.
const BATCH: usize = 64;
/// A slave waits in pieces of at most this, ns.
const WAIT_NS_MAX: i64 = 3_600_000_000_000;

struct Node {
    settings: SlaveSettings,
    poll: Poll,
    signals: Signals,
    waker: Arc<Waker>,
    entropy: Entropy,
    outbox: Outbox,
    answer: Vec<u8>,
    report_now: bool,
    stop: bool,
}

/// Runs a slave until a signal ends it, or until nobody takes its events any longer.
///
/// # Errors
/// The system refuses what every process needs. That a master cannot be reached is an event, not an error.
pub fn slave(settings: SlaveSettings, events: Sender<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let poll = Poll::new()?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    // The kernel begins to stamp a moment after the first socket asks. While this one is open, it does not stop between
    // transactions; it hears nothing.
    let _stamping = (!settings.config.compat).then(|| {
        let mut socket = StampedSocket::open(([127, 0, 0, 1], 0).into(), &SocketOptions::default()).ok()?;
        socket.enable_receive_stamps().ok().map(|_| socket)
    });
    let node = Node {
        settings,
        poll,
        signals,
        waker,
        entropy: Entropy::new()?,
        outbox: Outbox::new(events),
        answer: Vec::with_capacity(SATURN_DATAGRAM_BYTES_MAX),
        report_now: false,
        stop: false,
    };
    node.run()
}

impl Node {
    fn run(mut self) -> anyhow::Result<()> {
        let mut due_ns = monotonic_now();
        loop {
            while !self.stop && !self.report_now && monotonic_now() < due_ns {
                self.wait(due_ns - monotonic_now())?;
            }
            if self.stop || self.outbox.closed {
                return Ok(());
            }
            if !std::mem::take(&mut self.report_now) {
                // Reports that could not be made in time are not made up for.
                due_ns = (due_ns + self.settings.interval_ns).max(monotonic_now());
            }
            if let Err(error) = self.report() {
                self.outbox.tell(Event::Failed(format!("{error:#}")));
            }
        }
    }

    /// Waits for anything, at most `wait_ns`, and takes note of signals.
    fn wait(&mut self, wait_ns: i64) -> io::Result<()> {
        let mut ready = Events::with_capacity(4);
        let wait = Duration::from_nanos(wait_ns.clamp(0, WAIT_NS_MAX) as u64);
        match self.poll.poll(&mut ready, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        if ready.iter().any(|event| event.token() == SIGNALS) {
            for signal in self.signals.pending() {
                if signal == SIGHUP {
                    self.report_now = true;
                } else {
                    self.stop = true;
                }
            }
        }
        Ok(())
    }

    /// One transaction, whatever comes of it.
    fn report(&mut self) -> anyhow::Result<()> {
        let Some(master) = self.master_address()? else { return Ok(()) };
        let mut socket = match StampedSocket::open(everywhere(0, true), &SocketOptions::default()) {
            Err(OpenError::NoIpv6(_)) => StampedSocket::open(everywhere(0, false), &SocketOptions::default())?,
            other => other?,
        };
        if !self.settings.config.compat {
            socket.enable_receive_stamps()?;
        }
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE)?;
        // The socket leaves the poll when it is closed.
        self.transact(master, &mut socket)
    }

    fn transact(&mut self, master: SocketAddr, socket: &mut StampedSocket) -> anyhow::Result<()> {
        let config = self.settings.config.clone();
        let ahead_ns = self.settings.virtual_offset_ns;
        let id = transaction_id(socket.local_address(), self.entropy.next_u64());
        self.outbox.tell(Event::Reporting { master, id: id.clone() });
        let mut transaction = Transaction::begin(&config, master, id.clone(), now(ahead_ns), &mut self.answer);
        if self.answer.len() > SATURN_DATAGRAM_BYTES_MAX {
            // Without IPv6 the transaction's id is three bytes longer.
            let excess = self.answer.len() - SATURN_DATAGRAM_BYTES_MAX;
            return Err(anyhow!(
                "the first message does not fit in a datagram: give a --name shorter by {excess} bytes"
            ));
        }
        let unreachable = |error| anyhow!("cannot send to the master at {master}: {error}");
        socket.send(master, &self.answer).map_err(unreachable)?;
        let mut datagram = [0; SATURN_DATAGRAM_BYTES_MAX + 1];
        let mut budget = RefusalBudget::default();
        while !self.stop {
            let mut is_idle = false;
            // In batches: a flood must hold up neither a signal nor the end of patience.
            for _ in 0..BATCH {
                let Some(received) = socket.receive(&mut datagram)? else {
                    is_idle = true;
                    break;
                };
                let arrived = arrival(&received).plus(ahead_ns);
                let opened = match transaction.open(received.from, &datagram[..received.len]) {
                    Ok(opened) => opened,
                    Err(reason) => {
                        if config.compat && budget.take(RawTime::from_nanos(raw_now())) {
                            self.outbox.tell(Event::Refused { from: received.from, reason });
                        }
                        continue;
                    }
                };
                match transaction.answer(opened, arrived, now(ahead_ns), &mut self.answer) {
                    Outcome::Answer => {
                        socket.send(master, &self.answer).map_err(unreachable)?;
                    }
                    Outcome::Finished(finished) => {
                        self.outbox.tell(Event::Told { id, finished, refusals: *transaction.refusals() });
                        return Ok(());
                    }
                }
            }
            let left_ns = transaction.deadline().since(RawTime::from_nanos(raw_now()));
            if left_ns <= 0 {
                self.outbox.tell(Event::Silent { master, id, refusals: *transaction.refusals() });
                return Ok(());
            }
            self.wait(if is_idle { left_ns } else { 0 })?;
        }
        Ok(())
    }

    /// The master's address; `None` if a signal came while it was looked up.
    fn master_address(&mut self) -> anyhow::Result<Option<SocketAddr>> {
        let (name, port) = match self.settings.master.clone() {
            MasterAddress::Fixed(address) => return Ok(Some(address)),
            MasterAddress::Named(name, port) => (name, port),
        };
        // A resolver may take long; signals are not to wait for it.
        let (sender, receiver) = bounded(1);
        let (waker, random) = (Arc::clone(&self.waker), self.entropy.next_u64());
        thread::Builder::new().name("resolver".into()).spawn(move || {
            let found = resolve(&name, port, random).map_err(|error| anyhow!("cannot find the master {name}: {error}"));
            // Whoever asked may have been told to stop.
            let _gone = sender.send(found);
            let _gone = waker.wake();
        })?;
        while !self.stop {
            if let Ok(found) = receiver.try_recv() {
                return found.map(Some);
            }
            self.wait(WAIT_NS_MAX)?;
        }
        Ok(None)
    }
}

fn resolve(name: &str, port: Option<u16>, random: u64) -> io::Result<SocketAddr> {
    let target = match port {
        Some(port) => (name.to_owned(), port),
        None => {
            let text = std::fs::read_to_string(RESOLV_CONF_PATH).unwrap_or_default();
            let service = Resolvers::parse(&text).look_up(SERVICE, name, random);
            service.map_or_else(|| (name.to_owned(), PORT_DEFAULT), |service| (service.target, service.port))
        }
    };
    preferred(target.to_socket_addrs()?).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no address"))
}

/// The address of several that Go takes for a name, and with it Saturn: the first of IPv4, else the first.
#[must_use]
pub fn preferred(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.collect();
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}
