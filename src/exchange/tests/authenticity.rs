//! Guarantees 1 and 2: nothing changes before authentication, and a missing or wrong seal is a failure.

use crate::exchange::Tally;
use crate::exchange::testnet::{Net, SECOND, address, identity, keyring, message, named, resealed, sealed};
use crate::limits::NONCE_LIFETIME_NS;
use crate::unit::{KeyId, NodeId};
use crate::wire::{DATAGRAM_LEN, Keyring, Kind, MAC_LEN, Reject, SEALED_LEN};

type Alteration = Box<dyn Fn(&mut [u8])>;

/// Hands a datagram over and holds that it changed nothing but the count of packets and the one of its reason.
fn changes_nothing_but(net: &mut Net, to: usize, from: usize, bytes: &[u8], reason: Reject, what: &str) {
    let (state, counters) = (net.nodes[to].protocol.state(), *net.nodes[to].protocol.counters());
    let outcome = net.hand_over(to, address(from), bytes);
    assert_eq!(outcome, Err(reason), "{what}");
    assert_eq!(net.nodes[to].protocol.state(), state, "{what}");
    let after = net.nodes[to].protocol.counters();
    for tally in Tally::ALL {
        assert_eq!(
            after.tally(tally) - counters.tally(tally),
            u64::from(tally == Tally::Received),
            "{what}: {tally:?}"
        );
    }
    for reject in Reject::ALL {
        assert_eq!(
            after.rejected(reject) - counters.rejected(reject),
            u64::from(reject == reason),
            "{what}: {reject:?}"
        );
    }
}

/// A datagram of each kind that its receiver awaits at this moment, and the receiver: `(net, to, datagram)`.
fn awaited(kind: Kind) -> (Net, usize, [u8; DATAGRAM_LEN]) {
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    let (asked, probe) = net.next_probe(0, |_, _| true);
    if kind == Kind::Probe {
        return (net, 1, probe);
    }
    net.give_stamp(0, &asked);
    let (answered, reply) = net.answer(1, 0, &probe);
    if kind == Kind::Reply {
        return (net, 0, reply);
    }
    net.give_stamp(1, &answered);
    let (_, report) = net.answer(0, 1, &reply);
    if kind == Kind::Report {
        return (net, 1, report);
    }
    let (_, follow) = net.answer(1, 0, &report);
    (net, 0, follow)
}

const KINDS: [Kind; 4] = [Kind::Probe, Kind::Reply, Kind::Report, Kind::Follow];

// Guarantee 1.

#[test]
fn every_check_comes_before_those_behind_it() {
    type Damage = fn(&mut [u8]);
    let me = identity(0, 100).node;
    // Each damage alone fails its own check; a datagram with this one and all later ones must fail by this one.
    let before_the_seal: [(Reject, Damage); 4] = [
        (Reject::Magic, |b| b[0] ^= 0xff),
        (Reject::Version, |b| b[2] = 0x20),
        (Reject::UnknownKey, |b| b[5] = 9),
        (Reject::BadMac, |b| b[SEALED_LEN] ^= 1),
    ];
    let after_the_seal: [(Reject, Alteration); 7] = [
        (Reject::WrongCluster, Box::new(|b: &mut [u8]| b[8] ^= 1)),
        (Reject::DuplicateIdentity, Box::new(move |b: &mut [u8]| b[16..24].copy_from_slice(&me.0.to_be_bytes()))),
        (Reject::UnknownKind, Box::new(|b: &mut [u8]| b[3] = 77)),
        (Reject::WrongReceiver, Box::new(|b: &mut [u8]| b[24] ^= 1)),
        (Reject::Absurd, Box::new(|b: &mut [u8]| b[120..124].copy_from_slice(&f32::NAN.to_be_bytes()))),
        (
            Reject::Replayed,
            Box::new(|b: &mut [u8]| {
                b[32..40].copy_from_slice(&1u64.to_be_bytes());
                b[80..84].fill(0);
            }),
        ),
        (Reject::NoNonce, Box::new(|b: &mut [u8]| b[48] ^= 1)),
    ];
    let (mut net, to, reply) = awaited(Kind::Reply);
    for (n, (reason, _)) in before_the_seal.iter().enumerate() {
        let mut bytes = resealed(&reply, &keyring(1), |b| after_the_seal.iter().for_each(|(_, damage)| damage(b)));
        before_the_seal[n..].iter().for_each(|(_, damage)| damage(&mut bytes));
        changes_nothing_but(&mut net, to, 1, &bytes, *reason, "before the seal");
        changes_nothing_but(&mut net, to, 1, &bytes[1..], Reject::Length, "length is first");
    }
    for (n, (reason, _)) in after_the_seal.iter().enumerate() {
        let bytes = resealed(&reply, &keyring(1), |b| after_the_seal[n..].iter().for_each(|(_, damage)| damage(b)));
        changes_nothing_but(&mut net, to, 1, &bytes, *reason, "after the seal");
    }
    assert!(net.hand_over(to, address(1), &reply).is_ok(), "the good one is still awaited");
}

