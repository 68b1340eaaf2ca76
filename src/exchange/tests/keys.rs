//! Guarantee 7: two live keys, so that a rotation loses nothing; keys that belong to one pair; a peer whose key is
//! gone.

use crate::exchange::Tally;
use crate::exchange::testnet::{Net, SECOND, address, keyring};
use crate::flow::StampClass;
use crate::unit::KeyId;
use crate::wire::{Keyring, Kind, Reject};

fn ring(ids: &[u16]) -> Keyring {
    let mut keys = Keyring::new();
    for id in ids {
        keys.insert(KeyId(*id), &[*id as u8; 32], None).unwrap();
    }
    keys
}

/// The keys of node `n` when every pair of `nodes` nodes has one of its own, and perhaps a shared one in front.
fn pair_keys(net: &Net, n: usize, nodes: usize, shared: bool) -> Keyring {
    let mut keys = if shared { keyring(1) } else { Keyring::new() };
    for other in (0..nodes).filter(|k| *k != n) {
        let (low, high) = (n.min(other), n.max(other));
        let id = 100 + (10 * low + high) as u16;
        keys.insert(KeyId(id), &[id as u8; 32], Some(net.nodes[other].identity.node)).unwrap();
    }
    keys
}

fn id_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[4], bytes[5]])
}

#[test]
fn a_rotation_across_running_nodes_loses_no_exchange() {
    let mut net = Net::mesh(3);
    net.run_for(2 * SECOND);
    net.clear_records();
    // Each step on one node after the other, as an operator does it, while they talk.
    for step in [[1u16, 2].as_slice(), &[2, 1], &[2]] {
        for n in 0..3 {
            net.nodes[n].protocol.set_keys(ring(step));
            net.run_for(SECOND);
        }
    }
    for (n, node) in net.nodes.iter().enumerate() {
        assert!(node.rejects.is_empty(), "{n}: {:?}", node.rejects);
        assert!((2 * 66..=2 * 80).contains(&node.exchanges.len()), "{}", node.exchanges.len());
        assert!(node.exchanges.iter().all(|e| e.class == StampClass::Kernel));
        assert_eq!((net.tally(n, Tally::Unanswered), net.arrivals(n), net.departures(n)), (0, 0, 0));
    }
    net.log.clear();
    net.run_for(SECOND);
    assert!(net.log.len() > 50 && net.log.iter().all(|p| id_of(&p.bytes) == 2), "the old key is out of use");
}

#[test]
fn the_first_key_asks_and_an_answer_speaks_under_the_key_of_its_question() {
    let mut net = Net::mesh_of(2, |n, config| config.keys = ring(if n == 0 { &[1, 2] } else { &[2, 1] }));
    net.run_for(5 * SECOND);
    let first = |kind: Kind, n: usize| {
        net.log.iter().filter(move |p| p.kind() == kind && p.from == address(n)).map(|p| id_of(&p.bytes))
    };
    assert!(first(Kind::Probe, 0).all(|id| id == 1) && first(Kind::Probe, 1).all(|id| id == 2));
    assert!(first(Kind::Reply, 0).all(|id| id == 2) && first(Kind::Reply, 1).all(|id| id == 1));
    assert!(first(Kind::Follow, 0).all(|id| id == 2) && first(Kind::Follow, 1).all(|id| id == 1));
    assert!(net.nodes.iter().all(|n| n.rejects.is_empty() && n.exchanges.len() > 35));
}

#[test]
fn an_exchange_under_way_outlives_the_change_of_keys() {
    let mut net = Net::mesh_of(2, |_, config| config.keys = ring(&[1, 2]));
    net.run_for(2 * SECOND);
    let (asked, probe) = net.next_sent(0);
    net.give_stamp(0, &asked);
    let (answered, reply) = net.answer(1, 0, &probe);
    // Indices of the old ring mean other keys in the new one.
    net.nodes[0].protocol.set_keys(ring(&[3, 2, 1]));
    net.nodes[1].protocol.set_keys(ring(&[4, 5, 1]));
    let (_, report) = net.answer(0, 1, &reply);
    assert_eq!(net.hand_over(1, address(0), &report).unwrap(), None, "the departure is not known yet");
    net.nodes[1].protocol.set_keys(ring(&[1]));
    net.clear_records();
    net.give_stamp(1, &answered);
    let (_, follow) = net.next_sent(1);
    assert_eq!((follow[3], id_of(&follow)), (Kind::Follow as u8, 1));
    assert!(net.hand_over(0, address(1), &follow).is_ok());
    assert_eq!(net.nodes[0].exchanges.last().unwrap().class, StampClass::Kernel);
}

