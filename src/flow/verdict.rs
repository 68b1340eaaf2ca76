//! What the consensus decided: how this node's mapping should move.

/// One decision of a consensus algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Verdict {
    /// Make V this much later, ns.
    pub phase_ns: f64,
    /// Make V run this much faster (seconds per second).
    pub rate: f64,
    /// One standard deviation of the fused phase, ns.
    pub sigma_ns: f64,
    /// Peers whose word counted (self not counted).
    pub used: u16,
    /// Bit `k` set: the `k`-th peer of the view was left out as an outlier.
    pub rejected: u128,
    /// Some stand out that can neither be left out nor agreed with: this is no agreement yet.
    pub parted: bool,
}
