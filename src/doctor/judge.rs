//! From facts to findings: pure. Each finding says what is, what it costs, and what to do; how bad it is decides the
//! exit code.

use serde::Serialize;

use super::facts::{DeviceFacts, Facts, InterfaceFacts, PhcFacts, PortFacts, Probed};
use crate::clock::card::CardReceive;
use crate::sys::caps::Capability;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing; takes nothing away.
    Note,
    /// A node runs, with less than the machine could give.
    Less,
    /// A node cannot run.
    Broken,
}

impl Level {
    /// The exit code of a machine whose worst finding this is.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Level::Good | Level::Note => 0,
            Level::Less => 1,
            Level::Broken => 2,
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about; programs can rely on these words.
    pub topic: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is.
    pub says: String,
    /// What it costs; empty if nothing.
    pub costs: String,
    /// What to do; empty if nothing.
    pub fix: String,
}

/// Clock sources that are read in a few ns without the kernel.
const FAST_SOURCES: [&str; 6] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen", "arch_sys_counter", "timebase"];
/// A clock of a card that cannot be read better than this adds to every bound what a kernel stamp would not, ns.
const WIDE_READING_NS: i64 = 20_000;
/// An idle state that takes longer to leave than this is felt in response times, us.
const WAKE_US: u64 = 10;
/// A card's clock that runs further off than this is being steered or is broken, ppb.
const RATE_PPB_MAX: f64 = 500_000.0;

/// The worst of what was found.
#[must_use]
pub fn verdict(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good)
}

/// What follows from the facts, in the order in which somebody would want to read it.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![port(facts), clock_source(facts), system_clock(facts)];
    found.extend(facts.daemons.iter().map(|daemon| other_daemon(&daemon.name, daemon.pid)));
    if facts.daemons.is_empty() {
        found.push(good("other-daemon", "no other time daemon that llts knows runs here"));
    }
    found.push(loopback(facts.loopback.as_ref()));
    for interface in &facts.interfaces {
        found.extend(interface.devices.iter().map(|device| stamping(interface, device)));
        found.extend(interface.probed.as_ref().map(|probed| departures(interface, probed)));
        found.extend(interface.echoed.as_ref().map(|echoed| arrivals(interface, echoed)));
    }
    if facts.interfaces.is_empty() {
        found.push(note("interfaces", "there is no network interface but loopback"));
    }
    found.extend(facts.phcs.iter().map(phc));
    found.extend([net_admin(facts), priority(facts), memory(facts), cores(facts)]);
    found.extend([idle(facts), governor(facts)]);
    found.extend(container(facts));
    found
}

fn finding(topic: &'static str, level: Level, says: String, costs: &str, fix: &str) -> Finding {
    Finding { topic, level, says, costs: costs.to_owned(), fix: fix.to_owned() }
}

fn good(topic: &'static str, says: impl Into<String>) -> Finding {
    finding(topic, Level::Good, says.into(), "", "")
}

fn note(topic: &'static str, says: impl Into<String>) -> Finding {
    finding(topic, Level::Note, says.into(), "", "")
}

fn port(facts: &Facts) -> Finding {
    const TOPIC: &str = "port";
    match &facts.port {
        PortFacts::Free => good(TOPIC, "the UDP port is free"),
        PortFacts::Taken { port, by: Some(daemon) } if daemon.name.starts_with("llts") => {
            note(TOPIC, format!("UDP port {port} is that of the llts node of process {}", daemon.pid))
        }
        PortFacts::Taken { port, by } => {
            let who = by.as_ref().map_or("another program".to_owned(), |d| format!("{} (process {})", d.name, d.pid));
            finding(
                TOPIC,
                Level::Broken,
                format!("UDP port {port} is taken by {who}"),
                "a node cannot start on it",
                "stop that program, or give every node another --port",
            )
        }
        PortFacts::Refused(why) => finding(
            TOPIC,
            Level::Broken,
            why.clone(),
            "a node cannot start",
            "choose an address and port that can be had",
        ),
    }
}

