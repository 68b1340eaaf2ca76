//! Judgements on machines that do not exist.

use super::super::facts::{CpuFacts, LimitFacts, PowerFacts};
use super::*;
use crate::sys::caps::CapabilitySet;
use crate::sys::nic::{StampAbility, StampConfig};
use crate::sys::process::Process;

const ABLE: u32 = libc::SOF_TIMESTAMPING_TX_HARDWARE
    | libc::SOF_TIMESTAMPING_RX_HARDWARE
    | libc::SOF_TIMESTAMPING_RAW_HARDWARE
    | libc::SOF_TIMESTAMPING_TX_SOFTWARE;

fn card(filters: u32) -> DeviceFacts {
    DeviceFacts {
        name: "eth0".into(),
        driver: Some("igb".into()),
        ability: Ok(StampAbility { modes: ABLE, phc: Some(0), receive_filters: filters }),
        config: Ok(StampConfig::default()),
        granted: None,
    }
}

fn interface(device: DeviceFacts) -> InterfaceFacts {
    InterfaceFacts { name: "eth0".into(), running: true, devices: vec![device], probed: None, echoed: None }
}

/// A server on which nothing is amiss.
fn server() -> Facts {
    Facts {
        clock_source: Some("tsc".into()),
        adjtimex: None,
        capabilities: CapabilitySet::of(&Capability::ALL),
        cpu: CpuFacts { allowed: vec![0, 1, 2], isolated: vec![3] },
        power: PowerFacts { governors: vec!["performance".into()], idle_states: vec![("C1".into(), 2)] },
        limits: LimitFacts::default(),
        daemons: Vec::new(),
        port: PortFacts::Free,
        loopback: Some(Probed { sent: 5, kernel_transmit: 5, received: 5, kernel_receive: 5, ..Probed::default() }),
        interfaces: vec![interface(card(1 << libc::HWTSTAMP_FILTER_ALL))],
        phcs: vec![PhcFacts {
            path: "/dev/ptp0".into(),
            method: Some("extended"),
            width_ns: 1_600,
            noise_ns: 25.0,
            rate_ppb: -3_210.0,
            ..PhcFacts::default()
        }],
    }
}

/// The one finding of a topic that is worse than a note; also what the whole machine comes to.
fn worse(facts: &Facts) -> (Vec<Finding>, u8) {
    let found = judge(facts);
    let code = verdict(&found).exit_code();
    (found.into_iter().filter(|finding| finding.level > Level::Note).collect(), code)
}

fn changed(change: impl FnOnce(&mut Facts)) -> (Vec<Finding>, u8) {
    let mut facts = server();
    change(&mut facts);
    worse(&facts)
}

#[test]
fn a_good_server_is_called_good() {
    assert_eq!(worse(&server()), (vec![], 0));
}

