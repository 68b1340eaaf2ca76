//! One simulated node: the very `exchange` and `pipeline` of the daemon, an oscillator, a delivered clock and a way of
//! taking stamps. It is told what happens and when; it knows neither links nor the other nodes.

mod foresight;
mod own_clock;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use super::card::Card;
use super::clock::{SimClock, Utc, whole};
use super::fault::Kept;
use super::law::Law;
use super::liar::Lying;
use super::oscillator::{FineRaw, Oscillator};
use super::parts::LimitsSpec;
use super::random::{Purpose, Stream};
use super::scenario::{Fidelity, Scenario};
use super::stamp::StampModel;
use super::world::TrueNs;
use crate::exchange::{Config, Outgoing, Protocol, Roster};
use crate::flow::{Claim, Event, Exchange, Mapping, NodeState, PeerIdentity, Reading, Role, Stamp, StampClass};
use crate::pipeline::{Algorithm, Config as PipelineConfig, Limits, Pipeline, Upheaval};
use crate::sys::prefetch::prefetch;
use crate::unit::{BootId, ClusterId, KeyId, Name, NodeId, PeerSlot, RawTime};
use crate::wire::{DATAGRAM_LEN, Identity, Keyring, Reject};

/// The daemon saves its mapping this often, ns ...
const SAVED_EVERY_NS: i64 = 2_000_000_000;
/// ... and finds one of no use that is older than this, ns.
const SAVED_AGE_NS_MAX: i64 = 3_600_000_000_000;
/// The last digit of a drift file (seconds per second).
const DRIFT_GRAIN: f64 = 1e-12;
/// Ways of taking stamps of which one copy is kept.
const MODELS_SHARED: usize = 8;

/// What a node says to others and with which keys; what a cluster without packets does without.
pub struct Speech {
    /// The protocol.
    pub protocol: Protocol,
    /// The keys it holds.
    pub keys: Keyring,
    entropy: Stream,
}

/// A node. What every packet touches stands first and side by side: in a cluster of thousands each of its cache lines
/// comes from far away each time.
#[repr(C, align(64))]
pub struct Node {
    /// Its oscillator.
    pub oscillator: Oscillator,
    /// Errors of its stamps.
    pub stamp_stream: Stream,
    /// How it takes stamps.
    pub stamps: Arc<StampModel>,
    /// The clock that takes them, if that is not the oscillator.
    card: Option<Box<Card>>,
    /// Which run of the daemon this is; events of earlier runs are dead.
    pub run: u32,
    /// It holds a key that nobody else has, and so is alone.
    pub alone: bool,
    /// Its daemon runs.
    pub up: bool,
    /// Its machine is suspended.
    pub frozen: bool,
    /// Its part.
    pub role: Role,
    /// What it says of itself.
    pub claim: Claim,
    /// What has happened since the last tick, as in the ring between the daemon's threads: the pipeline takes it in at
    /// the next. So a node's peers are looked at together, once a tick, and not one of them for each exchange.
    inbox: Vec<Event>,
    /// Who it says it is.
    pub identity: Identity,
    /// Its number.
    pub number: usize,
    /// When its protocol wants to be polled; the agenda holds an event for it.
    pub poll_at: TrueNs,
    /// How it speaks; `None` where exchanges are made without packets.
    pub speech: Option<Box<Speech>>,
    /// Its delivered clock.
    pub clock: SimClock,
    /// How it lies, if it does.
    pub lying: Option<Lying>,
    /// Ever left the state it started in.
    pub has_synced: bool,
    /// Its clock has been commanded.
    pub has_steered: bool,
    has_tracked: bool,
    /// The machine has told why the clock stands elsewhere: nobody has interfered.
    told: bool,
    /// When it last rejected a peer, was out of track though it had been in it, or promised nothing; long ago if never.
    pub noticed_at: TrueNs,
    /// The guard has refused to move its clock any further, and that has ended it: the sentence.
    pub ended: Option<String>,
    pipeline: Pipeline,
    /// Where the last command let the clock go, and at what rate; `None` if none did.
    left: Option<(Reading, f64)>,
    /// The mapping as it was last saved.
    saved: Option<Mapping>,
    /// The truth.
    utc: Utc,
    tick_stream: Stream,
    tick_late: Law,
    tick_ns: i64,
    read_noise: Law,
    rate_hz: f64,
    rounds: u32,
    capacity: usize,
    config: PipelineConfig,
    peers: Vec<usize>,
    places: Vec<Place>,
}

