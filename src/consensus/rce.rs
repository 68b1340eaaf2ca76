//! `rce`, the raw-clock ensemble (ALGORITHMS 6): phases and rates fused by the fault-tolerant hybrid, phase
//! taken over in full at each decision, rate with a time constant, and an anchor that keeps the ensemble from being
//! dragged. Memoryless in the phase: a Jacobi iteration whose fixed point is the graph's least squares solution.
//!
//! Assumes raw edges filtered open loop and nearly antisymmetric. Tolerates f < n/3 arbitrary liars in a full mesh.
//! Costs a sort of n values twice per decision.

use super::hybrid::{GATES_RCE, Gates, Hybrid, Input, Round};
use super::{Consensus, START_S, View, Voice, median};
use crate::flow::Verdict;
use crate::limits::PEERS_MAX;
use crate::unit::PeerSlot;

/// Time constant of the rate, seconds (ALGORITHMS 6.4: a full mesh; longer spoils nothing, shorter drifts more).
const RATE_S: f64 = 2.0;
/// How long those who start together take their rate from the rates they started with, seconds: until edges know rates
/// to a few tenths of a ppm even on a LAN.
const START_RATE_S: f64 = 10.0;
/// From then on a change of who is there is a change; before, somebody may not have been heard yet. Seconds.
const FOUNDED_S: f64 = 3.0;
/// How far from the others' a member's start rate counts (seconds per second): ordinary crystals are within 100 ppm.
const START_RATE_REACH: f64 = 100e-6;
/// A difference of rates beyond this many standard deviations is no noise: it is taken over in full. In a mesh that has
/// started there is none; in an overlay it is what has not yet gone round.
const RATE_APART: f64 = 4.0;
/// The rates of the start are given up for good when neighbours have differed for so long, seconds: they hear of others
/// than this node does, and arrive at another mean.
const OVERLAY_S: f64 = 1.0;
/// Start rates heard over paths this many times noisier than the best third do not count: what such a path says in the
/// first second is worse than nothing. By the noise of the path, which stays: whom a mean leaves out must not change.
const START_NOISE_REACH: f64 = 10.0;
/// Groups that hear little of each other may meet in great strides for so long, seconds; from then on somebody may be
/// keeping them apart.
const PATIENCE_S: f64 = 20.0;
/// What lasts is told from what passes so many of the edges' time constants after that: it is averaged over 1.5.
const SETTLED_MEMORIES: f64 = 4.0;
/// And from here on in any case, seconds: groups that have few good links to one another meet sooner without.
const SETTLED_S: f64 = 60.0;
/// What of a phase that is still to be moved goes into the rate, 1/s², where members do not all hear one another: a
/// ring of twelve hands differences round a hundred times more slowly than a mesh, and what its edges do not know of
/// rates (5 ppb at one exchange a second) parted it by 500 ns. (1 leaves 120, 10 no less than 3 does.)
const LAGGING: f64 = 3.0;
/// How much of a drag the anchor takes back in the time that drifts look back: up to a quarter it settles without
/// swinging.
const ANCHOR: f64 = 0.2;
/// The same where no liar is tolerated and none can drag: what the first minute has moved is taken back gently.
const ANCHOR_ALONE: f64 = 0.05;
/// For how many times as long as drifts look back what has been gained is remembered: a drag that goes on would settle
/// where it and the pull are equal, and moves the ensemble as much less as this is longer.
const GAINED: f64 = 100.0;

/// Nobody counts for less than one who came so long ago, seconds.
const NEW_S: f64 = 0.01;
/// Who has been heard for less than this part of the longest time has come back, the others were never away.
const LONG: f64 = 0.5;

/// The raw-clock ensemble.
#[derive(Debug)]
pub struct Rce {
    phase: Hybrid,
    rate: Hybrid,
    inputs: Vec<Input>,
    founding: Founding,
    /// What the ensemble has gained on its oscillators, forgotten over `GAINED`, seconds.
    gained_s: f64,
}

