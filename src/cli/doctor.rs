//! `llts doctor`: looks at this machine and says what llts could give on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;

use super::args::DoctorArgs;
use super::exit::{Failure, say};
use crate::discovery::DEFAULT_PORT;
use crate::doctor::{Scope, document, judge, report_text, survey, verdict};
use crate::sys::nic;

/// Looks, tells, and returns the exit code that the worst finding deserves.
pub(super) fn doctor(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let findings = judge(&survey(&scope(args)?));
    let text = if args.json { document(&findings) } else { report_text(&findings) };
    say(&format!("{text}\n"))?;
    Ok(ExitCode::from(verdict(&findings).exit_code()))
}

fn scope(args: &DoctorArgs) -> Result<Scope, Failure> {
    for name in &args.iface {
        if nic::index(name).is_none() {
            return Err(Failure::Usage(format!(
                "there is no network interface called {name}; `ip link` lists those there are"
            )));
        }
    }
    if args.peer.is_some() && args.iface.is_empty() {
        return Err(Failure::Usage("--peer gets packets over an interface: name that with --iface".into()));
    }
    let any: IpAddr = if Path::new("/proc/net/if_inet6").exists() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    Ok(Scope {
        listen: SocketAddr::new(any, args.port.unwrap_or(DEFAULT_PORT)),
        interfaces: args.iface.clone(),
        peer: args.peer.as_deref().map(peer).transpose()?,
    })
}

/// The address of `host` or `host:port`.
fn peer(text: &str) -> Result<SocketAddr, Failure> {
    let with_port = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    let bare =
        || (text.trim_matches(['[', ']']), DEFAULT_PORT).to_socket_addrs().ok().and_then(|mut found| found.next());
    with_port.or_else(bare).ok_or_else(|| {
        Failure::Usage(format!("{text:?} is no peer that can be found: write host, host:port or [address]:port"))
    })
}
