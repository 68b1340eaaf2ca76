//! Where a watch gets its sightings: from nodes that it asks itself, or from the status socket of one that runs here.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::WatchArgs;
use crate::cli::ask;
use crate::cli::exit::Failure;
use crate::cli::status::only_socket_of;
use crate::discovery::StaticPeer;
use crate::engine::{Look, Watch, WatchSettings};
use crate::limits::WATCH_NODES_MAX;
use crate::report::{PeerStatus, Status};
use crate::sys::time::monotonic_now;
use crate::unit::NodeId;
use crate::watch::{Lead, Seen, Sighting};

/// How long a node of this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest file of names that is read, bytes: every node with the longest name that there can be.
const FILE_BYTES_MAX: u64 = WATCH_NODES_MAX as u64 * 264;

/// What was seen at one instant.
pub(super) struct Sight {
    /// By this machine's clock.
    pub at_unix_ns: i64,
    /// `peers` or `socket`.
    pub source: &'static str,
    /// Every node.
    pub sightings: Vec<Sighting>,
    /// What the operator should know.
    pub messages: Vec<String>,
    pub exchanges: Option<u64>,
    pub unanswered: Option<u64>,
    pub rejected: Option<u64>,
}

/// Gives a sight each interval.
pub(super) enum Source {
    /// A thread measures; a reader who does not read costs it nothing.
    Peers(Receiver<anyhow::Result<(Look, Vec<String>)>>),
    /// A node is asked.
    Socket { path: PathBuf, interval: Duration, due: Instant, heard: bool },
}

impl Source {
    /// Opens what the command line names.
    pub fn open(args: &WatchArgs) -> Result<Self, Failure> {
        let interval = Duration::from_nanos(args.interval as u64);
        if args.peers.is_empty() && args.peers_file.is_none() {
            let path = match &args.socket {
                Some(path) => path.clone(),
                None => only_socket_of(args.keys.runtime_dir.as_deref())?,
            };
            return Ok(Source::Socket { path, interval, due: Instant::now(), heard: false });
        }
        let peers = named(args)?;
        let (listen, keys) = args.keys.checked(&peers)?;
        let settings = WatchSettings {
            listen,
            cluster: args.keys.cluster.clone(),
            calls_itself: "watch",
            peers,
            keys,
            rate_hz: args.rate,
            rounds: args.rounds,
            runtime_dir: args.keys.runtime_dir.clone(),
        };
        let watch = Watch::open(settings)?;
        let (sender, receiver) = bounded(1);
        let interval_ns = args.interval;
        thread::Builder::new().name("llts-watch".into()).spawn(move || measure(watch, interval_ns, &sender))?;
        Ok(Source::Peers(receiver))
    }

    /// Waits for the next interval and says what was seen.
    pub fn next(&mut self) -> Result<Sight, Failure> {
        match self {
            Source::Peers(looks) => {
                let (look, messages) = looks.recv().context("the measuring thread has ended")??;
                Ok(Sight {
                    at_unix_ns: look.at_unix_ns,
                    source: "peers",
                    sightings: look.sightings,
                    messages,
                    exchanges: Some(look.exchanges),
                    unanswered: Some(look.unanswered),
                    rejected: Some(look.rejected),
                })
            }
            Source::Socket { path, interval, due, heard } => {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                *due = (*due + *interval).max(Instant::now());
                let (sightings, messages) = match ask::status(path, PATIENCE) {
                    Ok((_, status)) => {
                        *heard = true;
                        (seen_by(&status), Vec::new())
                    }
                    // Once heard, a node may be restarted under the eyes of its watcher.
                    Err(error) if *heard => (Vec::new(), vec![error.to_string()]),
                    Err(error) => return Err(error.into()),
                };
                let (at_unix_ns, source) = (crate::sys::time::real_now(), "socket");
                Ok(Sight { at_unix_ns, source, sightings, messages, exchanges: None, unanswered: None, rejected: None })
            }
        }
    }
}

