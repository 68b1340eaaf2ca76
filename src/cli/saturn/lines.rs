//! Events as lines: as Saturn writes them, so that whatever reads its log goes on reading, as JSON objects, or as lines
//! of this program's own log.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::Level;
use crate::engine::saturn::{Event, MasterSummary};
use crate::saturn::{FloatText, Refusal, Refusals, master, slave};

/// How events are to be written.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// In which form.
    pub form: Form,
    /// The least important level to be written.
    pub level: Level,
    /// An offset beyond this is warned of, ms.
    pub threshold_ms: f64,
    /// How important a slave's own offset is to it.
    pub fin_level: Level,
}

/// The form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As Saturn writes them.
    Saturn,
    /// One object a line.
    Json,
    /// Lines of the log of `llts run`, on standard error.
    Log,
}

/// One line to be: what happened, in Saturn's words and in ours.
struct Record {
    level: Level,
    /// Saturn's words.
    text: &'static str,
    /// The same for programs.
    event: &'static str,
    fields: Vec<Field>,
}

/// One field of a line. An empty key keeps it out of one of the forms.
struct Field {
    saturn_key: &'static str,
    json_key: &'static str,
    value: Value,
    /// How Saturn writes it, where that is not how JSON does.
    text: String,
}

impl Record {
    fn new(level: Level, text: &'static str, event: &'static str) -> Self {
        Record { level, text, event, fields: Vec::new() }
    }

    fn with(mut self, saturn_key: &'static str, json_key: &'static str, value: Value, text: String) -> Self {
        self.fields.push(Field { saturn_key, json_key, value, text });
        self
    }

    fn words(self, saturn_key: &'static str, json_key: &'static str, words: &str) -> Self {
        self.with(saturn_key, json_key, words.into(), words.to_owned())
    }

    fn bytes(self, saturn_key: &'static str, json_key: &'static str, bytes: &[u8]) -> Self {
        self.words(saturn_key, json_key, &String::from_utf8_lossy(bytes))
    }

    fn address(self, saturn_key: &'static str, json_key: &'static str, address: SocketAddr) -> Self {
        self.words(saturn_key, json_key, &address.to_string())
    }

    /// A float; what is no number is null in JSON.
    fn float(self, saturn_key: &'static str, json_key: &'static str, value: f64) -> Self {
        self.with(saturn_key, json_key, json!(value), FloatText::of(value).to_string())
    }

    fn count(self, saturn_key: &'static str, json_key: &'static str, value: u64) -> Self {
        self.with(saturn_key, json_key, value.into(), value.to_string())
    }

    /// Every reason for which something was refused.
    fn refusals(mut self, refusals: &Refusals) -> Self {
        for (reason, count) in refusals.iter().filter(|(_, count)| *count > 0) {
            self = self.count(reason.as_str(), reason.as_str(), count);
        }
        self
    }
}

impl Style {
    /// Appends what there is to say of `event`, a line each.
    pub fn write(&self, event: &Event, out: &mut String) {
        let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_s = now_s.map_or(0.0, |since| since.as_secs_f64());
        for record in self.records(event).into_iter().filter(|record| record.level <= self.level) {
            match self.form {
                Form::Saturn => saturn_line(record, out),
                Form::Json => json_line(&record, now_s, out),
                Form::Log => log_line(&record),
            }
        }
    }

