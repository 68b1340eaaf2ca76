//! What can be reached at best in a scenario: the steady state of a Kalman filter that knows the true model and has
//! every exchange of the whole network, right after each pair has exchanged (ALGORITHMS section 11). Twice: with the
//! variance of what an exchange says, which is what the best *linear* estimator reaches and one-sided delays can beat
//! by far; and with the Fisher information of what it says, which is the (Bayesian) Cramér-Rao bound that *nobody*
//! beats.
//!
//! It is computed for the calm world: nothing is lost, nothing happens, nobody lies, all are there from the beginning,
//! idle paths are alike both ways, and delivered clocks obey. What has no place in the model is refused, with its
//! reason.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::information::information;
use super::law::{Law, Term};
use super::link::Path;
use super::parts::{LinkSpec, OscillatorSpec, StampSpec};
use super::random::{Purpose, Stream};
use super::scenario::Scenario;
use super::topology::Topology;
use crate::flow::{Role, StampClass};

/// Above so many nodes only networks are computed in which all nodes and all links are alike.
const NODES_MAX: usize = 160;
/// Steps of the integral over the spectrum of a large overlay.
const SPECTRUM_STEPS: usize = 400;
/// Two ends of a network are apart if what joins them is worth less than this part of the rest.
const NOTHING: f64 = 1e-12;

/// Both limits of one scenario and seed; `None` where there is none, for the reason that the functions below give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// [`linear_ns`].
    pub linear_ns: Option<f64>,
    /// [`cramer_rao_ns`].
    pub cramer_rao_ns: Option<f64>,
}

impl Limits {
    /// Those of a run on `seed`.
    #[must_use]
    pub fn of(scenario: &Scenario, seed: u64) -> Limits {
        Limits { linear_ns: linear_ns(scenario, seed).ok(), cramer_rao_ns: cramer_rao_ns(scenario, seed).ok() }
    }

    /// Those of one run on each of these seeds, computed once where all seeds have the same.
    #[must_use]
    pub fn of_each(scenario: &Scenario, seeds: &[u64]) -> Vec<Limits> {
        match seeds {
            [first, ..] if !are_drawn(scenario) => vec![Limits::of(scenario, *first); seeds.len()],
            _ => seeds.par_iter().map(|seed| Limits::of(scenario, *seed)).collect(),
        }
    }
}

/// Whether the seed draws which links there are or which of them differ, so that each has limits of its own.
#[must_use]
pub fn are_drawn(scenario: &Scenario) -> bool {
    scenario.cluster.topology == Topology::Overlay || scenario.edges.iter().any(|edge| edge.part > 0.0)
}

/// Standard deviation of the difference of two clocks that agree as well as a linear estimator can make them, ns,
/// over all pairs of nodes that are judged. `seed` is that of the run, where the seed draws which links differ.
///
/// # Errors
/// Why there is no such number, as the end of a sentence.
pub fn linear_ns(scenario: &Scenario, seed: u64) -> Result<f64, &'static str> {
    pairwise_ns(scenario, seed, &|[there, back]| {
        // Half the difference of both directions; infinite variance is worth nothing.
        let variance = (there.variance() + back.variance()) / 4.0;
        if variance == 0.0 {
            return Err("a link has no noise");
        }
        Ok(if variance.is_finite() { 1.0 / variance } else { 0.0 })
    })
}

/// The same of any estimator whatever, one that knows each path's idle delay and uses both directions apart included.
///
/// # Errors
/// Why there is no such number, as the end of a sentence.
pub fn cramer_rao_ns(scenario: &Scenario, seed: u64) -> Result<f64, &'static str> {
    pairwise_ns(scenario, seed, &|[there, back]| Ok(information(there)? + information(back)?))
}

/// What an exchange over a link with these noises there and back is worth, 1/ns².
type Worth<'a> = &'a dyn Fn([&Law; 2]) -> Result<f64, &'static str>;

/// How strongly the oscillator of a node wanders, and how it does so; all of one network in the same way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wander {
    /// Variance of the random walk of the rate, 1/s.
    walk: f64,
    /// Variance of the random walk of the phase (white frequency noise), s.
    phase: f64,
}

