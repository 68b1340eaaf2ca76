//! `llts status`: asks a node of this machine how it is doing. Finds the node if there is but one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;

use super::args::StatusArgs;
use super::ask;
use super::exit::{Failure, say};
use crate::discovery::Dirs;
use crate::report::status_text;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where nodes that the system started have their sockets.
const SYSTEM_DIR: &str = "/run/llts";

/// Shows how a node is doing.
pub(super) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let socket = match &args.socket {
        Some(path) => path.clone(),
        None => only_socket_of(args.runtime_dir.as_deref())?,
    };
    let (json, status) = ask::status(&socket, PATIENCE)?;
    if args.json { say(&format!("{}\n", json.trim_end())) } else { say(&format!("{}\n", status_text(&status))) }
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
