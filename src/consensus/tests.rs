//! What every algorithm of the registry owes, and which of them keep their promise under liars: properties over random
//! views, whatever the algorithm. What each does by itself is tested beside it.

use proptest::prelude::*;

use super::*;

const DT_S: f64 = 0.0625;

/// A view's content, owned.
#[derive(Clone, Debug)]
struct Scene {
    voices: Vec<Voice>,
    faults: usize,
    own_counts: bool,
    elapsed_s: f64,
    own_moved_ns: f64,
}

impl Scene {
    fn decided(&self, algorithm: Algorithm) -> Verdict {
        let view = View {
            voices: &self.voices,
            own_node: NodeId(50),
            faults: self.faults,
            own_counts: self.own_counts,
            elapsed_s: self.elapsed_s,
            own_moved_ns: self.own_moved_ns,
            ..View::EMPTY
        };
        algorithm.make(self.voices.len()).decide(&view, DT_S)
    }

    fn negated(&self) -> Scene {
        let negate = |v: &Voice| Voice {
            z_ns: -v.z_ns,
            steady_ns: -v.steady_ns,
            hard: Span { low_ns: -v.hard.high_ns, high_ns: -v.hard.low_ns },
            g: -v.g,
            drift: v.drift.map(|drift| -drift),
            ..*v
        };
        Scene { voices: self.voices.iter().map(negate).collect(), own_moved_ns: -self.own_moved_ns, ..self.clone() }
    }
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let voice = (-1e6..1e6f64, 1.0..1e5f64, 1.0..1e5f64, -1e-4..1e-4f64, 1.0..1e6f64, any::<bool>());
    let voices = prop::collection::vec(voice, 1..12);
    (voices, any::<bool>(), prop_oneof![Just(0.5), Just(100.0)], -1e3..1e3f64).prop_map(
        |(voices, own_counts, elapsed_s, own_moved_ns)| {
            let voices: Vec<Voice> = voices
                .into_iter()
                .enumerate()
                .map(|(n, (z_ns, below_ns, above_ns, g, edge_var, tracks))| Voice {
                    slot: PeerSlot(n as u16),
                    node: NodeId(10 * n as u64 + 1),
                    tracks,
                    z_ns,
                    steady_ns: z_ns,
                    hard: Span { low_ns: z_ns - below_ns, high_ns: z_ns + above_ns },
                    g,
                    edge_var,
                    noise_var: 4.0 * edge_var,
                    ..Voice::AGREES
                })
                .collect();
            Scene { faults: voices.len() / 3, voices, own_counts, elapsed_s, own_moved_ns }
        },
    )
}

fn each() -> impl Iterator<Item = Algorithm> {
    ALGORITHMS.iter().map(|entry| Algorithm::named(entry.name).expect("it is in the list"))
}

/// The same but for the order of additions.
fn alike(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * scale
}

