//! Reading the configuration again while the node runs (SIGHUP): everything is read and checked before anything is
//! changed, so that a mistake changes nothing. Peers, keys, limits on the clock and the log level change at once and
//! cost no exchange; what else was changed is named, and waits for a restart.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use sha2::{Digest, Sha256};
use tracing::{error, info, warn};

use super::keyfile::{self, KeyLine};
use super::logging::LogLevel;
use super::start::StartError;
use super::{KeySource, OnConflict, Settings};
use crate::discovery::{Discovery, LOCAL_KEY_ID, StaticPeer, load_or_create_local_key};
use crate::pipeline::tuning::Tuning;
use crate::sys::seqlock::SeqWriter;
use crate::unit::{KeyId, NodeId};
use crate::wire::Keyring;

/// Options that a reload changes at once; every other one waits for a restart.
pub const LIVE_OPTIONS: [&str; 12] = [
    "peers",
    "key-file",
    "hmac-key",
    "faults",
    "step-threshold",
    "no-step",
    "slew-limit",
    "max-change",
    "max-change-at-start",
    "max-total",
    "on-conflict",
    "log-level",
];

/// What the discipline thread takes while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Live {
    /// The pipeline's part.
    pub tuning: Tuning,
    /// What to do when somebody else is at the clock.
    pub on_conflict: OnConflict,
}

/// Where a node's settings come from, so that they can be read again.
pub trait Configuration {
    /// Reads everything again.
    ///
    /// # Errors
    /// One sentence, as at the start.
    fn reread(&mut self) -> anyhow::Result<Reread>;
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Reread {
    /// Its meaning.
    pub settings: Settings,
    /// Every option as it was written, by its name; secrets are left out.
    pub said: BTreeMap<String, String>,
    /// The file that was read, if there was one.
    pub file: Option<std::path::PathBuf>,
}

/// A node's keys, ready for use, and a mark of each by which a later set is compared.
pub(super) struct Keys {
    pub ring: Keyring,
    marks: Vec<KeyMark>,
}

/// A key without the key: enough to tell whether another one is the same.
#[derive(Clone, PartialEq, Eq)]
struct KeyMark {
    id: u16,
    node: Option<String>,
    digest: [u8; 32],
}

/// The hot thread's ends.
pub(super) struct HotKeys {
    /// Keys to be used from now on.
    pub fresh: Receiver<Box<Keyring>>,
    /// Where the old ones go: their memory is freed elsewhere.
    pub spent: Sender<Box<Keyring>>,
}

/// What the control thread needs to read everything again.
pub(super) struct Reloading {
    configuration: Option<Box<dyn Configuration>>,
    settings: Settings,
    said: BTreeMap<String, String>,
    runtime_dir: std::path::PathBuf,
    marks: Vec<KeyMark>,
    log: LogLevel,
    live: SeqWriter<Live>,
    fresh_keys: Sender<Box<Keyring>>,
    untaken_keys: Receiver<Box<Keyring>>,
    spent_keys: Receiver<Box<Keyring>>,
}

impl Live {
    /// Of these settings.
    pub fn of(settings: &Settings) -> Self {
        let tuning = Tuning { limits: settings.limits, faults: settings.faults };
        Live { tuning, on_conflict: settings.on_conflict }
    }
}

impl Reloading {
    /// `keys` are those in use, `said` what was written at the start.
    pub fn new(
        configuration: Option<(Box<dyn Configuration>, BTreeMap<String, String>)>,
        settings: &Settings,
        runtime_dir: &Path,
        keys: &Keys,
        log: LogLevel,
        live: SeqWriter<Live>,
    ) -> (Self, HotKeys) {
        let (fresh_sender, fresh) = bounded(1);
        // One set under way and one just put off: an answer never finds the channel full.
        let (spent, spent_receiver) = bounded(2);
        let (configuration, said) = configuration.unzip();
        let reloading = Reloading {
            configuration,
            settings: settings.clone(),
            said: said.unwrap_or_default(),
            runtime_dir: runtime_dir.to_owned(),
            marks: keys.marks.clone(),
            log,
            live,
            fresh_keys: fresh_sender,
            untaken_keys: fresh.clone(),
            spent_keys: spent_receiver,
        };
        (reloading, HotKeys { fresh, spent })
    }

    /// Reads everything again and changes what can be changed; says what. A mistake is said, and changes nothing.
    /// Returns true if there are other keys, which the hot thread should look at soon.
    pub fn reload(&mut self, discovery: &mut Discovery) -> bool {
        match self.try_reload(discovery) {
            Ok(keys_changed) => keys_changed,
            Err(refusal) => {
                error!("reload refused, nothing has changed: {refusal:#}");
                false
            }
        }
    }

