//! What a datagram costs: build and sign, parse and verify, and the refusals that a flood would buy. Run:
//! `cargo bench --bench wire`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use llts::flow::{Claim, Mapping, Role, Stamp, StampClass};
use llts::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime, VirtualTime};
use llts::wire::{DATAGRAM_LEN, Earlier, Identity, Keyring, Kind, Message, ReplayWindow};

fn identity(name: &str) -> Identity {
    let (cluster, node) = (ClusterId::derive("bench"), NodeId::derive("bench", name));
    Identity { cluster, node, boot: BootId(1), name: Name::new(name) }
}

fn wire(c: &mut Criterion) {
    let (author, reader) = (identity("author"), identity("reader"));
    let mut keys = Keyring::new();
    keys.insert(KeyId(1), &[7; 32], None).expect("a good key");
    let key = keys.choose(reader.node, 0).expect("the one key");
    let stamp = Stamp { at: RawTime::from_nanos(86_400_000_000_000), class: StampClass::Kernel };
    let message = Message {
        kind: Kind::Reply,
        boot: author.boot,
        sender: author.node,
        receiver: reader.node,
        sequence: 1_000,
        nonce: 0x0123_4567_89ab_cdef,
        echo: 0xfedc_ba98_7654_3210,
        receive: stamp,
        transmit: stamp,
        earlier: Some(Earlier { sequence: 997, stamp }),
        claim: Claim::unset(Mapping::through(stamp.at, VirtualTime::from_nanos(5), 1e-5), Role::Peer),
        name: author.name,
    };
    let mut datagram = [0; DATAGRAM_LEN];
    message.seal(&author, &keys, key, &mut datagram);

    c.bench_function("wire/build_and_sign", |b| {
        let mut out = [0; DATAGRAM_LEN];
        b.iter(|| black_box(&message).seal(&author, &keys, key, black_box(&mut out)));
    });
    c.bench_function("wire/parse_and_verify", |b| {
        b.iter(|| Message::open(black_box(&datagram), &reader, &keys));
    });
    c.bench_function("wire/refuse_bad_mac", |b| {
        let mut bad = datagram;
        bad[DATAGRAM_LEN - 1] ^= 1;
        b.iter(|| Message::open(black_box(&bad), &reader, &keys));
    });
    c.bench_function("wire/refuse_unknown_key", |b| {
        let mut bad = datagram;
        bad[5] = 9;
        b.iter(|| Message::open(black_box(&bad), &reader, &keys));
    });
    c.bench_function("wire/replay_window", |b| {
        let (mut window, mut sequence) = (ReplayWindow::default(), 0);
        b.iter(|| {
            sequence += 1;
            window.accept(black_box(sequence))
        });
    });
}

criterion_group!(benches, wire);
criterion_main!(benches);
