//! `llts saturn`: a master or a slave of the older program's protocol, from words to settings and from events to lines.
//! What is on the wire is decided elsewhere.

mod lines;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::thread;

use clap::ValueEnum;
use crossbeam_channel::{Receiver, bounded};
use zeroize::Zeroizing;

use super::exit::{Failure, say, warn};
use super::quantity::{self, ListenAddr};
use crate::engine::saturn::{
    self, Event, MasterAddress, MasterSettings, PORT_DEFAULT, SlaveSettings, everywhere, preferred,
};
use crate::engine::{self, LogFormat, keyfile};
use crate::limits::{ROUNDS_MAX, SATURN_EVENTS, SATURN_NAME_BYTES_MAX};
use crate::saturn::key::{KEY_DEFAULT, Key};
use crate::saturn::slave;
use lines::{Form, Style};

/// The variable from which Saturn, too, takes its key.
const KEY_VARIABLE: &str = "SATURN_HMAC_KEY";
/// Events put into one write.
const EVENTS_PER_WRITE: usize = 256;

/// Options of `llts saturn`.
#[derive(clap::Args, Debug)]
pub(super) struct SaturnArgs {
    /// Where a master listens: :PORT for every interface, IP:PORT or NAME:PORT
    #[arg(long, value_name = "ADDR", default_value = ":4123")]
    pub listen_addr: String,
    /// Be a slave of this master: HOST:PORT; a name without a port is looked up as the SRV record _saturn._udp.NAME,
    /// else port 4123 [default: be the master]
    #[arg(long, value_name = "ADDR", value_parser = master_addr)]
    pub master_addr: Option<MasterAddress>,
    /// The shared key; every user of the machine can read it with ps: prefer --key-file or the environment's
    /// SATURN_HMAC_KEY
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    pub hmac_key: Option<String>,
    /// File that holds the shared key on one line, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Slave: what to be called by the master [default: the host's name]
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    /// Master: round trips of a transaction
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    pub rounds: u32,
    /// Slave: seconds from one report to the next
    #[arg(long, value_name = "S", default_value = "180", value_parser = interval_s)]
    pub interval: f64,
    /// Master: warn of an offset of more milliseconds than this
    #[arg(long, value_name = "MS", default_value = "5000", value_parser = threshold_ms)]
    pub threshold: f64,
    /// What to log
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    pub log_level: Level,
    /// Log JSON objects, one a line, instead of Saturn's lines
    #[arg(long)]
    pub json: bool,
    /// Log to standard error as `llts run` does, instead of Saturn's lines
    #[arg(long, value_name = "FORM", value_parser = super::args::log_format(), conflicts_with = "json")]
    pub log_format: Option<LogFormat>,
    /// Behave as Saturn did: its offset formula (NaN included), one reading of the clock for each message, replies from
    /// any address, every field taken as it comes
    #[arg(long)]
    pub compat: bool,
    /// Accept the key "secret", which is Saturn's default and no secret
    #[arg(long)]
    pub allow_default_key: bool,
    /// Slave: report a clock that is ahead of the machine's by this, like 6s or -3us, to try the alarm
    #[arg(long, value_name = "SPAN", default_value = "0", allow_hyphen_values = true,
        value_parser = quantity::span_ns)]
    pub virtual_offset: i64,
}

/// How important a line is; a level shows its own lines and those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Level {
    /// Failures of the program itself
    #[value(alias = "fatal")]
    Error,
    /// Offsets over the threshold too, and reports that came to nothing
    Warn,
    /// Every offset too
    Info,
    /// The beginning of every transaction too
    #[value(alias = "trace")]
    Debug,
}

