//! A network in memory for the protocol's tests: nodes with raw clocks of their own, links with a delay, and a hand in
//! between that may lose, copy or alter what passes. Virtual time; nothing random but the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Config, Outgoing, Protocol, Roster};
use crate::flow::{Claim, Event, Exchange, Mapping, Role, Stamp, StampClass};
use crate::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime, VirtualTime};
use crate::wire::{DATAGRAM_LEN, Identity, Keyring, Reject};

pub const SECOND: i64 = 1_000_000_000;
pub const DELAY_NS: i64 = 20_000;
/// What a user-space stamp is early by, so that tests can tell it from the true departure.
pub const USER_LEAD_NS: i64 = 3_000;

pub struct TestNode {
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// Raw clock minus true time.
    pub raw_offset_ns: i64,
    pub class: StampClass,
    /// Whether true departures come back.
    pub gives_stamps: bool,
    pub up: bool,
    pub exchanges: Vec<Exchange>,
    pub events: Vec<Event>,
    pub rejects: Vec<Reject>,
}

type Flight = (usize, SocketAddr, Vec<u8>);

pub struct Net {
    pub now_ns: i64,
    pub nodes: Vec<TestNode>,
    flights: BTreeMap<(i64, u64), Flight>,
    order: u64,
    seed: u64,
    /// What a hand in the network does with a datagram: the copies that arrive, each with its delay.
    pub hand: Box<dyn FnMut(usize, &[u8]) -> Vec<(i64, Vec<u8>)>>,
}

pub fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_000 + n as u16))
}

pub fn keyring(bytes: u8) -> Keyring {
    let mut keys = Keyring::new();
    keys.insert(KeyId(1), &[bytes; 32], None).unwrap();
    keys
}

pub fn identity(n: usize, boot: u32) -> Identity {
    let name = format!("n{n}");
    Identity {
        cluster: ClusterId::derive("test"),
        node: NodeId::derive("test", &name),
        boot: BootId(boot),
        name: Name::new(&name),
    }
}

pub fn config(n: usize, boot: u32, keys: Keyring) -> Config {
    let mapping = Mapping::through(RawTime::from_nanos(0), VirtualTime::from_nanos(0), 0.0);
    Config {
        identity: identity(n, boot),
        keys,
        rate_hz: 8.0,
        rounds: 0,
        capacity: 8,
        claim: Claim::unset(mapping, Role::Peer),
        promise: StampClass::Kernel,
    }
}

impl Net {
    /// `n` nodes that all list each other.
    pub fn mesh(n: usize) -> Net {
        let mut net = Net {
            now_ns: SECOND,
            nodes: Vec::new(),
            flights: BTreeMap::new(),
            order: 0,
            seed: 42,
            hand: Box::new(|_, bytes| vec![(DELAY_NS, bytes.to_vec())]),
        };
        for i in 0..n {
            net.add(config(i, 100 + i as u32, keyring(1)), i as i64 * 1_000 * SECOND);
        }
        for i in 0..n {
            net.list(i, &(0..n).filter(|k| *k != i).collect::<Vec<_>>());
        }
        net
    }

    pub fn add(&mut self, config: Config, raw_offset_ns: i64) -> usize {
        let class = config.promise;
        let protocol = Protocol::new(config, RawTime::from_nanos(self.now_ns + raw_offset_ns));
        let n = self.nodes.len();
        self.nodes.push(TestNode {
            protocol,
            address: address(n),
            raw_offset_ns,
            class,
            gives_stamps: true,
            up: true,
            exchanges: Vec::new(),
            events: Vec::new(),
            rejects: Vec::new(),
        });
        n
    }

    pub fn list(&mut self, n: usize, others: &[usize]) {
        let (roster, _) = Roster::new(others.iter().map(|k| self.nodes[*k].address));
        let entropy = self.entropy();
        let now = self.raw(n);
        self.nodes[n].protocol.set_roster(&roster, now, entropy);
    }

    pub fn restart(&mut self, n: usize, boot: u32, raw_offset_ns: i64) {
        let now = RawTime::from_nanos(self.now_ns + raw_offset_ns);
        self.nodes[n].protocol = Protocol::new(config(n, boot, keyring(1)), now);
        self.nodes[n].raw_offset_ns = raw_offset_ns;
        let others = (0..self.nodes.len()).filter(|k| *k != n).collect::<Vec<_>>();
        self.list(n, &others);
    }

    pub fn raw(&self, n: usize) -> RawTime {
        RawTime::from_nanos(self.now_ns + self.nodes[n].raw_offset_ns)
    }

    pub fn entropy(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed ^ (self.seed >> 29)
    }

    /// Puts a datagram on its way to `to` as if it came from `from`.
    pub fn inject(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        self.order += 1;
        self.flights.insert((self.now_ns + DELAY_NS, self.order), (to, from, bytes.to_vec()));
    }

    pub fn run_for(&mut self, span_ns: i64) {
        let end = self.now_ns + span_ns;
        while self.now_ns < end {
            let timer = (0..self.nodes.len())
                .filter(|n| self.nodes[*n].up)
                .map(|n| self.nodes[n].protocol.deadline().nanos() - self.nodes[n].raw_offset_ns)
                .min();
            let flight = self.flights.keys().next().map(|(at, _)| *at);
            let next = timer.unwrap_or(i64::MAX).min(flight.unwrap_or(i64::MAX)).min(end).max(self.now_ns);
            self.now_ns = next;
            while let Some(entry) = self.flights.first_entry().filter(|e| e.key().0 <= next) {
                let (to, from, bytes) = entry.remove();
                self.deliver(to, from, &bytes);
            }
            for n in 0..self.nodes.len() {
                self.poll(n);
            }
        }
    }

    fn poll(&mut self, n: usize) {
        if !self.nodes[n].up {
            return;
        }
        let mut out = [0; DATAGRAM_LEN];
        loop {
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

    fn send(&mut self, n: usize, sent: &Outgoing, bytes: &[u8; DATAGRAM_LEN]) {
        if self.nodes[n].gives_stamps && self.nodes[n].class != StampClass::User && sent.stamp_wanted {
            let truth = Stamp { at: self.raw(n).plus(USER_LEAD_NS), class: self.nodes[n].class };
            let now = self.raw(n);
            self.nodes[n].protocol.on_transmit_stamp(sent, truth, now);
            self.drain(n);
        }
        let from = self.nodes[n].address;
        if let Some(to) = self.nodes.iter().position(|node| node.address == sent.to) {
            for (delay_ns, copy) in (self.hand)(n, bytes) {
                self.order += 1;
                self.flights.insert((self.now_ns + USER_LEAD_NS + delay_ns, self.order), (to, from, copy));
            }
        }
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
