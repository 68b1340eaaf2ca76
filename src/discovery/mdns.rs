//! Finding nodes on the network by multicast DNS service discovery (RFC 6762, RFC 6763): service type `_llts._udp`.
//!
//! Anybody on the network can announce anything: what comes from here is bounded, printable, and a candidate at most.
//! Spoken only on the interface that the node is bound to (all but loopback, for a wildcard), by mdns-sd's own thread.
//! That thread joins the multicast group on every interface for the moment until it is told which ones to leave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use mdns_sd::{
    DaemonEvent, IfKind, IfPredicate, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo,
    TryRecvError,
};

use super::local::Announcement;
use super::{Candidate, Source, label, may_reach};
use crate::limits::PEERS_MAX;
use crate::unit::{ClusterId, NodeId};

/// The service type; browsed for, and the end of every instance's name.
const SERVICE_TYPE: &str = "_llts._udp.local.";
/// The major version of the protocol that an announcement promises; other ones are not candidates.
const PROTOCOL_MAJOR: &str = "1";
/// Time between two looks at what the mDNS thread has found, ns. It has no descriptor to wait for.
const POLL_INTERVAL_NS: i64 = 250_000_000;
/// Announcing takes about one second (three probes, RFC 6762 section 8.1); after this it has failed, ns.
const ANNOUNCE_PATIENCE_NS: i64 = 5_000_000_000;
/// Time between two attempts to browse again after the subscription was lost to a flood, ns.
const BROWSE_AGAIN_NS: i64 = 5_000_000_000;
/// How long the goodbye may hold up a node that ends.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(500);
/// Instances of our service type, of any cluster, that are kept; more is a flood.
const INSTANCES_MAX: usize = PEERS_MAX;
/// Addresses of one instance that are tried; a server has a few networks, not dozens.
const ADDRESSES_MAX: usize = 4;
/// Bytes of the node's name in its instance's name: what DNS allows (63) less the identity that makes it unique.
const INSTANCE_NAME_LEN_MAX: usize = 63 - 1 - 16;

/// This node's registration, and what others have registered.
pub(super) struct Mdns {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    monitor: Receiver<DaemonEvent>,
    me: Announcement,
    /// By the instance's full name, which is what a goodbye tells.
    found: BTreeMap<String, Vec<Candidate>>,
    poll_due_ns: i64,
    announced: Announced,
    browse_again_ns: i64,
    /// Errors of the mDNS thread that have been told; the same ones come again with every packet.
    told: BTreeSet<String>,
}

/// Whether this node has been announced on any interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    /// Not yet looked at.
    Unknown,
    /// Not yet; after this time it is worth a word.
    Waiting(i64),
    /// Yes, or no and the operator knows.
    Settled,
}

impl Mdns {
    /// Registers `me` and browses for others. Must not be called for a node on loopback.
    pub(super) fn start(me: &Announcement) -> Result<Self, mdns_sd::Error> {
        assert!(!me.address.ip().is_loopback(), "a node on loopback is not announced to the network");
        let daemon = ServiceDaemon::new()?;
        let monitor = daemon.monitor()?;
        let own = me.address.ip();
        // One selection, so that no interface is left and joined again.
        daemon.disable_interface(IfKind::Predicate(IfPredicate::new(move |interface| {
            !is_bound(own, interface.ip(), interface.is_loopback())
        })))?;
        let events = daemon.browse(SERVICE_TYPE)?;
        daemon.register(service(me)?)?;
        Ok(Mdns {
            daemon,
            events,
            monitor,
            me: me.clone(),
            found: BTreeMap::new(),
            poll_due_ns: i64::MIN,
            announced: Announced::Unknown,
            browse_again_ns: i64::MIN,
            told: BTreeSet::new(),
        })
    }

    pub(super) fn next_deadline(&self) -> i64 {
        self.poll_due_ns
    }

