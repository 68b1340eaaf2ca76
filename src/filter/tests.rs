//! What every edge filter owes, whichever it is: opposites at the two ends, an estimate that finds what is there,
//! and no exchange that harms it.

use proptest::prelude::*;

use super::*;
use crate::flow::{Claim, Mapping, Role};
use crate::unit::{BootId, NodeId, PeerSlot};

const PAIR: Pair = Pair { boost: 1.5, wander: 2e-18, alive: 4.0 };

fn claim() -> Claim {
    let start = RawTime::from_nanos(0);
    Claim::unset(Mapping { epoch: start, offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 }, Role::Peer)
}

fn exchange(stamps: [i64; 4], class: StampClass) -> Exchange {
    let [sent, arrived, answered, received] = stamps.map(RawTime::from_nanos);
    Exchange {
        peer: PeerSlot(0),
        node: NodeId(2),
        boot: BootId(1),
        initiator: true,
        local_sent: sent,
        remote_received: arrived,
        remote_sent: answered,
        local_received: received,
        class,
        local_rx_class: class,
        local_tx_class: class,
        claim: claim(),
    }
}

fn mirror(exchange: &Exchange) -> Exchange {
    exchange.mirrored(PeerSlot(3), NodeId(1), BootId(9), claim())
}

/// Two clocks 37 ppm and 77 s apart, 20 us of path and exponential queues of 2 us both ways, eight exchanges a second.
struct Link {
    seed: u64,
    jump_ns: i64,
}

impl Link {
    fn queue_ns(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = ((self.seed >> 33) as f64 + 0.5) / (1u64 << 31) as f64;
        -2_000.0 * unit.ln()
    }

    fn remote(&self, local_ns: f64) -> i64 {
        77_000_000_123 + self.jump_ns + (local_ns * (1.0 + 37e-6)).round() as i64
    }

    fn turn(&mut self, n: u32) -> Exchange {
        let sent = f64::from(n) * 0.125e9;
        let arrived = sent + 20_000.0 + self.queue_ns();
        let answered = arrived + 15_000.0;
        let received = answered + 20_000.0 + self.queue_ns();
        let stamps = [sent as i64, self.remote(arrived), self.remote(answered), received.round() as i64];
        exchange(stamps, StampClass::Kernel)
    }

    fn error_ns(&self, filter: &dyn EdgeFilter, at_ns: f64) -> f64 {
        let relation = filter.relation(RawTime::from_nanos(at_ns as i64)).expect("exchanges were made");
        relation.offset_ns + (relation.base_ns - self.remote(at_ns) + at_ns as i64) as f64
    }
}

#[test]
fn the_two_ends_of_an_edge_hold_opposites() {
    for kind in FilterKind::ALL {
        let mut link = Link { seed: 3, jump_ns: 0 };
        let (mut here, mut there) = (kind.make(), kind.make());
        for n in 0..600 {
            let mut exchange = link.turn(n);
            if n % 97 == 50 {
                exchange.local_received = exchange.local_received.plus(5_000_000);
            }
            let outcome = here.on_exchange(&exchange, &PAIR);
            assert_eq!(outcome, there.on_exchange(&mirror(&exchange), &PAIR), "{} at {n}", kind.as_str());
            let a = here.relation(exchange.local_mid()).expect("it has seen one");
            let b = there.relation(mirror(&exchange).local_mid()).expect("it has seen one");
            assert_eq!(a.base_ns, -b.base_ns, "{} at {n}", kind.as_str());
            // Inside they are exact opposites (each filter's own tests). The two ends' own middles are not the same
            // instant, but a residual apart, over which the rate carries each.
            let apart_ns = (b.at.nanos() - a.at.nanos() - a.base_ns) as f64 - a.offset_ns;
            let carried_ns = 1.01 * (a.rate * apart_ns).abs() + 0.01;
            assert!((a.offset_ns + b.offset_ns).abs() < carried_ns, "{} at {n}: {a:?} {b:?}", kind.as_str());
            let variances = (a.edge_var - b.edge_var).abs() / a.edge_var;
            assert!(variances < 1e-2 && a.samples == b.samples, "{} at {n}: {a:?} {b:?}", kind.as_str());
        }
    }
}

