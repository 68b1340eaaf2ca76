//! The daemon: three threads around the core. *hot* answers packets, *discipline* decides and steers, *control* does
//! everything slow. Between them one queue and single-writer snapshots, listed in docs/ARCHITECTURE.md. No arithmetic
//! on time is done here.

mod answers;
mod control;
mod discipline;
mod endpoint;
mod hot;
pub mod keyfile;
mod logging;
mod notes;
mod poll_mode;
mod reload;
mod ring;
mod service;
mod settings;
mod snapshot;
mod start;
mod status_socket;
mod tickets;

pub use reload::{Configuration, LIVE_OPTIONS, Reread};
pub use settings::{ClockChoice, KeySource, LogFormat, PollMode, Settings};
pub use start::{StartError, run, run_reloadable};
