//! Network interfaces as things that stamp packets: what each can do, what it is doing, telling it to, and which device
//! stands behind a bond or a VLAN. Also which interface leads to an address. What to ask for, in which order and what a
//! refusal means is decided in `clock::card`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use socket2::{Domain, Socket, Type};

use super::uapi::{ETHTOOL_GDRVINFO, ETHTOOL_GET_TS_INFO, EthtoolDrvinfo, EthtoolTsInfo};

/// Where the kernel describes its interfaces.
pub const SYS_CLASS_NET: &str = "/sys/class/net";

/// A VLAN on a bond on a team is three; deeper nests are somebody's mistake.
const DEPTH_MAX: usize = 4;

/// What an interface says it can stamp. Not every driver keeps its word: see whether stamps come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampAbility {
    /// `SOF_TIMESTAMPING_*` bits.
    pub modes: u32,
    /// Number of the card's clock, `/dev/ptpN`.
    pub phc: Option<u32>,
    /// Bit n: `HWTSTAMP_FILTER_*` of value n is said to work.
    pub receive_filters: u32,
}

impl StampAbility {
    /// The card stamps what leaves, and passes its own time on.
    #[must_use]
    pub const fn card_transmit(&self) -> bool {
        self.has(libc::SOF_TIMESTAMPING_TX_HARDWARE | libc::SOF_TIMESTAMPING_RAW_HARDWARE)
    }

    /// The card stamps what arrives, and passes its own time on.
    #[must_use]
    pub const fn card_receive(&self) -> bool {
        self.has(libc::SOF_TIMESTAMPING_RX_HARDWARE | libc::SOF_TIMESTAMPING_RAW_HARDWARE)
    }

    /// The driver lets the kernel stamp what leaves; without it transmit stamps of this interface are never kernel
    /// stamps.
    #[must_use]
    pub const fn kernel_transmit(&self) -> bool {
        self.has(libc::SOF_TIMESTAMPING_TX_SOFTWARE)
    }

    const fn has(&self, bits: u32) -> bool {
        self.modes & bits == bits
    }
}

/// What an interface's card is set to stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampConfig {
    /// `HWTSTAMP_TX_*`.
    pub transmit: i32,
    /// `HWTSTAMP_FILTER_*`.
    pub receive: i32,
}

/// The three questions to an interface's driver; a test plays one.
pub trait NicDriver {
    /// What it can do.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface, `EOPNOTSUPP` from drivers that know nothing of stamps.
    fn ability(&mut self, device: &str) -> io::Result<StampAbility>;

    /// What it is set to.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the driver cannot stamp or cannot say.
    fn config(&mut self, device: &str) -> io::Result<StampConfig>;

    /// Sets it, and returns what the driver made of it, which may be more than was asked for.
    ///
    /// # Errors
    /// `ERANGE` if the card has no such filter, `EPERM` without CAP_NET_ADMIN, `EOPNOTSUPP` if it cannot stamp.
    fn set_config(&mut self, device: &str, config: StampConfig) -> io::Result<StampConfig>;
}

/// The drivers of this machine's interfaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelNics;

impl NicDriver for KernelNics {
    fn ability(&mut self, device: &str) -> io::Result<StampAbility> {
        let mut info = EthtoolTsInfo { cmd: ETHTOOL_GET_TS_INFO, ..EthtoolTsInfo::default() };
        interface_ioctl(device, libc::SIOCETHTOOL, &mut info)?;
        Ok(StampAbility {
            modes: info.so_timestamping,
            phc: u32::try_from(info.phc_index).ok(),
            receive_filters: info.rx_filters,
        })
    }

    fn config(&mut self, device: &str) -> io::Result<StampConfig> {
        let mut found = hwtstamp_config(StampConfig::default());
        interface_ioctl(device, libc::SIOCGHWTSTAMP, &mut found)?;
        Ok(StampConfig { transmit: found.tx_type, receive: found.rx_filter })
    }

    fn set_config(&mut self, device: &str, config: StampConfig) -> io::Result<StampConfig> {
        let mut granted = hwtstamp_config(config);
        interface_ioctl(device, libc::SIOCSHWTSTAMP, &mut granted)?;
        Ok(StampConfig { transmit: granted.tx_type, receive: granted.rx_filter })
    }
}

fn hwtstamp_config(config: StampConfig) -> libc::hwtstamp_config {
    libc::hwtstamp_config { flags: 0, tx_type: config.transmit, rx_filter: config.receive }
}

/// The driver of an interface, as `ethtool -i` says it.
///
/// # Errors
/// `EOPNOTSUPP` for interfaces without one, such as loopback.
pub fn driver(device: &str) -> io::Result<String> {
    let mut info = EthtoolDrvinfo { cmd: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 32 * 4 + 12], counts: [0; 5] };
    interface_ioctl(device, libc::SIOCETHTOOL, &mut info)?;
    let name = info.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Asks the kernel something about `device`; the answer comes in the place of the question.
