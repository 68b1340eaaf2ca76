//! Lines of measurement logs, column by column, and what is not to be read back from them.

use super::*;
use crate::flow::{Claim, NodeState, Role, StampClass};
use crate::report::PeerStatus;
use crate::report::status::examples;
use crate::unit::{BootId, Name, NodeId, PeerSlot, RawTime};

/// A peer whose raw clock is `relation_ns` ahead, 1000 ns away in each direction, and whose V is its raw time.
fn exchange(relation_ns: i64) -> (Exchange, Mapping) {
    let mapping = Mapping { epoch: RawTime::from_nanos(0), offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 };
    let claim =
        Claim { state: NodeState::Track, sigma_ns: 40.0, bound_ns: f32::INFINITY, ..Claim::unset(mapping, Role::Peer) };
    let raw = RawTime::from_nanos;
    let exchange = Exchange {
        peer: PeerSlot(3),
        node: NodeId(7),
        boot: BootId(1),
        initiator: true,
        local_sent: raw(10_000),
        remote_received: raw(11_000 + relation_ns),
        remote_sent: raw(13_000 + relation_ns),
        local_received: raw(14_000),
        class: StampClass::Kernel,
        local_rx_class: StampClass::Nic,
        local_tx_class: StampClass::Kernel,
        claim,
    };
    (exchange, mapping)
}

fn named(name: &str) -> PeerIdentity {
    PeerIdentity {
        slot: PeerSlot(3),
        node: NodeId(7),
        boot: BootId(1),
        name: Name::new(name),
        address: "192.0.2.7:4123".parse().unwrap(),
    }
}

#[test]
fn an_exchange_says_how_far_the_local_clock_is_ahead() {
    for relation_ns in [-5_000_000_000_000, -250, 0, 250, 5_000_000_000_000] {
        let (exchange, mut own) = exchange(relation_ns);
        assert_eq!(offset_ns(&exchange, &own), -relation_ns as f64);
        // V set back by as much as the peer is behind agrees with it.
        own.offset_ns = relation_ns;
        assert_eq!(offset_ns(&exchange, &own), 0.0);
        own.offset_ns += 30;
        assert_eq!(offset_ns(&exchange, &own), 30.0, "positive: the local clock is ahead");
    }
}

#[test]
fn lines_have_the_values_of_their_columns_in_both_forms() {
    let (exchange, own) = exchange(-250);
    let line = MeasurementLine::of_exchange(0, &exchange, &own, Some(&named("db,2 \"x\"")));
    let csv = line.text(MeasurementFormat::Csv);
    assert_eq!(
        csv,
        "1970-01-01T00:00:00.000000Z,\"db,2 \"\"x\"\"\",192.0.2.7:4123,true,250.000,2000,kernel,nic,kernel,track,\
         40.000,,10000,10750,12750,14000\n"
    );
    let json: serde_json::Value = serde_json::from_str(&line.text(MeasurementFormat::Jsonl)).unwrap();
    assert_eq!((json["peer"].as_str(), json["offset_ns"].as_f64()), (Some("db,2 \"x\""), Some(250.0)));
    assert!(json["peer_bound_ns"].is_null() && json["initiator"] == true && json["local_received_ns"] == 14_000);

    let status = examples::status();
    let lines: Vec<MeasurementLine> = MeasurementLine::of_peers(0, &status)
        .into_iter()
        .chain([line, MeasurementLine::of_tracking(0, &status)])
        .collect();
    assert_eq!(lines.len(), status.peers.len() + 2);
    for line in lines {
        let names = line.log().columns();
        assert_eq!(line.values.len(), names.len(), "{:?}", line.log());
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&line.text(MeasurementFormat::Jsonl)).unwrap();
        assert!(names.iter().all(|name| object.contains_key(*name)) && object.len() == names.len());
    }
}

#[test]
fn a_slot_that_somebody_else_has_taken_lends_an_exchange_no_name() {
    let (exchange, own) = exchange(0);
    let other = PeerIdentity { node: NodeId(8), ..named("other") };
    let line = MeasurementLine::of_exchange(0, &exchange, &own, Some(&other)).text(MeasurementFormat::Csv);
    assert!(line.starts_with(&format!("1970-01-01T00:00:00.000000Z,{},,true,", exchange.node)), "{line}");
}

#[test]
fn the_calendar_is_the_gregorian_one() {
    for (unix_s, text) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000Z"),
        (951_868_800, "2000-03-01T00:00:00.000000Z"),
        (1_709_164_800, "2024-02-29T00:00:00.000000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
        (1_795_705_207, "2026-11-26T15:00:07.000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
    ] {
        assert_eq!(utc_text(unix_s * 1_000_000_000), text);
    }
    assert_eq!(utc_text(1_999), "1970-01-01T00:00:00.000001Z");
}

fn opened(dir: &std::path::Path, format: MeasurementFormat) -> std::io::Result<MeasurementFile> {
    MeasurementFile::open(dir, MeasurementLog::Tracking, format, "a", "c")
}

#[test]
fn a_file_begins_with_its_banner_and_is_gone_on_with_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    for round in 1..=2 {
        opened(dir.path(), MeasurementFormat::Csv).unwrap().append("1\n").unwrap();
        opened(dir.path(), MeasurementFormat::Jsonl).unwrap().append("{}\n").unwrap();
        let text = read("tracking.csv");
        let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(plain.len(), 1 + round, "the names once, then values: {text}");
        assert_eq!(plain[0], MeasurementLog::Tracking.columns().join(","));
        assert!(text.starts_with("# llts ") && text.contains("positive means that the local clock is ahead"));
        let lines = read("tracking.jsonl");
        let banners = lines.lines().filter(|line| line.contains("\"banner\":\"llts ")).count();
        assert_eq!((banners, lines.lines().count()), (round, 2 * round));
    }
}

#[test]
fn a_file_that_was_moved_away_is_made_anew_and_one_that_was_not_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tracking.csv");
    let mut log = opened(dir.path(), MeasurementFormat::Csv).unwrap();
    log.reopen().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "one banner");
    std::fs::rename(&path, dir.path().join("old")).unwrap();
    log.append("before\n").unwrap();
    log.reopen().unwrap();
    log.append("after\n").unwrap();
    assert!(std::fs::read_to_string(dir.path().join("old")).unwrap().ends_with("before\n"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# llts ") && text.ends_with("\nafter\n"), "{text}");
}

#[test]
fn a_file_of_another_node_a_link_and_a_folder_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = opened(dir.path(), MeasurementFormat::Csv).unwrap();
    let error = opened(dir.path(), MeasurementFormat::Csv).unwrap_err();
    assert!(error.to_string().contains("another llts writes it"), "{error}");
    std::os::unix::fs::symlink("/dev/null", dir.path().join("tracking.jsonl")).unwrap();
    opened(dir.path(), MeasurementFormat::Jsonl).unwrap_err();
    std::fs::remove_file(dir.path().join("tracking.jsonl")).unwrap();
    std::fs::create_dir(dir.path().join("tracking.jsonl")).unwrap();
    opened(dir.path(), MeasurementFormat::Jsonl).unwrap_err();
}

#[test]
fn observers_have_no_lines_among_the_peers() {
    let mut status = examples::status();
    let lines = MeasurementLine::of_peers(0, &status).len();
    assert_eq!(lines, status.peers.len());
    let guest = PeerStatus { role: Some("observer".into()), ..status.peers[0].clone() };
    status.peers.push(guest);
    assert_eq!(MeasurementLine::of_peers(0, &status).len(), lines);
}
