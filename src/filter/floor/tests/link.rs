//! One link between two free-running clocks, for the tests and tables of the floor filter: a perfect one and one that
//! wanders, packets that queue, stamps that round. Deterministic: one seed, one run. Tests only.

use crate::filter::{EdgeFilter, Floor, Kalman, Outcome, Pair};
use crate::flow::{Claim, Exchange, Mapping, Role, StampClass};
use crate::unit::{BootId, NodeId, PeerSlot, RawTime};

/// A repeatable source of noise (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Flat in (0, 1).
    pub(super) fn flat(&mut self) -> f64 {
        ((self.word() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * self.flat().ln()).sqrt() * (std::f64::consts::TAU * self.flat()).cos()
    }

    pub(super) fn exponential(&mut self) -> f64 {
        -self.flat().ln()
    }
}

/// How long packets take beyond the floor, ns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Law {
    Normal(f64),
    Exponential(f64),
    /// A product of two exponentials times this.
    Heavy(f64),
    /// An exponential blurred by a normal.
    Blurred(f64, f64),
    /// Normal; one of ten queues exponentially.
    Mixed(f64, f64),
}

impl Law {
    fn draw(self, dice: &mut Dice) -> f64 {
        match self {
            Law::Normal(sigma) => sigma * dice.normal(),
            Law::Exponential(mean) => mean * dice.exponential(),
            Law::Heavy(scale) => scale * dice.exponential() * dice.exponential(),
            Law::Blurred(sigma, mean) => sigma * dice.normal() + mean * dice.exponential(),
            Law::Mixed(sigma, mean) => {
                if dice.flat() < 0.1 {
                    mean * dice.exponential()
                } else {
                    sigma * dice.normal()
                }
            }
        }
    }
}

/// The seven links of the prototype's table: floor and law per direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub name: &'static str,
    pub floor_ns: f64,
    pub laws: [Law; 2],
}

const fn path(name: &'static str, floor_ns: f64, law: Law) -> Path {
    Path { name, floor_ns, laws: [law, law] }
}

pub(super) const SW: Path = path("Sw", 50e3, Law::Exponential(10e3));
pub(super) const HW: Path = path("Hw", 10e3, Law::Normal(30.0));
pub(super) const BUSY: Path = path("Busy", 50e3, Law::Exponential(200e3));
pub(super) const HEAVY: Path = path("Heavy", 50e3, Law::Heavy(200e3));
pub(super) const WAN: Path = path("Wan", 20e6, Law::Exponential(1e6));
pub(super) const MIX: Path = path("Mix", 10e3, Law::Mixed(100.0, 20e3));
pub(super) const ASYM: Path =
    Path { name: "Asym", floor_ns: 20e6, laws: [Law::Exponential(0.5e6), Law::Exponential(2e6)] };
pub(super) const LAN: Path = path("Lan", 20e3, Law::Blurred(100.0, 10e3));
pub(super) const PATHS: [Path; 7] = [SW, HW, BUSY, HEAVY, WAN, MIX, ASYM];

/// What else goes wrong on the link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trouble {
    None,
    /// This share of the exchanges is lost.
    Loss(f64),
    /// This share of the forward packets comes 50 ms late.
    Outliers(f64),
    /// Stamps are rounded down to this many ns.
    Grain(i64),
    /// Queues build up and drain: times of this mean length, ns, in which each packet of both directions waits for a
    /// common exponential time of ten times the law's scale, on top; a fifth of the time is such.
    Bursts(f64),
    /// Both floors rise by this many ns per second.
    Creep(f64),
    /// The rate swings by this (seconds per second) with this period, s.
    Sine(f64, f64),
    /// At half time the rate changes by this.
    RateStep(f64),
    /// At half time the clock jumps by this many ns.
    ClockStep(f64),
    /// At half time the floors change by this many ns, forward and backward.
    Route(f64, f64),
    /// The forward floor is longer by this many ns in every other span of this many seconds.
    Flapping(f64, f64),
}

/// One run: conditions and length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub path: Path,
    /// Random-walk frequency noise, 1/sqrt(s).
    pub wander: f64,
    pub rate_hz: f64,
    pub seconds: f64,
    pub trouble: Trouble,
    pub seed: u64,
    /// Members alive as both ends count them.
    pub alive: f64,
}

impl Run {
    pub(super) fn new(path: Path, wander: f64, rate_hz: f64, seed: u64) -> Self {
        let seconds = if rate_hz > 4.0 { 1_200.0 } else { 3_600.0 };
        Run { path, wander, rate_hz, seconds, trouble: Trouble::None, seed, alive: 2.0 }
    }
}

