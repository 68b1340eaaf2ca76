//! A small world for the tests of this room: pipelines in a full mesh, oscillators that wander, links with jitter and
//! loss, liars. Deterministic by seed; true time is known, so errors are exact. It is no simulator: no packets, no
//! topology, one kind of link at a time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Config, Pipeline, Tick};
use crate::flow::{Claim, Exchange, Leap, LeapNews, Mapping, NodeState, PeerIdentity, Reading, Role, StampClass};
use crate::unit::{BootId, ClockTime, Name, NodeId, PeerSlot, RawTime};

/// The world moves in steps of 1/64 s; nodes tick every second, edges exchange every eighth, all staggered.
pub const STEP_NS: i64 = 15_625_000;
const STEP_S: f64 = STEP_NS as f64 * 1e-9;
const TICK_STEPS: u64 = 2;
const EXCHANGE_STEPS: u64 = 8;
/// A node that starts exchanges twice as often for two seconds.
const BURST_STEPS: u64 = 128;
/// What the wall clock says at true time zero.
const EPOCH_NS: i64 = 1_798_725_600_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// True time at which the wall clock's first day ends.
pub const MIDNIGHT_NS: i64 = DAY_NS - EPOCH_NS % DAY_NS;

/// PCG-XSH-RR 64/32 (O'Neill 2014).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.next();
        dice
    }

    fn next(&mut self) -> u32 {
        let old = self.0;
        self.0 = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((((old >> 18) ^ old) >> 27) as u32).rotate_right((old >> 59) as u32)
    }

    pub fn flat(&mut self) -> f64 {
        (f64::from(self.next()) + 0.5) / 4_294_967_296.0
    }

    pub fn within(&mut self, reach: f64) -> f64 {
        reach * (2.0 * self.flat() - 1.0)
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.flat().ln()).sqrt() * (std::f64::consts::TAU * self.flat()).cos()
    }
}

/// The links of ALGORITHMS 11.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Link {
    /// 5 us + N(30 ns) each way.
    Hw,
    /// 20 us + Exp(10 us) + N(100 ns) each way.
    Lan,
}

impl Link {
    fn delay_ns(self, dice: &mut Dice) -> f64 {
        match self {
            Link::Hw => 5_000.0 + 30.0 * dice.normal(),
            Link::Lan => 20_000.0 - 10_000.0 * dice.flat().ln() + 100.0 * dice.normal(),
        }
    }

    fn class(self) -> StampClass {
        match self {
            Link::Hw => StampClass::Nic,
            Link::Lan => StampClass::Kernel,
        }
    }
}

/// What a liar adds to its V for one receiver at a time, ns.
pub type Lie = fn(receiver: usize, t_s: f64, dice: &mut Dice) -> f64;

pub struct Node {
    pub pipeline: Pipeline,
    pub config: Config,
    pub up: bool,
    pub lie: Option<Lie>,
    boot: u32,
    started: u64,
    /// Raw time minus true time: a whole part and what the oscillator has gained since true time zero.
    base_ns: i64,
    gained_ns: f64,
    rate: f64,
    /// Clock minus raw, apart from the whole parts.
    clock_ns: f64,
    clock_rate: f64,
    pub last: Option<Tick>,
    pub stepped: u32,
    /// What its kernel has been told of the end of the day, and what the leap seconds it took add up to, s.
    pub kernel_leap: Leap,
    pub leapt_s: i64,
}

impl Node {
    fn raw(&self, t_ns: i64, later_ns: f64) -> RawTime {
        let gained = self.gained_ns + later_ns * (1.0 + self.rate);
        RawTime::from_nanos(self.base_ns + t_ns + gained.round() as i64)
    }

    /// The delivered clock's error against true time, ns.
    pub fn clock_error_ns(&self) -> f64 {
        self.gained_ns + self.clock_ns
    }

    /// V's error against true time, ns.
    pub fn v_error_ns(&self, t_ns: i64) -> f64 {
        let (whole, frac) = self.pipeline.claim().mapping.offset_at(self.raw(t_ns, 0.0));
        whole.wrapping_add(self.base_ns).wrapping_sub(EPOCH_NS) as f64 + frac + self.gained_ns
    }

    /// The machine jumps `ns` forward, oscillator and all: its clock is made of it.
    pub fn jump(&mut self, ns: f64) {
        self.gained_ns += ns;
    }

