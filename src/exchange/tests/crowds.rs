//! Guarantee 5: strangers cost little and no memory, rates are limited, tables are fixed, and a crowd disturbs nobody.

use crate::exchange::Tally;
use crate::exchange::testnet::{
    Datagram, MILLISECOND, Net, SECOND, address, config, keyring, message, named, resealed, sealed,
};
use crate::limits::{
    CANDIDATES_MAX, NONCE_LIFETIME_NS, PEER_PACKETS_BURST, PEER_PACKETS_PER_S, STRANGER_PACKETS_BURST,
    STRANGER_PACKETS_PER_S,
};
use crate::wire::{Identity, Kind, Message, Reject};

fn stranger(n: usize) -> Identity {
    named(&format!("stranger{n}"), 1)
}

fn probe_of(net: &Net, to: usize, who: &Identity, sequence: u64) -> Datagram {
    sealed(&message(Kind::Probe, who, net.nodes[to].identity.node, sequence), who, &keyring(1))
}

/// What `who` says when it has been answered: echoes the nonce.
fn report_of(who: &Identity, reply: &Datagram, sequence: u64) -> Datagram {
    let (reply, _) = Message::open(reply, who, &keyring(1)).expect("a reply to this stranger");
    sealed(&Message { echo: reply.nonce, ..message(Kind::Report, who, reply.sender, sequence) }, who, &keyring(1))
}

/// A node that expects nobody.
fn alone(capacity: usize) -> Net {
    let mut net = Net::empty();
    net.add(crate::exchange::Config { capacity, ..config(0, 100, keyring(1)) }, 0);
    net
}

#[test]
fn a_stranger_gets_a_place_by_its_echo_and_not_by_its_question() {
    let mut net = alone(4);
    let who = stranger(0);
    let seats = net.nodes[0].protocol.seats();
    let (_, reply) = net.hand_over(0, address(50), &probe_of(&net, 0, &who, 1)).unwrap().unwrap();
    assert_eq!(net.nodes[0].protocol.seats(), seats);
    assert!(net.nodes[0].events.is_empty() && net.nodes[0].protocol.alive() == 0);
    net.hand_over(0, address(50), &report_of(&who, &reply, 2)).unwrap();
    assert_eq!((net.arrivals(0), net.nodes[0].protocol.alive()), (1, 1));
}

#[test]
fn the_table_of_candidates_takes_its_limit_and_then_forgets_the_oldest() {
    let mut net = alone(64);
    let mut replies = Vec::new();
    for n in 0..=CANDIDATES_MAX {
        net.now_ns += 10 * MILLISECOND;
        let (_, reply) = net.hand_over(0, address(50 + n), &probe_of(&net, 0, &stranger(n), 1)).unwrap().unwrap();
        replies.push(reply);
        assert_eq!(net.nodes[0].protocol.candidates(), (n + 1).min(CANDIDATES_MAX));
    }
    let first = net.hand_over(0, address(50), &report_of(&stranger(0), &replies[0], 2));
    assert_eq!(first, Err(Reject::NoNonce), "the oldest made room");
    for (n, reply) in replies.iter().enumerate().skip(1) {
        assert!(net.hand_over(0, address(50 + n), &report_of(&stranger(n), reply, 2)).is_ok(), "stranger {n}");
    }
    assert_eq!(net.nodes[0].protocol.alive(), CANDIDATES_MAX);
}

#[test]
fn one_identity_is_one_candidate_and_holds_one_place() {
    let mut net = alone(8);
    let who = stranger(0);
    let mut reply = [0; 176];
    for n in 0..10 {
        reply = net.hand_over(0, address(50 + n), &probe_of(&net, 0, &who, 1 + n as u64)).unwrap().unwrap().1;
        assert_eq!(net.nodes[0].protocol.candidates(), 1);
    }
    net.hand_over(0, address(59), &report_of(&who, &reply, 20)).unwrap();
    for n in 0..10 {
        // Known now: from whatever address it speaks, no second place comes of it.
        let probe = probe_of(&net, 0, &who, 30 + 2 * n as u64);
        let (_, reply) = net.hand_over(0, address(70 + n), &probe).unwrap().unwrap();
        net.hand_over(0, address(70 + n), &report_of(&who, &reply, 31 + 2 * n as u64)).unwrap();
    }
    assert_eq!((net.arrivals(0), net.nodes[0].protocol.alive(), net.nodes[0].protocol.candidates()), (1, 1, 0));
}

