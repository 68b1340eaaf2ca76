//! A node's numbers for monitoring: the text of Prometheus (exposition format 0.0.4) and of OpenMetrics 1.0. Made from
//! the `status` document and the histograms alone, so that monitoring never says anything else than `llts status`.
//! Every counter of the status is in exactly one family: what has none of its own is an event by its name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::histogram::Latencies;
use super::tracking::max_skew_ns;
use super::{PeerStatus, Status};

/// Which of the two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Upper ends of the histograms' buckets, ns: from what a quiet core does to what no cluster should see.
const BOUNDS_NS: [u64; 18] = [
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
];
const STATES: [&str; 4] = ["unset", "acquire", "track", "holdover"];

impl Exposition {
    /// The content type under which it is served.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Exposition::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics of a node. A number that is not known has no sample.
#[must_use]
pub fn metrics_text(status: &Status, latencies: &Latencies, exposition: Exposition) -> String {
    let mut page = Page { text: String::with_capacity(16 * 1024), exposition };
    node(&mut page, status);
    clock(&mut page, status);
    peers(&mut page, &status.peers);
    let help = "Peers of the configuration that have no address, because their names do not resolve.";
    page.family("llts_peers_unresolved", "gauge", "", help);
    page.sample("llts_peers_unresolved", &[], status.unresolved.len() as f64);
    counters(&mut page, &status.counters);
    for (name, help, histogram) in latencies.cumulative(&BOUNDS_NS) {
        page.family(name, "histogram", "seconds", help);
        for (bound_ns, below) in BOUNDS_NS.iter().zip(&histogram.below) {
            let le = (*bound_ns as f64 * 1e-9).to_string();
            page.sample(&format!("{name}_bucket"), &[("le", &le)], *below as f64);
        }
        page.sample(&format!("{name}_bucket"), &[("le", "+Inf")], histogram.count as f64);
        page.sample(&format!("{name}_sum"), &[], histogram.sum_s);
        page.sample(&format!("{name}_count"), &[], histogram.count as f64);
    }
    if exposition == Exposition::OpenMetrics {
        page.text += "# EOF\n";
    }
    page.text
}

fn node(page: &mut Page, status: &Status) {
    page.family("llts_node_info", "gauge", "", "What this node is; always 1.");
    let labels = [
        ("node", status.node.as_str()),
        ("cluster", &status.cluster),
        ("role", &status.role),
        ("algorithm", &status.algorithm),
        ("clock", &status.clock.kind),
        ("poll_mode", &status.poll_mode),
        ("version", &status.version),
    ];
    page.sample("llts_node_info", &labels, 1.0);
    page.family("llts_node_state", "gauge", "", "1 for the state that the node is in, 0 for the others.");
    for state in STATES {
        page.sample("llts_node_state", &[("state", state)], f64::from(u8::from(state == status.state)));
    }
    page.family("llts_uptime_seconds", "gauge", "seconds", "Time since the node started.");
    page.sample("llts_uptime_seconds", &[], status.uptime_s);
}

fn clock(page: &mut Page, status: &Status) {
    let seconds = [
        (
            "llts_clock_offset_seconds",
            "The clock minus cluster time: positive means that the clock is ahead.",
            status.clock.offset_ns,
        ),
        (
            "llts_clock_sigma_seconds",
            "One standard deviation of the clock against the cluster: an estimate.",
            status.sigma_ns,
        ),
        (
            "llts_clock_error_bound_seconds",
            "The distance to other clocks that the node promises not to exceed; absent while it can promise nothing.",
            status.bound_ns,
        ),
        (
            "llts_cluster_max_skew_seconds",
            "The largest distance between any two clocks among this one and those of the peers used, as measured here.",
            max_skew_ns(status),
        ),
    ];
    for (name, help, value_ns) in seconds {
        page.family(name, "gauge", "seconds", help);
        page.known(name, &[], value_ns.map(|ns| ns * 1e-9));
    }
    let help = "By how much the clock's rate is corrected, parts per billion: positive makes it run faster.";
    page.family("llts_clock_frequency_ppb", "gauge", "ppb", help);
    page.known("llts_clock_frequency_ppb", &[], status.clock.frequency_ppb);
}

/// One number of a peer, if it is known.
type PeerNumber = fn(&PeerStatus) -> Option<f64>;

fn peers(page: &mut Page, peers: &[PeerStatus]) {
    // A query each minute would make 1,440 series a day.
    let peers: Vec<&PeerStatus> = peers.iter().filter(|peer| !peer.only_observes()).collect();
    page.family("llts_peers_known", "gauge", "", "Peers known, heard or not; observers are none.");
    page.sample("llts_peers_known", &[], peers.len() as f64);
    page.family("llts_peers_used", "gauge", "", "Peers whose word counts.");
    page.sample("llts_peers_used", &[], peers.iter().filter(|peer| peer.state == "used").count() as f64);
    let families: [(&str, &str, PeerNumber); 4] = [
        (
            "llts_peer_offset_seconds",
            "The local clock minus the peer's: positive means that the local clock is ahead.",
            |peer| peer.offset_ns,
        ),
        ("llts_peer_delay_seconds", "The shortest round trip seen lately.", |peer| peer.delay_ns),
        ("llts_peer_sigma_seconds", "One standard deviation of the offset: an estimate.", |peer| peer.sigma_ns),
        (
            "llts_peer_error_bound_seconds",
            "The offset is not further from the truth than this if the peer is honest.",
            |peer| peer.bound_ns,
        ),
    ];
    for (name, help, number) in families {
        page.family(name, "gauge", "seconds", help);
        for peer in &peers {
            let labels = [("peer", peer.name.as_str()), ("address", &peer.address.to_string())];
            page.known(name, &labels, number(peer).map(|ns| ns * 1e-9));
        }
    }
    page.family("llts_peer_reach_ratio", "gauge", "ratio", "The share of the last eight intervals with an exchange.");
    for peer in &peers {
        let labels = [("peer", peer.name.as_str()), ("address", &peer.address.to_string())];
        page.sample("llts_peer_reach_ratio", &labels, f64::from(peer.reach.count_ones()) / 8.0);
    }
    page.family("llts_peer_state", "gauge", "", "Where the peer stands, and why if it is not used; always 1.");
    for peer in &peers {
        let labels = [
            ("peer", peer.name.as_str()),
            ("address", &peer.address.to_string()),
            ("state", &peer.state),
            ("reason", &peer.reason),
        ];
        page.sample("llts_peer_state", &labels, 1.0);
    }
}

fn counters(page: &mut Page, counters: &BTreeMap<String, u64>) {
    let mut left = counters.clone();
    let mut take = |name: &str| left.remove(name).unwrap_or(0) as f64;
    let (received, sent, exchanges) = (take("received"), take("sent"), take("exchanges"));
    let stamps = [
        ("rx", "hw", take("receive_stamps_nic")),
        ("rx", "kernel", take("receive_stamps_kernel")),
        ("rx", "user", take("receive_stamps_user")),
        ("tx", "hw", take("transmit_stamps_nic")),
        ("tx", "kernel", take("transmit_stamps")),
        ("tx", "user", take("transmit_stamps_missing")),
    ];
    let rejected: Vec<(String, f64)> = left
        .iter()
        .filter(|(name, _)| name.starts_with("rejected_"))
        .map(|(name, n)| (name.clone(), *n as f64))
        .collect();
    left.retain(|name, _| !name.starts_with("rejected_"));

    page.family("llts_packets_total", "counter", "", "Datagrams received, by what became of them.");
    let refused: f64 = rejected.iter().map(|(_, n)| n).sum();
    page.sample("llts_packets_total", &[("result", "accepted")], (received - refused).max(0.0));
    for (result, n) in &rejected {
        page.sample("llts_packets_total", &[("result", result)], *n);
    }
    page.family("llts_packets_sent_total", "counter", "", "Datagrams sent.");
    page.sample("llts_packets_sent_total", &[], sent);
    page.family("llts_exchanges_total", "counter", "", "Exchanges with peers that were finished.");
    page.sample("llts_exchanges_total", &[], exchanges);
    let help = "Packets by who stamped their arrival (rx) or departure (tx): the card, the kernel, or the program.";
    page.family("llts_timestamps_total", "counter", "", help);
    for (dir, kind, n) in stamps {
        page.sample("llts_timestamps_total", &[("dir", dir), ("kind", kind)], n);
    }
    page.family("llts_events_total", "counter", "", "Everything else that a node counts, by name.");
    for (event, n) in &left {
        page.sample("llts_events_total", &[("event", event)], *n as f64);
    }
}

/// The text as it grows.
struct Page {
    text: String,
    exposition: Exposition,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let name = match (self.exposition, kind) {
            (Exposition::OpenMetrics, "counter") => name.trim_end_matches("_total"),
            _ => name,
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.text, "# TYPE {name} {kind}");
        if self.exposition == Exposition::OpenMetrics && !unit.is_empty() {
            let _infallible = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _infallible = writeln!(self.text, "# HELP {name} {help}");
    }

