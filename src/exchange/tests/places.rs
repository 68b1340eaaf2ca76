//! Guarantee 5, second half: who sits where. Addresses change hands, nodes move, lists hold the same node twice or
//! oneself.

use crate::exchange::Tally;
use crate::exchange::testnet::{MILLISECOND, Net, SECOND, address, config, keyring, losing, named};
use crate::flow::Event;
use crate::unit::NodeId;
use crate::wire::{Kind, Reject};

fn exchanged_with(net: &Net, n: usize, node: NodeId) -> usize {
    net.nodes[n].exchanges.iter().filter(|e| e.node == node).count()
}

#[test]
fn a_node_that_is_listed_by_nobody_is_admitted_by_its_key() {
    let mut net = Net::mesh(3);
    net.list(0, &[]);
    net.list(1, &[0]);
    net.list(2, &[0]);
    net.run_for(2 * SECOND);
    assert_eq!(net.nodes[0].protocol.alive(), 2);
    assert!(net.nodes[0].exchanges.iter().any(|e| e.initiator), "it asks those it has met");
}

#[test]
fn an_address_list_that_contains_the_node_itself_does_no_harm() {
    let mut net = Net::mesh(2);
    net.list(0, &[0, 1]);
    net.list(1, &[0, 1]);
    net.run_for(5 * SECOND);
    assert!(net.nodes[0].exchanges.len() > 30);
    assert_eq!(net.nodes[0].rejects, [Reject::Reflected]);
    net.run_for(55 * SECOND);
    assert_eq!(net.nodes[0].rejects.len(), 1, "left alone for a minute");
}

#[test]
fn an_address_that_only_seemed_to_be_ones_own_is_asked_again_as_soon_as_its_node_has_proved_itself() {
    // Somebody in between sends the first probe back.
    let mut net = Net::mesh(2);
    let (_, probe) = net.next_sent(0);
    assert_eq!(net.hand_over(0, address(1), &probe), Err(Reject::Reflected));
    net.run_for(3 * SECOND);
    assert!(net.nodes[0].exchanges.iter().filter(|e| e.initiator).count() > 5);
}

#[test]
fn a_node_that_moves_to_another_address_is_followed_there() {
    let mut net = Net::mesh(2);
    net.list(0, &[]);
    net.run_for(2 * SECOND);
    net.nodes[1].address = address(40);
    net.run_for(SECOND);
    net.clear_records();
    net.run_for(2 * SECOND);
    assert!(net.nodes[0].exchanges.iter().any(|e| e.initiator), "asked at its new address");
    assert!(net.log.iter().filter(|p| p.from == address(0)).all(|p| p.to == address(40)));
    assert_eq!((net.arrivals(0), net.departures(0)), (0, 0), "it is the same run of the same node");
}

#[test]
fn a_listed_node_keeps_its_address_whatever_a_forwarder_makes_of_it() {
    let mut net = Net::mesh(2);
    net.run_for(SECOND);
    let (_, probe) = net.next_sent(0);
    let (_, reply) = net.answer(1, 0, &probe);
    assert!(net.hand_over(0, address(66), &reply).is_ok(), "the seal is good, wherever it comes from");
    assert_eq!(net.next_sent(0).0.to, address(1));
    net.clear_records();
    net.run_for(2 * SECOND);
    assert!(net.log.iter().filter(|p| p.from == address(0)).all(|p| p.to == address(1)));
}

#[test]
fn a_new_node_at_the_address_of_one_that_left_takes_its_place() {
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    let old = net.nodes[1].identity.node;
    net.nodes[1].up = false;
    net.nodes[1].address = address(99);
    let new = net.add(config(2, 900, keyring(1)), 3_333 * SECOND);
    net.nodes[new].address = address(1);
    let node = net.nodes[new].identity.node;
    net.clear_records();
    let took = net.run_until(10 * SECOND, |net| exchanged_with(net, 0, node) > 0);
    assert!(took > 2 * SECOND, "{took}: not while the old one might still speak");
    net.run_for(2 * SECOND);
    let events = &net.nodes[0].events;
    assert!(matches!(events[..], [Event::Silent(gone), Event::Arrived(came)] if came.slot == gone), "{events:?}");
    assert_eq!(net.nodes[0].protocol.alive(), 1);
    assert_eq!(net.tally(0, Tally::Reboots), 0, "another node is not a restart");
    net.clear_records();
    net.run_for(SECOND);
    assert!(exchanged_with(&net, 0, node) >= 6 && exchanged_with(&net, 0, old) == 0);
    assert!(net.nodes[0].rejects.is_empty(), "{:?}", net.nodes[0].rejects);
}

#[test]
fn a_known_node_that_takes_over_the_address_of_one_that_left_keeps_its_one_place() {
    for asks_too in [false, true] {
        let mut net = Net::mesh(3);
        net.list(2, if asks_too { &[0] } else { &[] });
        net.run_for(2 * SECOND);
        net.nodes[1].up = false;
        net.nodes[1].address = address(99);
        net.nodes[2].aliases.push(address(1));
        net.run_for(20 * SECOND);
        net.clear_records();
        net.run_for(5 * SECOND);
        assert_eq!(net.nodes[0].protocol.alive(), 1);
        assert!(net.nodes[0].rejects.is_empty(), "no storm: {:?}", net.nodes[0].rejects);
        assert!((35..=45).contains(&net.nodes[0].exchanges.len()), "{}", net.nodes[0].exchanges.len());
    }
}

