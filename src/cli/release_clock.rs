//! `llts release-clock`: what a node does with the system clock when it ends, done for one that was killed.

use super::args::{self, Command, ReleaseClockArgs};
use super::exit::{Failure, say};
use super::layers::Surroundings;
use crate::engine::{ReleasePlaces, release_clock as release};

/// Leaves the clock well, if nobody else did.
pub(super) fn release_clock(args: &ReleaseClockArgs) -> Result<(), Failure> {
    // Where the node keeps it by its configuration; one that cannot be read is no reason to leave the clock as it is.
    let configured = match args::read_around(["llts".into(), "run".into()], &Surroundings::here()) {
        Ok(Command::Run(run)) => (run.drift_file.clone(), run.state_dir.clone()),
        _ => (None, None),
    };
    let places = ReleasePlaces {
        drift_file: args.drift_file.clone().or(configured.0),
        state_dir: args.state_dir.clone().or(configured.1),
    };
    let said = release(&places).map_err(anyhow::Error::from)?;
    say(&format!("{said}\n"))
}
