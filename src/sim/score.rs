//! The truth, and how far the cluster is from it. Delivered clocks are known functions of true time, so every error is
//! exact; it is sampled at fixed instants of true time. Liars and observers are not scored, and a node that was away is
//! not until it has had time to settle.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::cluster::Cluster;
use super::fault::Event;
use super::line::Line;
use super::quantity::Span;
use super::random::mix;
use super::scenario::Scenario;
use super::world::{SECOND_NS, TrueNs};
use crate::flow::{NodeState, Role};

/// The spreads for which the time to convergence is always told.
pub const THRESHOLDS: [(&str, f64); 5] =
    [("100us", 100e3), ("10us", 10e3), ("1us", 1e3), ("200ns", 200.0), ("50ns", 50.0)];
/// Above so many nodes the percentiles are of as many fixed pairs, drawn by the run's seed.
const PAIRS_MAX: usize = 1_024;
/// Blocks over which the disturbance of the undisturbed is judged.
const BLOCK_NS: TrueNs = 5 * SECOND_NS;
/// A spread that is exceeded later than this part of the run never converged.
const LATE_PART: f64 = 0.95;

/// What one run scored. `None` where there was nothing to score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Root mean square of the true error of all pairs, ns.
    pub pairwise_rms_ns: Option<f64>,
    /// 99th percentile of its magnitude, ns.
    pub pairwise_p99_ns: Option<f64>,
    /// Its largest magnitude, ns.
    pub pairwise_max_ns: Option<f64>,
    /// Largest magnitude of the error of a delivered clock that follows others, against true time, ns.
    pub error_max_ns: Option<f64>,
    /// From when on, s, the worst pair stayed within each spread; `None` if it did not.
    pub converged_s: BTreeMap<String, Option<f64>>,
    /// Change of the rate of the mean clock against the mean oscillator, ppb.
    pub ensemble_drift_ppb: Option<f64>,
    /// Samples at which two neighbours were further apart than both of them promised.
    pub bound_violations: u64,
    /// RMS of error over published sigma.
    pub sigma_ratio: Option<f64>,
    /// Mean of the published bounds, ns.
    pub bound_ns: Option<f64>,
    /// Packets that a node sent a second.
    pub packets_per_node_s: f64,
    /// RMS of the distances of the undisturbed nodes from their mean in the worst 5 s after the first event, ns.
    pub undisturbed_worst_ns: Option<f64>,
    /// That over the same of a world in which nothing happens; filled in by the run.
    pub disturbance: Option<f64>,
    /// The longest that a node took to be back among the others, s.
    pub rejoined_s: Option<f64>,
    /// Pairwise RMS over the linear limit; filled in by the run.
    pub ratio: Option<f64>,
    /// Honest nodes that have noticed that something is wrong since the first liar began: that have rejected a peer, or
    /// left track, or promised nothing any more.
    pub noticed: usize,
    /// Nodes that have ever synchronised.
    pub synced: Vec<usize>,
    /// Nodes whose clocks have ever been commanded.
    pub steered: Vec<usize>,
    /// Nodes that a refusal of their guard has ended, each with its sentence.
    pub ended: Vec<(usize, String)>,
    /// Exchanges completed over each link.
    pub exchanged: Vec<((usize, usize), u64)>,
}

/// Samples the truth during a run.
pub struct Scorer {
    measured_from: TrueNs,
    end: TrueNs,
    /// From when on each node counts; several spans of absence are merged into the last.
    away: Vec<Vec<(TrueNs, TrueNs)>>,
    disturbed: Vec<bool>,
    returned_at: Vec<Option<TrueNs>>,
    outside_until: Vec<Option<TrueNs>>,
    rejoin_within_ns: f64,
    first_event: Option<TrueNs>,
    lies_from: TrueNs,
    pairs: Vec<(usize, usize)>,
    errors: Vec<f64>,
    counted: Vec<bool>,
    words: Vec<Word>,
    square_sum: f64,
    square_count: f64,
    max_ns: f64,
    error_max_ns: Option<f64>,
    histogram: Histogram<u64>,
    thresholds: Vec<(String, f64, Option<TrueNs>)>,
    sigma_sum: f64,
    sigma_count: f64,
    bound_sum: f64,
    bound_count: f64,
    violations: u64,
    raw_origins: Vec<i64>,
    drift_windows: [Window; 2],
    block: Block,
    worst_block: Option<f64>,
}

