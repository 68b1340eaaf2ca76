//! What one whole exchange costs in the two state machines together: probe, reply, report and follow written, sealed,
//! opened and acted on, three transmit stamps, two finished exchanges. Beside it the hot path alone: a probe in, its
//! reply out. Run: `cargo bench --bench exchange`.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, criterion_group, criterion_main};
use llts::exchange::{Config, Outgoing, Protocol, Roster, Tally};
use llts::flow::{Claim, Mapping, Role, Stamp, StampClass};
use llts::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime, VirtualTime};
use llts::wire::{DATAGRAM_LEN, Identity, Keyring};

type Datagram = [u8; DATAGRAM_LEN];

/// Two nodes and the time. Node 1 answers only, so that the rhythm is node 0's.
struct Pair {
    now: RawTime,
    entropy: u64,
    nodes: [Protocol; 2],
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_000 + n as u16))
}

impl Pair {
    fn new() -> Self {
        let now = RawTime::from_nanos(1_000_000_000);
        let node = |n: usize| {
            let name = format!("n{n}");
            let mut keys = Keyring::new();
            keys.insert(KeyId(1), &[7; 32], None).expect("a good key");
            let config = Config {
                identity: Identity {
                    cluster: ClusterId::derive("bench"),
                    node: NodeId::derive("bench", &name),
                    boot: BootId(1),
                    name: Name::new(&name),
                },
                keys,
                rate_hz: 8.0,
                rounds: 0,
                capacity: 16,
                claim: Claim::unset(Mapping::through(now, VirtualTime::from_nanos(0), 0.0), Role::Peer),
                promise: StampClass::Kernel,
            };
            Protocol::new(config, now)
        };
        let mut pair = Pair { now, entropy: 1, nodes: [node(0), node(1)] };
        let (roster, _) = Roster::new([address(1)]);
        pair.nodes[0].set_roster(&roster, now, 3);
        (0..4).for_each(|_| pair.exchange());
        assert_eq!(pair.nodes[0].counters().tally(Tally::Exchanges), 4);
        pair
    }

    fn fresh(&mut self) -> u64 {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.entropy
    }

    fn probe(&mut self, out: &mut Datagram) -> Outgoing {
        loop {
            let entropy = self.fresh();
            if let Some(sent) = self.nodes[0].poll(self.now, entropy, out) {
                return sent;
            }
            self.now = self.nodes[0].deadline();
        }
    }

    fn stamp(&mut self, n: usize, sent: &Outgoing) {
        let truth = Stamp { at: self.now.plus(2_000), class: StampClass::Kernel };
        self.nodes[n].on_transmit_stamp(sent, truth, self.now);
    }

    fn give(&mut self, to: usize, datagram: &Datagram, answer: &mut Datagram) -> Option<Outgoing> {
        self.now = self.now.plus(20_000);
        let (received, entropy) = (Stamp { at: self.now, class: StampClass::Kernel }, self.fresh());
        self.nodes[to]
            .on_datagram(self.now, address(1 - to), datagram, received, entropy, answer)
            .expect("a good packet")
    }

    fn exchange(&mut self) {
        let (mut a, mut b) = ([0; DATAGRAM_LEN], [0; DATAGRAM_LEN]);
        let probe = self.probe(&mut a);
        self.stamp(0, &probe);
        let reply = self.give(1, &a, &mut b).expect("a reply");
        self.stamp(1, &reply);
        self.give(0, &b, &mut a).expect("a report");
        self.give(1, &a, &mut b).expect("a follow");
        self.give(0, &b, &mut a);
        for node in &mut self.nodes {
            while let Some(event) = node.next_event() {
                black_box(event);
            }
        }
    }
}

fn exchange(c: &mut Criterion) {
    let mut pair = Pair::new();
    c.bench_function("exchange/whole_both_ends", |b| b.iter(|| pair.exchange()));

    let mut pair = Pair::new();
    c.bench_function("exchange/probe_in_reply_out", |b| {
        b.iter_custom(|rounds| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..rounds {
                let (mut probe, mut reply) = ([0; DATAGRAM_LEN], [0; DATAGRAM_LEN]);
                pair.probe(&mut probe);
                let start = std::time::Instant::now();
                black_box(pair.give(1, black_box(&probe), &mut reply));
                spent += start.elapsed();
            }
            spent
        });
    });
}

criterion_group!(benches, exchange);
criterion_main!(benches);
