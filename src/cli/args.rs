//! What may be said on the command line: commands, options, their defaults and their help. What each word means
//! together with the others is decided by the commands.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ErrorKind};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::compare::CompareArgs;
use super::exit::{Failure, say};
use super::layers::{self, Origin, Surroundings};
use super::quantity::{self, FifoPriority, ListenAddr, positive_span_ns};
use super::query::QueryArgs;
use super::replay::ReplayArgs;
use super::saturn::SaturnArgs;
use super::sim::SimArgs;
use super::watch::WatchArgs;
use crate::engine::keyfile::KEY_ID_DEFAULT;
use crate::engine::{LogFormat, OnConflict, PollMode, Timestamps};
use crate::flow::Role;
use crate::limits::{PEERS_MAX, RATE_HZ_MAX, RATE_HZ_MIN, ROUNDS_DEFAULT, ROUNDS_MAX};
use crate::pipeline::{ALGORITHMS, Algorithm};
use crate::report::{MeasurementFormat, MeasurementLog};

/// Keeps the clocks of a cluster of servers in agreement, peer to peer, without a time server.
///
/// Without a command it runs a node, as `llts run` does.
#[derive(Debug, Parser)]
#[command(name = "llts", version, args_conflicts_with_subcommands = true)]
struct Llts {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a node until a signal ends it
    Run(Box<RunArgs>),
    /// Run several nodes on this machine with clocks thrown off, and show their true error
    Demo(DemoArgs),
    /// Show how a node on this machine is doing
    Status(StatusArgs),
    /// Say what this machine can give: clocks, cards, privileges, and what each lack costs
    ///
    /// Exit code 0: all that llts can use is there; 1: it works with less; 2: it cannot run.
    Doctor(DoctorArgs),
    /// Show how far apart the nodes of a cluster are, and warn when that is too far
    Watch(Box<WatchArgs>),
    /// Ask one node a few times, for cron and monitoring: exit code 0 good, 1 over the threshold, 2 unreachable
    Query(QueryArgs),
    /// Show the peers of a node on this machine, and why those that are not used are not
    #[command(alias = "sources")]
    Peers(StatusArgs),
    /// Show how well the clock of a node on this machine follows its cluster
    Tracking(StatusArgs),
    /// Show a node on this machine and its peers live in this terminal
    Top(TopArgs),
    /// Wait until a node on this machine promises a bound: 0 it does, 1 not in time, 2 it never will
    Waitsync(WaitsyncArgs),
    /// Leave the system clock well after a node that was killed while it steered it
    ///
    /// For the service manager to run after the node (ExecStopPost=). A node that ends leaves the kernel with the best
    /// rate that is known and calls the clock unsynchronised; one that is killed cannot, and its last command, which
    /// may be as much as 10 %, would go on. Nothing is done if a node holds the clock, or if the last one gave it back.
    ReleaseClock(ReleaseClockArgs),
    /// Make a key
    Keygen(KeygenArgs),
    /// Check a configuration file and everything that it names
    CheckConfig(CheckConfigArgs),
    /// Print the script by which a shell completes the words of this program
    Completions(CompletionsArgs),
    /// Simulate a cluster in virtual time and hold it to its bounds
    Sim(SimArgs),
    /// Watch clocks, or have one watched, by the protocol of the older program Saturn
    Saturn(Box<SaturnArgs>),
    /// Run algorithms side by side in the simulator and print the table
    Compare(CompareArgs),
    /// Show what an algorithm would have made of a recording
    Replay(ReplayArgs),
}