#[test]
fn a_single_flipped_bit_anywhere_changes_nothing_but_one_counter() {
    for kind in KINDS {
        let (mut net, to, good) = awaited(kind);
        for bit in 0..8 * DATAGRAM_LEN {
            let mut bytes = good;
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            let reason = match bit / 8 {
                0 | 1 => Reject::Magic,
                2 if bit % 8 < 4 => Reject::Version,
                4 | 5 => Reject::UnknownKey,
                _ => Reject::BadMac,
            };
            changes_nothing_but(&mut net, to, 1 - to, &bytes, reason, &format!("{kind:?} bit {bit}"));
        }
        assert!(net.hand_over(to, address(1 - to), &good).is_ok(), "{kind:?}: the good one is still taken");
    }
}

#[test]
fn a_datagram_of_any_other_length_changes_nothing_but_one_counter() {
    for kind in KINDS {
        let (mut net, to, good) = awaited(kind);
        let mut long = good.to_vec();
        long.extend_from_slice(&good);
        for length in (0..=long.len()).filter(|n| *n != DATAGRAM_LEN) {
            let bytes = &long[..length];
            changes_nothing_but(&mut net, to, 1 - to, bytes, Reject::Length, &format!("{kind:?} {length} bytes"));
        }
    }
}

#[test]
fn a_well_sealed_packet_of_another_cluster_is_dead() {
    let (mut net, to, good) = awaited(Kind::Probe);
    for byte in 8..12 {
        let bytes = resealed(&good, &keyring(1), |b| b[byte] ^= 0x10);
        changes_nothing_but(&mut net, to, 0, &bytes, Reject::WrongCluster, "cluster");
    }
}

#[test]
fn a_packet_for_another_node_is_dead_and_only_a_probe_may_name_nobody() {
    for kind in KINDS {
        let (mut net, to, good) = awaited(kind);
        let other = resealed(&good, &keyring(1), |b| b[31] ^= 1);
        changes_nothing_but(&mut net, to, 1 - to, &other, Reject::WrongReceiver, "another node");
        let nobody = resealed(&good, &keyring(1), |b| b[24..32].fill(0));
        if kind == Kind::Probe {
            assert!(net.hand_over(to, address(1 - to), &nobody).is_ok());
        } else {
            changes_nothing_but(&mut net, to, 1 - to, &nobody, Reject::WrongReceiver, "nobody");
        }
    }
}

#[test]
fn a_packet_without_a_sender_is_absurd() {
    for kind in KINDS {
        let (mut net, to, good) = awaited(kind);
        let bytes = resealed(&good, &keyring(1), |b| b[16..24].fill(0));
        changes_nothing_but(&mut net, to, 1 - to, &bytes, Reject::Absurd, "no sender");
    }
}

#[test]
fn a_kind_that_does_not_exist_is_refused() {
    for byte in (0..=255).filter(|b| !(1..=4).contains(b)) {
        let (mut net, to, good) = awaited(Kind::Reply);
        let bytes = resealed(&good, &keyring(1), |b| b[3] = byte);
        changes_nothing_but(&mut net, to, 1 - to, &bytes, Reject::UnknownKind, "kind");
    }
}

