//! The fixed layout, network byte order, no padding. Every message has this one length, so an answer is never longer
//! than its question.

use zerocopy::byteorder::network_endian::{F32, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `LT`, the first two bytes of every datagram.
pub const MAGIC: u16 = 0x4c54;
/// Major version in the high four bits, minor in the low four. Another major version is refused, another minor is read.
pub const VERSION: u8 = 0x10;
/// Bytes of the truncated HMAC-SHA256 at the end.
pub const MAC_LEN: usize = 16;
/// Bytes under the seal: everything before the MAC.
pub const SEALED_LEN: usize = 160;
/// Bytes of every datagram.
pub const DATAGRAM_LEN: usize = SEALED_LEN + MAC_LEN;

/// One datagram as it lies in memory; read in place, without a copy.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Layout {
    pub magic: U16,
    pub version: u8,
    pub kind: u8,
    pub key_id: U16,
    pub flags: U16,
    pub cluster: U32,
    pub boot: U32,
    pub sender: U64,
    pub receiver: U64,
    pub sequence: U64,
    pub nonce: U64,
    pub echo: U64,
    /// Raw time of the sender at which the echoed packet arrived, ns.
    pub receive: I64,
    /// Raw time of the sender just before this packet left, ns.
    pub transmit: I64,
    /// True departure of the sender's packet `sequence - earlier_delta`, ns.
    pub earlier_transmit: I64,
    /// Zero: no earlier stamp is carried.
    pub earlier_delta: U32,
    pub map_version: U32,
    pub map_epoch: I64,
    pub map_offset: I64,
    /// V's rate over raw, in units of 2^-48.
    pub map_rate: I64,
    /// Fraction of a nanosecond of `map_offset`, in units of 2^-32 ns.
    pub map_fraction: U32,
    pub wander: F32,
    pub boost: F32,
    pub sigma: F32,
    pub bound: F32,
    pub alive: U16,
    /// By how much the sender's stamps can be wrong beyond the delays that they measure, ns.
    pub stamp_doubt: U16,
    pub name: [u8; 16],
    /// Exclusive or of the identities of those whom the sender hears, itself included; 0 says nothing.
    pub circle: U64,
    pub mac: [u8; MAC_LEN],
}

const _: () = assert!(size_of::<Layout>() == DATAGRAM_LEN);
const _: () = assert!(std::mem::offset_of!(Layout, sender) == 16);
const _: () = assert!(std::mem::offset_of!(Layout, receive) == 56);
const _: () = assert!(std::mem::offset_of!(Layout, map_epoch) == 88);
const _: () = assert!(std::mem::offset_of!(Layout, name) == 136);
const _: () = assert!(std::mem::offset_of!(Layout, mac) == SEALED_LEN);

/// Where each small field of `flags` lies: bits 0-1 class of the receive stamp, 2-3 class promised for this packet's
/// true departure, 4-5 class of the earlier stamp, 6-7 node state, 8-9 role, 10 joining, 11-12 leap second. The others
/// are sent as zero and ignored.
pub(super) mod flag {
    pub const RECEIVE_CLASS: u16 = 0;
    pub const PROMISED_CLASS: u16 = 2;
    pub const EARLIER_CLASS: u16 = 4;
    pub const STATE: u16 = 6;
    pub const ROLE: u16 = 8;
    pub const JOINING: u16 = 10;
    pub const LEAP: u16 = 11;

    /// The two bits of `flags` that begin at `shift`.
    pub const fn two_bits(flags: u16, shift: u16) -> u8 {
        ((flags >> shift) & 3) as u8
    }
}