fn pairwise_ns(scenario: &Scenario, seed: u64, worth: Worth<'_>) -> Result<f64, &'static str> {
    let alike = scenario.edges.is_empty()
        && scenario.nodes.iter().all(|n| n.oscillator.is_none() && n.stamps.is_none() && n.role.is_none());
    let variance = if scenario.cluster.nodes <= NODES_MAX {
        of_each_link(scenario, seed, worth)?
    } else if alike {
        of_many_alike(scenario, worth)?
    } else {
        return Err("so many nodes are computed only where all nodes and links are alike");
    };
    Ok(variance.sqrt())
}

/// The mean variance of all judged pairs, ns².
///
/// Each exchange between i and k says `x_i - x_k` with information w, and all of a round together the Laplacian
/// matrix L of the network weighted by w; a reference is known, so its row and column fall away. With process noise
/// `c_i Q` at each node and C the diagonal of all c, `sqrt(C) L sqrt(C)` is diagonal in its eigenvectors, in which
/// the filter of the whole network falls apart into one two-state filter for each eigenvalue, with measurement
/// variance 1/eigenvalue and process noise Q. (Equal mesh: all eigenvalues but that of the common time are n w.
/// Without wander this is effective resistance.)
fn of_each_link(scenario: &Scenario, seed: u64, worth: Worth<'_>) -> Result<f64, &'static str> {
    let cluster = &scenario.cluster;
    let alone = |n: usize| scenario.nodes.iter().any(|spec| spec.wrong_key && spec.nodes.contains(&n));
    let role = |n: usize| scenario.role(n);
    let heard = |n: usize| role(n) != Role::Observer && !alone(n);
    let free: Vec<usize> = (0..cluster.nodes).filter(|n| heard(*n) && role(*n) != Role::Reference).collect();
    if free.is_empty() {
        return Err("no clock follows another");
    }
    let wanders: Vec<Wander> = free.iter().map(|n| wander(oscillator(scenario, *n))).collect::<Result<_, _>>()?;
    let unit = wanders[0];
    if wanders.iter().any(|w| (w.walk * unit.phase - unit.walk * w.phase).abs() > 1e-9 * w.walk * unit.phase) {
        return Err("oscillators that differ in kind, and not only in strength, have no common filter");
    }
    let root = |i: usize| (wanders[i].walk / unit.walk).sqrt();
    let place = |n: usize| free.binary_search(&n).ok();
    let mut network = vec![vec![0.0; free.len()]; free.len()];
    let mut known = BTreeMap::new();
    for edge in cluster.topology.edges(cluster.nodes, cluster.degree, seed) {
        let ends = [edge.0, edge.1];
        if !ends.iter().all(|n| heard(*n)) || ends.iter().all(|n| place(*n).is_none()) {
            continue;
        }
        let mut once = Stream::new(seed, Purpose::Edge, edge.0 as u64, edge.1 as u64);
        let link = scenario.link_between(edge, &mut once);
        let stamps = ends.map(|n| stamps(scenario, n));
        let key = (std::ptr::from_ref(link), stamps.map(std::ptr::from_ref));
        let value = match known.get(&key) {
            Some(value) => *value,
            None => *known.entry(key).or_insert(worth_of(link, stamps, worth)?),
        };
        let places = ends.map(place);
        for here in places.into_iter().flatten() {
            network[here][here] += value * root(here) * root(here);
        }
        if let [Some(a), Some(b)] = places {
            network[a][b] -= value * root(a) * root(b);
            network[b][a] = network[a][b];
        }
    }
    let (values, vectors) = eigen(network);
    let judged: Vec<usize> = (0..cluster.nodes).filter(|n| heard(*n) && !scenario.is_liar(*n)).collect();
    let pairs = (judged.len() * judged.len().saturating_sub(1)) as f64 / 2.0;
    if pairs == 0.0 {
        return Err("there are no two nodes to compare");
    }
    let largest = values.iter().copied().fold(0.0, f64::max);
    let mut of_value: BTreeMap<u64, f64> = BTreeMap::new();
    let mut sum = 0.0;
    for (value, vector) in values.iter().zip(&vectors) {
        // Over all pairs, the squares of differences are n times the sum of squares less the square of the sum.
        let at = |n: &usize| place(*n).map_or(0.0, |i| root(i) * vector[i]);
        let (total, squares) = judged.iter().map(at).fold((0.0, 0.0), |(t, s), x| (t + x, s + x * x));
        let apart = judged.len() as f64 * squares - total * total;
        if *value > largest * NOTHING {
            // Eigenvalues that differ by rounding alone are one.
            let key = value.to_bits() >> 12;
            sum += apart * *of_value.entry(key).or_insert_with(|| steady_var(*value, unit, 1.0 / cluster.rate));
        } else if apart > judged.len() as f64 * 1e-6 {
            return Err(
                "some nodes are joined by no link that says anything: its noise has no variance, or nothing passes",
            );
        }
    }
    Ok(sum / pairs)
}

/// The same where all nodes and links are alike, from the known spectra of their networks.
fn of_many_alike(scenario: &Scenario, worth: Worth<'_>) -> Result<f64, &'static str> {
    let cluster = &scenario.cluster;
    let wander = wander(&scenario.oscillator)?;
    let value = worth_of(&scenario.link, [&scenario.stamps; 2], worth)?;
    if value == 0.0 {
        return Err("the noise of its links has no variance");
    }
    let n = cluster.nodes as f64;
    let var = |eigenvalue: f64| steady_var(eigenvalue * value, wander, 1.0 / cluster.rate);
    let mean = match cluster.topology {
        Topology::Mesh | Topology::TwoSites => var(n),
        Topology::Star => (var(n) + (n - 2.0) * var(1.0)) / (n - 1.0),
        Topology::Overlay if cluster.degree > 2 => {
            // The spectrum of large random regular graphs (Kesten, McKay): their adjacency lies within twice the root
            // of k - 1, densest in the middle.
            let k = cluster.degree as f64;
            let reach = 2.0 * (k - 1.0).sqrt();
            let (mut sum, mut weight) = (0.0, 0.0);
            for step in 0..SPECTRUM_STEPS {
                let mu = reach * ((2 * step + 1) as f64 / SPECTRUM_STEPS as f64 - 1.0);
                let density = (reach * reach - mu * mu).sqrt() / (k * k - mu * mu);
                sum += density * var(k - mu);
                weight += density;
            }
            sum / weight
        }
        Topology::Ring | Topology::Overlay => {
            let half = (1..cluster.nodes).map(|m| (std::f64::consts::PI * m as f64 / n).sin());
            half.map(|sine| var(4.0 * sine * sine)).sum::<f64>() / (n - 1.0)
        }
    };
    Ok(2.0 * mean)
}

fn oscillator(scenario: &Scenario, n: usize) -> &OscillatorSpec {
    scenario.special(n, |spec| spec.oscillator.as_ref()).unwrap_or(&scenario.oscillator)
}

fn stamps(scenario: &Scenario, n: usize) -> &StampSpec {
    scenario.special(n, |spec| spec.stamps.as_ref()).unwrap_or(&scenario.stamps)
}

fn wander(of: &OscillatorSpec) -> Result<Wander, &'static str> {
    match () {
        () if of.flicker > 0.0 => Err("flicker noise is not in the filter's model"),
        () if of.temperature.0 != 0.0 => Err("a cycle of temperature is not in the filter's model"),
        () if of.wander == 0.0 => Err("an oscillator that does not wander is known ever better, without end"),
        () => Ok(Wander { walk: of.wander * of.wander, phase: of.white * of.white }),
    }
}

/// What an exchange over this link between nodes with these stamps is worth.
fn worth_of(link: &LinkSpec, stamps: [&StampSpec; 2], worth: Worth<'_>) -> Result<f64, &'static str> {
    // The idle delay and its asymmetry are drawn once a link and are no noise: any dice do.
    let [there, back] = link.build(&mut Stream::new(0, Purpose::Edge, 0, 0));
    if there.loss >= 1.0 || back.loss >= 1.0 {
        return Ok(0.0);
    }
    let [a, b] = stamps;
    worth([&noise(&there, a, b)?, &noise(&back, b, a)?])
}

/// By how much the apparent delays of one direction differ, from the stamp that `from` takes to that of `to`.
fn noise(path: &Path, from: &StampSpec, to: &StampSpec) -> Result<Law, &'static str> {
    if path.queue.is_some() {
        return Err("the filter takes each exchange's noise for its own, and those behind one queue share theirs");
    }
    if from.card.is_some() || to.card.is_some() {
        return Err("the clock of a network card, between the stamps and the node, is not in the filter's model");
    }
    let mut law = path.jitter.clone();
    if let Some(wire) = path.wire.filter(|wire| wire.utilisation > 0.0) {
        // Waiting for others' packets; that ours wait for each other is left out.
        let wait = Law::ZERO.plus(Term::Exponential(wire.other_ns / (1.0 - wire.utilisation)));
        law = law.and(&wait.for_part(wire.utilisation).expect("it is one term"));
    }
    if path.reorder > 0.0 {
        let held = path.reorder_by.for_part(path.reorder);
        law = law.and(&held.ok_or("packets that are held back by the sum of several terms are not computed")?);
    }
    let (from, to) = (from.build(), to.build());
    // A program that gets no true departure puts its own reading in its place.
    law = law.and(if from.class == StampClass::User { &from.lead } else { &from.transmit }).and(&to.receive);
    for grain_ns in [from.grain_ns, to.grain_ns].into_iter().filter(|grain| *grain > 1) {
        law = law.plus(Term::Uniform(grain_ns as f64 / 2.0));
    }
    Ok(law)
}

/// Posterior variance of the offset, ns², in the steady state of the two-state filter to which every `t` seconds a
/// measurement of this information (1/ns²) comes. The Riccati equation is solved by doubling: each round is worth as
/// many measurements as all before it.
fn steady_var(information: f64, wander: Wander, t: f64) -> f64 {
    type Matrix = [[f64; 2]; 2];
    let times = |a: Matrix, b: Matrix| -> Matrix {
        std::array::from_fn(|i| std::array::from_fn(|k| a[i][0] * b[0][k] + a[i][1] * b[1][k]))
    };
    let turned = |a: Matrix| -> Matrix { [[a[0][0], a[1][0]], [a[0][1], a[1][1]]] };
    let plus = |a: Matrix, b: Matrix| -> Matrix { std::array::from_fn(|i| std::array::from_fn(|k| a[i][k] + b[i][k])) };
    let inverse = |a: Matrix| -> Matrix {
        let det = a[0][0] * a[1][1] - a[0][1] * a[1][0];
        [[a[1][1] / det, -a[0][1] / det], [-a[1][0] / det, a[0][0] / det]]
    };
    let (walk, phase) = (wander.walk * 1e18, wander.phase * 1e18);
    // X = F X (1 + G X)^-1 F' + Q, of the covariance before a measurement.
    let mut a: Matrix = [[1.0, 0.0], [t, 1.0]];
    let mut g: Matrix = [[information, 0.0], [0.0, 0.0]];
    let across = walk * t * t / 2.0;
    let mut x: Matrix = [[walk * t * t * t / 3.0 + phase * t, across], [across, walk * t]];
    for _ in 0..200 {
        let between = inverse(plus([[1.0, 0.0], [0.0, 1.0]], times(g, x)));
        let through = times(a, between);
        let more = times(turned(a), times(x, times(between, a)));
        g = plus(g, times(times(through, g), turned(a)));
        a = times(through, a);
        let last = x[0][0];
        x = plus(x, more);
        if (x[0][0] - last).abs() <= 1e-14 * x[0][0] {
            break;
        }
    }
    x[0][0] / (1.0 + information * x[0][0])
}

/// Eigenvalues of a symmetric matrix and their eigenvectors, by Jacobi's rotations.
fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|k| f64::from(u8::from(i == k))).collect()).collect();
    let scale: f64 = (0..n).map(|i| matrix[i][i] * matrix[i][i]).sum();
    for _ in 0..60 {
        let rest: f64 = (0..n).map(|i| matrix[i][..i].iter().map(|v| v * v).sum::<f64>()).sum();
        if rest <= 1e-26 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if matrix[p][q] == 0.0 {
                    continue;
                }
                let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
                let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = tangent * cosine;
                let turn = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
                for row in &mut matrix {
                    (row[p], row[q]) = turn(row[p], row[q]);
                }
                for k in 0..n {
                    (matrix[p][k], matrix[q][k]) = turn(matrix[p][k], matrix[q][k]);
                    (vectors[p][k], vectors[q][k]) = turn(vectors[p][k], vectors[q][k]);
                }
            }
        }
    }
    ((0..n).map(|i| matrix[i][i]).collect(), vectors)
}

