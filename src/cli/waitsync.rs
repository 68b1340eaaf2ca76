//! `llts waitsync`: waits until a node of this machine promises a bound. Ready means the bound, never the offset: an
//! offset may be small by luck, a bound is what a program may build on.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::WaitsyncArgs;
use super::exit::{Failure, say};
use super::{ask, status};
use crate::report::{Status, span_text};

/// How often the node is asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a node's word means to whoever waits for it.
#[derive(Debug, PartialEq, Eq)]
enum Outlook {
    /// It promises the bound.
    Reached,
    /// It may yet.
    Waiting,
    /// It never will.
    Never(&'static str),
}

/// How the waiting ended. Names do not change; what is not known is null.
#[derive(Debug, Serialize)]
struct Outcome {
    /// `reached` (exit code 0), `timeout` (1) or `never` (2).
    outcome: &'static str,
    /// The same as a sentence, for people.
    reason: String,
    /// The node's whole name; null if none has answered, as are the next two.
    node: Option<String>,
    /// How far it is in agreement.
    state: Option<String>,
    /// What it promises, ns; null also while it can promise nothing.
    bound_ns: Option<f64>,
    /// What was waited for, ns.
    wanted_ns: i64,
    /// How long that took, seconds.
    waited_s: f64,
}

/// Waits until the node promises the bound. 0: it does; 1: not in time; 2: it never will.
pub(super) fn waitsync(args: &WaitsyncArgs) -> Result<(), Failure> {
    let began = Instant::now();
    let mut last = None;
    let (outcome, reason) = wait(args, began, &mut last);
    if !args.json {
        return match outcome {
            "reached" => say(&format!("{reason}\n")),
            "timeout" => Err(anyhow::anyhow!(reason).into()),
            _ => Err(Failure::Usage(reason)),
        };
    }
    let last = last.as_ref();
    let document = Outcome {
        outcome,
        reason,
        node: last.map(|status| status.node.clone()),
        state: last.map(|status| status.state.clone()),
        bound_ns: last.and_then(|status| status.bound_ns),
        wanted_ns: args.bound,
        waited_s: began.elapsed().as_secs_f64(),
    };
    let said = say(&format!("{}\n", serde_json::to_string(&document)?));
    match (said, outcome) {
        // Whoever asks by the exit code is told, whether or not somebody reads.
        (Ok(()) | Err(Failure::Unheard), "timeout") => Err(Failure::Over),
        (Ok(()) | Err(Failure::Unheard), "never") => Err(Failure::Never),
        (said, _) => said,
    }
}

/// How it ended, in a word and in a sentence; `last` is what the node said last.
fn wait(args: &WaitsyncArgs, began: Instant, last: &mut Option<Status>) -> (&'static str, String) {
    let patience = Duration::from_nanos(args.timeout.unsigned_abs());
    // No daemon, or several, will not change by waiting: whoever starts the node waits for it to say that it is up.
    let socket = match args.node.socket() {
        Ok(socket) => socket,
        Err(failure) => return ("never", failure.sentence()),
    };
    loop {
        let now = match ask::status(&socket, status::PATIENCE) {
            Ok((_, status)) => {
                let status = last.insert(status);
                let bound = span_text(status.bound_ns);
                match outlook(status, args.bound) {
                    Outlook::Reached => {
                        return ("reached", format!("{} is within {bound} of its cluster", status.node));
                    }
                    Outlook::Never(why) => {
                        return ("never", format!("{} will never be in agreement: {why}", status.node));
                    }
                    Outlook::Waiting => format!("state {}, bound {bound}", status.state),
                }
            }
            Err(error @ ask::AskError::Unclear { .. }) => return ("never", error.to_string()),
            // It may be starting again.
            Err(error) => error.to_string(),
        };
        if began.elapsed() >= patience {
            let (wanted, patience) = (span_text(Some(args.bound as f64)), span_text(Some(args.timeout as f64)));
            return ("timeout", format!("no bound of {wanted} within {patience}: {now}; `llts peers` says why"));
        }
        std::thread::sleep(INTERVAL.min(patience.saturating_sub(began.elapsed())));
    }
}

fn outlook(status: &Status, bound_ns: i64) -> Outlook {
    match (status.role.as_str(), status.state.as_str(), status.bound_ns) {
        ("observer", ..) => Outlook::Never("it is an observer and steers no clock (--role)"),
        // In holdover too: there the promise is as good, and grows.
        (_, "track" | "holdover", Some(now_ns)) if now_ns <= bound_ns as f64 => Outlook::Reached,
        _ => Outlook::Waiting,
    }
}
