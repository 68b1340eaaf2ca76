//! The raw oscillator of a simulated node: true time in, raw time out. Its path is decided by its stream alone; how
//! often it is read changes nothing. It cannot be steered: corrections go to the delivered clock.
//!
//! The path is drawn in cells, [`CELL_NS`] long unless told: frequency takes the exact random-walk step over the cell,
//! phase the exact step given that (both from the joint normal law of a double integral of white noise), and inside a
//! cell the raw clock runs straight. What that leaves out is below w * cell^1.5 / sqrt(12): 6 ps at w = 1e-8 per
//! sqrt(s) and cells of 1/64 s.

use super::random::Stream;
use super::world::{SECOND_NS, TrueNs};

/// Length of one straight piece of the path unless told: 1/64 s.
pub const CELL_NS: i64 = SECOND_NS / 64;
/// Who waits for an oscillator that stands still looks no more often than this.
const LOOK_AGAIN_NS: i64 = 1_000_000;
/// Time constants of the four relaxations whose sum makes flicker noise between 1 and 1000 s.
const FLICKER_TAU_S: [f64; 4] = [1.0, 10.0, 100.0, 1_000.0];

/// What an oscillator is like: the figures of its datasheet.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Quality {
    /// Frequency error at the start (seconds per second, positive = fast).
    pub rate: f64,
    /// Random-walk frequency noise w (per square root of a second): Allan variance w² tau / 3.
    pub wander: f64,
    /// White frequency noise: Allan deviation at 1 s.
    pub white: f64,
    /// Flicker frequency noise: Allan deviation of its floor, roughly flat from 1 to 1000 s.
    pub flicker: f64,
    /// Frequency swing of a temperature cycle (seconds per second, peak).
    pub temperature_amplitude: f64,
    /// Period of the temperature cycle, s.
    pub temperature_period_s: f64,
}

/// A point on the raw scale finer than the integer nanoseconds that a node can read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FineRaw {
    /// Whole nanoseconds.
    pub nanos: i64,
    /// The rest, in [0, 1) ns.
    pub frac_ns: f64,
}

impl FineRaw {
    /// The raw time `after_ns` of true time later, at this rate against it.
    #[must_use]
    pub fn after(self, after_ns: TrueNs, rate: f64) -> Self {
        if after_ns == 0 {
            return self;
        }
        let moved = self.frac_ns + rate * after_ns as f64;
        let whole = moved.floor();
        FineRaw { nanos: self.nanos + after_ns + whole as i64, frac_ns: moved - whole }
    }
}

/// A free-running oscillator. May be read at any time not before the last reading's cell.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Oscillator {
    // What every reading needs first: one cache line.
    /// End of the present cell, where the next piece is drawn.
    cell_end: TrueNs,
    cell_ns: i64,
    /// Where the present straight piece begins.
    anchor: TrueNs,
    raw: FineRaw,
    /// Rate of the present piece against true time.
    slope: f64,
    stopped: bool,
    quality: Quality,
    stream: Stream,
    /// What the random pieces add to the slope until the cell's end; jumps of frequency add to the rest.
    walk: f64,
    flicker: [f64; 4],
    phase: f64,
    warming: Vec<Warming>,
}

/// A frequency that changes by `change` with a time constant: a step of temperature reaching the crystal.
#[derive(Clone, Copy, Debug)]
struct Warming {
    from: TrueNs,
    change: f64,
    tau_s: f64,
}

impl Oscillator {
    /// An oscillator that reads `raw_start_ns` at true time zero.
    #[must_use]
    pub fn new(quality: Quality, raw_start_ns: i64, stream: Stream) -> Self {
        Oscillator::in_cells(quality, raw_start_ns, CELL_NS, stream)
    }

