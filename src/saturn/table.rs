//! The transactions of a master: a table of a fixed number of places, each of a fixed size, and the memory of those
//! that have ended. Memory is reserved at the start, used as places are first needed, and never given back or moved.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use sha2::{Digest as _, Sha256};

use super::offset::Trip;
use crate::limits::{SATURN_DATAGRAM_BYTES_MAX, SATURN_EXPIRY_NS};
use crate::unit::{RawTime, RealTime};

/// An id, cut down to what tells it from every other: nobody finds two ids with one digest.
pub(super) type Digest = [u8; 16];

/// The place of a live transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// What a master knows of a transaction besides its name and trips.
#[derive(Clone, Copy)]
pub(super) struct Transaction {
    digest: Digest,
    live: bool,
    /// The number the slave's next message must have.
    pub expected_seq: i32,
    /// The time in our last message.
    pub sent: RealTime,
    /// When the slave's last message was handled.
    pub handled: RawTime,
    /// Trips so far.
    pub trips: u32,
    name_len: u16,
}

type DigestMap<V> = HashMap<Digest, V, BuildHasherDefault<DigestHasher>>;

/// The table.
pub(super) struct Table {
    seed: u64,
    capacity: usize,
    rounds: usize,
    index: DigestMap<Place>,
    places: Vec<Transaction>,
    free: Vec<Place>,
    names: Vec<[u8; SATURN_DATAGRAM_BYTES_MAX]>,
    trips: Vec<Trip>,
    ended: HashSet<Digest, BuildHasherDefault<DigestHasher>>,
    /// The same in the order of their ends, as a ring.
    ended_in_order: Vec<Digest>,
    oldest_ended: usize,
    ended_max: usize,
}

impl Table {
    /// An empty table for `capacity` transactions of at most `rounds` trips that remembers `ended_max` ended ones.
    /// `seed` must not be known to anybody: it keeps the places of digests unpredictable.
    pub fn new(capacity: usize, rounds: u32, ended_max: usize, seed: u64) -> Self {
        let rounds = rounds as usize;
        Table {
            seed,
            capacity,
            rounds,
            index: HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()),
            places: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            names: Vec::with_capacity(capacity),
            trips: Vec::with_capacity(capacity * rounds),
            ended: HashSet::with_capacity_and_hasher(ended_max, BuildHasherDefault::default()),
            ended_in_order: Vec::with_capacity(ended_max),
            oldest_ended: 0,
            ended_max,
        }
    }

    /// What `id` is called in this table.
    pub fn digest(&self, id: &[u8]) -> Digest {
        let hash = Sha256::new().chain_update(self.seed.to_ne_bytes()).chain_update(id).finalize();
        hash[..16].try_into().expect("a hash has 32 bytes")
    }

    pub fn find(&self, digest: &Digest) -> Option<Place> {
        self.index.get(digest).copied()
    }

    /// Whether such a transaction has been here and ended, as far back as is remembered.
    pub fn has_ended(&self, digest: &Digest) -> bool {
        self.ended.contains(digest)
    }

    pub fn live(&self) -> usize {
        self.index.len()
    }

    pub fn is_full(&self) -> bool {
        self.live() == self.capacity
    }

    /// Takes a place for a new transaction. There must be one.
    pub fn begin(&mut self, digest: Digest, name: &[u8], expected_seq: i32, sent: RealTime, handled: RawTime) {
        assert!(!self.is_full() && self.find(&digest).is_none(), "looked for before");
        let name_len = name.len() as u16;
        let transaction = Transaction { digest, live: true, expected_seq, sent, handled, trips: 0, name_len };
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(transaction);
            self.names.push([0; SATURN_DATAGRAM_BYTES_MAX]);
            self.trips.resize(self.trips.len() + self.rounds, Trip::default());
            Place(self.places.len() as u32 - 1)
        });
        self.places[place.0 as usize] = transaction;
        self.names[place.0 as usize][..name.len()].copy_from_slice(name);
        self.index.insert(digest, place);
    }

    pub fn transaction(&mut self, place: Place) -> &mut Transaction {
        let transaction = &mut self.places[place.0 as usize];
        assert!(transaction.live, "a place is not kept beyond its transaction");
        transaction
    }

    pub fn name(&self, place: Place) -> &[u8] {
        let at = place.0 as usize;
        &self.names[at][..usize::from(self.places[at].name_len)]
    }

    /// Adds a trip and says how many there are.
    pub fn add_trip(&mut self, place: Place, trip: Trip) -> u32 {
        let at = place.0 as usize;
        let transaction = &mut self.places[at];
        self.trips[at * self.rounds + transaction.trips as usize] = trip;
        transaction.trips += 1;
        transaction.trips
    }

    pub fn trips(&mut self, place: Place) -> &mut [Trip] {
        let at = place.0 as usize;
        &mut self.trips[at * self.rounds..][..self.places[at].trips as usize]
    }

    /// Ends a transaction and remembers that.
    pub fn end(&mut self, place: Place) {
        let transaction = self.transaction(place);
        transaction.live = false;
        let digest = transaction.digest;
        self.index.remove(&digest);
        self.free.push(place);
        if self.ended_in_order.len() < self.ended_max {
            self.ended_in_order.push(digest);
        } else {
            let forgotten = std::mem::replace(&mut self.ended_in_order[self.oldest_ended], digest);
            self.oldest_ended = (self.oldest_ended + 1) % self.ended_max;
            self.ended.remove(&forgotten);
        }
        self.ended.insert(digest);
    }

    /// Ends every transaction that has been silent for too long, and says how many there were.
    pub fn expire(&mut self, now: RawTime) -> usize {
        let mut expired = 0;
        for at in 0..self.places.len() {
            let transaction = &self.places[at];
            if transaction.live && now.since(transaction.handled) > SATURN_EXPIRY_NS {
                self.end(Place(at as u32));
                expired += 1;
            }
        }
        expired
    }
}