/// The link itself.
pub(super) struct Link {
    dice: Dice,
    run: Run,
    /// True time, ns.
    now_ns: f64,
    /// Peer minus self, ns, and its rate, ns/s.
    offset_ns: f64,
    rate: f64,
    swing: f64,
    burst_left_ns: f64,
    bursting: bool,
    event_done: bool,
    moved: [f64; 2],
}

impl Link {
    pub(super) fn new(run: Run) -> Self {
        let (dice, offset_ns, rate) = (Dice::new(run.seed), 1e7, 20e3);
        let (moved, event_done, bursting) = ([0.0; 2], false, false);
        Link { dice, run, now_ns: 0.0, offset_ns, rate, swing: 0.0, burst_left_ns: 0.0, bursting, event_done, moved }
    }

    /// Peer minus self in the middle of the newest exchange's own stamps.
    pub(super) fn truth_at(&self, at: RawTime) -> f64 {
        self.offset_ns + (self.rate + self.swing) * (at.nanos() as f64 - self.now_ns) * 1e-9
    }

    fn advance(&mut self) {
        let dt = 1.0 / self.run.rate_hz;
        let (a, b) = (self.dice.normal(), self.dice.normal());
        let w = self.run.wander * 1e9 * dt.sqrt();
        self.offset_ns += (self.rate + self.swing) * dt + w * dt * (0.5 * a + b / 12.0_f64.sqrt());
        self.rate += w * a;
        self.now_ns += dt * 1e9;
        let t = self.now_ns * 1e-9;
        let event = t >= self.run.seconds / 2.0 && !self.event_done;
        self.event_done |= event;
        match self.run.trouble {
            Trouble::Sine(amplitude, period) => {
                self.swing = amplitude * 1e9 * (std::f64::consts::TAU * t / period).sin();
            }
            Trouble::RateStep(by) if event => self.rate += by * 1e9,
            Trouble::ClockStep(by) if event => self.offset_ns += by,
            Trouble::Route(forward, backward) if event => self.moved = [forward, backward],
            Trouble::Flapping(by, every_s) => self.moved = [by * ((t / every_s).floor() % 2.0), 0.0],
            Trouble::Creep(by) => self.moved = [by * t; 2],
            Trouble::Bursts(mean_ns) => {
                self.burst_left_ns -= dt * 1e9;
                while self.burst_left_ns <= 0.0 {
                    self.bursting = !self.bursting;
                    let mean = if self.bursting { mean_ns } else { 4.0 * mean_ns };
                    self.burst_left_ns += mean * self.dice.exponential();
                }
            }
            _ => {}
        }
    }

    fn delay(&mut self, direction: usize) -> f64 {
        let law = self.run.path.laws[direction];
        let mut delay = self.run.path.floor_ns + self.moved[direction] + law.draw(&mut self.dice);
        if self.bursting {
            let scale = match law {
                Law::Normal(scale) | Law::Exponential(scale) | Law::Heavy(scale) | Law::Mixed(scale, _) => scale,
                Law::Blurred(_, scale) => scale,
            };
            delay += 10.0 * scale * self.dice.exponential();
        }
        if let Trouble::Outliers(share) = self.run.trouble
            && direction == 0
            && self.dice.flat() < share
        {
            delay += 50e6;
        }
        delay
    }

    fn stamp(&self, ns: f64) -> RawTime {
        let grain = if let Trouble::Grain(grain) = self.run.trouble { grain } else { 1 };
        let nanos = if grain > 1 { ns.floor() as i64 } else { ns.round() as i64 };
        RawTime::from_nanos(nanos.div_euclid(grain) * grain)
    }

    /// From now on exchanges come so often.
    pub(super) fn at_rate(&mut self, rate_hz: f64) {
        self.run.rate_hz = rate_hz;
    }

    /// The next exchange, or `None` if it was lost.
    pub(super) fn exchange(&mut self) -> Option<Exchange> {
        self.advance();
        // No program sends on the second to the nanosecond; rounded stamps would show a bias that is not there.
        let sent = self.now_ns + 1e6 * self.dice.flat();
        let arrived = sent + self.delay(0);
        let answered = arrived + 5_000.0;
        let back = answered + self.delay(1);
        if let Trouble::Loss(share) = self.run.trouble
            && self.dice.flat() < share
        {
            return None;
        }
        let remote = |ns: f64| ns + self.offset_ns + (self.rate + self.swing) * (ns - self.now_ns) * 1e-9;
        Some(Exchange {
            peer: PeerSlot(0),
            node: NodeId(2),
            boot: BootId(1),
            initiator: true,
            local_sent: self.stamp(sent),
            remote_received: self.stamp(remote(arrived)),
            remote_sent: self.stamp(remote(answered)),
            local_received: self.stamp(back),
            class: StampClass::Nic,
            local_rx_class: StampClass::Nic,
            local_tx_class: StampClass::Nic,
            claim: claim(),
        })
    }
}

