//! The documents of `llts watch`: a line of JSON for each interval and one for each hook, with names that do not
//! change, and the same as a table for people. A number that is not known is null, never zero and never infinite.
//!
//! They repeat fields of `watch` on purpose: those are types that may change, these are a promise to programs, and what
//! is renamed there must not be renamed here unseen.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::human::{offset_text, span_text};
use super::table::{Align, Table};
use crate::limits::{WATCH_MATRIX_NODES, WATCH_PAIRS};
use crate::watch::{Alarms, Change, News, Subject, Survey};

/// Rows of the table for people; of more nodes, those furthest off.
const ROWS_MAX: usize = 20;
/// Nodes whose matrix of skews people are shown; of more, the pairs furthest apart.
const MATRIX_MAX: usize = 8;

/// One interval of `llts watch --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchLine {
    /// When, by the watching machine's `CLOCK_REALTIME`, ns since 1970. A label: no skew depends on it.
    pub at_unix_ns: i64,
    /// `peers` if the watch measures by itself, `socket` if it shows what a running node sees.
    pub source: String,
    /// A row for each node, in the order of names.
    pub nodes: Vec<WatchNode>,
    /// Nodes that are compared.
    pub live: usize,
    /// The two nodes furthest apart; null if fewer than two are compared.
    pub largest_skew: Option<WatchPair>,
    /// The pairs furthest apart, the largest skew first; at most ten.
    pub furthest_pairs: Vec<WatchPair>,
    /// Row minus column of every two nodes in the order of `nodes`, ns, null where one of the two is not compared. Null
    /// as a whole for more than 64 nodes.
    pub skew_ns: Option<Vec<Vec<Option<f64>>>>,
    /// The threshold, ns; null if none was given.
    pub threshold_ns: Option<f64>,
    /// True while the largest skew is over the threshold (with hysteresis).
    pub over: bool,
    /// Thresholds that were crossed in this interval.
    pub events: Vec<WatchEvent>,
    /// What became of the hooks.
    pub hooks: HookCounts,
    /// Exchanges finished since the start; null with `--socket`.
    pub exchanges: Option<u64>,
    /// Questions that nobody answered since the start; null with `--socket`.
    pub unanswered: Option<u64>,
    /// Datagrams that were refused since the start; null with `--socket`.
    pub rejected: Option<u64>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchNode {
    /// What it calls itself; before it has answered, what the user called it.
    pub name: String,
    /// Where it is asked; null for the node whose socket is asked.
    pub address: Option<SocketAddr>,
    /// `unheard`, `learning`, `live`, `observer` or `silent`. Only live nodes are compared.
    pub seen: String,
    /// Its own state (`unset`, `acquire`, `track`, `holdover`); with `--socket` what the asked node makes of it.
    pub state: Option<String>,
    /// `peer`, `reference` or `observer`.
    pub role: Option<String>,
    /// Its time minus the median of all live nodes, ns; positive: it is ahead of the cluster.
    pub offset_ns: Option<f64>,
    /// One standard deviation of the measurement, ns: an estimate.
    pub sigma_ns: Option<f64>,
    /// The measurement cannot be further from the truth than this, ns, if the node is honest.
    pub bound_ns: Option<f64>,
    /// Shortest round trip of late, ns.
    pub delay_ns: Option<f64>,
    /// The standard deviation that the node claims of its own clock, ns.
    pub claimed_sigma_ns: Option<f64>,
    /// The bound that it claims, ns.
    pub claimed_bound_ns: Option<f64>,
    /// The weakest stamp behind the newest exchange: `user`, `kernel` or `nic`.
    pub stamps: Option<String>,
    /// Exchanges behind the measurement.
    pub exchanges: Option<u32>,
    /// Time since the newest exchange, ns.
    pub age_ns: Option<i64>,
    /// True while its offset is over the threshold (with hysteresis).
    pub over: bool,
}

/// Two nodes that are apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchPair {
    /// The one that is ahead.
    pub ahead: String,
    /// Its place in `nodes`, from 0.
    pub ahead_index: usize,
    /// The one that is behind.
    pub behind: String,
    /// Its place in `nodes`, from 0.
    pub behind_index: usize,
    /// How far apart, ns; not negative.
    pub skew_ns: f64,
    /// One standard deviation of it, ns.
    pub sigma_ns: Option<f64>,
    /// It cannot be further from the truth than this, ns, if both are honest.
    pub bound_ns: Option<f64>,
}