impl Level {
    /// The word of `--log-level`.
    const fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// Runs a master or a slave until a signal ends it.
pub(super) fn saturn(args: &SaturnArgs) -> Result<(), Failure> {
    let key = key(args)?;
    if let Some(format) = args.log_format {
        engine::begin_logging(args.log_level.as_str(), format).map_err(Failure::usage)?;
    }
    let style = Style {
        form: match (args.json, args.log_format) {
            (true, _) => Form::Json,
            (false, None) => Form::Saturn,
            (false, Some(_)) => Form::Log,
        },
        level: args.log_level,
        threshold_ms: args.threshold,
        fin_level: if args.compat { Level::Debug } else { Level::Info },
    };
    let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
    let listen = listen(&args.listen_addr, has_ipv6)?;
    let (sender, receiver) = bounded(SATURN_EVENTS);
    let printing = thread::Builder::new().name("print".into()).spawn(move || print(&receiver, &style))?;
    let outcome = match &args.master_addr {
        None => saturn::master(MasterSettings { listen, key, rounds: args.rounds, compat: args.compat }, sender),
        Some(master) => {
            let config = slave::Config { key, name: own_name(args), compat: args.compat };
            let settings = SlaveSettings {
                master: master.clone(),
                config,
                interval_ns: (args.interval * 1e9) as i64,
                virtual_offset_ns: args.virtual_offset,
            };
            saturn::slave(settings, sender)
        }
    };
    // The queue is closed now: what is in it gets printed.
    let printed = printing.join().expect("printing does not panic");
    outcome.map_err(Failure::Runtime)?;
    printed
}

fn print(events: &Receiver<Event>, style: &Style) -> Result<(), Failure> {
    while let Ok(event) = events.recv() {
        let mut text = String::new();
        style.write(&event, &mut text);
        events.try_iter().take(EVENTS_PER_WRITE).for_each(|event| style.write(&event, &mut text));
        say(&text)?;
    }
    Ok(())
}

/// The key, from where it is given: the command line, a file, the environment, or nowhere.
fn key(args: &SaturnArgs) -> Result<Key, Failure> {
    let text: Zeroizing<Vec<u8>> = match (&args.hmac_key, &args.key_file) {
        (Some(key), _) => Zeroizing::new(key.as_bytes().to_vec()),
        (None, Some(path)) => {
            let secret = keyfile::read_secret(path).map_err(|error| match error {
                keyfile::KeyFileError::Access { path, error } => {
                    Failure::Usage(format!("cannot read the key file {}: {error}", path.display()))
                }
                other => Failure::usage(other),
            })?;
            Zeroizing::new(secret.as_bytes().to_vec())
        }
        (None, None) => {
            use std::os::unix::ffi::OsStringExt;
            let given = std::env::var_os(KEY_VARIABLE).map(OsStringExt::into_vec);
            Zeroizing::new(given.unwrap_or_else(|| KEY_DEFAULT.to_vec()))
        }
    };
    if text.is_empty() {
        return Err(Failure::Usage("the key is empty: give the one that all slaves and the master share".into()));
    }
    if text.as_slice() == KEY_DEFAULT && !args.allow_default_key {
        return Err(Failure::Usage(format!(
            "the key is Saturn's default, which everybody knows: give the one of your own with --key-file FILE or \
             {KEY_VARIABLE}, or say --allow-default-key"
        )));
    }
    if args.hmac_key.is_some() {
        warn("warning: every user of this machine can read --hmac-key with ps: prefer --key-file");
    }
    Ok(Key::new(&text))
}

fn own_name(args: &SaturnArgs) -> Vec<u8> {
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    // The address of the socket of an unnamed Saturn is always this one.
    let saturns = || "::".to_owned();
    let unnamed = || if args.compat { None } else { host() };
    args.name.clone().or_else(unnamed).filter(|name| !name.is_empty()).unwrap_or_else(saturns).into_bytes()
}

fn listen(text: &str, has_ipv6: bool) -> Result<SocketAddr, Failure> {
    match quantity::listen_addr(text) {
        Ok(ListenAddr { ip: None, port }) => Ok(everywhere(port.unwrap_or(PORT_DEFAULT), has_ipv6)),
        Ok(ListenAddr { ip: Some(ip), port }) => Ok(SocketAddr::new(ip, port.unwrap_or(PORT_DEFAULT))),
        Err(fault) => {
            let named = text.rsplit_once(':').filter(|(host, port)| is_host(host) && port.parse() != Ok(0u16));
            let found = named.and_then(|_| preferred(text.to_socket_addrs().ok()?));
            found.ok_or_else(|| Failure::Usage(format!("--listen-addr {fault}")))
        }
    }
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let bare = text.strip_suffix('.').unwrap_or(text);
    // What is all numbers and dots is a mistyped address.
    !bare.is_empty()
        && bare.len() <= 253
        && bare.split('.').all(label)
        && !bare.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn master_addr(text: &str) -> Result<MasterAddress, String> {
    let fault = || {
        format!(
            "{text:?} is no address of a master: write HOST:PORT, HOST, or [IPv6]:PORT, like clock.example.org:4123"
        )
    };
    let one = |address: SocketAddr| {
        let ip = address.ip();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) || address.port() == 0 {
            Err(fault())
        } else {
            Ok(MasterAddress::Fixed(address))
        }
    };
    if let Ok(address) = text.parse() {
        return one(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return one(SocketAddr::new(ip, PORT_DEFAULT));
    }
    let (host, port) = match text.rsplit_once(':') {
        None => (text, None),
        Some((host, port)) => {
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            (host, Some(port.parse::<u16>().ok().filter(|port| digits && *port != 0).ok_or_else(fault)?))
        }
    };
    match (host, port) {
        // As Go has it: no host is this one.
        ("", Some(port)) => Ok(MasterAddress::Fixed((Ipv4Addr::LOCALHOST, port).into())),
        _ if is_host(host) => Ok(MasterAddress::Named(host.to_owned(), port)),
        _ => Err(fault()),
    }
}

fn name(text: &str) -> Result<String, String> {
    if (1..=SATURN_NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a name has 1 to {SATURN_NAME_BYTES_MAX} bytes without control characters, and this one has {}",
            text.len()
        ))
    }
}

