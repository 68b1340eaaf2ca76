//! What a scenario may say: every value is held to a range in which the simulated world makes sense, and in which a run
//! ends after work that its length explains. What is wrong is told in one sentence, with the key and its line. Reads
//! specifications only and builds nothing of them, but for the limit that a bound on the ratio is held against.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::bounds::Bounds;
use super::fault::{Attack, Event, Kept, LeapSpec, Liar};
use super::law::Law;
use super::limit::{are_drawn, linear_ns};
use super::parts::{BurstSpec, ClockSpec, LimitsSpec, LinkSpec, OscillatorSpec, QueueSpec, StampSpec};
use super::place::{key_at, line_of};
use super::quantity::{Rate, Span};
use super::scenario::{Cluster, EdgeSpec, Fidelity, NodeSpec, Scenario};
use super::topology::Topology;
use crate::flow::Role;
use crate::limits::{PEERS_MAX, RATE_HZ_MAX, RATE_HZ_MIN, ROUNDS_MAX, STAMP_DOUBT_NS_MAX};
use crate::pipeline::Algorithm;

/// Nodes of the largest cluster: some gigabytes.
const NODES_MAX: usize = 100_000;
/// Seeds of the longest series.
const SEEDS_MAX: u32 = 10_000;
const DAY: f64 = 86_400e9;
/// The longest run: a thousand days.
const DURATION_MAX: Span = Span(1_000.0 * DAY);
/// How far a clock may stand from true time.
const OFFSET_MAX: Span = Span(20.0 * 365.25 * DAY);
/// The longest base delay, and the longest span of a law.
const DELAY_MAX: Span = Span(1_000e9);
/// The largest frequency error, and the largest change of it.
const FREQUENCY_MAX: f64 = 0.1;
/// All changes of one node's frequency by events together: no oscillator may come to stand.
const FREQUENCY_CHANGES_MAX: f64 = 0.3;
/// The loudest noise of an oscillator: with it a wristwatch is kept.
const NOISE_MAX: f64 = 1e-5;
/// Bursts come at most a thousand times a second.
const BURST_PAUSE_MIN: Span = Span(1e6);

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    /// The key, dotted, lists counted from 0: `edge.1.link.delay`.
    pub key: String,
    /// What is wrong with it and what to write instead.
    pub says: String,
}

type Checked = Result<(), Wrong>;

impl Wrong {
    /// The sentence, with the line on which the key (or what comes nearest to it) stands in `text`.
    #[must_use]
    pub fn sentence(&self, text: &str) -> String {
        let names: Vec<&str> = self.key.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
        let place = key_at(text, &self.key).map_or(String::new(), |at| format!("line {}: ", line_of(text, at)));
        format!("{place}{} {}", names.join("."), self.says)
    }
}

fn ensure(holds: bool, key: impl Into<String>, says: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Wrong { key: key.into(), says: says() }) }
}

fn number_in(key: String, number: f64, range: RangeInclusive<f64>) -> Checked {
    ensure(range.contains(&number), key, || {
        format!("is {number}, and must be a number from {} to {}", range.start(), range.end())
    })
}

fn part(key: String, number: f64) -> Checked {
    ensure((0.0..=1.0).contains(&number), key, || {
        format!("is {number}, which is not a part between 0 and 1: write 0.02 for two of a hundred")
    })
}

fn span_in(key: String, span: Span, range: RangeInclusive<Span>) -> Checked {
    ensure(range.contains(&span), key, || {
        format!("is {span}, and must be a span from {} to {}", range.start(), range.end())
    })
}

fn positive(key: String, span: Span) -> Checked {
    ensure(span.0 > 0.0 && span <= DURATION_MAX, key, || {
        format!("is {span}, and must be a span above 0 and at most {DURATION_MAX}")
    })
}

fn not_negative(key: String, span: Span) -> Checked {
    span_in(key, span, Span(0.0)..=DURATION_MAX)
}

fn rate_within(key: String, rate: Rate, most: f64) -> Checked {
    ensure(rate.0.abs() <= most, key, || format!("is {rate}, and must lie between {} and {}", Rate(-most), Rate(most)))
}

fn law(key: String, law: &Law) -> Checked {
    ensure(law.longest_ns() <= DELAY_MAX.0, key, || {
        format!("has a span of {}, and {DELAY_MAX} is the longest", Span(law.longest_ns()))
    })
}

/// A law of something that takes time.
fn delay_law(key: String, of: &Law) -> Checked {
    law(key.clone(), of)?;
    ensure(of.shortest_ns() >= 0.0, key, || "has a negative span, and nothing takes less than no time".into())
}

/// Node numbers: there, each once, at least one.
fn nodes(key: &str, list: &[usize], count: usize) -> Checked {
    ensure(!list.is_empty(), key, || "names no node: list at least one, as in [0]".into())?;
    for (n, node) in list.iter().enumerate() {
        there(&format!("{key}.{n}"), *node, count)?;
        ensure(!list[..n].contains(node), format!("{key}.{n}"), || format!("names node {node} twice"))?;
    }
    Ok(())
}

fn there(key: &str, node: usize, count: usize) -> Checked {
    ensure(node < count, key, || {
        format!("names node {node}, and there is no node {node}: they go from 0 to {}", count - 1)
    })
}