    fn records(&self, event: &Event) -> Vec<Record> {
        match event {
            Event::Listening { address, kernel_stamps } => {
                vec![
                    Record::new(Level::Info, "listening", "listening")
                        .address("listenAddr", "listen_addr", *address)
                        .with("", "kernel_stamps", (*kernel_stamps).into(), String::new()),
                ]
            }
            Event::Offset(finished) => self.offset(finished),
            Event::Summary(summary) => vec![self::summary(summary)],
            Event::Refused { from, reason } => {
                let (level, text) = saturns_words(*reason);
                let record = Record::new(level, text, "refused").address("addr", "address", *from);
                vec![record.words("reason", "reason", reason.as_str())]
            }
            Event::Refusals(refusals) => {
                vec![Record::new(Level::Warn, "refused datagrams", "refusals").refusals(refusals)]
            }
            Event::Reporting { master, id } => vec![
                Record::new(Level::Debug, "reporting", "reporting")
                    .address("masterAddr", "master_addr", *master)
                    .bytes("txID", "tx_id", id),
            ],
            Event::Told { id, finished, refusals } => vec![self.told(id, finished, refusals)],
            Event::Silent { master, id, refusals } => vec![
                Record::new(Level::Warn, "error reading from udp socket", "no_answer")
                    .words("err", "error", silence(refusals))
                    .address("masterAddr", "master_addr", *master)
                    .bytes("txID", "tx_id", id)
                    .refusals(refusals),
            ],
            Event::Failed(sentence) => {
                vec![Record::new(Level::Warn, "cannot report", "cannot_report").words("err", "error", sentence)]
            }
        }
    }

    fn offset(&self, found: &master::Finished) -> Vec<Record> {
        let offset_ms = found.estimate.offset_ms;
        let is_over = offset_ms.abs() > self.threshold_ms;
        let common = |record: Record| {
            record
                .bytes("clientName", "client_name", &found.name)
                .float("offset", "offset_ms", offset_ms)
                .bytes("txID", "tx_id", &found.id)
                .count("txNumTrips", "trips", found.trips.into())
        };
        let told = common(Record::new(Level::Info, "slave offset", "offset"))
            .float("absOffset", "", offset_ms.abs())
            .float("latency", "latency_ms", found.estimate.latency_ms)
            .with("", "over_threshold", is_over.into(), String::new());
        let warning = is_over.then(|| {
            common(Record::new(Level::Warn, "slave offset is over threshold", "over_threshold")).with(
                "",
                "threshold_ms",
                json!(self.threshold_ms),
                String::new(),
            )
        });
        std::iter::once(told).chain(warning).collect()
    }

    fn told(&self, id: &[u8], told: &slave::Finished, refusals: &Refusals) -> Record {
        let record = Record::new(self.fin_level, "received fin", "fin")
            .float("offset", "offset_ms", told.offset_ms)
            .bytes("txID", "tx_id", id)
            .count("txNumTrips", "trips", told.trips.into());
        let record =
            if told.error.is_empty() { record } else { record.bytes("unsignedError", "unsigned_error", &told.error) };
        record.refusals(refusals)
    }
}

/// How Saturn says that it refuses a datagram. It knows fewer reasons.
const fn saturns_words(reason: Refusal) -> (Level, &'static str) {
    match reason {
        Refusal::TooLong | Refusal::Unparsable => (Level::Error, "error unmarshaling proto msg"),
        Refusal::Invalid => (Level::Warn, "received invalid message (possibly from a newer version?)"),
        Refusal::BadSignature => (Level::Warn, "received incorrectly signed message"),
        Refusal::WrongSeq => (Level::Warn, "received message with wrong seq"),
        Refusal::Replayed | Refusal::UnknownTransaction => (Level::Warn, "received Report for unknown transaction"),
        Refusal::WrongAddress | Refusal::WrongKind | Refusal::Absurd | Refusal::TableFull => {
            (Level::Warn, "refused datagram")
        }
    }
}

/// Why a slave was not answered, as far as what it refused tells.
fn silence(refusals: &Refusals) -> &'static str {
    if refusals.of(Refusal::BadSignature) > 0 {
        "no good answer within 5 s: what came was not signed with our key"
    } else if refusals.of(Refusal::WrongAddress) > 0 {
        "no good answer within 5 s: what came was from another address than the master's: give that one to \
         --master-addr, or say --compat"
    } else {
        "no answer within 5 s: does the master run, and has it the same key?"
    }
}

fn summary(summary: &MasterSummary) -> Record {
    Record::new(Level::Info, "summary", "summary")
        .count("begun", "begun", summary.counters.begun)
        .count("finished", "finished", summary.counters.finished)
        .count("expired", "expired", summary.counters.expired)
        .count("live", "live", summary.live as u64)
        .count("sendFailed", "send_failed", summary.send_failed)
        .count("eventsDropped", "events_dropped", summary.events_dropped)
        .refusals(&summary.refusals)
}

