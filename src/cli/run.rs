//! `llts run`: from words to settings, with everything checked that can be checked before a socket is opened.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::args::{ClockKind, RunArgs};
use super::exit::{Failure, warn};
use super::layers::Origin;
use super::quantity::ListenAddr;
use crate::discovery::{DEFAULT_PORT, StaticPeer};
use crate::engine::{self, ClockChoice, Configuration, KeySource, Measurements, Reread, Settings, Timestamps, keyfile};
use crate::pipeline::Limits;

/// Runs a node until a signal ends it.
pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let settings = settings_here(args)?;
    if matches!(settings.keys, KeySource::Inline(_)) && args.origin.key_is_public {
        warn("warning: every user of this machine can read --hmac-key with ps: prefer --key-file");
    }
    if let Some(parent) = args.end_with_parent {
        end_with_parent(parent)?;
    }
    let first = Reread { settings, said: args.origin.said.clone(), file: args.origin.file.clone() };
    engine::run_reloadable(first, Box::new(args.origin.clone())).map_err(Failure::Runtime)
}

impl Configuration for Origin {
    fn reread(&mut self) -> anyhow::Result<Reread> {
        let args = Origin::reread(self).map_err(sentence)?;
        let settings = settings_here(&args).map_err(sentence)?;
        Ok(Reread { settings, said: args.origin.said, file: args.origin.file })
    }
}

fn sentence(failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Usage(sentence) => anyhow::anyhow!("{sentence}"),
        Failure::Runtime(error) => error,
        other => anyhow::anyhow!("{other:?}"),
    }
}

/// The settings that the words mean on this machine.
pub(super) fn settings_here(args: &RunArgs) -> Result<Settings, Failure> {
    settings(args, &Machine::this())
}

/// What the meaning of the words depends on besides the words.
struct Machine {
    host: String,
    has_ipv6: bool,
}

impl Machine {
    fn this() -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Machine {
            host: host.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".into()),
            has_ipv6: Path::new("/proc/self/net/if_inet6").exists(),
        }
    }
}

fn settings(args: &RunArgs, machine: &Machine) -> Result<Settings, Failure> {
    let listen = listen(args, machine)?;
    let peers = peers(args, listen)?;
    Ok(Settings {
        listen,
        name: args.name.clone().unwrap_or_else(|| format!("{}:{}", machine.host, listen.port())),
        cluster: args.cluster.clone(),
        peers,
        discovery: !args.no_discovery,
        keys: keys(args, listen)?,
        rate_hz: args.rate,
        rounds: args.rounds,
        role: args.role,
        algorithm: args.algorithm.as_str().to_owned(),
        faults: args.faults,
        clock: clock(args)?,
        timestamps: args.timestamps,
        interfaces: interfaces(args)?,
        phc: args.phc.clone(),
        user: user(args)?,
        limits: limits(args),
        on_conflict: args.on_conflict,
        drift_file: args.drift_file.clone(),
        cpu: args.cpu,
        fifo: args.sched.0,
        mlock: args.mlock,
        poll_mode: args.poll_mode,
        runtime_dir: args.runtime_dir.clone(),
        state_dir: args.state_dir.clone(),
        socket: args.socket.clone(),
        metrics: args.metrics,
        record: args.record.clone(),
        measurements: Measurements {
            logs: args.log_measurements.clone(),
            format: args.log_measurements_format,
            dir: args.log_dir.clone(),
            interval_ns: args.log_interval,
        },
        log_level: args.log_level.clone(),
        log_format: args.log_format,
    })
}

fn listen(args: &RunArgs, machine: &Machine) -> Result<SocketAddr, Failure> {
    let (ip, port) = match args.listen_addr {
        None => (Ipv4Addr::LOCALHOST.into(), None),
        // One socket for both families where the machine has both.
        Some(ListenAddr { ip: None, port }) if machine.has_ipv6 => (Ipv6Addr::UNSPECIFIED.into(), port),
        Some(ListenAddr { ip: None, port }) => (Ipv4Addr::UNSPECIFIED.into(), port),
        Some(ListenAddr { ip: Some(ip), port }) => (ip, port),
    };
    match (port, args.port) {
        (Some(one), Some(other)) if one != other => {
            Err(Failure::Usage(format!("--listen-addr says port {one} and --port says {other}: give the port once")))
        }
        (port, other) => Ok(SocketAddr::new(ip, port.or(other).unwrap_or(DEFAULT_PORT))),
    }
}

