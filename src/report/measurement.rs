//! Measurement logs: what a node measured and how its clock did, a line at a time, for people who want to look at it
//! afterwards. Three logs, each as CSV or as JSON lines, with the names and units of `llts status --json`. Makes lines
//! and knows nothing of files, clocks or when a line is due; for replay bit by bit there is `--record`.

mod file;

use std::fmt::Write as _;

pub use file::MeasurementFile;

use super::{Status, Tracking};
use crate::flow::{Exchange, Mapping, PeerIdentity};

/// What is logged; the first word is llts', the second chrony's for what is nearest to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MeasurementLog {
    /// Every finished exchange (`measurements`).
    Exchanges,
    /// Every peer as it is estimated, now and then (`statistics`).
    Peers,
    /// The node's clock, now and then.
    Tracking,
}

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MeasurementFormat {
    /// Comma-separated values (RFC 4180) with one row of names; lines of comment begin with `#`.
    #[default]
    Csv,
    /// One JSON object a line; one that has `banner` is a comment.
    Jsonl,
}

impl MeasurementLog {
    /// All of them.
    pub const ALL: [MeasurementLog; 3] = [MeasurementLog::Exchanges, MeasurementLog::Peers, MeasurementLog::Tracking];

    /// Its word, which is also its file's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            MeasurementLog::Exchanges => "exchanges",
            MeasurementLog::Peers => "peers",
            MeasurementLog::Tracking => "tracking",
        }
    }

    /// What chrony calls the log that is nearest to it.
    #[must_use]
    pub const fn chrony(self) -> &'static str {
        match self {
            MeasurementLog::Exchanges => "measurements",
            MeasurementLog::Peers => "statistics",
            MeasurementLog::Tracking => "tracking",
        }
    }

    /// The names of its columns.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            MeasurementLog::Exchanges => &EXCHANGE_COLUMNS,
            MeasurementLog::Peers => &PEER_COLUMNS,
            MeasurementLog::Tracking => &TRACKING_COLUMNS,
        }
    }

    /// What stands at the beginning of a file, in words.
    #[must_use]
    pub fn banner(self, node: &str, cluster: &str) -> String {
        let what = match self {
            MeasurementLog::Exchanges => {
                "one line an exchange; offset_ns is what this exchange alone says of the two cluster times, delay_ns \
                 its round trip; the four stamps are raw time, each of its own node; stamp_class is the weakest"
            }
            MeasurementLog::Peers => "one line a peer and interval, as `llts peers --json`; observers are left out",
            MeasurementLog::Tracking => "one line an interval, as `llts tracking --json`",
        };
        format!(
            "llts {} {} of node {node} in cluster {cluster}: {what}; utc is this machine's CLOCK_REALTIME; an offset \
             is local minus the other: positive means that the local clock is ahead; what is unknown is empty or null",
            env!("CARGO_PKG_VERSION"),
            self.as_str(),
        )
    }
}

impl MeasurementFormat {
    /// Both.
    pub const ALL: [MeasurementFormat; 2] = [MeasurementFormat::Csv, MeasurementFormat::Jsonl];

    /// Its word, which is also the end of the files' names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            MeasurementFormat::Csv => "csv",
            MeasurementFormat::Jsonl => "jsonl",
        }
    }
}

const EXCHANGE_COLUMNS: [&str; 16] = [
    "utc",
    "peer",
    "address",
    "initiator",
    "offset_ns",
    "delay_ns",
    "stamp_class",
    "rx_stamp",
    "tx_stamp",
    "peer_state",
    "peer_sigma_ns",
    "peer_bound_ns",
    "local_sent_ns",
    "remote_received_ns",
    "remote_sent_ns",
    "local_received_ns",
];
const PEER_COLUMNS: [&str; 13] = [
    "utc",
    "peer",
    "address",
    "state",
    "reason",
    "role",
    "offset_ns",
    "delay_ns",
    "sigma_ns",
    "bound_ns",
    "rx_stamp",
    "tx_stamp",
    "reach",
];
const TRACKING_COLUMNS: [&str; 13] = [
    "utc",
    "state",
    "peers_used",
    "peers_known",
    "offset_ns",
    "frequency_ppb",
    "sigma_ns",
    "bound_ns",
    "max_skew_ns",
    "furthest_peer",
    "furthest_offset_ns",
    "delay_min_ns",
    "delay_max_ns",
];

/// One value of a line.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Number(f64),
    Whole(i64),
    Yes(bool),
    Unknown,
}

/// One line, its values in the order of the log's columns.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementLine {
    log: MeasurementLog,
    values: Vec<Value>,
}

impl MeasurementLine {
    /// An exchange whose packet arrived at `utc_ns`; `own` is this node's mapping at about that time, `who` is the peer
    /// if it is known.
    #[must_use]
    pub fn of_exchange(utc_ns: i64, exchange: &Exchange, own: &Mapping, who: Option<&PeerIdentity>) -> Self {
        let who = who.filter(|who| who.node == exchange.node);
        let claim = &exchange.claim;
        let values = vec![
            Value::Text(utc_text(utc_ns)),
            who.map_or_else(|| Value::Text(exchange.node.to_string()), |who| Value::Text(who.name.to_string())),
            who.map_or(Value::Unknown, |who| Value::Text(who.address.to_string())),
            Value::Yes(exchange.initiator),
            Value::Number(offset_ns(exchange, own)),
            Value::Whole(exchange.forward_ns().wrapping_add(exchange.backward_ns())),
            Value::Text(exchange.class.as_str().into()),
            Value::Text(exchange.local_rx_class.as_str().into()),
            Value::Text(exchange.local_tx_class.as_str().into()),
            Value::Text(claim.state.as_str().into()),
            Value::Number(f64::from(claim.sigma_ns)),
            Value::Number(f64::from(claim.bound_ns)),
            Value::Whole(exchange.local_sent.nanos()),
            Value::Whole(exchange.remote_received.nanos()),
            Value::Whole(exchange.remote_sent.nanos()),
            Value::Whole(exchange.local_received.nanos()),
        ];
        MeasurementLine { log: MeasurementLog::Exchanges, values }
    }

