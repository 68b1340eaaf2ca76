//! The six latencies of a running node, as HDR histograms (Tene's high dynamic range histogram: fixed relative
//! precision over a fixed range). Each set belongs to one thread, which records for a few nanoseconds and never
//! allocates; an empty set is made by whoever wants the numbers and swapped for the full one. Nothing here takes a
//! time itself.

use std::borrow::Cow;
use std::io::Write;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::human::span_text;
use super::table::{Align, Table};

/// The shortest latency told apart from nothing, ns.
const LOWEST_NS: u64 = 1;
/// Latencies above this are counted as this, ns.
const HIGHEST_NS: u64 = 10_000_000_000;
/// Two significant digits: a percentile is right to one percent, and a histogram takes 30 kB.
const DIGITS: u8 = 2;

/// One histogram of spans in ns.
#[derive(Clone, Debug)]
struct Latency(Histogram<u64>);

impl Latency {
    fn new() -> Self {
        Latency(Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).expect("the bounds are in order"))
    }

    /// Counts one span. Two stamps of different clocks may cross by a little: a negative span counts as the shortest.
    fn record(&mut self, span_ns: i64) {
        self.0.saturating_record(u64::try_from(span_ns).unwrap_or(0).max(LOWEST_NS));
    }

    fn merge(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// How many spans are at most as long as each of `bounds_ns`, how many there are, and their sum in seconds, all as
    /// exact as the histogram.
    fn cumulative(&self, bounds_ns: &[u64]) -> Cumulative {
        let below = bounds_ns.iter().map(|bound_ns| self.0.count_between(0, *bound_ns)).collect();
        let count = self.0.len();
        let sum_s = if count == 0 { 0.0 } else { self.0.mean() * count as f64 * 1e-9 };
        Cumulative { below, count, sum_s }
    }

    fn status(&self, name: &'static str) -> LatencyStatus {
        let known = |ns: u64| (!self.0.is_empty()).then_some(ns);
        let quantile = |q| known(self.0.value_at_quantile(q));
        LatencyStatus {
            name: Cow::Borrowed(name),
            count: self.0.len(),
            min_ns: known(self.0.min()),
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            max_ns: known(self.0.max()),
        }
    }

    fn tell(&self, name: &str, table: &mut Table) {
        let span = |ns: u64| if self.0.is_empty() { "-".into() } else { span_text(Some(ns as f64)) };
        let quantile = |q| span(self.0.value_at_quantile(q));
        table.row([
            name.into(),
            self.0.len().to_string(),
            span(self.0.min()),
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999),
            span(self.0.max()),
        ]);
    }
}

/// A histogram as programs read it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cumulative {
    /// Spans at most as long as each bound.
    pub below: Vec<u64>,
    /// All spans.
    pub count: u64,
    /// Their sum, seconds.
    pub sum_s: f64,
}

/// The percentiles of one latency, right to one percent; null before anything was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyStatus {
    /// What is measured.
    pub name: Cow<'static, str>,
    /// How often it was.
    pub count: u64,
    /// The shortest, ns.
    pub min_ns: Option<u64>,
    /// Half of them took no longer, ns.
    pub p50_ns: Option<u64>,
    /// Nine of ten.
    pub p90_ns: Option<u64>,
    /// 99 of a hundred.
    pub p99_ns: Option<u64>,
    /// 999 of a thousand.
    pub p999_ns: Option<u64>,
    /// The longest, ns.
    pub max_ns: Option<u64>,
}

/// Both threads' histograms, joined.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// The hot thread's.
    pub hot: HotLatencies,
    /// The discipline thread's.
    pub discipline: DisciplineLatencies,
}

impl Latencies {
    /// Adds what `hot` and `discipline` counted.
    pub fn merge(&mut self, hot: &HotLatencies, discipline: &DisciplineLatencies) {
        self.hot.merge(hot);
        self.discipline.merge(discipline);
    }

    /// Forgets everything and keeps its memory.
    pub fn reset(&mut self) {
        self.hot.reset();
        self.discipline.reset();
    }

    /// The percentiles of all six.
    #[must_use]
    pub fn status(&self) -> [LatencyStatus; 6] {
        let (hot, discipline) = (&self.hot, &self.discipline);
        [
            hot.round_trip.status("path delay"),
            hot.turn_around.status("turn-around"),
            hot.stamp_to_user.status("stamp to user"),
            discipline.ring.status("ring"),
            hot.loop_gap.status("poll gap"),
            discipline.tick_late.status("tick lateness"),
        ]
    }