#[test]
fn a_copy_of_a_strangers_question_does_not_cost_it_its_place() {
    let mut net = alone(8);
    let probe = probe_of(&net, 0, &stranger(0), 5);
    let (_, reply) = net.hand_over(0, address(50), &probe).unwrap().unwrap();
    let state = net.nodes[0].protocol.state();
    assert_eq!(net.hand_over(0, address(51), &probe), Err(Reject::Replayed));
    assert_eq!(net.nodes[0].protocol.state(), state);
    assert!(net.hand_over(0, address(50), &report_of(&stranger(0), &reply, 6)).is_ok());
}

#[test]
fn a_candidate_is_only_seated_by_its_own_echo() {
    // Whoever reads the wire knows the nonce; the place belongs to the run of the node that was answered.
    let mut net = alone(8);
    let who = stranger(0);
    let (_, reply) = net.hand_over(0, address(50), &probe_of(&net, 0, &who, 1)).unwrap().unwrap();
    let (reply, _) = Message::open(&reply, &who, &keyring(1)).unwrap();
    let state = net.nodes[0].protocol.state();
    for thief in [stranger(1), Identity { boot: crate::unit::BootId(2), ..who }] {
        let report = Message { echo: reply.nonce, ..message(Kind::Report, &thief, reply.sender, 2) };
        let outcome = net.hand_over(0, address(50), &sealed(&report, &thief, &keyring(1)));
        assert_eq!((outcome, net.nodes[0].protocol.state()), (Err(Reject::NoNonce), state.clone()));
    }
    let report = Message { echo: reply.nonce, ..message(Kind::Report, &who, reply.sender, 2) };
    assert!(net.hand_over(0, address(50), &sealed(&report, &who, &keyring(1))).is_ok());
}

#[test]
fn a_candidate_that_takes_longer_than_a_nonce_lives_gets_no_place_and_is_forgotten() {
    let mut net = alone(8);
    let (_, reply) = net.hand_over(0, address(50), &probe_of(&net, 0, &stranger(0), 1)).unwrap().unwrap();
    net.now_ns += NONCE_LIFETIME_NS + 1;
    let report = report_of(&stranger(0), &reply, 2);
    assert_eq!(net.hand_over(0, address(50), &report), Err(Reject::NoNonce));
    net.let_time_act(0);
    assert_eq!(net.nodes[0].protocol.candidates(), 0);
}

#[test]
fn strangers_together_are_answered_up_to_their_limit_and_not_one_more() {
    let mut net = alone(8);
    let burst = STRANGER_PACKETS_BURST as usize;
    for n in 0..burst {
        assert!(net.hand_over(0, address(n), &probe_of(&net, 0, &stranger(n), 1)).is_ok(), "{n}");
    }
    let next = probe_of(&net, 0, &stranger(burst), 1);
    assert_eq!(net.hand_over(0, address(burst), &next), Err(Reject::RateLimited));
    net.now_ns += SECOND / i64::from(STRANGER_PACKETS_PER_S) + 1;
    assert!(net.hand_over(0, address(burst), &next).is_ok());
    let more = probe_of(&net, 0, &stranger(burst + 1), 1);
    assert_eq!(net.hand_over(0, address(1), &more), Err(Reject::RateLimited));
}

