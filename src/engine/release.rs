//! The system clock after a node that was killed: no node is there to leave it well, so a process of its own does.

use std::path::{Path, PathBuf};

use super::kept::{Drift, drift_path};
use crate::clock::{Abandoned, SYSTEM_LOCK_PATH, SystemClockError, release_abandoned};
use crate::discovery::Dirs;

/// Where the rate may be found that the clock is to be left with.
#[derive(Clone, Debug, Default)]
pub struct ReleasePlaces {
    /// The drift file; `None` is `drift` in the state folder.
    pub drift_file: Option<PathBuf>,
    /// The state folder; `None` is that of this user.
    pub state_dir: Option<PathBuf>,
}

/// Leaves the system clock as its holder would have, if that has died with it in its hands; says what was done.
///
/// # Errors
/// [`SystemClockError`], a sentence each.
pub fn release_clock(places: &ReleasePlaces) -> Result<String, SystemClockError> {
    let state_dir = places.state_dir.clone().unwrap_or_else(|| Dirs::of_this_user().state);
    let path = drift_path(places.drift_file.as_deref(), &state_dir);
    let (best, source) = match Drift::read(&path) {
        Ok(Some(drift)) => (Some(drift.rate()), format!("from {}", path.display())),
        Ok(None) => (None, format!("{} is not there", path.display())),
        Err(error) => (None, error.to_string()),
    };
    Ok(sentence(release_abandoned(Path::new(SYSTEM_LOCK_PATH), best)?, &source))
}

fn sentence(abandoned: Abandoned, source: &str) -> String {
    match abandoned {
        Abandoned::Held(Some(pid)) => format!("process {pid} steers the system clock: it is let be"),
        Abandoned::Held(None) => "another process steers the system clock: it is let be".to_owned(),
        Abandoned::GivenBack => "no node of llts has died with the system clock in its hands: it is let be".to_owned(),
        Abandoned::Released { by, from, to } => format!(
            "process {by} died with the system clock in its hands, at {:+.3} ppm: it is left at {:+.3} ppm ({source}) \
             and called unsynchronised",
            from * 1e6,
            to * 1e6
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_one_sentence_with_the_rates_before_and_after() {
        let released = Abandoned::Released { by: 7, from: 0.1, to: -12.5e-6 };
        let said = sentence(released, "from /x/drift");
        assert!(
            said.contains("process 7") && said.contains("+100000.000 ppm") && said.contains("-12.500 ppm (from /x")
        );
        for let_be in [Abandoned::Held(Some(9)), Abandoned::Held(None), Abandoned::GivenBack] {
            assert!(sentence(let_be, "").ends_with("it is let be"));
        }
    }
}
