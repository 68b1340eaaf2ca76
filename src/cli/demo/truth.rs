//! The truth about several virtual clocks at one instant. All of them are known functions of the machine's one raw
//! clock, so their true distances are computed, not measured. Pure: documents in, numbers out.

use crate::report::{ClockView, Precise};
use crate::unit::PPB;

/// The clocks of all nodes at one instant. A node that was not there has `None` in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// The machine's raw time at which all of this holds, ns.
    pub raw_ns: i64,
    /// Each clock minus the mean of those that are there, ns.
    pub errors_ns: Vec<Option<f64>>,
    /// The bound that each node published; `None` also for a node that promised nothing.
    pub bounds_ns: Vec<Option<f64>>,
    /// The mean of the clocks minus `raw_ns`.
    pub mean_minus_raw: Precise,
    /// Mean rate of the oscillators under the clocks against the machine's raw clock (seconds per second).
    pub oscillator_rate: f64,
}

impl Sample {
    /// The truth at the latest instant that all documents cover. `None` for fewer than two documents, and if one of
    /// them begins only after another ends.
    pub fn of(views: &[Option<ClockView>]) -> Option<Self> {
        let there: Vec<&ClockView> = views.iter().flatten().collect();
        if there.len() < 2 {
            return None;
        }
        let raw_ns = there.iter().map(|view| view.raw_ns).min()?;
        let readings: Vec<Precise> = there.iter().map(|view| view.at(raw_ns)).collect::<Option<_>>()?;
        let first = readings[0];
        let mean = |numbers: &mut dyn Iterator<Item = f64>| numbers.sum::<f64>() / there.len() as f64;
        let mean_after_first_ns = mean(&mut readings.iter().map(|reading| reading.minus_ns(first)));
        let mut errors = readings.iter().map(|reading| reading.minus_ns(first) - mean_after_first_ns);
        Some(Sample {
            raw_ns,
            errors_ns: views.iter().map(|view| view.as_ref().and_then(|_| errors.next())).collect(),
            bounds_ns: views.iter().map(|view| view.as_ref().and_then(|view| view.bound_ns)).collect(),
            mean_minus_raw: Precise {
                whole_ns: first.whole_ns.wrapping_sub(raw_ns),
                rest_ns: first.rest_ns + mean_after_first_ns,
            },
            oscillator_rate: mean(&mut there.iter().map(|view| view.oscillator.drift_ppb * PPB)),
        })
    }

    /// True if no node is missing.
    pub fn is_complete(&self) -> bool {
        self.errors_ns.iter().all(Option::is_some)
    }

    /// True distance of every pair that is there, ns, with the bounds of its two nodes.
    pub fn pairs(&self) -> impl Iterator<Item = (f64, [Option<f64>; 2])> {
        let there: Vec<(f64, Option<f64>)> =
            self.errors_ns.iter().zip(&self.bounds_ns).filter_map(|(error, bound)| Some(((*error)?, *bound))).collect();
        (0..there.len()).flat_map(move |a| {
            let there = there.clone();
            (a + 1..there.len()).map(move |b| ((there[a].0 - there[b].0).abs(), [there[a].1, there[b].1]))
        })
    }

    /// The greatest true distance of a pair, ns; zero if there is no pair.
    pub fn worst_ns(&self) -> f64 {
        self.pairs().map(|(distance_ns, _)| distance_ns).fold(0.0, f64::max)
    }

    /// Pairs that are further apart than both their nodes promised. Where one node promised nothing, nothing is broken.
    /// Stricter than what is promised with liars tolerated (docs/ALGORITHMS.md 9.3: the sum of the two).
    pub fn bound_violations(&self) -> u64 {
        let broken = |(distance_ns, bounds): (f64, [Option<f64>; 2])| match bounds {
            [Some(one), Some(other)] => distance_ns > one.max(other),
            _ => false,
        };
        self.pairs().filter(|pair| broken(*pair)).count() as u64
    }

    /// The same without one node, for what its absence does to the others.
    pub fn without(&self, node: usize) -> Self {
        let mut rest = self.clone();
        rest.errors_ns[node] = None;
        rest
    }
}

#[cfg(test)]
pub(super) mod examples {
    use super::*;
    use crate::report::{OscillatorView, SegmentView};