    /// Takes in what the mDNS thread has found and lost.
    pub(super) fn poll(&mut self, now_ns: i64, messages: &mut Vec<String>) {
        if now_ns < self.poll_due_ns {
            return;
        }
        self.poll_due_ns = now_ns + POLL_INTERVAL_NS;
        self.take_events(now_ns, messages);
        while let Ok(event) = self.monitor.try_recv() {
            match event {
                DaemonEvent::Announce(..) => self.announced = Announced::Settled,
                DaemonEvent::Error(error) => self.tell_once(format!("multicast DNS: {error}"), messages),
                _ => {}
            }
        }
        match self.announced {
            Announced::Unknown => self.announced = Announced::Waiting(now_ns + ANNOUNCE_PATIENCE_NS),
            Announced::Waiting(until_ns) if now_ns >= until_ns => {
                self.announced = Announced::Settled;
                messages.push(format!(
                    "multicast DNS could not announce this node on the interface of {}, so others may not find it: is \
                     the interface up, can it do multicast, and is UDP port 5353 shareable? (--peers works without)",
                    self.me.address.ip()
                ));
            }
            Announced::Waiting(_) | Announced::Settled => {}
        }
    }

    pub(super) fn candidates(&self) -> impl Iterator<Item = Candidate> {
        self.found.values().flatten().cloned()
    }

    fn take_events(&mut self, now_ns: i64, messages: &mut Vec<String>) {
        loop {
            match self.events.try_recv() {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    let candidates = candidates_of(&service, &self.me);
                    if candidates.is_empty() {
                        self.found.remove(&service.fullname);
                    } else if self.found.len() < INSTANCES_MAX || self.found.contains_key(&service.fullname) {
                        self.found.insert(service.fullname, candidates);
                    }
                }
                Ok(ServiceEvent::ServiceRemoved(_, fullname)) => {
                    self.found.remove(&fullname);
                }
                Ok(_) => {}
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        // mdns-sd drops a subscriber that falls behind: there was a flood of announcements.
        if now_ns >= self.browse_again_ns {
            self.browse_again_ns = now_ns + BROWSE_AGAIN_NS;
            match self.daemon.browse(SERVICE_TYPE) {
                Ok(events) => self.events = events,
                Err(error) => self.tell_once(format!("multicast DNS stopped finding nodes: {error}"), messages),
            }
        }
    }

    fn tell_once(&mut self, message: String, messages: &mut Vec<String>) {
        if self.told.len() < INSTANCES_MAX && self.told.insert(message.clone()) {
            messages.push(message);
        }
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        // Says goodbye for the registration, and answers when it is sent.
        if let Ok(stopped) = self.daemon.shutdown() {
            let _ = stopped.recv_timeout(GOODBYE_PATIENCE);
        }
    }
}

impl std::fmt::Debug for Mdns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mdns").field("found", &self.found).field("announced", &self.announced).finish_non_exhaustive()
    }
}

/// Whether a socket bound to `own` is bound to the interface address `address`. The one selection that counts: it
/// decides where is listened and sent, and, for a wildcard, which addresses are announced.
fn is_bound(own: IpAddr, address: IpAddr, loopback: bool) -> bool {
    match own {
        _ if loopback => false,
        IpAddr::V4(ip) if ip.is_unspecified() => address.is_ipv4(),
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        ip => ip == address,
    }
}

/// What this node registers. Its own host name, so that the machine's other services keep theirs. The addresses are
/// those of the selected interfaces and follow them: mdns-sd would not announce a fixed one again after its link was
/// down.
fn service(me: &Announcement) -> Result<ServiceInfo, mdns_sd::Error> {
    let host = format!("llts-{:016x}.local.", me.node.0);
    let cluster = format!("{:08x}", me.cluster.0);
    let node = format!("{:016x}", me.node.0);
    let properties = [("v", PROTOCOL_MAJOR), ("cluster", &cluster), ("node", &node)];
    let addresses: &[IpAddr] = &[];
    ServiceInfo::new(SERVICE_TYPE, &instance_name(me), &host, addresses, me.address.port(), &properties[..])
        .map(ServiceInfo::enable_addr_auto)
}

