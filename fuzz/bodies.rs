//! What each fuzz target does with its bytes, and what must hold. Shared by the targets and by tests/fuzz_bodies.rs,
//! which runs the same on stable. No randomness but the data.

use std::net::SocketAddr;

use llts::exchange::{Config, Outgoing, Protocol, Roster, Tally};
use llts::flow::{Claim, Event, Mapping, Role, Stamp, StampClass};
use llts::saturn;
use llts::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime, RealTime, VirtualTime};
use llts::wire::{DATAGRAM_LEN, Identity, Keyring, Message, SEALED_LEN};

type Datagram = [u8; DATAGRAM_LEN];

fn identity(n: usize, boot: u32) -> Identity {
    let name = format!("n{n}");
    Identity {
        cluster: ClusterId::derive("fuzz"),
        node: NodeId::derive("fuzz", &name),
        boot: BootId(boot),
        name: Name::new(&name),
    }
}

fn keyring(ids: &[u16]) -> Keyring {
    let mut keys = Keyring::new();
    for id in ids {
        keys.insert(KeyId(*id), &[*id as u8; 32], None).expect("good keys");
    }
    keys
}

fn claim() -> Claim {
    Claim::unset(Mapping::through(RawTime::from_nanos(0), VirtualTime::from_nanos(0), 0.0), Role::Peer)
}

/// Seals what stands in `datagram`, so that it goes past the MAC.
fn seal(datagram: &mut Datagram) {
    let keys = keyring(&[1]);
    let key = keys.choose(NodeId(1), 0).expect("a shared key");
    let (sealed, mac) = datagram.split_at_mut(SEALED_LEN);
    mac.copy_from_slice(&keys.seal(key, sealed));
}

/// Gives `datagram` a header that leads past the first checks, each part only if its bit of `parts` is set.
fn plausible(datagram: &mut Datagram, parts: u8, author: &Identity, reader: &Identity) {
    datagram[..3].copy_from_slice(&[0x4c, 0x54, 0x10]);
    datagram[4..6].copy_from_slice(&[0, 1]);
    if parts & 1 == 0 {
        datagram[3] = 1 + datagram[3] % 4;
    }
    if parts & 2 == 0 {
        datagram[8..12].copy_from_slice(&author.cluster.0.to_be_bytes());
    }
    if parts & 4 == 0 {
        datagram[16..24].copy_from_slice(&author.node.0.to_be_bytes());
    }
    if parts & 8 == 0 {
        datagram[24..32].copy_from_slice(&reader.node.0.to_be_bytes());
    }
    if parts & 16 == 0 {
        // Claims of a working node: 1e-18, 1, infinity, infinity, one alive.
        datagram[104..112].fill(0);
        for (at, value) in [(116, 1e-18f32), (120, 1.0), (124, f32::INFINITY), (128, f32::INFINITY)] {
            datagram[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        datagram[132..134].copy_from_slice(&[0, 1]);
    }
    if parts & 32 == 0 {
        datagram[80..84].fill(0);
    }
}

/// The parser: bytes as they are never open; the same bytes well sealed are refused or mean the same after being
/// written again.
pub fn wire_open(data: &[u8]) {
    let (author, reader, keys) = (identity(0, 1), identity(1, 1), keyring(&[1, 2]));
    assert!(Message::open(data, &reader, &keys).is_err(), "nobody guesses a seal");
    let _ = Message::reflected_nonce(data);

    let mut datagram = [0; DATAGRAM_LEN];
    let taken = data.len().min(SEALED_LEN);
    datagram[..taken].copy_from_slice(&data[..taken]);
    plausible(&mut datagram, data.last().copied().unwrap_or(0), &author, &reader);
    seal(&mut datagram);
    let Ok((message, key)) = Message::open(&datagram, &reader, &keys) else { return };
    assert_ne!(message.sender, reader.node);
    assert_ne!(message.sender, NodeId::ANYONE);
    assert!(message.receiver == reader.node || message.receiver == NodeId::ANYONE);
    assert!(message.earlier.is_none_or(|e| e.sequence != 0 && e.sequence < message.sequence));
    assert!(message.claim.boost >= 1.0 && message.claim.wander > 0.0 && message.claim.mapping.rate.abs() <= 0.2);
    assert!(!message.name.as_str().chars().any(char::is_control));
    let mut again = [0; DATAGRAM_LEN];
    message.seal(&author, &keys, key, &mut again);
    assert_eq!(Message::open(&again, &reader, &keys).map(|(m, _)| m), Ok(message));
}

/// Bytes read as a script.
struct Script<'a>(std::slice::Iter<'a, u8>);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn is_over(&self) -> bool {
        self.0.len() == 0
    }
}

