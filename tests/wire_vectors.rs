//! The layout of the native protocol, pinned byte by byte: datagrams made by an independent program
//! (tools/wire_vectors.py) are read field by field and written again to the same bytes.

use std::collections::BTreeMap;

use llts::flow::{Claim, Leap, Mapping, NodeState, Role, Stamp, StampClass};
use llts::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime};
use llts::wire::{DATAGRAM_LEN, Earlier, Identity, Keyring, Kind, Message};

type Fields = BTreeMap<&'static str, &'static str>;

fn vectors() -> Vec<(&'static str, Fields)> {
    let mut vectors: Vec<(&str, Fields)> = Vec::new();
    for line in include_str!("vectors/native.txt").lines() {
        if let Some(title) = line.strip_prefix('[') {
            vectors.push((title.trim_end_matches(']'), Fields::new()));
        } else if let Some((name, value)) = line.split_once(" =").filter(|_| !line.starts_with('#')) {
            vectors.last_mut().expect("a title comes first").1.insert(name, value.trim());
        }
    }
    vectors
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(fields: &Fields, name: &str) -> T {
    fields[name].parse().unwrap_or_else(|e| panic!("{name}: {e:?}"))
}

fn float(fields: &Fields, name: &str) -> f32 {
    f32::from_bits(u32::from_str_radix(fields[name], 16).unwrap())
}

fn class(fields: &Fields, name: &str) -> StampClass {
    let all = [StampClass::User, StampClass::Kernel, StampClass::Nic];
    all.into_iter().find(|c| c.as_str() == fields[name]).unwrap()
}

fn stamp(fields: &Fields, at: &str, of: &str) -> Stamp {
    Stamp { at: RawTime::from_nanos(number(fields, at)), class: class(fields, of) }
}

fn message(f: &Fields) -> Message {
    let kinds = [("probe", Kind::Probe), ("reply", Kind::Reply), ("report", Kind::Report), ("follow", Kind::Follow)];
    let states = [NodeState::Unset, NodeState::Acquire, NodeState::Track, NodeState::Holdover];
    let roles = [Role::Peer, Role::Reference, Role::Observer];
    let node = |name: &str| if name.is_empty() { NodeId::ANYONE } else { NodeId::derive(f["cluster"], name) };
    let sequence: u64 = number(f, "sequence");
    let delta: u64 = number(f, "earlier_delta");
    let earlier =
        Earlier { sequence: sequence.wrapping_sub(delta), stamp: stamp(f, "earlier_transmit", "earlier_class") };
    Message {
        kind: kinds.iter().find(|(name, _)| *name == f["kind"]).unwrap().1,
        boot: BootId(number(f, "boot")),
        sender: node(f["sender"]),
        receiver: node(f["receiver"]),
        sequence,
        nonce: number(f, "nonce"),
        echo: number(f, "echo"),
        receive: stamp(f, "receive", "receive_class"),
        transmit: stamp(f, "transmit", "promised_class"),
        earlier: (delta != 0).then_some(earlier),
        claim: Claim {
            mapping: Mapping {
                epoch: RawTime::from_nanos(number(f, "map_epoch")),
                offset_ns: number(f, "map_offset"),
                offset_frac_ns: number::<u32>(f, "map_fraction") as f64 / 4_294_967_296.0,
                rate: number::<i64>(f, "map_rate") as f64 / 281_474_976_710_656.0,
            },
            version: number(f, "map_version"),
            state: states.into_iter().find(|s| s.as_str() == f["state"]).unwrap(),
            role: roles.into_iter().find(|r| r.as_str() == f["role"]).unwrap(),
            joining: f["joining"] == "1",
            wander: float(f, "wander"),
            boost: float(f, "boost"),
            sigma_ns: float(f, "sigma"),
            bound_ns: float(f, "bound"),
            alive: number(f, "alive"),
            stamp_doubt_ns: number(f, "stamp_doubt"),
            leap: [("none", Leap::None), ("insert", Leap::Insert), ("delete", Leap::Delete)]
                .into_iter()
                .find(|(name, _)| *name == f["leap"])
                .unwrap()
                .1,
            circle: number(f, "circle"),
        },
        name: Name::new(f["name"]),
    }
}

/// The keys, the author's identity and the receiver's.
fn ends(f: &Fields) -> (Keyring, Identity, Identity) {
    let mut keys = Keyring::new();
    keys.insert(KeyId(number(f, "key_id")), &bytes(f["key"]), None).unwrap();
    let identity = |name: &str| Identity {
        cluster: ClusterId::derive(f["cluster"]),
        node: NodeId::derive(f["cluster"], name),
        boot: BootId(number(f, "boot")),
        name: Name::new(name),
    };
    let receiver = if f["receiver"].is_empty() { "whoever" } else { f["receiver"] };
    (keys, identity(f["sender"]), identity(receiver))
}

#[test]
fn every_golden_datagram_is_read_field_by_field() {
    assert!(vectors().len() >= 6);
    for (title, fields) in vectors() {
        let (keys, _, receiver) = ends(&fields);
        let (read, _) = Message::open(&bytes(fields["datagram"]), &receiver, &keys)
            .unwrap_or_else(|reject| panic!("{title}: refused as {}", reject.as_str()));
        assert_eq!(read, message(&fields), "{title}");
    }
}

#[test]
fn every_golden_datagram_is_written_byte_for_byte() {
    for (title, fields) in vectors() {
        let (keys, author, receiver) = ends(&fields);
        let key = keys.choose(receiver.node, 0).unwrap();
        let mut written = [0xaa; DATAGRAM_LEN];
        message(&fields).seal(&author, &keys, key, &mut written);
        assert_eq!(written.as_slice(), bytes(fields["datagram"]), "{title}");
    }
}

#[test]
fn the_vectors_have_every_kind_and_every_class() {
    for (name, values) in [
        ("kind", ["probe", "reply", "report", "follow"].as_slice()),
        ("receive_class", &["user", "kernel", "nic"]),
        ("state", &["unset", "acquire", "track", "holdover"]),
        ("role", &["peer", "reference", "observer"]),
        ("leap", &["none", "insert", "delete"]),
    ] {
        for value in values {
            assert!(vectors().iter().any(|(_, f)| f[name] == *value), "no vector has {name} = {value}");
        }
    }
}
