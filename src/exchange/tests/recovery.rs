//! Guarantee 6: after any bad, lost or late packet, stamp or restart the exchange recovers by itself.

use crate::exchange::Tally;
use crate::exchange::testnet::{
    DELAY_NS, MILLISECOND, Net, SECOND, USER_LEAD_NS, address, losing, losing_one, message, named, open_hand, resealed,
    sealed,
};
use crate::flow::{Event, StampClass};
use crate::limits::{OUTSTANDING_MAX, TRANSMIT_STAMP_WAIT_NS};
use crate::wire::{Kind, Message, Reject};

/// Two nodes that have talked for a while, their records empty.
fn pair() -> Net {
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    net.run_until(SECOND, Net::is_silent);
    net.clear_records();
    net
}

/// Holds that every exchange at both ends has true stamps and the true delay.
fn all_true(net: &Net) {
    for (n, sign) in [(0, 1), (1, -1)] {
        for exchange in &net.nodes[n].exchanges {
            assert_eq!(exchange.class, StampClass::Kernel);
            assert_eq!(exchange.forward_ns(), sign * 1_000 * SECOND + DELAY_NS);
            assert_eq!(exchange.backward_ns(), -sign * 1_000 * SECOND + DELAY_NS);
        }
    }
}

#[test]
fn a_lost_probe_costs_its_own_exchange_and_nothing_else() {
    let mut net = pair();
    net.hand = losing_one(0, Kind::Probe);
    net.run_for(5 * SECOND);
    all_true(&net);
    assert_eq!(net.tally(0, Tally::Unanswered), 1);
    assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 36 && n.rejects.is_empty()));
}

#[test]
fn a_lost_reply_costs_its_own_exchange_and_nothing_else() {
    let mut net = pair();
    net.hand = losing_one(1, Kind::Reply);
    net.run_for(5 * SECOND);
    all_true(&net);
    assert_eq!(net.tally(0, Tally::Unanswered), 1);
    assert_eq!(net.nodes[0].exchanges.len(), net.nodes[1].exchanges.len());
    assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 36 && n.rejects.is_empty()));
}

#[test]
fn a_lost_report_costs_the_responder_its_side_and_the_asker_nothing() {
    let mut net = pair();
    net.hand = losing_one(0, Kind::Report);
    net.run_for(5 * SECOND);
    all_true(&net);
    assert_eq!(net.nodes[0].exchanges.len(), net.nodes[1].exchanges.len() + 1);
    assert!(net.nodes.iter().all(|n| n.rejects.is_empty()));
    assert_eq!(net.tally(0, Tally::TransmitStampMissing) + net.tally(1, Tally::TransmitStampMissing), 0);
}

#[test]
fn a_lost_follow_is_repaired_by_the_next_packet_and_the_truth_is_kept() {
    let mut net = pair();
    net.hand = losing_one(1, Kind::Follow);
    net.run_for(5 * SECOND);
    all_true(&net);
    assert_eq!(net.nodes[0].exchanges.len(), net.nodes[1].exchanges.len());
    assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 36 && n.rejects.is_empty()));
    assert_eq!(net.tally(0, Tally::TransmitStampMissing) + net.tally(1, Tally::TransmitStampMissing), 0);
}

#[test]
fn without_any_follow_the_truth_still_travels_in_the_next_packets() {
    let mut net = pair();
    net.hand = losing(|_, bytes| bytes[3] == Kind::Follow as u8);
    net.run_for(10 * SECOND);
    all_true(&net);
    assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 72));
}

#[test]
fn half_of_all_packets_lost_leaves_a_link_that_works() {
    let mut net = pair();
    let mut turn = 1u64;
    net.hand = losing(move |_, _| {
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        turn >> 63 == 1
    });
    net.run_for(60 * SECOND);
    for (n, node) in net.nodes.iter().enumerate() {
        assert!(node.exchanges.len() > 30, "{}", node.exchanges.len());
        assert!(node.rejects.is_empty(), "{:?}", node.rejects);
        assert!(net.tally(n, Tally::Unanswered) > 10);
    }
    net.hand = open_hand();
    net.run_for(3 * SECOND);
    net.clear_records();
    net.run_for(2 * SECOND);
    all_true(&net);
    assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 14));
}

