//! Where log lines go: standard error, one line each, for people. Only the control thread and the start write any.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// The log level is no level.
#[derive(Debug, thiserror::Error)]
#[error("--log-level {level:?} is no log level: write error, warn, info, debug or trace")]
pub struct LogLevelError {
    level: String,
}

/// Starts logging. A process that already logs (several nodes in one test) keeps the way it began with.
///
/// # Errors
/// The level cannot be read.
pub(super) fn start(level: &str) -> Result<(), LogLevelError> {
    let filter = EnvFilter::try_new(level).map_err(|_| LogLevelError { level: level.to_owned() })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        // A reader of the log that has gone away is no reason to stop keeping time.
        .log_internal_errors(false)
        .finish();
    let _already_logging = subscriber.try_init();
    Ok(())
}
