//! What every command prints with `--json`, as far as it needs no cluster that has agreed, against the schemas that
//! docs/schema promises to programs; those of status, peers and tracking are held by tests/views.rs, those of demo,
//! replay and saturn where those are tested.

mod daemons;
mod schemas;

use std::fs;

use daemons::{Daemon, Lab, free_port, llts, wait_for};
use schemas::{faults, holds};
use serde_json::{Value, json};

#[test]
fn the_checker_of_schemas_finds_each_kind_of_fault() {
    let rule = json!({
        "type": "object", "additionalProperties": false, "required": ["a"],
        "properties": {
            "a": { "type": ["integer", "null"], "minimum": 0, "maximum": 9 },
            "b": { "type": "array", "items": { "$ref": "#/$defs/word" } },
            "c": { "type": "object", "additionalProperties": { "type": "number" } }
        },
        "$defs": { "word": { "type": "string", "enum": ["x", "y"] } }
    });
    for (document, fault) in [
        (json!({"a": null, "b": ["x", "y"], "c": {"n": 1.5}}), ""),
        (json!({}), "a is missing"),
        (json!({"a": 1.5}), "not of type"),
        (json!({"a": -1}), "beyond minimum"),
        (json!({"a": 10}), "beyond maximum"),
        (json!({"a": 1, "d": 1}), "d is not promised"),
        (json!({"a": 1, "b": ["z"]}), "none of"),
        (json!({"a": 1, "c": {"n": "1"}}), "not of type"),
        (json!([]), "not of type"),
    ] {
        let found = faults(&rule, &rule, &document, "it").join("; ");
        assert!(if fault.is_empty() { found.is_empty() } else { found.contains(fault) }, "{document}: {found}");
    }
    let unknown = json!({"pattern": "x"});
    assert_eq!(faults(&unknown, &unknown, &json!("x"), "it").len(), 1);
}

/// What a command printed, and how it ended.
fn ended(words: &[&str]) -> (String, i32) {
    let output = llts(words);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.lines().count() <= 1, "{words:?}: {told}");
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

fn up(lab: &Lab, name: &str, words: &[&str]) -> Daemon {
    let node = lab.start(name, words);
    wait_for("it answers", 20.0, || node.status().is_some());
    node
}

#[test]
fn queries_and_watches_print_what_their_schemas_promise() {
    let lab = Lab::new();
    let (a, b) = (up(&lab, "a", &["--virtual-offset=20ms"]), up(&lab, "b", &[]));
    let (dir, host) = (lab.path().to_str().unwrap(), format!("127.0.0.1:{}", a.port));
    for (words, code) in [(&["--rounds=4"][..], 0), (&["--threshold=1us"], 1), (&["--threshold=1000"], 0)] {
        let (text, ended) = ended(&[&["query", &host, "--json", "--runtime-dir", dir], words].concat());
        holds("query", &text);
        assert_eq!(ended, code, "{text}");
    }
    let peers = format!("{host},127.0.0.1:{},127.0.0.1:{}", b.port, free_port());
    let socket = lab.path().join(format!("llts-{}.sock", a.port));
    let every = ["watch", "--json", "--interval=200ms", "--count=8", "--threshold=1us"];
    for source in [["--peers", &peers, "--runtime-dir", dir].as_slice(), &["--socket", socket.to_str().unwrap()]] {
        let (text, _) = ended(&[&every, source].concat());
        assert_eq!(text.lines().count(), 8, "{text}");
        text.lines().for_each(|line| holds("watch", line));
    }
}

#[test]
fn waitsync_prints_what_its_schema_promises_however_it_ends() {
    let (lab, empty) = (Lab::new(), Lab::new());
    let (node, observer) = (up(&lab, "a", &[]), up(&lab, "o", &["--role=observer"]));
    let _other = up(&lab, "b", &[]);
    let at = |node: &Daemon| lab.path().join(format!("llts-{}.sock", node.port)).to_str().unwrap().to_owned();
    for (outcome, code, words) in [
        ("reached", 0, ["--accept-virtual", "--socket", &at(&node)]),
        ("timeout", 1, ["--accept-virtual", "--socket", &at(&node)]),
        ("never", 2, ["--timeout=60s", "--socket", &at(&node)]),
        ("never", 2, ["--accept-virtual", "--socket", &at(&observer)]),
        ("never", 2, ["--timeout=60s", "--runtime-dir", empty.path().to_str().unwrap()]),
        ("timeout", 1, ["--wait-for-daemon", "--runtime-dir", empty.path().to_str().unwrap()]),
    ] {
        let timeout = if outcome == "timeout" { &["--bound=1ns", "--timeout=300ms"][..] } else { &[] };
        let (text, ended) = ended(&[&["waitsync", "--json"], &words[..], timeout].concat());
        holds("waitsync", &text);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((document["outcome"].as_str(), ended), (Some(outcome), code), "{text}");
    }
}

