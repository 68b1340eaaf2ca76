//! The master against slaves, liars and the network, in virtual time.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::message::InitialReport;
use super::super::slave;
use super::*;
use crate::limits::{SATURN_NAME_BYTES_MAX, SATURN_PATIENCE_NS};

const S: i64 = 1_000_000_000;
const EPOCH_NS: i64 = 1_790_000_000 * S;
const ID: &[u8] = b"[::]:46485_06470b9fa4c9c63b";

fn address() -> SocketAddr {
    "127.0.0.1:4123".parse().unwrap()
}

fn key() -> Key {
    Key::new(b"a key of the tests")
}

fn reading(real_ns: i64, raw_ns: i64) -> Reading {
    Reading { real: RealTime::from_nanos(real_ns), raw: RawTime::from_nanos(raw_ns) }
}

fn master(rounds: u32, compat: bool) -> Master {
    Master::new(Config { key: key(), rounds, compat }, RawTime::from_nanos(0), 42)
}

/// A master, and what it has answered last.
struct Desk {
    master: Master,
    out: Vec<u8>,
    now_ns: i64,
}

impl Desk {
    fn new(rounds: u32, compat: bool) -> Self {
        Desk { master: master(rounds, compat), out: Vec::new(), now_ns: 0 }
    }

    /// Gives it a datagram that arrived `held_ns` ago.
    fn give_held(&mut self, datagram: &[u8], held_ns: i64) -> Result<Outcome, Refusal> {
        let live = self.master.live();
        let opened = self.master.open(datagram).inspect_err(|_| assert_eq!(self.master.live(), live))?;
        let now = reading(EPOCH_NS + self.now_ns, self.now_ns);
        Ok(self.master.answer(opened, now.real.plus(-held_ns), now, &mut self.out))
    }

    fn give(&mut self, datagram: &[u8]) -> Result<Outcome, Refusal> {
        self.give_held(datagram, 0)
    }

    fn say(&mut self, id: &[u8], seq: i32, inner: Inner) -> Result<Outcome, Refusal> {
        self.give(&signed(id, seq, inner))
    }

    fn answer(&self) -> TxMsg {
        TxMsg::read(&self.out).unwrap()
    }

    fn answered_report(&self) -> Report {
        match self.answer().inner {
            Some(Inner::Report(report)) => report,
            other => panic!("{other:?} is no report"),
        }
    }

    /// An honest report on the last answer by a slave that is `ahead_ns`.
    fn honest(&self, ahead_ns: i64) -> Inner {
        let now_ns = EPOCH_NS + self.now_ns + ahead_ns;
        Inner::Report(Report { diff: self.answered_report().time - now_ns, time: now_ns })
    }

    fn begin(&mut self, id: &[u8]) -> Result<Outcome, Refusal> {
        let time = EPOCH_NS + self.now_ns;
        self.say(id, 1, Inner::InitialReport(InitialReport { time, name: b"node-a".to_vec() }))
    }
}

fn signed(id: &[u8], seq: i32, inner: Inner) -> Vec<u8> {
    signed_by(&key(), id, seq, inner)
}

fn signed_by(key: &Key, id: &[u8], seq: i32, inner: Inner) -> Vec<u8> {
    let mut message = TxMsg { id: id.into(), sig: Vec::new(), seq, inner: Some(inner) };
    key.sign(&mut message);
    let mut datagram = Vec::new();
    message.write(&mut datagram);
    datagram
}

