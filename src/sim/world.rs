//! Virtual time: a queue of events in integer nanoseconds of true time. Events of one instant happen in the order in
//! which they were scheduled, so the order is a function of the seed and of nothing else. Knows neither nodes nor
//! links.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A point in true time, ns since the world began. Only the world knows it; no node does.
pub type TrueNs = i64;

/// One second of true time.
pub const SECOND_NS: TrueNs = 1_000_000_000;

/// What is going to happen, earliest first.
#[derive(Debug)]
pub struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
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
        Agenda { heap: BinaryHeap::new(), now: 0, sequence: 0 }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> TrueNs {
        self.now
    }

    /// Events taken and waiting so far.
    #[must_use]
    pub fn scheduled(&self) -> u64 {
        self.sequence
    }

    /// Lets `event` happen at `at`, or at once if that has passed.
    pub fn at(&mut self, at: TrueNs, event: E) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), sequence: self.sequence, event }));
    }

    /// Takes the next event up to and including `end`, and makes its time the present; at the end the present is `end`.
    pub fn next_until(&mut self, end: TrueNs) -> Option<E> {
        if self.heap.peek().is_none_or(|Reverse(entry)| entry.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let Reverse(entry) = self.heap.pop().expect("it was just seen");
        debug_assert!(entry.at >= self.now, "time runs one way");
        self.now = entry.at;
        Some(entry.event)
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
}