fn peers(args: &RunArgs, listen: SocketAddr) -> Result<Vec<String>, Failure> {
    let peers = StaticPeer::parse_list(&args.peers).map_err(Failure::usage)?;
    for peer in &peers {
        let Some(address) = peer.literal() else { continue };
        let other_family = match (listen.ip(), address.ip()) {
            (IpAddr::V4(_), IpAddr::V6(_)) => true,
            (IpAddr::V6(own), IpAddr::V4(_)) => !own.is_unspecified(),
            _ => false,
        };
        if listen.ip().is_loopback() && !address.ip().to_canonical().is_loopback() {
            return Err(Failure::Usage(format!(
                "the peer {peer} is not on this machine, and this node listens on {} only: \
                 add --listen-addr :{} and --key-file",
                listen.ip(),
                listen.port()
            )));
        }
        if other_family {
            return Err(Failure::Usage(format!(
                "the peer {peer} cannot be reached from {listen}: \
                 give --listen-addr an address of the same kind, or :{}",
                listen.port()
            )));
        }
        if address == listen {
            return Err(Failure::Usage(format!("the peer {peer} is this node itself: leave it out of --peers")));
        }
    }
    Ok(peers.iter().map(ToString::to_string).collect())
}

fn keys(args: &RunArgs, listen: SocketAddr) -> Result<KeySource, Failure> {
    match (&args.key_file, &args.hmac_key) {
        (Some(path), _) => {
            keyfile::read(path).map_err(Failure::usage)?;
            Ok(KeySource::File(path.clone()))
        }
        (None, Some(key)) => {
            keyfile::inline(key).map_err(|fault| Failure::Usage(format!("--hmac-key is wrong: {fault}")))?;
            Ok(KeySource::Inline(key.clone()))
        }
        (None, None) if listen.ip().to_canonical().is_loopback() => Ok(KeySource::LocalUser),
        (None, None) => Err(Failure::Usage(format!(
            "binding {listen} needs a key: make one with `llts keygen --out llts.key`, \
             copy it to every node, and pass --key-file llts.key"
        ))),
    }
}

/// The interfaces as named; whether they are there is looked at when a node starts, and may change.
fn interfaces(args: &RunArgs) -> Result<Vec<String>, Failure> {
    let unused = matches!(args.timestamps, Timestamps::Kernel | Timestamps::User);
    if unused && (!args.iface.is_empty() || args.phc.is_some()) {
        return Err(Failure::Usage(format!(
            "--iface and --phc are for hardware time stamps, which --timestamps {} switches off: leave one of them out",
            args.timestamps.as_str()
        )));
    }
    if args.phc.is_some() && args.iface.len() != 1 {
        return Err(Failure::Usage(
            "--phc says which clock the card of one interface has: name that with --iface".into(),
        ));
    }
    Ok(args.iface.clone())
}

fn user(args: &RunArgs) -> Result<Option<String>, Failure> {
    if args.user.is_some() && !nix::unistd::geteuid().is_root() {
        return Err(Failure::Usage("--user needs a start as root: leave it out, or start llts as that user".into()));
    }
    Ok(args.user.clone())
}

fn clock(args: &RunArgs) -> Result<ClockChoice, Failure> {
    match args.clock {
        ClockKind::Virtual => Ok(ClockChoice::Virtual {
            offset_ns: args.virtual_offset.unwrap_or(0),
            drift: args.virtual_drift.unwrap_or(0.0),
        }),
        ClockKind::System if args.virtual_offset.is_some() || args.virtual_drift.is_some() => Err(Failure::Usage(
            "--virtual-offset and --virtual-drift throw off a virtual clock only: leave them out, or --clock system"
                .into(),
        )),
        ClockKind::System => Ok(ClockChoice::System),
    }
}

fn limits(args: &RunArgs) -> Limits {
    Limits {
        step_threshold_ns: args.step_threshold,
        allow_step: !args.no_step,
        slew_max: args.slew_limit.unwrap_or(Limits::default().slew_max),
        slew_max_always: args.slew_limit.is_some(),
        start_change_ns_max: args.max_change_at_start,
        change_ns_max: args.max_change,
        total_ns_max: args.max_total,
    }
}

