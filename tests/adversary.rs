//! An adversary that searches: it holds valid keys, chooses what to say, how far to go and through which part of the
//! protocol, and keeps what hurts most. What it found is printed; a bound holds it.

use llts::pipeline::Algorithm;
use llts::sim::run::{run_all, seed_of};
use llts::sim::scenario::Scenario;

/// One way of lying, as a scenario writes it.
#[derive(Clone, Debug)]
struct Attack {
    kind: &'static str,
    via: &'static str,
    amplitude_ns: f64,
}

impl Attack {
    fn toml(&self, liars: std::ops::Range<usize>) -> String {
        let amplitude = format!("{:.1}ns", self.amplitude_ns);
        format!(
            "[[liar]]\nnodes = {:?}\nattack = {{ kind = '{}', amplitude = '{amplitude}' }}\nvia = '{}'\nfrom = '30s'\n",
            liars.collect::<Vec<_>>(),
            self.kind,
            self.via,
        )
    }
}

/// The world in which the adversary searches, and how much of it lies.
struct World {
    nodes: usize,
    liars: usize,
    jitter: &'static str,
    /// The search covers amplitudes between these, ns.
    amplitudes_ns: (f64, f64),
}

impl World {
    /// RMS of the honest pairs over two seeds, ns.
    fn harm_ns(&self, attack: Option<&Attack>) -> f64 {
        let World { nodes, liars, jitter, .. } = *self;
        let lie = attack.map_or(String::new(), |attack| attack.toml(nodes - liars..nodes));
        let text = format!(
            "summary = 'searched'\nduration = '120s'\n[cluster]\nnodes = {nodes}\nfaults = {liars}\n\
             [link]\ndelay = '5us'\njitter = '{jitter}'\nloss = 0.01\n[measure]\nfrom = '60s'\n{lie}"
        );
        let scenario = Scenario::parse("searched", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let seeds: Vec<u64> = (0..2).map(|n| seed_of(77, n)).collect();
        let reports = run_all(&scenario, Algorithm::default(), &seeds, &|| {});
        assert!(reports.iter().all(|r| r.bound_violations == 0), "a published bound was broken by {attack:?}");
        let squares = reports.iter().map(|r| r.pairwise_rms_ns.expect("honest nodes are measured").powi(2));
        (squares.sum::<f64>() / reports.len() as f64).sqrt()
    }

    /// Tries every way of lying at amplitudes spread over the range, then climbs from the worst few; returns the worst
    /// and what it did, as a multiple of what happens without it.
    fn search(&self) -> (Attack, f64) {
        let calm_ns = self.harm_ns(None);
        let (low, high) = self.amplitudes_ns;
        let mut tried: Vec<(f64, Attack)> = Vec::new();
        for (kind, via) in [("edge", "claim"), ("edge", "stamps"), ("two-faced", "claim"), ("smart-drag", "claim")] {
            for step in 0..4 {
                let amplitude_ns = low * (high / low).powf(f64::from(step) / 3.0);
                let attack = Attack { kind, via, amplitude_ns };
                tried.push((self.harm_ns(Some(&attack)) / calm_ns, attack));
            }
        }
        for stride in [1.6, 1.25] {
            tried.sort_by(|a, b| b.0.total_cmp(&a.0));
            let worst: Vec<Attack> = tried.iter().take(2).map(|(_, attack)| attack.clone()).collect();
            for from in worst {
                for factor in [stride, 1.0 / stride] {
                    let attack = Attack { amplitude_ns: from.amplitude_ns * factor, ..from.clone() };
                    tried.push((self.harm_ns(Some(&attack)) / calm_ns, attack));
                }
            }
        }
        tried.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (ratio, attack) in &tried[..5] {
            println!("{} of {}: {ratio:.2}x by {attack:?}", self.liars, self.nodes);
        }
        let (ratio, attack) = tried[0].clone();
        (attack, ratio)
    }
}

#[test]
fn the_worst_lie_that_a_search_finds_among_four_stays_below_1_8_times_peace() {
    let world = World { nodes: 4, liars: 1, jitter: "normal 30ns", amplitudes_ns: (2.0, 100.0) };
    let (attack, ratio) = world.search();
    assert!(ratio <= 1.8, "{ratio:.2}x by {attack:?}");
    assert!(ratio > 1.05, "a search that finds nothing has not searched: {ratio:.2}x by {attack:?}");
}

#[test]
fn the_worst_lie_that_a_search_finds_for_three_of_ten_stays_below_1_8_times_peace() {
    let world = World { nodes: 10, liars: 3, jitter: "normal 30ns", amplitudes_ns: (2.0, 60.0) };
    let (attack, ratio) = world.search();
    assert!(ratio <= 1.8, "{ratio:.2}x by {attack:?}");
}