#[test]
fn two_listed_addresses_of_one_node_end_in_one_place_without_a_storm() {
    let mut net = Net::mesh(2);
    net.nodes[1].aliases.push(address(41));
    let both = [address(1), address(41)];
    net.list_addresses(0, &both);
    net.run_for(2 * SECOND);
    for _ in 0..5 {
        // Names are resolved again and again, with the same outcome.
        net.list_addresses(0, &both);
        net.run_for(SECOND);
    }
    assert_eq!((net.arrivals(0), net.departures(0), net.nodes[0].protocol.alive()), (1, 0, 1));
    assert!(net.nodes[0].rejects.len() + net.nodes[1].rejects.len() == 0, "{:?}", net.nodes[0].rejects);
    assert!((50..=75).contains(&net.nodes[0].exchanges.len()), "{}", net.nodes[0].exchanges.len());
}

#[test]
fn when_one_of_two_listed_addresses_dies_the_other_serves() {
    let mut net = Net::mesh(2);
    let both = [address(1), address(41)];
    net.nodes[1].aliases.push(address(41));
    net.list(1, &[]);
    net.list_addresses(0, &both);
    net.run_for(2 * SECOND);
    // The first address goes dark; only the second still leads to the node, and it learned 0 by being asked.
    net.nodes[1].address = address(41);
    net.nodes[1].aliases.clear();
    net.hand = losing(|n, bytes| n == 1 && bytes[3] == Kind::Probe as u8);
    net.run_for(5 * SECOND);
    net.list_addresses(0, &both);
    net.run_for(2 * SECOND);
    net.clear_records();
    net.run_for(2 * SECOND);
    assert!(!net.nodes[0].exchanges.is_empty());
    assert_eq!((net.arrivals(0), net.nodes[0].protocol.alive()), (0, 1));
}

#[test]
fn a_late_answer_to_whoever_is_there_does_not_unseat_the_one_that_came_back() {
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    net.nodes[1].up = false;
    net.run_for(5 * SECOND);
    let (_, probe) = net.next_probe(0, |_, bytes| bytes[24..32] == [0; 8]);
    net.nodes[1].up = true;
    net.clear_records();
    net.run_until(2 * SECOND, |net| net.nodes[0].protocol.alive() == 1);
    let other = named("other", 3);
    let nonce = u64::from_be_bytes(probe[40..48].try_into().unwrap());
    let me = net.nodes[0].identity.node;
    let reply = crate::wire::Message { echo: nonce, ..crate::exchange::testnet::message(Kind::Reply, &other, me, 1) };
    let outcome = net.hand_over(0, address(1), &crate::exchange::testnet::sealed(&reply, &other, &keyring(1)));
    assert!(outcome.is_ok(), "it holds the key and answers an open question: {outcome:?}");
    net.run_for(SECOND);
    assert_eq!(net.nodes[0].protocol.alive(), 2, "each has a place of its own");
    let back = net.nodes[0].exchanges.iter().filter(|e| e.node == net.nodes[1].identity.node);
    assert!(back.clone().count() >= 6 && back.clone().all(|e| e.peer == back.clone().next().unwrap().peer));
    assert_eq!(net.arrivals(0), 1, "the other came, and the first did not have to come again");
}

#[test]
fn a_node_asked_in_vain_is_forgotten_when_it_leaves_the_list_and_a_live_one_stays() {
    let mut net = Net::mesh(2);
    net.list_addresses(0, &[address(1), address(60)]);
    net.run_for(2 * SECOND);
    net.list_addresses(0, &[]);
    net.clear_records();
    net.run_for(2 * SECOND);
    assert!(net.log.iter().all(|p| p.to != address(60)));
    assert!(net.nodes[0].exchanges.len() > 10, "a peer stays as long as it speaks");
    net.nodes[1].up = false;
    net.run_for(400 * SECOND);
    net.clear_records();
    net.run_for(5 * SECOND);
    assert!(net.log.is_empty(), "and is forgotten in the end");
    assert!(!net.nodes[0].protocol.seats().contains("Some"));
}

#[test]
fn the_probes_of_a_silent_listed_peer_ask_it_and_whoever_is_there_in_turn() {
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    net.nodes[1].up = false;
    net.run_for(5 * SECOND);
    net.clear_records();
    net.run_for(10 * SECOND);
    let named = net.log.iter().filter(|p| p.bytes[24..32] != [0; 8]).count();
    assert!(net.log.len() >= 16 && named.abs_diff(net.log.len() / 2) <= 1, "{named} of {}", net.log.len());
    let slowest = 600 * MILLISECOND;
    assert!(net.log.len() as i64 >= 10 * SECOND / slowest);
}
