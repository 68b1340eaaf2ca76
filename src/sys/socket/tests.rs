//! The socket on the loopback interface of a real kernel. Beside the socket to keep both readable.

use std::net::UdpSocket;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::super::ticket::QUARANTINE_NS;
use super::*;

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";
/// Nothing on loopback takes this long; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the kernel stamping while the tests run: it switches on a moment after the first socket asks (a work queue),
/// so that the first packets of a freshly started machine arrive without a stamp.
static STAMPING: LazyLock<StampedSocket> = LazyLock::new(|| {
    let mut socket = open_now(V4);
    let own = socket.local_address();
    wait(|| {
        socket.send(own, b"").unwrap();
        receive(&mut socket, &mut []).kernel_real_ns
    });
    socket
});

fn open(address: &str) -> StampedSocket {
    assert!(STAMPING.as_raw_fd() >= 0);
    open_now(address)
}

fn open_now(address: &str) -> StampedSocket {
    let mut socket = StampedSocket::open(address.parse().unwrap(), &SocketOptions::default()).unwrap();
    let granted = socket.enable_stamps(StampWish::Kernel).unwrap();
    assert!(granted.kernel_receive && granted.kernel_transmit, "{granted:?}");
    socket
}

/// A socket on which the kernel counts, as it did before Linux 6.13.
fn open_counting(address: &str) -> StampedSocket {
    let mut socket = open(address);
    socket.tickets.count();
    socket
}

fn wait<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "nothing came");
        std::thread::yield_now();
    }
}

fn receive(socket: &mut StampedSocket, buffer: &mut [u8]) -> Received {
    wait(|| socket.receive(buffer).unwrap())
}

fn transmit_stamp(socket: &mut StampedSocket) -> TxStamp {
    wait(|| socket.transmit_stamp().unwrap())
}

fn raw_option(socket: &StampedSocket, level: i32, name: i32, value: i32) {
    // SAFETY: the option's value is a live integer of the length that is given.
    let rc = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<i32>() as u32)
    };
    assert_eq!(rc, 0, "{}", io::Error::last_os_error());
}

#[test]
fn a_packet_is_stamped_where_it_leaves_and_where_it_arrives_in_that_order() {
    for open in [open, open_counting] {
        for address in [V4, V6] {
            let (mut sender, mut receiver) = (open(address), open(address));
            let before_ns = real_now();
            let ticket = sender.send(receiver.local_address(), b"when?").unwrap();
            let mut buffer = [0; 64];
            let received = receive(&mut receiver, &mut buffer);
            let sent = transmit_stamp(&mut sender);
            assert_eq!(&buffer[..received.len], b"when?");
            assert_eq!(received.from, sender.local_address());
            assert!(!received.truncated);
            assert_eq!((sent.ticket, sent.class), (ticket, StampClass::Kernel));
            let arrived_ns = received.kernel_real_ns.expect("loopback stamps every packet");
            assert!(before_ns <= sent.real_ns && sent.real_ns <= arrived_ns && arrived_ns <= real_now());
            assert_eq!(sender.transmit_stamp().unwrap(), None);
            assert_eq!(sender.counters(), SocketCounters::default());
        }
    }
}

#[test]
fn a_thousand_packets_get_a_thousand_stamps_each_its_own() {
    for open in [open, open_counting] {
        for address in [V4, V6] {
            let (mut sender, mut receiver) = (open(address), open(address));
            let mut buffer = [0; 8];
            let mut sent = Vec::new();
            for burst in 0..50u32 {
                let bracket: Vec<_> = (0..20)
                    .map(|n| {
                        let before_ns = real_now();
                        let number = burst * 20 + n;
                        let ticket = sender.send(receiver.local_address(), &number.to_ne_bytes()).unwrap();
                        (ticket, number, before_ns)
                    })
                    .collect();
                for (ticket, number, before_ns) in bracket {
                    let stamp = transmit_stamp(&mut sender);
                    assert_eq!(stamp.ticket, ticket);
                    let received = receive(&mut receiver, &mut buffer);
                    assert_eq!(buffer[..received.len], number.to_ne_bytes());
                    assert!(before_ns <= stamp.real_ns);
                    assert!(stamp.real_ns <= received.kernel_real_ns.unwrap());
                    sent.push(stamp.ticket);
                }
            }
            assert_eq!(sent, (0..1000).collect::<Vec<_>>());
            assert_eq!(sender.counters(), SocketCounters::default());
        }
    }
}

