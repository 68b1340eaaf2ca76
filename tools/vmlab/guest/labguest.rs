//! The hand of tools/vmlab inside a guest: obeys the host over a virtio port, meets it in shared memory so that the two
//! counters can be compared, shows the kernel's clock line by line, and plays the adversary (steps the guest's clock,
//! sets its frequency) and whoever announces a leap second. One file without crates, built by plain `rustc`; it is
//! never run on the machine itself.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::time::Duration;

const ADJ_OFFSET: u32 = 0x0001;
const ADJ_FREQUENCY: u32 = 0x0002;
const ADJ_STATUS: u32 = 0x0010;
const ADJ_NANO: u32 = 0x2000;
const ADJ_SETOFFSET: u32 = 0x0100;
const ADJ_TICK: u32 = 0x4000;
const ADJ_OFFSET_SINGLESHOT: u32 = 0x8001;
const STA_PLL: i32 = 0x01;
const STA_INS: i32 = 0x10;
const STA_DEL: i32 = 0x20;
const SIOCGHWTSTAMP: u64 = 0x89b1;
const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC_RAW: i32 = 4;

/// `struct timex` of x86-64 Linux.
#[repr(C)]
#[derive(Default)]
struct Timex {
    modes: u32,
    offset: i64,
    freq: i64,
    maxerror: i64,
    esterror: i64,
    status: i32,
    constant: i64,
    precision: i64,
    tolerance: i64,
    sec: i64,
    usec: i64,
    tick: i64,
    ppsfreq: i64,
    jitter: i64,
    shift: i32,
    stabil: i64,
    jitcnt: i64,
    calcnt: i64,
    errcnt: i64,
    stbcnt: i64,
    tai: i32,
    padding: [i32; 11],
}

const _: () = assert!(size_of::<Timex>() == 208);

/// `struct ifreq` with a pointer in its union.
#[repr(C)]
struct Ifreq {
    name: [u8; 16],
    data: *mut [i32; 3],
    padding: [u64; 2],
}

const _: () = assert!(size_of::<Ifreq>() == 40);

unsafe extern "C" {
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
    fn ioctl(fd: i32, request: u64, argument: *mut Ifreq) -> i32;
    fn adjtimex(request: *mut Timex) -> i32;
    fn clock_gettime(clock: i32, at: *mut [i64; 2]) -> i32;
}

fn adjust(request: &mut Timex) -> Result<i32, std::io::Error> {
    // SAFETY: the struct is that of the kernel, checked by its size, and lives through the call.
    match unsafe { adjtimex(request) } {
        -1 => Err(std::io::Error::last_os_error()),
        state => Ok(state),
    }
}

