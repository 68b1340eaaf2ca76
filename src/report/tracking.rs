//! The `tracking` document: how well a node's clock follows its cluster, in one block. Made from the `status` document
//! alone, so that both always say the same. Also the `peers` document, which is its other half.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::human::{frequency_text, offset_text, span_text};
use super::status_text::{SIGN, peer_table, unresolved_text};
use super::{PeerStatus, Status};

/// How well a clock follows. Offsets are local minus the other: positive means that the local clock is ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracking {
    /// The node's whole name.
    pub node: String,
    /// Its cluster's name.
    pub cluster: String,
    /// `unset`, `acquire`, `track` or `holdover`.
    pub state: String,
    /// `peer`, `reference` or `observer`.
    pub role: String,
    /// `system` or `virtual`.
    pub clock: String,
    /// The clock minus the cluster's time, ns.
    pub offset_ns: Option<f64>,
    /// By how much the clock's rate is corrected, parts per billion.
    pub frequency_ppb: Option<f64>,
    /// One standard deviation of the clock against the cluster, ns: an estimate.
    pub sigma_ns: Option<f64>,
    /// The distance to other clocks that the node promises not to exceed, ns; null while it can promise nothing.
    pub bound_ns: Option<f64>,
    /// Peers known, heard or not.
    pub peers_known: usize,
    /// Peers whose word counts.
    pub peers_used: usize,
    /// The largest distance between any two clocks among this node's and those of the peers used, as it measures them,
    /// ns; null without such a peer.
    pub max_skew_ns: Option<f64>,
    /// The peer used that is furthest from this node.
    pub furthest_peer: Option<String>,
    /// Its offset, ns.
    pub furthest_offset_ns: Option<f64>,
    /// The shortest and the longest of the round trips to the peers used, ns.
    pub delay_min_ns: Option<f64>,
    /// See `delay_min_ns`.
    pub delay_max_ns: Option<f64>,
}

/// The peers of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// The node's whole name.
    pub node: String,
    /// Its cluster's name.
    pub cluster: String,
    /// A line for each peer.
    pub peers: Vec<PeerStatus>,
    /// Peers of the configuration that have no address, because their names do not resolve; host:port.
    #[serde(default)]
    pub unresolved: Vec<String>,
}

impl Tracking {
    /// What the status says of the clock.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let used: Vec<&PeerStatus> = status.peers.iter().filter(|peer| peer.state == "used").collect();
        let offsets = || used.iter().filter_map(|peer| Some((peer.offset_ns?, peer.name.as_str())));
        let furthest = offsets().max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
        let delays = || used.iter().filter_map(|peer| peer.delay_ns);
        Tracking {
            node: status.node.clone(),
            cluster: status.cluster.clone(),
            state: status.state.clone(),
            role: status.role.clone(),
            clock: status.clock.kind.clone(),
            offset_ns: status.clock.offset_ns,
            frequency_ppb: status.clock.frequency_ppb,
            sigma_ns: status.sigma_ns,
            bound_ns: status.bound_ns,
            peers_known: status.peers.len(),
            peers_used: used.len(),
            max_skew_ns: max_skew_ns(status),
            furthest_peer: furthest.map(|(_, name)| name.to_owned()),
            furthest_offset_ns: furthest.map(|(offset_ns, _)| offset_ns),
            delay_min_ns: delays().reduce(f64::min),
            delay_max_ns: delays().reduce(f64::max),
        }
    }

    /// The document for people: several lines, the last one without its newline.
    #[must_use]
    pub fn text(&self) -> String {
        let doing = match self.state.as_str() {
            "unset" => "has agreed with nobody yet",
            "acquire" => "closing in",
            "track" => "in agreement",
            "holdover" => "has lost those it agreed with; the bound grows",
            _ => "of another version",
        };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _infallible = write!(
            text,
            "node       {} in cluster {}, {}\n\
             state      {}: {doing}; {} of {} peers used\n\
             clock      {}, corrected by {}\n\
             offset     {} to cluster time\n\
             sigma      {} (an estimate, one standard deviation)\n\
             bound      {} (a promise: no clock of the agreement is further away)\n",
            self.node,
            self.cluster,
            self.role,
            self.state,
            self.peers_used,
            self.peers_known,
            self.clock,
            frequency_text(self.frequency_ppb),
            offset_text(self.offset_ns),
            span_text(self.sigma_ns),
            span_text(self.bound_ns),
        );
        if let Some(peer) = &self.furthest_peer {
            let _infallible = write!(
                text,
                "skew       {} between any two clocks, as measured from here\n\
                 furthest   {peer}, {}\n\
                 delay      {} to {}, there and back\n",
                span_text(self.max_skew_ns),
                offset_text(self.furthest_offset_ns),
                span_text(self.delay_min_ns),
                span_text(self.delay_max_ns),
            );
        }
        text += "\nAn offset is local minus the other: positive means that the local clock is ahead.";
        text
    }
}