fn interface_ioctl<T: Copy>(device: &str, request: libc::c_ulong, data: &mut T) -> io::Result<()> {
    if device.len() >= libc::IFNAMSIZ || device.bytes().any(|byte| byte == 0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // Any socket will do: the request goes to the interface that the block names.
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: an ifreq of zeros is a value: an empty name and a null pointer.
    let mut block: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in block.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte as libc::c_char;
    }
    block.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
    // SAFETY: the block names the interface and leads to `data`, which lives across the call and has the layout that
    // the kernel documents for this request (sizes are asserted in `uapi`).
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), request as _, &raw mut block) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The names of this machine's interfaces, sorted; empty where /sys is hidden.
#[must_use]
pub fn interfaces() -> Vec<String> {
    names_in(Path::new(SYS_CLASS_NET))
}

/// The kernel's number of an interface, by which control messages name it.
#[must_use]
pub fn index(device: &str) -> Option<u32> {
    let name = CString::new(device).ok()?;
    if_nametoindex(name.as_c_str()).ok()
}

/// The devices that carry the packets of `device` and would stamp them: of a bond its slaves, the active one first, of
/// a VLAN or another layer what lies beneath, of a real device itself. `root` is [`SYS_CLASS_NET`], or a test's.
#[must_use]
pub fn devices_beneath(root: &Path, device: &str) -> Vec<String> {
    let mut found = Vec::new();
    descend(root, device, DEPTH_MAX, &mut found);
    found
}

fn descend(root: &Path, device: &str, depth: usize, found: &mut Vec<String>) {
    let here = root.join(device);
    let words = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(here.join(file)).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    let mut beneath = words("bonding/slaves");
    if let Some(active) = words("bonding/active_slave").first() {
        beneath.retain(|slave| slave != active);
        beneath.insert(0, active.clone());
    }
    if beneath.is_empty() {
        let lower = names_in(&here).into_iter().filter_map(|name| name.strip_prefix("lower_").map(str::to_owned));
        beneath = lower.collect();
    }
    if beneath.is_empty() || depth == 0 {
        if !found.iter().any(|known| known == device) {
            found.push(device.to_owned());
        }
        return;
    }
    for lower in beneath {
        descend(root, &lower, depth - 1, found);
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let mut names: Vec<String> =
        entries.into_iter().flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// An interface and one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface.
    pub device: String,
    /// The address.
    pub ip: IpAddr,
    /// It is loopback.
    pub loopback: bool,
    /// It is up and has a carrier.
    pub running: bool,
}

/// Every IP address of this machine and the interface that has it.
///
/// # Errors
/// What the kernel says.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let all = getifaddrs()?;
    Ok(all
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))?;
            // The kernel appends a label to the names of alias addresses.
            let device = entry.interface_name.split(':').next().unwrap_or_default().to_owned();
            let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
            Some(InterfaceAddress {
                device,
                ip,
                loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
                running: entry.flags.contains(up),
            })
        })
        .collect())
}

/// The own address from which this machine would speak to `peer`. Asks the routing table; no packet is sent.
///
/// # Errors
/// `NetworkUnreachable` and its kin if there is no route.
pub fn source_towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_bond_is_its_slaves_with_the_active_one_first_and_a_vlan_is_what_it_lies_on() {
        let root = folder(&[
            ("bond0/bonding/slaves", "eth0 eth1\n"),
            ("bond0/bonding/active_slave", "eth1\n"),
            ("bond0/lower_eth0", ""),
            ("bond0/lower_eth1", ""),
            ("bond0.7/lower_bond0", ""),
            ("eth0/address", "x"),
            ("eth1/address", "x"),
            ("eth2.5/lower_eth2", ""),
            ("eth2/address", "x"),
            ("idle/bonding/slaves", "\n"),
        ]);
        for (device, beneath) in [
            ("bond0", vec!["eth1", "eth0"]),
            ("bond0.7", vec!["eth1", "eth0"]),
            ("eth2.5", vec!["eth2"]),
            ("eth2", vec!["eth2"]),
            ("idle", vec!["idle"]),
            ("absent", vec!["absent"]),
        ] {
            assert_eq!(devices_beneath(root.path(), device), beneath, "{device}");
        }
    }

    #[test]
    fn devices_that_lie_on_each_other_do_not_hang_the_search() {
        let root = folder(&[("a/lower_b", ""), ("b/lower_a", "")]);
        assert_eq!(devices_beneath(root.path(), "a"), ["a"]);
    }

    #[test]
    fn loopback_has_a_number_an_address_and_no_card() {
        let number = index("lo").expect("every machine has loopback");
        assert!(number > 0);
        let mut nics = KernelNics;
        let ability = nics.ability("lo").unwrap();
        assert!(!ability.card_transmit() && !ability.card_receive() && ability.phc.is_none(), "{ability:?}");
        // The kernel refuses as one who has no such thing; an unprivileged process may be told so first.
        let refused = nics.config("lo").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
        let all = addresses().unwrap();
        let own = all.iter().find(|a| a.ip == IpAddr::from([127, 0, 0, 1])).unwrap();
        assert!(own.loopback && own.device == "lo", "{own:?}");
        assert_eq!(source_towards("127.0.0.1:9".parse().unwrap()).unwrap(), IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn an_interface_that_is_not_there_is_said_to_be_so_whatever_its_name() {
        for name in ["llts-none", "a-name-that-is-far-too-long-for-the-kernel", "with\0zero", ""] {
            let refused = KernelNics.ability(name).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ENODEV), "{name:?}");
            assert_eq!(index(name), None, "{name:?}");
        }
    }
}