#[test]
fn a_peer_is_heard_up_to_its_limit_and_not_one_packet_more_and_others_are_not_charged() {
    let mut net = Net::mesh(3);
    net.run_for(2 * SECOND);
    net.now_ns += 2 * SECOND;
    let (noisy, calm) = (net.nodes[1].identity, net.nodes[2].identity);
    for n in 0..u64::from(PEER_PACKETS_BURST) {
        assert!(net.hand_over(0, address(1), &probe_of(&net, 0, &noisy, 1_000 + n)).is_ok(), "{n}");
    }
    let next = probe_of(&net, 0, &noisy, 5_000);
    assert_eq!(net.hand_over(0, address(1), &next), Err(Reject::RateLimited));
    assert!(net.hand_over(0, address(2), &probe_of(&net, 0, &calm, 1_000)).is_ok());
    net.now_ns += SECOND / i64::from(PEER_PACKETS_PER_S) + 1;
    assert!(net.hand_over(0, address(1), &next).is_ok(), "refused for its rate, it has not used up its number");
    let more = probe_of(&net, 0, &noisy, 5_001);
    assert_eq!(net.hand_over(0, address(1), &more), Err(Reject::RateLimited));
}

#[test]
fn a_recording_does_not_use_up_what_its_victim_may_send() {
    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    let recorded = net.log.iter().rev().find(|p| p.to == address(0)).unwrap().clone();
    for _ in 0..10 * PEER_PACKETS_BURST {
        assert_eq!(net.hand_over(0, address(1), &recorded.bytes), Err(Reject::Replayed));
    }
    let victim = net.nodes[1].identity;
    assert!(net.hand_over(0, address(1), &probe_of(&net, 0, &victim, 1_000)).is_ok());
}

#[test]
fn the_table_of_peers_takes_its_capacity_and_not_one_more() {
    let mut net = alone(4);
    for n in 0..5 {
        let who = stranger(n);
        let (_, reply) = net.hand_over(0, address(50 + n), &probe_of(&net, 0, &who, 1)).unwrap().unwrap();
        let outcome = net.hand_over(0, address(50 + n), &report_of(&who, &reply, 2));
        if n < 4 {
            assert!(outcome.is_ok(), "{n}: {outcome:?}");
        } else {
            assert_eq!(outcome, Err(Reject::TableFull));
        }
    }
    assert_eq!((net.arrivals(0), net.departures(0), net.nodes[0].protocol.alive()), (4, 0, 4));
}

#[test]
fn a_roster_longer_than_the_table_is_counted_and_the_rest_of_it_is_used() {
    let mut net = alone(3);
    let addresses = (50..54).map(address).collect::<Vec<_>>();
    net.list_addresses(0, &addresses);
    assert_eq!(net.rejected(0, Reject::TableFull), 1);
    let mut asked = (0..3).map(|_| net.next_sent(0).0.to).collect::<Vec<_>>();
    asked.sort();
    assert_eq!(asked, addresses[..3]);
}

#[test]
fn a_silent_guest_makes_room_for_a_new_one_and_a_live_or_listed_peer_never_does() {
    let mut net = alone(3);
    net.add(config(1, 101, keyring(1)), 5 * SECOND);
    net.add(config(2, 102, keyring(1)), 6 * SECOND);
    net.list(0, &[1]);
    net.list(1, &[0]);
    net.list(2, &[0]);
    let who = stranger(0);
    let (_, reply) = net.hand_over(0, address(50), &probe_of(&net, 0, &who, 1)).unwrap().unwrap();
    net.hand_over(0, address(50), &report_of(&who, &reply, 2)).unwrap();
    net.run_for(SECOND);
    assert_eq!(net.nodes[0].protocol.alive(), 3);
    net.nodes[1].up = false;
    net.run_for(10 * SECOND);
    assert_eq!((net.nodes[0].protocol.alive(), net.departures(0)), (1, 2));
    for (n, good) in [(1, true), (2, false)] {
        let who = stranger(n);
        let (_, reply) = net.hand_over(0, address(50 + n), &probe_of(&net, 0, &who, 1)).unwrap().unwrap();
        let outcome = net.hand_over(0, address(50 + n), &report_of(&who, &reply, 2));
        assert_eq!(outcome.is_ok(), good, "stranger {n}: {outcome:?}");
    }
    net.nodes[1].up = true;
    net.clear_records();
    net.run_for(2 * SECOND);
    let back = net.nodes[1].identity.node;
    assert!(net.nodes[0].exchanges.iter().any(|e| e.node == back), "the listed one still had its place");
}