fn clock_source(facts: &Facts) -> Finding {
    const TOPIC: &str = "clock-source";
    match facts.clock_source.as_deref() {
        Some(source) if FAST_SOURCES.contains(&source) => good(TOPIC, format!("the clock source is {source}")),
        Some(source) => finding(
            TOPIC,
            Level::Less,
            format!("the clock source is {source}"),
            "every reading of a clock takes about a microsecond instead of 20 ns, and stamps are coarser",
            "find in `dmesg` why the kernel gave tsc up; on machines known to be good boot with tsc=reliable",
        ),
        None => note(TOPIC, "the kernel does not say which clock source it uses"),
    }
}

fn system_clock(facts: &Facts) -> Finding {
    const TOPIC: &str = "system-clock";
    if let Some(errno) = facts.adjtimex {
        return finding(
            TOPIC,
            Level::Less,
            format!("adjtimex is refused even for reading ({})", std::io::Error::from_raw_os_error(errno)),
            "--clock system is impossible; --clock virtual works",
            "allow adjtimex and clock_adjtime in the seccomp profile of the container or service",
        );
    }
    if facts.capabilities.contains(Capability::SysTime) {
        good(TOPIC, "this process may steer the system clock")
    } else {
        finding(
            TOPIC,
            Level::Less,
            "this process may not steer the system clock (no CAP_SYS_TIME)".to_owned(),
            "--clock system is impossible; --clock virtual works",
            "run as root, with AmbientCapabilities=CAP_SYS_TIME, or with --cap-add SYS_TIME in a container",
        )
    }
}

fn other_daemon(name: &str, pid: u32) -> Finding {
    const TOPIC: &str = "other-daemon";
    let says = format!("{name} runs here (process {pid})");
    match name {
        "ptp4l" => finding(
            TOPIC,
            Level::Less,
            says,
            "if it steers the clock of a card whose stamps llts uses, they are good to hundreds of ns instead of tens",
            "let it use another card, or run it with free_running 1",
        ),
        "phc2sys" | "ts2phc" | "timemaster" => finding(
            TOPIC,
            Level::Less,
            says,
            "it steers the system clock or a card's: with --clock system both would fight",
            "stop and disable it before --clock system",
        ),
        _ => finding(
            TOPIC,
            Level::Less,
            says,
            "it steers the system clock: with --clock system both would fight; --clock virtual does not mind",
            "stop and disable it before --clock system, with `systemctl disable --now`",
        ),
    }
}

fn loopback(probed: Option<&Probed>) -> Finding {
    const TOPIC: &str = "kernel-stamps";
    let costs = "times of packets are read by the program, some 10 us worse, and worse under load";
    match probed {
        None => finding(TOPIC, Level::Less, "no packet could be sent over loopback".to_owned(), costs, "set lo up"),
        Some(p) if p.kernel_receive > 0 && p.kernel_transmit > 0 => {
            good(TOPIC, "the kernel stamps packets both ways (seen on packets to itself)")
        }
        Some(p) => {
            let (what, way) = match (p.kernel_receive > 0, p.kernel_transmit > 0) {
                (true, _) => ("arrives", "leaves"),
                (_, true) => ("leaves", "arrives"),
                _ => ("passes", "passes"),
            };
            let says = if what == way {
                "the kernel stamps no packet".to_owned()
            } else {
                format!("the kernel stamps what {what} and not what {way}")
            };
            finding(
                TOPIC,
                Level::Less,
                says,
                costs,
                "look whether a seccomp profile or sandbox forbids SO_TIMESTAMPING",
            )
        }
    }
}

