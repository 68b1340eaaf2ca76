//! The fault-tolerant fusion with a fault budget (ALGORITHMS 6.2): Lynch and Welch's midpoint (1988) where
//! values disagree by more than noise explains, a weighted clipped mean where they do not. One scalar at a time, phase
//! or rate. It holds no opinion on who may speak.
//!
//! Needs n >= 3f+1 values of which at most f lie. Step 2 alone is the proven rule and halves a disagreement each round;
//! the other steps are measured, not proven. The gates and the limit of the bias weights to f peers have a history of
//! attacks behind them: do not simplify them without the amplitude sweep of ALGORITHMS 6.3.

mod mean;

use std::cmp::Ordering;

use crate::limits::PEERS_MAX;
use mean::{bridged_mean, clipped_mean, weighted_mean};

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
/// No lie makes an edge look this many times as sure as an honest one, and none twice as many: it hides the noise of
/// the liar's own stamps, not that of the path nor of one's own. An edge that is runs over another kind of link.
const APART_FROM: f64 = 4.0;
/// Values that can take part: every peer and self.
const VALUES_MAX: usize = PEERS_MAX + 1;
/// A witness's own sigma may be this many times as large as that of what it speaks against.
const WITNESS: f64 = 2.0;
/// Where more stand out than may lie, who does so by this much more is looked for.
const FURTHER: f64 = 4.0;
/// A value speaks against another if it is nearer to the middle by so many of its own sigmas.
const SEES: f64 = 3.0;
/// And by so many against one that has left at a stroke, of which it is known where it was.
const SEES_LEAVE: f64 = 1.0;
/// Who lies further than this from the middle and has come there by this much from one fusion to the next has left at a
/// stroke (in sigmas): an honest clock that agrees moves by fractions of one.
const STANDS_OUT: f64 = 3.0;
const STROKE: f64 = 4.0;
/// Within so many sigmas of the middle it has returned.
const RETURNED: f64 = 1.0;
/// So long a peer must have agreed, and nobody have stood out unexplained, for a stroke to tell, seconds: in less,
/// clocks that meet are still passing each other.
const AGREED_S: f64 = 10.0;
/// Biases this close to each other are equal: rounding is no reason to suspect one of two.
const TIE: f64 = 1e-9;
/// The place of the own value, zero.
const SELF: usize = usize::MAX;

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
    /// Its sigma for what it believes: greater where it is known much worse than others.
    doubt: f64,
    input: usize,
    slot: usize,
    kept: bool,
}

/// The fusion of one scalar, with a memory of each peer's bias.
#[derive(Clone, Debug)]
pub struct Hybrid {
    gates: Gates,
    records: Box<[Record]>,
    /// Fusions so far.
    turn: u64,
    /// For how long nothing has stood out that was not dropped, seconds.
    calm_s: f64,
}

/// What is remembered of one peer.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Lasting bias, in standard deviations.
    bias: f64,
    /// The last fusion that heard it.
    turn: u64,
    /// Its distance from the middle of what was believed then, and its sigma.
    distance: f64,
    sigma: f64,
    /// For how long it has agreed without a silence, seconds.
    agreed_s: f64,
    /// It has left at a stroke those with whom it agreed, and has not returned.
    left: bool,
}

impl Hybrid {
    /// A fusion for peers in slots below `capacity`.
    #[must_use]
    pub fn new(gates: Gates, capacity: usize) -> Self {
        assert!(capacity <= PEERS_MAX, "a verdict marks at most {PEERS_MAX} peers");
        Hybrid { gates, records: vec![Record::default(); capacity].into_boxed_slice(), turn: 0, calm_s: 0.0 }
    }

    /// Another peer sits in `slot`: it starts without a record.
    pub fn forget(&mut self, slot: usize) {
        self.records[slot] = Record::default();
    }

