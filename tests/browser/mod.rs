//! Headless Chromium for tests, spoken to over two pipes by its own protocol (DevTools), so that a test needs no
//! further program: pages are opened, looked at, pointed at and photographed, and every complaint of the browser is
//! kept. It has a folder of its own that goes away, and is ended with the test.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the program may be called.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The machine of a test may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser; killed when dropped.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    asked: u64,
    _folder: tempfile::TempDir,
}

/// Its one page.
pub struct Tab<'a> {
    browser: &'a mut Browser,
    session: String,
    complaints: Vec<String>,
    requests: Vec<String>,
}

impl Browser {
    /// `None` if none is installed.
    pub fn start() -> Option<Self> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let program = NAMES
            .iter()
            .flat_map(|name| std::env::split_paths(&folders).map(move |folder| folder.join(name)))
            .find(|path| path.is_file())?;
        let folder = tempfile::tempdir().unwrap();
        // The browser reads questions from descriptor 3 and answers on 4. Without a sandbox, because tests may run as
        // root or in a container, and nothing but our own page is opened.
        let line = "exec \"$0\" --headless=new --hide-scrollbars --no-sandbox --disable-gpu --disable-dev-shm-usage \
                    --no-first-run \
                    --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
                    --no-proxy-server --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' \
                    --remote-debugging-pipe --user-data-dir=\"$1\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut command = Command::new("sh");
        command.args(["-c", line]).arg(program).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || read(output, &sender));
        Some(Browser { child, input, answers, asked: 0, _folder: folder })
    }

    /// A fresh page.
    pub fn tab(&mut self) -> Tab<'_> {
        let mut tab = Tab { browser: self, session: String::new(), complaints: Vec::new(), requests: Vec::new() };
        let target = tab.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = tab.call("Target.attachToTarget", attach);
        tab.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with all its processes when asked; whoever does not hear is killed.
        let _gone = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Messages end with a zero byte.
fn read(output: ChildStdout, sender: &std::sync::mpsc::Sender<Value>) {
    let mut reader = BufReader::new(output);
    loop {
        let mut bytes = Vec::new();
        match reader.read_until(0, &mut bytes) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        bytes.pop();
        let Ok(message) = serde_json::from_slice(&bytes) else { return };
        if sender.send(message).is_err() {
            return;
        }
    }
}

impl Tab<'_> {
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.browser.asked += 1;
        let id = self.browser.asked;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.browser.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            match self.browser.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(answer) if answer["id"] == id => {
                    assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                    return answer["result"].clone();
                }
                Ok(event) => self.note(&event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: the browser does not answer"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has ended"),
            }
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.consoleAPICalled") => self.complaints.push(format!("console: {}", parameters["args"])),
            Some("Runtime.exceptionThrown") => self.complaints.push(parameters["exceptionDetails"].to_string()),
            Some("Log.entryAdded") => self.complaints.push(parameters["entry"].to_string()),
            Some("Network.requestWillBeSent") => {
                self.requests.push(parameters["request"]["url"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }

    /// The size of the window, and whether its user likes the dark.
    pub fn screen(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [scheme] }));
    }

    pub fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
    }

    /// The value of an expression of the page's language.
    pub fn eval(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", question);
        match answer.get("exceptionDetails") {
            // Before the page is there, there is nothing to look at.
            Some(_) => Value::Null,
            None => answer["result"]["value"].clone(),
        }
    }

    /// Moves the mouse into the middle of an element.
    pub fn point_at(&mut self, of: &str) {
        let middle = format!(
            "(() => {{ const e = document.querySelector({of:?}); e.scrollIntoView({{ block: 'center' }}); \
             const b = e.getBoundingClientRect(); return [b.left + b.width * 0.98, b.top + b.height / 2]; }})()"
        );
        let at = self.eval(&middle);
        let event = json!({ "type": "mouseMoved", "x": at[0], "y": at[1] });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Leaves a picture of the whole page in the folder of this test's target.
    pub fn picture(&mut self, name: &str) -> PathBuf {
        self.eval("scrollTo(0, 0)");
        let size = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let answer = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "clip": clip }));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(&path, decoded(answer["data"].as_str().unwrap())).unwrap();
        path
    }

    /// Everything that the browser or the page has complained of so far.
    pub fn complaints(&mut self) -> Vec<String> {
        // Whatever was said before this answer has been read.
        self.eval("0");
        self.complaints.clone()
    }

    /// Every address that was asked so far.
    pub fn requests(&mut self) -> Vec<String> {
        self.requests.clone()
    }
}

/// RFC 4648, as the browser writes pictures.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let number = (0..4).fold(0u32, |n, k| n << 6 | u32::from(four.get(k).copied().unwrap_or(0)));
        bytes.extend(&number.to_be_bytes()[1..four.len()]);
    }
    bytes
}