/// Options of `llts run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Configuration file; options given here or as variables win over it [default: /etc/llts/llts.toml if it is
    /// there]
    #[arg(long, value_name = "FILE", overrides_with = "config")]
    pub config: Option<PathBuf>,
    /// UDP port [default: 4123]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Address to listen on: IP, IP:PORT, or :PORT for every interface; beyond loopback it needs a key [default:
    /// 127.0.0.1]
    #[arg(long, value_name = "ADDR", value_parser = quantity::listen_addr)]
    pub listen_addr: Option<ListenAddr>,
    /// Name of this node, the only one of its cluster to have it [default: HOSTNAME:PORT]
    #[arg(long, value_parser = quantity::name)]
    pub name: Option<String>,
    /// Name of the cluster
    #[arg(long, default_value = "default", value_parser = quantity::name)]
    pub cluster: String,
    /// Peers, as host:port,host:port; may be given more than once
    #[arg(long, value_name = "LIST")]
    pub peers: Vec<String>,
    /// Look for peers neither on this machine nor on the local network
    #[arg(long)]
    pub no_discovery: bool,
    /// File with the cluster's keys, as `llts keygen` makes it
    #[arg(long, value_name = "FILE", conflicts_with = "hmac_key")]
    pub key_file: Option<PathBuf>,
    /// The cluster's key itself, as text, HEX:... or B64:...; every user of the machine can read it with ps
    #[arg(long, value_name = "KEY")]
    pub hmac_key: Option<String>,
    /// Exchanges a second with each peer
    #[arg(long, value_name = "HZ", default_value_t = crate::limits::RATE_HZ_DEFAULT, value_parser = rate_hz)]
    pub rate: f64,
    /// Exchanges in the burst with which a peer is met
    #[arg(long, value_name = "N", default_value_t = ROUNDS_DEFAULT, value_parser = rounds())]
    pub rounds: u32,
    /// peer: an equal; reference: the cluster's truth, never moves; observer: measures only
    #[arg(long, default_value = "peer", value_parser = role())]
    pub role: Role,
    /// How nodes agree
    #[arg(long, value_name = "NAME", default_value = Algorithm::default().as_str(), value_parser = algorithm())]
    pub algorithm: Algorithm,
    /// Faulty nodes to tolerate [default: a third of those present]
    #[arg(long, value_name = "F", value_parser = clap::value_parser!(u16).range(..=FAULTS_MAX))]
    pub faults: Option<u16>,
    /// Clock to steer: virtual is in memory, system is the machine's own and needs CAP_SYS_TIME
    #[arg(long, default_value = "virtual")]
    pub clock: ClockKind,
    /// Throw the virtual clock off by this at start, like 10ms or -3us
    #[arg(long, value_name = "SPAN", allow_hyphen_values = true, value_parser = quantity::span_ns)]
    pub virtual_offset: Option<i64>,
    /// Let the virtual clock's oscillator run faster by this, like 20ppm or -350ppb
    #[arg(long, value_name = "RATE", allow_hyphen_values = true, value_parser = quantity::rate)]
    pub virtual_drift: Option<f64>,
    /// At start, step the clock once if it is off by more than this; below, close the gap fast, at up to 10 % unless
    /// --slew-limit is given
    #[arg(long, value_name = "SPAN", default_value = "100ms", value_parser = positive_span_ns)]
    pub step_threshold: i64,
    /// Whose time stamps: auto takes the card's where it can and the kernel's else, packet by packet; hardware insists
    /// on a card that stamps; kernel touches no card; user reads the program's own clock
    #[arg(long, value_name = "WHOSE", default_value = "auto", value_parser = timestamps())]
    pub timestamps: Timestamps,
    /// Interfaces whose cards stamp, as eth0 or eth0,eth1; bonds and VLANs lead to theirs [default: that of the
    /// address listened on, or those on the way to --peers, or all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub iface: Vec<String>,
    /// Clock of that card, as /dev/ptpN or as an interface that has it [default: what the card's driver says]
    #[arg(long, value_name = "CLOCK")]
    pub phc: Option<String>,
    /// Become this user once everything is set up; needs a start as root
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Never step the clock, not even at start, and never slew it faster than --slew-limit, or 500 ppm
    #[arg(long)]
    pub no_step: bool,
    /// Never slew the clock faster than this [default: 500ppm once it has caught up, and before that as fast as
    /// --step-threshold says]
    #[arg(long, value_name = "RATE", value_parser = quantity::slew)]
    pub slew_limit: Option<f64>,
    /// End rather than change the clock by more than this after the start; none: any change
    #[arg(long, value_name = "SPAN", default_value = "1000s", value_parser = quantity::limit_ns)]
    pub max_change: f64,
    /// End rather than change the clock by more than this at the start; none: any change
    #[arg(long, value_name = "SPAN", default_value = "none", value_parser = quantity::limit_ns)]
    pub max_change_at_start: f64,
    /// End when the steps that put right what others did to the clock add up to more than this; none: never
    #[arg(long, value_name = "SPAN", default_value = "3600s", value_parser = quantity::limit_ns)]
    pub max_total: f64,
    /// When somebody else steers or sets the system clock: warn says so and puts it right, refuse stops and ends
    #[arg(long, value_name = "WHAT", default_value = "warn", value_parser = on_conflict())]
    pub on_conflict: OnConflict,
    /// Where the oscillator's drift is kept, for a warm start; with --clock system only [default: drift in the state
    /// folder]
    #[arg(long, value_name = "FILE")]
    pub drift_file: Option<PathBuf>,
    /// Core for the thread that answers packets
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Scheduling class of that thread: other, or fifo:N with N from 1 to 99
    #[arg(long, value_name = "CLASS", default_value = "other", value_parser = quantity::fifo_priority)]
    pub sched: FifoPriority,
    /// Lock all memory
    #[arg(long)]
    pub mlock: bool,
    /// How that thread waits: busy spins, block sleeps, hybrid spins a little first; auto chooses and says why
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = poll_mode())]
    pub poll_mode: PollMode,
    /// Folder for sockets and announcements [default: /run/llts for root, else the user's own]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Folder for what is to survive a restart: the drift file [default: /var/lib/llts for root, else the user's own]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Status socket [default: in the runtime folder]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Serve metrics for Prometheus and a page for people by HTTP: PORT on loopback, IP:PORT, or :PORT for every
    /// interface [default: nowhere]
    #[arg(long, value_name = "ADDR", value_parser = quantity::metrics_addr)]
    pub metrics: Option<SocketAddr>,
    /// Record every finished exchange into this file, for replay; a file that is there is left alone, and FILE.1,
    /// FILE.2 and so on are taken instead: the log says which
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Log measurements: exchanges (every one), peers and tracking (now and then), as LOG,LOG; chrony's names
    /// measurements and statistics for the first two are understood [default: none]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = measurement_log())]
    pub log_measurements: Vec<MeasurementLog>,
    /// Form of measurement logs: csv, or jsonl for one JSON object a line
    #[arg(long, value_name = "FORM", default_value = "csv", value_parser = measurement_format())]
    pub log_measurements_format: MeasurementFormat,
    /// Time between two lines of the logs peers and tracking
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = quantity::interval_ns)]
    pub log_interval: i64,
    /// Folder of measurement logs; SIGHUP opens their files again, for logrotate [default: /var/log/llts for root, else
    /// log in the state folder]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// What to log: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = quantity::log_filter)]
    pub log_level: String,
    /// Form of log lines: text for people, journal for systemd's, json for programs; auto is journal where standard
    /// error is the journal
    #[arg(long, value_name = "FORM", default_value = "auto", value_parser = log_format())]
    pub log_format: LogFormat,
    /// End when the process with this id, which must be the parent, ends; for `llts demo`
    #[arg(long, value_name = "PID", hide = true)]
    pub end_with_parent: Option<u32>,
    /// Where all of this was said.
    #[arg(skip)]
    pub origin: Origin,
}

