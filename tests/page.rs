//! The page of the endpoint for monitoring, as a real browser shows it: three daemons on loopback, headless Chromium,
//! and what stands on the page afterwards; that nothing comes from elsewhere, that nothing is complained of, and that
//! text from outside stays text. Where no Chromium is installed the tests of the browser say so and are left out.
//! Pictures of each run are left in the folder of this test's target for whoever wants to look.

mod browser;
mod daemons;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use browser::{Browser, Tab};
use daemons::{Daemon, Lab, wait_for};
use serde_json::Value;

/// A name that is no text where a page is careless, as long as names are on the wire.
const HOSTILE: &str = "<img src=x>";

fn free_tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn three(lab: &Lab) -> ([Daemon; 3], u16) {
    let port = free_tcp_port();
    let nodes = [
        lab.start("db1", &["--metrics", &port.to_string()]),
        lab.start("db2", &["--virtual-offset=3ms", "--virtual-drift=12ppm"]),
        lab.start(HOSTILE, &["--virtual-offset=-2ms", "--virtual-drift=-30ppm"]),
    ];
    wait_for("they agree", 60.0, || nodes.iter().all(|n| n.used_peers() == 2));
    (nodes, port)
}

fn ask(port: u16, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn json(port: u16, target: &str) -> Value {
    let (head, body) = ask(port, target);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {head}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{target}: {error}: {body}"))
}

#[test]
fn every_route_of_the_page_is_bounded_read_only_and_under_strict_headers() {
    let lab = Lab::new();
    let (mut nodes, port) = three(&lab);
    let routes = ["/", "/status.json", "/history.json", "/history.json?after=0", "/events.json", "/latencies.json"];
    for route in routes.iter().chain(&["/history.json?after=x", "/favicon.ico"]) {
        let (head, body) = ask(port, route);
        for header in [
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Cross-Origin-Resource-Policy: same-origin",
            "Referrer-Policy: no-referrer",
            "Connection: close",
            "Content-Security-Policy: default-src 'none'; ",
            "frame-ancestors 'none'",
            &format!("Content-Length: {}\r\n", body.len()),
        ] {
            assert!(head.contains(header), "{route}: {header}: {head}");
        }
        let policy = head.lines().find(|line| line.starts_with("Content-Security-Policy")).unwrap();
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(policy.contains("script-src"), *route == "/", "only the page may run anything: {route}: {policy}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("Allow: GET, HEAD\r\n"), "{method}: {text}");
    }
    // HEAD is answered as GET would be, without what GET would bring.
    let asked = |method: &str, path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    for (path, status) in [("/", "200 OK"), ("/nothing", "404 Not Found"), ("/history.json?after=x", "400 Bad Request")]
    {
        let ((head, body), (get, page)) = (asked("HEAD", path), asked("GET", path));
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")) && body.is_empty(), "{path}: {head}: {body}");
        assert!(head == get && head.contains(&format!("Content-Length: {}\r\n", page.len())), "{path}: {head}");
    }
    assert!(asked("HEAD", "/metrics").0.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
    // A name that leads here from a foreign page sees nothing of it.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /history.json HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");

    wait_for("two cells", 20.0, || json(port, "/history.json")["newest"].as_u64() >= Some(2));
    let past = json(port, "/history.json");
    let cells = past["cells"].as_u64().unwrap() as usize;
    assert_eq!((past["first"].as_u64(), past["peers"].as_array().unwrap().len()), (Some(1), 2));
    for track in past["peers"].as_array().unwrap().iter().chain([&past["node"]]) {
        let (low, high) = (&track["offset_low_ns"], &track["offset_high_ns"]);
        assert_eq!((low.as_array().unwrap().len(), high.as_array().unwrap().len()), (cells, cells));
        assert!(low[cells - 1].as_f64().unwrap() <= high[cells - 1].as_f64().unwrap());
        assert!(track["bound_ns"][cells - 1].as_f64().unwrap() > 0.0);
    }
    let newest = past["newest"].as_u64().unwrap();
    let later = json(port, &format!("/history.json?after={}", newest - 1));
    assert_eq!(later["first"].as_u64(), Some(newest));

    // What happens is told: a peer falls silent.
    nodes[1].crash();
    let told = |part: &str| {
        let events = json(port, "/events.json");
        let happenings = events["happenings"].as_array().unwrap().clone();
        happenings.iter().any(|h| h["text"].as_str().unwrap().contains(part))
    };
    wait_for("the silence is told", 60.0, || told("is silent"));
    assert!(told("goes from acquire to track") && told("llts 0"));
}

/// The sentence of a test that cannot be run.
fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        println!("left out: no Chromium is installed here (on Debian: apt-get install chromium)");
    }
    browser
}

fn text(tab: &mut Tab, of: &str) -> String {
    tab.eval(&format!("document.querySelector({of:?}).innerText")).as_str().unwrap_or_default().to_owned()
}

fn number(tab: &mut Tab, expression: &str) -> f64 {
    tab.eval(expression).as_f64().unwrap_or(f64::NAN)
}

fn until(tab: &mut Tab, what: &str, expression: &str) {
    wait_for(what, 60.0, || tab.eval(expression) == Value::Bool(true));
}

#[test]
fn a_browser_shows_the_cluster_without_a_complaint_on_a_desk_and_on_a_phone_in_light_and_in_dark() {
    let Some(mut browser) = browser() else { return };
    let lab = Lab::new();
    let (mut nodes, port) = three(&lab);
    let url = format!("http://127.0.0.1:{port}/");
    let mut tab = browser.tab();
    tab.screen(1280, 900, false);
    tab.open(&url);
    until(&mut tab, "the state is shown", "document.querySelector('#state').innerText === 'in agreement'");
    until(&mut tab, "lines are drawn", "document.querySelectorAll('#offsets .curve').length === 2");
    until(&mut tab, "percentiles have come", "/s$/.test(document.querySelector('.latency em').innerText)");
    until(&mut tab, "a bound", "/s$/.test(document.querySelector('#figures dd').innerText)");
    assert_eq!(tab.eval("document.title"), "db1 · llts");
    assert_eq!(text(&mut tab, "#name"), "db1");
    assert!(text(&mut tab, "#figures").contains("2 of 2"), "{}", text(&mut tab, "#figures"));
    assert_eq!(number(&mut tab, "document.querySelectorAll('#peers tr').length"), 2.0);
    assert_eq!(number(&mut tab, "document.querySelectorAll('#matrix tbody td').length"), 9.0);
    assert_eq!(number(&mut tab, "document.querySelectorAll('.latency').length"), 6.0);
    assert!(number(&mut tab, "document.querySelectorAll('#events li').length") >= 3.0);
    assert!(number(&mut tab, "document.querySelector('#bounds .curve').getBBox().width") > 0.0);
    // What comes from outside is text wherever it stands.
    assert_eq!(number(&mut tab, "document.querySelectorAll('img').length"), 0.0);
    for place in ["#peers", "#matrix", "#offsets-legend", "#events"] {
        assert!(text(&mut tab, place).contains(HOSTILE), "{place}: {}", text(&mut tab, place));
    }
    // The matrix is antisymmetric and says what the table of peers says.
    let matrix = "[...document.querySelectorAll('#matrix tbody tr')].map(r => [...r.cells].map(c => c.innerText))";
    let matrix = tab.eval(matrix);
    let cell = |i: usize, k: usize| matrix[i][k + 1].as_str().unwrap().to_owned();
    for (i, k) in [(0, 1), (0, 2), (1, 2)] {
        let turned = cell(k, i).replace('+', "x").replace('−', "+").replace('x', "−");
        assert_eq!(cell(i, k), turned, "{matrix}");
    }
    tab.picture("page-light");

    // Pointing at a plot says what is there; a shorter time can be chosen.
    tab.point_at("#bounds");
    until(&mut tab, "a tip", "!document.querySelector('#bounds .tip').hidden");
    assert!(text(&mut tab, "#bounds .tip").contains("bound (promise)"));
    tab.eval("document.querySelectorAll('#ranges button')[2].click()");
    assert_eq!(tab.eval("document.querySelectorAll('#ranges button')[2].getAttribute('aria-pressed')"), "true");
    let axis = "[...document.querySelectorAll('#offsets text')].some(t => t.textContent === '−60 min')";
    assert_eq!(tab.eval(axis), true);

    for (width, dark, name) in [(1280, true, "page-dark"), (360, false, "page-phone"), (360, true, "page-phone-dark")] {
        tab.screen(width, 800, dark);
        let drawn = "document.querySelector('#offsets svg').viewBox.baseVal.width";
        until(&mut tab, "it is laid out", &format!("innerWidth === {width} && {drawn} < {width}"));
        let overflow = number(&mut tab, "document.scrollingElement.scrollWidth - document.documentElement.clientWidth");
        assert!(overflow <= 0.0, "{name}: {overflow} px too wide");
        let ground = tab.eval("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground, if dark { "rgb(14, 17, 22)" } else { "rgb(243, 245, 248)" });
        tab.picture(name);
    }

    // A peer that dies is on the page by itself, without anybody reloading it.
    nodes[1].crash();
    until(&mut tab, "the silence", "document.querySelector('#events').innerText.includes('is silent')");
    until(&mut tab, "its reason", "document.querySelector('#peers').innerText.includes('it has not answered')");
    assert_eq!(tab.complaints(), [""; 0]);
    let own =
        |address: &String| (address.starts_with(&url) || address.starts_with("data:")) && !address.ends_with("/x");
    let requests = tab.requests();
    assert!(requests.len() > 5 && requests.iter().all(own), "{requests:?}");

    // When the node itself is gone the page says so and does not pretend.
    nodes[0].crash();
    until(&mut tab, "the alarm", "document.body.classList.contains('stale')");
    assert!(text(&mut tab, "#alarm").contains("Is the daemon running?"));
    tab.picture("page-stale");
}