/// `name-identity`: readable in any browser of services, and unique, so that no conflict ever has to be resolved.
fn instance_name(me: &Announcement) -> String {
    let mut end = me.name.len().min(INSTANCE_NAME_LEN_MAX);
    while !me.name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{:016x}", &me.name[..end], me.node.0)
}

/// The candidates in an announcement as seen by `me`: none if it is our own, another cluster's, another protocol's, or
/// not one of ours at all.
fn candidates_of(service: &ResolvedService, me: &Announcement) -> Vec<Candidate> {
    let property = |key| service.get_property_val_str(key).unwrap_or_default();
    let cluster = u32::from_str_radix(property("cluster"), 16).map(ClusterId);
    let Ok(node) = u64::from_str_radix(property("node"), 16).map(NodeId) else { return Vec::new() };
    if property("v") != PROTOCOL_MAJOR || cluster != Ok(me.cluster) || node == me.node || node == NodeId::ANYONE {
        return Vec::new();
    }
    let instance = service.fullname.strip_suffix(SERVICE_TYPE).unwrap_or(&service.fullname).trim_end_matches('.');
    let name = instance.strip_suffix(&format!("-{:016x}", node.0)).unwrap_or(instance);
    // DNS escapes the dots of a name (RFC 6763 section 4.3).
    let name = label(&name.replace('\\', ""));

    let mut addresses: Vec<SocketAddr> = service
        .addresses
        .iter()
        .map(|ip| with_port(ip, service.port))
        .filter(|to| !to.ip().is_loopback() && may_reach(me.address, *to))
        .collect();
    // A link-local address is for a network that has no others; beside others it is only one more way to the same node.
    if addresses.iter().any(|to| !is_link_local(*to)) {
        addresses.retain(|to| !is_link_local(*to));
    }
    addresses.sort_unstable();
    addresses.truncate(ADDRESSES_MAX);
    let candidate = |address| Candidate { address, label: name.clone(), node: Some(node), source: Source::Mdns };
    addresses.into_iter().map(candidate).collect()
}

/// A link-local IPv6 address means something only together with the interface that it was heard on.
fn with_port(ip: &ScopedIp, port: u16) -> SocketAddr {
    match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index))
        }
        ip => SocketAddr::new(ip.to_ip_addr().to_canonical(), port),
    }
}

