//! The relation of a card's clock on readings made up with known truth.

use proptest::prelude::*;

use super::*;

const TICK_NS: i64 = 62_500_000;
const RAW_START: i64 = 5_000_000_000_000;

/// A card whose clock is `ahead_ns` ahead of RAW at the start and runs `rate` faster, read with noise.
struct Card {
    raw_ns: i64,
    ahead_ns: i64,
    gained_ns: f64,
    rate: f64,
    noise_ns: f64,
    width_ns: i64,
    seed: u64,
}

impl Card {
    fn new(ahead_ns: i64, rate: f64) -> Self {
        Card { raw_ns: RAW_START, ahead_ns, gained_ns: 0.0, rate, noise_ns: 20.0, width_ns: 1_600, seed: 7 }
    }

    /// A repeatable jumble, roughly normal with a standard deviation of one.
    fn jumble(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..12 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.seed >> 33) as f64 / (1u64 << 31) as f64;
        }
        sum - 6.0
    }

    fn advance(&mut self, span_ns: i64) {
        self.raw_ns += span_ns;
        self.gained_ns += self.rate * span_ns as f64;
    }

    /// What the card shows now.
    fn shows(&self) -> i64 {
        self.raw_ns + self.ahead_ns + self.gained_ns.round() as i64
    }

    fn read(&mut self) -> PtpReading {
        let error = (self.noise_ns * self.jumble()).round() as i64;
        PtpReading {
            ptp_ns: self.shows(),
            raw_ns: self.raw_ns + error,
            width_ns: self.width_ns,
            noise_ns: self.noise_ns,
        }
    }

    fn tick(&mut self, track: &mut PhcTrack) -> Option<PhcEvent> {
        self.advance(TICK_NS);
        let reading = self.read();
        track.on_reading(&reading)
    }

    /// Error of a stamp that the card takes half a tick after its last reading, ns.
    fn stamp_error(&self, track: &PhcTrack) -> Option<i64> {
        let relation = track.relation()?;
        let later_ns = TICK_NS / 2;
        let card = self.shows() + later_ns + (self.rate * later_ns as f64).round() as i64;
        Some(relation.raw_at(card)? - (self.raw_ns + later_ns))
    }
}

fn warm(card: &mut Card) -> PhcTrack {
    let mut track = PhcTrack::new();
    let events: Vec<PhcEvent> = (0..160).filter_map(|_| card.tick(&mut track)).collect();
    assert_eq!(events, [PhcEvent::Ready]);
    track
}

#[test]
fn offset_and_rate_are_found_through_the_noise_and_stamps_are_better_than_single_readings() {
    for (ahead_ns, rate) in [(37_000_000_000, 20e-6), (-1_700_000_000_000_000_000, -80e-6), (0, 0.0)] {
        let mut card = Card::new(ahead_ns, rate);
        let mut track = warm(&mut card);
        let mut squares = 0.0;
        for _ in 0..400 {
            assert_eq!(card.tick(&mut track), None);
            squares += (card.stamp_error(&track).expect("it stays believed") as f64).powi(2);
        }
        let rms = (squares / 400.0).sqrt();
        assert!(rms < 0.5 * card.noise_ns, "{rms} ns at {rate}");
        let relation = track.relation().unwrap();
        let expected = 1.0 / (1.0 + rate) - 1.0;
        assert!((relation.rate - expected).abs() < 50e-9, "{} instead of {expected}", relation.rate);
        assert!(relation.sigma_ns < card.noise_ns && relation.doubt_ns >= 800.0, "{relation:?}");
    }
}

#[test]
fn a_stamp_is_never_off_by_more_than_the_doubt_even_if_every_reading_is_biased() {
    let mut card = Card::new(1_000_000, 5e-6);
    let mut track = PhcTrack::new();
    let bias_ns = card.width_ns / 2 - 100;
    for n in 0..500 {
        card.advance(TICK_NS);
        let mut reading = card.read();
        reading.raw_ns += bias_ns;
        track.on_reading(&reading);
        if n > 20 {
            let (error_ns, relation) = (card.stamp_error(&track).unwrap(), track.relation().unwrap());
            assert!((error_ns.abs() as f64) < relation.doubt_ns, "{error_ns} {relation:?}");
        }
    }
}

#[test]
fn nothing_is_believed_before_the_rate_is_known() {
    let mut card = Card::new(0, 50e-6);
    let mut track = PhcTrack::new();
    for n in 1..=WARM {
        let event = card.tick(&mut track);
        assert_eq!(event, (n == WARM).then_some(PhcEvent::Ready), "reading {n}");
        assert_eq!(track.relation().is_some(), n == WARM);
    }
    assert!(card.stamp_error(&track).unwrap().abs() < 200);
}