/// What a node says of itself, copied once a sample: the nodes themselves lie far apart in memory, and a large cluster
/// has thousands of links to be looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    sigma_ns: f64,
    bound_ns: f64,
    /// It is a reference: right by definition.
    refers: bool,
    holds_over: bool,
}

/// The line that a course of errors, ns, follows in a span of time, ns.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: TrueNs,
    until: TrueNs,
    line: Line,
}

impl Window {
    fn over(from: TrueNs, until: TrueNs) -> Self {
        Window { from, until, line: Line::default() }
    }

    fn add(&mut self, at: TrueNs, y: f64) {
        if (self.from..self.until).contains(&at) {
            self.line.add((at - self.from) as f64, y);
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    number: i64,
    sum: f64,
    count: f64,
}

impl Scorer {
    /// A scorer for one run.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let count = scenario.cluster.nodes;
        let end = scenario.duration.nanos();
        let settle = scenario.measure.settle.nanos();
        let events = Event::unrolled(&scenario.events, count, seed);
        let (away, disturbed, returned_at) = absences(scenario, &events, settle);
        let mut thresholds: Vec<_> = THRESHOLDS.iter().map(|(name, ns)| ((*name).to_owned(), *ns, None)).collect();
        for name in scenario.bounds.converged.keys() {
            if let Ok(span) = name.parse::<Span>()
                && thresholds.iter().all(|(known, ..)| known != name)
            {
                thresholds.push((name.clone(), span.0, None));
            }
        }
        let drift_from = scenario.measure.drift_from.nanos().min(end / 4);
        let window = (end / 10).max(SECOND_NS);
        Scorer {
            measured_from: scenario.measured_from_ns(),
            end,
            away,
            disturbed,
            outside_until: vec![None; count],
            returned_at,
            rejoin_within_ns: scenario.bounds.rejoined_within.map_or(10e3, |within| within.0),
            first_event: events.iter().map(|e| e.at().nanos()).chain(joins(scenario)).min(),
            lies_from: scenario.liars.iter().map(|liar| liar.from.nanos()).min().unwrap_or(0),
            pairs: pairs(count, seed),
            errors: vec![0.0; count],
            counted: vec![false; count],
            words: vec![Word::default(); count],
            square_sum: 0.0,
            square_count: 0.0,
            max_ns: 0.0,
            error_max_ns: None,
            histogram: Histogram::new_with_bounds(1, 1 << 60, 3).expect("three digits of 2^60 ps"),
            thresholds,
            sigma_sum: 0.0,
            sigma_count: 0.0,
            bound_sum: 0.0,
            bound_count: 0.0,
            violations: 0,
            raw_origins: Vec::new(),
            drift_windows: [Window::over(drift_from, drift_from + window), Window::over(end - window, end + 1)],
            block: Block::default(),
            worst_block: None,
        }
    }

    /// Errors of all nodes at the last sample, ns, and whether each counted.
    #[must_use]
    pub fn errors(&self) -> (&[f64], &[bool]) {
        (&self.errors, &self.counted)
    }

    /// Samples the cluster, which has been run to `now`.
    pub fn sample(&mut self, cluster: &mut Cluster, now: TrueNs) {
        if self.raw_origins.is_empty() {
            self.raw_origins = cluster.nodes.iter_mut().map(|n| n.clock_minus_raw_ns(now, 0) as i64).collect();
        }
        for n in 0..cluster.nodes.len() {
            let node = &mut cluster.nodes[n];
            self.errors[n] = node.error_ns(now);
            self.words[n] = Word {
                sigma_ns: f64::from(node.claim.sigma_ns),
                bound_ns: f64::from(node.claim.bound_ns),
                refers: node.role == Role::Reference,
                holds_over: node.claim.state == NodeState::Holdover,
            };
            let here = node.is_awake() && cluster.is_judged(n);
            self.counted[n] = here && !self.away[n].iter().any(|(from, until)| (*from..*until).contains(&now));
        }
        let counted = || self.errors.iter().zip(&self.counted).filter(|(_, counted)| **counted).map(|(e, _)| *e);
        let count = counted().count() as f64;
        if count >= 2.0 {
            // Sums relative to the first: errors may be large against their differences.
            let origin = counted().next().expect("two of them count");
            let (sum, squares) = counted().fold((0.0, 0.0), |(s, q), e| (s + e - origin, q + (e - origin).powi(2)));
            let variance = ((squares - sum * sum / count) / (count - 1.0)).max(0.0);
            let (low, high) = counted().fold((f64::MAX, f64::MIN), |(l, h), e| (l.min(e), h.max(e)));
            self.note_spread(high - low, now);
            if now >= self.measured_from {
                self.square_sum += 2.0 * variance;
                self.square_count += 1.0;
                self.max_ns = self.max_ns.max(high - low);
                self.note_pairs();
                self.note_sigma(cluster);
            }
        }
        self.note_truth(now);
        self.note_promises(cluster);
        self.note_drift(cluster, now);
        self.note_disturbance(now);
    }

    fn note_spread(&mut self, spread_ns: f64, now: TrueNs) {
        for (_, within_ns, exceeded) in &mut self.thresholds {
            if spread_ns > *within_ns {
                *exceeded = Some(now);
            }
        }
    }

    fn note_pairs(&mut self) {
        for (a, b) in &self.pairs {
            if self.counted[*a] && self.counted[*b] {
                let ps = ((self.errors[*a] - self.errors[*b]).abs() * 1e3).max(1.0);
                self.histogram.saturating_record(ps as u64);
            }
        }
    }

    /// Error over sigma is asked of pairs: two clocks are as far apart as both their sigmas together say. (Against the
    /// mean of all, one bad clock moves the mean, and every good one looks wrong.) References are right by definition.
    fn note_sigma(&mut self, cluster: &Cluster) {
        let mut words = self.words.iter().enumerate();
        let led = words.position(|(n, word)| word.refers && cluster.nodes[n].is_awake());
        let sigma_ns = |n: usize| if self.words[n].refers { 0.0 } else { self.words[n].sigma_ns };
        let mut note = |a: usize, b: usize| {
            let both_ns = sigma_ns(a).hypot(sigma_ns(b));
            if both_ns.is_finite() && both_ns > 0.0 {
                self.sigma_sum += ((self.errors[a] - self.errors[b]) / both_ns).powi(2);
                self.sigma_count += 1.0;
            }
        };
        match led {
            Some(led) => (0..self.errors.len()).filter(|n| self.counted[*n]).for_each(|n| note(led, n)),
            None => {
                let counted = |(a, b): &&(usize, usize)| self.counted[*a] && self.counted[*b];
                self.pairs.iter().filter(counted).for_each(|(a, b)| note(*a, *b));
            }
        }
        for (word, _) in self.words.iter().zip(&self.counted).filter(|(_, counted)| **counted) {
            if word.bound_ns.is_finite() {
                self.bound_sum += word.bound_ns;
                self.bound_count += 1.0;
            }
        }
    }

    /// What followers are off the truth; and while they have lost their references, whether they are within what they
    /// promise of where the references' clocks are now.
    fn note_truth(&mut self, now: TrueNs) {
        let led_by = |n: &usize| self.words[*n].refers;
        let references: Vec<f64> = (0..self.errors.len()).filter(led_by).map(|n| self.errors[n]).collect();
        for (n, word) in self.words.iter().enumerate().filter(|(n, word)| self.counted[*n] && !word.refers) {
            if now >= self.measured_from {
                let error_ns = self.errors[n].abs();
                self.error_max_ns = Some(self.error_max_ns.map_or(error_ns, |max| max.max(error_ns)));
            }
            let broken = |reference_ns: &f64| (self.errors[n] - reference_ns).abs() > word.bound_ns;
            if word.holds_over && references.iter().any(broken) {
                self.violations += 1;
            }
        }
    }

    fn note_promises(&mut self, cluster: &Cluster) {
        let refers = |n: &usize| self.words[*n].refers;
        for (a, b) in cluster.edges() {
            // References are right by definition and promise nothing of each other.
            if self.counted[*a] && self.counted[*b] && !(refers(a) && refers(b)) {
                let apart_ns = (self.errors[*a] - self.errors[*b]).abs();
                let bounds_ns = [a, b].map(|n| self.words[*n].bound_ns);
                // A promise leaves out as many peers as may lie, and a reference speaks of the truth and not of its
                // peers: a pair breaks its promises if neither end's bound covers it. Infinite bounds promise nothing.
                if apart_ns > bounds_ns[0].max(bounds_ns[1]) {
                    self.violations += 1;
                }
            }
        }
    }

    fn note_drift(&mut self, cluster: &mut Cluster, now: TrueNs) {
        if !self.drift_windows.iter().any(|w| (w.from..w.until).contains(&now)) {
            return;
        }
        let (mut sum, mut count) = (0.0, 0.0f64);
        for n in 0..cluster.nodes.len() {
            if !self.disturbed[n] && cluster.is_judged(n) && cluster.nodes[n].is_awake() {
                sum += cluster.nodes[n].clock_minus_raw_ns(now, self.raw_origins[n]);
                count += 1.0;
            }
        }
        if count > 0.0 {
            self.drift_windows.iter_mut().for_each(|window| window.add(now, sum / count));
        }
    }

    fn note_disturbance(&mut self, now: TrueNs) {
        if self.first_event.is_none() && self.returned_at.iter().all(Option::is_none) {
            return;
        }
        let quiet = |n: &usize| self.counted[*n] && !self.disturbed[*n];
        let quiet: Vec<usize> = (0..self.errors.len()).filter(quiet).collect();
        if quiet.is_empty() {
            return;
        }
        let count = quiet.len() as f64;
        let origin = self.errors[quiet[0]];
        let mean = origin + quiet.iter().map(|n| self.errors[*n] - origin).sum::<f64>() / count;
        for n in 0..self.errors.len() {
            if self.returned_at[n].is_some_and(|at| now >= at) && (self.errors[n] - mean).abs() > self.rejoin_within_ns
            {
                self.outside_until[n] = Some(now);
            }
        }
        let Some(event) = self.first_event else { return };
        if quiet.len() < 2 || now < event {
            return;
        }
        let number = (now - event) / BLOCK_NS;
        if number != self.block.number {
            self.close_block();
            self.block = Block { number, ..Block::default() };
        }
        let variance = quiet.iter().map(|n| (self.errors[*n] - mean).powi(2)).sum::<f64>() / (count - 1.0);
        self.block.sum += variance;
        self.block.count += 1.0;
    }

    fn close_block(&mut self) {
        if self.block.count > 0.0 {
            let rms = (self.block.sum / self.block.count).sqrt();
            self.worst_block = Some(self.worst_block.map_or(rms, |worst| worst.max(rms)));
        }
    }

    /// The score of the run that has ended.
    #[must_use]
    pub fn finish(mut self, cluster: &Cluster) -> Score {
        self.close_block();
        let late = (self.end as f64 * LATE_PART) as TrueNs;
        let converged = |exceeded: Option<TrueNs>| match exceeded {
            None => Some(0.0),
            Some(at) if at > late => None,
            Some(at) => Some(at as f64 * 1e-9),
        };
        let rejoined = self.returned_at.iter().zip(&self.outside_until).filter_map(|(returned, outside)| {
            let returned = (*returned)?;
            Some(match outside {
                Some(at) if *at > late => f64::INFINITY,
                outside => outside.map_or(0.0, |at| (at - returned) as f64 * 1e-9),
            })
        });
        let rejoined_s = rejoined.fold(None, |worst: Option<f64>, s| Some(worst.map_or(s, |w| w.max(s))));
        let seconds = self.end as f64 * 1e-9;
        let slopes = self.drift_windows.map(|window| window.line.slope());
        Score {
            pairwise_rms_ns: ratio(self.square_sum, self.square_count).map(f64::sqrt),
            pairwise_p99_ns: (!self.histogram.is_empty()).then(|| self.histogram.value_at_quantile(0.99) as f64 / 1e3),
            pairwise_max_ns: (self.square_count > 0.0).then_some(self.max_ns),
            error_max_ns: self.error_max_ns,
            converged_s: self.thresholds.iter().map(|(name, _, at)| (name.clone(), converged(*at))).collect(),
            ensemble_drift_ppb: slopes[0].zip(slopes[1]).map(|(early, late)| (late - early) * 1e9),
            bound_violations: self.violations,
            sigma_ratio: ratio(self.sigma_sum, self.sigma_count).map(f64::sqrt),
            bound_ns: ratio(self.bound_sum, self.bound_count),
            packets_per_node_s: cluster.packets() as f64 / cluster.nodes.len() as f64 / seconds,
            undisturbed_worst_ns: self.worst_block,
            disturbance: None,
            rejoined_s: rejoined_s.filter(|s| s.is_finite()),
            ratio: None,
            noticed: (0..cluster.nodes.len())
                .filter(|n| cluster.is_judged(*n) && cluster.nodes[*n].noticed_at >= self.lies_from)
                .count(),
            synced: (0..cluster.nodes.len()).filter(|n| cluster.nodes[*n].has_synced).collect(),
            steered: (0..cluster.nodes.len()).filter(|n| cluster.nodes[*n].has_steered).collect(),
            ended: cluster.nodes.iter().filter_map(|node| Some((node.number, node.ended.clone()?))).collect(),
            exchanged: cluster
                .edges()
                .iter()
                .map(|(a, b)| ((*a, *b), cluster.nodes[*a].exchanged_with(*b) + cluster.nodes[*b].exchanged_with(*a)))
                .collect(),
        }
    }
}

fn ratio(sum: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| sum / count)
}

