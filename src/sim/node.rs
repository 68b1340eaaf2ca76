//! One simulated node: the very `exchange` and `pipeline` of the daemon, an oscillator, a delivered clock and a way of
//! taking stamps. It is told what happens and when; it knows neither links nor the other nodes.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::clock::{SimClock, whole};
use super::law::Law;
use super::liar::Lying;
use super::oscillator::{FineRaw, Oscillator};
use super::random::{Purpose, Stream};
use super::scenario::Scenario;
use super::stamp::StampModel;
use super::world::TrueNs;
use crate::exchange::{Config, Outgoing, Protocol, Roster};
use crate::flow::{Claim, Event, Mapping, NodeState, Reading, Role, Stamp};
use crate::pipeline::{Algorithm, Config as PipelineConfig, Pipeline, Upheaval};
use crate::unit::{BootId, ClusterId, KeyId, Name, NodeId, PeerSlot};
use crate::wire::{DATAGRAM_LEN, Identity, Keyring, Reject};

/// What clocks read when the world begins: some day in 2027.
pub const START_OF_TIME_NS: i64 = 1_800_000_000_000_000_000;

/// A node.
pub struct Node {
    /// Its number.
    pub number: usize,
    /// Its part.
    pub role: Role,
    /// Who it says it is.
    pub identity: Identity,
    /// The keys it holds.
    pub keys: Keyring,
    /// It holds a key that nobody else has, and so is alone.
    pub alone: bool,
    /// Its daemon runs.
    pub up: bool,
    /// Its machine is suspended.
    pub frozen: bool,
    /// Which run of the daemon this is; events of earlier runs are dead.
    pub run: u32,
    /// When its protocol wants to be polled; the agenda holds an event for it.
    pub poll_at: TrueNs,
    /// How it lies, if it does.
    pub lying: Option<Lying>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its oscillator.
    pub oscillator: Oscillator,
    /// Its delivered clock.
    pub clock: SimClock,
    /// How it takes stamps.
    pub stamps: StampModel,
    /// Errors of its stamps.
    pub stamp_stream: Stream,
    /// What it says of itself.
    pub claim: Claim,
    /// Ever left the state it started in.
    pub has_synced: bool,
    pipeline: Pipeline,
    entropy: Stream,
    tick_stream: Stream,
    tick_late: Law,
    tick_ns: i64,
    read_noise: Law,
    rate_hz: f64,
    rounds: u32,
    capacity: usize,
    algorithm: Algorithm,
    faults: Option<u16>,
    peers: Vec<usize>,
    /// The node in each slot, to know which links were used.
    seats: Vec<Option<usize>>,
    /// Exchanges finished with each node of `peers`.
    exchanged: Vec<u64>,
}

/// Where node `n` is reached.
#[must_use]
pub fn address(n: usize) -> SocketAddr {
    let number = n as u32;
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 | number), 4123))
}

/// Which node is reached at `address`.
#[must_use]
pub fn number(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => (u32::from(*v4.ip()) & 0x00ff_ffff) as usize,
        SocketAddr::V6(_) => unreachable!("no simulated node has such an address"),
    }
}

fn identity(n: usize, run: u32) -> Identity {
    let name = format!("n{n}");
    Identity {
        cluster: ClusterId::derive("sim"),
        node: NodeId::derive("sim", &name),
        boot: BootId(1 + n as u32 + (run << 20)),
        name: Name::new(&name),
    }
}

fn keyring(wrong: bool) -> Keyring {
    let mut keys = Keyring::new();
    keys.insert(KeyId(1), &[if wrong { 0x77 } else { 0x11 }; 32], None).expect("one key of 32 bytes fits");
    keys
}