    /// Every histogram with the name and the meaning that it has for programs.
    pub(super) fn cumulative(&self, bounds_ns: &[u64]) -> [(&'static str, &'static str, Cumulative); 6] {
        let (hot, discipline) = (&self.hot, &self.discipline);
        [
            ("llts_path_delay_seconds", "Round trips to peers, without their turn-around.", &hot.round_trip),
            (
                "llts_turnaround_seconds",
                "From the receive stamp of a packet to the transmit stamp of its answer.",
                &hot.turn_around,
            ),
            (
                "llts_stamp_to_user_seconds",
                "From the kernel's receive stamp to the program's reading of the packet.",
                &hot.stamp_to_user,
            ),
            ("llts_poll_gap_seconds", "Between two turns of the polling loop.", &hot.loop_gap),
            (
                "llts_ring_latency_seconds",
                "From the hot thread's push of an exchange to its drain by the discipline thread.",
                &discipline.ring,
            ),
            ("llts_tick_lateness_seconds", "By how much steering ticks came too late.", &discipline.tick_late),
        ]
        .map(|(name, help, latency)| (name, help, latency.cumulative(bounds_ns)))
    }
}

/// What the hot thread measures of itself and its packets.
#[derive(Clone, Debug)]
pub struct HotLatencies {
    stamp_to_user: Latency,
    turn_around: Latency,
    round_trip: Latency,
    loop_gap: Latency,
}

/// What the discipline thread measures of itself.
#[derive(Clone, Debug)]
pub struct DisciplineLatencies {
    ring: Latency,
    tick_late: Latency,
}

impl HotLatencies {
    /// An empty set; the only place that allocates.
    #[must_use]
    pub fn new() -> Self {
        HotLatencies {
            stamp_to_user: Latency::new(),
            turn_around: Latency::new(),
            round_trip: Latency::new(),
            loop_gap: Latency::new(),
        }
    }

    /// Counts one time from the kernel's receive stamp to the program's reading of the packet, ns.
    pub fn stamp_to_user(&mut self, span_ns: i64) {
        self.stamp_to_user.record(span_ns);
    }

    /// Counts one time from the receive stamp of a packet to the transmit stamp of its answer, ns.
    pub fn turn_around(&mut self, span_ns: i64) {
        self.turn_around.record(span_ns);
    }

    /// Counts one round trip without the peer's turn-around, ns.
    pub fn round_trip(&mut self, span_ns: i64) {
        self.round_trip.record(span_ns);
    }

    /// Counts one time between two turns of the polling loop, ns.
    pub fn loop_gap(&mut self, span_ns: i64) {
        self.loop_gap.record(span_ns);
    }

    /// Forgets everything and keeps its memory.
    pub fn reset(&mut self) {
        for latency in [&mut self.stamp_to_user, &mut self.turn_around, &mut self.round_trip, &mut self.loop_gap] {
            latency.0.reset();
        }
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &HotLatencies) {
        self.stamp_to_user.merge(&other.stamp_to_user);
        self.turn_around.merge(&other.turn_around);
        self.round_trip.merge(&other.round_trip);
        self.loop_gap.merge(&other.loop_gap);
    }
}

impl DisciplineLatencies {
    /// An empty set; the only place that allocates.
    #[must_use]
    pub fn new() -> Self {
        DisciplineLatencies { ring: Latency::new(), tick_late: Latency::new() }
    }

    /// Counts one time from the push of an event into the ring to its drain, ns.
    pub fn ring(&mut self, span_ns: i64) {
        self.ring.record(span_ns);
    }

    /// Counts by how much one steering tick came too late, ns.
    pub fn tick_late(&mut self, span_ns: i64) {
        self.tick_late.record(span_ns);
    }

    /// Forgets everything and keeps its memory.
    pub fn reset(&mut self) {
        self.ring.0.reset();
        self.tick_late.0.reset();
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &DisciplineLatencies) {
        self.ring.merge(&other.ring);
        self.tick_late.merge(&other.tick_late);
    }
}

impl Default for HotLatencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for DisciplineLatencies {
    fn default() -> Self {
        Self::new()
    }
}

