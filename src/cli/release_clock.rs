//! `llts release-clock`: what a node does with the system clock when it ends, done for one that was killed.

use super::args::ReleaseClockArgs;
use super::exit::{Failure, say};
use crate::engine::{ReleasePlaces, release_clock as release};

/// Leaves the clock well, if nobody else did.
pub(super) fn release_clock(args: &ReleaseClockArgs) -> Result<(), Failure> {
    let places = ReleasePlaces { drift_file: args.drift_file.clone(), state_dir: args.state_dir.clone() };
    let said = release(&places).map_err(anyhow::Error::from)?;
    say(&format!("{said}\n"))
}
