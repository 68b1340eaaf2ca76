//! A network in memory for the protocol's tests: nodes with raw clocks of their own, links with a delay, and a hand in
//! between that may lose, copy, alter or keep what passes. Virtual time; nothing random but the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Config, Outgoing, Protocol, Roster, Tally};
use crate::flow::{Claim, Event, Exchange, Mapping, Role, Stamp, StampClass};
use crate::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime, VirtualTime};
use crate::wire::{DATAGRAM_LEN, Identity, KeyChoice, Keyring, Kind, Message, Reject, SEALED_LEN};

pub const SECOND: i64 = 1_000_000_000;
pub const MILLISECOND: i64 = 1_000_000;
pub const DELAY_NS: i64 = 20_000;
/// What a user-space stamp is early by, so that tests can tell it from the true departure.
pub const USER_LEAD_NS: i64 = 3_000;

pub type Datagram = [u8; DATAGRAM_LEN];

pub struct TestNode {
    pub protocol: Protocol,
    pub identity: Identity,
    pub address: SocketAddr,
    /// Other addresses at which it is heard.
    pub aliases: Vec<SocketAddr>,
    /// Raw clock minus true time.
    pub raw_offset_ns: i64,
    pub class: StampClass,
    /// Whether true departures come back.
    pub gives_stamps: bool,
    /// How long a true departure takes to come back.
    pub stamp_delay_ns: i64,
    pub up: bool,
    pub exchanges: Vec<Exchange>,
    pub events: Vec<Event>,
    pub rejects: Vec<Reject>,
}

/// A datagram that was put on the network.
#[derive(Clone)]
pub struct Sent {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Sent {
    pub fn kind(&self) -> Kind {
        kind(&self.bytes)
    }
}

enum Happening {
    Arrives { to: usize, from: SocketAddr, bytes: Vec<u8> },
    Stamped { node: usize, sent: Outgoing, truth: Stamp },
}

/// What happens to a datagram of one node in the network: the copies that arrive, each with its delay.
pub type Hand = Box<dyn FnMut(usize, &[u8]) -> Vec<(i64, Vec<u8>)>>;

pub struct Net {
    pub now_ns: i64,
    pub nodes: Vec<TestNode>,
    timeline: BTreeMap<(i64, u64), Happening>,
    order: u64,
    seed: u64,
    pub hand: Hand,
    /// Everything sent, before the hand.
    pub log: Vec<Sent>,
}

pub fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_000 + n as u16))
}

pub fn kind(datagram: &[u8]) -> Kind {
    [Kind::Probe, Kind::Reply, Kind::Report, Kind::Follow][usize::from(datagram[3]) - 1]
}

pub fn keyring(bytes: u8) -> Keyring {
    let mut keys = Keyring::new();
    keys.insert(KeyId(1), &[bytes; 32], None).unwrap();
    keys
}

pub fn named(name: &str, boot: u32) -> Identity {
    Identity {
        cluster: ClusterId::derive("test"),
        node: NodeId::derive("test", name),
        boot: BootId(boot),
        name: Name::new(name),
    }
}

pub fn identity(n: usize, boot: u32) -> Identity {
    named(&format!("n{n}"), boot)
}

pub fn claim() -> Claim {
    Claim::unset(Mapping::through(RawTime::from_nanos(0), VirtualTime::from_nanos(0), 0.0), Role::Peer)
}

pub fn config(n: usize, boot: u32, keys: Keyring) -> Config {
    Config {
        identity: identity(n, boot),
        keys,
        rate_hz: 8.0,
        rounds: 0,
        capacity: 8,
        claim: claim(),
        promise: StampClass::Kernel,
    }
}

/// A message as `from` would write it.
pub fn message(kind: Kind, from: &Identity, receiver: NodeId, sequence: u64) -> Message {
    Message {
        kind,
        boot: from.boot,
        sender: from.node,
        receiver,
        sequence,
        nonce: 0xaaaa_0000 + sequence,
        echo: 0,
        receive: Stamp::default(),
        transmit: Stamp { at: RawTime::from_nanos(5), class: StampClass::Kernel },
        earlier: None,
        claim: claim(),
        name: from.name,
    }
}

