//! From trips to an offset: Saturn's own computation, bug for bug, and a sound one.
//!
//! A trip is one message of the master and the slave's report on it. Each end told how far the other's message was from
//! its clock when it came; the difference of the two, halved, is the offset, wrong by half the difference of the delays
//! of the two ways. Sign: slave minus master, positive when the slave's clock is ahead.

/// A NaN as x86 makes it of 0/0, with which Saturn reports that it kept no trip.
const NAN: f64 = f64::from_bits(0xfff8_0000_0000_0000);
/// What a trip's delay may exceed the round trip by, ns, because one is measured on a clock that is being steered and
/// the other is not; also this fraction of the round trip, see [`SLACK_SHARE`].
const SLACK_NS: i64 = 100_000;
/// See [`SLACK_NS`].
const SLACK_SHARE: i64 = 8;
/// Of so many trips with a sensible delay, one is kept.
const TRIPS_PER_KEPT: usize = 4;

/// One round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trip {
    /// The slave's clock in its report minus the master's when that came, ns: offset minus the delay of the way back.
    pub master_diff_ns: i64,
    /// The master's clock in its message minus the slave's when that came, ns: minus offset, minus the delay of the way
    /// there.
    pub slave_diff_ns: i64,
    /// From the handling of one message to that of the next on the master's unsteered clock, ns.
    pub rtt_ns: i64,
}

/// What a transaction found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Slave minus master, ms.
    pub offset_ms: f64,
    /// Half of a round trip, ms.
    pub latency_ms: f64,
}

impl Trip {
    /// Delay of both ways together, without the time for which the slave held the message, ns.
    #[must_use]
    pub const fn delay_ns(&self) -> i64 {
        self.master_diff_ns.wrapping_add(self.slave_diff_ns).wrapping_neg()
    }

    /// Whether the delay is possible. It is not when a clock was set between the stamps.
    const fn is_consistent(&self) -> bool {
        let delay_ns = self.delay_ns();
        0 <= delay_ns && delay_ns <= self.rtt_ns.saturating_add(self.rtt_ns / SLACK_SHARE + SLACK_NS)
    }

    /// Twice the offset, ns.
    fn doubled_offset_ns(&self) -> i128 {
        i128::from(self.master_diff_ns) - i128::from(self.slave_diff_ns)
    }
}

/// As Saturn computes it (its final code): of three trips and more those are kept whose round trip is *shorter* than
/// the one at 60 % of them all in order, but at least than the fourth; the mean of what is kept. Equal round trips
/// leave nothing, and nothing is NaN.
#[must_use]
pub fn as_saturn(trips: &[Trip]) -> Estimate {
    let count = trips.len();
    let cut_ns = if count >= 3 {
        let mut rtts_ns: Vec<i64> = trips.iter().map(|trip| trip.rtt_ns).collect();
        rtts_ns.sort_unstable();
        rtts_ns[(0.6 * count as f64).max(3.0).min((count - 1) as f64) as usize]
    } else {
        i64::MAX
    };
    let (mut offsets_ms, mut latencies_ms, mut kept) = (0.0, 0.0, 0u32);
    for trip in trips.iter().filter(|trip| trip.rtt_ns < cut_ns) {
        let latency_ns = trip.rtt_ns as f64 / 2.0;
        let (there, back) = (trip.master_diff_ns as f64 + latency_ns, trip.slave_diff_ns as f64 + latency_ns);
        offsets_ms += (there - back) / 2.0 / 1e6;
        latencies_ms += latency_ns / 1e6;
        kept += 1;
    }
    if kept == 0 {
        return Estimate { offset_ms: NAN, latency_ms: NAN };
    }
    Estimate { offset_ms: offsets_ms / f64::from(kept), latency_ms: latencies_ms / f64::from(kept) }
}

