//! The engine of those who only look: asks nodes as an observer and keeps what it finds, on one thread, without a
//! pipeline and without a clock to steer. Peer tables are fixed in size, so a large cluster is spread over several
//! observers, each with a socket of its own ([`shard`]); their boards are read together at one instant.
//!
//! Says nothing and decides nothing: whoever owns a [`Watch`] runs it and looks at it.

mod shard;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use super::KeySource;
use super::reload;
use crate::clock::{Machine, Oscillator, StampConverter, TimeSource};
use crate::discovery::{self, Candidate, Dirs, Discovery, StaticPeer};
use crate::exchange::Tally;
use crate::flow::{Claim, Mapping, Role};
use crate::limits::{WATCH_LOT_NODES, WATCH_LOT_PAUSE_NS, WATCH_NODES_MAX, WATCH_SHARD_NODES};
use crate::sys::random::Entropy;
use crate::sys::socket::{SocketOptions, StampedSocket};
use crate::sys::time::monotonic_now;
use crate::unit::{BootId, ClusterId, Name, NodeId, RawTime, VirtualTime};
use crate::watch::{Lead, Seen, Sighting};
use crate::wire::{Identity, Keyring};
use shard::{Shard, Tools, Voice};

/// Every socket is looked at this often, whether or not the system said that something has come, ns.
const SWEEP_NS: i64 = 200_000_000;
/// Datagrams that wait at one socket. The kernel doubles this and counts 832 bytes for one of ours, so it holds 2,520
/// of them: ten times an answer and a follow from each of a socket's nodes, and so long may a watch lose the processor
/// at an exchange a second. Without CAP_NET_ADMIN it is cut to `net.core.rmem_max`: 512 at the usual 208 KiB.
const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;
/// Batches read from one socket before it sends: as much as its buffer holds, so that after a pause of this thread
/// nobody is taken for silent whose answer is waiting; and an end, so that a flood does not keep it from asking.
const BATCHES_BEFORE_SENDING: usize = 40;
/// The token of discovery; sockets have theirs from 0 on.
const DISCOVERY: Token = Token(usize::MAX / 2);

/// What a watch is told at its start.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// The address from which nodes are asked; the system chooses the ports.
    pub listen: IpAddr,
    /// The cluster's name.
    pub cluster: String,
    /// What the nodes that are asked shall call this watcher, with the machine's name behind it.
    pub calls_itself: &'static str,
    /// Whom to ask.
    pub peers: Vec<StaticPeer>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Exchanges a second with each node.
    pub rate_hz: f64,
    /// Exchanges in the burst with which a node is met.
    pub rounds: u32,
    /// Where the key of this user lives; the usual place unless told.
    pub runtime_dir: Option<PathBuf>,
}

/// Everything seen at one instant.
#[derive(Clone, Debug)]
pub struct Look {
    /// This machine's `CLOCK_REALTIME` then, ns since 1970; a label, no part of any measurement between nodes.
    pub at_unix_ns: i64,
    /// The same clock on the scale of the sightings' leads.
    pub local: Lead,
    /// How far [`Look::local`] can be from the truth, ns.
    pub local_bound_ns: f64,
    /// Every node that was named or has answered, in the order of names.
    pub sightings: Vec<Sighting>,
    /// Exchanges finished since the start.
    pub exchanges: u64,
    /// Questions that nobody answered.
    pub unanswered: u64,
    /// Datagrams that were refused, for whatever reason.
    pub rejected: u64,
}

/// An address that is asked.
struct Asked {
    label: String,
    shard: usize,
}

/// Observers of many nodes on one thread.
pub struct Watch {
    settings: WatchSettings,
    host: String,
    keys: Keyring,
    discovery: Discovery,
    poll: Poll,
    tools: Tools,
    shards: Vec<Shard>,
    ready: Vec<bool>,
    asked: BTreeMap<SocketAddr, Asked>,
    messages: Vec<String>,
    full: bool,
    swept_ns: i64,
    /// When the next lot of nodes is met.
    meet_ns: i64,
}

