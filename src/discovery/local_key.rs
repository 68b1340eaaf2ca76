//! The key that nodes of one user on one machine share when nobody gave them one: made by the first, read by the
//! others. Only for nodes bound to loopback; who uses it when is decided elsewhere.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::dirs::{DirError, prepare_dir};
use crate::unit::KeyId;

/// The number by which packets name the local key.
pub const LOCAL_KEY_ID: KeyId = KeyId(1);
/// Bytes of the local key.
const KEY_BYTES: usize = 32;
/// The longest key file that is read, bytes; a good one has 71.
const FILE_BYTES_MAX: usize = 256;

/// Why there is no local key.
#[derive(Debug, thiserror::Error)]
pub enum LocalKeyError {
    /// The folder is not fit for it.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// It cannot be read or made.
    #[error("cannot read or make the local key {path}: {error} (name another folder with --runtime-dir)")]
    Access {
        /// The key file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Others could know it, or have made it.
    #[error("the local key {path} can be read or changed by other users: remove it, and the next node makes a new one")]
    Exposed {
        /// The key file.
        path: PathBuf,
    },
    /// It is not a key.
    #[error("{path} holds no local key: remove it, and the next node makes a new one")]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
}

/// The local key's place in the runtime folder `dir`.
#[must_use]
pub fn local_key_path(dir: &Path) -> PathBuf {
    dir.join("local.key")
}

/// The local key of the runtime folder `dir`, which is made if it is missing. Of several processes that start at once
/// exactly one makes the key: it is written aside and then linked to its name, which works only once.
///
/// # Errors
/// One sentence, see [`LocalKeyError`]. A key that others can read is never used.
pub fn load_or_create_local_key(dir: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, LocalKeyError> {
    prepare_dir(dir)?;
    let path = local_key_path(dir);
    let access = |error| LocalKeyError::Access { path: path.clone(), error };
    match load(&path) {
        Err(LocalKeyError::Access { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    match create(dir, &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(access(error)),
        Ok(()) | Err(_) => {}
    }
    load(&path)
}

fn load(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, LocalKeyError> {
    let access = |error| LocalKeyError::Access { path: path.to_path_buf(), error };
    // A pipe must not hold us up, a link must not lead elsewhere.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(access)?;
    let found = file.metadata().map_err(access)?;
    if found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(LocalKeyError::Exposed { path: path.to_path_buf() });
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    let read = file.take(FILE_BYTES_MAX as u64).read_to_string(&mut text);
    match read {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(access(error)),
        Ok(_) | Err(_) => {}
    }
    parse(&text).ok_or_else(|| LocalKeyError::Malformed { path: path.to_path_buf() })
}

fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let digits = text.strip_suffix('\n').unwrap_or(text).strip_prefix("1 HEX:")?.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).expect("two hexadecimal digits make a byte");
    }
    Some(key)
}

/// Makes the key file `path`; [`io::ErrorKind::AlreadyExists`] when another process was faster.
fn create(dir: &Path, path: &Path) -> io::Result<()> {
    let mut random = Zeroizing::new([0; KEY_BYTES + 8]);
    File::open("/dev/urandom")?.read_exact(&mut random[..])?;
    let (key, salt) = random.split_at(KEY_BYTES);
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    text.push_str("1 HEX:");
    for byte in key {
        write!(text, "{byte:02x}").expect("a String takes all text");
    }
    text.push('\n');

    let salt = u64::from_le_bytes(salt.try_into().expect("eight bytes are left after the key"));
    let aside = dir.join(format!(".local.key.{salt:016x}.tmp"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&aside, path));
    fs::remove_file(&aside)?;
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn of_eight_that_start_at_once_one_makes_the_key_and_all_have_it() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let runtime = dir.path().join("run");
            let barrier = Barrier::new(8);
            let keys: Vec<_> = std::thread::scope(|scope| {
                let started: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            load_or_create_local_key(&runtime).unwrap()
                        })
                    })
                    .collect();
                started.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(keys.iter().all(|key| **key == *keys[0] && **key != [0; 32]));
            let left: Vec<_> = fs::read_dir(&runtime).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["local.key"]);
            assert_eq!(fs::metadata(local_key_path(&runtime)).unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn two_folders_have_two_keys() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ["a", "b"].map(|name| load_or_create_local_key(&dir.path().join(name)).unwrap());
        assert_ne!(*keys[0], *keys[1]);
    }

    #[test]
    fn the_file_is_one_line_that_llts_keygen_could_have_written() {
        let dir = tempfile::tempdir().unwrap();
        let key = load_or_create_local_key(dir.path()).unwrap();
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(fs::read_to_string(local_key_path(dir.path())).unwrap(), format!("1 HEX:{digits}\n"));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create_local_key(dir.path()).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(local_key_path(dir.path()), fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(load_or_create_local_key(dir.path()), Err(LocalKeyError::Exposed { .. })), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_replaced() {
        let digits = "0123456789abcdefABCDEF0123456789".repeat(2);
        assert!(parse(&format!("1 HEX:{digits}\n")).is_some());
        for text in [
            String::new(),
            format!("2 HEX:{digits}\n"),
            format!("1 B64:{digits}\n"),
            format!("1 HEX:{}\n", &digits[2..]),
            format!("1 HEX:{digits}00\n"),
            format!("1 HEX:{}g\n", &digits[1..]),
            format!("1 HEX:{digits}\n\n"),
            format!("1 HEX:{}é\n", &digits[2..]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = local_key_path(dir.path());
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            fs::write(&path, &text).unwrap();
            assert!(matches!(load_or_create_local_key(dir.path()), Err(LocalKeyError::Malformed { .. })), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_key_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        load_or_create_local_key(&elsewhere).unwrap();
        let runtime = dir.path().join("run");
        prepare_dir(&runtime).unwrap();
        symlink(local_key_path(&elsewhere), local_key_path(&runtime)).unwrap();
        assert!(matches!(load_or_create_local_key(&runtime), Err(LocalKeyError::Access { .. })));
    }
}