#[test]
fn a_socket_on_every_address_speaks_ipv4_as_ipv4() {
    let mut everywhere = open("[::]:0");
    let mut v4 = open(V4);
    let port = everywhere.local_address().port();
    v4.send(SocketAddr::from(([127, 0, 0, 1], port)), b"four").unwrap();
    let received = receive(&mut everywhere, &mut [0; 8]);
    assert_eq!(received.from, v4.local_address());
    assert!(received.kernel_real_ns.is_some());

    let ticket = everywhere.send(received.from, b"back").unwrap();
    assert_eq!(receive(&mut v4, &mut [0; 8]).from.port(), port);
    assert_eq!(transmit_stamp(&mut everywhere).ticket, ticket);
}

#[test]
fn a_closed_port_answered_by_icmp_stops_neither_sending_nor_receiving() {
    for (address, level, option) in [(V4, libc::SOL_IP, libc::IP_RECVERR), (V6, libc::SOL_IPV6, libc::IPV6_RECVERR)] {
        for reports_icmp in [false, true] {
            let mut socket = open(address);
            if reports_icmp {
                raw_option(&socket, level, option, 1);
            }
            let closed = UdpSocket::bind(address).unwrap().local_addr().unwrap();
            let own = socket.local_address();
            let mut tickets = Vec::new();
            for _ in 0..5 {
                tickets.push(socket.send(closed, b"nobody").unwrap());
            }
            tickets.push(socket.send(own, b"me").unwrap());
            assert_eq!(receive(&mut socket, &mut [0; 8]).from, own);
            for ticket in tickets {
                assert_eq!(transmit_stamp(&mut socket).ticket, ticket);
            }
            assert_eq!(socket.transmit_stamp().unwrap(), None);
            assert_eq!(socket.counters().icmp_errors > 0, reports_icmp);
            assert_eq!(socket.counters().stamps_unmatched, 0);
        }
    }
}

#[test]
fn a_datagram_longer_than_the_buffer_is_flagged_and_an_empty_one_survives() {
    let (mut sender, mut receiver) = (open(V4), open(V4));
    let to = receiver.local_address();
    for bytes in [&b"twelve bytes"[..], b"", b"fits"] {
        sender.send(to, bytes).unwrap();
    }
    let mut buffer = [0; 4];
    let long = receive(&mut receiver, &mut buffer);
    assert_eq!((long.len, long.truncated, &buffer), (4, true, b"twel"));
    let empty = receive(&mut receiver, &mut buffer);
    assert_eq!((empty.len, empty.truncated), (0, false));
    let fits = receive(&mut receiver, &mut buffer);
    assert_eq!((fits.len, fits.truncated, &buffer), (4, false, b"fits"));
    assert_eq!(receiver.receive(&mut buffer).unwrap(), None);
}

#[test]
fn a_packet_without_a_route_uses_no_ticket_and_leaves_the_pairing_right() {
    for open in [open, open_counting] {
        let (mut sender, receiver) = (open(V4), open(V4));
        // The kernel refuses loopback's broadcast address to a socket that has not asked for it.
        let refused = sender.send("127.255.255.255:9".parse().unwrap(), b"x").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let ticket = sender.send(receiver.local_address(), b"x").unwrap();
        assert_eq!(ticket, 0);
        assert_eq!(transmit_stamp(&mut sender).ticket, ticket);
        assert_eq!(sender.counters(), SocketCounters::default());
    }
}

#[test]
fn after_a_failure_that_leaves_the_count_in_doubt_no_stamp_comes_until_the_count_begins_anew() {
    let (mut sender, receiver) = (open_counting(V4), open(V4));
    let to = receiver.local_address();
    let before = sender.send(to, b"before").unwrap();
    // Longer than any datagram.
    assert!(sender.send(to, &[0; 70_000]).is_err());
    assert_eq!(sender.counters().stamp_resyncs, 1);
    let within = sender.send(to, b"within").unwrap();
    assert_eq!(transmit_stamp(&mut sender).ticket, before);
    assert_eq!(sender.transmit_stamp().unwrap(), None);

    std::thread::sleep(Duration::from_nanos(QUARANTINE_NS as u64));
    let after = sender.send(to, b"after").unwrap();
    assert_eq!((within, after), (before + 1, before + 2));
    assert_eq!(transmit_stamp(&mut sender).ticket, after);
    assert_eq!(sender.counters().stamps_unmatched, 0);
}

#[test]
fn a_count_that_is_off_is_noticed_and_mended() {
    let (mut sender, receiver) = (open_counting(V4), open(V4));
    let to = receiver.local_address();
    // As if the kernel had counted a packet that this book does not know.
    send_message(sender.as_raw_fd(), &mut AddressBuffer::new(to, false).unwrap(), b"unknown", None).unwrap();
    sender.send(to, b"known").unwrap();
    wait(|| {
        assert_eq!(sender.transmit_stamp().unwrap().filter(|stamp| stamp.ticket != 0), None);
        (sender.counters().stamp_resyncs == 1).then_some(())
    });
    assert!(matches!(sender.tickets.numbering(), Numbering::Quarantine { .. }));
}