#[test]
fn ten_thousand_identities_with_the_key_do_not_disturb_a_live_peer() {
    let mut calm = Net::mesh(2);
    calm.run_for(2 * SECOND);
    calm.clear_records();
    calm.run_for(10 * SECOND);

    let mut net = Net::mesh(2);
    net.run_for(2 * SECOND);
    net.clear_records();
    for n in 0..10_000 {
        net.run_for(MILLISECOND);
        let who = stranger(n);
        if let Ok(Some((_, reply))) = net.hand_over(0, address(1), &probe_of(&net, 0, &who, 1)) {
            let _ = net.hand_over(0, address(1), &report_of(&who, &reply, 2));
        }
        assert!(net.nodes[0].protocol.candidates() <= CANDIDATES_MAX);
    }
    let peer = net.nodes[1].identity.node;
    let theirs = |net: &Net| net.nodes[0].exchanges.iter().filter(|e| e.node == peer).count();
    assert!(theirs(&net).abs_diff(theirs(&calm)) <= 6, "{} against {}", theirs(&net), theirs(&calm));
    let slots = net.nodes[0].exchanges.iter().filter(|e| e.node == peer).map(|e| e.peer).collect::<Vec<_>>();
    assert!(slots.iter().all(|s| *s == slots[0]));
    assert!(net.nodes[0].exchanges.iter().all(|e| e.node != peer || e.class == crate::flow::StampClass::Kernel));
    let slot = slots[0];
    assert!(!net.nodes[0].events.contains(&crate::flow::Event::Left(slot)));
    assert!(net.rejected(0, Reject::RateLimited) + net.rejected(0, Reject::TableFull) > 5_000);
}

#[test]
fn a_crowd_of_strangers_does_not_keep_out_a_node_that_was_asked() {
    let mut net = Net::mesh(2);
    let (_, probe) = net.next_sent(0);
    let (_, reply) = net.answer(1, 0, &probe);
    for n in 0..=STRANGER_PACKETS_BURST as usize {
        let _ = net.hand_over(0, address(50), &probe_of(&net, 0, &stranger(n), 1));
    }
    assert_eq!(net.rejected(0, Reject::RateLimited), 1, "nothing is left for strangers");
    assert!(net.hand_over(0, address(1), &reply).is_ok(), "listed, asked, and seated by its answer");
    assert_eq!(net.nodes[0].protocol.alive(), 1);
}

#[test]
fn what_a_stranger_says_is_one_event_at_most() {
    // The ring to the discipline thread is bounded: no packet may make more than one arrival and one exchange.
    let mut net = alone(4);
    for n in 0..200 {
        let (events, exchanges) = (net.nodes[0].events.len(), net.nodes[0].exchanges.len());
        let who = stranger(n % 3);
        let probe = resealed(&probe_of(&net, 0, &who, 1 + n as u64), &keyring(1), |b| b[15] = (n / 3) as u8);
        if let Ok(Some((sent, reply))) = net.hand_over(0, address(50 + n % 3), &probe) {
            net.give_stamp(0, &sent);
            let run = Identity { boot: crate::unit::BootId(n as u32 / 3), ..who };
            let _ = net.hand_over(0, address(50 + n % 3), &report_of(&run, &reply, 300 + n as u64));
        }
        assert!(net.nodes[0].events.len() <= events + 1 && net.nodes[0].exchanges.len() <= exchanges + 1);
    }
    assert!(net.tally(0, Tally::Reboots) > 50, "the same three, in ever new runs, in the same places");
    assert_eq!(net.nodes[0].protocol.alive(), 3);
}