/// How the start goes: it is over when one of those who started together is gone or one more has come, for the mean of
/// the others is another rate; and when the neighbours keep to another.
#[derive(Clone, Copy, Debug, Default)]
struct Founding {
    elapsed_s: f64,
    founders: usize,
    apart_s: f64,
    over: bool,
}

impl Founding {
    /// Takes in who is there and whether the others' rates differ beyond noise, and tells whether rates are still taken
    /// from the start.
    fn lasts(&mut self, view: &View<'_>, apart: bool) -> bool {
        if view.elapsed_s < self.elapsed_s {
            *self = Founding::default();
        }
        let passed_s = view.elapsed_s - self.elapsed_s;
        self.elapsed_s = view.elapsed_s;
        let founders = view.voices.iter().filter(|v| v.start_g.is_some()).count();
        self.over |= founders != self.founders && view.elapsed_s >= FOUNDED_S;
        self.founders = founders;
        self.over |= view.elapsed_s >= START_RATE_S;
        self.apart_s = if apart { self.apart_s + passed_s } else { 0.0 };
        self.over |= self.apart_s > OVERLAY_S;
        !self.over
    }
}

impl Rce {
    /// An ensemble of at most `capacity` peers.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Rce {
            phase: Hybrid::new(GATES_RCE, capacity),
            rate: Hybrid::new(Gates { bias: f64::INFINITY, ..GATES_RCE }, capacity),
            inputs: Vec::with_capacity(capacity),
            founding: Founding::default(),
            gained_s: 0.0,
        }
    }

    /// `value` gives a peer's value, what lasts of it, and its variance.
    fn fill(&mut self, voices: &[Voice], value: impl Fn(&Voice) -> (f64, f64, f64)) {
        self.inputs.clear();
        for voice in voices {
            let (value, steady, variance) = value(voice);
            self.inputs.push(Input { slot: voice.slot.index(), value, steady, sigma: variance.sqrt() });
        }
    }
}

impl Consensus for Rce {
    fn decide(&mut self, view: &View<'_>, dt_s: f64) -> Verdict {
        if view.voices.is_empty() {
            return Verdict::default();
        }
        let starting = view.elapsed_s < PATIENCE_S;
        let settled = view.elapsed_s >= SETTLED_S || view.elapsed_s >= PATIENCE_S && view.elapsed_s >= settled_s(view);
        let round = Round { own_counts: view.own_counts, faults: view.faults, starting, settled, dt_s };
        let doubt = newcomers(view, starting);
        // A filtered edge is never worse than a single exchange. Fused as seen from where own V was when the others
        // spoke; what it has moved since is then taken off.
        let moved_ns = view.own_moved_ns;
        self.fill(view.voices, |v| (v.z_ns + moved_ns, v.steady_ns + moved_ns, doubt(v) * v.edge_var.min(v.noise_var)));
        let phase = self.phase.fuse(&self.inputs, round);

        let left_ns = phase.value - moved_ns;

        // Rates have no noise that passes: edges average them for as long as oscillators allow.
        let apart = |v: &Voice| v.g + view.own_rate_moved;
        self.fill(view.voices, |v| (apart(v), apart(v), doubt(v) * v.edge_rate_var));
        let fused = self.rate.fuse(&self.inputs, round);
        let left = fused.value - view.own_rate_moved;
        let noise = RATE_APART * fused.sigma;
        let edge_sigma = median(view.voices.iter().map(|v| v.edge_rate_var.sqrt()));
        let apart = fused.parted || left.abs() > RATE_APART * edge_sigma;
        let at_start = if self.founding.lasts(view, apart) { start_rate(view) } else { None };
        let rate = at_start.unwrap_or_else(|| {
            let at_once = view.elapsed_s < START_S || fused.parted;
            let share = if at_once { 1.0 } else { (dt_s / RATE_S).min(1.0) };
            let slowly = left.clamp(-noise, noise);
            share * slowly + (left - slowly)
        });
        // No liar is tolerated there, so none can drag by it what the anchor would not see.
        let lagging =
            if view.sparse && view.faults == 0 && view.own_counts && !starting { left_ns * 1e-9 } else { 0.0 };
        // Where each hears others, each has another mean to hold on to, and they part by as much as oscillators wander.
        let anchor = match (view.faults > 0, view.sparse) {
            (true, _) => ANCHOR,
            (false, false) => ANCHOR_ALONE,
            (false, true) => 0.0,
        };
        let memory_s = view.drift_memory_s;
        let drag = drag(view);
        let gained = |drag: f64| self.gained_s + dt_s * (drag - self.gained_s / (GAINED * memory_s));
        self.gained_s = drag.filter(|_| !view.sparse).map_or(0.0, gained);
        // A quarter of the gain makes a loop that is critically damped.
        let drag = drag.unwrap_or_default() + anchor / 4.0 * self.gained_s / memory_s;
        Verdict {
            phase_ns: left_ns,
            rate: rate + LAGGING * dt_s * lagging - anchor * (dt_s / memory_s).min(1.0) * drag,
            sigma_ns: phase.sigma,
            used: (view.voices.len() - phase.rejected.count_ones() as usize) as u16,
            rejected: phase.rejected,
            parted: starting && (phase.parted || fused.parted),
        }
    }

