//! What a watch shows people: a table that is redrawn in place on a terminal, a line for each interval elsewhere. With
//! JSON it shows nothing: what is wrong then goes to standard error.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::Instant;

use crate::cli::exit::{Failure, say, warn};
use crate::report::{WatchLine, watch_summary, watch_text};

/// News that stay under the table.
const NEWS_KEPT: usize = 6;

/// Where a watch shows itself.
pub(super) enum Screen {
    /// Nowhere.
    Dark,
    /// A terminal, and the latest news.
    Terminal { began: Instant, news: VecDeque<String> },
    /// A pipe or a file.
    Lines { began: Instant },
}

/// What of `text` a terminal of so many columns and rows shows without scrolling, if its size is known.
fn fitted(text: &str, size: Option<(u16, u16)>) -> String {
    let Some((columns, rows)) = size.filter(|(columns, rows)| *columns > 0 && *rows > 1) else {
        return text.to_owned();
    };
    // The last row stays free: a newline there would scroll.
    let fits = usize::from(rows) - 1;
    let count = text.lines().count();
    let cut = |line: &str| line.chars().take(usize::from(columns)).collect::<String>() + "\n";
    if count <= fits {
        return text.lines().map(cut).collect();
    }
    let shown = text.lines().take(fits - 1).map(cut).collect::<String>();
    shown + &cut(&format!("... {} lines more: this terminal has {rows}", count - (fits - 1)))
}

impl Screen {
    /// The screen that standard output is.
    pub fn new(json: bool) -> Self {
        let began = Instant::now();
        match (json, std::io::stdout().is_terminal()) {
            (true, _) => Screen::Dark,
            (false, true) => Screen::Terminal { began, news: VecDeque::new() },
            (false, false) => Screen::Lines { began },
        }
    }

    /// A crossing.
    pub fn tell(&mut self, sentence: &str) -> Result<(), Failure> {
        match self {
            // It stands in the JSON line.
            Screen::Dark => Ok(()),
            Screen::Terminal { .. } => self.keep(sentence),
            Screen::Lines { began } => say(&format!("{}  warning: {sentence}\n", since(*began))),
        }
    }

    /// Something that is wrong with the watching itself.
    pub fn complain(&mut self, sentence: &str) -> Result<(), Failure> {
        match self {
            Screen::Dark | Screen::Lines { .. } => {
                warn(sentence);
                Ok(())
            }
            Screen::Terminal { .. } => self.keep(sentence),
        }
    }

    /// One interval.
    pub fn show(&mut self, line: &WatchLine) -> Result<(), Failure> {
        match self {
            Screen::Dark => Ok(()),
            Screen::Terminal { news, .. } => {
                let mut text = format!("{}\n\n{}\n", watch_text(line), watch_summary(line));
                for sentence in &*news {
                    text += &format!("{sentence}\n");
                }
                let text = fitted(&text, ratatui::crossterm::terminal::size().ok());
                // From the top of the screen, each line to its end, then what is left below: nothing flickers.
                say(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")))
            }
            Screen::Lines { began } => say(&format!("{}  {}\n", since(*began), watch_summary(line))),
        }
    }

    fn keep(&mut self, sentence: &str) -> Result<(), Failure> {
        if let Screen::Terminal { began, news, .. } = self {
            if news.len() == NEWS_KEPT {
                news.pop_front();
            }
            news.push_back(format!("{}  {sentence}", since(*began)));
        }
        Ok(())
    }
}

fn since(began: Instant) -> String {
    format!("{:7.1} s", began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_to_the_terminal_and_says_what_is_left_out() {
        let text = "head\none\ntwo\nthree\n";
        assert_eq!(fitted(text, None), text);
        assert_eq!(fitted(text, Some((80, 24))), text);
        assert_eq!(fitted(text, Some((3, 5))), "hea\none\ntwo\nthr\n");
        assert_eq!(fitted(text, Some((80, 4))), "head\none\n... 2 lines more: this terminal has 4\n");
        assert_eq!(fitted(text, Some((80, 2))), "... 4 lines more: this terminal has 2\n");
    }
}