/// What is counted of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Who sits in the slot of this number: a node and its run, to know which links were used and who came back.
    seat: Option<(u32, BootId)>,
    /// Exchanges finished with the node of this place in `peers`, and taken in.
    exchanged: u64,
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
        let oscillator_spec = scenario.special(number, |s| s.oscillator.as_ref()).unwrap_or(&scenario.oscillator);
        let clock_spec = scenario.special(number, |s| s.clock.as_ref()).unwrap_or(&scenario.clock);
        let stamps = scenario.special(number, |s| s.stamps.as_ref()).unwrap_or(&scenario.stamps);
        let quality = oscillator_spec.build(&mut start);
        // Machines have been up for anything between a moment and four months.
        let raw_start_ns = (1e9 + 1e16 * start.unit()) as i64;
        let drawn_ns = clock_spec.offset.0 * start.symmetric();
        let offset_ns = clock_spec.offset_exact.map_or(drawn_ns, |offset| offset.0).round() as i64;
        let cell_ns = oscillator_spec.cell.nanos();
        let stream = Stream::new(seed, Purpose::Oscillator, n, 0);
        let mut oscillator = Oscillator::in_cells(quality, raw_start_ns, cell_ns, stream);
        let raw = oscillator.read(0);
        let utc = scenario.clock.utc();
        let clock = SimClock::new(raw, utc.at(0) + offset_ns, 0.0, clock_spec.rate_grain.0);
        let alone = scenario.nodes.iter().any(|s| s.wrong_key && s.nodes.contains(&number));
        let identity = identity(number, 0);
        let role = scenario.role(number);
        let liar = scenario.liars.iter().find(|liar| liar.nodes.contains(&number));
        let mapping = Mapping::through(whole(raw), crate::unit::VirtualTime::from_nanos(clock.read(raw).nanos()), 0.0);
        let claim = Claim::unset(mapping, role);
        let capacity = peers.len().max(1);
        let cluster = &scenario.cluster;
        let limits = scenario.special(number, |s| s.limits.as_ref()).map_or_else(Limits::default, LimitsSpec::build);
        let config = PipelineConfig {
            role,
            algorithm,
            interval_ns: (1e9 / cluster.rate) as i64,
            faults: cluster.faults,
            capacity,
            tick_ns: cluster.tick.nanos(),
            limits,
            ..PipelineConfig::new(identity.node)
        };
        let card = stamps.card.as_ref().map(|card| Box::new(card.build(raw_start_ns, seed, n)));
        let stamps = Arc::new(stamps.build());
        let speech = (cluster.fidelity == Fidelity::Packets).then(|| {
            let keys = keyring(alone);
            let config = Config {
                identity,
                keys: keys.clone(),
                rate_hz: cluster.rate,
                rounds: cluster.rounds,
                capacity,
                claim,
                promise: stamps.class,
            };
            let entropy = Stream::new(seed, Purpose::Entropy, n, 0);
            Box::new(Speech { protocol: Protocol::new(config, whole(raw)), keys, entropy })
        });
        Node {
            number,
            role,
            identity,
            alone,
            up: false,
            frozen: false,
            run: 0,
            poll_at: TrueNs::MAX,
            lying: liar.map(|spec| Lying::new(spec.clone(), Stream::new(seed, Purpose::Lie, n, 0).bits())),
            speech,
            pipeline: Pipeline::new(&config, mapping, mapping.epoch),
            left: None,
            told: false,
            saved: None,
            oscillator,
            clock,
            stamps,
            card,
            stamp_stream: Stream::new(seed, Purpose::Stamp, n, 0),
            claim,
            has_synced: false,
            noticed_at: TrueNs::MIN,
            ended: None,
            has_steered: false,
            has_tracked: false,
            utc,
            tick_stream: Stream::new(seed, Purpose::Tick, n, 0),
            tick_late: cluster.tick_late.clone(),
            tick_ns: cluster.tick.nanos(),
            read_noise: clock_spec.read_noise.clone(),
            rate_hz: cluster.rate,
            rounds: cluster.rounds,
            capacity,
            config,
            places: vec![Place::default(); capacity],
            inbox: Vec::with_capacity(2 * capacity),
            peers,
        }
    }

    /// The daemon starts: a fresh run that knows its clock, and of the run before it what `keeps` says. Returns when it
    /// ticks first.
    pub fn boot(&mut self, now: TrueNs, keeps: Kept) -> TrueNs {
        let raw = self.oscillator.read(now);
        self.run += 1;
        self.up = true;
        self.identity = identity(self.number, self.run);
        let found = self.saved.take();
        let fresh = |saved: &Mapping| whole(raw).since(saved.epoch) <= SAVED_AGE_NS_MAX;
        let resumed = found.filter(|saved| keeps == Kept::Mapping && fresh(saved));
        let rate = match keeps {
            Kept::Rate => self.clock.rate(),
            Kept::Mapping => resumed.map_or(self.clock.rate(), |saved| saved.rate),
            Kept::Drift => found.map_or(0.0, |saved| (saved.rate / DRIFT_GRAIN).round() * DRIFT_GRAIN),
            Kept::Nothing => 0.0,
        };
        if keeps != Kept::Rate {
            self.clock.command(raw, rate, 0);
        }
        let clock = self.clock.read(raw);
        let start = crate::unit::VirtualTime::from_nanos(clock.nanos());
        let mapping = resumed.unwrap_or_else(|| Mapping::through(whole(raw), start, self.clock.rate()));
        self.claim = Claim::unset(mapping, self.role);
        self.config.resumed = resumed.is_some();
        self.pipeline = Pipeline::new(&self.config, mapping, whole(raw));
        (self.left, self.told) = (None, false);
        self.places.iter_mut().for_each(|place| place.seat = None);
        self.count_inbox();
        self.inbox.clear();
        if let Some(card) = &mut self.card {
            card.measure(now, raw);
        }
        if let Some(speech) = &mut self.speech {
            let config = Config {
                identity: self.identity,
                keys: speech.keys.clone(),
                rate_hz: self.rate_hz,
                rounds: self.rounds,
                capacity: self.capacity,
                claim: self.claim,
                promise: self.stamps.class,
            };
            speech.protocol = Protocol::new(config, whole(raw));
            let (roster, left_over) = Roster::new(self.peers.iter().map(|peer| address(*peer)));
            assert_eq!(left_over, 0, "the scenario's degree has been checked");
            let entropy = speech.entropy.bits();
            speech.protocol.set_roster(&roster, whole(raw), entropy);
        }
        now + (self.tick_ns as f64 * self.tick_stream.unit()) as i64
    }

    /// Takes stamps by one of `models` if they are alike, or adds its own to them: one copy is looked at for every
    /// packet.
    pub fn share(&mut self, models: &mut Vec<Arc<StampModel>>) {
        match models.iter().find(|other| **other == self.stamps) {
            Some(same) => self.stamps = Arc::clone(same),
            None if models.len() < MODELS_SHARED => models.push(Arc::clone(&self.stamps)),
            None => {}
        }
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

    /// Its protocol has something to do at this time, as far as can be told now; never, if it has none.
    #[must_use]
    pub fn wants_poll_at(&self, now: TrueNs) -> TrueNs {
        let Some(speech) = &self.speech else { return TrueNs::MAX };
        self.oscillator.foresee(speech.protocol.deadline().nanos(), now)
    }

    /// Polls the protocol once: a datagram to send, if there is one.
    pub fn poll(&mut self, now: TrueNs, out: &mut [u8; DATAGRAM_LEN]) -> Option<Outgoing> {
        let raw = whole(self.oscillator.read(now));
        let speech = self.speech.as_mut()?;
        if raw < speech.protocol.deadline() {
            return None;
        }
        let entropy = speech.entropy.bits();
        let sent = speech.protocol.poll(raw, entropy, out);
        self.drain();
        sent
    }

    /// A datagram arrives: its answer, if there is one.
    ///
    /// # Errors
    /// Why it changed nothing.
    ///
    /// # Panics
    /// If this is a cluster without packets.
    pub fn receive(
        &mut self,
        now: TrueNs,
        from: usize,
        datagram: &[u8],
        answer: &mut [u8; DATAGRAM_LEN],
    ) -> Result<Option<Outgoing>, Reject> {
        let received = self.arrives(now);
        let raw = whole(self.oscillator.read(now));
        let speech = self.speech.as_mut().expect("datagrams reach nodes that speak");
        let entropy = speech.entropy.bits();
        let outcome = speech.protocol.on_datagram(raw, address(from), datagram, received, entropy, answer);
        self.drain();
        outcome
    }

    /// A packet arrives: its stamp.
    pub fn arrives(&mut self, now: TrueNs) -> Stamp {
        let stream = &mut self.stamp_stream;
        match &mut self.card {
            None => self.stamps.on_arrival(self.oscillator.read(now), stream),
            Some(card) => {
                let stamp = self.stamps.on_arrival(card.read(now), stream);
                Stamp { at: card.to_raw(stamp.at), ..stamp }
            }
        }
    }

    /// A packet departs: the stamp of it, if there will be one.
    pub fn depart(&mut self, now: TrueNs) -> Option<Stamp> {
        self.departure(now, 0)
    }

    /// A packet departs `lead_ns` after the program has read its clock, which is now: its best stamp.
    pub fn departs(&mut self, now: TrueNs, lead_ns: i64) -> Stamp {
        let read = whole(self.oscillator.read(now));
        self.departure(now, lead_ns).unwrap_or(Stamp { at: read, class: StampClass::User })
    }

    /// How long the next packet takes from the program's own reading to its departure, ns.
    pub fn lead_ns(&mut self) -> i64 {
        if self.stamps.lead.is_zero() { 0 } else { self.stamps.lead.draw(&mut self.stamp_stream).max(0.0) as i64 }
    }

    /// The true departure, `after_ns` from now, if it is told.
    fn departure(&mut self, now: TrueNs, after_ns: i64) -> Option<Stamp> {
        let stream = &mut self.stamp_stream;
        match &mut self.card {
            None => {
                let raw = self.oscillator.read(now).after(after_ns, self.oscillator.rate());
                self.stamps.on_departure(raw, stream)
            }
            Some(card) => {
                let at = card.read(now).after(after_ns, card.rate());
                let stamp = self.stamps.on_departure(at, stream)?;
                Some(Stamp { at: card.to_raw(stamp.at), ..stamp })
            }
        }
    }

    /// The true departure of a packet comes back.
    pub fn stamped(&mut self, now: TrueNs, outgoing: &Outgoing, stamp: Stamp) {
        let raw = whole(self.oscillator.read(now));
        if let Some(speech) = &mut self.speech {
            speech.protocol.on_transmit_stamp(outgoing, stamp, raw);
        }
        self.drain();
    }

    /// An exchange is complete, made without packets.
    pub fn exchange(&mut self, exchange: &Exchange) {
        self.inbox.push(Event::Exchanged(*exchange));
    }

    /// The machine has been suspended for `length_ns` and knows it.
    pub fn suspended(&mut self, length_ns: i64) {
        self.pipeline.unsettle(Upheaval::Suspended(length_ns));
        self.told = true;
    }

    /// One steering tick. Returns when the next is due.
    pub fn tick(&mut self, now: TrueNs) -> TrueNs {
        self.take_in();
        let raw = self.oscillator.read(now);
        if let Some(card) = &mut self.card {
            card.measure(now, raw);
            self.pipeline.set_stamp_doubt(card.doubt_ns());
        }
        self.hear_of_leap(raw);
        let noise_ns = self.read_noise.draw(&mut self.tick_stream).round() as i64;
        let reading = Reading { raw: whole(raw), clock: self.clock.read(raw).plus(noise_ns) };
        if !std::mem::take(&mut self.told) && self.moved_by_others_ns(&reading) != 0 {
            self.pipeline.moved_by_others();
        }
        let tick = self.pipeline.tick(reading);
        self.has_steered |= tick.correction.is_some();
        self.left = tick.correction.map(|correction| {
            self.clock.command(raw, correction.rate, correction.step_ns);
            let clock = self.clock.read(raw).plus(noise_ns);
            (Reading { clock, ..reading }, self.clock.rate())
        });
        if let Some(leap) = tick.leap {
            self.clock.announce(raw, leap);
        }
        self.claim = tick.claim;
        self.save(whole(raw));
        if let Some(refusal) = tick.refusal {
            // As the daemon ends: the clock is left with the best rate that is known.
            if let Some(farewell) = self.pipeline.farewell() {
                self.clock.command(raw, farewell.rate, 0);
            }
            self.kill();
            self.ended = Some(refusal.to_string());
        }
        let tracks = tick.claim.state == NodeState::Track;
        self.has_tracked |= tracks;
        if tick.verdict.rejected != 0 || self.has_tracked && !(tracks && tick.claim.bound_ns.is_finite()) {
            self.noticed_at = now;
        }
        self.has_synced |= matches!(tick.claim.state, NodeState::Track | NodeState::Acquire);
        if let Some(speech) = &mut self.speech {
            speech.protocol.set_claim(tick.claim);
        }
        let late_ns = self.tick_late.draw(&mut self.tick_stream).max(0.0) as i64;
        self.oscillator.foresee(raw.nanos + self.tick_ns, now) + late_ns
    }

    /// Saves what the next run may find, as often as the daemon does; only agreement is worth keeping.
    fn save(&mut self, now: RawTime) {
        let due = self.saved.is_none_or(|saved| now.since(saved.epoch) >= SAVED_EVERY_NS);
        if due && self.claim.state == NodeState::Track {
            self.saved = Some(self.claim.mapping);
        }
    }

    /// The error of the delivered clock, ns, positive = ahead of true time; while UTC takes a leap second, that without
    /// its whole seconds.
    pub fn error_ns(&mut self, now: TrueNs) -> f64 {
        let raw = self.oscillator.read(now);
        self.utc.counted_ns(now, self.clock.error_ns(raw, self.utc.at(now)))
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
        let Some(index) = self.peers.iter().position(|peer| *peer == other) else { return 0 };
        let waiting = self.inbox.iter().filter(|event| self.is_new(event, index)).count();
        self.places[index].exchanged + waiting as u64
    }

    /// Exchanges finished with anybody.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        (0..self.peers.len()).map(|index| self.exchanged_with(self.peers[index])).sum()
    }

    /// Takes what the protocol has to tell into the inbox.
    fn drain(&mut self) {
        while let Some(event) = self.speech.as_mut().and_then(|speech| speech.protocol.next_event()) {
            match &event {
                Event::Exchanged(exchange) => self.count(exchange.peer),
                Event::Arrived(identity) => {
                    let seat = (number(identity.address) as u32, identity.boot);
                    self.places[identity.slot.index()].seat = Some(seat);
                }
                Event::Silent(_) | Event::Returned(_) | Event::Left(_) => {}
            }
            self.inbox.push(event);
        }
    }

    /// Whether this waits in the inbox, is an exchange with the peer of this place, and has not been counted.
    fn is_new(&self, event: &Event, place: usize) -> bool {
        // A protocol's exchanges are counted as it tells of them.
        self.speech.is_none() && matches!(event, Event::Exchanged(exchange) if exchange.peer.index() == place)
    }

    /// Counts what is in the inbox.
    fn count_inbox(&mut self) {
        for index in 0..self.places.len() {
            let waiting = self.inbox.iter().filter(|event| self.is_new(event, index)).count();
            self.places[index].exchanged += waiting as u64;
        }
    }

    /// Hands the inbox to the pipeline.
    fn take_in(&mut self) {
        let direct = self.speech.is_none();
        let peer = |n: usize| match self.inbox.get(n) {
            Some(Event::Exchanged(exchange)) => Some(exchange.peer),
            _ => None,
        };
        self.pipeline.foresee(peer(0), peer(1), prefetch);
        for (n, event) in self.inbox.iter().enumerate() {
            self.pipeline.foresee(peer(n + 1), peer(n + 2), prefetch);
            match event {
                Event::Exchanged(exchange) => {
                    if direct {
                        let place = &mut self.places[exchange.peer.index()];
                        place.exchanged += 1;
                        let other = self.peers[exchange.peer.index()];
                        let seat = Some((other as u32, exchange.boot));
                        if place.seat != seat {
                            place.seat = seat;
                            let (slot, name, address) = (exchange.peer, identity(other, 0).name, address(other));
                            let Exchange { node, boot, .. } = *exchange;
                            self.pipeline.arrived(&PeerIdentity { slot, node, boot, name, address });
                        }
                    }
                    let _taken = self.pipeline.on_exchange(exchange);
                }
                Event::Arrived(identity) => self.pipeline.arrived(identity),
                // What the discipline thread does too: silence is told to people, and the pipeline sees it by itself.
                Event::Silent(_) | Event::Returned(_) => {}
                Event::Left(slot) => self.pipeline.left(*slot),
            }
        }
        self.inbox.clear();
    }

    fn count(&mut self, slot: PeerSlot) {
        let seat = self.places[slot.index()].seat;
        if let Some(index) = self.peers.iter().position(|p| seat.is_some_and(|(peer, _)| *p == peer as usize)) {
            self.places[index].exchanged += 1;
        }
    }
}
