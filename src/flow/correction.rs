//! What is asked of a clock, and what a clock says.

use crate::unit::{ClockTime, RawTime};

/// The delivered clock and the raw oscillator read at one instant. Always measured, never computed from what was
/// commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The raw oscillator.
    pub raw: RawTime,
    /// The delivered clock.
    pub clock: ClockTime,
}

/// One command to the delivered clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correction {
    /// Let the clock run this much faster than raw from now on (seconds per second).
    pub rate: f64,
    /// First move the clock this much forward, ns; zero except at start.
    pub step_ns: i64,
    /// One standard deviation of the clock against the cluster, ns, for the kernel's `esterror`.
    pub sigma_ns: f64,
    /// The bound on the clock's error, ns, for the kernel's `maxerror`.
    pub bound_ns: f64,
    /// False while the clock must not be called synchronised.
    pub synchronised: bool,
}