#[test]
fn a_packet_that_comes_back_to_its_sender_changes_nothing() {
    for kind in KINDS {
        let (mut net, to, good) = awaited(kind);
        changes_nothing_but(&mut net, 1 - to, to, &good, Reject::Reflected, &format!("{kind:?} reflected"));
    }
}

#[test]
fn another_node_with_my_name_is_counted_as_such_and_changes_nothing() {
    let (mut net, _, _) = awaited(Kind::Probe);
    let twin = named("n1", 999);
    let probe = sealed(&message(Kind::Probe, &twin, net.nodes[1].identity.node, 1), &twin, &keyring(1));
    changes_nothing_but(&mut net, 1, 0, &probe, Reject::DuplicateIdentity, "my own name");
    assert_eq!(net.rejected(1, Reject::Reflected), 0);
}

#[test]
fn fields_that_no_working_node_says_are_refused_after_the_seal_and_change_nothing() {
    let float = |at: usize, value: f32| {
        Box::new(move |b: &mut [u8]| b[at..at + 4].copy_from_slice(&value.to_be_bytes())) as Alteration
    };
    let (wander, boost, sigma, bound) = (116, 120, 124, 128);
    let mut absurd = Vec::new();
    for at in [wander, boost, sigma, bound] {
        absurd.extend([f32::NAN, -f32::NAN, f32::NEG_INFINITY, -1.0].map(|value| float(at, value)));
    }
    absurd.extend([0.0, 1e-27, 1.1e-8, f32::INFINITY].map(|value| float(wander, value)));
    absurd.extend([0.0, 0.999, 1024.1, f32::INFINITY].map(|value| float(boost, value)));
    let rate = |rate: i64| Box::new(move |b: &mut [u8]| b[104..112].copy_from_slice(&rate.to_be_bytes())) as Alteration;
    let limit = (0.2 * (1u64 << 48) as f64) as i64;
    absurd.extend([i64::MAX, i64::MIN, limit + 2, -limit - 2].map(rate));
    absurd.push(Box::new(|b| b[132..134].fill(0)));
    // An earlier packet before the first one.
    absurd.push(Box::new(|b| b[80..84].fill(0xff)));
    absurd.push(Box::new(|b| b.copy_within(36..40, 80)));

    for kind in KINDS {
        let (mut net, to, good) = awaited(kind);
        for (n, damage) in absurd.iter().enumerate() {
            let bytes = resealed(&good, &keyring(1), damage);
            changes_nothing_but(&mut net, to, 1 - to, &bytes, Reject::Absurd, &format!("{kind:?} absurdity {n}"));
            let mut unsealed = good;
            damage(&mut unsealed);
            changes_nothing_but(&mut net, to, 1 - to, &unsealed, Reject::BadMac, &format!("{kind:?} unsealed {n}"));
        }
        let bytes = resealed(&good, &keyring(1), |b| {
            b[104..112].copy_from_slice(&limit.to_be_bytes());
            [sigma, bound].iter().for_each(|at| b[*at..at + 4].copy_from_slice(&f32::INFINITY.to_be_bytes()));
        });
        assert!(net.hand_over(to, address(1 - to), &bytes).is_ok(), "the limits themselves are allowed");
    }
}

#[test]
fn a_refused_replay_and_a_wrong_echo_leave_no_trace_either() {
    for kind in [Kind::Reply, Kind::Report, Kind::Follow] {
        let (mut net, to, good) = awaited(kind);
        let wrong = resealed(&good, &keyring(1), |b| b[55] ^= 1);
        changes_nothing_but(&mut net, to, 1 - to, &wrong, Reject::NoNonce, "wrong echo");
        assert!(
            net.hand_over(to, address(1 - to), &good).is_ok(),
            "{kind:?}: the wrong echo did not use up its number"
        );
        changes_nothing_but(&mut net, to, 1 - to, &good, Reject::Replayed, "replay");
    }
}

#[test]
fn a_storm_of_unauthenticated_packets_does_not_touch_an_exchange_under_way() {
    let (mut net, to, reply) = awaited(Kind::Reply);
    let state = net.nodes[to].protocol.state();
    for n in 0..5_000u64 {
        let mut bytes = reply;
        bytes[(n % DATAGRAM_LEN as u64) as usize] ^= 1 + (n % 255) as u8;
        net.hand_over(to, address(1), &bytes).expect_err("damaged");
    }
    assert_eq!(net.nodes[to].protocol.state(), state);
    net.now_ns += NONCE_LIFETIME_NS / 4;
    assert!(net.hand_over(to, address(1), &reply).is_ok());
}