impl Peers {
    /// What the status says of the peers.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        Peers {
            node: status.node.clone(),
            cluster: status.cluster.clone(),
            peers: status.peers.clone(),
            unresolved: status.unresolved.clone(),
        }
    }

    /// The document for people: several lines, the last one without its newline.
    #[must_use]
    pub fn text(&self) -> String {
        let unresolved = unresolved_text(&self.unresolved);
        if self.peers.is_empty() {
            format!("{unresolved}{} of cluster {} knows no peer", self.node, self.cluster)
        } else {
            format!("{unresolved}{}\n\n{SIGN}", peer_table(&self.peers))
        }
    }
}

/// The largest distance between any two clocks among this node's and those of the peers used, ns.
#[must_use]
pub fn max_skew_ns(status: &Status) -> Option<f64> {
    let used = status.peers.iter().filter(|peer| peer.state == "used");
    let offsets: Vec<f64> = used.filter_map(|peer| peer.offset_ns).collect();
    // The node itself is at 0.
    let (low, high) = offsets.iter().fold((0.0_f64, 0.0_f64), |(low, high), o| (low.min(*o), high.max(*o)));
    (!offsets.is_empty()).then_some(high - low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::examples;

    fn with_offsets(offsets_ns: &[(f64, &str)]) -> Status {
        let mut status = examples::status();
        let peer = status.peers[0].clone();
        let one = |(n, (offset_ns, state)): (usize, &(f64, &str))| PeerStatus {
            name: format!("p{n}"),
            offset_ns: Some(*offset_ns),
            state: (*state).into(),
            ..peer.clone()
        };
        status.peers = offsets_ns.iter().enumerate().map(one).collect();
        status
    }

    #[test]
    fn the_skew_is_that_of_any_two_clocks_this_one_among_them_and_only_of_those_that_count() {
        for (offsets_ns, skew_ns) in [
            (&[(5.0, "used"), (9.0, "used")][..], Some(9.0)),
            (&[(-5.0, "used"), (9.0, "used")], Some(14.0)),
            (&[(-5.0, "used"), (9e9, "outlier")], Some(5.0)),
            (&[(9e9, "outlier")], None),
            (&[], None),
        ] {
            assert_eq!(max_skew_ns(&with_offsets(offsets_ns)), skew_ns, "{offsets_ns:?}");
        }
        let tracking = Tracking::of(&with_offsets(&[(5.0, "used"), (-9.0, "used"), (77.0, "silent")]));
        assert_eq!((tracking.furthest_peer.as_deref(), tracking.furthest_offset_ns), (Some("p1"), Some(-9.0)));
        assert_eq!((tracking.peers_used, tracking.peers_known), (2, 3));
    }

    #[test]
    fn the_text_names_every_number_with_its_unit_and_its_meaning() {
        let expected = "\
node       a:8080 in cluster default, peer
state      track: in agreement; 1 of 2 peers used
clock      virtual, corrected by -20.123 ppm
offset     +310 ns to cluster time
sigma      230 ns (an estimate, one standard deviation)
bound      - (a promise: no clock of the agreement is further away)
skew       1.24 us between any two clocks, as measured from here
furthest   b:8081, -1.24 us
delay      23.4 us to 23.4 us, there and back

An offset is local minus the other: positive means that the local clock is ahead.";
        assert_eq!(Tracking::of(&examples::status()).text(), expected);
    }

    #[test]
    fn peers_are_a_table_in_which_whoever_is_not_used_says_why() {
        let text = Peers::of(&examples::status()).text();
        let line = text.lines().find(|line| line.starts_with("c ")).unwrap();
        assert!(line.contains("unheard") && line.ends_with("no answer yet"), "{text}");
        let nobody = Status { peers: Vec::new(), ..examples::status() };
        assert_eq!(Peers::of(&nobody).text(), "a:8080 of cluster default knows no peer");
    }
}
