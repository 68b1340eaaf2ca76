//! What happened to a node, as sentences with their time: told by the node itself, or read from the difference of two
//! `status` documents. A fixed number is kept, and what strangers on the network can cause comes seldom. Reads no
//! clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Status;
use crate::limits::{CHRONICLE_EVENTS, CHRONICLE_REFUSALS_NS};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// As it should be again.
    Good,
    /// Worth knowing.
    Note,
    /// Somebody should look.
    Warning,
    /// Time is or was in danger.
    Bad,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When, by the machine's clock, ns since 1970.
    pub at_unix_ns: i64,
    /// How bad it is.
    pub gravity: Gravity,
    /// What happened.
    pub text: String,
}

/// What happened, for whoever shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Now, by the machine's clock, ns since 1970.
    pub now_unix_ns: i64,
    /// The oldest first.
    pub happenings: VecDeque<Happening>,
}

/// The latest happenings.
#[derive(Debug, Default)]
pub struct Chronicle {
    /// The oldest first.
    happenings: VecDeque<Happening>,
    /// Each peer's name, standing and reason when last seen; none before the first look.
    peers: Option<BTreeMap<SocketAddr, (String, String)>>,
    /// Packets refused by reason as last told, and when that was.
    refused: BTreeMap<String, (u64, i64)>,
}

impl Chronicle {
    /// Adds one.
    pub fn tell(&mut self, happening: Happening) {
        if self.happenings.len() == CHRONICLE_EVENTS {
            self.happenings.pop_front();
        }
        self.happenings.push_back(happening);
    }

    /// Compares the node as it is now with how it was when last looked at.
    pub fn look(&mut self, status: &Status, at_unix_ns: i64) {
        if self.peers.is_none() {
            let text = format!("llts {} runs as {} of cluster {}", status.version, status.node, status.cluster);
            self.tell(Happening { at_unix_ns, gravity: Gravity::Note, text });
        }
        self.look_at_peers(status, at_unix_ns);
        self.look_at_refusals(status, at_unix_ns);
    }

    /// All that is kept.
    #[must_use]
    pub fn told(&self, now_unix_ns: i64) -> Told {
        Told { now_unix_ns, happenings: self.happenings.clone() }
    }

    fn look_at_peers(&mut self, status: &Status, at_unix_ns: i64) {
        let before = self.peers.take().unwrap_or_default();
        // Who only looks (`llts query`, `llts watch`) comes and goes as it likes: nothing has happened.
        let peers = || status.peers.iter().filter(|peer| !peer.only_observes());
        let now: BTreeMap<SocketAddr, (String, String)> =
            peers().map(|peer| (peer.address, (peer.name.clone(), peer.state.clone()))).collect();
        for peer in peers() {
            if before.get(&peer.address).is_some_and(|(_, state)| *state == peer.state) {
                continue;
            }
            let gravity = match peer.state.as_str() {
                "used" => Gravity::Good,
                "outlier" | "absurd" => Gravity::Bad,
                "silent" | "no-quorum" | "coasting" => Gravity::Warning,
                _ => Gravity::Note,
            };
            let reason = if peer.state == "used" { "its time counts" } else { &peer.reason };
            let text = format!("peer {} ({}) is {}: {reason}", peer.name, peer.address, peer.state);
            self.tell(Happening { at_unix_ns, gravity, text });
        }
        let there = |address: &SocketAddr| status.peers.iter().any(|peer| peer.address == *address);
        for (address, (name, _)) in before.iter().filter(|(address, _)| !there(address)) {
            let text = format!("peer {name} ({address}) is known no longer");
            self.tell(Happening { at_unix_ns, gravity: Gravity::Note, text });
        }
        self.peers = Some(now);
    }

