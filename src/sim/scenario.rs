//! A scenario as it is written: a TOML file of physical parameters, faults and numeric bounds. Parsed and checked here,
//! once; nothing is simulated. Every field has a default that an ordinary server room would have, so a scenario says
//! only what is special about it. docs/SIMULATION.md is the guide.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounds::Bounds;
use super::fault::{Event, Liar};
use super::law::{Law, Term};
use super::link::{Bursts, Path, Queue, Wire};
use super::oscillator::Quality;
use super::quantity::{Rate, Span};
use super::random::Stream;
use super::stamp::StampModel;
use super::topology::Topology;
use crate::flow::{Role, StampClass};
use crate::limits::{PEERS_MAX, RATE_HZ_DEFAULT, RATE_HZ_MAX, RATE_HZ_MIN, ROUNDS_DEFAULT, TICK_NS};
use crate::pipeline::Algorithm;

/// Bytes of one of our packets on a wire: the datagram and its headers down to the preamble.
const WIRE_BYTES: f64 = 176.0 + 66.0;

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

/// The nodes and how they work.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// How many.
    pub nodes: usize,
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

/// An oscillator as its datasheet has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OscillatorSpec {
    /// Frequency error at the start: uniform within plus or minus this.
    pub frequency: Rate,
    /// Frequency error at the start, exactly.
    pub frequency_exact: Option<Rate>,
    /// Random-walk frequency noise per square root of a second.
    pub wander: f64,
    /// White frequency noise: Allan deviation at 1 s.
    pub white: f64,
    /// Flicker frequency noise: its Allan deviation.
    pub flicker: f64,
    /// Swing of a temperature cycle.
    pub temperature: Rate,
    /// Period of the temperature cycle.
    pub temperature_period: Span,
}

impl Default for OscillatorSpec {
    fn default() -> Self {
        OscillatorSpec {
            frequency: Rate(50e-6),
            frequency_exact: None,
            wander: 1e-9,
            white: 0.0,
            flicker: 0.0,
            temperature: Rate(0.0),
            temperature_period: Span(1_000e9),
        }
    }
}

impl OscillatorSpec {
    /// One oscillator of this kind.
    #[must_use]
    pub fn build(&self, stream: &mut Stream) -> Quality {
        let drawn = self.frequency.0 * stream.symmetric();
        Quality {
            rate: self.frequency_exact.map_or(drawn, |rate| rate.0),
            wander: self.wander,
            white: self.white,
            flicker: self.flicker,
            temperature_amplitude: self.temperature.0,
            temperature_period_s: self.temperature_period.seconds(),
        }
    }
}

/// The delivered clocks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockSpec {
    /// Error at the start: uniform within plus or minus this.
    pub offset: Span,
    /// Error at the start, exactly.
    pub offset_exact: Option<Span>,
    /// Rates are rounded to multiples of this when applied; 0: not rounded. (A Linux kernel: 0.0000153 ppm.)
    pub rate_grain: Rate,
    /// Error with which a node reads its own clock against its oscillator.
    pub read_noise: Law,
}

impl Default for ClockSpec {
    fn default() -> Self {
        ClockSpec { offset: Span(10e6), offset_exact: None, rate_grain: Rate(0.0), read_noise: Law::ZERO }
    }
}

/// Who takes stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StampKind {
    /// Without error; the network's jitter holds all the noise.
    Ideal,
    /// The network card.
    Nic,
    /// The kernel.
    Kernel,
    /// The program itself.
    User,
}

/// The stamps. What is not given follows from the kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StampSpec {
    /// Who takes them.
    pub kind: StampKind,
    /// Error of arrival stamps.
    pub receive: Option<Law>,
    /// Error of departure stamps.
    pub transmit: Option<Law>,
    /// Stamps are cut to multiples of this.
    pub grain: Option<Span>,
    /// Time from the program's own reading to the departure.
    pub lead: Option<Law>,
    /// Part of the departures that never come back.
    #[serde(default)]
    pub missing: f64,
    /// How late departures come back.
    #[serde(default)]
    pub late: Law,
}

impl Default for StampSpec {
    fn default() -> Self {
        let kind = StampKind::Ideal;
        StampSpec { kind, receive: None, transmit: None, grain: None, lead: None, missing: 0.0, late: Law::ZERO }
    }
}