fn is_link_local(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    //! What is said and understood; that it reaches others is shown between network namespaces by tests/netns.rs.
    //! Nothing here may start the mDNS thread: a test must not send a packet from this machine.

    use super::*;

    fn node(name: &str, cluster: &str, address: &str) -> Announcement {
        Announcement {
            name: name.into(),
            cluster: ClusterId::derive(cluster),
            node: NodeId::derive(cluster, name),
            address: address.parse().unwrap(),
            pid: 1,
        }
    }

    /// What others see of `from` when its service has these addresses.
    fn resolved(from: &Announcement, addresses: &[&str]) -> ResolvedService {
        let mut service = service(from).unwrap().as_resolved_service();
        service.addresses = addresses.iter().map(|a| ScopedIp::from(a.parse::<IpAddr>().unwrap())).collect();
        service
    }

    fn found(service: &ResolvedService, me: &Announcement) -> Vec<String> {
        candidates_of(service, me).iter().map(|c| c.address.to_string()).collect()
    }

    #[test]
    fn a_node_is_understood_as_it_announces_itself() {
        let me = node("me", "c", "10.0.0.1:4123");
        for name in ["db1", "db1.example.org:8080", "дб", "a-b_c"] {
            let other = node(name, "c", "10.0.0.2:8080");
            let candidates = candidates_of(&resolved(&other, &["10.0.0.2"]), &me);
            let expected = Candidate {
                address: "10.0.0.2:8080".parse().unwrap(),
                label: name.into(),
                node: Some(other.node),
                source: Source::Mdns,
            };
            assert_eq!(candidates, [expected]);
        }
    }

    #[test]
    fn ourselves_other_clusters_and_other_protocols_are_nobody() {
        let me = node("me", "c", "10.0.0.1:4123");
        assert!(found(&resolved(&me, &["10.0.0.7"]), &me).is_empty(), "our own announcement, under another address");
        let other = node("other", "d", "10.0.0.2:4123");
        assert!(found(&resolved(&other, &["10.0.0.2"]), &me).is_empty());
        for properties in [
            &[][..],
            &[("v", "2"), ("cluster", "1"), ("node", "2")],
            &[("v", "1"), ("cluster", "1")],
            &[("v", "1"), ("cluster", "1"), ("node", "0")],
            &[("v", "1"), ("cluster", "1"), ("node", "12345678123456781")],
        ] {
            let me = Announcement { cluster: ClusterId(1), ..me.clone() };
            let info = ServiceInfo::new(SERVICE_TYPE, "x", "x.local.", "10.0.0.2", 4123, properties).unwrap();
            assert!(found(&info.as_resolved_service(), &me).is_empty(), "{properties:?}");
        }
    }

    #[test]
    fn only_addresses_that_our_socket_can_send_to_are_taken_and_few_of_them() {
        let other = node("other", "c", "0.0.0.0:8080");
        let all = ["10.0.0.2", "127.0.0.1", "169.254.0.2", "224.0.0.1", "0.0.0.0", "2001:db8::2", "::1"];
        for (listen, expected) in [
            ("10.0.0.1:1", &["10.0.0.2:8080"][..]),
            ("[2001:db8::1]:1", &["[2001:db8::2]:8080"]),
            ("[::]:1", &["10.0.0.2:8080", "[2001:db8::2]:8080"]),
        ] {
            assert_eq!(found(&resolved(&other, &all), &node("me", "c", listen)), expected, "{listen}");
        }
        let link_local = resolved(&other, &["169.254.0.2"]);
        assert_eq!(found(&link_local, &node("me", "c", "0.0.0.0:1")), ["169.254.0.2:8080"]);
        let many: Vec<String> = (1..=ADDRESSES_MAX + 1).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(found(&resolved(&other, &many), &node("me", "c", "0.0.0.0:1")).len(), ADDRESSES_MAX);
    }

    #[test]
    fn a_hostile_name_cannot_play_with_the_terminal() {
        let me = node("me", "c", "10.0.0.1:4123");
        let mut service = resolved(&node("x", "c", "10.0.0.2:1"), &["10.0.0.2"]);
        service.fullname = format!("\x1b[2J.{SERVICE_TYPE}");
        assert_eq!(candidates_of(&service, &me)[0].label, "?[2J");
    }

    #[test]
    fn every_name_makes_a_valid_instance_name() {
        for name in ["", "a", &"x".repeat(300), &"ü".repeat(300)] {
            let instance = instance_name(&node(name, "c", "10.0.0.1:1"));
            assert!(instance.len() <= 63 && instance.len() >= 17, "{instance}");
        }
    }

    #[test]
    fn a_node_is_bound_to_its_interface_and_never_to_loopback() {
        for (own, address, loopback, expected) in [
            ("10.0.0.1", "10.0.0.1", false, true),
            ("10.0.0.1", "10.0.0.2", false, false),
            ("0.0.0.0", "10.0.0.2", false, true),
            ("0.0.0.0", "2001:db8::1", false, false),
            ("0.0.0.0", "127.0.0.1", true, false),
            ("::", "10.0.0.2", false, true),
            ("::", "fe80::1", false, true),
            ("::", "::1", true, false),
            ("2001:db8::1", "2001:db8::1", false, true),
            ("2001:db8::1", "fe80::1", false, false),
        ] {
            let bound = is_bound(own.parse().unwrap(), address.parse().unwrap(), loopback);
            assert_eq!(bound, expected, "{own} and {address}");
        }
    }

    #[test]
    #[should_panic(expected = "not announced to the network")]
    fn a_node_on_loopback_is_a_broken_invariant() {
        let _ = Mdns::start(&node("me", "c", "127.0.0.1:4123"));
    }
}