/// The message as a datagram, sealed with the first shared key of `keys`.
pub fn sealed(message: &Message, from: &Identity, keys: &Keyring) -> Datagram {
    let mut datagram = [0; DATAGRAM_LEN];
    message.seal(from, keys, first_shared(keys), &mut datagram);
    datagram
}

/// Alters a datagram and seals it again, as a member that holds the key can.
pub fn resealed(datagram: &[u8], keys: &Keyring, alter: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    alter(&mut bytes);
    let (body, mac) = bytes.split_at_mut(SEALED_LEN);
    mac.copy_from_slice(&keys.seal(first_shared(keys), body));
    bytes
}

fn first_shared(keys: &Keyring) -> KeyChoice {
    keys.choose(NodeId(u64::MAX), 0).expect("the ring holds a shared key")
}

/// A hand that loses what `lost` names and passes the rest.
pub fn losing(mut lost: impl FnMut(usize, &[u8]) -> bool + 'static) -> Hand {
    Box::new(move |n, bytes| if lost(n, bytes) { Vec::new() } else { vec![(DELAY_NS, bytes.to_vec())] })
}

/// A hand that loses the first datagram of one kind from one node.
pub fn losing_one(node: usize, lost: Kind) -> Hand {
    let mut done = false;
    losing(move |n, bytes| n == node && kind(bytes) == lost && !std::mem::replace(&mut done, true))
}

/// A hand that passes everything.
pub fn open_hand() -> Hand {
    losing(|_, _| false)
}

impl Net {
    /// Nobody yet.
    pub fn empty() -> Net {
        Net {
            now_ns: SECOND,
            nodes: Vec::new(),
            timeline: BTreeMap::new(),
            order: 0,
            seed: 42,
            hand: open_hand(),
            log: Vec::new(),
        }
    }

    /// `n` nodes that all list each other.
    pub fn mesh(n: usize) -> Net {
        Net::mesh_of(n, |_, _| {})
    }

    /// `n` nodes that all list each other, each config changed by `alter` before use.
    pub fn mesh_of(n: usize, mut alter: impl FnMut(usize, &mut Config)) -> Net {
        let mut net = Net::empty();
        for i in 0..n {
            let mut config = config(i, 100 + i as u32, keyring(1));
            alter(i, &mut config);
            net.add(config, i as i64 * 1_000 * SECOND);
        }
        for i in 0..n {
            net.list(i, &(0..n).filter(|k| *k != i).collect::<Vec<_>>());
        }
        net
    }

    pub fn add(&mut self, config: Config, raw_offset_ns: i64) -> usize {
        let (class, identity) = (config.promise, config.identity);
        let protocol = Protocol::new(config, RawTime::from_nanos(self.now_ns + raw_offset_ns));
        let n = self.nodes.len();
        self.nodes.push(TestNode {
            protocol,
            identity,
            address: address(n),
            aliases: Vec::new(),
            raw_offset_ns,
            class,
            gives_stamps: true,
            stamp_delay_ns: 0,
            up: true,
            exchanges: Vec::new(),
            events: Vec::new(),
            rejects: Vec::new(),
        });
        n
    }

    pub fn list(&mut self, n: usize, others: &[usize]) {
        let addresses = others.iter().map(|k| self.nodes[*k].address).collect::<Vec<_>>();
        self.list_addresses(n, &addresses);
    }

    pub fn list_addresses(&mut self, n: usize, addresses: &[SocketAddr]) {
        let (roster, _) = Roster::new(addresses.iter().copied());
        let entropy = self.entropy();
        let now = self.raw(n);
        self.nodes[n].protocol.set_roster(&roster, now, entropy);
    }

    /// Another run of node `n`, with a raw clock that starts elsewhere; it lists everybody.
    pub fn restart(&mut self, n: usize, boot: u32, raw_offset_ns: i64) {
        let now = RawTime::from_nanos(self.now_ns + raw_offset_ns);
        self.nodes[n].protocol = Protocol::new(config(n, boot, keyring(1)), now);
        self.nodes[n].identity = identity(n, boot);
        self.nodes[n].raw_offset_ns = raw_offset_ns;
        let others = (0..self.nodes.len()).filter(|k| *k != n).collect::<Vec<_>>();
        self.list(n, &others);
    }

    pub fn raw(&self, n: usize) -> RawTime {
        RawTime::from_nanos(self.now_ns + self.nodes[n].raw_offset_ns)
    }

