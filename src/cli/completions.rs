//! `llts completions`: what a shell needs to complete the words of this program, made from their description.

use super::args::{self, CompletionsArgs};
use super::exit::{Failure, say};

/// Prints the completion script of a shell.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "llts", &mut script);
    say(&String::from_utf8_lossy(&script))
}