impl Node {
    /// Node `number` of the scenario, its daemon not running. `peers` are those it lists.
    #[must_use]
    pub fn new(scenario: &Scenario, number: usize, peers: Vec<usize>, algorithm: Algorithm, seed: u64) -> Self {
        let n = number as u64;
        let mut start = Stream::new(seed, Purpose::Start, n, 0);
        let oscillator = scenario.special(number, |s| s.oscillator.as_ref()).unwrap_or(&scenario.oscillator);
        let clock_spec = scenario.special(number, |s| s.clock.as_ref()).unwrap_or(&scenario.clock);
        let stamps = scenario.special(number, |s| s.stamps.as_ref()).unwrap_or(&scenario.stamps);
        let quality = oscillator.build(&mut start);
        // Machines have been up for anything between a moment and four months.
        let raw_start_ns = (1e9 + 1e16 * start.unit()) as i64;
        let drawn_ns = clock_spec.offset.0 * start.symmetric();
        let offset_ns = clock_spec.offset_exact.map_or(drawn_ns, |offset| offset.0).round() as i64;
        let mut oscillator = Oscillator::new(quality, raw_start_ns, Stream::new(seed, Purpose::Oscillator, n, 0));
        let raw = oscillator.read(0);
        let clock = SimClock::new(raw, START_OF_TIME_NS + offset_ns, 0.0, clock_spec.rate_grain.0);
        let alone = scenario.nodes.iter().any(|s| s.wrong_key && s.nodes.contains(&number));
        let keys = keyring(alone);
        let identity = identity(number, 0);
        let role = scenario.role(number);
        let liar = scenario.liars.iter().find(|liar| liar.nodes.contains(&number));
        let mapping = Mapping::through(whole(raw), crate::unit::VirtualTime::from_nanos(clock.read(raw).nanos()), 0.0);
        let claim = Claim::unset(mapping, role);
        let capacity = peers.len().max(1);
        let cluster = &scenario.cluster;
        let stamps = stamps.build();
        let config = Config {
            identity,
            keys: keys.clone(),
            rate_hz: cluster.rate,
            rounds: cluster.rounds,
            capacity,
            claim,
            promise: stamps.class,
        };
        Node {
            number,
            role,
            identity,
            keys,
            alone,
            up: false,
            frozen: false,
            run: 0,
            poll_at: TrueNs::MAX,
            lying: liar.map(|spec| Lying::new(spec.clone(), Stream::new(seed, Purpose::Lie, n, 0).bits())),
            protocol: Protocol::new(config, whole(raw)),
            pipeline: pipeline(identity.node, role, algorithm, cluster.faults, capacity, cluster.tick.nanos(), mapping),
            oscillator,
            clock,
            stamps,
            stamp_stream: Stream::new(seed, Purpose::Stamp, n, 0),
            claim,
            has_synced: false,
            entropy: Stream::new(seed, Purpose::Entropy, n, 0),
            tick_stream: Stream::new(seed, Purpose::Tick, n, 0),
            tick_late: cluster.tick_late.clone(),
            tick_ns: cluster.tick.nanos(),
            read_noise: clock_spec.read_noise.clone(),
            rate_hz: cluster.rate,
            rounds: cluster.rounds,
            capacity,
            algorithm,
            faults: cluster.faults,
            seats: vec![None; capacity],
            exchanged: vec![0; peers.len()],
            peers,
        }
    }

    /// The daemon starts: a fresh run that knows nothing but its clock. Returns when it ticks first.
    pub fn boot(&mut self, now: TrueNs) -> TrueNs {
        let raw = self.oscillator.read(now);
        self.run += 1;
        self.up = true;
        self.identity = identity(self.number, self.run);
        let clock = self.clock.read(raw);
        let start = crate::unit::VirtualTime::from_nanos(clock.nanos());
        let mapping = Mapping::through(whole(raw), start, self.clock.rate());
        self.claim = Claim::unset(mapping, self.role);
        let config = Config {
            identity: self.identity,
            keys: self.keys.clone(),
            rate_hz: self.rate_hz,
            rounds: self.rounds,
            capacity: self.capacity,
            claim: self.claim,
            promise: self.stamps.class,
        };
        self.protocol = Protocol::new(config, whole(raw));
        self.pipeline =
            pipeline(self.identity.node, self.role, self.algorithm, self.faults, self.capacity, self.tick_ns, mapping);
        self.seats.fill(None);
        let (roster, left_over) = Roster::new(self.peers.iter().map(|peer| address(*peer)));
        assert_eq!(left_over, 0, "the scenario's degree has been checked");
        let entropy = self.entropy.bits();
        self.protocol.set_roster(&roster, whole(raw), entropy);
        now + (self.tick_ns as f64 * self.tick_stream.unit()) as i64
    }

    /// The daemon dies.
    pub fn kill(&mut self) {
        self.up = false;
        self.claim = Claim::unset(self.claim.mapping, self.role);
    }

