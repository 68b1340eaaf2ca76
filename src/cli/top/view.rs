//! The board as a picture of any size: what does not fit is left out, the least needed first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph, Wrap};

use super::board::{Board, SAMPLES};
use super::keys::Order;
use super::panels;
use crate::report::{PeerStatus, Tracking, frequency_text, offset_text, span_text};

/// What the keys mean, the most needed first.
const KEYS: [(&str, &str); 12] = [
    ("q", "quit"),
    ("arrows", "choose"),
    ("enter", "closer"),
    ("m", "skews"),
    ("l", "latencies"),
    ("e", "events"),
    ("p", "pause"),
    ("n", "by name"),
    ("s", "by state"),
    ("o", "by offset"),
    ("b", "by bound"),
    ("d", "by delay"),
];
const HELP: &str = "\
q, Esc       back, or quit; Ctrl-C quits at once, Ctrl-Z stops
up, down     choose a peer (also k and j, page up and down, Home, End)
Enter        a closer look at it, and back
m            how far every two clocks are apart, and back
l            latencies: percentiles of what takes time, and back
e            what has happened, the newest first, and back
p, space     everything stands still, or goes on
n s o b d    order by name, state, offset, bound or delay; again: the other way round
?            this help, and back

An offset is local minus the other: positive means that the local clock is ahead. Sigma is an estimate, one standard \
deviation; a bound is a promise. The line of a peer is its offset, from the lowest to the highest of what is shown.";
/// From nothing to full.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The narrowest line of a peer that tells anything, and the widest of use.
const LINE_COLUMNS: std::ops::RangeInclusive<usize> = 8..=120;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, board: &mut Board) {
    let area = frame.area();
    let head = head(board, area.width);
    // A small window belongs to the peers.
    let head_rows = if area.height >= 10 { head.len() } else { usize::from(area.height >= 3) };
    let foot_rows = u16::from(area.height >= 5);
    let [top, gap, middle, bottom] = Layout::vertical([
        Constraint::Length(head_rows as u16),
        Constraint::Length(u16::from(area.height >= 12)),
        Constraint::Min(0),
        Constraint::Length(foot_rows),
    ])
    .areas(area);
    let _empty = gap;
    frame.render_widget(Paragraph::new(head.into_iter().take(head_rows).collect::<Vec<_>>()), top);
    if board.help {
        frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), middle);
    } else if let Some(panel) = board.panel {
        panels::draw(frame, board, panel, middle);
    } else if board.close && board.chosen_row().is_some() {
        closer(frame, board, middle);
    } else {
        peers(frame, board, middle);
    }
    frame.render_widget(Paragraph::new(foot(board, area.width)), bottom);
}

impl Board {
    /// A colour, unless none are wanted.
    pub(super) fn colour(&self, colour: Color) -> Style {
        if self.coloured { Style::new().fg(colour) } else { Style::new() }
    }

    /// What matters less.
    pub(super) fn soft(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// What matters more.
pub(super) fn bold(style: Style) -> Style {
    style.add_modifier(Modifier::BOLD)
}

fn head(board: &Board, width: u16) -> Vec<Line<'static>> {
    let Some(status) = &board.status else { return vec![Line::raw("llts top: nothing has been heard yet")] };
    let tracking = Tracking::of(status);
    let (colour, doing) = match status.state.as_str() {
        "track" => (Color::Green, "in agreement"),
        "acquire" => (Color::Cyan, "closing in"),
        "holdover" => (Color::Red, "has lost those it agreed with"),
        _ => (Color::Yellow, "has agreed with nobody yet"),
    };
    let mut first = vec![
        Span::styled(status.node.clone(), bold(Style::new())),
        Span::raw("  "),
        Span::styled(format!("{}: {doing}", status.state), bold(board.colour(colour))),
    ];
    if let Some(fault) = &board.fault {
        first.push(Span::styled(format!("  {fault}"), bold(board.colour(Color::Red))));
    } else if board.is_paused() {
        first.push(Span::styled("  paused", bold(board.colour(Color::Yellow))));
    }
    let bound = span_text(status.bound_ns);
    let second = if width >= 60 {
        format!(
            "bound {bound}   sigma {}   offset {}   frequency {}",
            span_text(status.sigma_ns),
            offset_text(status.clock.offset_ns),
            frequency_text(status.clock.frequency_ppb)
        )
    } else {
        format!("bound {bound}  sigma {}", span_text(status.sigma_ns))
    };
    let used = format!("{} of {} peers used", tracking.peers_used, tracking.peers_known);
    let third = if width >= 60 {
        let skew = span_text(tracking.max_skew_ns);
        format!("skew {skew}   {used}   cluster {}, {}, {} clock", status.cluster, status.role, status.clock.kind)
    } else {
        used
    };
    vec![Line::from(first), Line::raw(second), Line::styled(third, board.soft())]
}

fn foot(board: &Board, width: u16) -> Line<'static> {
    let mut spans: Vec<Span> = Vec::new();
    let mut columns = 0;
    let keys: &[(&str, &str)] = match (board.help, board.close) {
        (true, _) => &[("q", "back")],
        _ if board.panel.is_some() => {
            &[("q", "back"), ("arrows", "move"), ("m", "skews"), ("l", "latencies"), ("e", "events"), ("p", "pause")]
        }
        (_, true) => &[("q", "back"), ("arrows", "another peer"), ("p", "pause"), ("?", "help")],
        _ => &KEYS,
    };
    // The help is named even where little else is.
    let keys = keys
        .iter()
        .take(1)
        .chain((!board.help && (board.panel.is_some() || !board.close)).then_some(&("?", "help")))
        .chain(&keys[1..]);
    for (key, meaning) in keys {
        let more = key.chars().count() + meaning.chars().count() + 3;
        if columns + more > usize::from(width) + 2 {
            break;
        }
        columns += more;
        spans.push(Span::styled((*key).to_owned(), bold(Style::new())));
        spans.push(Span::styled(format!(" {meaning}  "), board.soft()));
    }
    Line::from(spans)
}

