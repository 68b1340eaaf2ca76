//! Peers that the user named: reading what was written, and keeping names resolved. Looking a name up may take the
//! system's resolver many seconds, so it happens on threads of its own; when to look, and what a result means, is
//! decided here, on the control thread. A name that cannot be resolved is said once and tried for ever: its machine may
//! not be up yet.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::{Candidate, DEFAULT_PORT, Source, may_reach};
use crate::limits::PEERS_MAX;

/// Time between two lookups of a name that has addresses, ns.
const RESOLVED_INTERVAL_NS: i64 = 60_000_000_000;
/// Time between two lookups of a name that could not be looked up, ns.
const UNRESOLVED_INTERVAL_NS: i64 = 5_000_000_000;
/// Threads that look names up: with two, one dead domain (many seconds until it is given up) leaves half the names
/// quick.
const RESOLVERS: usize = 2;
/// The longest name that DNS knows, characters.
const NAME_LEN_MAX: usize = 253;
/// The longest part of a name between two dots, characters.
const NAME_PART_LEN_MAX: usize = 63;

/// A peer as the user wrote it: `host`, `host:port`, `192.0.2.1:port`, `[2001:db8::1]:port` or `[fe80::1%eth0]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StaticPeer {
    host: String,
    /// Set when `host` is an address and there is nothing to look up.
    literal: Option<IpAddr>,
    port: u16,
}

/// What is wrong with one entry of `--peers`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerNameError {
    /// Nothing between two commas.
    #[error("--peers has an empty entry: write host:port,host:port")]
    Empty,
    /// Not 1 to 65535.
    #[error("the peer {0:?} has no valid port: write host:port with a port from 1 to 65535")]
    Port(String),
    /// Colons that may belong to the address or to the port.
    #[error("the peer {0:?} looks like an IPv6 address: write it in brackets, like [2001:db8::1]:{DEFAULT_PORT}")]
    Brackets(String),
    /// In brackets, but no IPv6 address.
    #[error("the peer {0:?} has no IPv6 address in its brackets: write it like [2001:db8::1]:{DEFAULT_PORT}")]
    Ipv6(String),
    /// Neither a host name nor an address.
    #[error("the peer {0:?} is neither a host name nor an IP address: write host:port")]
    Host(String),
    /// An address that no single node can have.
    #[error("the peer {0:?} is not the address of one node: give the address that the node listens on")]
    NotOneNode(String),
    /// More than a node can keep.
    #[error("--peers names {0} peers, and a node keeps at most {PEERS_MAX}")]
    TooMany(usize),
}

