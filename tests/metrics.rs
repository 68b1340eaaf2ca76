//! The endpoint for monitoring of real daemons: what it serves is held to the two text formats by a strict reader, its
//! names to those that docs/monitoring uses, and slow, idle and hostile connections do no harm.

mod daemons;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use daemons::{Daemon, Lab, wait_for};

/// One sample as it stands in the text.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// One family.
#[derive(Clone, Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    samples: Vec<Sample>,
}

/// Reads an exposition and refuses whatever the format does not allow (Prometheus 0.0.4; OpenMetrics 1.0, the stricter
/// one, where `open` is set).
fn read(text: &str, open: bool) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut series = BTreeSet::new();
    let body = match (open, text.strip_suffix("# EOF\n")) {
        (true, Some(body)) => body,
        (true, None) => return Err("does not end with # EOF".into()),
        (false, _) => text,
    };
    if !body.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    for line in body.lines() {
        let fault = |what: &str| format!("{what}: {line}");
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').ok_or_else(|| fault("no comment of the format"))?;
            let (name, text) = rest.split_once(' ').ok_or_else(|| fault("nothing is said"))?;
            if name != current {
                if families.contains_key(name) {
                    return Err(fault("the family comes twice"));
                }
                current = name.to_owned();
                families.insert(current.clone(), Family::default());
            }
            let family = families.get_mut(name).unwrap();
            if !family.samples.is_empty() {
                return Err(fault("said after the first sample"));
            }
            let place = match word {
                "TYPE" if ["counter", "gauge", "histogram"].contains(&text) => &mut family.kind,
                "UNIT" if open && name.ends_with(&format!("_{text}")) => &mut family.unit,
                "HELP" if !text.is_empty() => &mut family.help,
                _ => return Err(fault("not allowed")),
            };
            if !std::mem::replace(place, text.to_owned()).is_empty() {
                return Err(fault("said twice"));
            }
            continue;
        }
        let sample = sample(line).ok_or_else(|| fault("no sample"))?;
        let family = families.get_mut(&current).ok_or_else(|| fault("of no family"))?;
        if family.kind.is_empty() || family.help.is_empty() {
            return Err(fault("without type and help"));
        }
        let suffixes: &[&str] = match (family.kind.as_str(), open) {
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter", true) => &["_total"],
            _ => &[""],
        };
        if !suffixes.iter().any(|suffix| sample.name == format!("{current}{suffix}")) {
            return Err(fault("belongs to another family"));
        }
        if !series.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(fault("the series comes twice"));
        }
        if family.kind != "gauge" && sample.value < 0.0 {
            return Err(fault("a negative count"));
        }
        family.samples.push(sample);
    }
    for (name, family) in &families {
        if family.kind == "counter" && !open && !name.ends_with("_total") {
            return Err(format!("the counter {name} is not called _total"));
        }
        if family.kind == "histogram" {
            histogram(name, family)?;
        }
    }
    Ok(families)
}

fn histogram(name: &str, family: &Family) -> Result<(), String> {
    let buckets: Vec<&Sample> = family.samples.iter().filter(|s| s.name.ends_with("_bucket")).collect();
    let le = |s: &Sample| match s.labels.as_slice() {
        [(label, text)] if label == "le" && text == "+Inf" => Some(f64::INFINITY),
        [(label, text)] if label == "le" => text.parse().ok(),
        _ => None,
    };
    let bounds: Vec<f64> = buckets.iter().map(|s| le(s)).collect::<Option<_>>().ok_or(format!("{name}: a bad le"))?;
    let one = |suffix: &str| family.samples.iter().find(|s| s.name == format!("{name}{suffix}")).map(|s| s.value);
    let (sum, count) = (one("_sum").ok_or("no sum")?, one("_count").ok_or("no count")?);
    let rising = bounds.windows(2).all(|w| w[0] < w[1]) && buckets.windows(2).all(|w| w[0].value <= w[1].value);
    let ends = bounds.last() == Some(&f64::INFINITY) && buckets.last().map(|s| s.value) == Some(count);
    if rising && ends && sum >= 0.0 && (count > 0.0 || sum == 0.0) {
        Ok(())
    } else {
        Err(format!("the histogram {name} is not cumulative: {family:?}"))
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let name = &line[..name_end];
    let word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !text.starts_with(|c: char| c.is_ascii_digit())
    };
    if !word(name) {
        return None;
    }
    let mut labels = Vec::new();
    let mut rest = &line[name_end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut letters = after.char_indices();
            let end = loop {
                match letters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match letters.next()?.1 {
                        'n' => '\n',
                        letter @ ('\\' | '"') => letter,
                        _ => return None,
                    }),
                    (_, letter) => value.push(letter),
                }
            };
            if !word(label) || labels.iter().any(|(other, _)| other == label) {
                return None;
            }
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match (rest.strip_prefix(','), rest.strip_prefix('}')) {
                (Some(more), _) => rest = more,
                (_, Some(after)) => {
                    rest = after;
                    break;
                }
                _ => return None,
            }
        }
    }
    let value = rest.strip_prefix(' ')?;
    let plain = value.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'e' | b'+'));
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok().filter(|_| plain)? })
}

