//! The `llts` program: hands over to the words of the command line and comes back with an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    llts::cli::main()
}
