//! The master as a state machine. A datagram is opened (parsed, verified, placed), then the caller reads its clocks and
//! has it answered: so the time in the answer is read as late as the protocol allows. Any number of slaves, in a table
//! of fixed size; what is wrong is counted by its reason and changes nothing else.

use super::key::Key;
use super::message::{Fin, Inner, Report, TxMsg};
use super::offset::{self, Estimate, Trip};
use super::table::{Digest, Place, Table};
use super::{Reading, Refusal, Refusals, held_ns, is_absurd};
use crate::limits::{ROUNDS_MAX, SATURN_ENDED_MAX, SATURN_SWEEP_NS, SATURN_TRANSACTIONS_MAX};
use crate::unit::{RawTime, RealTime};

/// A first report's time has nineteen digits, as every Unix time in nanoseconds has from September 2001 to 2286. With
/// fewer it is one whose first digits were moved to the number or the id, where the signature does not see it.
const INITIAL_TIME_MIN_NS: i64 = 1_000_000_000_000_000_000;

/// How a master is to behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key all share.
    pub key: Key,
    /// Trips of a transaction, 1 to [`ROUNDS_MAX`].
    pub rounds: u32,
    /// Compute as Saturn does, read the clock when Saturn does, and take every field that Saturn takes.
    pub compat: bool,
}

/// A master.
pub struct Master {
    config: Config,
    table: Table,
    next_sweep: RawTime,
    refusals: Refusals,
    counters: Counters,
}

/// What a master has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions begun.
    pub begun: u64,
    /// Transactions that came to an offset.
    pub finished: u64,
    /// Transactions abandoned by their slave.
    pub expired: u64,
}

/// A datagram that is genuine and expected, waiting to be answered.
pub struct Opened {
    message: TxMsg,
    digest: Digest,
    place: Option<Place>,
}

/// What came of a datagram.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The answer is to be sent.
    Answer,
    /// The answer is to be sent, and with it the transaction is finished.
    Finished(Finished),
    /// The slave has ended the transaction; nothing is to be sent.
    Ended,
}

/// A finished transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Its id.
    pub id: Vec<u8>,
    /// What the slave calls itself.
    pub name: Vec<u8>,
    /// What was found.
    pub estimate: Estimate,
    /// Trips made.
    pub trips: u32,
}

impl Master {
    /// A master without transactions. `seed` is a random number that nobody knows.
    ///
    /// # Panics
    /// If `rounds` is out of range: that is to be checked where it is read.
    #[must_use]
    pub fn new(config: Config, now: RawTime, seed: u64) -> Self {
        assert!((1..=ROUNDS_MAX).contains(&config.rounds), "rounds are checked where they are read");
        Master {
            table: Table::new(SATURN_TRANSACTIONS_MAX, config.rounds, SATURN_ENDED_MAX, seed),
            config,
            next_sweep: now.plus(SATURN_SWEEP_NS),
            refusals: Refusals::default(),
            counters: Counters::default(),
        }
    }

    /// Why datagrams were refused, and how often.
    #[must_use]
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What has been done.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Transactions under way.
    #[must_use]
    pub fn live(&self) -> usize {
        self.table.live()
    }

    /// When [`Master::sweep`] has something to do next.
    #[must_use]
    pub const fn deadline(&self) -> RawTime {
        self.next_sweep
    }

    /// Drops abandoned transactions if it is time for that.
    pub fn sweep(&mut self, now: RawTime) {
        if now >= self.next_sweep {
            self.next_sweep = now.plus(SATURN_SWEEP_NS);
            self.counters.expired += self.table.expire(now) as u64;
        }
    }