pub(super) fn claim() -> Claim {
    let start = RawTime::from_nanos(0);
    Claim::unset(Mapping { epoch: start, offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 }, Role::Peer)
}

/// The exchange as the other end of the edge sees it.
pub(super) fn mirror(exchange: &Exchange) -> Exchange {
    exchange.mirrored(PeerSlot(3), NodeId(1), BootId(9), claim())
}

/// What a run came to, over its last 45 %, in ns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score {
    pub count: f64,
    /// Sum of squared errors, and of squared errors over claimed variances.
    pub square: f64,
    pub surprise: f64,
    pub worst: f64,
    /// Sum of errors.
    pub sum: f64,
    /// Seconds at which the error last exceeded 100 us, 10 us and 1 us.
    pub outside_s: [f64; 3],
    /// Outcomes other than [`Outcome::Taken`] that say something has changed.
    pub changes: u32,
}

impl Score {
    pub(super) fn rms(&self) -> f64 {
        (self.square / self.count).sqrt()
    }

    pub(super) fn sigma(&self) -> f64 {
        (self.surprise / self.count).sqrt()
    }

    pub(super) fn bias(&self) -> f64 {
        self.sum / self.count
    }

    fn add(&mut self, error: f64, variance: f64) {
        self.count += 1.0;
        self.square += error * error;
        self.surprise += error * error / variance;
        self.worst = self.worst.max(error.abs());
        self.sum += error;
    }

    /// Two runs as one.
    pub(super) fn and(mut self, other: &Score) -> Score {
        self.count += other.count;
        self.square += other.square;
        self.surprise += other.surprise;
        self.worst = self.worst.max(other.worst);
        self.sum += other.sum;
        self.changes += other.changes;
        for (mine, theirs) in self.outside_s.iter_mut().zip(other.outside_s) {
            *mine = mine.max(theirs);
        }
        self
    }
}

/// Filters that find how much a pair wanders from one edge alone.
pub(super) trait Finds {
    /// q of the pair, 1/s, after at least one exchange.
    fn wander(&self) -> f64;
}

impl Finds for Floor {
    fn wander(&self) -> f64 {
        self.track.as_ref().expect("an exchange was made").wander()
    }
}

impl Finds for Kalman {
    fn wander(&self) -> f64 {
        Kalman::wander(self)
    }
}

/// Runs a filter over a link. The pair's wander is fed back as the nodes would agree on it, every 4 seconds. `each`
/// sees the filter after every exchange, with the truth at its middle and whether it counts.
pub(super) fn run<F: EdgeFilter + Finds>(run: Run, filter: &mut F, mut each: impl FnMut(&F, f64, bool)) -> Score {
    let mut link = Link::new(run);
    let mut pair = Pair { boost: (run.alive / 2.0).max(1.0), wander: 2e-18, alive: run.alive };
    let (mut score, mut agreed_s) = (Score::default(), 0.0);
    while link.now_ns * 1e-9 < run.seconds {
        let Some(exchange) = link.exchange() else { continue };
        let outcome = filter.on_exchange(&exchange, &pair);
        let relation = filter.relation(exchange.local_mid()).expect("an exchange was made");
        let now_s = link.now_ns * 1e-9;
        let truth = link.truth_at(exchange.local_mid());
        let error = relation.base_ns as f64 + relation.offset_ns - truth;
        if outcome != Outcome::Taken && outcome != Outcome::Late {
            score.changes += 1;
        }
        // What happens at half time is given a twentieth of the run to be found.
        let counts = now_s > run.seconds * 0.55;
        if counts {
            score.add(error, relation.edge_var);
        }
        for (outside, limit) in score.outside_s.iter_mut().zip([100e3, 10e3, 1e3]) {
            if error.abs() > limit {
                *outside = now_s;
            }
        }
        each(filter, truth, counts);
        if now_s - agreed_s > 4.0 {
            agreed_s = now_s;
            pair.wander = filter.wander();
        }
    }
    score
}