/// Each change makes exactly one finding, of this topic and exit code, in which these words occur.
#[test]
fn each_thing_amiss_is_found_said_with_its_cost_and_its_remedy_and_counts() {
    type Change = fn(&mut Facts);
    let cases: [(Change, &str, u8, &str); 21] = [
        (|f| f.clock_source = Some("hpet".into()), "clock-source", 1, "hpet"),
        (|f| f.adjtimex = Some(libc::EPERM), "system-clock", 1, "adjtimex"),
        (
            |f| {
                f.capabilities = CapabilitySet::of(&[Capability::NetAdmin, Capability::SysNice, Capability::IpcLock]);
            },
            "system-clock",
            1,
            "CAP_SYS_TIME",
        ),
        (
            |f| {
                f.capabilities = CapabilitySet::of(&[Capability::SysTime, Capability::SysNice, Capability::IpcLock]);
            },
            "cap-net-admin",
            1,
            "CAP_NET_ADMIN",
        ),
        (
            |f| {
                f.capabilities = CapabilitySet::of(&[Capability::SysTime, Capability::NetAdmin, Capability::IpcLock]);
            },
            "real-time",
            1,
            "CAP_SYS_NICE",
        ),
        (
            |f| {
                f.capabilities = CapabilitySet::of(&[Capability::SysTime, Capability::NetAdmin, Capability::SysNice]);
                f.limits.locked_bytes_max = Some(8 << 20);
            },
            "locked-memory",
            1,
            "CAP_IPC_LOCK",
        ),
        (|f| f.daemons.push(Process { pid: 7, name: "chronyd".into() }), "other-daemon", 1, "chronyd"),
        (|f| f.daemons.push(Process { pid: 7, name: "ptp4l".into() }), "other-daemon", 1, "ptp4l"),
        (|f| f.port = PortFacts::Taken { port: 4123, by: None }, "port", 2, "another program"),
        (
            |f| f.port = PortFacts::Taken { port: 4123, by: Some(Process { pid: 9, name: "nc".into() }) },
            "port",
            2,
            "nc (process 9)",
        ),
        (|f| f.port = PortFacts::Refused("this user may not".into()), "port", 2, "may not"),
        (|f| f.loopback = None, "kernel-stamps", 1, "loopback"),
        (
            |f| f.loopback = Some(Probed { sent: 5, received: 5, kernel_receive: 5, ..Probed::default() }),
            "kernel-stamps",
            1,
            "stamps what arrives and not what leaves",
        ),
        (|f| f.interfaces = vec![interface(card(0))], "card-stamps", 1, "PTP only"),
        (
            |f| {
                f.interfaces = vec![interface(DeviceFacts {
                    ability: Ok(StampAbility { modes: libc::SOF_TIMESTAMPING_TX_SOFTWARE, ..StampAbility::default() }),
                    driver: Some("veth".into()),
                    ..card(0)
                })];
            },
            "card-stamps",
            1,
            "no hardware time stamps",
        ),
        (
            |f| f.interfaces = vec![interface(DeviceFacts { ability: Err(libc::EOPNOTSUPP), ..card(0) })],
            "card-stamps",
            1,
            "does not say",
        ),
        (|f| f.phcs[0].refused = Some("Permission denied".into()), "card-clock", 1, "Permission denied"),
        (|f| f.phcs[0].unsteady = true, "card-clock", 1, "steadily"),
        (|f| f.power.idle_states.push(("C6".into(), 133)), "idle-states", 1, "133 us"),
        (|f| f.power.governors.push("powersave".into()), "governor", 1, "powersave"),
        (|f| f.limits.cpu_quota = Some(0.5), "container", 1, "0.50 CPUs"),
    ];
    for (change, topic, code, words) in cases {
        let (found, exit) = changed(change);
        let [only] = &found[..] else { panic!("{topic} {words}: {found:?}") };
        assert_eq!((only.topic, exit), (topic, code), "{only:?}");
        assert!(only.says.contains(words), "{only:?}");
        assert!(!only.costs.is_empty(), "what does it cost? {only:?}");
    }
}

#[test]
fn what_the_packets_showed_counts_more_than_what_the_driver_said() {
    let probed = |kernel_transmit, card_transmit| {
        Some(Ok(Probed { sent: 5, kernel_transmit, card_transmit, ..Probed::default() }))
    };
    let granted = |receive| DeviceFacts { granted: Some(Ok(receive)), ..card(0) };
    for (device, probed, bad) in [
        (granted(CardReceive::All), probed(5, 5), vec![]),
        (granted(CardReceive::All), probed(5, 0), vec!["verified"]),
        (granted(CardReceive::Others), probed(5, 5), vec!["card-stamps"]),
        (granted(CardReceive::Nothing), probed(5, 5), vec!["card-stamps"]),
        (
            DeviceFacts { granted: Some(Err("the driver of eth0 refuses".into())), ..card(0) },
            probed(5, 0),
            vec!["card-stamps"],
        ),
        (granted(CardReceive::All), Some(Err("no route".into())), vec!["verified"]),
        (
            DeviceFacts { granted: Some(Err("nothing to grant".into())), ..card(0) },
            probed(0, 0),
            vec!["card-stamps", "verified"],
        ),
    ] {
        let facts = Facts { interfaces: vec![InterfaceFacts { probed, ..interface(device) }], ..server() };
        let (found, _) = worse(&facts);
        let topics: Vec<&str> = found.iter().map(|finding| finding.topic).collect();
        assert_eq!(topics, bad, "{found:?}");
    }
}

