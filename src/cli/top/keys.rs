//! What keys mean to `llts top`.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// By which column peers are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Their names.
    Name,
    /// What is made of them: what needs attention first.
    State,
    /// How far their clocks are off, ahead or behind: the furthest first.
    Offset,
    /// The bound of that.
    Bound,
    /// Their round trips.
    Delay,
}

/// What is to be seen besides the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    /// How far every two clocks are apart.
    Skews,
    /// Percentiles of what takes time.
    Latencies,
    /// What has happened.
    Events,
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Back from a closer look, or away.
    Quit,
    /// Away at once.
    Leave,
    /// The shell, for a while.
    Suspend,
    /// So many peers further down.
    Move(i32),
    /// The first peer, or the last.
    End(bool),
    /// A closer look at the chosen peer, or back.
    Closer,
    /// This panel, or back to the peers.
    Show(Panel),
    /// Everything stands still, or goes on.
    Pause,
    /// This order; if it is already, the other way round.
    Sort(Order),
    /// The help, or away with it.
    Help,
}

/// What a key means, if anything.
pub(super) fn wish(key: KeyEvent) -> Option<Wish> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Wish::Leave),
            KeyCode::Char('z') => Some(Wish::Suspend),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Down | KeyCode::Char('j') => Wish::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Wish::Move(-1),
        KeyCode::PageDown => Wish::Move(10),
        KeyCode::PageUp => Wish::Move(-10),
        KeyCode::Home | KeyCode::Char('g') => Wish::End(false),
        KeyCode::End | KeyCode::Char('G') => Wish::End(true),
        KeyCode::Enter => Wish::Closer,
        KeyCode::Char('m') => Wish::Show(Panel::Skews),
        KeyCode::Char('l') => Wish::Show(Panel::Latencies),
        KeyCode::Char('e') => Wish::Show(Panel::Events),
        KeyCode::Char('p' | ' ') => Wish::Pause,
        KeyCode::Char('n') => Wish::Sort(Order::Name),
        KeyCode::Char('s') => Wish::Sort(Order::State),
        KeyCode::Char('o') => Wish::Sort(Order::Offset),
        KeyCode::Char('b') => Wish::Sort(Order::Bound),
        KeyCode::Char('d') => Wish::Sort(Order::Delay),
        KeyCode::Char('?' | 'h') => Wish::Help,
        _ => return None,
    })
}
