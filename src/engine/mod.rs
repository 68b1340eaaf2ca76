//! The engine room: the shell around the core. What it is told stands in `settings`, where its keys come from in `keyfile`.

pub mod keyfile;
mod settings;

pub use settings::{ClockChoice, KeySource, PollMode, Settings};

/// Runs a node until a signal ends it.
///
/// # Errors
/// What keeps the node from starting or from going on, as one sentence.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    anyhow::bail!("the engine is not part of this build, so {} cannot run", settings.name)
}
