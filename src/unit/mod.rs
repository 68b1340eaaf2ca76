//! Numbers with meaning: points in time by scale, identities, rates. No I/O, and no float ever holds an absolute time
//! (an `f64` of 1e18 ns steps by 128 ns).

mod id;
mod rate;
mod time;

pub use id::{BootId, ClusterId, KeyId, Name, NodeId, PeerSlot};
pub use rate::{PPB, PPM, rate_from_ppb, rate_from_ppm, rate_to_ppb, rate_to_ppm};
pub use time::{Clock, ClockTime, Raw, RawTime, Real, RealTime, Time, Virtual, VirtualTime};