/// A column of the table: its heading, its order if it has one, its width, and the width of the window from which on it
/// is shown.
struct Column {
    name: &'static str,
    order: Option<Order>,
    chars: usize,
    from: u16,
    left: bool,
}

const fn column(name: &'static str, order: Option<Order>, chars: usize, from: u16, left: bool) -> Column {
    Column { name, order, chars, from, left }
}

const STATE: Column = column("STATE", Some(Order::State), 10, 30, true);
const OFFSET: Column = column("OFFSET", Some(Order::Offset), 9, 16, false);
const BOUND: Column = column("BOUND", Some(Order::Bound), 8, 50, false);
const DELAY: Column = column("DELAY", Some(Order::Delay), 8, 60, false);
const REACH: Column = column("REACH", None, 5, 76, false);

fn text(peer: &PeerStatus, column: &str) -> String {
    match column {
        "STATE" => peer.state.clone(),
        "OFFSET" => offset_text(peer.offset_ns),
        "BOUND" => span_text(peer.bound_ns),
        "DELAY" => span_text(peer.delay_ns),
        _ => format!("{:03o}", peer.reach),
    }
}

/// Cut or filled to so many columns.
pub(super) fn fitted(text: &str, chars: usize, left: bool) -> String {
    let length = text.chars().count();
    if length > chars {
        return text.chars().take(chars.saturating_sub(1)).chain(['…'].into_iter().take(chars)).collect();
    }
    if left { format!("{text:<chars$}") } else { format!("{text:>chars$}") }
}