/// A threshold that was crossed: an element of `events`, and the body of a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// `raised` or `cleared`.
    pub event: String,
    /// `cluster` (the largest skew) or `node` (one node's offset).
    pub subject: String,
    /// The node; of the cluster, the one furthest ahead.
    pub node: String,
    /// Where it is.
    pub address: Option<SocketAddr>,
    /// Of the cluster, the node furthest behind.
    pub other: Option<String>,
    /// Where that is.
    pub other_address: Option<SocketAddr>,
    /// The node's offset (positive: ahead of the cluster) or the largest skew, ns.
    pub value_ns: f64,
    /// One standard deviation of it, ns.
    pub sigma_ns: Option<f64>,
    /// It cannot be further from the truth than this, ns.
    pub bound_ns: Option<f64>,
    /// The threshold, ns.
    pub threshold_ns: f64,
    /// When, by the watching machine's clock, ns since 1970.
    pub at_unix_ns: i64,
}

/// What became of the hooks since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCounts {
    /// Delivered: the program ended with 0, the server answered 2xx.
    pub delivered: u64,
    /// Failed.
    pub failed: u64,
    /// Left out because too many waited.
    pub dropped: u64,
}

impl WatchEvent {
    /// The news as a document.
    #[must_use]
    pub fn new(news: &News, at_unix_ns: i64) -> Self {
        WatchEvent {
            event: news.change.as_str().to_owned(),
            subject: news.subject.as_str().to_owned(),
            node: news.node.clone(),
            address: news.address,
            other: news.other.clone(),
            other_address: news.other_address,
            value_ns: news.value_ns,
            sigma_ns: news.sigma_ns,
            bound_ns: news.bound_ns,
            threshold_ns: news.threshold_ns,
            at_unix_ns,
        }
    }
}

impl WatchLine {
    /// The survey of one instant as a document; the counters of `source` are the caller's to fill in.
    #[must_use]
    pub fn new(survey: &Survey, alarms: Option<&Alarms>, news: &[News], at_unix_ns: i64, source: &str) -> Self {
        let nodes = survey.sightings().iter().enumerate();
        let furthest = survey.furthest(WATCH_PAIRS);
        let pair = |pair: &crate::watch::Pair| WatchPair {
            ahead: survey.sightings()[pair.ahead].name.clone(),
            ahead_index: pair.ahead,
            behind: survey.sightings()[pair.behind].name.clone(),
            behind_index: pair.behind,
            skew_ns: pair.skew_ns,
            sigma_ns: pair.sigma_ns,
            bound_ns: pair.bound_ns,
        };
        WatchLine {
            at_unix_ns,
            source: source.to_owned(),
            nodes: nodes
                .map(|(index, sighting)| WatchNode {
                    name: sighting.name.clone(),
                    address: sighting.address,
                    seen: sighting.seen.as_str().to_owned(),
                    state: sighting.state.clone(),
                    role: sighting.role.clone(),
                    offset_ns: survey.offset_ns(index),
                    sigma_ns: sighting.sigma_ns,
                    bound_ns: sighting.bound_ns,
                    delay_ns: sighting.delay_ns,
                    claimed_sigma_ns: sighting.claimed_sigma_ns,
                    claimed_bound_ns: sighting.claimed_bound_ns,
                    stamps: sighting.stamps.clone(),
                    exchanges: sighting.exchanges,
                    age_ns: sighting.age_ns,
                    over: alarms.is_some_and(|alarms| alarms.node_raised(sighting.node)),
                })
                .collect(),
            live: survey.live_count(),
            largest_skew: survey.largest().as_ref().map(pair),
            furthest_pairs: furthest.iter().map(pair).collect(),
            skew_ns: survey.matrix(WATCH_MATRIX_NODES),
            threshold_ns: alarms.map(Alarms::threshold_ns),
            over: alarms.is_some_and(Alarms::cluster_raised),
            events: news.iter().map(|news| WatchEvent::new(news, at_unix_ns)).collect(),
            hooks: HookCounts::default(),
            exchanges: None,
            unanswered: None,
            rejected: None,
        }
    }
}

