//! What is seen in place of the peers: how far every two clocks are apart, percentiles of latencies, and what has
//! happened. What does not fit is left out or moved to; nothing is ever wider than the window.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::board::{Board, Past};
use super::keys::Panel;
use super::view::{bold, fitted};
use crate::report::{Gravity, LatencyStatus, PeerStatus, offset_text, span_text};

/// Columns of a number with its unit, and of the gap before it.
const NUMBER_COLUMNS: usize = 9;
const GAP_COLUMNS: usize = 2;
/// The widest name of a node and of a latency.
const NAME_COLUMNS: usize = 16;

/// Draws a panel.
pub(super) fn draw(frame: &mut Frame, board: &mut Board, panel: Panel, area: Rect) {
    match (panel, &board.past) {
        (Panel::Skews, _) => skews(frame, board, area),
        (_, None) => say(frame, board, area, "The node is being asked."),
        (_, Some(Err(fault))) => {
            let text = format!("This node does not tell (is its llts older than this one?): {fault}");
            say(frame, board, area, &text);
        }
        (Panel::Latencies, Some(Ok(_))) => latencies(frame, board, area),
        (Panel::Events, Some(Ok(_))) => events(frame, board, area),
    }
}

fn say(frame: &mut Frame, board: &Board, area: Rect, text: &str) {
    frame.render_widget(Paragraph::new(text).style(board.soft()).wrap(Wrap { trim: true }), area);
}

/// A clock of the matrix: whose it is, and its time minus this node's, ns.
struct Clock {
    name: String,
    ahead_ns: f64,
}

/// This node's clock and those of the peers used, by name.
fn clocks(board: &Board) -> Vec<Clock> {
    let Some(status) = &board.status else { return Vec::new() };
    let of_peer = |peer: &PeerStatus| Some(Clock { name: peer.name.clone(), ahead_ns: -peer.offset_ns? });
    let used = status.peers.iter().filter(|peer| peer.state == "used").filter_map(of_peer);
    let own = Clock { name: status.node.clone(), ahead_ns: 0.0 };
    let mut clocks: Vec<Clock> = std::iter::once(own).chain(used).collect();
    clocks.sort_by(|a, b| a.name.cmp(&b.name));
    clocks
}

