//! Guarantee 4: an answer is never longer than its question, and no packet keeps two nodes busy.

use crate::exchange::testnet::{
    MILLISECOND, Net, SECOND, Sent, address, keyring, kind, message, named, resealed, sealed,
};
use crate::wire::{DATAGRAM_LEN, Kind, Message, Reject};

/// Three nodes that know each other and have nothing to ask for a long time.
fn quiet() -> Net {
    let mut net = Net::mesh_of(3, |_, config| config.rate_hz = 0.01);
    net.run_for(5 * SECOND);
    assert!(net.nodes.iter().all(|n| n.protocol.alive() == 2));
    assert!(net.is_silent());
    net
}

/// What is sent after one datagram was put on the wire, with all schedules far from due.
fn echo_of(net: &mut Net, to: usize, from: usize, bytes: &[u8]) -> Vec<Sent> {
    net.log.clear();
    net.inject(to, address(from), bytes);
    net.run_for(200 * MILLISECOND);
    assert!(net.is_silent(), "the network has fallen silent");
    net.log.clone()
}

#[test]
fn each_kind_is_answered_by_the_next_only_and_the_last_by_nothing() {
    let mut net = quiet();
    net.log.clear();
    for round in 0..10u64 {
        let probe = message(Kind::Probe, &net.nodes[0].identity, net.nodes[1].identity.node, 10_000 + 10 * round);
        let mut bytes = sealed(&probe, &net.nodes[0].identity, &keyring(1)).to_vec();
        let mut chain = vec![Kind::Probe];
        // Node 0 did not ask this itself, so the reply is answered by hand.
        if let Some((sent, reply)) = net.hand_over(1, address(0), &bytes).unwrap() {
            chain.push(kind(&reply));
            net.give_stamp(1, &sent);
            let (answer, _) = Message::open(&reply, &net.nodes[0].identity, &keyring(1)).unwrap();
            let me = net.nodes[0].identity;
            let report =
                Message { echo: answer.nonce, ..message(Kind::Report, &me, answer.sender, 10_001 + 10 * round) };
            bytes = sealed(&report, &me, &keyring(1)).to_vec();
            let (_, follow) = net.hand_over(1, address(0), &bytes).unwrap().expect("the departure is known");
            chain.push(Kind::Report);
            chain.push(kind(&follow));
            let nonce = u64::from_be_bytes(follow[40..48].try_into().unwrap());
            let more = Message { echo: nonce, ..message(Kind::Follow, &me, answer.sender, 10_002 + 10 * round) };
            assert_eq!(net.hand_over(1, address(0), &sealed(&more, &me, &keyring(1))), Err(Reject::NoNonce));
        }
        assert_eq!(chain, [Kind::Probe, Kind::Reply, Kind::Report, Kind::Follow]);
    }
}

#[test]
fn after_any_single_packet_the_network_falls_silent_within_three_more() {
    let mut net = quiet();
    let recorded = net.log.clone();
    let mut most = 0;
    for (n, packet) in recorded.iter().enumerate() {
        for to in 0..3 {
            for shift in [0, 1_000 + n as u64] {
                // As recorded, and as the same words with a number that was never used.
                let bytes = resealed(&packet.bytes, &keyring(1), |b| {
                    let sequence = u64::from_be_bytes(b[32..40].try_into().unwrap()) + shift;
                    b[32..40].copy_from_slice(&sequence.to_be_bytes());
                });
                let echo = echo_of(&mut net, to, 0, &bytes);
                most = most.max(echo.len());
                assert!(echo.len() <= 3, "{:?} made {} packets", packet.kind(), echo.len());
            }
        }
    }
    for (n, kind) in [Kind::Probe, Kind::Reply, Kind::Report, Kind::Follow].into_iter().enumerate() {
        let stranger = named("stranger", 7);
        let first = message(kind, &stranger, net.nodes[0].identity.node, 1 + n as u64);
        let echo = echo_of(&mut net, 0, 1, &sealed(&first, &stranger, &keyring(1)));
        assert!(echo.len() <= 2, "{kind:?} of a stranger made {} packets", echo.len());
        most = most.max(echo.len());
    }
    assert!(most >= 1, "something was answered, so the count counts");
}

#[test]
fn a_true_probe_makes_exactly_three_more_packets() {
    let mut net = quiet();
    let (sent, probe) = net.next_sent(0);
    assert_eq!(probe[3], Kind::Probe as u8);
    net.give_stamp(0, &sent);
    let to = if sent.to == address(1) { 1 } else { 2 };
    // All other probes have just become due as well; they are taken out of the way.
    (0..3).for_each(|n| drop(net.let_time_act(n)));
    let echo = echo_of(&mut net, to, 0, &probe);
    let kinds = echo.iter().map(Sent::kind).collect::<Vec<_>>();
    assert_eq!(kinds, [Kind::Reply, Kind::Report, Kind::Follow]);
}

#[test]
fn nothing_that_echoes_no_nonce_of_ours_is_answered() {
    let mut net = quiet();
    for (n, kind) in [Kind::Reply, Kind::Report, Kind::Follow].into_iter().enumerate() {
        for author in [net.nodes[1].identity, named("stranger", 7)] {
            let words = message(kind, &author, net.nodes[0].identity.node, 50_000 + n as u64);
            for echo in [0, 1, u64::MAX] {
                let words = Message { echo, ..words };
                let outcome = net.hand_over(0, address(1), &sealed(&words, &author, &keyring(1)));
                assert_eq!(outcome, Err(Reject::NoNonce), "{kind:?} of {}", author.name);
            }
        }
    }
}

#[test]
fn a_refused_packet_is_never_answered() {
    let mut net = quiet();
    let good = net.log.iter().find(|p| p.kind() == Kind::Probe && p.to == address(1)).unwrap().clone();
    for byte in 0..DATAGRAM_LEN {
        let mut bytes = good.bytes.clone();
        bytes[byte] ^= 0x55;
        assert!(echo_of(&mut net, 1, 0, &bytes).is_empty(), "byte {byte}");
    }
    assert!(echo_of(&mut net, 1, 0, &good.bytes).is_empty(), "a replay");
}
