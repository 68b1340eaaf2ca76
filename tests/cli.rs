//! The command line as a user meets it: what is wrong is told in one sentence, with the exit code of its kind, before
//! anything is started; status and keygen do what their help says. No daemon runs here.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

fn llts(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llts")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// The one sentence that a failed command said, with its exit code.
fn fault(words: &[&str]) -> (String, i32) {
    let output = llts(words);
    let text = String::from_utf8(output.stderr).unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("{words:?} was ended by a signal: {text}"));
    assert_ne!(code, 0, "{words:?} succeeded");
    assert!(output.stdout.is_empty(), "{words:?} printed {:?}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(text.lines().count(), 1, "{words:?} said {text:?}");
    for noise in ["panicked", "RUST_BACKTRACE", "backtrace", "Error {", "Os {"] {
        assert!(!text.contains(noise), "{words:?} said {text:?}");
    }
    let sentence = text.trim_end().strip_prefix("llts: ").unwrap_or_else(|| panic!("{words:?} said {text:?}"));
    (sentence.to_owned(), code)
}

#[test]
fn what_is_wrong_with_the_words_is_one_sentence_and_exit_code_2() {
    for (line, part) in [
        ("--port 0", "--port"),
        ("--port 65536", "--port"),
        ("--prot 4123", "did you mean '--port'?"),
        ("run --frobnicate", "unexpected argument '--frobnicate'"),
        ("frobnicate", "frobnicate"),
        ("run --listen-addr nowhere", "\"nowhere\" is no address to listen on"),
        ("run --listen-addr 300.0.0.1:4123", "is no address to listen on"),
        ("run --listen-addr 0.0.0.0:4123", "needs a key: make one with `llts keygen"),
        ("run --listen-addr :4123", "needs a key"),
        ("run --listen-addr [::]:4123", "needs a key"),
        ("run --hmac-key secret", "a key has at least 16"),
        ("run --hmac-key HEX:00", "a key has at least 16"),
        ("run --key-file /nonexistent/keys", "cannot read the key file /nonexistent/keys"),
        ("run --key-file /", "is not a regular file"),
        ("run --peers 192.0.2.1:4123", "is not on this machine"),
        ("run --peers host:port", "has no valid port"),
        ("run --peers 2001:db8::1", "write it in brackets"),
        ("run --rate 0", "exchanges a second"),
        ("run --rate fast", "is no number of exchanges a second"),
        ("run --rounds 0", "--rounds"),
        ("run --role king", "possible values: peer, reference, observer"),
        ("run --algorithm astrology", "possible values: rce"),
        ("run --clock sundial", "possible values: virtual, system"),
        ("run --clock system --virtual-drift 1ppm", "virtual clock only"),
        ("run --virtual-offset 10", "write a number and ns, us, ms or s"),
        ("run --virtual-drift 1000ppm", "more than any working oscillator drifts"),
        ("run --sched fifo:100", "fifo:N with N from 1 to 99"),
        ("run --log-level loud", "is no log level"),
        ("run --cpu first", "--cpu"),
        ("run --poll-mode lazy", "possible values: auto, busy, hybrid, block"),
        ("run --key-file a --hmac-key 0123456789abcdef", "cannot be used with"),
        ("demo --nodes 1", "--nodes"),
        ("demo --seconds 3", "--seconds"),
        ("demo --nodes 3 --kill-restart 4", "names a node from 1 to 3"),
        ("keygen --id 0", "--id"),
        ("status --port 8080", "--port"),
        ("status --watch 0", "too short"),
        ("run --config /nonexistent/llts.toml", "cannot read the configuration file /nonexistent/llts.toml"),
        ("check-config /nonexistent/llts.toml", "cannot read the configuration file /nonexistent/llts.toml"),
        ("run --mlock=perhaps", "invalid value 'perhaps' for '--mlock"),
        ("run --metrics localhost:9124", "is no place for metrics"),
        ("waitsync --bound 1", "write a number and ns, us, ms or s"),
        ("completions tcsh", "possible values: bash"),
    ] {
        let (sentence, code) = fault(&line.split(' ').collect::<Vec<_>>());
        assert!(sentence.contains(part), "{line}: {sentence}");
        assert_eq!(code, 2, "{line}: {sentence}");
    }
}

#[test]
fn a_bound_that_has_no_limit_to_be_held_against_is_refused_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sharp.toml");
    let file = path.to_str().unwrap();
    // Either would take hours to run.
    for (link, place) in [("", "line 4: "), ("[[edge]]\npart = 1.0\nlink = {}\n", ", seed 1: ")] {
        let text = format!("summary = 'x'\nduration = '1000d'\n[bounds]\nratio = 1.2\n{link}");
        fs::write(&path, text).unwrap();
        let (sentence, code) = fault(&["sim", file]);
        assert_eq!(code, 2, "{sentence}");
        assert!(sentence.contains(place), "{sentence}");
        assert!(sentence.contains("bounds.ratio has no limit to be held against (a link has no noise)"), "{sentence}");
    }
}

#[test]
fn a_key_file_that_others_can_read_is_refused_and_the_sentence_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let file = path.to_str().unwrap();
    assert!(llts(&["keygen", "--out", file]).status.success());
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let (sentence, code) = fault(&["run", "--key-file", file]);
    assert_eq!(code, 2);
    assert!(sentence.ends_with(&format!("run `chmod 600 {file}`")), "{sentence}");
}

#[test]
fn a_faulty_line_of_a_key_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    fs::write(&path, "# keys\n1 HEX:0011\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let (sentence, code) = fault(&["run", "--key-file", path.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(sentence.contains("is wrong in line 2: the key has 2 bytes"), "{sentence}");
}