fn peers(frame: &mut Frame, board: &mut Board, area: Rect) {
    let Some(status) = &board.status else { return };
    if status.peers.is_empty() {
        let sentence = "No peer is known: name some with --peers, or let discovery find them.";
        frame.render_widget(Paragraph::new(sentence).wrap(Wrap { trim: true }), area);
        return;
    }
    let headed = area.height >= 3;
    let rows = usize::from(area.height).saturating_sub(usize::from(headed));
    let chosen = board.chosen_row().unwrap_or(0);
    // The chosen one is always on the screen, and nothing is moved without need.
    let last_first = board.first_row.min(status.peers.len().saturating_sub(rows));
    board.first_row = last_first.min(chosen).max((chosen + 1).saturating_sub(rows));

    let columns: Vec<&Column> =
        [&STATE, &OFFSET, &BOUND, &DELAY, &REACH].into_iter().filter(|c| area.width >= c.from).collect();
    let taken: usize = columns.iter().map(|c| c.chars + 2).sum();
    let left = usize::from(area.width).saturating_sub(taken);
    let peers = board.peers();
    let longest = peers.iter().map(|peer| peer.name.chars().count()).max().unwrap_or(0);
    // A name has what it needs if the line has its least, and the line all that is left.
    let name = longest.clamp(5, 28).min(left.saturating_sub(LINE_COLUMNS.start() + 2).max(left.min(12)));
    let line = left.saturating_sub(name + 2).min(*LINE_COLUMNS.end());
    let line = if line >= *LINE_COLUMNS.start() { line } else { 0 };

    let mut lines = Vec::new();
    if headed {
        let (order, turned) = board.order;
        let heading = |column: &Column| {
            let mark = if turned { "↑" } else { "↓" };
            let name = if column.order == Some(order) { format!("{}{mark}", column.name) } else { column.name.into() };
            fitted(&name, column.chars, column.left) + "  "
        };
        let mut text = heading(&column("PEER", Some(Order::Name), name, 0, true));
        text.extend(columns.iter().map(|c| heading(c)));
        text += &fitted("OFFSET OVER TIME", line, true);
        lines.push(Line::styled(text, board.soft().add_modifier(Modifier::UNDERLINED)));
    }
    for (row, peer) in peers.iter().enumerate().skip(board.first_row).take(rows) {
        let mut spans = vec![Span::raw(fitted(&peer.name, name, true) + "  ")];
        for column in &columns {
            let words = fitted(&text(peer, column.name), column.chars, column.left) + "  ";
            let style = if column.name == "STATE" { standing(board, peer) } else { Style::new() };
            spans.push(Span::styled(words, style));
        }
        spans.extend(past(board, peer, line));
        let style = if row == chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        lines.push(Line::from(spans).style(style));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// The line of a peer. Whoever is not used says why, beside its line where there is room, or in its place if it has
/// none.
fn past(board: &Board, peer: &PeerStatus, chars: usize) -> Vec<Span<'static>> {
    let whole = peer.reason.chars().count() + 2;
    let said = match peer.offset_ns {
        _ if peer.reason.is_empty() => 0,
        None => chars,
        Some(_) => whole.min(chars.saturating_sub(LINE_COLUMNS.start() + 8)),
    };
    // Three words of a reason are none.
    let said = if said < whole.min(20) && said < chars { 0 } else { said };
    let line = chars - said;
    let bars = bars(&board.offsets(peer.address, line), line);
    let reason = if line > 0 && said > 0 { format!("  {}", peer.reason) } else { peer.reason.clone() };
    vec![Span::styled(bars, board.colour(Color::Cyan)), Span::styled(fitted(&reason, said, true), board.soft())]
}

fn standing(board: &Board, peer: &PeerStatus) -> Style {
    match peer.state.as_str() {
        "used" => board.colour(Color::Green),
        "outlier" | "absurd" => bold(board.colour(Color::Red)),
        "silent" | "no-samples" | "coasting" | "no-quorum" => board.colour(Color::Yellow),
        _ => board.colour(Color::Cyan),
    }
}

/// The values as bars from the lowest to the highest, the newest to the right.
fn bars(values: &[Option<f64>], chars: usize) -> String {
    let known = || values.iter().flatten();
    let (low, high) = (known().copied().fold(f64::INFINITY, f64::min), known().copied().fold(-f64::INFINITY, f64::max));
    let bar = |value: &Option<f64>| match value {
        None => ' ',
        // All the same: in the middle.
        Some(_) if high <= low => BARS[3],
        Some(value) => BARS[(((value - low) / (high - low) * 7.0).round() as usize).min(7)],
    };
    let shown: String = values.iter().map(bar).collect();
    format!("{shown:>chars$}")
}

fn closer(frame: &mut Frame, board: &Board, area: Rect) {
    let peers = board.peers();
    let Some(peer) = board.chosen_row().map(|row| peers[row]) else { return };
    let stamp = |class: &Option<String>| class.clone().unwrap_or_else(|| "-".into());
    let role = peer.role.as_deref().unwrap_or("of unknown role");
    let reason = if peer.reason.is_empty() { "its time counts" } else { &peer.reason };
    let told = vec![
        Line::styled(format!("{} at {}, {role}", peer.name, peer.address), bold(Style::new())),
        Line::from(vec![Span::styled(peer.state.clone(), standing(board, peer)), Span::raw(format!(": {reason}"))]),
        Line::raw(format!(
            "offset {}   sigma {}   bound {}",
            offset_text(peer.offset_ns),
            span_text(peer.sigma_ns),
            span_text(peer.bound_ns)
        )),
        Line::raw(format!(
            "delay {}   stamps {}/{}   reach {:03o}",
            span_text(peer.delay_ns),
            stamp(&peer.rx_stamp),
            stamp(&peer.tx_stamp),
            peer.reach
        )),
    ];
    let [top, below] = Layout::vertical([Constraint::Length(told.len() as u16), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(told), top);
    if below.height >= 6 && below.width >= 30 {
        curve(frame, board, peer, below);
    }
}

/// The past of a peer's offset, two samples a column.
fn curve(frame: &mut Frame, board: &Board, peer: &PeerStatus, area: Rect) {
    let samples = (2 * usize::from(area.width).saturating_sub(12)).min(SAMPLES);
    let values = board.offsets(peer.address, samples);
    let shift = samples - values.len();
    let points: Vec<(f64, f64)> =
        values.iter().enumerate().filter_map(|(n, value)| value.map(|value| ((n + shift) as f64, value))).collect();
    let lowest = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let highest = points.iter().map(|point| point.1).fold(-f64::INFINITY, f64::max);
    let (low, high) = match highest - lowest {
        width if width > 0.0 => (lowest - width * 0.05, highest + width * 0.05),
        _ if points.is_empty() => (-1.0, 1.0),
        _ => (lowest - 1.0, highest + 1.0),
    };
    let ago = |samples: usize| span_text(Some(samples as f64 * board.interval_ns as f64));
    let curve = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(board.colour(Color::Cyan))
        .data(&points);
    let labels = |ns: f64| Span::styled(fitted(&offset_text(Some(ns)), 9, false), board.soft());
    let x = Axis::default()
        .bounds([0.0, samples.saturating_sub(1).max(1) as f64])
        .labels([Span::styled(format!("{} ago", ago(samples)), board.soft()), Span::styled("now", board.soft())]);
    let y = Axis::default().bounds([low, high]).labels([labels(low), labels((low + high) / 2.0), labels(high)]);
    frame.render_widget(Chart::new(vec![curve]).x_axis(x).y_axis(y).legend_position(None), area);
}

#[cfg(test)]
mod tests;
