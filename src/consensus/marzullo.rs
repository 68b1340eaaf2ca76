//! `marzullo`: where the intervals of most overlap (Marzullo and Owicki, "Maintaining the time in a distributed
//! system", 1983; the selection of NTP is a descendant). Each peer's V lies for certain within what its round trips
//! allow; of n such intervals, n-f true ones have a common point once their owners agree. V moves to the middle of the
//! smallest interval that holds every point common to n-f of them.
//!
//! While the owners do not agree yet there is no such point: then the (f+1)-th largest lower end and the (f+1)-th
//! smallest upper end are taken, whose middle is the fault-tolerant midpoint if intervals are narrow. The own interval
//! is as wide as the typical peer's: a node that took itself for exact would never move. Rates by the midpoint.
//!
//! Assumes nothing about noise: only that no packet arrives before it was sent and that rates stay what they were.
//! Tolerates f of n >= 3f+1 arbitrary liars: the result lies within the hull of the honest intervals. What it knows is
//! one lucky packet each way, so its sigma is of the size of the round trip, and it never averages. Costs a sort of
//! 2n.

use super::lynch_welch::midpoint;
use super::round::{point, rate_share};
use super::{Consensus, VALUES_MAX, View, median};
use crate::flow::{Span, Verdict};
use crate::unit::PeerSlot;

/// Intersection of hard intervals.
#[derive(Debug, Default)]
pub struct Marzullo;

impl Consensus for Marzullo {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        if view.voices.is_empty() {
            return Verdict::default();
        }
        let moved_ns = view.own_moved_ns;
        let mut buffer = [Span { low_ns: 0.0, high_ns: 0.0 }; VALUES_MAX];
        let mut count = 0;
        for voice in view.voices {
            buffer[count] = Span { low_ns: voice.hard.low_ns + moved_ns, high_ns: voice.hard.high_ns + moved_ns };
            count += 1;
        }
        if view.own_counts {
            let half_ns = median(view.voices.iter().map(|v| v.hard.high_ns - v.hard.low_ns)) / 2.0;
            buffer[count] = Span { low_ns: -half_ns, high_ns: half_ns };
            count += 1;
        }
        let common = intersection(&buffer[..count], view.faults.min((count - 1) / 2));
        let rate = point(view, midpoint, |v| v.g + view.own_rate_moved) - view.own_rate_moved;
        Verdict {
            phase_ns: common.low_ns + (common.high_ns - common.low_ns) / 2.0 - moved_ns,
            rate: rate * rate_share(view, dt_s),
            // Anywhere within is as likely.
            sigma_ns: (common.high_ns - common.low_ns).abs() / 12.0_f64.sqrt(),
            used: view.voices.len() as u16,
            rejected: 0,
            parted: false,
        }
    }

    fn forget(&mut self, _slot: PeerSlot) {}
}

/// The smallest interval that holds every point common to all but `faults` of the intervals; if there is none, the
/// ends that are left when the `faults` outermost are gone, the lower one above the upper one.
fn intersection(spans: &[Span], faults: usize) -> Span {
    let mut lows = [0.0; VALUES_MAX];
    let mut highs = [0.0; VALUES_MAX];
    for (index, span) in spans.iter().enumerate() {
        (lows[index], highs[index]) = (span.low_ns, span.high_ns);
    }
    let (lows, highs) = (&mut lows[..spans.len()], &mut highs[..spans.len()]);
    lows.sort_unstable_by(f64::total_cmp);
    highs.sort_unstable_by(f64::total_cmp);
    let wanted = spans.len() - faults;
    // An interval is over only after its upper end: touching is sharing a point.
    let open_at = |begun: usize, low: &f64| begun + 1 >= wanted + highs.partition_point(|h| h < low);
    let open_until = |over: usize, high: &f64| lows.partition_point(|l| l <= high) >= wanted + over;
    let left = lows.iter().enumerate().find(|(begun, low)| open_at(*begun, low));
    let right = highs.iter().enumerate().rev().find(|(over, high)| open_until(*over, high));
    match left.zip(right) {
        Some(((_, low), (_, high))) => Span { low_ns: *low, high_ns: *high },
        None => Span { low_ns: lows[wanted - 1], high_ns: highs[faults] },
    }
}

#[cfg(test)]
mod tests {
    use super::super::Voice;
    use super::*;

    fn span(low_ns: f64, high_ns: f64) -> Span {
        Span { low_ns, high_ns }
    }

    #[test]
    fn it_is_the_example_of_the_textbooks() {
        // Marzullo's own: 8 to 12, 11 to 13, 10 to 12 have 11 to 12 in common; one that is far off is outvoted.
        let good = [span(8.0, 12.0), span(11.0, 13.0), span(10.0, 12.0)];
        assert_eq!(intersection(&good, 0), span(11.0, 12.0));
        assert_eq!(intersection(&[good[0], good[1], good[2], span(14.0, 15.0)], 1), span(11.0, 12.0));
    }

    #[test]
    fn every_point_that_enough_share_is_inside_even_if_they_lie_apart() {
        let spans = [span(0.0, 2.0), span(0.0, 10.0), span(8.0, 10.0)];
        assert_eq!(intersection(&spans, 1), span(0.0, 10.0));
    }

    #[test]
    fn without_a_common_point_it_is_the_fault_tolerant_midpoint() {
        let spans = [span(-1e9, -1e9 + 1.0), span(0.0, 1.0), span(4.0, 5.0), span(10.0, 11.0)];
        let common = intersection(&spans, 1);
        assert_eq!((common.low_ns + common.high_ns) / 2.0, (4.0 + 1.0) / 2.0);
    }

    #[test]
    fn two_nodes_meet_in_the_middle() {
        let voice = Voice { z_ns: 100.0, hard: span(95.0, 105.0), ..Voice::AGREES };
        let verdict = Marzullo.decide(&View { voices: &[voice], ..View::EMPTY }, 0.0625);
        assert_eq!(verdict.phase_ns, 50.0);
    }
}
