//! The HTTP endpoint for monitoring: metrics, the status document and a page for people, to be read and nothing else.
//! It runs on a thread of its own with snapshots of its own, so that no number of slow, idle or hostile connections
//! can hold up a packet, a tick or even the control thread. Connections, the length of a request and the patience with
//! both are bounded, and so is what it remembers for the page; when all places are taken, whoever has waited longest
//! without asking gives way.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::answers::{Answers, Listed};
use crate::limits::{CHRONICLE_EVENTS, HTTP_CLIENTS_MAX, HTTP_PATIENCE_NS, HTTP_REQUEST_BYTES_MAX};
use crate::report::{
    Chronicle, DisciplineLatencies, Exposition, Gravity, Happening, History, HotLatencies, Latencies, Page,
    metrics_text,
};
use crate::sys::rt;
use crate::sys::time::{monotonic_now, real_now};

/// What the control thread hands over.
#[derive(Default)]
struct Handed {
    listed: Listed,
    latencies: Latencies,
    happenings: Vec<Happening>,
}

/// The control thread's end.
pub(super) struct Endpoint {
    handed: Arc<Mutex<Handed>>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Endpoint {
    /// Listens at `address` and serves from a thread of its own, which calls `prepare` before anything else.
    ///
    /// # Errors
    /// The address cannot be had, or the system gives no thread.
    pub fn start(address: SocketAddr, answers: Answers, prepare: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let mut listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (handed, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let server = Server {
            listener,
            poll,
            clients: std::iter::repeat_with(|| None).take(HTTP_CLIENTS_MAX).collect(),
            answers,
            handed: Arc::clone(&handed),
            loopback: address.ip().to_canonical().is_loopback(),
            page: Page::new(),
            history: History::new(),
            chronicle: Chronicle::default(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("llts-http".into()).spawn(move || {
            rt::name_thread("llts-http");
            prepare();
            server.run(&stopped);
        })?;
        Ok(Endpoint { handed, stop, waker, thread: Some(thread), address })
    }

    /// Whom the node looks for from now on.
    pub fn set_listed(&self, listed: &Listed) {
        lock(&self.handed).listed.clone_from(listed);
    }

    /// More that was measured.
    pub fn add(&self, hot: &HotLatencies, discipline: &DisciplineLatencies) {
        lock(&self.handed).latencies.merge(hot, discipline);
    }

    /// Something that happened just now.
    pub fn tell(&self, gravity: Gravity, text: String) {
        let happenings = &mut lock(&self.handed).happenings;
        if happenings.len() < CHRONICLE_EVENTS {
            happenings.push(Happening { at_unix_ns: real_now(), gravity, text });
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Without being woken it looks by itself within its longest wait.
        let _late_at_worst = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic has ended the process by now.
            let _ended = thread.join();
        }
    }
}

/// A thread that panicked has taken the process with it: there is no state that nobody finished.
fn lock(handed: &Mutex<Handed>) -> MutexGuard<'_, Handed> {
    handed.lock().unwrap_or_else(PoisonError::into_inner)
}

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// The first client's token.
const CLIENTS: usize = 2;
/// How often it looks at the node by itself, ns.
const LOOK_INTERVAL_NS: i64 = 1_000_000_000;
/// The longest wait.
const TURN: Duration = Duration::from_secs(1);

struct Server {
    listener: TcpListener,
    poll: Poll,
    clients: Vec<Option<Client>>,
    answers: Answers,
    handed: Arc<Mutex<Handed>>,
    /// Only reachable from this machine, so that a name in `Host` that is not this machine's is a trick.
    loopback: bool,
    page: Page,
    history: History,
    chronicle: Chronicle,
}

struct Client {
    stream: TcpStream,
    since_ns: i64,
    request: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
}

impl Server {
    fn run(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(HTTP_CLIENTS_MAX + CLIENTS);
        let mut look_ns = monotonic_now();
        while !stop.load(Ordering::Relaxed) {
            let now_ns = monotonic_now();
            if now_ns >= look_ns {
                look_ns = (look_ns + LOOK_INTERVAL_NS).max(now_ns);
                self.look(now_ns);
            }
            let wait = TURN.min(Duration::from_nanos((look_ns - now_ns).unsigned_abs()));
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!("the endpoint for monitoring has ended: {error}");
                return;
            }
            let now_ns = monotonic_now();
            let ready: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            for token in ready {
                match token {
                    LISTENER => self.accept(now_ns),
                    WAKER => {}
                    Token(number) => self.serve(number - CLIENTS),
                }
            }
            for index in 0..self.clients.len() {
                if self.clients[index].as_ref().is_some_and(|c| now_ns - c.since_ns > HTTP_PATIENCE_NS) {
                    self.clients[index] = None;
                }
            }
        }
    }

    /// Remembers how the node is doing and what has happened to it.
    fn look(&mut self, now_ns: i64) {
        let mut handed = lock(&self.handed);
        self.answers.set_listed(&handed.listed);
        handed.happenings.drain(..).for_each(|happening| self.chronicle.tell(happening));
        drop(handed);
        let status = self.answers.status();
        self.history.take(&status, now_ns);
        self.chronicle.look(&status, real_now());
    }

    fn accept(&mut self, now_ns: i64) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let index = self.place();
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(CLIENTS + index), interest).is_ok() {
                let (request, answer) = (Vec::new(), Vec::new());
                self.clients[index] = Some(Client { stream, since_ns: now_ns, request, answer, sent: 0 });
                // It may have asked already.
                self.serve(index);
            }
        }
    }

    /// A free place; if there is none, that of the client which has been here longest, whoever has not asked yet first.
    fn place(&mut self) -> usize {
        let free = self.clients.iter().position(Option::is_none);
        let oldest = || {
            let taken = self.clients.iter().enumerate();
            taken.min_by_key(|(_, c)| c.as_ref().map(|c| (!c.answer.is_empty(), c.since_ns))).map(|(index, _)| index)
        };
        // A stream that is dropped is closed, and so no longer waited for.
        free.or_else(oldest).expect("there is at least one place")
    }

    fn serve(&mut self, index: usize) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        if client.answer.is_empty() {
            match client.read_request() {
                Ok(false) => return,
                Ok(true) => {
                    let request = std::mem::take(&mut client.request);
                    let answer = self.answer(&request);
                    if let Some(client) = &mut self.clients[index] {
                        client.answer = answer;
                    }
                }
                Err(_) => {
                    self.clients[index] = None;
                    return;
                }
            }
        }
        if self.clients[index].as_mut().is_some_and(|client| client.write_answer() == Written::Done) {
            self.clients[index] = None;
        }
    }

    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let request = match Request::read(request) {
            Ok(request) => request,
            Err(refusal) => return refusal.bytes(),
        };
        let response = self.response(&request);
        if request.head_only { response.head() } else { response.bytes() }
    }

    fn response(&mut self, request: &Request) -> Response {
        if self.loopback && !request.host.as_deref().is_none_or(is_this_machine) {
            return Response::refusal("403 Forbidden", "ask this machine by localhost or its address");
        }
        match request.path.as_str() {
            "/" => Response::page(&self.page),
            "/metrics" => {
                let exposition = if request.open_metrics { Exposition::OpenMetrics } else { Exposition::Prometheus };
                let handed = lock(&self.handed);
                self.answers.set_listed(&handed.listed);
                let text = metrics_text(&self.answers.status(), &handed.latencies, exposition);
                Response::new("200 OK", exposition.content_type(), text)
            }
            "/status.json" => {
                self.answers.set_listed(&lock(&self.handed).listed);
                let body = self.answers.answer("status").expect("it is a question");
                Response::new("200 OK", JSON, body)
            }
            "/history.json" => match request.after() {
                Some(after) => Response::json(&self.history.after(after)),
                None => Response::refusal("400 Bad Request", "after is the number of a cell"),
            },
            "/events.json" => Response::json(&self.chronicle.told(real_now())),
            "/latencies.json" => Response::json(&lock(&self.handed).latencies.status()),
            _ => Response::refusal("404 Not Found", "there are /, /metrics and /status.json"),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Written {
    Waiting,
    Done,
}

impl Client {
    /// True once the request is complete, or longer than any request.
    fn read_request(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.request.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.request.len() > HTTP_REQUEST_BYTES_MAX || self.request.windows(4).any(|end| end == b"\r\n\r\n") {
                return Ok(true);
            }
        }
    }

    fn write_answer(&mut self) -> Written {
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Ok(0) => return Written::Done,
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Written::Waiting,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Written::Done,
            }
        }
        Written::Done
    }
}

