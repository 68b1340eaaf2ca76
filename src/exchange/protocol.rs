//! The state machine: what each transmit stamp and each passing of time does; what packets do stands in `arrivals`,
//! what they are made of in `packets`. Every state of a peer changes in these three, and only after the message has
//! been opened by its seal.

mod arrivals;
mod packets;

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::bucket::Bucket;
use super::counters::{Counters, Tally};
use super::peer::{Candidate, Peer, Proven};
use super::pending::{Departure, Departures, Finished, Pending, PendingTable};
use super::roster::Roster;
use super::schedule::Schedule;
use crate::flow::{Claim, Event, Exchange, NodeState, Role, Stamp, StampClass};
use crate::limits::{
    BURST_INTERVAL_NS, CANDIDATES_MAX, FORGET_NS, NONCE_LIFETIME_NS, OBSERVER_SILENCE_NS, PEER_PACKETS_BURST,
    PEER_PACKETS_PER_S, SILENCE_INTERVALS, SILENCE_NS_MIN, STRANGER_PACKETS_BURST, STRANGER_PACKETS_PER_S,
};
use crate::unit::{NodeId, PeerSlot, RawTime};
use crate::wire::{DATAGRAM_LEN, Earlier, Identity, Keyring, Kind, Message, Reject, VERSION};
use arrivals::Arrival;
use packets::Packet;

/// What a protocol instance is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this node is.
    pub identity: Identity,
    /// The keys it holds.
    pub keys: Keyring,
    /// Exchanges a second and peer, both ends together.
    pub rate_hz: f64,
    /// Exchanges in the burst at a peer's arrival.
    pub rounds: u32,
    /// Places in the peer table.
    pub capacity: usize,
    /// What this node says of itself until told otherwise.
    pub claim: Claim,
    /// The class that the true departures of this node's packets will have.
    pub promise: StampClass,
}

/// A datagram to be sent now; the caller has it in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub to: SocketAddr,
    /// The place of the receiving peer; `None` for a node that has no place yet.
    pub slot: Option<PeerSlot>,
    /// Its sequence number: give it back with the transmit stamp.
    pub sequence: u64,
    /// Only the true departures of probes and replies are of use.
    pub stamp_wanted: bool,
}

/// One node's side of all its exchanges.
#[derive(Debug)]
pub struct Protocol {
    identity: Identity,
    keys: Keyring,
    interval_ns: i64,
    rounds: u32,
    claim: Claim,
    promise: StampClass,
    sequence: u64,
    /// Proven identity by slot, apart from the peers because it is searched for every packet.
    nodes: Vec<NodeId>,
    peers: Vec<Option<Peer>>,
    candidates: [Option<Candidate>; CANDIDATES_MAX],
    strangers: Bucket,
    events: VecDeque<Event>,
    counters: Counters,
    deadline: RawTime,
}

/// A node's own address in its list is tried again after this: the packet that looked like our own may have been sent
/// back by somebody in between.
const OWN_ADDRESS_PAUSE_NS: i64 = 60_000_000_000;
/// With nothing to do, look again after this.
const IDLE_NS: i64 = 1_000_000_000;

impl Protocol {
    /// A node that knows nobody yet.
    #[must_use]
    pub fn new(config: Config, now: RawTime) -> Self {
        Protocol {
            identity: config.identity,
            keys: config.keys,
            interval_ns: (1e9 / config.rate_hz) as i64,
            rounds: config.rounds,
            claim: config.claim,
            promise: config.promise,
            sequence: 0,
            nodes: vec![NodeId::ANYONE; config.capacity],
            peers: vec![None; config.capacity],
            candidates: [None; CANDIDATES_MAX],
            strangers: Bucket::new(STRANGER_PACKETS_PER_S, STRANGER_PACKETS_BURST, now),
            events: VecDeque::with_capacity(4 * config.capacity + 64),
            counters: Counters::default(),
            deadline: now,
        }
    }

    /// What every packet from now on says of this node. A node that has just fallen back to knowing nobody meets all
    /// its peers anew, with a burst.
    pub fn set_claim(&mut self, claim: Claim) {
        let fallen = claim.state == NodeState::Unset && self.claim.state != NodeState::Unset;
        self.claim = claim;
        if fallen {
            let now = claim.mapping.epoch;
            for (n, peer) in self.peers.iter_mut().flatten().enumerate() {
                let stagger_ns = BURST_INTERVAL_NS * n as i64 / self.nodes.len() as i64;
                peer.schedule.hurry(self.rounds, now, stagger_ns);
            }
            self.deadline = now;
        }
    }

    /// The class that true departures will have from now on.
    pub fn set_promise(&mut self, promise: StampClass) {
        self.promise = promise;
    }