impl StaticPeer {
    /// Reads one entry; the port is [`DEFAULT_PORT`] when none is written.
    ///
    /// # Errors
    /// One sentence that quotes the entry.
    pub fn parse(text: &str) -> Result<Self, PeerNameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(PeerNameError::Empty);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| PeerNameError::Ipv6(text.into()))?,
            None if text.matches(':').count() > 1 => return Err(PeerNameError::Brackets(text.into())),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => DEFAULT_PORT,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| PeerNameError::Port(text.into()))?
            }
            Some(_) | None => return Err(PeerNameError::Port(text.into())),
        };
        let literal = if text.starts_with('[') {
            let (address, zone) = host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)));
            let address: Ipv6Addr = address.parse().map_err(|_| PeerNameError::Ipv6(text.into()))?;
            if zone.is_some_and(str::is_empty) {
                return Err(PeerNameError::Ipv6(text.into()));
            }
            // The number of a zone's interface is looked up, and again later: interfaces come and go.
            zone.is_none().then(|| IpAddr::V6(address).to_canonical())
        } else if let Ok(address) = host.parse::<Ipv4Addr>() {
            Some(IpAddr::V4(address))
        } else if is_host_name(host) {
            None
        } else {
            return Err(PeerNameError::Host(text.into()));
        };
        let many = |ip: IpAddr| ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if literal.is_some_and(many) {
            return Err(PeerNameError::NotOneNode(text.into()));
        }
        Ok(StaticPeer { host: host.into(), literal, port })
    }

    /// Reads comma-separated lists, as `--peers` takes them, and leaves out what is named twice.
    ///
    /// # Errors
    /// See [`StaticPeer::parse`]; also more peers than [`PEERS_MAX`].
    pub fn parse_list<T: AsRef<str>>(lists: impl IntoIterator<Item = T>) -> Result<Vec<Self>, PeerNameError> {
        let peers = Self::parse_lists_of_any_length(lists)?;
        if peers.len() > PEERS_MAX { Err(PeerNameError::TooMany(peers.len())) } else { Ok(peers) }
    }

    /// The same for whoever is no node and has room for more.
    ///
    /// # Errors
    /// See [`StaticPeer::parse`].
    pub fn parse_lists_of_any_length<T: AsRef<str>>(
        lists: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Self>, PeerNameError> {
        let (mut peers, mut seen) = (Vec::new(), HashSet::new());
        for list in lists {
            for entry in list.as_ref().split(',') {
                let peer = Self::parse(entry)?;
                if seen.insert(peer.clone()) {
                    peers.push(peer);
                }
            }
        }
        Ok(peers)
    }

    /// The address, where it was written as one.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        self.literal.map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for StaticPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Letters, digits, `-` and `_` between dots, with something other than digits in the last part: `10.0.0.256` is a
/// mistake in an address, not a name to ask for.
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let part_is_fine = |part: &str| {
        (1..=NAME_PART_LEN_MAX).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last_is_number = host.rsplit('.').next().is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= NAME_LEN_MAX && host.split('.').all(part_is_fine) && !last_is_number
}

/// Looks one peer's name up; called on a resolver thread.
pub(super) type Resolve = Arc<dyn Fn(&StaticPeer) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The system's resolver: hosts file, DNS, whatever the machine is set up for.
pub(super) fn system_resolver() -> Resolve {
    Arc::new(|peer| Ok((peer.host.as_str(), peer.port).to_socket_addrs()?.collect()))
}

/// One finished lookup: the number of its entry, and its addresses or the reason why there are none.
type Lookup = (usize, Result<Vec<SocketAddr>, String>);

/// The user's peers and the addresses that they have now.
#[derive(Debug)]
pub(super) struct Names {
    listen: SocketAddr,
    entries: Vec<Entry>,
    /// Entries made so far: the number of the next one.
    made: usize,
    /// `None` as long as every peer was an address.
    resolvers: Option<Resolvers>,
}

#[derive(Debug)]
struct Entry {
    /// Its own for good: a lookup may finish when its entry is gone.
    number: usize,
    peer: StaticPeer,
    addresses: Vec<SocketAddr>,
    /// When to look it up again; `i64::MAX` while a lookup is under way, and for an address.
    due_ns: i64,
    /// The operator has been told that it does not resolve.
    complained: bool,
}

#[derive(Debug)]
struct Resolvers {
    /// A thread ends when its sender is gone; one that waits for an answer is not waited for.
    jobs: Vec<Sender<(usize, StaticPeer)>>,
    done: Receiver<Lookup>,
    /// Becomes readable with each finished lookup.
    wake: UnixStream,
}

impl Names {
    /// Starts resolver threads if there are names to resolve. What is wrong with an address goes to `warnings`.
    pub(super) fn start(
        peers: Vec<StaticPeer>,
        listen: SocketAddr,
        resolve: &Resolve,
        warnings: &mut Vec<String>,
    ) -> io::Result<Self> {
        let mut names = Names { listen, entries: Vec::new(), made: 0, resolvers: None };
        names.set_peers(peers, resolve, warnings)?;
        Ok(names)
    }

    /// The user's peers from now on. Those that stay keep their addresses; resolver threads are started when the first
    /// name comes.
    pub(super) fn set_peers(
        &mut self,
        peers: Vec<StaticPeer>,
        resolve: &Resolve,
        warnings: &mut Vec<String>,
    ) -> io::Result<()> {
        if self.resolvers.is_none() && peers.iter().any(|peer| peer.literal.is_none()) {
            self.resolvers = Some(Resolvers::start(RESOLVERS, resolve)?);
        }
        let mut before = std::mem::take(&mut self.entries);
        for peer in peers {
            if let Some(known) = before.iter().position(|entry| entry.peer == peer) {
                self.entries.push(before.swap_remove(known));
                continue;
            }
            let number = self.made;
            self.made += 1;
            let mut entry = Entry { number, peer, addresses: Vec::new(), due_ns: i64::MIN, complained: false };
            if let Some(address) = entry.peer.literal() {
                entry.due_ns = i64::MAX;
                match usable(&[address], self.listen) {
                    Ok(addresses) => entry.addresses = addresses,
                    Err(reason) => warnings.push(format!("the peer {} is left out: {reason}", entry.peer)),
                }
            }
            self.entries.push(entry);
        }
        Ok(())
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.resolvers.as_ref().map(|resolvers| resolvers.wake.as_fd())
    }

    pub(super) fn next_deadline(&self) -> i64 {
        self.entries.iter().map(|entry| entry.due_ns).min().unwrap_or(i64::MAX)
    }

    /// Takes in finished lookups and asks for those that are due.
    pub(super) fn poll(&mut self, now_ns: i64, messages: &mut Vec<String>) {
        let Some(resolvers) = &mut self.resolvers else { return };
        for (number, result) in resolvers.finished() {
            let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) else { continue };
            let answer = result.and_then(|found| usable(&found, self.listen));
            let resolved = answer.is_ok();
            entry.take(answer, messages);
            entry.due_ns = now_ns + if resolved { RESOLVED_INTERVAL_NS } else { UNRESOLVED_INTERVAL_NS };
        }
        for entry in &mut self.entries {
            if entry.due_ns <= now_ns {
                resolvers.ask(entry.number, &entry.peer);
                entry.due_ns = i64::MAX;
            }
        }
    }

    /// Peers that have no address, because their names do not resolve.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = String> {
        self.entries.iter().filter(|entry| entry.complained && entry.addresses.is_empty()).map(|e| e.peer.to_string())
    }

    pub(super) fn candidates(&self) -> impl Iterator<Item = Candidate> {
        self.entries.iter().flat_map(|entry| {
            entry.addresses.iter().map(|address| Candidate {
                address: *address,
                label: entry.peer.to_string(),
                node: None,
                source: Source::Static,
            })
        })
    }
}

