//! Tests of replays on exchanges made here, of which the truth is known. Recordings of real daemons are replayed in
//! tests/replay.rs.

use super::*;
use crate::flow::{Claim, Role, StampClass};
use crate::pipeline::ALGORITHMS;
use crate::unit::PeerSlot;

/// V minus raw of this node as its peers see it, ns, and by how much its oscillator is slow.
const V_MINUS_RAW_NS: i64 = 1_800_000_000_000_000_000;
const SLOW: f64 = 20e-6;

/// An exchange with peer `n` of three that agree among each other; their V runs `SLOW` faster than the own raw clock.
fn exchange(n: u16, turn: i64) -> Exchange {
    let jitter_ns = (turn.wrapping_mul(6_364_136_223_846_793_005) >> 54) % 200;
    let sent = turn * 125_000_000 + i64::from(n) * 7_000_000;
    let (arrived, answered, received) = (sent + 20_000 + jitter_ns, sent + 30_000, sent + 50_000 - jitter_ns / 2);
    // The peer's raw clock is true time plus an hour for each.
    let theirs = |own: i64| own + (own as f64 * SLOW) as i64 + i64::from(n + 1) * 3_600_000_000_000;
    let at = RawTime::from_nanos;
    let epoch = at(theirs(answered));
    let mapping = Mapping {
        epoch,
        offset_ns: V_MINUS_RAW_NS - i64::from(n + 1) * 3_600_000_000_000,
        offset_frac_ns: 0.0,
        rate: 0.0,
    };
    Exchange {
        peer: PeerSlot(n),
        node: NodeId(100 + u64::from(n)),
        boot: BootId(1),
        initiator: true,
        local_sent: at(sent),
        remote_received: at(theirs(arrived)),
        remote_sent: epoch,
        local_received: at(received),
        class: StampClass::Kernel,
        local_rx_class: StampClass::Kernel,
        local_tx_class: StampClass::Kernel,
        claim: Claim {
            version: turn as u32,
            state: NodeState::Track,
            joining: false,
            sigma_ns: 100.0,
            bound_ns: 20_000.0,
            alive: 4,
            ..Claim::unset(mapping, Role::Peer)
        },
    }
}

fn recording(seconds: i64) -> Vec<Exchange> {
    (0..seconds * 8).flat_map(|turn| (0..3).map(move |n| exchange(n, turn))).collect()
}

fn replayed(algorithm: &str, exchanges: &[Exchange]) -> (Vec<Moment>, Summary) {
    let mut moments = Vec::new();
    let mut replay = Replay::new(NodeId(700), algorithm.parse().unwrap());
    for exchange in exchanges {
        replay.take(exchange, &mut |moment| moments.push(moment)).unwrap();
    }
    let summary = replay.finish(&mut |moment| moments.push(moment));
    (moments, summary)
}

#[test]
fn every_algorithm_finds_what_the_recording_holds() {
    let exchanges = recording(60);
    for entry in ALGORITHMS {
        let (moments, summary) = replayed(entry.name, &exchanges);
        assert_eq!(moments.len(), 60, "{}: one a second", entry.name);
        assert!(summary.tracked_s.is_some_and(|at_s| at_s < 20.0), "{}: {summary:?}", entry.name);
        let last = &moments[59];
        assert_eq!((last.state.as_str(), last.peers.len()), ("track", 3), "{}", entry.name);
        assert!((last.frequency_ppb.unwrap() - SLOW * 1e9).abs() < 300.0, "{}: {last:?}", entry.name);
        for peer in &last.peers {
            assert_eq!(peer.standing, "used", "{}", entry.name);
            // The path is uneven by 150 ns at most.
            assert!(peer.offset_ns.unwrap().abs() < 1_000.0, "{}: {peer:?}", entry.name);
            assert!((peer.rate_ppb.unwrap() - SLOW * 1e9).abs() < 300.0, "{}: {peer:?}", entry.name);
            assert!(peer.bound_ns.unwrap() < 100_000.0, "{}: {peer:?}", entry.name);
        }
        assert_eq!(summary.exchanges, 60 * 8 * 3);
        assert_eq!(summary.peers.values().map(|total| total.outcomes.values().sum::<u64>()).sum::<u64>(), 60 * 8 * 3);
    }
}

#[test]
fn the_same_recording_gives_the_same_replay() {
    let exchanges = recording(20);
    assert_eq!(replayed("rce", &exchanges), replayed("rce", &exchanges));
    assert_ne!(replayed("rce", &exchanges).0, replayed("average", &exchanges).0);
}

#[test]
fn a_peer_that_came_back_in_a_new_run_starts_anew() {
    let mut exchanges = recording(20);
    for late in &mut exchanges[240..] {
        late.boot = BootId(if late.peer == PeerSlot(1) { 2 } else { 1 });
    }
    let (moments, _) = replayed("rce", &exchanges);
    assert!(moments[8].peers[1].samples >= 64, "{:?}", moments[8].peers[1]);
    assert!(moments[10].peers[1].samples <= 16, "{:?}", moments[10].peers[1]);
}

#[test]
fn what_cannot_follow_is_refused_in_a_sentence_and_changes_nothing() {
    let mut replay = Replay::new(NodeId(700), Algorithm::default());
    replay.take(&exchange(0, 0), &mut |_| {}).unwrap();
    let far = Exchange { peer: PeerSlot(PEERS_MAX as u16), ..exchange(0, 1) };
    assert!(replay.take(&far, &mut |_| {}).unwrap_err().contains("record 2 is of peer 128"));
    let late = exchange(0, 8 * 86_401);
    assert!(replay.take(&late, &mut |_| {}).unwrap_err().contains("record 2 is more than a day after"));
    replay.take(&exchange(0, 8 * 86_399), &mut |_| {}).unwrap();
    assert_eq!(replay.finish(&mut |_| {}).exchanges, 2);
}

proptest::proptest! {
    #[test]
    fn no_recording_however_absurd_panics(
        stamps in proptest::collection::vec(proptest::prelude::any::<([i64; 6], u64, u16, u8)>(), 1..20),
    ) {
        for entry in ALGORITHMS {
            let mut replay = Replay::new(NodeId(700), entry.name.parse().unwrap());
            for (n, ([a, b, c, d, e, f], rate, slot, state)) in stamps.iter().enumerate() {
                let mut absurd = exchange(slot % 4, n as i64);
                let at = RawTime::from_nanos;
                (absurd.remote_received, absurd.remote_sent) = (at(*a), at(*b));
                (absurd.local_sent, absurd.claim.mapping.epoch) = (at(*c), at(*d));
                absurd.local_received = at(if state % 2 == 0 { *e } else { absurd.local_received.nanos() });
                (absurd.claim.mapping.offset_ns, absurd.claim.mapping.rate) = (*f, f64::from_bits(*rate));
                absurd.claim.state = NodeState::from_bits(*state);
                let _refused = replay.take(&absurd, &mut |_| {});
            }
            let _summary = replay.finish(&mut |_| {});
        }
    }
}