    pub fn tally(&self, n: usize, tally: Tally) -> u64 {
        self.nodes[n].protocol.counters().tally(tally)
    }

    pub fn rejected(&self, n: usize, reject: Reject) -> u64 {
        self.nodes[n].protocol.counters().rejected(reject)
    }

    /// `Arrived` events at `n` so far.
    pub fn arrivals(&self, n: usize) -> usize {
        self.nodes[n].events.iter().filter(|e| matches!(e, Event::Arrived(_))).count()
    }

    /// `Silent` events at `n` so far.
    pub fn departures(&self, n: usize) -> usize {
        self.nodes[n].events.iter().filter(|e| matches!(e, Event::Silent(_))).count()
    }

    /// Forgets what has been seen so far, so that a test speaks of what comes.
    pub fn clear_records(&mut self) {
        self.log.clear();
        for node in &mut self.nodes {
            node.exchanges.clear();
            node.events.clear();
            node.rejects.clear();
        }
    }

    pub fn entropy(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed ^ (self.seed >> 29)
    }

    /// Puts a datagram on its way to `to` as if it came from `from`.
    pub fn inject(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        self.at(self.now_ns + DELAY_NS, Happening::Arrives { to, from, bytes: bytes.to_vec() });
    }

    /// Hands a datagram to `to` at once, past the network; the answer comes back here and goes nowhere.
    pub fn hand_over(
        &mut self,
        to: usize,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<Option<(Outgoing, Datagram)>, Reject> {
        let (now, entropy) = (self.raw(to), self.entropy());
        let received = Stamp { at: now, class: self.nodes[to].class };
        let mut answer = [0; DATAGRAM_LEN];
        let outcome = self.nodes[to].protocol.on_datagram(now, from, bytes, received, entropy, &mut answer);
        self.drain(to);
        outcome.map(|sent| sent.map(|sent| (sent, answer)))
    }

    /// As [`Net::hand_over`], of a datagram that is known to be good and to have an answer.
    pub fn answer(&mut self, to: usize, from: usize, bytes: &[u8]) -> (Outgoing, Datagram) {
        let from = self.nodes[from].address;
        self.hand_over(to, from, bytes).expect("a good datagram").expect("it has an answer")
    }

    /// Lets time pass until node `n` has something to send by itself, and takes that out of its hand.
    pub fn next_sent(&mut self, n: usize) -> (Outgoing, Datagram) {
        let mut out = [0; DATAGRAM_LEN];
        for _ in 0..1_000 {
            let (now, entropy) = (self.raw(n), self.entropy());
            let sent = self.nodes[n].protocol.poll(now, entropy, &mut out);
            self.drain(n);
            if let Some(sent) = sent {
                return (sent, out);
            }
            self.now_ns = self.now_ns.max(self.nodes[n].protocol.deadline().nanos() - self.nodes[n].raw_offset_ns);
        }
        panic!("node {n} has nothing to send");
    }

    /// The next probe of node `n` that `wanted` names; what else it would send is dropped.
    pub fn next_probe(&mut self, n: usize, wanted: impl Fn(&Outgoing, &Datagram) -> bool) -> (Outgoing, Datagram) {
        for _ in 0..100 {
            let (sent, bytes) = self.next_sent(n);
            if kind(&bytes) == Kind::Probe && wanted(&sent, &bytes) {
                return (sent, bytes);
            }
        }
        panic!("node {n} sends no such probe");
    }

    /// Polls node `n` at the present moment and drops what it would send.
    pub fn let_time_act(&mut self, n: usize) -> Vec<Datagram> {
        let (mut all, mut out) = (Vec::new(), [0; DATAGRAM_LEN]);
        loop {
            let (now, entropy) = (self.raw(n), self.entropy());
            let sent = self.nodes[n].protocol.poll(now, entropy, &mut out);
            self.drain(n);
            match sent {
                Some(_) => all.push(out),
                None => return all,
            }
        }
    }

    /// The true departure of what node `n` sent just now.
    pub fn give_stamp(&mut self, n: usize, sent: &Outgoing) {
        let truth = Stamp { at: self.raw(n).plus(USER_LEAD_NS), class: self.nodes[n].class };
        self.stamp(n, sent, truth);
    }

    /// True if nothing is under way.
    pub fn is_silent(&self) -> bool {
        self.timeline.is_empty()
    }

    pub fn run_for(&mut self, span_ns: i64) {
        let end = self.now_ns + span_ns;
        while self.now_ns < end {
            let timer = (0..self.nodes.len())
                .filter(|n| self.nodes[*n].up)
                .map(|n| self.nodes[n].protocol.deadline().nanos() - self.nodes[n].raw_offset_ns)
                .min();
            let flight = self.timeline.keys().next().map(|(at, _)| *at);
            let next = timer.unwrap_or(i64::MAX).min(flight.unwrap_or(i64::MAX)).min(end).max(self.now_ns);
            self.now_ns = next;
            while let Some(entry) = self.timeline.first_entry().filter(|e| e.key().0 <= next) {
                match entry.remove() {
                    Happening::Arrives { to, from, bytes } => self.deliver(to, from, &bytes),
                    Happening::Stamped { node, sent, truth } => self.stamp(node, &sent, truth),
                }
            }
            for n in 0..self.nodes.len() {
                self.poll(n);
            }
        }
    }

    /// Runs until `done` holds, or panics after `span_ns`. Returns how long it took.
    pub fn run_until(&mut self, span_ns: i64, mut done: impl FnMut(&Net) -> bool) -> i64 {
        let start = self.now_ns;
        while !done(self) {
            assert!(self.now_ns - start < span_ns, "not within {span_ns} ns");
            self.run_for(MILLISECOND);
        }
        self.now_ns - start
    }

    fn at(&mut self, at_ns: i64, happening: Happening) {
        self.order += 1;
        self.timeline.insert((at_ns, self.order), happening);
    }

    fn poll(&mut self, n: usize) {
        if !self.nodes[n].up {
            return;
        }
        let mut out = [0; DATAGRAM_LEN];
        for turn in 0.. {
            assert!(turn < 1_000, "poll has always more to send");
            let (now, entropy) = (self.raw(n), self.entropy());
            let sent = self.nodes[n].protocol.poll(now, entropy, &mut out);
            self.drain(n);
            let Some(sent) = sent else { break };
            self.send(n, &sent, &out);
        }
    }

    fn deliver(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        if !self.nodes[to].up {
            return;
        }
        let (now, entropy) = (self.raw(to), self.entropy());
        let received = Stamp { at: now, class: self.nodes[to].class };
        let mut answer = [0; DATAGRAM_LEN];
        let outcome = self.nodes[to].protocol.on_datagram(now, from, bytes, received, entropy, &mut answer);
        self.drain(to);
        match outcome {
            Ok(Some(sent)) => self.send(to, &sent, &answer),
            Ok(None) => {}
            Err(reject) => self.nodes[to].rejects.push(reject),
        }
    }

    fn send(&mut self, n: usize, sent: &Outgoing, bytes: &Datagram) {
        let node = &self.nodes[n];
        let (from, delay_ns) = (node.address, node.stamp_delay_ns);
        if node.gives_stamps && node.class != StampClass::User && sent.stamp_wanted {
            let truth = Stamp { at: self.raw(n).plus(USER_LEAD_NS), class: node.class };
            match delay_ns {
                0 => self.stamp(n, sent, truth),
                _ => self.at(self.now_ns + delay_ns, Happening::Stamped { node: n, sent: *sent, truth }),
            }
        }
        self.log.push(Sent { from, to: sent.to, bytes: bytes.to_vec() });
        let here = |node: &TestNode| node.address == sent.to || node.aliases.contains(&sent.to);
        if let Some(to) = self.nodes.iter().position(here) {
            for (delay_ns, bytes) in (self.hand)(n, bytes) {
                self.at(self.now_ns + USER_LEAD_NS + delay_ns, Happening::Arrives { to, from, bytes });
            }
        }
    }

    fn stamp(&mut self, n: usize, sent: &Outgoing, truth: Stamp) {
        let now = self.raw(n);
        self.nodes[n].protocol.on_transmit_stamp(sent, truth, now);
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        while let Some(event) = self.nodes[n].protocol.next_event() {
            match event {
                Event::Exchanged(exchange) => self.nodes[n].exchanges.push(exchange),
                other => self.nodes[n].events.push(other),
            }
        }
    }
}