#[test]
fn a_jump_suspends_belief_at_once_ends_it_after_three_readings_and_the_new_time_is_learnt() {
    for jump_ns in [-1_790_000_000_000_000_000, -40_000_000, -10_000, 10_000, 3_000_000_000] {
        let mut card = Card::new(1_000, 30e-6);
        let mut track = warm(&mut card);
        card.ahead_ns += jump_ns;
        assert_eq!(card.tick(&mut track), None);
        assert_eq!(track.relation(), None, "a stamp is not converted by a relation in doubt");
        assert_eq!(card.tick(&mut track), None);
        let Some(PhcEvent::Jumped(by_ns)) = card.tick(&mut track) else { panic!("a jump of {jump_ns} was missed") };
        assert!((by_ns + jump_ns as f64).abs() < 1_000.0 + 1e-9 * jump_ns.abs() as f64, "{by_ns} for {jump_ns}");
        assert_eq!(track.losses(), 1);
        let again = (0..WARM).filter_map(|_| card.tick(&mut track)).collect::<Vec<_>>();
        assert_eq!(again, [PhcEvent::Ready]);
        assert!(card.stamp_error(&track).unwrap().abs() < 500);
    }
}

#[test]
fn one_bad_reading_costs_one_tick_and_no_history() {
    let mut card = Card::new(1_000, 30e-6);
    let mut track = warm(&mut card);
    let before = track.relation().unwrap();
    card.advance(TICK_NS);
    let mut bad = card.read();
    bad.raw_ns += 50_000;
    assert_eq!(track.on_reading(&bad), None);
    assert_eq!(track.relation(), None);
    assert_eq!(card.tick(&mut track), None);
    let after = track.relation().unwrap();
    assert!((after.rate - before.rate).abs() < 20e-9);
    assert_eq!(track.losses(), 0);
}

#[test]
fn a_reading_that_was_interrupted_is_wide_and_contradicts_nothing() {
    let mut card = Card::new(1_000, 30e-6);
    let mut track = warm(&mut card);
    card.advance(TICK_NS);
    let mut wide = card.read();
    (wide.width_ns, wide.noise_ns) = (100_000, 25_000.0);
    wide.raw_ns += 45_000;
    assert_eq!(track.on_reading(&wide), None);
    assert!(card.stamp_error(&track).unwrap().abs() < 100);
    let doubt_ns = track.relation().unwrap().doubt_ns;
    assert!((800.0..1_200.0).contains(&doubt_ns), "the readings before it still hold: {doubt_ns}");
}

#[test]
fn a_rate_that_no_oscillator_has_ends_belief_until_it_is_gone() {
    let mut card = Card::new(0, 10e-6);
    let mut track = warm(&mut card);
    card.rate = 1_500e-6;
    let events: Vec<PhcEvent> = (0..200).filter_map(|_| card.tick(&mut track)).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(matches!(events[0], PhcEvent::Jumped(_) | PhcEvent::RateAbsurd(_)), "{events:?}");
    assert_eq!(track.relation(), None);
    // Slowly faster and faster, so that nothing jumps.
    let mut card = Card::new(0, 990e-6);
    let mut track = warm(&mut card);
    card.rate = 1_010e-6;
    let events: Vec<PhcEvent> = (0..400).filter_map(|_| card.tick(&mut track)).collect();
    let Some(PhcEvent::RateAbsurd(rate) | PhcEvent::Jumped(rate)) = events.first() else { panic!("{events:?}") };
    assert!(*rate < 0.0, "RAW runs slower than the card: {rate}");
    assert_eq!(track.relation(), None);
    card.rate = 20e-6;
    let events: Vec<PhcEvent> = (0..400).filter_map(|_| card.tick(&mut track)).collect();
    assert_eq!(events.last(), Some(&PhcEvent::Ready), "{events:?}");
}

#[test]
fn a_clock_at_the_limit_of_its_rate_is_believed_and_one_past_it_is_not() {
    for (rate, believed) in [(995e-6, true), (-995e-6, true), (1_005e-6, false), (-1_005e-6, false)] {
        let mut card = Card::new(0, rate);
        let mut track = PhcTrack::new();
        for _ in 0..200 {
            card.tick(&mut track);
        }
        assert_eq!(track.relation().is_some(), believed, "{rate}");
    }
}

