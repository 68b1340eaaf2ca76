//! The daemon: three threads around the core. *hot* answers packets, *discipline* decides and steers, *control* does
//! everything slow. Between them one queue and single-writer snapshots, listed in docs/ARCHITECTURE.md. No arithmetic
//! on time is done here.

mod answers;
mod control;
mod discipline;
mod hot;
mod keeper;
mod kept;
pub mod keyfile;
mod logging;
mod machine;
mod notes;
mod poll_mode;
mod ring;
mod rivals;
mod settings;
mod snapshot;
mod start;
mod status_socket;
mod tickets;

pub use settings::{ClockChoice, KeySource, OnConflict, PollMode, Settings};
pub use start::{StartError, run};
