//! What an arriving packet does: to a peer that has a place, and to a node that is still to prove itself. Everything
//! here happens after the message has been opened by its seal.

use std::net::SocketAddr;

use super::{OWN_ADDRESS_PAUSE_NS, Outgoing, Protocol};
use crate::exchange::counters::{Counters, Tally};
use crate::exchange::peer::{Candidate, Proven};
use crate::exchange::pending::{Departure, Pending, PendingTable};
use crate::flow::{Event, PeerIdentity, Role, Stamp, StampClass};
use crate::limits::NONCE_LIFETIME_NS;
use crate::unit::{KeyId, PeerSlot, RawTime};
use crate::wire::{DATAGRAM_LEN, Earlier, KeyChoice, Kind, Message, Reject, ReplayWindow};

impl Protocol {
    pub(super) fn on_known(
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
    /// identity holds one place, so that place is given up, and its address becomes this peer's if this peer's own is
    /// not listed or no longer leads to it.
    fn gather(&mut self, slot: usize, message: &Message, now: RawTime) {
        let other = self.peers.iter_mut().enumerate().find_map(|(other, place)| {
            let peer = place.as_mut().filter(|p| other != slot && !p.announced)?;
            peer.pending.take_reply(message.sender, message.echo, now).map(|pending| (other, pending))
        });
        let Some((other, pending)) = other else { return };
        let freed = self.vacate(other).expect("it was just found");
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

    pub(super) fn on_stranger(
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

    /// Gives a place to a node that has echoed a nonce of ours: its old one if it has one (it has been restarted), else
    /// the place from which it was asked, else one that lists its address, else a free one.
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
            && let Some(freed) = self.vacate(other)
        {
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
        peer.observes = message.claim.role == Role::Observer;
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
    pub(super) fn on_own_packet(&mut self, datagram: &[u8], from: SocketAddr, now: RawTime) {
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
}

/// The circumstances of one datagram.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub now: RawTime,
    pub from: SocketAddr,
    pub received: Stamp,
    pub entropy: u64,
    pub key: KeyChoice,
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

/// The peer tells the true departure of an earlier packet. It was sealed by that run of the peer and cannot change, so
/// it needs no nonce of its own.
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
