//! How a command ends: what a failure says, once, in one sentence, and with which exit code. Also the way to the
//! terminal, because a reader that has gone is one of the ways to end.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::engine::{DisciplineEnd, Refusal, StartError};

/// Exit code of a node that may not go on: somebody has to look before it is started again, because a new start has the
/// limits of a start.
const REFUSED: u8 = 3;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line, or a file that it names, is wrong: nothing was started.
    Usage(String),
    /// It could not be done.
    Runtime(anyhow::Error),
    /// It was done, and what it found is over the threshold or the time that it was given: the output has said so.
    Over,
    /// It was done, and what it found is wrong or can never be: the output has said so.
    Never,
    /// A signal of this number ended it.
    Interrupted(i32),
    /// Whoever read the output has heard enough.
    Unheard,
    /// The parser of the command line answers itself: help and version.
    Told,
}

impl Failure {
    /// A usage failure from an error whose text is a sentence.
    pub fn usage(error: impl ToString) -> Self {
        Failure::Usage(error.to_string())
    }

    /// What it is, in a sentence; empty if the output has said it.
    pub fn sentence(&self) -> String {
        match self {
            Failure::Usage(sentence) => sentence.clone(),
            Failure::Runtime(error) => format!("{error:#}"),
            Failure::Over | Failure::Never | Failure::Interrupted(_) | Failure::Unheard | Failure::Told => {
                String::new()
            }
        }
    }

    /// Says what there is to say, and the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Usage(sentence) => {
                warn(&sentence);
                ExitCode::from(2)
            }
            Failure::Runtime(error) => {
                warn(&format!("{error:#}"));
                code_of(&error)
            }
            Failure::Over => ExitCode::FAILURE,
            Failure::Never => ExitCode::from(2),
            Failure::Interrupted(signal) => ExitCode::from(128u8.wrapping_add(signal as u8)),
            Failure::Unheard | Failure::Told => ExitCode::SUCCESS,
        }
    }
}

/// The exit code for what failed at run time: a node that was told wrongly is not to be started again as it is, whoever
/// found that; everything else may be better the next time.
fn code_of(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<DisciplineEnd>().is_some_and(DisciplineEnd::is_refusal) {
        return ExitCode::from(REFUSED);
    }
    let wrong = error.downcast_ref::<Refusal>().is_some_and(|refusal| !refusal.may_pass())
        || error.downcast_ref::<StartError>().is_some_and(|error| !matches!(error, StartError::Rivals(_)));
    if wrong { ExitCode::from(2) } else { ExitCode::FAILURE }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Runtime(error.into())
    }
}

/// One line to standard error. Line breaks inside become spaces: a sentence is a line.
pub(super) fn warn(sentence: &str) {
    let line = sentence.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    // With nobody to read it, the exit code still tells.
    let _unread = writeln!(io::stderr(), "llts: {line}");
}

/// Text to standard output, as it is.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unheard),
        other => other.map_err(|error| anyhow::anyhow!("cannot write to standard output: {error}").into()),
    }
}
