//! `tree`: one leader, whom everybody follows: what PTP's best master choice (IEEE 1588) comes to in a mesh where every
//! node hears every other. The control that shows what agreement of equals is worth.
//!
//! The leader is the lowest node id among those that track, or among all while nobody does: the same at every node that
//! hears the same, so nothing is voted on. When it falls silent, or no longer tracks, the next one leads, from where it
//! is: nobody jumps. Followers take phase and rate over whole.
//!
//! Assumes everyone honest: a lying leader *is* the time, and its oscillator's faults are everybody's. Tolerates any
//! number that stop, after the time it takes to notice. Uses one edge of n-1, so noise is not averaged. Costs one pass.

use super::{Consensus, View, median};
use crate::flow::Verdict;
use crate::unit::PeerSlot;

/// Everybody follows one.
#[derive(Debug, Default)]
pub struct Tree;

impl Consensus for Tree {
    fn decide(&mut self, view: &View<'_>, _dt_s: f64) -> Verdict {
        let Some(leader) = view.voices.iter().min_by_key(|v| (!v.tracks, v.node)) else {
            return Verdict::default();
        };
        if view.own_counts && (!view.own_tracks, view.own_node) < (!leader.tracks, leader.node) {
            // It is the time, but clocks are compared with one another: the others' error is its own.
            let sigma_ns = median(view.voices.iter().map(|v| v.edge_var.min(v.noise_var).sqrt()));
            return Verdict { sigma_ns, used: view.voices.len() as u16, ..Verdict::default() };
        }
        Verdict {
            phase_ns: leader.z_ns,
            rate: leader.g,
            sigma_ns: leader.edge_var.min(leader.noise_var).sqrt(),
            used: 1,
            rejected: 0,
            parted: false,
        }
    }

    fn forget(&mut self, _slot: PeerSlot) {}
}

#[cfg(test)]
mod tests {
    use super::super::Voice;
    use super::*;
    use crate::unit::NodeId;

    fn peer(node: u64, tracks: bool) -> Voice {
        Voice { node: NodeId(node), tracks, z_ns: node as f64, ..Voice::AGREES }
    }

    fn followed(own: u64, own_tracks: bool, voices: &[Voice]) -> f64 {
        let view = View { voices, own_node: NodeId(own), own_tracks, ..View::EMPTY };
        Tree.decide(&view, 0.0625).phase_ns
    }

    #[test]
    fn the_lowest_that_tracks_leads_and_does_not_move() {
        let voices = [peer(7, true), peer(3, true), peer(2, false)];
        assert_eq!(followed(9, true, &voices), 3.0);
        assert_eq!(followed(1, true, &voices), 0.0);
        assert_eq!(followed(1, false, &voices), 3.0, "one that does not track yet leads nobody");
    }

    #[test]
    fn while_nobody_tracks_the_lowest_of_all_leads() {
        assert_eq!(followed(9, false, &[peer(7, false), peer(3, false)]), 3.0);
        assert_eq!(followed(2, false, &[peer(7, false), peer(3, false)]), 0.0);
    }

    #[test]
    fn when_the_leader_is_gone_the_next_one_leads() {
        let voices = [peer(3, true), peer(5, true), peer(7, true)];
        assert_eq!(followed(9, true, &voices), 3.0);
        assert_eq!(followed(9, true, &voices[1..]), 5.0);
        assert_eq!(followed(4, true, &voices[1..]), 0.0);
    }

    #[test]
    fn one_that_joins_leads_nobody_however_low_its_name() {
        let voices = [peer(3, true)];
        let view = View { voices: &voices, own_node: NodeId(1), own_counts: false, ..View::EMPTY };
        assert_eq!(Tree.decide(&view, 0.0625).phase_ns, 3.0);
    }
}
