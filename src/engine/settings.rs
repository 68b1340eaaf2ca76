//! What a node is told at start: the meaning of the command line and the configuration file, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::flow::Role;
use crate::pipeline::Limits;
use crate::report::{MeasurementFormat, MeasurementLog};

/// Everything `llts run` can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address and port of the one UDP socket.
    pub listen: SocketAddr,
    /// This node's name, unique in its cluster.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// Peers as written, `host:port`; syntax checked, not resolved.
    pub peers: Vec<String>,
    /// Look for peers on this machine and on the local network.
    pub discovery: bool,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Exchanges a second and peer.
    pub rate_hz: f64,
    /// Exchanges in a start burst.
    pub rounds: u32,
    /// The part this node plays.
    pub role: Role,
    /// The algorithm's name.
    pub algorithm: String,
    /// Faulty nodes to tolerate; a third of those present unless told.
    pub faults: Option<u16>,
    /// Which clock is steered.
    pub clock: ClockChoice,
    /// Whose time stamps are used.
    pub timestamps: Timestamps,
    /// Interfaces whose cards stamp; found by itself unless told.
    pub interfaces: Vec<String>,
    /// The card's clock, as /dev/ptpN or by an interface that has it; the interface's own unless told.
    pub phc: Option<String>,
    /// The user that the process becomes once it is set up.
    pub user: Option<String>,
    /// What may be done to the clock.
    pub limits: Limits,
    /// What to do when somebody else steers or sets the system clock.
    pub on_conflict: OnConflict,
    /// Where the drift of the machine's oscillator is kept; in the state folder unless told. For the system clock only.
    pub drift_file: Option<PathBuf>,
    /// The core for the hot thread.
    pub cpu: Option<usize>,
    /// `SCHED_FIFO` priority for the hot thread.
    pub fifo: Option<u8>,
    /// Lock all memory.
    pub mlock: bool,
    /// How the hot thread waits.
    pub poll_mode: PollMode,
    /// Where sockets and announcements live; the usual place unless told.
    pub runtime_dir: Option<PathBuf>,
    /// Where state survives a restart; the usual place unless told.
    pub state_dir: Option<PathBuf>,
    /// The status socket; in the runtime folder unless told.
    pub socket: Option<PathBuf>,
    /// Where the endpoint for monitoring listens, if there is to be one.
    pub metrics: Option<SocketAddr>,
    /// Record every finished exchange into this file.
    pub record: Option<PathBuf>,
    /// What is logged of measurements, and where.
    pub measurements: Measurements,
    /// Log filter, as `info` or `llts=debug`.
    pub log_level: String,
    /// The form of log lines.
    pub log_format: LogFormat,
}

/// What is logged of measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurements {
    /// The logs; none unless told.
    pub logs: Vec<MeasurementLog>,
    /// The form of their lines.
    pub format: MeasurementFormat,
    /// Their folder; the usual place unless told.
    pub dir: Option<PathBuf>,
    /// Time between two lines of those that are not about exchanges, ns.
    pub interval_ns: i64,
}

impl Default for Measurements {
    /// None.
    fn default() -> Self {
        Measurements { logs: Vec::new(), format: MeasurementFormat::default(), dir: None, interval_ns: 10_000_000_000 }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For the journal if standard error is it, else for people.
    #[default]
    Auto,
    /// For people, with the time.
    Text,
    /// For systemd's journal: priority in front, no time.
    Journal,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word of `--log-format`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Journal => "journal",
            LogFormat::Json => "json",
        }
    }
}

/// Where the keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A key file.
    File(PathBuf),
    /// One key on the command line.
    Inline(String),
    /// The key of this user on this machine, made when missing; loopback only.
    LocalUser,
}

/// Which clock a node delivers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClockChoice {
    /// The machine's `CLOCK_REALTIME`, through adjtimex.
    System,
    /// A clock in memory over `CLOCK_MONOTONIC_RAW`.
    Virtual {
        /// How far it is thrown off at start, ns.
        offset_ns: i64,
        /// How much faster than nominal its oscillator runs (seconds per second).
        drift: f64,
    },
}

/// Whose time stamps a node uses. A packet without the best there are has the next best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// The card's where one can be had, else the kernel's.
    #[default]
    Auto,
    /// The card's; without a card that stamps the node does not start.
    Hardware,
    /// The kernel's; no card is touched.
    Kernel,
    /// The program's own reading of its clock.
    User,
}

impl Timestamps {
    /// All of them, the default first.
    pub const ALL: [Timestamps; 4] = [Timestamps::Auto, Timestamps::Hardware, Timestamps::Kernel, Timestamps::User];

    /// The word of `--timestamps` and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Timestamps::Auto => "auto",
            Timestamps::Hardware => "hardware",
            Timestamps::Kernel => "kernel",
            Timestamps::User => "user",
        }
    }
}

/// What to do when somebody else steers or sets the system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Say so, put the clock right and go on.
    #[default]
    Warn,
    /// Stop steering, and end.
    Refuse,
}

impl OnConflict {
    /// The word of `--on-conflict`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            OnConflict::Warn => "warn",
            OnConflict::Refuse => "refuse",
        }
    }
}

/// How the hot thread waits for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PollMode {
    /// Chosen at start by what the machine gives.
    #[default]
    Auto,
    /// Spins.
    Busy,
    /// Spins for a while after each packet, then blocks.
    Hybrid,
    /// Blocks.
    Block,
}

impl PollMode {
    /// The word of `--poll-mode` and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PollMode::Auto => "auto",
            PollMode::Busy => "busy",
            PollMode::Hybrid => "hybrid",
            PollMode::Block => "block",
        }
    }
}
