//! When the floors or a clock have moved for good: watches the best model's innovations per direction. Delays that stay
//! long for many exchanges are judged by how improbable that is under the learnt noise; delays below the floor, which
//! no queue can make, by their number. Decides what happened; moving the models is the caller's part.

use super::super::Fetch;
use super::mixture::Mixture;

/// Innovations that are remembered per direction.
const HISTORY: usize = 256;
/// How many of them are looked at, mostly.
const LOOKED_AT: usize = 8;
/// Windows of the late test and how often each is looked at, exchanges.
const WINDOWS: [(u32, u32); 5] = [(16, 4), (32, 8), (64, 16), (128, 32), (256, 64)];
/// A window shorter than this may lie within one queue, seconds: the test takes delays for independent of each other.
pub(super) const QUEUE_S: f64 = 5.0;
/// Memory of the time between exchanges, exchanges.
const INTERVAL_MEMORY: f64 = 16.0;
/// A window is late if even its smallest innovation is this many standard deviations late ...
pub(super) const LATE_SIGMAS: f64 = 1.2;
/// ... and the logarithm of the chance of that is below minus this; the other direction needs less once one is found.
pub(super) const LATE_SURPRISE: f64 = 25.0;
pub(super) const LATE_SURPRISE_OTHER: f64 = 10.0;
const LATE_SURPRISE_BESIDE_EARLY: f64 = 6.0;
/// A one-sided change is taken for drift if more of the other direction's innovations than this are negative.
pub(super) const DRIFT_SHARE: f64 = 0.7;
/// A direction has come late by a change since it last came earlier than this part of it, or by so many of the stamps'
/// standard deviations less than it.
const BEGUN_SHARE: f64 = 0.75;
const BEGUN_SIGMAS: f64 = 4.0;
pub(super) fn begun_at(moved: f64, stamp_ns: f64) -> f64 {
    (BEGUN_SHARE * moved).max(moved - BEGUN_SIGMAS * stamp_ns)
}
/// Innovations below minus this many standard deviations cannot come from a queue.
pub(super) const EARLY_SIGMAS: f64 = 4.0;
/// How many of the last 64 must be so in one direction, and how many in the other to be measured by them.
const EARLY_COUNT: u32 = 4;
const EARLY_COUNT_OTHER: u32 = 2;
/// Exchanges from the first early one to the decision, unless both directions speak clearly before.
const EARLY_SPAN: u32 = 16;
/// A clock is on the move if of the exchanges that come too early one way this share comes too late the other way by
/// the same, within this part of both together, and there are so many; and the newest by so many times as much as the
/// first: else it is a step.
const MOVING_SHARE: f64 = 0.75;
const OPPOSITE: f32 = 0.15;
const MOVING_COUNT: u32 = 3;
const MOVING_GROWTH: f64 = 1.5;

/// What has changed, in ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// One of the clocks jumped.
    Clock { by: f64, variance: f64 },
    /// One of the oscillators changed its rate: by how much is seen afterwards.
    Rate { variance: f64 },
    /// Both floors moved alike.
    Floor { by: f64, variance: f64 },
    /// The floors moved each on its own.
    Floors { forward: f64, backward: f64 },
}

impl Change {
    /// How far the directions have moved, ns.
    pub(super) fn directions(&self) -> [f64; 2] {
        match *self {
            Change::Clock { by, .. } => [by, -by],
            Change::Rate { .. } => [0.0; 2],
            Change::Floor { by, .. } => [by; 2],
            Change::Floors { forward, backward } => [forward, backward],
        }
    }

    /// The greater of the two, ns.
    pub(super) fn size(&self) -> f64 {
        let [forward, backward] = self.directions().map(f64::abs);
        forward.max(backward)
    }

