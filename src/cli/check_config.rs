//! `llts check-config`: everything for which `llts run` with this file would refuse to start, and what of it cannot be
//! had, without starting anything. What the environment says is left out: it belongs to whoever starts the node.

use std::path::Path;

use serde::Serialize;

use super::args::{self, CheckConfigArgs, Command};
use super::exit::{Failure, say};
use super::layers::Surroundings;
use super::run;
use crate::engine::{LIVE_OPTIONS, Settings, preflight};

/// What is to be said of a file. Names do not change; what is not known is null.
#[derive(Debug, Serialize)]
struct Answer {
    /// The file.
    file: String,
    /// True if a node with it would start here, and have all that it asks for.
    good: bool,
    /// What is wrong, a sentence each; empty if it is good.
    faults: Vec<String>,
    /// What cannot be known here and now, and what should be known, a sentence each.
    notes: Vec<String>,
    /// The node's name; null if the file cannot be read as a configuration, as are the next two.
    node: Option<String>,
    /// Its cluster's name.
    cluster: Option<String>,
    /// Where it would listen, IP:PORT.
    listen: Option<String>,
    /// Its named peers, host:port.
    peers: Vec<String>,
    /// Options that a running node takes over at a reload; every other one waits for a restart.
    live_options: Vec<String>,
}

/// Checks a configuration file, what it names, and whether this machine has it.
pub(super) fn check_config(args: &CheckConfigArgs) -> Result<(), Failure> {
    let answer = match settings(&args.file) {
        Ok(settings) => answer(&args.file, &settings),
        Err(Failure::Usage(sentence)) => unreadable(&args.file, sentence),
        Err(other) => return Err(other),
    };
    if args.json {
        say(&format!("{}\n", serde_json::to_string(&answer)?))?;
        return if answer.good { Ok(()) } else { Err(Failure::Never) };
    }
    if !answer.good {
        return Err(Failure::Usage(answer.faults.join("; and ")));
    }
    say(&text(&answer))
}

fn settings(file: &Path) -> Result<Settings, Failure> {
    let words = ["llts".into(), "run".into(), "--config".into(), file.as_os_str().to_owned()];
    let Command::Run(meant) = args::read_around(words, &Surroundings::default())? else {
        unreachable!("the words say `run`")
    };
    run::settings_here(&meant).map_err(|failure| match failure {
        Failure::Usage(sentence) => Failure::Usage(format!("{}: {sentence}", file.display())),
        other => other,
    })
}

fn unreadable(file: &Path, sentence: String) -> Answer {
    Answer {
        file: file.display().to_string(),
        good: false,
        faults: vec![sentence],
        notes: Vec::new(),
        node: None,
        cluster: None,
        listen: None,
        peers: Vec::new(),
        live_options: LIVE_OPTIONS.map(str::to_owned).to_vec(),
    }
}

fn answer(file: &Path, settings: &Settings) -> Answer {
    let found = preflight(settings);
    let path = file.display();
    let refusals = found.refusals.into_iter().map(|sentence| format!("{path}: {sentence}"));
    // A node goes on without; whoever wrote it down wants it all the same.
    let losses = found.losses.into_iter().map(|sentence| format!("{path}: {sentence}; a node would go on without"));
    let faults: Vec<String> = refusals.chain(losses).collect();
    Answer {
        good: faults.is_empty(),
        faults,
        notes: found.notes,
        node: Some(settings.name.clone()),
        cluster: Some(settings.cluster.clone()),
        listen: Some(settings.listen.to_string()),
        peers: settings.peers.clone(),
        ..unreadable(file, String::new())
    }
}

fn text(answer: &Answer) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    let peers = match answer.peers.len() {
        0 => "no named peer".to_owned(),
        1 => "one named peer".to_owned(),
        n => format!("{n} named peers"),
    };
    // Secrets and files are named as their options are; that is what one looks for after this sentence.
    let mut text = format!(
        "{} is good: {} of cluster {} on {}, {peers}; of a running node a reload changes {}, and every other option \
         waits for a restart\n",
        answer.file,
        known(&answer.node),
        known(&answer.cluster),
        known(&answer.listen),
        answer.live_options.join(", ")
    );
    for note in &answer.notes {
        text += &format!("note: {note}\n");
    }
    text
}
