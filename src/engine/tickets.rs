//! Which packet a transmit stamp belongs to. The kernel numbers what a socket sends; this table remembers the numbers
//! of the last packets. Fixed in size: a stamp that comes after its place was taken is nobody's.

use crate::exchange::Outgoing;
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
    /// When it was sent.
    pub sent_at: RawTime,
}

/// The packets sent whose stamps have not come yet.
#[derive(Debug)]
pub struct Tickets {
    places: Box<[Option<(u32, Ticket)>; PLACES]>,
    awaited: usize,
}

impl Tickets {
    /// Nothing sent yet.
    #[must_use]
    pub fn new() -> Self {
        Tickets { places: Box::new([None; PLACES]), awaited: 0 }
    }

    /// How many packets still wait for their stamp.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.awaited
    }

    /// A packet was sent under this number.
    pub fn issue(&mut self, number: u32, ticket: Ticket) {
        let before = self.places[number as usize % PLACES].replace((number, ticket));
        if before.is_none() {
            self.awaited += 1;
        }
    }

    /// The stamp with this number has come.
    pub fn redeem(&mut self, number: u32) -> Option<Ticket> {
        let place = &mut self.places[number as usize % PLACES];
        let (_, ticket) = place.take_if(|(n, _)| *n == number)?;
        self.awaited -= 1;
        Some(ticket)
    }

    /// Gives up the stamps of packets sent before `before`; tells how many.
    pub fn expire(&mut self, before: RawTime) -> usize {
        if self.awaited == 0 {
            return 0;
        }
        let given_up = self.places.iter_mut().filter_map(|p| p.take_if(|(_, t)| t.sent_at < before)).count();
        self.awaited -= given_up;
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(sequence: u64) -> Ticket {
        let outgoing = Outgoing { to: ([127, 0, 0, 1], 1).into(), slot: None, sequence, stamp_wanted: true };
        Ticket { outgoing, answers: None, sent_at: RawTime::from_nanos(sequence as i64) }
    }

    #[test]
    fn stamps_that_never_come_are_given_up() {
        let mut tickets = Tickets::new();
        tickets.issue(1, ticket(10));
        tickets.issue(2, ticket(20));
        assert_eq!(tickets.expire(RawTime::from_nanos(15)), 1);
        assert_eq!(tickets.awaited(), 1);
        assert!(tickets.redeem(1).is_none() && tickets.redeem(2).is_some());
    }

    #[test]
    fn a_stamp_finds_its_packet_once() {
        let mut tickets = Tickets::new();
        tickets.issue(7, ticket(70));
        assert!(tickets.redeem(8).is_none());
        assert_eq!(tickets.redeem(7).unwrap().outgoing.sequence, 70);
        assert!(tickets.redeem(7).is_none());
        assert_eq!(tickets.awaited(), 0);
    }

    #[test]
    fn a_stamp_that_is_a_whole_table_late_is_nobodys() {
        let mut tickets = Tickets::new();
        for n in 0..=PLACES as u32 {
            tickets.issue(n, ticket(u64::from(n)));
        }
        assert!(tickets.redeem(0).is_none());
        assert_eq!(tickets.awaited(), PLACES);
        assert_eq!(tickets.redeem(PLACES as u32).unwrap().outgoing.sequence, PLACES as u64);
    }
}
