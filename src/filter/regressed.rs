//! The edge filter of `regression`: a weighted straight line through the newest samples, as many of them as a runs test
//! allows. While clocks hold still the residuals change sign at random, and the line may be long; when a clock wanders
//! they come in runs of one sign, and the oldest samples go until they do not. The method of chrony as its manual and
//! papers tell it; written from that description.
//!
//! - at most 64 samples, at least 8 once there are so many;
//! - a sample's weight is 1 / (1 + (delay - least) / spread)², the spread of delays being (median - least) / 0.7;
//! - a sample whose delay exceeds the least by so much that it could be off by more than ten standard deviations of the
//!   line's residuals is left out; sixteen in a row mean another route, and all begins anew;
//! - the window is the longest in which the runs of residual signs are not fewer than chance allows (5 %).
//!
//! Assumes noise without a memory and a rate that is constant within the window. Costs up to 64 fits of 64 samples per
//! exchange after a jump, one or two otherwise. About 3 KiB.

use super::stream::{Line, RATE_PRIOR, Sample, Stream, bounded};
use super::{EdgeFilter, Fetch, Hard, Outcome, Pair, Scores, fetch_whole};
use crate::flow::{Exchange, Relation};
use crate::unit::RawTime;

/// The longest window.
const SAMPLES_MAX: usize = 64;
/// The shortest that the runs test may leave.
const SAMPLES_MIN: usize = 8;
/// Fewer make no line.
const LINE_MIN: usize = 3;
/// A delay may exceed the least one by so much that the sample could be off by this many standard deviations.
const DELAY_SIGMAS: f64 = 10.0;
/// Samples left out in a row that mean that the least delay is of another route.
const LEFT_OUT_MAX: u32 = 16;
/// 5 % of normal deviates lie below minus this.
const RUNS_QUANTILE: f64 = 1.645;
/// No clock is read better, ns².
const NOISE_MIN: f64 = 1.0;

/// A regression over a window chosen by a runs test.
#[derive(Clone, Debug)]
pub struct Regressed {
    stream: Stream,
    /// Oldest first.
    samples: [Sample; SAMPLES_MAX],
    weights: [f64; SAMPLES_MAX],
    count: usize,
    line: Option<Line>,
    left_out: u32,
    wander: f64,
}

impl Default for Regressed {
    fn default() -> Self {
        Regressed::new()
    }
}

impl Regressed {
    /// A filter that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Regressed {
            stream: Stream::new(),
            samples: [Sample::default(); SAMPLES_MAX],
            weights: [1.0; SAMPLES_MAX],
            count: 0,
            line: None,
            left_out: 0,
            wander: 0.0,
        }
    }

    fn keep(&mut self, sample: Sample) {
        if self.count == SAMPLES_MAX {
            self.drop_oldest();
        }
        self.samples[self.count] = sample;
        self.count += 1;
    }

    fn drop_oldest(&mut self) {
        self.samples.copy_within(1..self.count, 0);
        self.weights.copy_within(1..self.count, 0);
        self.count -= 1;
    }

    /// Whether the sample's delay says that it may be far off what the line already knows.
    fn is_slow(&self, sample: &Sample) -> bool {
        let Some(line) = self.line.filter(|_| self.count >= SAMPLES_MIN) else { return false };
        let least_ns = self.samples[..self.count].iter().map(|s| s.half_ns).fold(f64::INFINITY, f64::min);
        sample.half_ns - least_ns > DELAY_SIGMAS * line.noise_var.sqrt()
    }

    /// Weighs the window's samples by their delays.
    fn weigh(&mut self) {
        let mut halves = [0.0; SAMPLES_MAX];
        let halves = &mut halves[..self.count];
        for (half, sample) in halves.iter_mut().zip(&self.samples) {
            *half = sample.half_ns;
        }
        halves.sort_unstable_by(f64::total_cmp);
        let spread_ns = ((halves[self.count / 2] - halves[0]) / 0.7).max(1.0);
        for (weight, sample) in self.weights.iter_mut().zip(&self.samples[..self.count]) {
            let far = 1.0 + (sample.half_ns - halves[0]) / spread_ns;
            *weight = 1.0 / (far * far);
        }
    }

    /// Draws the line anew, dropping the oldest samples until its residuals look like chance.
    fn fit(&mut self) {
        self.weigh();
        loop {
            let (samples, weights) = (&self.samples[..self.count], &self.weights[..self.count]);
            let fitted = Fitted::of(samples, weights);
            if self.count <= SAMPLES_MIN || !fitted.is_bent(samples) {
                self.line = Some(fitted.line(samples, weights));
                return;
            }
            self.drop_oldest();
        }
    }
}

/// A weighted least-squares line: offset at the newest sample, and slope.
struct Fitted {
    newest_s: f64,
    offset_ns: f64,
    slope: f64,
    /// Sums of weights, of weighted times and of their squares.
    normal: [f64; 3],
}

impl Fitted {
    fn of(samples: &[Sample], weights: &[f64]) -> Self {
        let newest_s = samples[samples.len() - 1].t_s;
        let (mut w0, mut w1, mut w2, mut y0, mut y1) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (sample, w) in samples.iter().zip(weights) {
            let t = sample.t_s - newest_s;
            (w0, w1, w2) = (w0 + w, w1 + w * t, w2 + w * t * t);
            (y0, y1) = (y0 + w * sample.offset_ns, y1 + w * t * sample.offset_ns);
        }
        let slope = determinant([w0, w1, w2]).map_or(0.0, |det| bounded((w0 * y1 - w1 * y0) / det));
        Fitted { newest_s, offset_ns: (y0 - slope * w1) / w0, slope, normal: [w0, w1, w2] }
    }

