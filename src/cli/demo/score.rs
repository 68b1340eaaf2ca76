//! What a run of the demo was worth: its samples in, its figures out. Pure.

use super::truth::Sample;

/// Nodes agree when no pair is further apart than this through the last half, ns.
pub(super) const AGREED_NS: f64 = 10_000.0;

/// The phases of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phases {
    /// The machine's raw time at which the last node was started, ns: convergence counts from here.
    pub started_ns: i64,
    /// Convergence is judged by so many samples, the first ones: later, something may be done to the nodes.
    pub undisturbed: usize,
    /// The machine's raw time at which the last half begins, ns.
    pub half_ns: i64,
}

/// The figures of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Score {
    /// Root mean square of the true distance over all pairs and the last half, ns.
    pub pairwise_rms_ns: f64,
    /// The greatest true distance of a pair in the last half, ns.
    pub pairwise_max_ns: f64,
    /// Seconds from the start until no pair was ever further apart than 100 us again; `None` if that never came.
    pub converged_100us_s: Option<f64>,
    /// The same for 10 us.
    pub converged_10us_s: Option<f64>,
    /// By how much the mean of the clocks ran faster than the mean of the oscillators, over the last half, ppb.
    pub ensemble_drift_ppb: f64,
    /// Pairs further apart than both their nodes promised, over the whole run, a sample and pair each.
    pub bound_violations: u64,
    /// Root mean square of each node's true distance from the mean, over the last half, ns.
    pub true_error_rms_ns: Vec<f64>,
}

impl Score {
    /// The figures of `samples`, which are in order of time. `None` if the last half has fewer than two complete
    /// samples: then nothing can be said.
    pub fn of(samples: &[Sample], phases: &Phases) -> Option<Self> {
        let half: Vec<&Sample> = samples.iter().filter(|s| s.raw_ns >= phases.half_ns && s.is_complete()).collect();
        let [first, .., _] = half.as_slice() else { return None };
        let distances = || half.iter().flat_map(|sample| sample.pairs()).map(|(ns, _)| ns);
        let error_rms = |node: usize| rms(half.iter().filter_map(|sample| sample.errors_ns[node]));
        Some(Score {
            pairwise_rms_ns: rms(distances()),
            pairwise_max_ns: distances().fold(0.0, f64::max),
            converged_100us_s: converged_s(samples, phases, 100_000.0),
            converged_10us_s: converged_s(samples, phases, 10_000.0),
            ensemble_drift_ppb: ensemble_drift_ppb(&half),
            bound_violations: samples.iter().map(Sample::bound_violations).sum(),
            true_error_rms_ns: (0..first.errors_ns.len()).map(error_rms).collect(),
        })
    }

    /// Why this is no agreement, as the rest of a sentence; `None` if it is one.
    pub fn fault(&self) -> Option<String> {
        if self.pairwise_max_ns >= AGREED_NS {
            Some(format!("a pair was {:.1} us apart in the last half", self.pairwise_max_ns / 1e3))
        } else if self.bound_violations > 0 {
            Some(format!("pairs were further apart than both nodes' bounds {} times", self.bound_violations))
        } else {
            None
        }
    }
}

/// Seconds from the start to the first sample with all nodes from which on no pair was `limit_ns` or more apart.
pub(super) fn converged_s(samples: &[Sample], phases: &Phases, limit_ns: f64) -> Option<f64> {
    // Without one of its nodes a sample says nothing about all of them: one that is busy may miss a look.
    let judged = samples.iter().take(phases.undisturbed).filter(|s| s.raw_ns >= phases.started_ns && s.is_complete());
    let good = judged.rev().take_while(|sample| sample.worst_ns() < limit_ns).last()?;
    Some((good.raw_ns - phases.started_ns) as f64 * 1e-9)
}

/// Least squares of the mean clock over time, minus the rate of the oscillators.
fn ensemble_drift_ppb(samples: &[&Sample]) -> f64 {
    let n = samples.len() as f64;
    let first = samples[0];
    let at_s = |sample: &Sample| (sample.raw_ns - first.raw_ns) as f64 * 1e-9;
    let ahead_ns = |sample: &Sample| sample.mean_minus_raw.minus_ns(first.mean_minus_raw);
    let mean_s = samples.iter().map(|s| at_s(s)).sum::<f64>() / n;
    let mean_ns = samples.iter().map(|s| ahead_ns(s)).sum::<f64>() / n;
    let covariance: f64 = samples.iter().map(|s| (at_s(s) - mean_s) * (ahead_ns(s) - mean_ns)).sum();
    let variance: f64 = samples.iter().map(|s| (at_s(s) - mean_s).powi(2)).sum();
    // One instant sampled twice has no rate.
    let clock_ppb = if variance > 0.0 { covariance / variance } else { 0.0 };
    let oscillator_ppb = samples.iter().map(|s| s.oscillator_rate).sum::<f64>() / n * 1e9;
    clock_ppb - oscillator_ppb
}

