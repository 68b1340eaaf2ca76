//! The documents of the status socket, made from the snapshots when somebody asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Settings;
use super::hot::HotReport;
use super::measuring::LostLines;
use super::poll_mode::Chosen;
use super::snapshot::NodeSnapshot;
use super::stamping::ShownCard;
use crate::clock::card::CardReceive;
use crate::clock::{ClockKind, Oscillator};
use crate::exchange::Tally;
use crate::pipeline::{NodeView, PeerView, Standing};
use crate::report::{CardStatus, ClockStatus, ClockView, OscillatorView, PeerStatus, SegmentView, Status};
use crate::sys::seqlock::SeqReader;
use crate::sys::time::{monotonic_now, raw_now, real_now};
use crate::unit::{RawTime, rate_to_ppb};
use crate::wire::Reject;

/// What never changes while a node runs.
#[derive(Clone)]
pub(super) struct Constants {
    /// Where the node listens.
    pub listen: SocketAddr,
    /// The clock it delivers.
    pub clock: ClockKind,
    /// The machine's raw time at which the oscillator's offset holds, ns.
    pub epoch_raw_ns: i64,
    /// The oscillator under a virtual clock.
    pub oscillator: Oscillator,
    /// How the hot thread waits, and why.
    pub poll_mode: Chosen,
    /// The cards that stamp for this node.
    pub cards: Vec<ShownCard>,
    /// How many lines of measurement logs were lost.
    pub lost_lines: LostLines,
}

/// Packets after which a stamp that was promised and never came is spoken of.
const PACKETS_BEFORE_COMPLAINT: u64 = 64;

/// Makes the documents.
#[derive(Clone)]
pub(super) struct Answers {
    settings: Settings,
    constants: Constants,
    began_ns: i64,
    node: SeqReader<NodeSnapshot>,
    hot: SeqReader<HotReport>,
    listed: Listed,
}

/// Whom this node looks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Addresses that are probed, with what the user or an announcement calls them.
    pub addresses: BTreeMap<SocketAddr, String>,
    /// What the user named and what has no address, because its name does not resolve.
    pub unresolved: Vec<String>,
}

impl Answers {
    /// Joins what is constant and the two snapshots.
    #[must_use]
    pub fn new(
        settings: &Settings,
        constants: Constants,
        node: SeqReader<NodeSnapshot>,
        hot: SeqReader<HotReport>,
    ) -> Self {
        let began_ns = monotonic_now();
        Answers { settings: settings.clone(), constants, began_ns, node, hot, listed: Listed::default() }
    }

    /// Whom this node looks for from now on.
    pub fn set_listed(&mut self, listed: &Listed) {
        self.listed.clone_from(listed);
    }

    /// Two numbers of which each changes as long as its thread, discipline and hot, does its work.
    #[must_use]
    pub fn pulse(&self) -> [u64; 2] {
        [self.node.version(), self.hot.version()]
    }

    /// The document for a question, or `None` if there is no such question.
    #[must_use]
    pub fn answer(&self, question: &str) -> Option<String> {
        let document = match question {
            "status" => serde_json::to_string(&self.status()),
            "clock" => serde_json::to_string(&self.clock()),
            _ => return None,
        };
        Some(document.expect("the documents are plain data") + "\n")
    }

    /// Interfaces by the number of their card's clock.
    #[must_use]
    pub fn card_names(&self) -> Vec<(usize, String)> {
        self.constants.cards.iter().map(|card| (card.clock, card.device.clone())).collect()
    }

