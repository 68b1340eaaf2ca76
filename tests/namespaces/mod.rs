//! A small network inside this machine, for tests: network namespaces joined by bridges that live in a namespace of
//! their own, so that no packet can leave and nothing of the machine's own network is touched. Knows nothing of llts.
#![allow(dead_code)] // each test binary uses its own part of this

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Fixtures made by this process: tests of one file run at the same time, and each has namespaces of its own.
static MADE: AtomicUsize = AtomicUsize::new(0);
/// How long the links may take to come up.
const UP_PATIENCE: Duration = Duration::from_secs(10);

/// Nodes in namespaces of their own, each with an interface `eth0`, `eth1`, ... in each of the networks. Removed when
/// dropped, also by a failed test.
pub struct Namespaces {
    prefix: String,
    nodes: usize,
}

impl Namespaces {
    /// Makes `nodes` namespaces in `networks` networks, ready for packets. The error says why this machine cannot have
    /// them, and is a reason to skip a test.
    pub fn new(nodes: usize, networks: usize) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("network namespaces need root".into());
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let made = Namespaces { prefix: format!("llts-{}-{number}", std::process::id()), nodes };
        let switch = made.switch();
        // The first one shows whether it works here at all; what fails after it is a failure.
        try_ip(&format!("netns add {switch}"))?;
        for network in 0..networks {
            ip(&format!("-n {switch} link add br{network} type bridge forward_delay 0 mcast_snooping 0"));
            ip(&format!("-n {switch} link set br{network} up"));
        }
        for node in 0..nodes {
            let name = made.name(node);
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
            for network in 0..networks {
                let (eth, port) = (format!("eth{network}"), format!("p{node}-{network}"));
                ip(&format!("-n {switch} link add {port} type veth peer name {eth} netns {name}"));
                ip(&format!("-n {switch} link set {port} master br{network} up"));
                ip(&format!("-n {name} address add {}/24 dev {eth}", made.ipv4(node, network)));
                // Without duplicate address detection it can be bound to at once.
                ip(&format!("-n {name} address add {}/64 dev {eth} nodad", made.ipv6(node, network)));
                ip(&format!("-n {name} link set {eth} up"));
            }
        }
        made.wait_until_up(networks);
        Ok(made)
    }

    /// The IPv4 address of a node in a network, both counted from 0.
    pub fn ipv4(&self, node: usize, network: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, network.try_into().unwrap(), (node + 1).try_into().unwrap())
    }

    /// The IPv6 address of a node in a network, both counted from 0.
    pub fn ipv6(&self, node: usize, network: usize) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, network.try_into().unwrap(), 0, 0, 0, (node + 1).try_into().unwrap())
    }

    /// A command that will run `program` in the namespace of `node`. The process that it starts *is* the program:
    /// killing it kills the program.
    pub fn exec(&self, node: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(node)]).arg(program);
        command
    }

    /// A socket bound to `address` in the namespace of `node`, for this process to use from where it is.
    pub fn bind(&self, node: usize, address: &str) -> UdpSocket {
        let namespace = File::open(format!("/run/netns/{}", self.name(node))).unwrap();
        let bound = thread::scope(|scope| {
            // A namespace is entered by one thread, and this one ends.
            let entered = scope.spawn(|| {
                nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                UdpSocket::bind(address).unwrap()
            });
            entered.join()
        });
        bound.unwrap()
    }

    /// Brings the interface of `node` in a network `up` or `down`.
    pub fn set_link(&self, node: usize, network: usize, state: &str) {
        ip(&format!("-n {} link set eth{network} {state}", self.name(node)));
    }

    fn name(&self, node: usize) -> String {
        format!("{}-n{node}", self.prefix)
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    fn wait_until_up(&self, networks: usize) {
        let began = Instant::now();
        for node in 0..self.nodes {
            // All but loopback, whose state is UNKNOWN for ever.
            while try_ip(&format!("-n {} -o link show up", self.name(node))).unwrap().matches("state UP").count()
                < networks
            {
                assert!(began.elapsed() < UP_PATIENCE, "the links of {} did not come up", self.name(node));
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // Also what was not made because something before it failed. The links go with their namespaces.
        for name in (0..self.nodes).map(|node| self.name(node)).chain([self.switch()]) {
            let _ = try_ip(&format!("netns delete {name}"));
        }
    }
}

fn ip(arguments: &str) {
    try_ip(arguments).unwrap_or_else(|error| panic!("{error}"));
}

fn try_ip(arguments: &str) -> Result<String, String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|e| format!("cannot run `ip`: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`ip {arguments}` failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}