/// What of a request matters here.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// The answer is wanted without its body (RFC 9110, 9.3.2).
    head_only: bool,
    path: String,
    query: String,
    host: Option<String>,
    open_metrics: bool,
}

impl Request {
    fn read(bytes: &[u8]) -> Result<Self, Response> {
        if bytes.len() > HTTP_REQUEST_BYTES_MAX {
            return Err(Response::refusal("431 Request Header Fields Too Large", "the request is too long"));
        }
        let bad = || Response::refusal("400 Bad Request", "this is no HTTP request");
        let head = std::str::from_utf8(bytes).map_err(|_| bad())?;
        let mut lines = head.split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
        let [method, target, version] = words.as_slice() else { return Err(bad()) };
        if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return Err(bad());
        }
        let head_only = *method == "HEAD";
        if *method != "GET" && !head_only {
            return Err(Response::refusal("405 Method Not Allowed", "there is nothing here but to GET"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut request = Request { head_only, path, query, host: None, open_metrics: false };
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            if name.eq_ignore_ascii_case("host") {
                request.host = Some(value.trim().to_owned());
            } else if name.eq_ignore_ascii_case("accept") {
                request.open_metrics = value.contains("application/openmetrics-text");
            }
        }
        Ok(request)
    }

    /// The number of the cell after which history is wanted: 0 if none is said, `None` if it is no number.
    fn after(&self) -> Option<u32> {
        let said = self.query.split('&').find_map(|word| word.strip_prefix("after="));
        said.map_or(Some(0), |text| text.parse().ok())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: &'static str,
    content_type: &'static str,
    policy: String,
    body: Cow<'static, str>,
}

const JSON: &str = "application/json";

impl Response {
    fn new(status: &'static str, content_type: &'static str, body: String) -> Self {
        // What is no page may not become one.
        let policy = "default-src 'none'; frame-ancestors 'none'".to_owned();
        Response { status, content_type, policy, body: body.into() }
    }

    fn refusal(status: &'static str, reason: &str) -> Self {
        Response::new(status, "text/plain; charset=utf-8", format!("{reason}\n"))
    }

    fn json(document: &impl serde::Serialize) -> Self {
        let body = serde_json::to_string(document).expect("the documents are plain data") + "\n";
        Response::new("200 OK", JSON, body)
    }

    fn page(page: &Page) -> Self {
        let content_type = "text/html; charset=utf-8";
        Response { status: "200 OK", content_type, policy: page.policy.clone(), body: page.html.into() }
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(self.body.as_bytes());
        bytes
    }

    /// What stands before the body, and nothing else.
    fn head(&self) -> Vec<u8> {
        let Response { status, content_type, policy, body } = self;
        let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\
             Content-Security-Policy: {policy}\r\n\r\n",
            body.len()
        );
        head.into_bytes()
    }
}

/// Whether a `Host` is an address or localhost. Any other name that leads to loopback was made to let a web page look
/// where it may not (DNS rebinding).
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(request: &str) -> &'static str {
        Request::read(request.as_bytes()).map_or_else(|refusal| refusal.status, |_| "200 OK")
    }

    #[test]
    fn only_plain_questions_are_understood() {
        for (request, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK"),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200 OK"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("HEAD / HTTP/1.1\r\n\r\n", "200 OK"),
            ("GET http://a/ HTTP/1.1\r\n\r\n", "400 Bad Request"),
            ("GET / HTTP/2\r\n\r\n", "400 Bad Request"),
            ("GET /\r\n\r\n", "400 Bad Request"),
            ("\r\n\r\n", "400 Bad Request"),
            ("GET / HTTP/1.1\r\nno header\r\n\r\n", "400 Bad Request"),
        ] {
            assert_eq!(status_of(request), status, "{request:?}");
        }
        let at_limit = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(HTTP_REQUEST_BYTES_MAX - 23));
        assert_eq!((at_limit.len(), status_of(&at_limit)), (HTTP_REQUEST_BYTES_MAX, "200 OK"));
        assert!(status_of(&at_limit.replace("x:", "xx:")).starts_with("431"));
        assert_eq!(Request::read(&[0xff; 9]).unwrap_err().status, "400 Bad Request");
    }

    #[test]
    fn the_format_is_what_was_asked_for() {
        let request = "GET /metrics?x=1 HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,*/*\r\n\r\n";
        let read = Request::read(request.as_bytes()).unwrap();
        assert_eq!((read.path.as_str(), read.open_metrics), ("/metrics", true));
    }

    #[test]
    fn history_is_asked_for_by_a_number_and_nothing_else() {
        for (target, after) in [
            ("/history.json", Some(0)),
            ("/history.json?", Some(0)),
            ("/history.json?after=17", Some(17)),
            ("/history.json?x=1&after=4294967295", Some(u32::MAX)),
            ("/history.json?after=4294967296", None),
            ("/history.json?after=-1", None),
            ("/history.json?after=", None),
        ] {
            let request = Request::read(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
            assert_eq!((request.path.as_str(), request.after()), ("/history.json", after), "{target}");
        }
    }

    #[test]
    fn a_host_is_this_machine_by_address_or_as_localhost() {
        for host in ["localhost", "LOCALHOST:9124", "127.0.0.1:1", "[::1]:9124", "[::1]", "192.0.2.1"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9124", "localhost.evil.example", "", ":"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