/// What both limits leave out of this scenario.
#[must_use]
pub fn left_out(scenario: &Scenario) -> Vec<&'static str> {
    let links = || scenario.edges.iter().map(|edge| &edge.link).chain([&scenario.link]);
    let stamps = || scenario.nodes.iter().filter_map(|node| node.stamps.as_ref()).chain([&scenario.stamps]);
    let clocks = || scenario.nodes.iter().filter_map(|node| node.clock.as_ref()).chain([&scenario.clock]);
    let lossy = |link: &LinkSpec| {
        link.loss > 0.0 || link.loss_bursts.is_some() || link.backward.as_ref().is_some_and(|b| b.loss > Some(0.0))
    };
    let lopsided = |link: &LinkSpec| {
        let back = link.backward.as_ref().and_then(|back| back.delay);
        link.asymmetry.0 > 0.0 || back.is_some_and(|back| back != link.delay)
    };
    let all = [
        (links().any(lossy), "losses"),
        (links().any(lopsided), "asymmetry"),
        (stamps().any(|stamps| stamps.missing > 0.0), "missing stamps"),
        (
            clocks().any(|clock| clock.rate_grain.0 > 0.0 || !clock.read_noise.is_zero()),
            "the delivered clocks' own faults",
        ),
        (!scenario.events.is_empty() || scenario.nodes.iter().any(|node| node.joins_at.is_some()), "events"),
        (!scenario.liars.is_empty(), "lies"),
    ];
    all.into_iter().filter_map(|(there, name)| there.then_some(name)).collect()
}

#[cfg(test)]
mod tests;
