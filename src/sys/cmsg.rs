//! Control messages: an aligned buffer that lives on the stack, a walk over it, and the two messages that carry time.
//! Pure bytes: the system calls are in `socket`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::uapi::{
    CMSG_HEADER_BYTES, EXTENDED_ERR_BYTES, SCM_TIMESTAMPING_BYTES, SCM_TIMESTAMPING_PKTINFO, SCM_TS_OPT_ID,
    SCM_TS_PKTINFO_BYTES,
};

/// Room for every control message this program asks for: stamps 64, error 64 with its address, the card's interface 32,
/// the packet's interface 40, and some more.
pub const CONTROL_BYTES: usize = 256;

/// A control buffer with the alignment of `cmsghdr`.
#[derive(Clone)]
#[repr(C, align(8))]
pub struct ControlBuffer {
    bytes: [u8; CONTROL_BYTES],
}

/// What the control messages of one received message said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The kernel's stamp on `CLOCK_REALTIME`, ns.
    pub kernel_real_ns: Option<i64>,
    /// The card's stamp on the card's own clock, ns.
    pub nic_ns: Option<i64>,
    /// Number of the interface whose card stamped the packet, as the card's driver says it.
    pub card_device: Option<u32>,
    /// Number of the interface by which the packet came or left; of a bond or VLAN not the card's own.
    pub packet_device: Option<u32>,
    /// The address of this machine to which the packet came; IPv4 is IPv4 also on an IPv6 socket.
    pub local_ip: Option<IpAddr>,
    /// Why the message stands on the error queue.
    pub error: Option<ExtendedError>,
}

/// The parts of `sock_extended_err` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The error number: ENOMSG for stamps.
    pub errno: u32,
    /// Who speaks: `SO_EE_ORIGIN_*`.
    pub origin: u8,
    /// For stamps, which moment was stamped.
    pub info: u32,
    /// For stamps, the id of the packet.
    pub data: u32,
}

impl ControlBuffer {
    /// An empty buffer.
    pub const fn empty() -> Self {
        ControlBuffer { bytes: [0; CONTROL_BYTES] }
    }

