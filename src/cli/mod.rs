//! Words: what may be said on the command line, one file a command, and how each ends. Knows nothing of the protocol
//! and keeps no time; `run` hands its settings to the engine, every other command only looks at nodes from outside.

mod args;
mod ask;
mod check_config;
mod compare;
mod completions;
mod demo;
mod doctor;
mod exit;
mod keygen;
mod keys;
mod layers;
#[cfg(test)]
mod papers;
mod quantity;
mod query;
mod release_clock;
mod replay;
mod run;
mod saturn;
mod sim;
mod status;
mod top;
mod waitsync;
mod watch;

use std::process::ExitCode;

use args::Command;
use exit::Failure;
use layers::Surroundings;
use status::View;

/// Does what the command line says. 0: done (of `doctor`: all is good; 1 and 2 are its findings); 1: it could not be
/// done (of `query`: over the threshold); 2: the command line or a file it names is wrong; 128 and the signal's number:
/// ended by that signal before it was done.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match args::read_around(std::env::args_os(), &Surroundings::here()) {
        Ok(Command::Run(args)) => run::run(&args),
        Ok(Command::Demo(args)) => demo::demo(&args),
        Ok(Command::Status(args)) => status::status(&args, View::Status),
        Ok(Command::Peers(args)) => status::status(&args, View::Peers),
        Ok(Command::Tracking(args)) => status::status(&args, View::Tracking),
        Ok(Command::Top(args)) => top::top(&args),
        Ok(Command::Waitsync(args)) => waitsync::waitsync(&args),
        Ok(Command::Watch(args)) => watch::watch(&args),
        Ok(Command::Query(args)) => query::query(&args),
        Ok(Command::ReleaseClock(args)) => release_clock::release_clock(&args),
        Ok(Command::Keygen(args)) => keygen::keygen(&args),
        Ok(Command::CheckConfig(args)) => check_config::check_config(&args),
        Ok(Command::Completions(args)) => completions::completions(&args),
        Ok(Command::Sim(args)) => sim::sim(&args),
        Ok(Command::Saturn(args)) => saturn::saturn(&args),
        Ok(Command::Doctor(args)) => match doctor::doctor(&args) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Ok(Command::Compare(args)) => compare::compare(&args),
        Ok(Command::Replay(args)) => replay::replay(&args),
        Err(failure) => Err(failure),
    };
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
