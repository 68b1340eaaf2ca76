//! How quantities are written on the command line: spans of time, rates, priorities, addresses. Each reading is one
//! function from text to value, with a fault that says how to write it.

use std::net::{IpAddr, SocketAddr};

use crate::limits::OSCILLATOR_RATE_MAX;
use crate::report::WebhookUrl;
use crate::sys::timex::RATE_MAX;
use crate::unit::rate_to_ppm;

/// The longest span that makes sense to a clock, ns: about three years.
const SPAN_NS_MAX: f64 = 1e17;

/// A signed span in ns: `250ns`, `-1.5us`, `10ms`, `2s`; nothing but zero may stand without a unit.
pub(super) fn span_ns(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, f64); 5] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    let fault = || format!("{text:?} is no span of time: write a number and ns, us, ms or s, like 10ms");
    let ns = scaled(text, &UNITS).ok_or_else(fault)?;
    if ns.abs() > SPAN_NS_MAX {
        return Err(format!("{text:?} is more than three years, which no clock should be corrected by"));
    }
    Ok(ns.round() as i64)
}

/// A span in ns that is not negative.
pub(super) fn positive_span_ns(text: &str) -> Result<i64, String> {
    let span_ns = span_ns(text)?;
    if span_ns < 0 { Err(format!("{text:?} is negative: write a span like 100ms")) } else { Ok(span_ns) }
}

/// A threshold in ns: a span that is not zero, or a bare number of milliseconds, as Saturn's users write it.
pub(super) fn threshold_ns(text: &str) -> Result<i64, String> {
    let fault = || format!("{text:?} is no threshold: write milliseconds, like 5, or a span, like 250us");
    let bare = text.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let ns = span_ns(&if bare { format!("{}ms", text.trim()) } else { text.to_owned() }).map_err(|_| fault())?;
    if ns > 0 { Ok(ns) } else { Err(fault()) }
}

/// A time between two looks, or of waiting, in ns: from 100 ms to an hour.
pub(super) fn interval_ns(text: &str) -> Result<i64, String> {
    let ns = span_ns(text)?;
    if (100_000_000..=3_600_000_000_000).contains(&ns) {
        Ok(ns)
    } else {
        Err(format!("{text:?} is outside of 100ms to 3600s"))
    }
}

/// The address of a webhook.
pub(super) fn webhook(text: &str) -> Result<WebhookUrl, String> {
    WebhookUrl::parse(text).map_err(|error| error.to_string())
}

/// A signed rate, in seconds per second: `20ppm`, `-350ppb`; nothing but zero may stand without a unit.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let fault = || format!("{text:?} is no rate: write a number and ppm or ppb, like 20ppm");
    // Divided, not multiplied by PPB: a division by 1e9 gives the float that is nearest to what was written.
    let rate = scaled(text, &[("ppm", 1e3), ("ppb", 1.0)]).ok_or_else(fault)? / 1e9;
    if rate.abs() > OSCILLATOR_RATE_MAX {
        let max = rate_to_ppm(OSCILLATOR_RATE_MAX);
        return Err(format!("{text:?} is more than any working oscillator drifts: write at most {max:.0}ppm"));
    }
    Ok(rate)
}

/// The fastest slew allowed, in seconds per second: more than nothing, and no more than the kernel can do.
pub(super) fn slew(text: &str) -> Result<f64, String> {
    let fault = || format!("{text:?} is no slew limit: write a number and ppm or ppb from 1ppb to 100000ppm");
    let rate = scaled(text, &[("ppm", 1e3), ("ppb", 1.0)]).ok_or_else(fault)? / 1e9;
    if (1e-9..=RATE_MAX).contains(&rate) { Ok(rate) } else { Err(fault()) }
}

/// A limit on changes in ns, or infinity for `none`.
pub(super) fn limit_ns(text: &str) -> Result<f64, String> {
    if text == "none" {
        return Ok(f64::INFINITY);
    }
    match span_ns(text)? {
        limit_ns if limit_ns > 0 => Ok(limit_ns as f64),
        _ => Err(format!("{text:?} is no limit: write a span above zero like 1000s, or none")),
    }
}

