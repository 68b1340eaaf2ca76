//! `llts query`: one node, asked a few times, for cron and monitoring checks. Exit code 0: reachable and within the
//! threshold; 1: over it; 2: not reachable, or misused. It never says 1 for any other reason.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::exit::{Failure, say, warn};
use super::keys::KeyArgs;
use super::quantity::{self, threshold_ns};
use crate::discovery::StaticPeer;
use crate::engine::{Look, Watch, WatchSettings};
use crate::limits::{ROUNDS_MAX, WATCH_ROUNDS};
use crate::report::{offset_text, span_text};
use crate::sys::time::monotonic_now;
use crate::watch::{Seen, Sighting};

/// Exchanges a second.
const RATE_HZ: f64 = 16.0;
/// What one exchange may take beyond its turn, ns.
const ROUND_NS: i64 = 150_000_000;
/// How often it is looked whether the exchanges are done, ns.
const LOOK_NS: i64 = 10_000_000;

/// Options of `llts query`.
#[derive(Args, Debug)]
pub(super) struct QueryArgs {
    /// The node, as host:port [default port: 4123]
    #[arg(value_name = "HOST[:PORT]")]
    pub host: String,
    #[command(flatten)]
    pub keys: KeyArgs,
    /// How many exchanges
    #[arg(long, value_name = "N", default_value_t = WATCH_ROUNDS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    pub rounds: u32,
    /// Exit with 1 if the offset is above this, ahead or behind: 5 (milliseconds) or 250us
    #[arg(long, value_name = "SPAN", value_parser = threshold_ns)]
    pub threshold: Option<i64>,
    /// How long to wait for the first answer, like 3s
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = quantity::interval_ns)]
    pub timeout: i64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What a query found. Names do not change; what is not known is null.
#[derive(Debug, Serialize)]
struct Answer {
    /// As it was asked for.
    host: String,
    /// What the node calls itself.
    node: String,
    /// Where it answered.
    address: Option<std::net::SocketAddr>,
    /// How far it says it has come: `unset`, `acquire`, `track` or `holdover`.
    state: Option<String>,
    /// `peer`, `reference` or `observer`.
    role: Option<String>,
    /// The clock of this machine that the node was compared with.
    local_clock: &'static str,
    /// The local clock minus the node's time, ns; positive: the local clock is ahead.
    offset_ns: f64,
    /// One standard deviation of it, ns: an estimate.
    sigma_ns: Option<f64>,
    /// It cannot be further from the truth than this, ns, if the node is honest.
    bound_ns: Option<f64>,
    /// Shortest round trip, ns.
    delay_ns: Option<f64>,
    /// The weakest stamp behind it: `user`, `kernel` or `nic`.
    stamps: Option<String>,
    /// Exchanges behind it.
    exchanges: u32,
    /// What the node claims of its own clock, ns.
    claimed_sigma_ns: Option<f64>,
    /// What it promises of its own clock, ns.
    claimed_bound_ns: Option<f64>,
    /// The threshold, ns.
    threshold_ns: Option<i64>,
    /// True if the offset is over the threshold.
    over: bool,
    /// When, by the local clock, ns since 1970.
    at_unix_ns: i64,
}

/// Asks, prints, and says by the exit code what was found.
pub(super) fn query(args: &QueryArgs) -> Result<(), Failure> {
    let answer = match ask(args) {
        // 1 means over the threshold and nothing else.
        Err(Failure::Runtime(error)) => return Err(Failure::Usage(format!("{error:#}"))),
        other => other?,
    };
    let said = say(&format!("{}\n", if args.json { serde_json::to_string(&answer)? } else { text(&answer) }));
    match said {
        // Whoever asks by the exit code is told, whether or not somebody reads.
        Ok(()) | Err(Failure::Unheard) if answer.over => Err(Failure::Over),
        Err(Failure::Runtime(error)) => Err(Failure::Usage(format!("{error:#}"))),
        other => other,
    }
}

