//! What is known of the nodes that one protocol instance measures: a filter and the last claim for each of its places.
//! Takes the events of the protocol in their order, and says at any instant where every node's time is. It knows no
//! mapping of its own and no clock; memory is fixed when it is made.

use super::sighting::{Lead, Seen, Sighting};
use crate::filter::{EdgeFilter, Kalman, Outcome, Pair};
use crate::flow::{Claim, Event, Exchange, PeerIdentity, Relation, Role};
use crate::limits::DRIFT_RATE;
use crate::unit::{PeerSlot, RawTime};

/// Exchanges before a node is compared with others: a first one alone can be off by a scheduler's delay.
const LIVE_EXCHANGES: u32 = 4;
/// Random-walk frequency noise taken for the watcher's own oscillator, q in 1/s: an ordinary crystal (ALGORITHMS 4).
const OWN_WANDER: f64 = 1e-18;

/// The places of one protocol instance, as a watcher sees them.
pub struct Board {
    places: Vec<Option<Place>>,
}

struct Place {
    identity: PeerIdentity,
    filter: Kalman,
    newest: Option<Exchange>,
    silent: bool,
}

impl Board {
    /// A board for a protocol of this capacity.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let mut places = Vec::with_capacity(capacity);
        places.resize_with(capacity, || None);
        Board { places }
    }

    /// Something has happened.
    pub fn on_event(&mut self, event: &Event) {
        match event {
            Event::Arrived(identity) => {
                let place = Place { identity: *identity, filter: Kalman::new(), newest: None, silent: false };
                self.places[identity.slot.index()] = Some(place);
            }
            Event::Left(slot) => self.places[slot.index()] = None,
            Event::Silent(slot) => self.hush(*slot, true),
            Event::Returned(slot) => self.hush(*slot, false),
            Event::Exchanged(exchange) => {
                if let Some(place) = &mut self.places[exchange.peer.index()] {
                    place.take(exchange);
                }
            }
        }
    }

    /// Every node that has a place, at the watcher's raw time `now`.
    pub fn sightings(&self, now: RawTime) -> impl Iterator<Item = Sighting> {
        self.places.iter().flatten().map(move |place| place.sighting(now))
    }

    fn hush(&mut self, slot: PeerSlot, silent: bool) {
        if let Some(place) = &mut self.places[slot.index()] {
            place.silent = silent;
        }
    }
}

impl Place {
    fn take(&mut self, exchange: &Exchange) {
        let known = self.identity.node == exchange.node && self.identity.boot == exchange.boot;
        // The two ends need not run the same filter here, because nobody fuses what a watcher finds.
        let wander = OWN_WANDER + f64::from(exchange.claim.wander);
        let pair = Pair { boost: 1.0, wander, alive: 2.0 };
        if !known || self.filter.on_exchange(exchange, &pair) == Outcome::Impossible {
            return;
        }
        let newer = |before: &Exchange| exchange.local_received.since(before.local_received) >= 0;
        if self.newest.as_ref().is_none_or(newer) {
            self.newest = Some(*exchange);
        }
    }

    fn sighting(&self, now: RawTime) -> Sighting {
        let name = self.identity.name.as_str().to_owned();
        let unheard = Sighting::unheard(self.identity.node, name, Some(self.identity.address));
        let (Some(newest), Some(relation)) = (&self.newest, self.filter.relation(now)) else { return unheard };
        let age_ns = now.since(newest.local_received).max(0);
        let claim = &newest.claim;
        Sighting {
            seen: self.seen(&relation, claim),
            state: Some(claim.state.as_str().to_owned()),
            role: Some(claim.role.as_str().to_owned()),
            lead: Some(lead(&relation, claim, now)),
            sigma_ns: finite(relation.offset_var.min(relation.noise_var).sqrt()),
            bound_ns: finite(bound_ns(&relation, age_ns)),
            delay_ns: finite(relation.delay_ns),
            claimed_sigma_ns: finite(f64::from(claim.sigma_ns)),
            claimed_bound_ns: finite(f64::from(claim.bound_ns)),
            stamps: Some(newest.class.as_str().to_owned()),
            exchanges: Some(relation.samples),
            age_ns: Some(age_ns),
            ..unheard
        }
    }

    fn seen(&self, relation: &Relation, claim: &Claim) -> Seen {
        if self.silent {
            Seen::Silent
        } else if claim.role == Role::Observer {
            Seen::Observer
        } else if relation.samples < LIVE_EXCHANGES {
            Seen::Learning
        } else {
            Seen::Live
        }
    }
}