    /// What the driver of a card promised and did not do, once enough packets have passed to tell.
    #[must_use]
    pub fn broken_promise(&self) -> Option<String> {
        let hot = self.hot.read();
        let believed = self.node.read().cards.iter().flatten().any(|card| card.relation.is_some());
        let all_stamp = self.constants.cards.iter().all(|card| card.receive == CardReceive::All);
        let names: Vec<&str> = self.constants.cards.iter().map(|card| card.device.as_str()).collect();
        let names = names.join(", ");
        let none = |nic: u64, kernel: u64| nic == 0 && kernel >= PACKETS_BEFORE_COMPLAINT;
        if !believed {
            return None;
        }
        if none(hot.transmit_stamps_nic, hot.transmit_stamps_nic_missing) {
            return Some(format!("the card of {names} stamps nothing that leaves, though its driver says so"));
        }
        if all_stamp && none(hot.receive_stamps_nic, hot.receive_stamps_kernel) {
            return Some(format!(
                "the card of {names} stamps none of the packets that arrive, though its driver says so: they have \
                 kernel stamps"
            ));
        }
        None
    }

    fn cards(&self, snapshot: &NodeSnapshot) -> Vec<CardStatus> {
        let shown = self.constants.cards.iter();
        shown
            .map(|card| {
                let view = snapshot.cards.get(card.clock).copied().flatten();
                let relation = view.and_then(|view| view.relation);
                CardStatus {
                    device: card.device.clone(),
                    phc: card.phc.display().to_string(),
                    receive: card.receive.as_str().to_owned(),
                    state: if relation.is_some() { "used" } else { "not-believed" }.to_owned(),
                    method: view.and_then(|view| view.method).map(|method| method.as_str().to_owned()),
                    sigma_ns: relation.map(|r| r.sigma_ns),
                    doubt_ns: relation.map(|r| r.doubt_ns),
                    rate_ppb: relation.map(|r| -rate_to_ppb(r.rate)),
                    losses: view.map_or(0, |view| view.losses),
                }
            })
            .collect()
    }

    /// The node at its last tick.
    #[must_use]
    pub fn node_view(&self) -> NodeView {
        self.node.read().pipeline.node
    }

    /// What CLOCK_REALTIME showed at `raw`, a moment ago, ns since 1970.
    #[must_use]
    pub fn real_at(&self, raw: RawTime) -> i64 {
        real_now() - (raw_now() - self.constants.oscillator.machine_raw(raw))
    }

