//! The live keys of a node. HMAC-SHA256 (RFC 2104), truncated to 16 bytes, compared in constant time; each key keeps
//! its keyed state, which costs a copy instead of two compressions a packet. Reading key files is not done here.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{MAC_LEN, Reject};
use crate::limits::{KEY_BYTES_MAX, KEY_BYTES_MIN, KEYS_MAX};
use crate::unit::{KeyId, NodeId};

/// One live key.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    owner: Option<NodeId>,
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Key {
    /// The id and the owner; never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Why a key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The key is shorter than [`KEY_BYTES_MIN`].
    #[error("key {0} is shorter than {KEY_BYTES_MIN} bytes: make one with `llts keygen`")]
    TooShort(u16),
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("key {0} is longer than {KEY_BYTES_MAX} bytes: make one with `llts keygen`")]
    TooLong(u16),
    /// The same id for the same owner twice.
    #[error("key id {0} is given twice: give each key its own id")]
    Duplicate(u16),
    /// The table is full.
    #[error("more than {KEYS_MAX} keys: remove those that are no longer used")]
    Full,
}

/// Which key seals a packet. An index that stays good for the life of the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyChoice(u16);

/// The keys a node holds: shared ones, by which any member may speak, and ones that belong to a single peer.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// A keyring without a key: it opens and seals nothing.
    #[must_use]
    pub fn new() -> Self {
        Keyring::default()
    }

    /// Adds a key; `owner` names the one peer it belongs to, or nobody for a key shared by the cluster. Order matters:
    /// the first key that fits a receiver seals, all of them open.
    ///
    /// # Errors
    /// The key is too short or too long, its id is taken, or the table is full.
    pub fn insert(&mut self, id: KeyId, bytes: &[u8], owner: Option<NodeId>) -> Result<(), KeyringError> {
        if bytes.len() < KEY_BYTES_MIN {
            return Err(KeyringError::TooShort(id.0));
        }
        if bytes.len() > KEY_BYTES_MAX {
            return Err(KeyringError::TooLong(id.0));
        }
        if self.keys.iter().any(|k| k.id == id && k.owner == owner) {
            return Err(KeyringError::Duplicate(id.0));
        }
        if self.keys.len() == KEYS_MAX {
            return Err(KeyringError::Full);
        }
        let keyed = Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length");
        self.keys.push(Key { id, owner, keyed });
        Ok(())
    }

    /// True if no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// True if `node` has a key of its own, so that no other member can speak for it.
    #[must_use]
    pub fn is_bound(&self, node: NodeId) -> bool {
        self.keys.iter().any(|k| k.owner == Some(node))
    }

    /// The key that must have sealed a packet of `sender` naming `id`.
    ///
    /// # Errors
    /// [`Reject::UnknownKey`], or [`Reject::ForeignKey`] if the sender has keys of its own and `id` is not one of them.
    pub fn find(&self, id: KeyId, sender: NodeId) -> Result<KeyChoice, Reject> {
        let mut shared = None;
        let mut bound = false;
        let mut others = false;
        for (index, key) in self.keys.iter().enumerate() {
            match key.owner {
                Some(owner) if owner == sender => {
                    if key.id == id {
                        return Ok(KeyChoice(index as u16));
                    }
                    bound = true;
                }
                Some(_) => others |= key.id == id,
                None if key.id == id => shared = Some(KeyChoice(index as u16)),
                None => {}
            }
        }
        match shared {
            Some(choice) if !bound => Ok(choice),
            Some(_) => Err(Reject::ForeignKey),
            None if others => Err(Reject::ForeignKey),
            None => Err(Reject::UnknownKey),
        }
    }

    /// The key that seals packets to `receiver`: its own, else the first shared one. A receiver that is not known yet
    /// may hold a key of its own for this node, and then refuses a shared one: odd attempts take the first shared key,
    /// even ones walk through those that belong to a peer. `None` if no key fits.
    #[must_use]
    pub fn choose(&self, receiver: NodeId, attempt: u32) -> Option<KeyChoice> {
        let shared = self.keys.iter().position(|k| k.owner.is_none());
        let found = if receiver == NodeId::ANYONE {
            let bound = self.keys.iter().filter(|k| k.owner.is_some()).count();
            let turn = attempt as usize;
            let nth_bound = |n| self.keys.iter().enumerate().filter(|(_, k)| k.owner.is_some()).nth(n).map(|(i, _)| i);
            match shared {
                Some(index) if turn % 2 == 1 || bound == 0 => Some(index),
                Some(_) => nth_bound(turn / 2 % bound),
                None if bound == 0 => None,
                None => nth_bound(turn % bound),
            }
        } else {
            self.keys.iter().position(|k| k.owner == Some(receiver)).or(shared)
        };
        found.map(|index| KeyChoice(index as u16))
    }

    /// The id by which a packet names `choice`.
    #[must_use]
    pub fn id(&self, choice: KeyChoice) -> KeyId {
        self.keys[choice.0 as usize].id
    }

    /// The seal of `bytes` under `choice`.
    #[must_use]
    pub fn seal(&self, choice: KeyChoice, bytes: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = self.keys[choice.0 as usize].keyed.clone();
        mac.update(bytes);
        let full = mac.finalize().into_bytes();
        full[..MAC_LEN].try_into().expect("HMAC-SHA256 has 32 bytes")
    }

    /// True if `seal` is the seal of `bytes` under `choice`; compared in constant time.
    #[must_use]
    pub fn verify(&self, choice: KeyChoice, bytes: &[u8], seal: &[u8; MAC_LEN]) -> bool {
        let mut mac = self.keys[choice.0 as usize].keyed.clone();
        mac.update(bytes);
        mac.verify_truncated_left(seal).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [7; 16];

    #[test]
    fn keys_below_the_least_length_and_above_the_greatest_are_refused() {
        let mut ring = Keyring::new();
        assert_eq!(ring.insert(KeyId(1), &[1; KEY_BYTES_MIN - 1], None), Err(KeyringError::TooShort(1)));
        assert_eq!(ring.insert(KeyId(1), &[1; KEY_BYTES_MAX + 1], None), Err(KeyringError::TooLong(1)));
        assert_eq!(ring.insert(KeyId(1), &[1; KEY_BYTES_MIN], None), Ok(()));
        assert_eq!(ring.insert(KeyId(2), &[1; KEY_BYTES_MAX], None), Ok(()));
    }

    #[test]
    fn the_table_takes_its_limit_and_not_one_more() {
        let mut ring = Keyring::new();
        for id in 0..KEYS_MAX {
            ring.insert(KeyId(id as u16), &KEY, None).unwrap();
        }
        assert_eq!(ring.insert(KeyId(60_000), &KEY, None), Err(KeyringError::Full));
    }

    #[test]
    fn a_peer_with_a_key_of_its_own_is_not_believed_under_a_shared_key() {
        let mut ring = Keyring::new();
        ring.insert(KeyId(1), &KEY, None).unwrap();
        ring.insert(KeyId(2), &[8; 16], Some(NodeId(5))).unwrap();
        assert!(ring.find(KeyId(2), NodeId(5)).is_ok());
        assert_eq!(ring.find(KeyId(1), NodeId(5)), Err(Reject::ForeignKey));
        assert_eq!(ring.find(KeyId(2), NodeId(6)), Err(Reject::ForeignKey));
        assert!(ring.find(KeyId(1), NodeId(6)).is_ok());
        assert_eq!(ring.find(KeyId(9), NodeId(6)), Err(Reject::UnknownKey));
    }

    #[test]
    fn a_seal_fits_its_key_and_its_bytes_and_nothing_else() {
        let mut ring = Keyring::new();
        ring.insert(KeyId(1), &KEY, None).unwrap();
        ring.insert(KeyId(2), &[8; 16], None).unwrap();
        let (one, two) = (ring.find(KeyId(1), NodeId(9)).unwrap(), ring.find(KeyId(2), NodeId(9)).unwrap());
        let seal = ring.seal(one, b"bytes");
        assert!(ring.verify(one, b"bytes", &seal));
        assert!(!ring.verify(two, b"bytes", &seal));
        assert!(!ring.verify(one, b"byteS", &seal));
    }

    #[test]
    fn the_seal_is_the_left_half_of_the_published_mac() {
        // RFC 4231, test case 3: 20 bytes 0xaa, 50 bytes 0xdd.
        let mut ring = Keyring::new();
        ring.insert(KeyId(1), &[0xaa; 20], None).unwrap();
        let published = 0x773e_a91e_3680_0e46_854d_b8eb_d091_81a7_u128.to_be_bytes();
        assert_eq!(ring.seal(ring.find(KeyId(1), NodeId(9)).unwrap(), &[0xdd; 50]), published);
    }

    #[test]
    fn every_bit_of_a_seal_counts() {
        let mut ring = Keyring::new();
        ring.insert(KeyId(1), &KEY, None).unwrap();
        let key = ring.find(KeyId(1), NodeId(9)).unwrap();
        let seal = ring.seal(key, b"bytes");
        for bit in 0..8 * MAC_LEN {
            let mut other = seal;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!ring.verify(key, b"bytes", &other), "bit {bit}");
        }
    }

    #[test]
    fn whoever_is_not_known_yet_is_asked_under_every_key_that_it_may_expect() {
        let mut ring = Keyring::new();
        assert_eq!(ring.choose(NodeId::ANYONE, 1), None);
        ring.insert(KeyId(5), &KEY, Some(NodeId(5))).unwrap();
        ring.insert(KeyId(6), &KEY, Some(NodeId(6))).unwrap();
        let asked = |ring: &Keyring, attempts: std::ops::Range<u32>| {
            attempts.map(|n| ring.id(ring.choose(NodeId::ANYONE, n).unwrap()).0).collect::<Vec<_>>()
        };
        assert_eq!(asked(&ring, 1..5), [6, 5, 6, 5]);
        ring.insert(KeyId(1), &KEY, None).unwrap();
        ring.insert(KeyId(2), &KEY, None).unwrap();
        assert_eq!(asked(&ring, 1..9), [1, 6, 1, 5, 1, 6, 1, 5]);
        let mut shared = Keyring::new();
        shared.insert(KeyId(1), &KEY, None).unwrap();
        assert_eq!(asked(&shared, 0..3), [1, 1, 1]);
    }

    #[test]
    fn a_peer_is_spoken_to_under_its_own_key_then_the_first_shared_one() {
        let mut ring = Keyring::new();
        ring.insert(KeyId(1), &KEY, None).unwrap();
        ring.insert(KeyId(2), &KEY, None).unwrap();
        ring.insert(KeyId(7), &KEY, Some(NodeId(7))).unwrap();
        ring.insert(KeyId(8), &KEY, Some(NodeId(7))).unwrap();
        let id = |node| ring.choose(NodeId(node), 3).map(|k| ring.id(k).0);
        assert_eq!((id(7), id(9)), (Some(7), Some(1)));
        assert!(ring.is_bound(NodeId(7)) && !ring.is_bound(NodeId(9)));
        assert_eq!(ring.insert(KeyId(7), &[9; 16], Some(NodeId(7))), Err(KeyringError::Duplicate(7)));
        assert_eq!(ring.insert(KeyId(7), &[9; 16], Some(NodeId(9))), Ok(()));
    }

    #[test]
    fn debug_output_never_shows_a_key() {
        let mut ring = Keyring::new();
        ring.insert(KeyId(1), b"0123456789abcdef", None).unwrap();
        assert!(!format!("{ring:?}").contains("0123") && !format!("{ring:?}").contains("48, 49"));
    }
}
