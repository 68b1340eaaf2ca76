//! The picture of one run: each node's true error over time, the bound that the nodes published, and the events. SVG,
//! so that it can be looked at anywhere; nothing is computed here but the scale.

use std::path::Path;

use plotters::prelude::{
    BLACK, ChartBuilder, Color, HSLColor, IntoDrawingArea, IntoFont, IntoLogRange, LineSeries, PathElement, RED,
    SVGBackend, Text, WHITE,
};

use super::cluster::Cluster;
use super::scenario::Scenario;
use super::score::Scorer;
use super::world::TrueNs;

/// Points of one line: more cannot be told apart.
const POINTS: i64 = 1_500;
/// No smaller distance is drawn on a logarithmic scale, ns.
const SPREAD_MIN_NS: f64 = 0.1;
/// Lines drawn: more cannot be told apart either.
const LINES: usize = 64;

/// What is kept of a run for its plot.
#[derive(Clone, Debug)]
pub struct Trace {
    spacing: TrueNs,
    next: TrueNs,
    /// Time, s, errors of all nodes against the mean of those that count, ns (NaN while a node is away), largest bound.
    samples: Vec<(f64, Vec<f64>, f64)>,
}

impl Trace {
    /// An empty trace for one run of `scenario`.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        Trace { spacing: scenario.duration.nanos() / POINTS, next: 0, samples: Vec::new() }
    }

    /// Keeps what the scorer has just sampled, if it is time.
    pub fn sample(&mut self, cluster: &Cluster, scorer: &Scorer, now: TrueNs) {
        if now < self.next {
            return;
        }
        self.next = now + self.spacing;
        let (errors, counted) = scorer.errors();
        let sum: f64 = errors.iter().zip(counted).filter(|(_, c)| **c).map(|(e, _)| e).sum();
        let mean = sum / counted.iter().filter(|c| **c).count().max(1) as f64;
        let shown =
            |n: usize| if cluster.nodes[n].is_awake() && cluster.is_judged(n) { errors[n] - mean } else { f64::NAN };
        let bounds = cluster.nodes.iter().zip(counted).filter(|(_, c)| **c).map(|(n, _)| f64::from(n.claim.bound_ns));
        let bound = bounds.filter(|b| b.is_finite()).fold(f64::NAN, f64::max);
        self.samples.push((now as f64 * 1e-9, (0..errors.len().min(LINES)).map(shown).collect(), bound));
    }
}

impl Trace {
    /// The distance of the two clocks furthest apart over time: s and ns, where there are two.
    fn spreads(&self) -> Vec<(f64, f64)> {
        let spread = |errors: &[f64]| {
            let here = || errors.iter().copied().filter(|e| e.is_finite());
            here().fold(f64::MIN, f64::max) - here().fold(f64::MAX, f64::min)
        };
        let enough = self.samples.iter().filter(|(_, errors, _)| errors.iter().filter(|e| e.is_finite()).count() > 1);
        enough.map(|(t, errors, _)| (*t, spread(errors).max(SPREAD_MIN_NS))).collect()
    }
}

