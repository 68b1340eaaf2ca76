//! Looking on: how far apart the nodes of a cluster are, and when that is too far. From the same exchanges that a node
//! steers by, `board` keeps what is known of each node's time; a `survey` puts all of them side by side at one instant;
//! `alarm` says when a threshold is crossed. Sans-IO like the rest of the core, and it steers nothing.
//!
//! The watcher's own clock drops out: every node's time is expressed against the watcher's oscillator *at one and the
//! same instant of it*, and only differences of two nodes are ever told. A node's *offset* is its time minus the median
//! of all nodes that are heard: positive means that the node is ahead of the cluster. A *skew* is one node minus
//! another: positive means that the first is ahead.
//!
//! A node's time here is V, the cluster time that it publishes in every packet. Its delivered clock follows V; how far
//! that may still lag is part of the sigma which the node claims for itself.

mod alarm;
mod board;
mod sighting;
mod survey;

pub use alarm::{Alarms, Change, News, Subject};
pub use board::Board;
pub use sighting::{Lead, Seen, Sighting};
pub use survey::{Pair, Survey};
