//! A look before the start: everything that would keep a node with these settings from starting on this machine, found
//! without opening, making or changing anything. `llts run` refuses to start on the first of it, and `llts
//! check-config` tells all of it: one function, so that the two cannot differ. What it cannot know here, because
//! another user will run the node or because the node runs already, it says too.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, faccessat};
use socket2::{Domain, Socket, Type};

use super::start::{self, StartError};
use super::{ClockChoice, KeySource, OnConflict, Settings, kept, outputs, stamping};
use crate::clock::Rivals;
use crate::discovery::{DirError, Dirs, StaticPeer, examine_dir};
use crate::flow::Role;
use crate::limits::SOCKET_PATH_BYTES_MAX;
use crate::report::RecordWriter;
use crate::sys::caps::{Account, Capability};
use crate::sys::nic::{self, KernelNics};
use crate::sys::rt;

/// Why a node would not start, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    sentence: String,
    may_pass: bool,
}

impl Refusal {
    /// Whether the same settings may be good the next minute, without anybody's doing: an address that is not there
    /// yet, an interface that comes up late, another time daemon that is about to end. Such a node should be started
    /// again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Refusal {}

/// What was found, a sentence each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preflight {
    /// Why a node would not start.
    pub refusals: Vec<Refusal>,
    /// What was asked for and cannot be had; a node would start without it and warn.
    pub losses: Vec<String>,
    /// What cannot be known here and now, and what should be known.
    pub notes: Vec<String>,
}

/// Ports below this need a privilege, where the system does not say otherwise.
const UNPRIVILEGED_PORT: u16 = 1024;

/// Looks at this machine with the eyes of a node with these settings.
#[must_use]
pub fn preflight(settings: &Settings) -> Preflight {
    let mut found = Preflight::default();
    let account = match start::account(settings) {
        Ok(account) => account,
        Err(error) => {
            found.refuse(format!("{error:#}"));
            None
        }
    };
    found.processors(settings);
    found.addresses(settings);
    found.clock(settings);
    found.cards(settings);
    found.folders(settings, account.as_ref());
    found.who(settings);
    found
}

impl Preflight {
    /// Whether a node would start.
    ///
    /// # Errors
    /// The first refusal, of those that will not pass if there are any.
    pub(super) fn allowed(mut self) -> Result<(), Refusal> {
        self.refusals.sort_by_key(Refusal::may_pass);
        self.refusals.into_iter().next().map_or(Ok(()), Err)
    }

    fn refuse(&mut self, sentence: impl ToString) {
        self.refusals.push(Refusal { sentence: sentence.to_string(), may_pass: false });
    }

    /// Refuses for a reason that may pass by itself.
    fn refuse_for_now(&mut self, sentence: impl ToString) {
        self.refusals.push(Refusal { sentence: sentence.to_string(), may_pass: true });
    }

    fn processors(&mut self, settings: &Settings) {
        if let Some(cpu) = settings.cpu.filter(|cpu| !rt::cpu_exists(*cpu)) {
            self.refuse(format!("there is no CPU {cpu} on this machine: see /sys/devices/system/cpu/online for --cpu"));
        }
        let lacks = |capability: Capability| !capability.in_effect().unwrap_or(false);
        if let Some(priority) = settings.fifo
            && lacks(Capability::SysNice)
        {
            self.notes.push(format!(
                "sched fifo:{priority} needs CAP_SYS_NICE, which this check has not: whether whoever starts the node \
                 has it is not known here (the unit gives it)"
            ));
        }
    }

