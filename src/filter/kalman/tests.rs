//! Tests of the Kalman edge filter: its two ends are opposites, it finds what is there, and nothing absurd harms it.
//! What many filters do together is tested in the pipeline.

use proptest::prelude::*;

use super::*;
use crate::flow::{Claim, Mapping, Role};
use crate::unit::{BootId, NodeId, PeerSlot};

const PAIR: Pair = Pair { boost: 1.5, wander: 2e-18, alive: 4.0 };

fn claim() -> Claim {
    let start = RawTime::from_nanos(0);
    Claim::unset(Mapping { epoch: start, offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 }, Role::Peer)
}

/// A repeatable source of noise.
struct Dice(u64);

impl Dice {
    fn flat(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 + 0.5) / (1u64 << 31) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.flat().ln()).sqrt() * (std::f64::consts::TAU * self.flat()).cos()
    }

    fn exponential(&mut self) -> f64 {
        -self.flat().ln()
    }
}

/// Two clocks, `rate` apart, and a path between them.
struct Link {
    dice: Dice,
    offset_ns: i64,
    rate: f64,
    forward: fn(&mut Dice) -> f64,
    backward: fn(&mut Dice) -> f64,
}

impl Link {
    fn quiet(seed: u64) -> Self {
        let delay = |d: &mut Dice| 5_000.0 + 30.0 * d.normal();
        Link { dice: Dice(seed), offset_ns: 77_000_000_123, rate: 37e-6, forward: delay, backward: delay }
    }

    fn busy(seed: u64) -> Self {
        let delay = |d: &mut Dice| 20_000.0 + 10_000.0 * d.exponential();
        Link { forward: delay, backward: delay, ..Link::quiet(seed) }
    }

    fn remote(&self, local_ns: f64) -> i64 {
        self.offset_ns + (local_ns * (1.0 + self.rate)).round() as i64
    }

    fn exchange(&mut self, at_s: f64, class: StampClass) -> Exchange {
        let sent = at_s * 1e9;
        let arrived = sent + (self.forward)(&mut self.dice);
        let answered = arrived + 20_000.0;
        let back = answered + (self.backward)(&mut self.dice);
        Exchange {
            peer: PeerSlot(0),
            node: NodeId(2),
            boot: BootId(1),
            initiator: true,
            local_sent: RawTime::from_nanos(sent.round() as i64),
            remote_received: RawTime::from_nanos(self.remote(arrived)),
            remote_sent: RawTime::from_nanos(self.remote(answered)),
            local_received: RawTime::from_nanos(back.round() as i64),
            class,
            local_rx_class: class,
            local_tx_class: class,
            claim: claim(),
        }
    }

    /// Peer minus self at own raw time `at_s`.
    fn truth_ns(&self, at_s: f64) -> f64 {
        self.offset_ns as f64 + at_s * 1e9 * self.rate
    }

    fn error_ns(&self, filter: &Kalman, at_s: f64) -> f64 {
        let relation = filter.relation(RawTime::from_nanos((at_s * 1e9) as i64)).expect("exchanges were made");
        relation.base_ns as f64 + relation.offset_ns - self.truth_ns(at_s)
    }
}

fn mirror(exchange: &Exchange) -> Exchange {
    exchange.mirrored(PeerSlot(3), NodeId(1), BootId(9), claim())
}