impl Entry {
    /// Takes the answer of a lookup. A failed one leaves the addresses that the name had: a name server that is down
    /// says nothing about the peers.
    fn take(&mut self, answer: Result<Vec<SocketAddr>, String>, messages: &mut Vec<String>) {
        match answer {
            Ok(addresses) => {
                if self.complained {
                    messages.push(format!("the peer {} resolves now", self.peer));
                }
                self.complained = false;
                self.addresses = addresses;
            }
            Err(reason) => {
                if !self.complained {
                    messages.push(format!("the peer {} does not resolve, trying on: {reason}", self.peer));
                }
                self.complained = true;
            }
        }
    }
}

/// The addresses that this node's socket can send to, sorted, each once, or the reason why none is.
fn usable(found: &[SocketAddr], listen: SocketAddr) -> Result<Vec<SocketAddr>, String> {
    if found.is_empty() {
        return Err("it has no address".into());
    }
    let canonical = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    };
    let reachable: BTreeSet<_> = found.iter().copied().map(canonical).filter(|to| may_reach(listen, *to)).collect();
    if reachable.is_empty() {
        return Err(format!("{} cannot be reached from {}", found[0].ip(), listen.ip()));
    }
    Ok(reachable.into_iter().take(PEERS_MAX).collect())
}

impl Resolvers {
    fn start(threads: usize, resolve: &Resolve) -> io::Result<Self> {
        let (done_sender, done) = mpsc::channel();
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        // A full pipe has woken us already.
        waker.set_nonblocking(true)?;
        let waker = Arc::new(waker);
        let mut jobs = Vec::new();
        for _ in 0..threads {
            let (sender, receiver) = mpsc::channel::<(usize, StaticPeer)>();
            let (resolve, done, waker) = (Arc::clone(resolve), done_sender.clone(), Arc::clone(&waker));
            thread::Builder::new().name("llts-names".into()).spawn(move || {
                for (number, peer) in receiver {
                    let result = resolve(&peer).map_err(|error| error.to_string());
                    if done.send((number, result)).is_err() {
                        return;
                    }
                    let _ = (&*waker).write(&[0]);
                }
            })?;
            jobs.push(sender);
        }
        Ok(Resolvers { jobs, done, wake })
    }

    fn ask(&self, number: usize, peer: &StaticPeer) {
        self.jobs[number % self.jobs.len()]
            .send((number, peer.clone()))
            .expect("a resolver thread ends only after its sender is dropped");
    }

    fn finished(&mut self) -> Vec<Lookup> {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(read) if read > 0) {}
        self.done.try_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    const LISTEN: &str = "127.0.0.1:8080";

