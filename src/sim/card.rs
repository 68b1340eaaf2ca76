//! A network card's clock apart from the node's oscillator (a PHC that runs freely): stamps are taken by it, and
//! brought to raw time over a relation that the node measures by reading both clocks together. Knows neither packets
//! nor the truth of that relation.

use super::law::Law;
use super::oscillator::{FineRaw, Oscillator};
use super::random::Stream;
use super::world::TrueNs;
use crate::unit::RawTime;

/// Readings behind the line between the two clocks: a second of ticks.
const READINGS: usize = 16;
/// A reading further from the line than this ends it, ns: one of the clocks has jumped.
const JUMP_NS: f64 = 100_000.0;

/// A card's clock and what the node knows of it.
#[derive(Clone, Debug)]
pub struct Card {
    oscillator: Oscillator,
    read_noise: Law,
    /// A reading cannot be wrong by more than half of this, ns.
    read_width_ns: f64,
    stream: Stream,
    /// Card time, whole ns, and raw minus card, ns relative to `base_ns`; oldest first.
    readings: Vec<(i64, f64)>,
    base_ns: i64,
    /// The line: raw minus card is `base_ns + offset_ns + rate * (card - origin_ns)`.
    origin_ns: i64,
    offset_ns: f64,
    rate: f64,
}

impl Card {
    /// A card whose clock nobody has read yet; a reading of both clocks is off by `read_noise`, and never by more than
    /// half of `read_width_ns`: so long it takes.
    #[must_use]
    pub fn new(oscillator: Oscillator, read_noise: Law, read_width_ns: f64, stream: Stream) -> Self {
        let readings = Vec::with_capacity(READINGS);
        Card {
            oscillator,
            read_noise,
            read_width_ns,
            stream,
            readings,
            base_ns: 0,
            origin_ns: 0,
            offset_ns: 0.0,
            rate: 0.0,
        }
    }

    /// The card's clock now.
    pub fn read(&mut self, now: TrueNs) -> FineRaw {
        self.oscillator.read(now)
    }

    /// The card's present rate against true time.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.oscillator.rate()
    }

    /// Both clocks are read together; the line is drawn anew.
    pub fn measure(&mut self, now: TrueNs, raw: FineRaw) {
        let card = self.oscillator.read(now);
        let most_ns = self.read_width_ns / 2.0;
        let noise_ns = self.read_noise.draw(&mut self.stream).clamp(-most_ns, most_ns);
        let apart_ns =
            |base_ns: i64| (raw.nanos - card.nanos - base_ns) as f64 + (raw.frac_ns - card.frac_ns) + noise_ns;
        let expected = self.offset_ns + self.rate * (card.nanos - self.origin_ns) as f64;
        if self.readings.is_empty() || (apart_ns(self.base_ns) - expected).abs() > JUMP_NS {
            self.readings.clear();
            self.base_ns = raw.nanos - card.nanos;
            self.rate = 0.0;
        }
        if self.readings.len() == READINGS {
            self.readings.remove(0);
        }
        self.readings.push((card.nanos, apart_ns(self.base_ns)));
        self.fit(card.nanos);
    }

    /// A stamp of the card on the node's raw scale.
    #[must_use]
    pub fn to_raw(&self, stamp: RawTime) -> RawTime {
        let card_ns = stamp.nanos();
        let more_ns = self.offset_ns + self.rate * card_ns.wrapping_sub(self.origin_ns) as f64;
        RawTime::from_nanos(card_ns.wrapping_add(self.base_ns).wrapping_add(more_ns.round() as i64))
    }

    /// By how much a stamp brought to raw time can be wrong beyond the delay that it measures, ns: the truth is inside
    /// of the newest reading, and the line is that far from its middle. Infinite while there is no line.
    #[must_use]
    pub fn doubt_ns(&self) -> f64 {
        match self.readings.last() {
            Some((_, apart_ns)) if self.readings.len() > 1 => {
                self.read_width_ns / 2.0 + (apart_ns - self.offset_ns).abs()
            }
            _ => f64::INFINITY,
        }
    }

    fn fit(&mut self, origin_ns: i64) {
        let count = self.readings.len() as f64;
        let at = |(card_ns, _): &(i64, f64)| (card_ns - origin_ns) as f64;
        let mean_t = self.readings.iter().map(at).sum::<f64>() / count;
        let mean_y = self.readings.iter().map(|(_, y)| y).sum::<f64>() / count;
        let spread = self.readings.iter().map(|r| (at(r) - mean_t).powi(2)).sum::<f64>();
        if spread > 0.0 {
            self.rate = self.readings.iter().map(|r| (at(r) - mean_t) * (r.1 - mean_y)).sum::<f64>() / spread;
        }
        self.origin_ns = origin_ns;
        self.offset_ns = mean_y - self.rate * mean_t;
    }
}

#[cfg(test)]
mod tests {
    use super::super::oscillator::Quality;
    use super::super::random::Purpose;
    use super::super::world::SECOND_NS;
    use super::*;

    fn oscillator(rate: f64, start_ns: i64, n: u64) -> Oscillator {
        let quality = Quality { rate, wander: 1e-9, ..Quality::default() };
        Oscillator::new(quality, start_ns, Stream::new(3, Purpose::Oscillator, n, 0))
    }

    /// Errors of converted stamps, ns, of a card 10 s and 60 ppm apart that is read 16 times a second.
    fn errors(noise: &str) -> Vec<f64> {
        let mut raw = oscillator(20e-6, 5_000_000_000, 0);
        let card = oscillator(-40e-6, 15_000_000_000, 1);
        let mut card = Card::new(card, noise.parse().unwrap(), 1_000.0, Stream::new(3, Purpose::Card, 0, 0));
        let mut errors = Vec::new();
        for tick in 0..1_600 {
            let now = tick * SECOND_NS / 16;
            card.measure(now, raw.read(now));
            let between = now + SECOND_NS / 32;
            let (stamp, truth) = (RawTime::from_nanos(card.read(between).nanos), raw.read(between));
            if tick >= 16 {
                errors.push((card.to_raw(stamp).nanos() - truth.nanos) as f64);
            }
        }
        errors
    }

    #[test]
    fn a_stamp_of_the_card_is_brought_to_raw_time_however_far_apart_the_clocks_are() {
        assert!(errors("none").iter().all(|error| error.abs() <= 2.0));
    }

    #[test]
    fn the_noise_of_reading_it_is_averaged_over_the_readings() {
        let errors = errors("normal 100ns");
        let rms = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
        // At the end of a line through 16 readings: 100 ns times 2 / sqrt(16), and a little for the half tick beyond.
        assert!((35.0..70.0).contains(&rms), "{rms} ns");
    }

    #[test]
    fn a_raw_clock_that_jumps_begins_a_new_line() {
        let mut raw = oscillator(0.0, 5_000_000_000, 0);
        let mut card = Card::new(oscillator(0.0, 7, 1), Law::ZERO, 100.0, Stream::new(3, Purpose::Card, 0, 0));
        card.measure(0, raw.read(0));
        raw.jump(SECOND_NS, 200_000_000);
        card.measure(SECOND_NS, raw.read(SECOND_NS));
        let stamp = RawTime::from_nanos(card.read(SECOND_NS).nanos);
        assert!((card.to_raw(stamp).nanos() - raw.read(SECOND_NS).nanos).abs() <= 2);
    }
}
