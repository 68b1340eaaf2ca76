//! `llts watch`: how far apart the nodes of a cluster are, as measured by itself or as a running node sees it, with
//! alarms. Looks and tells; it steers nothing and needs no privileges.

mod screen;
mod source;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::exit::{Failure, say};
use super::keys::KeyArgs;
use super::quantity::{self, interval_ns, threshold_ns};
use crate::limits::{
    RATE_HZ_MAX, RATE_HZ_MIN, ROUNDS_MAX, WATCH_GRACE_NS, WATCH_LOT_NODES, WATCH_LOT_PAUSE_NS, WATCH_ROUNDS,
};
use crate::report::{Hooks, WatchEvent, WatchLine, WebhookUrl, news_text};
use crate::watch::{Alarms, News, Survey};
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
    let mut judge = args.threshold.map(Judge::new);
    let mut screen = Screen::new(args.json);
    let mut lines = 0;
    while args.count.is_none_or(|count| lines < count) {
        let sight = source.next()?;
        let line = judged(sight, judge.as_mut(), &hooks, &mut screen)?;
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

/// Alarms that wait until there is a cluster to be judged.
struct Judge {
    alarms: Alarms,
    began: Instant,
    is_waiting: bool,
}

impl Judge {
    fn new(threshold_ns: i64) -> Self {
        Judge { alarms: Alarms::new(threshold_ns as f64), began: Instant::now(), is_waiting: true }
    }

    /// What has been crossed. Nothing while nodes are still being met: the median of the first few that answer is not
    /// the cluster's.
    fn judge(&mut self, survey: &Survey) -> Vec<News> {
        let lots = survey.sightings().len().div_ceil(WATCH_LOT_NODES) as i64;
        let wait = Duration::from_nanos((lots * WATCH_LOT_PAUSE_NS + WATCH_GRACE_NS) as u64);
        self.is_waiting &= !survey.is_settled() && self.began.elapsed() < wait;
        if self.is_waiting { Vec::new() } else { self.alarms.judge(survey) }
    }
}

/// The document of one sight, after everybody who wanted to be told of crossings was.
fn judged(sight: Sight, judge: Option<&mut Judge>, hooks: &Hooks, screen: &mut Screen) -> Result<WatchLine, Failure> {
    for message in sight.messages.into_iter().chain(hooks.take_faults()) {
        screen.complain(&message)?;
    }
    let survey = Survey::new(sight.sightings);
    let (alarms, news) = match judge {
        Some(judge) => {
            let news = judge.judge(&survey);
            (Some(&judge.alarms), news)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::NodeId;
    use crate::watch::{Lead, Seen, Sighting};

    fn survey(seen: [Seen; 3]) -> Survey {
        let sighting = |(n, seen): (usize, Seen)| Sighting {
            lead: Some(Lead::new(n as i64 * 40_000_000, 0.0)),
            seen,
            ..Sighting::unheard(NodeId(n as u64 + 1), format!("n{n}"), None)
        };
        Survey::new(seen.into_iter().enumerate().map(sighting).collect())
    }

    #[test]
    fn nobody_is_judged_by_the_median_of_those_who_answered_first() {
        let mut judge = Judge::new(5_000_000);
        assert!(judge.judge(&survey([Seen::Live, Seen::Live, Seen::Learning])).is_empty());
        // The cluster, and both ends: the one in the middle is good.
        assert_eq!(judge.judge(&survey([Seen::Live; 3])).len(), 3);
        // From then on whoever is live is judged: the median of two is between them.
        assert_eq!(judge.judge(&survey([Seen::Live, Seen::Live, Seen::Silent])).len(), 1);
    }

    #[test]
    fn a_node_that_never_answers_does_not_put_off_the_others_for_ever() {
        let mut judge = Judge::new(5_000_000);
        judge.began -= Duration::from_nanos(WATCH_GRACE_NS as u64) + Duration::from_secs(1);
        assert_eq!(judge.judge(&survey([Seen::Live, Seen::Live, Seen::Unheard])).len(), 3);
    }
}
