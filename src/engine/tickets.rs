//! Which packet a transmit stamp belongs to, and which of its stamps is told. The kernel numbers what a socket sends;
//! this table remembers the numbers of the last packets. A packet may get two stamps, the kernel's at once and the
//! card's a little later: the kernel's is held back for a while where the card's is worth waiting for. Fixed in size: a
//! stamp that comes after its place was taken is nobody's.

use std::collections::VecDeque;

use crate::exchange::Outgoing;
use crate::limits::CARD_STAMP_WAIT_NS;
use crate::unit::RawTime;

/// Packets whose stamps may be outstanding at one time.
const PLACES: usize = 1024;

/// One packet that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// The packet.
    pub outgoing: Outgoing,
    /// When the packet arrived that it answers.
    pub answers: Option<RawTime>,
    /// Machine raw time just before it was given to the kernel, ns.
    pub given_ns: i64,
    /// When it had been given.
    pub sent_at: RawTime,
}

/// What becomes of a kernel stamp.
#[derive(Clone, Copy, Debug)]
pub enum KernelStamp {
    /// It is told now.
    Told(Ticket),
    /// It waits for the card's, or the card's was told already.
    Held,
    /// It came when its packet was no longer remembered.
    Late,
}

/// A packet for which the card has a stamp.
#[derive(Clone, Copy, Debug)]
pub struct CardStamp {
    /// The packet.
    pub ticket: Ticket,
    /// When the kernel saw it leave, machine raw time in ns, if it has said so.
    pub kernel_ns: Option<i64>,
    /// The kernel's stamp has been told already: this one comes too late.
    pub told: bool,
    /// But less late than one would have waited.
    pub in_time: bool,
}

/// The packets sent whose stamps have not all come yet.
#[derive(Debug)]
pub struct Tickets {
    places: Box<[Option<Place>; PLACES]>,
    awaited: usize,
    /// Packets whose kernel stamp is held back: number, and machine raw time until when, ns.
    held: VecDeque<(u32, i64)>,
    /// Cards stamp what is sent: a packet is remembered until its card has spoken.
    cards: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    number: u32,
    ticket: Ticket,
    /// The kernel's stamp and when it came, machine raw time in ns.
    kernel: Option<(i64, i64)>,
    /// The card has spoken.
    card: bool,
    told: bool,
}

impl Tickets {
    /// Nothing sent yet. `cards`: stamps of cards may come.
    #[must_use]
    pub fn new(cards: bool) -> Self {
        Tickets { places: Box::new([None; PLACES]), awaited: 0, held: VecDeque::with_capacity(PLACES), cards }
    }