#[test]
fn the_empty_identity_never_finds_an_empty_place() {
    // Empty places are filed under ANYONE: a sender of that name must not be taken for one of them.
    let mut net = Net::mesh_of(1, |_, config| config.capacity = 4);
    let me = net.nodes[0].identity.node;
    for kind in KINDS {
        let nobody = message(kind, &identity(5, 5), me, 3);
        let nobody = crate::wire::Message { sender: NodeId::ANYONE, ..nobody };
        changes_nothing_but(&mut net, 0, 5, &sealed(&nobody, &identity(5, 5), &keyring(1)), Reject::Absurd, "nobody");
    }
}

// Guarantee 2.

#[test]
fn a_missing_or_cut_seal_is_a_failure() {
    for kind in KINDS {
        let (mut net, to, good) = awaited(kind);
        for kept in 0..MAC_LEN {
            let mut bytes = good;
            bytes[SEALED_LEN + kept..].fill(0);
            changes_nothing_but(&mut net, to, 1 - to, &bytes, Reject::BadMac, &format!("{kept} bytes of seal"));
        }
        let mut ones = good;
        ones[SEALED_LEN..].fill(0xff);
        changes_nothing_but(&mut net, to, 1 - to, &ones, Reject::BadMac, "ones");
    }
}

#[test]
fn no_key_id_means_without_a_key() {
    let (mut net, to, good) = awaited(Kind::Probe);
    for id in (0..=u16::MAX).filter(|id| *id != 1) {
        let mut bytes = good;
        bytes[4..6].copy_from_slice(&id.to_be_bytes());
        bytes[SEALED_LEN..].fill(0);
        assert_eq!(net.hand_over(to, address(0), &bytes), Err(Reject::UnknownKey));
    }
    let mut keyless = Net::mesh_of(2, |_, config| config.keys = Keyring::new());
    changes_nothing_but(&mut keyless, 1, 0, &good, Reject::UnknownKey, "a node without keys");
}

#[test]
fn another_key_under_the_same_id_opens_nothing() {
    let (mut net, to, good) = awaited(Kind::Probe);
    let bytes = resealed(&good, &keyring(2), |_| {});
    changes_nothing_but(&mut net, to, 0, &bytes, Reject::BadMac, "another key");
}

#[test]
fn a_members_own_key_does_not_speak_for_another_member_nor_does_the_shared_one() {
    let mut net = Net::mesh(2);
    let mut keys = keyring(1);
    let (own, others) = (net.nodes[0].identity, named("n7", 1));
    keys.insert(KeyId(2), &[2; 32], Some(own.node)).unwrap();
    keys.insert(KeyId(3), &[3; 32], Some(others.node)).unwrap();
    net.nodes[1].protocol.set_keys(keys);
    let me = net.nodes[1].identity.node;
    let under = |id: u16, bytes: u8| {
        let mut ring = Keyring::new();
        ring.insert(KeyId(id), &[bytes; 32], None).unwrap();
        ring
    };
    let probe = message(Kind::Probe, &own, me, 1);
    changes_nothing_but(&mut net, 1, 0, &sealed(&probe, &own, &under(3, 3)), Reject::ForeignKey, "another's key");
    changes_nothing_but(&mut net, 1, 0, &sealed(&probe, &own, &under(1, 1)), Reject::ForeignKey, "the shared key");
    let unbound = named("n8", 1);
    let probe_of_unbound = message(Kind::Probe, &unbound, me, 1);
    let foreign = sealed(&probe_of_unbound, &unbound, &under(2, 2));
    changes_nothing_but(&mut net, 1, 0, &foreign, Reject::ForeignKey, "a bound key for one without");
    assert!(net.hand_over(1, address(0), &sealed(&probe, &own, &under(2, 2))).is_ok(), "its own key");
    assert!(net.hand_over(1, address(8), &sealed(&probe_of_unbound, &unbound, &under(1, 1))).is_ok());
}