/// Row minus column of every two clocks, as measured from here. Arrows move what is seen, down and to the right.
fn skews(frame: &mut Frame, board: &mut Board, area: Rect) {
    let clocks = clocks(board);
    if clocks.len() < 2 {
        say(frame, board, area, "There is no peer to compare with: none is used.");
        return;
    }
    let name = clocks.iter().map(|clock| clock.name.chars().count()).max().unwrap_or(0).clamp(3, NAME_COLUMNS);
    let name = name.min(usize::from(area.width));
    let columns = (usize::from(area.width) - name) / (NUMBER_COLUMNS + GAP_COLUMNS);
    let rows = usize::from(area.height).saturating_sub(2);
    let beyond = clocks.len().saturating_sub(columns.max(1)).max(clocks.len().saturating_sub(rows.max(1)));
    board.moved = board.moved.min(beyond);
    let first = |shown: usize| board.moved.min(clocks.len().saturating_sub(shown.max(1)));
    let (first_row, first_column) = (first(rows), first(columns));

    let shown = || clocks.iter().skip(first_column).take(columns);
    let mut heading = fitted("", name, true);
    for clock in shown() {
        heading += &format!("{:GAP_COLUMNS$}{}", "", fitted(&clock.name, NUMBER_COLUMNS, false));
    }
    let whole = columns >= clocks.len() && rows >= clocks.len();
    let how = if whole { "" } else { "; arrows move" };
    let mut lines = vec![
        Line::styled(format!("SKEW: row minus column, as measured from here{how}"), board.soft()),
        Line::styled(heading, bold(Style::new())),
    ];
    for row in clocks.iter().skip(first_row) {
        let mut spans = vec![Span::styled(fitted(&row.name, name, true), bold(Style::new()))];
        for column in shown() {
            let text = if std::ptr::eq(row, column) {
                "·".to_owned()
            } else {
                offset_text(Some(row.ahead_ns - column.ahead_ns))
            };
            spans.push(Span::raw(format!("{:GAP_COLUMNS$}{}", "", fitted(&text, NUMBER_COLUMNS, false))));
        }
        lines.push(Line::from(spans));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// A percentile: its heading, where it stands, and the width of the window from which on it is shown.
type Percentile = (&'static str, fn(&LatencyStatus) -> Option<u64>, u16);

/// The most needed are shown in the smallest windows.
const PERCENTILES: [Percentile; 6] = [
    ("MIN", |latency| latency.min_ns, 70),
    ("P50", |latency| latency.p50_ns, 0),
    ("P90", |latency| latency.p90_ns, 60),
    ("P99", |latency| latency.p99_ns, 40),
    ("P99.9", |latency| latency.p999_ns, 80),
    ("MAX", |latency| latency.max_ns, 50),
];

fn latencies(frame: &mut Frame, board: &Board, area: Rect) {
    let Some(Ok(Past { latencies, .. })) = &board.past else { return };
    let columns: Vec<&Percentile> = PERCENTILES.iter().filter(|(_, _, from)| area.width >= *from).collect();
    let mut heading = fitted("LATENCY", NAME_COLUMNS, true);
    let counted = area.width >= 90;
    if counted {
        heading += &fitted("COUNT", NUMBER_COLUMNS + GAP_COLUMNS, false);
    }
    for (name, _, _) in &columns {
        heading += &fitted(name, NUMBER_COLUMNS + GAP_COLUMNS, false);
    }
    let mut lines = vec![
        Line::styled("LATENCIES since the node was started, right to one percent", board.soft()),
        Line::styled(heading, bold(Style::new())),
    ];
    for latency in latencies {
        let mut spans = vec![Span::styled(fitted(&latency.name, NAME_COLUMNS, true), bold(Style::new()))];
        let mut put = |text: &str| spans.push(Span::raw(fitted(text, NUMBER_COLUMNS + GAP_COLUMNS, false)));
        if counted {
            put(&latency.count.to_string());
        }
        columns.iter().for_each(|(_, of, _)| put(&span_text(of(latency).map(|ns| ns as f64))));
        lines.push(Line::from(spans));
    }
    if latencies.iter().all(|latency| latency.count == 0) {
        lines.push(Line::styled("The node is collecting them.", board.soft()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// What has happened, the newest first. Arrows move to what is older.
fn events(frame: &mut Frame, board: &mut Board, area: Rect) {
    let Some(Ok(Past { events, .. })) = &board.past else { return };
    let rows = usize::from(area.height).saturating_sub(1);
    board.moved = board.moved.min(events.happenings.len().saturating_sub(rows.max(1)));
    let older = if events.happenings.len() > rows { "; arrows move to what is older" } else { "" };
    let mut lines = vec![Line::styled(format!("EVENTS, the newest first{older}"), board.soft())];
    for happening in events.happenings.iter().rev().skip(board.moved) {
        let ago_ns = events.now_unix_ns.saturating_sub(happening.at_unix_ns).max(0);
        let (mark, style) = match happening.gravity {
            Gravity::Good => ("ok  ", board.colour(Color::Green)),
            Gravity::Note => ("note", board.soft()),
            Gravity::Warning => ("warn", board.colour(Color::Yellow)),
            Gravity::Bad => ("BAD ", bold(board.colour(Color::Red))),
        };
        lines.push(Line::from(vec![
            Span::styled(fitted(&format!("{} ago", ago_text(ago_ns)), 8, false), board.soft()),
            Span::styled(format!("  {mark}  "), style),
            Span::raw(happening.text.clone()),
        ]));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// How long ago, in one whole unit.
fn ago_text(ago_ns: i64) -> String {
    let seconds = ago_ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