    /// The leap second that its kernel takes when its clock, leap seconds apart, shows `steady_ns`.
    fn leap_at(&mut self, steady_ns: i64) -> Leap {
        let due_ns = EPOCH_NS + MIDNIGHT_NS - if self.kernel_leap == Leap::Delete { SECOND_NS } else { 0 };
        if self.leapt_s != 0 || steady_ns < due_ns {
            return Leap::None;
        }
        self.leapt_s = self.kernel_leap.step_s();
        self.kernel_leap
    }

    /// Somebody else sets the clock `ns` forward.
    pub fn set_clock(&mut self, ns: f64) {
        self.clock_ns += ns;
    }

    /// The rate that the clock was told.
    pub fn clock_rate(&self) -> f64 {
        self.clock_rate
    }

    /// Sets the clock right and lets it run true: for references, of which there is only one truth.
    pub fn align(&mut self) {
        self.clock_ns = -self.gained_ns;
        self.clock_rate = 1.0 / (1.0 + self.rate) - 1.0;
    }

    pub fn state(&self) -> NodeState {
        self.pipeline.claim().state
    }
}

pub struct World {
    pub nodes: Vec<Node>,
    pub link: Link,
    pub wander: f64,
    pub loss: f64,
    pub dice: Dice,
    step: u64,
}

