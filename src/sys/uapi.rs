//! The kernel's words that libc lacks: constants and layouts of `linux/net_tstamp.h`, `linux/errqueue.h` and
//! `asm-generic/socket.h`. Numbers only; nothing here calls anything.

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

/// Everything the program likes to know about packets.
pub const STAMPS_ALL: u32 = STAMPS_SOFTWARE
    | libc::SOF_TIMESTAMPING_TX_HARDWARE
    | libc::SOF_TIMESTAMPING_RX_HARDWARE
    | libc::SOF_TIMESTAMPING_RAW_HARDWARE
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

const _: () = assert!(size_of::<libc::timespec>() * 3 == SCM_TIMESTAMPING_BYTES);
const _: () = assert!(size_of::<libc::sock_extended_err>() == EXTENDED_ERR_BYTES);
const _: () = assert!(size_of::<libc::cmsghdr>() == CMSG_HEADER_BYTES);
const _: () = assert!(size_of::<libc::sockaddr_in>() == 16 && size_of::<libc::sockaddr_in6>() == 28);
