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

/// A table of a scenario: its name, and of each key the values to choose from.
type Table = (&'static str, &'static [(&'static str, &'static [&'static str])]);

/// What a scenario's keys may be given, table by table, good values first and bad ones last.
const SCENARIO_TABLES: &[Table] = &[
    (
        "[cluster]",
        &[
            ("rate", &["8.0", "1.0", "128.0", "0.5", "0.0", "nan"]),
            ("rounds", &["32", "1", "100", "0"]),
            ("topology", &["'mesh'", "'ring'", "'star'", "'two-sites'", "'overlay'"]),
            ("fidelity", &["'packets'", "'exchanges'"]),
            ("faults", &["0", "1", "2", "9"]),
            ("tick", &["'31250us'", "'1ms'", "'1s'", "'10s'"]),
            ("tick_late", &["'exp 20us'", "'exp 1s'", "'none'", "'-1s'"]),
            ("degree", &["2", "8"]),
        ],
    ),
    (
        "[oscillator]",
        &[
            ("frequency", &["'50ppm'", "'100000ppm'", "'0'", "'-1ppm'"]),
            ("frequency_exact", &["'-100000ppm'", "'500ppm'", "'-1000000ppm'"]),
            ("wander", &["1e-9", "1e-5", "0.0", "-1.0", "inf"]),
            ("white", &["1e-10", "1e-5", "nan"]),
            ("flicker", &["1e-10", "1e-5"]),
            ("temperature", &["'100ppb'", "'100000ppm'"]),
            ("temperature_period", &["'100s'", "'1s'", "'0s'"]),
            ("cell", &["'15ms'", "'1ms'", "'1s'", "'1ns'"]),
        ],
    ),
    (
        "[clock]",
        &[
            ("offset", &["'10ms'", "'0'", "'20d'", "'90000d'"]),
            ("offset_exact", &["'-1s'", "'-7000d'"]),
            ("rate_grain", &["'1ppb'", "'100ppm'", "'-1ppm'"]),
            ("read_noise", &["'normal 100ns'", "'-3us'", "'exp 1s'"]),
            ("begins_unix_s", &["0", "9223368136", "-1", "2085978436"]),
        ],
    ),
    (
        "[stamps]\nkind = 'kernel'",
        &[
            ("missing", &["0.5", "1.0", "2.0"]),
            ("late", &["'exp 1ms'", "'5s'", "'-1s'"]),
            ("lead", &["'10us'", "'exp 1s'"]),
            ("grain", &["'1us'", "'1s'", "'0s'"]),
            ("receive", &["'normal 1us'", "'-1ms'"]),
            ("transmit", &["'uniform 1s'", "'none'"]),
            (
                "card",
                &["{}", "{ offset = '7000d' }", "{ oscillator = { wander = 1e-5 } }", "{ read_noise = 'exp 1s' }"],
            ),
        ],
    ),
    (
        "[link]",
        &[
            ("delay", &["'20us'", "'0'", "'1000s'", "'-1us'"]),
            ("jitter", &["'exp 10us'", "'pareto 1s 0.1'", "'exp*exp 200us'", "'50% exp 1s + normal 1s'", "'10%'"]),
            ("recorded", &["['1us', '5us']", "['-1us']"]),
            ("loss", &["0.3", "1.0", "-0.1"]),
            (
                "loss_bursts",
                &[
                    "{ pause = '1ms', shortest = '0s', longest = '1ns' }",
                    "{ pause = '1s', shortest = '1ms', longest = '1d' }",
                    "{ pause = '0s', shortest = '0s', longest = '0s' }",
                ],
            ),
            ("duplicate", &["0.5", "1.0"]),
            ("reorder", &["0.5", "1.0"]),
            ("reorder_by", &["'1ms'", "'pareto 1s 0.1'"]),
            (
                "queue",
                &[
                    "{ pause = '1ms', shortest = '0s', longest = '1us', height = 'exp 1ms' }",
                    "{ pause = '1s', shortest = '1s', longest = '2s', height = 'exp 1s' }",
                    "{ pause = '1us', shortest = '0s', longest = '0s', height = '0' }",
                ],
            ),
            ("wire", &["{ bits_per_s = 1e9, utilisation = 0.9 }", "{ bits_per_s = 1e3, utilisation = 0.0 }"]),
            ("asymmetry", &["'1us'", "'1000s'"]),
            ("backward", &["{ delay = '1ms' }", "{ loss = 1.0 }", "{ jitter = 'exp 1ms' }"]),
        ],
    ),
    ("[[edge]]\nlink = { jitter = 'exp 1ms' }", &[("of", &["[0]", "[9]"]), ("part", &["0.5", "7.0"])]),
    (
        "[[node]]\nnodes = [1]",
        &[
            ("role", &["'reference'", "'observer'", "'peer'"]),
            ("joins_at", &["'500ms'", "'1d'"]),
            ("wrong_key", &["true"]),
            ("limits", &["{ max_total = '1ms', step_threshold = '1us' }", "{ max_change_at_start = '1us' }"]),
        ],
    ),
    (
        "[[event]]\nat = '300ms'\nnodes = [0]",
        &[(
            "kind",
            &[
                "'crash'\ndown = '1ms'",
                "'crash'",
                "'partition'\nuntil = '400ms'",
                "'suspend'\nlength = '200ms'",
                "'pause'\nlength = '7d'",
                "'migrate'\njump = '20d'\nchange = '90000ppm'",
                "'frequency-jump'\nchange = '-100000ppm'",
                "'temperature-step'\nchange = '100000ppm'\ntau = '1ms'",
                "'stuck-clock'\nlength = '600ms'",
                "'clock-step'\nby = '-5000d'",
                "'clock-step'\nby = '40ms'",
            ],
        )],
    ),
    (
        "[[event]]\nat = '500ms'",
        &[(
            "kind",
            &[
                "'churn'\nuntil = '900ms'\npart_per_minute = 60.0\ndown = '1ms'",
                "'route'\nbetween = [0, 1]\nforward = '-1s'\nbackward = '1000s'",
                "'stuck-clock'\nlength = '1d'\nnodes = [1]",
                "'suspend'\nlength = '1ms'\nnodes = [0]",
                "'partition'\nuntil = '1ms'\nnodes = [0]",
            ],
        )],
    ),
    (
        "[[liar]]\nnodes = [1]",
        &[
            (
                "attack",
                &[
                    "{ kind = 'random', amplitude = '7000d' }",
                    "{ kind = 'smart-drag', amplitude = '1ms' }",
                    "{ kind = 'slow-drag', rate = '100000ppm' }",
                    "{ kind = 'delay', by = '1000s' }",
                    "{ kind = 'replay' }",
                    "{ kind = 'echo' }",
                ],
            ),
            ("via", &["'stamps'", "'claim'"]),
            ("from", &["'100ms'"]),
        ],
    ),
    ("[measure]", &[("sample_hz", &["1.0", "1000.0"]), ("settle", &["'0'", "'1s'"]), ("from", &["'0'", "'1d'"])]),
];

/// Events of the simulator for each node and second of a scenario of at most four nodes: ticks a millisecond apart, 128
/// exchanges a second with three peers, all of it twice, and room.
const HAPPENINGS_MAX: u64 = 60_000;

/// Scenarios: any text is refused in one line or taken, and a short one that is taken runs to its end, after work that
/// its length and its nodes explain. True if one was taken.
pub fn scenario_text(data: &[u8]) -> bool {
    use llts::sim::{cluster::Cluster, run, scenario::Scenario};
    if let Err(sentence) = Scenario::parse("fuzz", &String::from_utf8_lossy(data)) {
        assert!(!sentence.contains('\n'), "{sentence:?}");
    }
    let mut script = Script(data.iter());
    let (nodes, seed) = (2 + u64::from(script.byte() % 3), script.word());
    let mut text = format!("summary = 'fuzz'\nduration = '{}ms'\n", 1_000 + 250 * u64::from(script.byte() % 5));
    for (n, (head, keys)) in SCENARIO_TABLES.iter().enumerate() {
        if n > 0 && script.byte() % 3 > 0 {
            continue;
        }
        text += &format!("{head}\n");
        if n == 0 {
            text += &format!("nodes = {nodes}\n");
        }
        let needed = keys.len() == 1 || keys[0].0 == "attack";
        for (k, (key, values)) in keys.iter().enumerate() {
            if script.byte() % 4 == 0 || k == 0 && needed {
                // The bad values stand last: most scripts are to lead somewhere.
                let lot = usize::from(script.byte()).min(usize::from(script.byte()));
                text += &format!("{key} = {}\n", values[lot * values.len() / 256]);
            }
        }
    }
    let scenario = match Scenario::parse("fuzz", &text) {
        Ok(scenario) => scenario,
        Err(sentence) => {
            assert!(sentence.starts_with("scenario fuzz: ") && !sentence.contains('\n'), "{sentence:?}\n{text}");
            return false;
        }
    };
    let algorithm = llts::pipeline::Algorithm::default();
    let mut cluster = Cluster::new(&scenario, algorithm, seed);
    cluster.run_until(scenario.duration.nanos());
    assert!(cluster.happenings() < nodes * 2 * HAPPENINGS_MAX, "{} happenings of\n{text}", cluster.happenings());
    let report = run::run(&scenario, algorithm, seed, &|| {}, None);
    assert!(report.pairwise_rms_ns.is_none_or(f64::is_finite), "{report:?} of\n{text}");
    true
}
