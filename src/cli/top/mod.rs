//! `llts top`: the peers of a node on this machine in a terminal, live: sparklines, an order to choose, and a closer
//! look at one of them. It reads the status socket, as `llts status` does; it steers nothing and needs no privileges.

mod board;
mod keys;
mod terminal;
mod view;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::args::TopArgs;
use super::ask;
use super::exit::Failure;
use super::status::PATIENCE;
use crate::report::Status;
use board::Board;
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
    board.take(Ok(first));
    let answers = asking(socket, Duration::from_nanos(args.interval.unsigned_abs()))?;
    let mut screen = Screen::open()?;
    let outcome = show(&mut screen, &mut board, &answers);
    // Before anything is said: it would be lost with the screen.
    drop(screen);
    outcome
}

fn show(screen: &mut Screen, board: &mut Board, answers: &Receiver<Result<Status, String>>) -> Result<(), Failure> {
    let mut changed = true;
    loop {
        for answer in answers.try_iter() {
            board.take(answer);
            changed = true;
        }
        if let Some(signal) = screen.signal() {
            return Err(Failure::Interrupted(signal));
        }
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
fn asking(socket: PathBuf, interval: Duration) -> Result<Receiver<Result<Status, String>>, Failure> {
    let (sender, receiver) = bounded(1);
    thread::Builder::new().name("llts-top".into()).spawn(move || ask_on(&socket, interval, &sender))?;
    Ok(receiver)
}

fn ask_on(socket: &std::path::Path, interval: Duration, sender: &Sender<Result<Status, String>>) {
    loop {
        thread::sleep(interval);
        let answer = ask::status(socket, PATIENCE).map(|(_, status)| status).map_err(|error| error.to_string());
        if sender.send(answer).is_err() {
            return;
        }
    }
}