fn free_tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks with these words; head and body of what comes.
fn ask(port: u16, request: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned()))
}

fn scrape(port: u16, accept: &str) -> Option<String> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: {accept}\r\n\r\n");
    let (head, body) = ask(port, &request)?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let open = accept.contains("openmetrics");
    assert_eq!(head.contains("application/openmetrics-text; version=1.0.0"), open, "{head}");
    Some(body)
}

fn value(families: &BTreeMap<String, Family>, family: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |s: &&Sample| labels.iter().all(|(k, v)| s.labels.iter().any(|(label, text)| label == k && text == v));
    let found = families.get(family).unwrap_or_else(|| panic!("no family {family}"));
    found.samples.iter().find(fits).unwrap_or_else(|| panic!("{family} {labels:?}: {found:?}")).value
}

fn pair(lab: &Lab) -> ([Daemon; 2], u16) {
    let port = free_tcp_port();
    let nodes =
        [lab.start("a \"quoted\"", &["--virtual-offset=2ms"]), lab.start("b", &["--metrics", &port.to_string()])];
    wait_for("they agree", 30.0, || nodes.iter().all(|n| n.used_peers() == 1));
    (nodes, port)
}

#[test]
fn what_is_served_is_what_both_formats_demand_and_what_the_status_says() {
    let lab = Lab::new();
    let (nodes, port) = pair(&lab);
    let served = |open: bool| {
        let accept = if open { "application/openmetrics-text;version=1.0.0" } else { "text/plain" };
        let text = scrape(port, accept).unwrap();
        read(&text, open).unwrap_or_else(|fault| panic!("{fault}\n{text}"))
    };
    // Histograms are handed over once a second.
    wait_for("a bound", 20.0, || nodes[1].status().is_some_and(|status| status.bound_ns.is_some()));
    wait_for("histograms", 20.0, || value(&served(false), "llts_path_delay_seconds", &[("le", "+Inf")]) > 0.0);
    let families = served(false);
    let open = served(true);
    let names = |families: &BTreeMap<String, Family>| -> BTreeSet<String> {
        families.keys().map(|name| name.trim_end_matches("_total").to_owned()).collect()
    };
    assert_eq!(names(&families), names(&open));
    assert!(open.values().any(|family| family.unit == "seconds"));

    let peer = [("peer", "a \"quoted\"")];
    assert!(value(&families, "llts_peer_offset_seconds", &peer).abs() < 0.01);
    assert_eq!(value(&families, "llts_peer_state", &[peer[0], ("state", "used"), ("reason", "")]), 1.0);
    assert!(value(&families, "llts_peer_delay_seconds", &peer) > 0.0);
    assert!(value(&families, "llts_peer_error_bound_seconds", &peer) > 0.0);
    assert!(value(&families, "llts_clock_error_bound_seconds", &[]) > 0.0);
    assert!(value(&families, "llts_cluster_max_skew_seconds", &[]) < 0.01);
    assert!(families.contains_key("llts_clock_frequency_ppb"));
    assert!(value(&families, "llts_timestamps_total", &[("dir", "rx"), ("kind", "kernel")]) > 0.0);
    assert!(value(&families, "llts_packets_total", &[("result", "accepted")]) > 0.0);
    assert_eq!(value(&families, "llts_node_state", &[("state", "track")]), 1.0);
    for name in ["llts_turnaround_seconds", "llts_ring_latency_seconds", "llts_tick_lateness_seconds"] {
        assert!(value(&families, name, &[("le", "+Inf")]) > 0.0, "{name}");
    }
    // Counters go on counting over several scrapes, histograms too.
    let later = || served(false);
    wait_for("they grow", 20.0, || {
        value(&later(), "llts_path_delay_seconds", &[("le", "+Inf")])
            > value(&families, "llts_path_delay_seconds", &[("le", "+Inf")])
    });
    assert!(nodes[1].log().contains(&format!("metrics are at http://127.0.0.1:{port}/metrics")));
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_exist() {
    let lab = Lab::new();
    let (_nodes, port) = pair(&lab);
    let text = scrape(port, "text/plain").unwrap();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (name, family) in read(&text, false).unwrap() {
        if family.kind == "histogram" {
            known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
        known.insert(name);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    for file in ["grafana-dashboard.json", "alerts.yml", "alerts_test.yml"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("llts_")).collect();
        let unknown: Vec<_> = asked.iter().filter(|name| !known.contains(**name)).collect();
        assert!(asked.len() > 5 && unknown.is_empty(), "{file} asks for {unknown:?}");
    }
    serde_json::from_str::<serde_json::Value>(&fs::read_to_string(folder.join("grafana-dashboard.json")).unwrap())
        .unwrap();
}

#[test]
fn a_hundred_idle_and_slow_connections_and_nonsense_keep_nobody_from_scraping_and_the_node_from_nothing() {
    let lab = Lab::new();
    let (nodes, port) = pair(&lab);
    let before = (nodes[1].resident_bytes(), nodes[1].counter("ring_dropped"));
    // Some never ask, some ask by the letter, some never read what they asked for.
    let mut open: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    assert_eq!(open.len(), 100);
    let until = Instant::now() + Duration::from_secs(3);
    let mut scrapes = 0;
    while Instant::now() < until {
        for (n, stream) in open.iter_mut().enumerate() {
            // Most of them have been shown out by now, which is what they are told here.
            let _shown_out = match n % 3 {
                0 => Ok(0),
                1 => stream.write(b"G"),
                _ => stream.write(b"GET /metrics HTTP/1.1\r\n\r\n"),
            };
        }
        // A connection may lose its place to one of the hundred before it is read: the next one gets through.
        scrapes += usize::from(scrape(port, "text/plain").is_some());
        assert_eq!(nodes[1].used_peers(), 1);
    }
    assert!(scrapes >= 3, "{scrapes} scrapes came through");
    let too_long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(10_000));
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "405 Method Not Allowed"),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", "404 Not Found"),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403 Forbidden"),
        ("\u{1}\u{2}\r\n\r\n", "400 Bad Request"),
    ] {
        let (head, _) = ask(port, request).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {head}");
        for header in ["Content-Security-Policy: default-src 'none'", "X-Content-Type-Options: nosniff", "no-store"] {
            assert!(head.contains(header), "{header}: {head}");
        }
    }
    // Answered, or cut off in the middle of saying too much.
    assert!(ask(port, &too_long).is_none_or(|(head, _)| head.starts_with("HTTP/1.1 431 ")));
    let grown = nodes[1].resident_bytes().saturating_sub(before.0);
    assert!(grown < 3_000_000, "grew by {grown} bytes");
    assert_eq!(nodes[1].counter("ring_dropped"), before.1);
    drop(open);
    wait_for("descriptors are given back", 20.0, || nodes[1].descriptors() < 40);
}

