//! The replay window: which of a peer's last 128 sequence numbers have been seen (the sliding bitmap of RFC 4303, appendix A2).

/// Remembers the highest sequence number of one run of one peer and which of the 127 before it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    highest: u64,
    seen: u128,
}

impl ReplayWindow {
    /// How far back a late packet is still accepted.
    pub const WIDTH: u64 = 128;

    /// Notes `sequence` and tells whether it is new. Zero, a repeated number and one older than the window are not.
    #[must_use]
    pub fn accept(&mut self, sequence: u64) -> bool {
        if sequence == 0 {
            return false;
        }
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = if ahead >= Self::WIDTH { 0 } else { self.seen << ahead };
            self.seen |= 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        if behind >= Self::WIDTH || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
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
