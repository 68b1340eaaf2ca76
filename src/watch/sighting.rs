//! One node at one instant, as far as it is known. Data only; a sighting is made anew for every survey.

use std::cmp::Ordering;
use std::net::SocketAddr;

use crate::unit::NodeId;

/// A node's time minus a scale that all sightings of one survey share, kept as whole nanoseconds and a fraction in
/// [0, 1), because no float holds the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lead {
    whole_ns: i64,
    frac_ns: f64,
}

impl Lead {
    /// `whole_ns` and `rest_ns` together; the rest may have any sign and size. A rest that is no number counts as none:
    /// outside data never panics.
    #[must_use]
    pub fn new(whole_ns: i64, rest_ns: f64) -> Self {
        let rest_ns = if rest_ns.is_finite() { rest_ns } else { 0.0 };
        let floor_ns = rest_ns.floor();
        Lead { whole_ns: whole_ns.wrapping_add(floor_ns as i64), frac_ns: rest_ns - floor_ns }
    }

    /// `self` minus `other`, ns: positive if `self` is ahead. Exactly the negative of the opposite question.
    #[must_use]
    pub fn minus_ns(self, other: Lead) -> f64 {
        (i128::from(self.whole_ns) - i128::from(other.whole_ns)) as f64 + (self.frac_ns - other.frac_ns)
    }

    /// From the one furthest behind to the one furthest ahead.
    #[must_use]
    pub fn order(self, other: Lead) -> Ordering {
        self.whole_ns.cmp(&other.whole_ns).then(self.frac_ns.total_cmp(&other.frac_ns))
    }
}

/// How well a node is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Seen {
    /// No sealed answer has come from there yet.
    #[default]
    Unheard,
    /// It answers, and has not been measured often enough to be compared.
    Learning,
    /// It is measured now; only such nodes are compared.
    Live,
    /// It only looks on itself: its time is nobody's.
    Observer,
    /// It has not answered for a while; what is told of it is old.
    Silent,
}

impl Seen {
    /// The word of the table and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Seen::Unheard => "unheard",
            Seen::Learning => "learning",
            Seen::Live => "live",
            Seen::Observer => "observer",
            Seen::Silent => "silent",
        }
    }
}

/// One node at one instant. What is not known is `None`, never zero and never infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// By what it is told from others and found again in the next survey.
    pub node: NodeId,
    /// What it calls itself; before it has answered, what the user called it.
    pub name: String,
    /// Where it is asked.
    pub address: Option<SocketAddr>,
    /// How well it is seen.
    pub seen: Seen,
    /// How far it says it has come (`unset`, `acquire`, `track`, `holdover`), or, as another node sees it, what that
    /// node makes of it (`used`, `outlier` and so on).
    pub state: Option<String>,
    /// The part it plays: `peer`, `reference` or `observer`.
    pub role: Option<String>,
    /// Its time on the survey's common scale.
    pub lead: Option<Lead>,
    /// One standard deviation of the lead as measured, ns: an estimate.
    pub sigma_ns: Option<f64>,
    /// The lead cannot be further from the truth than this, ns, if the node is honest: a promise.
    pub bound_ns: Option<f64>,
    /// Shortest round trip of late, ns.
    pub delay_ns: Option<f64>,
    /// The standard deviation that the node claims of its own clock against its cluster, ns.
    pub claimed_sigma_ns: Option<f64>,
    /// The bound that it claims, ns.
    pub claimed_bound_ns: Option<f64>,
    /// The weakest of the stamps behind the newest exchange: `user`, `kernel` or `nic`.
    pub stamps: Option<String>,
    /// Exchanges behind the lead.
    pub exchanges: Option<u32>,
    /// Time since the newest exchange, ns.
    pub age_ns: Option<i64>,
}

impl Sighting {
    /// A node of which no more is known than what it is called and where it should be.
    #[must_use]
    pub fn unheard(node: NodeId, name: String, address: Option<SocketAddr>) -> Self {
        Sighting {
            node,
            name,
            address,
            seen: Seen::Unheard,
            state: None,
            role: None,
            lead: None,
            sigma_ns: None,
            bound_ns: None,
            delay_ns: None,
            claimed_sigma_ns: None,
            claimed_bound_ns: None,
            stamps: None,
            exchanges: None,
            age_ns: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_of_today_keep_their_fraction_of_a_nanosecond() {
        let today = 1_790_000_000_000_000_000;
        let (a, b) = (Lead::new(today, 1.75), Lead::new(today - 3, -0.5));
        assert_eq!(a.minus_ns(b), 5.25);
        assert_eq!(b.minus_ns(a), -5.25);
        assert_eq!((a.order(b), b.order(a), a.order(a)), (Ordering::Greater, Ordering::Less, Ordering::Equal));
    }

    #[test]
    fn the_ends_of_the_scale_and_numbers_that_are_none_do_not_panic() {
        let (low, high) = (Lead::new(i64::MIN, 0.0), Lead::new(i64::MAX, f64::NAN));
        assert_eq!(high.minus_ns(low), -low.minus_ns(high));
        let _wrapped = Lead::new(i64::MAX, 1e30).minus_ns(Lead::new(i64::MIN, f64::NEG_INFINITY));
    }
}
