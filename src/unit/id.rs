//! Identities: who a node is, which cluster it belongs to, which run of it is speaking. Derived, never allotted: nobody
//! hands out numbers in a cluster without a server.

use std::fmt;

use sha2::{Digest, Sha256};

/// A node's identity in its cluster: a hash of the cluster's name and the node's own. One identity holds one place.
/// Zero means *whoever you are*: it may stand as the receiver of a first probe and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

/// A cluster's identity: a hash of its name. Packets of another cluster are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterId(pub u32);

/// One run of a node: random at start, so that peers notice a restart, which makes its raw time begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootId(pub u32);

/// The number by which a packet names the key that seals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyId(pub u16);

/// The place of a peer in this node's tables; means nothing on another node, and is reused after a peer has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PeerSlot(pub u16);

impl PeerSlot {
    /// The slot as an index into a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// The receiver of a packet to a node whose identity is not known yet.
    pub const ANYONE: NodeId = NodeId(0);

    /// The identity of the node `name` in `cluster`.
    #[must_use]
    pub fn derive(cluster: &str, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"llts node\0");
        hash.update(cluster.as_bytes());
        hash.update(b"\0");
        hash.update(name.as_bytes());
        let digest = hash.finalize();
        let id = u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"));
        NodeId(id.max(1))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl ClusterId {
    /// The identity of the cluster called `cluster`.
    #[must_use]
    pub fn derive(cluster: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"llts cluster\0");
        hash.update(cluster.as_bytes());
        let digest = hash.finalize();
        ClusterId(u32::from_be_bytes(digest[..4].try_into().expect("a SHA-256 digest has 32 bytes")))
    }
}

/// A node's name as it travels in packets: at most 16 bytes of UTF-8, cut at a character, filled with zeros.
/// For people only: identity is [`NodeId`], a hash of the whole name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Name([u8; Name::LEN]);

impl Name {
    /// Bytes of a name on the wire.
    pub const LEN: usize = 16;

    /// The first bytes of `text`, cut at a character boundary. Control characters become `?`: names are printed.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; Name::LEN];
        let mut used = 0;
        for c in text.chars() {
            let c = if c.is_control() { '?' } else { c };
            if used + c.len_utf8() > Name::LEN {
                break;
            }
            used += c.encode_utf8(&mut bytes[used..]).len();
        }
        Name(bytes)
    }

    /// The name that arrived as `bytes`; what is not printable text is replaced.
    #[must_use]
    pub fn from_wire(bytes: [u8; Name::LEN]) -> Self {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(Name::LEN);
        let mut clean = [0; Name::LEN];
        match std::str::from_utf8(&bytes[..end]) {
            Ok(text) if !text.chars().any(char::is_control) => clean[..end].copy_from_slice(&bytes[..end]),
            _ => {
                for (to, from) in clean[..end].iter_mut().zip(&bytes[..end]) {
                    *to = if from.is_ascii_graphic() { *from } else { b'?' };
                }
            }
        }
        Name(clean)
    }

    /// The bytes as they stand in a packet.
    #[must_use]
    pub const fn to_wire(self) -> [u8; Name::LEN] {
        self.0
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(Name::LEN);
        std::str::from_utf8(&self.0[..end]).expect("a name is checked where it is made")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_at_a_character_and_never_inside_one() {
        assert_eq!(Name::new("abcdefghijklmnoü-tail").as_str(), "abcdefghijklmno");
        assert_eq!(Name::new("db1.example.org").as_str(), "db1.example.org");
    }

    #[test]
    fn a_name_from_the_wire_is_always_printable() {
        let mut bytes = [0u8; 16];
        bytes[..5].copy_from_slice(b"a\x1b[2J");
        assert_eq!(Name::from_wire(bytes).as_str(), "a?[2J");
        assert_eq!(Name::from_wire([0xff; 16]).as_str(), "?".repeat(16));
    }

    #[test]
    fn nodes_of_other_clusters_have_other_identities() {
        assert_ne!(NodeId::derive("a", "n1"), NodeId::derive("b", "n1"));
        assert_ne!(NodeId::derive("a", "n1"), NodeId::derive("a", "n2"));
        assert_ne!(ClusterId::derive("a"), ClusterId::derive("b"));
    }
}