    fn addresses(&mut self, settings: &Settings) {
        let listen = settings.listen;
        match UdpSocket::bind(SocketAddr::new(listen.ip(), 0)) {
            Err(error) => self.no_address(&format!("listen on {listen} (--listen-addr)"), &error),
            Ok(_) if is_forbidden(listen.port()) => {
                self.notes.push(format!(
                    "UDP port {} is below the ports that everybody may open: whoever starts the node needs \
                     CAP_NET_BIND_SERVICE; whether it has that is not known here",
                    listen.port()
                ));
            }
            Ok(_) => self.taken(&format!("UDP port {} (--listen-addr, --port)", listen.port()), listen, Type::DGRAM),
        }
        let Some(metrics) = settings.metrics else { return };
        match TcpListener::bind(SocketAddr::new(metrics.ip(), 0)) {
            Err(error) => return self.no_address(&format!("serve metrics at {metrics} (--metrics)"), &error),
            Ok(_) if !metrics.ip().to_canonical().is_loopback() => self.notes.push(format!(
                "metrics are served beyond loopback, at {metrics}: whoever reaches that port can read them, and the \
                 page too"
            )),
            Ok(_) => {}
        }
        self.taken(&format!("TCP port {} (--metrics)", metrics.port()), metrics, Type::STREAM);
    }

    /// An address that cannot be had. A machine may get an address at any time, a kind of addresses it does not get.
    fn no_address(&mut self, what: &str, error: &io::Error) {
        let (sentence, errno) = (format!("cannot {what}: {}", absent(error)), error.raw_os_error());
        if errno == Some(libc::EAFNOSUPPORT) { self.refuse(sentence) } else { self.refuse_for_now(sentence) }
    }

