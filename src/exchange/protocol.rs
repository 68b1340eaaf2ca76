//! The state machine: what each packet, each transmit stamp and each passing of time does. Every state of a peer changes
//! here and nowhere else, and only after the message has been opened by its seal.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::bucket::Bucket;
use super::counters::{Counters, Tally};
use super::peer::{Candidate, Peer, Proven};
use super::pending::{Departure, Departures, Finished, Pending, PendingTable};
use super::roster::Roster;
use super::schedule::Schedule;
use crate::flow::{Claim, Event, Exchange, PeerIdentity, Stamp, StampClass};
use crate::limits::{
    CANDIDATES_MAX, FORGET_NS, NONCE_LIFETIME_NS, PEER_PACKETS_BURST, PEER_PACKETS_PER_S, SILENCE_INTERVALS,
    SILENCE_NS_MIN, STRANGER_PACKETS_BURST, STRANGER_PACKETS_PER_S,
};
use crate::unit::{KeyId, NodeId, PeerSlot, RawTime};
use crate::wire::{DATAGRAM_LEN, Earlier, Identity, KeyChoice, Keyring, Kind, Message, Reject, ReplayWindow, VERSION};

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

/// A node's own address in its list is tried again after this: the packet that looked like our own may have been sent back
/// by somebody in between.
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

    /// What every packet from now on says of this node.
    pub fn set_claim(&mut self, claim: Claim) {
        self.claim = claim;
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
        for (slot, place) in self.peers.iter_mut().enumerate() {
            let Some(peer) = place else { continue };
            peer.listed = roster.contains(peer.address);
            if !peer.listed && peer.proven.is_none() {
                *place = None;
                self.nodes[slot] = NodeId::ANYONE;
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

    /// A datagram has arrived. Returns the answer to be sent at once, if there is one, written into `answer`. `received` is
    /// when it arrived, `now` the present; `entropy` is 64 fresh random bits.
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

    /// Time has passed. Returns a datagram to be sent now, written into `out`; to be called again until it returns `None`.
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
        let earliest =
            peers.flat_map(|p| [p.own_until.or(Some(p.schedule.due())), p.pending.deadline()]).flatten().min();
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
        let silence_ns = (SILENCE_INTERVALS * self.interval_ns).max(SILENCE_NS_MIN);
        let peer = self.peers[slot].as_mut().expect("nothing took it");
        let silent_ns = now.since(peer.last_finished);
        if peer.announced && silent_ns > silence_ns {
            peer.announced = false;
            self.events.push_back(Event::Left(PeerSlot(slot as u16)));
            self.counters.count(Tally::Departures);
        }
        if !peer.listed && !peer.announced && silent_ns > FORGET_NS {
            self.peers[slot] = None;
            self.nodes[slot] = NodeId::ANYONE;
        }
    }

    fn probe_if_due(
        &mut self,
        slot: usize,
        now: RawTime,
        entropy: u64,
        out: &mut [u8; DATAGRAM_LEN],
    ) -> Option<Outgoing> {
        let peer = self.peers[slot].as_mut()?;
        if peer.own_until.is_some() || now < peer.schedule.due() {
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

    fn on_known(
        &mut self,
        slot: usize,
        message: &Message,
        arrival: &Arrival,
        answer: &mut [u8; DATAGRAM_LEN],
    ) -> Result<Option<Outgoing>, Reject> {
        let Arrival { now, from, received, entropy, .. } = *arrival;
        // A recording must not use up what its victim may send, so it is recognised first.
        if !self.proven(slot).window.is_fresh(message.sequence) {
            return Err(Reject::Replayed);
        }
        let peer = self.peers[slot].as_mut().expect("a proven node has a place");
        if !peer.bucket.take(now) {
            return Err(Reject::RateLimited);
        }
        if message.kind == Kind::Probe {
            peer.note_sequence(message.sequence);
            peer.schedule.heard_probe(now, entropy);
            self.deadline = self.deadline.min(peer.schedule.due());
            note_departure(&mut peer.pending, message, &mut self.counters);
            let pending = self.responder(message, received, entropy, now);
            self.finish(slot, now);
            self.file(slot, pending, now);
            let earlier = self.peers[slot].as_mut().and_then(|p| p.departures.tell_newest());
            return Ok(Some(self.reply(message, &pending, earlier, from, Some(slot), arrival, answer)));
        }

        if message.kind == Kind::Reply {
            self.gather(slot, message, now);
        }
        let peer = self.peers[slot].as_mut().expect("gathering keeps the peer");
        let pending = peer.pending.awaiting(message.kind, message.echo, now).ok_or(Reject::NoNonce)?;
        // From here on the packet is known to be fresh.
        let outgoing = match message.kind {
            Kind::Reply => {
                advance_initiator(pending, message, arrival);
                let earlier = peer.departures.tell(pending.my_sequence);
                peer.schedule.answered();
                Some(self.report(slot, message, earlier, arrival, answer))
            }
            Kind::Report => {
                advance_responder(pending, message, arrival, self.keys.id(arrival.key));
                None
            }
            Kind::Follow => {
                pending.awaits = None;
                pending.claim = Some(message.claim);
                None
            }
            Kind::Probe => unreachable!("answered above"),
        };
        self.peers[slot].as_mut().expect("nothing took it").note_sequence(message.sequence);
        self.after_proof(slot, message, from, now);
        let outgoing = outgoing.or_else(|| self.pay_follow(slot, now, entropy, answer));
        Ok(outgoing)
    }

    /// The peer answers a probe that went to an address not known to be its own, or to one whose node fell silent: one
    /// identity holds one place, so that place is given up, and its address becomes this peer's if this peer's own is not
    /// listed or no longer leads to it.
    fn gather(&mut self, slot: usize, message: &Message, now: RawTime) {
        let other = self.peers.iter_mut().enumerate().find_map(|(other, place)| {
            let peer = place.as_mut().filter(|p| other != slot && !p.announced)?;
            peer.pending.take_reply(message.sender, message.echo, now).map(|pending| (other, pending))
        });
        let Some((other, pending)) = other else { return };
        let freed = self.peers[other].take().expect("it was just found");
        self.nodes[other] = NodeId::ANYONE;
        self.file(slot, pending, now);
        let peer = self.peers[slot].as_mut().expect("a proven node has a place");
        if freed.listed && !(peer.listed && peer.announced) {
            (peer.listed, peer.address) = (true, freed.address);
        }
    }

    /// What follows every packet that echoed a nonce of ours.
    fn after_proof(&mut self, slot: usize, message: &Message, from: SocketAddr, now: RawTime) {
        let peer = self.peers[slot].as_mut().expect("the caller holds the slot");
        if !peer.listed {
            peer.address = from;
        }
        note_departure(&mut peer.pending, message, &mut self.counters);
        self.finish(slot, now);
        let peer = self.peers[slot].as_ref().expect("finishing keeps the peer");
        if let Some(at) = peer.pending.deadline() {
            self.deadline = self.deadline.min(at);
        }
    }

    fn on_stranger(
        &mut self,
        message: &Message,
        arrival: &Arrival,
        answer: &mut [u8; DATAGRAM_LEN],
    ) -> Result<Option<Outgoing>, Reject> {
        let Arrival { now, from, received, entropy, .. } = *arrival;
        match message.kind {
            Kind::Probe => {
                // A second copy must not put a new nonce in the place of the one that is just being echoed.
                let mut waiting = self.candidates.iter().flatten();
                if waiting.any(|c| c.is_run(message) && message.sequence <= c.pending.peer_sequence) {
                    return Err(Reject::Replayed);
                }
                // Only what is answered without proof is limited: a crowd must not keep out a node that was asked.
                if !self.strangers.take(now) {
                    return Err(Reject::RateLimited);
                }
                let pending = self.responder(message, received, entropy, now);
                let candidate =
                    Candidate { node: message.sender, boot: message.boot, address: from, pending, heard_at: now };
                self.file_candidate(candidate);
                Ok(Some(self.reply(message, &pending, None, from, None, arrival, answer)))
            }
            Kind::Reply => {
                let found = self.peers.iter_mut().enumerate().find_map(|(slot, place)| {
                    let pending = place.as_mut()?.pending.take_reply(message.sender, message.echo, now)?;
                    Some((slot, pending))
                });
                let (asked, mut pending) = found.ok_or(Reject::NoNonce)?;
                let departure = self.peers[asked].as_mut().and_then(|p| p.departures.tell(pending.my_sequence));
                advance_initiator(&mut pending, message, arrival);
                let slot = self.seat(Some(asked), message, from, now, entropy)?;
                let peer = self.peers[slot].as_mut().expect("it was just seated");
                peer.pending.insert(pending);
                peer.schedule.answered();
                let outgoing = self.report(slot, message, departure, arrival, answer);
                self.after_proof(slot, message, from, now);
                Ok(Some(outgoing))
            }
            Kind::Report => {
                let index = self.candidates.iter().position(|place| {
                    place.as_ref().is_some_and(|c| {
                        c.pending.awaits == Some((Kind::Report, message.echo))
                            && c.is_run(message)
                            && now.since(c.heard_at) <= NONCE_LIFETIME_NS
                    })
                });
                let candidate = index.and_then(|i| self.candidates[i].take()).ok_or(Reject::NoNonce)?;
                let mut pending = candidate.pending;
                advance_responder(&mut pending, message, arrival, self.keys.id(arrival.key));
                let slot = self.seat(None, message, candidate.address, now, entropy)?;
                let peer = self.peers[slot].as_mut().expect("it was just seated");
                if let Some(stamp) = pending.my_departure.truth {
                    peer.departures.push(Earlier { sequence: pending.my_sequence, stamp });
                }
                peer.pending.insert(pending);
                self.after_proof(slot, message, from, now);
                Ok(self.pay_follow(slot, now, entropy, answer))
            }
            Kind::Follow => Err(Reject::NoNonce),
        }
    }

    /// Gives a place to a node that has echoed a nonce of ours: its old one if it has one (it has been restarted), else the
    /// place from which it was asked, else one that lists its address, else a free one.
    fn seat(
        &mut self,
        asked: Option<usize>,
        message: &Message,
        address: SocketAddr,
        now: RawTime,
        entropy: u64,
    ) -> Result<usize, Reject> {
        let old = self.nodes.iter().position(|node| *node == message.sender);
        // Whoever was asked for by address gets the place of a node that fell silent, never that of a live one.
        let asked = asked.filter(|slot| old == Some(*slot) || self.peers[*slot].as_ref().is_some_and(|p| !p.announced));
        let listed_here = || {
            let mut places = self.peers.iter();
            places.position(|p| p.as_ref().is_some_and(|p| p.proven.is_none() && p.address == address))
        };
        let slot = match old.or(asked).or_else(listed_here).or_else(|| self.free_slot().map(PeerSlot::index)) {
            Some(slot) => slot,
            None => return Err(Reject::TableFull),
        };
        let mut address = address;
        let mut listed = false;
        if let Some(peer) = &self.peers[slot] {
            listed = peer.listed;
            if listed {
                address = peer.address;
            }
        }
        // One identity holds one place: an address that led to a node already seated gives its place up.
        if let Some(other) = asked.filter(|other| *other != slot)
            && let Some(freed) = self.peers[other].take()
        {
            self.nodes[other] = NodeId::ANYONE;
            listed |= freed.listed;
            address = freed.address;
        }
        let before = self.peers[slot].take();
        // What was asked before the node was known is still good; what was asked of another run of it is not.
        let mut peer = before.filter(|p| p.proven.is_none()).unwrap_or_else(|| self.fresh_peer(address, now, entropy));
        (peer.address, peer.listed, peer.last_finished) = (address, listed, now);
        let window = ReplayWindow::starting_at(message.sequence);
        peer.proven = Some(Proven { node: message.sender, boot: message.boot, window });
        (peer.announced, peer.own_until) = (true, None);
        self.peers[slot] = Some(peer);
        self.nodes[slot] = message.sender;
        self.counters.count(if old.is_some() { Tally::Reboots } else { Tally::Arrivals });
        self.events.push_back(Event::Arrived(PeerIdentity {
            slot: PeerSlot(slot as u16),
            node: message.sender,
            boot: message.boot,
            name: message.name,
            address,
        }));
        self.deadline = now;
        Ok(slot)
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
        }
    }

    /// An empty place, or that of an unlisted peer which has gone silent.
    fn free_slot(&mut self) -> Option<PeerSlot> {
        let empty = self.peers.iter().position(Option::is_none);
        let slot =
            empty.or_else(|| self.peers.iter().position(|p| p.as_ref().is_some_and(|p| !p.listed && !p.announced)))?;
        self.peers[slot] = None;
        self.nodes[slot] = NodeId::ANYONE;
        Some(PeerSlot(slot as u16))
    }

    fn file_candidate(&mut self, candidate: Candidate) {
        let same = self.candidates.iter().position(|c| c.as_ref().is_some_and(|c| c.node == candidate.node));
        let free = || self.candidates.iter().position(Option::is_none);
        let oldest = || {
            let places = self.candidates.iter().enumerate();
            places.min_by_key(|(_, c)| c.as_ref().map(|c| c.heard_at)).expect("the table has places").0
        };
        let index = same.or_else(free).unwrap_or_else(oldest);
        self.candidates[index] = Some(candidate);
    }

    /// My own probe came back: the address I asked is mine.
    fn on_own_packet(&mut self, datagram: &[u8], from: SocketAddr, now: RawTime) {
        let Some(nonce) = Message::reflected_nonce(datagram) else { return };
        for peer in self.peers.iter_mut().flatten() {
            if peer.address == from
                && peer.proven.is_none()
                && let Some(pending) = peer.pending.awaiting(Kind::Reply, nonce, now)
            {
                pending.awaits = None;
                peer.own_until = Some(now.plus(OWN_ADDRESS_PAUSE_NS));
                peer.pending.clear();
            }
        }
    }

    fn responder(&self, message: &Message, received: Stamp, nonce: u64, now: RawTime) -> Pending {
        Pending {
            awaits: Some((Kind::Report, nonce)),
            asked: message.sender,
            asked_at: now,
            initiator: false,
            my_sequence: self.sequence + 1,
            my_departure: Departure::new(Stamp { at: now, class: self.promise }),
            peer_sequence: message.sequence,
            peer_departure: Departure::new(message.transmit),
            my_arrival: received,
            peer_arrival: None,
            claim: None,
            proven_at: now,
            owes_follow: None,
            done: false,
        }
    }

    #[allow(clippy::too_many_arguments)] // one packet's fields, gathered by the two callers
    fn reply(
        &mut self,
        message: &Message,
        pending: &Pending,
        earlier: Option<Earlier>,
        to: SocketAddr,
        slot: Option<usize>,
        arrival: &Arrival,
        answer: &mut [u8; DATAGRAM_LEN],
    ) -> Outgoing {
        self.sequence += 1;
        debug_assert_eq!(self.sequence, pending.my_sequence, "a reply is filed under the number it is sent with");
        let packet = Packet {
            kind: Kind::Reply,
            receiver: message.sender,
            nonce: arrival.entropy,
            echo: message.nonce,
            receive: arrival.received,
            transmit: Stamp { at: arrival.now, class: self.promise },
            earlier,
        };
        self.write(&packet, arrival.key, answer);
        self.outgoing(to, slot, true)
    }

    fn report(
        &mut self,
        slot: usize,
        message: &Message,
        earlier: Option<Earlier>,
        arrival: &Arrival,
        answer: &mut [u8; DATAGRAM_LEN],
    ) -> Outgoing {
        self.sequence += 1;
        let packet = Packet {
            kind: Kind::Report,
            receiver: message.sender,
            nonce: arrival.entropy,
            echo: message.nonce,
            receive: arrival.received,
            transmit: Stamp { at: arrival.now, class: self.promise },
            earlier,
        };
        self.write(&packet, arrival.key, answer);
        self.outgoing(arrival.from, Some(slot), false)
    }

    fn pay_follow(
        &mut self,
        slot: usize,
        now: RawTime,
        entropy: u64,
        out: &mut [u8; DATAGRAM_LEN],
    ) -> Option<Outgoing> {
        let peer = self.peers[slot].as_mut()?;
        let pending = peer.pending.payable(now)?;
        let (echo, key) = pending.owes_follow.take()?;
        let sequence = pending.my_sequence;
        let earlier = peer.departures.tell(sequence);
        let (to, proven) = (peer.address, peer.proven.expect("only a proven peer has sent a report"));
        self.finish(slot, now);
        earlier?;
        let key = self.keys.find(key, proven.node).ok()?;
        self.sequence += 1;
        let transmit = Stamp { at: now, class: self.promise };
        let receive = Stamp::default();
        let packet =
            Packet { kind: Kind::Follow, receiver: proven.node, nonce: entropy, echo, receive, transmit, earlier };
        self.write(&packet, key, out);
        Some(self.outgoing(to, Some(slot), false))
    }

    fn write(&mut self, packet: &Packet, key: KeyChoice, out: &mut [u8; DATAGRAM_LEN]) {
        let message = Message {
            kind: packet.kind,
            boot: self.identity.boot,
            sender: self.identity.node,
            receiver: packet.receiver,
            sequence: self.sequence,
            nonce: packet.nonce,
            echo: packet.echo,
            receive: packet.receive,
            transmit: packet.transmit,
            earlier: packet.earlier,
            claim: self.claim,
            name: self.identity.name,
        };
        message.seal(&self.identity, &self.keys, key, out);
        self.counters.count(Tally::Sent);
    }

    fn outgoing(&self, to: SocketAddr, slot: Option<usize>, stamp_wanted: bool) -> Outgoing {
        Outgoing { to, slot: slot.map(|s| PeerSlot(s as u16)), sequence: self.sequence, stamp_wanted }
    }

    fn finish(&mut self, slot: usize, now: RawTime) {
        while let Some(finished) = self.peers[slot].as_mut().and_then(|p| p.pending.take_finished(now)) {
            self.conclude(slot, &finished, now);
        }
    }

    /// Files an exchange under way. If the oldest must make room, it ends here: with its weaker departures if those are all
    /// that it still waited for, else as a question without an answer.
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
        peer.announced = true;
        self.counters.count(Tally::Exchanges);
        if finished.stamp_missing {
            self.counters.count(Tally::TransmitStampMissing);
        }
        self.events.push_back(Event::Exchanged(exchange(slot, &proven, finished)));
    }

    /// Everything this node believes, for tests that nothing changed: all fields but the counters. Without `..`, so that a
    /// new field cannot be forgotten.
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

/// The circumstances of one datagram.
#[derive(Clone, Copy)]
struct Arrival {
    now: RawTime,
    from: SocketAddr,
    received: Stamp,
    entropy: u64,
    key: KeyChoice,
}

/// The fields in which this node's packets differ.
struct Packet {
    kind: Kind,
    receiver: NodeId,
    nonce: u64,
    echo: u64,
    receive: Stamp,
    transmit: Stamp,
    earlier: Option<Earlier>,
}

/// A reply has come: the peer's stamps are in it, and the follow is awaited.
fn advance_initiator(pending: &mut Pending, message: &Message, arrival: &Arrival) {
    pending.awaits = (message.transmit.class != StampClass::User).then_some((Kind::Follow, arrival.entropy));
    pending.asked_at = arrival.now;
    pending.peer_sequence = message.sequence;
    pending.peer_departure = Departure::new(message.transmit);
    pending.my_arrival = arrival.received;
    prove(pending, message, arrival.now);
}

/// A report has come: the peer's arrival stamp is in it, and a follow is owed if there is a true departure to tell.
fn advance_responder(pending: &mut Pending, message: &Message, arrival: &Arrival, key: KeyId) {
    pending.awaits = None;
    pending.owes_follow = (pending.my_departure.promised != StampClass::User).then_some((message.nonce, key));
    prove(pending, message, arrival.now);
}

fn prove(pending: &mut Pending, message: &Message, now: RawTime) {
    pending.peer_arrival = Some(message.receive);
    pending.claim = Some(message.claim);
    pending.proven_at = now;
}

/// The peer tells the true departure of an earlier packet. It was sealed by that run of the peer and cannot change, so it
/// needs no nonce of its own.
fn note_departure(pending: &mut PendingTable, message: &Message, counters: &mut Counters) {
    let Some(earlier) = message.earlier else { return };
    match pending.by_peer_sequence(earlier.sequence) {
        Some(exchange) => {
            exchange.peer_departure.truth.get_or_insert(earlier.stamp);
        }
        // A departure told a second time, in case the first telling was lost, finds its exchange finished.
        None if message.kind == Kind::Follow => counters.count(Tally::TransmitStampLate),
        None => {}
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
