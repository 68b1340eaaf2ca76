//! The client's side of the status socket: one question, one document. Waits no longer than it is told to, whatever the
//! other side does.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::report::{ClockView, LatencyStatus, Status, Told};

/// The longest document that is read, bytes.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The path is no socket, or nobody listens there.
    #[error("no llts daemon answers at {path}: {error} (start one with `llts run`, or give its socket with --socket)")]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It listens and says nothing.
    #[error("the llts daemon at {path} does not answer: it may be stopped or overloaded")]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// It says something else.
    #[error("{path} gave no answer that this llts understands: is its daemon of another version?")]
    Unclear {
        /// The socket.
        path: PathBuf,
    },
}

/// The `status` document as it came, checked to be one, and what it says.
pub(super) fn status(path: &Path, patience: Duration) -> Result<(String, Status), AskError> {
    let text = ask(path, "status", patience)?;
    let status = understood(&text, path)?;
    Ok((text, status))
}

/// The `clock` document.
pub(super) fn clock(path: &Path, patience: Duration) -> Result<ClockView, AskError> {
    understood(&ask(path, "clock", patience)?, path)
}

/// The percentiles of a node's latencies since its start, as old as the last time that it was asked for them.
pub(super) fn latencies(path: &Path, patience: Duration) -> Result<Vec<LatencyStatus>, AskError> {
    understood(&ask(path, "latencies", patience)?, path)
}

/// What has happened to a node.
pub(super) fn events(path: &Path, patience: Duration) -> Result<Told, AskError> {
    understood(&ask(path, "events", patience)?, path)
}

/// True if somebody listens at `path`.
pub(super) fn is_alive(path: &Path, patience: Duration) -> bool {
    connect(path, patience).is_ok()
}

fn understood<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, AskError> {
    serde_json::from_str(text).map_err(|_| AskError::Unclear { path: path.into() })
}

fn ask(path: &Path, question: &str, patience: Duration) -> Result<String, AskError> {
    let until = Instant::now() + patience;
    let mut socket = connect(path, patience).map_err(|error| failed(path, error))?;
    let bytes = exchange(&mut socket, question, until).map_err(|error| failed(path, error))?;
    String::from_utf8(bytes).map_err(|_| AskError::Unclear { path: path.into() })
}

fn connect(path: &Path, patience: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On a local socket this also limits how long a connection waits for its place in the queue.
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

fn exchange(socket: &mut Socket, question: &str, until: Instant) -> io::Result<Vec<u8>> {
    socket.write_all(format!("{question}\n").as_bytes())?;
    let mut document = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut piece) {
            Ok(0) => return Ok(document),
            Ok(n) if document.len() + n > DOCUMENT_BYTES_MAX => return Err(io::ErrorKind::InvalidData.into()),
            Ok(n) => document.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn failed(path: &Path, error: io::Error) -> AskError {
    let path = path.into();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Silent { path },
        io::ErrorKind::InvalidData | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            AskError::Unclear { path }
        }
        _ => AskError::Nobody { path, error },
    }
}