/// A whole transaction: the slave's clock ahead by `ahead_ns`, each way as long as `ways_ns` says in turn, each end
/// holding a message for `held_ns`. Returns what the master found, what the slave was told and how many datagrams flew.
fn transact(
    master: &mut Master,
    config: &slave::Config,
    ahead_ns: i64,
    held_ns: i64,
    ways_ns: &mut dyn FnMut() -> i64,
) -> (Finished, slave::Finished, u32) {
    let mut now_ns = 1_000;
    let at = |now_ns: i64, ahead_ns: i64| reading(EPOCH_NS + now_ns + ahead_ns, now_ns + ahead_ns);
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let id = slave::transaction_id("[::]:50001".parse().unwrap(), master.counters().begun + 1);
    let mut slave = slave::Transaction::begin(config, address(), id, at(now_ns, ahead_ns), &mut there);
    let (mut datagrams, mut found) = (0, None);
    loop {
        now_ns += ways_ns();
        let arrived = at(now_ns, 0).real;
        now_ns += held_ns;
        let opened = master.open(&there).unwrap();
        if let Outcome::Finished(finished) = master.answer(opened, arrived, at(now_ns, 0), &mut back) {
            found = Some(finished);
        }
        now_ns += ways_ns();
        let arrived = at(now_ns, ahead_ns).real;
        now_ns += held_ns;
        datagrams += 2;
        let opened = slave.open(address(), &back).unwrap();
        if let slave::Outcome::Finished(told) = slave.answer(opened, arrived, at(now_ns, ahead_ns), &mut there) {
            assert_eq!((slave.refusals().total(), master.refusals().total()), (0, 0));
            return (found.expect("both ends finish"), told, datagrams);
        }
    }
}

fn slave_config(compat: bool) -> slave::Config {
    slave::Config { key: key(), name: b"node-a".to_vec(), compat }
}

#[test]
fn every_number_of_rounds_takes_two_datagrams_each_and_two_more_and_both_ends_agree() {
    for (master_compat, slave_compat) in [(false, false), (true, false), (false, true), (true, true)] {
        for rounds in 1..=100 {
            let mut master = master(rounds, master_compat);
            // Unequal round trips, or Saturn's formula keeps none; but both ways of a trip alike.
            let mut leg = 0;
            let mut way = || {
                leg += 1;
                20_000 + leg / 2 * 1_000
            };
            let (found, told, datagrams) =
                transact(&mut master, &slave_config(slave_compat), -3_250_000, 7_000, &mut way);
            assert_eq!(datagrams, 2 * rounds + 2);
            assert_eq!((found.trips, told.trips), (rounds, rounds));
            assert_eq!(found.name, b"node-a");
            assert_eq!(told.offset_ms.to_bits(), found.estimate.offset_ms.to_bits());
            // One way of a trip is half a microsecond longer at most.
            let error_ms = found.estimate.offset_ms + 3.25;
            assert!(error_ms.abs() <= 0.000_501, "{error_ms} ms, {rounds} rounds, {master_compat} {slave_compat}");
            assert_eq!((master.live(), master.counters().finished), (0, 1));
        }
    }
}

#[test]
fn two_llts_leave_out_the_time_for_which_messages_were_held_and_with_a_saturn_it_cancels() {
    for (compat, latency_ms) in [(false, 0.020), (true, 0.023)] {
        let mut master = master(5, false);
        let (found, _, _) = transact(&mut master, &slave_config(compat), 1_000_000, 3_000, &mut || 20_000);
        assert_eq!((found.estimate.offset_ms, found.estimate.latency_ms), (1.0, latency_ms));
    }
}

#[test]
fn equal_round_trips_are_nan_to_saturn_and_an_offset_to_us() {
    let (found, told, _) = transact(&mut master(5, true), &slave_config(true), 5_000_000, 0, &mut || 50_000);
    assert!(found.estimate.offset_ms.is_nan() && told.offset_ms.is_nan());
    let (found, ..) = transact(&mut master(5, false), &slave_config(false), 5_000_000, 0, &mut || 50_000);
    assert_eq!(found.estimate.offset_ms, 5.0);
}

