//! Exchanges under way with one peer, and the true departures that peer has not been told yet. Fixed tables.

use crate::flow::{Claim, Stamp, StampClass};
use crate::limits::{NONCE_LIFETIME_NS, OUTSTANDING_MAX, TRANSMIT_STAMP_WAIT_NS};
use crate::unit::{KeyId, NodeId, RawTime};
use crate::wire::{Earlier, Kind};

/// One exchange as far as it has come at this end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// The nonce whose echo is awaited, and in which kind of packet; `None` once spent.
    pub awaits: Option<(Kind, u64)>,
    /// Who may answer: [`NodeId::ANYONE`] if it was asked of an address and not of a node.
    pub asked: NodeId,
    /// When the awaited answer was asked for.
    pub asked_at: RawTime,
    /// True if this end sent the probe.
    pub initiator: bool,
    /// Sequence of my timed packet (probe or reply), and when it left: first by my own clock reading, then truly.
    pub my_sequence: u64,
    pub my_departure: Departure,
    /// The same of the peer's timed packet (reply or probe), in its raw time.
    pub peer_sequence: u64,
    pub peer_departure: Departure,
    /// When the peer's timed packet arrived here.
    pub my_arrival: Stamp,
    /// When my timed packet arrived there; known once the peer has echoed my nonce, which proves it fresh.
    pub peer_arrival: Option<Stamp>,
    /// What the peer said last in this exchange.
    pub claim: Option<Claim>,
    /// When `peer_arrival` became known: from then on only true departures are waited for.
    pub proven_at: RawTime,
    /// A follow packet is owed as soon as my departure is known: the nonce that it must echo, and the key of the
    /// report.
    pub owes_follow: Option<(u64, KeyId)>,
    /// Finished and handed out; the place only waits for a follow that is still on its way.
    pub done: bool,
}

/// When a packet left: as its sender read its clock just before, and as the kernel or the card stamped it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub user: RawTime,
    pub promised: StampClass,
    pub truth: Option<Stamp>,
}

impl Departure {
    pub fn new(transmit: Stamp) -> Self {
        Departure { user: transmit.at, promised: transmit.class, truth: None }
    }

    /// The best stamp there is, or `None` while a better one is still to come.
    fn settled(&self, give_up: bool) -> Option<Stamp> {
        match self.truth {
            Some(stamp) => Some(stamp),
            None if self.promised == StampClass::User || give_up => {
                Some(Stamp { at: self.user, class: StampClass::User })
            }
            None => None,
        }
    }
}

/// The four stamps of a finished exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    pub initiator: bool,
    pub my_departure: Stamp,
    pub peer_arrival: Stamp,
    pub peer_departure: Stamp,
    pub my_arrival: Stamp,
    pub claim: Claim,
    /// A departure was promised and never came.
    pub stamp_missing: bool,
}

impl Pending {
    /// The finished exchange, once nothing more is to be waited for at `now`.
    pub fn finished(&self, now: RawTime) -> Option<Finished> {
        self.with_what_is_known(now.since(self.proven_at) >= TRANSMIT_STAMP_WAIT_NS)
    }

    /// The finished exchange of a place that is needed for another: true departures are not waited for any longer.
    pub fn surrendered(&self) -> Option<Finished> {
        if self.done { None } else { self.with_what_is_known(true) }
    }

    fn with_what_is_known(&self, give_up: bool) -> Option<Finished> {
        let (peer_arrival, claim) = (self.peer_arrival?, self.claim?);
        let my_departure = self.my_departure.settled(give_up)?;
        let peer_departure = self.peer_departure.settled(give_up)?;
        let missing = |d: &Departure| d.truth.is_none() && d.promised != StampClass::User;
        Some(Finished {
            initiator: self.initiator,
            my_departure,
            peer_arrival,
            peer_departure,
            my_arrival: self.my_arrival,
            claim,
            stamp_missing: missing(&self.my_departure) || missing(&self.peer_departure),
        })
    }

    /// When something about this exchange must be done even if nothing arrives: a follow that waits for its stamp needs
    /// nothing (the stamp's arrival is an input), so this is when waiting ends.
    pub fn deadline(&self) -> RawTime {
        match self.peer_arrival {
            Some(_) => self.proven_at.plus(TRANSMIT_STAMP_WAIT_NS),
            None => self.asked_at.plus(NONCE_LIFETIME_NS),
        }
    }
}

/// The exchanges under way with one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PendingTable {
    places: [Option<Pending>; OUTSTANDING_MAX],
}

