//! Socket addresses as the kernel writes them, in a buffer that costs nothing to make. IPv4 and IPv6 only, and an IPv4
//! address is IPv4 to the caller whatever the socket is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the larger of the two address structures.
const BYTES: usize = 28;

/// A `sockaddr_in` or `sockaddr_in6`.
#[repr(C, align(8))]
pub struct AddressBuffer {
    bytes: [u8; 32],
    len: usize,
}

impl AddressBuffer {
    /// An empty buffer for the kernel to fill.
    pub const fn empty() -> Self {
        AddressBuffer { bytes: [0; 32], len: BYTES }
    }

    /// `address` as a socket of the given family wants it: an IPv6 socket speaks IPv4 by mapped addresses.
    /// `None` if an IPv4 socket is asked to reach an IPv6 address.
    pub fn new(address: SocketAddr, on_ipv6_socket: bool) -> Option<Self> {
        let mut buffer = AddressBuffer::empty();
        let port = address.port().to_be_bytes();
        let (ip, flow, scope) = match address {
            SocketAddr::V4(v4) if !on_ipv6_socket => {
                buffer.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                buffer.bytes[2..4].copy_from_slice(&port);
                buffer.bytes[4..8].copy_from_slice(&v4.ip().octets());
                buffer.len = 16;
                return Some(buffer);
            }
            SocketAddr::V6(_) if !on_ipv6_socket => return None,
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0, 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.flowinfo(), v6.scope_id()),
        };
        buffer.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        buffer.bytes[2..4].copy_from_slice(&port);
        buffer.bytes[4..8].copy_from_slice(&flow.to_ne_bytes());
        buffer.bytes[8..24].copy_from_slice(&ip.octets());
        buffer.bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
        Some(buffer)
    }

    /// Where the kernel reads or writes the address.
    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    /// Length of the address, or the room for one.
    pub const fn len(&self) -> libc::socklen_t {
        self.len as libc::socklen_t
    }

    /// The address that the kernel wrote in `len` bytes; mapped IPv4 becomes IPv4. `None` for other families.
    pub fn decode(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        let b = &self.bytes;
        let family = i32::from(u16::from_ne_bytes([b[0], b[1]]));
        let port = u16::from_be_bytes([b[2], b[3]]);
        match (family, len as usize) {
            (libc::AF_INET, 8..) => {
                Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(b[4], b[5], b[6], b[7]), port)))
            }
            (libc::AF_INET6, BYTES..) => {
                let word = |at: usize| u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
                let octets: [u8; 16] = b[8..24].try_into().expect("16 bytes of 32");
                let ip = Ipv6Addr::from(octets);
                Some(match ip.to_canonical() {
                    IpAddr::V4(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                    // The flow label is the sender's business and must not make two addresses of one peer differ.
                    IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, word(24))),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernels_layout_and_mapped_ipv4_comes_back_as_ipv4() {
        for (text, on_ipv6) in
            [("127.0.0.1:319", false), ("127.0.0.1:319", true), ("[::1]:8080", true), ("[fe80::1%3]:5", true)]
        {
            let address: SocketAddr = text.parse().unwrap();
            let buffer = AddressBuffer::new(address, on_ipv6).unwrap();
            assert_eq!(buffer.decode(buffer.len()), Some(address), "{text}");
        }
    }

    #[test]
    fn an_ipv4_socket_cannot_be_told_an_ipv6_address() {
        assert!(AddressBuffer::new("[::1]:1".parse().unwrap(), false).is_none());
    }

    #[test]
    fn a_foreign_or_cut_address_is_none() {
        let mut buffer = AddressBuffer::new("[::1]:1".parse().unwrap(), true).unwrap();
        assert_eq!(buffer.decode(20), None);
        buffer.bytes[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert_eq!(buffer.decode(28), None);
    }
}
