//! The words by which `watch` and `query` say who they may speak as: the cluster and its key. The rule is that of
//! `run`: on this machine the key of this user is enough, beyond it a key must have been handed out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Failure, warn};
use super::quantity;
use crate::discovery::StaticPeer;
use crate::engine::{KeySource, keyfile};

/// Cluster and key.
#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// Name of the cluster
    #[arg(long, default_value = "default", value_parser = quantity::name)]
    pub cluster: String,
    /// File with the cluster's keys, as `llts keygen` makes it [default, on this machine: the key of this user]
    #[arg(long, value_name = "FILE", conflicts_with = "hmac_key")]
    pub key_file: Option<PathBuf>,
    /// The cluster's key itself, as text, HEX:... or B64:...; every user of the machine can read it with ps
    #[arg(long, value_name = "KEY")]
    pub hmac_key: Option<String>,
    /// Folder where the key of this user and status sockets are [default: /run/llts for root, else the user's own]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
}

impl KeyArgs {
    /// From where `peers` are asked and with which key.
    ///
    /// # Errors
    /// [`Failure::Usage`]: a peer beyond this machine needs a key, or the key is wrong.
    pub fn checked(&self, peers: &[StaticPeer]) -> Result<(IpAddr, KeySource), Failure> {
        let keys = match (&self.key_file, &self.hmac_key) {
            (Some(path), _) => {
                keyfile::read(path).map_err(Failure::usage)?;
                KeySource::File(path.clone())
            }
            (None, Some(key)) => {
                keyfile::inline(key).map_err(|fault| Failure::Usage(format!("--hmac-key is wrong: {fault}")))?;
                warn("warning: every user of this machine can read --hmac-key with ps: prefer --key-file");
                KeySource::Inline(key.clone())
            }
            (None, None) => return Ok((loopback(peers)?, KeySource::LocalUser)),
        };
        // One socket for both families where the machine has both.
        let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
        let every: IpAddr = if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        Ok((every, keys))
    }
}

/// The loopback address from which all of `peers` can be asked.
fn loopback(peers: &[StaticPeer]) -> Result<IpAddr, Failure> {
    let mut own = None;
    for peer in peers {
        let Some(address) = peer.literal() else { continue };
        if !address.ip().is_loopback() {
            return Err(Failure::Usage(format!(
                "{peer} is not on this machine, so asking it needs the cluster's key: pass --key-file"
            )));
        }
        let from: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        if *own.get_or_insert(from) != from {
            return Err(Failure::Usage(format!(
                "{peer} is of another family than the nodes before it: without --key-file name either IPv4 or IPv6"
            )));
        }
    }
    Ok(own.unwrap_or(Ipv4Addr::LOCALHOST.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(peers: &str, key: Option<&str>) -> Result<(IpAddr, KeySource), String> {
        let keys =
            KeyArgs { cluster: "default".into(), key_file: None, hmac_key: key.map(str::to_owned), runtime_dir: None };
        keys.checked(&StaticPeer::parse_list([peers]).unwrap()).map_err(|failure| match failure {
            Failure::Usage(sentence) => sentence,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn on_this_machine_the_key_of_this_user_is_enough_and_beyond_it_is_not() {
        assert_eq!(checked("127.0.0.1:1,localhost:2", None), Ok(("127.0.0.1".parse().unwrap(), KeySource::LocalUser)));
        assert_eq!(checked("[::1]:1", None), Ok(("::1".parse().unwrap(), KeySource::LocalUser)));
        assert!(checked("192.0.2.1", None).unwrap_err().contains("needs the cluster's key"));
        assert!(checked("127.0.0.1:1,[::1]:1", None).unwrap_err().contains("another family"));
        let (from, keys) = checked("192.0.2.1", Some("0123456789abcdef")).unwrap();
        assert!(from.is_unspecified() && keys == KeySource::Inline("0123456789abcdef".into()));
        assert!(checked("192.0.2.1", Some("short")).unwrap_err().contains("--hmac-key is wrong"));
    }
}