    fn forget(&mut self, slot: PeerSlot) {
        self.phase.forget(slot.index());
        self.rate.forget(slot.index());
    }
}

/// When what lasts is told from what passes: after some memories of the edges, of which that of the slowest that an
/// honest peer may have counts, and so that of the bad ones where links differ.
fn settled_s(view: &View<'_>) -> f64 {
    let mut memories = [0.0; PEERS_MAX];
    let memories = &mut memories[..view.voices.len()];
    for (memory_s, v) in memories.iter_mut().zip(view.voices) {
        *memory_s = (v.edge_var / v.edge_rate_var).sqrt() * 1e-9;
    }
    memories.sort_unstable_by(f64::total_cmp);
    let slowest_s = memories[memories.len().saturating_sub(1 + view.faults)];
    PATIENCE_S + SETTLED_MEMORIES * slowest_s
}

/// How many times its variance each voice is to be taken for: one that has come back counts little at first and grows
/// for as long as drifts look back, beside those that were never away. Who was parted comes back link by link, within
/// an interval; counted in full at once, whoever had heard it stood between the two groups for as long as the others
/// had not. Where more have come back than were never away, it is this node's group that was cut off, and it goes to
/// them: of two groups one stays where it is, the greater one, or that of the lowest id.
fn newcomers(view: &View<'_>, starting: bool) -> impl Fn(&Voice) -> f64 {
    let grown_s = view.drift_memory_s;
    let present = move |v: &Voice| v.present_s.clamp(NEW_S, grown_s);
    let longest = view.voices.iter().map(present).fold(0.0, f64::max);
    let own = view.own_counts.then_some(view.own_node);
    let group = |new: bool| {
        let voices = view.voices.iter().filter(move |v| (present(v) < LONG * longest) == new).map(|v| v.node);
        let own = own.filter(|_| !new);
        (voices.clone().chain(own).count(), std::cmp::Reverse(voices.chain(own).min()))
    };
    let cut_off = group(true) > group(false);
    let longest = if starting || cut_off { 0.0 } else { longest };
    move |v| (longest / present(v)).powi(2).max(1.0)
}

