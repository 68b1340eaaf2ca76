//! Where log lines go: standard error, one line each, for people, for the journal or for programs. Only the control
//! thread and the start write any. No kind of line comes without end: see [`super::log_limit`].

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::LogFormat;
use super::log_limit::{Limited, LogLimit};

/// The log level is no level.
#[derive(Debug, thiserror::Error)]
#[error("--log-level {level:?} is no log level: write error, warn, info, debug or trace")]
pub struct LogLevelError {
    level: String,
}

/// The level of the running log, to be changed.
pub(super) struct LogLevel(Option<reload::Handle<EnvFilter, Registry>>);

/// Starts logging. A process that already logs (several nodes in one test) keeps the way it began with.
///
/// # Errors
/// The level cannot be read.
pub(super) fn start(level: &str, format: LogFormat) -> Result<(LogLevel, Arc<LogLimit>), LogLevelError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines = lines(match format {
        LogFormat::Auto if is_journal() => LogFormat::Journal,
        other => other,
    });
    let limit = Arc::default();
    let started = Registry::default().with(filter).with(Limited(Arc::clone(&limit))).with(lines).try_init();
    Ok((LogLevel(started.is_ok().then_some(handle)), limit))
}

/// Starts logging for a program that has no node and whose level stays as it is.
///
/// # Errors
/// The level cannot be read.
pub fn begin(level: &str, format: LogFormat) -> Result<(), LogLevelError> {
    start(level, format).map(drop)
}

impl LogLevel {
    /// Whether `level` is one.
    ///
    /// # Errors
    /// It is none.
    pub fn check(&self, level: &str) -> Result<(), LogLevelError> {
        filter(level).map(drop)
    }

    /// Logs at this level from now on.
    ///
    /// # Errors
    /// The level cannot be read.
    pub fn set(&self, level: &str) -> Result<(), LogLevelError> {
        let filter = filter(level)?;
        if let Some(handle) = &self.0 {
            // The subscriber lives as long as the process.
            let _subscriber_gone = handle.reload(filter);
        }
        Ok(())
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogLevelError> {
    EnvFilter::try_new(level).map_err(|_| LogLevelError { level: level.to_owned() })
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_target(false)
        // A reader of the log that has gone away is no reason to stop keeping time.
        .log_internal_errors(false);
    match format {
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Journal => lines.with_ansi(false).event_format(Journal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Whether standard error is the journal, which keeps the time of a line itself and reads its priority: it says so in
/// `JOURNAL_STREAM`, by the device and the number of the file.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let of_error = std::fs::metadata("/proc/self/fd/2").map(|file| format!("{}:{}", file.dev(), file.ino()));
    of_error.is_ok_and(|of_error| of_error == stream)
}

/// A line with its priority in front, as systemd's journal reads it (sd-daemon(3)).
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