#[test]
fn what_arrived_counts_more_than_what_the_driver_said() {
    let echoed = |received, kernel_receive, card_receive| {
        Ok(Probed { sent: 5, received, kernel_receive, card_receive, ..Probed::default() })
    };
    for (receive, echoed, level, words) in [
        (CardReceive::All, echoed(5, 5, 5), Level::Good, "5 with one of the card"),
        (CardReceive::All, echoed(5, 5, 0), Level::Less, "0 with one of the card"),
        (CardReceive::Others, echoed(5, 5, 0), Level::Good, "5 came with a stamp of the kernel"),
        (CardReceive::Others, echoed(5, 0, 0), Level::Less, "0 came with a stamp of the kernel"),
        (CardReceive::All, echoed(0, 0, 0), Level::Note, "answers no pings"),
        (CardReceive::All, Err("not permitted".into()), Level::Note, "not permitted"),
    ] {
        let device = DeviceFacts { granted: Some(Ok(receive)), ..card(0) };
        let facts =
            Facts { interfaces: vec![InterfaceFacts { echoed: Some(echoed), ..interface(device) }], ..server() };
        let found = judge(&facts);
        let arrivals = found.iter().find(|finding| finding.topic == "verified-rx").unwrap();
        assert_eq!(arrivals.level, level, "{arrivals:?}");
        assert!(arrivals.says.contains(words), "{arrivals:?}");
    }
}

#[test]
fn what_a_driver_only_says_and_what_nobody_shows_is_not_called_good() {
    let facts = Facts { power: PowerFacts::default(), ..server() };
    for topic in ["card-stamps", "idle-states", "governor"] {
        let found = judge(&facts);
        let finding = found.iter().find(|finding| finding.topic == topic).unwrap();
        assert!(finding.level == Level::Note && finding.says.ends_with("is not known"), "{finding:?}");
    }
}

#[test]
fn what_takes_nothing_away_does_not_count() {
    for change in [
        |f: &mut Facts| f.port = PortFacts::Taken { port: 1, by: Some(Process { pid: 2, name: "llts".into() }) },
        |f: &mut Facts| f.cpu.isolated.clear(),
        |f: &mut Facts| f.clock_source = None,
        |f: &mut Facts| f.limits.container = Some("docker".into()),
        |f: &mut Facts| f.interfaces.clear(),
        |f: &mut Facts| f.interfaces[0].running = false,
        |f: &mut Facts| f.power = PowerFacts::default(),
        |f: &mut Facts| f.phcs.clear(),
    ] {
        assert_eq!(changed(change), (vec![], 0));
    }
    // Without a card that could stamp, the privilege to switch it on is not missed.
    let (found, _) = changed(|f| {
        f.interfaces.clear();
        f.capabilities = CapabilitySet::of(&[Capability::SysTime, Capability::SysNice, Capability::IpcLock]);
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn limits_are_judged_at_their_edge_and_one_past_it() {
    for (change, bad) in [
        ((|f| f.power.idle_states = vec![("C2".into(), 10)]) as fn(&mut Facts), false),
        (|f| f.power.idle_states = vec![("C2".into(), 11)], true),
        (|f| f.phcs[0].width_ns = 20_000, false),
        (|f| f.phcs[0].width_ns = 20_001, true),
        (|f| f.phcs[0].rate_ppb = -500_000.0, false),
        (|f| f.phcs[0].rate_ppb = -500_001.0, true),
    ] {
        assert_eq!(!changed(change).0.is_empty(), bad);
    }
}
