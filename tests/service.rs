//! What a real daemon tells a service manager: up, reading its configuration again, alive, ending.

mod daemons;

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use daemons::{Lab, free_port, wait_for};
use nix::sys::signal::Signal;

/// All that is told until `holds`, a line each.
fn heard(socket: &UnixDatagram, until: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    let began = Instant::now();
    let mut bytes = [0; 4096];
    while !until(&lines) {
        assert!(began.elapsed() < Duration::from_secs(30), "not heard within 30 s: {lines:?}");
        if let Ok(len) = socket.recv(&mut bytes) {
            lines.extend(std::str::from_utf8(&bytes[..len]).unwrap().lines().map(str::to_owned));
        }
    }
    lines
}

#[test]
fn a_service_manager_hears_that_the_node_is_up_alive_reloading_and_ending() {
    let lab = Lab::new();
    let path = lab.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llts"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "600000").env_remove("WATCHDOG_PID");
    let mut node = lab.start_by(command, free_port(), "a", &[]);
    let said = |line: &'static str| move |lines: &[String]| lines.iter().any(|l| l == line);
    heard(&socket, said("READY=1"));
    assert!(node.status().is_some(), "up means that it can be asked");
    heard(&socket, |lines| lines.iter().filter(|l| *l == "WATCHDOG=1").count() == 3);
    let other = lab.start("b", &[]);
    heard(&socket, |lines| lines.iter().any(|l| l.starts_with("STATUS=track, 1 peer used")));
    node.signal(Signal::SIGHUP);
    let lines = heard(&socket, said("READY=1"));
    assert!(said("RELOADING=1")(&lines) && lines.iter().any(|l| l.starts_with("MONOTONIC_USEC=")), "{lines:?}");
    node.signal(Signal::SIGTERM);
    heard(&socket, said("STOPPING=1"));
    assert_eq!(node.exit_code(), Some(0));
    drop(other);
}

#[test]
fn log_lines_are_for_people_the_journal_or_programs() {
    let lab = Lab::new();
    for (form, good) in [
        ("journal", (|line| line.starts_with("<6>") || line.starts_with("<4>")) as fn(&str) -> bool),
        ("json", |line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            value["level"].is_string() && value["message"].is_string() && value["timestamp"].is_string()
        }),
        ("text", |line| line.starts_with("20") && (line.contains(" INFO ") || line.contains(" WARN "))),
    ] {
        let node = lab.start(form, &["--log-format", form, "--no-discovery"]);
        wait_for("it has said something", 20.0, || node.log().contains("listens on"));
        let log = node.log();
        assert!(log.lines().all(good), "{form}: {log}");
    }
}
