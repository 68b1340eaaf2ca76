//! A scenario as it is written: a TOML file of physical parameters, faults and numeric bounds. Parsed and checked here,
//! once; nothing is simulated. Every field has a default that an ordinary server room would have, so a scenario says
//! only what is special about it. docs/SIMULATION.md is the guide.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounds::Bounds;
use super::check::check;
use super::fault::{Event, Liar};
use super::law::{Law, Term};
use super::parts::{ClockSpec, LimitsSpec, LinkSpec, OscillatorSpec, StampSpec};
use super::place::{line_of, mistake_at};
use super::quantity::Span;
use super::random::Stream;
use super::topology::Topology;
use crate::flow::Role;
use crate::limits::{RATE_HZ_DEFAULT, ROUNDS_DEFAULT, TICK_NS};
use crate::pipeline::Algorithm;

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of its file without the ending.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// Virtual time that one run takes.
    pub duration: Span,
    /// Runs, each of its own seed, unless told otherwise.
    #[serde(default = "five")]
    pub seeds: u32,
    /// Runs in the test command; 0 leaves the scenario to `llts sim`.
    #[serde(default = "one")]
    pub test_seeds: u32,
    /// The nodes and how they work.
    #[serde(default)]
    pub cluster: Cluster,
    /// The oscillators.
    #[serde(default)]
    pub oscillator: OscillatorSpec,
    /// The delivered clocks.
    #[serde(default)]
    pub clock: ClockSpec,
    /// The stamps.
    #[serde(default)]
    pub stamps: StampSpec,
    /// The links.
    #[serde(default)]
    pub link: LinkSpec,
    /// Links that differ.
    #[serde(default, rename = "edge")]
    pub edges: Vec<EdgeSpec>,
    /// Nodes that differ.
    #[serde(default, rename = "node")]
    pub nodes: Vec<NodeSpec>,
    /// What happens.
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
    /// Who lies.
    #[serde(default, rename = "liar")]
    pub liars: Vec<Liar>,
    /// When and how the truth is sampled.
    #[serde(default)]
    pub measure: Measure,
    /// What must come out.
    #[serde(default)]
    pub bounds: Bounds,
}

fn five() -> u32 {
    5
}

fn one() -> u32 {
    1
}

/// How much of a node's doing is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fidelity {
    /// Everything: each packet is written, sealed, carried, opened and answered by the protocol.
    #[default]
    Packets,
    /// Everything from the finished exchange on; see `cluster::direct`.
    Exchanges,
}

/// The nodes and how they work.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// How many.
    pub nodes: usize,
    /// How much of what they do is simulated: `packets`, or from finished `exchanges` on.
    pub fidelity: Fidelity,
    /// Who lists whom.
    pub topology: Topology,
    /// Peers of a node in an overlay; must be even.
    pub degree: usize,
    /// Exchanges a second and pair.
    pub rate: f64,
    /// Exchanges of the start burst.
    pub rounds: u32,
    /// Liars to tolerate; by default as many as the members alive allow.
    pub faults: Option<u16>,
    /// How agreement is reached.
    pub algorithm: String,
    /// Time between two ticks.
    pub tick: Span,
    /// How late a tick comes.
    pub tick_late: Law,
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            nodes: 3,
            fidelity: Fidelity::Packets,
            topology: Topology::Mesh,
            degree: 8,
            rate: RATE_HZ_DEFAULT,
            rounds: ROUNDS_DEFAULT,
            faults: None,
            algorithm: Algorithm::default().as_str().to_owned(),
            tick: Span(TICK_NS as f64),
            tick_late: Law::ZERO.plus(Term::Exponential(20_000.0)),
        }
    }
}

/// Links that differ from the rest: those between two nodes, those of some nodes, those between two sites, those of
/// nodes some places apart, or a part of all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeSpec {
    /// The link between these two.
    pub between: Option<[usize; 2]>,
    /// All links of these.
    #[serde(default)]
    pub of: Vec<usize>,
    /// All links between the sites of a `two-sites` network.
    #[serde(default)]
    pub across: bool,
    /// All links between nodes that sit so many places apart when all sit in a circle in the order of their numbers: in
    /// a mesh, as many links of every node.
    #[serde(default)]
    pub apart: Vec<usize>,
    /// This part of all links, drawn by the seed.
    #[serde(default)]
    pub part: f64,
    /// What they are like.
    pub link: LinkSpec,
}

/// Nodes that differ from the rest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Which.
    pub nodes: Vec<usize>,
    /// Their part in the agreement: `peer`, `reference` or `observer`.
    #[serde(default, deserialize_with = "role")]
    pub role: Option<Role>,
    /// Their oscillators.
    pub oscillator: Option<OscillatorSpec>,
    /// Their clocks.
    pub clock: Option<ClockSpec>,
    /// Their stamps.
    pub stamps: Option<StampSpec>,
    /// What may be done to their clocks.
    pub limits: Option<LimitsSpec>,
    /// They come up then instead of at the start.
    pub joins_at: Option<Span>,
    /// They hold a key that nobody else has.
    #[serde(default)]
    pub wrong_key: bool,
}