/// Everything.
pub(super) fn check(scenario: &Scenario) -> Checked {
    let summary = &scenario.summary;
    ensure(!summary.trim().is_empty() && summary.lines().count() == 1, "summary", || {
        "must say in one line what the scenario shows".into()
    })?;
    span_in("duration".into(), scenario.duration, Span(1e9)..=DURATION_MAX)?;
    ensure((1..=SEEDS_MAX).contains(&scenario.seeds), "seeds", || {
        format!("is {}, and must be from 1 to {SEEDS_MAX}", scenario.seeds)
    })?;
    ensure(scenario.test_seeds <= scenario.seeds, "test_seeds", || {
        format!("is {}, more than seeds, which is {}", scenario.test_seeds, scenario.seeds)
    })?;
    cluster(&scenario.cluster)?;
    oscillator("oscillator", &scenario.oscillator)?;
    clock("clock", &scenario.clock)?;
    stamps("stamps", &scenario.stamps)?;
    link("link", &scenario.link)?;
    let links = links(scenario);
    for (n, spec) in scenario.edges.iter().enumerate() {
        edge(&format!("edge.{n}"), spec, scenario, links.as_deref())?;
    }
    for (n, spec) in scenario.nodes.iter().enumerate() {
        node(&format!("node.{n}"), spec, scenario)?;
    }
    liars(scenario)?;
    for (n, spec) in scenario.events.iter().enumerate() {
        event(&format!("event.{n}"), spec, scenario, links.as_deref())?;
    }
    let mut changes = vec![0.0; scenario.cluster.nodes];
    for (n, spec) in scenario.events.iter().enumerate() {
        for node in spec.nodes() {
            changes[*node] += frequency_change(spec);
            ensure(changes[*node] <= FREQUENCY_CHANGES_MAX, format!("event.{n}.change"), || {
                format!("brings all changes of node {node} above {}", Rate(FREQUENCY_CHANGES_MAX))
            })?;
        }
    }
    date(scenario)?;
    measure(scenario)?;
    bounds(&scenario.bounds, scenario, links.as_deref())?;
    // Where each seed has a limit of its own, whoever runs it asks.
    if are_drawn(scenario) { Ok(()) } else { ratio_of(scenario, 0) }
}

/// Whether a bound on the ratio, if there is one, has a limit to be held against in a run on this seed.
///
/// # Errors
/// That it has none, and why.
pub fn ratio_of(scenario: &Scenario, seed: u64) -> Result<(), Wrong> {
    let limit = if scenario.bounds.ratio.is_some() { linear_ns(scenario, seed).map(|_| ()) } else { Ok(()) };
    limit.map_err(|reason| Wrong {
        key: "bounds.ratio".into(),
        says: format!("has no limit to be held against ({reason}): take it out, or bound pairwise_rms"),
    })
}

/// No clock may pass the end of the time that 64 bits of nanoseconds tell, an hour before it in 2262.
fn date(scenario: &Scenario) -> Checked {
    let own = scenario.nodes.iter().filter_map(|spec| spec.clock.as_ref());
    let starts = own.chain([&scenario.clock]).map(|c| c.offset_exact.map_or(c.offset.0, |exact| exact.0.abs()));
    let moved = scenario.events.iter().map(|event| match event {
        Event::Crash { offset, .. } => offset.unwrap_or_default().0.abs(),
        Event::Suspend { length, error, .. } => length.0 + error.0.abs(),
        Event::Migrate { jump, .. } => jump.0,
        Event::ClockStep { by, .. } => by.0.abs(),
        _ => 0.0,
    });
    let reach_ns = starts.fold(0.0, f64::max) + moved.sum::<f64>() + 1.1 * scenario.duration.0 + 3_600e9;
    let last_s = scenario.clock.begins_unix_s.saturating_add((reach_ns * 1e-9) as i64);
    let sane = scenario.clock.begins_unix_s >= 0 && last_s <= i64::MAX / 1_000_000_000;
    ensure(sane, "clock.begins_unix_s", || {
        "must lie between 1970 and April 2262, so that no clock comes within an hour of the end of its time".into()
    })
}

fn cluster(cluster: &Cluster) -> Checked {
    let count = cluster.nodes;
    ensure((2..=NODES_MAX).contains(&count), "cluster.nodes", || {
        format!("is {count}, and a cluster has at least 2 nodes and at most {NODES_MAX}")
    })?;
    number_in("cluster.rate".into(), cluster.rate, RATE_HZ_MIN..=RATE_HZ_MAX)?;
    ensure((1..=ROUNDS_MAX).contains(&cluster.rounds), "cluster.rounds", || {
        format!("is {}, and must be from 1 to {ROUNDS_MAX}", cluster.rounds)
    })?;
    ensure(cluster.faults.is_none_or(|f| usize::from(f) < count), "cluster.faults", || {
        format!("is as many as there are nodes or more: write less than {count}, or leave it out")
    })?;
    algorithm("cluster.algorithm", &cluster.algorithm)?;
    // The guard of the clock takes no longer spacing.
    span_in("cluster.tick".into(), cluster.tick, Span(1e6)..=Span(1e9))?;
    delay_law("cluster.tick_late".into(), &cluster.tick_late)?;
    let degree = cluster.topology.degree(count, cluster.degree);
    let degree = degree.map_err(|says| Wrong { key: "cluster.degree".into(), says: format!("cannot be: {says}") })?;
    ensure(degree <= PEERS_MAX, "cluster.nodes", || {
        format!("would give a node {degree} peers, and {PEERS_MAX} is the most: take topology = \"overlay\"")
    })
}

