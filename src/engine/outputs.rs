//! What a node tells beside the status socket, opened at the start: the recording, the measurement logs and the
//! endpoint for monitoring. What goes into them is theirs.

use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tracing::info;

use super::Settings;
use super::answers::Answers;
use super::endpoint::Endpoint;
use super::measuring::Measuring;
use super::privileges::Plan;
use super::start::keep;
use crate::discovery;
use crate::report::RecordWriter;
use crate::sys::caps::Account;
use crate::unit::NodeId;

/// Opens the recording, under the first name that is free: a node that is started again must not fail because of what
/// it has recorded before.
pub(super) fn open_record(settings: &Settings) -> anyhow::Result<Option<RecordWriter>> {
    let Some(path) = &settings.record else { return Ok(None) };
    let node = NodeId::derive(&settings.cluster, &settings.name);
    let writer = RecordWriter::create(path, node)?;
    info!("every exchange is recorded into {}", writer.path().display());
    Ok(Some(writer))
}

/// The folder of the measurement logs.
pub(super) fn log_dir(settings: &Settings, state_dir: &Path) -> PathBuf {
    let usual = || {
        let system = Path::new("/var/log/llts");
        let ours = nix::unistd::geteuid().is_root() || discovery::is_of_this_user(system);
        if ours { system.to_owned() } else { state_dir.join("log") }
    };
    settings.measurements.dir.clone().unwrap_or_else(usual)
}

/// Makes the folder of the measurement logs, for the user that the process will become, unless it is there. That it
/// cannot be made is told by whoever wants to write into it.
pub(super) fn prepare_log_dir(path: &Path, account: Option<&Account>) {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path).is_ok();
    if let Some(account) = account.filter(|_| made)
        && std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == 0)
    {
        let _told_later = std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid));
    }
}

/// Opens the measurement logs; their thread has no privileges.
pub(super) fn open_measuring(settings: &Settings, state_dir: &Path, plan: &Plan) -> anyhow::Result<Option<Measuring>> {
    let wanted = &settings.measurements;
    if wanted.logs.is_empty() {
        return Ok(None);
    }
    let (dir, helpers) = (log_dir(settings, state_dir), plan.helpers);
    let measuring = Measuring::start(wanted, &dir, &settings.name, &settings.cluster, move || keep(helpers, helpers))?;
    info!("measurements are logged into {}", dir.display());
    Ok(Some(measuring))
}

/// Opens the endpoint; its thread speaks with strangers and has no privileges, its port may need one.
pub(super) fn open_endpoint(
    address: Option<SocketAddr>,
    answers: &Answers,
    plan: &Plan,
) -> anyhow::Result<Option<Endpoint>> {
    let Some(address) = address else { return Ok(None) };
    let helpers = plan.helpers;
    let endpoint = Endpoint::start(address, answers.clone(), move || keep(helpers, helpers));
    let endpoint = endpoint.with_context(|| format!("cannot listen for monitoring at {address} (--metrics)"))?;
    info!("metrics are at http://{}/metrics", endpoint.address);
    Ok(Some(endpoint))
}