/// The node's V minus the watcher's raw time, both at the watcher's raw time `now`.
fn lead(relation: &Relation, claim: &Claim, now: RawTime) -> Lead {
    // Outside data: a relation of two absurd stamps wraps and does not panic; the cast saturates.
    let theirs = now.plus(relation.base_ns).plus(relation.offset_ns.floor() as i64);
    let (whole_ns, frac_ns) = claim.offset_at(theirs);
    Lead::new(whole_ns.wrapping_add(relation.base_ns), frac_ns + relation.offset_ns)
}

/// How far the lead can be from the truth: the hard interval around it, and what two oscillators may have drifted since
/// the node last spoke.
fn bound_ns(relation: &Relation, age_ns: i64) -> f64 {
    let (low_ns, high_ns) = (relation.hard.low_ns - relation.offset_ns, relation.hard.high_ns - relation.offset_ns);
    low_ns.abs().max(high_ns.abs()) + 2.0 * DRIFT_RATE * age_ns as f64
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Mapping, StampClass};
    use crate::unit::{BootId, Name, NodeId, VirtualTime};

    const SECOND_NS: i64 = 1_000_000_000;

    /// A node whose raw clock is `raw_ahead_ns` ahead of the watcher's and runs `rate` faster, and whose V is
    /// `v_ahead_ns` ahead of true time.
    #[derive(Clone, Copy)]
    struct Node {
        slot: u16,
        raw_ahead_ns: i64,
        rate: f64,
        v_ahead_ns: i64,
        role: Role,
    }

    impl Node {
        fn identity(&self) -> PeerIdentity {
            PeerIdentity {
                slot: PeerSlot(self.slot),
                node: NodeId(u64::from(self.slot) + 1),
                boot: BootId(7),
                name: Name::new("n"),
                address: ([127, 0, 0, 1], 1000 + self.slot).into(),
            }
        }

        fn raw(&self, true_ns: i64) -> RawTime {
            RawTime::from_nanos(true_ns + self.raw_ahead_ns + (self.rate * true_ns as f64) as i64)
        }

        /// An exchange that begins at `true_ns`, 20 us each way, while the watcher's raw clock reads
        /// `true + watcher_ahead_ns`.
        fn exchange(&self, true_ns: i64, watcher_ahead_ns: i64) -> Exchange {
            let identity = self.identity();
            let watcher = |true_ns: i64| RawTime::from_nanos(true_ns + watcher_ahead_ns);
            let arrives = true_ns + 20_000;
            let v = VirtualTime::from_nanos(arrives + self.v_ahead_ns);
            let mapping = Mapping::through(self.raw(arrives), v, -self.rate / (1.0 + self.rate));
            Exchange {
                peer: identity.slot,
                node: identity.node,
                boot: identity.boot,
                initiator: true,
                local_sent: watcher(true_ns),
                remote_received: self.raw(arrives),
                remote_sent: self.raw(arrives + 5_000),
                local_received: watcher(arrives + 25_000),
                class: StampClass::Kernel,
                local_rx_class: StampClass::Kernel,
                local_tx_class: StampClass::Kernel,
                claim: Claim { sigma_ns: 9.0, bound_ns: f32::INFINITY, ..Claim::unset(mapping, self.role) },
            }
        }
    }

    fn node(slot: u16, raw_ahead_ns: i64, rate: f64, v_ahead_ns: i64) -> Node {
        Node { slot, raw_ahead_ns, rate, v_ahead_ns, role: Role::Peer }
    }

    /// Watches the nodes for ten seconds with a clock that is `watcher_ahead_ns` off.
    fn watched(nodes: &[Node], watcher_ahead_ns: i64) -> Board {
        let mut board = Board::new(8);
        for node in nodes {
            board.on_event(&Event::Arrived(node.identity()));
        }
        for n in 0..20 {
            for node in nodes {
                let at_ns = n * SECOND_NS / 2 + i64::from(node.slot) * 70_000_000;
                board.on_event(&Event::Exchanged(node.exchange(at_ns, watcher_ahead_ns)));
            }
        }
        board
    }

    fn skew_ns(board: &Board, now_ns: i64) -> f64 {
        let leads: Vec<Lead> = board.sightings(RawTime::from_nanos(now_ns)).map(|s| s.lead.unwrap()).collect();
        leads[0].minus_ns(leads[1])
    }

    #[test]
    fn the_skew_of_two_nodes_is_that_of_their_times_whatever_clock_the_watcher_has() {
        let nodes = [node(0, 5_000_000_000_000, 30e-6, 7_000_000), node(1, -9_000_000_000, -20e-6, -1_000_000)];
        for watcher_ahead_ns in [0, 3_000_000_000_000_000, -80_000_000_000_000] {
            let board = watched(&nodes, watcher_ahead_ns);
            let skew = skew_ns(&board, 10 * SECOND_NS + watcher_ahead_ns);
            assert!((skew - 8_000_000.0).abs() < 100.0, "{skew} with a watcher {watcher_ahead_ns} ns ahead");
        }
    }

    #[test]
    fn the_truth_lies_within_the_bound_and_a_long_pause_widens_it() {
        let nodes = [node(0, 1_000_000, 0.0, 40_000)];
        let board = watched(&nodes, 0);
        let at = |s: i64| board.sightings(RawTime::from_nanos(s * SECOND_NS)).next().unwrap();
        let (soon, late) = (at(10), at(100));
        let error_ns = soon.lead.unwrap().minus_ns(Lead::new(40_000, 0.0)).abs();
        assert!(error_ns <= soon.bound_ns.unwrap() && soon.bound_ns.unwrap() < 200_000.0, "{error_ns} {soon:?}");
        assert!(late.bound_ns.unwrap() > soon.bound_ns.unwrap() + 100_000.0, "{late:?}");
        assert!((39_000.0..=42_000.0).contains(&soon.delay_ns.unwrap()), "{soon:?}");
        assert_eq!((soon.claimed_sigma_ns, soon.claimed_bound_ns), (Some(9.0), None));
    }

    #[test]
    fn a_node_is_compared_once_it_is_known_and_no_longer_when_it_is_silent_or_gone() {
        let one = node(3, 0, 0.0, 0);
        let mut board = Board::new(8);
        let seen = |board: &Board| board.sightings(RawTime::from_nanos(SECOND_NS)).next().map(|s| s.seen);
        assert_eq!(seen(&board), None);
        board.on_event(&Event::Arrived(one.identity()));
        assert_eq!(seen(&board), Some(Seen::Unheard));
        let mut course = Vec::new();
        for n in 0..i64::from(LIVE_EXCHANGES) {
            board.on_event(&Event::Exchanged(one.exchange(n * 100_000_000, 0)));
            course.push(seen(&board).unwrap());
        }
        assert_eq!(course, [Seen::Learning, Seen::Learning, Seen::Learning, Seen::Live]);
        board.on_event(&Event::Silent(PeerSlot(3)));
        assert_eq!(seen(&board), Some(Seen::Silent));
        board.on_event(&Event::Returned(PeerSlot(3)));
        assert_eq!(seen(&board), Some(Seen::Live));
        board.on_event(&Event::Left(PeerSlot(3)));
        assert_eq!(seen(&board), None);
        // What was under way when the place changed hands is nobody's.
        board.on_event(&Event::Exchanged(one.exchange(SECOND_NS, 0)));
        assert_eq!(seen(&board), None);
    }

    #[test]
    fn another_observer_is_seen_and_not_compared() {
        let board = watched(&[Node { role: Role::Observer, ..node(0, 0, 0.0, 5) }], 0);
        assert_eq!(board.sightings(RawTime::from_nanos(10 * SECOND_NS)).next().unwrap().seen, Seen::Observer);
    }

    #[test]
    fn absurd_stamps_and_mappings_do_not_panic() {
        let mut board = Board::new(8);
        let one = node(0, 0, 0.0, 0);
        board.on_event(&Event::Arrived(one.identity()));
        for extreme in [i64::MIN, i64::MAX, 0, -1] {
            for n in 0..6 {
                let mut exchange = one.exchange(n, 0);
                exchange.remote_received = RawTime::from_nanos(extreme);
                exchange.remote_sent = RawTime::from_nanos(extreme.wrapping_add(n));
                exchange.claim.mapping.epoch = RawTime::from_nanos(extreme.wrapping_neg());
                exchange.claim.mapping.offset_ns = extreme;
                exchange.claim.mapping.rate = 0.2;
                board.on_event(&Event::Exchanged(exchange));
                for now in [i64::MIN, 0, i64::MAX] {
                    assert_eq!(board.sightings(RawTime::from_nanos(now)).count(), 1);
                }
            }
        }
    }
}