/// Options of `llts demo`.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=NODES_MAX))]
    pub nodes: u16,
    /// For how long
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..=86_400))]
    pub seconds: u32,
    /// Print nothing but one JSON object, at the end
    #[arg(long)]
    pub json: bool,
    /// How nodes agree
    #[arg(long, value_name = "NAME", default_value = Algorithm::default().as_str(), value_parser = algorithm())]
    pub algorithm: Algorithm,
    /// How the nodes wait for packets
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = poll_mode())]
    pub poll_mode: PollMode,
    /// Exchanges a second with each peer
    #[arg(long, value_name = "HZ", default_value_t = crate::limits::RATE_HZ_DEFAULT, value_parser = rate_hz)]
    pub rate: f64,
    /// Throw the clocks off as an earlier demo with this number did [default: anew each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Kill this node (1 is the first) with SIGKILL after a quarter of the time, and start it again one second later
    #[arg(long, value_name = "K", hide = true)]
    pub kill_restart: Option<u16>,
}

/// Options of `llts status`, `llts peers` and `llts tracking`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Print the JSON document (docs/schema tells its names)
    #[arg(long)]
    pub json: bool,
    /// Show it again and again, this often [default: 1s]
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s", value_parser = interval_ns)]
    pub watch: Option<i64>,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Options of `llts top`.