fn interval_s(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|s| (0.01..=31_536_000.0).contains(s))
        .ok_or_else(|| format!("{text:?} is no interval: write seconds, from 0.01 to a year, like 180"))
}

fn threshold_ms(text: &str) -> Result<f64, String> {
    let ms: Option<f64> = text.parse().ok();
    ms.filter(|ms| ms.is_finite() && *ms >= 0.0)
        .ok_or_else(|| format!("{text:?} is no threshold: write milliseconds, like 5000 or 0.25"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_an_address_or_a_name_with_or_without_its_port() {
        let fixed = |text: &str| Ok(MasterAddress::Fixed(text.parse().unwrap()));
        assert_eq!(master_addr("192.0.2.1:8123"), fixed("192.0.2.1:8123"));
        assert_eq!(master_addr("192.0.2.1"), fixed("192.0.2.1:4123"));
        assert_eq!(master_addr("[2001:db8::1]:5"), fixed("[2001:db8::1]:5"));
        assert_eq!(master_addr("2001:db8::1"), fixed("[2001:db8::1]:4123"));
        assert_eq!(master_addr(":4124"), fixed("127.0.0.1:4124"));
        assert_eq!(master_addr("clock.example.org"), Ok(MasterAddress::Named("clock.example.org".into(), None)));
        assert_eq!(master_addr("clock_1.:5"), Ok(MasterAddress::Named("clock_1.".into(), Some(5))));
        for wrong in
            ["", ":", ":0", "a:0", "a:65536", "a:+1", "a b:1", "1.2.3:4", "300.1.1.1", "0.0.0.0:1", "a..b", "-:x"]
        {
            assert!(master_addr(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn listening_takes_gos_forms() {
        let at = |text: &str| listen(text, true).ok().map(|a| a.to_string());
        assert_eq!(at(":4123").as_deref(), Some("[::]:4123"));
        assert_eq!(listen(":4123", false).ok().map(|a| a.to_string()).as_deref(), Some("0.0.0.0:4123"));
        assert_eq!(at("127.0.0.1:5").as_deref(), Some("127.0.0.1:5"));
        assert_eq!(at("::1").as_deref(), Some("[::1]:4123"));
        assert!(at("localhost:5").is_some_and(|a| a.ends_with(":5")));
        for wrong in ["", "nowhere", ":0", "localhost:0", "300.0.0.1:4123", "a b:5"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_at_their_limits_pass_and_those_beyond_do_not() {
        assert_eq!((interval_s("180"), interval_s("0.01"), threshold_ms("0")), (Ok(180.0), Ok(0.01), Ok(0.0)));
        for wrong in ["0", "-1", "0.009", "nan", "inf", "soon", "31536001"] {
            assert!(interval_s(wrong).is_err(), "{wrong}");
        }
        for wrong in ["-1", "nan", "inf", "much", ""] {
            assert!(threshold_ms(wrong).is_err(), "{wrong}");
        }
        assert!(name(&"n".repeat(SATURN_NAME_BYTES_MAX)).is_ok());
        for wrong in ["", "a\nb", &"n".repeat(SATURN_NAME_BYTES_MAX + 1)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
