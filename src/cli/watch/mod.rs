//! `llts watch`: how far apart the nodes of a cluster are, as measured by itself or as a running node sees it, with
//! alarms. Looks and tells; it steers nothing and needs no privileges.

mod screen;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exit::{Failure, say};
use super::keys::KeyArgs;
use super::quantity::{self, interval_ns, threshold_ns};
use crate::limits::{RATE_HZ_MAX, RATE_HZ_MIN, ROUNDS_MAX, WATCH_ROUNDS};
use crate::report::{Hooks, WatchEvent, WatchLine, WebhookUrl, news_text};
use crate::watch::{Alarms, Survey};
use screen::Screen;
use source::{Sight, Source};

/// Hooks that are under way at the end may take so long.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

/// Options of `llts watch`.
#[derive(Args, Debug)]
pub(super) struct WatchArgs {
    /// Nodes to measure, as host:port,host:port; may be given more than once
    #[arg(long, value_name = "LIST", conflicts_with = "socket")]
    pub peers: Vec<String>,
    /// File that names nodes to measure, one or several a line; # begins a comment
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub peers_file: Option<PathBuf>,
    /// Show what the node with this status socket sees [default, without --peers: the only one in the runtime folder]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Exchanges a second with each node
    #[arg(long, value_name = "HZ", default_value_t = 1.0, value_parser = rate_hz)]
    pub rate: f64,
    /// Exchanges in the burst with which a node is met
    #[arg(long, value_name = "N", default_value_t = WATCH_ROUNDS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    pub rounds: u32,
    /// Time between two lines, like 1s or 250ms
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = interval_ns)]
    pub interval: i64,
    /// End after so many lines [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Warn when the largest skew, or a node's offset from the median, is above this: 5 (milliseconds) or 250us
    #[arg(long, value_name = "SPAN", value_parser = threshold_ns)]
    pub threshold: Option<i64>,
    /// Program to start when the threshold is crossed, in either direction; docs/WATCH.md lists what it is told
    #[arg(long, value_name = "PROGRAM", requires = "threshold")]
    pub exec: Option<PathBuf>,
    /// Server to POST to when the threshold is crossed, in either direction: http://HOST:PORT/PATH
    #[arg(long, value_name = "URL", requires = "threshold", value_parser = quantity::webhook)]
    pub webhook: Option<WebhookUrl>,
    /// Print one JSON object for each interval and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Watches until the count is reached or a signal ends it.
pub(super) fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let mut source = Source::open(args)?;
    let mut hooks = Hooks::open(args.exec.clone(), args.webhook.clone())?;
    let mut alarms = args.threshold.map(|ns| Alarms::new(ns as f64));
    let mut screen = Screen::new(args.json);
    let mut lines = 0;
    while args.count.is_none_or(|count| lines < count) {
        let sight = source.next()?;
        let line = judged(sight, alarms.as_mut(), &hooks, &mut screen)?;
        if args.json {
            say(&format!("{}\n", serde_json::to_string(&line)?))?;
        } else {
            screen.show(&line)?;
        }
        lines += 1;
    }
    hooks.close(CLOSING_PATIENCE);
    hooks.take_faults().iter().try_for_each(|fault| screen.complain(fault))
}

/// The document of one sight, after everybody who wanted to be told of crossings was.
fn judged(sight: Sight, alarms: Option<&mut Alarms>, hooks: &Hooks, screen: &mut Screen) -> Result<WatchLine, Failure> {
    for message in sight.messages.into_iter().chain(hooks.take_faults()) {
        screen.complain(&message)?;
    }
    let survey = Survey::new(sight.sightings);
    let (alarms, news) = match alarms {
        Some(alarms) => {
            let news = alarms.judge(&survey);
            (Some(&*alarms), news)
        }
        None => (None, Vec::new()),
    };
    for news in &news {
        hooks.tell(&WatchEvent::new(news, sight.at_unix_ns));
        screen.tell(&news_text(news))?;
    }
    let mut line = WatchLine::new(&survey, alarms, &news, sight.at_unix_ns, sight.source);
    line.hooks = hooks.counts();
    (line.exchanges, line.unanswered, line.rejected) = (sight.exchanges, sight.unanswered, sight.rejected);
    Ok(line)
}

fn rate_hz(text: &str) -> Result<f64, String> {
    let hz: f64 = text.parse().map_err(|_| format!("{text:?} is no number of exchanges a second, like 1"))?;
    if (RATE_HZ_MIN..=RATE_HZ_MAX).contains(&hz) {
        Ok(hz)
    } else {
        Err(format!("{text} is outside of {RATE_HZ_MIN} to {RATE_HZ_MAX} exchanges a second"))
    }
}
