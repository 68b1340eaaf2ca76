//! Reading the facts: files of /proc and /sys, questions to drivers, a few packets. Judges nothing. Whatever cannot be
//! read is left as unknown.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::facts::{CpuFacts, DeviceFacts, Facts, InterfaceFacts, LimitFacts, PhcFacts, PortFacts, PowerFacts};
use super::probe;
use crate::clock::{Rivals, card};
use crate::sys::nic::{self, KernelNics, NicDriver};
use crate::sys::process::{PROC, Process, processes};
use crate::sys::ptp::{PtpClock, device_path};
use crate::sys::socket::{OpenError, SocketOptions, StampedSocket};
use crate::sys::timex::{self, KernelTimex, Timex};
use crate::sys::{caps, rt};

/// What to look at.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Where a node would listen.
    pub listen: SocketAddr,
    /// Interfaces to look at; all but loopback if empty.
    pub interfaces: Vec<String>,
    /// Send packets to it over the interfaces; only then are cards switched on, and put back.
    pub peer: Option<SocketAddr>,
}

/// Readings of a card's clock and the pause between two of them.
const READINGS: usize = 6;
const PAUSE: Duration = Duration::from_millis(100);
/// The rate of a clock over neighbouring pauses may differ by the reading's width and this much, ppb.
const STEADY_PPB: f64 = 5_000.0;
/// Numbers of card clocks that are looked for.
const PHCS: u32 = 32;

/// Looks at this machine.
#[must_use]
pub fn survey(scope: &Scope) -> Facts {
    let names = if scope.interfaces.is_empty() {
        nic::interfaces().into_iter().filter(|name| name != "lo").collect()
    } else {
        scope.interfaces.clone()
    };
    let running: Vec<String> = nic::addresses()
        .unwrap_or_default()
        .into_iter()
        .filter(|address| address.running)
        .map(|address| address.device)
        .collect();
    Facts {
        clock_source: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        adjtimex: KernelTimex.adjust(&mut timex::empty()).err().map(|error| error.raw_os_error().unwrap_or(0)),
        capabilities: in_effect(),
        cpu: CpuFacts { allowed: rt::allowed_cpus().unwrap_or_default(), isolated: rt::isolated_cpus() },
        power: power(Path::new("/sys/devices/system/cpu")),
        limits: limits(),
        port: port(scope.listen),
        loopback: probe::loopback(),
        interfaces: names.iter().map(|name| interface(name, running.contains(name), scope.peer)).collect(),
        phcs: phcs(),
        daemons: Rivals::of_this_machine().into_processes(),
    }
}

/// The privileges that are in effect, and would be granted.
fn in_effect() -> caps::CapabilitySet {
    let has = |capability: &caps::Capability| capability.in_effect().unwrap_or(false);
    let own: Vec<_> = caps::Capability::ALL.into_iter().filter(has).collect();
    caps::CapabilitySet::of(&own)
}

fn word(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn power(root: &Path) -> PowerFacts {
    let mut governors: Vec<String> = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if let Some(governor) = word(entry.path().join("cpufreq/scaling_governor"))
            && !governors.contains(&governor)
        {
            governors.push(governor);
        }
    }
    governors.sort();
    let states = fs::read_dir(root.join("cpu0/cpuidle")).into_iter().flatten().flatten();
    let idle_states = states.filter_map(|state| {
        let read = |file: &str| word(state.path().join(file));
        let enabled = read("disable").as_deref() == Some("0");
        Some((read("name")?, read("latency")?.parse().ok()?)).filter(|_| enabled)
    });
    PowerFacts { governors, idle_states: idle_states.collect() }
}

fn limits() -> LimitFacts {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    let soft = |resource| getrlimit(resource).map(|(soft, _)| soft).unwrap_or(0);
    LimitFacts {
        container: container(),
        cpu_quota: cpu_quota(),
        locked_bytes_max: Some(soft(Resource::RLIMIT_MEMLOCK)).filter(|max| *max != RLIM_INFINITY),
        priority_max: soft(Resource::RLIMIT_RTPRIO),
    }
}