    /// How many packets still wait for a stamp.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.awaited
    }

    /// A packet was sent under this number.
    pub fn issue(&mut self, number: u32, ticket: Ticket) {
        let place = Place { number, ticket, kernel: None, card: false, told: false };
        if self.places[number as usize % PLACES].replace(place).is_none() {
            self.awaited += 1;
        }
    }

    /// The kernel's stamp of the packet with this number has come: it left at `at_ns`, machine raw time, and that is
    /// known at `now_ns`. `patient`: the card's is worth waiting for.
    pub fn kernel(&mut self, number: u32, at_ns: i64, now_ns: i64, patient: bool) -> KernelStamp {
        let patient = patient && self.held.len() < PLACES;
        let Some(place) = found(&mut self.places, number) else { return KernelStamp::Late };
        place.kernel = Some((at_ns, now_ns));
        let told = std::mem::replace(&mut place.told, !patient || place.card);
        let (ticket, done) = (place.ticket, place.card || !self.cards);
        let hold = !told && patient && !place.card;
        if done {
            self.forget(number);
        }
        if hold {
            self.held.push_back((number, now_ns + CARD_STAMP_WAIT_NS));
        }
        if told || hold { KernelStamp::Held } else { KernelStamp::Told(ticket) }
    }

    /// The card's stamp of the packet with this number has come. If it is of use, say so with [`Tickets::card_told`];
    /// if not, the kernel's is to be told in its place, now or when it comes.
    pub fn card(&mut self, number: u32, now_ns: i64) -> Option<CardStamp> {
        let place = found(&mut self.places, number)?;
        place.card = true;
        let stamp = CardStamp {
            ticket: place.ticket,
            kernel_ns: place.kernel.map(|(at_ns, _)| at_ns),
            told: place.told,
            in_time: place.kernel.is_none_or(|(_, came_ns)| now_ns - came_ns <= CARD_STAMP_WAIT_NS),
        };
        if place.kernel.is_some() {
            self.forget(number);
        }
        Some(stamp)
    }

    /// The card's stamp of the packet with this number was told: the kernel's is not needed any more.
    pub fn card_told(&mut self, number: u32) {
        if let Some(place) = found(&mut self.places, number) {
            place.told = true;
        }
    }

    /// A packet for whose card stamp nobody waits any longer at `now_ns`, and its kernel stamp, to be told.
    pub fn overdue(&mut self, now_ns: i64) -> Option<(Ticket, i64)> {
        while let Some((number, until_ns)) = self.held.front().copied() {
            let waiting = found(&mut self.places, number).filter(|place| !place.told && !place.card);
            let Some(place) = waiting else {
                self.held.pop_front();
                continue;
            };
            if now_ns < until_ns {
                return None;
            }
            place.told = true;
            self.held.pop_front();
            let (at_ns, _) = place.kernel.expect("only a packet with a kernel stamp is held");
            return Some((place.ticket, at_ns));
        }
        None
    }

    /// Until when the oldest kernel stamp is held back, machine raw time in ns.
    #[must_use]
    pub fn held_until(&self) -> Option<i64> {
        self.held.front().map(|(_, until_ns)| *until_ns)
    }

    /// Gives up the stamps of packets sent before `before`; tells how many got none at all.
    pub fn expire(&mut self, before: RawTime) -> usize {
        if self.awaited == 0 {
            return 0;
        }
        let (mut gone, mut without) = (0, 0);
        for place in self.places.iter_mut() {
            if let Some(place) = place.take_if(|p| p.ticket.sent_at < before) {
                gone += 1;
                without += usize::from(place.kernel.is_none() && !place.card);
            }
        }
        self.awaited -= gone;
        without
    }

    fn forget(&mut self, number: u32) {
        self.places[number as usize % PLACES] = None;
        self.awaited -= 1;
    }
}