    /// From how far each direction's smallest innovations lie off. `None` if one direction is earlier and the other
    /// later by another amount: that is a clock on the move, which the models follow by themselves.
    pub(super) fn of(moved: [f64; 2]) -> Option<Self> {
        let [forward, backward] = moved;
        let greater = forward.abs().max(backward.abs());
        let variance = greater * greater / 4.0;
        if forward * backward < 0.0 {
            let alike = (forward + backward).abs() < 0.5 * greater;
            return alike.then(|| Change::Clock { by: (forward - backward) / 2.0, variance });
        }
        Some(if forward * backward > 0.0 && (forward - backward).abs() < 0.3 * greater {
            Change::Floor { by: (forward + backward) / 2.0, variance }
        } else {
            Change::Floors { forward, backward }
        })
    }
}

/// Whether a delay lies below the floor, where no queue can bring it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Early {
    /// It does not.
    No,
    /// It does if the best model is right; a more agile one has an explanation.
    ForBest,
    /// It does under every model.
    ForAll,
}

/// The memory of the innovations. f32: a millionth of a change is more than anyone needs to know of it.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Watch {
    next: usize,
    /// Exchanges since the last change.
    seen: u32,
    /// Mean time between exchanges, seconds.
    interval_s: f64,
    /// Which of the last 64 exchanges came too early for every model, newest in the lowest bit.
    early: [u64; 2],
    /// And for the best of them.
    surprising: [u64; 2],
    // Last, because only a few of them are looked at.
    innovations: [[f32; HISTORY]; 2],
}

impl Watch {
    /// Bytes before the innovations.
    pub(super) const HEAD: usize = std::mem::offset_of!(Watch, innovations);

    pub(super) fn new() -> Self {
        Watch { innovations: [[0.0; HISTORY]; 2], next: 0, seen: 0, interval_s: 0.0, early: [0; 2], surprising: [0; 2] }
    }

    /// Which of the innovations the next exchange will touch: where it goes, and the few before it.
    pub(super) fn foresee(&self, fetch: Fetch) {
        for ring in &self.innovations {
            let newest = &ring[self.next.saturating_sub(LOOKED_AT)..=self.next];
            fetch(newest.as_ptr().cast(), size_of_val(newest));
        }
    }

    /// Notes an exchange's innovations, which of them no queue can explain under any model and under the best, and the
    /// time since the last exchange.
    pub(super) fn note(&mut self, innovations: [f64; 2], early: [Early; 2], elapsed_s: f64) {
        let weight = 1.0 / (f64::from(self.seen) + 1.0).min(INTERVAL_MEMORY);
        self.interval_s += weight * (elapsed_s - self.interval_s);
        for direction in 0..2 {
            self.innovations[direction][self.next] = innovations[direction] as f32;
            let early = early[direction];
            self.early[direction] = self.early[direction] << 1 | u64::from(early == Early::ForAll);
            self.surprising[direction] = self.surprising[direction] << 1 | u64::from(early != Early::No);
        }
        self.next = (self.next + 1) % HISTORY;
        self.seen = self.seen.saturating_add(1);
    }

    /// True while packets below the floor are on record.
    pub(super) fn any_early(&self) -> bool {
        self.early[0] | self.early[1] != 0
    }

    /// Exchanges since the last change.
    pub(super) fn seen(&self) -> u32 {
        self.seen
    }

    /// Mean time between exchanges, seconds.
    pub(super) fn interval_s(&self) -> f64 {
        self.interval_s
    }

    /// Exchanges since a change began that has just been found. Directions that come late have done so without a break;
    /// of those that come early, the first is on record.
    pub(super) fn age(&self, change: &Change, stamp_ns: f64) -> u32 {
        let (mut late, mut early) = (u32::MAX, 0);
        for (direction, by) in change.directions().into_iter().enumerate() {
            if by > 0.0 {
                // Two floors that moved alike moved by about as much.
                let alike = matches!(change, Change::Floor { .. });
                let least = if alike { BEGUN_SHARE * by } else { begun_at(by, stamp_ns) } as f32;
                let run = self.newest(direction, HISTORY as u32).take_while(|nu| *nu >= least).count();
                late = late.min(run as u32);
            } else if by < 0.0 {
                early = early.max(u64::BITS - self.early[direction].leading_zeros());
            }
        }
        let age = if early > 0 {
            early
        } else if late == u32::MAX {
            1
        } else {
            late
        };
        age.clamp(1, self.seen.max(1))
    }