#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Ask the node this often
    #[arg(long, value_name = "INTERVAL", default_value = "1s", value_parser = interval_ns)]
    pub interval: i64,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Which node of this machine is asked.
#[derive(Args, Debug)]
pub(super) struct NodeArgs {
    /// The node's status socket [default: the only one in the runtime folder]
    #[arg(long, value_name = "PATH", conflicts_with = "runtime_dir")]
    pub socket: Option<PathBuf>,
    /// Folder to look for status sockets in [default: that of this user, then that of the system]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
}

/// Options of `llts doctor`.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Interfaces to look at, as eth0 or eth0,eth1 [default: all but loopback]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub iface: Vec<String>,
    /// Send five packets to this host over each of them and see who stamps them; stamps of cards are switched on for
    /// it and put back
    #[arg(long, value_name = "HOST[:PORT]")]
    pub peer: Option<String>,
    /// UDP port that a node would have [default: 4123]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `llts waitsync`.
#[derive(Args, Debug)]
pub(super) struct WaitsyncArgs {
    /// The bound to wait for
    #[arg(long, value_name = "SPAN", default_value = "1ms", value_parser = positive_span_ns)]
    pub bound: i64,
    /// For how long
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = positive_span_ns)]
    pub timeout: i64,
    /// Take the word of a node with a virtual clock too: its bound says nothing of the clock that programs read
    #[arg(long)]
    pub accept_virtual: bool,
    /// Wait for a daemon that is not running too, as while a machine boots
    #[arg(long)]
    pub wait_for_daemon: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Options of `llts release-clock`.