impl StampSpec {
    /// The model.
    #[must_use]
    pub fn build(&self) -> StampModel {
        let law = |text: &str| text.parse::<Law>().expect("the laws of the kinds are written here");
        let (class, receive, transmit, grain, lead) = match self.kind {
            StampKind::Ideal => (StampClass::Nic, Law::ZERO, Law::ZERO, 1.0, Law::ZERO),
            StampKind::Nic => (StampClass::Nic, law("normal 5ns"), law("normal 5ns"), 8.0, law("2us + exp 500ns")),
            StampKind::Kernel => {
                (StampClass::Kernel, law("500ns + exp 500ns"), law("normal 100ns"), 1.0, law("3us + exp 1us"))
            }
            StampKind::User => (StampClass::User, law("5us + exp 5us"), Law::ZERO, 1.0, law("5us + exp 5us")),
        };
        StampModel {
            class,
            receive: self.receive.clone().unwrap_or(receive),
            transmit: self.transmit.clone().unwrap_or(transmit),
            grain_ns: self.grain.map_or(grain, |grain| grain.0).max(1.0) as i64,
            lead: self.lead.clone().unwrap_or(lead),
            missing: self.missing,
            late: self.late.clone(),
        }
    }
}

/// A link. `backward` is from the higher node number to the lower, and differs only where it says so.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSpec {
    /// Delay of the wire, one way.
    pub delay: Span,
    /// Law of the rest of the delay.
    pub jitter: Law,
    /// Recorded delays, one of which is added to each packet's.
    pub recorded: Vec<Span>,
    /// Part of the packets that are lost.
    pub loss: f64,
    /// Losses that come in bursts.
    pub loss_bursts: Option<BurstSpec>,
    /// Part of the packets that arrive twice.
    pub duplicate: f64,
    /// Part of the packets that are held back.
    pub reorder: f64,
    /// For how long.
    pub reorder_by: Law,
    /// Correlated queueing.
    pub queue: Option<QueueSpec>,
    /// A shared wire of limited speed.
    pub wire: Option<WireSpec>,
    /// Standard deviation of a link's fixed asymmetry: half of it is added one way and half taken off the other.
    pub asymmetry: Span,
    /// The other direction.
    pub backward: Option<BackwardSpec>,
}

impl Default for LinkSpec {
    fn default() -> Self {
        LinkSpec {
            delay: Span(20e3),
            jitter: Law::ZERO,
            recorded: Vec::new(),
            loss: 0.0,
            loss_bursts: None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Law::ZERO.plus(Term::Constant(1e6)),
            queue: None,
            wire: None,
            asymmetry: Span(0.0),
            backward: None,
        }
    }
}

/// Where the backward direction differs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackwardSpec {
    /// See [`LinkSpec::delay`].
    pub delay: Option<Span>,
    /// See [`LinkSpec::jitter`].
    pub jitter: Option<Law>,
    /// See [`LinkSpec::loss`].
    pub loss: Option<f64>,
}

/// Bursts of anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurstSpec {
    /// Mean time between two.
    pub pause: Span,
    /// Shortest.
    pub shortest: Span,
    /// Longest.
    pub longest: Span,
}

/// Correlated queueing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// Mean time between two bursts.
    pub pause: Span,
    /// Shortest burst.
    pub shortest: Span,
    /// Longest burst.
    pub longest: Span,
    /// How much a burst delays all that passes.
    pub height: Law,
}

/// A shared wire.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireSpec {
    /// Bits a second.
    pub bits_per_s: f64,
    /// Part of the time that others keep it busy.
    pub utilisation: f64,
}

impl BurstSpec {
    fn build(&self) -> Bursts {
        Bursts { pause_ns: self.pause.0, length_ns: (self.shortest.0, self.longest.0) }
    }
}

impl LinkSpec {
    /// The two directions of one link; `stream` decides what is drawn once a link.
    #[must_use]
    pub fn build(&self, stream: &mut Stream) -> [Path; 2] {
        let shift = self.asymmetry.0 * stream.normal() / 2.0;
        let mut jitter = self.jitter.clone();
        if !self.recorded.is_empty() {
            jitter = jitter.plus(Term::Recorded(self.recorded.iter().map(|span| span.0).collect()));
        }
        let forward = Path {
            base_ns: (self.delay.0 + shift).max(0.0),
            jitter,
            loss: self.loss,
            loss_bursts: self.loss_bursts.as_ref().map(BurstSpec::build),
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_by: self.reorder_by.clone(),
            queue: self.queue.as_ref().map(|queue| Queue {
                bursts: Bursts { pause_ns: queue.pause.0, length_ns: (queue.shortest.0, queue.longest.0) },
                height: queue.height.clone(),
            }),
            wire: self.wire.as_ref().map(|wire| Wire {
                serialise_ns: WIRE_BYTES * 8e9 / wire.bits_per_s,
                utilisation: wire.utilisation,
                other_ns: 1_500.0 * 8e9 / wire.bits_per_s,
            }),
        };
        let other = self.backward.clone().unwrap_or_default();
        let backward = Path {
            base_ns: (other.delay.unwrap_or(self.delay).0 - shift).max(0.0),
            jitter: other.jitter.unwrap_or_else(|| forward.jitter.clone()),
            loss: other.loss.unwrap_or(forward.loss),
            ..forward.clone()
        };
        [forward, backward]
    }
}

