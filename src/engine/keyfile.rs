//! Key files: the keys of a cluster as text, one a line, secret by the file's mode. Read here and by nobody else;
//! making one is `llts keygen`. Which key seals what is the keyring's affair.
//!
//! ```text
//! # a comment
//! 1 HEX:00112233445566778899aabbccddeeff
//! 2 B64:AAECAwQFBgcICQoLDA0ODw==
//! 3 HEX:ffeeddccbbaa99887766554433221100 node=db1:4123
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::limits::{KEY_BYTES_MAX, KEY_BYTES_MIN, KEYS_MAX};

/// The longest key file that is read, bytes: room for [`KEYS_MAX`] keys with long names.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Keys of one owner that may be live at a time: the old and the new one of a rotation.
const LIVE_KEYS_MAX: usize = 2;
/// The id of a key given on the command line, and what `llts keygen` writes unless told.
pub const KEY_ID_DEFAULT: u16 = 1;

/// One key of a key file.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// The number by which packets name it.
    pub id: u16,
    /// The key itself; wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The name of the one peer to whom it belongs; `None` for a key that the cluster shares.
    pub node: Option<String>,
}

impl std::fmt::Debug for KeyLine {
    /// The id and the owner; never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyLine").field("id", &self.id).field("node", &self.node).finish_non_exhaustive()
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be opened or read.
    #[error("cannot read the key file {path}: {error} (make one with `llts keygen --out {path}`)")]
    Access {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A folder, a device or a pipe.
    #[error("the key file {path} is not a regular file: give one that `llts keygen --out FILE` has made")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Other users can read or change it.
    #[error("the key file {path} has mode {mode:04o} and is open to other users: run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else could change it.
    #[error(
        "the key file {path} belongs to user {owner}: it must belong to root or to the user that runs llts ({user})"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process's effective user.
        user: u32,
    },
    /// A line, or all of them together, make no sense.
    #[error("the key file {path} is wrong{}: {fault}", .line.map_or(String::new(), |n| format!(" in line {n}")))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1; `None` if it is about the whole file.
        line: Option<usize>,
        /// What is wrong with it.
        fault: KeyFault,
    },
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not one number, one key and perhaps a node.
    #[error("a key is written as `1 HEX:0011...`, perhaps followed by ` node=NAME`")]
    Form,
    /// Not 1 to 65535.
    #[error("a key's id is a number from 1 to 65535")]
    Id,
    /// The value is not what its prefix says.
    #[error("the key is not valid {0}")]
    Encoding(&'static str),
    /// Too short.
    #[error("the key has {0} bytes, and a key has at least {KEY_BYTES_MIN}: make one with `llts keygen`")]
    TooShort(usize),
    /// Too long.
    #[error("the key has {0} bytes, and a key has at most {KEY_BYTES_MAX}: make one with `llts keygen`")]
    TooLong(usize),
    /// The same id for the same owner.
    #[error("key id {0} is given twice: give each key its own id")]
    Twice(u16),
    /// More live keys than a rotation needs.
    #[error("more than {LIVE_KEYS_MAX} keys {0}: remove the one that is no longer used")]
    TooMany(String),
    /// More keys than a node can keep.
    #[error("more than {KEYS_MAX} keys: remove those that are no longer used")]
    Full,
    /// No key at all.
    #[error("there is no key in it: make one with `llts keygen`")]
    Empty,
    /// More than a secret, or nothing.
    #[error("it must hold the secret on one line, and nothing else")]
    OneLine,
    /// Bytes that are no text, or too many of them.
    #[error("it is not the text of a key file: make one with `llts keygen`")]
    NotText,
}

/// The keys of the file `path`, in its order: the first shared one seals, all of them open.
///
/// # Errors
/// One sentence, see [`KeyFileError`]. A file that other users can read is never used.
pub fn read(path: &Path) -> Result<Vec<KeyLine>, KeyFileError> {
    let access = |error| KeyFileError::Access { path: path.into(), error };
    // A pipe in its place must not hold us up. Links are followed: orchestrators mount secrets as links.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(access)?;
    // The opened file is looked at, not the path: that may be another file by now.
    check(&file.metadata().map_err(access)?, path)?;
    let malformed = |line, fault| KeyFileError::Malformed { path: path.into(), line, fault };
    let text = text_of(file).map_err(access)?.ok_or_else(|| malformed(None, KeyFault::NotText))?;
    parse(&text).map_err(|(line, fault)| malformed(line, fault))
}

