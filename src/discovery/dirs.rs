//! Where a node keeps what lives as long as the process or the boot (runtime folder) and what outlives both (state
//! folder), and making such a folder safely. Says nothing about what is in them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, Uid, faccessat, geteuid};

/// The two folders of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Sockets, announcements, the per-user key.
    pub runtime: PathBuf,
    /// What a node wants to find again after a restart.
    pub state: PathBuf,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It cannot be made or looked at.
    #[error("cannot use the folder {path}: {error} (name another one with --runtime-dir or --state-dir)")]
    Access {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The path is a file, or a link that could lead anywhere.
    #[error("{path} is not a folder: remove it, or name another one with --runtime-dir or --state-dir")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else could put files there, or exchange ours.
    #[error(
        "{path} can be changed by other users: run `chmod 700` on it, or name another folder with --runtime-dir or \
         --state-dir"
    )]
    Exposed {
        /// The folder.
        path: PathBuf,
    },
    /// It is another user's.
    #[error(
        "{path} belongs to user {owner}, and this process runs as user {user}: name another folder with --runtime-dir \
         or --state-dir"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process's effective user.
        user: u32,
    },
}

impl Dirs {
    /// The folders of the user this process runs as: `/run/llts` and `/var/lib/llts` for root and for the user that
    /// they were made for, as by the packaged unit; the user's own otherwise (XDG Base Directory Specification; a
    /// relative path in such a variable counts as none, as it demands).
    #[must_use]
    pub fn of_this_user() -> Self {
        Self::choose(geteuid(), &|name| std::env::var_os(name), &|path| is_of_this_user(path))
    }

    fn choose(user: Uid, variable: &dyn Fn(&str) -> Option<OsString>, made_for: &dyn Fn(&Path) -> bool) -> Self {
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let runtime = folder("XDG_RUNTIME_DIR")
            .map_or_else(|| PathBuf::from(format!("/tmp/llts-{user}")), |dir| dir.join("llts"));
        let state = folder("XDG_STATE_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
            .map_or_else(|| runtime.join("state"), |dir| dir.join("llts"));
        let system = |path: &str, own: PathBuf| {
            if user.is_root() || made_for(Path::new(path)) { PathBuf::from(path) } else { own }
        };
        Dirs { runtime: system("/run/llts", runtime), state: system("/var/lib/llts", state) }
    }
}

/// Whether a folder of the system is there for this process's user to keep its things in.
#[must_use]
pub fn is_of_this_user(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
}

/// Makes the folder `path`, and those above it, open to this user alone (0700), or checks the one that is there: a real
/// folder, of this user, that nobody else can write to. Others may be able to read it: what is secret has its own mode.
///
/// # Errors
/// One sentence, see [`DirError`].
pub fn prepare_dir(path: &Path) -> Result<(), DirError> {
    check(path, geteuid().as_raw())
}

/// The same for the user that this process, which is root's, will become: a folder that is root's is given to that
/// user.
///
/// # Errors
/// One sentence, see [`DirError`].
pub fn prepare_dir_for(path: &Path, user: u32, group: u32) -> Result<(), DirError> {
    match prepare_dir(path) {
        Ok(()) => std::os::unix::fs::lchown(path, Some(user), Some(group))
            .map_err(|error| DirError::Access { path: path.to_path_buf(), error }),
        Err(DirError::Foreign { .. }) => check(path, user),
        Err(error) => Err(error),
    }
}

/// What [`prepare_dir`] would say to `user` of the folder `path`, without making anything.
///
/// # Errors
/// One sentence, see [`DirError`].
pub fn examine_dir(path: &Path, user: u32) -> Result<(), DirError> {
    let access = |error| DirError::Access { path: path.to_path_buf(), error };
    match fs::symlink_metadata(path) {
        Ok(found) => return judge(path, &found, user),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(access(error)),
        Err(_) => {}
    }
    // The lowest folder that is there must let this process make the others.
    let above = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("."));
    faccessat(AT_FDCWD, above, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
        .map_err(|errno| access(errno.into()))
}

fn check(path: &Path, user: u32) -> Result<(), DirError> {
    let access = |error| DirError::Access { path: path.to_path_buf(), error };
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(access(error)),
        Ok(()) | Err(_) => {}
    }
    // Not followed: in /tmp a link may be somebody else's.
    judge(path, &fs::symlink_metadata(path).map_err(access)?, user)
}

fn judge(path: &Path, found: &fs::Metadata, user: u32) -> Result<(), DirError> {
    let owner = found.uid();
    if !found.is_dir() {
        Err(DirError::NotADirectory { path: path.to_path_buf() })
    } else if owner != user {
        Err(DirError::Foreign { path: path.to_path_buf(), owner, user })
    } else if found.mode() & 0o022 != 0 {
        Err(DirError::Exposed { path: path.to_path_buf() })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_folders_follow_the_user_and_the_environment() {
        let root = Uid::from_raw(0);
        let user = Uid::from_raw(1000);
        for (who, variables, runtime, state) in [
            (root, &[("XDG_RUNTIME_DIR", "/run/user/0")][..], "/run/llts", "/var/lib/llts"),
            (
                user,
                &[("XDG_RUNTIME_DIR", "/run/user/1000"), ("XDG_STATE_HOME", "/s"), ("HOME", "/home/u")],
                "/run/user/1000/llts",
                "/s/llts",
            ),
            (user, &[("HOME", "/home/u")], "/tmp/llts-1000", "/home/u/.local/state/llts"),
            (user, &[("XDG_RUNTIME_DIR", "run"), ("HOME", "")], "/tmp/llts-1000", "/tmp/llts-1000/state"),
        ] {
            let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            let dirs = Dirs::choose(who, &variable, &|_| false);
            assert_eq!((dirs.runtime, dirs.state), (runtime.into(), state.into()));
        }
        let service = Dirs::choose(user, &|_| None, &|path| path == Path::new("/var/lib/llts"));
        assert_eq!(service.state, Path::new("/var/lib/llts"), "the unit makes it for its user");
        assert_eq!(service.runtime, Path::new("/tmp/llts-1000"));
    }

    #[test]
    fn a_new_folder_is_private_and_making_it_again_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        prepare_dir(&path).unwrap();
        prepare_dir(&path).unwrap();
        for made in [path.as_path(), path.parent().unwrap()] {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_folder_that_others_could_fill_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(prepare_dir(&open), Err(DirError::Exposed { .. })));

        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        assert!(matches!(prepare_dir(&link), Err(DirError::NotADirectory { .. })));

        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(prepare_dir(&file), Err(DirError::NotADirectory { .. })));
        assert!(matches!(prepare_dir(&file.join("below")), Err(DirError::Access { .. })));
    }

    #[test]
    fn root_gives_its_folder_to_the_user_it_will_become_and_finds_it_again() {
        if !geteuid().is_root() {
            println!("skipped: giving a folder away needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        for _ in 0..2 {
            prepare_dir_for(&path, 12345, 54321).unwrap();
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (12345, 54321, 0o700));
        }
        assert!(matches!(prepare_dir_for(&path, 12346, 1), Err(DirError::Foreign { owner: 12345, .. })));
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        if !geteuid().is_root() {
            println!("skipped: giving a folder away needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
        assert!(matches!(prepare_dir(dir.path()), Err(DirError::Foreign { owner: 12345, .. })));
    }
}
