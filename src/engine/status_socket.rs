//! The status socket: a client sends one line (`status`, `clock`, `latencies` or `events`), gets one JSON
//! document and the end of the stream. It can ask and nothing else. Clients, their patience and the length of a
//! question are bounded, so no client can hold the daemon.

use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use crate::limits::{STATUS_CLIENTS_MAX, STATUS_PATIENCE_NS};

/// The listening socket and its clients.
#[derive(Debug)]
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    token: Token,
    clients: Vec<Option<Client>>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    since_ns: i64,
    question: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
}

/// The longest question accepted, bytes.
const QUESTION_MAX: usize = 64;

impl StatusSocket {
    /// Listens at `path`; a socket there whose daemon is gone is replaced. Clients get the tokens after `token`.
    ///
    /// # Errors
    /// Another daemon answers at `path`, something that is no socket lies there, or the path cannot be bound.
    pub fn bind(path: &Path, token: Token, registry: &Registry) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket"));
            }
            Ok(_) if StdStream::connect(path).is_ok() => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another llts daemon answers there"));
            }
            Ok(_) => std::fs::remove_file(path)?,
            Err(_) => {}
        }
        let mut listener = UnixListener::bind(path)?;
        // Anybody may ask how the clock is doing; the folder's mode is the administrator's way to say otherwise.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        registry.register(&mut listener, token, Interest::READABLE)?;
        let clients = std::iter::repeat_with(|| None).take(STATUS_CLIENTS_MAX).collect();
        Ok(StatusSocket { listener, path: path.to_owned(), token, clients })
    }

    /// Serves whatever `token` is ready for. `answer` makes the document for a question, or `None` if it knows no such
    /// question.
    pub fn on_ready(
        &mut self,
        token: Token,
        registry: &Registry,
        now_ns: i64,
        answer: &mut dyn FnMut(&str) -> Option<String>,
    ) {
        if token == self.token {
            self.accept(registry, now_ns);
            return;
        }
        let Some(index) = token.0.checked_sub(self.token.0 + 1).filter(|i| *i < STATUS_CLIENTS_MAX) else { return };
        let Some(client) = &mut self.clients[index] else { return };
        if client.serve(answer) == Served::Finished {
            self.hang_up(index, registry);
        }
    }

    /// Cuts off clients that have kept the daemon waiting.
    pub fn expire(&mut self, registry: &Registry, now_ns: i64) {
        for index in 0..self.clients.len() {
            if self.clients[index].as_ref().is_some_and(|c| now_ns - c.since_ns > STATUS_PATIENCE_NS) {
                self.hang_up(index, registry);
            }
        }
    }

    fn accept(&mut self, registry: &Registry, now_ns: i64) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            // With all places taken the newcomer is dropped, which it sees as the end of the stream.
            let Some(index) = self.clients.iter().position(Option::is_none) else { continue };
            let token = Token(self.token.0 + 1 + index);
            if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
                let (question, answer) = (Vec::with_capacity(QUESTION_MAX), Vec::new());
                self.clients[index] = Some(Client { stream, since_ns: now_ns, question, answer, sent: 0 });
            }
        }
    }

    fn hang_up(&mut self, index: usize, registry: &Registry) {
        if let Some(mut client) = self.clients[index].take() {
            // A stream that cannot be deregistered is closed in the next line anyway.
            let _closing = registry.deregister(&mut client.stream);
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // Leaving: a path that is already gone is as good.
        let _gone = std::fs::remove_file(&self.path);
    }
}

#[derive(PartialEq, Eq)]
enum Served {
    Waiting,
    Finished,
}

impl Client {
    fn serve(&mut self, answer: &mut dyn FnMut(&str) -> Option<String>) -> Served {
        if self.answer.is_empty() {
            match self.read_question() {
                Ok(Some(question)) => match answer(question.trim()) {
                    Some(text) => self.answer = text.into_bytes(),
                    None => return Served::Finished,
                },
                Ok(None) => return Served::Waiting,
                Err(_) => return Served::Finished,
            }
        }
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Ok(0) => return Served::Finished,
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Served::Waiting,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Served::Finished,
            }
        }
        Served::Finished
    }

    /// The question once its line is complete; `None` while more is to come.
    fn read_question(&mut self) -> io::Result<Option<String>> {
        let mut bytes = [0; QUESTION_MAX];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.question.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Some(end) = self.question.iter().position(|b| *b == b'\n') {
                return Ok(Some(String::from_utf8_lossy(&self.question[..end]).into_owned()));
            }
            if self.question.len() > QUESTION_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}