fn algorithm(key: &str, name: &str) -> Checked {
    let known = name.parse::<Algorithm>();
    known.map(|_| ()).map_err(|error| Wrong { key: key.into(), says: format!("is not known: {error}") })
}

fn oscillator(key: &str, spec: &OscillatorSpec) -> Checked {
    let at = |name: &str| format!("{key}.{name}");
    let frequency = spec.frequency;
    ensure(frequency.0 >= 0.0, at("frequency"), || {
        format!("is {frequency}: write how far it may lie to either side, or frequency_exact = \"{frequency}\"")
    })?;
    rate_within(at("frequency"), frequency, FREQUENCY_MAX)?;
    rate_within(at("frequency_exact"), spec.frequency_exact.unwrap_or_default(), FREQUENCY_MAX)?;
    number_in(at("wander"), spec.wander, 0.0..=NOISE_MAX)?;
    number_in(at("white"), spec.white, 0.0..=NOISE_MAX)?;
    number_in(at("flicker"), spec.flicker, 0.0..=NOISE_MAX)?;
    rate_within(at("temperature"), spec.temperature, FREQUENCY_MAX)?;
    span_in(at("temperature_period"), spec.temperature_period, Span(1e9)..=DURATION_MAX)?;
    span_in(at("cell"), spec.cell, Span(1e6)..=Span(1e9))
}

fn clock(key: &str, spec: &ClockSpec) -> Checked {
    let at = |name: &str| format!("{key}.{name}");
    span_in(at("offset"), spec.offset, Span(0.0)..=OFFSET_MAX)?;
    span_in(at("offset_exact"), spec.offset_exact.unwrap_or_default(), Span(-OFFSET_MAX.0)..=OFFSET_MAX)?;
    ensure((0.0..=1e-4).contains(&spec.rate_grain.0), at("rate_grain"), || {
        format!("is {}, and must lie between 0 and 100ppm", spec.rate_grain)
    })?;
    law(at("read_noise"), &spec.read_noise)
}

fn stamps(key: &str, spec: &StampSpec) -> Checked {
    let at = |name: &str| format!("{key}.{name}");
    for (name, error) in [("receive", &spec.receive), ("transmit", &spec.transmit)] {
        error.as_ref().map_or(Ok(()), |error| law(at(name), error))?;
    }
    spec.lead.as_ref().map_or(Ok(()), |lead| delay_law(at("lead"), lead))?;
    delay_law(at("late"), &spec.late)?;
    span_in(at("grain"), spec.grain.unwrap_or(Span(1.0)), Span(1.0)..=Span(1e9))?;
    part(at("missing"), spec.missing)?;
    let Some(card) = &spec.card else { return Ok(()) };
    oscillator(&at("card.oscillator"), &card.oscillator)?;
    span_in(at("card.offset"), card.offset, Span(0.0)..=OFFSET_MAX)?;
    span_in(at("card.read_width"), card.read_width, Span(2.0)..=Span(STAMP_DOUBT_NS_MAX))?;
    law(at("card.read_noise"), &card.read_noise)
}

fn link(key: &str, spec: &LinkSpec) -> Checked {
    let at = |name: &str| format!("{key}.{name}");
    span_in(at("delay"), spec.delay, Span(0.0)..=DELAY_MAX)?;
    delay_law(at("jitter"), &spec.jitter)?;
    for (n, delay) in spec.recorded.iter().enumerate() {
        span_in(at(&format!("recorded.{n}")), *delay, Span(0.0)..=DELAY_MAX)?;
    }
    part(at("loss"), spec.loss)?;
    part(at("duplicate"), spec.duplicate)?;
    part(at("reorder"), spec.reorder)?;
    delay_law(at("reorder_by"), &spec.reorder_by)?;
    span_in(at("asymmetry"), spec.asymmetry, Span(0.0)..=DELAY_MAX)?;
    if let Some(BurstSpec { pause, shortest, longest }) = &spec.loss_bursts {
        bursts(&at("loss_bursts"), *pause, *shortest, *longest)?;
    }
    if let Some(QueueSpec { pause, shortest, longest, height }) = &spec.queue {
        bursts(&at("queue"), *pause, *shortest, *longest)?;
        delay_law(at("queue.height"), height)?;
    }
    if let Some(wire) = &spec.wire {
        number_in(at("wire.bits_per_s"), wire.bits_per_s, 1e3..=1e15)?;
        number_in(at("wire.utilisation"), wire.utilisation, 0.0..=0.99)?;
    }
    if let Some(back) = &spec.backward {
        span_in(at("backward.delay"), back.delay.unwrap_or_default(), Span(0.0)..=DELAY_MAX)?;
        back.jitter.as_ref().map_or(Ok(()), |jitter| delay_law(at("backward.jitter"), jitter))?;
        part(at("backward.loss"), back.loss.unwrap_or(0.0))?;
    }
    Ok(())
}

fn bursts(key: &str, pause: Span, shortest: Span, longest: Span) -> Checked {
    span_in(format!("{key}.pause"), pause, BURST_PAUSE_MIN..=DURATION_MAX)?;
    span_in(format!("{key}.shortest"), shortest, Span(0.0)..=DURATION_MAX)?;
    positive(format!("{key}.longest"), longest)?;
    ensure(shortest <= longest, format!("{key}.longest"), || {
        format!("is {longest}, less than the shortest burst, which is {shortest}")
    })
}

