//! When to probe. Both ends of a link probe, taking turns: a probe sent or heard puts one's own next one off, so that a
//! link carries one exchange an interval whichever end speaks, and either end alone still carries on at half the rate.

use crate::limits::BURST_INTERVAL_NS;
use crate::unit::RawTime;

/// The rhythm of one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval_ns: i64,
    burst_left: u32,
    due: RawTime,
    unanswered: u32,
}

/// After so many probes without an answer a node is asked more seldom.
const PATIENCE: u32 = 8;
/// How often an absent node is asked, ns.
const ABSENT_INTERVAL_NS: i64 = 500_000_000;

impl Schedule {
    /// A peer that is to be probed at once, `rounds` times in quick succession, then once an interval.
    pub fn new(interval_ns: i64, rounds: u32, now: RawTime, entropy: u64) -> Self {
        let spread = spread(entropy, interval_ns.min(BURST_INTERVAL_NS) / 4);
        Schedule { interval_ns, burst_left: rounds, due: now.plus(spread.abs()), unanswered: 0 }
    }

    /// Meets the peer anew: `rounds` exchanges in quick succession, the first at `now` or `stagger_ns` later.
    pub fn hurry(&mut self, rounds: u32, now: RawTime, stagger_ns: i64) {
        (self.burst_left, self.unanswered) = (rounds, 0);
        self.due = now.plus(stagger_ns);
    }

    /// When this end should probe next.
    pub fn due(&self) -> RawTime {
        self.due
    }

    /// A probe has been sent.
    pub fn probed(&mut self, now: RawTime, entropy: u64) {
        self.burst_left = self.burst_left.saturating_sub(1);
        let mut pause_ns = 2 * self.pace_ns();
        if self.unanswered >= PATIENCE {
            pause_ns = pause_ns.max(ABSENT_INTERVAL_NS);
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.due = now.plus(pause_ns + spread(entropy, pause_ns / 10));
    }

    /// The peer has probed: its exchange serves this interval.
    pub fn heard_probe(&mut self, now: RawTime, entropy: u64) {
        self.burst_left = self.burst_left.saturating_sub(1);
        let pause_ns = self.pace_ns();
        self.due = now.plus(pause_ns + spread(entropy, pause_ns / 10));
    }

    /// The peer has answered.
    pub fn answered(&mut self) {
        self.unanswered = 0;
    }

    fn pace_ns(&self) -> i64 {
        if self.burst_left > 0 { self.interval_ns.min(BURST_INTERVAL_NS) } else { self.interval_ns }
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

    #[test]
    fn a_burst_is_quick_and_ends() {
        let mut schedule = Schedule::new(1_000_000_000, 4, RawTime::from_nanos(0), 3);
        for _ in 0..4 {
            schedule.heard_probe(schedule.due(), 5);
        }
        assert!(schedule.due().nanos() < 2 * 1_000_000_000);
        let before = schedule.due();
        schedule.heard_probe(before, 5);
        assert!(schedule.due().since(before) >= 900_000_000);
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