#[test]
fn findings_about_a_file_and_a_machine_are_what_their_schemas_promise() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("llts.toml");
    for (text, code) in [("peers = \"127.0.0.1:5\"\n", 0), ("prot = 1\n", 2), ("user = \"nobody-there\"\n", 2)] {
        fs::write(&file, text).unwrap();
        let (said, ended) = ended(&["check-config", "--json", file.to_str().unwrap()]);
        holds("check-config", &said);
        let document: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((document["good"].as_bool(), ended), (Some(code == 0), code), "{said}");
        assert_eq!(document["faults"].as_array().unwrap().len(), usize::from(code == 2), "{said}");
    }
    let (text, _) = ended(&["doctor", "--json", "--port", &free_port().to_string()]);
    holds("doctor", &text);
}

#[test]
fn what_simulations_print_is_what_their_schemas_promise() {
    for scenario in ["201", "402"] {
        let (text, ended) = ended(&["sim", scenario, "--json", "--seeds=1"]);
        assert!(ended == 0 && text.lines().count() == 1, "{text}");
        text.lines().for_each(|line| holds("sim", line));
    }
    let (text, code) = ended(&["sim", "--list", "--json"]);
    assert_eq!(code, 0);
    text.lines().for_each(|line| holds("sim-list", line));
    let listed: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = listed.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    let (plain, _) = ended(&["sim", "--list"]);
    let plain: Vec<&str> = plain.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, plain, "the same scenarios are listed in both forms");
    let of = |number: &str| listed.iter().find(|entry| entry["name"].as_str().unwrap().starts_with(number)).unwrap();
    assert_eq!((of("103")["nodes"].as_u64(), of("103")["liars"].as_u64()), (Some(10), Some(0)));
    assert_eq!((of("402")["liars"].as_u64(), of("607")["topology"].as_str()), (Some(3), Some("ring")));
    let (text, ended) = ended(&["compare", "--scenarios=201", "--algorithms=rce,tree", "--seeds=1", "--json"]);
    assert!(ended == 0 && text.lines().count() == 2, "{text}");
    text.lines().for_each(|line| holds("compare", line));
}

/// Names between backticks at the beginning of a row of a table, all of them of one cell.
fn named_in(paper: &str, tables_of: &str) -> std::collections::BTreeSet<String> {
    let mut names = std::collections::BTreeSet::new();
    let (mut inside, mut last) = (false, "");
    for line in paper.lines() {
        if line.starts_with("|---") {
            inside = last.starts_with(&format!("| {tables_of} |"));
        } else if let Some(first) = line.strip_prefix("| ").and_then(|row| row.split(" |").next()).filter(|_| inside) {
            names.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
        } else if !line.starts_with('|') {
            inside = false;
        }
        last = line;
    }
    names
}

#[test]
fn every_counter_and_every_metric_is_explained_and_nothing_else_is() {
    use std::collections::BTreeSet;
    use std::io::{Read, Write};
    let lab = Lab::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nodes = [up(&lab, "a", &["--metrics", &port.to_string()]), up(&lab, "b", &[])];
    // Some metrics are there only when something is known.
    wait_for("they agree", 60.0, || nodes[0].status().is_some_and(|s| s.bound_ns.is_some() && s.state == "track"));
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let metrics: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect();
    let counters: BTreeSet<String> = nodes[0].status().unwrap().counters.into_keys().collect();

    let paper = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md")).unwrap();
    assert_eq!(named_in(&paper, "counter"), counters);
    assert_eq!(named_in(&paper, "metric"), metrics);
    // What alerts and troubleshooting name is there too.
    let other = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATING.md")).unwrap();
    for name in other.split('`').skip(1).step_by(2).filter(|name| name.starts_with("rejected_")) {
        assert!(counters.contains(name), "docs/OPERATING.md speaks of {name}, which nobody counts");
    }
}

#[test]
fn every_word_that_status_and_peers_can_show_is_explained_in_the_papers() {
    use llts::flow::{NodeState, StampClass};
    use llts::pipeline::Standing;
    let paper = |name: &str| fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let operating = paper("OPERATING.md");
    let states = named_in(&operating, "state");
    let row = |word: &str| operating.lines().find(|line| line.starts_with(&format!("| `{word}` |"))).unwrap_or("");
    for standing in Standing::ALL {
        let (word, reason) = (standing.as_str(), standing.reason());
        assert!(states.contains(word), "docs/OPERATING.md has no row for the state {word}");
        assert!(row(word).contains(reason), "docs/OPERATING.md does not have the reason of {word}: {reason}");
    }
    for bits in 0..4 {
        let word = NodeState::from_bits(bits).as_str();
        assert!(states.contains(word), "docs/OPERATING.md has no row for the state {word}");
    }
    // Of a peer that nobody has heard, which no pipeline knows.
    assert!(operating.contains("no sealed answer has come from there yet"));
    assert!(operating.contains("`not-believed`"));
    let known = Standing::ALL.map(Standing::as_str);
    for word in &states {
        let is_state = (0..4).any(|bits| NodeState::from_bits(bits).as_str() == word);
        assert!(is_state || known.contains(&word.as_str()), "docs/OPERATING.md explains {word}, which nothing shows");
    }
    let all = operating + &paper("USING.md") + &paper("WATCH.md") + &paper("HARDWARE.md");
    for class in [StampClass::User, StampClass::Kernel, StampClass::Nic] {
        assert!(all.contains(&format!("`{}`", class.as_str())), "{}", class.as_str());
    }
}