#[test]
fn every_reason_not_to_open_is_told_apart() {
    let options = SocketOptions::default();
    let open = |address: &str, options: &SocketOptions| {
        StampedSocket::open(address.parse().unwrap(), options).map(|_| ()).unwrap_err()
    };
    let taken = UdpSocket::bind(V4).unwrap().local_addr().unwrap().port();
    let holder = UdpSocket::bind(("127.0.0.1", taken)).unwrap();
    let in_use = open(&holder.local_addr().unwrap().to_string(), &options);
    assert!(matches!(in_use, OpenError::PortInUse(_)), "{in_use}");
    // An address reserved for documentation is nobody's.
    let not_here = open("192.0.2.1:0", &options);
    assert!(matches!(not_here, OpenError::NotHere(_)), "{not_here}");
    let no_device = open(V4, &SocketOptions { device: Some("no-such-if0".into()), ..options.clone() });
    assert!(matches!(no_device, OpenError::NoDevice(_)), "{no_device}");
    let dscp = open(V4, &SocketOptions { dscp: Some(64), ..options });
    assert!(matches!(dscp, OpenError::Dscp(64)), "{dscp}");
}

#[test]
fn options_reach_the_socket() {
    for address in [V4, V6] {
        let options = SocketOptions {
            receive_buffer_bytes: Some(65_536),
            send_buffer_bytes: Some(65_536),
            dscp: Some(46),
            device: None,
        };
        let socket = StampedSocket::open(address.parse().unwrap(), &options).unwrap();
        assert_eq!(socket.socket.recv_buffer_size().unwrap(), 2 * 65_536);
        assert_eq!(socket.socket.send_buffer_size().unwrap(), 2 * 65_536);
        assert!(socket.socket.nonblocking().unwrap());
        let flags = nix::fcntl::fcntl(&socket.socket, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        let class = if address == V4 { socket.socket.tos_v4() } else { socket.socket.tclass_v6() };
        assert_eq!(class.unwrap(), 46 << 2);
    }
}

#[test]
fn an_ipv6_address_on_an_ipv4_socket_is_an_error() {
    let mut socket = open(V4);
    let refused = socket.send("[::1]:9".parse().unwrap(), b"x").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_socket_that_asks_for_the_cards_stamps_still_has_the_kernels_and_says_by_which_interface() {
    let lo = super::super::nic::index("lo").unwrap();
    for address in [V4, V6] {
        let mut sender = StampedSocket::open(address.parse().unwrap(), &SocketOptions::default()).unwrap();
        let granted = sender.enable_stamps(StampWish::Card).unwrap();
        assert!(granted.kernel_receive && granted.kernel_transmit && granted.nic, "{granted:?}");
        let mut receiver = open(address);
        for _ in 0..20 {
            let ticket = sender.send(receiver.local_address(), b"by which way?").unwrap();
            let sent = transmit_stamp(&mut sender);
            // Loopback has no card: the kernel's stamp is all there is.
            assert_eq!((sent.ticket, sent.class, sent.device), (ticket, StampClass::Kernel, Some(lo)));
            let mut buffer = [0; 64];
            assert_eq!(receive(&mut receiver, &mut buffer).nic_ns, None);
        }
        assert_eq!(sender.counters(), SocketCounters::default());
    }
}

#[test]
fn a_socket_that_asks_for_no_stamps_gets_none() {
    let mut socket = StampedSocket::open(V4.parse().unwrap(), &SocketOptions::default()).unwrap();
    assert_eq!(socket.enable_stamps(StampWish::User).unwrap(), StampsGranted::default());
    let own = socket.local_address();
    socket.send(own, b"unstamped").unwrap();
    let received = receive(&mut socket, &mut [0; 64]);
    assert_eq!((received.kernel_real_ns, received.nic_ns), (None, None));
    assert_eq!(socket.transmit_stamp().unwrap(), None);
}

#[test]
fn busy_polling_is_granted_or_refused_for_want_of_a_privilege() {
    let socket = open(V4);
    for outcome in [socket.busy_poll(50), socket.prefer_busy_poll()] {
        if let Err(refused) = outcome {
            assert!(matches!(refused.raw_os_error(), Some(libc::EPERM | libc::ENOPROTOOPT)), "{refused}");
        }
    }
    socket.incoming_cpu(0).unwrap();
}