impl World {
    /// `count` nodes, +-10 ms and +-50 ppm apart, random-walk FM of 1e-9 per sqrt(s), 1 % loss per packet.
    pub fn new(count: usize, link: Link, seed: u64, configure: impl Fn(usize, &mut Config)) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = (0..count)
            .map(|index| {
                let mut config = Config { capacity: count, ..Config::new(NodeId(1 + index as u64)) };
                configure(index, &mut config);
                let base_ns = (dice.flat() * 1e17) as i64;
                let clock_ns = dice.within(10e6);
                let rate = dice.within(50e-6);
                let pipeline = fresh(&config, base_ns, clock_ns, 0);
                Node {
                    pipeline,
                    config,
                    up: true,
                    lie: None,
                    boot: 0,
                    started: 0,
                    base_ns,
                    gained_ns: 0.0,
                    rate,
                    clock_ns,
                    clock_rate: 0.0,
                    last: None,
                    stepped: 0,
                    kernel_leap: Leap::None,
                    leapt_s: 0,
                }
            })
            .collect();
        let mut world = World { nodes, link, wander: 1e-9, loss: 0.01, dice, step: 0 };
        for here in 0..count {
            for there in 0..count {
                world.introduce(here, there);
            }
        }
        world
    }

    pub fn t_ns(&self) -> i64 {
        self.step as i64 * STEP_NS
    }

    pub fn t_s(&self) -> f64 {
        self.t_ns() as f64 * 1e-9
    }

    /// Takes a node down: it falls silent and the others notice at once.
    pub fn down(&mut self, index: usize) {
        self.nodes[index].up = false;
        for other in &mut self.nodes {
            if other.config.node != NodeId(1 + index as u64) {
                other.pipeline.left(PeerSlot(index as u16));
            }
        }
    }

    /// Starts a node anew with its clock `error_ns` off.
    pub fn restart(&mut self, index: usize, error_ns: f64) {
        let t_ns = self.t_ns();
        let node = &mut self.nodes[index];
        node.boot += 1;
        node.started = self.step;
        node.clock_ns = error_ns - node.gained_ns;
        node.clock_rate = 0.0;
        node.up = true;
        node.pipeline = fresh(&node.config, node.base_ns + node.gained_ns.round() as i64, error_ns, t_ns);
        for other in 0..self.nodes.len() {
            self.introduce(index, other);
            self.introduce(other, index);
        }
    }

    fn introduce(&mut self, here: usize, there: usize) {
        if here == there || !self.nodes[there].up {
            return;
        }
        let identity = PeerIdentity {
            slot: PeerSlot(there as u16),
            node: NodeId(1 + there as u64),
            boot: BootId(self.nodes[there].boot),
            name: Name::new("n"),
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9),
        };
        self.nodes[here].pipeline.arrived(&identity);
    }

    /// Lets the world run for `seconds`, calling `watch` at every tick time (32/s).
    pub fn run(&mut self, seconds: f64, mut watch: impl FnMut(&World)) {
        let end = self.step + (seconds / STEP_S).round() as u64;
        while self.step < end {
            self.advance();
            if self.step.is_multiple_of(TICK_STEPS) {
                watch(self);
            }
        }
    }

    /// Lets true time be `t_ns` before anything has happened.
    pub fn begin_at(&mut self, t_ns: i64) {
        self.step = (t_ns / STEP_NS) as u64;
        for node in &mut self.nodes {
            (node.base_ns, node.started) = (node.base_ns - t_ns, self.step);
        }
    }

    fn advance(&mut self) {
        self.step += 1;
        for node in &mut self.nodes {
            let (a, b) = (self.dice.normal(), self.dice.normal());
            let wander = self.wander * STEP_S.sqrt();
            let elapsed_ns = node.rate * STEP_NS as f64 + wander * STEP_NS as f64 * (a / 2.0 + b / 12f64.sqrt());
            node.gained_ns += elapsed_ns;
            node.rate += wander * a;
            node.clock_ns += node.clock_rate * (STEP_NS as f64 + elapsed_ns);
        }
        let count = self.nodes.len();
        for here in 0..count {
            for there in here + 1..count {
                let started = self.nodes[here].started.max(self.nodes[there].started);
                let period = if self.step < started + BURST_STEPS { EXCHANGE_STEPS / 2 } else { EXCHANGE_STEPS };
                if (self.step + (here * 5 + there * 3) as u64).is_multiple_of(period) {
                    self.exchange(here, there);
                }
            }
        }
        for index in 0..count {
            if self.nodes[index].up && (self.step + index as u64).is_multiple_of(TICK_STEPS) {
                self.tick(index);
            }
        }
    }

    fn exchange(&mut self, here: usize, there: usize) {
        let jitter = self.dice.flat() * 1e6;
        let (first, second) = if self.dice.flat() < 0.5 { (here, there) } else { (there, here) };
        let delays = [self.link.delay_ns(&mut self.dice), self.link.delay_ns(&mut self.dice)];
        let lost = [0; 3].map(|_| self.dice.flat() < self.loss);
        if !self.nodes[here].up || !self.nodes[there].up || lost[0] || lost[1] {
            return;
        }
        let exchange = self.stamped(first, second, jitter, delays);
        let claim = self.claim(first, second);
        let boot = BootId(self.nodes[first].boot);
        self.nodes[first].pipeline.on_exchange(&exchange);
        if !lost[2] {
            let mirrored = exchange.mirrored(PeerSlot(first as u16), NodeId(1 + first as u64), boot, claim);
            self.nodes[second].pipeline.on_exchange(&mirrored);
        }
    }

    /// An exchange between two nodes now, as the first sees it, handed to nobody.
    pub fn exchange_of(&mut self, first: usize, second: usize) -> Exchange {
        let delays = [self.link.delay_ns(&mut self.dice), self.link.delay_ns(&mut self.dice)];
        self.stamped(first, second, 0.0, delays)
    }

    fn stamped(&mut self, first: usize, second: usize, start_ns: f64, delays: [f64; 2]) -> Exchange {
        let t_ns = self.t_ns();
        let arrived = start_ns + delays[0];
        let answered = arrived + 10_000.0;
        Exchange {
            peer: PeerSlot(second as u16),
            node: NodeId(1 + second as u64),
            boot: BootId(self.nodes[second].boot),
            initiator: true,
            local_sent: self.nodes[first].raw(t_ns, start_ns),
            remote_received: self.nodes[second].raw(t_ns, arrived),
            remote_sent: self.nodes[second].raw(t_ns, answered),
            local_received: self.nodes[first].raw(t_ns, answered + delays[1]),
            class: self.link.class(),
            local_rx_class: self.link.class(),
            local_tx_class: self.link.class(),
            claim: self.claim(second, first),
        }
    }

    fn claim(&mut self, speaker: usize, receiver: usize) -> Claim {
        let t_s = self.t_s();
        let mut claim = self.nodes[speaker].pipeline.claim();
        if let Some(lie) = self.nodes[speaker].lie {
            claim.mapping = claim.mapping.moved(lie(receiver, t_s, &mut self.dice), 0.0);
        }
        claim
    }

    fn tick(&mut self, index: usize) {
        let t_ns = self.t_ns();
        let node = &mut self.nodes[index];
        let steady = (EPOCH_NS + t_ns).wrapping_add(node.clock_error_ns().round() as i64);
        let taken = node.leap_at(steady);
        node.pipeline.on_leap(LeapNews { announced: node.kernel_leap, taken });
        let clock = steady + node.leapt_s * SECOND_NS;
        let reading = Reading { raw: node.raw(t_ns, 0.0), clock: ClockTime::from_nanos(clock) };
        let tick = node.pipeline.tick(reading);
        if let Some(correction) = tick.correction {
            node.clock_ns += correction.step_ns as f64;
            node.clock_rate = correction.rate;
            node.stepped += u32::from(correction.step_ns != 0);
        }
        node.kernel_leap = tick.leap.unwrap_or(node.kernel_leap);
        node.last = Some(tick);
    }

    /// Nodes that are up and do not lie.
    pub fn honest(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.up && n.lie.is_none())
    }

    /// The largest difference of two honest nodes' clocks, ns.
    pub fn worst_pair_ns(&self) -> f64 {
        let (low, high) =
            self.honest().map(Node::clock_error_ns).fold((f64::MAX, f64::MIN), |(l, h), e| (l.min(e), h.max(e)));
        high - low
    }
}

