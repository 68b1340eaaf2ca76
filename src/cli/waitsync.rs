//! `llts waitsync`: waits until a node of this machine promises a bound. Ready means the bound, never the offset: an
//! offset may be small by luck, a bound is what a program may build on.

use std::io::ErrorKind;
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

/// Why nothing is known of the node at this moment.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    /// None is running, or several are; as a sentence.
    #[error("{0}")]
    NoSocket(String),
    /// It did not answer.
    #[error("{0}")]
    Ask(ask::AskError),
}

impl Unasked {
    /// There is nobody to ask.
    fn is_nobody(&self) -> bool {
        match self {
            Unasked::NoSocket(_) => true,
            Unasked::Ask(ask::AskError::Nobody { error, .. }) => error.kind() == ErrorKind::NotFound,
            Unasked::Ask(_) => false,
        }
    }
}

/// How it ended, in a word and in a sentence; `last` is what the node said last.
fn wait(args: &WaitsyncArgs, began: Instant, last: &mut Option<Status>) -> (&'static str, String) {
    let patience = Duration::from_nanos(args.timeout.unsigned_abs());
    let mut found = args.node.socket();
    loop {
        let asked = match &found {
            Ok(socket) => ask::status(socket, status::PATIENCE).map_err(Unasked::Ask),
            Err(failure) => Err(Unasked::NoSocket(failure.sentence())),
        };
        let now = match asked {
            Ok((_, status)) => {
                let status = last.insert(status);
                let bound = span_text(status.bound_ns);
                match outlook(status, args.bound, args.accept_virtual) {
                    Outlook::Reached => {
                        return ("reached", format!("{} is within {bound} of its cluster", status.node));
                    }
                    Outlook::Never(why) => {
                        return ("never", format!("{} will never make this machine's clock right: {why}", status.node));
                    }
                    Outlook::Waiting => format!("state {}, bound {bound}", status.state),
                }
            }
            Err(Unasked::Ask(error @ ask::AskError::Unclear { .. })) => return ("never", error.to_string()),
            // No daemon, or several, will not change by waiting: whoever starts the node waits for it to say that it is
            // up. Unless its first start may have failed for a reason that passes, as while a machine boots.
            Err(unasked) if !args.wait_for_daemon && last.is_none() && unasked.is_nobody() => {
                return ("never", unasked.to_string());
            }
            // It may be starting again.
            Err(unasked) => unasked.to_string(),
        };
        if found.is_err() {
            found = args.node.socket();
        }
        if began.elapsed() >= patience {
            let (wanted, patience) = (span_text(Some(args.bound as f64)), span_text(Some(args.timeout as f64)));
            return ("timeout", format!("no bound of {wanted} within {patience}: {now}; `llts peers` says why"));
        }
        std::thread::sleep(INTERVAL.min(patience.saturating_sub(began.elapsed())));
    }
}

fn outlook(status: &Status, bound_ns: i64, accept_virtual: bool) -> Outlook {
    match (status.role.as_str(), status.state.as_str(), status.bound_ns) {
        ("observer", ..) => Outlook::Never("it is an observer and steers no clock (--role)"),
        // What waits reads CLOCK_REALTIME, which such a node does not touch.
        _ if status.clock.kind == "virtual" && !accept_virtual => Outlook::Never(
            "it keeps a virtual clock, and the machine's own as it was (set clock = \"system\", or ask with \
             --accept-virtual)",
        ),
        // In holdover too: there the promise is as good, and grows.
        (_, "track" | "holdover", Some(now_ns)) if now_ns <= bound_ns as f64 => Outlook::Reached,
        _ => Outlook::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(role: &str, clock: &str, state: &str, bound_ns: Option<f64>) -> Status {
        let clock = serde_json::json!({ "kind": clock, "offset_ns": 0.0, "frequency_ppb": 0.0 });
        let document = serde_json::json!({
            "node": "a", "cluster": "c", "state": state, "role": role, "clock": clock, "sigma_ns": 1.0,
            "bound_ns": bound_ns, "algorithm": "rce", "poll_mode": "block", "cpu": null, "listen": "127.0.0.1:4123",
            "pid": 1, "version": "0", "uptime_s": 1.0, "peers": [], "counters": {}
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_promise_is_taken_in_track_and_in_holdover_and_nothing_else_is() {
        for (state, bound_ns, reached) in [
            ("track", Some(1_000.0), true),
            ("holdover", Some(1_000.0), true),
            ("holdover", Some(1_001.0), false),
            ("holdover", None, false),
            ("acquire", Some(10.0), false),
            ("unset", None, false),
        ] {
            let expected = if reached { Outlook::Reached } else { Outlook::Waiting };
            assert_eq!(outlook(&status("peer", "system", state, bound_ns), 1_000, false), expected, "{state}");
            assert_eq!(outlook(&status("reference", "system", state, bound_ns), 1_000, false), expected, "{state}");
        }
    }

    #[test]
    fn a_virtual_clock_is_no_promise_for_the_machines_own_unless_it_is_asked_for() {
        let good = status("peer", "virtual", "track", Some(10.0));
        assert!(matches!(outlook(&good, 1_000, false), Outlook::Never(why) if why.contains("--accept-virtual")));
        assert_eq!(outlook(&good, 1_000, true), Outlook::Reached);
        let waiting = status("peer", "virtual", "acquire", Some(10.0));
        assert!(matches!(outlook(&waiting, 1_000, false), Outlook::Never(_)), "there is nothing to wait for");
        let observer = status("observer", "virtual", "track", Some(10.0));
        assert!(matches!(outlook(&observer, 1_000, true), Outlook::Never(why) if why.contains("observer")));
    }
}