fn container() -> Option<String> {
    let marks = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    let marked = marks.iter().find(|(path, _)| Path::new(path).exists()).map(|(_, name)| (*name).to_owned());
    marked.or_else(|| word("/run/systemd/container")).or_else(|| {
        // A first process that is no init system was put there by something else.
        let groups = word("/proc/1/cgroup")?;
        ["docker", "kubepods", "lxc", "containerd"].into_iter().find(|kind| groups.contains(kind)).map(str::to_owned)
    })
}

/// Processors that the control group of this process, or one above it, grants: version 2, else version 1.
fn cpu_quota() -> Option<f64> {
    let own = word("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let root = Path::new("/sys/fs/cgroup");
    let mut here: PathBuf = root.join(path.trim_start_matches('/'));
    let mut least: Option<f64> = None;
    loop {
        if let Some(quota) = word(here.join("cpu.max")).as_deref().and_then(quota_of) {
            least = Some(least.map_or(quota, |known| known.min(quota)));
        }
        if here == root || !here.pop() {
            break;
        }
    }
    least.or_else(|| {
        let number = |file: &str| word(root.join("cpu").join(file))?.parse::<f64>().ok();
        let (quota, period) = (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?);
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    })
}

/// What a `cpu.max` says: quota and period in us, or `max` for no limit.
fn quota_of(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.trim().parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

fn port(listen: SocketAddr) -> PortFacts {
    match StampedSocket::open(listen, &SocketOptions::default()) {
        Ok(_) => PortFacts::Free,
        Err(OpenError::PortInUse(_)) => PortFacts::Taken { port: listen.port(), by: holder(listen.port()) },
        Err(error) => PortFacts::Refused(error.to_string()),
    }
}

/// The process that has a UDP port, if this user may see it.
fn holder(port: u16) -> Option<Process> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: Vec<String> = tables.iter().flat_map(|table| inodes_of(table, port)).collect();
    let has = |daemon: &Process| {
        let handles = fs::read_dir(format!("/proc/{}/fd", daemon.pid)).into_iter().flatten().flatten();
        handles.filter_map(|handle| fs::read_link(handle.path()).ok()).any(|target| {
            let target = target.to_string_lossy().into_owned();
            inodes.iter().any(|inode| target == format!("socket:[{inode}]"))
        })
    };
    processes(Path::new(PROC)).into_iter().find(has)
}

/// The inodes of the sockets of a table of the kernel that are bound to `port`.
fn inodes_of(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let bound = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        local.ends_with(&wanted).then(|| words.nth(7).map(str::to_owned)).flatten()
    });
    bound.collect()
}

fn interface(name: &str, running: bool, peer: Option<SocketAddr>) -> InterfaceFacts {
    let mut nics = KernelNics;
    let mut changed = Vec::new();
    let beneath = nic::devices_beneath(Path::new(nic::SYS_CLASS_NET), name);
    let devices = beneath.iter().map(|device| {
        let ability = nics.ability(device).map_err(|error| error.raw_os_error().unwrap_or(0));
        let config = nics.config(device).map_err(|error| error.raw_os_error().unwrap_or(0));
        let able = ability.as_ref().is_ok_and(|ability| ability.card_transmit());
        let granted = (able && peer.is_some()).then(|| match card::negotiate(&mut nics, device, true) {
            Ok(card) => {
                let receive = card.receive;
                changed.push(card);
                Ok(receive)
            }
            Err(refusal) => Err(refusal.to_string()),
        });
        DeviceFacts { name: device.clone(), driver: nic::driver(device).ok(), ability, config, granted }
    });
    let devices = devices.collect();
    let peer = peer.filter(|_| running);
    let probed = peer.map(|peer| probe::towards(name, peer));
    let echoed = peer.map(|peer| probe::echoes(name, peer.ip()));
    for card in &changed {
        // What could not be put back stamps on, which disturbs nobody.
        let _left_on = card::restore(&mut nics, card);
    }
    InterfaceFacts { name: name.to_owned(), running, devices, probed, echoed }
}

fn phcs() -> Vec<PhcFacts> {
    (0..PHCS).map(device_path).filter(|path| path.exists()).map(|path| phc(&path)).collect()
}