fn rms(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = numbers.fold((0.0, 0u32), |(sum, n), x| (sum + x * x, n + 1));
    if n == 0 { 0.0 } else { (sum / f64::from(n)).sqrt() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;
    use crate::cli::demo::truth::examples::view;

    const S: i64 = 1_000_000_000;
    const PHASES: Phases = Phases { started_ns: S, undisturbed: usize::MAX, half_ns: 6 * S };

    /// A sample at `raw_ns` of two clocks that are `apart_ns` apart.
    fn two(raw_ns: i64, apart_ns: f64) -> Sample {
        Sample::of(&[Some(view(raw_ns, 0.0, 0.0, None)), Some(view(raw_ns, apart_ns, 0.0, None))]).unwrap()
    }

    /// One sample a second from second 1 on.
    fn run(apart_ns: &[f64]) -> Vec<Sample> {
        apart_ns.iter().zip(1..).map(|(ns, s)| two(s * S, *ns)).collect()
    }

    #[test]
    fn distances_count_in_the_last_half_only() {
        let score = Score::of(&run(&[1e7, 1e6, 1e5, 5e3, 9e3, 3.0, 4.0, 3.0]), &PHASES).unwrap();
        assert_eq!(score.pairwise_max_ns, 4.0);
        assert!((score.pairwise_rms_ns - (34.0_f64 / 3.0).sqrt()).abs() < 1e-9);
        assert!((score.true_error_rms_ns[0] - score.pairwise_rms_ns / 2.0).abs() < 1e-9);
        assert_eq!(score.fault(), None);
    }

    #[test]
    fn convergence_is_the_first_moment_after_which_no_pair_was_ever_that_far_apart() {
        let converged = |apart: &[f64]| converged_s(&run(apart), &PHASES, 1e4);
        assert_eq!(converged(&[1e6, 1e5, 9e3, 8e3]), Some(2.0));
        assert_eq!(converged(&[1e6, 9e3, 1e4, 8e3]), Some(3.0));
        assert_eq!(converged(&[1.0, 1.0]), Some(0.0));
        assert_eq!(converged(&[1.0, 1.0, 1e4]), None);
        assert_eq!(converged(&[]), None);
    }

    #[test]
    fn nodes_converge_only_when_all_are_there_but_one_may_miss_a_look() {
        let mut samples = run(&[1.0, 1.0, 1.0, 1.0, 1.0]);
        samples[0].errors_ns[0] = None;
        samples[3].errors_ns[0] = None;
        assert_eq!(converged_s(&samples, &PHASES, 1e4), Some(1.0));
    }

    #[test]
    fn convergence_is_not_judged_by_what_is_done_to_the_nodes_later() {
        let phases = Phases { undisturbed: 2, ..PHASES };
        assert_eq!(converged_s(&run(&[1e6, 1.0, 1e6]), &phases, 1e4), Some(1.0));
    }

    #[test]
    fn the_ensembles_drift_is_the_rate_of_its_mean_against_its_oscillators() {
        let sample = |raw_ns| {
            let mut views = [(0.0, 3e-8), (5e6, 1e-8)].map(|(ns, rate)| Some(view(raw_ns, ns, rate, None)));
            for view in views.iter_mut().flatten() {
                view.oscillator.drift_ppb = 15.0;
            }
            Sample::of(&views).unwrap()
        };
        let samples: Vec<_> = (6..20).map(|s| sample(s * S)).collect();
        let drift_ppb = Score::of(&samples, &PHASES).unwrap().ensemble_drift_ppb;
        assert!((drift_ppb - 5.0).abs() < 1e-6, "{drift_ppb}");
    }

    #[test]
    fn a_pair_too_far_apart_or_a_broken_bound_is_no_agreement() {
        let apart = Score::of(&run(&[0.0, 0.0, 0.0, 0.0, 0.0, 1e4, 1.0]), &PHASES).unwrap();
        assert_eq!(apart.fault().unwrap(), "a pair was 10.0 us apart in the last half");
        let mut samples = run(&[50.0; 8]);
        samples[0].bounds_ns = vec![Some(49.0), Some(49.0)];
        let broken = Score::of(&samples, &PHASES).unwrap();
        assert_eq!(broken.bound_violations, 1);
        assert_eq!(broken.fault().unwrap(), "pairs were further apart than both nodes' bounds 1 times");
    }

    #[test]
    fn nothing_can_be_said_of_a_run_without_samples_in_its_last_half() {
        assert_eq!(Score::of(&run(&[1.0; 6]), &PHASES), None);
        let mut samples = run(&[1.0; 8]);
        samples[7].errors_ns[1] = None;
        samples[6].errors_ns[1] = None;
        assert_eq!(Score::of(&samples, &PHASES), None);
    }

    proptest! {
        #[test]
        fn after_convergence_no_pair_is_further_apart_and_just_before_it_one_is(
            apart in proptest::collection::vec(0.0..3e4_f64, 1..20),
        ) {
            let at = |s: f64| s as usize;
            match converged_s(&run(&apart), &PHASES, 1e4) {
                None => assert!(apart[apart.len() - 1] >= 1e4 - 1e-6),
                Some(s) => {
                    assert!(apart[at(s)..].iter().all(|ns| *ns < 1e4 + 1e-6));
                    assert!(s == 0.0 || apart[at(s) - 1] >= 1e4 - 1e-6);
                }
            }
        }

        #[test]
        fn the_root_mean_square_never_exceeds_the_maximum(apart in proptest::collection::vec(0.0..3e4_f64, 8..20)) {
            let score = Score::of(&run(&apart), &PHASES).unwrap();
            assert!(score.pairwise_rms_ns <= score.pairwise_max_ns * (1.0 + 1e-12));
        }
    }
}
