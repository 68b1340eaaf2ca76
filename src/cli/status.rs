//! `llts status`, `llts peers`, `llts tracking`: ask a node of this machine how it is doing, once or again and again.
//! Finds the node if there is but one.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::args::{NodeArgs, StatusArgs};
use super::ask;
use super::exit::{Failure, say, warn};
use crate::discovery::Dirs;
use crate::report::{Peers, Status, Tracking, status_text};

/// How long a node may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Where nodes that the system started have their sockets.
const SYSTEM_DIR: &str = "/run/llts";
/// Clears a terminal and goes to its first place.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What of a node is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Everything.
    Status,
    /// Its peers.
    Peers,
    /// Its clock.
    Tracking,
}

/// Shows how a node is doing.
pub(super) fn status(args: &StatusArgs, view: View) -> Result<(), Failure> {
    let socket = args.node.socket()?;
    let Some(interval_ns) = args.watch else { return say(&shown(ask::status(&socket, PATIENCE)?, args.json, view)) };
    watch(&socket, Duration::from_nanos(interval_ns.unsigned_abs()), args.json, view)
}

/// Shows the view again and again. A node that was there once may be starting again, and is waited for.
fn watch(socket: &Path, interval: Duration, json: bool, view: View) -> Result<(), Failure> {
    let terminal = io::stdout().is_terminal() && !json;
    // Texts are set apart; documents are one a line.
    let (mut before, between) = match (terminal, json) {
        (true, _) => (CLEAR, CLEAR),
        (false, true) => ("", ""),
        (false, false) => ("", "\n"),
    };
    let (mut seen, mut gone) = (false, false);
    loop {
        match ask::status(socket, PATIENCE) {
            Ok(answer) => {
                if std::mem::take(&mut gone) {
                    warn("the llts daemon answers again");
                }
                say(&format!("{before}{}", shown(answer, json, view)))?;
                (seen, before) = (true, between);
            }
            // One that ends in the middle of an answer has not answered either.
            Err(error) if seen => {
                if !std::mem::replace(&mut gone, true) {
                    warn(&format!("{error}; waiting for it"));
                }
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(interval);
    }
}

fn shown((document, status): (String, Status), json: bool, view: View) -> String {
    match (view, json) {
        (View::Status, true) => format!("{}\n", document.trim_end()),
        (View::Peers, true) => line(&Peers::of(&status)),
        (View::Tracking, true) => line(&Tracking::of(&status)),
        (_, false) => format!("{}\n", text(&status, view)),
    }
}

fn text(status: &Status, view: View) -> String {
    match view {
        View::Status => status_text(status),
        View::Peers => Peers::of(status).text(),
        View::Tracking => Tracking::of(status).text(),
    }
}

fn line(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("the documents are plain data") + "\n"
}

impl NodeArgs {
    /// The socket of the node that is meant.
    ///
    /// # Errors
    /// None is named, and there is none or more than one.
    pub fn socket(&self) -> Result<PathBuf, Failure> {
        match &self.socket {
            Some(path) => Ok(path.clone()),
            None => only_socket_of(self.runtime_dir.as_deref()),
        }
    }
}

/// The one socket at which a node of this machine listens, in `dir` or where such sockets usually are.
pub(super) fn only_socket_of(dir: Option<&Path>) -> Result<PathBuf, Failure> {
    only_socket(&folders(dir))
}

fn folders(dir: Option<&Path>) -> Vec<PathBuf> {
    if let Some(dir) = dir {
        return vec![dir.to_owned()];
    }
    let mut folders = vec![Dirs::of_this_user().runtime, SYSTEM_DIR.into()];
    folders.dedup();
    folders
}

/// The one socket in `folders` at which a node listens.
fn only_socket(folders: &[PathBuf]) -> Result<PathBuf, Failure> {
    let mut found: Vec<PathBuf> = folders.iter().flat_map(|folder| sockets_in(folder)).collect();
    // What a killed node left behind is no node.
    found.retain(|path| ask::is_alive(path, PATIENCE));
    found.sort();
    let listed = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            Err(anyhow!("no llts daemon is running here (looked in {}): start one with `llts run`", listed(folders))
                .into())
        }
        many => {
            Err(anyhow!("several llts daemons are running here: choose one with --socket ({})", listed(many)).into())
        }
    }
}

/// Sockets of the folder by their name; none if it cannot be read, because then it holds none for this user.
fn sockets_in(folder: &Path) -> Vec<PathBuf> {
    let entries: io::Result<Vec<_>> = std::fs::read_dir(folder).and_then(Iterator::collect);
    let paths = entries.unwrap_or_default().into_iter().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect()
}