#[test]
fn a_bad_packet_in_the_middle_of_an_exchange_does_not_end_it() {
    for stage in [Kind::Probe, Kind::Reply, Kind::Report, Kind::Follow] {
        let mut net = pair();
        net.hand = Box::new(move |_, bytes| {
            let mut bad = bytes.to_vec();
            bad[90] ^= 4;
            let good = (DELAY_NS, bytes.to_vec());
            if bytes[3] == stage as u8 { vec![(DELAY_NS - 1_000, bad), good] } else { vec![good] }
        });
        net.run_for(3 * SECOND);
        all_true(&net);
        assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 20));
        assert!(net.rejected(0, Reject::BadMac) + net.rejected(1, Reject::BadMac) >= 20, "{stage:?}");
    }
}

// Transmit stamps.

#[test]
fn late_transmit_stamps_delay_an_exchange_and_keep_its_truth() {
    for delay_ns in [10_000, 60_000, 5 * MILLISECOND, 300 * MILLISECOND] {
        let mut net = pair();
        net.nodes.iter_mut().for_each(|n| n.stamp_delay_ns = delay_ns);
        net.run_for(6 * SECOND);
        all_true(&net);
        assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 40), "stamps {delay_ns} ns late");
        assert_eq!(net.tally(0, Tally::TransmitStampMissing) + net.tally(1, Tally::TransmitStampMissing), 0);
    }
}

#[test]
fn the_first_exchange_keeps_its_truth_even_if_its_stamps_come_after_the_proof() {
    // The reply to a stranger is filed with the candidate, and the stamp finds it where it has gone since.
    for (a_lists, b_lists) in [(true, false), (false, true), (true, true)] {
        let mut net = Net::mesh(2);
        if !a_lists {
            net.list(0, &[]);
        }
        if !b_lists {
            net.list(1, &[]);
        }
        net.nodes.iter_mut().for_each(|n| n.stamp_delay_ns = 3 * MILLISECOND);
        net.run_for(3 * SECOND);
        all_true(&net);
        assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 10));
        for n in 0..2 {
            assert_eq!(net.tally(n, Tally::TransmitStampMissing) + net.tally(n, Tally::TransmitStampLate), 0);
        }
    }
}

#[test]
fn a_transmit_stamp_that_never_comes_is_waited_for_so_long_and_then_replaced_by_the_weaker_one() {
    let mut net = Net::mesh_of(2, |_, config| config.rate_hz = 1.0);
    net.run_for(5 * SECOND);
    net.clear_records();
    net.nodes[1].gives_stamps = false;
    let before = net.tally(0, Tally::TransmitStampMissing);
    let took = net.run_until(5 * SECOND, |net| net.tally(0, Tally::TransmitStampMissing) > before);
    assert!(took >= TRANSMIT_STAMP_WAIT_NS, "{took}");
    net.run_for(10 * SECOND);
    let weak = net.nodes[0].exchanges.iter().filter(|e| e.class == StampClass::User).collect::<Vec<_>>();
    assert!(weak.len() >= 8, "{}", weak.len());
    for exchange in weak {
        assert_eq!(
            exchange.forward_ns() + exchange.backward_ns(),
            2 * DELAY_NS + USER_LEAD_NS,
            "1's departure is early"
        );
        assert_eq!((exchange.local_tx_class, exchange.local_rx_class), (StampClass::Kernel, StampClass::Kernel));
    }
}

#[test]
fn a_node_whose_stamps_stop_keeps_its_rate_with_the_weaker_ones() {
    // At 8/s more exchanges wait than have places: each must end as a weak one, not vanish.
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    net.nodes[0].gives_stamps = false;
    net.run_for(4 * SECOND);
    net.clear_records();
    let (before, seconds) = (net.tally(0, Tally::TransmitStampMissing), 10);
    net.run_for(seconds * SECOND);
    for node in &net.nodes {
        assert!((70..=90).contains(&node.exchanges.len()), "{} exchanges, all weak", node.exchanges.len());
        assert!(node.exchanges.iter().all(|e| e.class == StampClass::User));
    }
    let counted = net.tally(0, Tally::TransmitStampMissing) - before;
    assert_eq!(counted, net.nodes[0].exchanges.len() as u64);
    assert_eq!((net.departures(0), net.departures(1)), (0, 0));
}