#[test]
fn the_two_ends_of_an_edge_hold_exact_opposites() {
    for (seed, mut link) in [(1, Link::quiet(1)), (2, Link::busy(2)), (3, Link::busy(3))] {
        let (mut here, mut there) = (Kalman::new(), Kalman::new());
        let mut dice = Dice(seed);
        for turn in 0..2_000 {
            let mut exchange = link.exchange(f64::from(turn) * 0.125 + 0.01 * dice.flat(), StampClass::Kernel);
            if dice.flat() < 0.3 {
                exchange = mirror(&exchange); // the peer starts: then "here" is the mirrored end of it
                exchange = exchange.mirrored(PeerSlot(0), NodeId(2), BootId(1), claim());
            }
            if dice.flat() < 0.02 {
                exchange.local_received = exchange.local_received.plus(50_000_000);
            }
            let pair = Pair { boost: 1.0 + dice.flat(), ..PAIR };
            assert_eq!(here.on_exchange(&exchange, &pair), there.on_exchange(&mirror(&exchange), &pair));
            let (a, b) = (here.track.as_ref().unwrap(), there.track.as_ref().unwrap());
            assert_eq!(a.base_ns, -b.base_ns);
            assert_eq!(a.state.offset, -b.state.offset, "turn {turn}");
            assert_eq!(a.state.rate, -b.state.rate);
            assert_eq!(a.state.p_offset, b.state.p_offset);
            assert_eq!(a.bank.best, b.bank.best);
        }
    }
}

#[test]
fn a_quiet_link_is_known_to_nanoseconds_after_ten_seconds() {
    let mut link = Link::quiet(5);
    let mut filter = Kalman::new();
    let mut squares = 0.0;
    for turn in 0..800 {
        let at_s = f64::from(turn) * 0.125;
        filter.on_exchange(&link.exchange(at_s, StampClass::Nic), &Pair { boost: 1.0, ..PAIR });
        if turn >= 80 {
            squares += link.error_ns(&filter, at_s).powi(2) / 720.0;
        }
    }
    assert!(squares.sqrt() < 8.0, "rms {} ns of 21 ns a sample", squares.sqrt());
    let relation = filter.relation(RawTime::from_nanos(100_000_000_000)).unwrap();
    assert!((relation.rate - 37e-6).abs() < 1e-8, "{}", relation.rate);
}

#[test]
fn a_queueing_path_is_recognised_and_weighted_by_delay() {
    let mut link = Link::busy(6);
    let mut filter = Kalman::new();
    let (mut squares, mut turns) = (0.0, 0.0);
    for turn in 0..2_400 {
        let at_s = f64::from(turn) * 0.125;
        filter.on_exchange(&link.exchange(at_s, StampClass::Kernel), &Pair { boost: 1.0, ..PAIR });
        if turn >= 800 {
            squares += link.error_ns(&filter, at_s).powi(2);
            turns += 1.0;
        }
    }
    // With these gains and one variance for all, 7 us exchanges would leave about 400 ns (ALGORITHMS 4.1: 3/4 of P00).
    let rms = (squares / turns).sqrt();
    assert!(rms < 240.0, "rms {rms} ns");
}

#[test]
fn the_hard_interval_holds_the_truth_even_on_a_one_sided_path() {
    let mut link = Link { backward: |d| 20_000.0 + 200_000.0 * d.exponential(), ..Link::busy(7) };
    let mut filter = Kalman::new();
    for turn in 0..1_000 {
        let at_s = f64::from(turn) * 0.125;
        filter.on_exchange(&link.exchange(at_s, StampClass::Kernel), &PAIR);
        let later_s = at_s + 0.1;
        let relation = filter.relation(RawTime::from_nanos((later_s * 1e9) as i64)).unwrap();
        let truth = link.truth_ns(later_s) - relation.base_ns as f64;
        assert!(relation.hard.low_ns <= truth && truth <= relation.hard.high_ns, "turn {turn}: {relation:?} {truth}");
    }
}

#[test]
fn a_late_exchange_leaves_the_estimate_alone() {
    let mut link = Link::quiet(8);
    let mut filter = Kalman::new();
    let late = link.exchange(1.0, StampClass::Nic);
    for turn in 0..80 {
        filter.on_exchange(&link.exchange(f64::from(turn) * 0.125, StampClass::Nic), &PAIR);
    }
    let before = filter.track.as_ref().unwrap().state;
    assert_eq!(filter.on_exchange(&late, &PAIR), Outcome::Late);
    let after = filter.track.as_ref().unwrap().state;
    assert_eq!((before.offset, before.rate, before.p_offset), (after.offset, after.rate, after.p_offset));
}