    /// Starts anew after a change.
    pub(super) fn clear(&mut self) {
        self.seen = 0;
        self.early = [0; 2];
        self.surprising = [0; 2];
    }

    /// What has changed, if the newest exchange gives reason to say so; `sigmas` are the innovations' standard
    /// deviations, ns. Until the estimate is `settled`, packets that come early in one direction only are not a shorter
    /// route but a floor not found yet, and there is no offset worth holding against them.
    pub(super) fn change(&self, mixture: &Mixture, sigmas: [f64; 2], settled: bool) -> Option<Change> {
        self.early_change(mixture, sigmas)
            .filter(|change| settled || !matches!(change, Change::Floors { .. }))
            .or_else(|| self.late_change(mixture, sigmas))
    }

    fn late_change(&self, mixture: &Mixture, sigmas: [f64; 2]) -> Option<Change> {
        for (window, period) in WINDOWS {
            let short = f64::from(window) * self.interval_s < QUEUE_S;
            if self.seen < window || !self.seen.is_multiple_of(period) || short {
                continue;
            }
            let tests = [0, 1].map(|d| self.late(d, window, mixture, sigmas[d]));
            if tests[0].1.max(tests[1].1) <= LATE_SURPRISE {
                continue;
            }
            let moved = tests.map(|(least, surprise)| if surprise > LATE_SURPRISE_OTHER { least } else { 0.0 });
            let drifting = |other: usize| {
                let negative = self.newest(other, window).filter(|nu| *nu < 0.0).count();
                negative as f64 > DRIFT_SHARE * f64::from(window)
            };
            if (moved[0] == 0.0 && drifting(0)) || (moved[1] == 0.0 && drifting(1)) {
                continue;
            }
            return Change::of(moved);
        }
        None
    }

    fn early_change(&self, mixture: &Mixture, sigmas: [f64; 2]) -> Option<Change> {
        if self.early.iter().all(|bits| bits.count_ones() < EARLY_COUNT) {
            return None;
        }
        let span = u64::BITS - (self.early[0] | self.early[1]).leading_zeros();
        let window = span.min(EARLY_SPAN).min(self.seen).max(1);
        let moved = [0, 1].map(|d| {
            if self.early[d].count_ones() >= EARLY_COUNT_OTHER {
                return self.second_earliest(d);
            }
            let (least, surprise) = self.late(d, window, mixture, sigmas[d]);
            if surprise > LATE_SURPRISE_BESIDE_EARLY { least } else { 0.0 }
        });
        let [forward, backward] = moved.map(f64::abs);
        let clear = forward > 0.0 && backward > 0.0 && (forward - backward).abs() < 0.3 * forward.max(backward);
        if clear || span >= EARLY_SPAN { Change::of(moved) } else { None }
    }

    /// A clock that has begun to move, which no model has followed, and how many exchanges ago.
    pub(super) fn moving(&self) -> Option<(Change, u32)> {
        self.moved(self.early[0] | self.early[1])
    }

    /// True if the best model has lost a clock that moves, and a more agile one has it: that one's score would need
    /// hundreds of exchanges to make up for all in which the best was the surer.
    pub(super) fn outrun(&self) -> bool {
        let surprising = self.surprising[0] | self.surprising[1];
        surprising & !(self.early[0] | self.early[1]) & 1 == 1 && self.moved(surprising).is_some()
    }