const NODES: usize = 3;
const CAPACITY: usize = 4;

struct World<'a> {
    script: Script<'a>,
    now_ns: i64,
    entropy: u64,
    nodes: Vec<Protocol>,
    /// Every datagram that was sent, kept for ever: a network may delay, repeat and misdeliver.
    sent: Vec<Datagram>,
    stamps: Vec<(usize, Outgoing)>,
    exchanges: u64,
}

/// The state machine: any order of packets, lies, stamps, restarts and passing time. It never panics, never says more
/// than one packet for one, never spins, and its tables and events stay bounded. Returns how many exchanges were
/// finished, by which the caller sees whether the data led anywhere.
pub fn protocol_datagrams(data: &[u8]) -> u64 {
    let start = RawTime::from_nanos(1_000_000_000);
    let mut world = World {
        script: Script(data.iter()),
        now_ns: start.nanos(),
        entropy: 1,
        nodes: (0..NODES).map(|n| protocol(n, 1, start)).collect(),
        sent: Vec::new(),
        stamps: Vec::new(),
        exchanges: 0,
    };
    (0..NODES).for_each(|n| world.list(n, 0xff));
    while !world.script.is_over() && world.sent.len() < 4_096 {
        world.step();
    }
    world.exchanges
}

fn protocol(n: usize, boot: u32, now: RawTime) -> Protocol {
    let promise = if n == 2 { StampClass::User } else { StampClass::Kernel };
    let (identity, keys) = (identity(n, boot), keyring(&[1]));
    let config = Config { identity, keys, rate_hz: 8.0, rounds: 4, capacity: CAPACITY, claim: claim(), promise };
    Protocol::new(config, now)
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_000 + n as u16))
}

