//! What goes wrong in a scenario: events that happen to nodes and links, and nodes that lie. Words only; the cluster
//! carries events out, and [`super::liar`] does the lying.

use serde::Deserialize;

use super::quantity::{Rate, Span};
use super::random::{Purpose, Stream};
use crate::flow::Leap;

/// What a new run finds of the one before it, which steered its clock.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// The machine has gone on, and its clock keeps the rate it was left with.
    #[default]
    Rate,
    /// So has it here, and the mapping that the daemon saves every two seconds is there: V goes on by it.
    Mapping,
    /// The machine has booted anew and finds its drift file.
    Drift,
    /// It has booted anew and knows nothing: its clock runs at the oscillator's own rate.
    Nothing,
}

/// A leap second as it is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LeapSpec {
    /// None.
    #[default]
    None,
    /// A day of a second more.
    Insert,
    /// A day of a second less.
    Delete,
}

impl From<LeapSpec> for Leap {
    fn from(spec: LeapSpec) -> Leap {
        match spec {
            LeapSpec::None => Leap::None,
            LeapSpec::Insert => Leap::Insert,
            LeapSpec::Delete => Leap::Delete,
        }
    }
}

/// Something that happens at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// Nodes die without a word, and come back as a new run after `down` if that is given.
    Crash {
        /// When.
        at: Span,
        /// Who.
        nodes: Vec<usize>,
        /// For how long; for ever unless given.
        down: Option<Span>,
        /// The error of their clocks when they come back; by default the clocks have gone on at their last rate.
        offset: Option<Span>,
        /// What the new run finds of the old one.
        #[serde(default)]
        keeps: Kept,
    },
    /// Some nodes are cut off from all others until `until`.
    Partition {
        /// When.
        at: Span,
        /// Who: the smaller side.
        nodes: Vec<usize>,
        /// When it is mended.
        until: Span,
    },
    /// Machines stand still, oscillator and all. On waking the kernel sets the clock forward by the time it has slept,
    /// which it has from a worse clock.
    Suspend {
        /// When.
        at: Span,
        /// Who.
        nodes: Vec<usize>,
        /// For how long.
        length: Span,
        /// The error of the clock's correction on waking.
        #[serde(default)]
        error: Span,
    },
    /// Virtual machines stand still, oscillator and all, and nobody tells them: their clocks go on where they stopped.
    Pause {
        /// When.
        at: Span,
        /// Who.
        nodes: Vec<usize>,
        /// For how long.
        length: Span,
    },
    /// Machines move to other hardware: the oscillator jumps forward and runs at another rate.
    Migrate {
        /// When.
        at: Span,
        /// Who.
        nodes: Vec<usize>,
        /// By how much their clocks jump forward.
        jump: Span,
        /// By how much their rate changes.
        change: Rate,
    },
    /// Oscillators change their frequency at once.
    FrequencyJump {
        /// When.
        at: Span,
        /// Whose.
        nodes: Vec<usize>,
        /// By how much.
        change: Rate,
    },
    /// Oscillators are warmed or cooled.
    TemperatureStep {
        /// When.
        at: Span,
        /// Whose.
        nodes: Vec<usize>,
        /// By how much their frequency changes in the end.
        change: Rate,
        /// With what time constant.
        tau: Span,
    },
    /// The oscillator stands still while the node goes on answering.
    StuckClock {
        /// When.
        at: Span,
        /// Whose.
        nodes: Vec<usize>,
        /// For how long.
        length: Span,
    },
    /// Somebody else steps the delivered clock.
    ClockStep {
        /// When.
        at: Span,
        /// Whose.
        nodes: Vec<usize>,
        /// By how much, positive = forward.
        by: Span,
    },
    /// What disciplines these clocks announces to them the leap second at the end of their UTC day, which they then
    /// take by themselves. It disturbs nobody: they are judged all the time.
    Leap {
        /// When it is announced.
        at: Span,
        /// To whose.
        nodes: Vec<usize>,
        /// Which; `none` takes back what was announced.
        second: LeapSpec,
    },
    /// These clocks forget what they have been told of a leap second, and will not take it.
    LeapForgotten {
        /// When.
        at: Span,
        /// Whose.
        nodes: Vec<usize>,
    },
    /// Nodes drawn by the seed die and come back, one after the other, for a while.
    Churn {
        /// From when.
        at: Span,
        /// Until when.
        until: Span,
        /// Which part of all nodes each minute.
        part_per_minute: f64,
        /// For how long each is away.
        down: Span,
    },
    /// The route between two nodes changes.
    Route {
        /// When.
        at: Span,
        /// Which.
        between: [usize; 2],
        /// What is added to the delay from the lower to the higher number.
        forward: Span,
        /// What is added to the delay back.
        backward: Span,
    },
}

impl Event {
    /// When it begins.
    #[must_use]
    pub fn at(&self) -> Span {
        match self {
            Event::Crash { at, .. }
            | Event::Partition { at, .. }
            | Event::Suspend { at, .. }
            | Event::Pause { at, .. }
            | Event::Migrate { at, .. }
            | Event::FrequencyJump { at, .. }
            | Event::TemperatureStep { at, .. }
            | Event::StuckClock { at, .. }
            | Event::ClockStep { at, .. }
            | Event::Leap { at, .. }
            | Event::LeapForgotten { at, .. }
            | Event::Churn { at, .. }
            | Event::Route { at, .. } => *at,
        }
    }

