//! `llts release-clock`: what a node does with the system clock when it ends, done for one that was killed.

use super::args::{self, Command, ReleaseClockArgs};
use super::exit::{Failure, say};
use super::layers::Surroundings;
use crate::engine::{ReleasePlaces, release_clock as release};

/// Leaves the clock well, if nobody else did.
pub(super) fn release_clock(args: &ReleaseClockArgs) -> Result<(), Failure> {
    let said = release(&places(args, &Surroundings::here())).map_err(anyhow::Error::from)?;
    say(&format!("{said}\n"))
}

/// Where the node keeps its drift: as told, else by its configuration; one that cannot be read is no reason to leave
/// the clock as it is.
fn places(args: &ReleaseClockArgs, around: &Surroundings) -> ReleasePlaces {
    let configured = match args::read_around(["llts".into(), "run".into()], around) {
        Ok(Command::Run(run)) => (run.drift_file.clone(), run.state_dir.clone()),
        _ => (None, None),
    };
    ReleasePlaces {
        drift_file: args.drift_file.clone().or(configured.0),
        state_dir: args.state_dir.clone().or(configured.1),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn found(args: &ReleaseClockArgs, configuration: &str) -> (Option<PathBuf>, Option<PathBuf>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), configuration).unwrap();
        let places = places(args, &Surroundings::with_file(file.path()));
        (places.drift_file, places.state_dir)
    }

    #[test]
    fn the_drift_is_looked_for_where_the_configuration_of_the_node_puts_it() {
        let (drift, state) = (|| Some(PathBuf::from("/a/drift")), || Some(PathBuf::from("/b")));
        let none = ReleaseClockArgs { drift_file: None, state_dir: None };
        let both = "drift-file = \"/a/drift\"\nstate-dir = \"/b\"\n";
        assert_eq!(found(&none, both), (drift(), state()));
        assert_eq!(found(&none, "state-dir = \"/b\"\n"), (None, state()));
        assert_eq!(found(&none, ""), (None, None));
        // The command line wins, and a broken file keeps nobody from releasing the clock.
        let told = ReleaseClockArgs { drift_file: Some("/c".into()), state_dir: None };
        assert_eq!(found(&told, both), (Some("/c".into()), state()));
        assert_eq!(found(&told, "rate = [\n"), (Some("/c".into()), None));
    }
}