/// The mean of the quarter of the trips (at least one) that had the lowest delay, as NTP's clock filter has it:
/// whatever waited in a queue waited on one way only. Trips during which a clock was set are left out, unless there is
/// nothing else. Integers until the end, so that a clock that is off by decades is measured as well as a good one.
///
/// # Panics
/// Without a trip there is no offset.
#[must_use]
pub fn lowest_delay(trips: &mut [Trip]) -> Estimate {
    assert!(!trips.is_empty(), "a transaction ends after its first trip at the earliest");
    trips.sort_by_key(|trip| (!trip.is_consistent(), trip.delay_ns().unsigned_abs()));
    let consistent = trips.iter().filter(|trip| trip.is_consistent()).count();
    let kept = &trips[..consistent.div_ceil(TRIPS_PER_KEPT).max(1)];
    let offsets_ns: i128 = kept.iter().map(Trip::doubled_offset_ns).sum();
    let delays_ns: i128 = kept.iter().map(|trip| i128::from(trip.delay_ns())).sum();
    let doubled_ns_per_ms = kept.len() as f64 * 2e6;
    Estimate { offset_ms: offsets_ns as f64 / doubled_ns_per_ms, latency_ms: delays_ns as f64 / doubled_ns_per_ms }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;

    fn trip(master_diff: i64, slave_diff: i64, rtt: i64) -> Trip {
        Trip { master_diff_ns: master_diff, slave_diff_ns: slave_diff, rtt_ns: rtt }
    }

    fn saturn(trips: &[(i64, i64, i64)]) -> (f64, f64) {
        let trips: Vec<Trip> = trips.iter().map(|(m, s, r)| trip(m * MS, s * MS, r * MS)).collect();
        let found = as_saturn(&trips);
        (found.offset_ms, found.latency_ms)
    }

    fn ramp(n: i64) -> Vec<(i64, i64, i64)> {
        (1..=n).map(|i| (i, -i, i)).collect()
    }

    #[test]
    fn saturns_own_unit_tests_come_out_the_same() {
        assert_eq!(saturn(&[(9, -11, 2)]), (10.0, 1.0));
        assert_eq!(saturn(&[(9, -11, 2), (19, -21, 2)]), (15.0, 1.0));
        assert_eq!(saturn(&[(9, -11, 2), (19, -21, 2), (38, -32, 4)]), (15.0, 1.0));
    }

    #[test]
    fn ramps_keep_what_saturn_keeps() {
        for (n, offset_ms, latency_ms) in [(4, 2.0, 1.0), (5, 2.0, 1.0), (10, 3.5, 1.75)] {
            assert_eq!(saturn(&ramp(n)), (offset_ms, latency_ms), "{n} trips");
        }
        for (n, kept) in [
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 3),
            (5, 3),
            (6, 3),
            (7, 4),
            (8, 4),
            (9, 5),
            (10, 6),
            (11, 6),
            (16, 9),
            (20, 12),
            (21, 12),
            (100, 60),
        ] {
            // The mean of 1 to k is (k + 1) / 2.
            assert_eq!(saturn(&ramp(n)).0, f64::from(kept + 1) / 2.0, "{n} trips");
        }
    }

    #[test]
    fn ties_at_the_cut_are_dropped_and_equal_round_trips_are_saturns_nan() {
        let ties: Vec<_> = [1, 2, 3, 3, 5].into_iter().map(|i| (i, -i, i)).collect();
        assert_eq!(saturn(&ties), (1.5, 0.75));
        for n in [3, 5] {
            let found = as_saturn(&vec![trip(5, -5, 7); n]);
            assert_eq!(found.offset_ms.to_le_bytes(), [0, 0, 0, 0, 0, 0, 0xf8, 0xff]);
            assert!(found.latency_ms.is_nan());
        }
    }

    #[test]
    fn the_readmes_example_is_five_seconds_to_the_final_code() {
        assert_eq!(saturn(&[(-7_000, 3_000, 4_000)]), (-5_000.0, 2_000.0));
    }

    /// The formula of the first README, from which llts grew: the mean of the half offsets plus the mean of the half
    /// round trips. The slave is 4 s behind; the clocks read slave 20, master 26, slave 23, master 30. The text there
    /// takes O1 = 20 - 26 = -6 and O2 = 23 - 30 = -7 as offsets and 3 and 4 as round trips. It is 0.75 s off, and no
    /// program ever computed it this way: what was built is above.
    #[test]
    fn the_readmes_example_is_minus_four_and_three_quarters_by_the_readmes_formula() {
        let offsets_s = [20.0 - 26.0, 23.0 - 30.0];
        let rtts_s = [f64::abs(offsets_s[0] - -3.0), 30.0 - 26.0];
        let mean_of_halves = |of: [f64; 2]| (of[0] / 2.0 + of[1] / 2.0) / 2.0;
        assert_eq!(rtts_s, [3.0, 4.0]);
        assert_eq!(offsets_s[0] / 2.0 + offsets_s[1] / 2.0, -6.5);
        assert_eq!(mean_of_halves(rtts_s), 1.75);
        assert_eq!((offsets_s[0] + offsets_s[1]) / 2.0 + mean_of_halves(rtts_s), -4.75);
        // The same as a later edition of the README wrote it: (sum of offsets + half the sum of round trips) / 2.
        assert_eq!((offsets_s[0] + offsets_s[1] + (rtts_s[0] + rtts_s[1]) / 2.0) / 2.0, -4.75);
    }

    #[test]
    fn equal_delays_are_no_reason_for_nothing() {
        for n in 1..=100 {
            let found = lowest_delay(&mut vec![trip(4, -6, 2); n]);
            assert_eq!((found.offset_ms, found.latency_ms), (5e-6, 1e-6));
        }
    }

    #[test]
    fn one_quiet_trip_outweighs_every_delayed_one() {
        // True offset 10 us; the way back of four trips waited, the fifth did not.
        let mut trips: Vec<Trip> = [0, 90_000, 40_000, 700_000, 5_000]
            .map(|queued| trip(10_000 - 3_000 - queued, -10_000 - 3_000, 50_000 + queued))
            .into();
        trips.swap(0, 4);
        let kept = lowest_delay(&mut trips);
        // Two of five are kept, the other one waited 5 us.
        assert_eq!(kept.offset_ms, (0.0100 + 0.0075) / 2.0);
    }

    #[test]
    fn a_trip_across_a_step_of_a_clock_is_left_out_if_anything_else_is_there() {
        let good = trip(7_000, -13_000, 40_000);
        let [ahead, behind] = [1_000_000_000, -1_000_000_000].map(|step| trip(7_000 + step, -13_000, 40_000));
        for stepped in [ahead, behind] {
            let found = lowest_delay(&mut [stepped, good, stepped]);
            assert_eq!(found.offset_ms, 0.01);
            assert!(lowest_delay(&mut [stepped, stepped]).offset_ms.is_finite());
        }
    }

    #[test]
    fn a_clock_at_the_epoch_is_measured_to_the_nanosecond() {
        let year_2026 = 1_790_000_000_123_456_789;
        let found = lowest_delay(&mut [trip(-year_2026 - 3, year_2026 - 5, 20)]);
        assert_eq!(found.offset_ms, (-year_2026 + 1) as f64 / 1e6);
    }

    fn trips() -> impl Strategy<Value = Vec<Trip>> {
        let any_trip = (any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(m, s, r)| trip(m, s, r));
        let likely = (-1_000_000i64..1_000_000, 0i64..100_000, 0i64..100_000)
            .prop_map(|(offset, there, back)| trip(offset - back, -offset - there, there + back));
        proptest::collection::vec(prop_oneof![1 => any_trip, 4 => likely], 1..=100)
    }

    proptest! {
        #[test]
        fn the_sound_offset_is_a_number_whatever_is_reported(trips in trips()) {
            let found = lowest_delay(&mut trips.clone());
            prop_assert!(found.offset_ms.is_finite() && found.latency_ms.is_finite());
            let _saturn = as_saturn(&trips);
        }

        #[test]
        fn seen_from_the_other_side_the_offset_is_negated(
            sides in proptest::collection::vec((-1_000_000i64..1_000_000, 0i64..100_000, 0i64..100_000), 1..20)
        ) {
            let seen = |sign: i64| -> Vec<Trip> {
                sides
                    .iter()
                    .map(|(offset, one, other)| {
                        let (there, back) = if sign > 0 { (one, other) } else { (other, one) };
                        trip(sign * offset - back, -sign * offset - there, one + other)
                    })
                    .collect()
            };
            let (here, there) = (lowest_delay(&mut seen(1)), lowest_delay(&mut seen(-1)));
            prop_assert_eq!(here.offset_ms, -there.offset_ms);
            prop_assert_eq!(here.latency_ms, there.latency_ms);
        }
    }
}
