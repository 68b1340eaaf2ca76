//! What is known of a peer's raw clock against one's own.

use super::StampClass;
use crate::unit::RawTime;

/// A closed interval in nanoseconds, relative to the relation's `base_ns`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Lower end.
    pub low_ns: f64,
    /// Upper end.
    pub high_ns: f64,
}

/// Peer's raw time minus own raw time, at the own raw time `at`: an estimate with its covariance, and beside it the
/// hard interval, which assumes only that no packet is faster than light through the network it takes. The two are
/// never mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relation {
    /// Own raw time at which everything below holds.
    pub at: RawTime,
    /// Whole part of peer minus self, ns; fixed for the life of the edge.
    pub base_ns: i64,
    /// Rest of peer minus self, ns: the relation is `base_ns + offset_ns`.
    pub offset_ns: f64,
    /// How much faster the peer's raw clock runs (seconds per second).
    pub rate: f64,
    /// Variance of the offset, ns².
    pub offset_var: f64,
    /// Covariance of offset and rate, ns.
    pub offset_rate_cov: f64,
    /// Variance of the rate.
    pub rate_var: f64,
    /// Variance of one exchange's own measurement at its best, ns².
    pub noise_var: f64,
    /// Variance of one filtered edge as the fusion should see it (the boosted filter's variance times its boost), ns².
    pub edge_var: f64,
    /// The same for the rate.
    pub edge_rate_var: f64,
    /// The hard interval for the offset, aged to `at`.
    pub hard: Span,
    /// Smallest round trip seen lately, ns.
    pub delay_ns: f64,
    /// Weakest stamp of the newest exchange.
    pub class: StampClass,
    /// Exchanges behind this estimate since the edge was last reset.
    pub samples: u32,
}