#[test]
fn a_clock_that_stops_answering_is_gone_after_three_tries_and_may_come_back() {
    let mut card = Card::new(0, 10e-6);
    let mut track = warm(&mut card);
    assert_eq!(track.on_failure(libc::ENODEV), None);
    assert_eq!(track.relation(), None, "a stamp is not converted by a clock that does not answer");
    assert_eq!(track.on_failure(libc::ENODEV), None);
    assert_eq!(track.on_failure(libc::ENODEV), Some(PhcEvent::Gone(libc::ENODEV)));
    assert_eq!(track.on_failure(libc::ENODEV), None, "told once");
    card.ahead_ns -= 1_000_000_000;
    let events: Vec<PhcEvent> = (0..=WARM).filter_map(|_| card.tick(&mut track)).collect();
    assert_eq!(events, [PhcEvent::Ready]);
}

#[test]
fn one_failure_costs_nothing_but_itself() {
    let mut card = Card::new(0, 10e-6);
    let mut track = warm(&mut card);
    track.on_failure(libc::EBUSY);
    assert_eq!(card.tick(&mut track), None);
    assert!(card.stamp_error(&track).unwrap().abs() < 60);
}

#[test]
fn a_card_that_somebody_steers_is_followed_without_losing_belief() {
    let mut card = Card::new(0, 0.0);
    let mut track = warm(&mut card);
    let mut worst = 0;
    for n in 0..2_000i32 {
        if n % 16 == 0 {
            card.rate = f64::from((n / 16) % 7 - 3) * 300e-9;
        }
        assert_eq!(card.tick(&mut track), None);
        if n > 500 {
            worst = worst.max(card.stamp_error(&track).unwrap().abs());
        }
    }
    assert!(worst < 400, "{worst} ns");
}

#[test]
fn a_stamp_is_told_within_the_age_of_a_reading_and_not_a_nanosecond_beyond() {
    let mut card = Card::new(5_000_000, 0.0);
    let relation = warm(&mut card).relation().unwrap();
    for sign in [-1, 1] {
        let edge = relation.at_card_ns + sign * PHC_AGE_NS_MAX;
        assert!(relation.raw_at(edge).is_some());
        assert_eq!(relation.raw_at(edge + sign), None);
    }
    assert_eq!(relation.raw_at(i64::MIN), None);
    assert_eq!(relation.raw_at(i64::MAX), None);
}

#[test]
fn a_reading_from_the_past_or_a_second_time_changes_nothing() {
    let mut card = Card::new(0, 10e-6);
    let mut track = warm(&mut card);
    let before = track.relation();
    card.advance(TICK_NS);
    let reading = card.read();
    track.on_reading(&reading);
    let after = track.relation();
    assert_ne!(before, after);
    track.on_reading(&reading);
    track.on_reading(&PtpReading { raw_ns: reading.raw_ns - 1_000_000, ..reading });
    assert_eq!(track.relation(), after);
}

proptest! {
    #[test]
    fn a_negated_world_has_the_negated_relation_exactly(
        ahead_ns in -1_000_000_000_000i64..1_000_000_000_000,
        rate in -900e-6f64..900e-6,
        seed in any::<u64>(),
    ) {
        let mut card = Card { seed, ..Card::new(ahead_ns, rate) };
        let (mut track, mut mirror) = (PhcTrack::new(), PhcTrack::new());
        for _ in 0..60 {
            card.advance(TICK_NS);
            let reading = card.read();
            track.on_reading(&reading);
            // RAW minus card with the other sign, at the same RAW.
            mirror.on_reading(&PtpReading { ptp_ns: 2 * reading.raw_ns - reading.ptp_ns, ..reading });
        }
        let (own, other) = (track.state.unwrap(), mirror.state.unwrap());
        prop_assert_eq!((own.base_ns, own.offset, own.rate), (-other.base_ns, -other.offset, -other.rate));
        prop_assert_eq!((own.p_offset, own.p_cross, own.p_rate), (other.p_offset, other.p_cross, other.p_rate));
        prop_assert_eq!(own.doubt, other.doubt);
    }

    #[test]
    fn no_reading_however_absurd_panics_or_leaves_a_nan(
        readings in proptest::collection::vec(
            (any::<i64>(), any::<i64>(), 0i64..1_000_000, 0.0f64..1e6), 1..40),
    ) {
        let mut track = PhcTrack::new();
        for (ptp_ns, raw_ns, width_ns, noise_ns) in readings {
            track.on_reading(&PtpReading { ptp_ns, raw_ns, width_ns, noise_ns });
            if let Some(relation) = track.relation() {
                prop_assert!(relation.rate.is_finite() && relation.sigma_ns.is_finite());
                let _ = relation.raw_at(ptp_ns.wrapping_add(1));
            }
        }
    }
}
