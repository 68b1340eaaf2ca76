//! What the status socket tells of the past: latencies since the start, and what has happened. Kept by the control
//! thread for whoever asks there, in memory of a fixed size; the endpoint for monitoring remembers for itself, so that
//! neither waits for the other.

use super::answers::Answers;
use super::notes::Note;
use crate::report::{Chronicle, DisciplineLatencies, Happening, HotLatencies, Latencies};
use crate::sys::time::real_now;

/// Histograms are asked for as long as somebody wanted them within this, ns.
const WANTED_NS: i64 = 5_000_000_000;
/// How often the node is looked at for what has happened to it, ns.
const LOOK_INTERVAL_NS: i64 = 1_000_000_000;

/// Remembers.
pub(super) struct Recollection {
    /// Since the start, as far as they were handed over.
    latencies: Box<Latencies>,
    chronicle: Chronicle,
    look_due_ns: i64,
    /// Until when histograms are wanted.
    wanted_until_ns: i64,
}

impl Recollection {
    /// Nothing has happened yet.
    pub fn new(now_ns: i64) -> Self {
        let (latencies, chronicle) = (Box::default(), Chronicle::default());
        Recollection { latencies, chronicle, look_due_ns: now_ns, wanted_until_ns: now_ns }
    }

    /// The document for a question about the past, or `None` if it is about something else. Latencies are as old as the
    /// last time that they were handed over; asking has that done again, soon.
    pub fn answer(&mut self, question: &str, now_ns: i64) -> Option<String> {
        let document = match question {
            "latencies" => {
                self.wanted_until_ns = now_ns + WANTED_NS;
                serde_json::to_string(&self.latencies.status())
            }
            "events" => serde_json::to_string(&self.chronicle.told(real_now())),
            _ => return None,
        };
        Some(document.expect("the documents are plain data") + "\n")
    }

    /// Whether somebody has asked for latencies of late.
    pub fn wants_latencies(&self, now_ns: i64) -> bool {
        now_ns < self.wanted_until_ns
    }

    /// More that was measured.
    pub fn add(&mut self, hot: &HotLatencies, discipline: &DisciplineLatencies) {
        self.latencies.merge(hot, discipline);
    }

    /// What the discipline thread says.
    pub fn note(&mut self, note: &Note) {
        if let Some((gravity, text)) = note.sentence() {
            self.chronicle.tell(Happening { at_unix_ns: real_now(), gravity, text });
        }
    }

    /// Compares the node with how it was, if it is time to.
    pub fn look(&mut self, now_ns: i64, answers: &Answers) {
        if now_ns >= self.look_due_ns {
            self.look_due_ns = now_ns + LOOK_INTERVAL_NS;
            self.chronicle.look(&answers.status(), real_now());
        }
    }
}
