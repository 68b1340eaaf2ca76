//! Observers that nobody lists ask for themselves: they are answered in full, never probed, and leave no ghost.

use crate::exchange::Tally;
use crate::exchange::testnet::{Net, SECOND, address};
use crate::flow::{Claim, Event, Role, StampClass};
use crate::limits::OBSERVER_SILENCE_NS;
use crate::wire::Kind;

/// Node 0, and node 1 that observes it; `listed` says whether node 0 knows of it.
fn watched(listed: bool) -> Net {
    let observing = |n: usize, config: &mut crate::exchange::Config| {
        if n == 1 {
            config.claim = Claim { role: Role::Observer, ..config.claim };
        }
    };
    let mut net = Net::mesh_of(2, observing);
    net.list(0, if listed { &[1] } else { &[] });
    net
}

fn probes_of(net: &Net, n: usize) -> usize {
    net.log.iter().filter(|sent| sent.from == address(n) && sent.kind() == Kind::Probe).count()
}

#[test]
fn an_observer_that_nobody_lists_gets_full_exchanges_at_its_own_pace_and_is_never_probed() {
    let mut net = watched(false);
    net.run_for(10 * SECOND);
    assert_eq!((probes_of(&net, 0), net.tally(0, Tally::Probes)), (0, 0));
    let observed = &net.nodes[1].exchanges;
    assert!((36..=44).contains(&observed.len()), "{} exchanges in 10 s by one end at 8/s", observed.len());
    assert!(observed.iter().all(|e| e.initiator && e.class == StampClass::Kernel));
    assert_eq!(net.nodes[0].exchanges.len(), observed.len(), "the node has the same exchanges");
}

#[test]
fn an_observer_that_is_listed_is_probed_like_a_peer() {
    let mut net = watched(true);
    net.run_for(10 * SECOND);
    assert!(probes_of(&net, 0) > 25, "{}", probes_of(&net, 0));
    assert!(net.nodes[0].exchanges.len() > 70);
}

#[test]
fn an_observer_that_ended_gives_its_place_back_after_its_silence_and_not_before() {
    let mut net = watched(false);
    net.run_for(2 * SECOND);
    net.nodes[1].up = false;
    net.run_for(OBSERVER_SILENCE_NS - SECOND);
    assert_eq!((net.departures(0), net.nodes[0].protocol.alive()), (0, 1));
    net.run_for(3 * SECOND);
    let left = |net: &Net| net.nodes[0].events.iter().filter(|e| matches!(e, Event::Left(_))).count();
    assert_eq!((net.departures(0), net.nodes[0].protocol.alive(), left(&net)), (1, 0, 1));
    assert_eq!(net.tally(0, Tally::Departures), 0, "who only looks is not missed");
}

#[test]
fn a_listed_observer_that_ended_keeps_its_place() {
    let mut net = watched(true);
    net.run_for(2 * SECOND);
    net.nodes[1].up = false;
    net.run_for(2 * OBSERVER_SILENCE_NS);
    assert_eq!(net.departures(0), 1);
    assert!(!net.nodes[0].events.iter().any(|e| matches!(e, Event::Left(_))));
}