/// The rate of the first seconds, as a change of the own: that of the mean of the members' clocks as they ran *before*
/// they agreed. Everyone computes it from constants; taking over the rates of peers that do the same at the same time
/// would lose their mean (ten nodes within 50 ppm settled up to 14 ppm off it). Which rate a cluster starts with is
/// arbitrary within its members' spread, so a bounded say is enough against liars here. `None` if most of the others
/// did not start with this node.
fn start_rate(view: &View<'_>) -> Option<f64> {
    if !view.own_counts {
        return None;
    }
    let founders = || view.voices.iter().filter_map(|v| v.start_g.map(|rate| (rate, v.noise_var)));
    if 2 * founders().count() < view.voices.len() {
        return None;
    }
    let mut sorted = [0.0; PEERS_MAX];
    let mut known = 0;
    for (_, variance) in founders() {
        sorted[known] = variance;
        known += 1;
    }
    sorted[..known].sort_unstable_by(f64::total_cmp);
    let limit = START_NOISE_REACH.powi(2) * sorted[known.div_ceil(3).min(known.saturating_sub(1))];
    let mut rates = [0.0; PEERS_MAX + 1];
    rates[0] = view.own_start;
    let mut count = 1;
    for (rate, _) in founders().filter(|(_, variance)| *variance <= limit) {
        rates[count] = rate;
        count += 1;
    }
    let rates = &mut rates[..count];
    let centre = trimmed_mean(rates, view.faults);
    let reach = START_RATE_REACH;
    Some(rates.iter().map(|r| r.clamp(centre - reach, centre + reach)).sum::<f64>() / count as f64)
}

/// The mean without the `trim` largest and smallest, as far as there are enough.
fn trimmed_mean(numbers: &mut [f64], trim: usize) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let trim = trim.min((numbers.len() - 1) / 2);
    let inner = &numbers[trim..numbers.len() - trim];
    inner.iter().sum::<f64>() / inner.len() as f64
}

