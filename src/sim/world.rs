//! Virtual time: a queue of events in integer nanoseconds of true time. Events of one instant happen in the order in
//! which they were scheduled, so the order is a function of the seed and of nothing else. Knows neither nodes nor
//! links.
//!
//! A calendar of short slots instead of a heap (Brown 1988, with a fixed width): most events are due within a few
//! hundred milliseconds, and a cluster of thousands has tens of thousands of them waiting. What is further away waits
//! in a heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A point in true time, ns since the world began. Only the world knows it; no node does.
pub type TrueNs = i64;

/// One second of true time.
pub const SECOND_NS: TrueNs = 1_000_000_000;

/// A slot spans 2^16 ns: 1,000 nodes of 8 peers have one or two events in it.
const SLOT_BITS: u32 = 16;
/// Slots of the calendar: a quarter of a second. A power of two.
const SLOTS: i64 = 4_096;

/// What is going to happen, earliest first.
#[derive(Debug)]
pub struct Agenda<E> {
    /// The slot that is being lived through, latest event first.
    open: Vec<Entry<E>>,
    open_slot: i64,
    /// The slots after it, in no order inside.
    calendar: Vec<Vec<Entry<E>>>,
    in_calendar: usize,
    far: BinaryHeap<Reverse<Entry<E>>>,
    now: TrueNs,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: TrueNs,
    sequence: u64,
    event: E,
}

impl<E> Agenda<E> {
    /// An empty agenda at time zero.
    #[must_use]
    pub fn new() -> Self {
        Agenda {
            open: Vec::new(),
            open_slot: 0,
            calendar: (0..SLOTS).map(|_| Vec::new()).collect(),
            in_calendar: 0,
            far: BinaryHeap::new(),
            now: 0,
            sequence: 0,
        }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> TrueNs {
        self.now
    }

    /// The slot that is being lived through.
    #[must_use]
    pub fn slot(&self) -> i64 {
        self.open_slot
    }

    /// What has been filed `ahead` slots after the one that is being lived through, in no order.
    pub fn ahead(&self, ahead: i64) -> impl Iterator<Item = &E> {
        let slot = ((self.open_slot + ahead) & (SLOTS - 1)) as usize;
        self.calendar[slot].iter().map(|entry| &entry.event)
    }

    /// Events taken and waiting so far.
    #[must_use]
    pub fn scheduled(&self) -> u64 {
        self.sequence
    }

    /// Lets `event` happen at `at`, or at once if that has passed.
    pub fn at(&mut self, at: TrueNs, event: E) {
        self.sequence += 1;
        let entry = Entry { at: at.max(self.now), sequence: self.sequence, event };
        let slot = entry.at >> SLOT_BITS;
        if slot <= self.open_slot {
            let later = self.open.partition_point(|other| other.at > entry.at);
            self.open.insert(later, entry);
        } else if slot < self.open_slot + SLOTS {
            self.file(slot, entry);
        } else {
            self.far.push(Reverse(entry));
        }
    }

    /// Takes the next event up to and including `end`, and makes its time the present; at the end the present is `end`.
    pub fn next_until(&mut self, end: TrueNs) -> Option<E> {
        while self.open.is_empty() {
            let next = if self.in_calendar > 0 {
                self.open_slot + 1
            } else {
                self.far.peek().map_or(i64::MAX, |Reverse(entry)| entry.at >> SLOT_BITS)
            };
            if next > end >> SLOT_BITS {
                break;
            }
            self.open(next);
        }
        if self.open.last().is_none_or(|entry| entry.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let entry = self.open.pop().expect("it was just seen");
        debug_assert!(entry.at >= self.now, "time runs one way");
        self.now = entry.at;
        Some(entry.event)
    }

    fn file(&mut self, slot: i64, entry: Entry<E>) {
        self.calendar[(slot & (SLOTS - 1)) as usize].push(entry);
        self.in_calendar += 1;
    }

    /// Turns the calendar to `slot`; nothing is left in those before it.
    fn open(&mut self, slot: i64) {
        self.open_slot = slot;
        while self.far.peek().is_some_and(|Reverse(entry)| entry.at >> SLOT_BITS < slot + SLOTS) {
            let Reverse(entry) = self.far.pop().expect("it was just seen");
            self.file(entry.at >> SLOT_BITS, entry);
        }
        let filed = &mut self.calendar[(slot & (SLOTS - 1)) as usize];
        self.in_calendar -= filed.len();
        self.open.append(filed);
        self.open.sort_unstable_by_key(|entry| Reverse(entry.key()));
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Agenda::new()
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (TrueNs, u64) {
        (self.at, self.sequence)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_instant_in_the_order_of_their_scheduling() {
        let mut agenda = Agenda::new();
        for (at, name) in [(5, "c"), (3, "a"), (5, "d"), (3, "b")] {
            agenda.at(at, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| agenda.next_until(10)).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(agenda.now(), 10);
    }

    #[test]
    fn an_event_of_the_past_happens_at_once_and_one_beyond_the_end_not_yet() {
        let mut agenda = Agenda::new();
        assert_eq!(agenda.next_until(7), None::<u8>);
        agenda.at(2, 1);
        agenda.at(9, 2);
        assert_eq!((agenda.next_until(8), agenda.now()), (Some(1), 7));
        assert_eq!((agenda.next_until(8), agenda.now()), (None, 8));
        assert_eq!((agenda.next_until(9), agenda.now()), (Some(2), 9));
    }

    #[test]
    fn a_calendar_keeps_the_order_of_a_sorted_list_however_far_apart_events_are() {
        let (mut agenda, mut waiting, mut taken, mut listed) = (Agenda::new(), Vec::new(), Vec::new(), Vec::new());
        let mut key = 1u64;
        for turn in 0..3_000u64 {
            key = crate::sim::random::mix(key);
            // Spans from nothing to a minute, many of them equal.
            let at = agenda.now() + ((key % 7) as i64) * 10i64.pow((key >> 8) as u32 % 10);
            agenda.at(at, turn);
            waiting.push((at, turn));
            let until = agenda.now() + (key >> 32) as i64 % 3_000_000;
            while let Some(event) = agenda.next_until(until) {
                taken.push(event);
            }
            assert_eq!(agenda.now(), until);
            waiting.sort_unstable();
            let due = waiting.partition_point(|(at, _)| *at <= until);
            listed.extend(waiting.drain(..due).map(|(_, event)| event));
            assert_eq!(taken, listed);
        }
        assert!(taken.len() > 500 && !waiting.is_empty());
    }
}
