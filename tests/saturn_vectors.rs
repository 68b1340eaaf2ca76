//! Saturn's wire, pinned byte by byte: packets made by Saturn itself (tests/vectors/saturn.txt, key "secret") are read,
//! verified, and made again from their fields to the same bytes.

use llts::saturn::FloatText;
use llts::saturn::key::{KEY_DEFAULT, Key, feed_signed_text};
use llts::saturn::message::{Fin, InitialReport, Inner, Report, TxMsg};

struct Vector {
    title: &'static str,
    fields: &'static str,
    signed: &'static str,
    hmac: Vec<u8>,
    packet: Vec<u8>,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn vectors() -> Vec<Vector> {
    let lines: Vec<&str> = include_str!("vectors/saturn.txt").lines().filter(|line| !line.starts_with('#')).collect();
    let after = |line: &'static str, word: &str| {
        let (name, value) = line.trim().split_once(": ").unwrap();
        assert!(name.starts_with(word), "{line}");
        value
    };
    lines
        .chunks_exact(5)
        .map(|lines| Vector {
            title: lines[0],
            fields: after(lines[1], "fields"),
            signed: after(lines[2], "signed").trim_matches('"'),
            hmac: bytes(after(lines[3], "hmac")),
            packet: bytes(after(lines[4], "packet")),
        })
        .collect()
}

/// The value of one field in protobuf's text form; empty if it is left out.
fn field<'a>(fields: &'a str, name: &str) -> &'a str {
    let value = fields.split([' ', '<']).find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or("").trim_matches('"')
}

fn number<T: std::str::FromStr + Default>(fields: &str, name: &str) -> T {
    field(fields, name).parse().unwrap_or_default()
}

fn message(fields: &str) -> TxMsg {
    let inner = if fields.contains("initialReport:") {
        let name = field(fields, "name").as_bytes().to_vec();
        Inner::InitialReport(InitialReport { time: number(fields, "time"), name })
    } else if fields.contains("report:") {
        Inner::Report(Report { diff: number(fields, "diff"), time: number(fields, "time") })
    } else {
        Inner::Fin(Fin::new(number(fields, "offset")))
    };
    TxMsg { id: field(fields, "id").into(), sig: Vec::new(), seq: number(fields, "seq"), inner: Some(inner) }
}

#[test]
fn every_packet_of_saturn_is_made_again_from_its_fields_to_the_byte() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        let mut message = message(vector.fields);
        let mut text = Vec::new();
        feed_signed_text(&message, &mut |bytes| text.extend_from_slice(bytes));
        assert_eq!(String::from_utf8(text).unwrap(), vector.signed, "{}", vector.title);
        Key::new(KEY_DEFAULT).sign(&mut message);
        assert_eq!(message.sig, vector.hmac, "{}", vector.title);
        let mut packet = Vec::new();
        message.write(&mut packet);
        assert_eq!(packet, vector.packet, "{}", vector.title);
    }
}

#[test]
fn every_packet_of_saturn_is_read_and_found_genuine_and_not_with_another_key() {
    for vector in vectors() {
        let read = TxMsg::read(&vector.packet).unwrap();
        assert!(Key::new(KEY_DEFAULT).is_genuine(&read), "{}", vector.title);
        assert!(!Key::new(b"Secret").is_genuine(&read), "{}", vector.title);
        let mut expected = message(vector.fields);
        expected.sig = vector.hmac;
        assert_eq!(read, expected, "{}", vector.title);
    }
}

#[test]
fn a_difference_of_minus_zero_is_written_and_plain_zero_is_not() {
    for (offset_ms, bytes) in [(0.0, 0), (-0.0, 9), (f64::NAN, 9), (-4.75, 9)] {
        let fin = |inner| TxMsg { id: b"i".to_vec(), sig: Vec::new(), seq: 4, inner: Some(inner) };
        let mut packet = Vec::new();
        fin(Inner::Fin(Fin::new(offset_ms))).write(&mut packet);
        assert_eq!(packet.len(), 3 + 2 + 2 + bytes, "{offset_ms}");
        let mut text = Vec::new();
        feed_signed_text(&TxMsg::read(&packet).unwrap(), &mut |bytes| text.extend_from_slice(bytes));
        // Rust writes these four as Go does.
        assert_eq!(String::from_utf8(text).unwrap(), format!("i4{offset_ms}"));
    }
}

#[test]
fn floats_are_written_as_go_wrote_them() {
    let lines = include_str!("vectors/go_floats.txt").lines().filter(|line| !line.starts_with('#'));
    let mut compared = 0;
    for (bits, text) in lines.map(|line| line.split_once(' ').unwrap()) {
        let value = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
        assert_eq!(FloatText::of(value).as_str(), text, "{bits}");
        compared += 1;
    }
    assert!(compared >= 400, "{compared}");
}

#[test]
fn negative_numbers_take_ten_bytes_as_gos_do() {
    let report = Inner::Report(Report { diff: -1, time: 0 });
    let mut packet = Vec::new();
    TxMsg { id: b"i".to_vec(), sig: Vec::new(), seq: -1, inner: Some(report) }.write(&mut packet);
    assert_eq!(packet.len(), 3 + 11 + 2 + 11);
}