    /// A clock that has begun to move, by the exchanges that came too `early`, and how many exchanges ago: what one
    /// direction comes too early the other comes too late, by ever more, so that no one size fits and no queue either.
    fn moved(&self, early: u64) -> Option<(Change, u32)> {
        if early.count_ones() < MOVING_COUNT {
            return None;
        }
        let apart = |age: u32| {
            let [forward, backward] = [0, 1].map(|d| self.newest(d, age + 1).last().unwrap_or(0.0));
            let apart = forward - backward;
            ((forward + backward).abs() < OPPOSITE * apart.abs()).then_some(f64::from(apart))
        };
        let ages = (0..u64::BITS).filter(|age| early >> age & 1 == 1 && apart(*age).is_some());
        let opposite = ages.fold(0_u64, |bits, age| bits | 1 << age);
        if opposite.count_ones() < MOVING_COUNT {
            return None;
        }
        let age = u64::BITS - opposite.leading_zeros();
        let since = early & (u64::MAX >> (u64::BITS - age));
        if f64::from(opposite.count_ones()) < MOVING_SHARE * f64::from(since.count_ones()) {
            return None;
        }
        let (newest, first) = (apart(0)?, apart(age - 1)?);
        if age > self.seen || newest / first < MOVING_GROWTH {
            return None;
        }
        let slope = newest / (f64::from(age) * self.interval_s);
        Some((Change::Rate { variance: slope * slope }, age))
    }

    /// The smallest of the newest `window` innovations and how surprising it is that none is smaller (minus the
    /// logarithm of its probability; 0 if it is within the noise anyway).
    fn late(&self, direction: usize, window: u32, mixture: &Mixture, sigma: f64) -> (f64, f64) {
        // Mostly one of the first few is within the noise, and the rest need not be looked at.
        let within = (LATE_SIGMAS * sigma) as f32;
        let mut least = f32::INFINITY;
        for nu in self.newest(direction, window) {
            if nu <= within {
                return (0.0, 0.0);
            }
            least = least.min(nu);
        }
        let least = f64::from(least);
        (least, -f64::from(window) * mixture.ln_above(direction, least / sigma, sigma))
    }

    /// The second smallest of a direction's early innovations: one alone may be a freak.
    fn second_earliest(&self, direction: usize) -> f64 {
        let (mut first, mut second) = (f32::INFINITY, f32::INFINITY);
        for (age, nu) in self.newest(direction, u64::BITS).enumerate() {
            if self.early[direction] >> age & 1 == 1 {
                second = second.min(nu.max(first));
                first = first.min(nu);
            }
        }
        f64::from(second)
    }

