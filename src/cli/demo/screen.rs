//! What a demo shows while it runs: a table that is redrawn in place on a terminal, one line now and then elsewhere.
//! Shows, and keeps nothing.

use std::io::IsTerminal;

use crate::cli::exit::{Failure, say};
use crate::report::{Align, ClockView, Table, frequency_text, offset_text, span_text};

use super::fleet::Node;
use super::truth::Sample;

/// The table is redrawn this often, ms.
const REDRAW_MS: u128 = 250;
/// Without a terminal a line is written this often, ms.
const LINE_MS: u128 = 2_000;

/// Where a demo shows itself.
#[derive(Debug)]
pub(super) enum Screen {
    /// Nowhere.
    Dark,
    /// A terminal, with so many lines of the last table to be drawn over, and when it is next drawn.
    Terminal { lines: usize, due_ms: u128 },
    /// A pipe or a file, and when the next line is due.
    Lines { due_ms: u128 },
}

/// What is known of the nodes at one moment, a place for each.
pub(super) struct Scene<'a> {
    /// Since the start, ms.
    pub at_ms: u128,
    /// The nodes.
    pub nodes: &'a [Node],
    /// Their documents, as far as they answered.
    pub views: &'a [Option<ClockView>],
    /// How many peers each counts on.
    pub peers: &'a [Option<usize>],
    /// The truth, if enough of them answered.
    pub sample: Option<&'a Sample>,
}

impl Screen {
    /// The screen that standard output is.
    pub fn of_stdout() -> Self {
        if std::io::stdout().is_terminal() {
            Screen::Terminal { lines: 0, due_ms: 0 }
        } else {
            Screen::Lines { due_ms: LINE_MS }
        }
    }

    /// A line above what follows.
    pub fn announce(&self, line: &str) -> Result<(), Failure> {
        match self {
            Screen::Dark => Ok(()),
            Screen::Terminal { .. } | Screen::Lines { .. } => say(&format!("{line}\n")),
        }
    }

    /// Shows the scene, if it is time to.
    pub fn show(&mut self, scene: &Scene) -> Result<(), Failure> {
        match self {
            Screen::Terminal { lines, due_ms } if scene.at_ms >= *due_ms => {
                *due_ms = scene.at_ms + REDRAW_MS;
                let text = format!("{}\n\n{}\n", table(scene), line(scene));
                let up = if *lines == 0 { String::new() } else { format!("\x1b[{lines}A\r\x1b[J") };
                *lines = text.matches('\n').count();
                say(&format!("{up}{text}"))
            }
            Screen::Lines { due_ms } if scene.at_ms >= *due_ms => {
                *due_ms = scene.at_ms + LINE_MS;
                say(&format!("{}\n", line(scene)))
            }
            Screen::Dark | Screen::Terminal { .. } | Screen::Lines { .. } => Ok(()),
        }
    }
}

fn table(scene: &Scene) -> Table {
    let right = Align::Right;
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("TRUE ERROR", right),
        ("SIGMA", right),
        ("BOUND", right),
        ("FREQUENCY", right),
        ("PEERS", right),
        ("STATE", Align::Left),
    ]);
    for (index, node) in scene.nodes.iter().enumerate() {
        let view = scene.views[index].as_ref();
        let state = view.map_or(if node.is_up() { "starting" } else { "killed" }, |view| view.state.as_str());
        table.row([
            node.name.clone(),
            offset_text(scene.sample.and_then(|sample| sample.errors_ns[index])),
            span_text(view.and_then(|view| view.sigma_ns)),
            span_text(view.and_then(|view| view.bound_ns)),
            frequency_text(view.and_then(|view| view.frequency_ppb)),
            scene.peers[index].map_or_else(|| "-".into(), |peers| peers.to_string()),
            state.into(),
        ]);
    }
    table
}

fn line(scene: &Scene) -> String {
    let worst = span_text(scene.sample.map(Sample::worst_ns));
    let up = scene.views.iter().flatten().count();
    format!("{:5.1} s  worst true pair {worst}, {up} of {} nodes answer", scene.at_ms as f64 / 1e3, scene.nodes.len())
}
