//! The parts of a scenario as they are written: oscillators, clocks, stamps and links, each with the defaults of an
//! ordinary server room, and what is built from each. Checked by [`super::scenario`].

use serde::Deserialize;

use super::card::Card;
use super::clock::Utc;
use super::fault::LeapSpec;
use super::law::{Law, Term};
use super::link::{Bursts, Path, Queue, Wire};
use super::oscillator::{CELL_NS, Oscillator, Quality};
use super::quantity::{Rate, Span};
use super::random::{Purpose, Stream};
use super::stamp::StampModel;
use crate::flow::StampClass;
use crate::pipeline::Limits;

/// Bytes of one of our packets on a wire: the datagram and its headers down to the preamble.
const WIRE_BYTES: f64 = 176.0 + 66.0;

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
    /// Length of the straight pieces of which its path is made; longer ones are cheaper.
    pub cell: Span,
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
            cell: Span(CELL_NS as f64),
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
    /// What true time is when the world begins, seconds of Unix time; of the whole cluster.
    pub begins_unix_s: i64,
    /// The leap second that true time takes at the end of that day; of the whole cluster.
    pub leap: LeapSpec,
}

/// Some day in 2027.
const BEGINS_UNIX_S: i64 = 1_800_000_000;

impl ClockSpec {
    /// The truth.
    #[must_use]
    pub fn utc(&self) -> Utc {
        Utc::new(self.begins_unix_s * 1_000_000_000, self.leap.into())
    }
}

impl Default for ClockSpec {
    fn default() -> Self {
        ClockSpec {
            offset: Span(10e6),
            offset_exact: None,
            rate_grain: Rate(0.0),
            read_noise: Law::ZERO,
            begins_unix_s: BEGINS_UNIX_S,
            leap: LeapSpec::None,
        }
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
    /// The clock that takes them, where it is not the oscillator itself.
    pub card: Option<CardSpec>,
}

/// A network card's free-running clock.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CardSpec {
    /// Its oscillator.
    pub oscillator: OscillatorSpec,
    /// How far it stands from the node's oscillator when the world begins: uniform within.
    pub offset: Span,
    /// Error of reading both clocks together, which is done at each tick.
    pub read_noise: Law,
    /// How long such a reading takes: it cannot be wrong by more than half of this.
    pub read_width: Span,
}

impl Default for CardSpec {
    fn default() -> Self {
        let read_noise = Law::ZERO.plus(Term::Normal(20.0));
        CardSpec { oscillator: OscillatorSpec::default(), offset: Span(10e9), read_noise, read_width: Span(800.0) }
    }
}

impl CardSpec {
    /// The card of node `n`, whose oscillator starts at `raw_start_ns`.
    #[must_use]
    pub fn build(&self, raw_start_ns: i64, seed: u64, n: u64) -> Card {
        let mut start = Stream::new(seed, Purpose::Card, n, 0);
        let quality = self.oscillator.build(&mut start);
        let start_ns = raw_start_ns + (self.offset.0 * start.symmetric()) as i64;
        let path = Stream::new(seed, Purpose::Card, n, 1);
        let oscillator = Oscillator::in_cells(quality, start_ns, self.oscillator.cell.nanos(), path);
        let stream = Stream::new(seed, Purpose::Card, n, 2);
        Card::new(oscillator, self.read_noise.clone(), self.read_width.0, stream)
    }
}

impl Default for StampSpec {
    fn default() -> Self {
        let kind = StampKind::Ideal;
        StampSpec {
            kind,
            receive: None,
            transmit: None,
            grain: None,
            lead: None,
            missing: 0.0,
            late: Law::ZERO,
            card: None,
        }
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

/// What may be done to the delivered clock; see the options of the daemon of the same names. What is not given is the
/// daemon's default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// An error above this is stepped, where a step is allowed.
    pub step_threshold: Option<Span>,
    /// The clock is never stepped.
    pub no_step: bool,
    /// Fastest slew, at all times; by default that of a settled clock.
    pub slew_limit: Option<Rate>,
    /// The largest single change after the start; beyond it the node ends.
    pub max_change: Option<Span>,
    /// The largest change at the start; beyond it the node ends.
    pub max_change_at_start: Option<Span>,
    /// What all steps after the start may add up to; beyond it the node ends.
    pub max_total: Option<Span>,
}

impl LimitsSpec {
    /// The limits.
    #[must_use]
    pub fn build(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            step_threshold_ns: self.step_threshold.map_or(usual.step_threshold_ns, Span::nanos),
            allow_step: !self.no_step,
            slew_max: self.slew_limit.map_or(usual.slew_max, |rate| rate.0),
            slew_max_always: self.slew_limit.is_some(),
            start_change_ns_max: self.max_change_at_start.map_or(usual.start_change_ns_max, |most| most.0),
            change_ns_max: self.max_change.map_or(usual.change_ns_max, |most| most.0),
            total_ns_max: self.max_total.map_or(usual.total_ns_max, |most| most.0),
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
