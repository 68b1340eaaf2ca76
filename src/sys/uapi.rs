//! The kernel's words that libc lacks: constants and layouts of `linux/net_tstamp.h`, `linux/errqueue.h`,
//! `linux/ethtool.h`, `linux/ptp_clock.h`, `linux/capability.h` and `asm-generic/socket.h`. Numbers only; nothing here
//! calls anything.

use libc::c_int;

/// Control message by which a sender names a packet's transmit-stamp id itself; Linux 6.13, `asm-generic/socket.h`.
pub const SCM_TS_OPT_ID: c_int = 81;

/// `ee_info` of a transmit stamp taken when the packet passed the driver (or by the card): the only kind asked for.
pub const SCM_TSTAMP_SND: u32 = 0;

/// Bytes of `struct scm_timestamping`: three timespecs of two 64-bit words. \[0\] is the kernel's stamp, \[1\] is
/// unused, \[2\] is the card's own time.
pub const SCM_TIMESTAMPING_BYTES: usize = 48;
/// Bytes of `struct sock_extended_err`.
pub const EXTENDED_ERR_BYTES: usize = 16;
/// Bytes of `struct cmsghdr`.
pub const CMSG_HEADER_BYTES: usize = 16;

/// Control message that names the interface whose card stamped an arrived packet; `asm-generic/socket.h`.
pub const SCM_TIMESTAMPING_PKTINFO: c_int = 58;
/// Bytes of `struct scm_ts_pktinfo`: interface index, length of the packet, two words reserved.
pub const SCM_TS_PKTINFO_BYTES: usize = 16;

/// Everything the program likes to know about packets. Transmit stamps come with a copy of the packet, because only
/// those say which interface it left by, and a card's stamp without its card is a number without a clock.
pub const STAMPS_ALL: u32 = (STAMPS_SOFTWARE & !libc::SOF_TIMESTAMPING_OPT_TSONLY) | STAMPS_CARD;

/// The same on a machine that gives no copies to a process without CAP_NET_RAW (`net.core.tstamp_allow_data` = 0).
pub const STAMPS_ALL_BARE: u32 = STAMPS_SOFTWARE | STAMPS_CARD;

/// What the card's stamps need beyond the kernel's.
const STAMPS_CARD: u32 = libc::SOF_TIMESTAMPING_TX_HARDWARE
    | libc::SOF_TIMESTAMPING_RX_HARDWARE
    | libc::SOF_TIMESTAMPING_RAW_HARDWARE
    | libc::SOF_TIMESTAMPING_OPT_PKTINFO
    | libc::SOF_TIMESTAMPING_OPT_TX_SWHW;

/// Kernel stamps both ways, each transmit stamp alone (no copy of the packet) and with an id.
pub const STAMPS_SOFTWARE: u32 = STAMPS_RECEIVE
    | libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_ID
    | libc::SOF_TIMESTAMPING_OPT_TSONLY
    | libc::SOF_TIMESTAMPING_OPT_CMSG;

/// Kernel stamps of received packets only.
pub const STAMPS_RECEIVE: u32 = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;

/// The bits that make the kernel stamp what is sent, and the one that only makes sense beside them; without them
/// nothing is stamped and no id is used up.
pub const STAMPS_SENT: u32 = libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_TX_HARDWARE
    | libc::SOF_TIMESTAMPING_OPT_ID
    | libc::SOF_TIMESTAMPING_OPT_TX_SWHW;

/// `ETHTOOL_GET_TS_INFO` of `linux/ethtool.h`: what an interface can stamp.
pub const ETHTOOL_GET_TS_INFO: u32 = 0x41;
/// `ETHTOOL_GDRVINFO`: which driver an interface has.
pub const ETHTOOL_GDRVINFO: u32 = 0x03;

/// `struct ethtool_ts_info` of `linux/ethtool.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EthtoolTsInfo {
    /// The command, [`ETHTOOL_GET_TS_INFO`].
    pub cmd: u32,
    /// `SOF_TIMESTAMPING_*` bits that driver and card know.
    pub so_timestamping: u32,
    /// Number of the card's clock, `/dev/ptpN`; -1 if it has none.
    pub phc_index: i32,
    /// Bit n: `HWTSTAMP_TX_*` with the value n.
    pub tx_types: u32,
    /// Reserved, zero.
    pub tx_reserved: [u32; 3],
    /// Bit n: `HWTSTAMP_FILTER_*` with the value n.
    pub rx_filters: u32,
    /// Reserved, zero.
    pub rx_reserved: [u32; 3],
}

/// `struct ethtool_drvinfo` of `linux/ethtool.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EthtoolDrvinfo {
    /// The command, [`ETHTOOL_GDRVINFO`].
    pub cmd: u32,
    /// The driver's name, terminated by a zero.
    pub driver: [u8; 32],
    /// Version, firmware, bus and option versions: not read.
    pub rest: [u8; 32 + 32 + 32 + 32 + 12],
    /// Sizes of other answers: not read.
    pub counts: [u32; 5],
}

/// Version word of `capget` and `capset` with 64-bit masks; `linux/capability.h`.
pub const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct` of `linux/capability.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CapabilityHeader {
    /// [`CAPABILITY_VERSION_3`].
    pub version: u32,
    /// The thread; 0 is the calling one.
    pub pid: i32,
}

/// `struct __user_cap_data_struct`; two of them make a set, low word first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CapabilityData {
    /// In effect.
    pub effective: u32,
    /// May be put into effect.
    pub permitted: u32,
    /// Kept by programs that this one starts.
    pub inheritable: u32,
}

const _: () = assert!(size_of::<EthtoolTsInfo>() == 44 && std::mem::offset_of!(EthtoolTsInfo, rx_filters) == 28);
const _: () = assert!(size_of::<EthtoolDrvinfo>() == 196 && std::mem::offset_of!(EthtoolDrvinfo, counts) == 176);
const _: () = assert!(size_of::<CapabilityHeader>() == 8 && size_of::<CapabilityData>() == 12);
const _: () = assert!(size_of::<libc::hwtstamp_config>() == 12 && size_of::<libc::ifreq>() == 40);
const _: () = assert!(size_of::<libc::ptp_clock_time>() == 16 && size_of::<libc::ptp_clock_caps>() == 80);
const _: () = assert!(size_of::<libc::ptp_sys_offset>() == 832 && size_of::<libc::ptp_sys_offset_precise>() == 64);
const _: () = assert!(size_of::<libc::ptp_sys_offset_extended>() == 1216);
const _: () = assert!(size_of::<libc::timespec>() * 3 == SCM_TIMESTAMPING_BYTES);
const _: () = assert!(size_of::<libc::sock_extended_err>() == EXTENDED_ERR_BYTES);
const _: () = assert!(size_of::<libc::cmsghdr>() == CMSG_HEADER_BYTES);
const _: () = assert!(size_of::<libc::sockaddr_in>() == 16 && size_of::<libc::sockaddr_in6>() == 28);