/// `~ LEVEL -- text -- key="value" ...`, keys in order.
fn saturn_line(mut record: Record, out: &mut String) {
    let level = match record.level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    // Writing to a String cannot fail.
    let _infallible = write!(out, "~ {level} -- {}", record.text);
    record.fields.retain(|field| !field.saturn_key.is_empty());
    record.fields.sort_by_key(|field| field.saturn_key);
    for (n, field) in record.fields.iter().enumerate() {
        out.push_str(if n == 0 { " -- " } else { " " });
        let _infallible = write!(out, "{}=\"", field.saturn_key);
        push_quoted(&field.text, out);
        out.push('"');
    }
    out.push('\n');
}

/// What a peer calls itself must not be able to forge a line or drive a terminal.
fn push_quoted(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _infallible = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
}

fn json_line(record: &Record, now_s: f64, out: &mut String) {
    let mut object = Map::new();
    object.insert("unix_s".into(), json!(now_s));
    object.insert("level".into(), record.level.as_str().into());
    object.insert("event".into(), record.event.into());
    for field in record.fields.iter().filter(|field| !field.json_key.is_empty()) {
        object.insert(field.json_key.into(), field.value.clone());
    }
    let _infallible = writeln!(out, "{}", Value::Object(object));
}

/// Fields that a line of our own log has by themselves.
const LOGGED: [&str; 8] =
    ["client_name", "offset_ms", "latency_ms", "threshold_ms", "trips", "tx_id", "error", "master_addr"];