fn found(places: &mut [Option<Place>; PLACES], number: u32) -> Option<&mut Place> {
    places[number as usize % PLACES].as_mut().filter(|place| place.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(sequence: u64) -> Ticket {
        let outgoing = Outgoing { to: ([127, 0, 0, 1], 1).into(), slot: None, sequence, stamp_wanted: true };
        Ticket { outgoing, answers: None, given_ns: 0, sent_at: RawTime::from_nanos(sequence as i64) }
    }

    /// A table with one packet under each number.
    fn issued(cards: bool, numbers: impl IntoIterator<Item = u32>) -> Tickets {
        let mut tickets = Tickets::new(cards);
        for number in numbers {
            tickets.issue(number, ticket(u64::from(number)));
        }
        tickets
    }

    fn told(stamp: KernelStamp) -> Option<u64> {
        match stamp {
            KernelStamp::Told(ticket) => Some(ticket.outgoing.sequence),
            _ => None,
        }
    }

    #[test]
    fn stamps_that_never_come_are_given_up() {
        let mut tickets = issued(false, [10, 20]);
        assert_eq!(tickets.expire(RawTime::from_nanos(15)), 1);
        assert_eq!(tickets.awaited(), 1);
        assert!(matches!(tickets.kernel(10, 1, 2, false), KernelStamp::Late));
        assert_eq!(told(tickets.kernel(20, 1, 2, false)), Some(20));
    }

    #[test]
    fn a_stamp_finds_its_packet_once() {
        let mut tickets = issued(false, [7]);
        assert!(matches!(tickets.kernel(8, 1, 2, false), KernelStamp::Late));
        assert_eq!(told(tickets.kernel(7, 1, 2, false)), Some(7));
        assert!(matches!(tickets.kernel(7, 1, 2, false), KernelStamp::Late));
        assert_eq!(tickets.awaited(), 0);
    }

    #[test]
    fn a_stamp_that_is_a_whole_table_late_is_nobodys() {
        let mut tickets = issued(false, 0..=PLACES as u32);
        assert!(matches!(tickets.kernel(0, 1, 2, false), KernelStamp::Late));
        assert_eq!(tickets.awaited(), PLACES);
        assert_eq!(told(tickets.kernel(PLACES as u32, 1, 2, false)), Some(PLACES as u64));
    }

    #[test]
    fn the_kernels_stamp_waits_for_the_cards_which_takes_its_place() {
        let mut tickets = issued(true, [3]);
        assert!(matches!(tickets.kernel(3, 100, 200, true), KernelStamp::Held));
        assert_eq!(tickets.held_until(), Some(200 + CARD_STAMP_WAIT_NS));
        assert!(tickets.overdue(199 + CARD_STAMP_WAIT_NS).is_none());
        let card = tickets.card(3, 300).unwrap();
        assert_eq!((card.kernel_ns, card.told, card.in_time), (Some(100), false, true));
        tickets.card_told(3);
        assert!(tickets.overdue(i64::MAX).is_none(), "told once");
        assert_eq!((tickets.awaited(), tickets.held_until()), (0, None));
    }

    #[test]
    fn at_the_end_of_patience_the_kernels_stamp_is_told_and_the_cards_comes_too_late() {
        let mut tickets = issued(true, [3]);
        tickets.kernel(3, 100, 200, true);
        assert!(tickets.overdue(200 + CARD_STAMP_WAIT_NS - 1).is_none());
        let (ticket, at_ns) = tickets.overdue(200 + CARD_STAMP_WAIT_NS).unwrap();
        assert_eq!((ticket.outgoing.sequence, at_ns), (3, 100));
        assert!(tickets.overdue(i64::MAX).is_none());
        let card = tickets.card(3, 201 + CARD_STAMP_WAIT_NS).unwrap();
        assert!(card.told && !card.in_time);
    }

    #[test]
    fn without_patience_the_kernels_stamp_is_told_at_once_and_the_card_is_still_heard() {
        let mut tickets = issued(true, [3]);
        assert_eq!(told(tickets.kernel(3, 100, 200, false)), Some(3));
        assert_eq!(tickets.awaited(), 1);
        let card = tickets.card(3, 200 + CARD_STAMP_WAIT_NS).unwrap();
        assert!(card.told && card.in_time, "it would have been worth waiting for");
        assert_eq!(tickets.awaited(), 0);
    }

    #[test]
    fn a_card_that_is_faster_than_the_kernel_is_told_once_and_one_that_is_no_use_leaves_it_to_the_kernel() {
        for useful in [true, false] {
            let mut tickets = issued(true, [3]);
            let card = tickets.card(3, 90).unwrap();
            assert_eq!((card.kernel_ns, card.told), (None, false));
            if useful {
                tickets.card_told(3);
            }
            let stamp = tickets.kernel(3, 100, 200, true);
            assert_eq!(told(stamp), (!useful).then_some(3));
            assert_eq!((tickets.awaited(), tickets.held_until()), (0, None));
        }
    }

    #[test]
    fn a_packet_with_one_stamp_of_two_is_forgotten_without_being_missed() {
        let mut tickets = issued(true, [3, 4]);
        tickets.kernel(3, 100, 200, false);
        assert_eq!(tickets.expire(RawTime::from_nanos(1_000)), 1, "4 got none");
        assert_eq!(tickets.awaited(), 0);
    }

    #[test]
    fn whatever_the_order_every_packet_is_told_at_most_once() {
        // Every order of: kernel stamp, card stamp, end of patience; with and without patience, card of use or not.
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for (order, patient, useful) in
            orders.iter().flat_map(|o| [(o, true, true), (o, true, false), (o, false, true), (o, false, false)])
        {
            let mut tickets = issued(true, [5]);
            let mut tellings = 0;
            for step in order {
                match step {
                    0 => tellings += usize::from(told(tickets.kernel(5, 10, 20, patient)).is_some()),
                    1 => {
                        if let Some(card) = tickets.card(5, 30)
                            && !card.told
                        {
                            if useful {
                                tickets.card_told(5);
                                tellings += 1;
                            } else if card.kernel_ns.is_some() {
                                tellings += 1;
                            }
                        }
                    }
                    _ => tellings += usize::from(tickets.overdue(i64::MAX).is_some()),
                }
            }
            tellings += usize::from(tickets.overdue(i64::MAX).is_some());
            assert_eq!(tellings, 1, "{order:?} patient {patient} useful {useful}");
        }
    }
}
