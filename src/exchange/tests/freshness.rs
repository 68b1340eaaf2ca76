//! Guarantee 3: a measurement exists only when the answer echoes a fresh nonce that is still outstanding, once.

use crate::exchange::Tally;
use crate::exchange::testnet::{
    DELAY_NS, MILLISECOND, Net, SECOND, USER_LEAD_NS, address, identity, keyring, losing, message, named, open_hand,
    sealed,
};
use crate::flow::StampClass;
use crate::limits::NONCE_LIFETIME_NS;
use crate::wire::{Kind, Message, Reject, ReplayWindow};

/// Hands every recorded datagram of a session to every node, from its own address and from another, and holds that it
/// has no effect.
fn replay_everything(net: &mut Net) {
    let recorded = net.log.clone();
    assert!(recorded.len() > 100, "a session worth replaying");
    for n in 0..net.nodes.len() {
        net.let_time_act(n);
    }
    for packet in &recorded {
        for to in 0..net.nodes.len() {
            for from in [packet.from, address(77)] {
                let (state, finished) = (net.nodes[to].protocol.state(), net.nodes[to].exchanges.len());
                let outcome = net.hand_over(to, from, &packet.bytes);
                let for_anyone = packet.bytes[24..32] == [0; 8] && packet.to != address(to);
                if for_anyone && outcome.is_ok() {
                    // Sealed for whoever is there, and never seen here: answered like any probe, once.
                    assert_eq!(net.nodes[to].exchanges.len(), finished);
                    net.hand_over(to, from, &packet.bytes).expect_err("once");
                    continue;
                }
                assert!(outcome.is_err(), "{:?} to {to}: {outcome:?}", packet.kind());
                assert_eq!(net.nodes[to].protocol.state(), state);
                assert_eq!(net.nodes[to].exchanges.len(), finished);
            }
        }
    }
}

#[test]
fn a_session_played_again_at_once_changes_nothing() {
    let mut net = Net::mesh(3);
    net.run_for(3 * SECOND);
    net.run_until(SECOND, Net::is_silent);
    replay_everything(&mut net);
}

#[test]
fn a_session_played_again_long_after_changes_nothing() {
    let mut net = Net::mesh(3);
    net.run_for(3 * SECOND);
    let recorded = net.log.clone();
    net.run_for(30 * SECOND);
    net.log = recorded;
    replay_everything(&mut net);
}

#[test]
fn a_session_played_to_a_node_that_was_restarted_since_gives_no_exchange_and_moves_nobody() {
    let mut net = Net::mesh(2);
    net.run_for(3 * SECOND);
    let recorded = net.log.clone();
    net.restart(1, 500, 77 * SECOND);
    net.run_for(SECOND);
    net.clear_records();
    net.let_time_act(1);
    let (state, boot) = (net.nodes[1].protocol.state(), net.nodes[1].identity.boot);
    for packet in recorded.iter().filter(|p| p.to == address(1)) {
        net.hand_over(1, packet.from, &packet.bytes).expect_err("sealed for this node, but seen by its last run");
    }
    assert_eq!((net.nodes[1].protocol.state(), net.nodes[1].identity.boot), (state, boot));
    assert!(net.nodes[1].exchanges.is_empty() && net.nodes[1].events.is_empty());
}

#[test]
fn a_packet_that_arrives_twice_is_taken_once() {
    let mut net = Net::mesh(3);
    net.hand = Box::new(|_, bytes| {
        let copy = bytes.to_vec();
        vec![(DELAY_NS, copy.clone()), (DELAY_NS + 5_000, copy.clone()), (3 * MILLISECOND, copy)]
    });
    net.run_for(10 * SECOND);
    for n in 0..3 {
        let exchanges = &net.nodes[n].exchanges;
        assert!((2 * 70..=2 * 90).contains(&exchanges.len()), "{}", exchanges.len());
        for (i, exchange) in exchanges.iter().enumerate() {
            assert_eq!(exchange.class, StampClass::Kernel);
            assert!(exchanges[..i].iter().all(|e| e.local_sent != exchange.local_sent), "one exchange, finished twice");
        }
        assert!(net.rejected(n, Reject::Replayed) > 100);
        assert_eq!(net.arrivals(n), 2);
    }
}

