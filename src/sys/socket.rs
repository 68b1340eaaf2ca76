//! A UDP socket that says when packets passed: one receive, one send and one transmit stamp at a time, without
//! allocation, never blocking. It knows no peers and no messages; how long an operation takes is the caller's to
//! measure.
//!
//! Stamps are as the kernel gives them: its own on `CLOCK_REALTIME`, the card's on the card's clock.

mod echo;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::address::AddressBuffer;
use super::cmsg::{CONTROL_BYTES, ControlBuffer, Decoded};
use super::ticket::{Match, Numbering, TicketBook};
use super::time::{monotonic_now, real_now};
use super::uapi;
use crate::flow::StampClass;

pub use echo::is_echo_reply;

/// Pending errors that one call takes off a socket before it gives up until the next call.
const PENDING_ERRORS: usize = 16;

/// How to open a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Bytes of packets that wait to be read; the kernel doubles it, and without CAP_NET_ADMIN cuts it to
    /// `net.core.rmem_max`.
    pub receive_buffer_bytes: Option<usize>,
    /// Bytes of packets that wait to be sent; doubled likewise, and cut to `net.core.wmem_max`.
    pub send_buffer_bytes: Option<usize>,
    /// Differentiated services code point of what is sent, 0 to 63 (46 is expedited forwarding).
    pub dscp: Option<u8>,
    /// Speak only through the network interface of this name.
    pub device: Option<String>,
}

/// Why a socket was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Someone else has the port.
    #[error("UDP port {} of {} is in use by another program; stop it or choose another port", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The address is none of this machine's.
    #[error("{} is not an address of this machine; `ip addr` lists those that are", .0.ip())]
    NotHere(SocketAddr),
    /// Low ports, and binding to a device on old kernels, need a privilege.
    #[error("this user may not open UDP port {} of {}; use a port above 1023 or grant \
         CAP_NET_BIND_SERVICE", .0.port(), .0.ip())]
    Forbidden(SocketAddr),
    /// There is no such network interface.
    #[error("there is no network interface called {0}; `ip link` lists those there are")]
    NoDevice(String),
    /// A code point does not fit in six bits.
    #[error("{0} is not a DSCP; it must be from 0 to 63")]
    Dscp(u8),
    /// The machine has no IPv6.
    #[error("cannot listen on {0}: this machine has no IPv6; listen on an IPv4 address instead")]
    NoIpv6(SocketAddr),
    /// Anything else the kernel said.
    #[error("cannot open a UDP socket on {address}: {source}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// What it said.
        source: io::Error,
    },
}

/// Whose stamps a socket asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StampWish {
    /// The card's, and the kernel's beside them.
    Card,
    /// The kernel's.
    #[default]
    Kernel,
    /// Nobody's: the program reads its own clock.
    User,
}

/// What the kernel agreed to stamp. It promises no stamp for any one packet: look at each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampsGranted {
    /// The kernel stamps what arrives.
    pub kernel_receive: bool,
    /// The kernel stamps what leaves.
    pub kernel_transmit: bool,
    /// Stamps of cards are passed on, if a card takes any.
    pub nic: bool,
}

/// One received datagram; its bytes are in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes written into the buffer.
    pub len: usize,
    /// Who sent it; an IPv4 sender is IPv4 also on an IPv6 socket.
    pub from: SocketAddr,
    /// To which address of this machine, if [`StampedSocket::enable_local_addresses`] asked for it.
    pub local_ip: Option<IpAddr>,
    /// When the kernel saw it, `CLOCK_REALTIME` ns.
    pub kernel_real_ns: Option<i64>,
    /// When the card saw it, ns on the card's clock.
    pub nic_ns: Option<i64>,
    /// Number of the interface whose card that was, if the kernel says so.
    pub nic_device: Option<u32>,
    /// The datagram was longer than the buffer.
    pub truncated: bool,
}

/// When one sent packet left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxStamp {
    /// What [`StampedSocket::send`] returned for the packet.
    pub ticket: u32,
    /// When, ns: on `CLOCK_REALTIME` for the class `Kernel`, on the card's clock for `Nic`.
    pub real_ns: i64,
    /// Who took it: `Kernel` or `Nic`. A card that stamps gives both, each on its own.
    pub class: StampClass,
    /// Number of the interface by which the packet left, if the kernel says so.
    pub device: Option<u32>,
}