proptest! {
    #[test]
    fn negating_the_world_negates_the_answer(scene in any_scene()) {
        for algorithm in each() {
            let (here, there) = (scene.decided(algorithm), scene.negated().decided(algorithm));
            prop_assert!(alike(here.phase_ns, -there.phase_ns, 1e6), "{algorithm}: {here:?} {there:?}");
            prop_assert!(alike(here.rate, -there.rate, 1e-4), "{algorithm}: {here:?} {there:?}");
            prop_assert!(alike(here.sigma_ns, there.sigma_ns, 1e6), "{algorithm}: {here:?} {there:?}");
        }
    }

    #[test]
    fn the_order_of_the_peers_is_no_reason(scene in any_scene(), turn in 0usize..12) {
        let mut turned = scene.clone();
        let by = turn % scene.voices.len();
        turned.voices.rotate_left(by);
        turned.voices.reverse();
        for algorithm in each() {
            let (here, there) = (scene.decided(algorithm), turned.decided(algorithm));
            prop_assert!(alike(here.phase_ns, there.phase_ns, 1e6), "{algorithm}: {here:?} {there:?}");
            prop_assert!(alike(here.rate, there.rate, 1e-4), "{algorithm}: {here:?} {there:?}");
        }
    }

    #[test]
    fn every_answer_is_finite_and_everybody_who_agrees_stays(scene in any_scene()) {
        let mut agreed = scene.clone();
        for voice in &mut agreed.voices {
            let reach_ns = voice.hard.high_ns - voice.z_ns;
            (voice.z_ns, voice.steady_ns, voice.g) = (-scene.own_moved_ns, -scene.own_moved_ns, 0.0);
            voice.hard = Span { low_ns: voice.z_ns - reach_ns, high_ns: voice.z_ns + reach_ns };
        }
        for algorithm in each() {
            let verdict = scene.decided(algorithm);
            prop_assert!(verdict.phase_ns.is_finite() && verdict.rate.is_finite() && verdict.sigma_ns >= 0.0);
            // They spoke of where own V was: it has moved by as much as they now seem to be behind.
            if algorithm.as_str() != "tree" && algorithm.as_str() != "average" {
                let stays = agreed.decided(algorithm).phase_ns + scene.own_moved_ns;
                prop_assert!(alike(stays, 0.0, 1e6), "{algorithm} moves by {stays} ns");
            }
        }
    }

    /// f liars with any values and any intervals against n >= 3f+1: own V ends among the honest.
    #[test]
    fn f_liars_cannot_move_the_proven_rules_out_of_the_honest_values(
        honest in prop::collection::vec(-1e4..1e4f64, 6),
        lies in prop::collection::vec((-1e12..1e12f64, 0.0..1e9f64), 3),
        width_ns in 1.0..1e4f64,
    ) {
        let near = |z_ns: f64| Span { low_ns: z_ns - width_ns, high_ns: z_ns + width_ns };
        let voice = |n: usize, z_ns: f64, hard: Span| {
            Voice { slot: PeerSlot(n as u16), z_ns, steady_ns: z_ns, hard, g: z_ns * 1e-9, ..Voice::AGREES }
        };
        let truths = honest.iter().enumerate().map(|(n, z)| voice(n, *z, near(*z)));
        let said = |(n, (z, w)): (usize, &(f64, f64))| voice(6 + n, *z, Span { low_ns: z - w, high_ns: z + w });
        let voices: Vec<Voice> = truths.chain(lies.iter().enumerate().map(said)).collect();
        let scene = Scene { voices, faults: 3, own_counts: true, elapsed_s: 100.0, own_moved_ns: 0.0 };
        let low = honest.iter().copied().fold(0.0, f64::min);
        let high = honest.iter().copied().fold(0.0, f64::max);
        let rules = [("lynch-welch", 0.0), ("trimmed-mean", 0.0), ("median", 0.0), ("marzullo", width_ns)];
        for (name, beyond_ns) in rules {
            let verdict = scene.decided(Algorithm::named(name).unwrap());
            let moved = verdict.phase_ns;
            prop_assert!((low - beyond_ns..=high + beyond_ns).contains(&moved), "{name} moves to {moved}");
        }
    }

    /// Two honest nodes hear six honest ones and three liars who tell each of them something else: the midpoint halves
    /// what they disagree on, the trimmed mean leaves f/(n-2f) of it, at most.
    #[test]
    fn two_faced_liars_cannot_stop_the_proven_rules_from_closing_in(
        honest in prop::collection::vec(-1e4..1e4f64, 7),
        lies in prop::collection::vec((-1e6..1e6f64, -1e6..1e6f64), 3),
    ) {
        let spread = honest.iter().fold(f64::MIN, |m, v| m.max(*v)) - honest.iter().fold(f64::MAX, |m, v| m.min(*v));
        let heard = |told: &dyn Fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = honest.iter().copied().chain(lies.iter().map(told)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let (here, there) = (heard(&|lie| lie.0), heard(&|lie| lie.1));
        let apart = |rule: round::Rule| (rule(&here, 3) - rule(&there, 3)).abs();
        prop_assert!(apart(lynch_welch::midpoint) <= spread / 2.0 + 1e-9);
        prop_assert!(apart(trimmed_mean::trimmed_mean) <= spread * 3.0 / 4.0 + 1e-9);
    }
}

#[test]
fn one_liar_moves_each_of_those_that_say_so_and_none_of_those_that_do_not() {
    for entry in ALGORITHMS {
        let mut voices = [Voice::AGREES; 6];
        for (n, voice) in voices.iter_mut().enumerate() {
            (voice.slot, voice.node) = (PeerSlot(n as u16), NodeId(60 + n as u64));
        }
        // The liar has the lowest name, and is a second off.
        (voices[3].node, voices[3].z_ns) = (NodeId(1), 1e9);
        voices[3].hard = Span { low_ns: 1e9 - 1_000.0, high_ns: 1e9 + 1_000.0 };
        let scene = Scene { voices: voices.to_vec(), faults: 2, own_counts: true, elapsed_s: 100.0, own_moved_ns: 0.0 };
        let moved_ns = scene.decided(Algorithm::named(entry.name).unwrap()).phase_ns.abs();
        // The median is not moved by one: its fault is another (see its file).
        let tolerant = entry.tolerates_liars || entry.name == "median";
        assert_eq!(moved_ns < 1_000.0, tolerant, "{} moves by {moved_ns} ns", entry.name);
    }
}

/// A mesh of nodes that decide all at once, each with an algorithm of its own, over edges that are off by the same at
/// both ends: peer minus self here, self minus peer there.
struct Mesh {
    nodes: Vec<Box<dyn Consensus>>,
    /// V and its rate, ns and seconds per second.
    v: Vec<(f64, f64)>,
    /// By what the edge from the lower to the higher number is off.
    off: Vec<Vec<(f64, f64)>>,
    faults: usize,
}

impl Mesh {
    fn new(name: &str, v: &[(f64, f64)], off: &[(f64, f64)], faults: usize) -> Self {
        let count = v.len();
        let algorithm = Algorithm::named(name).expect("it is in the list");
        let at = |a: usize, b: usize| off[(a * count + b) % off.len()];
        let off = (0..count).map(|a| (0..count).map(|b| at(a, b)).collect()).collect();
        Mesh { nodes: (0..count).map(|_| algorithm.make(count)).collect(), v: v.to_vec(), off, faults }
    }

    /// How far the mean of V and that of its rate are from where they were at `from`.
    fn moved(&self, from: &[(f64, f64)]) -> (f64, f64) {
        let count = from.len() as f64;
        let moves = || self.v.iter().zip(from).map(|(now, then)| (now.0 - then.0, now.1 - then.1));
        (moves().map(|m| m.0).sum::<f64>() / count, moves().map(|m| m.1).sum::<f64>() / count)
    }

    fn decide(&mut self) {
        let count = self.v.len();
        let heard = |a: usize, b: usize| {
            let (low, high, sign) = if a < b { (a, b, 1.0) } else { (b, a, -1.0) };
            let (off_ns, off_rate) = self.off[low][high];
            let z_ns = self.v[b].0 - self.v[a].0 + sign * off_ns;
            let g = self.v[b].1 - self.v[a].1 + sign * off_rate;
            let hard = Span { low_ns: z_ns - 1e7, high_ns: z_ns + 1e7 };
            Voice { slot: PeerSlot(b as u16), node: NodeId(b as u64), z_ns, steady_ns: z_ns, g, hard, ..Voice::AGREES }
        };
        let decided: Vec<Verdict> = (0..count)
            .map(|a| {
                let voices: Vec<Voice> = (0..count).filter(|b| *b != a).map(|b| heard(a, b)).collect();
                let view = View { voices: &voices, own_node: NodeId(a as u64), faults: self.faults, ..View::EMPTY };
                self.nodes[a].decide(&view, DT_S)
            })
            .collect();
        for (v, verdict) in self.v.iter_mut().zip(decided) {
            (v.0, v.1) = (v.0 + verdict.phase_ns + v.1 * DT_S * 1e9, v.1 + verdict.rate);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nobody lies, links are alike, all decide at once: what one node is moved another is moved the other way,
    /// however far apart they are and whatever the edges are off by; and so are rates that differ by no more than
    /// noise. (Rates further apart are taken over in full beyond it. Nodes that decide one after the other answer to
    /// moves already made; links of different quality weigh differently at their two ends. None of these keeps the
    /// mean to the last digit.)
    #[test]
    fn the_mean_of_mappings_is_conserved_without_liars(
        v in prop::collection::vec((-1e6f64..1e6, -3e-10f64..3e-10), 2..9),
        off in prop::collection::vec((-100f64..100.0, -3e-10f64..3e-10), 11),
    ) {
        for name in ["rce", "rce-kalman", "average"] {
            let mut mesh = Mesh::new(name, &v, &off, 0);
            let rate = v.iter().map(|v| v.1).sum::<f64>() / v.len() as f64;
            for n in 1..20 {
                mesh.decide();
                let (phase_ns, rate_by) = mesh.moved(&v);
                let carried_ns = rate * DT_S * 1e9 * f64::from(n);
                prop_assert!((phase_ns - carried_ns).abs() < 1e-6, "{name}: {} ns in {n}", phase_ns - carried_ns);
                prop_assert!(rate_by.abs() < 1e-18, "{name}: rate by {rate_by} in {n}");
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The same with a fault budget, among nodes that agree within noise (3 ns, where an edge's standard deviation is
    /// 10): nothing is clipped. What moves the mean is that each stays within the ranks that liars cannot pass, and
    /// takes weight from those whom it sees biased.
    #[test]
    fn a_fault_budget_moves_the_mean_of_nodes_that_agree_by_less_than_their_noise(
        v in prop::collection::vec((-1f64..1.0, Just(0.0)), 4..11),
        off in prop::collection::vec((-1f64..1.0, Just(0.0)), 11),
    ) {
        let mut mesh = Mesh::new("rce", &v, &off, (v.len() - 1) / 3);
        for n in 1..=400 {
            mesh.decide();
            let moved_ns = mesh.moved(&v).0;
            prop_assert!(moved_ns.abs() < 1.0, "{moved_ns} ns in {n} decisions");
        }
    }
}
