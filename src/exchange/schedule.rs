//! When to probe. Both ends of a link probe, taking turns: a probe sent or heard puts one's own next one off, so that a
//! link carries one exchange an interval whichever end speaks, and either end alone still carries on at half the rate.

use crate::limits::BURST_INTERVAL_NS;
use crate::unit::RawTime;

/// The rhythm of one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval_ns: i64,
    /// Exchanges of the burst that this meeting began with, and how many of them and of those after it have been.
    burst: u32,
    met: u32,
    due: RawTime,
    unanswered: u32,
}

/// After so many probes without an answer, and without a probe of its own, a node is asked more seldom. Of a node
/// behind a link that loses nineteen packets of twenty one probe in four hundred is answered, but one in twenty is
/// heard: eight in a row are not, two times of three, sixty-four once in twenty-seven.
const PATIENCE: u32 = 64;
/// After the burst the pace halves each time that this part of its exchanges has been, until it is that of every day. A
/// rate is as good as its exchanges lie far apart: what a burst of two seconds knows of it is worth some microseconds a
/// second, too little to wait a second for the next exchange (on LAN links one pair of ten was 10 us off again).
const TAPER_PART: u32 = 8;
/// Halvings of the pace after which it is that of every day, whatever that is.
const HALVINGS_MAX: u32 = 24;
/// How often an absent node is asked, ns.
const ABSENT_INTERVAL_NS: i64 = 500_000_000;

impl Schedule {
    /// A peer that is to be probed at once, `rounds` times in quick succession, then more and more slowly until it is
    /// once an interval.
    pub fn new(interval_ns: i64, rounds: u32, now: RawTime, entropy: u64) -> Self {
        let spread = spread(entropy, interval_ns.min(BURST_INTERVAL_NS) / 4);
        Schedule { interval_ns, burst: rounds, met: 0, due: now.plus(spread.abs()), unanswered: 0 }
    }

    /// Meets the peer anew: `rounds` exchanges in quick succession, the first at `now` or `stagger_ns` later.
    pub fn hurry(&mut self, rounds: u32, now: RawTime, stagger_ns: i64) {
        (self.burst, self.met, self.unanswered) = (rounds, 0, 0);
        self.due = now.plus(stagger_ns);
    }

    /// When this end should probe next.
    pub fn due(&self) -> RawTime {
        self.due
    }

