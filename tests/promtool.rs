//! What Prometheus' own tool says of what this project gives it: the text of a real endpoint, the rules for alerts,
//! what they say when something is wrong, and the example of a job. The tool is `promtool` of Debian's package
//! `prometheus`, on the path or named by LLTS_PROMTOOL; where it is not, that is said. (tests/metrics.rs has a reader
//! of its own, which needs no tool.)

mod daemons;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use daemons::{Lab, wait_for};

fn promtool() -> Option<Command> {
    let named = std::env::var_os("LLTS_PROMTOOL").unwrap_or_else(|| OsString::from("promtool"));
    let here = Command::new(&named).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if here.is_err() {
        println!("skipped: there is no promtool here: install prometheus, or name it in LLTS_PROMTOOL");
    }
    here.ok().map(|_| Command::new(named))
}

/// Runs it with these words and this input; all that it says, if it is content.
fn content(mut promtool: Command, words: &[&str], input: &str) -> Result<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    promtool.args(words).current_dir(folder);
    let mut child = promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn promtool_finds_nothing_to_say_about_what_a_real_endpoint_serves() {
    let Some(tool) = promtool() else { return };
    let lab = Lab::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nodes = [lab.start("a \"quoted\\\"", &[]), lab.start("b", &["--metrics", &port.to_string()])];
    wait_for("they agree", 30.0, || nodes.iter().all(|n| n.used_peers() == 1));
    let mut text = String::new();
    wait_for("histograms", 20.0, || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        text.clear();
        stream.read_to_string(&mut text).unwrap();
        !text.contains("llts_path_delay_seconds_count 0\n")
    });
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    // It lints too, and says nothing if there is nothing to say.
    assert_eq!(content(tool, &["check", "metrics"], body), Ok(String::new()), "{body}");
    // And it does see mistakes.
    let wrong = body.replacen("# TYPE llts_uptime_seconds gauge", "# TYPE llts_uptime_seconds counter", 1);
    assert!(content(promtool().unwrap(), &["check", "metrics"], &wrong).is_err());
}

#[test]
fn promtool_takes_rules_and_job_and_every_alert_is_raised_when_it_should_and_only_then() {
    let Some(tool) = promtool() else { return };
    for (tool, words) in [
        (tool, ["check", "rules", "alerts.yml"].as_slice()),
        (promtool().unwrap(), &["check", "config", "--syntax-only", "prometheus.yml"]),
        (promtool().unwrap(), &["test", "rules", "alerts_test.yml"]),
    ] {
        let said = content(tool, words, "").unwrap_or_else(|said| panic!("{words:?}: {said}"));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn every_alert_has_its_example() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    let names = |file: &str, key: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        text.lines().filter_map(|line| line.trim().strip_prefix(key).map(|name| name.trim().to_owned())).collect()
    };
    let alerts = names("alerts.yml", "- alert:");
    assert!(alerts.len() > 5);
    assert_eq!(alerts, names("alerts_test.yml", "- alertname:"));
}