#[test]
fn a_peer_whose_key_is_gone_falls_silent_and_returns_with_it() {
    let mut net = Net::mesh(3);
    for n in 0..3 {
        let keys = pair_keys(&net, n, 3, false);
        net.nodes[n].protocol.set_keys(keys);
    }
    net.run_for(3 * SECOND);
    assert!(net.nodes.iter().all(|n| n.protocol.alive() == 2));
    let all = pair_keys(&net, 0, 3, false);
    let mut without = Keyring::new();
    let lost = net.nodes[2].identity.node;
    without.insert(KeyId(101), &[101; 32], Some(net.nodes[1].identity.node)).unwrap();
    net.nodes[0].protocol.set_keys(without);
    net.run_for(5 * SECOND);
    net.clear_records();
    net.run_for(5 * SECOND);
    assert_eq!(net.nodes[0].protocol.alive(), 1);
    assert!(net.nodes[0].exchanges.iter().all(|e| e.node != lost) && net.nodes[0].exchanges.len() > 35);
    let named = lost.0.to_be_bytes();
    assert!(!net.log.iter().any(|p| p.from == address(0) && p.bytes[24..32] == named), "nothing is sealed for it");
    net.nodes[0].protocol.set_keys(all);
    net.run_for(3 * SECOND);
    assert_eq!(net.nodes[0].protocol.alive(), 2);
}

#[test]
fn a_node_that_loses_all_its_keys_says_and_hears_nothing_and_does_not_spin() {
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    net.nodes[0].protocol.set_keys(Keyring::new());
    net.clear_records();
    net.run_for(10 * SECOND);
    assert!(!net.log.iter().any(|p| p.from == address(0)));
    assert!(net.nodes[0].rejects.iter().all(|r| *r == Reject::UnknownKey) && !net.nodes[0].rejects.is_empty());
    assert_eq!((net.nodes[0].protocol.alive(), net.nodes[1].protocol.alive()), (0, 0));
}

#[test]
fn nodes_that_share_only_pair_keys_find_each_other() {
    for shared in [false, true] {
        let mut net = Net::mesh(4);
        for n in 0..4 {
            let keys = pair_keys(&net, n, 4, shared);
            net.nodes[n].protocol.set_keys(keys);
        }
        let took = net.run_until(10 * SECOND, |net| net.nodes.iter().all(|n| n.protocol.alive() == 3));
        assert!(took < 3 * SECOND, "{took} ns, shared {shared}");
        net.run_for(SECOND);
        net.clear_records();
        net.run_for(3 * SECOND);
        for node in &net.nodes {
            assert!(node.rejects.is_empty() && node.exchanges.len() >= 3 * 21, "{:?}", node.rejects);
        }
        assert!(net.log.iter().all(|p| id_of(&p.bytes) >= 100), "each pair under its own key");
    }
}

#[test]
fn nodes_with_pair_keys_meet_again_after_a_long_silence() {
    let mut net = Net::mesh(4);
    for n in 0..4 {
        let keys = pair_keys(&net, n, 4, false);
        net.nodes[n].protocol.set_keys(keys);
    }
    net.run_for(5 * SECOND);
    net.nodes[3].up = false;
    net.run_for(60 * SECOND);
    net.nodes[3].up = true;
    let took = net.run_until(10 * SECOND, |net| net.nodes.iter().all(|n| n.protocol.alive() == 3));
    assert!(took < 2 * SECOND, "{took} ns");
}

#[test]
fn nodes_of_two_clusters_on_one_wire_with_one_key_never_meet() {
    let mut net = Net::mesh_of(2, |n, config| {
        if n == 1 {
            config.identity.cluster = crate::unit::ClusterId::derive("another");
        }
    });
    net.run_for(5 * SECOND);
    for n in 0..2 {
        assert!(net.nodes[n].exchanges.is_empty() && net.nodes[n].events.is_empty());
        assert!(net.rejected(n, Reject::WrongCluster) > 5);
        assert_eq!(net.nodes[n].rejects.len() as u64, net.rejected(n, Reject::WrongCluster));
    }
}
