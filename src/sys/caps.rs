//! Which of the privileges this program can use are in effect. Reads only; raising and dropping them is for whoever
//! starts the process. Inside a user namespace a capability may be in effect here and still be refused by the kernel,
//! whose refusal is the last word.

use std::fmt;
use std::fs;
use std::io;

/// A capability this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Set and steer the system clock.
    SysTime,
    /// Switch a card's time stamping on.
    NetAdmin,
    /// Run with real-time priority.
    SysNice,
    /// Lock memory beyond the user's limit.
    IpcLock,
}

impl Capability {
    /// The capability's bit in the kernel's masks (`linux/capability.h`).
    const fn bit(self) -> u32 {
        match self {
            Capability::NetAdmin => 12,
            Capability::IpcLock => 14,
            Capability::SysNice => 23,
            Capability::SysTime => 25,
        }
    }

    /// Its name as `capsh` and systemd write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Capability::SysTime => "CAP_SYS_TIME",
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::SysNice => "CAP_SYS_NICE",
            Capability::IpcLock => "CAP_IPC_LOCK",
        }
    }

    /// Whether the calling thread has it in effect now.
    ///
    /// # Errors
    /// If `/proc/thread-self/status` cannot be read or does not say.
    pub fn in_effect(self) -> io::Result<bool> {
        let status = fs::read_to_string("/proc/thread-self/status")?;
        let mask = effective_mask(&status)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/thread-self/status has no CapEff line"))?;
        Ok(mask >> self.bit() & 1 == 1)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The mask of the `CapEff:` line.
fn effective_mask(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_found_among_its_neighbours() {
        let status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000002001000\nCapBnd:\t000001ffffffffff\n";
        let mask = effective_mask(status).unwrap();
        assert_eq!(mask, 1 << Capability::SysTime.bit() | 1 << Capability::NetAdmin.bit());
        assert_eq!(effective_mask("Name:\tx\n"), None);
        assert_eq!(effective_mask("CapEff:\tzz\n"), None);
    }

    #[test]
    fn this_process_can_be_asked() {
        for capability in [Capability::SysTime, Capability::NetAdmin, Capability::SysNice, Capability::IpcLock] {
            capability.in_effect().unwrap();
        }
    }
}