fn stamping(interface: &InterfaceFacts, device: &DeviceFacts) -> Finding {
    const TOPIC: &str = "card-stamps";
    const COSTS: &str = "kernel stamps are used: some microseconds of noise instead of some tens of ns";
    let driver = device.driver.as_deref().map(|d| format!(" (driver {d})")).unwrap_or_default();
    let of = if device.name == interface.name { String::new() } else { format!(", beneath {}", interface.name) };
    let name = format!("{}{driver}{of}", device.name);
    let ability = match &device.ability {
        Ok(ability) => ability,
        Err(errno) => {
            let why = std::io::Error::from_raw_os_error(*errno);
            return finding(TOPIC, Level::Less, format!("{name} does not say what it can stamp ({why})"), COSTS, "");
        }
    };
    if !interface.running {
        return note(TOPIC, format!("{name} is down or has no carrier"));
    }
    if !ability.card_transmit() || ability.phc.is_none() {
        let kernel = if ability.kernel_transmit() { "" } else { ", and its driver gives no kernel transmit stamps" };
        let fix = "use a card that stamps (Intel i210, i225, E810, X710, NVIDIA ConnectX); virtual interfaces cannot";
        return finding(TOPIC, Level::Less, format!("{name} has no hardware time stamps{kernel}"), COSTS, fix);
    }
    let phc = ability.phc.map(|n| format!("/dev/ptp{n}")).unwrap_or_default();
    match &device.granted {
        Some(Err(refusal)) => {
            finding(TOPIC, Level::Less, refusal.clone(), COSTS, "see what it asks for; `ethtool -T` shows the rest")
        }
        Some(Ok(CardReceive::All)) => good(TOPIC, format!("{name} grants stamps of all packets, on {phc}")),
        Some(Ok(CardReceive::Others)) => ptp_only(&name, &phc),
        Some(Ok(CardReceive::Nothing)) => finding(
            TOPIC,
            Level::Less,
            format!("{name} stamps what leaves and nothing that arrives, on {phc}"),
            "arrivals have kernel stamps: half of the noise stays",
            "",
        ),
        None if ability.receive_filters >> libc::HWTSTAMP_FILTER_ALL & 1 == 1 => finding(
            TOPIC,
            Level::Note,
            format!("{name} says that it stamps all packets, on {phc}; whether it does is not known"),
            "",
            UNASKED,
        ),
        None => Finding { fix: UNASKED.to_owned(), ..ptp_only(&format!("{name} says that it"), &phc) },
    }
}

/// What a driver says of itself is not yet what its card does.
const UNASKED: &str = "`llts doctor --iface NAME --peer HOST` switches the stamps on, sends packets, and puts it back";

fn ptp_only(name: &str, phc: &str) -> Finding {
    finding(
        "card-stamps",
        Level::Less,
        format!("{name} stamps what leaves, and of what arrives the packets of PTP only, on {phc}"),
        "arrivals have kernel stamps: half of the noise stays",
        "nothing; it is how this card is made",
    )
}

fn departures(interface: &InterfaceFacts, probed: &Result<Probed, String>) -> Finding {
    const TOPIC: &str = "verified";
    let name = &interface.name;
    let p = match probed {
        Ok(probed) => probed,
        Err(why) => {
            return finding(
                TOPIC,
                Level::Less,
                format!("no packet could be sent over {name}: {why}"),
                "what it stamps is not known",
                "give a --peer that is reached over it",
            );
        }
    };
    let granted = interface.devices.iter().any(|device| matches!(device.granted, Some(Ok(_))));
    let told = format!(
        "of {} packets sent over {name}, {} came with a stamp of the kernel and {} with one of the card",
        p.sent, p.kernel_transmit, p.card_transmit
    );
    match (p.card_transmit > 0, granted, p.kernel_transmit > 0) {
        (true, ..) | (false, false, true) => good(TOPIC, told),
        (false, true, _) => finding(
            TOPIC,
            Level::Less,
            told,
            "the driver promises what its card does not do: kernel stamps are used",
            "update driver and firmware, or look in `dmesg`",
        ),
        (false, false, false) => finding(
            TOPIC,
            Level::Less,
            told,
            "departures are read by the program, some 10 us worse",
            "use an interface whose driver has kernel transmit stamps (`ethtool -T`)",
        ),
    }
}

