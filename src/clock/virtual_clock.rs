//! A clock in memory: C as a piecewise affine function of this machine's CLOCK_MONOTONIC_RAW. For nodes that may not
//! steer the machine's clock, and for many nodes on one machine. Nobody but this program can read it.
//!
//! The pieces are kept, so that a bystander who holds the pieces of several nodes of one machine knows, exactly and
//! later, what all of their clocks showed at one instant.

use std::io;

use super::oscillator::Oscillator;
use super::source::{Machine, TimeSource};
use super::{Clock, ClockKind};
use crate::flow::{Correction, Leap, LeapNews, Reading};
use crate::unit::ClockTime;

/// A UTC day, ns.
const DAY_NS: i64 = 86_400_000_000_000;
/// Pieces kept: half a second of steering at 16 a second.
pub const SEGMENTS_KEPT: usize = 8;

/// One piece: from `machine_raw_ns` on, the clock shows
/// `clock_ns + clock_frac_ns + (1 + rate) * (machine raw - machine_raw_ns)`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Segment {
    /// CLOCK_MONOTONIC_RAW of the machine where the piece begins, ns; not the node's raw time.
    pub machine_raw_ns: i64,
    /// What the clock shows there, whole ns.
    pub clock_ns: i64,
    /// And the rest, in [0, 1) ns: without it every change of rate would lose half a nanosecond.
    pub clock_frac_ns: f64,
    /// How much faster the clock runs than CLOCK_MONOTONIC_RAW of the machine (seconds per second).
    pub rate: f64,
}

impl Segment {
    /// What the clock shows at `machine_raw_ns` if this piece holds there: whole ns and the rest in [0, 1).
    #[must_use]
    pub fn clock_at(&self, machine_raw_ns: i64) -> (i64, f64) {
        let span_ns = machine_raw_ns - self.machine_raw_ns;
        let rest_ns = self.clock_frac_ns + self.rate * span_ns as f64;
        let floor_ns = rest_ns.floor();
        (self.clock_ns + span_ns + floor_ns as i64, rest_ns - floor_ns)
    }
}

/// The last pieces of a virtual clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segments {
    /// Oldest first.
    kept: [Segment; SEGMENTS_KEPT],
    len: usize,
}

impl Segments {
    /// The pieces of a clock that has one so far.
    #[must_use]
    pub fn new(first: Segment) -> Self {
        let mut kept = [Segment::default(); SEGMENTS_KEPT];
        kept[0] = first;
        Segments { kept, len: 1 }
    }

    /// Pieces as they came from another process, oldest first; `None` if there are none, too many, or in another order.
    #[must_use]
    pub fn from_oldest(segments: &[Segment]) -> Option<Self> {
        let (first, rest) = segments.split_first()?;
        let in_order = segments.is_sorted_by_key(|segment| segment.machine_raw_ns);
        if segments.len() > SEGMENTS_KEPT || !in_order {
            return None;
        }
        let mut all = Segments::new(*first);
        rest.iter().for_each(|segment| all.push(*segment));
        Some(all)
    }

    /// The pieces, oldest first; never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[Segment] {
        &self.kept[..self.len]
    }

    /// The piece that holds now.
    #[must_use]
    pub fn newest(&self) -> &Segment {
        &self.kept[self.len - 1]
    }

    /// What the clock showed when CLOCK_MONOTONIC_RAW of the machine was `machine_raw_ns`: whole ns and the rest in
    /// [0, 1). Later than the newest piece it is what the clock will show if nothing changes; `None` before the oldest.
    #[must_use]
    pub fn clock_at(&self, machine_raw_ns: i64) -> Option<(i64, f64)> {
        let holds = self.as_slice().iter().rev().find(|segment| segment.machine_raw_ns <= machine_raw_ns)?;
        Some(holds.clock_at(machine_raw_ns))
    }

    fn push(&mut self, segment: Segment) {
        if self.len == SEGMENTS_KEPT {
            self.kept.rotate_left(1);
            self.len -= 1;
        }
        self.kept[self.len] = segment;
        self.len += 1;
    }
}