/// The table of one interval: nodes, and the skew of every two, or of many nodes the pairs furthest apart. The last
/// line has no newline.
#[must_use]
pub fn watch_text(line: &WatchLine) -> String {
    let mut shown: Vec<&WatchNode> = line.nodes.iter().collect();
    let hidden = shown.len().saturating_sub(ROWS_MAX);
    if hidden > 0 {
        // A stable sort: of equals the order of names stays. What is not measured comes last.
        let off = |node: &WatchNode| node.offset_ns.map_or(-1.0, f64::abs);
        shown.sort_by(|a, b| off(b).total_cmp(&off(a)));
        shown.truncate(ROWS_MAX);
    }
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("ADDRESS", Align::Left),
        ("SEEN", Align::Left),
        ("STATE", Align::Left),
        ("OFFSET", Align::Right),
        ("SIGMA", Align::Right),
        ("BOUND", Align::Right),
        ("DELAY", Align::Right),
        ("CLAIM", Align::Right),
        ("", Align::Left),
    ]);
    for node in shown {
        table.row([
            node.name.clone(),
            node.address.map_or_else(|| "-".into(), |address| address.to_string()),
            node.seen.clone(),
            node.state.clone().unwrap_or_else(|| "-".into()),
            offset_text(node.offset_ns),
            span_text(node.sigma_ns),
            span_text(node.bound_ns),
            span_text(node.delay_ns),
            span_text(node.claimed_sigma_ns),
            if node.over { "OVER".into() } else { String::new() },
        ]);
    }
    let mut text = table.to_string();
    if hidden > 0 {
        text += &format!("\n... and {hidden} more, none further off");
    }
    if let Some(matrix) = line.skew_ns.as_ref().filter(|matrix| (2..=MATRIX_MAX).contains(&matrix.len())) {
        let names = line.nodes.iter().map(|node| node.name.as_str());
        let columns = std::iter::once(("AHEAD BY", Align::Left)).chain(names.map(|name| (name, Align::Right)));
        let mut skews = Table::new(columns);
        for (node, row) in line.nodes.iter().zip(matrix) {
            skews.row(std::iter::once(node.name.clone()).chain(row.iter().map(|skew_ns| offset_text(*skew_ns))));
        }
        text += &format!("\n\n{skews}");
    } else if line.furthest_pairs.len() > 1 {
        let mut pairs = Table::new([("AHEAD", Align::Left), ("BEHIND", Align::Left), ("SKEW", Align::Right)]);
        for pair in line.furthest_pairs.iter().take(WATCH_PAIRS / 2) {
            pairs.row([pair.ahead.clone(), pair.behind.clone(), span_text(Some(pair.skew_ns))]);
        }
        text += &format!("\n\n{pairs}");
    }
    text
}

/// The summary of one interval in one line.
#[must_use]
pub fn watch_summary(line: &WatchLine) -> String {
    let total = line.nodes.len();
    let skew = line.largest_skew.as_ref().map_or_else(
        || "no two nodes to compare".to_owned(),
        |pair| {
            let bound = pair.bound_ns.map_or_else(String::new, |ns| format!(" +- {}", span_text(Some(ns))));
            format!("largest skew {}{bound}, {} ahead of {}", span_text(Some(pair.skew_ns)), pair.ahead, pair.behind)
        },
    );
    let over = line.nodes.iter().filter(|node| node.over).count();
    let over = match (line.over, over) {
        (false, 0) => String::new(),
        (_, nodes) => {
            let plural = if nodes == 1 { "" } else { "s" };
            format!("; OVER the threshold of {}, {nodes} node{plural}", span_text(line.threshold_ns))
        }
    };
    format!("{} of {total} nodes live, {skew}{over}", line.live)
}