/// Draws the run into `file`. Errors are shown on a scale that is linear around zero and logarithmic beyond the run's
/// own noise, so that the start and the steady state can be seen in one picture.
///
/// # Errors
/// If the file cannot be written.
pub fn draw(file: &Path, scenario: &Scenario, title: &str, trace: &Trace) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the plot {} cannot be written: {error}", file.display());
    let unit = knee(trace);
    let fold = |ns: f64| (ns / unit).asinh();
    let unfold = |y: &f64| spell(y.sinh() * unit);
    let values = trace.samples.iter().flat_map(|(_, errors, bound)| errors.iter().copied().chain([*bound]));
    let top = values.filter(|v| v.is_finite()).fold(unit, |top, v| top.max(v.abs()));
    let top = fold(top) * 1.05;
    let seconds = scenario.duration.seconds();

    let root = SVGBackend::new(file, (1_200, 700)).into_drawing_area();
    root.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20).into_font())
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..seconds, -top..top)
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc("true time, s")
        .y_desc("clock minus the mean")
        .y_label_formatter(&unfold)
        .light_line_style(WHITE)
        .draw()
        .map_err(|e| failed(&e))?;
    for side in [1.0, -1.0] {
        let bound = trace.samples.iter().filter(|(_, _, b)| b.is_finite()).map(|(t, _, b)| (*t, side * fold(*b)));
        chart.draw_series(LineSeries::new(bound, RED.mix(0.5))).map_err(|e| failed(&e))?;
    }
    let lines = trace.samples.first().map_or(0, |(_, errors, _)| errors.len());
    for n in 0..lines {
        let colour = HSLColor(n as f64 / lines as f64, 0.7, 0.4);
        // A node that was away leaves a gap.
        for piece in trace.samples.split(|(_, errors, _)| errors[n].is_nan()) {
            let line = piece.iter().map(|(t, errors, _)| (*t, fold(errors[n])));
            chart.draw_series(LineSeries::new(line, colour.stroke_width(1))).map_err(|e| failed(&e))?;
        }
    }
    for (n, event) in scenario.events.iter().enumerate() {
        let at = event.at().seconds();
        let line = PathElement::new(vec![(at, -top), (at, top)], BLACK.mix(0.4));
        let height = top * (0.97 - 0.05 * (n % 4) as f64);
        let name = Text::new(event.name(), (at, height), ("sans-serif", 13).into_font());
        chart.draw_series([line]).map_err(|e| failed(&e))?;
        chart.draw_series([name]).map_err(|e| failed(&e))?;
    }
    root.present().map_err(|e| failed(&e))
}

/// Draws the distance of the two clocks furthest apart over time, one line for each named run, on a logarithmic scale.
///
/// # Errors
/// If the file cannot be written.
pub fn draw_comparison(file: &Path, scenario: &Scenario, runs: &[(&str, &Trace)]) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the plot {} cannot be written: {error}", file.display());
    let spreads: Vec<(&str, Vec<(f64, f64)>)> = runs.iter().map(|(name, trace)| (*name, trace.spreads())).collect();
    let all = || spreads.iter().flat_map(|(_, line)| line.iter().map(|(_, ns)| *ns));
    let (low, high) = all().fold((f64::MAX, SPREAD_MIN_NS), |(low, high), ns| (low.min(ns), high.max(ns)));
    let seconds = scenario.duration.seconds();
    let root = SVGBackend::new(file, (1_200, 700)).into_drawing_area();
    root.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(&scenario.name, ("sans-serif", 20).into_font())
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..seconds, (low.min(high) / 2.0..high * 2.0).log_scale())
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc("true time, s")
        .y_desc("the two clocks furthest apart")
        .y_label_formatter(&|ns| spell(*ns))
        .light_line_style(WHITE)
        .draw()
        .map_err(|e| failed(&e))?;
    for (n, (name, line)) in spreads.iter().enumerate() {
        let style = HSLColor(n as f64 / spreads.len() as f64, 0.75, 0.4).stroke_width(1);
        chart
            .draw_series(LineSeries::new(line.iter().copied(), style))
            .map_err(|e| failed(&e))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], style));
    }
    let mut labels = chart.configure_series_labels();
    labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw().map_err(|e| failed(&e))?;
    root.present().map_err(|e| failed(&e))
}

/// Where the scale turns from linear to logarithmic: the median error of the second half.
fn knee(trace: &Trace) -> f64 {
    let half = &trace.samples[trace.samples.len() / 2..];
    let mut errors: Vec<f64> =
        half.iter().flat_map(|(_, e, _)| e.iter().map(|v| v.abs())).filter(|v| v.is_finite()).collect();
    errors.sort_by(f64::total_cmp);
    errors.get(errors.len() / 2).copied().unwrap_or(1.0).max(0.1)
}

fn spell(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        v if v >= 1e9 => (ns / 1e9, "s"),
        v if v >= 1e6 => (ns / 1e6, "ms"),
        v if v >= 1e3 => (ns / 1e3, "us"),
        _ => (ns, "ns"),
    };
    format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned() + " " + unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_spelt_in_the_unit_that_fits() {
        assert_eq!([spell(12.5), spell(-3_000.0), spell(2.5e6)], ["12.5 ns", "-3 us", "2.5 ms"]);
    }
}