fn phc(path: &Path) -> PhcFacts {
    let mut facts = PhcFacts { path: path.display().to_string(), ..PhcFacts::default() };
    let mut clock = match PtpClock::open(path) {
        Ok(clock) => clock,
        Err(error) => return PhcFacts { refused: Some(error.to_string()), ..facts },
    };
    let mut readings = Vec::new();
    for n in 0..READINGS {
        if n > 0 {
            sleep(PAUSE);
        }
        match clock.read() {
            Ok(reading) => readings.push(reading),
            Err(error) => return PhcFacts { refused: Some(error.to_string()), ..facts },
        }
    }
    facts.method = clock.method().map(|method| method.as_str());
    facts.width_ns = readings.iter().map(|reading| reading.width_ns).max().unwrap_or(0);
    facts.noise_ns = readings.iter().map(|reading| reading.noise_ns).fold(0.0, f64::max);
    let rate = |a: usize, b: usize| {
        let (card_ns, raw_ns) =
            (readings[b].ptp_ns - readings[a].ptp_ns, (readings[b].raw_ns - readings[a].raw_ns).max(1));
        ((card_ns - raw_ns) as f64 / raw_ns as f64 * 1e9, readings[a].width_ns.max(readings[b].width_ns))
    };
    facts.rate_ppb = rate(0, READINGS - 1).0;
    facts.unsteady = (1..READINGS).any(|n| {
        let (here, width_ns) = rate(n - 1, n);
        let blur_ppb = width_ns as f64 / PAUSE.as_nanos() as f64 * 1e9;
        (here - facts.rate_ppb).abs() > STEADY_PPB + blur_ppb
    });
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_looked_at() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listen = socket.local_addr().unwrap();
        let facts = survey(&Scope { listen, interfaces: vec!["lo".into()], peer: None });
        let PortFacts::Taken { port, by: Some(daemon) } = &facts.port else { panic!("{:?}", facts.port) };
        assert_eq!((*port, daemon.pid), (listen.port(), std::process::id()));
        assert!(!facts.cpu.allowed.is_empty() && facts.loopback.is_some());
        let [device] = &facts.interfaces[0].devices[..] else { panic!("{:?}", facts.interfaces) };
        assert!(device.ability.is_ok_and(|ability| !ability.card_transmit()), "{device:?}");
        drop(socket);
        assert_eq!(super::port(listen), PortFacts::Free);
    }

    #[test]
    fn a_packet_over_loopback_to_a_peer_is_seen_to_be_stamped_by_the_kernel() {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let facts = interface("lo", true, Some(peer));
        let probed = facts.probed.unwrap().unwrap();
        assert_eq!((probed.kernel_transmit, probed.card_transmit), (probed.sent, 0));
        // This user may not be allowed to ask for echoes; if it is, they come back and the kernel stamps them.
        if let Ok(echoed) = facts.echoed.unwrap() {
            assert_eq!((echoed.received, echoed.kernel_receive, echoed.card_receive), (echoed.sent, echoed.sent, 0));
        }
    }

    #[test]
    fn the_tables_and_files_of_the_kernel_are_read_as_it_writes_them() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     \x20 311: 0100007F:101B 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 \
                     87551 2 0000000000000000 0\n";
        assert_eq!(inodes_of(table, 0x101B), ["87551"]);
        assert!(inodes_of(table, 0x101C).is_empty() && inodes_of("", 1).is_empty());
        for (text, quota) in [("50000 100000", Some(0.5)), ("max 100000", None), ("", None), ("1 0", None)] {
            assert_eq!(quota_of(text), quota, "{text}");
        }
    }

    #[test]
    fn only_idle_states_that_are_enabled_count_and_every_governor_once() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("cpu1/cpufreq/scaling_governor", "performance\n"),
            ("cpu2/cpufreq/scaling_governor", "powersave\n"),
            ("cpu0/cpuidle/state1/name", "C1\n"),
            ("cpu0/cpuidle/state1/latency", "2\n"),
            ("cpu0/cpuidle/state1/disable", "0\n"),
            ("cpu0/cpuidle/state2/name", "C6\n"),
            ("cpu0/cpuidle/state2/latency", "133\n"),
            ("cpu0/cpuidle/state2/disable", "1\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let power = power(root.path());
        assert_eq!(power.governors, ["performance", "powersave"]);
        assert_eq!(power.idle_states, [("C1".to_owned(), 2)]);
    }
}
