//! `average`: plain proportional-integral average consensus, as published many times over (Mallada et al. 2013,
//! "skewless network clock synchronization", without its gain conditions). The control against which `rce` is judged,
//! and the proof that algorithms plug in.
//!
//! Assumes everyone honest: one liar moves everybody. The gains are those of ALGORITHMS 10 (0.1 and 0.005 a round at
//! 8/s) and suit one noise level only. Costs one pass over the peers.

use super::{Consensus, START_S, View};
use crate::flow::Verdict;
use crate::unit::PeerSlot;

/// Share of the mean offset taken over per second: 0.1 a round at 8/s.
const PROPORTIONAL_PER_S: f64 = 0.8;
/// Rate gained per second and second of mean offset: 0.005 a round at 8/s.
const INTEGRAL_PER_S2: f64 = 0.32;

/// Plain average consensus.
#[derive(Debug, Default)]
pub struct Average;

impl Consensus for Average {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        if view.voices.is_empty() {
            return Verdict::default();
        }
        let members = view.voices.len() as f64 + if view.own_counts { 1.0 } else { 0.0 };
        let mean_ns = view.voices.iter().map(|v| v.z_ns).sum::<f64>() / members;
        let sigma_ns = view.voices.iter().map(|v| v.edge_var).sum::<f64>().sqrt() / members;
        let used = view.voices.len() as u16;
        if view.elapsed_s < START_S {
            let rate = view.voices.iter().map(|v| v.g).sum::<f64>() / members;
            return Verdict { phase_ns: mean_ns, rate, sigma_ns, used, rejected: 0, parted: false };
        }
        Verdict {
            phase_ns: mean_ns * (PROPORTIONAL_PER_S * dt_s).min(1.0),
            rate: mean_ns * 1e-9 * INTEGRAL_PER_S2 * dt_s.min(1.0),
            sigma_ns,
            used,
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

    #[test]
    fn it_moves_a_share_of_the_mean_offset() {
        let voice = Voice { z_ns: 100.0, ..Voice::AGREES };
        let view = View { voices: &[voice], elapsed_s: 9.0, ..View::EMPTY };
        let verdict = Average.decide(&view, 0.125);
        assert!((verdict.phase_ns - 5.0).abs() < 1e-12);
        assert!((verdict.rate - 50e-9 * 0.32 * 0.125).abs() < 1e-20);
    }
}