#[test]
fn a_name_may_be_as_long_as_a_datagram_has_room_and_comes_back_whole() {
    let name = vec![b'n'; SATURN_NAME_BYTES_MAX];
    let mut desk = Desk::new(1, false);
    let initial = |name| Inner::InitialReport(InitialReport { time: EPOCH_NS, name });
    let datagram = signed(b"[::]:50001_06470b9fa4c9c63b", 1, initial(name.clone()));
    assert_eq!(datagram.len(), 1024);
    assert_eq!(desk.give(&datagram), Ok(Outcome::Answer));
    let report = desk.honest(0);
    match desk.say(b"[::]:50001_06470b9fa4c9c63b", 3, report) {
        Ok(Outcome::Finished(finished)) => assert_eq!(finished.name, name),
        other => panic!("{other:?}"),
    }
    let longer = signed(b"[::]:50001_06470b9fa4c9c63b", 1, initial(vec![b'n'; SATURN_NAME_BYTES_MAX + 1]));
    assert_eq!(desk.give(&longer), Err(Refusal::TooLong));
}

#[test]
fn answers_are_what_saturn_answers() {
    let mut desk = Desk::new(1, true);
    desk.now_ns = 7;
    let initial = InitialReport { time: EPOCH_NS - 500, name: Vec::new() };
    assert_eq!(desk.say(ID, 1, Inner::InitialReport(initial)), Ok(Outcome::Answer));
    let answer = desk.answer();
    assert_eq!((answer.id.as_slice(), answer.seq), (ID, 2));
    assert_eq!(desk.answered_report(), Report { diff: -507, time: EPOCH_NS + 7 });
    desk.now_ns = 107;
    let report = Report { diff: -1_000, time: EPOCH_NS + 1_007 };
    assert!(matches!(desk.say(ID, 3, Inner::Report(report)), Ok(Outcome::Finished(_))));
    let answer = desk.answer();
    assert_eq!(answer.seq, 4);
    // The slave is 1,000 ns ahead one way and 900 the other.
    assert_eq!(answer.inner, Some(Inner::Fin(Fin::new(950e-6))));
}

#[test]
fn what_is_not_ours_is_counted_by_its_reason_and_changes_nothing() {
    let mut desk = Desk::new(2, false);
    desk.begin(ID).unwrap();
    let good = signed(ID, 3, desk.honest(0));
    let initial = || Inner::InitialReport(InitialReport { time: EPOCH_NS, name: Vec::new() });
    let unknown_inner = {
        let mut bytes = signed(ID, 3, desk.honest(0));
        let at = bytes.iter().rposition(|b| *b == 0x2a).unwrap();
        bytes[at] = 0x3a;
        bytes
    };
    let mut unsigned = TxMsg::read(&good).unwrap();
    unsigned.sig.clear();
    let mut short = TxMsg::read(&good).unwrap();
    short.sig.pop();
    let written = |message: &TxMsg| {
        let mut out = Vec::new();
        message.write(&mut out);
        out
    };
    let refused = [
        (vec![], Refusal::Invalid),
        (unknown_inner, Refusal::Invalid),
        (signed(b"", 1, initial()), Refusal::Invalid),
        (b"hello master".to_vec(), Refusal::Unparsable),
        (vec![0xff; 1024], Refusal::Unparsable),
        (vec![0; 1025], Refusal::TooLong),
        (written(&unsigned), Refusal::BadSignature),
        (written(&short), Refusal::BadSignature),
        (signed_by(&Key::new(b"secret"), ID, 3, desk.honest(0)), Refusal::BadSignature),
        (signed(b"unknown", 3, desk.honest(0)), Refusal::UnknownTransaction),
        (signed(b"unknown", 2, Inner::Fin(Fin::new(0.0))), Refusal::UnknownTransaction),
        (signed(ID, 1, initial()), Refusal::WrongSeq),
        (signed(ID, 3, initial()), Refusal::WrongKind),
        (signed(ID, 2, desk.honest(0)), Refusal::WrongSeq),
        (signed(ID, 4, desk.honest(0)), Refusal::WrongSeq),
        (signed(ID, 5, desk.honest(0)), Refusal::WrongSeq),
        (signed(ID, -3, desk.honest(0)), Refusal::WrongSeq),
    ];
    for (n, (datagram, reason)) in refused.iter().enumerate() {
        let before = desk.master.refusals().of(*reason);
        assert_eq!(desk.give(datagram), Err(*reason), "case {n}");
        assert_eq!(desk.master.refusals().of(*reason), before + 1);
        assert_eq!(desk.master.refusals().total(), n as u64 + 1);
    }
    assert_eq!(desk.give(&good), Ok(Outcome::Answer), "the transaction is still good");
}