    /// Fuses the inputs, and own value zero if it counts, tolerating `faults` liars as far as their number allows.
    /// Whatever the liars say, the result lies within the range of the honest values, where one that is known much
    /// worse than the others stands for the interval in which it is believed to lie. With `faults` zero this is the
    /// weighted mean, at the start bridged where most edges are bad.
    pub fn fuse(&mut self, inputs: &[Input], round: Round) -> Fused {
        let Round { own_counts, faults, .. } = round;
        assert!(inputs.len() <= PEERS_MAX, "a verdict marks at most {PEERS_MAX} peers");
        if inputs.is_empty() {
            return Fused::default();
        }
        self.turn += 1;
        let faults = faults.min((inputs.len() + usize::from(own_counts) - 1) / 2);
        let round = Round { faults, ..round };
        let typical = sure(inputs, faults);
        let least = typical / WEIGHT_MAX.sqrt();
        let mut buffer = [Value::default(); VALUES_MAX];
        let mut count = 0;
        for (index, input) in inputs.iter().enumerate() {
            let sigma = input.sigma.max(least);
            let weight = (typical / sigma).powi(2);
            let Input { slot, value, steady, .. } = *input;
            // With as many lies as there may be on the same side, one bad edge that errs by two of its sigmas, as one
            // in twenty does, would move the middle by thousands of a good edge's: it abstains up to where honest
            // ones end.
            let doubt = sigma * (sigma / (WITNESS * typical)).clamp(1.0, self.gates.drop / self.gates.reach);
            buffer[count] = Value { value, steady, sigma, weight, doubt, input: index, slot, kept: true };
            count += 1;
        }
        if own_counts {
            buffer[count] =
                Value { sigma: typical, doubt: typical, weight: 1.0, input: SELF, kept: true, ..Value::default() };
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
            return bridged_mean(values, round, typical);
        }
        // At most so many lie, so neither end of what is left after trimming is beyond all that the honest
        // say.
        let (low, high) = trimmed_ends(values, faults, typical, self.gates.reach);
        // Whoever hears well no more peers than may lie cannot tell whether they do, and what it hears badly guards it
        // anyway: by the rules for more it stood between two groups for good.
        let good = inputs.iter().filter(|input| input.sigma <= WITNESS * typical).count();
        let fused = if good > faults {
            self.fuse_faulty(values, round, typical)
        } else {
            // But for lies so blatant that even the bad edges see them.
            if !round.starting {
                let belief = Belief::of(values, faults, self.gates.reach, |v| v.value);
                let witnesses = values.len() - faults;
                drop_beyond(values, belief, self.gates.far, SEES, faults, witnesses);
            }
            bridged_mean(values, round, typical)
        };
        Fused { value: fused.value.clamp(low, high), ..fused }
    }

    fn fuse_faulty(&mut self, values: &mut [Value], round: Round, typical: f64) -> Fused {
        let Round { faults, dt_s, .. } = round;
        let witnesses = values.len() - faults;
        let mut parted = false;
        let reach = self.gates.reach;
        let mut belief = Belief::of(values, faults, reach, |v| v.value);
        let calm_s = std::mem::take(&mut self.calm_s);
        // At the start edges are known unequally well, and clocks that meet are far from each other.
        let sees = if round.starting { self.gates.far / WITNESS } else { SEES };
        // 0. What everybody sees first: an honest peer taken for one that has moved would use up what is for liars.
        let mut budget = faults;
        if let Dropped::Count(count @ 1..) = drop_beyond(values, belief, self.gates.far, sees, budget, witnesses) {
            budget -= count;
            belief = Belief::of(values, budget, reach, |v| v.value);
        }
        // Who has agreed for long and leaves at a stroke is the one who moved.
        let centre = belief.middle(values, typical, reach, |v| v.value);
        let gone = self.drop_who_left(values, centre, Round { faults, ..round }, budget, calm_s);
        if gone > 0 {
            budget -= gone;
            belief = Belief::of(values, budget, reach, |v| v.value);
        }
        // 1. A blatant lie uses up the fault budget.
        let far = match drop_beyond(values, belief, self.gates.far, sees, budget, witnesses) {
            Dropped::Count(count) => count,
            // The trimmed mean, which the caller makes of it, lets two groups that hear little of each other meet.
            Dropped::Unwitnessed if round.starting => return Fused { parted: true, ..weighted_mean(values, None) },
            Dropped::Unwitnessed => {
                parted = true;
                0
            }
        };
        let left = budget - far;

        // 2. Disagreement beyond noise: the midpoint of what is left after trimming, which halves it each round.
        let belief = Belief::of(values, left, reach, |v| v.value);
        let Belief { low, high } = belief;
        let centre = belief.middle(values, typical, reach, |v| v.value);
        if left > 0 && low > high {
            return Fused { value: centre, sigma: typical, rejected: rejected(values), parted };
        }

        // 3. Agreement: whoever still stands out is dropped, if they are few enough to be the liars.
        let centre = weighted_mean(values, Some((centre, self.gates.clip))).value.clamp(low.min(high), high.max(low));
        if let Dropped::Unwitnessed = drop_beyond(values, Belief::at(centre), self.gates.drop, SEES, left, witnesses) {
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
            self.calm_s = calm_s + dt_s;
            self.learn_bias(values, centre, dt_s);
            self.weigh_bias(values, left);
        }
        let together = weighted_mean(values, Some((centre, self.gates.clip)));
        if parted || !round.settled {
            return Fused { parted, ..together };
        }
        // From the middle of what is believed, not the median: where most edges are bad, the median is one of theirs.
        let part = |clip: f64, part: fn(&Value) -> f64| {
            let start = Belief::of(values, left, reach, part).middle(values, typical, reach, part);
            clipped_mean(values, clip, start, part)
        };
        let lasting = part(self.gates.lasting, |v| v.steady);
        let passing = part(self.gates.passing, |v| v.value - v.steady);
        Fused { value: lasting + passing, ..together }
    }

