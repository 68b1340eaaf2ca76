//! Setting up on a played machine: which interfaces are chosen, what is refused, what is put back.

use std::collections::BTreeMap;

use super::*;
use crate::sys::nic::{StampAbility, StampConfig};
use crate::sys::ptp::{PtpMethod, PtpReading};

const ABLE: u32 = libc::SOF_TIMESTAMPING_TX_HARDWARE
    | libc::SOF_TIMESTAMPING_RX_HARDWARE
    | libc::SOF_TIMESTAMPING_RAW_HARDWARE
    | libc::SOF_TIMESTAMPING_TX_SOFTWARE;

/// A clock that nobody reads in these tests.
struct Clock;

impl CardClock for Clock {
    fn read(&mut self) -> io::Result<PtpReading> {
        Err(io::ErrorKind::Other.into())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn method(&self) -> Option<PtpMethod> {
        None
    }
}

/// eth0 and eth1 have cards with clocks 0 and 1, veth0 has none, bond0 lies on both cards.
struct Played {
    configs: BTreeMap<String, StampConfig>,
    refuses: Option<i32>,
    unreadable: Option<io::ErrorKind>,
    told: Vec<String>,
}

impl Played {
    fn new() -> Self {
        let configs = ["eth0", "eth1"].map(|name| (name.to_owned(), StampConfig::default())).into();
        Played { configs, refuses: None, unreadable: None, told: Vec::new() }
    }
}

impl NicDriver for Played {
    fn ability(&mut self, device: &str) -> io::Result<StampAbility> {
        let phc = match device {
            "eth0" => Some(0),
            "eth1" => Some(1),
            "veth0" => None,
            _ => return Err(io::Error::from_raw_os_error(libc::ENODEV)),
        };
        let modes = if phc.is_some() { ABLE } else { libc::SOF_TIMESTAMPING_TX_SOFTWARE };
        Ok(StampAbility { modes, phc, receive_filters: 0 })
    }

    fn config(&mut self, device: &str) -> io::Result<StampConfig> {
        self.configs.get(device).copied().ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }

    fn set_config(&mut self, device: &str, config: StampConfig) -> io::Result<StampConfig> {
        self.told.push(format!("{device} {} {}", config.transmit, config.receive));
        if let Some(errno) = self.refuses {
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.configs.insert(device.to_owned(), config);
        Ok(config)
    }
}

impl Machine for Played {
    fn index(&self, device: &str) -> Option<u32> {
        ["lo", "eth0", "eth1", "veth0"].iter().position(|name| *name == device).map(|n| n as u32 + 1)
    }

    fn beneath(&self, device: &str) -> Vec<String> {
        if device == "bond0" { vec!["eth1".into(), "eth0".into()] } else { vec![device.into()] }
    }

    fn interfaces(&self) -> Vec<String> {
        ["eth0", "eth1", "lo", "veth0"].map(str::to_owned).to_vec()
    }

    fn addresses(&self) -> Vec<InterfaceAddress> {
        let address = |device: &str, ip: &str| InterfaceAddress {
            device: device.into(),
            ip: ip.parse().unwrap(),
            loopback: device == "lo",
            running: true,
        };
        vec![
            address("lo", "127.0.0.1"),
            address("eth0", "10.0.0.1"),
            address("eth0", "fd00::1"),
            address("eth1", "10.0.1.1"),
            address("veth0", "10.0.2.1"),
        ]
    }

    fn source_towards(&self, peer: SocketAddr) -> io::Result<IpAddr> {
        match peer.ip() {
            IpAddr::V4(ip) if ip.octets()[..3] == [10, 0, 1] => Ok([10, 0, 1, 1].into()),
            IpAddr::V4(ip) if ip.octets()[0] == 127 => Ok([127, 0, 0, 1].into()),
            IpAddr::V4(_) => Ok([10, 0, 0, 1].into()),
            IpAddr::V6(_) => Err(io::ErrorKind::NetworkUnreachable.into()),
        }
    }