    /// Whom it happens to.
    pub fn nodes(&self) -> &[usize] {
        match self {
            Event::Crash { nodes, .. }
            | Event::Partition { nodes, .. }
            | Event::Suspend { nodes, .. }
            | Event::Pause { nodes, .. }
            | Event::Migrate { nodes, .. }
            | Event::FrequencyJump { nodes, .. }
            | Event::TemperatureStep { nodes, .. }
            | Event::StuckClock { nodes, .. }
            | Event::ClockStep { nodes, .. }
            | Event::Leap { nodes, .. }
            | Event::LeapForgotten { nodes, .. } => nodes,
            Event::Route { between, .. } => between,
            Event::Churn { .. } => &[],
        }
    }

    /// When what it happens to is whole again; `None` if never.
    #[must_use]
    pub fn over_at(&self) -> Option<Span> {
        match self {
            Event::Crash { at, down, .. } => down.map(|down| Span(at.0 + down.0)),
            Event::Partition { until, .. } | Event::Churn { until, .. } => Some(*until),
            Event::Suspend { at, length, .. }
            | Event::Pause { at, length, .. }
            | Event::StuckClock { at, length, .. } => Some(Span(at.0 + length.0)),
            _ => Some(self.at()),
        }
    }

    /// Its name in plots.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Event::Crash { .. } => "crash",
            Event::Partition { .. } => "partition",
            Event::Suspend { .. } => "suspend",
            Event::Pause { .. } => "pause",
            Event::Migrate { .. } => "migrate",
            Event::FrequencyJump { .. } => "frequency jump",
            Event::TemperatureStep { .. } => "temperature step",
            Event::StuckClock { .. } => "stuck clock",
            Event::ClockStep { .. } => "clock step",
            Event::Leap { .. } => "leap second announced",
            Event::LeapForgotten { .. } => "leap second forgotten",
            Event::Churn { .. } => "churn",
            Event::Route { .. } => "route change",
        }
    }

    /// The events with each churn written out as the crashes that `seed` makes of it, among `count` nodes.
    #[must_use]
    pub fn unrolled(events: &[Event], count: usize, seed: u64) -> Vec<Event> {
        let mut unrolled = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let Event::Churn { at, until, part_per_minute, down } = event else {
                unrolled.push(event.clone());
                continue;
            };
            let mut stream = Stream::new(seed, Purpose::Churn, index as u64, 0);
            let pause_ns = 60e9 / (part_per_minute * count as f64);
            let mut back_at = vec![0.0; count];
            let mut now = at.0 + pause_ns * stream.exponential();
            while now < until.0 {
                let n = stream.below(count);
                // One that is away cannot die.
                if back_at[n] <= now {
                    back_at[n] = now + down.0;
                    let (at, nodes, keeps) = (Span(now), vec![n], Kept::Rate);
                    unrolled.push(Event::Crash { at, nodes, down: Some(*down), offset: None, keeps });
                }
                now += pause_ns * stream.exponential();
            }
        }
        unrolled
    }
}

/// Nodes that hold valid keys and speak the whole protocol, but lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Liar {
    /// Who.
    pub nodes: Vec<usize>,
    /// How.
    pub attack: Attack,
    /// In what.
    #[serde(default)]
    pub via: Via,
    /// They are honest until then.
    #[serde(default)]
    pub from: Span,
    /// And from then on again.
    pub until: Option<Span>,
}

/// Where a lie is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// In the mapping that the liar publishes: takes effect at once, unfiltered.
    #[default]
    Claim,
    /// In its stamps: the liar's oscillator seems to be elsewhere.
    Stamps,
}

/// How a liar lies. Amplitudes are of its apparent cluster time. Liars know everybody's true clock.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Attack {
    /// Another time for everybody and four times a second, uniform within the amplitude.
    Random {
        /// Largest lie.
        amplitude: Span,
    },
    /// Half of the nodes are told the honest mean and this much more, the others this much less.
    TwoFaced {
        /// The lie.
        amplitude: Span,
    },
    /// Half of the nodes are told their own time and this much more, the others this much less: the liars agree with
    /// each side that it is right, and pull the sides apart.
    Edge {
        /// The lie.
        amplitude: Span,
    },
    /// An honest clock that leaves slowly.
    SlowDrag {
        /// How fast.
        rate: Rate,
    },
    /// Everybody is told its own time and this much more: all are pulled the same way, for ever.
    SmartDrag {
        /// The lie.
        amplitude: Span,
    },
    /// Everybody is told exactly its own time.
    Echo,
    /// Answers are held back.
    Delay {
        /// For how long.
        by: Span,
    },
    /// Every packet is followed by one that was sent earlier.
    Replay,
    /// Nothing is sent at all.
    Silence,
    /// Everybody is told of this leap second at the end of the day, or of none, whatever the own clock has been told.
    Leap {
        /// Which.
        second: LeapSpec,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn churn_takes_the_part_that_it_should_and_nobody_twice_at_a_time() {
        let churn = Event::Churn { at: Span(10e9), until: Span(610e9), part_per_minute: 0.1, down: Span(20e9) };
        let crashes = Event::unrolled(std::slice::from_ref(&churn), 50, 7);
        // Ten minutes, a tenth of 50 nodes each.
        assert!((30..70).contains(&crashes.len()), "{} crashes", crashes.len());
        let mut back_at = [0.0; 50];
        for crash in &crashes {
            let (n, at) = (crash.nodes()[0], crash.at().0);
            assert!((10e9..610e9).contains(&at) && back_at[n] <= at);
            back_at[n] = crash.over_at().unwrap().0;
        }
        let again = Event::unrolled(&[churn], 50, 7);
        assert!(crashes.iter().zip(&again).all(|(a, b)| a.at() == b.at() && a.nodes() == b.nodes()));
    }
}