fn joins(scenario: &Scenario) -> impl Iterator<Item = TrueNs> {
    scenario.nodes.iter().filter_map(|spec| spec.joins_at).map(Span::nanos)
}

type Absences = (Vec<Vec<(TrueNs, TrueNs)>>, Vec<bool>, Vec<Option<TrueNs>>);

/// When each node does not count, whether anything happens to it at all, and when it returned for the last time.
fn absences(scenario: &Scenario, events: &[Event], settle: TrueNs) -> Absences {
    let count = scenario.cluster.nodes;
    let mut away = vec![Vec::new(); count];
    let mut disturbed = vec![false; count];
    let mut returned = vec![None; count];
    for (n, disturbed) in disturbed.iter_mut().enumerate() {
        if let Some(at) = scenario.special(n, |spec| spec.joins_at).map(Span::nanos) {
            away[n].push((0, at + settle));
            returned[n] = Some(at);
            *disturbed = true;
        }
    }
    for event in events {
        // A change of route is an event of the link, and an announcement disturbs nobody: these nodes are judged all
        // the time.
        if matches!(event, Event::Route { .. } | Event::Leap { .. }) {
            continue;
        }
        let over = event.over_at().map(Span::nanos);
        for n in event.nodes() {
            disturbed[*n] = true;
            away[*n].push((event.at().nanos(), over.map_or(TrueNs::MAX, |over| over + settle)));
            returned[*n] = returned[*n].max(over);
        }
    }
    (away, disturbed, returned)
}