    /// Drops who has left at a stroke those with whom it agreed, and returns how many. Which of two that part has moved
    /// cannot be told from where they are, but those that stayed together while one jumped did not: f others and self
    /// are witnesses enough. Two honest groups do not part like that: what pulls them apart acts by fractions of a
    /// sigma at a time, and who has come back has not yet agreed.
    fn drop_who_left(
        &mut self,
        values: &mut [Value],
        centre: f64,
        Round { faults, dt_s, .. }: Round,
        budget: usize,
        calm_s: f64,
    ) -> usize {
        for value in values.iter().filter(|v| v.input != SELF) {
            let gate = STANDS_OUT * value.sigma;
            let distance = value.value - centre;
            let record = &mut self.records[value.slot];
            if record.turn + 1 != self.turn {
                *record = Record { bias: record.bias, ..Record::default() };
            }
            let agreed = record.agreed_s >= AGREED_S && calm_s >= AGREED_S;
            if record.left {
                record.left = distance.abs() > RETURNED * value.sigma;
            } else if distance.abs() <= gate {
                record.agreed_s += dt_s;
            } else {
                // One exchange may be worth more than all before it, and moves the value by what was not known of it.
                let stroke = (distance - record.distance).abs() > STROKE * value.sigma.max(record.sigma);
                record.left = agreed && stroke;
                record.agreed_s = if record.left { record.agreed_s } else { 0.0 };
            }
            record.turn = self.turn;
            record.distance = distance;
            record.sigma = value.sigma;
        }
        let records = &self.records;
        let left = |v: &Value| v.kept && v.input != SELF && records[v.slot].left;
        match drop_seen(values, left, centre, SEES_LEAVE, budget, faults + 1) {
            Dropped::Count(count) => count,
            Dropped::Unwitnessed => 0,
        }
    }

    /// Learns only while values agree: at start, or parted, everybody would look biased.
    fn learn_bias(&mut self, values: &[Value], centre: f64, dt_s: f64) {
        let memory = (dt_s / BIAS_MEMORY_S).clamp(0.0, 1.0);
        for value in values.iter().filter(|v| v.input != SELF) {
            let residual = ((value.value - centre) / value.sigma).clamp(-self.gates.drop, self.gates.drop);
            let bias = &mut self.records[value.slot].bias;
            *bias += memory * (residual - *bias);
        }
    }