#[test]
fn reordered_packets_cost_no_exchange_its_truth() {
    let mut net = Net::mesh_of(2, |_, config| config.rate_hz = 30.0);
    let mut turn = 0i64;
    net.hand = Box::new(move |_, bytes| {
        turn = (turn * 1_103_515_245 + 12_345) % 1_000_003;
        vec![(DELAY_NS + turn.rem_euclid(30) * MILLISECOND, bytes.to_vec())]
    });
    net.run_for(10 * SECOND);
    let (a, b) = (&net.nodes[0], &net.nodes[1]);
    assert!(a.exchanges.len() > 200 && b.exchanges.len() > 200, "{} {}", a.exchanges.len(), b.exchanges.len());
    let mut shared = 0;
    for exchange in &a.exchanges {
        assert!((1_000 * SECOND + DELAY_NS..).contains(&exchange.forward_ns()));
        assert!((-1_000 * SECOND + DELAY_NS..).contains(&exchange.backward_ns()));
        assert_eq!(exchange.class, StampClass::Kernel);
        if let Some(twin) = b.exchanges.iter().find(|t| t.remote_sent == exchange.local_sent) {
            assert_eq!((exchange.forward_ns(), exchange.backward_ns()), (twin.backward_ns(), twin.forward_ns()));
            shared += 1;
        }
    }
    assert!(shared > 200, "{shared}");
}

#[test]
fn an_answer_is_good_up_to_the_lifetime_of_its_nonce_and_not_a_moment_longer() {
    for (late_ns, good) in [(0, true), (1, false)] {
        let mut net = Net::mesh(2);
        net.run_for(SECOND);
        let (_, probe) = net.next_sent(0);
        let (_, reply) = net.answer(1, 0, &probe);
        net.now_ns += NONCE_LIFETIME_NS + late_ns;
        let outcome = net.hand_over(0, address(1), &reply);
        assert_eq!(outcome.is_ok(), good, "{late_ns} ns past the lifetime: {outcome:?}");

        let mut net = Net::mesh(2);
        net.run_for(SECOND);
        let (_, probe) = net.next_sent(0);
        let (_, reply) = net.answer(1, 0, &probe);
        let (_, report) = net.answer(0, 1, &reply);
        net.now_ns += NONCE_LIFETIME_NS + late_ns;
        let before = net.nodes[1].exchanges.len();
        assert_eq!(net.hand_over(1, address(0), &report).is_ok(), good);
        assert_eq!(net.nodes[1].exchanges.len(), before, "no departure has come: nothing is finished yet");
    }
}

#[test]
fn a_stolen_reply_that_is_delivered_after_its_lifetime_is_nobodys_answer() {
    let mut net = Net::mesh(2);
    net.hand = Box::new(|n, bytes| {
        let late = n == 1 && bytes[3] == Kind::Reply as u8;
        vec![(if late { NONCE_LIFETIME_NS + SECOND } else { DELAY_NS }, bytes.to_vec())]
    });
    net.run_for(10 * SECOND);
    assert!(net.nodes[0].exchanges.iter().all(|e| !e.initiator), "what 0 asked was never answered in time");
    assert!(net.rejected(0, Reject::NoNonce) > 3 && net.tally(0, Tally::Unanswered) > 3);
    assert!(net.nodes[0].exchanges.len() > 20, "what 1 asked goes on");
}

#[test]
fn a_delayed_reply_within_its_lifetime_gives_an_exchange_that_shows_the_delay() {
    let mut net = Net::mesh(2);
    let extra = 400 * MILLISECOND;
    net.hand = Box::new(move |n, bytes| {
        vec![(if n == 1 && bytes[3] == Kind::Reply as u8 { DELAY_NS + extra } else { DELAY_NS }, bytes.to_vec())]
    });
    net.run_for(5 * SECOND);
    let slow = net.nodes[0].exchanges.iter().filter(|e| e.initiator).collect::<Vec<_>>();
    assert!(slow.len() > 5);
    for exchange in slow {
        assert_eq!(exchange.forward_ns() + exchange.backward_ns(), 2 * DELAY_NS + extra);
        assert_eq!(exchange.class, StampClass::Kernel);
    }
}

/// A net of two in which node 0 has asked and been answered; the reply as its author knows it, to be sent in
/// variations.
fn answered() -> (Net, Message, [u8; 176]) {
    let mut net = Net::mesh(2);
    net.run_for(SECOND);
    let (asked, probe) = net.next_sent(0);
    net.give_stamp(0, &asked);
    let (_, reply) = net.answer(1, 0, &probe);
    let me = net.nodes[0].identity;
    let (message, _) = Message::open(&reply, &me, &keyring(1)).unwrap();
    (net, message, reply)
}