    #[test]
    fn every_way_to_write_a_peer_is_read_or_refused_in_one_sentence() {
        for (text, expected) in [
            ("db1", Ok("db1:4123")),
            (" db1.example.org:8080 ", Ok("db1.example.org:8080")),
            ("db1.example.org.:1", Ok("db1.example.org.:1")),
            ("a_b-c:65535", Ok("a_b-c:65535")),
            ("1host", Ok("1host:4123")),
            ("10.0.0.1", Ok("10.0.0.1:4123")),
            ("10.0.0.1:8080", Ok("10.0.0.1:8080")),
            ("[::1]", Ok("[::1]:4123")),
            ("[2001:db8::1]:8080", Ok("[2001:db8::1]:8080")),
            ("[fe80::1%eth0]:8080", Ok("[fe80::1%eth0]:8080")),
            ("", Err("empty entry")),
            ("  ", Err("empty entry")),
            ("db1:", Err("no valid port")),
            ("db1:0", Err("no valid port")),
            ("db1:65536", Err("no valid port")),
            ("db1:+80", Err("no valid port")),
            ("db1:http", Err("no valid port")),
            ("[::1]8080", Err("no valid port")),
            ("::1", Err("in brackets")),
            ("2001:db8::1:8080", Err("in brackets")),
            ("[::1", Err("no IPv6 address")),
            ("[]:1", Err("no IPv6 address")),
            ("[10.0.0.1]:1", Err("no IPv6 address")),
            ("[fe80::1%]:1", Err("no IPv6 address")),
            (":8080", Err("neither a host name nor")),
            ("10.0.0.256", Err("neither a host name nor")),
            ("10.1", Err("neither a host name nor")),
            ("-db1", Err("neither a host name nor")),
            ("db..1x", Err("neither a host name nor")),
            ("db 1", Err("neither a host name nor")),
            ("http//db1", Err("neither a host name nor")),
            ("0.0.0.0:8080", Err("not the address of one node")),
            ("[::]:8080", Err("not the address of one node")),
            ("224.0.0.1:8080", Err("not the address of one node")),
            ("255.255.255.255", Err("not the address of one node")),
            ("[ff02::1]:8080", Err("not the address of one node")),
        ] {
            match (StaticPeer::parse(text), expected) {
                (Ok(peer), Ok(shown)) => assert_eq!(peer.to_string(), shown, "{text:?}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text:?}: {error}"),
                (found, _) => panic!("{text:?} became {found:?}"),
            }
        }
        let long = "a".repeat(63);
        assert!(StaticPeer::parse(&long).is_ok());
        assert!(StaticPeer::parse(&format!("{long}a")).is_err());
        assert!(StaticPeer::parse(&[long.as_str(); 4].join(".")).is_err(), "255 characters are too many");
    }

