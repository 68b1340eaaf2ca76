//! The sans-IO protocol: datagrams, transmit stamps and time go in; datagrams and finished exchanges come out. Time and
//! randomness are arguments. No socket, clock, thread or log, and nothing is allocated after construction.
//!
//! An exchange has up to four packets, each kind answered only by the next: *probe* asks, *reply* answers at once,
//! *report* gives the responder the asker's stamps, *follow* gives the asker the reply's true departure. After it both
//! ends own the same four stamps. A packet lost on the way costs that exchange and nothing else: the true departure of
//! a packet also travels in whatever is sent to that peer next.

mod bucket;
mod counters;
mod peer;
mod pending;
mod protocol;
mod roster;
mod schedule;

pub use counters::{Counters, Tally};
pub use protocol::{Config, Outgoing, Protocol};
pub use roster::Roster;

#[cfg(test)]
mod testnet;
#[cfg(test)]
mod tests;