    fn newest(&self, direction: usize, window: u32) -> impl Iterator<Item = f32> {
        let ring = &self.innovations[direction];
        (1..=window as usize).map(move |age| ring[(self.next + HISTORY - age) % HISTORY])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGMAS: [f64; 2] = [100.0, 100.0];
    const NEITHER: [Early; 2] = [Early::No; 2];

    /// A watch over `count` exchanges of the same two innovations.
    fn watched(count: u32, innovations: [f64; 2], early: [Early; 2]) -> Watch {
        let mut watch = Watch::new();
        for _ in 0..count {
            watch.note(innovations, early, 1.0);
        }
        watch
    }

    /// A path whose queueing the mixture has learnt to be nothing.
    fn quiet() -> Mixture {
        let mut mixture = Mixture::new(2_000.0);
        for n in 0..2_000_u32 {
            let z = f64::from(n % 7) * 0.6 - 1.8;
            mixture.learn([(z, 100.0), (-z, 100.0)], n, false);
        }
        mixture
    }

    #[test]
    fn opposite_changes_are_a_clock_step_and_equal_ones_a_longer_route() {
        assert_eq!(Change::of([100.0, -90.0]), Some(Change::Clock { by: 95.0, variance: 2_500.0 }));
        assert_eq!(Change::of([-100.0, -90.0]), Some(Change::Floor { by: -95.0, variance: 2_500.0 }));
        assert_eq!(Change::of([100.0, 0.0]), Some(Change::Floors { forward: 100.0, backward: 0.0 }));
        assert_eq!(Change::of([100.0, 20.0]), Some(Change::Floors { forward: 100.0, backward: 20.0 }));
        assert_eq!(Change::of([100.0, -20.0]), None);
    }

    #[test]
    fn sixteen_late_exchanges_are_a_change_and_twelve_are_not() {
        let mixture = quiet();
        assert_eq!(watched(12, [5_000.0, 0.0], NEITHER).change(&mixture, SIGMAS, true), None);
        let change = watched(16, [5_000.0, 0.0], NEITHER).change(&mixture, SIGMAS, true);
        assert_eq!(change, Some(Change::Floors { forward: 5_000.0, backward: 0.0 }));
    }

    #[test]
    fn a_second_of_late_exchanges_may_be_one_queue() {
        let (mixture, mut watch) = (quiet(), Watch::new());
        for _ in 0..16 {
            watch.note([5_000.0, 0.0], NEITHER, 0.0625);
        }
        assert_eq!(watch.change(&mixture, SIGMAS, true), None);
        for _ in 16..128 {
            watch.note([5_000.0, 0.0], NEITHER, 0.0625);
        }
        assert!(watch.change(&mixture, SIGMAS, true).is_some());
    }

    #[test]
    fn a_late_direction_beside_one_that_runs_early_is_drift() {
        assert_eq!(watched(16, [5_000.0, -10.0], NEITHER).change(&quiet(), SIGMAS, true), None);
    }

    #[test]
    fn four_early_packets_in_one_direction_wait_for_the_other() {
        let mixture = quiet();
        let mut watch = watched(4, [0.0, -900.0], [Early::No, Early::ForAll]);
        assert_eq!(watch.change(&mixture, SIGMAS, true), None);
        for _ in 0..12 {
            watch.note([0.0, -900.0], [Early::No, Early::ForAll], 1.0);
        }
        assert_eq!(watch.change(&mixture, SIGMAS, true), Some(Change::Floors { forward: 0.0, backward: -900.0 }));
    }

    #[test]
    fn early_packets_in_one_direction_mean_nothing_before_the_estimate_has_settled() {
        let watch = watched(16, [0.0, -900.0], [Early::No, Early::ForAll]);
        assert_eq!(watch.change(&quiet(), SIGMAS, false), None);
        assert!(watch.change(&quiet(), SIGMAS, true).is_some());
    }

    #[test]
    fn a_clock_step_is_seen_at_the_fourth_early_packet() {
        let change = watched(4, [900.0, -900.0], [Early::No, Early::ForAll]).change(&quiet(), SIGMAS, true);
        assert_eq!(change, Some(Change::Clock { by: 900.0, variance: 900.0 * 900.0 / 4.0 }));
    }

    #[test]
    fn a_clock_that_moves_ever_further_is_seen_at_the_third_exchange() {
        let mut watch = Watch::new();
        for _ in 0..512 {
            watch.note([3.0, -2.0], NEITHER, 0.125);
        }
        for turn in 1..=3 {
            assert_eq!(watch.moving(), None);
            let by = 250.0 * f64::from(turn);
            watch.note([by + 20.0, 20.0 - by], [Early::No, Early::ForAll], 0.125);
            assert_eq!(watch.change(&quiet(), SIGMAS, true), None, "it fits no step");
        }
        let Some((Change::Rate { variance }, 3)) = watch.moving() else { panic!("{:?}", watch.moving()) };
        assert!((variance.sqrt() / 4_000.0 - 1.0).abs() < 0.15, "twice 2 ppm: {variance}");
    }

    #[test]
    fn a_clock_that_has_stepped_is_not_on_the_move() {
        let mut watch = watched(512, [3.0, -2.0], NEITHER);
        for turn in 1..=8 {
            let noise = f64::from(turn % 3) * 40.0;
            watch.note([900.0 + noise, noise - 900.0], [Early::No, Early::ForAll], 0.125);
            assert_eq!(watch.moving(), None);
        }
    }

    #[test]
    fn queues_one_way_are_no_clock_that_moves() {
        let mut watch = watched(512, [3.0, -2.0], NEITHER);
        for turn in 1..=8 {
            watch.note([400.0 * f64::from(turn), -200.0], [Early::No, Early::ForAll], 0.125);
            assert_eq!(watch.moving(), None);
        }
    }

    #[test]
    fn three_early_packets_prove_nothing() {
        let mut watch = watched(3, [-900.0, 0.0], [Early::ForAll, Early::No]);
        for _ in 0..60 {
            watch.note([0.0, 0.0], NEITHER, 1.0);
            assert_eq!(watch.change(&quiet(), SIGMAS, true), None);
        }
    }
}