/// What went wrong without being an error of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// A machine on the way said that a packet could not be delivered.
    pub icmp_errors: u64,
    /// Transmit stamps that could not be paired with a packet beyond doubt.
    pub stamps_unmatched: u64,
    /// Times the count of transmit stamps was in doubt and begun anew, two seconds later.
    pub stamp_resyncs: u64,
    /// Messages whose control data did not fit: a stamp was lost.
    pub control_truncated: u64,
    /// Datagrams from something that is neither IPv4 nor IPv6.
    pub senders_unknown: u64,
}

/// A UDP socket with time stamps.
pub struct StampedSocket {
    socket: Socket,
    local: SocketAddr,
    ipv6: bool,
    /// SO_TIMESTAMPING as it was granted; zero before [`StampedSocket::enable_stamps`].
    flags: u32,
    tickets: TicketBook,
    /// A packet has been sent with a named id, so this kernel can do that.
    naming_works: bool,
    counters: SocketCounters,
}

impl StampedSocket {
    /// Opens a socket bound to `address`. Bound to `[::]` it speaks IPv4 too.
    ///
    /// # Errors
    /// [`OpenError`], a sentence each.
    pub fn open(address: SocketAddr, options: &SocketOptions) -> Result<Self, OpenError> {
        let explain = |source: io::Error| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => OpenError::PortInUse(address),
            Some(libc::EADDRNOTAVAIL) => OpenError::NotHere(address),
            Some(libc::EACCES | libc::EPERM) => OpenError::Forbidden(address),
            Some(libc::EAFNOSUPPORT) if address.is_ipv6() => OpenError::NoIpv6(address),
            _ => OpenError::Other { address, source },
        };
        if let Some(dscp) = options.dscp.filter(|dscp| *dscp > 63) {
            return Err(OpenError::Dscp(dscp));
        }
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).map_err(explain)?;
        socket.set_nonblocking(true).map_err(explain)?;
        if address.is_ipv6() {
            let every_address = address.ip() == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
            socket.set_only_v6(!every_address).map_err(explain)?;
        }
        if let Some(bytes) = options.receive_buffer_bytes
            && nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &bytes).is_err()
        {
            socket.set_recv_buffer_size(bytes).map_err(explain)?;
        }
        if let Some(bytes) = options.send_buffer_bytes {
            socket.set_send_buffer_size(bytes).map_err(explain)?;
        }
        if let Some(dscp) = options.dscp {
            // On an IPv6 socket the first is for the IPv4 packets it sends.
            socket.set_tos_v4(u32::from(dscp) << 2).map_err(explain)?;
            if address.is_ipv6() {
                socket.set_tclass_v6(u32::from(dscp) << 2).map_err(explain)?;
            }
        }
        if let Some(device) = &options.device {
            socket.bind_device(Some(device.as_bytes())).map_err(|source| match source.raw_os_error() {
                Some(libc::ENODEV) => OpenError::NoDevice(device.clone()),
                _ => explain(source),
            })?;
        }
        socket.bind(&address.into()).map_err(explain)?;
        let local = socket.local_addr().map_err(explain)?.as_socket().expect("bound to an IP address");
        Ok(StampedSocket {
            socket,
            local,
            ipv6: address.is_ipv6(),
            flags: 0,
            tickets: TicketBook::new(Numbering::Named),
            naming_works: false,
            counters: SocketCounters::default(),
        })
    }

    /// Asks for the stamps that are wished for, and says what was granted. Kernels refuse options that they do not know
    /// as a whole, so less is asked for until something is granted; nothing granted is not an error.
    ///
    /// The kernel starts to stamp what arrives a moment later (from a work queue), if this is the first socket of the
    /// machine that asks: the first packets may come without a stamp.
    ///
    /// # Errors
    /// If the socket does not even answer what it has granted.
    pub fn enable_stamps(&mut self, wish: StampWish) -> io::Result<StampsGranted> {
        let card = if self.may_have_copies() { uapi::STAMPS_ALL } else { uapi::STAMPS_ALL_BARE };
        let asked: &[u32] = match wish {
            StampWish::Card => &[card, uapi::STAMPS_SOFTWARE, uapi::STAMPS_RECEIVE],
            StampWish::Kernel => &[uapi::STAMPS_SOFTWARE, uapi::STAMPS_RECEIVE],
            StampWish::User => &[],
        };
        for wanted in asked {
            if set_stamps(self.as_raw_fd(), *wanted).is_ok() {
                break;
            }
        }
        self.flags = stamps(self.as_raw_fd())?;
        let has = |bits: u32| self.flags & bits == bits;
        if has(card) {
            // Which interface a packet took; without it a card's stamps are only used where there is one card.
            self.enable_local_addresses();
        }
        Ok(StampsGranted {
            kernel_receive: has(uapi::STAMPS_RECEIVE),
            kernel_transmit: has(uapi::STAMPS_SOFTWARE & !libc::SOF_TIMESTAMPING_OPT_TSONLY),
            nic: has(card),
        })
    }

    /// Asks for the kernel's stamps of what arrives and for no others: sending costs nothing more. False if the kernel
    /// has none to give. The first packets may come without, see [`StampedSocket::enable_stamps`].
    ///
    /// # Errors
    /// If the socket does not even answer what it has granted.
    pub fn enable_receive_stamps(&mut self) -> io::Result<bool> {
        // Refused or not is what the socket says next.
        let _ = set_stamps(self.as_raw_fd(), uapi::STAMPS_RECEIVE);
        self.flags = stamps(self.as_raw_fd())?;
        Ok(self.flags & uapi::STAMPS_RECEIVE == uapi::STAMPS_RECEIVE)
    }

    /// Asks by which interface and to which of this machine's addresses a datagram came. Where the kernel does not say,
    /// both are unknown.
    pub fn enable_local_addresses(&self) {
        let _unnamed_at_worst = self.set_option(libc::SOL_IP, libc::IP_PKTINFO, 1);
        if self.ipv6 {
            let _unnamed_at_worst = self.set_option(libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, 1);
        }
    }

    /// Whether the kernel gives transmit stamps with a copy of their packet to this process.
    fn may_have_copies(&self) -> bool {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/tstamp_allow_data");
        allowed.is_ok_and(|text| text.trim() != "0")
    }

    /// Lets reads of this socket poll the card's queue for up to `span_us` instead of waiting for its interrupt.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_ADMIN, unless the machine's own setting is as long.
    pub fn busy_poll(&self, span_us: i32) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_BUSY_POLL, span_us)
    }

    /// Keeps the card's interrupts off while this socket polls busily.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_ADMIN; `ENOPROTOOPT` before Linux 5.11.
    pub fn prefer_busy_poll(&self) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1)
    }

    /// Says on which CPU this socket is read, for the kernel to deliver its packets there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn incoming_cpu(&self, cpu: usize) -> io::Result<()> {
        let cpu = i32::try_from(cpu).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.set_option(libc::SOL_SOCKET, libc::SO_INCOMING_CPU, cpu)
    }

    fn set_option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        // SAFETY: the option's value is a live integer of the length that is given.
        let rc = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The address and port the socket is bound to.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// What went wrong so far.
    #[must_use]
    pub const fn counters(&self) -> SocketCounters {
        self.counters
    }

    /// Takes one datagram, or says that none is waiting. What ICMP said about earlier packets is counted and is no
    /// error of this call.
    ///
    /// # Errors
    /// What the kernel says of the socket itself; not `WouldBlock`, not `Interrupted`.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        for _ in 0..PENDING_ERRORS {
            let message = match receive_message(self.as_raw_fd(), buffer, 0) {
                Ok(message) => message,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(None),
                    Some(libc::EINTR) => continue,
                    Some(errno) if is_from_icmp(errno) => {
                        self.counters.icmp_errors += 1;
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            self.counters.control_truncated += u64::from(message.control_truncated);
            let Some(from) = message.from else {
                self.counters.senders_unknown += 1;
                continue;
            };
            return Ok(Some(Received {
                len: message.len,
                from,
                local_ip: message.said.local_ip,
                kernel_real_ns: message.said.kernel_real_ns,
                nic_ns: message.said.nic_ns,
                nic_device: message.said.card_device.or(message.said.packet_device),
                truncated: message.truncated,
            }));
        }
        Ok(None)
    }

    /// Sends one datagram and returns the ticket under which [`StampedSocket::transmit_stamp`] will say when it left.
    /// Tickets grow by one with every packet sent; a packet that failed uses none.
    ///
    /// # Errors
    /// What the kernel says: `WouldBlock` when its buffer is full, `NetworkUnreachable`, `PermissionDenied` by a packet
    /// filter, `InvalidInput` for an IPv6 address on an IPv4 socket.
    pub fn send(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<u32> {
        let mut address = AddressBuffer::new(to, self.ipv6).ok_or(io::ErrorKind::InvalidInput)?;
        self.resume_stamps();
        let mut may_retry = true;
        loop {
            // A stamp earlier than this is not this packet's.
            let before_real_ns = real_now();
            let id = (self.stamps_sent() && self.tickets.numbering() == Numbering::Named).then(|| self.tickets.next());
            let control = id.map(ControlBuffer::with_stamp_id);
            let Err(error) = send_message(self.as_raw_fd(), &mut address, bytes, control) else {
                self.naming_works |= id.is_some();
                return Ok(self.tickets.sent(before_real_ns));
            };
            let errno = error.raw_os_error().unwrap_or(0);
            if errno == libc::EINTR {
                continue;
            }
            if id.is_some() && !self.naming_works && errno == libc::EINVAL {
                // Before Linux 6.13, which rejects the unknown control message before anything else: let it count.
                // Should EINVAL have meant something else, then counting works too.
                self.tickets.count();
                continue;
            }
            if self.stamps_sent() && self.tickets.failed(errno, monotonic_now()) {
                self.suspend_stamps();
            }
            if may_retry && is_about_an_earlier_packet(errno) {
                // Taking the error has cleared it.
                self.counters.icmp_errors += 1;
                may_retry = false;
                continue;
            }
            return Err(error);
        }
    }

    /// Sends one datagram from the address `local_ip` of this machine, as an answer to one that came to it. A socket
    /// bound to every address would send from the one the route prefers, and whoever asked another would not know it.
    /// For sockets without transmit stamps.
    ///
    /// # Errors
    /// As [`StampedSocket::send`]; also if the address has gone.
    pub fn send_from(&mut self, local_ip: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.stamps_sent(), "stamps of packets that have no ticket would be taken for others'");
        let mut address = AddressBuffer::new(to, self.ipv6).ok_or(io::ErrorKind::InvalidInput)?;
        let control = ControlBuffer::with_source(local_ip, self.ipv6).ok_or(io::ErrorKind::InvalidInput)?;
        loop {
            match send_message(self.as_raw_fd(), &mut address, bytes, Some(control.clone())) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                other => return other,
            }
        }
    }

    /// Takes one transmit stamp, or says that none is waiting. Call until `None`: readiness is told once. Everything
    /// else on the error queue is counted and dropped.
    ///
    /// # Errors
    /// What the kernel says of the socket itself; not `WouldBlock`, not `Interrupted`.
    pub fn transmit_stamp(&mut self) -> io::Result<Option<TxStamp>> {
        loop {
            let message = match receive_message(self.as_raw_fd(), &mut [], libc::MSG_ERRQUEUE) {
                Ok(message) => message,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(None),
                    Some(libc::EINTR) => continue,
                    _ => return Err(error),
                },
            };
            self.counters.control_truncated += u64::from(message.control_truncated);
            if let Some(stamp) = self.paired(&message.said) {
                return Ok(Some(stamp));
            }
        }
    }

    /// The stamp that a message of the error queue carries, paired with its packet; counts what cannot be.
    fn paired(&mut self, said: &Decoded) -> Option<TxStamp> {
        let Some(error) = said.error else {
            self.counters.stamps_unmatched += 1;
            return None;
        };
        if error.origin != libc::SO_EE_ORIGIN_TIMESTAMPING || error.errno != libc::ENOMSG as u32 {
            self.counters.icmp_errors += 1;
            return None;
        }
        let stamp = match (said.nic_ns, said.kernel_real_ns) {
            (Some(at_ns), _) => Some((at_ns, StampClass::Nic)),
            (None, Some(at_ns)) => Some((at_ns, StampClass::Kernel)),
            (None, None) => None,
        };
        let Some((real_ns, class)) = stamp.filter(|_| error.info == uapi::SCM_TSTAMP_SND) else {
            self.counters.stamps_unmatched += 1;
            return None;
        };
        match self.tickets.matching(error.data, real_ns, class) {
            Match::Ticket(ticket) => {
                return Some(TxStamp { ticket, real_ns, class, device: said.packet_device });
            }
            Match::Unknown => {}
            Match::CountIsOff => {
                self.tickets.quarantine(monotonic_now());
                self.suspend_stamps();
            }
        }
        self.counters.stamps_unmatched += 1;
        None
    }

    /// True if the kernel was asked to stamp what is sent.
    const fn stamps_sent(&self) -> bool {
        self.flags & libc::SOF_TIMESTAMPING_OPT_ID != 0
    }

    /// Nothing sent from now on is stamped, nor counted by the kernel.
    fn suspend_stamps(&mut self) {
        self.counters.stamp_resyncs += 1;
        // Less is asked for than was granted, which no kernel refuses; if one did, the tickets would still refuse what
        // comes.
        let _ = set_stamps(self.as_raw_fd(), self.flags & !uapi::STAMPS_SENT);
    }

    /// Ends a quarantine that is over: switching ids off and on makes the kernel count from zero.
    fn resume_stamps(&mut self) {
        if let Numbering::Quarantine { .. } = self.tickets.numbering()
            && self.tickets.may_resume(monotonic_now())
            && set_stamps(self.as_raw_fd(), self.flags & !uapi::STAMPS_SENT).is_ok()
            && set_stamps(self.as_raw_fd(), self.flags).is_ok()
        {
            self.tickets.count();
        }
    }
}