    /// A buffer that names a packet's transmit-stamp id, and its length in bytes.
    pub fn with_stamp_id(id: u32) -> (Self, usize) {
        let mut buffer = ControlBuffer::empty();
        let len = CMSG_HEADER_BYTES + 4;
        buffer.bytes[..8].copy_from_slice(&len.to_ne_bytes());
        buffer.bytes[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        buffer.bytes[12..16].copy_from_slice(&SCM_TS_OPT_ID.to_ne_bytes());
        buffer.bytes[16..20].copy_from_slice(&id.to_ne_bytes());
        (buffer, len.next_multiple_of(8))
    }

    /// A buffer that names the address of this machine from which a packet leaves, for a socket of the given family,
    /// and its length in bytes. The interface is left to the kernel. `None` if an IPv4 socket is asked to send from
    /// IPv6.
    pub fn with_source(source: IpAddr, on_ipv6_socket: bool) -> Option<(Self, usize)> {
        let mut buffer = ControlBuffer::empty();
        let (level, kind, size) = match (source, on_ipv6_socket) {
            (IpAddr::V4(v4), false) => {
                // in_pktinfo: interface, the address to send from, and one for receivers only.
                buffer.bytes[CMSG_HEADER_BYTES + 4..][..4].copy_from_slice(&v4.octets());
                (libc::SOL_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>())
            }
            (IpAddr::V6(_), false) => return None,
            (ip, true) => {
                let v6 = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                buffer.bytes[CMSG_HEADER_BYTES..][..16].copy_from_slice(&v6.octets());
                (libc::SOL_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>())
            }
        };
        let len = CMSG_HEADER_BYTES + size;
        buffer.bytes[..8].copy_from_slice(&len.to_ne_bytes());
        buffer.bytes[8..12].copy_from_slice(&level.to_ne_bytes());
        buffer.bytes[12..16].copy_from_slice(&kind.to_ne_bytes());
        Some((buffer, len.next_multiple_of(8)))
    }

    /// Where the kernel reads or writes.
    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    /// What the first `len` bytes say. Unknown messages are skipped; a malformed one ends the walk.
    pub fn decode(&self, len: usize) -> Decoded {
        let mut said = Decoded::default();
        let mut rest = &self.bytes[..len.min(CONTROL_BYTES)];
        while let Some((level, kind, data, after)) = first_message(rest) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) if data.len() >= SCM_TIMESTAMPING_BYTES => {
                    said.kernel_real_ns = timespec_ns(&data[..16]);
                    said.nic_ns = timespec_ns(&data[32..48]);
                }
                (libc::SOL_SOCKET, SCM_TIMESTAMPING_PKTINFO) if data.len() >= SCM_TS_PKTINFO_BYTES => {
                    said.card_device = device(data, 0);
                }
                (libc::SOL_IP, libc::IP_PKTINFO) if data.len() >= size_of::<libc::in_pktinfo>() => {
                    said.packet_device = device(data, 0);
                    let octets: [u8; 4] = data[4..8].try_into().expect("four bytes");
                    said.local_ip = Some(Ipv4Addr::from(octets).into()).filter(|ip: &IpAddr| !ip.is_unspecified());
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) if data.len() >= size_of::<libc::in6_pktinfo>() => {
                    said.packet_device = device(data, 16);
                    let octets: [u8; 16] = data[..16].try_into().expect("sixteen bytes");
                    // Of a packet to many, the address is theirs and nobody can send from it. What came over IPv4 is
                    // told by a message of that family too, which knows better.
                    let asked = Some(Ipv6Addr::from(octets).to_canonical());
                    let single = asked.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
                    said.local_ip = said.local_ip.or(single);
                }
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
                    if data.len() >= EXTENDED_ERR_BYTES =>
                {
                    said.error = Some(ExtendedError {
                        errno: word(data, 0),
                        origin: data[4],
                        info: word(data, 8),
                        data: word(data, 12),
                    });
                }
                _ => {}
            }
            rest = after;
        }
        said
    }
}

/// The first control message of `bytes`: level, kind, data, and what follows it.
fn first_message(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    if bytes.len() < CMSG_HEADER_BYTES {
        return None;
    }
    let len = usize::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"));
    if len < CMSG_HEADER_BYTES || len > bytes.len() {
        return None;
    }
    let level = word(bytes, 8) as i32;
    let kind = word(bytes, 12) as i32;
    Some((level, kind, &bytes[CMSG_HEADER_BYTES..len], bytes.get(len.next_multiple_of(8)..).unwrap_or(&[])))
}

/// A timespec as nanoseconds; zero means that there is no stamp.
fn timespec_ns(bytes: &[u8]) -> Option<i64> {
    let seconds = i64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"));
    let nanos = i64::from_ne_bytes(bytes[8..16].try_into().expect("eight bytes"));
    let total_ns = seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
    (total_ns != 0).then_some(total_ns)
}