/// The links of the cluster; `None` where they are the seed's affair.
fn links(scenario: &Scenario) -> Option<Vec<(usize, usize)>> {
    let cluster = &scenario.cluster;
    (cluster.topology != Topology::Overlay).then(|| cluster.topology.edges(cluster.nodes, cluster.degree, 0))
}

fn pair(key: &str, [a, b]: [usize; 2], count: usize, links: Option<&[(usize, usize)]>) -> Checked {
    nodes(key, &[a, b], count)?;
    ensure(links.is_none_or(|links| links.contains(&(a.min(b), a.max(b)))), key, || {
        format!("names nodes {a} and {b}, between which there is no link")
    })
}

fn edge(key: &str, spec: &EdgeSpec, scenario: &Scenario, links: Option<&[(usize, usize)]>) -> Checked {
    let cluster = &scenario.cluster;
    let count = cluster.nodes;
    let at = |name: &str| format!("{key}.{name}");
    part(at("part"), spec.part)?;
    spec.between.map_or(Ok(()), |ends| pair(&at("between"), ends, count, links))?;
    if !spec.of.is_empty() {
        nodes(&at("of"), &spec.of, count)?;
    }
    for (n, apart) in spec.apart.iter().enumerate() {
        ensure((1..=count / 2).contains(apart), at(&format!("apart.{n}")), || {
            format!("is {apart}, and nodes sit from 1 to {} places apart", count / 2)
        })?;
    }
    ensure(!spec.across || cluster.topology == Topology::TwoSites, at("across"), || {
        "means the links between two sites: take topology = \"two-sites\"".into()
    })?;
    let chosen = spec.part > 0.0 || links.is_none_or(|links| links.iter().any(|link| spec.selects(*link, cluster)));
    let says_something = spec.between.is_some() || !spec.of.is_empty() || spec.across || !spec.apart.is_empty();
    ensure(chosen && (says_something || spec.part > 0.0), key, || {
        "chooses no link: say which with between, of, across, apart or part".into()
    })?;
    link(&at("link"), &spec.link)
}

fn node(key: &str, spec: &NodeSpec, scenario: &Scenario) -> Checked {
    let at = |name: &str| format!("{key}.{name}");
    nodes(&at("nodes"), &spec.nodes, scenario.cluster.nodes)?;
    let own = spec.role.is_some() || spec.oscillator.is_some() || spec.clock.is_some() || spec.stamps.is_some();
    ensure(own || spec.limits.is_some() || spec.joins_at.is_some() || spec.wrong_key, key, || {
        "says nothing of its nodes: give role, oscillator, clock, stamps, limits, joins_at or wrong_key".into()
    })?;
    spec.oscillator.as_ref().map_or(Ok(()), |own| oscillator(&at("oscillator"), own))?;
    if let Some(own) = &spec.clock {
        clock(&at("clock"), own)?;
        let theirs = [ClockSpec::default().begins_unix_s, scenario.clock.begins_unix_s];
        let world = || "belongs to the whole world: write it into [clock]".into();
        ensure(theirs.contains(&own.begins_unix_s), at("clock.begins_unix_s"), world)?;
        ensure([LeapSpec::None, scenario.clock.leap].contains(&own.leap), at("clock.leap"), world)?;
    }
    spec.stamps.as_ref().map_or(Ok(()), |own| stamps(&at("stamps"), own))?;
    spec.limits.as_ref().map_or(Ok(()), |own| limits(&at("limits"), own))?;
    spec.joins_at.map_or(Ok(()), |joins| during(at("joins_at"), joins, scenario))
}

fn limits(key: &str, spec: &LimitsSpec) -> Checked {
    let spans = [
        ("step_threshold", spec.step_threshold),
        ("max_change", spec.max_change),
        ("max_change_at_start", spec.max_change_at_start),
        ("max_total", spec.max_total),
    ];
    for (name, span) in spans {
        span.map_or(Ok(()), |span| positive(format!("{key}.{name}"), span))?;
    }
    let slew = spec.slew_limit.unwrap_or(Rate(1e-6)).0;
    ensure((1e-6..=FREQUENCY_MAX).contains(&slew), format!("{key}.slew_limit"), || {
        format!("is {}, and must lie between 1ppm and {}", Rate(slew), Rate(FREQUENCY_MAX))
    })
}

/// Before the end, and not before the beginning.
fn during(key: String, at: Span, scenario: &Scenario) -> Checked {
    ensure(at.0 >= 0.0 && at < scenario.duration, key, || {
        format!("is {at}, and the run goes from 0 to {}", scenario.duration)
    })
}