    /// The live keys from now on. Exchanges under way go on; a peer whose key is gone falls silent.
    ///
    /// The first key that fits a peer seals what is asked of it; an answer is sealed with the key of its question. So a
    /// rotation loses nothing if each step is done on all nodes before the next: add the new key second, put it first,
    /// remove the old one.
    pub fn set_keys(&mut self, keys: Keyring) {
        self.keys = keys;
    }

    /// As [`Protocol::set_keys`], with the old keys given back: the caller may not free memory.
    pub fn swap_keys(&mut self, keys: &mut Keyring) {
        std::mem::swap(&mut self.keys, keys);
    }

    /// What has been counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The next thing that happened, oldest first. To be drained after every other call.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Protocol::poll`] has something to do at the latest, if nothing else is called before.
    #[must_use]
    pub fn deadline(&self) -> RawTime {
        self.deadline
    }

    /// Peers that have proved themselves and are not silent.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.peers.iter().flatten().filter(|p| p.announced).count()
    }

    /// Whom to probe from now on. Peers no longer listed stay as long as they speak.
    pub fn set_roster(&mut self, roster: &Roster, now: RawTime, entropy: u64) {
        for place in &mut self.peers {
            let Some(peer) = place else { continue };
            peer.listed = roster.contains(peer.address);
            if !peer.listed && peer.proven.is_none() {
                *place = None;
            }
        }
        for (n, address) in roster.addresses().iter().enumerate() {
            if self.peers.iter().flatten().any(|p| p.address == *address) {
                continue;
            }
            let entropy = entropy.rotate_left(n as u32);
            match self.free_slot() {
                Some(slot) => {
                    let mut peer = self.fresh_peer(*address, now, entropy);
                    peer.listed = true;
                    self.peers[slot.index()] = Some(peer);
                }
                None => self.counters.reject(Reject::TableFull),
            }
        }
        self.deadline = now;
    }

    /// A datagram has arrived. Returns the answer to be sent at once, if there is one, written into `answer`.
    /// `received` is when it arrived, `now` the present; `entropy` is 64 fresh random bits.
    ///
    /// # Errors
    /// Why the datagram changed nothing; it has been counted.
    pub fn on_datagram(
        &mut self,
        now: RawTime,
        from: SocketAddr,
        datagram: &[u8],
        received: Stamp,
        entropy: u64,
        answer: &mut [u8; DATAGRAM_LEN],
    ) -> Result<Option<Outgoing>, Reject> {
        self.counters.count(Tally::Received);
        let outcome = Message::open(datagram, &self.identity, &self.keys).and_then(|(message, key)| {
            if datagram[2] & 0x0f > VERSION & 0x0f {
                self.counters.count(Tally::NewerMinor);
            }
            let arrival = Arrival { now, from, received, entropy, key };
            match self.nodes.iter().position(|node| *node == message.sender) {
                Some(slot) if self.proven(slot).boot == message.boot => self.on_known(slot, &message, &arrival, answer),
                _ => self.on_stranger(&message, &arrival, answer),
            }
        });
        if let Err(reject) = outcome {
            self.counters.reject(reject);
            if reject == Reject::Reflected {
                self.on_own_packet(datagram, from, now);
            }
        }
        outcome
    }

    /// The true departure of a packet is known.
    pub fn on_transmit_stamp(&mut self, outgoing: &Outgoing, stamp: Stamp, now: RawTime) {
        let earlier = Earlier { sequence: outgoing.sequence, stamp };
        let mut waiting = self.candidates.iter_mut().flatten();
        if outgoing.slot.is_none()
            && let Some(candidate) = waiting.find(|c| c.pending.my_sequence == outgoing.sequence)
        {
            candidate.pending.my_departure.truth = Some(stamp);
            return;
        }
        // A stamp may come after its exchange went to another place with the node that turned out to be its peer.
        let holds = |peer: &mut Option<Peer>| {
            peer.as_mut().is_some_and(|p| p.pending.by_my_sequence(outgoing.sequence).is_some())
        };
        let sent = outgoing.slot.map(PeerSlot::index).filter(|slot| holds(&mut self.peers[*slot]));
        let Some(slot) = sent.or_else(|| self.peers.iter_mut().position(holds)) else {
            self.counters.count(Tally::TransmitStampLate);
            if let Some(peer) = outgoing.slot.and_then(|slot| self.peers[slot.index()].as_mut()) {
                peer.departures.push(earlier);
            }
            return;
        };
        let peer = self.peers[slot].as_mut().expect("it holds the exchange");
        peer.departures.push(earlier);
        peer.pending.by_my_sequence(outgoing.sequence).expect("it was just found").my_departure.truth = Some(stamp);
        let payable = peer.pending.payable(now).is_some();
        self.finish(slot, now);
        if payable {
            self.deadline = now;
        }
    }

    /// Time has passed. Returns a datagram to be sent now, written into `out`; to be called again until it returns
    /// `None`.
    pub fn poll(&mut self, now: RawTime, entropy: u64, out: &mut [u8; DATAGRAM_LEN]) -> Option<Outgoing> {
        if now < self.deadline {
            return None;
        }
        for slot in 0..self.peers.len() {
            if self.peers[slot].is_none() {
                continue;
            }
            self.expire(slot, now);
            if let Some(outgoing) = self.pay_follow(slot, now, entropy, out) {
                return Some(outgoing);
            }
            if let Some(outgoing) = self.probe_if_due(slot, now, entropy, out) {
                return Some(outgoing);
            }
        }
        for candidate in &mut self.candidates {
            candidate.take_if(|c| now.since(c.heard_at) > NONCE_LIFETIME_NS);
        }
        self.deadline = self.next_deadline(now);
        None
    }

    fn next_deadline(&self, now: RawTime) -> RawTime {
        let peers = self.peers.iter().flatten();
        let earliest = peers.flat_map(|p| [p.own_until.or(p.due()), p.pending.deadline()]).flatten().min();
        earliest.map_or(now.plus(IDLE_NS), |at| at.min(now.plus(IDLE_NS)))
    }

    fn expire(&mut self, slot: usize, now: RawTime) {
        let peer = self.peers[slot].as_mut().expect("the caller found it");
        while let Some(overdue) = peer.pending.take_overdue(now) {
            if overdue.initiator && !overdue.done {
                self.counters.count(Tally::Unanswered);
            }
        }
        peer.own_until.take_if(|until| now >= *until);
        self.finish(slot, now);
        let silence_intervals = self.silence_intervals();
        let peer = self.peers[slot].as_mut().expect("nothing took it");
        let (silence_ns, forget_ns) = match peer.is_guest() {
            true => (OBSERVER_SILENCE_NS, OBSERVER_SILENCE_NS),
            false => ((silence_intervals * self.interval_ns).max(SILENCE_NS_MIN), FORGET_NS),
        };
        let silent_ns = now.since(peer.last_finished);
        if peer.announced && silent_ns > silence_ns {
            peer.announced = false;
            self.events.push_back(Event::Silent(PeerSlot(slot as u16)));
            // Who only looks comes and goes as it likes.
            if !peer.observes {
                self.counters.count(Tally::Departures);
            }
        }
        if !peer.listed && !peer.announced && silent_ns > forget_ns {
            let _forgotten = self.vacate(slot);
        }
    }

    /// How many intervals without an exchange are silence: both ends of a link ask in turns, but nobody asks an
    /// observer.
    fn silence_intervals(&self) -> i64 {
        if self.claim.role == Role::Observer { 2 * SILENCE_INTERVALS } else { SILENCE_INTERVALS }
    }

    fn probe_if_due(
        &mut self,
        slot: usize,
        now: RawTime,
        entropy: u64,
        out: &mut [u8; DATAGRAM_LEN],
    ) -> Option<Outgoing> {
        let peer = self.peers[slot].as_mut()?;
        if peer.own_until.is_some() || peer.is_guest() || now < peer.schedule.due() {
            return None;
        }
        peer.schedule.probed(now, entropy);
        peer.attempts = peer.attempts.wrapping_add(1);
        // Another node may have the listed address of one that fell silent: every other probe asks whoever is there.
        let (receiver, attempt) = match peer.proven {
            None => (NodeId::ANYONE, peer.attempts),
            Some(_) if peer.listed && !peer.announced && peer.attempts % 2 == 1 => (NodeId::ANYONE, peer.attempts / 2),
            Some(proven) => (proven.node, 0),
        };
        let key = self.keys.choose(receiver, attempt)?;
        let (to, earlier) = (peer.address, peer.departures.tell_newest());
        self.sequence += 1;
        let transmit = Stamp { at: now, class: self.promise };
        let pending = Pending {
            awaits: Some((Kind::Reply, entropy)),
            asked: receiver,
            asked_at: now,
            initiator: true,
            my_sequence: self.sequence,
            my_departure: Departure::new(transmit),
            peer_sequence: 0,
            peer_departure: Departure::new(Stamp::default()),
            my_arrival: Stamp::default(),
            peer_arrival: None,
            claim: None,
            proven_at: now,
            owes_follow: None,
            done: false,
        };
        self.file(slot, pending, now);
        self.counters.count(Tally::Probes);
        let packet = Packet {
            kind: Kind::Probe,
            receiver,
            nonce: entropy,
            echo: 0,
            receive: Stamp::default(),
            transmit,
            earlier,
        };
        self.write(&packet, key, out);
        Some(self.outgoing(to, Some(slot), true))
    }
    fn fresh_peer(&self, address: SocketAddr, now: RawTime, entropy: u64) -> Peer {
        Peer {
            address,
            listed: false,
            own_until: None,
            proven: None,
            schedule: Schedule::new(self.interval_ns, self.rounds, now, entropy),
            pending: PendingTable::default(),
            departures: Departures::default(),
            bucket: Bucket::new(PEER_PACKETS_PER_S, PEER_PACKETS_BURST, now),
            attempts: 0,
            last_finished: now,
            announced: false,
            observes: false,
        }
    }

    /// An empty place, or that of an unlisted peer which has gone silent.
    fn free_slot(&mut self) -> Option<PeerSlot> {
        let empty = self.peers.iter().position(Option::is_none);
        let slot =
            empty.or_else(|| self.peers.iter().position(|p| p.as_ref().is_some_and(|p| !p.listed && !p.announced)))?;
        let _silent_before = self.vacate(slot);
        Some(PeerSlot(slot as u16))
    }

    /// Empties a place, and says so if somebody proven sat there.
    fn vacate(&mut self, slot: usize) -> Option<Peer> {
        self.nodes[slot] = NodeId::ANYONE;
        let gone = self.peers[slot].take();
        if gone.is_some_and(|peer| peer.proven.is_some()) {
            self.events.push_back(Event::Left(PeerSlot(slot as u16)));
        }
        gone
    }

    fn finish(&mut self, slot: usize, now: RawTime) {
        while let Some(finished) = self.peers[slot].as_mut().and_then(|p| p.pending.take_finished(now)) {
            self.conclude(slot, &finished, now);
        }
    }

    /// Files an exchange under way. If the oldest must make room, it ends here: with its weaker departures if those are
    /// all that it still waited for, else as a question without an answer.
    fn file(&mut self, slot: usize, pending: Pending, now: RawTime) {
        let evicted = self.peers[slot].as_mut().and_then(|peer| peer.pending.insert(pending));
        let Some(evicted) = evicted else { return };
        match evicted.surrendered() {
            Some(finished) => self.conclude(slot, &finished, now),
            None if evicted.initiator && !evicted.done => self.counters.count(Tally::Unanswered),
            None => {}
        }
    }

    fn conclude(&mut self, slot: usize, finished: &Finished, now: RawTime) {
        let peer = self.peers[slot].as_mut().expect("an exchange is finished in its peer's place");
        let proven = peer.proven.expect("an exchange is finished with a proven peer");
        peer.last_finished = now;
        peer.observes = finished.claim.role == Role::Observer;
        if !std::mem::replace(&mut peer.announced, true) {
            self.events.push_back(Event::Returned(PeerSlot(slot as u16)));
        }
        self.counters.count(Tally::Exchanges);
        if finished.stamp_missing {
            self.counters.count(Tally::TransmitStampMissing);
        }
        self.events.push_back(Event::Exchanged(exchange(slot, &proven, finished)));
    }

    /// Everything this node believes, for tests that nothing changed: all fields but the counters. Without `..`, so
    /// that a new field cannot be forgotten.
    #[cfg(test)]
    pub(super) fn state(&self) -> String {
        let Protocol {
            identity,
            keys,
            interval_ns,
            rounds,
            claim,
            promise,
            sequence,
            nodes,
            peers,
            candidates,
            strangers,
            events,
            counters: _,
            deadline,
        } = self;
        let fixed = format!("{identity:?} {keys:?} {interval_ns} {rounds} {claim:?} {promise:?} {sequence}");
        format!("{fixed} {nodes:?} {peers:?} {candidates:?} {strangers:?} {events:?} {deadline:?}")
    }

    /// What this node believes of those who have a place.
    #[cfg(test)]
    pub(super) fn seats(&self) -> String {
        format!("{:?} {:?}", self.nodes, self.peers)
    }

    /// How many nodes are in the middle of proving themselves.
    #[cfg(test)]
    pub(super) fn candidates(&self) -> usize {
        self.candidates.iter().flatten().count()
    }

    fn proven(&self, slot: usize) -> &Proven {
        let peer = self.peers[slot].as_ref().expect("an identity in the index has a place");
        peer.proven.as_ref().expect("an identity in the index is proven")
    }
}
fn exchange(slot: usize, proven: &Proven, finished: &Finished) -> Exchange {
    let stamps = [finished.my_departure, finished.peer_arrival, finished.peer_departure, finished.my_arrival];
    Exchange {
        peer: PeerSlot(slot as u16),
        node: proven.node,
        boot: proven.boot,
        initiator: finished.initiator,
        local_sent: finished.my_departure.at,
        remote_received: finished.peer_arrival.at,
        remote_sent: finished.peer_departure.at,
        local_received: finished.my_arrival.at,
        class: stamps.iter().map(|s| s.class).min().expect("four stamps"),
        local_rx_class: finished.my_arrival.class,
        local_tx_class: finished.my_departure.class,
        claim: finished.claim,
    }
}
