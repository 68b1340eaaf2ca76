//! Who might be a peer: names that the user wrote, nodes announced on this machine, nodes announced on the network.
//!
//! Nothing here decides about trust: whoever is found is a [`Candidate`], to be probed, and only authentication admits
//! it. Nothing here sends or reads a packet of the llts protocol. Runs on the control thread, which it never blocks for
//! longer than a few small files take; names are resolved, and multicast DNS is spoken, on threads of their own.

mod dirs;
mod local;
mod local_key;
mod mdns;
mod names;
pub mod srv;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

pub use dirs::{DirError, Dirs, examine_dir, is_of_this_user, prepare_dir, prepare_dir_for};
pub use local::LocalError;
pub use local_key::{LOCAL_KEY_ID, LocalKeyError, load_or_create_local_key, local_key_path};
pub use names::{PeerNameError, StaticPeer};

use crate::unit::{ClusterId, NodeId};
use local::{Announcement, Local};
use mdns::Mdns;
use names::Names;

/// The UDP port of a node unless told.
pub const DEFAULT_PORT: u16 = 4123;
/// Characters of a label: what a name in DNS may have, so that nothing that a person wrote is cut.
const LABEL_CHARS_MAX: usize = 255;

/// How an address became known. The later in the list, the more it counts when several ways lead to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Multicast DNS, from anybody on the network.
    Mdns,
    /// A file in the runtime folder, from a process of the same user on this machine.
    Local,
    /// The user named it; it is never given up.
    Static,
}

/// An address where a peer might be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where to send a first probe. IPv4 stays IPv4 here also for a node that listens on `[::]`.
    pub address: SocketAddr,
    /// For people: what the user wrote, or the name that was announced; printable.
    pub label: String,
    /// Who it says it is, where the announcement tells. Unproven: good for leaving out a second address of a peer that
    /// is there already, for nothing else.
    pub node: Option<NodeId>,
    /// How it became known.
    pub source: Source,
}

/// What has changed since the last [`Discovery::poll`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New addresses, and known ones whose label, node or source is another now: replace by address.
    pub added: Vec<Candidate>,
    /// Addresses that nothing points to any longer. A peer behind one that still answers is no worse for it.
    pub removed: Vec<Candidate>,
    /// What the operator should know, one sentence each, said once.
    pub messages: Vec<String>,
}

/// What discovery has to know of the node it works for.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the node's socket is bound, with its real port.
    pub listen: SocketAddr,
    /// The node's whole name.
    pub name: String,
    /// The cluster's whole name.
    pub cluster: String,
    /// The peers that the user named.
    pub peers: Vec<StaticPeer>,
    /// The runtime folder through which nodes of this user on this machine find each other; `None` leaves that out.
    pub runtime_dir: Option<PathBuf>,
    /// Whether to use multicast DNS. A node bound to loopback never does, whatever stands here.
    pub mdns: bool,
}

/// Why discovery did not start. What it can do without is a warning instead.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// A live process of this user holds the identity.
    #[error(transparent)]
    NameTaken(LocalError),
    /// No thread or no descriptor for resolving names.
    #[error("cannot start resolving the names of --peers: {0}")]
    Names(std::io::Error),
}

/// All the ways to find peers, joined: one list of addresses, and what changes in it.
#[derive(Debug)]
pub struct Discovery {
    listen: SocketAddr,
    names: Names,
    local: Option<Local>,
    mdns: Option<Mdns>,
    offered: BTreeMap<SocketAddr, Candidate>,
}