#[test]
fn a_datagram_cut_anywhere_or_with_any_bit_turned_is_never_answered() {
    let mut desk = Desk::new(2, false);
    desk.begin(ID).unwrap();
    let good = signed(ID, 3, desk.honest(-77));
    for len in 0..good.len() {
        assert!(desk.give(&good[..len]).is_err(), "cut at {len}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(desk.give(&bad).is_err(), "bit {bit}");
    }
    assert!(desk.give(&good).is_ok());
}

#[test]
fn fields_that_nobody_knows_are_skipped() {
    let mut desk = Desk::new(1, false);
    let mut datagram = signed(ID, 1, Inner::InitialReport(InitialReport { time: EPOCH_NS, name: b"n".to_vec() }));
    // Field 15 a number, field 99 some bytes.
    datagram.extend([0x78, 0x96, 0x01, 0x9a, 0x06, 2, 1, 2]);
    assert_eq!(desk.give(&datagram), Ok(Outcome::Answer));
}

#[test]
fn duplicates_and_packets_out_of_order_do_not_disturb_a_transaction() {
    let mut desk = Desk::new(3, false);
    let mut sent = vec![signed(ID, 1, Inner::InitialReport(InitialReport { time: EPOCH_NS, name: vec![] }))];
    desk.give(&sent[0]).unwrap();
    for seq in [3, 5, 7] {
        desk.now_ns += 1_000;
        let early = signed(ID, seq + 2, desk.honest(0));
        assert_eq!(desk.give(&early), Err(Refusal::WrongSeq));
        for old in &sent {
            assert_eq!(desk.give(old), Err(Refusal::WrongSeq));
        }
        sent.push(signed(ID, seq, desk.honest(5_000)));
        desk.give(sent.last().unwrap()).unwrap();
    }
    assert_eq!(desk.master.counters(), Counters { begun: 1, finished: 1, expired: 0 });
    for late in &sent {
        assert_eq!(desk.give(late), Err(Refusal::Replayed), "a finished transaction stays finished");
    }
    assert_eq!(desk.master.live(), 0);
}

#[test]
fn an_abandoned_transaction_is_kept_for_60_s_and_gone_after_90() {
    // Sweeps come every 30 s; at which phase the slave falls silent decides between 60 and 90.
    for phase_s in 0..30 {
        for (silent_s, answered) in [(55, true), (60, true), (90, false), (95, false)] {
            let mut desk = Desk::new(5, false);
            let pass = |desk: &mut Desk, s: i64| {
                for _ in 0..s {
                    desk.now_ns += S;
                    desk.master.sweep(RawTime::from_nanos(desk.now_ns));
                }
            };
            pass(&mut desk, phase_s);
            desk.begin(ID).unwrap();
            pass(&mut desk, silent_s);
            let late = signed(ID, 3, desk.honest(-(silent_s - 1) * S));
            let outcome = desk.give(&late);
            assert_eq!(outcome.is_ok(), answered, "{phase_s} {silent_s}: {outcome:?}");
            assert_eq!(desk.master.counters().expired, u64::from(!answered));
            if !answered {
                assert_eq!(outcome, Err(Refusal::Replayed));
            }
        }
    }
}

#[test]
fn ten_thousand_transactions_are_live_at_once_and_one_more_is_refused() {
    let mut desk = Desk::new(1, false);
    for n in 0..SATURN_TRANSACTIONS_MAX {
        assert_eq!(desk.begin(format!("slave-{n}").as_bytes()), Ok(Outcome::Answer));
    }
    assert_eq!(desk.begin(b"one more"), Err(Refusal::TableFull));
    for n in 0..SATURN_TRANSACTIONS_MAX {
        let report = desk.honest(0);
        assert!(matches!(desk.say(format!("slave-{n}").as_bytes(), 3, report), Ok(Outcome::Finished(_))));
        let answer = Inner::Report(Report { diff: 0, time: EPOCH_NS });
        desk.out = signed(b"x", 2, answer);
    }
    assert_eq!(desk.begin(b"one more"), Ok(Outcome::Answer));
    assert_eq!(desk.master.counters().finished, SATURN_TRANSACTIONS_MAX as u64);
}

#[test]
fn a_slave_may_end_its_transaction_itself_and_is_not_answered() {
    let mut desk = Desk::new(5, false);
    desk.begin(ID).unwrap();
    assert_eq!(desk.say(ID, 3, Inner::Fin(Fin::new(0.0))), Ok(Outcome::Ended));
    assert_eq!(desk.begin(ID), Err(Refusal::Replayed));
}

#[test]
fn a_first_word_has_number_one_unless_saturn_is_played() {
    for seq in [7, -5, 0, i32::MAX] {
        let initial = || Inner::InitialReport(InitialReport { time: 5, name: Vec::new() });
        assert_eq!(Desk::new(1, false).say(ID, seq, initial()), Err(Refusal::Absurd));
        let mut desk = Desk::new(1, true);
        assert_eq!(desk.say(ID, seq, initial()), Ok(Outcome::Answer));
        assert_eq!(desk.answer().seq, seq.wrapping_add(1));
        let report = desk.honest(0);
        assert!(matches!(desk.say(ID, seq.wrapping_add(2), report), Ok(Outcome::Finished(_))));
    }
    let before_1970 = Inner::InitialReport(InitialReport { time: i64::MIN, name: Vec::new() });
    assert_eq!(Desk::new(1, false).say(ID, 1, before_1970.clone()), Err(Refusal::Absurd));
    assert_eq!(Desk::new(1, true).say(ID, 1, before_1970), Ok(Outcome::Answer));
}

/// The signature stays right when digits wander over the borders of fields; what they then say must be refused.
#[test]
fn glued_fields_do_not_get_past_the_master() {
    let mut desk = Desk::new(5, false);
    // An id that ends in a digit gives it to the number.
    let initial = Inner::InitialReport(InitialReport { time: EPOCH_NS, name: b"n".to_vec() });
    let mut glued = TxMsg::read(&signed(b"k_1", 1, initial)).unwrap();
    (glued.id, glued.seq) = (b"k_".to_vec(), 11);
    assert!(key().is_genuine(&glued), "this is what the signature does not see");
    let mut datagram = Vec::new();
    glued.write(&mut datagram);
    assert_eq!(desk.give(&datagram), Err(Refusal::Absurd));

    // A time gives its first digits to the number, and the number its 1 to the id.
    let initial = Inner::InitialReport(InitialReport { time: EPOCH_NS, name: b"n".to_vec() });
    let honest = TxMsg::read(&signed(b"k_", 1, initial)).unwrap();
    let text = EPOCH_NS.to_string();
    let mut passing = 0;
    for cut in 1..text.len() {
        let (Ok(seq), Ok(time)) = (text[..cut].parse(), text[cut..].parse()) else { continue };
        let inner = Inner::InitialReport(InitialReport { time, name: b"n".to_vec() });
        let glued = TxMsg { id: b"k_1".to_vec(), seq, inner: Some(inner), ..honest.clone() };
        if key().is_genuine(&glued) {
            let mut datagram = Vec::new();
            glued.write(&mut datagram);
            assert_eq!(desk.give(&datagram), Err(Refusal::Absurd), "{seq} {time}");
            passing += usize::from(seq == 1);
        }
    }
    assert!(passing > 0, "a number of 1 alone would let one pass");

    // A report gives digits of the difference to the time, and the other way round.
    desk.begin(ID).unwrap();
    let honest = desk.honest(-123_456_789);
    let Inner::Report(report) = honest.clone() else { panic!("a report") };
    let text = format!("{}{}", report.diff, report.time);
    let message = TxMsg::read(&signed(ID, 3, honest)).unwrap();
    let mut forged = 0;
    for cut in 1..text.len() {
        let (Ok(diff), Ok(time)) = (text[..cut].parse(), text[cut..].parse::<i64>()) else { continue };
        let glued = TxMsg { inner: Some(Inner::Report(Report { diff, time })), ..message.clone() };
        if diff == report.diff || !key().is_genuine(&glued) {
            continue;
        }
        forged += 1;
        glued.write(&mut datagram);
        assert_eq!(desk.give(&datagram), Err(Refusal::Absurd), "{diff} {time}");
    }
    assert!(forged >= 5, "only {forged} forgeries had a good signature");
}

#[test]
fn a_recorded_transaction_cannot_be_played_to_an_end_again() {
    let record = |desk: &mut Desk| {
        let mut sent = vec![signed(ID, 1, Inner::InitialReport(InitialReport { time: EPOCH_NS, name: vec![] }))];
        desk.give(&sent[0]).unwrap();
        desk.now_ns += 1_000;
        sent.push(signed(ID, 3, desk.honest(-5 * S)));
        assert!(matches!(desk.give(&sent[1]), Ok(Outcome::Finished(_))));
        sent
    };
    let sent = record(&mut Desk::new(1, false));
    // Even a master that has forgotten everything, and that has only just begun again: the report does not fit its new
    // words, which are later than the old.
    for now_ns in [1_000_000, 2 * S, 3_600 * S] {
        let mut desk = Desk::new(1, false);
        desk.now_ns = now_ns;
        assert_eq!(desk.give(&sent[0]), Ok(Outcome::Answer));
        assert_eq!(desk.give(&sent[1]), Err(Refusal::Absurd), "{now_ns}");
    }
}

#[test]
fn a_report_held_longer_than_anybody_waits_is_absurd() {
    // One that was held for less than no time answers something that had not been sent.
    for (held_ns, is_ok) in [(0, true), (SATURN_PATIENCE_NS, true), (SATURN_PATIENCE_NS + 1, false), (-1, false)] {
        let mut desk = Desk::new(1, false);
        desk.begin(ID).unwrap();
        let Inner::Report(mut report) = desk.honest(0) else { panic!("a report") };
        report.diff += held_ns;
        assert_eq!(desk.say(ID, 3, Inner::Report(report)).is_ok(), is_ok, "{held_ns}");
    }
}

proptest! {
    #[test]
    fn whatever_delays_do_the_error_is_at_most_half_of_the_best_trips(
        ahead_ns in -10 * S..10 * S,
        held_ns in 0i64..100_000,
        rounds in 1u32..=20,
        ways_ns in proptest::collection::vec(1i64..10_000_000, 42),
        compat: bool,
    ) {
        let mut ways = ways_ns.iter();
        let mut way = || *ways.next().unwrap();
        let (found, ..) = transact(&mut master(rounds, false), &slave_config(compat), ahead_ns, held_ns, &mut way);
        let error_ms = (found.estimate.offset_ms - ahead_ns as f64 / 1e6).abs();
        prop_assert!(error_ms <= found.estimate.latency_ms + 1e-6, "{} {}", error_ms, found.estimate.latency_ms);
    }

    #[test]
    fn bytes_of_any_kind_are_refused(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Desk::new(1, false).give(&datagram).is_err());
    }
}
