//! The fault-tolerant fusion with a fault budget (ALGORITHMS 6.2): Lynch and Welch's midpoint (1988) where
//! values disagree by more than noise explains, a weighted clipped mean where they do not. One scalar at a time, phase
//! or rate. It holds no opinion on who may speak.
//!
//! Needs n >= 3f+1 values of which at most f lie. Step 2 alone is the proven rule and halves a disagreement each round;
//! steps 1, 3 and 4 are measured, not proven. The gates and the limit of the bias weights to f peers have a history of
//! attacks behind them: do not simplify them without the amplitude sweep of ALGORITHMS 6.3.

use std::cmp::Ordering;

use crate::limits::PEERS_MAX;

/// The fusion's thresholds, each in standard deviations of the value it is applied to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gates {
    /// Beyond this from the centre a value is a blatant lie and uses up the fault budget.
    pub far: f64,
    /// Half width of the interval in which a value believes: if more values than may lie believe above what more than
    /// may lie believe below, noise does not explain it and the midpoint is taken.
    pub reach: f64,
    /// Beyond this from the centre a value is dropped.
    pub drop: f64,
    /// Values are clipped this far from the middle of what is believed to find the centre.
    pub clip: f64,
    /// What lasts of the kept values is clipped this far from its centre: noise averages out of it, a lie does not.
    pub lasting: f64,
    /// And this far what passes.
    pub passing: f64,
    /// Lasting bias at which a suspicious peer's weight is halved.
    pub bias: f64,
}

/// The gates of the raw-clock ensemble, swept over attack amplitudes (ALGORITHMS 6.2).
pub const GATES_RCE: Gates =
    Gates { far: 30.0, reach: 1.875, drop: 6.0, clip: 1.25, lasting: 1.0, passing: 1.5, bias: 1.0 };

/// Memory of a peer's bias, seconds.
const BIAS_MEMORY_S: f64 = 20.0;
/// A value weighs at most this many of those that are as sure as at least one honest value is.
const WEIGHT_MAX: f64 = 3.0;
/// No lie makes an edge look this many times as sure as an honest one, and none twice as many: it hides the noise of the
/// liar's own stamps, not that of the path nor of one's own. An edge that is runs over another kind of link.
const APART_FROM: f64 = 4.0;
/// Values that can take part: every peer and self.
const VALUES_MAX: usize = PEERS_MAX + 1;
/// A witness's own sigma may be this many times as large as that of what it speaks against.
const WITNESS: f64 = 2.0;
/// Biases this close to each other are equal: rounding is no reason to suspect one of two.
const TIE: f64 = 1e-9;
/// How often a clipped mean is taken about itself: it has settled to a few percent of its reach by then.
const CLIPPED_ROUNDS: usize = 3;
/// Up to so many values are fused in places on the stack that are cleared in no time; most nodes hear a dozen peers.
const FEW: usize = 16;
/// The place of the own value, zero.
const SELF: usize = usize::MAX;

/// Places for at least `$count` values, in `$few` or in `$many`: clearing those for all that can be heard is work that
/// a fusion of a few need not do.
macro_rules! places {
    ($few:ident, $many:ident, $count:expr, $empty:expr) => {
        if $count <= FEW {
            $few = [$empty; FEW];
            &mut $few[..]
        } else {
            $many = [$empty; VALUES_MAX];
            &mut $many[..]
        }
    };
}

/// One peer's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// The peer's slot: where its bias is remembered.
    pub slot: usize,
    /// Peer minus self.
    pub value: f64,
    /// What lasts of it, noise that passes averaged away.
    pub steady: f64,
    /// Standard deviation of the value if the peer is honest. It must come from own quantities, never from the spread
    /// of the values, which a liar controls; a liar can only make its own larger or smaller.
    pub sigma: f64,
}

/// What holds for all values of one fusion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// The own value, zero, is one of them.
    pub own_counts: bool,
    /// Liars to tolerate.
    pub faults: usize,
    /// Nothing has been agreed yet that could be spoilt.
    pub starting: bool,
    /// What lasts has been watched for long enough to be told from what passes.
    pub settled: bool,
    /// Time since the last fusion, seconds.
    pub dt_s: f64,
}

/// The outcome of a fusion.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Fused {
    /// How far to move.
    pub value: f64,
    /// One standard deviation of it, if those who counted are honest.
    pub sigma: f64,
    /// Bit `k`: the `k`-th input was left out.
    pub rejected: u128,
    /// Values stand out that neither can be dropped nor agreed with: these may be two groups of honest nodes.
    pub parted: bool,
}

