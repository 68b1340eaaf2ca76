//! Whom to ask: the addresses that configuration and discovery found. Says nothing about trust; only a sealed answer
//! does.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::limits::PEERS_MAX;

/// The addresses that this node probes by itself, fixed in size so that it can cross to the hot thread as a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Roster {
    count: u16,
    addresses: [SocketAddr; PEERS_MAX],
}

impl Default for Roster {
    fn default() -> Self {
        Roster { count: 0, addresses: [SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); PEERS_MAX] }
    }
}

impl Roster {
    /// A roster of these addresses without repetitions, and how many did not fit.
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> (Self, usize) {
        let mut roster = Roster::default();
        let mut left_over = 0;
        for address in addresses {
            if roster.contains(address) {
                continue;
            }
            match roster.addresses.get_mut(usize::from(roster.count)) {
                Some(place) => {
                    *place = address;
                    roster.count += 1;
                }
                None => left_over += 1,
            }
        }
        (roster, left_over)
    }

    /// The addresses, in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses[..usize::from(self.count)]
    }

    /// True if `address` is listed.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.addresses().contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_takes_its_limit_and_counts_what_is_beyond() {
        let address = |n: usize| SocketAddr::from(([10, 0, (n / 256) as u8, (n % 256) as u8], 4123));
        let (roster, left_over) = Roster::new((0..PEERS_MAX).map(address));
        assert_eq!((roster.addresses().len(), left_over), (PEERS_MAX, 0));
        let (roster, left_over) = Roster::new((0..=PEERS_MAX).map(address).chain([address(0)]));
        assert_eq!((roster.addresses().len(), left_over), (PEERS_MAX, 1));
    }
}