#[test]
fn a_nonce_is_spent_by_the_first_answer_that_echoes_it() {
    let (mut net, reply, bytes) = answered();
    let author = net.nodes[1].identity;
    assert!(net.hand_over(0, address(1), &bytes).is_ok());
    let again = Message { sequence: reply.sequence + 50, earlier: None, ..reply };
    let state = net.nodes[0].protocol.state();
    assert_eq!(net.hand_over(0, address(1), &sealed(&again, &author, &keyring(1))), Err(Reject::NoNonce));
    assert_eq!(net.nodes[0].protocol.state(), state);
}

#[test]
fn a_report_and_a_follow_spend_their_nonces_too() {
    let (mut net, _, reply) = answered();
    let (_, report) = net.answer(0, 1, &reply);
    assert!(net.hand_over(1, address(0), &report).is_ok());
    let (me, peer) = (net.nodes[1].identity, net.nodes[0].identity);
    let (message, _) = Message::open(&report, &me, &keyring(1)).unwrap();
    let again = Message { sequence: message.sequence + 50, earlier: None, ..message };
    assert_eq!(net.hand_over(1, address(0), &sealed(&again, &peer, &keyring(1))), Err(Reject::NoNonce));

    let mut net = Net::mesh(2);
    net.run_for(3 * SECOND);
    let follow = net.log.iter().rev().find(|p| p.kind() == Kind::Follow && p.to == address(0)).unwrap().clone();
    let (me, peer) = (net.nodes[0].identity, net.nodes[1].identity);
    let (message, _) = Message::open(&follow.bytes, &me, &keyring(1)).unwrap();
    let again = Message { sequence: message.sequence + 50, earlier: None, ..message };
    assert_eq!(net.hand_over(0, address(1), &sealed(&again, &peer, &keyring(1))), Err(Reject::NoNonce));
}

#[test]
fn a_nonce_is_good_in_one_kind_of_answer_only() {
    for kind in [Kind::Report, Kind::Follow] {
        let (mut net, reply, bytes) = answered();
        let author = net.nodes[1].identity;
        let crossed = Message { kind, sequence: reply.sequence + 50, earlier: None, ..reply };
        assert_eq!(net.hand_over(0, address(1), &sealed(&crossed, &author, &keyring(1))), Err(Reject::NoNonce));
        assert!(net.hand_over(0, address(1), &bytes).is_ok(), "the nonce is still there for the reply");
    }
}

#[test]
fn a_question_to_one_node_is_not_answered_by_another() {
    // Whoever reads the wire knows the nonce; a member that does must not be able to take another's place with it.
    let mut net = Net::mesh(3);
    net.run_for(SECOND);
    let (_, probe) = net.next_probe(0, |sent, _| sent.to == address(1));
    let nonce = u64::from_be_bytes(probe[40..48].try_into().unwrap());
    let me = net.nodes[0].identity.node;
    let seats = net.nodes[0].protocol.state();
    for thief in [net.nodes[2].identity, named("newcomer", 4)] {
        let reply = Message { echo: nonce, ..message(Kind::Reply, &thief, me, 1 << 40) };
        let outcome = net.hand_over(0, address(1), &sealed(&reply, &thief, &keyring(1)));
        assert_eq!(outcome, Err(Reject::NoNonce), "{}", thief.name);
        assert_eq!(net.nodes[0].protocol.state(), seats);
    }
    let (_, reply) = net.answer(1, 0, &probe);
    assert!(net.hand_over(0, address(1), &reply).is_ok(), "but by the one that was asked");
}

#[test]
fn an_answer_out_of_the_window_is_refused_even_with_a_good_nonce() {
    let (mut net, reply, _) = answered();
    let author = net.nodes[1].identity;
    let ahead = Message { kind: Kind::Probe, sequence: reply.sequence + ReplayWindow::WIDTH, earlier: None, ..reply };
    assert!(net.hand_over(0, address(1), &sealed(&ahead, &author, &keyring(1))).is_ok());
    let late = Message { earlier: None, ..reply };
    assert_eq!(net.hand_over(0, address(1), &sealed(&late, &author, &keyring(1))), Err(Reject::Replayed));
    let just_inside = Message { sequence: reply.sequence + 1, earlier: None, ..reply };
    assert!(net.hand_over(0, address(1), &sealed(&just_inside, &author, &keyring(1))).is_ok());
}

