//! An hour of a node's numbers in fixed memory, for whoever draws them: cells of a few seconds, each with the lowest
//! and the highest offset that was seen in it, so that a spike of one second is still there in a picture of an hour.
//! All memory is taken at the start and is touched as it is needed. Fed with `status` documents; reads no clock.

use std::net::SocketAddr;

use serde::Serialize;

use super::tracking::max_skew_ns;
use super::{PeerStatus, Status};
use crate::limits::{HISTORY_ANSWER_NUMBERS, HISTORY_CELL_NS, HISTORY_CELLS, PEERS_MAX};

/// Numbers of one cell: lowest and highest offset, largest sigma, largest bound, and one more, in this order. Single
/// precision: seven digits of a distance are more than anybody draws.
const FIELDS: usize = 5;
const LOW: usize = 0;
const HIGH: usize = 1;
const SIGMA: usize = 2;
const BOUND: usize = 3;
/// The node's largest skew; a peer's shortest delay.
const FURTHER: usize = 4;
/// The node itself, then its peers.
const TRACKS: usize = 1 + PEERS_MAX;
const NODE: usize = 0;

/// The last hour of a node and its peers.
pub struct History {
    began_ns: Option<i64>,
    /// The cell that is being filled; cells are numbered from 1.
    newest: u32,
    peers: Vec<Option<Track>>,
    /// For each track and place the number of the cell that is there.
    stamps: Vec<u32>,
    /// For each track, field and place a number; NaN is unknown, infinite is no promise.
    values: Vec<f32>,
}

/// How a further number goes into a cell.
type Join = fn(f32, f32) -> f32;

/// Whose numbers they are.
struct Track {
    address: SocketAddr,
    name: String,
    /// The newest cell with a number of it.
    newest: u32,
}

/// Consecutive cells of a history, the oldest first. What is not known is null.
#[derive(Debug, Serialize)]
pub struct Excerpt {
    /// How long a cell is, s.
    pub cell_s: f64,
    /// The number of the first cell here.
    pub first: u32,
    /// How many cells are here.
    pub cells: u32,
    /// The number of the cell that is being filled now: it may be here, and may still change.
    pub newest: u32,
    /// The node's own clock against cluster time.
    pub node: NodeExcerpt,
    /// The peers that had an offset in the last hour.
    pub peers: Vec<PeerExcerpt>,
}

/// The node's part of an excerpt, a number for each cell.
#[derive(Debug, Serialize)]
pub struct NodeExcerpt {
    /// The least offset of the clock to cluster time, ns.
    pub offset_low_ns: Vec<Option<f32>>,
    /// The greatest.
    pub offset_high_ns: Vec<Option<f32>>,
    /// The largest sigma, ns.
    pub sigma_ns: Vec<Option<f32>>,
    /// The largest bound, ns; null if at any time nothing was promised.
    pub bound_ns: Vec<Option<f32>>,
    /// The largest skew among this node and the peers used, ns.
    pub skew_ns: Vec<Option<f32>>,
}

/// A peer's part of an excerpt, a number for each cell. Offsets are local minus the peer's.
#[derive(Debug, Serialize)]
pub struct PeerExcerpt {
    /// What it calls itself.
    pub name: String,
    /// Where its packets come from.
    pub address: SocketAddr,
    /// The least offset, ns.
    pub offset_low_ns: Vec<Option<f32>>,
    /// The greatest.
    pub offset_high_ns: Vec<Option<f32>>,
    /// The largest sigma, ns.
    pub sigma_ns: Vec<Option<f32>>,
    /// The largest bound, ns.
    pub bound_ns: Vec<Option<f32>>,
    /// The shortest round trip, ns.
    pub delay_ns: Vec<Option<f32>>,
}

impl History {
    /// An empty one, with all the memory that it will ever have.
    #[must_use]
    pub fn new() -> Self {
        History {
            began_ns: None,
            newest: 0,
            peers: std::iter::repeat_with(|| None).take(PEERS_MAX).collect(),
            // Zeroes come from the system untouched: what is never written takes no memory unless it is locked.
            stamps: vec![0; TRACKS * HISTORY_CELLS],
            values: vec![0.0; TRACKS * FIELDS * HISTORY_CELLS],
        }
    }