#[test]
fn user_stamps_finish_at_once_and_need_no_follow() {
    let mut net = Net::mesh_of(2, |_, config| config.promise = StampClass::User);
    net.run_for(2 * SECOND);
    net.clear_records();
    net.run_for(5 * SECOND);
    assert!(net.log.iter().all(|p| p.kind() != Kind::Follow));
    for (n, node) in net.nodes.iter().enumerate() {
        assert!(node.exchanges.len() >= 36 && node.rejects.is_empty());
        assert_eq!(net.tally(n, Tally::TransmitStampMissing), 0, "none was promised");
        assert!(node.exchanges.iter().all(|e| e.class == StampClass::User));
    }
    let last = net.log.len() - 1;
    assert_eq!(net.log[last].kind(), Kind::Report);
}

#[test]
fn a_node_with_true_stamps_and_one_without_work_together() {
    let mut net = Net::mesh_of(2, |n, config| {
        config.promise = if n == 0 { StampClass::User } else { StampClass::Kernel };
    });
    net.run_for(5 * SECOND);
    for (n, node) in net.nodes.iter().enumerate() {
        assert!(node.exchanges.len() >= 36 && node.rejects.is_empty(), "{}", node.exchanges.len());
        assert_eq!(net.tally(n, Tally::TransmitStampMissing), 0);
    }
    assert!(net.log.iter().any(|p| p.kind() == Kind::Follow && p.from == address(1)));
    assert!(net.log.iter().all(|p| p.kind() != Kind::Follow || p.from == address(1)));
}

#[test]
fn a_stamp_for_an_exchange_that_is_over_is_counted_and_changes_no_other() {
    let mut net = pair();
    net.nodes[0].stamp_delay_ns = TRANSMIT_STAMP_WAIT_NS + SECOND;
    net.run_for(8 * SECOND);
    assert!(net.tally(0, Tally::TransmitStampLate) > 20);
    for exchange in &net.nodes[0].exchanges {
        assert!(matches!(exchange.class, StampClass::User | StampClass::Kernel));
        let early = exchange.forward_ns() + exchange.backward_ns() - 2 * DELAY_NS;
        assert_eq!(early, if exchange.class == StampClass::User { USER_LEAD_NS } else { 0 });
    }
}

// Restarts and partitions.

#[test]
fn a_restart_resets_the_edge_at_once() {
    for (zero_lists, one_lists) in [(true, true), (true, false), (false, true)] {
        let mut net = Net::mesh(2);
        if !zero_lists {
            net.list(0, &[]);
        }
        net.run_for(3 * SECOND);
        net.clear_records();
        net.restart(1, 500, -7_777 * SECOND);
        if !one_lists {
            net.list(1, &[]);
        }
        let took = net.run_until(SECOND, |net| net.arrivals(0) == 1 && !net.nodes[0].exchanges.is_empty());
        assert!(took < SECOND, "{took} ns");
        net.run_for(SECOND);
        let Event::Arrived(new) = net.nodes[0].events[0] else { panic!("{:?}", net.nodes[0].events) };
        assert_eq!((new.boot.0, new.node), (500, net.nodes[1].identity.node));
        let since = net.nodes[0].exchanges.iter().filter(|e| e.boot.0 == 500).collect::<Vec<_>>();
        assert!(since.len() >= 4);
        for exchange in since {
            assert_eq!((exchange.peer, exchange.forward_ns()), (new.slot, -7_777 * SECOND + DELAY_NS));
        }
        assert_eq!(net.tally(0, Tally::Reboots), 1);
        assert_eq!(net.nodes[0].protocol.alive(), 1);
    }
}

#[test]
fn a_restart_in_the_middle_of_an_exchange_mixes_no_stamps_of_two_runs() {
    for stage in [Kind::Probe, Kind::Reply, Kind::Report, Kind::Follow] {
        let mut net = pair();
        net.run_until(SECOND, |net| net.log.iter().any(|p| p.kind() == stage));
        net.clear_records();
        net.restart(1, 500, -7_777 * SECOND);
        net.run_for(3 * SECOND);
        for exchange in &net.nodes[0].exchanges {
            let offset = if exchange.boot.0 == 500 { -7_777 * SECOND } else { 1_000 * SECOND };
            assert_eq!(exchange.forward_ns(), offset + DELAY_NS, "{stage:?}");
            assert_eq!(exchange.backward_ns(), -offset + DELAY_NS, "{stage:?}");
        }
        assert!(net.nodes[0].exchanges.iter().filter(|e| e.boot.0 == 500).count() > 10);
    }
}