    /// How the node is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let snapshot = self.node.read();
        let node = &snapshot.pipeline.node;
        Status {
            node: self.settings.name.clone(),
            cluster: self.settings.cluster.clone(),
            state: node.state.as_str().to_owned(),
            role: node.role.as_str().to_owned(),
            clock: ClockStatus {
                kind: self.constants.clock.as_str().to_owned(),
                offset_ns: finite(node.offset_ns),
                frequency_ppb: finite(rate_to_ppb(node.frequency)),
            },
            sigma_ns: finite(node.sigma_ns),
            bound_ns: finite(node.bound_ns),
            algorithm: node.algorithm.to_owned(),
            poll_mode: self.constants.poll_mode.mode.as_str().to_owned(),
            cpu: self.settings.cpu,
            timestamps: self.settings.timestamps.as_str().to_owned(),
            cards: self.cards(&snapshot),
            listen: self.constants.listen,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: (monotonic_now() - self.began_ns) as f64 * 1e-9,
            peers: self.peers(&snapshot),
            unresolved: self.listed.unresolved.clone(),
            counters: self.counters(&snapshot),
        }
    }

    fn peers(&self, snapshot: &NodeSnapshot) -> Vec<PeerStatus> {
        let mut peers: Vec<PeerStatus> = snapshot.pipeline.peers().map(|view| peer(view, snapshot)).collect();
        let known: Vec<SocketAddr> = peers.iter().map(|p| p.address).collect();
        let unheard = self.listed.addresses.iter().filter(|(address, _)| !known.contains(address));
        peers.extend(unheard.map(|(address, label)| PeerStatus {
            name: label.clone(),
            address: *address,
            state: Standing::NoSamples.as_str().to_owned(),
            reason: "no sealed answer has come from there yet".to_owned(),
            role: None,
            offset_ns: None,
            delay_ns: None,
            sigma_ns: None,
            bound_ns: None,
            rx_stamp: None,
            tx_stamp: None,
            reach: 0,
        }));
        peers.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        peers
    }

    fn counters(&self, snapshot: &NodeSnapshot) -> BTreeMap<String, u64> {
        let hot = self.hot.read();
        let tallies = Tally::ALL.map(|t| (t.as_str().to_owned(), hot.protocol.tally(t)));
        let rejects = Reject::ALL.map(|r| (format!("rejected_{}", r.as_str()), hot.protocol.rejected(r)));
        let others = [
            ("ring_dropped", hot.ring_dropped),
            ("notes_dropped", snapshot.notes_dropped),
            ("measurements_lost", self.constants.lost_lines.count()),
            ("clock_interferences", snapshot.interferences),
            ("upheavals", snapshot.upheavals),
            ("send_failed", hot.send_failed),
            ("transmit_stamps", hot.transmit_stamps),
            ("transmit_stamps_nic", hot.transmit_stamps_nic),
            ("transmit_stamps_nic_missing", hot.transmit_stamps_nic_missing),
            ("transmit_stamps_nic_late", hot.transmit_stamps_nic_late),
            ("transmit_stamps_missing", hot.transmit_stamps_missing),
            ("transmit_stamps_late", hot.transmit_stamps_late),
            ("transmit_stamps_unmatched", hot.socket.stamps_unmatched),
            ("receive_stamps_nic", hot.receive_stamps_nic),
            ("nic_stamps_foreign", hot.nic_stamps_foreign),
            ("nic_stamps_unrelated", hot.nic_stamps_unrelated),
            ("nic_stamps_implausible", hot.nic_stamps_implausible),
            ("receive_stamps_kernel", hot.receive_stamps_kernel),
            ("receive_stamps_user", hot.receive_stamps_user),
            ("icmp_errors", hot.socket.icmp_errors),
            ("clock_jumps", hot.clock_jumps),
        ];
        tallies.into_iter().chain(rejects).chain(others.map(|(name, n)| (name.to_owned(), n))).collect()
    }

    fn clock(&self) -> ClockView {
        let snapshot = self.node.read();
        let (node, constants) = (&snapshot.pipeline.node, &self.constants);
        let segments = snapshot.segments.iter().flat_map(|s| s.as_slice().to_vec());
        ClockView {
            node: self.settings.name.clone(),
            // The last tick's reading: after it a newer piece may have begun that this snapshot does not hold yet.
            raw_ns: constants.oscillator.machine_raw(node.mapping.epoch).min(raw_now()),
            oscillator: OscillatorView {
                epoch_raw_ns: constants.epoch_raw_ns,
                offset_ns: constants.oscillator.offset_ns(),
                drift_ppb: rate_to_ppb(constants.oscillator.drift()),
            },
            sigma_ns: finite(node.sigma_ns),
            bound_ns: finite(node.bound_ns),
            frequency_ppb: finite(rate_to_ppb(node.frequency)),
            state: node.state.as_str().to_owned(),
            segments: segments
                .map(|s| SegmentView {
                    raw_ns: s.machine_raw_ns,
                    clock_ns: s.clock_ns,
                    clock_frac_ns: s.clock_frac_ns,
                    rate: s.rate,
                })
                .collect(),
        }
    }
}

fn peer(view: &PeerView, snapshot: &NodeSnapshot) -> PeerStatus {
    let heard = view.samples > 0;
    PeerStatus {
        name: view.identity.name.as_str().to_owned(),
        address: view.identity.address,
        state: view.standing.as_str().to_owned(),
        reason: if view.standing == Standing::Used { String::new() } else { view.standing.reason().to_owned() },
        role: heard.then(|| view.role.as_str().to_owned()),
        offset_ns: finite(view.offset_ns),
        delay_ns: finite(view.delay_ns),
        sigma_ns: finite(view.sigma_ns),
        bound_ns: finite(view.bound_ns),
        rx_stamp: heard.then(|| view.rx_class.as_str().to_owned()),
        tx_stamp: heard.then(|| view.tx_class.as_str().to_owned()),
        reach: snapshot.reach[view.identity.slot.index()],
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