    /// Takes the node as it is at `now_ns` of a clock that never goes back.
    pub fn take(&mut self, status: &Status, now_ns: i64) {
        let began_ns = *self.began_ns.get_or_insert(now_ns);
        let number = 1 + (now_ns - began_ns).max(0) / HISTORY_CELL_NS;
        // Cells of 4 s are enough for five centuries.
        self.newest = self.newest.max(u32::try_from(number).unwrap_or(u32::MAX));
        let skew_ns = max_skew_ns(status);
        self.merge(NODE, [status.clock.offset_ns, status.sigma_ns, status.bound_ns, skew_ns], f32::max);
        for peer in status.peers.iter().filter(|peer| peer.offset_ns.is_some() && !peer.only_observes()) {
            let track = self.track_of(peer);
            self.merge(track, [peer.offset_ns, peer.sigma_ns, peer.bound_ns, peer.delay_ns], f32::min);
        }
    }

    /// The cells after number `after`, as many as one answer may hold.
    #[must_use]
    pub fn after(&self, after: u32) -> Excerpt {
        let oldest = self.newest.saturating_sub(HISTORY_CELLS as u32 - 1).max(1);
        let first = after.saturating_add(1).max(oldest);
        let known = self.peers.iter().flatten().filter(|track| track.newest >= oldest).count();
        let cells_max = (HISTORY_ANSWER_NUMBERS / (FIELDS * (1 + known))).max(1) as u32;
        let cells = (self.newest + 1).saturating_sub(first).min(cells_max);
        let of = |track: usize, field: usize| -> Vec<Option<f32>> {
            (first..first + cells).map(|number| self.read(track, field, number)).collect()
        };
        let peers = self.peers.iter().enumerate().filter_map(|(n, track)| {
            let track = track.as_ref().filter(|track| track.newest >= oldest)?;
            Some(PeerExcerpt {
                name: track.name.clone(),
                address: track.address,
                offset_low_ns: of(1 + n, LOW),
                offset_high_ns: of(1 + n, HIGH),
                sigma_ns: of(1 + n, SIGMA),
                bound_ns: of(1 + n, BOUND),
                delay_ns: of(1 + n, FURTHER),
            })
        });
        Excerpt {
            cell_s: HISTORY_CELL_NS as f64 * 1e-9,
            first,
            cells,
            newest: self.newest,
            node: NodeExcerpt {
                offset_low_ns: of(NODE, LOW),
                offset_high_ns: of(NODE, HIGH),
                sigma_ns: of(NODE, SIGMA),
                bound_ns: of(NODE, BOUND),
                skew_ns: of(NODE, FURTHER),
            },
            peers: peers.collect(),
        }
    }

    /// The track of a peer: its own, a free one, or that of whoever has been away longest.
    fn track_of(&mut self, peer: &PeerStatus) -> usize {
        let own = |track: &Option<Track>| track.as_ref().is_some_and(|track| track.address == peer.address);
        let index = self.peers.iter().position(own).unwrap_or_else(|| {
            let newest = |(_, track): &(usize, &Option<Track>)| track.as_ref().map(|track| track.newest);
            let index = self.peers.iter().enumerate().min_by_key(newest).map_or(0, |(index, _)| index);
            let first = (1 + index) * HISTORY_CELLS;
            self.stamps[first..first + HISTORY_CELLS].fill(0);
            index
        });
        self.peers[index] = Some(Track { address: peer.address, name: peer.name.clone(), newest: self.newest });
        1 + index
    }

    fn place(track: usize, field: usize, number: u32) -> usize {
        (track * FIELDS + field) * HISTORY_CELLS + number as usize % HISTORY_CELLS
    }

    /// Joins offset, sigma, bound and one further number with what is in the newest cell of a track.
    fn merge(&mut self, track: usize, numbers: [Option<f64>; 4], further: Join) {
        let [offset, sigma, bound, more] = numbers.map(|number| number.map_or(f32::NAN, |n| n as f32));
        let stamp = &mut self.stamps[track * HISTORY_CELLS + self.newest as usize % HISTORY_CELLS];
        let fresh = *stamp != self.newest;
        *stamp = self.newest;
        // Without a promise the cell promises nothing.
        let bound = if bound.is_nan() { f32::INFINITY } else { bound };
        let joins: [(usize, f32, Join); FIELDS] = [
            (LOW, offset, f32::min),
            (HIGH, offset, f32::max),
            (SIGMA, sigma, f32::max),
            (BOUND, bound, f32::max),
            (FURTHER, more, further),
        ];
        for (field, number, join) in joins {
            let value = &mut self.values[Self::place(track, field, self.newest)];
            // Of a number and NaN both give the number.
            *value = if fresh { number } else { join(*value, number) };
        }
    }