    /// The same with straight pieces of `cell_ns`.
    #[must_use]
    pub fn in_cells(quality: Quality, raw_start_ns: i64, cell_ns: i64, mut stream: Stream) -> Self {
        let phase = std::f64::consts::TAU * stream.unit();
        let flicker = std::array::from_fn(|_| stream.normal() * quality.flicker);
        let mut oscillator = Oscillator {
            quality,
            stream,
            cell_ns,
            cell_end: 0,
            anchor: 0,
            raw: FineRaw { nanos: raw_start_ns, frac_ns: 0.0 },
            slope: 0.0,
            walk: 0.0,
            flicker,
            phase,
            warming: Vec::new(),
            stopped: false,
        };
        oscillator.draw_cell();
        oscillator
    }

    /// The raw clock at `at`.
    pub fn read(&mut self, at: TrueNs) -> FineRaw {
        self.advance(at);
        self.point(at)
    }

    /// The present rate against true time (seconds per second, positive = fast).
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.slope
    }

    /// True time at which the raw clock will be about `raw_ns`, as far as can be told at `now`; never before `now`, and
    /// at most a rounding early. Of an oscillator that stands still nothing can be foretold.
    #[must_use]
    pub fn foresee(&self, raw_ns: i64, now: TrueNs) -> TrueNs {
        let ahead_ns = raw_ns.saturating_sub(self.point(now).nanos);
        if self.stopped && ahead_ns > 0 {
            // It will not be there at all until it goes on: who waits looks again now and then.
            return now.saturating_add(ahead_ns.max(LOOK_AGAIN_NS));
        }
        now.saturating_add((ahead_ns as f64 / (1.0 + self.slope)).ceil().max(0.0) as i64)
    }

    /// The raw clock jumps `by_ns` forward: a migrated or resumed machine. Not backwards: a raw clock never does.
    pub fn jump(&mut self, at: TrueNs, by_ns: i64) {
        self.break_at(at);
        self.raw.nanos += by_ns.max(0);
    }

    /// The frequency changes by `change` at once.
    pub fn jump_rate(&mut self, at: TrueNs, change: f64) {
        self.break_at(at);
        self.quality.rate += change;
        if !self.stopped {
            self.slope += change;
        }
    }

    /// The frequency drifts by `change` with time constant `tau_s`: the oscillator is warmed or cooled.
    pub fn warm(&mut self, at: TrueNs, change: f64, tau_s: f64) {
        self.break_at(at);
        self.warming.push(Warming { from: at, change, tau_s });
    }

    /// The raw clock stands still (a suspended machine) or goes on.
    pub fn stop(&mut self, at: TrueNs, stopped: bool) {
        self.break_at(at);
        self.stopped = stopped;
        self.slope = if stopped { -1.0 } else { self.systematic(at) + self.walk };
    }

    fn advance(&mut self, at: TrueNs) {
        debug_assert!(at >= self.cell_end - self.cell_ns, "a path is read forwards");
        while at >= self.cell_end {
            self.draw_cell();
        }
    }

    /// Ends the present straight piece at `at`; the next begins there.
    fn break_at(&mut self, at: TrueNs) {
        self.raw = self.read(at);
        self.anchor = at;
    }

    fn point(&self, at: TrueNs) -> FineRaw {
        let since = at - self.anchor;
        let moved = self.raw.frac_ns + self.slope * since as f64;
        let whole = moved.floor();
        FineRaw { nanos: self.raw.nanos + since + whole as i64, frac_ns: moved - whole }
    }

    fn draw_cell(&mut self) {
        let start = self.cell_end;
        self.raw = self.point(start);
        self.anchor = start;
        self.cell_end = start + self.cell_ns;
        let cell_s = self.cell_ns as f64 * 1e-9;
        self.walk = 0.0;
        let quality = &mut self.quality;
        if quality.wander > 0.0 {
            // The joint step of (frequency, mean frequency over the cell).
            let (a, b) = (self.stream.normal(), self.stream.normal());
            let step = quality.wander * cell_s.sqrt();
            self.walk += step * (a / 2.0 + b / 12f64.sqrt()) - step * a;
            quality.rate += step * a;
        }
        if quality.white > 0.0 {
            self.walk += quality.white * self.stream.normal() / cell_s.sqrt();
        }
        if quality.flicker > 0.0 {
            for (state, tau_s) in self.flicker.iter_mut().zip(FLICKER_TAU_S) {
                let keep = (-cell_s / tau_s).exp();
                *state = keep * *state + quality.flicker * (1.0 - keep * keep).sqrt() * self.stream.normal();
            }
            // Four relaxations a decade apart of variance s² give an Allan variance near 0.75 s² between their corners.
            self.walk += self.flicker.iter().sum::<f64>() / 0.75f64.sqrt();
        }
        self.slope = if self.stopped { -1.0 } else { self.systematic(start) + self.walk };
    }

    /// The part of the rate that no dice decide, over the cell that begins at `start`.
    fn systematic(&mut self, start: TrueNs) -> f64 {
        let middle = start + self.cell_ns / 2;
        let mut rate = self.quality.rate;
        if self.quality.temperature_amplitude != 0.0 {
            let turns = middle as f64 * 1e-9 / self.quality.temperature_period_s;
            rate += self.quality.temperature_amplitude * (std::f64::consts::TAU * turns + self.phase).sin();
        }
        for step in &self.warming {
            rate += step.change * (1.0 - (-((middle - step.from).max(0) as f64) * 1e-9 / step.tau_s).exp());
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    fn oscillator(quality: Quality, n: u64) -> Oscillator {
        Oscillator::new(quality, 5_000_000_000, Stream::new(7, Purpose::Oscillator, n, 0))
    }

    fn fine_ns(raw: FineRaw) -> f64 {
        (raw.nanos - 5_000_000_000) as f64 + raw.frac_ns
    }

    /// Overlapping Allan deviation at `m` seconds from phases in ns taken once a second.
    fn allan(phase_ns: &[f64], m: usize) -> f64 {
        let terms = phase_ns.len() - 2 * m;
        let sum: f64 = (0..terms).map(|i| (phase_ns[i + 2 * m] - 2.0 * phase_ns[i + m] + phase_ns[i]).powi(2)).sum();
        (sum / (2.0 * terms as f64)).sqrt() * 1e-9 / m as f64
    }

    fn phases(mut oscillator: Oscillator, seconds: i64) -> Vec<f64> {
        (0..seconds).map(|s| fine_ns(oscillator.read(s * SECOND_NS)) - (s * SECOND_NS) as f64).collect()
    }

    #[test]
    fn the_allan_deviation_of_wander_is_w_sqrt_tau_over_three() {
        let w = 1e-9;
        let phase = phases(oscillator(Quality { wander: w, rate: 20e-6, ..Quality::default() }, 0), 40_000);
        for tau in [1usize, 4, 16, 64] {
            let ratio = allan(&phase, tau) / (w * (tau as f64 / 3.0).sqrt());
            assert!((0.9..1.1).contains(&ratio), "tau {tau} s: {ratio} of the theory");
        }
    }

    #[test]
    fn the_allan_deviation_of_white_frequency_noise_falls_with_the_root_of_tau() {
        let phase = phases(oscillator(Quality { white: 1e-10, ..Quality::default() }, 1), 20_000);
        for tau in [1usize, 16, 64] {
            let ratio = allan(&phase, tau) / (1e-10 / (tau as f64).sqrt());
            assert!((0.9..1.1).contains(&ratio), "tau {tau} s: {ratio} of the theory");
        }
    }

    #[test]
    fn the_allan_deviation_of_flicker_noise_is_about_flat() {
        let phase = phases(oscillator(Quality { flicker: 1e-10, ..Quality::default() }, 2), 60_000);
        for tau in [3usize, 10, 30, 100, 300] {
            let ratio = allan(&phase, tau) / 1e-10;
            assert!((0.75..1.35).contains(&ratio), "tau {tau} s: {ratio} of the floor");
        }
    }

    #[test]
    fn how_often_it_is_read_changes_nothing() {
        let quality = Quality { rate: -30e-6, wander: 1e-8, white: 1e-10, flicker: 1e-10, ..Quality::default() };
        let (mut often, mut seldom) = (oscillator(quality.clone(), 3), oscillator(quality, 3));
        let mut at = 0;
        while at < 10 * SECOND_NS {
            at += 777_777;
            often.read(at);
        }
        assert_eq!(often.read(at), seldom.read(at));
    }

    #[test]
    fn coarser_cells_change_the_dice_and_not_the_statistics() {
        let quality = Quality { wander: 1e-9, ..Quality::default() };
        let stream = Stream::new(7, Purpose::Oscillator, 8, 0);
        let phase = phases(Oscillator::in_cells(quality, 5_000_000_000, SECOND_NS / 4, stream), 40_000);
        for tau in [1usize, 16] {
            let ratio = allan(&phase, tau) / (1e-9 * (tau as f64 / 3.0).sqrt());
            assert!((0.9..1.1).contains(&ratio), "tau {tau} s: {ratio} of the theory");
        }
    }

    #[test]
    fn raw_time_never_runs_backwards_and_comes_when_foreseen() {
        let mut oscillator = oscillator(Quality { rate: 50e-6, wander: 1e-7, ..Quality::default() }, 4);
        let mut last = oscillator.read(0).nanos;
        for n in 1..2_000 {
            let at = n * 4_321_987;
            let raw = oscillator.read(at).nanos;
            assert!(raw > last);
            last = raw;
            let seen = oscillator.clone().read(oscillator.foresee(raw + 1_000_000, at)).nanos;
            assert!((seen - raw - 1_000_000).abs() <= 2, "{} ns off", seen - raw - 1_000_000);
        }
    }

    #[test]
    fn jumps_and_stops_show_at_once_and_only_as_much() {
        let mut oscillator = oscillator(Quality { rate: 10e-6, ..Quality::default() }, 5);
        let base = oscillator.read(SECOND_NS).nanos;
        oscillator.jump(SECOND_NS, 200_000_000);
        assert_eq!(oscillator.read(SECOND_NS).nanos - base, 200_000_000);
        oscillator.jump_rate(SECOND_NS, 90e-6);
        assert_eq!(oscillator.read(2 * SECOND_NS).nanos - base, 1_200_100_000);
        oscillator.stop(2 * SECOND_NS, true);
        assert_eq!(oscillator.read(9 * SECOND_NS).nanos - base, 1_200_100_000);
        oscillator.stop(9 * SECOND_NS, false);
        assert_eq!(oscillator.read(10 * SECOND_NS).nanos - base, 2_200_200_000);
    }

    #[test]
    fn a_warmed_oscillator_drifts_to_its_new_frequency() {
        let mut oscillator = oscillator(Quality::default(), 6);
        oscillator.warm(SECOND_NS, 1e-6, 10.0);
        oscillator.read(11 * SECOND_NS);
        assert!((oscillator.rate() - 1e-6 * (1.0 - (-1.0f64).exp())).abs() < 1e-9);
        oscillator.read(200 * SECOND_NS);
        assert!((oscillator.rate() - 1e-6).abs() < 1e-12);
    }

    #[test]
    fn a_temperature_cycle_swings_the_frequency_by_its_amplitude() {
        let quality = Quality { temperature_amplitude: 1e-7, temperature_period_s: 100.0, ..Quality::default() };
        let mut oscillator = oscillator(quality, 7);
        let rates: Vec<f64> = (0..200)
            .map(|s| {
                oscillator.read(s * SECOND_NS);
                oscillator.rate()
            })
            .collect();
        let top = rates.iter().copied().fold(f64::MIN, f64::max);
        let bottom = rates.iter().copied().fold(f64::MAX, f64::min);
        assert!((top - 1e-7).abs() < 1e-9 && (bottom + 1e-7).abs() < 1e-9, "{bottom} .. {top}");
    }
}