    fn try_reload(&mut self, discovery: &mut Discovery) -> anyhow::Result<bool> {
        let read = self.configuration.as_mut().map(|configuration| configuration.reread()).transpose()?;
        let mut settings = self.settings.clone();
        if let Some(read) = &read {
            settings.peers.clone_from(&read.settings.peers);
            settings.keys = read.settings.keys.clone();
            settings.limits = read.settings.limits;
            settings.on_conflict = read.settings.on_conflict;
            settings.faults = read.settings.faults;
            settings.log_level.clone_from(&read.settings.log_level);
        }
        let keys = keys(&settings.keys, &settings.cluster, settings.listen.ip(), &self.runtime_dir)?;
        let peers = StaticPeer::parse_list(&settings.peers)?;
        self.log.check(&settings.log_level)?;

        // From here on nothing is refused but by a system out of threads.
        let warnings = discovery.set_peers(peers)?;
        self.log.set(&settings.log_level)?;
        self.live.write(Live::of(&settings));
        let key_changes = key_changes(&self.marks, &keys.marks);
        if !key_changes.is_empty() {
            self.hand_over(keys.ring);
        }
        self.marks = keys.marks;
        self.settings = settings;

        for warning in warnings {
            warn!("{warning}");
        }
        let mut changes: Vec<String> = Vec::new();
        for (option, to) in read.iter().flat_map(|read| &read.said) {
            let from = self.said.get(option).map_or("", String::as_str);
            if from == to {
                continue;
            }
            if LIVE_OPTIONS.contains(&option.as_str()) {
                changes.push(format!("{option} was {} and is {}", shown(from), shown(to)));
                self.said.insert(option.clone(), to.clone());
            } else {
                warn!("{option} is to be {} and stays {} until llts is restarted", shown(to), shown(from));
            }
        }
        changes.extend(key_changes.iter().cloned());
        match changes.as_slice() {
            [] => info!("reloaded: nothing has changed"),
            // What has changed is told at any level, also at the one that has just begun.
            changes if tracing::enabled!(tracing::Level::INFO) => info!("reloaded: {}", changes.join("; ")),
            changes => warn!("reloaded: {}", changes.join("; ")),
        }
        Ok(!key_changes.is_empty())
    }

    fn hand_over(&mut self, ring: Keyring) {
        while self.spent_keys.try_recv().is_ok() {}
        // A set that the hot thread has not taken yet is out of date.
        let _untaken = self.untaken_keys.try_recv();
        // There is room: this thread is the only one that sends. If the hot thread is gone, the process is about to go.
        let _hot_gone = self.fresh_keys.try_send(Box::new(ring));
    }
}

/// The keys of a program that speaks from `listen`; the user's own lives in `runtime_dir` and never leaves loopback.
///
/// # Errors
/// One sentence: the file cannot be used, or a node beyond loopback has no key.
pub(super) fn keys(source: &KeySource, cluster: &str, listen: IpAddr, runtime_dir: &Path) -> anyhow::Result<Keys> {
    let mut keys = Keys { ring: Keyring::new(), marks: Vec::new() };
    match source {
        KeySource::File(path) => {
            for line in keyfile::read(path)? {
                keys.add(&line, cluster).with_context(|| path.display().to_string())?;
            }
        }
        KeySource::Inline(text) => keys.add(&keyfile::inline(text)?, cluster)?,
        KeySource::LocalUser => {
            if !listen.is_loopback() {
                return Err(StartError::NoKey(listen).into());
            }
            let key = load_or_create_local_key(runtime_dir)?;
            keys.ring.insert(LOCAL_KEY_ID, key.as_slice(), None)?;
            keys.marks.push(KeyMark { id: LOCAL_KEY_ID.0, node: None, digest: Sha256::digest(key.as_slice()).into() });
        }
    }
    Ok(keys)
}

impl Keys {
    fn add(&mut self, line: &KeyLine, cluster: &str) -> anyhow::Result<()> {
        let owner = line.node.as_deref().map(|name| NodeId::derive(cluster, name));
        self.ring.insert(KeyId(line.id), &line.bytes, owner)?;
        let digest = Sha256::digest(line.bytes.as_slice()).into();
        self.marks.push(KeyMark { id: line.id, node: line.node.clone(), digest });
        Ok(())
    }
}

impl KeyMark {
    fn is_named_as(&self, other: &KeyMark) -> bool {
        self.id == other.id && self.node == other.node
    }

    fn name(&self) -> String {
        self.node.as_ref().map_or_else(|| format!("key {}", self.id), |node| format!("key {} of {node}", self.id))
    }
}

/// What is different between two sets of keys, a clause each.
fn key_changes(before: &[KeyMark], after: &[KeyMark]) -> Vec<String> {
    let mut changes = Vec::new();
    for key in after {
        match before.iter().find(|other| other.is_named_as(key)) {
            None => changes.push(format!("{} is new", key.name())),
            Some(other) if other.digest != key.digest => changes.push(format!("{} is another one now", key.name())),
            Some(_) => {}
        }
    }
    for key in before.iter().filter(|key| !after.iter().any(|other| other.is_named_as(key))) {
        changes.push(format!("{} is gone", key.name()));
    }
    let first = |keys: &[KeyMark]| keys.iter().find(|key| key.node.is_none()).cloned();
    if let (Some(old), Some(new)) = (first(before), first(after))
        && !old.is_named_as(&new)
    {
        changes.push(format!("{} seals from now on", new.name()));
    } else if changes.is_empty() && before != after {
        changes.push("the order of the keys".to_owned());
    }
    changes
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "not set" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: u16, byte: u8, node: Option<&str>) -> KeyMark {
        KeyMark { id, node: node.map(str::to_owned), digest: [byte; 32] }
    }

    #[test]
    fn the_steps_of_a_rotation_are_told_as_what_they_are() {
        let (old, new, own) = (mark(1, 1, None), mark(2, 2, None), mark(3, 3, Some("db1")));
        let one = std::slice::from_ref(&old);
        for (before, after, told) in [
            (one.to_vec(), one.to_vec(), vec![]),
            (one.to_vec(), vec![old.clone(), new.clone()], vec!["key 2 is new"]),
            (vec![old.clone(), new.clone()], vec![new.clone(), old.clone()], vec!["key 2 seals from now on"]),
            (vec![new.clone(), old.clone()], vec![new.clone()], vec!["key 1 is gone"]),
            (one.to_vec(), vec![mark(1, 9, None)], vec!["key 1 is another one now"]),
            (one.to_vec(), vec![old.clone(), own.clone()], vec!["key 3 of db1 is new"]),
            (vec![old.clone(), own.clone()], vec![own.clone(), old.clone()], vec!["the order of the keys"]),
        ] {
            assert_eq!(key_changes(&before, &after), told);
        }
    }
}
