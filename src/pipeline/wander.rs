//! How much the own oscillator wanders, from what all edges say of theirs: the own one is in every pair, a single bad
//! peer only in one. Decides nothing else, and knows no peer.

use crate::filter::Scores;

/// Candidates that a filter's bank may have.
const CANDIDATES_MAX: usize = 16;
/// What one edge can say against a candidate, in nats: enough to count, too little for a liar to decide.
const SAY_NATS: f64 = 8.0;
/// What is known of a pair of server crystals before anything is heard: q in 1/s, with a decade of doubt.
const PRIOR_WANDER: f64 = 2e-17;

/// Process noise q of a pair, 1/s, that explains all edges best: the top of a parabola through the best candidate and
/// its neighbours, in ln q. `None` if no edge has anything to say. Edges whose banks differ from the first one's are
/// left out.
pub(super) fn pooled_wander<'a>(edges: impl Iterator<Item = Scores<'a>>) -> Option<f64> {
    let mut candidates: &[f64] = &[];
    let mut pooled = [0.0; CANDIDATES_MAX];
    for edge in edges.filter(|edge| !edge.wander.is_empty() && edge.wander.len() <= CANDIDATES_MAX) {
        if candidates.is_empty() {
            candidates = edge.wander;
            for (score, wander) in pooled.iter_mut().zip(candidates) {
                *score = -0.5 * (wander / PRIOR_WANDER).log10().powi(2);
            }
        }
        if edge.wander.len() != candidates.len() {
            continue;
        }
        let best = edge.log_likelihood.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for (score, likelihood) in pooled.iter_mut().zip(edge.log_likelihood) {
            let behind = (likelihood - best) * f64::from(edge.samples);
            *score -= SAY_NATS * (1.0 - (behind / SAY_NATS).exp());
        }
    }
    let pooled = &pooled[..candidates.len()];
    let top = (0..pooled.len()).reduce(|top, m| if pooled[m] > pooled[top] { m } else { top })?;
    if top == 0 || top + 1 == pooled.len() {
        return Some(candidates[top]);
    }
    let (left, mid, right) = (pooled[top - 1], pooled[top], pooled[top + 1]);
    let bend = 2.0 * mid - left - right;
    let lean = if bend > 1e-12 { ((right - left) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 };
    Some(candidates[top] * (candidates[top + 1] / candidates[top]).powf(lean))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANK: [f64; 5] = [1e-20, 1e-19, 1e-18, 1e-17, 1e-16];

    fn edge(log_likelihood: &[f64; 5]) -> Scores<'_> {
        Scores { wander: &BANK, log_likelihood, samples: 1_000 }
    }

    #[test]
    fn nobody_heard_means_nothing_known() {
        assert_eq!(pooled_wander(std::iter::empty()), None);
        assert_eq!(pooled_wander([Scores { wander: &[], log_likelihood: &[], samples: 0 }].into_iter()), None);
    }

    #[test]
    fn the_candidate_that_explains_most_edges_best_is_found_between_its_neighbours() {
        let honest = [-3.0, -1.1, -1.0, -1.1, -3.0];
        let found = pooled_wander([edge(&honest), edge(&honest), edge(&honest)].into_iter()).unwrap();
        assert!((1e-18..3e-18).contains(&found), "{found:e}");
    }

    #[test]
    fn one_edge_however_loud_does_not_outvote_three() {
        let (honest, loud) = ([-2.0, -1.1, -1.0, -1.1, -2.0], [-9e3, -8e3, -7e3, -6e3, -1.0]);
        let alone = pooled_wander([edge(&honest), edge(&honest), edge(&honest)].into_iter()).unwrap();
        let with_liar = pooled_wander([edge(&honest), edge(&honest), edge(&loud), edge(&honest)].into_iter()).unwrap();
        assert!((with_liar / alone).ln().abs() < 1.0, "{alone:e} {with_liar:e}");
    }
}