impl Watch {
    /// Opens what a watch needs and asks the first nodes.
    ///
    /// # Errors
    /// There is no key, no socket or no random numbers; one sentence.
    pub fn open(settings: WatchSettings) -> anyhow::Result<Self> {
        let runtime_dir = settings.runtime_dir.clone().unwrap_or_else(|| Dirs::of_this_user().runtime);
        let keys = reload::keys(&settings.keys, &settings.cluster, settings.listen, &runtime_dir)?.ring;
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let config = discovery::Config {
            listen: SocketAddr::new(settings.listen, 0),
            name: settings.calls_itself.to_owned(),
            cluster: settings.cluster.clone(),
            peers: settings.peers.clone(),
            runtime_dir: None,
            mdns: false,
        };
        let (discovery, messages) = Discovery::start(config)?;
        let poll = Poll::new()?;
        for fd in discovery.fds() {
            poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), DISCOVERY, Interest::READABLE)?;
        }
        let converter = StampConverter::new(Machine, Oscillator::IDENTITY);
        let mut watch = Watch {
            settings,
            host,
            keys,
            discovery,
            poll,
            tools: Tools { converter, entropy: Entropy::new()? },
            shards: Vec::new(),
            ready: Vec::new(),
            asked: BTreeMap::new(),
            messages,
            full: false,
            swept_ns: monotonic_now(),
            meet_ns: monotonic_now(),
        };
        watch.discover()?;
        Ok(watch)
    }

    /// What the operator should know, one sentence each, told once.
    pub fn take_messages(&mut self) -> Vec<String> {
        std::mem::take(&mut self.messages)
    }

    /// Asks, answers and measures until the monotonic clock reads `until_ns`.
    ///
    /// # Errors
    /// A socket failed in a way that no packet can cause.
    pub fn run_until(&mut self, until_ns: i64) -> anyhow::Result<()> {
        let mut events = mio::Events::with_capacity(256);
        loop {
            let now_ns = monotonic_now();
            if now_ns >= until_ns {
                return Ok(());
            }
            if now_ns >= self.discovery.next_deadline() {
                self.discover()?;
            }
            if now_ns - self.swept_ns >= SWEEP_NS {
                self.swept_ns = now_ns;
                self.sweep();
            }
            let until_meeting_ns = self.meet(now_ns);
            let until_due_ns = self.serve()?.min(until_meeting_ns);
            let wait_ns = until_due_ns.min(until_ns - now_ns).clamp(0, SWEEP_NS);
            match self.poll.poll(&mut events, Some(Duration::from_nanos(wait_ns as u64))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let mut found = false;
            for event in &events {
                match event.token() {
                    DISCOVERY => found = true,
                    Token(shard) => self.ready[shard] = true,
                }
            }
            if found {
                self.discover()?;
            }
        }
    }

    /// Everything that is known, at this instant.
    pub fn look(&mut self) -> Look {
        let pair = Machine.pair();
        let now = RawTime::from_nanos(pair.raw_ns);
        let mut sightings: Vec<Sighting> = Vec::with_capacity(self.asked.len());
        let (mut nodes, mut answered) = (BTreeSet::new(), BTreeSet::new());
        for sighting in self.shards.iter().flat_map(|shard| shard.sightings(now)) {
            answered.extend(sighting.address);
            // One node may have been named by two addresses that different sockets ask.
            if nodes.insert(sighting.node) {
                sightings.push(sighting);
            } else if sighting.seen == Seen::Live
                && let Some(other) = sightings.iter_mut().find(|s| s.node == sighting.node && s.seen != Seen::Live)
            {
                *other = sighting;
            }
        }
        let unheard = self.asked.iter().filter(|(address, _)| !answered.contains(address));
        sightings.extend(unheard.map(|(address, asked)| {
            let node = NodeId::derive("address", &address.to_string());
            Sighting::unheard(node, asked.label.clone(), Some(*address))
        }));
        sightings.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        let counted = |tally| self.shards.iter().map(|s| s.counters().tally(tally)).sum();
        Look {
            at_unix_ns: pair.real_ns,
            local: Lead::new(pair.real_ns.wrapping_sub(pair.raw_ns), 0.0),
            local_bound_ns: pair.width_ns as f64 / 2.0,
            sightings,
            exchanges: counted(Tally::Exchanges),
            unanswered: counted(Tally::Unanswered),
            rejected: self.shards.iter().map(|s| s.counters().rejected_total()).sum(),
        }
    }

    /// Serves every socket that is ready or due; returns how long nothing more is due, ns.
    fn serve(&mut self) -> anyhow::Result<i64> {
        let mut until_due_ns = SWEEP_NS;
        for (shard, ready) in self.shards.iter_mut().zip(&mut self.ready) {
            for _ in 0..BATCHES_BEFORE_SENDING {
                if !*ready {
                    break;
                }
                *ready = shard.receive(&mut self.tools)?;
            }
            if shard.deadline().since(self.tools.converter.now()) <= 0 {
                shard.send_due(&mut self.tools)?;
            }
            let due_ns = shard.deadline().since(self.tools.converter.now());
            until_due_ns = until_due_ns.min(if *ready { 0 } else { due_ns });
        }
        Ok(until_due_ns)
    }

    /// Begins to ask the next lot of nodes if it is time; returns how long no other lot is due, ns.
    fn meet(&mut self, now_ns: i64) -> i64 {
        let Some(shard) = self.shards.iter_mut().find(|shard| shard.has_unmet()) else { return SWEEP_NS };
        if now_ns >= self.meet_ns {
            shard.meet(WATCH_LOT_NODES, &mut self.tools);
            // Late lots are not made up for: that would be the very burst that lots are there to avoid.
            self.meet_ns = now_ns + WATCH_LOT_PAUSE_NS;
        }
        self.meet_ns - now_ns
    }

    fn sweep(&mut self) {
        let now = self.tools.converter.now();
        self.shards.iter_mut().for_each(|shard| shard.give_up_stamps(now));
        self.ready.fill(true);
    }

    /// Takes in what names have resolved to, and spreads new addresses over the sockets.
    fn discover(&mut self) -> anyhow::Result<()> {
        let changes = self.discovery.poll(monotonic_now());
        self.messages.extend(changes.messages);
        for Candidate { address, .. } in changes.removed {
            if let Some(asked) = self.asked.remove(&address) {
                self.shards[asked.shard].leave(address, &mut self.tools);
            }
        }
        for Candidate { address, label, .. } in changes.added {
            if let Some(asked) = self.asked.get_mut(&address) {
                asked.label = label;
            } else if self.may_ask(address, &label)
                && let Some(shard) = self.shard_with_room()?
            {
                self.shards[shard].give(address);
                self.asked.insert(address, Asked { label, shard });
            }
        }
        Ok(())
    }

    /// The key of this user is for this machine only.
    fn may_ask(&mut self, address: SocketAddr, label: &str) -> bool {
        let may = self.settings.keys != KeySource::LocalUser || address.ip().to_canonical().is_loopback();
        if !may {
            self.messages.push(format!("{label} ({}) is not on this machine: give --key-file", address.ip()));
        }
        may
    }

    /// A socket that can ask one address more; `None` if there are as many as may be.
    fn shard_with_room(&mut self) -> anyhow::Result<Option<usize>> {
        if self.asked.len() >= WATCH_NODES_MAX {
            if !std::mem::replace(&mut self.full, true) {
                self.messages.push(format!("more than {WATCH_NODES_MAX} addresses: the others are left out"));
            }
            return Ok(None);
        }
        if let Some(shard) = self.shards.iter().position(|shard| shard.count() < WATCH_SHARD_NODES) {
            return Ok(Some(shard));
        }
        let index = self.shards.len();
        let options = SocketOptions { receive_buffer_bytes: Some(RECEIVE_BUFFER_BYTES), ..SocketOptions::default() };
        let socket = StampedSocket::open(SocketAddr::new(self.settings.listen, 0), &options)?;
        let shard = Shard::new(socket, self.voice(index), self.tools.converter.now())?;
        self.poll.registry().register(&mut SourceFd(&shard.fd()), Token(index), Interest::READABLE)?;
        self.shards.push(shard);
        self.ready.push(true);
        Ok(Some(index))
    }

    fn voice(&mut self, index: usize) -> Voice {
        let WatchSettings { cluster, calls_itself, .. } = &self.settings;
        let run = self.tools.entropy.next_u64();
        // An identity for every run and socket: two watches of one machine must not push each other out.
        let whole = format!("{calls_itself} {} {run:016x} {index}", self.host);
        let pair = Machine.pair();
        let clock = Mapping::through(RawTime::from_nanos(pair.raw_ns), VirtualTime::from_nanos(pair.real_ns), 0.0);
        Voice {
            identity: Identity {
                cluster: ClusterId::derive(cluster),
                node: NodeId::derive(cluster, &whole),
                boot: BootId((self.tools.entropy.next_u64() >> 32) as u32),
                name: Name::new(&format!("{calls_itself}@{}", self.host)),
            },
            keys: self.keys.clone(),
            // One end alone carries half of a link's exchanges, and nodes do not ask observers.
            rate_hz: 2.0 * self.settings.rate_hz,
            rounds: self.settings.rounds,
            claim: Claim::unset(clock, Role::Observer),
        }
    }
}
