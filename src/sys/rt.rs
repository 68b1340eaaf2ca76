//! What a thread can ask of the scheduler and of memory: a core of its own, real-time priority, pages that stay, a
//! name. Every refusal is a value: which of them may be lived with is for the caller to decide and to say.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use core_affinity::CoreId;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Why a thread was not pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The machine has no such CPU, or it is offline.
    #[error("CPU {cpu} does not exist or is offline; online are {online}")]
    NoSuchCpu {
        /// What was asked for.
        cpu: usize,
        /// The kernel's list of CPUs that are online.
        online: String,
    },
    /// The process may not run there (a cpuset, taskset or the service manager).
    #[error("CPU {cpu} exists, but this process may only use {allowed}")]
    NotAllowed {
        /// What was asked for.
        cpu: usize,
        /// Where the process may run.
        allowed: String,
    },
    /// The kernel refused without a reason that can be told apart.
    #[error("the kernel refused to pin this thread to CPU {cpu}")]
    Refused {
        /// What was asked for.
        cpu: usize,
    },
}

/// Pins the calling thread to `cpu`. Threads that it spawns later inherit this: spawn first, then pin.
/// An isolated CPU can be named although the process's own set may not list it.
///
/// # Errors
/// [`PinError`], a sentence each.
pub fn pin(cpu: usize) -> Result<(), PinError> {
    if !cpu_exists(cpu) {
        return Err(PinError::NoSuchCpu { cpu, online: online_list() });
    }
    if core_affinity::set_for_current(CoreId { id: cpu }) {
        return Ok(());
    }
    // The mask of a thread excludes isolated CPUs although it may be set to one, so the mask explains a refusal but
    // must not cause it.
    match allowed_cpus() {
        Ok(allowed) if !allowed.contains(&cpu) => Err(PinError::NotAllowed { cpu, allowed: format_cpu_list(&allowed) }),
        _ => Err(PinError::Refused { cpu }),
    }
}

/// Whether `cpu` is there and online.
#[must_use]
pub fn cpu_exists(cpu: usize) -> bool {
    // A machine without hotplug lists no `online` file for CPU 0, so the list is the thing to ask.
    parse_cpu_list(&online_list()).contains(&cpu)
}

/// The CPUs that the scheduler keeps free of ordinary threads (`isolcpus=` on the kernel's command line); empty where
/// the kernel does not say.
#[must_use]
pub fn isolated_cpus() -> Vec<usize> {
    read_cpu_list("isolated")
}

/// The CPUs on which the calling thread may run now.
///
/// # Errors
/// What `sched_getaffinity` says.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Gives the calling thread the real-time policy `SCHED_FIFO` at `priority` (1 to 99; others are refused by the
/// kernel).
///
/// # Errors
/// `PermissionDenied` without CAP_SYS_NICE or a sufficient RLIMIT_RTPRIO.
pub fn set_fifo(priority: i32) -> io::Result<()> {
    let wanted = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 names the calling thread, and `wanted` is a valid parameter block that outlives the call.
    let rc = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const wanted) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread go before all others of the normal class (nice -20): for one that wants the CPU seldom and
/// shortly, and then at once.
///
/// # Errors
/// `PermissionDenied` without CAP_SYS_NICE or a sufficient RLIMIT_NICE.
pub fn go_first() -> io::Result<()> {
    // SAFETY: no memory is passed; 0 names the calling thread.
    let rc = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps in memory every page of the process that is in use or will be. Pages are locked when first touched, so the
/// untouched rest of thread stacks costs nothing: a daemon of 4 MB stays one.
///
/// # Errors
/// `PermissionDenied` or `OutOfMemory` without CAP_IPC_LOCK or a sufficient RLIMIT_MEMLOCK.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: no memory is passed; the call changes only how pages are kept.
    let rc = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lifts the limit of locked memory, so that what is locked later needs no privilege.
///
/// # Errors
/// `PermissionDenied` without CAP_SYS_RESOURCE.
pub fn unlimit_locked_memory() -> io::Result<()> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    Ok(setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?)
}

/// Names the calling thread for `top`, `ps -L` and debuggers; the kernel keeps 15 bytes, the rest is cut.
pub fn name_thread(name: &str) {
    let kept: Vec<u8> = name.bytes().filter(|b| *b != 0).take(15).collect();
    let kept = CString::new(kept).expect("zeros are filtered out");
    // SAFETY: `kept` is a terminated string within the kernel's limit, and the thread is the calling one. The call can
    // fail only for a name that is too long.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), kept.as_ptr()) };
}

/// CPUs as people and the kernel write them: `0-3,8`.
#[must_use]
pub fn format_cpu_list(cpus: &[usize]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut at = 0;
    while at < cpus.len() {
        let start = at;
        while at + 1 < cpus.len() && cpus[at + 1] == cpus[at] + 1 {
            at += 1;
        }
        words.push(if start == at { cpus[at].to_string() } else { format!("{}-{}", cpus[start], cpus[at]) });
        at += 1;
    }
    words.join(",")
}

/// The kernel's list format, `0-3,8`; parts that are not understood are skipped, and no list is longer than a `CpuSet`.
fn parse_cpu_list(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend((first..=last).take_while(|cpu| *cpu < CpuSet::count()));
        }
    }
    cpus
}

fn read_cpu_list(file: &str) -> Vec<usize> {
    let path = Path::new("/sys/devices/system/cpu").join(file);
    fs::read_to_string(path).map(|text| parse_cpu_list(&text)).unwrap_or_default()
}

/// The CPUs that are online; where /sys is hidden, those on which this thread may run.
fn online_list() -> String {
    let online = read_cpu_list("online");
    if online.is_empty() { format_cpu_list(&allowed_cpus().unwrap_or_default()) } else { format_cpu_list(&online) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read_and_written_as_the_kernel_does() {
        for (text, cpus) in [("0-3,8\n", vec![0, 1, 2, 3, 8]), ("\n", vec![]), ("5", vec![5]), ("0,2-3", vec![0, 2, 3])]
        {
            assert_eq!(parse_cpu_list(text), cpus);
            assert_eq!(format_cpu_list(&cpus), text.trim());
        }
        assert_eq!(parse_cpu_list("x,1-,3-2,7"), vec![7]);
        assert_eq!(parse_cpu_list("0-99999999999").len(), CpuSet::count());
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_refused_with_those_that_do() {
        for cpu in [9_999, usize::MAX] {
            let refused = pin(cpu).unwrap_err();
            assert!(matches!(refused, PinError::NoSuchCpu { .. }), "{refused}");
            assert!(refused.to_string().contains(&format_cpu_list(&[allowed_cpus().unwrap()[0]])), "{refused}");
        }
    }

    #[test]
    fn a_pinned_thread_runs_on_its_cpu_alone_and_pins_nobody_else() {
        let before = allowed_cpus().unwrap();
        let cpu = *before.last().unwrap();
        std::thread::spawn(move || {
            pin(cpu).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [cpu]);
        })
        .join()
        .unwrap();
        assert_eq!(allowed_cpus().unwrap(), before);
    }

    #[test]
    fn a_long_name_is_cut_to_what_the_kernel_keeps() {
        std::thread::spawn(|| {
            name_thread("llts-hot-and-much-longer");
            assert_eq!(fs::read_to_string("/proc/thread-self/comm").unwrap(), "llts-hot-and-mu\n");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_impossible_priority_is_an_error_and_not_a_panic() {
        assert_eq!(set_fifo(1_000).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