/// How the driver of an interface is set to stamp: `tx_type rx_filter`.
fn stamping(interface: &str) -> Result<String, String> {
    let mut config = [0i32; 3];
    let mut request = Ifreq { name: [0; 16], data: &mut config, padding: [0; 2] };
    request.name.iter_mut().zip(interface.bytes().take(15)).for_each(|(to, from)| *to = from);
    // SAFETY: AF_INET, SOCK_DGRAM; the request and what it points to live through the call.
    match unsafe { ioctl(socket(2, 2, 0), SIOCGHWTSTAMP, &mut request) } {
        0 => Ok(format!("{} {}", config[1], config[2])),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

fn nanos(clock: i32) -> i64 {
    let mut at = [0; 2];
    // SAFETY: two 64-bit words, which is a timespec here.
    unsafe { clock_gettime(clock, &mut at) };
    at[0] * 1_000_000_000 + at[1]
}

fn tsc() -> u64 {
    // SAFETY: reads a counter that every x86-64 has. The fences keep it between its neighbours.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        let now = std::arch::x86_64::_rdtsc();
        std::arch::x86_64::_mm_lfence();
        now
    }
}

/// One line about the kernel's clock: counter before, REALTIME, RAW, counter after, and what adjtimex says.
fn line() -> String {
    let mut best = (u64::MAX, 0, 0, 0, 0);
    for _ in 0..5 {
        let before = tsc();
        let real = nanos(CLOCK_REALTIME);
        let between = tsc();
        let raw = nanos(CLOCK_MONOTONIC_RAW);
        let width = between - before;
        if width < best.0 {
            best = (width, before, between, real, raw);
        }
    }
    let mut timex = Timex::default();
    let state = adjust(&mut timex).unwrap_or(-1);
    format!(
        "{{\"tsc0\":{},\"tsc1\":{},\"real_ns\":{},\"raw_ns\":{},\"maxerror_us\":{},\"esterror_us\":{},\"status\":{},\
         \"freq\":{},\"tick_us\":{},\"tai_s\":{},\"state\":{}}}",
        best.1,
        best.2,
        best.3,
        best.4,
        timex.maxerror,
        timex.esterror,
        timex.status,
        timex.freq,
        timex.tick,
        timex.tai,
        state
    )
}

/// What llts says of itself on its status socket; `None` while it says nothing.
fn status() -> Option<String> {
    for entry in std::fs::read_dir("/run/llts").ok()?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "sock") {
            let mut socket = UnixStream::connect(path).ok()?;
            socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            socket.write_all(b"status\n").ok()?;
            let mut text = String::new();
            socket.read_to_string(&mut text).ok()?;
            return text.trim().starts_with('{').then(|| text.replace('\n', " "));
        }
    }
    None
}

/// A page of the guest's memory that the host finds by its first 32 bytes. The host writes a number into word 4; this
/// end answers with its counter in word 5 and the number in word 6. All ones end the meeting.
#[repr(C, align(4096))]
struct Meeting([u64; 512]);

fn meet(magic: &str) -> Result<(), String> {
    let page: &'static mut Meeting = Box::leak(Box::new(Meeting([0; 512])));
    let word = |text: &str| u64::from_str_radix(text, 16).map_err(|error| format!("{text}: {error}"));
    let at = page.0.as_mut_ptr();
    for n in 0..4 {
        let value = word(magic.get(16 * n..16 * n + 16).ok_or("the magic is too short")?)?;
        // SAFETY: inside the page, which lives for ever.
        unsafe { at.add(n).write_volatile(value) };
    }
    let started = std::time::Instant::now();
    let mut met = 0;
    while met != u64::MAX && started.elapsed() < Duration::from_secs(90) {
        for _ in 0..1000 {
            // SAFETY: inside the page; the other end is outside of this machine, so the accesses are volatile.
            unsafe {
                let asked = at.add(4).read_volatile();
                if asked != met {
                    at.add(5).write_volatile(tsc());
                    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
                    at.add(6).write_volatile(asked);
                    met = asked;
                }
            }
        }
    }
    // SAFETY: as above; the page must not be found again.
    (0..4).for_each(|n| unsafe { at.add(n).write_volatile(0) });
    if met == u64::MAX { Ok(()) } else { Err("the host did not end the meeting".into()) }
}

