//! How a simulated node takes stamps: who takes them, how far they are off, how coarse they are, and whether the true
//! departure of a packet comes back at all.

use super::law::Law;
use super::oscillator::FineRaw;
use super::random::Stream;
use crate::flow::{Stamp, StampClass};
use crate::unit::RawTime;

/// A way of taking stamps.
#[derive(Clone, Debug, PartialEq)]
pub struct StampModel {
    /// What the stamps are called; user stamps have no true departure.
    pub class: StampClass,
    /// Error of an arrival stamp, ns: positive is late.
    pub receive: Law,
    /// Error of a departure stamp, ns.
    pub transmit: Law,
    /// Stamps are cut to multiples of this, ns; at least 1.
    pub grain_ns: i64,
    /// Time between the program's own reading and the true departure, ns.
    pub lead: Law,
    /// Part of the departures that never come back.
    pub missing: f64,
    /// How long after it a departure comes back, ns; zero: at once.
    pub late: Law,
}

impl StampModel {
    /// Stamps without error, at the moment of the program's own reading.
    #[must_use]
    pub fn ideal() -> Self {
        StampModel {
            class: StampClass::Nic,
            receive: Law::ZERO,
            transmit: Law::ZERO,
            grain_ns: 1,
            lead: Law::ZERO,
            missing: 0.0,
            late: Law::ZERO,
        }
    }

    /// The stamp of an arrival that happened at `raw`.
    pub fn on_arrival(&self, raw: FineRaw, stream: &mut Stream) -> Stamp {
        Stamp { at: self.cut(raw, self.receive.draw(stream)), class: self.class }
    }

    /// The stamp of a departure that happened at `raw`, or `None` if it gets lost.
    pub fn on_departure(&self, raw: FineRaw, stream: &mut Stream) -> Option<Stamp> {
        if self.class == StampClass::User || stream.chance(self.missing) {
            return None;
        }
        Some(Stamp { at: self.cut(raw, self.transmit.draw(stream)), class: self.class })
    }

    fn cut(&self, raw: FineRaw, error_ns: f64) -> RawTime {
        let nanos = raw.nanos.saturating_add((raw.frac_ns + error_ns).floor() as i64);
        RawTime::from_nanos(nanos - nanos.rem_euclid(self.grain_ns.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    const AT: FineRaw = FineRaw { nanos: 1_234_567, frac_ns: 0.75 };

    fn stream() -> Stream {
        Stream::new(1, Purpose::Stamp, 0, 0)
    }

    #[test]
    fn an_ideal_stamp_is_the_time_itself() {
        assert_eq!(StampModel::ideal().on_arrival(AT, &mut stream()).at.nanos(), 1_234_567);
    }

    #[test]
    fn a_coarse_stamp_is_cut_to_its_grain() {
        let model = StampModel { grain_ns: 1_000, ..StampModel::ideal() };
        assert_eq!(model.on_arrival(AT, &mut stream()).at.nanos(), 1_234_000);
    }

    #[test]
    fn departures_get_lost_as_often_as_they_should() {
        let model = StampModel { missing: 0.25, ..StampModel::ideal() };
        let mut stream = stream();
        let lost = (0..10_000).filter(|_| model.on_departure(AT, &mut stream).is_none()).count();
        assert!((2_300..2_700).contains(&lost), "{lost}");
        let user = StampModel { class: StampClass::User, ..StampModel::ideal() };
        assert!(user.on_departure(AT, &mut stream).is_none());
    }
}
