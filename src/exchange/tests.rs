//! What the protocol promises, each promise held by tests that fail without it. The files follow the numbers of
//! docs/PROTOCOL.md; here stands what an exchange is for.

mod answers;
mod authenticity;
mod crowds;
mod freshness;
mod keys;
mod observers;
mod places;
mod recovery;

use super::Tally;
use super::testnet::{DELAY_NS, Net, SECOND};
use crate::flow::StampClass;

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
    for (n, node) in net.nodes.iter().enumerate() {
        assert!(node.rejects.is_empty(), "{:?}", node.rejects);
        assert!((4 * 75..=4 * 90).contains(&node.exchanges.len()), "{}", node.exchanges.len());
        assert_eq!(net.arrivals(n), 4);
        assert_eq!(net.tally(n, Tally::Unanswered), 0);
    }
}

#[test]
fn a_claim_travels_to_every_peer_with_the_next_exchange() {
    let mut net = Net::mesh(3);
    net.run_for(SECOND);
    let mut claim = super::testnet::claim();
    (claim.version, claim.sigma_ns, claim.alive) = (77, 12.5, 3);
    net.nodes[0].protocol.set_claim(claim);
    net.clear_records();
    net.run_for(SECOND);
    for n in [1, 2] {
        let mut newest_first = net.nodes[n].exchanges.iter().rev();
        let told = newest_first.find(|e| e.node == net.nodes[0].identity.node);
        assert_eq!(told.expect("exchanges with node 0").claim, claim);
    }
}
