//! The `llts` program: parses, chooses a command, maps errors to exit codes.

fn main() {}
