//! Many nodes played by one thread: a protocol instance and a socket on loopback for each, all with the key of one
//! runtime folder. Node `n` is called `rN`, is a reference, and is `n` times 100 us ahead. Stamps are of user space.
#![allow(dead_code)] // each test binary uses its own part of this

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use llts::exchange::{Config, Protocol};
use llts::flow::{Claim, Mapping, NodeState, Role, Stamp, StampClass};
use llts::sys::random::Entropy;
use llts::sys::time::{bracket, raw_now};
use llts::unit::{BootId, ClusterId, Name, NodeId, RawTime, VirtualTime};
use llts::wire::{DATAGRAM_LEN, Identity, Keyring};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// How far each node is ahead of the one before.
const STEP_NS: i64 = 100_000;

pub struct Responders {
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responders {
    pub fn start(dir: &Path, count: usize) -> Self {
        let key = llts::discovery::load_or_create_local_key(dir).unwrap();
        let mut keys = Keyring::new();
        keys.insert(llts::discovery::LOCAL_KEY_ID, key.as_slice(), None).unwrap();
        let pair = bracket(9);
        let mut nodes = Vec::new();
        for n in 0..count {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let name = format!("r{n}");
            let identity = Identity {
                cluster: ClusterId::derive("default"),
                node: NodeId::derive("default", &name),
                boot: BootId(1),
                name: Name::new(&name),
            };
            let (at, v) = (RawTime::from_nanos(pair.raw_ns), pair.real_ns + n as i64 * STEP_NS);
            let mapping = Mapping::through(at, VirtualTime::from_nanos(v), 0.0);
            let unset = Claim::unset(mapping, Role::Reference);
            let claim = Claim { state: NodeState::Track, joining: false, sigma_ns: 0.0, bound_ns: 0.0, ..unset };
            let config = Config {
                identity,
                keys: keys.clone(),
                rate_hz: 8.0,
                rounds: 8,
                capacity: 4,
                claim,
                promise: StampClass::User,
            };
            nodes.push((socket, Protocol::new(config, at)));
        }
        let addresses = nodes.iter().map(|(socket, _)| socket.local_addr().unwrap()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || answer(nodes, &stopped)));
        Responders { addresses, stop, thread }
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How far node `n` is ahead of node 0, ns.
    pub fn offset_ns(&self, n: f64) -> f64 {
        n * STEP_NS as f64
    }
}

impl Drop for Responders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ended = thread.join();
        }
    }
}

/// Serves all nodes. Only those to whom something came, or whose own deadline has come, are touched: thousands of nodes
/// cost what their packets cost.
fn answer(mut nodes: Vec<(UdpSocket, Protocol)>, stop: &AtomicBool) {
    let mut poll = Poll::new().unwrap();
    for (n, (socket, _)) in nodes.iter().enumerate() {
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(n), Interest::READABLE).unwrap();
    }
    let mut entropy = Entropy::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut bytes = [0; DATAGRAM_LEN + 1];
    // The earliest first; what a node's deadline was before is left in and does no harm.
    let mut due: BinaryHeap<Reverse<(i64, usize)>> =
        nodes.iter().enumerate().map(|(n, (_, protocol))| Reverse((protocol.deadline().nanos(), n))).collect();
    let mut noted: Vec<i64> = nodes.iter().map(|(_, protocol)| protocol.deadline().nanos()).collect();
    let mut note = |due: &mut BinaryHeap<_>, n: usize, protocol: &Protocol| {
        let deadline_ns = protocol.deadline().nanos();
        if deadline_ns != noted[n] {
            noted[n] = deadline_ns;
            due.push(Reverse((deadline_ns, n)));
        }
    };
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        for event in &events {
            let n = event.token().0;
            let (socket, protocol) = &mut nodes[n];
            let mut out = [0; DATAGRAM_LEN];
            while let Ok((len, from)) = socket.recv_from(&mut bytes) {
                let now = RawTime::from_nanos(raw_now());
                let stamp = Stamp { at: now, class: StampClass::User };
                let outcome = protocol.on_datagram(now, from, &bytes[..len], stamp, entropy.next_u64(), &mut out);
                if let Ok(Some(outgoing)) = outcome {
                    let _weather = socket.send_to(&out, outgoing.to);
                }
                while protocol.next_event().is_some() {}
            }
            send_due(socket, protocol, &mut entropy);
            note(&mut due, n, protocol);
        }
        while let Some(Reverse((deadline_ns, n))) = due.peek().copied()
            && deadline_ns <= raw_now()
        {
            due.pop();
            let (socket, protocol) = &mut nodes[n];
            send_due(socket, protocol, &mut entropy);
            note(&mut due, n, protocol);
        }
    }
}

fn send_due(socket: &UdpSocket, protocol: &mut Protocol, entropy: &mut Entropy) {
    let mut out = [0; DATAGRAM_LEN];
    while let Some(outgoing) = protocol.poll(RawTime::from_nanos(raw_now()), entropy.next_u64(), &mut out) {
        let _weather = socket.send_to(&out, outgoing.to);
        while protocol.next_event().is_some() {}
    }
    while protocol.next_event().is_some() {}
}
