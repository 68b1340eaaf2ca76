//! `regression`: what a client of several NTP servers does, turned into a mesh. Each peer's samples go through a
//! weighted regression whose length a runs test chooses (`filter::Regressed`); this file combines the peers: phases
//! weighted by one over the distance (half of what the round trips leave open), rates by one over their variance. The
//! method is chrony's as its manual and papers describe it, written from that description.
//!
//! Left out: the choice of one system peer and the falseticker vote (that is `marzullo`), and slewing by equal areas,
//! because the steering is the same for all algorithms here. Assumes everyone honest. The own V weighs as much as the
//! mean peer. Costs one pass over the peers.

use super::round::{mean_sigma_ns, rate_share};
use super::{Consensus, View};
use crate::flow::Verdict;
use crate::unit::PeerSlot;

/// Weighted means of all.
#[derive(Debug, Default)]
pub struct Regression;

impl Consensus for Regression {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        if view.voices.is_empty() {
            return Verdict::default();
        }
        let distance_ns = |hard: &crate::flow::Span| ((hard.high_ns - hard.low_ns) / 2.0).max(1.0);
        let phase =
            weighted(view, view.voices.iter().map(|v| (v.z_ns + view.own_moved_ns, 1.0 / distance_ns(&v.hard))));
        let rate = weighted(view, view.voices.iter().map(|v| (v.g + view.own_rate_moved, 1.0 / v.edge_rate_var)));
        Verdict {
            phase_ns: phase - view.own_moved_ns,
            rate: (rate - view.own_rate_moved) * rate_share(view, dt_s),
            sigma_ns: mean_sigma_ns(view),
            used: view.voices.len() as u16,
            rejected: 0,
            parted: false,
        }
    }

    fn forget(&mut self, _slot: PeerSlot) {}
}

/// The weighted mean of the values, and of zero with the mean weight if own V counts.
fn weighted(view: &View<'_>, values: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, weights) = values.fold((0.0, 0.0), |(s, w), (value, weight)| (s + weight * value, w + weight));
    let own = if view.own_counts { weights / view.voices.len() as f64 } else { 0.0 };
    sum / (weights + own)
}

#[cfg(test)]
mod tests {
    use super::super::Voice;
    use super::*;
    use crate::flow::Span;

    #[test]
    fn a_near_peer_counts_more_than_a_far_one() {
        let near = Voice { z_ns: 10.0, hard: Span { low_ns: -10.0, high_ns: 30.0 }, ..Voice::AGREES };
        let far = Voice { z_ns: 100.0, hard: Span { low_ns: 0.0, high_ns: 200.0 }, ..Voice::AGREES };
        let voices = [near, far];
        let phase = |own_counts| Regression.decide(&View { voices: &voices, own_counts, ..View::EMPTY }, 0.1).phase_ns;
        // Weights 1/20 and 1/100, own 0.03.
        assert!((phase(false) - 25.0).abs() < 1e-12);
        assert!((phase(true) - 1.5 / 0.09).abs() < 1e-12);
    }
}
