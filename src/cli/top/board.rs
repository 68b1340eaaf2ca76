//! What `llts top` knows and how it is looked at: the newest status, the past of every peer since the program began,
//! what it tells of its own past, the order, the chosen peer, whether time stands still. Knows no terminal.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::keys::{Order, Panel, Wish};
use crate::report::{LatencyStatus, PeerStatus, Status, Told};

/// Samples kept of each peer: twenty minutes at one a second.
pub(super) const SAMPLES: usize = 1_200;

/// What a node tells of its past.
pub(super) struct Past {
    /// The percentiles of what takes time.
    pub latencies: Vec<LatencyStatus>,
    /// What has happened.
    pub events: Told,
}

/// What was asked in one turn.
pub(super) struct Answer {
    /// How the node is doing, or why that is not known.
    pub status: Result<Status, String>,
    /// Its past, if it was asked for.
    pub past: Option<Result<Past, String>>,
}

/// Everything to be shown.
pub(super) struct Board {
    /// The newest status, or while paused that of the moment at which it was.
    pub status: Option<Status>,
    /// Why there is no newer one.
    pub fault: Option<String>,
    /// What it tells of its past, or why it does not; none before it was asked.
    pub past: Option<Result<Past, String>>,
    /// Time between two samples, ns.
    pub interval_ns: i64,
    /// Whether colours are wanted.
    pub coloured: bool,
    /// The order of peers, and whether it is turned round.
    pub order: (Order, bool),
    /// A closer look at the chosen peer.
    pub close: bool,
    /// What is seen in place of the peers.
    pub panel: Option<Panel>,
    /// Rows and columns that a panel is moved by: the view keeps it within what there is.
    pub moved: usize,
    /// The meaning of keys is shown.
    pub help: bool,
    /// Samples taken since time stands still.
    paused: Option<usize>,
    chosen: Option<SocketAddr>,
    /// The first row on the screen.
    pub first_row: usize,
    /// Offsets, ns, the newest last; none where nothing was known.
    tracks: BTreeMap<SocketAddr, VecDeque<Option<f64>>>,
}

impl Board {
    /// Nothing is known yet.
    pub fn new(interval_ns: i64, coloured: bool) -> Self {
        Board {
            status: None,
            fault: None,
            past: None,
            interval_ns,
            coloured,
            order: (Order::Name, false),
            close: false,
            panel: None,
            moved: 0,
            help: false,
            paused: None,
            chosen: None,
            first_row: 0,
            tracks: BTreeMap::new(),
        }
    }

    /// What the daemon answered, or why it did not.
    pub fn take(&mut self, answer: Answer) {
        let Answer { status: answer, past } = answer;
        let offsets: BTreeMap<SocketAddr, Option<f64>> = match &answer {
            Ok(status) => status.peers.iter().map(|peer| (peer.address, peer.offset_ns)).collect(),
            Err(_) => BTreeMap::new(),
        };
        for address in offsets.keys() {
            self.tracks.entry(*address).or_default();
        }
        for (address, track) in &mut self.tracks {
            if track.len() == SAMPLES {
                track.pop_front();
            }
            track.push_back(offsets.get(address).copied().flatten());
        }
        self.tracks.retain(|address, track| offsets.contains_key(address) || track.iter().any(Option::is_some));
        if let Some(lag) = &mut self.paused {
            *lag = (*lag + 1).min(SAMPLES);
            return;
        }
        if past.is_some() {
            self.past = past;
        }
        match answer {
            Ok(status) => (self.status, self.fault) = (Some(status), None),
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// Does what somebody wants.
    pub fn heed(&mut self, wish: Wish) {
        match wish {
            Wish::Move(by) if self.panel.is_some() => self.moved = self.moved.saturating_add_signed(by as isize),
            Wish::End(last) if self.panel.is_some() => self.moved = if last { usize::MAX / 2 } else { 0 },
            Wish::Move(by) => self.choose(|at| at.saturating_add_signed(by as isize)),
            Wish::End(last) => self.choose(|_| if last { usize::MAX } else { 0 }),
            Wish::Show(panel) => {
                self.panel = if self.panel == Some(panel) { None } else { Some(panel) };
                (self.moved, self.close, self.help) = (0, false, false);
            }
            Wish::Closer if self.panel.is_some() => {}
            Wish::Closer => self.close = !self.close && self.chosen_row().is_some(),
            Wish::Pause => self.paused = if self.paused.is_some() { None } else { Some(0) },
            Wish::Help => self.help = !self.help,
            Wish::Sort(order) => self.order = (order, self.order.0 == order && !self.order.1),
            Wish::Quit | Wish::Leave | Wish::Suspend => {}
        }
    }

    /// Goes back from the help, a panel or a closer look; false if there was nothing to go back from.
    pub fn back(&mut self) -> bool {
        if self.help {
            self.help = false;
            return true;
        }
        self.panel.take().is_some() || std::mem::take(&mut self.close)
    }

    /// Whether time stands still.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// The peers in their order.
    pub fn peers(&self) -> Vec<&PeerStatus> {
        let mut peers: Vec<&PeerStatus> = self.status.iter().flat_map(|status| &status.peers).collect();
        let (order, turned) = self.order;
        // What is not known stands last, whichever way round.
        let number = |value: Option<f64>| match value {
            Some(value) if turned => (0, -value.abs()),
            Some(value) => (0, value.abs()),
            None => (1, 0.0),
        };
        let by = |a: Option<f64>, b: Option<f64>| {
            let (a, b) = (number(a), number(b));
            a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))
        };
        peers.sort_by(|a, b| {
            let first = match order {
                Order::Name | Order::State => std::cmp::Ordering::Equal,
                Order::Offset => by(a.offset_ns, b.offset_ns),
                Order::Bound => by(a.bound_ns, b.bound_ns),
                Order::Delay => by(a.delay_ns, b.delay_ns),
            };
            let word = match order {
                Order::State => (a.state == "used").cmp(&(b.state == "used")).then_with(|| a.state.cmp(&b.state)),
                _ => std::cmp::Ordering::Equal,
            };
            let name = (&a.name, a.address).cmp(&(&b.name, b.address));
            let words = if turned && matches!(order, Order::Name) { name.reverse() } else { name };
            first.then(if turned { word.reverse() } else { word }).then(words)
        });
        peers
    }

    /// The row of the chosen peer: the first one's until somebody chooses.
    pub fn chosen_row(&self) -> Option<usize> {
        let peers = self.peers();
        let chosen = peers.iter().position(|peer| Some(peer.address) == self.chosen);
        chosen.or((!peers.is_empty()).then_some(0))
    }

    /// The latest offsets of a peer, at most `n`, the newest last.
    pub fn offsets(&self, of: SocketAddr, n: usize) -> Vec<Option<f64>> {
        let Some(track) = self.tracks.get(&of) else { return Vec::new() };
        let end = track.len().saturating_sub(self.paused.unwrap_or(0));
        track.range(end.saturating_sub(n)..end).copied().collect()
    }

    fn choose(&mut self, to: impl Fn(usize) -> usize) {
        let Some(at) = self.chosen_row() else { return };
        let peers = self.peers();
        let row = to(at).min(peers.len() - 1);
        self.chosen = Some(peers[row].address);
    }
}