impl Discovery {
    /// Announces this node and starts looking for others. The second value holds what could not be started, one
    /// sentence each; discovery goes on without it.
    ///
    /// # Errors
    /// Another live process of this user has the same name in the same cluster, or the system refuses threads.
    pub fn start(config: Config) -> Result<(Self, Vec<String>), DiscoveryError> {
        let mut warnings = Vec::new();
        let me = Announcement {
            name: label(&config.name),
            cluster: ClusterId::derive(&config.cluster),
            node: NodeId::derive(&config.cluster, &config.name),
            address: config.listen,
            pid: std::process::id(),
        };
        let local = match config.runtime_dir.map(|dir| Local::start(&dir, me.clone())) {
            None => None,
            Some(Ok(local)) => Some(local),
            Some(Err(taken @ LocalError::NameTaken { .. })) => return Err(DiscoveryError::NameTaken(taken)),
            Some(Err(error)) => {
                warnings.push(format!("nodes on this machine will not find each other by themselves: {error}"));
                None
            }
        };
        let mdns = match (config.mdns && !config.listen.ip().is_loopback()).then(|| Mdns::start(&me)) {
            None => None,
            Some(Ok(mdns)) => Some(mdns),
            Some(Err(error)) => {
                warnings.push(format!(
                    "nodes on the network will not find this one by themselves (name them with --peers): multicast DNS \
                     did not start: {error}"
                ));
                None
            }
        };
        let names = Names::start(config.peers, config.listen, &names::system_resolver(), &mut warnings)
            .map_err(DiscoveryError::Names)?;
        Ok((Discovery { listen: config.listen, names, local, mdns, offered: BTreeMap::new() }, warnings))
    }

    /// The peers that the user names from now on; what comes of it is told by the next [`Discovery::poll`]. May add a
    /// descriptor to [`Discovery::fds`], at their front. What is wrong with an address is told, one sentence each.
    ///
    /// # Errors
    /// The system gives no thread for the first name to be resolved; the peers stay as they were.
    pub fn set_peers(&mut self, peers: Vec<StaticPeer>) -> Result<Vec<String>, DiscoveryError> {
        let mut warnings = Vec::new();
        let done = self.names.set_peers(peers, &names::system_resolver(), &mut warnings);
        done.map(|()| warnings).map_err(DiscoveryError::Names)
    }

    /// The descriptors whose readability means that [`Discovery::poll`] should be called; only
    /// [`Discovery::set_peers`] changes them. `poll` reads them empty, so that edge-triggered waiting is enough.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.names.fd().into_iter().chain(self.local.as_ref().and_then(Local::fd))
    }

    /// Takes in what has been found and lost. To be called when a descriptor of [`Discovery::fds`] is readable and at
    /// [`Discovery::next_deadline`]; calling it more often is harmless. `now_ns` is any monotonic clock, always the
    /// same.
    pub fn poll(&mut self, now_ns: i64) -> Changes {
        let mut changes = Changes::default();
        self.names.poll(now_ns, &mut changes.messages);
        if let Some(local) = &mut self.local {
            local.poll(now_ns, &mut changes.messages);
        }
        if let Some(mdns) = &mut self.mdns {
            mdns.poll(now_ns, &mut changes.messages);
        }
        let offered = self.collect();
        for (address, candidate) in &offered {
            if self.offered.get(address) != Some(candidate) {
                changes.added.push(candidate.clone());
            }
        }
        for (address, candidate) in &self.offered {
            if !offered.contains_key(address) {
                changes.removed.push(candidate.clone());
            }
        }
        self.offered = offered;
        changes
    }

    /// Peers that the user named and that have no address, because their names do not resolve.
    #[must_use]
    pub fn unresolved(&self) -> Vec<String> {
        self.names.unresolved().collect()
    }

    /// When [`Discovery::poll`] wants to be called at the latest, on the clock that it is given; `i64::MAX` is never.
    #[must_use]
    pub fn next_deadline(&self) -> i64 {
        let local = self.local.as_ref().map_or(i64::MAX, Local::next_deadline);
        let mdns = self.mdns.as_ref().map_or(i64::MAX, Mdns::next_deadline);
        self.names.next_deadline().min(local).min(mdns)
    }

    /// Every address known now. The sources go in from the weakest to the strongest, so that the strongest stays.
    fn collect(&self) -> BTreeMap<SocketAddr, Candidate> {
        let local: Vec<Candidate> = self.local.iter().flat_map(Local::candidates).collect();
        // Two nodes of one machine see each other both ways; the network's way is longer.
        let announced_here = |candidate: &Candidate| local.iter().any(|l| l.node == candidate.node);
        let mut offered = BTreeMap::new();
        let mdns = self.mdns.iter().flat_map(Mdns::candidates).filter(|c| !announced_here(c));
        for candidate in mdns.chain(local.iter().cloned()).chain(self.names.candidates()) {
            if candidate.address != self.listen {
                offered.insert(candidate.address, candidate);
            }
        }
        // One list of names serves all servers: who listens on every address is behind each of its own.
        let may_be_own = |address: &SocketAddr| address.port() == self.listen.port();
        if self.listen.ip().is_unspecified() && offered.keys().any(may_be_own) {
            let own = addresses_of_this_machine();
            offered.retain(|address, _| !(may_be_own(address) && own.contains(&address.ip().to_canonical())));
        }
        offered
    }
}