fn arrivals(interface: &InterfaceFacts, echoed: &Result<Probed, String>) -> Finding {
    const TOPIC: &str = "verified-rx";
    const LATER: &str = "let a node run: `llts peers` shows who stamps the arrivals of each peer";
    let name = &interface.name;
    let p = match echoed {
        Ok(echoed) if echoed.received > 0 => echoed,
        Ok(_) => {
            let says = format!("the peer answers no pings over {name}: who stamps arrivals is not known");
            return finding(TOPIC, Level::Note, says, "", LATER);
        }
        Err(why) => {
            let says = format!("no ping could be sent over {name} ({why}): who stamps arrivals is not known");
            return finding(TOPIC, Level::Note, says, "", LATER);
        }
    };
    let grants = |wanted| interface.devices.iter().any(|device| matches!(&device.granted, Some(Ok(r)) if *r == wanted));
    let told = format!(
        "of {} answers that arrived over {name}, {} came with a stamp of the kernel and {} with one of the card",
        p.received, p.kernel_receive, p.card_receive
    );
    if p.card_receive == 0 && grants(CardReceive::All) {
        finding(
            TOPIC,
            Level::Less,
            told,
            "the driver promises what its card does not do: arrivals have kernel stamps, half of the noise stays",
            "update driver and firmware, or look in `dmesg`",
        )
    } else if p.kernel_receive == 0 && p.card_receive == 0 {
        finding(
            TOPIC,
            Level::Less,
            told,
            "arrivals are read by the program, some 10 us worse",
            "look whether a seccomp profile or sandbox forbids SO_TIMESTAMPING",
        )
    } else {
        good(TOPIC, told)
    }
}

fn phc(facts: &PhcFacts) -> Finding {
    const TOPIC: &str = "card-clock";
    let path = &facts.path;
    if let Some(why) = &facts.refused {
        return finding(
            TOPIC,
            Level::Less,
            format!("{path} cannot be read: {why}"),
            "stamps of its card are numbers without a clock: kernel stamps are used",
            "let the node's user read it: `chmod` or a udev rule, or --device in a container",
        );
    }
    let says = format!(
        "{path} is read to +-{} ns at most, {:.0} ns one sigma ({}); it runs {:+.3} ppm against this machine",
        facts.width_ns / 2,
        facts.noise_ns,
        facts.method.unwrap_or("no method"),
        facts.rate_ppb * 1e-3
    );
    if facts.unsteady || facts.rate_ppb.abs() > RATE_PPB_MAX {
        finding(
            TOPIC,
            Level::Less,
            format!("{says}, and does not run steadily"),
            "its stamps are used only while it does",
            "stop what steers it (ptp4l, phc2sys, ts2phc): llts wants it to run free",
        )
    } else if facts.width_ns > WIDE_READING_NS {
        finding(TOPIC, Level::Less, says, "bounds are wider by that much", "nothing; it is how this card is read")
    } else {
        good(TOPIC, says)
    }
}

fn net_admin(facts: &Facts) -> Finding {
    const TOPIC: &str = "cap-net-admin";
    if facts.capabilities.contains(Capability::NetAdmin) {
        return good(TOPIC, "this process may switch the stamps of cards on, and poll them busily");
    }
    let says = "this process may not switch the stamps of cards on (no CAP_NET_ADMIN)".to_owned();
    let able = |device: &DeviceFacts| device.ability.as_ref().is_ok_and(|ability| ability.card_transmit());
    if facts.interfaces.iter().flat_map(|interface| &interface.devices).any(able) {
        finding(
            TOPIC,
            Level::Less,
            says,
            "cards that are not switched on already do not stamp; SO_BUSY_POLL is refused",
            "run as root, or with AmbientCapabilities=CAP_NET_ADMIN; it is given up after the set-up",
        )
    } else {
        note(TOPIC, says + "; no card here would stamp anyway")
    }
}

fn priority(facts: &Facts) -> Finding {
    const TOPIC: &str = "real-time";
    if facts.capabilities.contains(Capability::SysNice) || facts.limits.priority_max > 0 {
        good(TOPIC, "this process may run with real-time priority (--sched fifo:N)")
    } else {
        finding(
            TOPIC,
            Level::Less,
            "this process may not run with real-time priority (no CAP_SYS_NICE, RLIMIT_RTPRIO 0)".to_owned(),
            "on a loaded machine answers come late; measurements do not suffer where the kernel stamps",
            "run as root, or with LimitRTPRIO=50 or AmbientCapabilities=CAP_SYS_NICE",
        )
    }
}

