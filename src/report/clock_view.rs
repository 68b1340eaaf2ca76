//! The `clock` document of the status socket: a node's delivered clock as a known function of the machine's raw
//! clock, by which anybody on the machine can say exactly how far two nodes are apart. Written by the daemon, read by
//! the demo.

use serde::{Deserialize, Serialize};

/// A virtual clock, its past and its node's own opinion of it. A number that is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockView {
    /// The node's name.
    pub node: String,
    /// `CLOCK_MONOTONIC_RAW` of the machine when the document was made, ns. The segments are complete up to here.
    pub raw_ns: i64,
    /// The simulated oscillator under the clock.
    pub oscillator: OscillatorView,
    /// One standard deviation of the clock against the cluster as the node estimates it, ns.
    pub sigma_ns: Option<f64>,
    /// The distance to other clocks that the node promises not to exceed, ns.
    pub bound_ns: Option<f64>,
    /// How much faster than nominal the clock runs, as its node sees it, parts per billion; positive runs fast.
    pub frequency_ppb: Option<f64>,
    /// `unset`, `acquire`, `track` or `holdover`.
    pub state: String,
    /// The clock piece by piece, oldest first; each piece holds from its `raw_ns` until the next one's.
    pub segments: Vec<SegmentView>,
}

/// The oscillator that a virtual clock was given in place of the machine's: it reads
/// `epoch_raw_ns + offset_ns` at `epoch_raw_ns` and runs `drift_ppb` faster than the machine's raw clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OscillatorView {
    /// The machine's raw time at which `offset_ns` holds, ns.
    pub epoch_raw_ns: i64,
    /// How far it was thrown off at the epoch, ns; positive is ahead.
    pub offset_ns: i64,
    /// How much faster than the machine's raw clock it runs, parts per billion.
    pub drift_ppb: f64,
}

/// A piece of a clock's past: an affine function of the machine's raw clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentView {
    /// The machine's raw time from which this piece holds, ns.
    pub raw_ns: i64,
    /// What the clock read then, whole ns.
    pub clock_ns: i64,
    /// The rest of what it read then, in [0, 1) ns.
    pub clock_frac_ns: f64,
    /// How much faster than the machine's raw clock it ran (seconds per second).
    pub rate: f64,
}

/// What a clock read at one instant, kept apart into a whole and a rest because no float holds the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precise {
    /// Whole ns.
    pub whole_ns: i64,
    /// What comes on top, ns; small against the whole, of either sign.
    pub rest_ns: f64,
}

impl Precise {
    /// `self` minus `other`, ns.
    #[must_use]
    pub fn minus_ns(self, other: Precise) -> f64 {
        self.whole_ns.wrapping_sub(other.whole_ns) as f64 + (self.rest_ns - other.rest_ns)
    }
}

impl ClockView {
    /// What the clock read when the machine's raw clock read `raw_ns`; `None` before the oldest piece and after the
    /// moment at which the document was made.
    #[must_use]
    pub fn at(&self, raw_ns: i64) -> Option<Precise> {
        if raw_ns > self.raw_ns {
            return None;
        }
        self.segments.iter().rev().find(|segment| segment.raw_ns <= raw_ns).map(|segment| segment.at(raw_ns))
    }

    /// The oldest raw time for which [`ClockView::at`] has an answer, ns.
    #[must_use]
    pub fn since_raw_ns(&self) -> Option<i64> {
        self.segments.first().map(|segment| segment.raw_ns)
    }
}

impl SegmentView {
    fn at(&self, raw_ns: i64) -> Precise {
        let since_ns = raw_ns.wrapping_sub(self.raw_ns);
        Precise {
            whole_ns: self.clock_ns.wrapping_add(since_ns),
            rest_ns: self.clock_frac_ns + self.rate * since_ns as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> ClockView {
        ClockView {
            node: "n1".into(),
            raw_ns: 3_000_000_000,
            oscillator: OscillatorView { epoch_raw_ns: 0, offset_ns: 5, drift_ppb: 20_000.0 },
            sigma_ns: Some(120.5),
            bound_ns: None,
            frequency_ppb: Some(-3.0),
            state: "track".into(),
            segments: vec![
                SegmentView {
                    raw_ns: 1_000_000_000,
                    clock_ns: 1_790_000_000_000_000_000,
                    clock_frac_ns: 0.25,
                    rate: 1e-6,
                },
                SegmentView {
                    raw_ns: 2_000_000_000,
                    clock_ns: 1_790_000_001_000_001_000,
                    clock_frac_ns: 0.25,
                    rate: 0.0,
                },
            ],
        }
    }

    #[test]
    fn each_piece_holds_from_its_start_to_the_next_ones_and_to_the_nanosecond() {
        let view = view();
        let reads = |raw_ns| view.at(raw_ns).map(|p| (p.whole_ns, p.rest_ns));
        assert_eq!(reads(999_999_999), None);
        assert_eq!(reads(1_000_000_000), Some((1_790_000_000_000_000_000, 0.25)));
        assert_eq!(reads(1_500_000_000), Some((1_790_000_000_500_000_000, 500.25)));
        assert_eq!(reads(2_000_000_000), Some((1_790_000_001_000_001_000, 0.25)));
        assert_eq!(reads(3_000_000_000), Some((1_790_000_002_000_001_000, 0.25)));
        assert_eq!(reads(3_000_000_001), None);
        assert_eq!(view.since_raw_ns(), Some(1_000_000_000));
    }

    #[test]
    fn the_document_keeps_its_names_and_comes_back_as_it_was() {
        let json = serde_json::to_value(view()).unwrap();
        let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let names = ["bound_ns", "frequency_ppb", "node", "oscillator", "raw_ns", "segments", "sigma_ns", "state"];
        assert_eq!(keys, names);
        assert!(json["bound_ns"].is_null());
        assert_eq!(json["segments"][0]["clock_ns"], 1_790_000_000_000_000_000_i64);
        assert_eq!(serde_json::from_value::<ClockView>(json).unwrap(), view());
    }

    #[test]
    fn readings_far_apart_in_time_do_not_overflow() {
        let mut view = view();
        view.segments[0].clock_ns = i64::MAX;
        view.segments[0].raw_ns = i64::MIN;
        view.segments.truncate(1);
        assert!(view.at(1_000).is_some());
    }
}