    #[test]
    fn what_a_peer_prints_reads_back_as_the_same_peer() {
        for text in ["db1", "10.0.0.1:8080", "[2001:db8::1]:8080", "[fe80::1%eth0]:8080"] {
            let peer = StaticPeer::parse(text).unwrap();
            assert_eq!(StaticPeer::parse(&peer.to_string()).unwrap(), peer);
        }
        let mapped = StaticPeer::parse("[::ffff:10.0.0.1]:1").unwrap();
        assert_eq!(mapped.literal(), Some("10.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn lists_are_joined_and_what_is_named_twice_counts_once() {
        let peers = StaticPeer::parse_list(["a:1,b", "b:4123, 10.0.0.1:1"]).unwrap();
        let shown: Vec<_> = peers.iter().map(StaticPeer::to_string).collect();
        assert_eq!(shown, ["a:1", "b:4123", "10.0.0.1:1"]);
        assert_eq!(StaticPeer::parse_list(["a,,b"]), Err(PeerNameError::Empty));

        let list = |count: usize| (0..count).map(|n| format!("host{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(StaticPeer::parse_list([list(PEERS_MAX)]).unwrap().len(), PEERS_MAX);
        assert_eq!(StaticPeer::parse_list([list(PEERS_MAX + 1)]), Err(PeerNameError::TooMany(PEERS_MAX + 1)));
    }

    /// A resolver that answers what the test says, and waits for nothing.
    fn scripted(answer: &Arc<Mutex<io::Result<Vec<SocketAddr>>>>) -> Resolve {
        let answer = Arc::clone(answer);
        Arc::new(move |_| match &*answer.lock().unwrap() {
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(io::Error::other(error.to_string())),
        })
    }

    fn addresses(names: &Names) -> Vec<String> {
        names.candidates().map(|c| c.address.to_string()).collect()
    }

    fn wait(names: &Names) {
        let mut fds = [PollFd::new(names.fd().unwrap(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut fds, PollTimeout::from(5_000u16)),
            Ok(1),
            "a finished lookup must wake the control thread"
        );
    }

    #[test]
    fn a_name_is_looked_up_again_followed_when_it_moves_and_complained_about_once() {
        let answer = Arc::new(Mutex::new(Err(io::Error::other("no such host"))));
        let peers = StaticPeer::parse_list(["db1:5"]).unwrap();
        let mut names = Names::start(peers, LISTEN.parse().unwrap(), &scripted(&answer), &mut Vec::new()).unwrap();
        let mut messages = Vec::new();
        let mut now_ns = 0;
        let mut look = |names: &mut Names, expected_pause_ns: i64| {
            messages.clear();
            names.poll(now_ns, &mut messages);
            assert_eq!(names.next_deadline(), i64::MAX, "one lookup at a time");
            wait(names);
            names.poll(now_ns, &mut messages);
            assert_eq!(names.next_deadline() - now_ns, expected_pause_ns);
            now_ns = names.next_deadline();
            (addresses(names), messages.clone())
        };
        let set = |to: &[&str]| *answer.lock().unwrap() = Ok(to.iter().map(|a| a.parse().unwrap()).collect());

        let (found, told) = look(&mut names, UNRESOLVED_INTERVAL_NS);
        assert!(found.is_empty() && told.len() == 1 && told[0].contains("db1:5") && told[0].contains("no such host"));
        assert_eq!(look(&mut names, UNRESOLVED_INTERVAL_NS), (vec![], vec![]));
        assert_eq!(names.unresolved().collect::<Vec<_>>(), ["db1:5"], "to be shown");
        set(&["127.0.0.2:5", "[::1]:5", "127.0.0.2:5"]);
        let (found, told) = look(&mut names, RESOLVED_INTERVAL_NS);
        assert_eq!(found, ["127.0.0.2:5"], "IPv6 cannot be reached from an IPv4 socket");
        assert_eq!(told.len(), 1);
        set(&["127.0.0.3:5", "127.0.0.4:5"]);
        assert_eq!(look(&mut names, RESOLVED_INTERVAL_NS), (vec!["127.0.0.3:5".into(), "127.0.0.4:5".into()], vec![]));
        *answer.lock().unwrap() = Err(io::Error::other("server down"));
        let (found, told) = look(&mut names, UNRESOLVED_INTERVAL_NS);
        assert_eq!((found.len(), told.len()), (2, 1), "what is known is kept");
        assert_eq!(names.unresolved().count(), 0, "it has addresses to be looked for at");
        set(&["[::1]:5"]);
        let (found, told) = look(&mut names, UNRESOLVED_INTERVAL_NS);
        assert_eq!((found.len(), told.len()), (2, 0), "still not resolved, and said already");
    }

    #[test]
    fn a_name_that_hangs_does_not_hold_up_the_control_thread_or_the_other_names() {
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        let resolve: Resolve = Arc::new(move |peer| {
            if peer.host == "dead" {
                let _ = hang.lock().unwrap().recv();
            }
            Ok(vec![SocketAddr::from(([127, 0, 0, 9], peer.port))])
        });
        let peers = StaticPeer::parse_list(["dead:1,alive:2"]).unwrap();
        let mut names = Names::start(peers, LISTEN.parse().unwrap(), &resolve, &mut Vec::new()).unwrap();
        let mut messages = Vec::new();
        names.poll(0, &mut messages);
        wait(&names);
        names.poll(1, &mut messages);
        assert_eq!(addresses(&names), ["127.0.0.9:2"]);
        drop(release);
        wait(&names);
        names.poll(2, &mut messages);
        assert_eq!(addresses(&names), ["127.0.0.9:1", "127.0.0.9:2"]);
        assert!(messages.is_empty());
    }

    #[test]
    fn addresses_need_no_thread_and_no_deadline() {
        let peers = StaticPeer::parse_list(["127.0.0.1:1,127.0.0.1:2,[::1]:3"]).unwrap();
        let mut warnings = Vec::new();
        let mut names = Names::start(peers, LISTEN.parse().unwrap(), &system_resolver(), &mut warnings).unwrap();
        names.poll(0, &mut Vec::new());
        assert_eq!(warnings, ["the peer [::1]:3 is left out: ::1 cannot be reached from 127.0.0.1"]);
        assert!(names.fd().is_none() && names.next_deadline() == i64::MAX);
        assert_eq!(addresses(&names), ["127.0.0.1:1", "127.0.0.1:2"]);
    }

    #[test]
    fn the_system_knows_localhost() {
        let peers = StaticPeer::parse_list(["localhost:7"]).unwrap();
        let mut names = Names::start(peers, LISTEN.parse().unwrap(), &system_resolver(), &mut Vec::new()).unwrap();
        let mut messages = Vec::new();
        names.poll(0, &mut messages);
        wait(&names);
        names.poll(0, &mut messages);
        assert_eq!((addresses(&names), messages), (vec!["127.0.0.1:7".into()], vec![]));
    }
}