fn liars(scenario: &Scenario) -> Checked {
    let count = scenario.cluster.nodes;
    let mut known = BTreeSet::new();
    for (n, liar) in scenario.liars.iter().enumerate() {
        let Liar { nodes: names, attack, from, until, via: _ } = liar;
        let at = |name: &str| format!("liar.{n}.{name}");
        nodes(&at("nodes"), names, count)?;
        for name in names {
            ensure(known.insert(*name), at("nodes"), || format!("names node {name}, which lies already"))?;
        }
        during(at("from"), *from, scenario)?;
        ensure(until.is_none_or(|until| until > *from), at("until"), || {
            format!("is {}, and the lie begins at {from}: write a later time", until.unwrap_or_default())
        })?;
        match attack {
            Attack::Random { amplitude }
            | Attack::TwoFaced { amplitude }
            | Attack::Edge { amplitude }
            | Attack::SmartDrag { amplitude } => {
                ensure(amplitude.0 != 0.0 && amplitude.0.abs() <= OFFSET_MAX.0, at("attack.amplitude"), || {
                    format!("is {amplitude}, which is no lie: write a span up to {OFFSET_MAX}")
                })?;
            }
            Attack::SlowDrag { rate } => {
                ensure(rate.0 != 0.0 && rate.0.abs() <= FREQUENCY_MAX, at("attack.rate"), || {
                    format!("is {rate}, which is no lie, or none that anybody would believe")
                })?;
            }
            Attack::Delay { by } => span_in(at("attack.by"), *by, Span(1.0)..=DELAY_MAX)?,
            Attack::Echo | Attack::Replay | Attack::Silence | Attack::Leap { .. } => {}
        }
    }
    if !scenario.liars.is_empty() {
        ensure(scenario.cluster.fidelity == Fidelity::Packets, "cluster.fidelity", || {
            "is \"exchanges\", and liars need packets: take fidelity = \"packets\"".into()
        })?;
    }
    let alone = |n: &usize| scenario.nodes.iter().any(|spec| spec.wrong_key && spec.nodes.contains(n));
    let judged = |n: &usize| !known.contains(n) && scenario.role(*n) != Role::Observer && !alone(n);
    let honest = (0..count).filter(judged).take(2).count();
    ensure(honest == 2, if scenario.liars.is_empty() { "node" } else { "liar" }, || {
        "entries leave fewer than two nodes that neither lie nor only listen: nothing could be measured".into()
    })
}

fn frequency_change(event: &Event) -> f64 {
    match event {
        Event::Migrate { change, .. } | Event::FrequencyJump { change, .. } | Event::TemperatureStep { change, .. } => {
            change.0.abs()
        }
        _ => 0.0,
    }
}

fn event(key: &str, event: &Event, scenario: &Scenario, links: Option<&[(usize, usize)]>) -> Checked {
    let count = scenario.cluster.nodes;
    let at = |name: &str| format!("{key}.{name}");
    during(at("at"), event.at(), scenario)?;
    if !matches!(event, Event::Churn { .. } | Event::Route { .. }) {
        nodes(&at("nodes"), event.nodes(), count)?;
    }
    let later = |until: Span| {
        ensure(until > event.at() && until <= DURATION_MAX, at("until"), || {
            format!("is {until}, and it begins at {}: write a later time", event.at())
        })
    };
    match event {
        Event::Crash { down, offset, keeps, .. } => {
            down.map_or(Ok(()), |down| positive(at("down"), down))?;
            ensure(offset.is_none() || down.is_some(), at("offset"), || {
                "is of the clock on coming back, and without down nobody comes back".into()
            })?;
            ensure(*keeps == Kept::Rate || down.is_some(), at("keeps"), || {
                "is of the new run, and without down there is none".into()
            })?;
            span_in(at("offset"), offset.unwrap_or_default(), Span(-OFFSET_MAX.0)..=OFFSET_MAX)
        }
        Event::Partition { nodes, until, .. } => {
            later(*until)?;
            ensure(nodes.len() < count, at("nodes"), || "names every node: nobody is left to be cut off from".into())
        }
        Event::Suspend { length, error, .. } => {
            positive(at("length"), *length)?;
            span_in(at("error"), *error, Span(-OFFSET_MAX.0)..=OFFSET_MAX)
        }
        Event::Pause { length, .. } | Event::StuckClock { length, .. } => positive(at("length"), *length),
        Event::Migrate { jump, change, .. } => {
            span_in(at("jump"), *jump, Span(0.0)..=OFFSET_MAX)?;
            rate_within(at("change"), *change, FREQUENCY_MAX)
        }
        Event::FrequencyJump { change, .. } => rate_within(at("change"), *change, FREQUENCY_MAX),
        Event::TemperatureStep { change, tau, .. } => {
            rate_within(at("change"), *change, FREQUENCY_MAX)?;
            span_in(at("tau"), *tau, Span(1e6)..=DURATION_MAX)
        }
        Event::Leap { .. } | Event::LeapForgotten { .. } => Ok(()),
        Event::ClockStep { by, .. } => span_in(at("by"), *by, Span(-OFFSET_MAX.0)..=OFFSET_MAX),
        Event::Churn { until, part_per_minute, down, .. } => {
            later(*until)?;
            ensure(*part_per_minute > 0.0 && *part_per_minute <= 60.0, at("part_per_minute"), || {
                format!("is {part_per_minute}, and must be above 0 and at most 60")
            })?;
            positive(at("down"), *down)
        }
        Event::Route { between, forward, backward, .. } => {
            pair(&at("between"), *between, count, links)?;
            span_in(at("forward"), *forward, Span(-DELAY_MAX.0)..=DELAY_MAX)?;
            span_in(at("backward"), *backward, Span(-DELAY_MAX.0)..=DELAY_MAX)
        }
    }
}

fn measure(scenario: &Scenario) -> Checked {
    let measure = &scenario.measure;
    measure.from.map_or(Ok(()), |from| during("measure.from".into(), from, scenario))?;
    not_negative("measure.drift_from".into(), measure.drift_from)?;
    not_negative("measure.settle".into(), measure.settle)?;
    number_in("measure.sample_hz".into(), measure.sample_hz, 1.0..=1_000.0)
}