/// A line of this program's own log. Its fields must be known when it is compiled: what has none of its own is a
/// detail.
fn log_line(record: &Record) {
    let value = |key: &str| record.fields.iter().find(|field| field.json_key == key).map(|field| &field.value);
    let words = |key: &str| value(key).and_then(Value::as_str);
    let number = |key: &str| value(key).and_then(Value::as_f64);
    // Within the macro `Value` is another.
    let trips = value("trips").and_then(Value::as_u64);
    let others = record.fields.iter().filter(|field| !field.json_key.is_empty() && !LOGGED.contains(&field.json_key));
    let details: Vec<String> = others.map(|field| format!("{}={}", field.json_key, field.value)).collect();
    let details = Some(details.join(" ")).filter(|details| !details.is_empty());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                client_name = words("client_name"),
                offset_ms = number("offset_ms"),
                latency_ms = number("latency_ms"),
                threshold_ms = number("threshold_ms"),
                trips,
                tx_id = words("tx_id"),
                error = words("error"),
                master_addr = words("master_addr"),
                details = details.as_deref(),
                "{}",
                record.text
            )
        };
    }
    match record.level {
        Level::Error => line!(error),
        Level::Warn => line!(warn),
        Level::Info => line!(info),
        Level::Debug => line!(debug),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saturn::offset::Estimate;

    fn style(json: bool) -> Style {
        let form = if json { Form::Json } else { Form::Saturn };
        Style { form, level: Level::Info, threshold_ms: 5_000.0, fin_level: Level::Debug }
    }

    fn written(style: &Style, event: &Event) -> String {
        let mut out = String::new();
        style.write(event, &mut out);
        out
    }

    fn offset(name: &str, offset_ms: f64, latency_ms: f64) -> Event {
        let (id, name) = (b"[::]:46485_06470b9fa4c9c63b".to_vec(), name.as_bytes().to_vec());
        Event::Offset(master::Finished { id, name, estimate: Estimate { offset_ms, latency_ms }, trips: 5 })
    }

    #[test]
    fn an_offset_is_saturns_line_to_the_letter() {
        assert_eq!(
            written(&style(false), &offset("node-b", 0.05, 0.0697)),
            "~ INFO -- slave offset -- absOffset=\"0.05\" clientName=\"node-b\" latency=\"0.0697\" offset=\"0.05\" \
             txID=\"[::]:46485_06470b9fa4c9c63b\" txNumTrips=\"5\"\n"
        );
    }

    #[test]
    fn an_offset_over_the_threshold_is_told_and_warned_of_and_nan_is_not_over() {
        let lines = written(&style(false), &offset("slow", -5_999.996_558, 1e-5));
        let (told, warning) = lines.split_once('\n').unwrap();
        assert!(
            told.starts_with(
                "~ INFO -- slave offset -- absOffset=\"5999.996558\" clientName=\"slow\" latency=\"1e-05\""
            )
        );
        assert_eq!(
            warning,
            "~ WARN -- slave offset is over threshold -- clientName=\"slow\" offset=\"-5999.996558\" \
             txID=\"[::]:46485_06470b9fa4c9c63b\" txNumTrips=\"5\"\n"
        );
        for (offset_ms, lines) in [(5_000.0, 1), (5_000.000_1, 2), (-5_000.0, 1), (f64::NAN, 1)] {
            assert_eq!(written(&style(false), &offset("a", offset_ms, 1.0)).lines().count(), lines, "{offset_ms}");
        }
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let line = written(&style(false), &offset("a\"\n~ WARN -- \u{1b}[2J\\", 0.0, 0.0));
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r#"clientName="a\"\n~ WARN -- \u001b[2J\\" latency="0""#), "{line}");
        let line = written(&style(true), &offset("a\"\n", 0.0, 0.0));
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn json_has_units_in_its_names_and_null_for_what_is_no_number() {
        let lines = written(&style(true), &offset("node-b", -6_000.5, f64::NAN));
        let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&objects[0]["event"], &objects[0]["level"]), (&json!("offset"), &json!("info")));
        assert_eq!((&objects[0]["offset_ms"], &objects[0]["latency_ms"]), (&json!(-6000.5), &Value::Null));
        assert_eq!((&objects[0]["client_name"], &objects[0]["trips"]), (&json!("node-b"), &json!(5)));
        assert_eq!((&objects[0]["over_threshold"], &objects[1]["event"]), (&json!(true), &json!("over_threshold")));
        assert_eq!(objects[1]["threshold_ms"], json!(5000.0));
    }

    #[test]
    fn refusals_are_told_together_and_to_who_plays_saturn_in_its_words() {
        let mut refusals = Refusals::default();
        (0..3).for_each(|_| refusals.count(Refusal::BadSignature));
        let line = written(&style(false), &Event::Refusals(refusals));
        assert_eq!(line, "~ WARN -- refused datagrams -- bad_signature=\"3\"\n");
        let one = Event::Refused { from: ([192, 0, 2, 1], 5).into(), reason: Refusal::Unparsable };
        let line = written(&style(false), &one);
        assert_eq!(line, "~ ERROR -- error unmarshaling proto msg -- addr=\"192.0.2.1:5\" reason=\"unparsable\"\n");
    }

    #[test]
    fn a_slave_that_is_not_answered_says_what_came_instead() {
        let silent = |reason: Option<Refusal>| {
            let mut refusals = Refusals::default();
            reason.into_iter().for_each(|reason| refusals.count(reason));
            let master = ([192, 0, 2, 1], 4123).into();
            written(&style(false), &Event::Silent { master, id: b"x".to_vec(), refusals })
        };
        assert!(silent(None).contains("does the master run"));
        assert!(silent(Some(Refusal::WrongAddress)).contains("--compat"));
        assert!(silent(Some(Refusal::BadSignature)).contains("not signed with our key"));
    }

    #[test]
    fn a_level_hides_what_is_less_important() {
        let told = Event::Told {
            id: b"x".to_vec(),
            finished: slave::Finished { offset_ms: 1.5, error: b"e".to_vec(), trips: 5 },
            refusals: Refusals::default(),
        };
        assert_eq!(written(&style(false), &told), "");
        let line = written(&Style { level: Level::Debug, ..style(false) }, &told);
        assert_eq!(line, "~ DEBUG -- received fin -- offset=\"1.5\" txID=\"x\" txNumTrips=\"5\" unsignedError=\"e\"\n");
        let warn = Style { level: Level::Warn, ..style(false) };
        assert_eq!(written(&warn, &offset("a", 9_000.0, 1.0)).lines().count(), 1);
        assert_eq!(written(&Style { level: Level::Error, ..warn }, &offset("a", 9_000.0, 1.0)), "");
    }
}