    /// Anybody can send packets that are refused: each reason is told at once, and then not for a while.
    fn look_at_refusals(&mut self, status: &Status, at_unix_ns: i64) {
        for (name, n) in &status.counters {
            let Some(reason) = name.strip_prefix("rejected_") else { continue };
            let (told, told_ns) = self.refused.get(name).copied().unwrap_or((0, i64::MIN));
            let due = told_ns == i64::MIN || (at_unix_ns - told_ns).abs() >= CHRONICLE_REFUSALS_NS;
            if *n <= told || !due {
                continue;
            }
            self.refused.insert(name.clone(), (*n, at_unix_ns));
            let (more, s) = (n - told, if n - told == 1 { "" } else { "s" });
            let text = format!("{more} packet{s} refused: {}", reason.replace('_', " "));
            self.tell(Happening { at_unix_ns, gravity: Gravity::Warning, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::examples;

    fn texts(chronicle: &Chronicle) -> Vec<String> {
        chronicle.happenings.iter().map(|h| h.text.clone()).collect()
    }

    #[test]
    fn a_change_of_standing_is_told_once_and_a_peer_that_is_gone_too() {
        let (mut chronicle, mut status) = (Chronicle::default(), examples::status());
        chronicle.look(&status, 1);
        chronicle.look(&status, 2);
        assert_eq!(
            texts(&chronicle),
            [
                "llts 0.1.0 runs as a:8080 of cluster default",
                "peer b:8081 (127.0.0.1:8081) is used: its time counts",
                "peer c ([2001:db8::7]:4123) is unheard: no answer yet"
            ]
        );
        status.peers[0].state = "outlier".into();
        status.peers[0].reason = "its time lies outside".into();
        let gone = status.peers.pop().unwrap();
        chronicle.look(&status, 3);
        let last: Vec<_> =
            chronicle.happenings.iter().skip(3).map(|h| (h.at_unix_ns, h.gravity, h.text.as_str())).collect();
        let left = format!("peer c ({}) is known no longer", gone.address);
        assert_eq!(
            last,
            [
                (3, Gravity::Bad, "peer b:8081 (127.0.0.1:8081) is outlier: its time lies outside"),
                (3, Gravity::Note, left.as_str())
            ]
        );
    }

    #[test]
    fn observers_come_and_go_untold() {
        let (mut chronicle, mut status) = (Chronicle::default(), examples::status());
        chronicle.look(&status, 1);
        let told = texts(&chronicle);
        let mut guest = status.peers[0].clone();
        (guest.address, guest.state, guest.role) =
            ("127.0.0.1:9".parse().unwrap(), "observer".into(), Some("observer".into()));
        status.peers.push(guest);
        // A peer that turns out to be one is still there.
        status.peers[1].role = Some("observer".into());
        chronicle.look(&status, 2);
        status.peers.pop();
        chronicle.look(&status, 3);
        assert_eq!(texts(&chronicle), told);
    }

    #[test]
    fn a_flood_of_refused_packets_is_a_line_now_and_then() {
        let (mut chronicle, mut status) = (Chronicle::default(), examples::status());
        status.peers.clear();
        for turn in 0..1_000_i64 {
            status.counters.insert("rejected_bad_mac".into(), 1 + turn as u64 * 1_000_000);
            chronicle.look(&status, turn * (CHRONICLE_REFUSALS_NS / 250));
        }
        assert_eq!(
            texts(&chronicle)[1..],
            [
                "1 packet refused: bad mac",
                "250000000 packets refused: bad mac",
                "250000000 packets refused: bad mac",
                "250000000 packets refused: bad mac"
            ]
        );
    }

    #[test]
    fn only_the_latest_are_kept() {
        let mut chronicle = Chronicle::default();
        for n in 0..=CHRONICLE_EVENTS as i64 {
            chronicle.tell(Happening { at_unix_ns: n, gravity: Gravity::Note, text: n.to_string() });
        }
        assert_eq!(chronicle.happenings.len(), CHRONICLE_EVENTS);
        assert_eq!(chronicle.happenings.iter().next().unwrap().text, "1");
    }
}
