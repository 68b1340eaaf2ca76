//! llts, Low-Latency Time Sync: keeps the clocks of a cluster in agreement, peer to peer, and says how wrong it can be.
//!
//! This page is the map and holds no code. The rooms stand in the order in which a packet meets them; which room may
//! import which is the table of docs/ARCHITECTURE.md, and tests/tidy.rs holds it.

pub mod limits;

// The vocabulary.
pub mod flow;
pub mod unit;

// The core: no clock, socket, thread, log or randomness of its own.
pub mod exchange;
pub mod wire;

// The older program's protocol, beside the native one.
pub mod saturn;

pub mod consensus;
pub mod filter;
pub mod pipeline;
pub mod steering;
pub mod watch;

// The world.
pub mod clock;
pub mod discovery;
pub mod doctor;
pub mod engine;
pub mod report;
pub mod sys;

// The other world: the same core, simulated.
pub mod sim;

// The words.
pub mod cli;
