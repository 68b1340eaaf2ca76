//! Real daemons on different machines of a LAN find each other by multicast DNS and agree: shown between network
//! namespaces, which no packet leaves. Needs root and the `ip` command, and says so when it skips.

mod daemons;
mod namespaces;

use std::os::unix::fs::PermissionsExt;

use daemons::{Daemon, Lab, llts, wait_for, worst_distance_ns};
use namespaces::Namespaces;

const PORT: u16 = 4123;

/// A node in a namespace, with a runtime folder of its own so that only the network can lead to it.
fn start(namespaces: &Namespaces, lab: &Lab, node: usize, words: &[&str]) -> Daemon {
    let command = namespaces.exec(node, env!("CARGO_BIN_EXE_llts"));
    lab.start_by(command, PORT, &format!("n{node}"), words)
}

#[test]
fn nodes_on_a_lan_find_each_other_by_name_service_and_agree_only_with_the_key() {
    let namespaces = match Namespaces::new(3, 1) {
        Ok(namespaces) => namespaces,
        Err(why) => return println!("skipped: {why}"),
    };
    let labs = [Lab::new(), Lab::new(), Lab::new()];
    let key = |n: usize| labs[n].path().join("cluster.key");
    let made = llts(&["keygen", "--out", key(0).to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(std::fs::metadata(key(0)).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::copy(key(0), key(1)).unwrap();
    assert!(llts(&["keygen", "--out", key(2).to_str().unwrap()]).status.success());

    let nodes: Vec<Daemon> = (0..3)
        .map(|n| {
            let drift = format!("--virtual-drift={}ppm", 20 * n as i32 - 15);
            let offset = format!("--virtual-offset={}ms", 4 * n as i32 - 5);
            let listen = format!("--listen-addr={}:{PORT}", namespaces.ipv4(n, 0));
            let file = key(n);
            start(&namespaces, &labs[n], n, &[&drift, &offset, &listen, "--key-file", file.to_str().unwrap()])
        })
        .collect();
    let pair = [&nodes[0], &nodes[1]];
    wait_for("two nodes with one key agree", 20.0, || {
        pair.iter().all(|n| n.used_peers() == 1) && worst_distance_ns(&pair).is_some_and(|d| d < 100_000.0)
    });
    wait_for("the third is found but not let in", 10.0, || nodes[2].counter("rejected_bad_mac") > 0);
    assert_eq!(nodes[2].used_peers(), 0);
    assert_eq!(nodes[2].status().unwrap().state, "unset");
}

#[test]
fn a_node_bound_beyond_loopback_without_a_key_refuses_to_start() {
    let output = llts(&["run", "--listen-addr", "0.0.0.0:4123"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("llts keygen"), "{text}");
}