impl World<'_> {
    fn step(&mut self) {
        let choice = self.script.byte();
        let node = usize::from(self.script.byte()) % NODES;
        match choice % 16 {
            0..=3 => {
                let exponent = self.script.byte() % 34;
                self.now_ns += 1i64 << exponent;
                (0..NODES).for_each(|n| self.poll(n));
            }
            // The newest packets are the likeliest to be awaited.
            4..=8 => {
                let back = usize::from(self.script.byte() % 8) + 1;
                if let Some(datagram) = self.sent.len().checked_sub(back).map(|i| self.sent[i]) {
                    self.deliver_everywhere(&datagram);
                }
            }
            9 => {
                let index = self.script.word() as usize;
                if let Some(datagram) = self.sent.get(index % self.sent.len().max(1)).copied() {
                    self.deliver(node, address(7), &datagram);
                }
            }
            10 | 11 => {
                // A member lies: one of its packets with some bytes changed, well sealed.
                let index = self.script.word() as usize;
                if let Some(mut datagram) = self.sent.get(index % self.sent.len().max(1)).copied() {
                    for _ in 0..self.script.byte() % 4 {
                        let at = usize::from(self.script.byte()) % SEALED_LEN;
                        datagram[at] = self.script.byte();
                    }
                    if choice % 16 == 10 {
                        seal(&mut datagram);
                    }
                    let from = address(usize::from(self.script.byte() % 5));
                    self.deliver(node, from, &datagram);
                }
            }
            12 => {
                let mut datagram = std::array::from_fn(|_| self.script.byte());
                let parts = self.script.byte();
                let author = identity(usize::from(self.script.byte() % 8), 1);
                plausible(&mut datagram, parts, &author, &identity(node, 1));
                seal(&mut datagram);
                self.deliver(node, address(5), &datagram);
            }
            13 => {
                let index = usize::from(self.script.byte());
                if !self.stamps.is_empty() {
                    let (n, sent) = self.stamps.swap_remove(index % self.stamps.len());
                    let at = RawTime::from_nanos(self.now_ns + i64::from(self.script.byte()));
                    let now = RawTime::from_nanos(self.now_ns);
                    self.nodes[n].on_transmit_stamp(&sent, Stamp { at, class: StampClass::Kernel }, now);
                    self.drain(n);
                }
            }
            14 => {
                let which = self.script.byte();
                self.list(node, which);
            }
            _ => match self.script.byte() % 4 {
                0 => {
                    let boot = 2 + u32::from(self.script.byte());
                    self.nodes[node] = protocol(node, boot, RawTime::from_nanos(self.now_ns));
                    self.stamps.retain(|(n, _)| *n != node);
                    self.list(node, 0xff);
                }
                1 => self.nodes[node].set_keys(keyring(&[1, 2])),
                2 => self.nodes[node].set_keys(keyring(&[2, 1])),
                _ => self.nodes[node].set_keys(keyring(&[])),
            },
        }
    }

    fn list(&mut self, node: usize, which: u8) {
        let listed = (0..8).filter(|n| which >> n & 1 == 1).map(address);
        let (roster, _) = Roster::new(listed);
        let entropy = self.fresh();
        self.nodes[node].set_roster(&roster, RawTime::from_nanos(self.now_ns), entropy);
        self.drain(node);
    }

    fn fresh(&mut self) -> u64 {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.entropy
    }

    fn deliver_everywhere(&mut self, datagram: &Datagram) {
        (0..NODES).for_each(|n| self.deliver(n, address(3), datagram));
    }

    fn deliver(&mut self, node: usize, from: SocketAddr, datagram: &[u8]) {
        let (now, entropy) = (RawTime::from_nanos(self.now_ns), self.fresh());
        let received = Stamp { at: now, class: StampClass::Kernel };
        let mut answer = [0; DATAGRAM_LEN];
        let before = *self.nodes[node].counters();
        let outcome = self.nodes[node].on_datagram(now, from, datagram, received, entropy, &mut answer);
        let after = *self.nodes[node].counters();
        assert_eq!(after.tally(Tally::Received), before.tally(Tally::Received) + 1);
        assert_eq!(after.rejected_total() - before.rejected_total(), u64::from(outcome.is_err()));
        match outcome {
            Ok(Some(sent)) => {
                assert_eq!(after.tally(Tally::Sent), before.tally(Tally::Sent) + 1);
                assert_eq!(answer[3], datagram[3] + 1, "each kind is answered by the next only");
                self.keep(node, sent, answer);
            }
            Ok(None) => assert_ne!(datagram[3], 1, "a probe that is taken is answered"),
            Err(_) => assert_eq!(after.tally(Tally::Sent), before.tally(Tally::Sent)),
        }
        self.drain(node);
    }

    fn poll(&mut self, node: usize) {
        let now = RawTime::from_nanos(self.now_ns);
        for turn in 0.. {
            assert!(turn < 256, "one moment has always more to say");
            let (entropy, mut out) = (self.fresh(), [0; DATAGRAM_LEN]);
            let sent = self.nodes[node].poll(now, entropy, &mut out);
            self.drain(node);
            let Some(sent) = sent else { break };
            self.keep(node, sent, out);
        }
    }

    fn keep(&mut self, node: usize, sent: Outgoing, datagram: Datagram) {
        self.sent.push(datagram);
        if sent.stamp_wanted {
            self.stamps.push((node, sent));
        }
    }

    fn drain(&mut self, node: usize) {
        let mut events = 0;
        while let Some(event) = self.nodes[node].next_event() {
            events += 1;
            let slot = match event {
                Event::Exchanged(exchange) => {
                    self.exchanges += 1;
                    exchange.peer
                }
                Event::Arrived(peer) => peer.slot,
                Event::Silent(slot) | Event::Returned(slot) | Event::Left(slot) => slot,
            };
            assert!(slot.index() < CAPACITY);
        }
        assert!(events <= 4 * CAPACITY + 64, "{events} events of one call");
        assert!(self.nodes[node].alive() <= CAPACITY);
    }
}

