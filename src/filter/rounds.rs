//! The edge filter of `saturn`: exchanges are taken in rounds; of each round the trips whose round trip is below its
//! 60th percentile are kept, and the mean of their offsets is the offset, at the mean of their times. That is the
//! filter of Saturn's final code (rounds of 5 trips, keep those strictly below the trip at index max(3, 0.6 n); if all
//! are alike, all are kept, where Saturn gave NaN). New is the frequency term: the slope from round to round,
//! smoothed.
//!
//! Assumes that a short round trip is an even one. No model of noise, no gate: a clock that jumps is followed within a
//! round. About 0.8 KiB; an exchange costs an insertion into a handful.

use super::stream::{Line, Sample, Stream, bounded, known};
use super::{EdgeFilter, Fetch, Hard, Outcome, Pair, Scores, fetch_whole};
use crate::flow::{Exchange, Relation};
use crate::unit::RawTime;

/// Trips of one round.
const TRIPS: usize = 5;
/// The kept are those below the trip at this place of the ascending round trips: max(3, 0.6 * 5).
const CUT: usize = 3;
/// Share of a round's surprise that goes into the rate, once there have been enough rounds to average over.
const RATE_GAIN: f64 = 0.1;
/// Memory of how wrong rounds are.
const NOISE_GAIN: f64 = 1.0 / 16.0;

/// Rounds of trips. About 0.8 KiB.
#[derive(Clone, Debug)]
pub struct Rounds {
    stream: Stream,
    trips: [Sample; TRIPS],
    filled: usize,
    rounds: u32,
    /// When the last round was, at the mean of its kept trips, seconds of the stream, and the line there.
    at_s: f64,
    /// The line at the newest exchange.
    line: Option<Line>,
    /// Mean square of what a round's offset was off the line before it, ns².
    surprise: f64,
    wander: f64,
}

impl Default for Rounds {
    fn default() -> Self {
        Rounds::new()
    }
}

impl Rounds {
    /// A filter that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Rounds {
            stream: Stream::new(),
            trips: [Sample::default(); TRIPS],
            filled: 0,
            rounds: 0,
            at_s: 0.0,
            line: None,
            surprise: 0.0,
            wander: 0.0,
        }
    }

    /// Takes in a full round; `now_s` is the newest exchange's time, to which the line has been carried.
    fn close(&mut self, now_s: f64) {
        let kept = Kept::of(&self.trips);
        let Some(line) = &mut self.line else { return };
        let noise = kept.offset_var.max(1.0);
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds == 1 {
            // One round has a slope of its own, rough as it is.
            line.rate = bounded(kept.slope);
            line.rate_var = kept.slope_var;
            self.surprise = noise;
        } else {
            let apart_s = kept.at_s - self.at_s;
            let before_ns = line.offset_ns + line.rate * (kept.at_s - now_s);
            let off_ns = kept.offset_ns - before_ns;
            let gain = RATE_GAIN.max(1.0 / f64::from(self.rounds));
            line.rate = bounded(line.rate + gain * off_ns / apart_s);
            self.surprise += NOISE_GAIN.max(1.0 / f64::from(self.rounds)) * (off_ns * off_ns - self.surprise);
            line.rate_var = gain * self.surprise / (apart_s * apart_s);
        }
        let later_s = now_s - kept.at_s;
        // The offset is the round's, as Saturn's was: nothing of earlier rounds is in it.
        line.offset_ns = kept.offset_ns + line.rate * later_s;
        line.offset_var = self.surprise.max(noise) + later_s * later_s * line.rate_var;
        line.cross = later_s * line.rate_var;
        line.noise_var = noise * kept.count;
        self.at_s = kept.at_s;
        self.surprise = known(self.surprise);
        line.bound();
    }
}

/// What is kept of a round.
struct Kept {
    at_s: f64,
    offset_ns: f64,
    count: f64,
    /// Variance of the mean offset, ns².
    offset_var: f64,
    /// Slope of the offsets, ns a second, and its variance.
    slope: f64,
    slope_var: f64,
}