fn role<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Role>, D::Error> {
    let word = String::deserialize(from)?;
    let roles = [Role::Peer, Role::Reference, Role::Observer];
    let found = roles.into_iter().find(|role| role.as_str() == word);
    found.map(Some).ok_or_else(|| serde::de::Error::custom(format!("'{word}' is no role: peer, reference or observer")))
}

/// When and how the truth is sampled.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measure {
    /// Statistics begin then; by default at half of the duration.
    pub from: Option<Span>,
    /// The drift of the ensemble is the change of its rate since then.
    pub drift_from: Span,
    /// A node that joins, returns or merges counts after so long.
    pub settle: Span,
    /// Samples a second.
    pub sample_hz: f64,
}

impl Default for Measure {
    fn default() -> Self {
        Measure { from: None, drift_from: Span(20e9), settle: Span(10e9), sample_hz: 64.0 }
    }
}

impl Scenario {
    /// The same world in which nothing happens: no event, and who would join later never comes.
    #[must_use]
    pub fn without_events(&self) -> Scenario {
        let mut calm = self.clone();
        calm.events.clear();
        for spec in calm.nodes.iter_mut().filter(|spec| spec.joins_at.is_some()) {
            spec.joins_at = Some(Span(2.0 * self.duration.0));
        }
        calm
    }

    /// Reads the scenario called `name` from `text`.
    ///
    /// # Errors
    /// What is wrong, in one sentence with the line and the key.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
        let of_text = |error: toml::de::Error| {
            let at = error.span().map(|span| mistake_at(text, span.start, error.message()));
            let line = at.map_or(String::new(), |at| format!("line {}: ", line_of(text, at)));
            let says: Vec<&str> = error.message().lines().map(str::trim).collect();
            format!("scenario {name}: {line}{}", says.join(" "))
        };
        let mut scenario: Scenario = toml::from_str(text).map_err(of_text)?;
        name.clone_into(&mut scenario.name);
        check(&scenario).map_err(|wrong| format!("scenario {name}: {}", wrong.sentence(text)))?;
        Ok(scenario)
    }

    /// When statistics begin, ns.
    #[must_use]
    pub fn measured_from_ns(&self) -> i64 {
        self.measure.from.map_or(self.duration.nanos() / 2, Span::nanos)
    }

    /// The last entry for node `n` that has what is asked for.
    pub fn special<'a, T>(&'a self, n: usize, of: impl Fn(&'a NodeSpec) -> Option<T>) -> Option<T> {
        self.nodes.iter().rev().filter(|spec| spec.nodes.contains(&n)).find_map(of)
    }

    /// The part that node `n` plays.
    #[must_use]
    pub fn role(&self, n: usize) -> Role {
        self.special(n, |spec| spec.role).unwrap_or_default()
    }

    /// What the link between these nodes (the lower first) is like; the first draw from the link's own stream `once`
    /// decides where an entry is for a part of all links.
    #[must_use]
    pub fn link_between(&self, edge: (usize, usize), once: &mut Stream) -> &LinkSpec {
        let lot = once.unit();
        let special = self.edges.iter().rev().find(|spec| spec.selects(edge, &self.cluster) || lot < spec.part);
        special.map_or(&self.link, |spec| &spec.link)
    }

    /// True if node `n` lies at any time.
    #[must_use]
    pub fn is_liar(&self, n: usize) -> bool {
        self.liars.iter().any(|liar| liar.nodes.contains(&n))
    }
}

impl EdgeSpec {
    /// Whether it is about this link, apart from what the seed draws.
    #[must_use]
    pub fn selects(&self, (a, b): (usize, usize), cluster: &Cluster) -> bool {
        self.between.is_some_and(|[x, y]| (x.min(y), x.max(y)) == (a, b))
            || self.of.contains(&a)
            || self.of.contains(&b)
            || (self.across && cluster.topology.is_across(cluster.nodes, (a, b)))
            || self.apart.contains(&(b - a).min(cluster.nodes + a - b))
    }
}

/// The scenarios that come with the program, by name.
#[must_use]
pub fn shipped() -> BTreeMap<&'static str, &'static str> {
    super::catalogue::CATALOGUE.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, Stream};
    use super::*;

    #[test]
    fn every_shipped_scenario_is_well_formed() {
        for (name, text) in shipped() {
            if let Err(error) = Scenario::parse(name, text) {
                panic!("{error}");
            }
        }
    }

    #[test]
    fn the_backward_direction_differs_only_where_it_says_so() {
        let text = "summary = 'x'\nduration = '10s'\n[link]\ndelay = '20ms'\njitter = 'exp 500us'\nloss = 0.1\n\
                    [link.backward]\njitter = 'exp 2ms'\n";
        let scenario = Scenario::parse("test", text).unwrap();
        let [forward, backward] = scenario.link.build(&mut Stream::new(1, Purpose::Edge, 0, 1));
        assert_eq!((backward.base_ns, backward.loss), (forward.base_ns, forward.loss));
        assert_eq!((forward.jitter.mean(), backward.jitter.mean()), (500e3, 2e6));
    }
}
