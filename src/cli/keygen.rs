//! `llts keygen`: a fresh key as the text of a key file. Never replaces a file, and with no file named prints the
//! text and nothing else.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use super::args::KeygenArgs;
use super::exit::{Failure, say};

/// Bytes of a new key: what HMAC-SHA256 can make use of.
const KEY_BYTES: usize = 32;

/// Makes a key.
pub(super) fn keygen(args: &KeygenArgs) -> Result<(), Failure> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let random = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut key[..]));
    random.context("cannot read random numbers from /dev/urandom")?;
    let text = text(args.id, &key);
    match &args.out {
        None => say(&text),
        Some(path) => {
            write_new(path, &text).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    anyhow!("{} exists and is left as it is: name a new file with --out", path.display())
                }
                _ => anyhow!("cannot write the key file {}: {error}", path.display()),
            })?;
            say(&format!(
                "key {} is in {}, readable by you only: copy it to every node and pass --key-file\n",
                args.id,
                path.display()
            ))
        }
    }
}

fn text(id: u16, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    // Room for all of it at once: a text that grows leaves copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(256));
    text.push_str("# A key of an llts cluster: the same on every node, and secret (chmod 600).\n");
    // Writing to a String cannot fail.
    let _infallible = write!(text, "{id} HEX:");
    for byte in key {
        let _infallible = write!(text, "{byte:02x}");
    }
    text.push('\n');
    text
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::keyfile;

    #[test]
    fn what_is_made_can_be_read_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let key: [u8; KEY_BYTES] = std::array::from_fn(|n| n as u8 * 8);
        write_new(&path, &text(7, &key)).unwrap();
        let keys = keyfile::read(&path).unwrap();
        assert_eq!((keys[0].id, keys[0].bytes.as_slice(), keys.len()), (7, &key[..], 1));
        assert_eq!(write_new(&path, "x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(keyfile::read(&path).unwrap(), keys);
    }
}
