//! What somebody else did to a clock that this node steers, as far as the clock shows it.

use std::fmt;

/// One finding. Times and rates are of the clock, positive = forward, fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interference {
    /// The clock stands elsewhere than the last command had let it go: set or slewed by this much, ns.
    Moved(i64),
    /// The kernel runs it at another rate than it was told (seconds per second).
    Rate {
        /// What the kernel does.
        found: f64,
        /// What it was told by this node.
        left: f64,
    },
    /// The kernel's own control loop (PLL or FLL), which this node keeps off, has been switched on or fed.
    Loop,
    /// The kernel says that the clock was set, and it stands where it was let go as far as that can be measured.
    Set,
}

impl fmt::Display for Interference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interference::Moved(ns) => write!(f, "somebody else moved the clock by {:+.6} s", *ns as f64 * 1e-9),
            Interference::Rate { found, left } => write!(
                f,
                "somebody else set the clock's frequency to {:+.3} ppm (it was {:+.3} ppm)",
                found * 1e6,
                left * 1e6
            ),
            Interference::Set => f.write_str("somebody else set the clock, by less than can be measured"),
            Interference::Loop => f.write_str("somebody else switched the kernel's own clock discipline on"),
        }
    }
}
