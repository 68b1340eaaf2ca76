//! Key files: who may read them, and what stands in them. A line is `ID HEX:digits` or `ID B64:text`, optionally followed by
//! `node=NAME` for a key that belongs to that one peer; `#` begins a comment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::limits::{KEY_BYTES_MAX, KEY_BYTES_MIN, KEYS_MAX};

/// One key of a file.
#[derive(Debug)]
pub struct KeyLine {
    /// The number by which packets name it.
    pub id: u16,
    /// The key; wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The one peer it belongs to, by name.
    pub node: Option<String>,
}

/// Why a key file is not used; one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be opened or read.
    #[error("cannot read the key file {path}: {error}")]
    Access {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Others could know the keys.
    #[error(
        "the key file {path} can be read by other users: run `chmod 600` on it, and make a new key if anybody else had access"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Another user may have put it there.
    #[error("the key file {path} belongs to another user: make it yours or root's")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Not a file, or far too long.
    #[error("{path} is not a key file: make one with `llts keygen --out FILE`")]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// A line is wrong.
    #[error("{path} line {line}: {fault}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it and what it should be.
        fault: String,
    },
    /// There is no key in it.
    #[error("{path} holds no key: make one with `llts keygen --out FILE`")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More shared keys than may be live.
    #[error("{path} holds more than two shared keys: keep the one in use and the one that comes next")]
    TooManyShared {
        /// The file.
        path: PathBuf,
    },
}

/// Bytes of the longest key file read: every line at its longest.
const FILE_BYTES_MAX: u64 = (KEYS_MAX * 512) as u64;

/// Reads the keys of a file that nobody but its owner, this user or root, can read.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_key_file(path: &Path) -> Result<Vec<KeyLine>, KeyFileError> {
    let access = |error| KeyFileError::Access { path: path.to_owned(), error };
    // A pipe in the file's place must not hold the start up.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(access)?;
    check_owner(&file, path)?;
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => KeyFileError::NotAKeyFile { path: path.to_owned() },
        _ => access(error),
    })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyFileError::NotAKeyFile { path: path.to_owned() });
    }
    let keys = parse_keys(&text).map_err(|(line, fault)| KeyFileError::Line { path: path.to_owned(), line, fault })?;
    if keys.is_empty() {
        return Err(KeyFileError::Empty { path: path.to_owned() });
    }
    if keys.iter().filter(|key| key.node.is_none()).count() > 2 {
        return Err(KeyFileError::TooManyShared { path: path.to_owned() });
    }
    Ok(keys)
}

fn check_owner(file: &File, path: &Path) -> Result<(), KeyFileError> {
    let found = file.metadata().map_err(|error| KeyFileError::Access { path: path.to_owned(), error })?;
    if !found.is_file() {
        return Err(KeyFileError::NotAKeyFile { path: path.to_owned() });
    }
    if found.uid() != geteuid().as_raw() && found.uid() != 0 {
        return Err(KeyFileError::Foreign { path: path.to_owned() });
    }
    if found.mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned() });
    }
    Ok(())
}