    /// The `faults` peers with the greatest lasting bias lose weight; no more, or a liar could part honest groups.
    /// Equals at the limit are all spared: which of them comes first is no reason.
    fn weigh_bias(&self, values: &mut [Value], faults: usize) {
        let mut biases = [0.0; VALUES_MAX];
        let mut count = 0;
        for value in values.iter().filter(|v| v.kept && v.input != SELF) {
            biases[count] = self.records[value.slot].bias.abs();
            count += 1;
        }
        let biases = &mut biases[..count];
        biases.sort_unstable_by(|a, b| b.total_cmp(a));
        let limit = biases.get(faults).copied().unwrap_or(0.0);
        for value in values.iter_mut().filter(|v| v.kept && v.input != SELF) {
            let bias = self.records[value.slot].bias.abs();
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
    let mut sigmas = [0.0; PEERS_MAX];
    let sigmas = &mut sigmas[..inputs.len()];
    for (sigma, input) in sigmas.iter_mut().zip(inputs) {
        *sigma = input.sigma;
    }
    sigmas.sort_unstable_by(f64::total_cmp);
    let honest = sigmas[faults.min(inputs.len() - 1)].max(f64::MIN_POSITIVE);
    let Some(good) = sigmas.iter().rev().find(|sigma| honest > APART_FROM * **sigma) else { return honest };
    let octaves = (honest / (APART_FROM * good.max(f64::MIN_POSITIVE))).log2();
    honest * (good.max(f64::MIN_POSITIVE) / honest).powf(octaves.min(1.0))
}

/// Where the honest values lie, as far as these values tell. Of the intervals around each value in which it believes:
/// the lower end that all but the faulty lie below, and the upper end that all but the faulty lie above. Lower beyond
/// upper: more than may lie believe above more than may lie, and some of both are honest.
#[derive(Clone, Copy)]
struct Belief {
    low: f64,
    high: f64,
}

impl Belief {
    /// Of the intervals `part` plus and minus `reach` sigmas. For values that are equally sure these are the trimmed
    /// ends, reach sigmas inwards.
    fn of(values: &[Value], faults: usize, reach: f64, part: impl Fn(&Value) -> f64) -> Self {
        let mut ends = [0.0; VALUES_MAX];
        let mut end = |side: f64| {
            let mut count = 0;
            for value in values.iter().filter(|v| v.kept) {
                ends[count] = side * part(value) - reach * value.doubt;
                count += 1;
            }
            let ends = &mut ends[..count];
            ends.sort_unstable_by(|a, b| b.total_cmp(a));
            side * ends[faults.min(count - 1)]
        };
        Belief { low: end(1.0), high: end(-1.0) }
    }

    /// That they lie there and nowhere else.
    fn at(centre: f64) -> Self {
        Belief { low: centre, high: centre }
    }

    /// How far `value` lies from where the honest values lie: from the interval, or from its middle if its ends have
    /// passed each other.
    fn beyond(&self, value: f64) -> f64 {
        let (low, high) = if self.low <= self.high { (self.low, self.high) } else { (self.mid(), self.mid()) };
        (low - value).max(value - high).max(0.0)
    }

    fn mid(&self) -> f64 {
        f64::midpoint(self.low, self.high)
    }

    /// Its middle; where it is wider than `typical` values leave it, since the ends are those of bad edges, no further
    /// from what most of the good ones say than typical values would leave open. Three liars of ten on one side of
    /// three good edges made the middle of four bad ones the centre, thousands of the good ones' sigmas off, and all
    /// that was good stood out.
    fn middle(&self, values: &[Value], typical: f64, reach: f64, part: impl Fn(&Value) -> f64) -> f64 {
        let open = reach * typical;
        if self.high - self.low <= 2.0 * open {
            return self.mid();
        }
        let most = weighted_median(values, part).clamp(self.low, self.high);
        self.mid().clamp(most - open, most + open)
    }
}

/// The middle of the values' `part` by weight, of which nobody has more than one who is as sure as an honest one.
fn weighted_median(values: &[Value], part: impl Fn(&Value) -> f64) -> f64 {
    let kept = || values.iter().filter(|v| v.kept).map(|v| (part(v), v.weight.min(1.0)));
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for (value, _) in kept() {
        let side = |of: fn(f64, f64) -> bool| kept().filter(|(v, _)| of(*v, value)).map(|(_, w)| w).sum::<f64>();
        let (below, above) = (side(|v, value| v < value), side(|v, value| v > value));
        let equals = side(|v, value| v == value);
        if below <= above + equals && above <= below + equals {
            (low, high) = (low.min(value), high.max(value));
        }
    }
    f64::midpoint(low, high)
}

/// Lowest and highest that an honest value can be: the `faults` lowest and the `faults` highest are the liars', for all
/// one knows. A value that is known much worse than a `typical` one stands for the interval in which it is believed to
/// lie: taken at its word it would pin the result to the side of it on which it is not, and with as many of them as
/// there may be liars, groups that have few good links to one another could not meet.
fn trimmed_ends(values: &[Value], faults: usize, typical: f64, reach: f64) -> (f64, f64) {
    let mut ends = [0.0; VALUES_MAX];
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

/// Drops what lies further than `reach` sigmas from the `belief`, if that is at most `budget` values and `witnesses`
/// others see that it is not so.
///
/// If that is more than `budget`, the furthest of them, by steps of the reach: liars and the honest of another group
/// may both stand out, and while nobody is dropped the groups stay apart.
///
/// Without witnesses two honest groups part for good where links differ: each hears few of the other group well enough
/// to tell, takes them for the liars, and is taken for liars by them. As many witnesses as there are honest nodes:
/// then any two nodes that drop have an honest witness in common, and liars cannot lend a voice to both sides.
fn drop_beyond(
    values: &mut [Value],
    belief: Belief,
    reach: f64,
    sees: f64,
    budget: usize,
    witnesses: usize,
) -> Dropped {
    let out = |v: &Value, reach: f64| v.kept && belief.beyond(v.value) > reach * v.sigma;
    let mut most = reach;
    loop {
        if values.iter().filter(|v| out(v, most)).count() <= budget {
            match drop_seen(values, |v| out(v, most), belief.mid(), sees, budget, witnesses) {
                Dropped::Unwitnessed if most > reach => {}
                dropped => return dropped,
            }
        }
        most *= FURTHER;
    }
}

/// Drops those that are `out`, if that is at most `budget` values and `witnesses` others are nearer to the `centre`
/// than any of them, by `doubt` of their own sigmas.
fn drop_seen(
    values: &mut [Value],
    out: impl Fn(&Value) -> bool,
    centre: f64,
    doubt: f64,
    budget: usize,
    witnesses: usize,
) -> Dropped {
    let count = values.iter().filter(|v| out(v)).count();
    if count == 0 || count > budget {
        return Dropped::Count(0);
    }
    let apart = |side: f64| {
        let distances = values.iter().filter(|v| out(v)).map(|v| side * (v.value - centre)).filter(|d| *d > 0.0);
        distances.fold(f64::INFINITY, f64::min)
    };
    let (above, below) = (apart(1.0), apart(-1.0));
    let sees = |v: &&Value| {
        let (distance, doubt) = (v.value - centre, doubt * v.sigma);
        v.kept && !out(v) && distance + doubt < above && distance - doubt > -below
    };
    if values.iter().filter(sees).count() < witnesses {
        return Dropped::Unwitnessed;
    }
    for value in values {
        if out(value) {
            value.kept = false;
        }
    }
    Dropped::Count(count)
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
    fn two_sites_of_two_meet_although_a_far_edge_weighs_a_ten_millionth() {
        // Each hears its neighbour to 10 ns and the others to 30 us, and both sites stand 1 ms apart.
        for faults in [0, 1] {
            let sites = |apart: f64| {
                let sigmas = [10.0, 30e3, 30e3];
                let told = [0.0, apart, apart].into_iter().zip(sigmas).enumerate();
                told.map(|(slot, (value, sigma))| Input { slot, value, steady: value, sigma }).collect::<Vec<_>>()
            };
            let early = Round { starting: true, ..round(faults) };
            let move_by = |apart: f64, round| Hybrid::new(GATES_RCE, 3).fuse(&sites(apart), round).value;
            assert!(move_by(1e6, early) > 0.2e6, "{faults}: {}", move_by(1e6, early));
            assert_eq!(move_by(1e6, early), -move_by(-1e6, early));
            // Within what far edges know they pull by no more than each its part of the near one's noise.
            assert!((0.0..20.0).contains(&move_by(20e3, early)), "{faults}: {}", move_by(20e3, early));
            // An asymmetry stays: once they have had time to meet it pulls by its weight alone.
            assert!(move_by(1e6, round(faults)) < 1.0);
        }
    }

    #[test]
    fn one_bad_edge_beside_good_ones_pulls_by_its_weight_alone() {
        let told = [(0.0, 10.0), (0.0, 10.0), (1e6, 30e3)];
        let inputs: Vec<Input> =
            (0..).zip(told).map(|(slot, (v, sigma))| Input { slot, value: v, steady: v, sigma }).collect();
        let early = Round { starting: true, ..round(0) };
        assert!(Hybrid::new(GATES_RCE, 3).fuse(&inputs, early).value < 0.1);
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

    /// Two good peers, a bad edge, and one more good peer that says `lie`.
    fn with_a_bad_edge(bad: f64, lie: f64) -> [Input; 4] {
        let good = |slot: usize, value: f64| Input { slot, value, steady: value, sigma: 1.0 };
        [good(0, 0.1), good(1, -0.1), Input { sigma: 1e3, ..good(2, bad) }, good(3, lie)]
    }

    #[test]
    fn a_bad_edge_that_errs_by_two_sigmas_does_not_lend_a_lie_its_weight() {
        for lie in [1e2, 1e3, 3e3, 1e6] {
            let fused = Hybrid::new(GATES_RCE, 4).fuse(&with_a_bad_edge(2.1e3, lie), round(1));
            assert!(fused.value.abs() < 1.0, "{lie}: {fused:?}");
        }
    }

    #[test]
    fn a_lie_that_a_bad_edge_sees_is_dropped() {
        let fused = Hybrid::new(GATES_RCE, 4).fuse(&with_a_bad_edge(500.0, 1e4), round(1));
        assert_eq!((fused.rejected, fused.parted), (0b1000, false));
    }

    #[test]
    fn who_leaves_at_a_stroke_is_dropped_although_not_everybody_can_see_it() {
        let mut hybrid = Hybrid::new(GATES_RCE, 4);
        let mut say = |lie: f64| hybrid.fuse(&with_a_bad_edge(500.0, lie), round(1)).rejected;
        assert_eq!(say(100.0), 0, "it has not agreed yet");
        (0..200).for_each(|_| assert_eq!(say(0.2), 0));
        assert_eq!(say(100.0), 0b1000);
        assert_eq!(say(2.0), 0b1000, "not back yet");
        assert_eq!((say(0.2), say(100.0)), (0, 0b1000), "it returns, and leaves again");
    }

    #[test]
    fn an_exchange_worth_more_than_all_before_it_is_no_stroke() {
        let mut hybrid = Hybrid::new(GATES_RCE, 4);
        let mut say = |value: f64, sigma: f64| {
            let mut inputs = inputs(&[0.1, -0.1, 0.2, value], 1.0);
            inputs[3].sigma = sigma;
            hybrid.fuse(&inputs, round(1)).rejected
        };
        (0..200).for_each(|_| assert_eq!(say(0.0, 4.0), 0));
        assert_eq!(say(5.0, 1.0), 0, "it was known to 4");
        (0..200).for_each(|_| assert_eq!(say(0.0, 1.0), 0));
        assert_eq!(say(5.0, 1.0), 0b1000, "it was known to 1");
    }

    #[test]
    fn an_honest_peer_that_moved_does_not_use_up_what_is_for_blatant_lies() {
        let mut hybrid = Hybrid::new(GATES_RCE, 9);
        let mut say = |moved: f64, lie: f64| {
            let values = [0.1, -0.2, 0.3, -0.1, 0.2, moved, lie, lie, lie];
            hybrid.fuse(&inputs(&values, 1.0), round(3))
        };
        (0..200).for_each(|_| assert_eq!(say(0.0, 0.1).rejected, 0));
        assert_eq!(say(5.0, 0.1).rejected, 0b10_0000, "it left");
        assert_eq!(say(5.0, 1e6).rejected, 0b1_1100_0000, "the liars first");
    }

    #[test]
    fn groups_that_liars_have_parted_meet_although_strangers_and_liars_both_stand_out() {
        let good = |slot: usize, value: f64| Input { slot, value, steady: value, sigma: 1.0 };
        let bad = |slot: usize, value: f64| Input { sigma: 600.0, ..good(slot, value) };
        let own = [good(0, 0.3), good(1, -0.4), good(2, 0.1)];
        let strangers = [good(3, -3_400.0), bad(4, -5_100.0), bad(5, -3_200.0)];
        let liars = [good(6, 124_000.0), good(7, 124_000.0), bad(8, 124_000.0)];
        let said: Vec<Input> = own.into_iter().chain(strangers).chain(liars).collect();
        let fused = Hybrid::new(GATES_RCE, 9).fuse(&said, round(3));
        assert_eq!(fused.rejected & 0b1100_0000, 0b1100_0000, "{fused:?}");
        assert_eq!(fused.value, -0.4, "towards the strangers, as far as f strangers may move it: {fused:?}");
    }

    /// Ten nodes, three liars that say `lie`: this one hears two of them and `good` others well, the rest badly.
    fn among_bad_edges(good: usize, lie: f64) -> Vec<Input> {
        let honest = (0..6).map(|slot| {
            let sigma = if slot < good { 1.0 } else { 100.0 };
            let value = [0.3, -0.4, 150.0, -60.0, 220.0, 80.0][slot];
            Input { slot, value, steady: value, sigma }
        });
        let liars = (6..9).map(|slot| {
            let sigma = if slot < 8 && good > 1 { 1.0 } else { 100.0 };
            Input { slot, value: lie, steady: lie, sigma }
        });
        honest.chain(liars).collect()
    }

    #[test]
    fn liars_on_one_side_do_not_make_bad_edges_the_middle_from_which_the_good_stand_out() {
        for lie in [-1e6, 1e6, 1e5, -1e4] {
            let fused = Hybrid::new(GATES_RCE, 9).fuse(&among_bad_edges(2, lie), round(3));
            assert_eq!((fused.rejected, fused.parted), (0b1_1100_0000, false), "{lie}: {fused:?}");
            assert!(fused.value.abs() < 1.0, "{lie}: {fused:?}");
        }
    }

    #[test]
    fn who_hears_one_peer_well_is_not_led_by_lies_that_even_bad_edges_see() {
        for lie in [-1e6, 1e6, 1e5, -1e4] {
            let fused = Hybrid::new(GATES_RCE, 9).fuse(&among_bad_edges(1, lie), round(3));
            assert_eq!(fused.rejected, 0b1_1100_0000, "{lie}: {fused:?}");
            assert!(fused.value.abs() < 1.0, "{lie}: {fused:?}");
        }
    }

    #[test]
    fn who_parts_slowly_is_not_dropped_without_witnesses_nor_is_who_was_silent() {
        let mut hybrid = Hybrid::new(GATES_RCE, 4);
        let mut say = |inputs: &[Input]| hybrid.fuse(inputs, round(1)).rejected;
        (0..200).for_each(|_| assert_eq!(say(&with_a_bad_edge(500.0, 0.2)), 0));
        (0..100).for_each(|n| assert_eq!(say(&with_a_bad_edge(500.0, f64::from(n))), 0));
        (0..200).for_each(|_| assert_eq!(say(&with_a_bad_edge(500.0, 0.2)), 0));
        say(&with_a_bad_edge(500.0, 0.2)[..3]);
        assert_eq!(say(&with_a_bad_edge(500.0, 100.0)), 0);
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

    /// One fusion of several: who counts and when it is, how far honest values have moved, and what the liars say this
    /// time (value, what lasts of it, sigma).
    type Turn = (bool, bool, bool, f64, Vec<f64>, Vec<(f64, f64, f64)>);

    /// Honest values (value, which part of it lasts, sigma) of any precision, fewer than half as many liars, and some
    /// fusions in a row, at first while nothing has been agreed.
    fn long_runs() -> impl Strategy<Value = (Vec<(f64, f64, f64)>, usize, Vec<Turn>)> {
        let sigma = || prop_oneof![Just(1.0), 0.1f64..10.0, 1.0f64..1e5];
        let honest = (prop_oneof![-3.0f64..3.0, -1e4f64..1e4], SHARE, sigma());
        let lie = prop_oneof![-1e18f64..1e18, -1e4f64..1e4, -10.0f64..10.0];
        let lie = (lie.clone(), lie, prop_oneof![Just(1e-9), sigma()]);
        let moves = prop::collection::vec(prop_oneof![Just(0.0), -2.0f64..2.0], 1..4);
        let dt_s = prop_oneof![Just(0.03), 0.0f64..30.0];
        let turn = (any::<bool>(), any::<bool>(), any::<bool>(), dt_s, moves, prop::collection::vec(lie, 4));
        (1usize..5).prop_flat_map(move |liars| {
            let turns = prop::collection::vec(turn.clone(), 1..12);
            (prop::collection::vec(honest.clone(), 2 * liars..12), Just(liars), turns)
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

        /// What an honest value stands for where it is known much worse than others: the interval in which it believes.
        #[test]
        fn no_lies_of_any_precision_at_any_time_pull_it_outside_what_the_honest_believe(
            (honest, liars, rounds) in long_runs(),
        ) {
            let count = honest.len() + liars;
            let mut hybrid = Hybrid::new(GATES_RCE, count);
            for (n, (own_counts, starting, settled, dt_s, moves, lies)) in rounds.into_iter().enumerate() {
                let moved = |(slot, (value, steady, sigma)): (usize, &(f64, f64, f64))| {
                    let value = value + moves[slot % moves.len()];
                    Input { slot, value, steady: value * steady, sigma: *sigma }
                };
                let mut said: Vec<Input> = honest.iter().enumerate().map(moved).collect();
                let told = |(n, (value, steady, sigma)): (usize, &(f64, f64, f64))| {
                    Input { slot: honest.len() + n, value: *value, steady: *steady, sigma: *sigma }
                };
                said.extend(lies.iter().take(liars).enumerate().map(told));
                let typical = sure(&said, liars);
                let doubt = |v: &Input| if v.sigma > WITNESS * typical { GATES_RCE.reach * v.sigma } else { 0.0 };
                let own = own_counts.then_some((0.0, 0.0));
                let ends = || said[..honest.len()].iter().map(|v| (v.value - doubt(v), v.value + doubt(v))).chain(own);
                let low = ends().fold(f64::INFINITY, |low, end| low.min(end.0));
                let high = ends().fold(f64::NEG_INFINITY, |high, end| high.max(end.1));
                let fused = hybrid.fuse(&said, Round { own_counts, faults: liars, starting, settled, dt_s });
                prop_assert!(low <= fused.value && fused.value <= high, "round {n}: {fused:?} [{low}, {high}]");
            }
        }

        /// Where no honest value is known more than twice as badly as any other, feigned ones included, each stands for
        /// itself alone.
        #[test]
        fn values_known_alike_stand_for_themselves_whatever_was_said_before(
            (honest, liars, rounds) in long_runs(), sigma in 1.0f64..1e4, best in 0.51f64..1.0,
        ) {
            let mut hybrid = Hybrid::new(GATES_RCE, honest.len() + liars);
            for (n, (own_counts, starting, settled, dt_s, moves, lies)) in rounds.into_iter().enumerate() {
                let moved = |(slot, (value, steady, _)): (usize, &(f64, f64, f64))| {
                    let value = value + moves[slot % moves.len()];
                    Input { slot, value, steady: value * steady, sigma }
                };
                let mut said: Vec<Input> = honest.iter().enumerate().map(moved).collect();
                let told = |(n, (value, steady, worse)): (usize, &(f64, f64, f64))| {
                    let sigma = (sigma * best).max(*worse);
                    Input { slot: honest.len() + n, value: *value, steady: *steady, sigma }
                };
                said.extend(lies.iter().take(liars).enumerate().map(told));
                let values = || said[..honest.len()].iter().map(|v| v.value).chain(own_counts.then_some(0.0));
                let low = values().fold(f64::INFINITY, f64::min);
                let high = values().fold(f64::NEG_INFINITY, f64::max);
                let fused = hybrid.fuse(&said, Round { own_counts, faults: liars, starting, settled, dt_s });
                prop_assert!(low <= fused.value && fused.value <= high, "round {n}: {fused:?} [{low}, {high}]");
            }
        }
    }
}