#[test]
fn an_exchange_that_waits_for_its_departure_is_not_finished_in_the_name_of_the_next_run() {
    let mut net = pair();
    net.hand = losing(|_, bytes| bytes[3] == Kind::Follow as u8);
    net.run_until(SECOND, |net| net.log.iter().any(|p| p.kind() == Kind::Follow && p.to == address(0)));
    net.clear_records();
    net.restart(1, 500, -7_777 * SECOND);
    net.run_for(3 * SECOND);
    assert!(net.nodes[0].exchanges.len() > 10);
    assert!(net.nodes[0].exchanges.iter().all(|e| e.forward_ns() == -7_777 * SECOND + DELAY_NS));
}

#[test]
fn ten_restarts_in_a_row_are_ten_arrivals_in_one_place() {
    let mut net = pair();
    for run in 0..10 {
        net.restart(1, 600 + run, i64::from(run) * 50 * SECOND);
        net.run_for(SECOND);
    }
    let arrived = net.nodes[0].events.iter().filter_map(|e| if let Event::Arrived(p) = e { Some(p) } else { None });
    assert_eq!(arrived.clone().count(), 10);
    assert!(arrived.clone().all(|p| p.slot == arrived.clone().next().unwrap().slot));
    assert_eq!((net.nodes[0].protocol.alive(), net.tally(0, Tally::Reboots)), (1, 10));
}

#[test]
fn a_partition_of_five_seconds_ends_without_a_new_arrival() {
    let mut net = pair();
    net.hand = losing(|_, _| true);
    net.run_for(5 * SECOND);
    assert_eq!((net.departures(0), net.departures(1)), (1, 1));
    assert_eq!(net.nodes[0].protocol.alive(), 0);
    net.hand = open_hand();
    net.clear_records();
    let back = net.run_until(2 * SECOND, |net| net.nodes.iter().all(|n| !n.exchanges.is_empty()));
    assert!(back < SECOND, "{back} ns");
    net.run_for(3 * SECOND);
    assert_eq!((net.arrivals(0), net.arrivals(1)), (0, 0));
    all_true(&net);
    assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 20 && n.protocol.alive() == 1));
    assert_eq!(net.tally(0, Tally::Reboots), 0);
}

#[test]
fn a_pause_shorter_than_the_silence_limit_is_no_departure() {
    let mut net = pair();
    net.hand = losing(|_, _| true);
    net.run_for(1_500 * MILLISECOND);
    net.hand = open_hand();
    net.run_for(3 * SECOND);
    assert_eq!((net.departures(0), net.departures(1)), (0, 0));
}

#[test]
fn a_peer_that_is_heard_again_is_asked_at_the_full_rate_again() {
    let mut net = pair();
    net.nodes[1].up = false;
    net.run_for(30 * SECOND);
    net.nodes[1].up = true;
    net.run_for(2 * SECOND);
    net.clear_records();
    net.run_for(5 * SECOND);
    assert!((36..=46).contains(&net.nodes[0].exchanges.len()), "{}", net.nodes[0].exchanges.len());
}

#[test]
fn slow_links_with_long_intervals_are_not_taken_for_dead() {
    let mut net = Net::mesh_of(2, |_, config| config.rate_hz = 0.05);
    net.run_for(200 * SECOND);
    assert_eq!((net.departures(0), net.departures(1)), (0, 0));
    assert!(net.nodes[0].exchanges.len() >= 8);
    let named = net.log.iter().filter(|p| p.kind() == Kind::Probe && p.bytes[24..32] != [0; 8]).count();
    let probes = net.log.iter().filter(|p| p.kind() == Kind::Probe).count();
    assert!(named + 2 >= probes, "{named} of {probes} probes name the node that is known to be there");
}

