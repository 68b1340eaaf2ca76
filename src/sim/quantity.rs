//! Numbers with units as people write them in scenarios: `10us`, `-1.5 ms`, `50ppm`, `200ppb`. Parsed once, here;
//! inside, spans are nanoseconds and rates are plain numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A span of time, ns; may be negative and may have a fraction.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Default)]
pub struct Span(pub f64);

/// A rate (seconds per second), written in ppm or ppb.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Default)]
pub struct Rate(pub f64);

impl Span {
    /// Whole nanoseconds.
    #[must_use]
    pub fn nanos(self) -> i64 {
        self.0.round() as i64
    }

    /// Seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 * 1e-9
    }
}

const SPANS: [(&str, f64); 8] =
    [("ps", 1e-3), ("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 60e9), ("h", 3600e9), ("d", 86_400e9)];
const RATES: [(&str, f64); 2] = [("ppm", 1e-6), ("ppb", 1e-9)];

/// A century in nanoseconds: sums of some of them are still whole nanoseconds of 64 bits.
const LARGEST: f64 = 36_525.0 * 86_400e9;

fn parse(text: &str, units: &[(&str, f64)], what: &str) -> Result<f64, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E').unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].trim());
    let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let number: f64 = number.parse().map_err(|_| format!("'{text}' is not {what}: write a number and a unit"))?;
    if number == 0.0 && unit.is_empty() {
        return Ok(0.0);
    }
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) if (number * factor).abs() <= LARGEST => Ok(number * factor),
        Some(_) => Err(format!("'{text}' is too large for {what}: 100 years are the most")),
        None => Err(format!("'{text}' is not {what}: its unit must be one of {}", names())),
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &SPANS, "a span of time").map(Span)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &RATES, "a rate").map(Rate)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Span {
    /// In the largest unit in which it is at least one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SPANS[1..5].iter().rev().find(|(_, factor)| self.0.abs() >= *factor).unwrap_or(&SPANS[1]);
        let value = self.0 / unit.1;
        let shown = (value * 1e3).round() / 1e3;
        write!(f, "{shown}{}", unit.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = if self.0.abs() >= 1e-6 { RATES[0] } else { RATES[1] };
        write!(f, "{}{name}", (self.0 / factor * 1e3).round() / 1e3)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_rates_are_read_as_people_write_them() {
        let span = |text: &str| text.parse::<Span>().map(|s| s.0);
        assert_eq!(span("10us"), Ok(10_000.0));
        assert_eq!(span(" -1.5 ms "), Ok(-1_500_000.0));
        assert_eq!(span("1e3ns"), Ok(1_000.0));
        assert_eq!(span("3h"), Ok(10_800e9));
        assert_eq!(span("0"), Ok(0.0));
        let rate = "-50ppm".parse::<Rate>().unwrap().0;
        assert!((rate + 50e-6).abs() < 1e-18);
    }

    #[test]
    fn a_number_without_its_unit_is_refused_with_the_units_there_are() {
        assert!("10".parse::<Span>().unwrap_err().contains("ns, us, ms"));
        assert!("10ppm".parse::<Span>().is_err());
        assert!("fast".parse::<Rate>().is_err());
        assert!("infus".parse::<Span>().is_err());
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for nanos in [0.5, 30.0, 10_000.0, 1.5e6, 120e9] {
            let shown = Span(nanos).to_string();
            assert_eq!(shown.parse::<Span>().unwrap().0, nanos, "{shown}");
        }
        assert_eq!(Rate(20e-6).to_string(), "20ppm");
    }
}