#[test]
fn a_peers_past_run_played_again_never_resets_its_edge() {
    let mut net = Net::mesh(2);
    net.run_for(3 * SECOND);
    let recorded = net.log.clone();
    net.restart(1, 500, 9_000 * SECOND);
    net.run_for(2 * SECOND);
    net.clear_records();
    let seats = net.nodes[0].protocol.seats();
    for packet in recorded.iter().filter(|p| p.from == address(1)) {
        net.now_ns += 20 * MILLISECOND;
        match net.hand_over(0, packet.from, &packet.bytes) {
            // A probe may be answered: a node that has been restarted looks no different until it echoes the answer.
            Ok(Some((_, answer))) => assert_eq!((packet.kind(), answer[3]), (Kind::Probe, Kind::Reply as u8)),
            Ok(None) => panic!("{:?} of a past run was taken", packet.kind()),
            Err(reject) => assert!(matches!(reject, Reject::NoNonce | Reject::WrongReceiver), "{reject:?}"),
        }
        assert_eq!(net.nodes[0].protocol.seats(), seats, "{:?}", packet.kind());
        assert!(net.nodes[0].protocol.candidates() <= 1);
    }
    assert!(net.nodes[0].events.is_empty() && net.nodes[0].exchanges.is_empty());
    assert_eq!(net.tally(0, Tally::Reboots), 1, "the true restart");
}

#[test]
fn reflected_packets_start_nothing_and_stop_nothing() {
    let mut net = Net::mesh(2);
    net.run_for(SECOND);
    net.clear_records();
    for _ in 0..200 {
        net.run_for(25 * MILLISECOND);
        for packet in net.log.split_off(0) {
            let sender = usize::from(packet.from == address(1));
            net.inject(sender, packet.to, &packet.bytes);
        }
    }
    for n in 0..2 {
        assert!((35..=45).contains(&net.nodes[n].exchanges.len()), "{}", net.nodes[n].exchanges.len());
        assert!(net.rejected(n, Reject::Reflected) > 50);
        assert_eq!(net.departures(n), 0);
    }
}

#[test]
fn each_direction_stands_on_its_own_nonce() {
    // With every report lost no proof of freshness reaches the responder, so it must finish nothing.
    let mut net = Net::mesh(2);
    net.run_for(SECOND);
    net.clear_records();
    net.hand = losing(|_, bytes| bytes[3] == Kind::Report as u8);
    net.run_for(5 * SECOND);
    for node in &net.nodes {
        assert!(node.exchanges.len() > 10 && node.exchanges.iter().all(|e| e.initiator));
    }
    net.hand = open_hand();
    net.clear_records();
    net.run_for(SECOND);
    assert!(net.nodes.iter().all(|n| n.exchanges.iter().any(|e| !e.initiator)));
}

#[test]
fn a_departure_told_twice_or_changed_later_is_the_one_told_first() {
    let mut net = Net::mesh(2);
    net.run_for(SECOND);
    net.clear_records();
    let (asked, probe) = net.next_sent(0);
    let (answered, reply) = net.answer(1, 0, &probe);
    let first_truth = net.raw(1).plus(USER_LEAD_NS);
    net.give_stamp(1, &answered);
    let (_, report) = net.answer(0, 1, &reply);
    let (_, follow) = net.answer(1, 0, &report);
    let (me, author) = (net.nodes[0].identity, net.nodes[1].identity);
    assert_eq!(author, identity(1, 101));
    assert!(net.hand_over(0, address(1), &follow).is_ok());
    let (mut lie, _) = Message::open(&follow, &me, &keyring(1)).unwrap();
    (lie.kind, lie.sequence) = (Kind::Probe, lie.sequence + 1);
    lie.earlier.as_mut().unwrap().stamp.at = lie.earlier.unwrap().stamp.at.plus(-1_000_000);
    net.hand_over(0, address(1), &sealed(&lie, &author, &keyring(1))).unwrap();
    assert!(net.nodes[0].exchanges.is_empty(), "its own departure is still on the way");
    net.give_stamp(0, &asked);
    let told = net.nodes[0].exchanges.iter().filter(|e| e.initiator).collect::<Vec<_>>();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].remote_sent, first_truth);
}

#[test]
fn a_late_answer_of_a_node_that_has_no_place_yet_gives_it_none() {
    let late_by = |late_ns: i64| {
        let mut net = Net::mesh(2);
        let (_, probe) = net.next_sent(0);
        let (_, reply) = net.answer(1, 0, &probe);
        net.now_ns += NONCE_LIFETIME_NS + late_ns;
        let from = net.nodes[1].address;
        net.hand_over(0, from, &reply).map(|sent| sent.is_some())
    };
    assert_eq!(late_by(0), Ok(true), "at the last moment it is still good");
    assert_eq!(late_by(1), Err(Reject::NoNonce));
}