/// Links that differ from the rest: those between two nodes, those of some nodes, those between two sites, or a part of
/// all.
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
    /// Reads the scenario called `name` from `text`.
    ///
    /// # Errors
    /// What is wrong, with line and column where the text itself is.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
        let mut scenario: Scenario = toml::from_str(text).map_err(|error| format!("scenario {name}: {error}"))?;
        name.clone_into(&mut scenario.name);
        scenario.check().map_err(|error| format!("scenario {name}: {error}"))?;
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

    /// True if node `n` lies at any time.
    #[must_use]
    pub fn is_liar(&self, n: usize) -> bool {
        self.liars.iter().any(|liar| liar.nodes.contains(&n))
    }

    fn check(&self) -> Result<(), String> {
        let cluster = &self.cluster;
        let count = cluster.nodes;
        ensure(count >= 2, || "a cluster has at least 2 nodes".into())?;
        ensure((RATE_HZ_MIN..=RATE_HZ_MAX).contains(&cluster.rate), || {
            format!("rate must lie between {RATE_HZ_MIN} and {RATE_HZ_MAX} a second")
        })?;
        cluster.algorithm.parse::<Algorithm>().map_err(|error| error.to_string())?;
        ensure(cluster.tick.0 >= 1e6, || "ticks must be at least 1ms apart".into())?;
        let degree = cluster.topology.degree(count, cluster.degree)?;
        ensure(degree <= PEERS_MAX, || format!("a node would have {degree} peers, and {PEERS_MAX} is the most"))?;
        ensure(self.duration.0 >= 1e9, || "a run takes at least 1s".into())?;
        ensure(self.measured_from_ns() < self.duration.nanos(), || "measure.from must lie before the end".into())?;
        ensure((1.0..=1_000.0).contains(&self.measure.sample_hz), || "sample_hz must lie between 1 and 1000".into())?;
        let named = self.nodes.iter().flat_map(|spec| &spec.nodes).chain(self.liars.iter().flat_map(|l| &l.nodes));
        let named = named.chain(self.edges.iter().flat_map(|e| e.of.iter().chain(e.between.iter().flatten())));
        let named = named.chain(self.events.iter().flat_map(Event::nodes)).chain(self.bounds.nodes());
        for n in named {
            ensure(*n < count, || format!("there is no node {n}: they are numbered from 0 to {}", count - 1))?;
        }
        for link in self.edges.iter().map(|edge| &edge.link).chain([&self.link]) {
            let back = link.backward.as_ref().and_then(|b| b.loss).unwrap_or(0.0);
            for part in [link.loss, link.duplicate, link.reorder, back] {
                ensure((0.0..=1.0).contains(&part), || format!("a part of {part} is not between 0 and 1"))?;
            }
            if let Some(wire) = &link.wire {
                let sane = wire.bits_per_s > 0.0 && (0.0..1.0).contains(&wire.utilisation);
                ensure(sane, || "a wire needs bits_per_s above 0 and utilisation from 0 to below 1".into())?;
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The scenarios that come with the program, by name.
#[must_use]
pub fn shipped() -> BTreeMap<&'static str, &'static str> {
    super::catalogue::CATALOGUE.iter().copied().collect()
}

#[cfg(test)]
mod tests {
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
    fn a_mistake_is_answered_with_its_place() {
        let wrong = [
            ("summary = 'x'\nduration = '10'\n", "unit"),
            ("summary = 'x'\nduration = '10s'\nspeed = 3\n", "speed"),
            ("summary = 'x'\nduration = '10s'\n[cluster]\nnodes = 1\n", "at least 2"),
            ("summary = 'x'\nduration = '10s'\n[cluster]\nalgorithm = 'magic'\n", "magic"),
            ("summary = 'x'\nduration = '10s'\n[[event]]\nkind = 'crash'\nat = '1s'\nnodes = [3]\n", "no node 3"),
            ("summary = 'x'\nduration = '10s'\n[link]\nloss = 1.5\n", "1.5"),
        ];
        for (text, word) in wrong {
            let error = Scenario::parse("test", text).unwrap_err();
            assert!(error.contains(word) && error.contains("test"), "{error}");
        }
    }

    #[test]
    fn the_backward_direction_differs_only_where_it_says_so() {
        let text = "summary = 'x'\nduration = '10s'\n[link]\ndelay = '20ms'\njitter = 'exp 500us'\nloss = 0.1\n\
                    [link.backward]\njitter = 'exp 2ms'\n";
        let scenario = Scenario::parse("test", text).unwrap();
        let [forward, backward] = scenario.link.build(&mut Stream::new(1, super::super::random::Purpose::Edge, 0, 1));
        assert_eq!((backward.base_ns, backward.loss), (forward.base_ns, forward.loss));
        assert_eq!((forward.jitter.mean(), backward.jitter.mean()), (500e3, 2e6));
    }
}
