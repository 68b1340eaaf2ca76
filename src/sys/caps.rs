//! Which privileges the calling thread has, giving them up, and becoming another user. Capabilities belong to a thread:
//! one that is started inherits those of the thread that starts it, and what it gives up concerns nobody else. Inside a
//! user namespace a capability may be in effect here and still be refused by the kernel, whose refusal is the last
//! word. Who needs which is decided elsewhere.

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, User, initgroups, setresgid, setresuid};

use super::uapi::{CAPABILITY_VERSION_3, CapabilityData, CapabilityHeader};

/// A capability this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Set and steer the system clock.
    SysTime,
    /// Switch a card's time stamping on; poll a card busily.
    NetAdmin,
    /// Run with real-time priority.
    SysNice,
    /// Lock memory beyond the user's limit.
    IpcLock,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 4] =
        [Capability::SysTime, Capability::NetAdmin, Capability::SysNice, Capability::IpcLock];

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
    /// If the kernel does not say.
    pub fn in_effect(self) -> io::Result<bool> {
        let own = of_this_thread()?.effective.contains(self);
        Ok(own && (self == Capability::NetAdmin || in_first_user_namespace()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether this process is in the user namespace in which the machine was started. In any other (a rootless container)
/// it may show every capability and still not steer the clock, lock memory or raise a priority: those are asked of the
/// first one. The kernel tells by mapping all numbers to themselves.
#[must_use]
pub fn in_first_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_all(&map))
}

fn maps_all(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Some capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// None.
    pub const EMPTY: CapabilitySet = CapabilitySet(0);

    /// These.
    #[must_use]
    pub fn of(capabilities: &[Capability]) -> Self {
        capabilities.iter().fold(CapabilitySet::EMPTY, |set, capability| set.with(*capability))
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        CapabilitySet(self.0 | 1 << capability.bit())
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: CapabilitySet) -> Self {
        CapabilitySet(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: CapabilitySet) -> Self {
        CapabilitySet(self.0 & other.0)
    }

    /// Whether one is among them.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 >> capability.bit() & 1 == 1
    }

    /// True if there is none, of any sort.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for CapabilitySet {
    /// The names of those this program can use; `none` if there is none of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Capability::ALL.iter().filter(|c| self.contains(**c)).map(|c| c.as_str()).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(", ") }.as_str())
    }
}

/// What a thread may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadCapabilities {
    /// In effect now.
    pub effective: CapabilitySet,
    /// What the thread may put into effect.
    pub permitted: CapabilitySet,
}

/// What the calling thread may do.
///
/// # Errors
/// If the kernel does not say.
pub fn of_this_thread() -> io::Result<ThreadCapabilities> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: with version 3 the call writes two words of each mask into `data`, which has them; `header` names the
    // calling thread. Both live across the call.
    let rc = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    let mask =
        |word: fn(&CapabilityData) -> u32| CapabilitySet(u64::from(word(&data[0])) | u64::from(word(&data[1])) << 32);
    Ok(ThreadCapabilities { effective: mask(|d| d.effective), permitted: mask(|d| d.permitted) })
}

/// Gives up everything of the calling thread but `permitted`, of which `effective` is in effect; what it never had it
/// does not gain. Also what programs started by it would inherit.
///
/// # Errors
/// If the kernel refuses, which it has no reason to.
pub fn limit_this_thread(permitted: CapabilitySet, effective: CapabilitySet) -> io::Result<()> {
    let had = of_this_thread()?;
    let permitted = permitted.and(had.permitted);
    let effective = effective.and(permitted);
    let word = |high: u32| CapabilityData {
        effective: (effective.0 >> high) as u32,
        permitted: (permitted.0 >> high) as u32,
        inheritable: 0,
    };
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [word(0), word(32)];
    // SAFETY: with version 3 the call reads two words of each mask from `data`, which has them; `header` names the
    // calling thread. Both live across the call.
    let rc = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From now on no program that this process starts can gain a privilege by its file's bits.
///
/// # Errors
/// If the kernel refuses, which it has no reason to.
pub fn forbid_new_privileges() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
}

