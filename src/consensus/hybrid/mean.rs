//! The means that a fusion takes of its values: weighted, clipped about a centre, and of groups that only bad edges
//! join. Which values they are taken of is the fusion's business.

use super::{Fused, Round, SELF, STANDS_OUT, VALUES_MAX, Value, WITNESS, rejected};

/// How often a clipped mean is taken about itself: it has settled to a few percent of its reach by then.
const CLIPPED_ROUNDS: usize = 3;

/// The weighted mean of the kept values' `part`, each clipped to `reach` sigmas about it: found in a few rounds, as
/// M-estimators are, from `start`.
pub(super) fn clipped_mean(values: &[Value], reach: f64, start: f64, part: impl Fn(&Value) -> f64) -> f64 {
    (0..CLIPPED_ROUNDS).fold(start, |centre, _| {
        let (mut sum, mut weights) = (0.0, 0.0);
        for v in values.iter().filter(|v| v.kept) {
            sum += v.weight * part(v).clamp(centre - reach * v.sigma, centre + reach * v.sigma);
            weights += v.weight;
        }
        sum / weights
    })
}

pub(super) fn weighted_mean(values: &[Value], clip: Option<(f64, f64)>) -> Fused {
    let (mut sum, mut weights, mut peers, mut variance) = (0.0, 0.0, 0.0, 0.0);
    for v in values.iter().filter(|v| v.kept) {
        let value =
            clip.map_or(v.value, |(centre, reach)| v.value.clamp(centre - reach * v.sigma, centre + reach * v.sigma));
        sum += v.weight * value;
        weights += v.weight;
        if v.input != SELF {
            peers += v.weight;
            variance += (v.weight * v.sigma).powi(2);
        }
    }
    if peers <= 0.0 {
        return Fused { rejected: rejected(values), ..Fused::default() };
    }
    // The move itself is sure to variance/weights², but each end of a pair makes its own: for the two together to be as
    // far apart as they are (2 sigma²/n with n equal edges), each must own to variance/(weights peers).
    let sigma = (variance / (weights * peers)).sqrt();
    Fused { value: sum / weights, sigma, rejected: rejected(values), parted: false }
}

/// The weighted mean; at the `round`'s start, where no more than half of the values are as good as a `typical` one,
/// that of groups which only bad edges join. There the weights of least squares are right, but by them two sites of two
/// nodes, nanoseconds within and milliseconds between, go a ten millionth of the way to each other at a time and never
/// meet. So what lies beyond the noise of a bad edge counts like any other value, and what lies within by sigma instead
/// of its square. Later not: an asymmetry of a bad edge is no distance that could ever be closed, and lies may hide in
/// one. Nor at a node that follows: it has somebody to follow.
pub(super) fn bridged_mean(values: &mut [Value], round: Round, typical: f64) -> Fused {
    let bad = |v: &Value| v.sigma > WITNESS * typical;
    let (mut good, mut all) = (0, 0);
    for v in values.iter().filter(|v| v.kept) {
        (good, all) = (good + usize::from(!bad(v)), all + 1);
    }
    if !round.starting || !round.own_counts || 2 * good > all {
        return weighted_mean(values, None);
    }
    for v in values.iter_mut().filter(|v| bad(v)) {
        v.weight = typical / v.sigma;
    }
    let mean = weighted_mean(values, None);
    let mut beyond = [0.0; VALUES_MAX];
    for (beyond, v) in beyond.iter_mut().zip(values.iter().filter(|v| v.kept)) {
        let apart = v.value - mean.value;
        let noise = STANDS_OUT * v.sigma;
        *beyond = if bad(v) { apart - apart.clamp(-noise, noise) } else { 0.0 };
    }
    let beyond = &mut beyond[..all];
    beyond.sort_unstable_by(f64::total_cmp);
    let trim = round.faults.min((all - 1) / 2);
    let inner = &beyond[trim..all - trim];
    Fused { value: mean.value + inner.iter().sum::<f64>() / inner.len() as f64, ..mean }
}
