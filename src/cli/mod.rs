//! Words: what may be said on the command line, one file a command, and how each ends. Knows nothing of the protocol
//! and keeps no time; `run` hands its settings to the engine, every other command only looks at nodes from outside.

mod args;
mod ask;
mod demo;
mod doctor;
mod exit;
mod keygen;
mod quantity;
mod run;
mod sim;
mod status;

use std::process::ExitCode;

use args::Command;
use exit::Failure;

/// Does what the command line says. 0: done; 1: it could not be done; 2: the command line or a file it names is wrong
/// (`doctor` means its findings: all is good, less than could be, cannot run);
/// 128 and the signal's number: ended by that signal before it was done.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match args::read(std::env::args_os()) {
        Ok(Command::Run(args)) => run::run(&args),
        Ok(Command::Demo(args)) => demo::demo(&args),
        Ok(Command::Status(args)) => status::status(&args),
        Ok(Command::Keygen(args)) => keygen::keygen(&args),
        Ok(Command::Sim(args)) => sim::sim(&args),
        Ok(Command::Doctor(args)) => match doctor::doctor(&args) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
