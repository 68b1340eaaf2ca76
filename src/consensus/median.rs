//! `median`: everybody moves to the median of all, own value included. For comparison, and **for crash faults only**.
//!
//! It looks safe, since a minority cannot move one node's median out of the honest values. But it does not bring
//! honest nodes together: with liars who tell each node that it is right, two honest groups stay where they are for
//! ever (the middle value of each is one of its own). tests/scenarios/490-median-split.toml shows it. Assumes that who
//! speaks tells the truth; tolerates any number that stop. Averages normal noise a quarter worse than the mean. Costs
//! two sorts of n.

use super::round::decide;
use super::{Consensus, View};
use crate::flow::Verdict;
use crate::unit::PeerSlot;

/// Standard deviation of the median of normal values in units of their mean's: sqrt(pi / 2).
const SPREAD: f64 = 1.2533;

/// The median of all.
#[derive(Debug, Default)]
pub struct Median;

impl Consensus for Median {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        decide(view, dt_s, middle, SPREAD)
    }

    fn forget(&mut self, _slot: PeerSlot) {}
}

/// The middle value, or the mean of the two in the middle. It trims all it can, so a number of faults means nothing.
pub(super) fn middle(sorted: &[f64], _faults: usize) -> f64 {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    low + (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use super::super::lynch_welch::midpoint;
    use super::super::round::Rule;
    use super::*;

    #[test]
    fn it_is_the_middle_or_the_mean_of_two() {
        assert_eq!(middle(&[1.0, 2.0, 9.0], 0), 2.0);
        assert_eq!(middle(&[1.0, 2.0, 4.0, 9.0], 1), 3.0);
    }

    /// Three honest nodes at 0, two at 1, and two liars who give each node its own value back; the distance of the
    /// groups after some rounds.
    fn parted_after(rounds: usize, rule: Rule) -> f64 {
        let (mut left, mut right) = (0.0, 1.0);
        for _ in 0..rounds {
            let heard = |own: f64| {
                let mut values = [left, left, left, right, right, own, own];
                values.sort_unstable_by(f64::total_cmp);
                rule(&values, 2)
            };
            (left, right) = (heard(left), heard(right));
        }
        right - left
    }

    #[test]
    fn liars_who_agree_with_everybody_freeze_it_where_the_midpoint_closes_in() {
        assert_eq!(parted_after(1_000, middle), 1.0);
        assert!(parted_after(30, midpoint) < 1e-9);
    }
}