    /// A clock of one piece that reads today's time plus `ahead_ns` at raw zero and runs `rate` faster than raw.
    pub(in crate::cli::demo) fn view(raw_ns: i64, ahead_ns: f64, rate: f64, bound_ns: Option<f64>) -> ClockView {
        let whole_ns = ahead_ns.floor();
        ClockView {
            node: "n".into(),
            raw_ns,
            oscillator: OscillatorView { epoch_raw_ns: 0, offset_ns: 0, drift_ppb: 0.0 },
            sigma_ns: None,
            bound_ns,
            frequency_ppb: None,
            state: "track".into(),
            segments: vec![SegmentView {
                raw_ns: 0,
                clock_ns: 1_790_000_000_000_000_000 + whole_ns as i64,
                clock_frac_ns: ahead_ns - whole_ns,
                rate,
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::examples::view;
    use super::*;

    #[test]
    fn the_truth_is_taken_at_the_latest_instant_that_all_documents_cover() {
        let views = [Some(view(2_000_000_000, 0.0, 0.0, None)), Some(view(1_000_000_000, 0.0, 1e-6, None))];
        let sample = Sample::of(&views).unwrap();
        assert_eq!(sample.raw_ns, 1_000_000_000);
        assert_eq!(sample.errors_ns, [Some(-500.0), Some(500.0)]);
        assert_eq!(sample.worst_ns(), 1_000.0);
        assert_eq!(sample.mean_minus_raw.whole_ns, 1_790_000_000_000_000_000);
        assert_eq!(sample.mean_minus_raw.rest_ns, 500.0);
    }

    #[test]
    fn fractions_of_a_nanosecond_survive_in_clocks_that_read_today() {
        let views = [0.25, 0.5, 3.0].map(|ahead_ns| Some(view(10, ahead_ns, 0.0, None)));
        let sample = Sample::of(&views).unwrap();
        assert_eq!(sample.errors_ns, [Some(-1.0), Some(-0.75), Some(1.75)]);
        assert_eq!(sample.pairs().map(|(ns, _)| ns).collect::<Vec<_>>(), [0.25, 2.75, 2.5]);
    }

    #[test]
    fn a_missing_node_keeps_its_place_and_counts_for_nothing() {
        let views = [Some(view(10, 0.0, 0.0, None)), None, Some(view(10, 4.0, 0.0, None))];
        let sample = Sample::of(&views).unwrap();
        assert_eq!(sample.errors_ns, [Some(-2.0), None, Some(2.0)]);
        assert!(!sample.is_complete());
        assert_eq!(sample.pairs().count(), 1);
        assert_eq!(sample.without(0).worst_ns(), 0.0);
    }

    #[test]
    fn there_is_no_truth_about_one_clock_or_about_documents_that_do_not_meet() {
        assert_eq!(Sample::of(&[Some(view(10, 0.0, 0.0, None)), None]), None);
        let mut late = view(100, 0.0, 0.0, None);
        late.segments[0].raw_ns = 50;
        assert_eq!(Sample::of(&[Some(view(10, 0.0, 0.0, None)), Some(late)]), None);
    }

    #[test]
    fn a_pair_breaks_its_bounds_when_it_is_further_apart_than_either_node_promised() {
        let violations = |bounds: [Option<f64>; 2]| {
            let views = [Some(view(10, 0.0, 0.0, bounds[0])), Some(view(10, 100.0, 0.0, bounds[1]))];
            Sample::of(&views).unwrap().bound_violations()
        };
        assert_eq!(violations([Some(99.0), Some(98.0)]), 1);
        assert_eq!(violations([Some(100.0), Some(1.0)]), 0);
        assert_eq!(violations([Some(1.0), None]), 0);
    }

    proptest! {
        #[test]
        fn errors_add_up_to_nothing_and_turn_round_with_the_world(
            aheads in proptest::collection::vec(-1e7..1e7_f64, 2..6),
            rates in proptest::collection::vec(-1e-4..1e-4_f64, 6),
            raw_ns in 0..100_000_000_000_i64,
        ) {
            let sample = |sign: f64| {
                let clocks = aheads.iter().zip(&rates);
                let views: Vec<_> = clocks.map(|(a, r)| Some(view(raw_ns, sign * a, sign * r, None))).collect();
                Sample::of(&views).unwrap()
            };
            let (world, mirrored) = (sample(1.0), sample(-1.0));
            assert!(world.errors_ns.iter().flatten().sum::<f64>().abs() < 1e-5);
            for (error, opposite) in world.errors_ns.iter().flatten().zip(mirrored.errors_ns.iter().flatten()) {
                assert!((error + opposite).abs() < 1e-5);
            }
            assert!((world.worst_ns() - mirrored.worst_ns()).abs() < 1e-5);
        }

        #[test]
        fn the_order_of_nodes_does_not_matter(aheads in proptest::collection::vec(-1e7..1e7_f64, 2..6)) {
            let views: Vec<_> = aheads.iter().map(|a| Some(view(10, *a, 0.0, None))).collect();
            let backwards: Vec<_> = views.iter().rev().cloned().collect();
            let (one, other) = (Sample::of(&views).unwrap(), Sample::of(&backwards).unwrap());
            assert!((one.worst_ns() - other.worst_ns()).abs() < 1e-6);
            assert!((one.mean_minus_raw.minus_ns(other.mean_minus_raw)).abs() < 1e-5);
        }
    }
}