/// The one secret of the file `path`, which holds it as a line of text and nothing else; as private as a key file.
///
/// # Errors
/// One sentence, see [`KeyFileError`].
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let access = |error| KeyFileError::Access { path: path.into(), error };
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(access)?;
    check(&file.metadata().map_err(access)?, path)?;
    let malformed = |fault| KeyFileError::Malformed { path: path.into(), line: None, fault };
    let text = text_of(file).map_err(access)?.ok_or_else(|| malformed(KeyFault::NotText))?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(secret), None) if !secret.is_empty() => Ok(Zeroizing::new(secret.to_owned())),
        _ => Err(malformed(KeyFault::OneLine)),
    }
}

/// The key of `--hmac-key`: `HEX:...`, `B64:...`, or the characters themselves.
///
/// # Errors
/// The key is too short, too long or not encoded as it says.
pub fn inline(value: &str) -> Result<KeyLine, KeyFault> {
    let bytes = match decode(value) {
        Err(KeyFault::Form) => checked(Zeroizing::new(value.as_bytes().to_vec()))?,
        other => other?,
    };
    Ok(KeyLine { id: KEY_ID_DEFAULT, bytes, node: None })
}

fn check(found: &std::fs::Metadata, path: &Path) -> Result<(), KeyFileError> {
    let (user, owner) = (geteuid().as_raw(), found.uid());
    if !found.is_file() {
        Err(KeyFileError::NotAFile { path: path.into() })
    } else if owner != user && owner != 0 {
        Err(KeyFileError::Foreign { path: path.into(), owner, user })
    } else if found.mode() & 0o077 != 0 {
        Err(KeyFileError::Exposed { path: path.into(), mode: found.mode() & 0o7777 })
    } else {
        Ok(())
    }
}

/// The whole text; `None` if it is no text or longer than any key file.
fn text_of(file: File) -> io::Result<Option<Zeroizing<String>>> {
    let len = file.metadata()?.len();
    if len > FILE_BYTES_MAX {
        return Ok(None);
    }
    // Room for all of it at once: a buffer that grows leaves copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len as usize + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned())))
}

/// The keys of a key file's text; a fault comes with its line, from 1, or with none if it is about the whole.
fn parse(text: &str) -> Result<Vec<KeyLine>, (Option<usize>, KeyFault)> {
    let mut keys: Vec<KeyLine> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |fault| (Some(index + 1), fault);
        let key = parse_line(line).map_err(at)?;
        let same_owner = keys.iter().filter(|other| other.node == key.node);
        if same_owner.clone().any(|other| other.id == key.id) {
            return Err(at(KeyFault::Twice(key.id)));
        }
        if same_owner.count() == LIVE_KEYS_MAX {
            let whose = key.node.map_or_else(|| "shared by the cluster".into(), |node| format!("for node {node:?}"));
            return Err(at(KeyFault::TooMany(whose)));
        }
        if keys.len() == KEYS_MAX {
            return Err(at(KeyFault::Full));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err((None, KeyFault::Empty)) } else { Ok(keys) }
}

fn parse_line(line: &str) -> Result<KeyLine, KeyFault> {
    let mut words = line.split_whitespace();
    let (id, value) = (words.next().ok_or(KeyFault::Form)?, words.next().ok_or(KeyFault::Form)?);
    let node = match words.next() {
        None => None,
        Some(word) => Some(word.strip_prefix("node=").filter(|name| !name.is_empty()).ok_or(KeyFault::Form)?.into()),
    };
    if words.next().is_some() {
        return Err(KeyFault::Form);
    }
    let id = id.parse().ok().filter(|id| *id != 0).ok_or(KeyFault::Id)?;
    Ok(KeyLine { id, bytes: decode(value)?, node })
}