    fn open_clock(&self, _path: &Path) -> io::Result<Box<dyn CardClock>> {
        self.unreadable.map_or(Ok(Box::new(Clock)), |kind| Err(kind.into()))
    }
}

fn wanted(timestamps: Timestamps, listen: &str) -> Wanted<'static> {
    Wanted { timestamps, interfaces: &[], phc: None, listen: listen.parse().unwrap(), peers: &[], more_peers: false }
}

/// The devices that stamp; what the guard would put back is left alone, for it would ask the real machine.
fn devices(machine: &mut Played, wanted: &Wanted<'_>) -> Result<Vec<String>, StampingError> {
    let mut stamping = set_up(machine, wanted)?;
    stamping.guard.cards.clear();
    Ok(stamping.shown.into_iter().map(|card| card.device).collect())
}

fn named(names: &'static [String]) -> Wanted<'static> {
    Wanted { interfaces: names, ..wanted(Timestamps::Auto, "[::]:4123") }
}

fn leaked(names: &[&str]) -> &'static [String] {
    names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().leak()
}

#[test]
fn the_interface_is_that_of_the_bound_address_or_those_on_the_way_to_the_peers_or_all() {
    let peers = |list: &[&str]| -> &'static [SocketAddr] {
        list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>().leak()
    };
    let any = |peers, more_peers| Wanted { peers, more_peers, ..wanted(Timestamps::Auto, "[::]:4123") };
    for (wanted, expected) in [
        (wanted(Timestamps::Auto, "10.0.1.1:4123"), vec!["eth1"]),
        (wanted(Timestamps::Auto, "[fd00::1]:4123"), vec!["eth0"]),
        (wanted(Timestamps::Auto, "[::ffff:10.0.0.1]:4123"), vec!["eth0"]),
        (wanted(Timestamps::Auto, "127.0.0.1:4123"), vec![]),
        (wanted(Timestamps::Auto, "10.0.2.1:4123"), vec![]),
        (any(peers(&["10.0.1.9:4123", "10.0.1.8:4123"]), false), vec!["eth1"]),
        (any(peers(&["10.0.1.9:4123", "192.0.2.1:4123", "[fd01::2]:4123"]), false), vec!["eth0", "eth1"]),
        (any(peers(&["127.0.0.1:4124"]), false), vec![]),
        (any(peers(&["10.0.1.9:4123"]), true), vec!["eth0", "eth1"]),
        (any(&[], false), vec!["eth0", "eth1"]),
        (named(leaked(&["eth1"])), vec!["eth1"]),
        (named(leaked(&["bond0", "eth0"])), vec!["eth1", "eth0"]),
    ] {
        assert_eq!(devices(&mut Played::new(), &wanted).unwrap(), expected, "{wanted:?}");
    }
}

#[test]
fn kernel_and_user_stamps_touch_no_card() {
    for timestamps in [Timestamps::Kernel, Timestamps::User] {
        let mut machine = Played::new();
        assert!(devices(&mut machine, &wanted(timestamps, "10.0.0.1:4123")).unwrap().is_empty());
        assert!(machine.told.is_empty());
    }
}

#[test]
fn hardware_that_was_demanded_and_is_not_there_ends_the_start_with_its_reason() {
    for (mut machine, wanted, says) in [
        (Played::new(), wanted(Timestamps::Hardware, "127.0.0.1:4123"), "reached through none"),
        (Played::new(), wanted(Timestamps::Hardware, "10.0.2.1:4123"), "veth0 has no hardware time stamps"),
        (
            Played { refuses: Some(libc::EPERM), ..Played::new() },
            wanted(Timestamps::Hardware, "10.0.0.1:4123"),
            "CAP_NET_ADMIN",
        ),
        (
            Played { unreadable: Some(io::ErrorKind::PermissionDenied), ..Played::new() },
            wanted(Timestamps::Hardware, "10.0.0.1:4123"),
            "the clock of eth0, /dev/ptp0, cannot be read",
        ),
    ] {
        let sentence = devices(&mut machine, &wanted).unwrap_err().to_string();
        assert!(sentence.contains(says), "{sentence}");
        // The same with auto is no error.
        let auto = Wanted { timestamps: Timestamps::Auto, ..wanted };
        assert!(devices(&mut machine, &auto).unwrap().is_empty());
    }
}

#[test]
fn a_card_whose_clock_cannot_be_read_is_put_back_at_once() {
    let mut machine = Played { unreadable: Some(io::ErrorKind::NotFound), ..Played::new() };
    assert!(devices(&mut machine, &wanted(Timestamps::Auto, "10.0.0.1:4123")).unwrap().is_empty());
    assert_eq!(machine.told, ["eth0 1 1", "eth0 0 0"]);
}

#[test]
fn interfaces_that_share_a_clock_are_measured_once_and_other_cards_make_a_nameless_stamp_doubtful() {
    let mut machine = Played::new();
    let wanted = Wanted { phc: Some("/dev/ptp5"), ..named(leaked(&["eth0", "eth1"])) };
    let mut stamping = set_up(&mut machine, &wanted).unwrap();
    assert!(stamping.guard.has_work());
    stamping.guard.cards.clear();
    assert_eq!(stamping.cards.views().iter().flatten().count(), 1);
    assert!(stamping.shown.iter().all(|card| card.phc == Path::new("/dev/ptp5") && card.clock == 0));
    // eth1 has a card with another clock.
    let wanted = named(leaked(&["eth0"]));
    let mut stamping = set_up(&mut machine, &wanted).unwrap();
    stamping.guard.cards.clear();
    assert!(!stands_alone(&mut machine, &[card::negotiate(&mut Played::new(), "eth0", true).unwrap()]));
}

#[test]
fn a_clock_can_be_named_by_an_interface_that_has_it() {
    let wanted = Wanted { phc: Some("eth1"), ..named(leaked(&["eth0"])) };
    let mut stamping = set_up(&mut Played::new(), &wanted).unwrap();
    stamping.guard.cards.clear();
    assert_eq!(stamping.shown[0].phc, Path::new("/dev/ptp1"));
}
