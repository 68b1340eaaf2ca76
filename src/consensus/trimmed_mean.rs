//! `trimmed-mean`: the mean of what is left when the f largest and the f smallest values are gone. Dolev, Lynch,
//! Pinter, Stark and Weihl, "Reaching approximate agreement in the presence of faults", 1986; in sparse graphs the
//! W-MSR rule of LeBlanc, Zhang, Koutsoukos and Sundaram, 2013.
//!
//! Assumes a full mesh of n >= 3f+1 and about equal edges (it weighs nothing). Tolerates f arbitrary liars: each round
//! leaves at most f/(n-2f) of a disagreement, which is all of it at n = 3f and little where n is large. Averages noise
//! better than the midpoint. No anchor. Costs two sorts of n.

use super::round::decide;
use super::{Consensus, View};
use crate::flow::Verdict;
use crate::unit::PeerSlot;

/// Standard deviation of the mean of the inner third of normal values, in units of the mean's of all.
const SPREAD: f64 = 1.1;

/// Mean of the trimmed values.
#[derive(Debug, Default)]
pub struct TrimmedMean;

impl Consensus for TrimmedMean {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        decide(view, dt_s, trimmed_mean, SPREAD)
    }

    fn forget(&mut self, _slot: PeerSlot) {}
}

/// The mean of the values without the `faults` outermost on each side.
pub(super) fn trimmed_mean(sorted: &[f64], faults: usize) -> f64 {
    let inner = &sorted[faults..sorted.len() - faults];
    inner.iter().sum::<f64>() / inner.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_do_not_count_however_far_they_are() {
        assert_eq!(trimmed_mean(&[-1e9, 1.0, 2.0, 6.0, 7.0], 1), 3.0);
        assert_eq!(trimmed_mean(&[1.0, 2.0, 6.0], 0), 3.0);
    }
}