/// A digest is its own hash.
#[derive(Default)]
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(s: i64) -> RawTime {
        RawTime::from_nanos(s * 1_000_000_000)
    }

    fn begin(table: &mut Table, n: u32) -> Place {
        let digest = table.digest(&n.to_ne_bytes());
        table.begin(digest, &n.to_ne_bytes(), 3, RealTime::default(), time(0));
        table.find(&digest).unwrap()
    }

    #[test]
    fn a_full_table_has_room_again_after_an_end_and_never_moves() {
        let mut table = Table::new(100, 5, 1_000, 7);
        let addresses = |t: &Table| (t.places.as_ptr() as usize, t.names.as_ptr() as usize, t.trips.as_ptr() as usize);
        let before = addresses(&table);
        for round in 0..30 {
            let places: Vec<Place> = (0..100).map(|n| begin(&mut table, round * 100 + n)).collect();
            assert!(table.is_full());
            for (n, place) in places.into_iter().enumerate() {
                assert_eq!(table.name(place), (round * 100 + n as u32).to_ne_bytes());
                assert_eq!((1..=5).map(|_| table.add_trip(place, Trip::default())).last(), Some(5));
                assert_eq!(table.trips(place).len(), 5);
                table.end(place);
            }
            assert_eq!(table.live(), 0);
        }
        assert_eq!(addresses(&table), before);
        assert_eq!((table.places.len(), table.trips.len()), (100, 500));
    }

    #[test]
    fn the_memory_of_ends_is_bounded_and_forgets_the_oldest() {
        let mut table = Table::new(4, 1, 10, 7);
        for n in 0..25 {
            let place = begin(&mut table, n);
            table.end(place);
            for earlier in 0..=n {
                let digest = table.digest(&earlier.to_ne_bytes());
                assert_eq!(table.has_ended(&digest), earlier + 10 > n, "{earlier} after {n}");
            }
        }
        assert_eq!((table.ended.len(), table.ended_in_order.len()), (10, 10));
    }

    #[test]
    fn the_seed_decides_the_digest() {
        assert_ne!(Table::new(1, 1, 1, 1).digest(b"a"), Table::new(1, 1, 1, 2).digest(b"a"));
    }
}
