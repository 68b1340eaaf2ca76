//! One transaction of a slave as a state machine: it opens, reports on each of the master's messages, and takes the
//! result. It ignores everything that is not the one message it waits for, and only that one renews its patience.

use std::net::SocketAddr;

use super::key::Key;
use super::message::{InitialReport, Inner, Report, TxMsg};
use super::{Reading, Refusal, Refusals, held_ns, is_absurd};
use crate::limits::{SATURN_LEGS_MAX, SATURN_PATIENCE_NS};
use crate::unit::{RawTime, RealTime};

/// How a slave is to behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key all share.
    pub key: Key,
    /// What the slave calls itself.
    pub name: Vec<u8>,
    /// Take replies from any address, read the clock when Saturn does, and take every field that Saturn takes.
    pub compat: bool,
}

/// A transaction under way.
pub struct Transaction<'a> {
    config: &'a Config,
    master: SocketAddr,
    id: Vec<u8>,
    expected_seq: i32,
    sent: RealTime,
    deadline: RawTime,
    legs: u32,
    refusals: Refusals,
}

/// The message that was waited for, to be answered.
pub struct Opened(Inner);

/// What came of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The answer is to be sent.
    Answer,
    /// The master has ended the transaction.
    Finished(Finished),
}

/// The master's last word.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Slave minus master, ms, as the master found it; a Saturn may say NaN.
    pub offset_ms: f64,
    /// What the master says went wrong. Anybody on the way may have written it.
    pub error: Vec<u8>,
    /// Reports sent on the way.
    pub trips: u32,
}

/// An id as Saturn makes them, from the address of the transaction's own socket and a random number.
#[must_use]
pub fn transaction_id(local: SocketAddr, random: u64) -> Vec<u8> {
    format!("{local}_{random:016x}").into_bytes()
}

impl<'a> Transaction<'a> {
    /// Opens a transaction with `master` and writes the first datagram into `out`.
    pub fn begin(config: &'a Config, master: SocketAddr, id: Vec<u8>, now: Reading, out: &mut Vec<u8>) -> Self {
        let transaction = Transaction {
            config,
            master,
            id,
            expected_seq: 2,
            sent: now.real,
            deadline: now.raw.plus(SATURN_PATIENCE_NS),
            legs: 0,
            refusals: Refusals::default(),
        };
        let initial = InitialReport { time: now.real.nanos(), name: config.name.clone() };
        transaction.write(1, Inner::InitialReport(initial), out);
        transaction
    }

    /// When the master has taken too long.
    #[must_use]
    pub const fn deadline(&self) -> RawTime {
        self.deadline
    }

    /// Why datagrams were refused, and how often.
    #[must_use]
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Parses and verifies a datagram.
    ///
    /// # Errors
    /// The reason for which it is refused; it has been counted, and the transaction goes on as if it had not come.
    pub fn open(&mut self, from: SocketAddr, datagram: &[u8]) -> Result<Opened, Refusal> {
        self.checked(from, datagram).inspect_err(|reason| self.refusals.count(*reason))
    }

    fn checked(&self, from: SocketAddr, datagram: &[u8]) -> Result<Opened, Refusal> {
        let same_place =
            (from.ip().to_canonical(), from.port()) == (self.master.ip().to_canonical(), self.master.port());
        if !same_place && !self.config.compat {
            return Err(Refusal::WrongAddress);
        }
        let message = TxMsg::read(datagram)?;
        if !self.config.key.is_genuine(&message) {
            return Err(Refusal::BadSignature);
        }
        if message.id != self.id {
            return Err(Refusal::UnknownTransaction);
        }
        if message.seq != self.expected_seq {
            return Err(Refusal::WrongSeq);
        }
        let inner = message.inner.expect("read() refuses messages that say nothing");
        match &inner {
            Inner::InitialReport(_) => return Err(Refusal::WrongKind),
            Inner::Report(report) => {
                if (is_absurd(report, self.sent) && !self.config.compat) || self.legs == SATURN_LEGS_MAX {
                    return Err(Refusal::Absurd);
                }
            }
            Inner::Fin(_) => {}
        }
        Ok(Opened(inner))
    }

    /// Answers an opened message that `arrived` by the best stamp there is, into `out`. To be called at once after
    /// [`Transaction::open`], with clocks read in between.
    pub fn answer(&mut self, opened: Opened, arrived: RealTime, now: Reading, out: &mut Vec<u8>) -> Outcome {
        let report = match opened.0 {
            Inner::Report(report) => report,
            Inner::Fin(fin) => {
                return Outcome::Finished(Finished { offset_ms: fin.offset_ms(), error: fin.error, trips: self.legs });
            }
            Inner::InitialReport(_) => unreachable!("a slave opens none"),
        };
        // In kind: see the master's side.
        let arrived = if held_ns(&report, self.sent) > 0 && !self.config.compat { arrived } else { now.real };
        let answer = Report { diff: report.time.wrapping_sub(arrived.nanos()), time: now.real.nanos() };
        self.write(self.expected_seq.wrapping_add(1), Inner::Report(answer), out);
        self.expected_seq = self.expected_seq.wrapping_add(2);
        self.sent = now.real;
        self.deadline = now.raw.plus(SATURN_PATIENCE_NS);
        self.legs += 1;
        Outcome::Answer
    }

    fn write(&self, seq: i32, inner: Inner, out: &mut Vec<u8>) {
        let mut message = TxMsg { id: self.id.clone(), sig: Vec::with_capacity(32), seq, inner: Some(inner) };
        self.config.key.sign(&mut message);
        message.write(out);
    }
}

#[cfg(test)]
mod tests;