    fn read(&self, track: usize, field: usize, number: u32) -> Option<f32> {
        let present = self.stamps[track * HISTORY_CELLS + number as usize % HISTORY_CELLS] == number;
        let value = self.values[Self::place(track, field, number)];
        (present && value.is_finite()).then_some(value)
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::examples;

    fn status(offset_ns: f64, bound_ns: Option<f64>) -> Status {
        let mut status = examples::status();
        status.bound_ns = bound_ns;
        status.clock.offset_ns = Some(offset_ns);
        status.peers[0].offset_ns = Some(-offset_ns);
        status
    }

    const CELL: i64 = HISTORY_CELL_NS;

    #[test]
    fn a_cell_keeps_both_ends_of_what_was_in_it_and_a_promise_only_if_it_always_was_there() {
        let mut history = History::new();
        for (offset_ns, bound_ns, at_ns) in [
            (5.0, Some(100.0), 0),
            (-7.0, Some(300.0), 1),
            (2.0, Some(200.0), CELL - 1),
            (1.0, Some(9.0), CELL),
            (1.5, None, CELL + 1),
        ] {
            history.take(&status(offset_ns, bound_ns), 1_000 + at_ns);
        }
        let told = history.after(0);
        assert_eq!((told.first, told.cells, told.newest), (1, 2, 2));
        assert_eq!(told.node.offset_low_ns, [Some(-7.0), Some(1.0)]);
        assert_eq!(told.node.offset_high_ns, [Some(5.0), Some(1.5)]);
        assert_eq!(told.node.bound_ns, [Some(300.0), None]);
        // The peer without an offset has no track.
        let [peer] = told.peers.as_slice() else { panic!("{:?}", told.peers) };
        assert_eq!((peer.name.as_str(), &peer.offset_low_ns[..]), ("b:8081", &[Some(-5.0), Some(-1.5)][..]));
        assert_eq!(peer.delay_ns, [Some(23_400.0); 2]);
    }

    #[test]
    fn only_the_last_hour_is_kept_and_a_gap_is_a_gap() {
        let mut history = History::new();
        history.take(&status(1.0, None), 0);
        history.take(&status(2.0, None), 3 * CELL);
        assert_eq!(history.after(0).node.offset_low_ns, [Some(1.0), None, None, Some(2.0)]);
        // Long after, the places hold old numbers of other cells, which are nobody's.
        history.take(&status(3.0, None), (HISTORY_CELLS as i64 + 2) * CELL);
        let mut cells = Vec::new();
        let mut first = None;
        while cells.len() < HISTORY_CELLS {
            let told = history.after(first.map_or(0, |first: u32| first + cells.len() as u32 - 1));
            first = first.or(Some(told.first));
            assert!(told.cells > 0);
            cells.extend(told.node.offset_low_ns);
        }
        assert_eq!((cells.len(), first), (HISTORY_CELLS, Some(4)));
        assert_eq!(cells.iter().flatten().collect::<Vec<_>>(), [&2.0, &3.0]);
        assert_eq!((cells[0], cells[HISTORY_CELLS - 1]), (Some(2.0), Some(3.0)));
    }

    #[test]
    fn whoever_asks_for_what_comes_after_gets_that_alone() {
        let mut history = History::new();
        assert_eq!((history.after(0).cells, history.after(u32::MAX).cells), (0, 0));
        for cell in 0..10 {
            history.take(&status(cell as f64, None), cell * CELL);
        }
        assert_eq!(history.after(8).node.offset_low_ns, [Some(8.0), Some(9.0)]);
        assert_eq!((history.after(10).cells, history.after(u32::MAX).cells), (0, 0));
    }

    #[test]
    fn an_answer_is_bounded_and_so_are_the_tracks() {
        let mut history = History::new();
        let mut crowd = status(1.0, Some(2.0));
        let peer = crowd.peers[0].clone();
        for at in 0..HISTORY_CELLS as i64 {
            // All peers there can be, and new ones again and again.
            crowd.peers = (0..PEERS_MAX)
                .map(|n| PeerStatus {
                    address: SocketAddr::from(([127, 0, 0, 1], 1 + (n as u16 + 10 * (at as u16 / 100)))),
                    ..peer.clone()
                })
                .collect();
            history.take(&crowd, at * CELL);
        }
        let told = history.after(0);
        assert_eq!(told.peers.len(), PEERS_MAX);
        assert!(told.cells >= 1 && told.cells as usize * FIELDS * (1 + PEERS_MAX) <= HISTORY_ANSWER_NUMBERS);
        // Nobody inherits the numbers of whoever had the place before: the first tenth was not there yet.
        let newest = told.peers.iter().filter(|peer| peer.offset_low_ns[0].is_none()).count();
        assert_eq!(newest, 10 * ((HISTORY_CELLS - 1) / 100));
    }
}
