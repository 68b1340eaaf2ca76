//! `llts waitsync`: waits until a node of this machine promises a bound. Ready means the bound, never the offset: an
//! offset may be small by luck, a bound is what a program may build on.

use std::time::{Duration, Instant};

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

/// Waits until the node promises the bound. 0: it does; 1: not in time; 2: it never will.
pub(super) fn waitsync(args: &WaitsyncArgs) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_nanos(args.timeout.unsigned_abs());
    // No daemon, or several, will not change by waiting: whoever starts the node waits for it to say that it is up.
    let socket = args.node.socket().map_err(never)?;
    let wanted = span_text(Some(args.bound as f64));
    loop {
        let now = match ask::status(&socket, status::PATIENCE) {
            Ok((_, status)) => match outlook(&status, args.bound) {
                Outlook::Reached => {
                    let bound = span_text(status.bound_ns);
                    return say(&format!("{} is within {bound} of its cluster\n", status.node));
                }
                Outlook::Never(reason) => {
                    return Err(Failure::Usage(format!("{} will never be in agreement: {reason}", status.node)));
                }
                Outlook::Waiting => {
                    format!("state {}, bound {}", status.state, span_text(status.bound_ns))
                }
            },
            Err(error @ ask::AskError::Unclear { .. }) => return Err(never(error.into())),
            // It may be starting again.
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            let patience = span_text(Some(args.timeout as f64));
            let wait = format!("no bound of {wanted} within {patience}: {now}; `llts peers` says why");
            return Err(anyhow::anyhow!(wait).into());
        }
        std::thread::sleep(INTERVAL.min(until.saturating_duration_since(Instant::now())));
    }
}

fn outlook(status: &Status, bound_ns: i64) -> Outlook {
    match (status.role.as_str(), status.state.as_str(), status.bound_ns) {
        ("observer", ..) => Outlook::Never("it is an observer and steers no clock (--role)"),
        (_, "track", Some(now_ns)) if now_ns <= bound_ns as f64 => Outlook::Reached,
        _ => Outlook::Waiting,
    }
}

/// A failure that waiting does not mend.
fn never(failure: Failure) -> Failure {
    match failure {
        Failure::Runtime(error) => Failure::Usage(format!("{error:#}")),
        other => other,
    }
}