fn port(name: &str) -> Result<File, String> {
    for _ in 0..100 {
        for entry in std::fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let found = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if found.trim() == name {
                let device = format!("/dev/{}", entry.file_name().to_string_lossy());
                let opened = OpenOptions::new().read(true).write(true).open(&device);
                return opened.map_err(|error| format!("{device}: {error}"));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("no virtio port called {name}"))
}

/// Obeys: a request is one line, `NUMBER COMMAND`; the answer is `NUMBER EXIT BYTES` and so many bytes. `meet MAGIC` is
/// done by the agent itself, anything else by the shell.
fn agent() -> Result<(), String> {
    let mut answers = port("ctl")?;
    let requests = BufReader::new(answers.try_clone().map_err(|error| error.to_string())?);
    for request in requests.lines() {
        let request = request.map_err(|error| error.to_string())?;
        let Some((number, command)) = request.split_once(' ') else { continue };
        let (code, text) = match command.strip_prefix("meet ") {
            Some(magic) => match meet(magic.trim()) {
                Ok(()) => (0, Vec::new()),
                Err(error) => (1, error.into_bytes()),
            },
            None => match Command::new("/bin/sh").args(["-c", command]).output() {
                Ok(done) => (done.status.code().unwrap_or(255), [done.stdout, done.stderr].concat()),
                Err(error) => (127, error.to_string().into_bytes()),
            },
        };
        let head = format!("{number} {code} {}\n", text.len());
        answers.write_all(&[head.as_bytes(), &text].concat()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn act(words: &[String]) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let number = |n: usize| -> Result<f64, String> {
        let word = words.get(n).ok_or("a number is missing")?;
        word.parse().map_err(|_| format!("{word} is no number"))
    };
    match words.first().map(String::as_str) {
        Some("agent") => agent(),
        Some("show") => Ok(println!("{}", line())),
        Some("watch") => {
            let mut lines = port("watch")?;
            let pause = Duration::from_millis(number(1)? as u64);
            for n in 0.. {
                let mut text = line();
                // Four times less often than the kernel's word, the daemon's.
                if let (0, Some(status)) = (n % 4, status()) {
                    text.truncate(text.len() - 1);
                    text += &format!(",\"llts\":{}}}", status.trim());
                }
                lines.write_all((text + "\n").as_bytes()).map_err(failed)?;
                std::thread::sleep(pause);
            }
            Ok(())
        }
        Some("step") => {
            let step_ns = number(1)? as i64;
            let mut request = Timex { modes: ADJ_SETOFFSET | ADJ_NANO, ..Timex::default() };
            request.sec = step_ns.div_euclid(1_000_000_000);
            request.usec = step_ns.rem_euclid(1_000_000_000);
            adjust(&mut request).map(drop).map_err(failed)
        }
        Some("freq") => {
            let mut request = Timex { modes: ADJ_FREQUENCY | ADJ_TICK, ..Timex::default() };
            request.freq = (number(1)? * 65_536.0) as i64;
            request.tick = 10_000;
            adjust(&mut request).map(drop).map_err(failed)
        }
        // What a daemon leaves behind that steers by the kernel's loop: an offset that goes on being slewed.
        Some("pll") => {
            let mut request = Timex { modes: ADJ_STATUS | ADJ_NANO | ADJ_OFFSET, ..Timex::default() };
            (request.status, request.offset) = (STA_PLL, number(1)? as i64);
            adjust(&mut request).map(drop).map_err(failed)?;
            adjust(&mut Timex { modes: ADJ_STATUS, ..Timex::default() }).map(drop).map_err(failed)
        }
        // And one that steers by adjtime().
        Some("adjtime") => {
            let mut request = Timex { modes: ADJ_OFFSET_SINGLESHOT, ..Timex::default() };
            request.offset = number(1)? as i64 / 1_000;
            adjust(&mut request).map(drop).map_err(failed)
        }
        Some("leap") => {
            let mut request = Timex::default();
            adjust(&mut request).map_err(failed)?;
            let bits = match words.get(1).map(String::as_str) {
                Some("insert") => STA_INS,
                Some("delete") => STA_DEL,
                _ => 0,
            };
            request.modes = ADJ_STATUS;
            request.status = request.status & !(STA_INS | STA_DEL) | bits;
            adjust(&mut request).map(drop).map_err(failed)
        }
        Some("stamping") => Ok(println!("{}", stamping(words.get(1).ok_or("an interface is missing")?)?)),
        _ => Err("labguest agent | show | watch MS | step NS | freq PPM | pll NS | adjtime NS | leap WORD | \
                  stamping INTERFACE"
            .into()),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match act(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("labguest: {error}");
            ExitCode::FAILURE
        }
    }
}