fn bounds(bounds: &Bounds, scenario: &Scenario, links: Option<&[(usize, usize)]>) -> Checked {
    let at = |name: &str| format!("bounds.{name}");
    let count = scenario.cluster.nodes;
    let spans = [
        ("pairwise_rms", bounds.pairwise_rms),
        ("pairwise_rms_above", bounds.pairwise_rms_above),
        ("pairwise_p99", bounds.pairwise_p99),
        ("pairwise_max", bounds.pairwise_max),
        ("error_max", bounds.error_max),
        ("rejoined_within", bounds.rejoined_within),
        ("rejoined_after", bounds.rejoined_after),
    ];
    for (name, span) in spans {
        span.map_or(Ok(()), |span| positive(at(name), span))?;
    }
    let numbers = [
        ("ratio", bounds.ratio),
        ("packets_per_node_s", bounds.packets_per_node_s),
        ("disturbance", bounds.disturbance),
        ("ensemble_drift", bounds.ensemble_drift.map(|rate| rate.0)),
    ];
    for (name, number) in numbers {
        ensure(number.is_none_or(|number| number > 0.0 && number.is_finite()), at(name), || {
            format!("is {}, and must be above 0", number.unwrap_or_default())
        })?;
    }
    ensure(bounds.rejoined_within.is_none() || bounds.rejoined_after.is_some(), at("rejoined_within"), || {
        "is not checked without rejoined_after: say how soon".into()
    })?;
    for (name, by) in &bounds.converged {
        let within = name.parse::<Span>();
        ensure(within.is_ok_and(|within| within.0 > 0.0), at("converged"), || {
            format!("is for '{name}', which is no spread: write a span above 0, as in \"10us\" = \"2s\"")
        })?;
        ensure(by.0 > 0.0 && *by <= scenario.duration, at("converged"), || {
            format!("to {name} is {by}, and must be above 0 and within the run of {}", scenario.duration)
        })?;
    }
    if let Some([least, most]) = bounds.sigma_ratio {
        ensure(0.0 <= least && least < most && most.is_finite(), at("sigma_ratio"), || {
            format!("is [{least}, {most}], and must be the least and the most, as in [0.7, 1.4]")
        })?;
    }
    ensure(bounds.noticed.is_none_or(|noticed| noticed < count), at("noticed"), || {
        format!("asks for more honest nodes than there are of {count}")
    })?;
    ensure(bounds.noticed.is_none() || !scenario.liars.is_empty(), at("noticed"), || "needs a [[liar]]".into())?;
    let named = [("must_not_sync", &bounds.must_not_sync), ("untouched", &bounds.untouched), ("ended", &bounds.ended)];
    for (name, list) in named.into_iter().filter(|(_, list)| !list.is_empty()) {
        nodes(&at(name), list, count)?;
    }
    for (n, ends) in bounds.unused.iter().enumerate() {
        pair(&at(&format!("unused.{n}")), *ends, count, links)?;
    }
    let Some(names) = &bounds.algorithms else { return Ok(()) };
    ensure(!names.is_empty(), at("algorithms"), || "names none, and nothing would be checked: leave it out".into())?;
    names.iter().enumerate().try_for_each(|(n, name)| algorithm(&at(&format!("algorithms.{n}")), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "summary = 'x'\nduration = '10s'\n";

    #[test]
    fn a_bound_on_the_ratio_is_taken_where_there_is_a_limit_and_asked_for_each_seed_where_seeds_differ() {
        let parse = |more: &str| Scenario::parse("test", &format!("{HEAD}{more}\n[bounds]\nratio = 1.2\n"));
        assert!(parse("[link]\njitter = 'normal 1us'").is_ok());
        let drawn = parse("[[edge]]\npart = 0.5\nlink = { jitter = 'normal 1us' }").unwrap();
        let says = ratio_of(&drawn, 1).unwrap_err().sentence("");
        assert!(says.starts_with("bounds.ratio has no limit to be held against (a link has no noise)"), "{says}");
    }

    #[test]
    fn a_wrong_value_is_answered_in_one_sentence_with_its_key_and_line() {
        // What is written after the head, and what the sentence must name.
        let wrong = [
            ("seeds = 0", "line 3: seeds is 0"),
            ("test_seeds = 6", "line 3: test_seeds is 6"),
            ("[cluster]\nnodes = 1", "line 4: cluster.nodes is 1"),
            ("[cluster]\nnodes = 200", "cluster.nodes would give a node 199 peers"),
            ("[cluster]\nrate = nan", "cluster.rate is NaN"),
            ("[cluster]\nrate = 1e6", "cluster.rate is 1000000"),
            ("[cluster]\nrounds = 0", "cluster.rounds is 0"),
            ("[cluster]\nfaults = 3", "cluster.faults"),
            ("[cluster]\nalgorithm = 'magic'", "line 4: cluster.algorithm is not known"),
            ("[cluster]\ntick = '0s'", "cluster.tick is 0ns"),
            ("[cluster]\ntick_late = '-1ms'", "cluster.tick_late has a negative span"),
            ("[cluster]\ntopology = 'overlay'\nnodes = 10\ndegree = 3", "line 6: cluster.degree"),
            ("[cluster]\ntopology = 'cube'", "line 4: unknown variant `cube`"),
            ("[oscillator]\nfrequency = '-50ppm'", "frequency_exact"),
            ("[oscillator]\nfrequency = '2000000ppm'", "oscillator.frequency is 2000000ppm"),
            ("[oscillator]\nfrequency_exact = '-1000000ppm'", "oscillator.frequency_exact is -1000000ppm"),
            ("[oscillator]\nwander = -1.0", "line 4: oscillator.wander is -1"),
            ("[oscillator]\nwander = nan", "oscillator.wander is NaN"),
            ("[oscillator]\nwhite = inf", "oscillator.white is inf"),
            ("[oscillator]\nflicker = -1e-10", "oscillator.flicker"),
            ("[oscillator]\ntemperature_period = '0s'", "line 4: oscillator.temperature_period is 0ns"),
            ("[oscillator]\ncell = '2s'", "oscillator.cell is 2s"),
            ("[clock]\noffset = '-1ms'", "clock.offset is -1ms"),
            ("[clock]\noffset_exact = '90y'", "unit"),
            ("[clock]\noffset_exact = '40000d'", "too large"),
            ("[clock]\noffset = '9000d'", "clock.offset"),
            ("[clock]\nrate_grain = '-1ppm'", "clock.rate_grain is -1ppm"),
            ("[clock]\nbegins_unix_s = -5", "clock.begins_unix_s"),
            ("[clock]\nbegins_unix_s = 9223372036", "clock.begins_unix_s"),
            ("[stamps]\nkind = 'nic'\nmissing = 2.0", "line 5: stamps.missing is 2"),
            ("[stamps]\nkind = 'nic'\nmissing = nan", "stamps.missing is NaN"),
            ("[stamps]\nkind = 'nic'\ngrain = '0s'", "stamps.grain is 0ns"),
            ("[stamps]\nkind = 'nic'\nlate = '-1ms'", "stamps.late has a negative span"),
            (
                "[stamps]\nkind = 'nic'\ncard = { oscillator = { wander = -1.0 } }",
                "line 5: stamps.card.oscillator.wander",
            ),
            ("[stamps]\nmissing = 0.1", "missing field `kind`"),
            ("[stamps]\nkind = 'gps'", "line 4: unknown variant `gps`"),
            ("[link]\ndelay = '-5us'", "line 4: link.delay is -5us"),
            ("[link]\ndelay = '5'", "line 4: '5' is not a span of time"),
            ("[link]\njitter = '-5us'", "link.jitter has a negative span"),
            ("[link]\njitter = 'exp -5us'", "'exp' needs a span that is not negative"),
            ("[link]\njitter = '10%'", "line 4: a term of the law is missing in '10%'"),
            ("[link]\njitter = 'nan% 5us'", "'nan%'"),
            ("[link]\njitter = 'exp 1d'", "link.jitter has a span of 86400s"),
            ("[link]\njitter = 'pareto 5us 0.001'", "shape"),
            ("[link]\nrecorded = ['1us', '-1us']", "link.recorded is -1us"),
            ("[link]\nloss = 1.5", "link.loss is 1.5"),
            ("[link]\nloss = nan", "link.loss is NaN"),
            ("[link]\nduplicate = -0.1", "link.duplicate is -0.1"),
            ("[link]\nreorder_by = '-1ms'", "link.reorder_by"),
            ("[link]\nasymmetry = '-1us'", "link.asymmetry is -1us"),
            (
                "[link.loss_bursts]\npause = '0s'\nshortest = '0s'\nlongest = '0s'",
                "line 4: link.loss_bursts.pause is 0ns",
            ),
            (
                "[link.loss_bursts]\npause = '1s'\nshortest = '0s'\nlongest = '0s'",
                "line 6: link.loss_bursts.longest is 0ns",
            ),
            ("[link.loss_bursts]\npause = '1s'\nshortest = '3s'\nlongest = '2s'", "less than the shortest"),
            ("[link.queue]\npause = '1s'\nshortest = '1s'\nlongest = '2s'\nheight = '-1us'", "link.queue.height"),
            ("[link.wire]\nbits_per_s = 0.0\nutilisation = 0.5", "link.wire.bits_per_s is 0"),
            ("[link.wire]\nbits_per_s = 1e9\nutilisation = 1.0", "link.wire.utilisation is 1"),
            ("[link.backward]\nloss = 7.0", "link.backward.loss is 7"),
            ("[[edge]]\nlink = {}", "line 3: edge chooses no link"),
            ("[[edge]]\nof = []\nlink = {}", "edge chooses no link"),
            ("[[edge]]\nbetween = [0, 0]\nlink = {}", "twice"),
            ("[[edge]]\nbetween = [0, 7]\nlink = {}", "no node 7"),
            ("[[edge]]\nacross = true\nlink = {}", "line 4: edge.across"),
            ("[[edge]]\napart = [2]\nlink = {}", "edge.apart is 2"),
            ("[[edge]]\npart = 1.5\nlink = {}", "edge.part is 1.5"),
            ("[cluster]\ntopology = 'star'\n[[edge]]\nbetween = [1, 2]\nlink = {}", "no link"),
            ("[[edge]]\nof = [1]\nlink = { delay = '-1us' }", "line 5: edge.link.delay is -1us"),
            ("[[node]]\nnodes = []\nwrong_key = true", "line 4: node.nodes names no node"),
            ("[[node]]\nnodes = [0, 0]\nwrong_key = true", "twice"),
            ("[[node]]\nnodes = [0]", "node says nothing"),
            ("[[node]]\nnodes = [0]\nlimits = { max_total = '-1s' }", "line 5: node.limits.max_total is -1s"),
            ("[[node]]\nnodes = [0]\nrole = 'king'", "'king' is no role"),
            ("[[node]]\nnodes = [0]\njoins_at = '10s'", "line 5: node.joins_at is 10s"),
            ("[[node]]\nnodes = [0]\nclock = { begins_unix_s = 5 }", "belongs to the whole world"),
            ("[[node]]\nnodes = [0, 1]\nrole = 'observer'", "fewer than two nodes"),
            ("[[event]]\nkind = 'crash'\nat = '10s'\nnodes = [0]", "line 5: event.at is 10s"),
            ("[[event]]\nkind = 'crash'\nat = '-1s'\nnodes = [0]", "event.at is -1s"),
            ("[[event]]\nkind = 'crash'\nat = '1s'\nnodes = [3]", "line 6: event.nodes names node 3"),
            ("[[event]]\nkind = 'crash'\nat = '1s'\nnodes = [0]\ndown = '0s'", "event.down is 0ns"),
            ("[[event]]\nkind = 'crash'\nat = '1s'\nnodes = [0]\noffset = '1s'", "event.offset"),
            ("[[event]]\nkind = 'crash'\nat = '1s'\nnodes = [0]\nspeed = 3", "speed"),
            ("[[event]]\nkind = 'quake'\nat = '1s'", "unknown variant `quake`"),
            ("[[event]]\nkind = 'partition'\nat = '5s'\nnodes = [0]\nuntil = '3s'", "line 7: event.until is 3s"),
            ("[[event]]\nkind = 'partition'\nat = '5s'\nnodes = [0, 1, 2]\nuntil = '7s'", "names every node"),
            ("[[event]]\nkind = 'suspend'\nat = '5s'\nnodes = [0]\nlength = '-3s'", "event.length is -3s"),
            ("[[event]]\nkind = 'stuck-clock'\nat = '5s'\nnodes = [0]\nlength = '0s'", "event.length is 0ns"),
            ("[[event]]\nkind = 'migrate'\nat = '5s'\nnodes = [0]\njump = '-1s'\nchange = '0'", "event.jump is -1s"),
            ("[[event]]\nkind = 'frequency-jump'\nat = '5s'\nnodes = [0]\nchange = '-1000000ppm'", "event.change"),
            ("[[event]]\nkind = 'temperature-step'\nat = '5s'\nnodes = [0]\nchange = '1ppm'\ntau = '0s'", "event.tau"),
            (
                "[[event]]\nkind = 'churn'\nat = '1s'\nuntil = '5s'\npart_per_minute = nan\ndown = '1s'",
                "part_per_minute",
            ),
            ("[[event]]\nkind = 'route'\nat = '1s'\nbetween = [1, 1]\nforward = '0'\nbackward = '0'", "twice"),
            ("[[liar]]\nnodes = [0, 1, 2]\nattack = { kind = 'echo' }", "fewer than two nodes"),
            ("[[liar]]\nnodes = [0]\nattack = { kind = 'edge', amplitude = '0s' }", "line 5: liar.attack.amplitude"),
            ("[[liar]]\nnodes = [0]\nattack = { kind = 'delay', by = '-1ms' }", "liar.attack.by is -1ms"),
            (
                "[[liar]]\nnodes = [0]\nfrom = '5s'\nuntil = '4s'\nattack = { kind = 'echo' }",
                "line 6: liar.until is 4s",
            ),
            (
                "[cluster]\nfidelity = 'exchanges'\n[[liar]]\nnodes = [0]\nattack = { kind = 'echo' }",
                "line 4: cluster.fidelity",
            ),
            ("[measure]\nfrom = '10s'", "measure.from is 10s"),
            ("[measure]\nsettle = '-1s'", "measure.settle is -1s"),
            ("[measure]\nsample_hz = 0.1", "measure.sample_hz is 0.1"),
            ("[bounds]\nalgorithms = ['magic']", "bounds.algorithms is not known"),
            ("[bounds]\nalgorithms = []", "nothing would be checked"),
            ("[bounds]\nconverged = { soon = '1s' }", "line 4: bounds.converged is for 'soon'"),
            ("[bounds]\nconverged = { '10us' = '20s' }", "bounds.converged to 10us is 20s"),
            ("[bounds]\npairwise_rms = '0s'", "bounds.pairwise_rms is 0ns"),
            ("[bounds]\nratio = nan", "bounds.ratio is NaN"),
            ("[bounds]\nratio = 1.2", "line 4: bounds.ratio has no limit to be held against (a link has no noise)"),
            (
                "[link]\njitter = 'normal 1us'\n[oscillator]\nflicker = 1e-9\n[bounds]\nratio = 1.2",
                "line 8: bounds.ratio has no limit to be held against (flicker noise",
            ),
            ("[bounds]\nsigma_ratio = [1.4, 0.7]", "bounds.sigma_ratio is [1.4, 0.7]"),
            ("[bounds]\nrejoined_within = '1us'", "without rejoined_after"),
            ("[bounds]\nnoticed = 1", "needs a [[liar]]"),
            ("[bounds]\nmust_not_sync = [9]", "no node 9"),
            ("[bounds]\nunused = [[1, 1]]", "twice"),
            ("[bounds]\nspeed = 1", "unknown field `speed`"),
        ];
        for (more, named) in wrong {
            match Scenario::parse("test", &format!("{HEAD}{more}\n")) {
                Ok(_) => panic!("taken: {more}"),
                Err(says) => {
                    assert!(says.contains(named), "{more}\n  says: {says}\n  not:  {named}");
                    assert!(says.starts_with("scenario test: line ") && !says.contains('\n'), "{says}");
                }
            }
        }
    }
}
