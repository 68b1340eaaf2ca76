//! The processes of this machine, as /proc shows them to this one.

use std::fs;
use std::path::Path;

/// Where the kernel shows them.
pub const PROC: &str = "/proc";

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name as the kernel has it: at most 15 bytes.
    pub name: String,
}

/// Those that `proc` shows, by their numbers. One that ends meanwhile is left out.
#[must_use]
pub fn processes(proc: &Path) -> Vec<Process> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut found: Vec<Process> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            Some(Process { pid, name: name.trim_end().to_owned() })
        })
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_them_under_its_number() {
        assert!(processes(Path::new(PROC)).iter().any(|process| process.pid == std::process::id()));
        assert!(processes(Path::new("/nowhere")).is_empty());
    }
}