/// The priority of `--sched`: `fifo:N` with N from 1 to 99, or nothing special for `other`.
pub(super) fn fifo_priority(text: &str) -> Result<FifoPriority, String> {
    let fault = || format!("{text:?} is no scheduling class: write other, or fifo:N with N from 1 to 99");
    if text == "other" {
        return Ok(FifoPriority(None));
    }
    let priority: u8 = text.strip_prefix("fifo:").and_then(|n| n.parse().ok()).ok_or_else(fault)?;
    if (1..=99).contains(&priority) { Ok(FifoPriority(Some(priority))) } else { Err(fault()) }
}

/// A `SCHED_FIFO` priority, or `None` for the ordinary class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FifoPriority(pub Option<u8>);

/// What `--listen-addr` said: the parts that it named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenAddr {
    /// The address; `None` in `:4123`, which means every interface.
    pub ip: Option<IpAddr>,
    /// The port; `None` if only an address was given.
    pub port: Option<u16>,
}

/// An address to listen on: `:4123`, `0.0.0.0:4123`, `[::]:4123`, `127.0.0.1` or `::1`.
pub(super) fn listen_addr(text: &str) -> Result<ListenAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let found = if let Ok(address) = text.parse::<SocketAddr>() {
        Some(ListenAddr { ip: Some(address.ip()), port: Some(address.port()) })
    } else if let Ok(ip) = bare.parse::<IpAddr>() {
        Some(ListenAddr { ip: Some(ip), port: None })
    } else {
        let port = text.strip_prefix(':').filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        port.and_then(|port| port.parse().ok()).map(|port| ListenAddr { ip: None, port: Some(port) })
    };
    let many = |ip: IpAddr| ip.is_multicast() || ip == IpAddr::from([255; 4]);
    match found {
        Some(listen) if listen.port == Some(0) => Err(format!("{text:?} has port 0: write a port from 1 to 65535")),
        Some(listen) if listen.ip.is_some_and(many) => {
            Err(format!("{text:?} is not an address of one machine: write one of this machine's, or :PORT for all"))
        }
        Some(listen) => Ok(listen),
        None => Err(format!(
            "{text:?} is no address to listen on: write IP:PORT, like 0.0.0.0:4123 or [::]:4123, \
             or :PORT for every interface"
        )),
    }
}

/// Where metrics are served: `9124` on loopback, `192.0.2.1:9124`, `[::1]:9124`, or `:9124` for every interface.
pub(super) fn metrics_addr(text: &str) -> Result<SocketAddr, String> {
    let fault =
        || format!("{text:?} is no place for metrics: write PORT for loopback, IP:PORT, or :PORT for every interface");
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let port = text.parse().ok().filter(|port| *port != 0).ok_or_else(fault)?;
        return Ok((std::net::Ipv4Addr::LOCALHOST, port).into());
    }
    match listen_addr(text) {
        Ok(ListenAddr { ip, port: Some(port) }) => {
            Ok((ip.unwrap_or(std::net::Ipv6Addr::UNSPECIFIED.into()), port).into())
        }
        Ok(ListenAddr { port: None, .. }) | Err(_) => Err(fault()),
    }
}

/// A name that is shown and announced: 1 to 255 bytes, nothing that a terminal would obey.
pub(super) fn name(text: &str) -> Result<String, String> {
    if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no name: write 1 to 255 characters without control characters"))
    }
}

