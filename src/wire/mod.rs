//! Bytes and their meaning: the one fixed layout of the native protocol, the keyed seal over it, the replay window.
//! Nothing here knows peers, clocks or sockets; docs/PROTOCOL.md gives the layout byte by byte.

mod keyring;
mod layout;
mod message;
mod reject;
mod replay;

pub use keyring::{Key, KeyChoice, Keyring, KeyringError};
pub use layout::{DATAGRAM_LEN, MAC_LEN, MAGIC, SEALED_LEN, VERSION};
pub use message::{Earlier, Identity, Kind, Message};
pub use reject::Reject;
pub use replay::ReplayWindow;

#[cfg(test)]
mod tests;