impl Kept {
    fn of(trips: &[Sample; TRIPS]) -> Self {
        let mut halves = trips.map(|trip| trip.half_ns);
        halves.sort_unstable_by(f64::total_cmp);
        let cut = if halves[0] < halves[CUT] { halves[CUT] } else { f64::INFINITY };
        let kept = || trips.iter().filter(|trip| trip.half_ns < cut);
        let count = kept().count() as f64;
        let at_s = kept().map(|trip| trip.t_s).sum::<f64>() / count;
        let offset_ns = kept().map(|trip| trip.offset_ns).sum::<f64>() / count;
        let (mut tt, mut ty) = (0.0, 0.0);
        for trip in kept() {
            let t = trip.t_s - at_s;
            (tt, ty) = (tt + t * t, ty + t * (trip.offset_ns - offset_ns));
        }
        let slope = if tt > 0.0 { ty / tt } else { 0.0 };
        let off = |trip: &Sample| trip.offset_ns - offset_ns - slope * (trip.t_s - at_s);
        let squares = kept().map(|trip| off(trip) * off(trip)).sum::<f64>();
        // Half of the excess round trip is how far a kept trip may be off by itself.
        let excess = halves[CUT.min(TRIPS - 1)] - halves[0];
        let trip_var = (squares / (count - 2.0).max(1.0)).max(excess * excess / 3.0).max(1.0);
        let slope_var = if tt > 0.0 { trip_var / tt } else { f64::MAX.sqrt() };
        Kept { at_s, offset_ns, count, offset_var: trip_var / count, slope, slope_var }
    }
}

impl EdgeFilter for Rounds {
    fn on_exchange(&mut self, exchange: &Exchange, pair: &Pair) -> Outcome {
        let rate = self.line.map_or(0.0, |line| line.rate);
        let (sample, since_s) = match self.stream.take(exchange, rate) {
            Ok(taken) => taken,
            Err(outcome) => return outcome,
        };
        self.wander = pair.wander;
        match &mut self.line {
            None => self.line = Some(Line::through(&sample, self.stream.class())),
            Some(line) if self.rounds == 0 => {
                // Before the first round is full the newest trip is all there is.
                *line = Line { offset_ns: sample.offset_ns, ..*line };
            }
            Some(line) => line.carry(since_s, pair.wander * 1e18),
        }
        self.trips[self.filled] = sample;
        self.filled += 1;
        if self.filled == TRIPS {
            self.filled = 0;
            self.close(sample.t_s);
        }
        Outcome::Taken
    }

    fn relation(&self, at: RawTime) -> Option<Relation> {
        self.stream.relation(at, self.line.as_ref()?, self.wander)
    }

    fn hard(&self, at: RawTime) -> Option<Hard> {
        self.line.as_ref().and_then(|_| self.stream.hard(at))
    }

    fn scores(&self) -> Scores<'_> {
        Scores { wander: &[], log_likelihood: &[], samples: 0 }
    }

    fn foresee(&self, fetch: Fetch) {
        fetch_whole(self, fetch);
    }

    fn reset(&mut self) {
        *self = Rounds::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trip(half_ns: f64, offset_ns: f64) -> Sample {
        Sample { t_s: 0.0, offset_ns, half_ns }
    }

    #[test]
    fn a_round_keeps_the_trips_that_saturn_kept() {
        // Saturn's own numbers: of five trips in a ramp the three shortest, mean 2.
        let ramp = [1.0, 2.0, 3.0, 4.0, 5.0].map(|n| trip(n, n));
        let kept = Kept::of(&ramp);
        assert_eq!((kept.count, kept.offset_ns), (3.0, 2.0));
        // Round trips 1, 2, 3, 3, 5: both threes are dropped.
        let ties = [1.0, 2.0, 3.0, 3.0, 5.0].map(|n| trip(n, n));
        assert_eq!((Kept::of(&ties).count, Kept::of(&ties).offset_ns), (2.0, 1.5));
    }

    #[test]
    fn a_round_of_equal_round_trips_is_kept_whole_where_saturn_gave_nan() {
        assert_eq!(Kept::of(&[1.0, 2.0, 3.0, 4.0, 5.0].map(|n| trip(7.0, n))).offset_ns, 3.0);
    }
}