#[test]
fn a_jump_of_the_peers_clock_is_followed_after_eight_exchanges() {
    let mut link = Link::quiet(9);
    let mut filter = Kalman::new();
    for turn in 0..200 {
        filter.on_exchange(&link.exchange(f64::from(turn) * 0.125, StampClass::Nic), &PAIR);
    }
    link.offset_ns += 200_000_000;
    for turn in 200..208 {
        let outcome = filter.on_exchange(&link.exchange(f64::from(turn) * 0.125, StampClass::Nic), &PAIR);
        assert_eq!(outcome, if turn == 207 { Outcome::Restarted } else { Outcome::Clipped });
    }
    assert!(link.error_ns(&filter, 207.0 * 0.125).abs() < 1_000.0);
}

#[test]
fn one_exchange_stamped_by_the_program_does_not_stain_a_history_of_kernel_stamps() {
    let mut link = Link::quiet(10);
    let mut filter = Kalman::new();
    for turn in 0..40 {
        filter.on_exchange(&link.exchange(f64::from(turn) * 0.125, StampClass::Kernel), &PAIR);
    }
    let weak = link.exchange(5.0, StampClass::User);
    assert_eq!(filter.on_exchange(&weak, &PAIR), Outcome::WeakerStamp);
    assert_eq!(filter.noise.class(), StampClass::Kernel);
    let outcomes: Vec<_> = (41..58)
        .map(|turn| filter.on_exchange(&link.exchange(f64::from(turn) * 0.125, StampClass::User), &PAIR))
        .collect();
    assert_eq!(outcomes[14], Outcome::WeakerStamp);
    assert_ne!(outcomes[16], Outcome::WeakerStamp, "when nothing else comes, the weaker class is taken");
}

#[test]
fn an_answer_that_came_before_the_question_is_impossible() {
    let mut link = Link::quiet(11);
    let mut filter = Kalman::new();
    let mut exchange = link.exchange(0.0, StampClass::Nic);
    exchange.local_received = exchange.local_received.plus(-1_000_000);
    assert_eq!(filter.on_exchange(&exchange, &PAIR), Outcome::Impossible);
    assert!(filter.relation(RawTime::from_nanos(0)).is_none());
}

#[test]
fn the_bank_finds_the_wander_within_a_factor_of_three() {
    for wander in [1e-9f64, 1e-8] {
        let mut link = Link::quiet(12);
        let mut filter = Kalman::new();
        let mut dice = Dice(99);
        for turn in 0..1_200 {
            // A random walk of the rate, and the phase that goes with it.
            let before = link.rate;
            link.rate += wander * 0.125f64.sqrt() * dice.normal();
            link.offset_ns -= ((link.rate - before) * f64::from(turn) * 0.125 * 1e9).round() as i64;
            filter.on_exchange(&link.exchange(f64::from(turn) * 0.125, StampClass::Nic), &PAIR);
        }
        let found = filter.wander();
        let ratio = found / (wander * wander);
        assert!((0.2..5.0).contains(&ratio), "q found {found:e}, true {:e}", wander * wander);
    }
}

proptest! {
    #[test]
    fn no_stamps_however_absurd_panic_or_leave_a_nan(
        stamps in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>()), 1..40)
    ) {
        let mut filter = Kalman::new();
        let template = Link::quiet(1).exchange(0.0, StampClass::Kernel);
        for (a, b, c, d) in stamps {
            let exchange = Exchange {
                local_sent: RawTime::from_nanos(a),
                remote_received: RawTime::from_nanos(b),
                remote_sent: RawTime::from_nanos(c),
                local_received: RawTime::from_nanos(d),
                ..template
            };
            filter.on_exchange(&exchange, &PAIR);
            if let Some(r) = filter.relation(RawTime::from_nanos(a)) {
                let hard = [r.hard.low_ns, r.hard.high_ns];
                for number in [r.offset_ns, r.rate, r.edge_var, r.edge_rate_var, r.noise_var].into_iter().chain(hard) {
                    prop_assert!(number.is_finite(), "{r:?}");
                }
            }
        }
    }
}
