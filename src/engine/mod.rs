//! The daemon: three threads around the core. *hot* answers packets, *discipline* decides and steers, *control* does
//! everything slow. Between them one queue and single-writer snapshots, listed in docs/ARCHITECTURE.md. No arithmetic
//! on time is done here. `watch` is the engine of those who only look: no pipeline, no clock, one thread.

mod answers;
mod control;
mod discipline;
mod endpoint;
mod hot;
mod keeper;
mod kept;
pub mod keyfile;
mod log_limit;
mod logging;
mod machine;
mod measuring;
mod notes;
mod outputs;
mod poll_mode;
mod preflight;
mod privileges;
mod recollection;
mod release;
mod reload;
mod ring;
pub mod saturn;
mod service;
mod settings;
mod snapshot;
mod stamping;
mod start;
mod status_socket;
mod tickets;
mod watch;

pub use discipline::DisciplineEnd;
pub use logging::begin as begin_logging;
pub use preflight::{Preflight, Refusal, preflight};
pub use release::{ReleasePlaces, release_clock};
pub use reload::{Configuration, LIVE_OPTIONS, Reread};
pub use settings::{ClockChoice, KeySource, LogFormat, Measurements, OnConflict, PollMode, Settings, Timestamps};
pub use start::{StartError, run, run_reloadable};
pub use watch::{Look, Watch, WatchSettings};