/// The clock in memory.
pub struct VirtualClock<S = Machine> {
    source: S,
    oscillator: Oscillator,
    segments: Segments,
    /// As last commanded, against the node's raw time.
    rate: f64,
    leap: LeapNews,
    /// What the clock shows when the announced leap is due, ns.
    leap_due_ns: i64,
}

impl<S: TimeSource> VirtualClock<S> {
    /// A clock that shows REALTIME now, plus the offset of the node's oscillator, and runs as that oscillator does.
    pub fn new(mut source: S, oscillator: Oscillator) -> Self {
        let pair = source.pair();
        let first = Segment {
            machine_raw_ns: pair.raw_ns,
            clock_ns: pair.real_ns + oscillator.offset_ns(),
            clock_frac_ns: 0.0,
            rate: oscillator.drift(),
        };
        VirtualClock {
            source,
            oscillator,
            segments: Segments::new(first),
            rate: 0.0,
            leap: LeapNews::default(),
            leap_due_ns: i64::MAX,
        }
    }

    /// What the clock shows, after the leap second that was due by then.
    fn shown(&mut self, machine_raw_ns: i64) -> (i64, f64) {
        let (clock_ns, clock_frac_ns) = self.segments.newest().clock_at(machine_raw_ns);
        if clock_ns < self.leap_due_ns {
            return (clock_ns, clock_frac_ns);
        }
        self.leap_due_ns = i64::MAX;
        self.leap.taken = self.leap.announced;
        let clock_ns = clock_ns + self.leap.taken.step_s() * 1_000_000_000;
        let rate = self.segments.newest().rate;
        self.segments.push(Segment { machine_raw_ns, clock_ns, clock_frac_ns, rate });
        (clock_ns, clock_frac_ns)
    }
}

impl<S: TimeSource> Clock for VirtualClock<S> {
    fn read(&mut self) -> io::Result<Reading> {
        let machine_raw_ns = self.source.raw_ns();
        self.leap.taken = Leap::None;
        let (clock_ns, _) = self.shown(machine_raw_ns);
        Ok(Reading { raw: self.oscillator.node_raw(machine_raw_ns), clock: ClockTime::from_nanos(clock_ns) })
    }

    fn apply(&mut self, correction: &Correction) -> io::Result<()> {
        assert!(correction.rate.is_finite(), "steering bounds the rate it commands");
        if correction.rate == self.rate && correction.step_ns == 0 {
            // The piece goes on: cutting it would only shorten what is remembered.
            return Ok(());
        }
        let machine_raw_ns = self.source.raw_ns();
        let (clock_ns, clock_frac_ns) = self.segments.newest().clock_at(machine_raw_ns);
        let drift = self.oscillator.drift();
        self.segments.push(Segment {
            machine_raw_ns,
            clock_ns: clock_ns + correction.step_ns,
            clock_frac_ns,
            // (1 + drift) (1 + rate) - 1, without losing the small numbers to the one.
            rate: drift + correction.rate + drift * correction.rate,
        });
        self.rate = correction.rate;
        Ok(())
    }