/// What to log: a level, or a filter by module, like `warn,llts::engine=debug`. A word that is no level would be
/// taken for a module without one, and silence everything.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    if text.split(',').all(|part| level(part.rsplit('=').next().unwrap_or(part).trim())) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no log level: write off, error, warn, info, debug or trace"))
    }
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))).unwrap_or(text.len());
    let (number, unit) = (text[..end].parse::<f64>().ok()?, text[end..].trim());
    if unit.is_empty() {
        return (number == 0.0).then_some(number);
    }
    units.iter().find(|(name, _)| *name == unit).map(|(_, size)| number * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit_of_either_sign() {
        for (text, ns) in [
            ("0", 0),
            ("250ns", 250),
            ("-1.5us", -1_500),
            ("2µs", 2_000),
            ("10ms", 10_000_000),
            ("+2 s", 2_000_000_000),
            ("1e17", i64::MIN),
            ("10", i64::MIN),
            ("ms", i64::MIN),
            ("1e3ms", i64::MIN),
            ("5min", i64::MIN),
            ("nan", i64::MIN),
            ("100000001s", i64::MIN),
            ("100000000s", 100_000_000_000_000_000),
        ] {
            assert_eq!(span_ns(text).unwrap_or(i64::MIN), ns, "{text}");
        }
        assert!(positive_span_ns("-1ms").is_err());
        assert_eq!(positive_span_ns("0"), Ok(0));
    }

    #[test]
    fn a_threshold_is_a_number_of_milliseconds_or_a_span_and_never_zero() {
        for (text, ns) in [
            ("5", 5_000_000),
            ("0.25", 250_000),
            (" 5000 ", 5_000_000_000),
            ("250us", 250_000),
            ("1ns", 1),
            ("2 s", 2_000_000_000),
        ] {
            assert_eq!(threshold_ns(text), Ok(ns), "{text}");
        }
        for wrong in ["", "0", "0.0", "0us", "-5", "-5ms", "5mm", "nan", "1e3", ".", "1.2.3", "0.0000001"] {
            assert!(threshold_ns(wrong).unwrap_err().contains("is no threshold"), "{wrong}");
        }
    }

    #[test]
    fn an_interval_has_a_least_and_a_greatest_length() {
        assert_eq!((interval_ns("100ms"), interval_ns("3600s")), (Ok(100_000_000), Ok(3_600_000_000_000)));
        for wrong in ["99ms", "3601s", "0", "-1s", "1"] {
            assert!(interval_ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_in_ppm_or_ppb_and_within_what_oscillators_do() {
        assert_eq!(rate("20ppm"), Ok(20e-6));
        assert_eq!(rate("-350.5ppb"), Ok(-350.5e-9));
        assert_eq!(rate("500ppm"), Ok(OSCILLATOR_RATE_MAX));
        for wrong in ["500.001ppm", "-501ppm", "20", "ppm", "20%", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn scheduling_is_other_or_fifo_with_a_priority_that_exists() {
        assert_eq!(fifo_priority("other"), Ok(FifoPriority(None)));
        assert_eq!(fifo_priority("fifo:1"), Ok(FifoPriority(Some(1))));
        assert_eq!(fifo_priority("fifo:99"), Ok(FifoPriority(Some(99))));
        for wrong in ["fifo:0", "fifo:100", "fifo", "rr:5", "fifo:-1", "fifo:256"] {
            assert!(fifo_priority(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_to_listen_on_may_lack_its_port_or_its_ip() {
        let v4 = |port| ListenAddr { ip: Some(IpAddr::from([127, 0, 0, 1])), port };
        assert_eq!(listen_addr("127.0.0.1:8080"), Ok(v4(Some(8080))));
        assert_eq!(listen_addr("127.0.0.1"), Ok(v4(None)));
        assert_eq!(listen_addr(":4123"), Ok(ListenAddr { ip: None, port: Some(4123) }));
        let v6 = |text: &str, port| ListenAddr { ip: Some(text.parse().unwrap()), port };
        assert_eq!(listen_addr("[::]:4123"), Ok(v6("::", Some(4123))));
        assert_eq!(listen_addr("::1"), Ok(v6("::1", None)));
        assert_eq!(listen_addr("[::1]"), Ok(v6("::1", None)));
        for wrong in [
            "",
            ":",
            ":0",
            ":65536",
            ":+1",
            "localhost:1",
            "1.2.3:4",
            "127.0.0.1:0",
            "224.0.0.1:1",
            "255.255.255.255:1",
        ] {
            assert!(listen_addr(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn metrics_are_on_loopback_unless_more_than_a_port_is_written() {
        for (text, expected) in [
            ("9124", "127.0.0.1:9124"),
            (":9124", "[::]:9124"),
            ("192.0.2.1:9124", "192.0.2.1:9124"),
            ("[::1]:9124", "[::1]:9124"),
        ] {
            assert_eq!(metrics_addr(text).unwrap().to_string(), expected);
        }
        for wrong in ["", "0", "65536", "127.0.0.1", "localhost:9124", ":0"] {
            assert!(metrics_addr(wrong).unwrap_err().contains("no place for metrics"), "{wrong}");
        }
    }

    #[test]
    fn a_log_filter_ends_in_levels() {
        for right in ["info", "WARN", "off", "warn,llts::engine=debug", "llts=trace"] {
            assert_eq!(log_filter(right).as_deref(), Ok(right));
        }
        for wrong in ["", "loud", "info,loud", "llts=", "llts=loud"] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_printable_and_not_endless() {
        assert!(name(&"n".repeat(255)).is_ok());
        for wrong in ["", "a\nb", "\x1b[2J", &"n".repeat(256)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }
}
