//! `llts top`: the peers of a node on this machine in a terminal, live: sparklines, an order to choose, a closer look
//! at one of them, how far every two clocks are apart, latencies, and what has happened. It reads the status
//! socket, as `llts status` does; it steers nothing and needs no privileges.

mod board;
mod keys;
mod panels;
mod terminal;
mod view;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::args::TopArgs;
use super::ask;
use super::exit::Failure;
use super::status::PATIENCE;
use board::{Answer, Board, Past};
use keys::Wish;
use terminal::Screen;

/// Keys are looked for this often, and with them answers and signals.
const TURN: Duration = Duration::from_millis(100);

/// Shows a node until somebody has seen enough.
pub(super) fn top(args: &TopArgs) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let sentence = "`llts top` needs a terminal: elsewhere use `llts status --watch` or `llts peers --json`";
        return Err(Failure::Usage(sentence.into()));
    }
    let socket = args.node.socket()?;
    // What is wrong now is said before the screen is taken.
    let (_, first) = ask::status(&socket, PATIENCE)?;
    let mut board = Board::new(args.interval, std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty()));
    board.take(Answer { status: Ok(first), past: None });
    let past_wanted = Arc::new(AtomicBool::new(false));
    let answers = asking(socket, Duration::from_nanos(args.interval.unsigned_abs()), Arc::clone(&past_wanted))?;
    let mut screen = Screen::open()?;
    let outcome = show(&mut screen, &mut board, &answers, &past_wanted);
    // Before anything is said: it would be lost with the screen.
    drop(screen);
    outcome
}

fn show(
    screen: &mut Screen,
    board: &mut Board,
    answers: &Receiver<Answer>,
    past_wanted: &AtomicBool,
) -> Result<(), Failure> {
    let mut changed = true;
    loop {
        for answer in answers.try_iter() {
            board.take(answer);
            changed = true;
        }
        if let Some(signal) = screen.signal() {
            return Err(Failure::Interrupted(signal));
        }
        past_wanted.store(board.panel.is_some_and(|panel| panel != keys::Panel::Skews), Ordering::Relaxed);
        if changed {
            screen.draw(board)?;
            changed = false;
        }
        if !event::poll(TURN)? {
            continue;
        }
        changed = true;
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match keys::wish(key) {
                Some(Wish::Quit) if !board.back() => return Ok(()),
                Some(Wish::Leave) => return Ok(()),
                Some(Wish::Suspend) => screen.suspend()?,
                Some(wish) => board.heed(wish),
                None => {}
            },
            // Whatever else there is, a new size above all, is a reason to draw.
            _ => {}
        }
    }
}

/// A thread asks, so that a daemon that is slow to answer makes nobody's keys slow.
fn asking(socket: PathBuf, interval: Duration, past_wanted: Arc<AtomicBool>) -> Result<Receiver<Answer>, Failure> {
    let (sender, receiver) = bounded(1);
    thread::Builder::new().name("llts-top".into()).spawn(move || ask_on(&socket, interval, &past_wanted, &sender))?;
    Ok(receiver)
}

fn ask_on(socket: &std::path::Path, interval: Duration, past_wanted: &AtomicBool, sender: &Sender<Answer>) {
    loop {
        // Whoever turns to a panel need not wait for the next turn.
        let until = std::time::Instant::now() + interval;
        let wanted = past_wanted.load(Ordering::Relaxed);
        while std::time::Instant::now() < until && past_wanted.load(Ordering::Relaxed) <= wanted {
            thread::sleep(TURN.min(interval));
        }
        let status = ask::status(socket, PATIENCE).map(|(_, status)| status).map_err(|error| error.to_string());
        let past = past_wanted.load(Ordering::Relaxed).then(|| past(socket));
        if sender.send(Answer { status, past }).is_err() {
            return;
        }
    }
}

/// What the node tells of its past; one that is older than the question does not know it.
fn past(socket: &std::path::Path) -> Result<Past, String> {
    let said = |error: ask::AskError| error.to_string();
    let latencies = ask::latencies(socket, PATIENCE).map_err(said)?;
    Ok(Past { latencies, events: ask::events(socket, PATIENCE).map_err(said)? })
}