/// Asks the kernel to end this process with its parent, so that no node of a demo outlives it, however the demo ends.
fn end_with_parent(parent: u32) -> Result<(), Failure> {
    use nix::sys::{prctl, signal::Signal};
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    // A parent that ended before the line above was not noticed by it.
    if nix::unistd::getppid().as_raw() == parent as i32 {
        Ok(())
    } else {
        Err(anyhow::anyhow!("the process {parent} that started this node has ended").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{self, Command};

    fn read(line: &str, machine: &Machine) -> Result<Settings, String> {
        let words = line.split_whitespace().map(Into::into);
        match args::read(["llts".into()].into_iter().chain(words)).map(|command| match command {
            Command::Run(args) => settings(&args, machine),
            other => panic!("{other:?}"),
        }) {
            Ok(Ok(settings)) => Ok(settings),
            Ok(Err(Failure::Usage(sentence))) | Err(Failure::Usage(sentence)) => Err(sentence),
            other => panic!("{other:?}"),
        }
    }

    fn meant(line: &str) -> Result<Settings, String> {
        read(line, &Machine { host: "db1".into(), has_ipv6: true })
    }

    fn listens(line: &str) -> String {
        meant(line).unwrap().listen.to_string()
    }

    const KEY: &str = "--hmac-key 0123456789abcdef";

    #[test]
    fn a_node_listens_on_loopback_unless_told() {
        assert_eq!(listens(""), "127.0.0.1:4123");
        assert_eq!(listens("--port 8080"), "127.0.0.1:8080");
        assert_eq!(listens("--listen-addr 127.0.0.2 --port 8080"), "127.0.0.2:8080");
        assert_eq!(listens("--listen-addr 127.0.0.1:8080 --port 8080"), "127.0.0.1:8080");
        assert!(meant("--listen-addr 127.0.0.1:1 --port 2").unwrap_err().contains("give the port once"));
    }

    #[test]
    fn every_interface_means_both_families_where_the_machine_has_them() {
        assert_eq!(listens(&format!("--listen-addr :4123 {KEY}")), "[::]:4123");
        let machine = Machine { host: "old".into(), has_ipv6: false };
        let settings = read(&format!("--listen-addr :4123 {KEY}"), &machine).unwrap();
        assert_eq!(settings.listen.to_string(), "0.0.0.0:4123");
    }

    #[test]
    fn beyond_loopback_a_key_is_needed_and_the_sentence_says_how_to_get_one() {
        for address in ["0.0.0.0:4123", "[::]:4123", ":4123", "192.0.2.1"] {
            let sentence = meant(&format!("--listen-addr {address}")).unwrap_err();
            assert!(sentence.contains("needs a key") && sentence.contains("llts keygen"), "{sentence}");
            meant(&format!("--listen-addr {address} {KEY}")).unwrap();
        }
        for address in ["127.0.0.1", "[::1]", "127.1.2.3:5"] {
            assert_eq!(meant(&format!("--listen-addr {address}")).unwrap().keys, KeySource::LocalUser);
        }
    }

    #[test]
    fn names_are_unique_for_each_port_of_a_machine() {
        assert_eq!(meant("--port 8080").unwrap().name, "db1:8080");
        assert_eq!(meant("--name a").unwrap().name, "a");
    }

    #[test]
    fn peers_that_cannot_be_reached_from_where_the_node_listens_are_refused() {
        for (line, fault) in [
            ("--peers 192.0.2.1:4123", "is not on this machine"),
            ("--peers [2001:db8::1]:4123", "is not on this machine"),
            ("--peers [::1]:4124", "cannot be reached from 127.0.0.1:4123"),
            ("--listen-addr ::1 --peers 127.0.0.1:5", "cannot be reached from [::1]:4123"),
            ("--peers 127.0.0.1:4123", "is this node itself"),
            ("--peers a,,b", "--peers has an empty entry"),
            ("--peers a:99999", "has no valid port"),
        ] {
            let sentence = meant(line).unwrap_err();
            assert!(sentence.contains(fault), "{line}: {sentence}");
        }
        assert_eq!(meant("--peers 127.0.0.1:5,host --peers host").unwrap().peers, ["127.0.0.1:5", "host:4123"]);
        meant(&format!("--listen-addr [::]:4123 --peers 192.0.2.1,[2001:db8::1] {KEY}")).unwrap();
    }

    #[test]
    fn a_short_key_on_the_command_line_is_refused() {
        let sentence = meant("--hmac-key secret").unwrap_err();
        assert!(sentence.starts_with("--hmac-key is wrong: the key has 6 bytes"), "{sentence}");
    }

    #[test]
    fn interfaces_must_be_of_use() {
        assert_eq!(meant("--iface lo").unwrap().interfaces, ["lo"]);
        assert_eq!(meant("--iface lo,lo --timestamps hardware").unwrap().timestamps, Timestamps::Hardware);
        assert_eq!(meant("").unwrap().timestamps, Timestamps::Auto);
        for (line, fault) in [
            ("--iface lo --timestamps kernel", "switches off"),
            ("--phc /dev/ptp0 --timestamps user", "switches off"),
            ("--phc /dev/ptp0", "name that with --iface"),
            ("--phc /dev/ptp0 --iface lo,lo", "name that with --iface"),
        ] {
            let sentence = meant(line).unwrap_err();
            assert!(sentence.contains(fault), "{line}: {sentence}");
        }
    }

    #[test]
    fn the_defaults_of_the_limits_are_those_of_the_guard() {
        assert_eq!(meant("").unwrap().limits, Limits::default());
        let limits = meant("--no-step --slew-limit 20ppm --max-change 2s --max-total none").unwrap().limits;
        assert!(
            !limits.allow_step && limits.slew_max == 20e-6 && limits.slew_max_always && limits.change_ns_max == 2e9
        );
        assert_eq!(limits.total_ns_max, f64::INFINITY);
    }

    #[test]
    fn only_a_virtual_clock_can_be_thrown_off() {
        let thrown = ClockChoice::Virtual { offset_ns: -5_000_000, drift: 20e-6 };
        assert_eq!(meant("--virtual-offset -5ms --virtual-drift 20ppm").unwrap().clock, thrown);
        assert_eq!(meant("--clock system").unwrap().clock, ClockChoice::System);
        for option in ["--virtual-offset 0", "--virtual-drift 1ppm"] {
            assert!(meant(&format!("--clock system {option}")).unwrap_err().contains("virtual clock only"));
        }
    }
}