/// Saturn's parser and both its roles: bytes as they are, bytes well signed, true packets changed, repeated and late,
/// and passing time. Nothing panics, what is refused is counted once and changes nothing, what is answered is genuine,
/// and a sound offset is a number. Returns how many transactions were finished.
pub fn saturn_datagrams(data: &[u8]) -> u64 {
    use saturn::message::{Inner, TxMsg};
    use saturn::{master, slave};
    let mut script = Script(data.iter());
    let (key, compat) = (saturn::key::Key::new(b"fuzz"), script.byte() % 2 == 1);
    let mut now_ns = 1_000_000_000;
    let config = master::Config { key: key.clone(), rounds: 1 + u32::from(script.byte() % 4), compat };
    let mut master = master::Master::new(config, RawTime::from_nanos(now_ns), 7);
    let config = slave::Config { key: key.clone(), name: b"s".to_vec(), compat };
    let at = |now_ns: i64| saturn::Reading {
        real: RealTime::from_nanos(now_ns.wrapping_add(1_790_000_000_000_000_000)),
        raw: RawTime::from_nanos(now_ns),
    };
    // Every datagram that was sent by either, in order.
    let mut sent: Vec<Vec<u8>> = vec![Vec::new()];
    let (mut ids, mut finished) = (0u64, 0);
    let mut out = Vec::new();
    let mut begin = |now_ns: i64, out: &mut Vec<u8>| {
        ids += 1;
        slave::Transaction::begin(&config, address(0), slave::transaction_id(address(1), ids), at(now_ns), out)
    };
    let mut transaction = begin(now_ns, &mut out);
    sent.push(out.clone());
    while !script.is_over() && sent.len() < 4_096 {
        let choice = script.byte();
        now_ns += 1i64 << (script.byte() % 36);
        master.sweep(RawTime::from_nanos(now_ns));
        let back = match choice % 8 {
            0..=4 => 1 + usize::from(choice % 8 == 4),
            _ => 1 + usize::from(script.byte()),
        };
        let mut datagram = sent[sent.len().saturating_sub(back)].clone();
        match choice / 8 % 8 {
            0 => {
                transaction = begin(now_ns, &mut out);
                datagram.clone_from(&out);
                sent.push(out.clone());
            }
            1 => {
                for _ in 0..script.byte() % 4 {
                    let at = usize::from(script.byte()) % datagram.len().max(1);
                    if let Some(byte) = datagram.get_mut(at) {
                        *byte = script.byte();
                    }
                }
            }
            2 => datagram = (0..script.byte()).map(|_| script.byte()).collect(),
            3 => {
                // A member lies.
                if let Ok(mut message) = TxMsg::read(&datagram) {
                    match &mut message.inner {
                        Some(Inner::Report(report)) => report.diff = report.diff.wrapping_add(script.word() as i64),
                        Some(Inner::InitialReport(report)) => report.time = script.word() as i64,
                        Some(Inner::Fin(fin)) => fin.offset = Some(f64::from_bits(script.word())),
                        None => {}
                    }
                    message.seq = message.seq.wrapping_add(i32::from(script.byte() % 3) - 1);
                    key.sign(&mut message);
                    message.write(&mut datagram);
                }
            }
            _ => {}
        }
        let (before, live) = (master.refusals().total(), master.live());
        match master.open(&datagram) {
            Ok(opened) => {
                let (arrived, now) = (at(now_ns - i64::from(script.byte())).real, at(now_ns));
                let outcome = master.answer(opened, arrived, now, &mut out);
                if outcome != master::Outcome::Ended {
                    let answer = TxMsg::read(&out).expect("what is written can be read");
                    assert!(key.is_genuine(&answer));
                    sent.push(out.clone());
                }
                if let master::Outcome::Finished(found) = outcome {
                    finished += 1;
                    assert!(compat || found.estimate.offset_ms.is_finite());
                }
                assert_eq!(master.refusals().total(), before);
            }
            Err(reason) => {
                assert!(!reason.as_str().is_empty());
                assert_eq!((master.refusals().total(), master.live()), (before + 1, live));
            }
        }
        let datagram = sent.last().expect("the first is never taken away").clone();
        let before = transaction.refusals().total();
        match transaction.open(address(0), &datagram) {
            Ok(opened) => {
                if transaction.answer(opened, at(now_ns).real, at(now_ns), &mut out) == slave::Outcome::Answer {
                    sent.push(out.clone());
                }
            }
            Err(_) => assert_eq!(transaction.refusals().total(), before + 1),
        }
    }
    finished
}