#[test]
fn every_filter_finds_offset_and_rate_and_the_truth_is_within_its_hard_interval() {
    for kind in FilterKind::ALL {
        let mut link = Link { seed: 11, jump_ns: 0 };
        let mut filter = kind.make();
        let (mut squares, mut surprise, mut count) = (0.0, 0.0, 0.0);
        for n in 0..1_600 {
            filter.on_exchange(&link.turn(n), &PAIR);
            let at_ns = f64::from(n) * 0.125e9 + 20e6;
            let relation = filter.relation(RawTime::from_nanos(at_ns as i64)).expect("it has seen one");
            let error_ns = link.error_ns(filter.as_ref(), at_ns);
            let truth_ns = relation.offset_ns - error_ns;
            assert!(relation.hard.low_ns <= truth_ns && truth_ns <= relation.hard.high_ns, "{}", kind.as_str());
            if n >= 400 {
                squares += error_ns * error_ns;
                surprise += error_ns * error_ns / relation.offset_var;
                count += 1.0;
                assert!((relation.rate - 37e-6).abs() < 3e-6, "{}: rate {}", kind.as_str(), relation.rate);
            }
        }
        let rms_ns = f64::sqrt(squares / count);
        // One exchange is off by 1.4 us.
        assert!(rms_ns < 1_100.0, "{}: {rms_ns} ns", kind.as_str());
        assert!(surprise < 9.0 * count, "{}: RMS of error over sigma {}", kind.as_str(), (surprise / count).sqrt());
    }
}

#[test]
fn a_clock_that_jumped_is_found_again_by_every_filter() {
    for kind in FilterKind::ALL {
        let mut link = Link { seed: 5, jump_ns: 0 };
        let mut filter = kind.make();
        for n in 0..400 {
            link.jump_ns = if n >= 200 { 3_000_000 } else { 0 };
            filter.on_exchange(&link.turn(n), &PAIR);
        }
        let error_ns = link.error_ns(filter.as_ref(), 400.0 * 0.125e9);
        assert!(error_ns.abs() < 5_000.0, "{}: {error_ns} ns off", kind.as_str());
    }
}

proptest! {
    #[test]
    fn nothing_absurd_panics_or_leaves_a_nan(
        stamps in prop::collection::vec((any::<[i64; 4]>(), 0u8..3), 1..80),
        sane in prop::collection::vec(any::<bool>(), 80),
    ) {
        for kind in FilterKind::ALL {
            let mut link = Link { seed: 1, jump_ns: 0 };
            let mut filter = kind.make();
            for (n, (stamps, class)) in stamps.iter().enumerate() {
                let made = exchange(*stamps, StampClass::from_bits(*class));
                let exchange = if sane[n] { link.turn(n as u32) } else { made };
                let before = filter.relation(exchange.local_mid());
                if filter.on_exchange(&exchange, &PAIR) == Outcome::Impossible {
                    prop_assert_eq!(before, filter.relation(exchange.local_mid()), "{} minds it", kind.as_str());
                }
                if let Some(relation) = filter.relation(exchange.local_mid()) {
                    prop_assert!(!relation.offset_ns.is_nan() && !relation.rate.is_nan(), "{}", kind.as_str());
                    prop_assert!(relation.edge_var > 0.0 && relation.edge_rate_var >= 0.0, "{}", kind.as_str());
                }
            }
            filter.reset();
            prop_assert!(filter.relation(RawTime::from_nanos(0)).is_none());
        }
    }
}

/// A link and two clocks of any kind, and what is lost of their exchanges.
#[derive(Clone, Copy, Debug)]
struct AnyLink {
    seed: u64,
    rate: f64,
    offset_ns: i64,
    delay_ns: [f64; 2],
    queue_ns: [f64; 2],
    loss: f64,
    spacing_ns: f64,
}

impl AnyLink {
    fn unit(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.seed >> 33) as f64 + 0.5) / (1u64 << 31) as f64
    }

    fn turn(&mut self, n: u32) -> Option<Exchange> {
        let [there, back] = [0, 1].map(|way| self.delay_ns[way] - self.queue_ns[way] * self.unit().ln());
        let sent = f64::from(n) * self.spacing_ns + 1e6 * self.unit();
        let arrived = sent + there;
        let answered = arrived + 1e4 + 1e5 * self.unit();
        let received = answered + back;
        let remote = |local_ns: f64| self.offset_ns + (local_ns * (1.0 + self.rate)).round() as i64;
        let stamps = [sent.round() as i64, remote(arrived), remote(answered), received.round() as i64];
        (self.unit() >= self.loss).then(|| exchange(stamps, StampClass::Kernel))
    }
}