/// How far the ensemble has left its oscillators since it agreed: the trimmed mean of what each member's V has gained
/// on its raw clock (ALGORITHMS 6.6). The same at every node up to noise, so pulling it back disturbs no agreement.
fn drag(view: &View<'_>) -> Option<f64> {
    let own = view.own_drift.filter(|_| view.own_counts)?;
    let mut drifts = [0.0; PEERS_MAX + 1];
    drifts[0] = own;
    let mut count = 1;
    for drift in view.voices.iter().filter_map(|v| v.drift) {
        drifts[count] = drift;
        count += 1;
    }
    Some(trimmed_mean(&mut drifts[..count], view.faults))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(slot: u16, z_ns: f64, g: f64) -> Voice {
        Voice { slot: PeerSlot(slot), z_ns, steady_ns: z_ns, g, ..Voice::AGREES }
    }

    fn view(voices: &[Voice], faults: usize) -> View<'_> {
        View { voices, faults, own_drift: Some(0.0), ..View::EMPTY }
    }

    #[test]
    fn phase_is_taken_over_in_full_and_rate_slowly() {
        let verdict = Rce::new(4).decide(&view(&[voice(0, 30.0, 3e-9)], 0), 0.0625);
        assert_eq!(verdict.phase_ns, 15.0);
        assert!((verdict.rate - 1.5e-9 * 0.0625 / 2.0).abs() < 1e-20);
    }

    #[test]
    fn at_the_start_the_rate_is_that_of_the_mean_of_the_clocks_as_they_ran_before() {
        // The peer, 3 ppm faster by itself, has already moved to the mean; so has this node, by 1.5 ppm.
        let mut voices = [voice(0, 0.0, 0.0)];
        voices[0].start_g = Some(1.5e-6);
        let early = View { elapsed_s: 0.5, own_start: -1.5e-6, ..view(&voices, 0) };
        assert!(Rce::new(4).decide(&early, 0.0625).rate.abs() < 1e-18, "the mean is kept");
    }

    #[test]
    fn a_founder_that_leaves_does_not_take_its_share_of_the_rate_with_it() {
        let mut voices = [voice(0, 0.0, 0.0), voice(1, 0.0, 0.0)];
        (voices[0].start_g, voices[1].start_g) = (Some(40e-6), Some(-10e-6));
        let mut rce = Rce::new(4);
        let at = |elapsed_s: f64| View { elapsed_s, own_start: -30e-6, ..view(&[], 0) };
        assert!(rce.decide(&View { voices: &voices, ..at(4.0) }, 0.0625).rate.abs() < 1e-18);
        let left = View { voices: &voices[..1], ..at(4.1) };
        assert!(rce.decide(&left, 0.0625).rate.abs() < 1e-18, "the mean of the two that stay is 5 ppm higher");
    }

    #[test]
    fn the_same_words_are_not_followed_twice() {
        let mut rce = Rce::new(4);
        let first = rce.decide(&view(&[voice(0, 30.0, 0.0)], 0), 0.0625).phase_ns;
        let moved = View { own_moved_ns: first, ..view(&[], 0) };
        let again = rce.decide(&View { voices: &[voice(0, 30.0 - first, 0.0)], ..moved }, 0.0625).phase_ns;
        assert_eq!((first, again), (15.0, 0.0));
    }

    #[test]
    fn a_follower_gives_its_own_clock_no_weight() {
        let voices = [voice(0, 30.0, 3e-9)];
        let verdict = Rce::new(4).decide(&View { own_counts: false, ..view(&voices, 0) }, 0.0625);
        assert_eq!(verdict.phase_ns, 30.0);
    }

    /// What a node makes of others that are 600 ns ahead and have just come back, and of those that were never away.
    fn merged(own: u128, back: &[u128], stayed: &[u128]) -> f64 {
        let heard = |node: &u128, present_s: f64, z_ns: f64| Voice {
            node: crate::unit::NodeId(*node as _),
            present_s,
            ..voice(*node as u16, z_ns, 0.0)
        };
        let back = back.iter().map(|node| heard(node, 0.1, 600.0));
        let voices: Vec<Voice> = back.chain(stayed.iter().map(|node| heard(node, 60.0, 0.0))).collect();
        let own_node = crate::unit::NodeId(own as _);
        let now = View { own_node, elapsed_s: 120.0, drift_memory_s: 60.0, ..view(&voices, 0) };
        Rce::new(8).decide(&now, 0.0625).phase_ns
    }

    #[test]
    fn of_two_groups_that_meet_again_the_smaller_goes_to_the_greater() {
        assert!(merged(9, &[1, 2], &[3, 4]) < 1.0, "three stay where they are");
        assert!(merged(1, &[3, 4, 9], &[2]) > 200.0, "two that hear three again go to them");
    }

    #[test]
    fn of_two_equal_groups_that_of_the_lowest_id_stays() {
        assert!(merged(1, &[2, 3], &[4]) < 1.0);
        assert!(merged(3, &[1, 4], &[2]) > 200.0);
    }

    #[test]
    fn the_anchor_pulls_back_what_all_have_gained() {
        let mut voices = [voice(0, 0.0, 0.0), voice(1, 0.0, 0.0), voice(2, 0.0, 0.0)];
        for v in &mut voices {
            v.drift = Some(1e-6);
        }
        let dragged = View { own_drift: Some(1e-6), ..view(&voices, 1) };
        assert!((Rce::new(4).decide(&dragged, 1e-3).rate + 4e-11).abs() < 1e-15);
    }

    #[test]
    fn a_drag_that_goes_on_is_taken_back_but_for_a_sixth() {
        let (mut rce, dt_s, push) = (Rce::new(4), 0.125, 1e-9);
        let mut rate = 0.0;
        for _ in 0..16_000 {
            let mut voices = [voice(0, 0.0, 0.0), voice(1, 0.0, 0.0), voice(2, 0.0, 0.0)];
            voices.iter_mut().for_each(|v| v.drift = Some(rate));
            let now = View { own_drift: Some(rate), drift_memory_s: 5.0, ..view(&voices, 1) };
            rate += push * dt_s + rce.decide(&now, dt_s).rate;
        }
        let alone = push * 5.0 / ANCHOR;
        assert!(rate > 0.0 && rate < alone / 5.5, "{rate:e} where the pull alone settles at {alone:e}");
    }

    #[test]
    fn one_node_cannot_move_the_anchor() {
        let mut voices = [voice(0, 0.0, 0.0), voice(1, 0.0, 0.0), voice(2, 0.0, 0.0)];
        voices[1].drift = Some(1.0);
        assert_eq!(Rce::new(4).decide(&view(&voices, 1), 1.0).rate, 0.0);
    }
}
