//! One limit for every kind of log line: whatever makes a node say something, packets and names of others included, it
//! cannot fill a disk with it. A kind is a place in the source; each has a budget, and what goes beyond it is counted
//! and told in one line. What an administrator asks for (a start, a reload) is never held back. Decides nothing about
//! levels and writes nothing itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::limits::{LOG_LINE_INTERVAL_NS, LOG_LINES_BURST};
use crate::sys::time::monotonic_now;

/// Modules whose lines only the administrator causes.
const ASKED_FOR: [&str; 2] = ["llts::engine::start", "llts::engine::reload"];

/// The budgets of all kinds. It grows with the program's source, not with what is logged.
#[derive(Debug)]
pub(super) struct LogLimit<K = Identifier> {
    kinds: Mutex<HashMap<K, Kind>>,
}

impl<K> Default for LogLimit<K> {
    fn default() -> Self {
        LogLimit { kinds: Mutex::default() }
    }
}

/// One kind of line.
#[derive(Debug)]
struct Kind {
    level: Level,
    /// Lines that may be written at once.
    left: u32,
    /// Since when the next one is being earned.
    earning_since_ns: i64,
    hidden: u64,
    hidden_since_ns: i64,
    /// The first of those hidden.
    example: String,
}

/// Lines of one kind that were held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Their level.
    pub level: Level,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub example: String,
}

impl<K: Eq + Hash> LogLimit<K> {
    /// Whether a line of this kind may be written now; if not, it is counted, and `text` may be asked for.
    fn admits(&self, kind: K, level: Level, now_ns: i64, text: impl FnOnce() -> String) -> bool {
        let mut kinds = self.lock();
        let kind = match kinds.entry(kind) {
            Entry::Occupied(kind) => kind.into_mut(),
            Entry::Vacant(place) => place.insert(Kind {
                level,
                left: LOG_LINES_BURST,
                earning_since_ns: now_ns,
                hidden: 0,
                hidden_since_ns: now_ns,
                example: String::new(),
            }),
        };
        kind.earn(now_ns);
        if kind.left > 0 {
            kind.left -= 1;
            return true;
        }
        if kind.hidden == 0 {
            (kind.hidden_since_ns, kind.example) = (now_ns, text());
        }
        kind.hidden += 1;
        false
    }

    /// What has been held back long enough to be told, and is forgotten here; with `all` whatever was held back.
    pub fn hidden(&self, now_ns: i64, all: bool) -> Vec<Hidden> {
        let mut kinds = self.lock();
        let due = |kind: &&mut Kind| {
            kind.hidden > 0 && (all || now_ns.saturating_sub(kind.hidden_since_ns) >= LOG_LINE_INTERVAL_NS)
        };
        kinds.values_mut().filter(due).map(Kind::take_hidden).collect()
    }

    /// A thread that panicked has taken the process with it.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn earn(&mut self, now_ns: i64) {
        let earned = now_ns.saturating_sub(self.earning_since_ns) / LOG_LINE_INTERVAL_NS;
        let left = i64::from(self.left).saturating_add(earned);
        if left >= i64::from(LOG_LINES_BURST) {
            (self.left, self.earning_since_ns) = (LOG_LINES_BURST, now_ns);
        } else {
            self.left = left as u32;
            self.earning_since_ns += earned * LOG_LINE_INTERVAL_NS;
        }
    }

    fn take_hidden(&mut self) -> Hidden {
        let (count, example) = (std::mem::take(&mut self.hidden), std::mem::take(&mut self.example));
        Hidden { level: self.level, count, example }
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "one more like this was not shown: {}", self.example),
            n => write!(f, "{n} more like this were not shown: {}", self.example),
        }
    }
}

/// The limit as a part of the subscriber.
pub(super) struct Limited(pub std::sync::Arc<LogLimit>);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        is_free(metadata) || self.0.admits(metadata.callsite(), *metadata.level(), monotonic_now(), || message(event))
    }
}

/// Lines that are never held back: those asked for, and the ones that tell what was held back.
fn is_free(metadata: &Metadata<'_>) -> bool {
    metadata.module_path().is_some_and(|path| ASKED_FOR.contains(&path)) || metadata.target() == TELLING
}

/// The target of lines that tell what was held back.
pub(super) const TELLING: &str = "llts-log-limit";

fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing::{info, warn};
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_kind_has_its_burst_then_a_line_each_interval_and_other_kinds_their_own() {
        let limit = LogLimit::default();
        let mut n = 0;
        let mut says = |kind: &'static str, now_ns| {
            n += 1;
            limit.admits(kind, Level::WARN, now_ns, || format!("line {n}"))
        };
        let burst = (0..10_000).filter(|_| says("one", 0)).count();
        assert_eq!(burst, LOG_LINES_BURST as usize);
        assert!(says("other", 0));
        assert!(!says("one", LOG_LINE_INTERVAL_NS - 1));
        assert!(says("one", LOG_LINE_INTERVAL_NS) && !says("one", LOG_LINE_INTERVAL_NS));
        // A quiet day earns a whole burst and not more.
        let day_ns = 86_400_000_000_000;
        assert_eq!((0..10_000).filter(|_| says("one", day_ns)).count(), LOG_LINES_BURST as usize);
    }

    #[test]
    fn what_was_held_back_is_told_once_with_its_number_and_its_first() {
        let limit = LogLimit::default();
        for n in 0..LOG_LINES_BURST + 17 {
            limit.admits("one", Level::INFO, 5, || format!("line {n}"));
        }
        assert_eq!(limit.hidden(5 + LOG_LINE_INTERVAL_NS - 1, false), []);
        let told = limit.hidden(5 + LOG_LINE_INTERVAL_NS, false);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].to_string(), format!("17 more like this were not shown: line {LOG_LINES_BURST}"));
        assert_eq!(limit.hidden(i64::MAX, true), []);
        limit.admits("one", Level::INFO, 6, || "the last".into());
        assert_eq!(limit.hidden(6, true)[0].to_string(), "one more like this was not shown: the last");
    }

    /// What a subscriber has written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_through_the_subscriber_leaves_a_burst_and_one_line_about_the_rest() {
        let (limit, written) = (Arc::new(LogLimit::default()), Written::default());
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = Registry::default().with(Limited(Arc::clone(&limit))).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..5_000 {
                info!("peer p{n} at 192.0.2.1:4123 has proved itself");
                if n % 1_000 == 0 {
                    warn!("another kind");
                }
            }
            for hidden in limit.hidden(i64::MAX, true) {
                info!(target: TELLING, "{hidden}");
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!(count("has proved itself"), LOG_LINES_BURST as usize + 1, "{text}");
        assert_eq!(count("another kind"), 5);
        let hidden = 5_000 - LOG_LINES_BURST;
        let example = format!("{hidden} more like this were not shown: peer p{LOG_LINES_BURST} at 192.0.2.1:4123");
        assert_eq!(count(&example), 1, "{text}");
    }
}