fn any_link() -> impl Strategy<Value = AnyLink> {
    let delay = || prop_oneof![0.0..5e4f64, 0.0..5e6f64];
    let queue = || prop_oneof![Just(0.0), 1.0..1e3f64, 1e3..1e6f64];
    let spacing = prop_oneof![Just(125e6), 10e6..2e9f64];
    let offset = -4_000_000_000_000_000_000i64..4_000_000_000_000_000_000;
    (any::<u64>(), -2e-4..2e-4f64, offset, [delay(), delay()], [queue(), queue()], 0.0..0.7f64, spacing).prop_map(
        |(seed, rate, offset_ns, delay_ns, queue_ns, loss, spacing_ns)| AnyLink {
            seed,
            rate,
            offset_ns,
            delay_ns,
            queue_ns,
            loss,
            spacing_ns,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Over any link, with any clocks, whatever is lost of their exchanges to both.
    #[test]
    fn both_ends_of_any_edge_hold_opposite_relations(link in any_link(), boost in 1.0..8f64, wander in -20.0..-15f64) {
        let pair = Pair { boost, wander: 10f64.powf(wander), alive: 2.0 * boost };
        for kind in FilterKind::ALL {
            let mut link = link;
            let (mut here, mut there) = (kind.make(), kind.make());
            for exchange in (0..150).filter_map(|n| link.turn(n)) {
                let mirrored = mirror(&exchange);
                prop_assert_eq!(here.on_exchange(&exchange, &pair), there.on_exchange(&mirrored, &pair));
                let relations = here.relation(exchange.local_mid()).zip(there.relation(mirrored.local_mid()));
                let Some((a, b)) = relations else { continue };
                prop_assert_eq!(a.base_ns, -b.base_ns, "{}", kind.as_str());
                // Inside they are exact opposites. The instants at which the two ends know them differ by what is
                // left of the exchange's surprise, by one model's word or another's; over it, and no further, the
                // rate carries.
                let says_ns = (mirrored.local_mid().nanos() - exchange.local_mid().nanos() - a.base_ns) as f64;
                let apart_ns = (says_ns - a.offset_ns).abs() + a.edge_var.sqrt();
                let theta_ns = a.base_ns as f64 + a.offset_ns;
                let carried_ns = 1.01 * a.rate.abs() * (apart_ns + (a.rate * theta_ns).abs()) + 0.02;
                prop_assert!((a.offset_ns + b.offset_ns).abs() <= carried_ns, "{}: {a:?} {b:?}", kind.as_str());
                let second = 1.01 * a.rate.powi(2) + 1e-15;
                prop_assert!((a.rate + b.rate).abs() <= second, "{}: {a:?} {b:?}", kind.as_str());
                prop_assert_eq!(a.samples, b.samples);
            }
        }
    }

    /// Whatever is lost, and however much longer one way is than the other.
    #[test]
    fn the_hard_interval_of_any_edge_holds_the_truth(link in any_link()) {
        for kind in FilterKind::ALL {
            let mut link = link;
            let mut filter = kind.make();
            for n in 0..150 {
                let taken = link.turn(n).map(|exchange| filter.on_exchange(&exchange, &PAIR)).is_some();
                let at_ns = (f64::from(n) + 0.9) * link.spacing_ns.max(20e6);
                let known = filter.relation(RawTime::from_nanos(at_ns as i64));
                let Some(relation) = known.filter(|_| taken) else { continue };
                let gained_ns = (at_ns * link.rate).round() as i64;
                let truth_ns = (link.offset_ns - relation.base_ns + gained_ns) as f64;
                let hard = relation.hard;
                prop_assert!(hard.low_ns - 2.0 <= truth_ns && truth_ns <= hard.high_ns + 2.0,
                    "{} at {n}: {truth_ns} of {relation:?}", kind.as_str());
            }
        }
    }
}