#[test]
fn without_the_option_nothing_listens_and_a_taken_port_is_one_sentence() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = lab.run(daemons::free_port(), "a", &["--metrics", &port.to_string()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("cannot listen for monitoring at 127.0.0.1:{port} (--metrics)")), "{text}");
    let node = lab.start("b", &[]);
    wait_for("it answers", 20.0, || node.status().is_some());
    let listening = fs::read_to_string(format!("/proc/{}/net/tcp", node.pid())).unwrap();
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{}/fd", node.pid()))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let own =
        listening.lines().filter(|line| line.split_whitespace().nth(9).is_some_and(|i| inodes.contains(&i.into())));
    assert_eq!(own.count(), 0, "no TCP socket without --metrics");
}

#[test]
fn the_strict_reader_refuses_what_the_formats_forbid() {
    let good = "# TYPE a_total counter\n# HELP a_total x\na_total{l=\"v\"} 1\n";
    assert!(read(good, false).is_ok());
    for (from, to) in [
        ("a_total{", "b_total{"),
        ("\"v\"", "\"v"),
        ("\"v\"", "\"\\v\""),
        ("} 1", "} one"),
        ("} 1", "} -1"),
        ("} 1", "} NaN"),
        ("} 1\n", "} 1\na_total{l=\"v\"} 2\n"),
        ("} 1\n", "} 1\n# HELP a_total y\n"),
        ("counter", "number"),
        ("# HELP a_total x\n", ""),
        ("} 1\n", "} 1"),
        ("l=", "1="),
    ] {
        assert!(read(&good.replacen(from, to, 1), false).is_err(), "{from} -> {to}");
    }
    assert!(read(good, true).is_err(), "no # EOF");
    let wrong = "# TYPE h histogram\n# HELP h x\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
    assert!(read(wrong, false).is_err());
    assert!(read(&wrong.replace("} 2", "} 1"), false).is_ok());
}