impl PendingTable {
    /// Files an exchange; the oldest makes room if the table is full. Returns what had to go.
    pub fn insert(&mut self, pending: Pending) -> Option<Pending> {
        let index = self.places.iter().position(Option::is_none).unwrap_or_else(|| {
            let places = self.places.iter().enumerate();
            places.min_by_key(|(_, p)| p.map(|p| (!p.done, p.asked_at))).expect("the table has places").0
        });
        self.places[index].replace(pending)
    }

    /// The exchange that awaits `echo` in a packet of this kind, if the nonce is still good at `now`. The caller spends
    /// it.
    pub fn awaiting(&mut self, kind: Kind, echo: u64, now: RawTime) -> Option<&mut Pending> {
        self.places
            .iter_mut()
            .flatten()
            .find(|p| p.awaits == Some((kind, echo)) && now.since(p.asked_at) <= NONCE_LIFETIME_NS)
    }

    /// Takes out the exchange whose probe `sender` answers, if it was asked or anyone was.
    pub fn take_reply(&mut self, sender: NodeId, echo: u64, now: RawTime) -> Option<Pending> {
        let good = |p: &mut Pending| {
            p.awaits == Some((Kind::Reply, echo))
                && (p.asked == NodeId::ANYONE || p.asked == sender)
                && now.since(p.asked_at) <= NONCE_LIFETIME_NS
        };
        self.places.iter_mut().find_map(|place| place.take_if(good))
    }

    /// The exchange whose timed packet from this end has this sequence number.
    pub fn by_my_sequence(&mut self, sequence: u64) -> Option<&mut Pending> {
        self.places.iter_mut().flatten().find(|p| p.my_sequence == sequence)
    }

    /// The exchange whose timed packet from the peer has this sequence number.
    pub fn by_peer_sequence(&mut self, sequence: u64) -> Option<&mut Pending> {
        self.places.iter_mut().flatten().find(|p| p.peer_sequence == sequence)
    }

    /// Takes out one exchange that is finished at `now` and owes nothing, oldest first.
    pub fn take_finished(&mut self, now: RawTime) -> Option<Finished> {
        let ready = |p: &Pending| (p.owes_follow.is_none() && !p.done).then(|| p.finished(now)).flatten();
        let index = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.as_ref().and_then(ready).is_some())
            .min_by_key(|(_, place)| place.map(|p| p.asked_at))?
            .0;
        let place = &mut self.places[index];
        let finished = place.as_ref().and_then(ready);
        match place {
            Some(p) if p.awaits.is_some() => p.done = true,
            _ => *place = None,
        }
        finished
    }

    /// Takes out one exchange whose answer is overdue at `now`, or that is done and has waited long enough.
    pub fn take_overdue(&mut self, now: RawTime) -> Option<Pending> {
        let overdue = |p: &mut Pending| match (p.done, p.peer_arrival) {
            (true, _) => p.awaits.is_none() || now >= p.deadline(),
            (false, None) => now >= p.deadline(),
            (false, Some(_)) => false,
        };
        self.places.iter_mut().find_map(|place| place.take_if(overdue))
    }

    /// An exchange that owes a follow and can pay it at `now`: its departure is known, or will never be.
    pub fn payable(&mut self, now: RawTime) -> Option<&mut Pending> {
        self.places.iter_mut().flatten().find(|p| {
            let give_up = now.since(p.proven_at) >= TRANSMIT_STAMP_WAIT_NS;
            p.owes_follow.is_some() && p.my_departure.settled(give_up).is_some()
        })
    }

    /// When this table needs attention without input.
    pub fn deadline(&self) -> Option<RawTime> {
        self.places.iter().flatten().map(Pending::deadline).min()
    }

    /// Forgets everything: another run of the peer speaks.
    pub fn clear(&mut self) {
        self.places = Default::default();
    }
}

/// True departures for the peer to learn, newest kept. One that has been told is told again while there is nothing
/// newer, so that a lost packet does not cost the exchange its stamp.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Departures {
    places: [Option<(Earlier, bool)>; 4],
}

impl Departures {
    /// Remembers a departure; the oldest makes room.
    pub fn push(&mut self, earlier: Earlier) {
        self.places.rotate_right(1);
        self.places[0] = Some((earlier, false));
    }

    /// The departure of one packet, told now.
    pub fn tell(&mut self, sequence: u64) -> Option<Earlier> {
        let (earlier, told) = self.places.iter_mut().flatten().find(|(e, _)| e.sequence == sequence)?;
        *told = true;
        Some(*earlier)
    }

    /// The newest departure not told yet, else the newest of all.
    pub fn tell_newest(&mut self) -> Option<Earlier> {
        let index = self.places.iter().position(|p| matches!(p, Some((_, false)))).unwrap_or(0);
        let (earlier, told) = self.places[index].as_mut()?;
        *told = true;
        Some(*earlier)
    }
}