fn pairs(count: usize, seed: u64) -> Vec<(usize, usize)> {
    if count * (count - 1) / 2 <= PAIRS_MAX {
        return (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect();
    }
    let draw = |n: usize, salt: u64| mix(seed ^ mix(n as u64 ^ salt)) as usize;
    (0..PAIRS_MAX)
        .map(|n| {
            let a = draw(n, 1) % count;
            (a, (a + 1 + draw(n, 2) % (count - 1)) % count)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_only_what_is_in_it() {
        let mut window = Window::over(1_000, 2_000);
        for at in (0..3_000).step_by(10) {
            window.add(at, if (1_000..2_000).contains(&at) { 7.0 - 2e-3 * at as f64 } else { 1e6 });
        }
        assert!((window.line.slope().unwrap() + 2e-3).abs() < 1e-12);
    }

    #[test]
    fn pairs_are_all_pairs_where_they_are_few_and_never_of_one_node() {
        assert_eq!(pairs(5, 1).len(), 10);
        let many = pairs(1_000, 1);
        assert_eq!(many.len(), PAIRS_MAX);
        assert!(many.iter().all(|(a, b)| a != b && *a < 1_000 && *b < 1_000));
    }

    #[test]
    fn a_node_counts_again_only_after_it_has_settled() {
        let text = "summary = 'x'\nduration = '100s'\n[measure]\nsettle = '5s'\n\
                    [[event]]\nkind = 'crash'\nat = '10s'\nnodes = [1]\ndown = '20s'\n";
        let scenario = Scenario::parse("test", text).unwrap();
        let (away, disturbed, returned) = absences(&scenario, &scenario.events, scenario.measure.settle.nanos());
        assert_eq!(away[1], [(10_000_000_000, 35_000_000_000)]);
        assert_eq!(disturbed, [false, true, false]);
        assert_eq!(returned[1], Some(30_000_000_000));
    }
}
