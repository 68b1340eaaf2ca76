//! `saturn`: the filter of Saturn, a program for watching clocks, made into an algorithm. Of each round of trips those
//! with a short round trip are kept and averaged (`filter::Rounds`); everybody moves to the mean of all, wholly and at
//! once. The frequency term, which Saturn lacked (it never touched a clock), is that of the rounds' slope: without it
//! clocks 50 ppm apart would saw 50 us a second.
//!
//! Assumes everyone honest: one liar moves everybody. Costs one pass over the peers.

use super::round::decide;
use super::{Consensus, View};
use crate::flow::Verdict;
use crate::unit::PeerSlot;

/// The plain mean of all.
#[derive(Debug, Default)]
pub struct Saturn;

impl Consensus for Saturn {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        decide(view, dt_s, |sorted, _| sorted.iter().sum::<f64>() / sorted.len() as f64, 1.0)
    }

    fn forget(&mut self, _slot: PeerSlot) {}
}

#[cfg(test)]
mod tests {
    use super::super::Voice;
    use super::*;

    #[test]
    fn it_goes_all_the_way_to_the_mean_of_all() {
        let voices = [Voice { z_ns: 30.0, ..Voice::AGREES }, Voice { z_ns: 60.0, ..Voice::AGREES }];
        assert_eq!(Saturn.decide(&View { voices: &voices, ..View::EMPTY }, 0.0625).phase_ns, 30.0);
    }
}