fn ask(args: &QueryArgs) -> Result<Answer, Failure> {
    if args.host.contains(',') {
        return Err(Failure::Usage("a query asks one node: `llts watch` takes a list".into()));
    }
    let peer = StaticPeer::parse(&args.host).map_err(Failure::usage)?;
    let peers = vec![peer];
    let (listen, keys) = args.keys.checked(&peers)?;
    let settings = WatchSettings {
        listen,
        cluster: args.keys.cluster.clone(),
        calls_itself: "query",
        peers,
        keys,
        rate_hz: RATE_HZ,
        rounds: args.rounds,
        runtime_dir: args.keys.runtime_dir.clone(),
    };
    let mut watch = Watch::open(settings)?;
    let first_until_ns = monotonic_now() + args.timeout;
    let all_until_ns = first_until_ns + i64::from(args.rounds) * ROUND_NS;
    loop {
        let now_ns = monotonic_now();
        watch.run_until(now_ns + LOOK_NS)?;
        let (look, messages) = (watch.look(), watch.take_messages());
        match messages.first() {
            // The one name that was given leads nowhere: there is nothing to wait for.
            Some(message) if look.sightings.is_empty() => return Err(Failure::Usage(message.clone())),
            _ => messages.iter().for_each(|message| warn(message)),
        }
        let best = look.sightings.iter().filter(|s| s.lead.is_some() && s.seen != Seen::Silent);
        let best = best.max_by_key(|sighting| sighting.exchanges);
        let done = best.and_then(|sighting| sighting.exchanges).unwrap_or(0);
        if let Some(best) = best
            && (done >= args.rounds || now_ns >= all_until_ns)
        {
            return Ok(answer(args, &look, best));
        }
        if best.is_none() && now_ns >= first_until_ns {
            return Err(Failure::Usage(unreachable(args, &look)));
        }
    }
}

fn unreachable(args: &QueryArgs, look: &Look) -> String {
    let patience = Duration::from_nanos(args.timeout as u64);
    let refused = match look.rejected {
        0 => String::new(),
        n => format!(" ({n} datagrams came and were refused)"),
    };
    format!(
        "no sealed answer from {} within {patience:?}{refused}: is llts running there, is its UDP port open, and does \
         it have the same key and cluster?",
        args.host
    )
}

fn answer(args: &QueryArgs, look: &Look, sighting: &Sighting) -> Answer {
    let lead = sighting.lead.expect("only a node with a lead is taken");
    let offset_ns = look.local.minus_ns(lead);
    Answer {
        host: args.host.clone(),
        node: sighting.name.clone(),
        address: sighting.address,
        state: sighting.state.clone(),
        role: sighting.role.clone(),
        local_clock: "CLOCK_REALTIME",
        offset_ns,
        sigma_ns: sighting.sigma_ns,
        bound_ns: sighting.bound_ns.map(|bound_ns| bound_ns + look.local_bound_ns),
        delay_ns: sighting.delay_ns,
        stamps: sighting.stamps.clone(),
        exchanges: sighting.exchanges.unwrap_or(0),
        claimed_sigma_ns: sighting.claimed_sigma_ns,
        claimed_bound_ns: sighting.claimed_bound_ns,
        threshold_ns: args.threshold,
        over: args.threshold.is_some_and(|threshold_ns| offset_ns.abs() > threshold_ns as f64),
        at_unix_ns: look.at_unix_ns,
    }
}

fn text(answer: &Answer) -> String {
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let place = answer.address.map_or_else(|| "-".into(), |address| address.to_string());
    let verdict = match (answer.threshold_ns, answer.over) {
        (None, _) => String::new(),
        (Some(ns), true) => format!("\nOVER     the threshold of {}", span_text(Some(ns as f64))),
        (Some(ns), false) => format!("\nwithin   the threshold of {}", span_text(Some(ns as f64))),
    };
    format!(
        "node     {} at {place}, {}, {}\n\
         offset   {} (this machine's {} minus the node's time: positive means that the local clock is ahead)\n\
         error    {} one sigma (estimate), {} at most (bound)\n\
         delay    {} round trip, {} exchanges, {} stamps{verdict}",
        answer.node,
        word(&answer.role),
        word(&answer.state),
        offset_text(Some(answer.offset_ns)),
        answer.local_clock,
        span_text(answer.sigma_ns),
        span_text(answer.bound_ns),
        span_text(answer.delay_ns),
        answer.exchanges,
        word(&answer.stamps),
    )
}