    /// Says that a port is in use, which a node that runs already makes it: no reason to call the settings wrong.
    fn taken(&mut self, what: &str, address: SocketAddr, kind: Type) {
        let bound = Socket::new(Domain::for_address(address), kind, None).and_then(|socket| {
            // As listeners are: what is only closing does not count.
            socket.set_reuse_address(kind == Type::STREAM)?;
            socket.bind(&address.into())
        });
        if bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            self.notes.push(format!(
                "{what} is in use now: by llts itself if it runs, else by a program that leaves it no place \
                 (`ss -lnptu` names it)"
            ));
        }
    }

    fn clock(&mut self, settings: &Settings) {
        let steers = settings.clock == ClockChoice::System && settings.role == Role::Peer;
        if settings.clock == ClockChoice::System && !Capability::SysTime.in_effect().unwrap_or(false) {
            self.notes.push(
                "clock = \"system\" needs CAP_SYS_TIME, which this check has not: whether whoever starts the node has \
                 it is not known here (the unit gives it)"
                    .to_owned(),
            );
        }
        let rivals = Rivals::of_this_machine();
        if !steers || rivals.is_empty() {
            return;
        }
        match settings.on_conflict {
            // It may be ending just now, as the unit's Conflicts= makes it.
            OnConflict::Refuse => self.refuse_for_now(StartError::Rivals(rivals.to_string())),
            OnConflict::Warn => self.notes.push(format!(
                "{rivals}: if it steers the system clock too, the two will pull at it; the unit stops the usual ones"
            )),
        }
    }

    fn cards(&mut self, settings: &Settings) {
        let absent: Vec<_> = settings.interfaces.iter().filter(|name| nic::index(name).is_none()).collect();
        for name in &absent {
            self.refuse_for_now(format!(
                "there is no network interface called {name}; `ip link` lists those there are"
            ));
        }
        if !absent.is_empty() {
            return;
        }
        // What is wrong with a peer's name is somebody else's to say.
        let peers = StaticPeer::parse_list(&settings.peers).unwrap_or_default();
        let known: Vec<_> = peers.iter().filter_map(StaticPeer::literal).collect();
        let wanted = start::wanted_stamps(settings, settings.listen, peers.len(), &known);
        if let Err(error) = stamping::foresee(&mut KernelNics, &wanted) {
            // Interfaces that are not named may come up later than llts.
            let late = settings.interfaces.is_empty() && !settings.listen.ip().to_canonical().is_loopback();
            if late { self.refuse_for_now(error) } else { self.refuse(error) }
        }
        let Some(path) = settings.phc.as_deref().filter(|phc| phc.starts_with('/')) else { return };
        if !fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device()) {
            self.losses
                .push(format!("there is no clock of a card at {path} (--phc); `ls /dev/ptp*` lists those there are"));
        }
    }

    fn folders(&mut self, settings: &Settings, account: Option<&Account>) {
        let usual = Dirs::of_this_user();
        let runtime_dir = settings.runtime_dir.clone().unwrap_or_else(|| usual.runtime.clone());
        let state_dir = settings.state_dir.clone().unwrap_or(usual.state);
        self.kernels_own(settings, &state_dir, &runtime_dir);
        if let Some(path) = &settings.record {
            self.recording(path);
        }
        if !settings.measurements.logs.is_empty() {
            let dir = outputs::log_dir(settings, &state_dir);
            self.written_folder(&dir, "log-dir", account, settings.measurements.dir.is_some());
        }
        for (dir, option, told) in [
            (&state_dir, "state-dir", settings.state_dir.is_some()),
            (&runtime_dir, "runtime-dir", settings.runtime_dir.is_some()),
        ] {
            let Err(error) = own_folder(dir, account) else { continue };
            // A user's own key is in the runtime folder: without it there is no key.
            if option == "runtime-dir"
                && settings.keys == KeySource::LocalUser
                && !(told && usual_is_good(dir, account))
            {
                self.refuse(error);
            } else if told {
                self.losses.push(format!("{error} (--{option})"));
            } else {
                // The unit names and makes folders of its own; only who starts it by hand has the usual ones.
                self.notes.push(format!(
                    "--{option} is not told here: the unit brings a folder of its own; started by hand, this user's \
                     own would be {}, which it cannot have",
                    dir.display()
                ));
            }
        }
        if let Some(path) = &settings.drift_file
            && settings.clock == ClockChoice::System
            && let Err(fault) = writable_parent(path)
        {
            self.losses.push(format!("the drift cannot be kept in {} (--drift-file): {fault}", path.display()));
        }
        if let Some(path) = start::socket_path(settings, &runtime_dir, true, settings.listen.port()) {
            self.short_enough(&path, if settings.socket.is_some() { "socket" } else { "runtime-dir" });
        }
        let Some(path) = &settings.socket else { return };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                self.refuse(format!("{} is no socket and is left alone: give another --socket", path.display()));
            }
            _ => {
                if let Err(fault) = writable_parent(path) {
                    self.losses.push(format!("no status socket at {} (--socket): {fault}", path.display()));
                }
            }
        }
    }

    /// Nothing can be kept among the files by which the kernel shows itself, though root may seem to write there.
    fn kernels_own(&mut self, settings: &Settings, state_dir: &Path, runtime_dir: &Path) {
        let log_dir = (!settings.measurements.logs.is_empty()).then(|| outputs::log_dir(settings, state_dir));
        let drift_file = (settings.clock == ClockChoice::System)
            .then(|| kept::drift_path(settings.drift_file.as_deref(), state_dir));
        for (path, option) in [
            (settings.record.as_deref(), "record"),
            (log_dir.as_deref(), "log-dir"),
            (Some(state_dir), "state-dir"),
            (Some(runtime_dir), "runtime-dir"),
            (drift_file.as_deref(), "drift-file"),
            (settings.socket.as_deref(), "socket"),
        ] {
            let Some(path) = path else { continue };
            let there = path.ancestors().map(or_here).find(|path| path.exists());
            let kind = there.and_then(|path| statfs(&path).ok()).map(|found| found.filesystem_type());
            if kind == Some(PROC_SUPER_MAGIC) || kind == Some(SYSFS_MAGIC) {
                self.refuse(format!(
                    "nothing can be kept in {} (--{option}): the kernel shows itself there (proc, sysfs); name a place \
                     on a disk or in memory",
                    path.display()
                ));
            }
        }
    }

    /// The address of a local socket has so many bytes and no more.
    fn short_enough(&mut self, path: &Path, option: &str) {
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            self.refuse(format!(
                "the path of the status socket, {}, has {bytes} bytes, and the kernel takes {SOCKET_PATH_BYTES_MAX}: \
                 give a shorter --{option}",
                path.display()
            ));
        }
    }

    /// A recording, which is made anew at each start, beside those that are there.
    fn recording(&mut self, path: &Path) {
        let shown = path.display();
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return self.refuse(format!("cannot record into {shown}: there is something that is no file (--record)"));
        }
        if let Err(fault) = writable_parent(path) {
            return self.refuse(format!("cannot record into {shown}: {fault}"));
        }
        match RecordWriter::names(path).find(|name| fs::symlink_metadata(name).is_err()) {
            Some(name) if name != path => {
                self.notes.push(format!("{shown} is there already: a node would record into {}", name.display()));
            }
            Some(_) => {}
            None => self.refuse(format!(
                "cannot record into {shown}: it is there already, and so is every name that would be taken instead; \
                 move them away"
            )),
        }
    }

    /// A folder that is made where it is missing, and written into.
    fn written_folder(&mut self, dir: &Path, option: &str, account: Option<&Account>, told: bool) {
        let shown = dir.display();
        let foreign =
            |account: &&Account| fs::metadata(dir).is_ok_and(|found| found.uid() != 0 && found.uid() != account.uid);
        match writable(dir) {
            Err(fault) if told => self.refuse(format!("cannot log measurements into {shown} (--{option}): {fault}")),
            // As somebody else there is another usual folder.
            Err(fault) => {
                self.refuse(format!("cannot log measurements into {shown}: {fault}; name a folder with --{option}"))
            }
            Ok(()) => {
                if let Some(account) = account.filter(foreign) {
                    self.notes.push(format!(
                        "{shown} belongs neither to root nor to {}: whether that user may write there is unknown here",
                        account.name
                    ));
                }
            }
        }
    }

    /// Whose eyes these are.
    fn who(&mut self, settings: &Settings) {
        if nix::unistd::geteuid().is_root() && settings.user.is_none() {
            self.notes.push(
                "checked as root: what another user, such as the unit's `llts`, may read and write is not known here; \
                 `runuser -u llts -- llts check-config` looks with that user's eyes"
                    .to_owned(),
            );
        }
    }
}