    fn residual(&self, sample: &Sample) -> f64 {
        sample.offset_ns - self.offset_ns - self.slope * (sample.t_s - self.newest_s)
    }

    /// Fewer runs of equal sign than chance explains: the truth is no straight line. A residual of zero has the sign of
    /// the one before it, so that the other end of the edge counts the same.
    fn is_bent(&self, samples: &[Sample]) -> bool {
        let (mut above, mut below, mut runs) = (0.0, 0.0, 0.0);
        let mut last = 0.0;
        for sample in samples {
            let residual = self.residual(sample);
            let sign = if residual == 0.0 { last } else { residual.signum() };
            runs += f64::from(sign != last);
            above += f64::from(sign > 0.0);
            below += f64::from(sign < 0.0);
            last = sign;
        }
        let signs: f64 = above + below;
        let expected = 2.0 * above * below / signs + 1.0;
        let variance = (expected - 1.0) * (expected - 2.0) / (signs - 1.0);
        runs < expected - RUNS_QUANTILE * variance.max(0.0).sqrt()
    }

    fn line(&self, samples: &[Sample], weights: &[f64]) -> Line {
        let [w0, w1, w2] = self.normal;
        let count = samples.len() as f64;
        let squares: f64 = samples.iter().zip(weights).map(|(s, w)| w * self.residual(s).powi(2)).sum();
        // Of a sample of mean weight.
        let noise_var = (squares / w0 * count / (count - 2.0)).max(NOISE_MIN);
        let each_var = noise_var * w0 / count;
        let (offset_var, cross, rate_var) = match determinant(self.normal) {
            Some(det) => (each_var * w2 / det, -each_var * w1 / det, each_var * w0 / det),
            None => (each_var / w0, 0.0, RATE_PRIOR * RATE_PRIOR),
        };
        Line { offset_ns: self.offset_ns, rate: self.slope, offset_var, cross, rate_var, noise_var }
    }
}

/// Of the normal equations; `None` if samples lie too close together, against how far they are from the newest, to have
/// a slope.
fn determinant([w0, w1, w2]: [f64; 3]) -> Option<f64> {
    Some(w0 * w2 - w1 * w1).filter(|det| *det > 1e-12 * w0 * w2)
}

impl EdgeFilter for Regressed {
    fn on_exchange(&mut self, exchange: &Exchange, pair: &Pair) -> Outcome {
        let rate = self.line.map_or(0.0, |line| line.rate);
        let (sample, since_s) = match self.stream.take(exchange, rate) {
            Ok(taken) => taken,
            Err(outcome) => return outcome,
        };
        self.wander = pair.wander;
        let mut outcome = Outcome::Taken;
        if self.is_slow(&sample) {
            self.left_out += 1;
            if self.left_out < LEFT_OUT_MAX {
                // It is not a sample, but time has passed.
                if let Some(line) = &mut self.line {
                    line.carry(since_s, pair.wander * 1e18);
                }
                return Outcome::Clipped;
            }
            (self.count, outcome) = (0, Outcome::RouteChanged);
        }
        self.left_out = 0;
        self.keep(sample);
        if self.count >= LINE_MIN {
            self.fit();
        } else if let Some(line) = &mut self.line {
            // A new route says nothing new of the rate.
            (line.offset_ns, line.offset_var) = (sample.offset_ns, super::prior_var(self.stream.class()));
        } else {
            self.line = Some(Line::through(&sample, self.stream.class()));
        }
        outcome
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
        *self = Regressed::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(offset_ns: impl Fn(f64) -> f64) -> Vec<Sample> {
        // Residuals that alternate in pairs: neither too regular nor too long.
        (0..64)
            .map(|n| (n, f64::from(n) / 8.0))
            .map(|(n, t_s)| Sample {
                t_s,
                offset_ns: offset_ns(t_s) + [3.0, -2.0, 2.0, 2.0, -3.0, -2.0][n as usize % 6],
                half_ns: 10_000.0,
            })
            .collect()
    }

    #[test]
    fn a_straight_line_keeps_the_whole_window_and_is_found() {
        let mut filter = Regressed::new();
        for sample in samples(|t| 500.0 + 40_000.0 * t) {
            filter.keep(sample);
        }
        filter.fit();
        let line = filter.line.unwrap();
        assert_eq!(filter.count, 64);
        assert!((line.rate - 40_000.0).abs() < 1.0, "{line:?}");
        assert!((line.offset_ns - (500.0 + 40_000.0 * 63.0 / 8.0)).abs() < 2.0, "{line:?}");
        assert!((2.0..9.0).contains(&line.noise_var), "{line:?}");
    }

    #[test]
    fn a_bend_shortens_the_window() {
        let mut filter = Regressed::new();
        for sample in samples(|t| 30.0 * t * t) {
            filter.keep(sample);
        }
        filter.fit();
        assert!((SAMPLES_MIN..24).contains(&filter.count), "{} samples of a parabola", filter.count);
    }

    #[test]
    fn a_slow_sample_weighs_less() {
        let mut filter = Regressed::new();
        for (n, mut sample) in samples(|_| 0.0).into_iter().enumerate() {
            sample.half_ns += 100.0 * (n % 8) as f64;
            filter.keep(sample);
        }
        filter.weigh();
        assert_eq!(filter.weights[0], 1.0);
        // Its delay exceeds the least by 700 ns, and the median does by 400.
        let far = 1.0 + 700.0 / (400.0 / 0.7);
        assert!((filter.weights[7] - 1.0 / (far * far)).abs() < 1e-12, "{}", filter.weights[7]);
    }
}