/// Parses the text of a key file.
///
/// # Errors
/// The number of the first wrong line, from 1, and what is wrong with it. Never the key itself.
pub fn parse_keys(text: &str) -> Result<Vec<KeyLine>, (usize, String)> {
    let mut keys: Vec<KeyLine> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let key = parse_line(line).map_err(|fault| (n + 1, fault))?;
        if keys.iter().any(|k| k.id == key.id && k.node == key.node) {
            return Err((n + 1, format!("key id {} is given twice: give each key its own id", key.id)));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Parses the key of `--hmac-key`: `HEX:`, `B64:`, or the text itself; its id is 1.
///
/// # Errors
/// It is no key, or too short.
pub fn parse_inline_key(text: &str) -> Result<KeyLine, InlineKeyError> {
    let bytes = if text.starts_with("HEX:") || text.starts_with("B64:") {
        parse_secret(text).map_err(InlineKeyError)?
    } else {
        Zeroizing::new(text.as_bytes().to_vec())
    };
    check_length(&bytes).map_err(InlineKeyError)?;
    Ok(KeyLine { id: 1, bytes, node: None })
}

/// Why the key on the command line is none.
#[derive(Debug, thiserror::Error)]
#[error("--hmac-key: {0}")]
pub struct InlineKeyError(String);

fn parse_line(line: &str) -> Result<KeyLine, String> {
    let mut words = line.split_whitespace();
    let (Some(id), Some(secret)) = (words.next(), words.next()) else {
        return Err("a key line is `ID HEX:digits`".to_owned());
    };
    let id = id.parse::<u16>().map_err(|_| format!("{id:?} is no key id: it must be a number from 0 to 65535"))?;
    let bytes = parse_secret(secret)?;
    check_length(&bytes)?;
    let node = match words.next() {
        None => None,
        Some(word) => match word.strip_prefix("node=").filter(|name| !name.is_empty()) {
            Some(name) => Some(name.to_owned()),
            None => return Err(format!("{word:?} is not understood: after the key only `node=NAME` may stand")),
        },
    };
    match words.next() {
        None => Ok(KeyLine { id, bytes, node }),
        Some(word) => Err(format!("{word:?} is not understood: nothing may stand after `node=NAME`")),
    }
}

fn check_length(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() < KEY_BYTES_MIN {
        return Err(format!(
            "the key has {} bytes, and less than {KEY_BYTES_MIN} can be guessed: make one with `llts keygen`",
            bytes.len()
        ));
    }
    if bytes.len() > KEY_BYTES_MAX {
        return Err(format!("the key has {} bytes: at most {KEY_BYTES_MAX} are of use", bytes.len()));
    }
    Ok(())
}

fn parse_secret(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let fault = || "the key must be `HEX:` and pairs of hexadecimal digits, or `B64:` and base64".to_owned();
    let bytes = match text.split_once(':') {
        Some(("HEX", digits)) => parse_hex(digits),
        Some(("B64", text)) => parse_base64(text),
        _ => None,
    };
    bytes.map(Zeroizing::new).ok_or_else(fault)
}

fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    digits.chunks_exact(2).map(|pair| Some((value(pair[0])? << 4 | value(pair[1])?) as u8)).collect()
}

/// Base64 of RFC 4648 section 4, padding optional.
fn parse_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0u32, 0u32);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (held < 6 && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HEX: &str = "HEX:000102030405060708090a0b0c0d0e0f";

    #[test]
    fn a_file_of_both_notations_comments_and_owners_is_read() {
        let text = format!("# the cluster's\n1 {HEX}   # in use\n\n2 B64:AAECAwQFBgcICQoLDA0ODw==\n3 {HEX} node=db1\n");
        let keys = parse_keys(&text).unwrap();
        assert_eq!(keys.len(), 3);
        assert_eq!(keys[0].bytes, keys[1].bytes);
        assert_eq!(keys[2].node.as_deref(), Some("db1"));
    }

    #[test]
    fn each_wrong_line_is_named_with_its_number_and_without_the_key() {
        let wrong = [
            "1",
            "one HEX:000102030405060708090a0b0c0d0e0f",
            "70000 HEX:000102030405060708090a0b0c0d0e0f",
            "1 000102030405060708090a0b0c0d0e0f",
            "1 HEX:00010203040506070809",
            "1 HEX:000102030405060708090a0b0c0d0e0f0",
            "1 HEX:zz0102030405060708090a0b0c0d0e0f",
            "1 B64:AAECAwQFBgcICQoLDA0OD===!",
            "1 HEX:000102030405060708090a0b0c0d0e0f db1",
            "1 HEX:000102030405060708090a0b0c0d0e0f node=",
            "1 HEX:000102030405060708090a0b0c0d0e0f node=a b",
        ];
        for line in wrong {
            let (n, fault) = parse_keys(&format!("# first\n{line}")).unwrap_err();
            assert_eq!(n, 2, "{line}");
            assert!(!fault.contains("0102030405"), "{fault}");
        }
        let twice = format!("1 {HEX}\n1 {HEX}");
        assert_eq!(parse_keys(&twice).unwrap_err().0, 2);
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("1 {HEX}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_key_file(&path), Err(KeyFileError::Exposed { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_key_file(&path).unwrap().len(), 1);
        assert!(matches!(read_key_file(dir.path()), Err(KeyFileError::NotAKeyFile { .. })));
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(matches!(read_key_file(&path), Err(KeyFileError::Empty { .. })));
        std::fs::write(&path, format!("1 {HEX}\n2 {HEX}\n3 {HEX}\n")).unwrap();
        assert!(matches!(read_key_file(&path), Err(KeyFileError::TooManyShared { .. })));
    }

    #[test]
    fn a_key_on_the_command_line_may_be_text_but_not_short() {
        assert_eq!(parse_inline_key("sixteen bytes ok").unwrap().bytes.len(), 16);
        assert!(parse_inline_key("secret").is_err());
        assert_eq!(parse_inline_key(HEX).unwrap().bytes.len(), 16);
    }
}