fn fresh(config: &Config, base_ns: i64, clock_ns: f64, t_ns: i64) -> Pipeline {
    let raw = RawTime::from_nanos(base_ns + t_ns);
    let offset_ns = EPOCH_NS - base_ns + clock_ns.round() as i64;
    Pipeline::new(config, Mapping { epoch: raw, offset_ns, offset_frac_ns: 0.0, rate: 0.0 }, raw)
}

/// Errors of a run, gathered.
#[derive(Default, Debug)]
pub struct Score {
    clock_squares: f64,
    v_squares: f64,
    pairs: f64,
    pub worst_ns: f64,
    /// True pairwise errors beyond the bound of one of the two nodes, and beyond the sum of both.
    pub violations: u64,
    pub sum_violations: u64,
    pub promised: u64,
    pub bound_mean_ns: f64,
    sigma_squares: f64,
    error_squares: f64,
}

impl Score {
    pub fn watch(&mut self, world: &World) {
        let t_ns = world.t_ns();
        let nodes: Vec<&Node> = world.honest().filter(|n| n.config.role == Role::Peer).collect();
        let mean = nodes.iter().map(|n| n.clock_error_ns()).sum::<f64>() / nodes.len() as f64;
        for (index, a) in nodes.iter().enumerate() {
            let claim = a.pipeline.claim();
            self.sigma_squares += f64::from(claim.sigma_ns).powi(2);
            self.error_squares += (a.clock_error_ns() - mean).powi(2);
            for b in &nodes[index + 1..] {
                let clock = a.clock_error_ns() - b.clock_error_ns();
                self.clock_squares += clock * clock;
                self.v_squares += (a.v_error_ns(t_ns) - b.v_error_ns(t_ns)).powi(2);
                self.pairs += 1.0;
                self.worst_ns = self.worst_ns.max(clock.abs());
            }
        }
        self.watch_bounds(world);
    }

    /// Only the bounds; may be watched from the very start.
    pub fn watch_bounds(&mut self, world: &World) {
        let nodes: Vec<&Node> = world.honest().filter(|n| n.config.role == Role::Peer).collect();
        for (index, a) in nodes.iter().enumerate() {
            for b in &nodes[index + 1..] {
                let (mine, theirs) = (a.pipeline.claim(), b.pipeline.claim());
                let settled = |c: &Claim| c.state == NodeState::Track && !c.joining && c.bound_ns.is_finite();
                if !settled(&mine) || !settled(&theirs) {
                    continue;
                }
                let error = (a.clock_error_ns() - b.clock_error_ns()).abs();
                let (low, high) = (mine.bound_ns.min(theirs.bound_ns), mine.bound_ns + theirs.bound_ns);
                self.promised += 1;
                self.bound_mean_ns += f64::from(high) / 2.0;
                self.violations += u64::from(error > f64::from(low));
                self.sum_violations += u64::from(error > f64::from(high));
            }
        }
    }

    pub fn rms_ns(&self) -> f64 {
        (self.clock_squares / self.pairs).sqrt()
    }

    pub fn v_rms_ns(&self) -> f64 {
        (self.v_squares / self.pairs).sqrt()
    }

    pub fn bound_ns(&self) -> f64 {
        self.bound_mean_ns / self.promised as f64
    }

    /// True error over claimed sigma.
    pub fn sigma_ratio(&self) -> f64 {
        (self.error_squares / self.sigma_squares).sqrt()
    }
}

/// Mean rate of V against raw over the honest nodes: how far the ensemble runs from its oscillators.
pub fn mean_rate(world: &World) -> f64 {
    let rates: Vec<f64> = world.honest().map(|n| n.pipeline.claim().mapping.rate).collect();
    rates.iter().sum::<f64>() / rates.len() as f64
}
