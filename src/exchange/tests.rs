//! What the protocol promises, each promise held by a test that fails without it (docs/PROTOCOL.md numbers them).

use super::Tally;
use super::testnet::{DELAY_NS, Net, SECOND};
use crate::flow::{Event, StampClass};

#[test]
fn both_ends_own_the_same_four_true_stamps_of_every_exchange() {
    let mut net = Net::mesh(2);
    net.run_for(10 * SECOND);
    let (a, b) = (&net.nodes[0], &net.nodes[1]);
    assert!(a.exchanges.len() >= 75, "{} exchanges in 10 s at 8/s", a.exchanges.len());
    assert!(a.exchanges.len().abs_diff(b.exchanges.len()) <= 1);
    for exchange in &a.exchanges {
        let twin = b.exchanges.iter().find(|t| t.remote_sent == exchange.local_sent).expect("the other end has it too");
        assert_eq!(exchange.forward_ns(), twin.backward_ns());
        assert_eq!(exchange.backward_ns(), twin.forward_ns());
        assert_ne!(exchange.initiator, twin.initiator);
        assert_eq!(exchange.class, StampClass::Kernel);
        assert_eq!(exchange.forward_ns(), 1_000 * SECOND + DELAY_NS);
        assert_eq!(exchange.backward_ns(), -1_000 * SECOND + DELAY_NS);
    }
    assert!(a.rejects.is_empty() && b.rejects.is_empty(), "{:?} {:?}", a.rejects, b.rejects);
}

#[test]
fn a_mesh_of_five_carries_its_rate_on_every_link_without_a_single_refusal() {
    let mut net = Net::mesh(5);
    net.run_for(10 * SECOND);
    for node in &net.nodes {
        assert!(node.rejects.is_empty(), "{:?}", node.rejects);
        assert!((4 * 75..=4 * 90).contains(&node.exchanges.len()), "{}", node.exchanges.len());
        assert_eq!(node.events.iter().filter(|e| matches!(e, Event::Arrived(_))).count(), 4);
        assert_eq!(node.protocol.counters().tally(Tally::Unanswered), 0);
    }
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
    assert_eq!(net.nodes[0].rejects.len(), 1, "{:?}", net.nodes[0].rejects);
}