    /// The peers of a node at `utc_ns`.
    #[must_use]
    pub fn of_peers(utc_ns: i64, status: &Status) -> Vec<Self> {
        let line = |peer: &super::PeerStatus| {
            let values = vec![
                Value::Text(utc_text(utc_ns)),
                Value::Text(peer.name.clone()),
                Value::Text(peer.address.to_string()),
                Value::Text(peer.state.clone()),
                Value::Text(peer.reason.clone()),
                text(peer.role.as_deref()),
                number(peer.offset_ns),
                number(peer.delay_ns),
                number(peer.sigma_ns),
                number(peer.bound_ns),
                text(peer.rx_stamp.as_deref()),
                text(peer.tx_stamp.as_deref()),
                Value::Whole(i64::from(peer.reach)),
            ];
            MeasurementLine { log: MeasurementLog::Peers, values }
        };
        // As in metrics: who only looks (`llts query`, `llts watch`) is no peer.
        status.peers.iter().filter(|peer| !peer.only_observes()).map(line).collect()
    }

    /// A node's clock at `utc_ns`.
    #[must_use]
    pub fn of_tracking(utc_ns: i64, status: &Status) -> Self {
        let tracking = Tracking::of(status);
        let values = vec![
            Value::Text(utc_text(utc_ns)),
            Value::Text(tracking.state),
            Value::Whole(tracking.peers_used as i64),
            Value::Whole(tracking.peers_known as i64),
            number(tracking.offset_ns),
            number(tracking.frequency_ppb),
            number(tracking.sigma_ns),
            number(tracking.bound_ns),
            number(tracking.max_skew_ns),
            text(tracking.furthest_peer.as_deref()),
            number(tracking.furthest_offset_ns),
            number(tracking.delay_min_ns),
            number(tracking.delay_max_ns),
        ];
        MeasurementLine { log: MeasurementLog::Tracking, values }
    }

    /// Which log it belongs to.
    #[must_use]
    pub fn log(&self) -> MeasurementLog {
        self.log
    }

    /// The line as it stands in a file, its newline included.
    #[must_use]
    pub fn text(&self, format: MeasurementFormat) -> String {
        debug_assert_eq!(self.values.len(), self.log.columns().len());
        let mut text = String::new();
        for (n, (name, value)) in self.log.columns().iter().zip(&self.values).enumerate() {
            let comma = if n == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _infallible = match format {
                MeasurementFormat::Csv => write!(text, "{comma}{}", csv(value)),
                MeasurementFormat::Jsonl => write!(text, "{comma}\"{name}\":{}", json(value)),
            };
        }
        match format {
            MeasurementFormat::Csv => text + "\n",
            MeasurementFormat::Jsonl => format!("{{{text}}}\n"),
        }
    }
}

/// Own cluster time minus the peer's, by one exchange: where both raw clocks read at the middle of the exchange, each
/// brought to V by its node's mapping.
fn offset_ns(exchange: &Exchange, own: &Mapping) -> f64 {
    let remote_mid = exchange.remote_received.midpoint(exchange.remote_sent);
    let local_mid = exchange.local_mid();
    let base_ns = local_mid.nanos().wrapping_sub(remote_mid.nanos());
    own.offset_difference_ns(local_mid, &exchange.claim.mapping, remote_mid, base_ns)
}

fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Unknown, Value::Number)
}

fn text(value: Option<&str>) -> Value {
    value.map_or(Value::Unknown, |text| Value::Text(text.to_owned()))
}

/// As RFC 4180 has it: quotes around what would be misread without.
fn csv(value: &Value) -> String {
    match value {
        Value::Text(text) if text.contains(['"', ',', '\n', '\r']) || text.starts_with('#') => {
            format!("\"{}\"", text.replace('"', "\"\"").replace(['\n', '\r'], " "))
        }
        Value::Text(text) => text.clone(),
        Value::Number(number) if number.is_finite() => format!("{number:.3}"),
        Value::Whole(number) => number.to_string(),
        Value::Yes(yes) => yes.to_string(),
        Value::Number(_) | Value::Unknown => String::new(),
    }
}

fn json(value: &Value) -> String {
    match value {
        Value::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::Number(number) if !number.is_finite() => "null".into(),
        Value::Unknown => "null".into(),
        Value::Number(_) | Value::Whole(_) | Value::Yes(_) => csv(value),
    }
}

/// A time of day and its date, UTC, to the microsecond, as RFC 3339 writes it. The date by the days since 1 March of
/// the year 0, in eras of 400 years (the proleptic Gregorian calendar has no others).
fn utc_text(unix_ns: i64) -> String {
    const DAY_S: i64 = 86_400;
    let seconds = unix_ns.div_euclid(1_000_000_000);
    let micros = unix_ns.rem_euclid(1_000_000_000) / 1_000;
    let (days, of_day) = (seconds.div_euclid(DAY_S) + 719_468, seconds.rem_euclid(DAY_S));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests;
