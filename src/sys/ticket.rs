//! Which sent packet a transmit stamp belongs to. A wrong pairing is worse than no stamp: it is an error of
//! milliseconds that looks like a measurement, so whatever is in doubt is thrown away and counted.
//!
//! The kernel marks each stamp with a 32-bit id. Since Linux 6.13 the sender names it with the packet, and there is
//! nothing to guess (*named*). Before, the kernel counts by itself, from the moment when ids are switched on, and how
//! it counts a packet whose sending failed depends on where it failed and on its version: errors of routing come before
//! the count, a packet filter's after it, and for a full buffer Linux before 6.9 keeps the number while later ones give
//! it back (*counted*). After a failure that leaves the count in doubt this book stops asking for stamps
//! (*quarantine*), lets those under way come home, and after [`QUARANTINE_NS`] begins a new count at zero.
//!
//! Three more checks guard both: the ticket must be one of the last [`REMEMBERED`], it must not have this stamp
//! already, and the stamp must lie between the moment before the packet was sent and [`QUARANTINE_NS`] after it (both
//! are reads of one clock; if someone sets that clock meanwhile, a stamp is lost). A stamp for a
//! packet that was not sent yet shows that the count is off, and leads to quarantine too.
//!
//! Pure bookkeeping: the system calls are in `socket`.

use crate::flow::StampClass;

/// How long stamps of the old count may still be under way, ns: as long as anyone waits for a transmit stamp.
pub const QUARANTINE_NS: i64 = 2_000_000_000;

/// Packets remembered: far more than can be under way in a card's queue between two reads of the error queue.
pub const REMEMBERED: usize = 1024;

/// The book of sent packets.
pub struct TicketBook {
    sent: Box<[Sent; REMEMBERED]>,
    /// The ticket of the next packet.
    next: u32,
    numbering: Numbering,
}

/// How ids relate to tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Every packet carries its ticket as its id.
    Named,
    /// The kernel counts; the packet with id 0 has the ticket `zero`.
    Counted {
        /// The ticket at which the count began.
        zero: u32,
    },
    /// As `Counted` for what is under way, but nothing new is stamped until `until_ns` (CLOCK_MONOTONIC).
    Quarantine {
        /// The ticket at which the old count began.
        zero: u32,
        /// When a new count may begin.
        until_ns: i64,
    },
}

/// One sent packet.
#[derive(Clone, Copy, Default)]
struct Sent {
    ticket: u32,
    /// REALTIME just before it was given to the kernel.
    before_real_ns: i64,
    /// Bit per [`StampClass`]: stamps that may still come. Zero for a slot never used and for packets not stamped.
    awaited: u8,
}

/// What became of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It belongs to the packet with this ticket.
    Ticket(u32),
    /// It belongs to no packet that can be told with certainty.
    Unknown,
    /// It would belong to a packet not sent yet: the kernel counts differently from this book.
    CountIsOff,
}

impl TicketBook {
    /// An empty book.
    pub fn new(numbering: Numbering) -> Self {
        TicketBook { sent: Box::new([Sent::default(); REMEMBERED]), next: 0, numbering }
    }

    /// How ids relate to tickets now.
    pub const fn numbering(&self) -> Numbering {
        self.numbering
    }

    /// The ticket that the next packet will have.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// The kernel cannot be told ids: it counts from zero with the next packet.
    pub fn count(&mut self) {
        self.numbering = Numbering::Counted { zero: self.next };
    }

    /// Notes a packet given to the kernel (REALTIME read before: `before_real_ns`) and returns its ticket.
    pub fn sent(&mut self, before_real_ns: i64) -> u32 {
        let ticket = self.next;
        let awaited = if let Numbering::Quarantine { .. } = self.numbering { 0 } else { 0b111 };
        self.sent[ticket as usize % REMEMBERED] = Sent { ticket, before_real_ns, awaited };
        self.next = ticket.wrapping_add(1);
        ticket
    }

    /// The packet just tried was not sent, for the reason `errno`. True if the count is in doubt now, so that stamps
    /// must be switched off; [`TicketBook::quarantine`] has then been entered.
    pub fn failed(&mut self, errno: i32, monotonic_ns: i64) -> bool {
        match self.numbering {
            Numbering::Named => false,
            // The kernel has refused before it counted.
            _ if is_refused_by_routing(errno) => false,
            Numbering::Counted { .. } => {
                self.quarantine(monotonic_ns);
                true
            }
            // Nothing is being counted.
            Numbering::Quarantine { .. } => false,
        }
    }

    /// Stops trusting the count; stamps must be switched off by the caller. Nothing to do where ids are named.
    pub fn quarantine(&mut self, monotonic_ns: i64) {
        if let Numbering::Counted { zero } = self.numbering {
            self.numbering = Numbering::Quarantine { zero, until_ns: monotonic_ns + QUARANTINE_NS };
        }
    }

    /// True when a quarantine is over: the caller switches stamps on, which makes the kernel count from zero, and calls
    /// [`TicketBook::count`].
    pub fn may_resume(&self, monotonic_ns: i64) -> bool {
        matches!(self.numbering, Numbering::Quarantine { until_ns, .. } if monotonic_ns >= until_ns)
    }