    /// Parses and verifies a datagram and finds its transaction.
    ///
    /// # Errors
    /// The reason for which it is refused; it has been counted.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Opened, Refusal> {
        self.checked(datagram).inspect_err(|reason| self.refusals.count(*reason))
    }

    fn checked(&mut self, datagram: &[u8]) -> Result<Opened, Refusal> {
        let message = TxMsg::read(datagram)?;
        if !self.config.key.is_genuine(&message) {
            return Err(Refusal::BadSignature);
        }
        let digest = self.table.digest(&message.id);
        let place = self.table.find(&digest);
        let inner = message.inner.as_ref().expect("read() refuses messages that say nothing");
        match (place, inner) {
            (None, _) if self.table.has_ended(&digest) => Err(Refusal::Replayed),
            (None, Inner::InitialReport(_)) if self.table.is_full() => Err(Refusal::TableFull),
            (None, Inner::InitialReport(report)) => {
                // Digits moved from the time to the number, or from the number to the id, keep the signature right.
                let absurd = message.seq != 1 || report.time < INITIAL_TIME_MIN_NS;
                if absurd && !self.config.compat { Err(Refusal::Absurd) } else { Ok(()) }
            }
            (None, _) => Err(Refusal::UnknownTransaction),
            (Some(place), inner) => {
                let transaction = self.table.transaction(place);
                if message.seq != transaction.expected_seq {
                    return Err(Refusal::WrongSeq);
                }
                match inner {
                    Inner::InitialReport(_) => Err(Refusal::WrongKind),
                    Inner::Report(report) => {
                        // Digits moved from one field to the other, and reports on another message, do not add up.
                        if is_absurd(report, transaction.sent) && !self.config.compat {
                            Err(Refusal::Absurd)
                        } else {
                            Ok(())
                        }
                    }
                    Inner::Fin(_) => Ok(()),
                }
            }
        }?;
        Ok(Opened { message, digest, place })
    }

    /// Answers an opened datagram that `arrived` by the best stamp there is (on the clock of `now.real`), into `out`.
    /// To be called at once after [`Master::open`], with clocks read in between.
    pub fn answer(&mut self, opened: Opened, arrived: RealTime, now: Reading, out: &mut Vec<u8>) -> Outcome {
        let Opened { mut message, digest, place } = opened;
        let seq = message.seq;
        let mut finished = None;
        let answer = match message.inner.take().expect("only what says something is opened") {
            Inner::InitialReport(initial) => {
                self.counters.begun += 1;
                self.table.begin(digest, &initial.name, seq.wrapping_add(2), now.real, now.raw);
                let arrived = if self.config.compat { now.real } else { arrived };
                self.report(initial.time, arrived, now)
            }
            Inner::Report(report) => {
                let place = place.expect("a report without a transaction is not opened");
                // A peer that stamps arrival and departure apart is answered in kind. One that reads its clock once,
                // when it gets to it, is too: then both ways have the same share of handling in them, which cancels.
                let held_ns = held_ns(&report, self.table.transaction(place).sent);
                let arrived = if held_ns > 0 && !self.config.compat { arrived } else { now.real };
                let transaction = self.table.transaction(place);
                let trip = Trip {
                    master_diff_ns: report.time.wrapping_sub(arrived.nanos()),
                    slave_diff_ns: report.diff,
                    rtt_ns: now.raw.since(transaction.handled),
                };
                transaction.expected_seq = seq.wrapping_add(2);
                transaction.sent = now.real;
                transaction.handled = now.raw;
                let trips = self.table.add_trip(place, trip);
                if trips < self.config.rounds {
                    self.report(report.time, arrived, now)
                } else {
                    let estimate = self.finish(place, &message.id, trips, &mut finished);
                    Inner::Fin(Fin::new(estimate.offset_ms))
                }
            }
            Inner::Fin(_) => {
                self.table.end(place.expect("an end without a transaction is not opened"));
                return Outcome::Ended;
            }
        };
        message.seq = seq.wrapping_add(1);
        message.inner = Some(answer);
        self.config.key.sign(&mut message);
        message.write(out);
        finished.map_or(Outcome::Answer, Outcome::Finished)
    }

    fn report(&self, told: i64, arrived: RealTime, now: Reading) -> Inner {
        Inner::Report(Report { diff: told.wrapping_sub(arrived.nanos()), time: now.real.nanos() })
    }

    fn finish(&mut self, place: Place, id: &[u8], trips: u32, finished: &mut Option<Finished>) -> Estimate {
        self.counters.finished += 1;
        let all = self.table.trips(place);
        let estimate = if self.config.compat { offset::as_saturn(all) } else { offset::lowest_delay(all) };
        *finished = Some(Finished { id: id.into(), name: self.table.name(place).into(), estimate, trips });
        self.table.end(place);
        estimate
    }
}

#[cfg(test)]
mod tests;
