//! Messages as a whole: what is written is what is read, and arbitrary bytes are nothing.

use proptest::prelude::*;

use super::{DATAGRAM_LEN, Earlier, Identity, Keyring, Kind, Message, Reject, SEALED_LEN};
use crate::flow::{Claim, Leap, Mapping, NodeState, Role, Stamp, StampClass};
use crate::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime};

fn keys() -> Keyring {
    let mut keys = Keyring::new();
    keys.insert(KeyId(1), &[1; 32], None).unwrap();
    keys
}

fn identity(name: &str) -> Identity {
    Identity {
        cluster: ClusterId::derive("test"),
        node: NodeId::derive("test", name),
        boot: BootId(1),
        name: Name::new(name),
    }
}

fn a_stamp() -> impl Strategy<Value = Stamp> {
    let classes = prop_oneof![Just(StampClass::User), Just(StampClass::Kernel), Just(StampClass::Nic)];
    (any::<i64>(), classes).prop_map(|(at, class)| Stamp { at: RawTime::from_nanos(at), class })
}

fn a_claim() -> impl Strategy<Value = Claim> {
    let limit = (0.2 * (1u64 << 48) as f64) as i64;
    let mapping = (any::<i64>(), any::<i64>(), any::<u32>(), -limit..=limit);
    let states = (any::<u8>(), 0u8..3, any::<bool>());
    let deviation = || prop_oneof![0.0f32..1e9, Just(f32::INFINITY), Just(0.0)];
    let quality = (1e-26f32..1e-8, 1.0f32..=1024.0, deviation(), deviation(), 1u16..);
    (mapping, any::<u32>(), states, quality).prop_map(|(mapping, version, states, quality)| Claim {
        mapping: Mapping {
            epoch: RawTime::from_nanos(mapping.0),
            offset_ns: mapping.1,
            offset_frac_ns: f64::from(mapping.2) / 2f64.powi(32),
            rate: mapping.3 as f64 / 2f64.powi(48),
        },
        version,
        state: NodeState::from_bits(states.0),
        role: Role::from_bits(states.1),
        joining: states.2,
        wander: quality.0,
        boost: quality.1,
        sigma_ns: quality.2,
        bound_ns: quality.3,
        alive: quality.4,
        stamp_doubt_ns: quality.4.rotate_left(5),
        leap: Leap::from_bits(states.0 >> 4),
        circle: u64::from(version) << 21,
    })
}

fn a_message() -> impl Strategy<Value = Message> {
    let kinds = prop_oneof![Just(Kind::Probe), Just(Kind::Reply), Just(Kind::Report), Just(Kind::Follow)];
    let numbers = (1u64.., any::<u64>(), any::<u64>(), any::<u32>());
    let stamps = (a_stamp(), a_stamp(), a_stamp(), any::<u32>());
    (kinds, numbers, stamps, a_claim(), "\\PC{0,20}").prop_map(|(kind, numbers, stamps, claim, name)| Message {
        kind,
        boot: BootId(numbers.3),
        sender: identity("author").node,
        receiver: identity("reader").node,
        sequence: numbers.0,
        nonce: numbers.1,
        echo: numbers.2,
        receive: stamps.0,
        transmit: stamps.1,
        earlier: (stamps.3 != 0 && u64::from(stamps.3) < numbers.0)
            .then(|| Earlier { sequence: numbers.0 - u64::from(stamps.3), stamp: stamps.2 }),
        claim,
        name: Name::new(&name),
    })
}

proptest! {
    #[test]
    fn what_is_sealed_is_what_is_opened(message in a_message()) {
        let mut datagram = [0; DATAGRAM_LEN];
        message.seal(&identity("author"), &keys(), keys().choose(message.receiver, 0).unwrap(), &mut datagram);
        let (read, _) = Message::open(&datagram, &identity("reader"), &keys()).unwrap();
        prop_assert_eq!(read, message);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_open(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let refused = Message::open(&bytes, &identity("reader"), &keys()).unwrap_err();
        prop_assert_eq!(refused == Reject::Length, bytes.len() != DATAGRAM_LEN);
        let _ = Message::reflected_nonce(&bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_header_never_open(
        body in prop::array::uniform32(any::<[u8; 5]>()),
        mac in any::<[u8; 16]>(),
    ) {
        let mut bytes = [0; DATAGRAM_LEN];
        bytes[..SEALED_LEN].copy_from_slice(body.as_flattened());
        bytes[..6].copy_from_slice(&[0x4c, 0x54, 0x10, 1, 0, 1]);
        bytes[SEALED_LEN..].copy_from_slice(&mac);
        prop_assert_eq!(Message::open(&bytes, &identity("reader"), &keys()), Err(Reject::BadMac));
    }

    #[test]
    fn well_sealed_nonsense_is_refused_or_read_the_same_twice(
        body in prop::array::uniform32(any::<[u8; 5]>()),
        kind in 0u8..6,
    ) {
        let (author, reader) = (identity("author"), identity("reader"));
        let mut bytes = [0; DATAGRAM_LEN];
        bytes[..SEALED_LEN].copy_from_slice(body.as_flattened());
        bytes[..6].copy_from_slice(&[0x4c, 0x54, 0x10, kind, 0, 1]);
        bytes[8..12].copy_from_slice(&author.cluster.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&author.node.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&reader.node.0.to_be_bytes());
        bytes[80..84].fill(0);
        let keys = keys();
        let key = keys.choose(reader.node, 0).unwrap();
        let seal = keys.seal(key, &bytes[..SEALED_LEN]);
        bytes[SEALED_LEN..].copy_from_slice(&seal);
        match Message::open(&bytes, &reader, &keys) {
            Ok((message, _)) => {
                let mut again = [0; DATAGRAM_LEN];
                message.seal(&author, &keys, key, &mut again);
                prop_assert_eq!(Message::open(&again, &reader, &keys).unwrap().0, message);
            }
            Err(reject) => prop_assert!(matches!(reject, Reject::UnknownKind | Reject::Absurd), "{:?}", reject),
        }
    }
}

#[test]
fn an_earlier_departure_too_far_back_to_be_named_is_left_out() {
    let (author, reader) = (identity("author"), identity("reader"));
    for (behind, told) in [(u64::from(u32::MAX), true), (u64::from(u32::MAX) + 1, false)] {
        let message = Message {
            kind: Kind::Probe,
            boot: author.boot,
            sender: author.node,
            receiver: reader.node,
            sequence: 1 << 40,
            nonce: 1,
            echo: 0,
            receive: Stamp::default(),
            transmit: Stamp::default(),
            earlier: Some(Earlier { sequence: (1 << 40) - behind, stamp: Stamp::default() }),
            claim: Claim::unset(Mapping::through(RawTime::default(), Default::default(), 0.0), Role::Peer),
            name: author.name,
        };
        let mut datagram = [0; DATAGRAM_LEN];
        message.seal(&author, &keys(), keys().choose(reader.node, 0).unwrap(), &mut datagram);
        assert_eq!(Message::open(&datagram, &reader, &keys()).unwrap().0.earlier.is_some(), told);
    }
}

#[test]
fn only_a_probe_that_came_back_tells_its_nonce() {
    let mut bytes = [0u8; DATAGRAM_LEN];
    bytes[40..48].copy_from_slice(&77u64.to_be_bytes());
    for kind in 0..=255 {
        bytes[3] = kind;
        assert_eq!(Message::reflected_nonce(&bytes), (kind == 1).then_some(77));
    }
    assert_eq!(Message::reflected_nonce(&bytes[1..]), None);
}
