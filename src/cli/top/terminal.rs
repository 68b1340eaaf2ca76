//! The terminal while `llts top` has it: taken whole, and given back as it was whatever happens: at the end, at a
//! signal, at a panic (which ends the process), and while the program is stopped.

use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::board::Board;
use super::view;

/// The whole terminal; given back when dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// The signal that came, or 0.
    signal: Arc<AtomicUsize>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none, or has gone.
    pub fn open() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // What the panic says must be readable, and the shell after it usable.
            give_back();
            told(panic);
        }));
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).inspect_err(|_| give_back())?;
        Ok(Screen { terminal, signal })
    }

    /// Shows the board.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn draw(&mut self, board: &mut Board) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, board)).map(|_| ())
    }

    /// The signal that asks to end, once one came.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number as i32),
        }
    }

    /// Gives the terminal to the shell until the program is continued.
    ///
    /// # Errors
    /// It cannot be had back.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        raise(Signal::SIGTSTP)?;
        take()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen).inspect_err(|_| give_back())
}

fn give_back() {
    // A terminal that has gone needs nothing back.
    let _gone = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _gone = disable_raw_mode();
}