    fn known(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sample(name, labels, value);
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text += name;
        for (n, (label, text)) in labels.iter().enumerate() {
            let _infallible = write!(self.text, "{}{label}=\"{}\"", if n == 0 { '{' } else { ',' }, escaped(text));
        }
        let _infallible = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::examples;

    fn text(status: &Status) -> String {
        metrics_text(status, &Latencies::default(), Exposition::Prometheus)
    }

    #[test]
    fn numbers_are_in_seconds_and_what_is_not_known_has_no_sample() {
        let text = text(&examples::status());
        for line in [
            "llts_clock_offset_seconds 0.00000031",
            "llts_clock_frequency_ppb -20123",
            "llts_peer_offset_seconds{peer=\"b:8081\",address=\"127.0.0.1:8081\"} -0.00000124",
            "llts_peer_reach_ratio{peer=\"b:8081\",address=\"127.0.0.1:8081\"} 1",
            "llts_peer_state{peer=\"c\",address=\"[2001:db8::7]:4123\",state=\"unheard\",reason=\"no answer yet\"} 1",
            "llts_node_state{state=\"track\"} 1",
            "llts_node_state{state=\"holdover\"} 0",
            "llts_exchanges_total 1600",
        ] {
            let close = |told: &str| match (told.rsplit_once(' '), line.rsplit_once(' ')) {
                (Some((name, value)), Some((wanted, number))) => {
                    let (value, number): (f64, f64) = (value.parse().unwrap_or(f64::NAN), number.parse().unwrap());
                    name == wanted && (value - number).abs() <= 1e-12 * number.abs()
                }
                _ => false,
            };
            assert!(text.lines().any(close), "{line} is missing:\n{text}");
        }
        assert!(!text.contains("\nllts_clock_error_bound_seconds"), "an infinite bound is no number");
        assert!(!text.contains("llts_peer_offset_seconds{peer=\"c\""), "{text}");
    }

    #[test]
    fn every_counter_is_in_exactly_one_family() {
        let mut status = examples::status();
        let names = [
            "received",
            "sent",
            "exchanges",
            "rejected_bad_mac",
            "rejected_length",
            "receive_stamps_nic",
            "receive_stamps_kernel",
            "receive_stamps_user",
            "transmit_stamps",
            "transmit_stamps_missing",
            "probes",
            "a_counter_of_tomorrow",
        ];
        // Powers of two: every sum tells of which it was made.
        status.counters = names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), 1 << (n + 10))).collect();
        let text = text(&status);
        let of_counters = |line: &&str| {
            ["packets", "exchanges", "timestamps", "events"]
                .iter()
                .any(|family| line.starts_with(&format!("llts_{family}")))
        };
        let number = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        let mut told: Vec<f64> = text.lines().filter(of_counters).map(number).filter(|n| *n > 0.0).collect();
        let mut expected: Vec<f64> = status.counters.values().map(|n| *n as f64).collect();
        // Of those received, the refused ones are told apart: 2^10 of "received" hold none of 2^13 and 2^14.
        expected.retain(|n| *n != 1024.0);
        told.sort_by(f64::total_cmp);
        expected.sort_by(f64::total_cmp);
        assert_eq!(told, expected);
        assert!(text.contains("llts_events_total{event=\"a_counter_of_tomorrow\"} 2097152"), "{text}");
    }

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        let mut status = examples::status();
        status.peers[0].name = "a\"} 1\nb\\".into();
        let text = text(&status);
        assert!(text.contains("{peer=\"a\\\"} 1\\nb\\\\\",address="), "{text}");
    }

    #[test]
    fn open_metrics_names_its_units_and_its_end() {
        let text = metrics_text(&examples::status(), &Latencies::default(), Exposition::OpenMetrics);
        assert!(text.ends_with("\n# EOF\n"));
        assert!(text.contains("# TYPE llts_packets counter\n") && text.contains("\nllts_packets_total{"));
        assert!(text.contains("# UNIT llts_clock_offset_seconds seconds\n"));
    }

    #[test]
    fn a_histogram_counts_what_is_at_most_its_bound() {
        let mut latencies = Latencies::default();
        for span_ns in [900, 900, 40_000, 2_000_000_000] {
            latencies.hot.turn_around(span_ns);
        }
        let text = metrics_text(&examples::status(), &latencies, Exposition::Prometheus);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("llts_turnaround_seconds_bucket")).collect();
        let counts: Vec<&str> = lines.iter().map(|line| line.rsplit_once(' ').unwrap().1).collect();
        assert_eq!(counts, "0 2 2 2 2 2 3 3 3 3 3 3 3 3 3 3 3 3 4".split(' ').collect::<Vec<_>>(), "{lines:?}");
        assert!(text.contains("llts_turnaround_seconds_count 4\n"));
    }
}