/// The measuring thread: what cannot be handed over because nobody reads is left out.
fn measure(mut watch: Watch, interval_ns: i64, sender: &Sender<anyhow::Result<(Look, Vec<String>)>>) {
    let mut due_ns = monotonic_now() + interval_ns;
    let mut messages = Vec::new();
    loop {
        if let Err(error) = watch.run_until(due_ns) {
            // The reader learns why; if it has gone, nobody needs to.
            let _gone = sender.send(Err(error));
            return;
        }
        messages.extend(watch.take_messages());
        match sender.try_send(Ok((watch.look(), std::mem::take(&mut messages)))) {
            Ok(()) => {}
            Err(TrySendError::Full(unread)) => messages = unread.map_or_else(|_| Vec::new(), |(_, messages)| messages),
            Err(TrySendError::Disconnected(_)) => return,
        }
        due_ns = (due_ns + interval_ns).max(monotonic_now());
    }
}

/// The nodes of `--peers` and `--peers-file`.
fn named(args: &WatchArgs) -> Result<Vec<StaticPeer>, Failure> {
    let mut lists = args.peers.clone();
    if let Some(path) = &args.peers_file {
        lists.extend(lists_in(&read(path)?));
    }
    let peers = StaticPeer::parse_lists_of_any_length(&lists).map_err(Failure::usage)?;
    match peers.len() {
        0 => Err(Failure::Usage("no node is named: write them into --peers-file or --peers".into())),
        n if n > WATCH_NODES_MAX => {
            Err(Failure::Usage(format!("{n} nodes are named, and one watch takes {WATCH_NODES_MAX}: start several")))
        }
        _ => Ok(peers),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let fault = |reason: String| Failure::Usage(format!("cannot read --peers-file {}: {reason}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(fault(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))
}

/// The lists in a file: what stands in a line before a #, with or without a comma at its end.
fn lists_in(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().trim_end_matches(','));
    lines
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(","))
        .map(|line| line.replace(",,", ","))
}

/// What a node sees, itself first: everything against its delivered clock at its last tick.
fn seen_by(status: &Status) -> Vec<Sighting> {
    let node = |name: &str, place: &str| NodeId::derive(&status.cluster, &format!("{name} {place}"));
    let own_lead = status.clock.offset_ns.map(|offset_ns| Lead::new(0, -offset_ns));
    let own = Sighting {
        seen: match (status.role.as_str(), own_lead) {
            ("observer", _) => Seen::Observer,
            (_, None) => Seen::Learning,
            (_, Some(_)) => Seen::Live,
        },
        state: Some(status.state.clone()),
        role: Some(status.role.clone()),
        lead: own_lead,
        // It is its own measure.
        sigma_ns: Some(0.0),
        bound_ns: Some(0.0),
        claimed_sigma_ns: status.sigma_ns,
        claimed_bound_ns: status.bound_ns,
        ..Sighting::unheard(node(&status.node, "itself"), status.node.clone(), None)
    };
    let peers = status.peers.iter().map(|peer| {
        let unheard =
            Sighting::unheard(node(&peer.name, &peer.address.to_string()), peer.name.clone(), Some(peer.address));
        Sighting {
            seen: peer_seen(peer),
            state: Some(peer.state.clone()),
            role: peer.role.clone(),
            lead: peer.offset_ns.map(|offset_ns| Lead::new(0, -offset_ns)),
            sigma_ns: peer.sigma_ns,
            // A node tells how far a peer's clock can be from its own; from the estimate it can then be this far.
            bound_ns: peer.bound_ns.zip(peer.offset_ns).map(|(bound_ns, offset_ns)| bound_ns + offset_ns.abs()),
            delay_ns: peer.delay_ns,
            stamps: peer.rx_stamp.clone(),
            ..unheard
        }
    });
    let mut sightings: Vec<Sighting> = std::iter::once(own).chain(peers).collect();
    sightings.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
    sightings
}

fn peer_seen(peer: &PeerStatus) -> Seen {
    match peer.state.as_str() {
        "no-samples" => Seen::Unheard,
        "silent" => Seen::Silent,
        "observer" => Seen::Observer,
        _ if peer.offset_ns.is_some() => Seen::Live,
        _ => Seen::Learning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_names_may_have_comments_commas_and_several_a_line() {
        let text = "# rack 1\ndb1:4123\n\ndb2:4123, db3:4123,  # spare\n[::1]:5 db4\n";
        let lists: Vec<String> = lists_in(text).collect();
        let peers = StaticPeer::parse_lists_of_any_length(&lists).unwrap();
        let shown: Vec<String> = peers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["db1:4123", "db2:4123", "db3:4123", "[::1]:5", "db4:4123"]);
    }
}
