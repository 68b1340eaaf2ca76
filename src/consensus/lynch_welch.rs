//! `lynch-welch`: the midpoint of what is left when the f largest and the f smallest values are gone (Lundelius Welch
//! and Lynch, "A new fault-tolerant algorithm for clock synchronization", 1988), with the same rule for the rate as in
//! Khanchandani and Lenzen, "Self-stabilizing Byzantine clock synchronization with optimal precision", 2016.
//!
//! Assumes a full mesh of n >= 3f+1, edges whose error is bounded, and that all act on about the same words. Tolerates
//! f arbitrary liars, two-faced ones included: what remains lies within the honest values, and two honest nodes at
//! least halve their distance each round. Two extremes of the middle third use little of what is known, so noise is
//! averaged worse than by a mean. No anchor: liars on one side drag the rate within the honest spread. Costs two sorts
//! of n.

use super::round::decide;
use super::{Consensus, View};
use crate::flow::Verdict;
use crate::unit::PeerSlot;

/// Standard deviation of the midpoint of the inner third of normal values, in units of their mean's.
const SPREAD: f64 = 1.1;

/// Fault-tolerant midpoint.
#[derive(Debug, Default)]
pub struct LynchWelch;

impl Consensus for LynchWelch {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        decide(view, dt_s, midpoint, SPREAD)
    }

    fn forget(&mut self, _slot: PeerSlot) {}
}

/// The middle between the ends of the values without the `faults` outermost on each side.
pub(super) fn midpoint(sorted: &[f64], faults: usize) -> f64 {
    let (low, high) = (sorted[faults], sorted[sorted.len() - 1 - faults]);
    low + (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lying_minority_cannot_move_the_midpoint_out_of_the_honest_values() {
        assert_eq!(midpoint(&[-1e9, 0.0, 2.0, 4.0], 1), 1.0);
        assert_eq!(midpoint(&[0.0, 2.0, 4.0, 1e9], 1), 3.0);
    }
}
