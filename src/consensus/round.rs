//! One round of a rule that knows nothing but values: phases and rates of all who count are gathered, the rule names a
//! point of each, and own V moves there. What the memoryless algorithms share; which point is theirs to say.
//!
//! Values are compared as they were when the peers spoke, own V included, and what own V has moved since is taken off
//! the result (docs/decisions/0006): otherwise two nodes would change places for ever.

use super::{START_S, VALUES_MAX, View, Voice};
use crate::flow::Verdict;

/// Time constant of the rate, seconds; the same as that of `rce`, so that tables compare rules and not gains.
const RATE_S: f64 = 2.0;

/// A rule: which point of the ascending values (never empty) all should move to, if this many of them may be lies (at
/// most half of those beside the point).
pub(super) type Rule = fn(sorted: &[f64], faults: usize) -> f64;

/// Moves phase at once and rate slowly to where `rule` says. `spread` is the standard deviation of the rule's point in
/// units of that of a mean of as many values.
pub(super) fn decide(view: &View<'_>, dt_s: f64, rule: Rule, spread: f64) -> Verdict {
    if view.voices.is_empty() {
        return Verdict::default();
    }
    let phase_ns = point(view, rule, |v| v.z_ns + view.own_moved_ns) - view.own_moved_ns;
    let rate = point(view, rule, |v| v.g + view.own_rate_moved) - view.own_rate_moved;
    Verdict {
        phase_ns,
        rate: rate * rate_share(view, dt_s),
        sigma_ns: mean_sigma_ns(view) * spread,
        used: view.voices.len() as u16,
        rejected: 0,
        parted: false,
    }
}

/// Which part of a disagreement in rate is taken over in this decision.
pub(super) fn rate_share(view: &View<'_>, dt_s: f64) -> f64 {
    if view.elapsed_s < START_S { 1.0 } else { (dt_s / RATE_S).min(1.0) }
}

/// The rule's point of one quantity, the own being zero.
pub(super) fn point(view: &View<'_>, rule: Rule, of: impl Fn(&Voice) -> f64) -> f64 {
    let mut buffer = [0.0; VALUES_MAX];
    let mut count = usize::from(view.own_counts);
    for voice in view.voices {
        buffer[count] = of(voice);
        count += 1;
    }
    let values = &mut buffer[..count];
    values.sort_unstable_by(f64::total_cmp);
    rule(values, view.faults.min((count - 1) / 2))
}

/// Standard deviation of the mean of all who count, ns: a filtered edge is never worse than one exchange.
pub(super) fn mean_sigma_ns(view: &View<'_>) -> f64 {
    let members = view.voices.len() as f64 + if view.own_counts { 1.0 } else { 0.0 };
    view.voices.iter().map(|v| v.edge_var.min(v.noise_var)).sum::<f64>().sqrt() / members
}