/// Looks a user up.
///
/// # Errors
/// `NotFound` if there is no such user, or what the user database says.
pub fn account(name: &str) -> io::Result<Account> {
    let user = User::from_name(name)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(Account { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

/// Makes the process that user, with that user's groups. Of the capabilities, `kept` stays permitted and in effect; all
/// else goes. To be called while the process has one thread only.
///
/// # Errors
/// `PermissionDenied` unless started as root.
pub fn become_account(account: &Account, kept: CapabilitySet) -> io::Result<()> {
    let name = CString::new(account.name.as_str()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    prctl::set_keepcaps(true)?;
    initgroups(&name, gid)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // The change of user has cleared what was in effect, and left what is permitted.
    limit_this_thread(kept, kept)?;
    Ok(prctl::set_keepcaps(false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mask of one line of this thread's status file, as the kernel tells everybody.
    fn told(line: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    fn only_a_map_of_all_numbers_to_themselves_is_the_first_user_namespace() {
        assert!(maps_all("         0          0 4294967295\n"));
        for map in ["         0       1000          1\n", "0 100000 65536\n", "0 0 4294967295\n1 1 1\n", ""] {
            assert!(!maps_all(map), "{map:?}");
        }
    }

    #[test]
    fn what_the_call_says_is_what_the_status_file_says() {
        let own = of_this_thread().unwrap();
        assert_eq!((own.effective.0, own.permitted.0), (told("CapEff:"), told("CapPrm:")));
        for capability in Capability::ALL {
            let here = capability == Capability::NetAdmin || in_first_user_namespace();
            assert_eq!(capability.in_effect().unwrap(), here && told("CapEff:") >> capability.bit() & 1 == 1);
        }
    }

    #[test]
    fn a_thread_gives_up_its_own_privileges_and_nobody_elses_and_cannot_take_them_back() {
        let before = of_this_thread().unwrap();
        std::thread::spawn(move || {
            let kept = CapabilitySet::of(&[Capability::NetAdmin, Capability::SysTime]);
            limit_this_thread(kept, CapabilitySet::of(&[Capability::SysTime])).unwrap();
            let left = of_this_thread().unwrap();
            assert_eq!(left.permitted, kept.and(before.permitted));
            assert_eq!(left.effective, CapabilitySet::of(&[Capability::SysTime]).and(before.permitted));
            // What is permitted can be put into effect again, and what was given up cannot.
            limit_this_thread(kept, kept).unwrap();
            assert_eq!(of_this_thread().unwrap().effective, kept.and(before.permitted));
            limit_this_thread(CapabilitySet::EMPTY, CapabilitySet::EMPTY).unwrap();
            limit_this_thread(kept, kept).unwrap();
            assert!(of_this_thread().unwrap().permitted.is_empty());
            // A thread started by this one has no more than it.
            std::thread::spawn(|| assert!(of_this_thread().unwrap().permitted.is_empty())).join().unwrap();
        })
        .join()
        .unwrap();
        assert_eq!(of_this_thread().unwrap(), before);
    }

    #[test]
    fn a_set_is_told_by_the_names_an_administrator_knows() {
        let set = CapabilitySet::of(&[Capability::SysTime, Capability::IpcLock]);
        assert_eq!(set.to_string(), "CAP_SYS_TIME, CAP_IPC_LOCK");
        assert_eq!(CapabilitySet::EMPTY.to_string(), "none");
        assert!(set.contains(Capability::IpcLock) && !set.contains(Capability::SysNice));
    }

    #[test]
    fn root_is_a_user_and_a_made_up_name_is_none() {
        assert_eq!(account("root").unwrap().uid, 0);
        assert_eq!(account("llts-nobody-of-this-name").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
