//! The `status` document of the status socket: what `llts status --json` prints, with names that do not change. A
//! number that is not known is null, never zero and never infinite. Filled by the daemon, read by `llts status` and
//! the demo.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How a node is doing. Offsets are local minus the other: positive means that the local clock is ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's whole name.
    pub node: String,
    /// Its cluster's name.
    pub cluster: String,
    /// `unset`, `acquire`, `track` or `holdover`.
    pub state: String,
    /// `peer`, `reference` or `observer`.
    pub role: String,
    /// The delivered clock.
    pub clock: ClockStatus,
    /// One standard deviation of the clock against the cluster, ns: an estimate.
    pub sigma_ns: Option<f64>,
    /// The distance to other clocks that the node promises not to exceed, ns; null while it can promise nothing.
    pub bound_ns: Option<f64>,
    /// The algorithm's name.
    pub algorithm: String,
    /// How the hot thread waits: `busy`, `hybrid` or `block`.
    pub poll_mode: String,
    /// The core of the hot thread, if it is bound to one.
    pub cpu: Option<usize>,
    /// Whose time stamps the node was told to use: `auto`, `hardware`, `kernel` or `user`.
    #[serde(default)]
    pub timestamps: String,
    /// The network cards that stamp for it.
    #[serde(default)]
    pub cards: Vec<CardStatus>,
    /// Where the node listens.
    pub listen: SocketAddr,
    /// The process.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_s: f64,
    /// A line for each peer.
    pub peers: Vec<PeerStatus>,
    /// Peers of the configuration that have no address, because their names do not resolve; host:port.
    #[serde(default)]
    pub unresolved: Vec<String>,
    /// Everything counted since the start, by name.
    pub counters: BTreeMap<String, u64>,
}

/// The clock that a node delivers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// `system` or `virtual`.
    pub kind: String,
    /// The clock minus the cluster's time, ns.
    pub offset_ns: Option<f64>,
    /// By how much the clock's rate is corrected, parts per billion; positive makes it run faster than its oscillator.
    pub frequency_ppb: Option<f64>,
}

/// One network card that stamps for a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CardStatus {
    /// The device, as `ip link` calls it.
    pub device: String,
    /// The file of its clock.
    pub phc: String,
    /// What it stamps of what arrives: `all`, `ptp-only` or `none`.
    pub receive: String,
    /// `used`, or `not-believed` while its clock's time is not known.
    pub state: String,
    /// How its clock is read; null before the first reading.
    pub method: Option<String>,
    /// One standard deviation of its stamps on this machine's scale, ns; null while it is not believed.
    pub sigma_ns: Option<f64>,
    /// Its stamps cannot be further off on this machine's scale than this, ns.
    pub doubt_ns: Option<f64>,
    /// How much faster it runs than this machine's oscillator, parts per billion.
    pub rate_ppb: Option<f64>,
    /// Times that its clock was set, ran absurdly or did not answer.
    pub losses: u64,
}

impl PeerStatus {
    /// Whether it only looks, and may be gone the next minute (`llts query`, `llts watch`): worth no series of its own.
    #[must_use]
    pub fn only_observes(&self) -> bool {
        self.role.as_deref() == Some("observer")
    }
}

/// One peer as its node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// What it calls itself.
    pub name: String,
    /// Where its packets come from.
    pub address: SocketAddr,
    /// What is made of it, in one word.
    pub state: String,
    /// Why it is not used; empty if it is.
    pub reason: String,
    /// The part it plays: `peer`, `reference` or `observer`; null before it has said so.
    pub role: Option<String>,
    /// The local clock minus the peer's, ns.
    pub offset_ns: Option<f64>,
    /// The shortest round trip seen lately, ns.
    pub delay_ns: Option<f64>,
    /// One standard deviation of the offset, ns.
    pub sigma_ns: Option<f64>,
    /// The offset cannot be further from the truth than this, ns, if the peer is honest.
    pub bound_ns: Option<f64>,
    /// Who stamps the arrival of its packets: `user`, `kernel` or `nic`; null before the first exchange.
    pub rx_stamp: Option<String>,
    /// Who stamps the departure of packets to it.
    pub tx_stamp: Option<String>,
    /// The last eight intervals, the newest in the lowest bit: was there an exchange?
    pub reach: u8,
}

/// Documents that the tests of this room share.
#[cfg(test)]
pub(super) mod examples {
    use super::*;

    pub(in crate::report) fn status() -> Status {
        let used = PeerStatus {
            name: "b:8081".into(),
            address: "127.0.0.1:8081".parse().unwrap(),
            state: "used".into(),
            reason: String::new(),
            role: Some("peer".into()),
            offset_ns: Some(-1_240.0),
            delay_ns: Some(23_400.0),
            sigma_ns: Some(180.0),
            bound_ns: Some(12_000.0),
            rx_stamp: Some("kernel".into()),
            tx_stamp: Some("kernel".into()),
            reach: 0o377,
        };
        let unheard = PeerStatus {
            name: "c".into(),
            address: "[2001:db8::7]:4123".parse().unwrap(),
            state: "unheard".into(),
            reason: "no answer yet".into(),
            role: None,
            offset_ns: None,
            delay_ns: None,
            sigma_ns: None,
            bound_ns: None,
            rx_stamp: None,
            tx_stamp: None,
            reach: 0,
        };
        Status {
            node: "a:8080".into(),
            cluster: "default".into(),
            state: "track".into(),
            role: "peer".into(),
            clock: ClockStatus { kind: "virtual".into(), offset_ns: Some(310.0), frequency_ppb: Some(-20_123.0) },
            sigma_ns: Some(230.0),
            bound_ns: Some(f64::INFINITY),
            algorithm: "rce".into(),
            poll_mode: "hybrid".into(),
            cpu: None,
            timestamps: "auto".into(),
            cards: vec![CardStatus {
                device: "eth0".into(),
                phc: "/dev/ptp0".into(),
                receive: "ptp-only".into(),
                state: "used".into(),
                method: Some("extended".into()),
                sigma_ns: Some(6.0),
                doubt_ns: Some(800.0),
                rate_ppb: Some(-1_234.0),
                losses: 0,
            }],
            listen: "127.0.0.1:8080".parse().unwrap(),
            pid: 4242,
            version: "0.1.0".into(),
            uptime_s: 200.0,
            peers: vec![used, unheard],
            unresolved: Vec::new(),
            counters: [("exchanges".to_string(), 1600), ("bad_seal".to_string(), 0)].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_name_that_programs_rely_on() {
        let json = serde_json::to_value(examples::status()).unwrap();
        for key in ["node", "cluster", "state", "sigma_ns", "bound_ns", "algorithm", "poll_mode", "counters"] {
            assert!(json.get(key).is_some(), "{key} is missing");
        }
        for key in ["kind", "offset_ns", "frequency_ppb"] {
            assert!(json["clock"].get(key).is_some(), "clock.{key} is missing");
        }
        for key in [
            "name",
            "address",
            "state",
            "reason",
            "offset_ns",
            "delay_ns",
            "sigma_ns",
            "bound_ns",
            "rx_stamp",
            "tx_stamp",
            "reach",
        ] {
            assert!(json["peers"][1].get(key).is_some(), "peers[].{key} is missing");
        }
        assert_eq!(json["counters"]["exchanges"], 1600);
    }

    #[test]
    fn a_number_that_is_not_finite_is_null() {
        let json = serde_json::to_value(examples::status()).unwrap();
        assert!(json["bound_ns"].is_null());
        let back: Status = serde_json::from_value(json).unwrap();
        assert_eq!(back, Status { bound_ns: None, ..examples::status() });
    }
}
