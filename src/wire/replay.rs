//! The replay window: which of a peer's last 128 sequence numbers have been seen (the sliding bitmap of RFC 4303,
//! appendix A2).

/// Remembers the highest sequence number of one run of one peer and which of the 127 before it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    highest: u64,
    seen: u128,
}

impl ReplayWindow {
    /// How far back a late packet is still accepted.
    pub const WIDTH: u64 = 128;

    /// A window for a peer first believed at `sequence`. What that run of it sent before counts as seen: this node
    /// cannot know which of it reached its own last run, so it may be a recording.
    #[must_use]
    pub const fn starting_at(sequence: u64) -> Self {
        ReplayWindow { highest: sequence, seen: u128::MAX }
    }

    /// True if `sequence` is new. Zero, a repeated number and one older than the window are not. Notes nothing.
    #[must_use]
    pub const fn is_fresh(&self, sequence: u64) -> bool {
        if sequence == 0 {
            return false;
        }
        if sequence > self.highest {
            return true;
        }
        let behind = self.highest - sequence;
        behind < Self::WIDTH && self.seen >> behind & 1 == 0
    }

    /// Notes `sequence` and tells whether it was new, as [`ReplayWindow::is_fresh`] does.
    pub const fn accept(&mut self, sequence: u64) -> bool {
        if !self.is_fresh(sequence) {
            return false;
        }
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = if ahead >= Self::WIDTH { 1 } else { self.seen << ahead | 1 };
            self.highest = sequence;
        } else {
            self.seen |= 1 << (self.highest - sequence);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_late_packet_is_accepted_once_inside_the_window_and_never_outside() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(1_000));
        assert!(window.accept(1_000 - (ReplayWindow::WIDTH - 1)));
        assert!(!window.accept(1_000 - ReplayWindow::WIDTH));
        assert!(!window.accept(1_000));
    }

    #[test]
    fn a_window_opened_late_takes_nothing_from_before() {
        let mut window = ReplayWindow::starting_at(500);
        assert!((0..=500).all(|n| !window.accept(n)));
        assert!(window.accept(502) && window.accept(501) && !window.accept(501));
    }

    #[test]
    fn a_jump_by_the_width_or_more_forgets_nothing_inside_the_window() {
        for jump in [ReplayWindow::WIDTH - 1, ReplayWindow::WIDTH, ReplayWindow::WIDTH + 1, u64::MAX - 10] {
            let mut window = ReplayWindow::default();
            assert!(window.accept(10) && window.accept(10 + jump));
            assert!(!window.accept(10 + jump) && !window.accept(10), "jump {jump}");
            assert!(window.accept(10 + jump - 1), "jump {jump}");
        }
    }

    #[test]
    fn zero_is_no_sequence_number() {
        assert!(!ReplayWindow::default().accept(0));
    }

    proptest! {
        #[test]
        fn no_number_is_ever_accepted_twice(numbers in prop::collection::vec(1u64..600, 1..400)) {
            let mut window = ReplayWindow::default();
            let mut accepted = HashSet::new();
            for n in numbers {
                let fresh = accepted.iter().max().is_none_or(|high| n + ReplayWindow::WIDTH > *high);
                let expected = fresh && !accepted.contains(&n);
                prop_assert_eq!(window.accept(n), expected);
                if expected {
                    accepted.insert(n);
                }
            }
        }
    }
}
