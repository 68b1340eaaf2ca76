//! The slave's transaction against masters, liars and the network, in virtual time.

use proptest::prelude::*;

use super::super::message::Fin;
use super::*;

const S: i64 = 1_000_000_000;
const EPOCH_NS: i64 = 1_790_000_000 * S;
const ID: &[u8] = b"[::]:46485_06470b9fa4c9c63b";

fn config(compat: bool) -> Config {
    Config { key: Key::new(b"k"), name: b"node-a".to_vec(), compat }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn master() -> SocketAddr {
    address("192.0.2.1:4123")
}

fn reading(now_ns: i64) -> Reading {
    Reading { real: RealTime::from_nanos(EPOCH_NS + now_ns), raw: RawTime::from_nanos(now_ns) }
}

fn signed(seq: i32, inner: Inner) -> Vec<u8> {
    let mut message = TxMsg { id: ID.into(), sig: Vec::new(), seq, inner: Some(inner) };
    Key::new(b"k").sign(&mut message);
    let mut datagram = Vec::new();
    message.write(&mut datagram);
    datagram
}

/// The master's report on a message with our time `told_ns`.
fn report(seq: i32, told_ns: i64, ahead_ns: i64) -> Vec<u8> {
    let time = EPOCH_NS + told_ns + ahead_ns;
    signed(seq, Inner::Report(Report { diff: EPOCH_NS + told_ns - time, time }))
}

fn begin(config: &Config) -> (Transaction<'_>, Vec<u8>) {
    let mut out = Vec::new();
    let transaction = Transaction::begin(config, master(), ID.into(), reading(0), &mut out);
    (transaction, out)
}

#[test]
fn a_transaction_goes_as_saturns_does() {
    let config = config(false);
    let (mut transaction, mut out) = begin(&config);
    let first = TxMsg::read(&out).unwrap();
    assert_eq!((first.id.as_slice(), first.seq), (ID, 1));
    assert_eq!(first.inner, Some(Inner::InitialReport(InitialReport { time: EPOCH_NS, name: b"node-a".to_vec() })));
    let opened = transaction.open(master(), &report(2, 0, 40)).unwrap();
    assert_eq!(transaction.answer(opened, reading(90).real, reading(100), &mut out), Outcome::Answer);
    let answer = TxMsg::read(&out).unwrap();
    assert_eq!(answer.seq, 3);
    // The master's time and difference were of one reading, so ours are too.
    assert_eq!(answer.inner, Some(Inner::Report(Report { diff: 40 - 100, time: EPOCH_NS + 100 })));
    let opened = transaction.open(master(), &signed(4, Inner::Fin(Fin::new(-4.75)))).unwrap();
    let told = Finished { offset_ms: -4.75, error: Vec::new(), trips: 1 };
    assert_eq!(transaction.answer(opened, reading(200).real, reading(200), &mut out), Outcome::Finished(told));
}

#[test]
fn a_master_that_stamps_twice_is_answered_with_two_stamps_unless_saturn_is_played() {
    for (compat, diff) in [(false, 40 - 90), (true, 40 - 100)] {
        let config = config(compat);
        let (mut transaction, mut out) = begin(&config);
        // It held our message for 1 ns.
        let told = signed(2, Inner::Report(Report { diff: -39, time: EPOCH_NS + 40 }));
        let opened = transaction.open(master(), &told).unwrap();
        transaction.answer(opened, reading(90).real, reading(100), &mut out);
        let expected = Inner::Report(Report { diff, time: EPOCH_NS + 100 });
        assert_eq!(TxMsg::read(&out).unwrap().inner, Some(expected));
    }
}

#[test]
fn an_id_is_the_sockets_address_and_sixteen_digits() {
    let id = transaction_id(address("[::]:46485"), 0x0647_0b9f_a4c9_c63b);
    assert_eq!(id, ID);
    assert_eq!(transaction_id(address("0.0.0.0:1"), 1), b"0.0.0.0:1_0000000000000001");
}

#[test]
fn duplicates_strangers_and_liars_neither_end_a_transaction_nor_prolong_it() {
    let config = config(false);
    let (mut transaction, mut out) = begin(&config);
    let good = report(2, 0, 0);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let mut other = TxMsg::read(&good).unwrap();
    other.id.push(b'x');
    config.key.sign(&mut other);
    let mut of_other = Vec::new();
    other.write(&mut of_other);
    let initial = signed(2, Inner::InitialReport(InitialReport { time: 1, name: Vec::new() }));
    for (from, datagram, reason) in [
        ("192.0.2.2:4123", &good, Refusal::WrongAddress),
        ("192.0.2.1:4124", &good, Refusal::WrongAddress),
        ("192.0.2.1:4123", &bad, Refusal::BadSignature),
        ("192.0.2.1:4123", &of_other, Refusal::UnknownTransaction),
        ("192.0.2.1:4123", &report(1, 0, 0), Refusal::WrongSeq),
        ("192.0.2.1:4123", &report(4, 0, 0), Refusal::WrongSeq),
        ("192.0.2.1:4123", &signed(4, Inner::Fin(Fin::new(1.0))), Refusal::WrongSeq),
        ("192.0.2.1:4123", &initial, Refusal::WrongKind),
        ("192.0.2.1:4123", &report(2, -10 * S, 0), Refusal::Absurd),
        ("192.0.2.1:4123", &good[..20].to_vec(), Refusal::Unparsable),
        ("192.0.2.1:4123", &Vec::new(), Refusal::Invalid),
    ] {
        assert_eq!(transaction.open(address(from), datagram).err(), Some(reason));
    }
    assert_eq!(transaction.deadline(), RawTime::from_nanos(5 * S), "nobody renewed it");
    // The master's address as an IPv6 socket sees it.
    let opened = transaction.open(address("[::ffff:192.0.2.1]:4123"), &good).unwrap();
    transaction.answer(opened, reading(4 * S).real, reading(4 * S), &mut out);
    assert_eq!(transaction.deadline(), RawTime::from_nanos(9 * S));
    assert_eq!(transaction.open(master(), &good).err(), Some(Refusal::WrongSeq), "a duplicate is ignored");
    assert!(transaction.open(master(), &report(4, 4 * S, 0)).is_ok());
}

#[test]
fn from_any_address_is_for_those_who_play_saturn() {
    let config = config(true);
    let (mut transaction, _) = begin(&config);
    assert!(transaction.open(address("192.0.2.2:1"), &report(2, 0, 0)).is_ok());
}

#[test]
fn an_end_may_come_at_once_and_say_that_nothing_came_of_it() {
    let config = config(false);
    let (mut transaction, mut out) = begin(&config);
    let fin = Fin { offset: Some(f64::NAN), error: b"finalizing transaction with 0 trips".to_vec() };
    let opened = transaction.open(master(), &signed(2, Inner::Fin(fin))).unwrap();
    match transaction.answer(opened, reading(1).real, reading(1), &mut out) {
        Outcome::Finished(told) => assert!(told.offset_ms.is_nan() && told.error.starts_with(b"finalizing")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_master_that_never_ends_is_left_in_the_end() {
    let config = config(false);
    let (mut transaction, mut out) = begin(&config);
    for leg in 0..SATURN_LEGS_MAX as i32 {
        let opened = transaction.open(master(), &report(2 + 2 * leg, 0, 0)).unwrap();
        transaction.answer(opened, reading(0).real, reading(0), &mut out);
    }
    let more = report(2 + 2 * SATURN_LEGS_MAX as i32, 0, 0);
    assert_eq!(transaction.open(master(), &more).err(), Some(Refusal::Absurd));
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_refused(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
        let config = config(true);
        let (mut transaction, _) = begin(&config);
        prop_assert!(transaction.open(master(), &datagram).is_err());
    }
}