    fn release(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn leap(&self) -> LeapNews {
        self.leap
    }

    fn announce_leap(&mut self, leap: Leap) -> io::Result<()> {
        if leap == self.leap.announced {
            return Ok(());
        }
        self.leap.announced = leap;
        let (clock_ns, _) = self.segments.newest().clock_at(self.source.raw_ns());
        let midnight_ns = clock_ns - clock_ns.rem_euclid(DAY_NS) + DAY_NS;
        self.leap_due_ns = match leap {
            Leap::None => i64::MAX,
            Leap::Insert => midnight_ns,
            Leap::Delete => midnight_ns - 1_000_000_000,
        };
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.rate
    }

    fn kind(&self) -> ClockKind {
        ClockKind::Virtual
    }

    fn segments(&self) -> Option<Segments> {
        Some(self.segments)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::source::played::Played;
    use super::*;

    const START_NS: i64 = 5_000_000_000;
    const REAL_AHEAD_NS: i64 = 1_790_000_000_000_000_000;
    const SECOND_NS: i64 = 1_000_000_000;

    fn correction(rate: f64, step_ns: i64) -> Correction {
        Correction { rate, step_ns, sigma_ns: 0.0, bound_ns: 0.0, synchronised: true }
    }

    fn clock(offset_ns: i64, drift: f64) -> (Played, VirtualClock<Played>) {
        let machine = Played::new(START_NS, REAL_AHEAD_NS);
        (machine.clone(), VirtualClock::new(machine, Oscillator::new(START_NS, offset_ns, drift)))
    }

    fn shown_ns(clock: &mut VirtualClock<Played>) -> i64 {
        clock.read().unwrap().clock.nanos()
    }

    #[test]
    fn a_leap_second_is_taken_at_the_end_of_the_day_once_and_told_once() {
        let midnight_ns = (REAL_AHEAD_NS / DAY_NS + 1) * DAY_NS;
        for (leap, due_ns) in
            [(Leap::Insert, midnight_ns), (Leap::Delete, midnight_ns - SECOND_NS), (Leap::None, midnight_ns)]
        {
            let (machine, mut clock) = clock(0, 0.0);
            clock.announce_leap(leap).unwrap();
            machine.advance(due_ns - 1 - shown_ns(&mut clock));
            assert_eq!((shown_ns(&mut clock), clock.leap().taken), (due_ns - 1, Leap::None));
            machine.advance(1);
            let leapt_ns = due_ns + leap.step_s() * SECOND_NS;
            assert_eq!((shown_ns(&mut clock), clock.leap()), (leapt_ns, LeapNews { announced: leap, taken: leap }));
            // The second that comes twice is not taken for its end again.
            machine.advance(3 * SECOND_NS);
            assert_eq!((shown_ns(&mut clock), clock.leap().taken), (leapt_ns + 3 * SECOND_NS, Leap::None));
            clock.announce_leap(Leap::None).unwrap();
            assert_eq!(clock.leap().announced, Leap::None);
        }
    }

    #[test]
    fn it_starts_at_realtime_plus_the_oscillators_offset_and_runs_with_it() {
        let (machine, mut clock) = clock(10_000_000, 20e-6);
        let start = clock.read().unwrap();
        assert_eq!(start.clock.nanos(), START_NS + REAL_AHEAD_NS + 10_000_000);
        machine.advance(SECOND_NS);
        let later = clock.read().unwrap();
        let (raw_ns, clock_ns) = (later.raw.since(start.raw), later.clock.since(start.clock));
        assert!((raw_ns - 1_000_020_000).abs() <= 1 && (clock_ns - raw_ns).abs() <= 1, "{raw_ns} {clock_ns}");
    }

    #[test]
    fn a_rate_is_against_the_nodes_own_raw_time() {
        let (machine, mut clock) = clock(0, -50e-6);
        clock.apply(&correction(50e-6, 0)).unwrap();
        let start = clock.read().unwrap();
        machine.advance(1_000 * SECOND_NS);
        let later = clock.read().unwrap();
        let gained_ns = later.clock.since(start.clock) - later.raw.since(start.raw);
        // 50 ppm of the node's 999.95 s.
        assert!((gained_ns - 49_997_500).abs() <= 1, "{gained_ns}");
        assert_eq!(clock.rate(), 50e-6);
    }

    #[test]
    fn a_step_moves_the_clock_at_once_and_by_exactly_that() {
        let (_machine, mut clock) = clock(0, 0.0);
        let before_ns = shown_ns(&mut clock);
        clock.apply(&correction(0.0, -12_345_678)).unwrap();
        assert_eq!(shown_ns(&mut clock), before_ns - 12_345_678);
    }

    #[test]
    fn a_day_of_changing_rates_loses_no_nanosecond_to_rounding() {
        let (machine, mut clock) = clock(0, 0.0);
        // A rate that gains a third of a nanosecond between two corrections, and one that loses it.
        let tick_ns = 62_500_000;
        let rate = 1.0 / 3.0 / tick_ns as f64;
        let ticks = 16 * 86_400;
        for n in 0..ticks {
            clock.apply(&correction(if n % 2 == 0 { 2.0 * rate } else { -rate }, 0)).unwrap();
            machine.advance(tick_ns);
        }
        let expected_ns = f64::from(ticks) / 2.0 / 3.0;
        let gained_ns = shown_ns(&mut clock) - START_NS - REAL_AHEAD_NS - i64::from(ticks) * tick_ns;
        assert!((gained_ns as f64 - expected_ns).abs() <= 1.0, "{gained_ns} instead of {expected_ns}");
    }

    #[test]
    fn the_last_pieces_tell_what_the_clock_showed_and_older_ones_are_gone() {
        let (machine, mut clock) = clock(7, 30e-6);
        let mut shown = Vec::new();
        for n in 0..12 {
            clock.apply(&correction(f64::from(n + 1) * 1e-5, 0)).unwrap();
            machine.advance(SECOND_NS / 2);
            let machine_raw_ns = START_NS + i64::from(n) * SECOND_NS + SECOND_NS / 2;
            shown.push((machine_raw_ns, shown_ns(&mut clock)));
            machine.advance(SECOND_NS / 2);
        }
        let segments = clock.segments().unwrap();
        assert_eq!(segments.as_slice().len(), SEGMENTS_KEPT);
        let (gone, kept) = shown.split_at(12 - SEGMENTS_KEPT);
        for (at_ns, clock_ns) in kept {
            assert_eq!(segments.clock_at(*at_ns).unwrap().0, *clock_ns);
        }
        for (at_ns, _) in gone {
            assert_eq!(segments.clock_at(*at_ns), None);
        }
        assert_eq!(Segments::from_oldest(segments.as_slice()), Some(segments));
    }

    #[test]
    fn pieces_from_elsewhere_must_be_in_order_and_not_too_many() {
        let at = |machine_raw_ns| Segment { machine_raw_ns, ..Segment::default() };
        assert!(Segments::from_oldest(&[at(1), at(2)]).is_some());
        assert_eq!(Segments::from_oldest(&[]), None);
        assert_eq!(Segments::from_oldest(&[at(2), at(1)]), None);
        assert!(Segments::from_oldest(&[at(1); SEGMENTS_KEPT]).is_some());
        assert_eq!(Segments::from_oldest(&[at(1); SEGMENTS_KEPT + 1]), None);
    }

    #[test]
    fn a_correction_that_changes_nothing_cuts_no_piece() {
        let (machine, mut clock) = clock(0, 0.0);
        for _ in 0..20 {
            machine.advance(SECOND_NS);
            clock.apply(&correction(1e-6, 0)).unwrap();
        }
        assert_eq!(clock.segments().unwrap().as_slice().len(), 2);
    }

    proptest! {
        #[test]
        fn the_clock_is_continuous_at_every_change_of_rate(
            offset_ns in -10_000_000i64..10_000_000,
            drift in -1e-3f64..1e-3,
            changes in proptest::collection::vec((-1e-3f64..1e-3, 1i64..100_000_000_000), 1..40),
        ) {
            let (machine, mut clock) = clock(offset_ns, drift);
            for (rate, wait_ns) in changes {
                machine.advance(wait_ns);
                let before = clock.read().unwrap();
                clock.apply(&correction(rate, 0)).unwrap();
                prop_assert_eq!(clock.read().unwrap(), before);
                let segments = clock.segments().unwrap();
                let frac = segments.newest().clock_frac_ns;
                prop_assert!((0.0..1.0).contains(&frac), "{}", frac);
            }
        }
    }
}