/// A value on its way through the fusion.
#[derive(Clone, Copy, Default)]
struct Value {
    value: f64,
    steady: f64,
    /// As given, but not below what the weight's limit allows.
    sigma: f64,
    weight: f64,
    input: usize,
    slot: usize,
    kept: bool,
}

/// The fusion of one scalar, with a memory of each peer's bias.
#[derive(Clone, Debug)]
pub struct Hybrid {
    gates: Gates,
    /// In standard deviations.
    bias: Box<[f64]>,
}

impl Hybrid {
    /// A fusion for peers in slots below `capacity`.
    #[must_use]
    pub fn new(gates: Gates, capacity: usize) -> Self {
        assert!(capacity <= PEERS_MAX, "a verdict marks at most {PEERS_MAX} peers");
        Hybrid { gates, bias: vec![0.0; capacity].into_boxed_slice() }
    }

    /// Another peer sits in `slot`: it starts without a record.
    pub fn forget(&mut self, slot: usize) {
        self.bias[slot] = 0.0;
    }

    /// Fuses the inputs, and own value zero if it counts, tolerating `faults` liars as far as their number allows.
    /// Whatever the liars say, the result lies within the range of the honest values, where one that is known much
    /// worse than the others stands for the interval in which it is believed to lie. With `faults` zero this is the
    /// weighted mean and nothing else.
    pub fn fuse(&mut self, inputs: &[Input], round: Round) -> Fused {
        let Round { own_counts, faults, .. } = round;
        assert!(inputs.len() <= PEERS_MAX, "a verdict marks at most {PEERS_MAX} peers");
        if inputs.is_empty() {
            return Fused::default();
        }
        let faults = faults.min((inputs.len() + usize::from(own_counts) - 1) / 2);
        let typical = sure(inputs, faults);
        let least = typical / WEIGHT_MAX.sqrt();
        let (mut few, mut many);
        let buffer = places!(few, many, inputs.len() + 1, Value::default());
        let mut count = 0;
        for (index, input) in inputs.iter().enumerate() {
            let sigma = input.sigma.max(least);
            let weight = (typical / sigma).powi(2);
            let Input { slot, value, steady, .. } = *input;
            buffer[count] = Value { value, steady, sigma, weight, input: index, slot, kept: true };
            count += 1;
        }
        if own_counts {
            buffer[count] = Value { sigma: typical, weight: 1.0, input: SELF, kept: true, ..Value::default() };
            count += 1;
        }
        let values = &mut buffer[..count];
        // Sorted sums make the order of the peers irrelevant to the last bit.
        let key = |v: &Value| [v.value, v.sigma, v.steady];
        values.sort_unstable_by(|a, b| {
            let mut order = key(a).into_iter().zip(key(b)).map(|(a, b)| a.total_cmp(&b));
            order.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
        if faults == 0 {
            return weighted_mean(values, None);
        }
        // At most so many lie, so neither end of what is left after trimming is beyond all that the honest
        // say.
        let (low, high) = trimmed_ends(values, faults, typical, self.gates.reach);
        // Whoever hears well no more peers than may lie cannot tell whether they do, and what it hears badly guards it
        // anyway: by the rules for more it stood between two groups for good.
        let good = inputs.iter().filter(|input| input.sigma <= WITNESS * typical).count();
        let fused = match good > faults {
            true => self.fuse_faulty(values, Round { faults, ..round }, typical),
            false => weighted_mean(values, None),
        };
        Fused { value: fused.value.clamp(low, high), ..fused }
    }

    fn fuse_faulty(&mut self, values: &mut [Value], round: Round, typical: f64) -> Fused {
        let Round { faults, dt_s, .. } = round;
        let witnesses = values.len() - faults;
        let mut parted = false;
        // 1. A blatant lie uses up the fault budget.
        let (low, high) = believed(values, faults, self.gates.reach, |v| v.value);
        let far = match drop_beyond(values, (low + high) / 2.0, self.gates.far, faults, witnesses) {
            Dropped::Count(count) => count,
            // The trimmed mean, which the caller makes of it, lets two groups that hear little of each other meet.
            Dropped::Unwitnessed if round.starting => return Fused { parted: true, ..weighted_mean(values, None) },
            Dropped::Unwitnessed => {
                parted = true;
                0
            }
        };
        let left = faults - far;

        // 2. Disagreement beyond noise: the midpoint of what is left after trimming, which halves it each round.
        let (low, high) = believed(values, left, self.gates.reach, |v| v.value);
        let centre = (low + high) / 2.0;
        if left > 0 && low > high {
            return Fused { value: centre, sigma: typical, rejected: rejected(values), parted };
        }

        // 3. Agreement: whoever still stands out is dropped, if they are few enough to be the liars.
        let centre = weighted_mean(values, Some((centre, self.gates.clip))).value.clamp(low.min(high), high.max(low));
        if let Dropped::Unwitnessed = drop_beyond(values, centre, self.gates.drop, left, witnesses) {
            if round.starting {
                return Fused { parted: true, ..weighted_mean(values, None) };
            }
            parted = true;
        }
        let centre = weighted_mean(values, Some((centre, self.gates.clip))).value;
        let left = faults.saturating_sub(values.iter().filter(|v| !v.kept).count());

        // 4. The weighted mean of what is kept, clipped to where honest values lie: closely in what lasts, from which
        // noise has averaged out, loosely in what passes.
        if !parted {
            self.learn_bias(values, centre, dt_s);
            self.weigh_bias(values, left);
        }
        let together = weighted_mean(values, Some((centre, self.gates.clip)));
        if parted || !round.settled {
            return Fused { parted, ..together };
        }
        // From the middle of what is believed, not the median: where most edges are bad, the median is one of theirs.
        let part = |reach: f64, part: fn(&Value) -> f64| {
            let (low, high) = believed(values, left, self.gates.reach, part);
            clipped_mean(values, reach, f64::midpoint(low, high), part)
        };
        let lasting = part(self.gates.lasting, |v| v.steady);
        let passing = part(self.gates.passing, |v| v.value - v.steady);
        Fused { value: lasting + passing, ..together }
    }

    /// Learns only while values agree: at start, or parted, everybody would look biased.
    fn learn_bias(&mut self, values: &[Value], centre: f64, dt_s: f64) {
        let memory = (dt_s / BIAS_MEMORY_S).clamp(0.0, 1.0);
        for value in values.iter().filter(|v| v.input != SELF) {
            let residual = ((value.value - centre) / value.sigma).clamp(-self.gates.drop, self.gates.drop);
            self.bias[value.slot] += memory * (residual - self.bias[value.slot]);
        }
    }

    /// The `faults` peers with the greatest lasting bias lose weight; no more, or a liar could part honest groups.
    /// Equals at the limit are all spared: which of them comes first is no reason.
    fn weigh_bias(&self, values: &mut [Value], faults: usize) {
        let (mut few, mut many);
        let biases = places!(few, many, values.len(), 0.0);
        let mut count = 0;
        for value in values.iter().filter(|v| v.kept && v.input != SELF) {
            biases[count] = self.bias[value.slot].abs();
            count += 1;
        }
        let biases = &mut biases[..count];
        biases.sort_unstable_by(|a, b| b.total_cmp(a));
        let limit = biases.get(faults).copied().unwrap_or(0.0);
        for value in values.iter_mut().filter(|v| v.kept && v.input != SELF) {
            let bias = self.bias[value.slot].abs();
            if bias > limit * (1.0 + TIE) {
                value.weight /= 1.0 + (bias / self.gates.bias).powi(4);
            }
        }
    }
}

/// The standard deviation that a value may have and at least one honest value has: the one after the `faults` smallest.
/// Liars who pretend to be surer gain nothing by it, and where more than `faults` edges are good these set the measure,
/// however many are bad.
fn sure(inputs: &[Input], faults: usize) -> f64 {
    let (mut few, mut many);
    let sigmas = &mut places!(few, many, inputs.len(), 0.0)[..inputs.len()];
    for (sigma, input) in sigmas.iter_mut().zip(inputs) {
        *sigma = input.sigma;
    }
    sigmas.sort_unstable_by(f64::total_cmp);
    let honest = sigmas[faults.min(inputs.len() - 1)].max(f64::MIN_POSITIVE);
    let Some(good) = sigmas.iter().rev().find(|sigma| honest > APART_FROM * **sigma) else { return honest };
    let octaves = (honest / (APART_FROM * good.max(f64::MIN_POSITIVE))).log2();
    honest * (good.max(f64::MIN_POSITIVE) / honest).powf(octaves.min(1.0))
}

/// Of the intervals `part` plus and minus `reach` sigmas: the lower end that all but `faults` lie below, and the
/// upper end that all but `faults` lie above. Lower beyond upper: more than `faults` believe above more than `faults`,
/// and some of both are honest. For values that are equally sure these are the trimmed ends, reach sigmas inwards.
fn believed(values: &[Value], faults: usize, reach: f64, part: impl Fn(&Value) -> f64) -> (f64, f64) {
    let (mut few, mut many);
    let ends = places!(few, many, values.len(), 0.0);
    let mut end = |side: f64| {
        let mut count = 0;
        for value in values.iter().filter(|v| v.kept) {
            ends[count] = side * part(value) - reach * value.sigma;
            count += 1;
        }
        let ends = &mut ends[..count];
        ends.sort_unstable_by(|a, b| b.total_cmp(a));
        side * ends[faults.min(count - 1)]
    };
    (end(1.0), end(-1.0))
}

/// Lowest and highest that an honest value can be: the `faults` lowest and the `faults` highest are the liars', for all
/// one knows. A value that is known much worse than a `typical` one stands for the interval in which it is believed to
/// lie: taken at its word it would pin the result to the side of it on which it is not, and with as many of them as
/// there may be liars, groups that have few good links to one another could not meet.
fn trimmed_ends(values: &[Value], faults: usize, typical: f64, reach: f64) -> (f64, f64) {
    let (mut few, mut many);
    let ends = places!(few, many, values.len(), 0.0);
    let mut end = |side: f64| {
        for (end, value) in ends.iter_mut().zip(values) {
            let doubt = if value.sigma > WITNESS * typical { reach * value.sigma } else { 0.0 };
            *end = side * value.value - doubt;
        }
        let ends = &mut ends[..values.len()];
        ends.sort_unstable_by(f64::total_cmp);
        side * ends[faults]
    };
    (end(1.0), end(-1.0))
}

/// What was done about values that stand out.
enum Dropped {
    /// So many were dropped.
    Count(usize),
    /// They are few enough to be the liars, but too few others would have seen it if they were not.
    Unwitnessed,
}

/// Drops what lies further than `reach` sigmas from `centre`, if that is at most `budget` values and `witnesses` others
/// see that it is not so.
///
/// Without witnesses two honest groups part for good where links differ: each hears few of the other group well enough
/// to tell, takes them for the liars, and is taken for liars by them. As many witnesses as there are honest nodes:
/// then any two nodes that drop have an honest witness in common, and liars cannot lend a voice to both sides.
fn drop_beyond(values: &mut [Value], centre: f64, reach: f64, budget: usize, witnesses: usize) -> Dropped {
    let distance = |v: &Value| (v.value - centre).abs();
    let beyond = |v: &Value| v.kept && distance(v) > reach * v.sigma;
    let count = values.iter().filter(|v| beyond(v)).count();
    if count == 0 || count > budget {
        return Dropped::Count(0);
    }
    let nearest = values.iter().filter(|v| beyond(v)).map(distance).fold(f64::INFINITY, f64::min);
    let sees = |v: &&Value| v.kept && !beyond(v) && reach / WITNESS * v.sigma < nearest;
    if values.iter().filter(sees).count() < witnesses {
        return Dropped::Unwitnessed;
    }
    for value in values {
        if beyond(value) {
            value.kept = false;
        }
    }
    Dropped::Count(count)
}

/// The weighted mean of the kept values' `part`, each clipped to `reach` sigmas about it: found in a few rounds, as
/// M-estimators are, from `start`.
fn clipped_mean(values: &[Value], reach: f64, start: f64, part: impl Fn(&Value) -> f64) -> f64 {
    (0..CLIPPED_ROUNDS).fold(start, |centre, _| {
        let (mut sum, mut weights) = (0.0, 0.0);
        for v in values.iter().filter(|v| v.kept) {
            sum += v.weight * part(v).clamp(centre - reach * v.sigma, centre + reach * v.sigma);
            weights += v.weight;
        }
        sum / weights
    })
}

fn weighted_mean(values: &[Value], clip: Option<(f64, f64)>) -> Fused {
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

fn rejected(values: &[Value]) -> u128 {
    values.iter().filter(|v| !v.kept && v.input != SELF).fold(0, |bits, v| bits | 1 << v.input)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inputs(values: &[f64], sigma: f64) -> Vec<Input> {
        values.iter().enumerate().map(|(slot, v)| Input { slot, value: *v, steady: *v, sigma }).collect()
    }

    fn round(faults: usize) -> Round {
        Round { own_counts: true, faults, starting: false, settled: true, dt_s: 0.1 }
    }

    fn fuse(values: &[f64], faults: usize, sigma: f64) -> Fused {
        Hybrid::new(GATES_RCE, values.len()).fuse(&inputs(values, sigma), round(faults))
    }

    /// How much of a value lasts, of which the rest passes.
    const SHARE: std::ops::Range<f64> = -0.5..1.5;

    /// The same where `share` of each value lasts and the rest passes.
    fn fuse_parts(values: &[f64], share: f64, faults: usize, sigma: f64) -> Fused {
        let apart: Vec<Input> =
            inputs(values, sigma).into_iter().map(|v| Input { steady: share * v.value, ..v }).collect();
        Hybrid::new(GATES_RCE, values.len()).fuse(&apart, round(faults))
    }

    #[test]
    fn without_faults_to_tolerate_it_is_the_mean_with_self() {
        assert_eq!(fuse(&[3.0, 9.0], 0, 1.0).value, 4.0);
    }

    #[test]
    fn a_blatant_lie_is_rejected_and_named() {
        let fused = fuse(&[0.5, 1e6, -0.5], 1, 1.0);
        assert_eq!(fused.rejected, 0b010);
        assert!(fused.value.abs() < 0.5);
    }

    #[test]
    fn two_honest_groups_far_apart_meet_although_liars_stand_on_both_sides() {
        // Median would keep 0 and 1 for ever (ALGORITHMS 6.2): n = 7, f = 2, liars agree with each reader's own side.
        let seen_from_zero = fuse(&[0.0, 0.0, 1e6, 1e6, 0.0, 0.0], 2, 1.0).value;
        let seen_from_one = fuse(&[0.0, -1e6, -1e6, -1e6, 0.0, 0.0], 2, 1.0).value;
        assert!((1e6 + seen_from_one - seen_from_zero).abs() <= 5e5 + 1.0);
    }

    #[test]
    fn a_lasting_bias_costs_a_peer_its_weight() {
        let mut hybrid = Hybrid::new(GATES_RCE, 3);
        let mut last = 0.0;
        for turn in 0..2_000 {
            let fused = hybrid.fuse(&inputs(&[0.1, -0.1, 2.3], 1.0), round(1));
            if turn == 0 {
                last = fused.value;
            } else if turn == 1_999 {
                assert!(fused.value < 0.8 * last, "{} then {}", last, fused.value);
            }
        }
    }

    #[test]
    fn equally_suspect_peers_on_both_sides_are_treated_alike() {
        let values = [0.0, 6_000.0, 0.0, -9_000.0, 0.0, -7_000.0, 0.0, 0.0, 6_700.0, -7_900.0, 0.0, 0.0];
        let negated = values.map(|v: f64| -v);
        assert_eq!(fuse(&values, 4, 1.0).value, -fuse(&negated, 4, 1.0).value);
    }

    fn honest() -> impl Strategy<Value = (Vec<f64>, Vec<f64>, f64)> {
        // Up to 12 honest values, fewer than half as many liars, any scale.
        (1usize..5).prop_flat_map(|f| {
            (
                prop::collection::vec(-1e4f64..1e4, 2 * f..12),
                prop::collection::vec(prop_oneof![-1e18f64..1e18, -1e4f64..1e4, -10.0f64..10.0], f),
                1.0f64..1e4,
            )
        })
    }

    proptest! {
        #[test]
        fn liars_cannot_pull_the_fusion_outside_what_the_honest_say((honest, lies, sigma) in honest(), share in SHARE) {
            let low = honest.iter().copied().fold(0.0, f64::min);
            let high = honest.iter().copied().fold(0.0, f64::max);
            let all: Vec<f64> = honest.iter().chain(&lies).copied().collect();
            let fused = fuse_parts(&all, share, lies.len(), sigma);
            prop_assert!(low <= fused.value && fused.value <= high, "{fused:?} [{low}, {high}]");
        }

        #[test]
        fn negating_the_world_negates_the_answer((honest, lies, sigma) in honest(), share in SHARE) {
            let all: Vec<f64> = honest.iter().chain(&lies).copied().collect();
            let negated: Vec<f64> = all.iter().map(|v| -v).collect();
            let (a, b) = (fuse_parts(&all, share, lies.len(), sigma), fuse_parts(&negated, share, lies.len(), sigma));
            prop_assert!((a.value + b.value).abs() <= 1e-9 * (1.0 + a.value.abs()), "{a:?} {b:?}");
            prop_assert_eq!(a.rejected, b.rejected);
        }

        #[test]
        fn the_order_of_the_peers_changes_nothing((honest, lies, sigma) in honest(), share in SHARE) {
            let all: Vec<f64> = honest.iter().chain(&lies).copied().collect();
            let backwards: Vec<f64> = all.iter().rev().copied().collect();
            let fused = |values: &[f64]| fuse_parts(values, share, lies.len(), sigma).value;
            prop_assert_eq!(fused(&all), fused(&backwards));
        }
    }
}