/// One crossing as a sentence.
#[must_use]
pub fn news_text(news: &News) -> String {
    let threshold = span_text(Some(news.threshold_ns));
    let place = news.address.map_or_else(String::new, |address| format!(" ({address})"));
    match (news.subject, news.change) {
        (Subject::Node, Change::Raised) => format!(
            "{}{place} is {} from the cluster's median, over the threshold of {threshold}",
            news.node,
            offset_text(Some(news.value_ns))
        ),
        (Subject::Node, Change::Cleared) => format!(
            "{}{place} is back at {} from the cluster's median, below the threshold of {threshold}",
            news.node,
            offset_text(Some(news.value_ns))
        ),
        (Subject::Cluster, change) => {
            let where_to = match change {
                Change::Raised => "over",
                Change::Cleared => "back below",
            };
            format!(
                "the largest skew is {} ({} ahead of {}), {where_to} the threshold of {threshold}",
                span_text(Some(news.value_ns)),
                news.node,
                news.other.as_deref().unwrap_or("-")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::NodeId;
    use crate::watch::{Lead, Seen, Sighting};

    fn survey(leads_ns: &[f64]) -> Survey {
        let sighting = |(n, lead_ns): (usize, &f64)| Sighting {
            seen: Seen::Live,
            lead: Some(Lead::new(1_790_000_000_000_000_000, *lead_ns)),
            state: Some("track".into()),
            sigma_ns: Some(300.0),
            bound_ns: Some(12_000.0),
            delay_ns: Some(24_000.0),
            ..Sighting::unheard(NodeId(n as u64 + 1), format!("n{n:02}"), Some(([127, 0, 0, 1], 8080).into()))
        };
        Survey::new(leads_ns.iter().enumerate().map(sighting).collect())
    }

    #[test]
    fn a_line_has_every_name_that_programs_rely_on_and_comes_back_as_it_was() {
        let mut alarms = Alarms::new(1e6);
        let survey = survey(&[0.0, 1_000.0, 5e6]);
        let news = alarms.judge(&survey);
        let line = WatchLine::new(&survey, Some(&alarms), &news, 7, "peers");
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["nodes"][2]["offset_ns"], 4_999_000.0);
        assert_eq!(json["nodes"][0]["offset_ns"], -1_000.0);
        assert_eq!(json["largest_skew"]["ahead"], "n02");
        assert_eq!(json["skew_ns"][2][0], 5e6);
        assert_eq!(
            (&json["over"], &json["nodes"][2]["over"], &json["nodes"][0]["over"]),
            (&true.into(), &true.into(), &false.into())
        );
        assert_eq!((&json["events"][0]["subject"], &json["events"][1]["subject"]), (&"cluster".into(), &"node".into()));
        assert_eq!(serde_json::from_value::<WatchLine>(json).unwrap(), line);
    }

    #[test]
    fn the_matrix_ends_at_its_limit_and_the_pairs_stay() {
        let line = |nodes: usize| WatchLine::new(&survey(&vec![0.0; nodes]), None, &[], 7, "peers");
        assert_eq!(line(WATCH_MATRIX_NODES).skew_ns.map(|m| m.len()), Some(WATCH_MATRIX_NODES));
        let large = line(WATCH_MATRIX_NODES + 1);
        assert_eq!((large.skew_ns, large.furthest_pairs.len()), (None, WATCH_PAIRS));
    }

    #[test]
    fn the_table_of_a_large_cluster_shows_those_furthest_off() {
        let leads: Vec<f64> = (0..30).map(|n| f64::from(n) * 1_000.0).collect();
        let text = watch_text(&WatchLine::new(&survey(&leads), None, &[], 7, "peers"));
        assert!(text.contains("n29") && text.contains("n00") && !text.contains("n15"), "{text}");
        assert!(text.contains("... and 10 more, none further off"), "{text}");
    }

    #[test]
    fn people_read_who_is_how_far_ahead() {
        let mut alarms = Alarms::new(1e6);
        let survey = survey(&[0.0, 1_000.0, 5e6]);
        let news = alarms.judge(&survey);
        assert_eq!(
            news_text(&news[1]),
            "n02 (127.0.0.1:8080) is +5.00 ms from the cluster's median, over the threshold of 1.00 ms"
        );
        assert_eq!(
            news_text(&news[0]),
            "the largest skew is 5.00 ms (n02 ahead of n00), over the threshold of 1.00 ms"
        );
        let line = WatchLine::new(&survey, Some(&alarms), &news, 7, "peers");
        assert_eq!(
            watch_summary(&line),
            "3 of 3 nodes live, largest skew 5.00 ms +- 24.0 us, n02 ahead of n00; \
             OVER the threshold of 1.00 ms, 1 node"
        );
    }
}
