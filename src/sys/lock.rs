//! A lock file that one process of the machine may hold. The kernel drops the lock when its holder dies, so a stale
//! file never locks anyone out; the file itself stays, because removing it would let two processes lock two files of
//! one name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A held lock; given back when dropped. A holder that dies before it can do that leaves its number in the file.
#[derive(Debug)]
pub struct ExclusiveLock {
    file: File,
    path: PathBuf,
    left_by: Option<u32>,
    /// The number that the file is to show when the lock is gone.
    leaves: Option<u32>,
}

impl Drop for ExclusiveLock {
    fn drop(&mut self) {
        // The lock itself goes with the file; a number that stays says only that its holder may have died.
        let written = self.file.set_len(0).and_then(|()| match self.leaves {
            Some(pid) => write_number(&mut self.file, pid),
            None => Ok(()),
        });
        if let Err(error) = written {
            tracing::debug!("{} keeps the number of a holder that is gone: {error}", self.path.display());
        }
    }
}

/// Why a lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is held by {}", path.display(), holder(*pid))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, if it has written its number.
        pid: Option<u32>,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock {}: {source}", path.display())]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ExclusiveLock {
    /// Takes the lock at `path` without waiting; makes the file, and the folder it stands in, if they are missing.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder's process id, or [`LockError::Unusable`].
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unusable)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            // Someone who may write into the folder must not be able to point us at another file.
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: path.to_owned(), pid: written_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let left_by = written_pid(&mut file);
        write_pid(&mut file).map_err(unusable)?;
        Ok(ExclusiveLock { file, path: path.to_owned(), left_by, leaves: None })
    }

    /// Gives the lock back as it was found: what the holder before has left undone is still undone.
    pub fn leave_undone(mut self) {
        self.leaves = self.left_by;
    }

    /// The holder before, if it has died without giving the lock back.
    #[must_use]
    pub fn left_by(&self) -> Option<u32> {
        self.left_by
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    write_number(file, std::process::id())
}

fn write_number(file: &mut File, pid: u32) -> io::Result<()> {
    file.rewind()?;
    writeln!(file, "{pid}")
}

fn written_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/clock.lock");
        let first = ExclusiveLock::acquire(&path).unwrap();
        assert_eq!(first.path(), path);
        let refused = ExclusiveLock::acquire(&path).unwrap_err();
        assert!(matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
        assert!(refused.to_string().ends_with(&format!("is held by process {}", std::process::id())));
        drop(first);
        ExclusiveLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_holder_that_died_is_known_to_the_next_one_and_one_that_gave_the_lock_back_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        drop(ExclusiveLock::acquire(&path).unwrap());
        let held = ExclusiveLock::acquire(&path).unwrap();
        assert_eq!(held.left_by(), None);
        let number = fs::read_to_string(&path).unwrap();
        drop(held);
        fs::write(&path, number).unwrap();
        let found = ExclusiveLock::acquire(&path).unwrap();
        assert_eq!(found.left_by(), Some(std::process::id()));
        found.leave_undone();
        assert_eq!(ExclusiveLock::acquire(&path).unwrap().left_by(), Some(std::process::id()), "still undone");
        assert_eq!(ExclusiveLock::acquire(&path).unwrap().left_by(), None);
    }

    #[test]
    fn an_old_longer_pid_leaves_no_digits_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "99999999999999\n").unwrap();
        let _held = ExclusiveLock::acquire(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_link_in_place_of_the_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, victim) = (folder.path().join("lock"), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(matches!(ExclusiveLock::acquire(&link), Err(LockError::Unusable { .. })));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