fn memory(facts: &Facts) -> Finding {
    const TOPIC: &str = "locked-memory";
    /// A node of many peers, with its stacks.
    const NEEDED: u64 = 32 << 20;
    let enough = facts.limits.locked_bytes_max.is_none_or(|max| max >= NEEDED);
    if facts.capabilities.contains(Capability::IpcLock) || enough {
        good(TOPIC, "this process may lock its memory (--mlock)")
    } else {
        finding(
            TOPIC,
            Level::Less,
            "this process may not lock its memory (no CAP_IPC_LOCK, low RLIMIT_MEMLOCK)".to_owned(),
            "a page that was swapped out can delay an answer by milliseconds",
            "run as root, or with LimitMEMLOCK=infinity",
        )
    }
}

fn cores(facts: &Facts) -> Finding {
    const TOPIC: &str = "cores";
    let list = crate::sys::rt::format_cpu_list;
    let allowed = facts.cpu.allowed.len();
    if !facts.cpu.isolated.is_empty() {
        let isolated = list(&facts.cpu.isolated);
        return good(
            TOPIC,
            format!("CPU {isolated} is isolated: give one to the node with --cpu and it answers fastest"),
        );
    }
    match allowed {
        0 | 1 => note(TOPIC, "there is one CPU: a node shares it and blocks between packets"),
        _ => finding(
            TOPIC,
            Level::Note,
            format!("no CPU is isolated ({} usable)", list(&facts.cpu.allowed)),
            "answers take 20 us instead of 6; measurements do not suffer where the kernel or a card stamps",
            "boot with isolcpus=N and give that CPU to the node with --cpu N; --cpu N alone helps a little",
        ),
    }
}

fn idle(facts: &Facts) -> Finding {
    let Some((name, wake_us)) = facts.power.idle_states.iter().max_by_key(|(_, wake_us)| *wake_us) else {
        return note(
            "idle-states",
            "the kernel shows no idle states here (a virtual machine?): how deep CPUs sleep is not known",
        );
    };
    if *wake_us <= WAKE_US {
        return good("idle-states", format!("the deepest idle state ({name}) is left within {wake_us} us"));
    }
    finding(
        "idle-states",
        Level::Less,
        format!("CPUs sleep as deep as {name}, which takes {wake_us} us to leave"),
        "answers after a pause are late by as much; kernel stamps of arrivals too, as the interrupt waits",
        "`cpupower idle-set -D 10`, or processor.max_cstate=1 on the kernel's command line",
    )
}

fn governor(facts: &Facts) -> Finding {
    let governors = &facts.power.governors;
    if governors.is_empty() {
        return note(
            "governor",
            "the kernel shows no frequency governor here (a virtual machine?): whether CPUs change their speed is not \
             known",
        );
    }
    let list = governors.join(", ");
    if governors.iter().all(|governor| governor == "performance") {
        good("governor", "CPUs run at full speed (governor performance)")
    } else {
        finding(
            "governor",
            Level::Less,
            format!("the speed of CPUs changes (governor {list})"),
            "some microseconds of response time, and noise of user-space stamps",
            "`cpupower frequency-set -g performance`",
        )
    }
}

fn container(facts: &Facts) -> Option<Finding> {
    const TOPIC: &str = "container";
    if let Some(quota) = facts.limits.cpu_quota {
        return Some(finding(
            TOPIC,
            Level::Less,
            format!("the control group grants {quota:.2} CPUs and stops the process when they are used up"),
            "answers and steering come late by up to 100 ms at such times; busy polling runs into it for certain",
            "lift cpu.max (CPUQuota=, --cpus), or leave --poll-mode block",
        ));
    }
    facts
        .limits
        .container
        .as_ref()
        .map(|kind| note(TOPIC, format!("this is a container ({kind}), without a CPU limit")))
}

#[cfg(test)]
mod tests;
