//! Saturn's signature: HMAC-SHA256 over the *text* of the fields, one after the other with nothing between them and no
//! word of what kind of message it is. Reproduced exactly; what can be done about its weakness is done by the roles.

use core::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::FloatText;
use super::message::{Inner, TxMsg};

/// The key that everybody has who has read Saturn's help.
pub const KEY_DEFAULT: &[u8] = b"secret";

/// The shared key, ready for use.
#[derive(Clone)]
pub struct Key {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// The key of these bytes, as long as they may be.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Key { keyed: Hmac::new_from_slice(bytes).expect("HMAC takes keys of every length") }
    }

    /// Puts the signature into `message`.
    pub fn sign(&self, message: &mut TxMsg) {
        let signature = self.mac(message).finalize().into_bytes();
        message.sig.clear();
        message.sig.extend_from_slice(&signature);
    }

    /// True if the signature is that of this key; takes the same time wherever it differs.
    #[must_use]
    pub fn is_genuine(&self, message: &TxMsg) -> bool {
        self.mac(message).verify_slice(&message.sig).is_ok()
    }

    fn mac(&self, message: &TxMsg) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        feed_signed_text(message, &mut |bytes| mac.update(bytes));
        mac
    }
}

/// Gives the text under the signature to `sink`, piece by piece.
pub fn feed_signed_text(message: &TxMsg, sink: &mut impl FnMut(&[u8])) {
    sink(&message.id);
    sink(Decimal::of(message.seq.into()).as_bytes());
    match &message.inner {
        Some(Inner::InitialReport(report)) => {
            sink(Decimal::of(report.time).as_bytes());
            sink(&report.name);
        }
        Some(Inner::Report(report)) => {
            sink(Decimal::of(report.diff).as_bytes());
            sink(Decimal::of(report.time).as_bytes());
        }
        Some(Inner::Fin(fin)) => sink(FloatText::of(fin.offset_ms()).as_str().as_bytes()),
        None => {}
    }
}

/// A number in decimal, on the stack.
struct Decimal {
    bytes: [u8; 20],
    len: usize,
}

impl Decimal {
    fn of(number: i64) -> Self {
        let mut decimal = Decimal { bytes: [0; 20], len: 0 };
        write!(decimal, "{number}").expect("20 bytes hold every i64");
        decimal
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Decimal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{Fin, InitialReport, Report};
    use super::*;

    fn text(message: &TxMsg) -> Vec<u8> {
        let mut text = Vec::new();
        feed_signed_text(message, &mut |bytes| text.extend_from_slice(bytes));
        text
    }

    fn message() -> impl Strategy<Value = TxMsg> {
        let texts = || proptest::collection::vec(any::<u8>(), 0..40);
        let inner = prop_oneof![
            (any::<i64>(), texts()).prop_map(|(time, name)| Inner::InitialReport(InitialReport { time, name })),
            (any::<i64>(), any::<i64>()).prop_map(|(diff, time)| Inner::Report(Report { diff, time })),
            any::<u64>().prop_map(|bits| Inner::Fin(Fin::new(f64::from_bits(bits)))),
        ];
        (proptest::collection::vec(any::<u8>(), 1..40), any::<i32>(), inner).prop_map(|(id, seq, inner)| TxMsg {
            id,
            sig: Vec::new(),
            seq,
            inner: Some(inner),
        })
    }

    #[test]
    fn every_decimal_fits_its_place() {
        for (number, expected) in
            [(0, "0"), (-1, "-1"), (i64::MIN, "-9223372036854775808"), (i64::MAX, "9223372036854775807")]
        {
            assert_eq!(Decimal::of(number).as_bytes(), expected.as_bytes());
        }
    }

    #[test]
    fn the_text_has_neither_a_separator_nor_a_type_which_is_saturns_weakness_and_must_be_met_exactly() {
        let initial = |id: &[u8], seq, time, name: &[u8]| TxMsg {
            id: id.into(),
            sig: vec![],
            seq,
            inner: Some(Inner::InitialReport(InitialReport { time, name: name.into() })),
        };
        let one = initial(b"k_1", 1, 17, b"5");
        assert_eq!(text(&one), text(&initial(b"k_", 11, 17, b"5")));
        let report = Inner::Report(Report { diff: 17, time: 5 });
        assert_eq!(text(&one), text(&TxMsg { inner: Some(report), ..one.clone() }));
    }

    proptest! {
        #[test]
        fn the_signed_text_is_the_fields_in_decimal_one_after_the_other(message in message()) {
            let mut expected = message.id.clone();
            expected.extend(message.seq.to_string().bytes());
            match message.inner.as_ref().unwrap() {
                Inner::InitialReport(r) => {
                    expected.extend(r.time.to_string().bytes());
                    expected.extend(&r.name);
                }
                Inner::Report(r) => expected.extend(format!("{}{}", r.diff, r.time).bytes()),
                Inner::Fin(f) => expected.extend(FloatText::of(f.offset_ms()).to_string().bytes()),
            }
            prop_assert_eq!(text(&message), expected);
        }

        #[test]
        fn what_is_signed_written_and_read_is_the_same_and_genuine(mut message in message(), other in 1u8..) {
            let key = Key::new(b"k");
            key.sign(&mut message);
            let mut datagram = Vec::new();
            message.write(&mut datagram);
            let mut read = TxMsg::read(&datagram).unwrap();
            prop_assert!(key.is_genuine(&read));
            prop_assert!(!Key::new(b"other").is_genuine(&read));
            // NaN is not equal to itself, but its bytes are.
            let mut again = Vec::new();
            read.write(&mut again);
            prop_assert_eq!(&again, &datagram);
            read.sig[0] ^= other;
            prop_assert!(!key.is_genuine(&read));
            read.sig.pop();
            prop_assert!(!key.is_genuine(&read));
        }

        #[test]
        fn every_field_but_the_error_text_is_signed(mut message in message(), by in 1i64..) {
            let key = Key::new(b"k");
            key.sign(&mut message);
            let changed = |change: &mut dyn FnMut(&mut TxMsg)| {
                let mut copy = message.clone();
                change(&mut copy);
                !key.is_genuine(&copy)
            };
            prop_assert!(changed(&mut |m| m.seq = m.seq.wrapping_add(1)));
            prop_assert!(changed(&mut |m| m.id.push(b'x')));
            match message.inner.clone().unwrap() {
                Inner::Fin(mut fin) => {
                    fin.error = b"unsigned".to_vec();
                    prop_assert!(!changed(&mut |m| m.inner = Some(Inner::Fin(fin.clone()))));
                }
                Inner::Report(report) => {
                    let report = Report { diff: report.diff.wrapping_add(by), ..report };
                    prop_assert!(changed(&mut |m| m.inner = Some(Inner::Report(report))));
                }
                Inner::InitialReport(mut report) => {
                    report.time = report.time.wrapping_add(by);
                    prop_assert!(changed(&mut |m| m.inner = Some(Inner::InitialReport(report.clone()))));
                }
            }
        }
    }
}