    /// Finds the packet of the stamp with the kernel's id `id`, taken at `at_ns` (REALTIME for kernel stamps; a card's
    /// stamp is on the card's clock and cannot be checked).
    pub fn matching(&mut self, id: u32, at_ns: i64, class: StampClass) -> Match {
        let ticket = match self.numbering {
            Numbering::Named => id,
            Numbering::Counted { zero } | Numbering::Quarantine { zero, .. } => zero.wrapping_add(id),
        };
        let ahead = ticket.wrapping_sub(self.next);
        if ahead < u32::MAX / 2 {
            return if let Numbering::Counted { .. } = self.numbering { Match::CountIsOff } else { Match::Unknown };
        }
        let sent = &mut self.sent[ticket as usize % REMEMBERED];
        let bit = 1 << class as u8;
        if sent.ticket != ticket || sent.awaited & bit == 0 {
            return Match::Unknown;
        }
        let after_ns = at_ns.wrapping_sub(sent.before_real_ns);
        if class == StampClass::Kernel && !(0..=QUARANTINE_NS).contains(&after_ns) {
            return Match::Unknown;
        }
        sent.awaited &= !bit;
        Match::Ticket(ticket)
    }
}

/// Errors that come before a packet gets a number: there is no way to the destination, or none for this socket.
fn is_refused_by_routing(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::EACCES
            | libc::EINVAL
            | libc::EAFNOSUPPORT
            | libc::EADDRNOTAVAIL
            | libc::EDESTADDRREQ
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: Numbering = Numbering::Counted { zero: 0 };

    fn kernel(book: &mut TicketBook, id: u32, at_ns: i64) -> Match {
        book.matching(id, at_ns, StampClass::Kernel)
    }

    #[test]
    fn a_stamp_finds_its_packet_once_for_each_class() {
        for numbering in [COUNTED, Numbering::Named] {
            let mut book = TicketBook::new(numbering);
            let tickets = [book.sent(100), book.sent(200)];
            assert_eq!(kernel(&mut book, 1, 250), Match::Ticket(tickets[1]));
            assert_eq!(kernel(&mut book, 1, 250), Match::Unknown);
            assert_eq!(book.matching(1, 7, StampClass::Nic), Match::Ticket(tickets[1]));
            assert_eq!(kernel(&mut book, 0, 250), Match::Ticket(tickets[0]));
        }
    }

    #[test]
    fn a_stamp_from_before_its_packet_or_long_after_is_not_its_own() {
        let mut book = TicketBook::new(COUNTED);
        book.sent(1_000_000);
        assert_eq!(kernel(&mut book, 0, 999_999), Match::Unknown);
        assert_eq!(kernel(&mut book, 0, 1_000_000 + QUARANTINE_NS + 1), Match::Unknown);
        assert_eq!(kernel(&mut book, 0, 1_000_000), Match::Ticket(0));
    }

    #[test]
    fn a_packet_too_long_ago_is_forgotten() {
        let mut book = TicketBook::new(COUNTED);
        for _ in 0..=REMEMBERED {
            book.sent(5);
        }
        assert_eq!(kernel(&mut book, 0, 6), Match::Unknown);
        assert_eq!(kernel(&mut book, 1, 6), Match::Ticket(1));
    }

    #[test]
    fn no_route_does_not_disturb_the_count() {
        let mut book = TicketBook::new(COUNTED);
        book.sent(1);
        assert!(!book.failed(libc::ENETUNREACH, 0));
        let ticket = book.sent(2);
        assert_eq!(kernel(&mut book, 1, 3), Match::Ticket(ticket));
    }

    #[test]
    fn a_failure_in_doubt_stops_stamps_and_whatever_the_kernel_counted_no_packet_gets_anothers() {
        for kernel_kept_the_number in [0, 1] {
            let mut book = TicketBook::new(COUNTED);
            let before = book.sent(10);
            assert!(book.failed(libc::EAGAIN, 1_000));
            // Not stamped: switched off. Even if a stamp for it came, it would not be believed.
            let within = book.sent(20);
            assert_eq!(kernel(&mut book, 1 + kernel_kept_the_number, 25), Match::Unknown);
            // The packet from before is still beyond doubt.
            assert_eq!(kernel(&mut book, 0, 15), Match::Ticket(before));
            assert!(!book.may_resume(999 + QUARANTINE_NS));
            assert!(book.may_resume(1_000 + QUARANTINE_NS));
            book.count();
            let after = book.sent(QUARANTINE_NS + 50);
            assert_eq!(kernel(&mut book, 0, QUARANTINE_NS + 60), Match::Ticket(after));
            assert_eq!(after, within + 1);
        }
    }

    #[test]
    fn a_straggler_of_the_old_count_is_told_by_its_time() {
        let mut book = TicketBook::new(COUNTED);
        book.sent(10);
        book.failed(libc::EPERM, 0);
        book.count();
        book.sent(QUARANTINE_NS);
        assert_eq!(kernel(&mut book, 0, 15), Match::Unknown);
    }

    #[test]
    fn a_stamp_from_the_future_shows_that_the_count_is_off() {
        let mut book = TicketBook::new(COUNTED);
        book.sent(10);
        assert_eq!(kernel(&mut book, 1, 15), Match::CountIsOff);
        book.quarantine(0);
        assert_eq!(kernel(&mut book, 1, 15), Match::Unknown);
        assert_eq!(kernel(&mut TicketBook::new(Numbering::Named), 0, 15), Match::Unknown);
    }

    #[test]
    fn failures_are_nothing_to_a_kernel_that_is_told_the_number() {
        let mut book = TicketBook::new(Numbering::Named);
        assert!(!book.failed(libc::EAGAIN, 0));
        book.quarantine(0);
        assert_eq!(book.numbering(), Numbering::Named);
    }

    #[test]
    fn tickets_go_round_without_a_gap() {
        let mut book = TicketBook::new(Numbering::Counted { zero: u32::MAX - 1 });
        book.next = u32::MAX - 1;
        for id in 0..4 {
            let ticket = book.sent(10);
            assert_eq!(kernel(&mut book, id, 11), Match::Ticket(ticket));
        }
        assert_eq!(book.next(), 2);
    }
}
