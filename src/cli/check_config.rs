//! `llts check-config`: everything that `llts run` checks before it opens a socket, and nothing else. What the
//! environment says is left out: it belongs to whoever starts the node.

use super::args::{self, CheckConfigArgs, Command};
use super::exit::{Failure, say};
use super::layers::Surroundings;
use super::run;
use crate::engine::LIVE_OPTIONS;

/// Checks a configuration file and what it names.
pub(super) fn check_config(args: &CheckConfigArgs) -> Result<(), Failure> {
    let words = ["llts".into(), "run".into(), "--config".into(), args.file.clone().into_os_string()];
    let Command::Run(meant) = args::read_around(words, &Surroundings::default())? else {
        unreachable!("the words say `run`")
    };
    let path = args.file.display();
    let settings = run::settings_here(&meant).map_err(|failure| match failure {
        Failure::Usage(sentence) => Failure::Usage(format!("{path}: {sentence}")),
        other => other,
    })?;
    let peers = match settings.peers.len() {
        0 => "no named peer".to_owned(),
        1 => "one named peer".to_owned(),
        n => format!("{n} named peers"),
    };
    let (name, cluster, listen) = (&settings.name, &settings.cluster, settings.listen);
    // Secrets and files are named as their options are; that is what one looks for after this sentence.
    let live = LIVE_OPTIONS.join(", ");
    say(&format!(
        "{path} is good: {name} of cluster {cluster} on {listen}, {peers}; of a running node a reload changes {live}, \
         and every other option waits for a restart\n"
    ))
}
