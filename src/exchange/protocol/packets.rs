//! The packets that this node makes: what stands in each, and what is remembered of it.

use std::net::SocketAddr;

use super::arrivals::Arrival;
use super::{Outgoing, Protocol};
use crate::exchange::counters::Tally;
use crate::exchange::pending::{Departure, Pending};
use crate::flow::{Claim, Stamp};
use crate::limits::CLAIM_AGE_NS_MAX;
use crate::unit::{NodeId, PeerSlot, RawTime};
use crate::wire::{DATAGRAM_LEN, Earlier, KeyChoice, Kind, Message};

impl Protocol {
    pub(super) fn responder(&self, message: &Message, received: Stamp, nonce: u64, now: RawTime) -> Pending {
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
    pub(super) fn reply(
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

    pub(super) fn report(
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

    pub(super) fn pay_follow(
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

    pub(super) fn write(&mut self, packet: &Packet, key: KeyChoice, out: &mut [u8; DATAGRAM_LEN]) {
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
            claim: self.claim_at(packet.transmit.at),
            name: self.identity.name,
        };
        message.seal(&self.identity, &self.keys, key, out);
        self.counters.count(Tally::Sent);
    }

    /// What this node says of itself at `now`. A bound is good until the next tick; when ticks have failed to come, the
    /// machine was held up and nobody knows what its oscillator did meanwhile.
    fn claim_at(&self, now: RawTime) -> Claim {
        let stale = now.since(self.claim.mapping.epoch) > CLAIM_AGE_NS_MAX;
        Claim { bound_ns: if stale { f32::INFINITY } else { self.claim.bound_ns }, ..self.claim }
    }

    pub(super) fn outgoing(&self, to: SocketAddr, slot: Option<usize>, stamp_wanted: bool) -> Outgoing {
        Outgoing { to, slot: slot.map(|s| PeerSlot(s as u16)), sequence: self.sequence, stamp_wanted }
    }
}

/// The fields in which this node's packets differ.
pub(super) struct Packet {
    pub kind: Kind,
    pub receiver: NodeId,
    pub nonce: u64,
    pub echo: u64,
    pub receive: Stamp,
    pub transmit: Stamp,
    pub earlier: Option<Earlier>,
}