fn decode(value: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let bytes = if let Some(digits) = value.strip_prefix("HEX:") {
        hexadecimal(digits).ok_or(KeyFault::Encoding("hexadecimal (two digits for each byte)"))?
    } else if let Some(text) = value.strip_prefix("B64:") {
        base64(text).ok_or(KeyFault::Encoding("base64 (RFC 4648)"))?
    } else {
        return Err(KeyFault::Form);
    };
    checked(bytes)
}

fn checked(bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    match bytes.len() {
        len if len < KEY_BYTES_MIN => Err(KeyFault::TooShort(len)),
        len if len > KEY_BYTES_MAX => Err(KeyFault::TooLong(len)),
        _ => Ok(bytes),
    }
}

fn hexadecimal(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks_exact(2) {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
        bytes.push((high << 4 | low) as u8);
    }
    Some(bytes)
}

/// RFC 4648, section 4, with its padding.
fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let sextet = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|c| **c == b'=').count();
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3));
    let (mut bits, mut held) = (0u32, 0);
    for c in &text[..text.len() - padding] {
        bits = bits << 6 | u32::from(sextet(*c)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // What is left over must be nothing, or two texts would mean one key.
    (bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const SIXTEEN: &str = "HEX:000102030405060708090a0b0c0d0e0f";

    fn key_file(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn fault(text: &str) -> (Option<usize>, KeyFault) {
        parse(text).unwrap_err()
    }

    #[test]
    fn shared_keys_and_keys_of_one_node_are_read_in_their_order() {
        let text = format!("# two\n\n 1 {SIXTEEN}\n2 B64:AAECAwQFBgcICQoLDA0ODw== node=db1:4123\n");
        let (_dir, path) = key_file(text.as_bytes(), 0o600);
        let keys = read(&path).unwrap();
        let bytes = Zeroizing::new((0..16).collect::<Vec<u8>>());
        assert_eq!(keys[0], KeyLine { id: 1, bytes: bytes.clone(), node: None });
        assert_eq!(keys[1], KeyLine { id: 2, bytes, node: Some("db1:4123".into()) });
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn a_secret_is_one_line_of_a_private_file() {
        for (text, secret) in
            [("s p\n", Some("s p")), ("s", Some("s")), ("s\r\n", Some("s")), ("", None), ("\n", None), ("a\nb\n", None)]
        {
            let (_dir, path) = key_file(text.as_bytes(), 0o600);
            assert_eq!(read_secret(&path).ok().as_ref().map(|s| s.as_str()), secret, "{text:?}");
        }
        let (_dir, path) = key_file(b"s", 0o644);
        assert!(matches!(read_secret(&path), Err(KeyFileError::Exposed { .. })));
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused_with_the_remedy() {
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let (_dir, path) = key_file(format!("1 {SIXTEEN}").as_bytes(), mode);
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Exposed { mode: told, .. } if told == mode));
            assert!(error.to_string().ends_with(&format!("run `chmod 600 {}`", path.display())), "{error}");
        }
    }

    #[test]
    fn a_file_that_only_its_owner_may_read_is_taken_also_behind_a_link() {
        let (dir, path) = key_file(format!("1 {SIXTEEN}").as_bytes(), 0o400);
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap().len(), 1);
    }

    #[test]
    fn a_file_of_another_user_is_refused_and_says_whose_it_is() {
        if !geteuid().is_root() {
            println!("skipped: giving a file away needs root");
            return;
        }
        let (_dir, path) = key_file(format!("1 {SIXTEEN}").as_bytes(), 0o600);
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        assert!(matches!(read(&path), Err(KeyFileError::Foreign { owner: 12345, .. })));
    }

    #[test]
    fn what_is_not_a_file_is_refused_without_waiting_for_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(KeyFileError::NotAFile { .. })));
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&pipe), Err(KeyFileError::NotAFile { .. })));
        assert!(matches!(read(&dir.path().join("none")), Err(KeyFileError::Access { .. })));
    }

    #[test]
    fn what_is_no_text_or_no_end_of_text_is_refused() {
        for bytes in [vec![0xff; 8], vec![b'#'; FILE_BYTES_MAX as usize + 1]] {
            let (_dir, path) = key_file(&bytes, 0o600);
            assert!(matches!(read(&path), Err(KeyFileError::Malformed { line: None, fault: KeyFault::NotText, .. })));
        }
    }

    #[test]
    fn a_faulty_line_is_named_with_its_fault() {
        for (line, expected) in [
            ("1", KeyFault::Form),
            ("1 secret", KeyFault::Form),
            ("1 HEX:00 node=", KeyFault::Form),
            ("1 HEX:00 host=x", KeyFault::Form),
            ("1 HEX:00 node=a b", KeyFault::Form),
            ("0 HEX:00", KeyFault::Id),
            ("65536 HEX:00", KeyFault::Id),
            ("one HEX:00", KeyFault::Id),
            ("1 HEX:0g", KeyFault::Encoding("hexadecimal (two digits for each byte)")),
            ("1 HEX:000", KeyFault::Encoding("hexadecimal (two digits for each byte)")),
            ("1 B64:AAA", KeyFault::Encoding("base64 (RFC 4648)")),
            ("1 B64:A===", KeyFault::Encoding("base64 (RFC 4648)")),
            ("1 B64:AB==", KeyFault::Encoding("base64 (RFC 4648)")),
            ("1 B64:AA=A", KeyFault::Encoding("base64 (RFC 4648)")),
            ("1 HEX:000102030405060708090a0b0c0d0e", KeyFault::TooShort(15)),
        ] {
            assert_eq!(fault(&format!("# x\n{line}\n")), (Some(2), expected), "{line}");
        }
        let long = "00".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(fault(&format!("1 HEX:{long}")), (Some(1), KeyFault::TooLong(KEY_BYTES_MAX + 1)));
        assert!(parse(&format!("1 HEX:{}", &long[2..])).is_ok());
    }

    #[test]
    fn a_rotation_has_two_keys_of_an_owner_and_a_third_is_refused() {
        let two = format!("1 {SIXTEEN}\n2 {SIXTEEN}\n1 {SIXTEEN} node=a\n2 {SIXTEEN} node=a\n");
        assert_eq!(parse(&two).unwrap().len(), 4);
        let (line, told) = fault(&format!("{two}3 {SIXTEEN}\n"));
        assert_eq!((line, told), (Some(5), KeyFault::TooMany("shared by the cluster".into())));
        assert!(matches!(fault(&format!("{two}3 {SIXTEEN} node=a\n")), (Some(5), KeyFault::TooMany(_))));
        assert_eq!(fault(&format!("1 {SIXTEEN}\n1 {SIXTEEN}\n")), (Some(2), KeyFault::Twice(1)));
    }

    #[test]
    fn as_many_keys_as_a_node_can_keep_are_read_and_not_one_more() {
        let full: String = (0..KEYS_MAX).map(|n| format!("{} {SIXTEEN} node=n{}\n", n % 2 + 1, n / 2)).collect();
        assert_eq!(parse(&full).unwrap().len(), KEYS_MAX);
        assert_eq!(fault(&format!("{full}1 {SIXTEEN} node=x\n")), (Some(KEYS_MAX + 1), KeyFault::Full));
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        assert_eq!(fault("# nothing\n"), (None, KeyFault::Empty));
    }

    #[test]
    fn a_key_on_the_command_line_may_be_plain_text_but_not_a_short_one() {
        assert_eq!(inline("correct horse battery").unwrap().bytes.as_slice(), b"correct horse battery");
        assert_eq!(inline(SIXTEEN).unwrap().bytes.len(), 16);
        assert_eq!(inline("secret"), Err(KeyFault::TooShort(6)));
        assert_eq!(inline("HEX:xy").unwrap_err(), KeyFault::Encoding("hexadecimal (two digits for each byte)"));
    }

    #[test]
    fn base64_agrees_with_the_vectors_of_rfc_4648() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).unwrap().as_slice(), bytes.as_bytes());
        }
    }

    #[test]
    fn a_key_never_shows_in_debug_output() {
        let key = inline("correct horse battery").unwrap();
        assert_eq!(format!("{key:?}"), "KeyLine { id: 1, node: None, .. }");
    }
}
