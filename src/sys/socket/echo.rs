//! A socket that sends echo requests (ping) and is told when the answers arrived. Any machine answers these, whether a
//! node runs there or not, so they show who stamps what arrives.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::{SocketCounters, StampedSocket};
use crate::sys::ticket::{Numbering, TicketBook};

/// Types of an echo request: ICMP, and ICMPv6.
const REQUEST: [u8; 2] = [8, 128];

impl StampedSocket {
    /// Opens a socket for echo requests to machines of the family of `to`, through the interface `device` only.
    ///
    /// # Errors
    /// What the kernel says: `PermissionDenied` for a user outside `net.ipv4.ping_group_range` without CAP_NET_RAW.
    pub fn open_echo(device: &str, to: IpAddr) -> io::Result<Self> {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        // The kernel takes the checksum and the identifier of a ping socket upon itself; a raw one is the older way,
        // and ours to fill in.
        let socket = Socket::new(domain, Type::DGRAM, Some(protocol))
            .or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(device.as_bytes()))?;
        let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        Ok(StampedSocket {
            socket,
            local: SocketAddr::new(any, 0),
            ipv6: to.is_ipv6(),
            flags: 0,
            tickets: TicketBook::new(Numbering::Named),
            naming_works: false,
            counters: SocketCounters::default(),
        })
    }

    /// Sends one echo request.
    ///
    /// # Errors
    /// What the kernel says: no route, not permitted.
    pub fn send_echo(&self, to: IpAddr, sequence: u16) -> io::Result<()> {
        let packet = request(to.is_ipv6(), std::process::id() as u16, sequence);
        self.socket.send_to(&packet, &SocketAddr::new(to, 0).into()).map(|_| ())
    }
}

/// Whether `packet`, as a socket for echo requests gives it, is an answer and no request of another machine's.
#[must_use]
pub fn is_echo_reply(packet: &[u8], ipv6: bool) -> bool {
    match (ipv6, packet.first()) {
        (true, Some(kind)) => *kind == 129,
        // A raw socket gives the header of the IPv4 packet too.
        (false, Some(first)) if first >> 4 == 4 => packet.get(usize::from(first & 15) * 4) == Some(&0),
        (false, Some(kind)) => *kind == 0,
        (_, None) => false,
    }
}

fn request(ipv6: bool, identifier: u16, sequence: u16) -> [u8; 64] {
    let mut packet = [0; 64];
    packet[0] = REQUEST[usize::from(ipv6)];
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    if !ipv6 {
        // Of ICMPv6 the kernel fills it in, because addresses are part of it.
        let sum: u32 = packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_request_makes_its_sum_all_ones() {
        for (identifier, sequence) in [(0, 0), (0xffff, 0xffff), (4_711, 3)] {
            let packet = request(false, identifier, sequence);
            let sum: u32 = packet.chunks_exact(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        }
    }

    #[test]
    fn answers_are_told_from_requests_with_and_without_the_header_before_them() {
        assert!(is_echo_reply(&[0, 0, 1], false) && !is_echo_reply(&[8, 0, 1], false));
        let raw = |kind| [&[0x45][..], &[0; 19], &[kind]].concat();
        assert!(is_echo_reply(&raw(0), false) && !is_echo_reply(&raw(8), false));
        assert!(is_echo_reply(&[129], true) && !is_echo_reply(&[128], true));
        for garbage in [&[][..], &[0x45][..], &[0x4f; 30][..]] {
            assert!(!is_echo_reply(garbage, false));
        }
    }
}