    /// A probe has been sent.
    pub fn probed(&mut self, now: RawTime, entropy: u64) {
        self.met = self.met.saturating_add(1);
        let mut pause_ns = 2 * self.pace_ns();
        if self.unanswered >= PATIENCE {
            pause_ns = pause_ns.max(ABSENT_INTERVAL_NS);
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.due = now.plus(pause_ns + spread(entropy, pause_ns / 10));
    }

    /// The peer has probed: its exchange serves this interval, and it is there.
    pub fn heard_probe(&mut self, now: RawTime, entropy: u64) {
        self.unanswered = 0;
        self.met = self.met.saturating_add(1);
        let pause_ns = self.pace_ns();
        self.due = now.plus(pause_ns + spread(entropy, pause_ns / 10));
    }

    /// The peer has answered.
    pub fn answered(&mut self) {
        self.unanswered = 0;
    }

    fn pace_ns(&self) -> i64 {
        if self.burst == 0 {
            return self.interval_ns;
        }
        let halvings = match self.met.checked_sub(self.burst) {
            None => 0,
            Some(after) => (1 + after / self.burst.div_ceil(TAPER_PART)).min(HALVINGS_MAX),
        };
        self.interval_ns.min(BURST_INTERVAL_NS << halvings)
    }
}

/// Something in +-`range_ns`, so that many peers do not collide for ever.
fn spread(entropy: u64, range_ns: i64) -> i64 {
    if range_ns <= 0 {
        return 0;
    }
    // Nonces come from the same draw, so it is mixed first (the finaliser of splitmix64).
    let mut mixed = entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let unit = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
    ((2.0 * unit - 1.0) * range_ns as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_together_probe_once_an_interval_and_one_alone_every_other() {
        let second = 1_000_000_000;
        let interval_ns = second / 8;
        let mut ends = [
            Schedule::new(interval_ns, 0, RawTime::from_nanos(0), 1),
            Schedule::new(interval_ns, 0, RawTime::from_nanos(0), 2),
        ];
        let (mut probes, mut now) = ([0u32; 2], RawTime::from_nanos(0));
        let mut entropy = 7u64;
        while now.nanos() < 100 * second {
            let i = usize::from(ends[1].due() < ends[0].due());
            now = ends[i].due();
            entropy = entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            ends[i].probed(now, entropy);
            ends[i].answered();
            ends[1 - i].heard_probe(now, entropy.rotate_left(9));
            probes[i] += 1;
        }
        let total = probes[0] + probes[1];
        assert!((760..=840).contains(&total), "{total} probes in 100 s at 8/s");
        assert!(probes.iter().all(|p| *p > 350), "{probes:?}: they take turns");

        let mut alone = Schedule::new(interval_ns, 0, RawTime::from_nanos(0), 3);
        let mut count = 0;
        while alone.due().nanos() < 100 * second {
            alone.probed(alone.due(), count);
            alone.answered();
            count += 1;
        }
        assert!((380..=420).contains(&count), "{count} probes in 100 s by one end");
    }

    /// Pauses of an end that only hears probes, in units of the burst's, rounded.
    fn pauses(interval_ns: i64, rounds: u32, count: usize) -> Vec<i64> {
        let mut schedule = Schedule::new(interval_ns, rounds, RawTime::from_nanos(0), 3);
        let pause = |_| {
            let before = schedule.due();
            schedule.heard_probe(before, 5);
            (schedule.due().since(before) + BURST_INTERVAL_NS / 2) / BURST_INTERVAL_NS
        };
        (0..count).map(pause).collect()
    }

    #[test]
    fn a_burst_is_quick_and_slows_down_step_by_step_to_the_pace_of_every_day() {
        let seen = pauses(16 * BURST_INTERVAL_NS, 16, 40);
        let about = |from: usize, to: usize, pace: i64| seen[from..to].iter().all(|p| (p - pace).abs() * 8 <= pace);
        assert!(
            about(0, 15, 1) && about(15, 17, 2) && about(17, 19, 4) && about(19, 21, 8) && about(21, 40, 16),
            "{seen:?}"
        );
        assert!(pauses(16 * BURST_INTERVAL_NS, 0, 9).iter().all(|p| (14..=18).contains(p)), "no burst was asked for");
        assert!(pauses(BURST_INTERVAL_NS / 4, 4, 40).iter().all(|p| *p <= 1), "a quick pace stays quick");
        assert!(pauses(i64::MAX / 64, 100, 2_000).windows(2).all(|p| p[0] <= p[1] * 2), "nor does it overflow");
    }

    #[test]
    fn who_is_heard_is_not_absent() {
        let mut schedule = Schedule::new(BURST_INTERVAL_NS, 0, RawTime::from_nanos(0), 3);
        for n in 0..4 * u64::from(PATIENCE) {
            let before = schedule.due();
            schedule.probed(before, n);
            assert!(schedule.due().since(before) < ABSENT_INTERVAL_NS / 2);
            if n % 20 == 0 {
                schedule.heard_probe(before, n);
            }
        }
    }

    #[test]
    fn an_absent_node_is_asked_seldom_and_a_returned_one_often_again() {
        let mut schedule = Schedule::new(10_000_000, 0, RawTime::from_nanos(0), 3);
        for n in 0..PATIENCE + 1 {
            schedule.probed(schedule.due(), u64::from(n));
        }
        let before = schedule.due();
        schedule.probed(before, 1);
        assert!(schedule.due().since(before) >= ABSENT_INTERVAL_NS * 9 / 10);
        schedule.answered();
        let before = schedule.due();
        schedule.probed(before, 1);
        assert!(schedule.due().since(before) <= 22_000_000);
    }
}