fn own_folder(dir: &Path, account: Option<&Account>) -> Result<(), DirError> {
    match account {
        // What is root's is given to that user at the start.
        Some(account) => examine_dir(dir, account.uid).or_else(|_| examine_dir(dir, 0)),
        None => examine_dir(dir, nix::unistd::geteuid().as_raw()),
    }
}

/// Whether a node that cannot have `told` has the usual folder instead.
fn usual_is_good(told: &Path, account: Option<&Account>) -> bool {
    let usual = Dirs::of_this_user().runtime;
    usual != told && own_folder(&usual, account).is_ok()
}

fn absent(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => "it is not an address of this machine; `ip addr` lists those that are".to_owned(),
        Some(libc::EAFNOSUPPORT) => "this machine has no addresses of that kind".to_owned(),
        _ => error.to_string(),
    }
}

fn is_forbidden(port: u16) -> bool {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first = first.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED_PORT);
    port < first && !nix::unistd::geteuid().is_root()
}

/// Whether `path` is a folder that can be written into, or can be made.
fn writable(path: &Path) -> Result<(), String> {
    let Some(there) = path.ancestors().map(or_here).find(|path| fs::symlink_metadata(path).is_ok()) else {
        return Err("there is no such folder".to_owned());
    };
    let shown = there.display();
    match fs::metadata(&there) {
        Ok(found) if !found.is_dir() => Err(format!("{shown} is not a folder")),
        Ok(_) => faccessat(AT_FDCWD, &there, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
            .map_err(|errno| format!("this user may not write into {shown} ({})", errno.desc())),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// Whether a file can be made in the folder of `path`, which must be there.
fn writable_parent(path: &Path) -> Result<(), String> {
    let parent = or_here(path.parent().unwrap_or(Path::new("/")));
    if !parent.is_dir() {
        return Err(format!("there is no folder {}: make it first", parent.display()));
    }
    writable(&parent)
}

/// The folder that an empty path means.
fn or_here(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_path_buf() }
}