#[test]
fn keygen_makes_a_private_file_and_never_replaces_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let file = path.to_str().unwrap();
    let made = llts(&["keygen", "--id", "7", "--out", file]);
    assert!(made.status.success());
    let text = fs::read_to_string(&path).unwrap();
    let secret = text.lines().last().unwrap().strip_prefix("7 HEX:").unwrap();
    assert!(!out(&made).contains(secret), "the key is in the file and nowhere else");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

    let (sentence, code) = fault(&["keygen", "--out", file]);
    assert_eq!(code, 1);
    assert!(sentence.contains("exists and is left as it is"), "{sentence}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn keygen_without_a_file_prints_a_key_file_and_nothing_else_and_another_one_each_time() {
    let keys: Vec<String> = (0..2).map(|_| out(&llts(&["keygen"])).to_owned()).collect();
    for key in &keys {
        let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].strip_prefix("1 HEX:").unwrap().len(), 64);
    }
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn help_and_version_are_printed_and_are_no_failure() {
    for words in [&["--help"][..], &["run", "--help"], &["demo", "-h"], &["help", "status"]] {
        let output = llts(words);
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}");
        assert!(out(&output).contains("Usage:"), "{words:?}");
    }
    assert_eq!(out(&llts(&["--version"])), concat!("llts ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// A document as a daemon gives it.
fn document() -> Value {
    json!({
        "node": "a", "cluster": "default", "state": "track", "role": "peer",
        "clock": { "kind": "virtual", "offset_ns": 310.0, "frequency_ppb": -20123.0 },
        "sigma_ns": 230.0, "bound_ns": null, "algorithm": "rce", "poll_mode": "hybrid", "cpu": null,
        "listen": "127.0.0.1:8080", "pid": 4242, "version": "0.1.0", "uptime_s": 200.0,
        "peers": [{
            "name": "b", "address": "127.0.0.1:8081", "state": "used", "reason": "", "role": "peer",
            "offset_ns": -1240.0, "delay_ns": 23400.0, "sigma_ns": 180.0, "bound_ns": 12000.0,
            "rx_stamp": "kernel", "tx_stamp": "kernel", "reach": 255
        }],
        "counters": { "exchanges": 1600 }
    })
}

/// Listens at `path` as a daemon does: one line in, `answer` out, end. Ends with the test's process.
fn daemon(path: &Path, answer: String) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let (mut question, mut byte) = (Vec::new(), [0]);
            while client.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
                question.push(byte[0]);
            }
            // A client that only looks whether somebody is here asks nothing.
            if question == b"status" {
                client.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
}

#[test]
fn status_shows_the_only_daemon_of_the_folder_as_text_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    daemon(&dir.path().join("a.sock"), document().to_string());
    // What a killed daemon leaves behind, and what is none of ours.
    drop(UnixListener::bind(dir.path().join("dead.sock")).unwrap());
    fs::write(dir.path().join("local.key"), "").unwrap();
    let folder = dir.path().to_str().unwrap();

    let text = llts(&["status", "--runtime-dir", folder]);
    assert!(text.status.success(), "{text:?}");
    for part in
        ["track", "offset +310 ns", "-1.24 us", "kernel/kernel", "377", "positive means that the local clock is ahead"]
    {
        assert!(out(&text).contains(part), "{part} is missing:\n{}", out(&text));
    }

    let json = llts(&["status", "--json", "--runtime-dir", folder]);
    assert_eq!(serde_json::from_str::<Value>(out(&json)).unwrap(), document());
}

#[test]
fn status_of_several_daemons_lists_them_and_takes_the_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a.sock", "b.sock"].map(|name| dir.path().join(name));
    paths.iter().for_each(|path| daemon(path, document().to_string()));
    let (sentence, code) = fault(&["status", "--runtime-dir", dir.path().to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(sentence.contains("choose one with --socket"), "{sentence}");
    assert!(paths.iter().all(|path| sentence.contains(path.to_str().unwrap())), "{sentence}");
    assert!(llts(&["status", "--socket", paths[1].to_str().unwrap()]).status.success());
}

#[test]
fn status_where_no_daemon_runs_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let (sentence, code) = fault(&["status", "--runtime-dir", folder]);
    assert_eq!(code, 1);
    assert!(sentence.starts_with("no llts daemon is running here (looked in "), "{sentence}");
    assert!(sentence.contains(folder) && sentence.ends_with("start one with `llts run`"), "{sentence}");

    for name in ["none.sock", &"x".repeat(200)] {
        let (sentence, code) = fault(&["status", "--socket", dir.path().join(name).to_str().unwrap()]);
        assert_eq!(code, 1);
        assert!(sentence.starts_with("no llts daemon answers at "), "{sentence}");
    }
}

#[test]
fn status_of_a_daemon_that_talks_nonsense_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    for (name, answer) in [("empty", String::new()), ("other", "{\"node\":1}".into()), ("cut", "{\"node\"".into())] {
        let path = dir.path().join(name);
        daemon(&path, answer);
        let (sentence, code) = fault(&["status", "--socket", path.to_str().unwrap()]);
        assert_eq!(code, 1);
        assert!(sentence.contains("no answer that this llts understands"), "{sentence}");
    }
}

#[test]
fn status_of_a_daemon_that_does_not_answer_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mute.sock");
    // Bound and listening, and nobody ever accepts.
    let _mute = UnixListener::bind(&path).unwrap();
    let began = Instant::now();
    let (sentence, code) = fault(&["status", "--socket", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(sentence.contains("does not answer"), "{sentence}");
    // Its patience is two seconds; the rest is a busy machine's.
    assert!(began.elapsed() < Duration::from_secs(30));
}