#[derive(Args, Debug)]
pub(super) struct ReleaseClockArgs {
    /// Where the node keeps the oscillator's drift [default: drift in the state folder]
    #[arg(long, value_name = "FILE")]
    pub drift_file: Option<PathBuf>,
    /// Folder for what is to survive a restart [default: /var/lib/llts for root, else the user's own]
    #[arg(long, value_name = "DIR", env = "LLTS_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Options of `llts check-config`.
#[derive(Args, Debug)]
pub(super) struct CheckConfigArgs {
    /// The file
    #[arg(default_value = layers::DEFAULT_FILE)]
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `llts completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Options of `llts keygen`.
#[derive(Args, Debug)]
pub(super) struct KeygenArgs {
    /// The number by which packets name the key
    #[arg(long, value_name = "N", default_value_t = KEY_ID_DEFAULT, value_parser = clap::value_parser!(u16).range(1..))]
    pub id: u16,
    /// Write it to a new file that only its owner can read [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Which clock to steer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ClockKind {
    /// A clock in memory.
    Virtual,
    /// The machine's own.
    System,
}

/// More faults than this cannot be tolerated by as many nodes as one node can know: n must be 3 f + 1.
const FAULTS_MAX: i64 = (PEERS_MAX / 3) as i64;
/// Nodes of a demo: more would show the machine's limits instead of the algorithm's.
const NODES_MAX: i64 = 32;

/// The description of the command line that is parsed by.
pub(super) fn command() -> clap::Command {
    let open = |command: clap::Command| command.mut_args(layers::open_flag);
    open(Llts::command().mut_subcommand("run", open))
}

/// Reads the words of a command line, the program's name first, standing in nothing.
///
/// # Errors
/// As [`read_around`].
#[cfg(test)]
pub(super) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    read_around(words, &Surroundings::default())
}

/// Reads the words of a command line, the program's name first, and for `run` what they stand in.
///
/// # Errors
/// [`Failure::Usage`] with one sentence; [`Failure::Told`] after help or version were printed.
pub(super) fn read_around(
    words: impl IntoIterator<Item = OsString>,
    around: &Surroundings,
) -> Result<Command, Failure> {
    let (command, words) = (command(), words.into_iter().collect::<Vec<_>>());
    let matches = command.clone().try_get_matches_from(&words).map_err(told)?;
    let Some(given) = run_matches(&matches) else {
        let llts = Llts::from_arg_matches(&matches).map_err(told)?;
        return Ok(llts.command.expect("it is another command than `run`"));
    };
    let run = command.find_subcommand("run").expect("it is described above");
    let (words, mut origin) = layers::complete(&words, given, run, around)?;
    let matches = command.clone().try_get_matches_from(words).map_err(told)?;
    origin.said = layers::values(run_matches(&matches).expect("options do not change the command"), run);
    let llts = Llts::from_arg_matches(&matches).map_err(told)?;
    match llts.command {
        None => Ok(Command::Run(Box::new(RunArgs { origin, ..llts.run }))),
        Some(Command::Run(args)) => Ok(Command::Run(Box::new(RunArgs { origin, ..*args }))),
        Some(other) => Ok(other),
    }
}

/// What was said to `run`, if it is `run` that was meant.
fn run_matches(matches: &ArgMatches) -> Option<&ArgMatches> {
    match matches.subcommand() {
        None => Some(matches),
        Some(("run", matches)) => Some(matches),
        Some(_) => None,
    }
}

/// A failure from what the parser says.
fn told(error: clap::Error) -> Failure {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            say(&error.to_string()).err().unwrap_or(Failure::Told)
        }
        _ => Failure::Usage(sentence(&error)),
    }
}

/// One sentence of the paragraphs that the parser would print.
pub(super) fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let first = first.join(" ");
    let mut sentence = first.strip_prefix("error: ").unwrap_or(&first).trim_end_matches('.').to_owned();
    if let Some(similar) = error.get(ContextKind::SuggestedArg).or_else(|| error.get(ContextKind::SuggestedSubcommand))
    {
        sentence += &format!(", did you mean '{}'?", similar.to_string().trim_matches('\''));
    } else if error.kind() != ErrorKind::ValueValidation {
        sentence += " (see `llts --help`)";
    }
    sentence
}

fn rate_hz(text: &str) -> Result<f64, String> {
    let hz: f64 = text.parse().map_err(|_| format!("{text:?} is no number of exchanges a second, like 8"))?;
    if (RATE_HZ_MIN..=RATE_HZ_MAX).contains(&hz) {
        Ok(hz)
    } else {
        Err(format!("{text} is outside of {RATE_HZ_MIN} to {RATE_HZ_MAX} exchanges a second"))
    }
}

/// How often something is shown: at least a millisecond, so that a slip does not keep a node from its work.
fn interval_ns(text: &str) -> Result<i64, String> {
    let span_ns = positive_span_ns(text)?;
    if span_ns >= 1_000_000 { Ok(span_ns) } else { Err(format!("{text} is too short: write an interval like 1s")) }
}

fn rounds() -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX))
}

fn role() -> impl TypedValueParser<Value = Role> {
    const ROLES: [Role; 3] = [Role::Peer, Role::Reference, Role::Observer];
    PossibleValuesParser::new(ROLES.map(Role::as_str)).map(|word| {
        ROLES.into_iter().find(|role| role.as_str() == word).expect("the parser lets only these words pass")
    })
}

pub(super) fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(ALGORITHMS.iter().map(|entry| PossibleValue::new(entry.name).help(entry.summary)))
        .map(|word| Algorithm::named(&word).expect("the parser lets only these words pass"))
}

fn timestamps() -> impl TypedValueParser<Value = Timestamps> {
    PossibleValuesParser::new(Timestamps::ALL.map(Timestamps::as_str)).map(|word| {
        Timestamps::ALL.into_iter().find(|t| t.as_str() == word).expect("the parser lets only these words pass")
    })
}

fn on_conflict() -> impl TypedValueParser<Value = OnConflict> {
    const ALL: [OnConflict; 2] = [OnConflict::Warn, OnConflict::Refuse];
    PossibleValuesParser::new(ALL.map(OnConflict::as_str))
        .map(|word| ALL.into_iter().find(|what| what.as_str() == word).expect("the parser lets only these words pass"))
}

fn poll_mode() -> impl TypedValueParser<Value = PollMode> {
    const MODES: [PollMode; 4] = [PollMode::Auto, PollMode::Busy, PollMode::Hybrid, PollMode::Block];
    PossibleValuesParser::new(MODES.map(PollMode::as_str)).map(|word| {
        MODES.into_iter().find(|mode| mode.as_str() == word).expect("the parser lets only these words pass")
    })
}

fn measurement_log() -> impl TypedValueParser<Value = MeasurementLog> {
    let word = |log: MeasurementLog| PossibleValue::new(log.as_str()).alias(log.chrony());
    PossibleValuesParser::new(MeasurementLog::ALL.map(word)).map(|word| {
        let named = |log: &MeasurementLog| [log.as_str(), log.chrony()].contains(&word.as_str());
        MeasurementLog::ALL.into_iter().find(named).expect("the parser lets only these words pass")
    })
}

fn measurement_format() -> impl TypedValueParser<Value = MeasurementFormat> {
    PossibleValuesParser::new(MeasurementFormat::ALL.map(MeasurementFormat::as_str)).map(|word| {
        MeasurementFormat::ALL.into_iter().find(|f| f.as_str() == word).expect("the parser lets only these words pass")
    })
}

pub(super) fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    const FORMS: [LogFormat; 4] = [LogFormat::Auto, LogFormat::Text, LogFormat::Journal, LogFormat::Json];
    PossibleValuesParser::new(FORMS.map(LogFormat::as_str)).map(|word| {
        FORMS.into_iter().find(|form| form.as_str() == word).expect("the parser lets only these words pass")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_args(line: &str) -> RunArgs {
        match read(line.split_whitespace().map(OsString::from)) {
            Ok(Command::Run(args)) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn fault(line: &str) -> String {
        match read(line.split_whitespace().map(OsString::from)) {
            Err(Failure::Usage(sentence)) => sentence,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_description_of_the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn bare_options_mean_run() {
        assert_eq!(run_args("llts --port 8080").port, Some(8080));
        assert_eq!(run_args("llts run --port 8080").port, Some(8080));
        assert_eq!(run_args("llts").port, None);
    }

    #[test]
    fn options_have_the_defaults_that_their_help_promises() {
        let args = run_args("llts run");
        assert_eq!((args.rate, args.rounds, args.role), (8.0, 32, Role::Peer));
        assert_eq!((args.cluster.as_str(), args.algorithm), ("default", Algorithm::default()));
        assert_eq!((args.clock, args.step_threshold), (ClockKind::Virtual, 100_000_000));
        assert_eq!((args.sched, args.poll_mode), (FifoPriority(None), PollMode::Auto));
        assert!(!args.no_step && args.on_conflict == OnConflict::Warn && args.drift_file.is_none());
    }

    #[test]
    fn negative_throws_and_repeated_peers_are_taken() {
        let args = run_args("llts --virtual-offset -10ms --virtual-drift -20ppm --peers a:1,b:2 --peers c:3");
        assert_eq!((args.virtual_offset, args.virtual_drift), (Some(-10_000_000), Some(-20e-6)));
        assert_eq!(args.peers, ["a:1,b:2", "c:3"]);
    }

    #[test]
    fn numbers_at_their_limits_pass_and_those_beyond_do_not() {
        for (option, good, bad) in [
            ("--slew-limit", "100000ppm", "100001ppm"),
            ("--slew-limit", "1ppb", "0"),
            ("--max-change", "1ns", "0"),
            ("--max-total", "none", "0s"),
            ("--rate", "0.01", "0.009"),
            ("--rate", "128", "128.1"),
            ("--rounds", "1", "0"),
            ("--rounds", "100", "101"),
            ("--port", "65535", "65536"),
            ("--port", "1", "0"),
            ("--faults", "42", "43"),
            ("--rate", "1", "nan"),
        ] {
            run_args(&format!("llts {option} {good}"));
            assert!(fault(&format!("llts {option} {bad}")).contains(option), "{option} {bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_one_line_that_names_the_word() {
        for (line, expected) in [
            ("llts --prot 1", "unexpected argument '--prot' found, did you mean '--port'?"),
            ("llts statsu", "did you mean 'status'?"),
            (
                "llts --role king",
                "invalid value 'king' for '--role <ROLE>' [possible values: peer, reference, observer]",
            ),
            ("llts --algorithm x", "invalid value 'x' for '--algorithm <NAME>' [possible values: rce"),
            ("llts --port", "a value is required for '--port <N>' but none was supplied"),
            ("llts --key-file a --hmac-key b", "cannot be used with"),
            ("llts --virtual-drift 20", "\"20\" is no rate: write a number and ppm or ppb, like 20ppm"),
            ("llts demo --nodes 1", "1 is not in 2..=32"),
        ] {
            let sentence = fault(line);
            assert!(sentence.contains(expected), "{line}: {sentence}");
            assert_eq!(sentence.lines().count(), 1, "{sentence}");
        }
    }
}