/// Every address of this machine as it is now; none if the system does not say.
fn addresses_of_this_machine() -> BTreeSet<IpAddr> {
    let ip = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    nix::ifaddrs::getifaddrs().map(|all| all.filter_map(ip).collect()).unwrap_or_default()
}

/// Whether a datagram from a socket bound to `listen` can go to `to`, as far as the two addresses tell.
/// A socket on `[::]` speaks IPv4 too, as Linux has it unless told otherwise.
fn may_reach(listen: SocketAddr, to: SocketAddr) -> bool {
    let same_family = match (listen.ip(), to.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
        (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    };
    let broadcast = matches!(to.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    same_family && to.port() != 0 && !to.ip().is_unspecified() && !to.ip().is_multicast() && !broadcast
}

/// `text` from outside as something that may be printed: no control characters, not endless.
fn label(text: &str) -> String {
    text.chars().take(LABEL_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(port: u16, name: &str, runtime_dir: &std::path::Path) -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            name: name.into(),
            cluster: "default".into(),
            peers: Vec::new(),
            runtime_dir: Some(runtime_dir.to_path_buf()),
            mdns: true,
        }
    }

    fn addresses(changes: &[Candidate]) -> Vec<String> {
        changes.iter().map(|c| c.address.to_string()).collect()
    }

    #[test]
    fn three_nodes_on_loopback_find_each_other_and_notice_who_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let mut nodes: Vec<Discovery> = (0..3u16)
            .map(|n| {
                let (node, warnings) =
                    Discovery::start(config(8080 + n, &format!("n{n}"), &dir.path().join("run"))).unwrap();
                assert_eq!(warnings, Vec::<String>::new());
                assert!(node.mdns.is_none(), "a node on loopback must not speak multicast DNS");
                node
            })
            .collect();
        let found: Vec<_> = nodes.iter_mut().map(|n| n.poll(0)).collect();
        assert_eq!(addresses(&found[0].added), ["127.0.0.1:8081", "127.0.0.1:8082"]);
        assert_eq!(addresses(&found[1].added), ["127.0.0.1:8080", "127.0.0.1:8082"]);
        assert_eq!(addresses(&found[2].added), ["127.0.0.1:8080", "127.0.0.1:8081"]);
        assert_eq!(found[0].added[0].label, "n1");
        assert_eq!(found[0].added[0].node, Some(NodeId::derive("default", "n1")));

        drop(nodes.pop());
        let after = nodes[0].poll(1);
        assert_eq!((after.added.len(), addresses(&after.removed)), (0, vec!["127.0.0.1:8082".into()]));
        assert_eq!(nodes[0].poll(2), Changes::default(), "the same news is told once");
    }

    #[test]
    fn a_node_that_listens_on_every_address_is_none_of_its_peers_by_whichever_of_its_own_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for listen in ["0.0.0.0:8080", "[::]:8080"] {
            let config = config(8080, "me", dir.path());
            let peers = "127.0.0.1:8080,127.0.0.1:8081,192.0.2.1:8080";
            let peers = StaticPeer::parse_list([peers]).unwrap();
            let config = Config { listen: listen.parse().unwrap(), peers, mdns: false, ..config };
            let (mut me, _) = Discovery::start(config).unwrap();
            assert_eq!(addresses(&me.poll(0).added), ["127.0.0.1:8081", "192.0.2.1:8080"], "{listen}");
        }
    }

    #[test]
    fn an_address_that_the_user_named_stays_when_its_announcement_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (other, _) = Discovery::start(config(8081, "other", dir.path())).unwrap();
        let mut with_peers = config(8080, "me", dir.path());
        with_peers.peers = StaticPeer::parse_list(["127.0.0.1:8081,127.0.0.1:8080"]).unwrap();
        let (mut me, _) = Discovery::start(with_peers).unwrap();
        let first = me.poll(0);
        assert_eq!(addresses(&first.added), ["127.0.0.1:8081"], "itself is left out of what it was given");
        assert_eq!((first.added[0].source, first.added[0].label.as_str()), (Source::Static, "127.0.0.1:8081"));
        drop(other);
        assert_eq!(me.poll(1), Changes::default());
    }

    #[test]
    fn named_peers_can_be_changed_and_the_news_is_what_came_and_what_went() {
        let dir = tempfile::tempdir().unwrap();
        let mut with_peers = config(8080, "me", dir.path());
        with_peers.peers = StaticPeer::parse_list(["127.0.0.1:1,127.0.0.1:2"]).unwrap();
        let (mut me, _) = Discovery::start(with_peers).unwrap();
        me.poll(0);
        let descriptors = me.fds().count();
        let warnings = me.set_peers(StaticPeer::parse_list(["127.0.0.1:2,127.0.0.1:3,[::1]:4"]).unwrap()).unwrap();
        assert!(warnings[0].starts_with("the peer [::1]:4 is left out"), "{warnings:?}");
        let news = me.poll(1);
        assert_eq!(
            (addresses(&news.added), addresses(&news.removed)),
            (vec!["127.0.0.1:3".into()], vec!["127.0.0.1:1".into()])
        );
        assert_eq!(me.fds().count(), descriptors);
        me.set_peers(StaticPeer::parse_list(["localhost.invalid:9"]).unwrap()).unwrap();
        assert_eq!(me.poll(2).removed.len(), 2);
        assert_eq!(me.fds().count(), descriptors + 1, "the first name brings the resolvers");
    }

    #[test]
    fn a_second_node_of_the_same_name_is_refused_and_a_folder_without_rights_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let (_first, _) = Discovery::start(config(8080, "twin", dir.path())).unwrap();
        let error = Discovery::start(config(8081, "twin", dir.path())).unwrap_err().to_string();
        assert!(error.contains("twin") && error.contains("--name"), "{error}");

        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (mut node, warnings) = Discovery::start(config(8082, "n", &file)).unwrap();
        assert_eq!(warnings.len(), 1);
        assert_eq!(node.poll(0), Changes::default());
        assert_eq!(node.next_deadline(), i64::MAX);
    }

    #[test]
    fn reach_follows_from_family_and_kind_of_address() {
        for (listen, to, expected) in [
            ("127.0.0.1:1", "127.0.0.1:2", true),
            ("127.0.0.1:1", "[::1]:2", false),
            ("[::1]:1", "127.0.0.1:2", false),
            ("[::]:1", "127.0.0.1:2", true),
            ("0.0.0.0:1", "10.0.0.1:0", false),
            ("0.0.0.0:1", "0.0.0.0:5", false),
            ("0.0.0.0:1", "224.0.0.251:5", false),
            ("0.0.0.0:1", "255.255.255.255:5", false),
            ("[::]:1", "[ff02::1]:5", false),
        ] {
            assert_eq!(may_reach(listen.parse().unwrap(), to.parse().unwrap()), expected, "{listen} to {to}");
        }
    }

    #[test]
    fn a_label_is_printable_and_has_an_end() {
        assert_eq!(label("a\x1b[2J\n"), "a?[2J?");
        assert_eq!(label(&"x".repeat(1000)).len(), LABEL_CHARS_MAX);
    }
}
