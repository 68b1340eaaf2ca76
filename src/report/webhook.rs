//! Where to and how a webhook is told: an address of the form `http://HOST[:PORT][/PATH]`, and one POST of a JSON
//! document over plain HTTP/1.1 with a limit on every wait. No TLS, no redirects, no kept connection: whoever needs
//! those has a relay for hooks. Redirects are answers like any other that is not 2xx: a failure.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Connecting, writing and each read of the answer may take so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// The status line is within this, bytes.
const ANSWER_BYTES_MAX: usize = 1024;

/// Where a webhook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl {
    host: String,
    port: u16,
    path: String,
}

/// What is wrong with the address of a webhook, or with telling it.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is not of the form that is understood.
    #[error("{0:?} is no address of a webhook: write http://HOST:PORT/PATH")]
    Form(String),
    /// Only plain http.
    #[error("{0:?} is not plain http: only http:// is spoken, give the address of a relay")]
    NotHttp(String),
    /// The server cannot be reached or does not answer in time.
    #[error("the webhook {url} cannot be told: {error}")]
    Unreachable {
        /// Where.
        url: String,
        /// The system's reason.
        error: io::Error,
    },
    /// It answered something other than 2xx.
    #[error("the webhook {url} answered {status:?}")]
    Refused {
        /// Where.
        url: String,
        /// The status line of the answer.
        status: String,
    },
}

impl WebhookUrl {
    /// Reads `http://HOST[:PORT][/PATH]`; the port is 80 when none is written, an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// One sentence that quotes the text.
    pub fn parse(text: &str) -> Result<Self, WebhookError> {
        let form = || WebhookError::Form(text.to_owned());
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(if text.contains("://") { WebhookError::NotHttp(text.to_owned()) } else { form() });
        };
        // Nothing that could end the request line, or the header, early.
        if rest.chars().any(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
            return Err(form());
        }
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or_else(form)?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("80")).ok_or_else(form)?)
            }
            None => authority.split_once(':').unwrap_or((authority, "80")),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(form)?;
        let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
        if host.is_empty() || host.chars().any(odd) {
            return Err(form());
        }
        // What comes behind a # is for browsers and never sent.
        let path = path.split('#').next().unwrap_or("/");
        Ok(WebhookUrl { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// Sends the document and waits for a 2xx answer, each step no longer than it may take.
    ///
    /// # Errors
    /// Nobody is there, or something else was answered.
    pub fn post(&self, document: &str) -> Result<(), WebhookError> {
        let unreachable = |error| WebhookError::Unreachable { url: self.to_string(), error };
        let status = self.exchange(document).map_err(unreachable)?;
        let code = status.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        match code {
            Some(code) if code.starts_with('2') => Ok(()),
            _ => Err(WebhookError::Refused { url: self.to_string(), status }),
        }
    }

    fn exchange(&self, document: &str) -> io::Result<String> {
        let mut stream = self.connect()?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: llts/{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{document}",
            self.path,
            self.authority(),
            env!("CARGO_PKG_VERSION"),
            document.len(),
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut piece = [0; 256];
        while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // The server's words are data: nothing that a terminal would obey is passed on.
        Ok(String::from_utf8_lossy(line).trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_address_is_plain_http_with_a_host() {
        for (text, shown) in [
            ("http://alerts:9000/llts", "http://alerts:9000/llts"),
            ("http://10.0.0.1", "http://10.0.0.1/"),
            ("http://10.0.0.1:80/a?b=c#d", "http://10.0.0.1/a?b=c"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("http://[::1]", "http://[::1]/"),
        ] {
            assert_eq!(WebhookUrl::parse(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "alerts",
            "http://",
            "http:///x",
            "http://a:0/",
            "http://a:b/",
            "http://a:99999/",
            "http://a/ b",
            "http://a/\r\nX: y",
            "http://[::1/",
            "http://[::1]8/",
            "http://user@host/",
            "http://ü/",
        ] {
            assert!(matches!(WebhookUrl::parse(wrong), Err(WebhookError::Form(_))), "{wrong:?}");
        }
        assert!(matches!(WebhookUrl::parse("https://a/"), Err(WebhookError::NotHttp(_))));
    }

    /// Tells a server of this machine that answers `answer`; returns what it was told, and the outcome.
    fn told(answer: &'static [u8]) -> (String, Result<(), WebhookError>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"}") {
                let n = stream.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..n]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        let outcome = WebhookUrl::parse(&url).unwrap().post("{\"a\":1}");
        (server.join().unwrap(), outcome)
    }

    #[test]
    fn a_document_is_posted_whole_and_only_2xx_is_good() {
        let (request, outcome) = told(b"HTTP/1.1 204 No Content\r\n\r\n");
        outcome.unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert!(request.contains("\r\nContent-Length: 7\r\n") && request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
        for bad in
            [&b"HTTP/1.1 302 Found\r\n"[..], b"HTTP/1.1 500 \x1b[2J\r\n", b"HTTP/1.", b"SSH-2.0-x\r\n", b"\xff\n", b""]
        {
            let (_, outcome) = told(bad);
            assert!(matches!(outcome, Err(WebhookError::Refused { .. })), "{bad:?}: {outcome:?}");
            assert!(!outcome.unwrap_err().to_string().contains('\x1b'));
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error_in_one_sentence() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = WebhookUrl::parse(&format!("http://127.0.0.1:{port}/x")).unwrap();
        let error = url.post("{}").unwrap_err().to_string();
        assert!(error.contains("cannot be told") && error.lines().count() == 1, "{error}");
    }
}
