//! One time stamp and how it was taken.

use crate::unit::RawTime;

/// Who took a stamp, from the weakest to the strongest. Samples of different classes have different noise and are
/// never mixed in one statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum StampClass {
    /// Read by this program around the system call.
    #[default]
    User = 0,
    /// Taken by the kernel when the packet passed the driver.
    Kernel = 1,
    /// Taken by the network card.
    Nic = 2,
}

impl StampClass {
    /// The class a two-bit field of a packet stands for; unknown values count as the weakest.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => StampClass::Kernel,
            2 => StampClass::Nic,
            _ => StampClass::User,
        }
    }

    /// The word shown to people and in JSON: `user`, `kernel` or `nic`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StampClass::User => "user",
            StampClass::Kernel => "kernel",
            StampClass::Nic => "nic",
        }
    }
}

/// A point on this node's raw scale at which a packet left or arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    /// When, on the raw scale of the node that took the stamp.
    pub at: RawTime,
    /// Who took it.
    pub class: StampClass,
}
