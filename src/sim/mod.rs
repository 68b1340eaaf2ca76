//! The simulator: a second engine around the same `exchange` and `pipeline` that the daemon runs, in virtual time,
//! decided by one seed. It imports nothing of the real world (no socket, no clock, no thread of its own but rayon's
//! over seeds) and holds no algorithm: what it measures is the core itself. docs/SIMULATION.md says how to write a
//! scenario.
//!
//! In the order of causes: [`world`] time and its events; [`oscillator`], [`clock`], [`stamp`], [`card`], [`law`],
//! [`link`] the physics; [`node`] one daemon; [`topology`], [`fault`], [`liar`] what is done to many; [`cluster`] the
//! engine; [`scenario`], [`parts`], [`bounds`] what is written down, [`place`] where, [`check`] whether it may be;
//! [`score`], [`limit`] with the [`information`] of laws, [`run`], [`compare`], [`plot`] and the [`mod@line`] that a
//! course follows, what comes out. [`replay`] stands apart: it feeds the recorded exchanges of a real node through the
//! same pipeline.

pub mod bounds;
pub mod card;
mod catalogue;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod compare;
pub mod fault;
pub mod information;
pub mod law;
pub mod liar;
pub mod limit;
pub mod line;
pub mod link;
pub mod node;
pub mod oscillator;
pub mod parts;
pub mod place;
pub mod plot;
pub mod quantity;
pub mod random;
pub mod replay;
pub mod run;
pub mod scenario;
pub mod score;
pub mod stamp;
pub mod topology;
pub mod world;
