//! What `llts status`, `llts peers`, `llts tracking` and `llts waitsync` show of real daemons, against the schemas that
//! docs/schema promises to programs.

mod daemons;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use daemons::{Daemon, Lab, free_port, llts, wait_for};
use serde_json::{Value, json};

/// Where `document` is not what `schema` says (the words of JSON Schema 2020-12 that ours use); a word that is not
/// known here is a fault too, so that no promise goes unchecked.
fn faults(root: &Value, schema: &Value, document: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        let fault = |what: String| vec![format!("{at}: {what}")];
        found.extend(match word.as_str() {
            "$schema" | "title" | "description" | "$defs" => vec![],
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                faults(root, &root["$defs"][name], document, at)
            }
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => document.is_object(),
                    "array" => document.is_array(),
                    "string" => document.is_string(),
                    "number" => document.is_number(),
                    "integer" => document.is_u64() || document.is_i64(),
                    "null" => document.is_null(),
                    other => panic!("no such type: {other}"),
                };
                let fits = rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is));
                if fits { vec![] } else { fault(format!("{document} is not of type {rule}")) }
            }
            "enum" if rule.as_array().unwrap().contains(document) => vec![],
            "enum" => fault(format!("{document} is none of {rule}")),
            "minimum" if document.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()) => vec![],
            "maximum" if document.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()) => vec![],
            "minimum" | "maximum" => fault(format!("{document} is beyond {word} {rule}")),
            "required" => {
                let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                names
                    .filter(|name| document.get(name).is_none())
                    .flat_map(|n| fault(format!("{n} is missing")))
                    .collect()
            }
            "properties" => {
                let named = rule.as_object().unwrap().iter();
                named
                    .filter_map(|(name, rule)| Some((rule, document.get(name)?, format!("{at}.{name}"))))
                    .flat_map(|(rule, value, at)| faults(root, rule, value, &at))
                    .collect()
            }
            "additionalProperties" => {
                let known = |name: &str| schema.get("properties").is_some_and(|named| named.get(name).is_some());
                let others = document.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
                match rule {
                    Value::Bool(false) => others.flat_map(|(n, _)| fault(format!("{n} is not promised"))).collect(),
                    rule => others.flat_map(|(n, v)| faults(root, rule, v, &format!("{at}.{n}"))).collect(),
                }
            }
            "items" => {
                let items = document.as_array().into_iter().flatten().enumerate();
                items.flat_map(|(n, item)| faults(root, rule, item, &format!("{at}[{n}]"))).collect()
            }
            other => fault(format!("this test does not know the word {other}")),
        });
    }
    found
}

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schema/{name}.schema.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn shown(lab: &Lab, node: &Daemon, words: &[&str]) -> String {
    let socket = lab.path().join(format!("llts-{}.sock", node.port));
    let output = llts(&[words, &["--socket", socket.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn holds(name: &str, text: &str) {
    let schema = schema(name);
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
    assert_eq!(faults(&schema, &schema, &document, name), [""; 0], "{text}");
}

#[test]
fn real_documents_are_what_the_schemas_promise_from_the_first_moment_to_agreement() {
    let lab = Lab::new();
    let nobody = format!("--peers=127.0.0.1:{}", free_port());
    let node = lab.start("a", &[&nobody, "--virtual-offset=3ms"]);
    wait_for("it answers", 20.0, || node.status().is_some());
    for name in ["status", "peers", "tracking"] {
        holds(name, &shown(&lab, &node, &[name, "--json"]));
    }
    let others = [lab.start("b", &[]), lab.start("c", &["--role=observer"])];
    wait_for("they agree", 30.0, || node.used_peers() == 1 && others[0].used_peers() == 1);
    for name in ["status", "peers", "tracking"] {
        for node in [&node, &others[0], &others[1]] {
            holds(name, &shown(&lab, node, &[name, "--json"]));
        }
    }
    // Every peer that is not used says why: the observer, and the one that nobody ever heard.
    let peers: Value = serde_json::from_str(&shown(&lab, &node, &["sources", "--json"])).unwrap();
    let peers = peers["peers"].as_array().unwrap();
    let reason_is_there = |peer: &Value| (peer["state"] == "used") == peer["reason"].as_str().unwrap().is_empty();
    assert!(peers.len() == 3 && peers.iter().all(reason_is_there), "{peers:?}");
    let text = shown(&lab, &node, &["peers"]);
    for part in ["it only observes", "no sealed answer has come from there yet", "positive means that the local clock"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = shown(&lab, &node, &["tracking"]);
    for part in ["1 of 3 peers used", "\nskew ", "\nbound ", "\nfurthest   b, ", "(an estimate"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

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

#[test]
fn a_watched_view_comes_again_and_again_one_document_a_line() {
    let lab = Lab::new();
    let node = lab.start("a", &[]);
    wait_for("it answers", 20.0, || node.status().is_some());
    let file = lab.path().join("watched");
    let socket = lab.path().join(format!("llts-{}.sock", node.port));
    let mut watching = Command::new(env!("CARGO_BIN_EXE_llts"))
        .args(["tracking", "--json", "--watch", "50ms", "--socket", socket.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    wait_for("four documents", 30.0, || fs::read_to_string(&file).unwrap().lines().count() >= 4);
    watching.kill().unwrap();
    watching.wait().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    text.lines().take(3).for_each(|line| holds("tracking", line));
}

fn waitsync(lab: &Lab, node: &Daemon, words: &[&str]) -> (i32, String) {
    let socket = lab.path().join(format!("llts-{}.sock", node.port));
    said(&llts(&[&["waitsync", "--socket", socket.to_str().unwrap()], words].concat()))
}

fn said(output: &Output) -> (i32, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn waitsync_ends_with_0_at_the_bound_1_too_late_and_2_where_there_is_nothing_to_wait_for() {
    let lab = Lab::new();
    let alone = Lab::new();
    let lonely = alone.start("lonely", &[]);
    let nodes = [lab.start("a", &["--virtual-offset=5ms"]), lab.start("b", &[])];
    let observer = lab.start("o", &["--role=observer"]);
    for node in nodes.iter().chain([&lonely, &observer]) {
        wait_for("it answers", 20.0, || node.status().is_some());
    }
    let (code, text) = waitsync(&lab, &nodes[0], &["--bound", "2ms", "--timeout", "40s"]);
    assert_eq!(code, 0, "{text}");
    let status = nodes[0].status().unwrap();
    assert!(status.state == "track" && status.bound_ns.unwrap() <= 2e6, "ready means the bound: {status:?}");

    let (code, text) = waitsync(&lab, &nodes[0], &["--bound", "1ns", "--timeout", "300ms"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no bound of 1.00 ns within 300 ms: state track, bound "), "{text}");
    let (code, text) = waitsync(&alone, &lonely, &["--timeout", "0"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("state unset, bound -"), "{text}");

    let (code, text) = waitsync(&lab, &observer, &["--timeout", "40s"]);
    assert_eq!((code, text.contains("it is an observer")), (2, true), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let (code, text) = said(&llts(&["waitsync", "--runtime-dir", empty.path().to_str().unwrap()]));
    assert_eq!((code, text.contains("no llts daemon is running here")), (2, true), "{text}");
    let (code, text) = said(&llts(&["waitsync", "--runtime-dir", lab.path().to_str().unwrap()]));
    assert_eq!((code, text.contains("choose one with --socket")), (2, true), "{text}");
    // A daemon that is gone may be starting again: that is waited for.
    let gone = lab.path().join("gone.sock");
    let began = std::time::Instant::now();
    let (code, _) = said(&llts(&["waitsync", "--socket", gone.to_str().unwrap(), "--timeout", "400ms"]));
    assert!(code == 1 && began.elapsed() >= Duration::from_millis(400));
}
