//! Which thread needs which privilege, and when the others go. Capabilities belong to threads and are inherited by the
//! threads that one starts, so they are given up in an order: what only the set-up needs before anything else runs; the
//! rest by each thread for itself.

use std::io;
use std::path::Path;

use tracing::warn;

use crate::sys::caps::{self, Account, Capability, CapabilitySet};

/// What a node does that needs a privilege after its set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It steers the system clock.
    pub system_clock: bool,
    /// At the end it puts a card back as it was.
    pub restores_card: bool,
    /// It has locked its memory, under a limit that holds for those without the privilege.
    pub locks_memory: bool,
}

/// The privileges of each thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of the process when its threads are started: no thread can have more, and two of them raise their priority.
    pub process: CapabilitySet,
    /// Of the discipline thread, once it has its priority.
    pub discipline: CapabilitySet,
    /// Of the hot thread, once it has its priority.
    pub hot: CapabilitySet,
    /// Of the control thread, in effect.
    pub control: CapabilitySet,
    /// What the control thread may put into effect again at the end.
    pub control_permitted: CapabilitySet,
    /// Of the threads that resolve names and speak multicast DNS.
    pub helpers: CapabilitySet,
}

impl Needs {
    /// Who gets what.
    #[must_use]
    pub fn plan(self) -> Plan {
        let when = |needed: bool, capability| {
            if needed { CapabilitySet::of(&[capability]) } else { CapabilitySet::EMPTY }
        };
        // Memory that any thread allocates is locked: without the privilege the kernel would refuse it past the limit.
        let everybody = when(self.locks_memory, Capability::IpcLock);
        let discipline = everybody.or(when(self.system_clock, Capability::SysTime));
        let control_permitted = everybody.or(when(self.restores_card, Capability::NetAdmin));
        Plan {
            process: discipline.or(control_permitted).or(CapabilitySet::of(&[Capability::SysNice])),
            discipline,
            hot: everybody,
            control: everybody,
            control_permitted,
            helpers: everybody,
        }
    }
}

/// Gives the clock's lock file to the user that the process becomes: else a node that is started as that user could not
/// take the clock later.
pub fn hand_over(lock: &Path, account: &Account) {
    if let Err(error) = std::os::unix::fs::lchown(lock, Some(account.uid), Some(account.gid)) {
        let (path, name) = (lock.display(), &account.name);
        warn!("{path} stays root's ({error}): a node that is started as {name} cannot take the clock");
    }
}

/// Gives up what a thread does not need; what is said if that fails.
///
/// # Errors
/// One sentence.
pub fn keep(permitted: CapabilitySet, effective: CapabilitySet) -> Result<(), String> {
    caps::limit_this_thread(permitted, effective).map_err(|error: io::Error| {
        format!("privileges that are not needed any more could not be given up ({error}): the thread keeps them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_the_clock_is_given_to_the_user_that_the_process_becomes() {
        use std::os::unix::fs::MetadataExt;
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: to give a file away needs root");
            return;
        }
        let lock = tempfile::NamedTempFile::new().unwrap();
        let account = Account { name: "llts".into(), uid: 65_533, gid: 65_532 };
        hand_over(lock.path(), &account);
        let found = std::fs::metadata(lock.path()).unwrap();
        assert_eq!((found.uid(), found.gid()), (account.uid, account.gid));
        // What is not there is told and no reason to end.
        hand_over(Path::new("/nonexistent/clock.lock"), &account);
    }

    #[test]
    fn each_thread_has_what_it_needs_and_nothing_else() {
        let set = CapabilitySet::of;
        let nothing = Needs::default().plan();
        assert_eq!(nothing.process, set(&[Capability::SysNice]), "until its threads have their priority");
        for threads in [nothing.discipline, nothing.hot, nothing.control_permitted, nothing.helpers] {
            assert!(threads.is_empty());
        }
        let all = Needs { system_clock: true, restores_card: true, locks_memory: false }.plan();
        assert_eq!(all.discipline, set(&[Capability::SysTime]));
        assert_eq!(all.control_permitted, set(&[Capability::NetAdmin]));
        assert_eq!(all.process, set(&[Capability::SysTime, Capability::NetAdmin, Capability::SysNice]));
        assert!(all.hot.is_empty() && all.control.is_empty() && all.helpers.is_empty());
    }

    #[test]
    fn locked_memory_under_a_limit_needs_its_privilege_in_every_thread() {
        let plan = Needs { locks_memory: true, ..Needs::default() }.plan();
        for threads in [plan.discipline, plan.hot, plan.control, plan.helpers] {
            assert_eq!(threads, CapabilitySet::of(&[Capability::IpcLock]));
        }
    }

    #[test]
    fn no_thread_has_more_than_the_process_and_none_has_in_effect_what_is_not_permitted() {
        for bits in 0..8u8 {
            let has = |bit: u8| bits >> bit & 1 == 1;
            let needs = Needs { system_clock: has(0), restores_card: has(1), locks_memory: has(2) };
            let plan = needs.plan();
            for thread in [plan.discipline, plan.hot, plan.control, plan.control_permitted, plan.helpers] {
                assert_eq!(thread.and(plan.process), thread, "{needs:?}");
            }
            assert_eq!(plan.control.and(plan.control_permitted), plan.control, "{needs:?}");
        }
    }
}