/// The number of an interface; zero means that the kernel does not know.
fn device(bytes: &[u8], at: usize) -> Option<u32> {
    Some(word(bytes, at)).filter(|number| *number != 0)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (CMSG_HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn buffer(messages: &[Vec<u8>]) -> (ControlBuffer, usize) {
        let all = messages.concat();
        let mut buffer = ControlBuffer::empty();
        buffer.bytes[..all.len()].copy_from_slice(&all);
        (buffer, all.len())
    }

    fn stamps(kernel: (i64, i64), nic: (i64, i64)) -> Vec<u8> {
        let data: Vec<u8> = [kernel.0, kernel.1, 0, 0, nic.0, nic.1].into_iter().flat_map(i64::to_ne_bytes).collect();
        message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &data)
    }

    fn error(level: i32, kind: i32) -> Vec<u8> {
        let mut data = (libc::ENOMSG as u32).to_ne_bytes().to_vec();
        data.extend([libc::SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 0]);
        data.extend(0u32.to_ne_bytes());
        data.extend(77u32.to_ne_bytes());
        data.extend([0; 16]); // the offender's address
        message(level, kind, &data)
    }

    #[test]
    fn stamps_and_their_ticket_are_found_among_strangers_for_both_families() {
        for (level, kind) in [(libc::SOL_IP, libc::IP_RECVERR), (libc::SOL_IPV6, libc::IPV6_RECVERR)] {
            let stranger = message(libc::SOL_IP, libc::IP_PKTINFO, &[0; 12]);
            let (buffer, len) = buffer(&[stranger, stamps((1, 5), (0, 0)), error(level, kind)]);
            let said = buffer.decode(len);
            assert_eq!(said.kernel_real_ns, Some(1_000_000_005));
            assert_eq!(said.nic_ns, None);
            let error = said.error.unwrap();
            assert_eq!((error.errno, error.data), (libc::ENOMSG as u32, 77));
            assert_eq!(error.origin, libc::SO_EE_ORIGIN_TIMESTAMPING);
        }
    }

    #[test]
    fn a_card_stamp_stands_beside_a_kernel_stamp_and_not_in_its_place() {
        let (buffer, len) = buffer(&[stamps((0, 0), (3, 4))]);
        assert_eq!(buffer.decode(len), Decoded { nic_ns: Some(3_000_000_004), ..Decoded::default() });
    }

    #[test]
    fn the_interface_is_told_apart_from_the_card_behind_it_and_zero_is_nobody() {
        let card = |number: u32| {
            let words = [number, 218, 0, 0];
            message(libc::SOL_SOCKET, SCM_TIMESTAMPING_PKTINFO, &words.map(u32::to_ne_bytes).concat())
        };
        let v4 = message(libc::SOL_IP, libc::IP_PKTINFO, &[7u32, 1, 2].map(u32::to_ne_bytes).concat());
        let mut six = vec![0xfd; 16];
        six.extend(9u32.to_ne_bytes());
        let v6 = message(libc::SOL_IPV6, libc::IPV6_PKTINFO, &six);
        for (packet, number) in [(v4, 7), (v6, 9)] {
            let (buffer, len) = buffer(&[stamps((0, 0), (3, 4)), card(2), packet]);
            let said = buffer.decode(len);
            assert_eq!((said.card_device, said.packet_device), (Some(2), Some(number)));
        }
        let (buffer, len) = buffer(&[card(0)]);
        assert_eq!(buffer.decode(len), Decoded::default());
    }

    #[test]
    fn the_address_that_was_asked_is_the_one_from_which_an_answer_can_be_sent() {
        for (ip, on_ipv6_socket) in [("127.0.0.2", false), ("127.0.0.2", true), ("fd00::7", true)] {
            let ip: IpAddr = ip.parse().unwrap();
            let (buffer, len) = ControlBuffer::with_source(ip, on_ipv6_socket).unwrap();
            assert_eq!(buffer.decode(len), Decoded { local_ip: Some(ip), ..Decoded::default() });
        }
        assert!(ControlBuffer::with_source("fd00::7".parse().unwrap(), false).is_none());
        let many = ControlBuffer::with_source("ff02::1".parse().unwrap(), true).unwrap();
        assert_eq!(many.0.decode(many.1).local_ip, None);
    }

    #[test]
    fn cut_and_lying_lengths_end_the_walk_without_harm() {
        let (mut buffer, len) = buffer(&[stamps((1, 5), (0, 0))]);
        for cut in 0..len {
            assert_eq!(buffer.decode(cut), Decoded::default(), "cut at {cut}");
        }
        for lie in [0usize, 15, 65, usize::MAX] {
            buffer.bytes[..8].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(buffer.decode(len), Decoded::default(), "length {lie}");
        }
        assert_eq!(buffer.decode(usize::MAX), Decoded::default());
    }
}
