//! Other programs of this machine that keep time, found by their names: to say who it may have been when the clock does
//! not go where it was told, and to warn before it happens. A name proves nothing (chronyd can be told to leave the
//! clock alone), so nobody is accused.

use std::fmt;
use std::path::Path;

use crate::sys::process::{PROC, Process, processes};

/// What the kernel shows of their names, which is at most 15 bytes, and the rest.
const NAMES: [(&str, &str); 10] = [
    ("chronyd", ""),
    ("systemd-timesyn", "cd"),
    ("ntpd", ""),
    ("ntp-daemon", ""),
    ("openntpd", ""),
    ("ptp4l", ""),
    ("phc2sys", ""),
    ("ts2phc", ""),
    ("timemaster", ""),
    ("sptp", ""),
];

/// The time daemons that run beside this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rivals(Vec<Process>);

impl Rivals {
    /// Those of this machine, as far as this process can see.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Rivals::under(Path::new(PROC))
    }

    fn under(proc: &Path) -> Self {
        let known = |process: Process| {
            let (name, rest) = NAMES.iter().find(|(name, _)| *name == process.name)?;
            Some(Process { name: format!("{name}{rest}"), ..process })
        };
        Rivals(processes(proc).into_iter().filter_map(known).collect())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its whole name, by their numbers.
    #[must_use]
    pub fn into_processes(self) -> Vec<Process> {
        self.0
    }
}

impl fmt::Display for Rivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f
                .write_str("no time daemon known by name runs here; a script, an administrator or the hypervisor?");
        }
        for (n, Process { pid, name }) in self.0.iter().enumerate() {
            write!(f, "{}{name} (process {pid})", if n > 0 { ", " } else { "" })?;
        }
        f.write_str(if self.0.len() == 1 { " runs here" } else { " run here" })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn time_daemons_are_found_by_their_names_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        for (pid, name) in [
            ("1", "systemd"),
            ("77", "chronyd"),
            ("78", "systemd-timesyn"),
            ("79", "chronyd-wrapper"),
            ("self", "phc2sys"),
        ] {
            fs::create_dir(folder.path().join(pid)).unwrap();
            fs::write(folder.path().join(pid).join("comm"), format!("{name}\n")).unwrap();
        }
        fs::create_dir(folder.path().join("80")).unwrap(); // gone between the two looks
        let rivals = Rivals::under(folder.path());
        assert_eq!(rivals.to_string(), "chronyd (process 77), systemd-timesyncd (process 78) run here");
        assert!(Rivals::under(&folder.path().join("nowhere")).is_empty());
    }

    #[test]
    fn every_name_is_as_the_kernel_shows_it() {
        assert!(NAMES.iter().all(|(name, rest)| name.len() == 15 || name.len() < 15 && rest.is_empty()));
    }
}