impl AsRawFd for StampedSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Error numbers by which a socket reports what ICMP said of an earlier packet, in place of sending this one.
fn is_about_an_earlier_packet(errno: i32) -> bool {
    matches!(errno, libc::ECONNREFUSED | libc::EHOSTDOWN | libc::ENONET | libc::ENOPROTOOPT | libc::EPROTO)
}

/// The same when receiving, where these too can only be about an earlier packet.
fn is_from_icmp(errno: i32) -> bool {
    is_about_an_earlier_packet(errno)
        || matches!(errno, libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EMSGSIZE | libc::EOPNOTSUPP | libc::EACCES)
}

/// One message as the kernel gave it.
struct Message {
    len: usize,
    from: Option<SocketAddr>,
    said: Decoded,
    truncated: bool,
    control_truncated: bool,
}

fn receive_message(fd: RawFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Message> {
    let mut address = AddressBuffer::empty();
    let mut control = ControlBuffer::empty();
    let mut data = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr of zeros is a value: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = address.as_mut_ptr();
    header.msg_namelen = address.len();
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: every pointer of the header leads to a live buffer of the length that stands beside it.
    let len = unsafe { libc::recvmsg(fd, &raw mut header, flags | libc::MSG_DONTWAIT) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Message {
        len: len as usize,
        from: address.decode(header.msg_namelen),
        said: control.decode(header.msg_controllen as usize),
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        control_truncated: header.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

fn send_message(
    fd: RawFd,
    to: &mut AddressBuffer,
    bytes: &[u8],
    mut control: Option<(ControlBuffer, usize)>,
) -> io::Result<()> {
    let mut data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr of zeros is a value: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = to.as_mut_ptr();
    header.msg_namelen = to.len();
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    if let Some((control, len)) = &mut control {
        header.msg_control = control.as_mut_ptr();
        header.msg_controllen = *len as _;
    }
    // SAFETY: every pointer of the header leads to a live buffer of the length beside it; sendmsg writes to none of
    // them.
    let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_stamps(fd: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: the option's value is a live `u32` of the length that is given.
    let rc = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            (&raw const flags).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// SO_TIMESTAMPING as it is.
fn stamps(fd: RawFd) -> io::Result<u32> {
    // Newer kernels answer with two words, the second for a bound card clock.
    let mut value = [0u32; 2];
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option is written into a live array of the length that is given.
    let rc = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, value.as_mut_ptr().cast(), &raw mut len)
    };
    if rc == 0 { Ok(value[0]) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
