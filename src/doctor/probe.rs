//! A few real packets, to see who stamps them: to oneself over loopback, or to a peer over one interface. What the peer
//! makes of them is its business: they are not sealed, so a node counts and drops them.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use super::facts::Probed;
use crate::flow::StampClass;
use crate::sys::socket::{SocketOptions, StampWish, StampedSocket, is_echo_reply};

/// Packets sent.
const PACKETS: u32 = 5;
/// Looks for stamps after the last packet, and the pause between two looks: 200 ms for drivers that take their time.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(5);
/// The kernel starts to stamp a moment after the first socket asks: packets sent before count for nothing.
const SETTLING: Duration = Duration::from_millis(50);
/// As long as the datagrams of a node.
const DATAGRAM: [u8; 176] = [0; 176];

/// Packets to oneself over loopback.
pub(super) fn loopback() -> Option<Probed> {
    let mut socket = StampedSocket::open(([127, 0, 0, 1], 0).into(), &SocketOptions::default()).ok()?;
    let own = socket.local_address();
    run(&mut socket, own).ok()
}

/// Packets to `peer` over the interface `device`.
pub(super) fn towards(device: &str, peer: SocketAddr) -> Result<Probed, String> {
    let any: IpAddr = if peer.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let options = SocketOptions { device: Some(device.to_owned()), ..SocketOptions::default() };
    let mut socket = StampedSocket::open((any, 0).into(), &options).map_err(|error| error.to_string())?;
    run(&mut socket, peer).map_err(|error| error.to_string())
}

/// Echo requests to `peer` over the interface `device`: any machine answers, and the answers show who stamps arrivals.
pub(super) fn echoes(device: &str, peer: IpAddr) -> Result<Probed, String> {
    let run = || -> std::io::Result<Probed> {
        let mut socket = StampedSocket::open_echo(device, peer)?;
        socket.enable_stamps(StampWish::Card)?;
        sleep(SETTLING);
        let mut probed = Probed::default();
        let mut looks = 0;
        while looks < LOOKS && probed.received < PACKETS {
            if probed.sent < PACKETS {
                socket.send_echo(peer, probed.sent as u16)?;
                probed.sent += 1;
            }
            sleep(PAUSE);
            looks += 1;
            let mut buffer = [0; 256];
            while let Some(received) = socket.receive(&mut buffer)? {
                if received.from.ip() == peer && is_echo_reply(&buffer[..received.len], peer.is_ipv6()) {
                    probed.received += 1;
                    probed.kernel_receive += u32::from(received.kernel_real_ns.is_some());
                    probed.card_receive += u32::from(received.nic_ns.is_some());
                }
            }
        }
        Ok(probed)
    };
    run().map_err(|error| error.to_string())
}

fn run(socket: &mut StampedSocket, to: SocketAddr) -> std::io::Result<Probed> {
    socket.enable_stamps(StampWish::Card)?;
    sleep(SETTLING);
    let mut probed = Probed::default();
    for _ in 0..PACKETS {
        socket.send(to, &DATAGRAM)?;
        probed.sent += 1;
        sleep(PAUSE);
        look(socket, &mut probed)?;
    }
    for _ in 0..LOOKS {
        sleep(PAUSE);
        look(socket, &mut probed)?;
    }
    Ok(probed)
}

fn look(socket: &mut StampedSocket, probed: &mut Probed) -> std::io::Result<()> {
    while let Some(stamp) = socket.transmit_stamp()? {
        match stamp.class {
            StampClass::Nic => probed.card_transmit += 1,
            StampClass::Kernel | StampClass::User => probed.kernel_transmit += 1,
        }
    }
    let mut buffer = [0; 256];
    while let Some(received) = socket.receive(&mut buffer)? {
        probed.received += 1;
        probed.kernel_receive += u32::from(received.kernel_real_ns.is_some());
        probed.card_receive += u32::from(received.nic_ns.is_some());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_to_oneself_come_back_stamped_by_the_kernel_and_by_no_card() {
        let probed = loopback().expect("every machine has loopback");
        assert_eq!((probed.sent, probed.received), (PACKETS, PACKETS));
        assert_eq!((probed.kernel_transmit, probed.card_transmit, probed.card_receive), (PACKETS, 0, 0));
        assert!(probed.kernel_receive > 0, "{probed:?}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_said_to_be_so() {
        let why = towards("llts-none", ([127, 0, 0, 1], 9).into()).unwrap_err();
        assert!(why.contains("no network interface called llts-none"), "{why}");
    }
}