#[test]
fn a_peer_that_asks_more_than_there_are_places_loses_only_its_own_oldest() {
    let mut net = pair();
    let (me, peer) = (net.nodes[0].identity.node, net.nodes[1].identity);
    let mut first = None;
    for n in 0..OUTSTANDING_MAX as u64 + 1 {
        net.now_ns += 1_000;
        let probe = sealed(&message(Kind::Probe, &peer, me, 1_000 + n), &peer, &crate::exchange::testnet::keyring(1));
        let (_, reply) = net.hand_over(0, address(1), &probe).unwrap().unwrap();
        let (reply, _) = Message::open(&reply, &peer, &crate::exchange::testnet::keyring(1)).unwrap();
        first.get_or_insert(reply.nonce);
        if n == OUTSTANDING_MAX as u64 {
            for (echo, good) in [(first.unwrap(), false), (reply.nonce, true)] {
                let report = Message { echo, ..message(Kind::Report, &peer, me, 2_000 + u64::from(good)) };
                let bytes = sealed(&report, &peer, &crate::exchange::testnet::keyring(1));
                assert_eq!(net.hand_over(0, address(1), &bytes).is_ok(), good);
            }
        }
    }
}

#[test]
fn a_second_node_of_the_same_name_is_seen_as_restarts_and_never_as_two() {
    let mut net = pair();
    let twin = named("n1", 4_000);
    let me = net.nodes[0].identity.node;
    let keys = crate::exchange::testnet::keyring(1);
    for n in 0..5u64 {
        net.run_for(SECOND);
        let probe = sealed(&message(Kind::Probe, &twin, me, 10 + 10 * n), &twin, &keys);
        let (_, reply) = net.hand_over(0, address(9), &probe).unwrap().unwrap();
        let (reply, _) = Message::open(&reply, &twin, &keys).unwrap();
        let report = Message { echo: reply.nonce, ..message(Kind::Report, &twin, me, 11 + 10 * n) };
        net.hand_over(0, address(9), &sealed(&report, &twin, &keys)).unwrap();
        assert_eq!(net.nodes[0].protocol.alive(), 1);
    }
    assert!(net.tally(0, Tally::Reboots) >= 9, "operators see it: {}", net.tally(0, Tally::Reboots));
}

// Guarantee 8: versions.

#[test]
fn a_newer_minor_version_is_read_and_counted_and_another_major_is_refused() {
    for (version, good, newer) in
        [(0x10, true, 0), (0x11, true, 1), (0x1f, true, 1), (0x00, false, 0), (0x20, false, 0), (0xf1, false, 0)]
    {
        let mut net = pair();
        let (_, probe) = net.next_sent(0);
        // What a newer version adds lies in reserved bytes and bits.
        let bytes = resealed(&probe, &crate::exchange::testnet::keyring(1), |b| {
            b[2] = version;
            b[6] |= 0xf8;
            b[134..136].fill(0xee);
            b[152..160].fill(0xee);
        });
        let outcome = net.hand_over(1, address(0), &bytes);
        assert_eq!(outcome.is_ok(), good, "{version:#x}: {outcome:?}");
        assert_eq!(net.tally(1, Tally::NewerMinor), newer);
        assert_eq!(net.rejected(1, Reject::Version), u64::from(!good));
    }
}

#[test]
fn every_other_major_version_is_refused_before_its_seal_is_looked_at() {
    let mut net = pair();
    let (_, probe) = net.next_sent(0);
    for version in (0..=255).filter(|v| v >> 4 != 1) {
        let mut bytes = probe;
        bytes[2] = version;
        assert_eq!(net.hand_over(1, address(0), &bytes), Err(Reject::Version));
    }
}

#[test]
fn a_cluster_in_the_middle_of_an_upgrade_loses_nothing() {
    let mut net = Net::mesh(3);
    net.hand = Box::new(|n, bytes| {
        let keys = crate::exchange::testnet::keyring(1);
        let newer = |b: &mut [u8]| {
            b[2] = 0x11;
            b[152..160].fill(0x5a);
        };
        vec![(DELAY_NS, if n == 0 { resealed(bytes, &keys, newer) } else { bytes.to_vec() })]
    });
    net.run_for(5 * SECOND);
    assert!(net.nodes.iter().all(|n| n.exchanges.len() >= 70 && n.rejects.is_empty()));
    assert!(net.tally(1, Tally::NewerMinor) > 50 && net.tally(0, Tally::NewerMinor) == 0);
}