    /// True if it can act at all.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.up && !self.frozen
    }

    /// Its protocol has something to do at this time, as far as can be told now.
    #[must_use]
    pub fn wants_poll_at(&self, now: TrueNs) -> TrueNs {
        self.oscillator.foresee(self.protocol.deadline().nanos(), now)
    }

    /// Polls the protocol once: a datagram to send, if there is one.
    pub fn poll(&mut self, now: TrueNs, out: &mut [u8; DATAGRAM_LEN]) -> Option<Outgoing> {
        let raw = whole(self.oscillator.read(now));
        if raw < self.protocol.deadline() {
            return None;
        }
        let entropy = self.entropy.bits();
        let sent = self.protocol.poll(raw, entropy, out);
        self.drain();
        sent
    }

    /// A datagram arrives: its answer, if there is one.
    ///
    /// # Errors
    /// Why it changed nothing.
    pub fn receive(
        &mut self,
        now: TrueNs,
        from: usize,
        datagram: &[u8],
        answer: &mut [u8; DATAGRAM_LEN],
    ) -> Result<Option<Outgoing>, Reject> {
        let raw = self.oscillator.read(now);
        let received = self.stamps.on_arrival(raw, &mut self.stamp_stream);
        let entropy = self.entropy.bits();
        let outcome = self.protocol.on_datagram(whole(raw), address(from), datagram, received, entropy, answer);
        self.drain();
        outcome
    }

    /// A packet departs: the stamp of it, if there will be one.
    pub fn depart(&mut self, now: TrueNs) -> Option<Stamp> {
        let raw = self.oscillator.read(now);
        self.stamps.on_departure(raw, &mut self.stamp_stream)
    }

    /// The true departure of a packet comes back.
    pub fn stamped(&mut self, now: TrueNs, outgoing: &Outgoing, stamp: Stamp) {
        let raw = whole(self.oscillator.read(now));
        self.protocol.on_transmit_stamp(outgoing, stamp, raw);
        self.drain();
    }

    /// The machine has been suspended for `length_ns` and knows it.
    pub fn suspended(&mut self, length_ns: i64) {
        self.pipeline.unsettle(Upheaval::Suspended(length_ns));
    }

    /// One steering tick. Returns when the next is due.
    pub fn tick(&mut self, now: TrueNs) -> TrueNs {
        let raw = self.oscillator.read(now);
        let noise_ns = self.read_noise.draw(&mut self.tick_stream).round() as i64;
        let reading = Reading { raw: whole(raw), clock: self.clock.read(raw).plus(noise_ns) };
        let tick = self.pipeline.tick(reading);
        if let Some(correction) = tick.correction {
            self.clock.command(raw, correction.rate, correction.step_ns);
        }
        self.claim = tick.claim;
        self.has_synced |= matches!(tick.claim.state, NodeState::Track | NodeState::Acquire);
        self.protocol.set_claim(tick.claim);
        let late_ns = self.tick_late.draw(&mut self.tick_stream).max(0.0) as i64;
        self.oscillator.foresee(raw.nanos + self.tick_ns, now) + late_ns
    }

    /// The error of the delivered clock, ns, positive = ahead of true time.
    pub fn error_ns(&mut self, now: TrueNs) -> f64 {
        let raw = self.oscillator.read(now);
        self.clock.error_ns(raw, START_OF_TIME_NS + now)
    }

    /// The delivered clock minus the oscillator, ns, above an arbitrary origin.
    pub fn clock_minus_raw_ns(&mut self, now: TrueNs, origin_ns: i64) -> f64 {
        let raw = self.oscillator.read(now);
        let (whole, frac) = self.clock.offset_at(raw);
        (whole - origin_ns) as f64 + frac
    }

    /// The oscillator now.
    pub fn raw(&mut self, now: TrueNs) -> FineRaw {
        self.oscillator.read(now)
    }

    /// Exchanges finished with node `other`.
    #[must_use]
    pub fn exchanged_with(&self, other: usize) -> u64 {
        self.peers.iter().position(|peer| *peer == other).map_or(0, |index| self.exchanged[index])
    }

    /// Exchanges finished with anybody.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.exchanged.iter().sum()
    }

    fn drain(&mut self) {
        while let Some(event) = self.protocol.next_event() {
            match event {
                Event::Exchanged(exchange) => {
                    self.count(exchange.peer);
                    let _taken = self.pipeline.on_exchange(&exchange);
                }
                Event::Arrived(identity) => {
                    self.seats[identity.slot.index()] = Some(number(identity.address));
                    self.pipeline.arrived(&identity);
                }
                // What the discipline thread does too: silence is told to people, and the pipeline sees it by itself.
                Event::Silent(_) | Event::Returned(_) => {}
                Event::Left(slot) => self.pipeline.left(slot),
            }
        }
    }

    fn count(&mut self, slot: PeerSlot) {
        let peer = self.seats[slot.index()];
        if let Some(index) = self.peers.iter().position(|p| Some(*p) == peer) {
            self.exchanged[index] += 1;
        }
    }
}

fn pipeline(
    node: NodeId,
    role: Role,
    algorithm: Algorithm,
    faults: Option<u16>,
    capacity: usize,
    tick_ns: i64,
    start: Mapping,
) -> Pipeline {
    let config = PipelineConfig { role, algorithm, faults, capacity, tick_ns, ..PipelineConfig::new(node) };
    Pipeline::new(&config, start, start.epoch)
}