/// All six, a line each, in the order in which a packet meets them.
#[must_use]
pub fn latency_table(hot: &HotLatencies, discipline: &DisciplineLatencies) -> Table {
    let right = Align::Right;
    let mut table = Table::new([
        ("LATENCY", Align::Left),
        ("COUNT", right),
        ("MIN", right),
        ("P50", right),
        ("P90", right),
        ("P99", right),
        ("P99.9", right),
        ("MAX", right),
    ]);
    hot.stamp_to_user.tell("kernel receive stamp to user space", &mut table);
    hot.turn_around.tell("turn-around (receive stamp to transmit stamp)", &mut table);
    hot.round_trip.tell("round trip", &mut table);
    discipline.ring.tell("ring (push to drain)", &mut table);
    hot.loop_gap.tell("poll loop gap", &mut table);
    discipline.tick_late.tell("steering tick lateness", &mut table);
    table
}

/// Prints the six histograms to standard output. A reader that has gone away is no reason to stop.
pub fn print_latencies(hot: &HotLatencies, discipline: &DisciplineLatencies) {
    let _reader_gone = writeln!(std::io::stdout(), "{}", latency_table(hot, discipline));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_has_its_own_line_with_its_own_numbers() {
        let (mut hot, mut discipline) = (HotLatencies::new(), DisciplineLatencies::new());
        hot.stamp_to_user(10);
        hot.turn_around(20);
        hot.round_trip(30);
        hot.loop_gap(40);
        discipline.ring(50);
        discipline.tick_late(60);
        let text = latency_table(&hot, &discipline).to_string();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), 6);
        for (line, ns) in lines.iter().zip(["10", "20", "30", "50", "40", "60"]) {
            assert_eq!(line.matches(&format!(" {ns}.0 ns")).count(), 6, "min, four percentiles and max of {line:?}");
        }
    }

    #[test]
    fn a_percentile_is_right_to_one_percent() {
        let mut latency = Latency::new();
        for ns in 1..=100_000 {
            latency.record(ns);
        }
        for (quantile, truth) in [(0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let found = latency.0.value_at_quantile(quantile) as f64;
            assert!((found / truth - 1.0).abs() < 0.01, "{quantile}: {found} for {truth}");
        }
    }

    #[test]
    fn spans_outside_the_range_count_as_its_ends() {
        let mut latency = Latency::new();
        for ns in [i64::MIN, -1, 0, i64::MAX] {
            latency.record(ns);
        }
        assert_eq!(latency.0.len(), 4);
        assert_eq!(latency.0.count_at(LOWEST_NS), 3);
        assert!(latency.0.max() >= HIGHEST_NS && (latency.0.max() as f64) < HIGHEST_NS as f64 * 1.01);
    }

    #[test]
    fn the_percentiles_for_programs_are_those_of_the_table() {
        let mut latencies = Latencies::default();
        assert!(latencies.status().iter().all(|l| l.count == 0 && l.min_ns.is_none() && l.p999_ns.is_none()));
        for ns in 1..=100 {
            latencies.hot.turn_around(ns);
        }
        let told = &latencies.status()[1];
        let numbers = [told.min_ns, told.p50_ns, told.p90_ns, told.p99_ns, told.p999_ns, told.max_ns];
        assert_eq!((told.name.as_ref(), told.count), ("turn-around", 100));
        assert_eq!(numbers.map(Option::unwrap), [1, 50, 90, 99, 100, 100]);
    }

    #[test]
    fn merging_adds_and_resetting_forgets() {
        let (mut a, mut b) = (HotLatencies::new(), HotLatencies::new());
        a.round_trip(10);
        b.round_trip(20);
        b.loop_gap(5);
        a.merge(&b);
        assert_eq!((a.round_trip.0.len(), a.loop_gap.0.len(), a.turn_around.0.len()), (2, 1, 0));
        a.reset();
        assert_eq!((a.round_trip.0.len(), a.loop_gap.0.len()), (0, 0));

        let (mut c, mut d) = (DisciplineLatencies::new(), DisciplineLatencies::new());
        d.ring(7);
        d.tick_late(8);
        c.merge(&d);
        assert_eq!((c.ring.0.len(), c.tick_late.0.len()), (1, 1));
        c.reset();
        assert_eq!((c.ring.0.len(), c.tick_late.0.len()), (0, 0));
    }

    #[test]
    fn an_empty_histogram_shows_no_numbers() {
        let text = latency_table(&HotLatencies::new(), &DisciplineLatencies::new()).to_string();
        assert!(text.lines().skip(1).all(|line| !line.contains(" ns")), "{text}");
    }
}
