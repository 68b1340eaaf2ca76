//! When a threshold is crossed, in either direction: once for each crossing, with hysteresis, so that a value which
//! hovers about the threshold makes no noise. Judges two kinds of subjects: the cluster by its largest skew, and each
//! node by its offset from the median. Tells nobody; that is for whoever asked.
//!
//! A subject that cannot be judged (a silent node, fewer than two live ones) stays what it was: no news is no recovery.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::survey::Survey;
use crate::unit::NodeId;

/// A raised alarm ends when the value is below this part of its threshold.
const CLEARED_BELOW: f64 = 0.8;

/// In which direction a threshold was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The value is above the threshold now.
    Raised,
    /// It is well below it again.
    Cleared,
}

impl Change {
    /// The word of hooks and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Change::Raised => "raised",
            Change::Cleared => "cleared",
        }
    }
}

/// What is too far off, or is no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The largest skew of any two nodes.
    Cluster,
    /// One node's offset from the median.
    Node,
}

impl Subject {
    /// The word of hooks and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Subject::Cluster => "cluster",
            Subject::Node => "node",
        }
    }
}

/// One crossing.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// In which direction.
    pub change: Change,
    /// What of.
    pub subject: Subject,
    /// The node; of the cluster, the one that is furthest ahead.
    pub node: String,
    /// Where it is.
    pub address: Option<SocketAddr>,
    /// Of the cluster, the node that is furthest behind.
    pub other: Option<String>,
    /// Where that is.
    pub other_address: Option<SocketAddr>,
    /// The node's offset from the median (positive: ahead), or the largest skew, ns.
    pub value_ns: f64,
    /// One standard deviation of the value as measured, ns.
    pub sigma_ns: Option<f64>,
    /// The value cannot be further from the truth than this, ns, if the nodes are honest.
    pub bound_ns: Option<f64>,
    /// The threshold, ns.
    pub threshold_ns: f64,
}

/// What has been raised and not cleared.
#[derive(Clone, Debug)]
pub struct Alarms {
    threshold_ns: f64,
    cluster: bool,
    nodes: BTreeMap<NodeId, bool>,
}

impl Alarms {
    /// Nothing raised yet.
    ///
    /// # Panics
    /// If the threshold is no positive number.
    #[must_use]
    pub fn new(threshold_ns: f64) -> Self {
        assert!(threshold_ns > 0.0 && threshold_ns.is_finite(), "a threshold is a positive span");
        Alarms { threshold_ns, cluster: false, nodes: BTreeMap::new() }
    }

    /// The threshold, ns.
    #[must_use]
    pub fn threshold_ns(&self) -> f64 {
        self.threshold_ns
    }

    /// True while the largest skew is raised.
    #[must_use]
    pub fn cluster_raised(&self) -> bool {
        self.cluster
    }

    /// True while this node's offset is raised.
    #[must_use]
    pub fn node_raised(&self, node: NodeId) -> bool {
        self.nodes.get(&node).copied().unwrap_or(false)
    }

    /// What has changed with this survey: the cluster first, because it is one piece of news however many nodes there
    /// are.
    pub fn judge(&mut self, survey: &Survey) -> Vec<News> {
        let threshold_ns = self.threshold_ns;
        let mut news = Vec::new();
        if let Some(pair) = survey.largest()
            && let Some(change) = crossing(&mut self.cluster, pair.skew_ns, threshold_ns)
        {
            let (ahead, behind) = (&survey.sightings()[pair.ahead], &survey.sightings()[pair.behind]);
            news.push(News {
                change,
                subject: Subject::Cluster,
                node: ahead.name.clone(),
                address: ahead.address,
                other: Some(behind.name.clone()),
                other_address: behind.address,
                value_ns: pair.skew_ns,
                sigma_ns: pair.sigma_ns,
                bound_ns: pair.bound_ns,
                threshold_ns,
            });
        }
        // Who is no longer watched is forgotten: the table does not grow with those who came and went.
        let mut before = std::mem::take(&mut self.nodes);
        for (index, sighting) in survey.sightings().iter().enumerate() {
            let mut raised = before.remove(&sighting.node).unwrap_or(false);
            let offset_ns = survey.offset_ns(index);
            let change = offset_ns.and_then(|offset_ns| crossing(&mut raised, offset_ns, threshold_ns));
            self.nodes.insert(sighting.node, raised);
            let Some((change, value_ns)) = change.zip(offset_ns) else { continue };
            news.push(News {
                change,
                subject: Subject::Node,
                node: sighting.name.clone(),
                address: sighting.address,
                other: None,
                other_address: None,
                value_ns,
                sigma_ns: sighting.sigma_ns,
                bound_ns: sighting.bound_ns,
                threshold_ns,
            });
        }
        news
    }
}

/// Moves `raised` to where `value_ns` belongs; says so if that is a change.
fn crossing(raised: &mut bool, value_ns: f64, threshold_ns: f64) -> Option<Change> {
    let over = value_ns.abs() > threshold_ns;
    let well_below = value_ns.abs() < CLEARED_BELOW * threshold_ns;
    match *raised {
        false if over => {
            *raised = true;
            Some(Change::Raised)
        }
        true if well_below => {
            *raised = false;
            Some(Change::Cleared)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::watch::{Lead, Seen, Sighting};

    fn survey(leads_ns: &[(Seen, f64)]) -> Survey {
        let sighting = |(n, (seen, lead_ns)): (usize, &(Seen, f64))| Sighting {
            seen: *seen,
            lead: Some(Lead::new(0, *lead_ns)),
            ..Sighting::unheard(NodeId(n as u64 + 1), format!("n{n}"), None)
        };
        Survey::new(leads_ns.iter().enumerate().map(sighting).collect())
    }

    fn live(leads_ns: &[f64]) -> Survey {
        survey(&leads_ns.iter().map(|lead| (Seen::Live, *lead)).collect::<Vec<_>>())
    }

    fn told(news: &[News]) -> Vec<(Change, Subject, &str, f64)> {
        news.iter().map(|n| (n.change, n.subject, n.node.as_str(), n.value_ns)).collect()
    }

    #[test]
    fn a_crossing_is_told_once_and_its_end_once() {
        use Change::{Cleared, Raised};
        use Subject::{Cluster, Node};
        let mut alarms = Alarms::new(100.0);
        assert_eq!(told(&alarms.judge(&live(&[0.0, 0.0, 100.0]))), [], "at the threshold is not above it");
        let news = alarms.judge(&live(&[0.0, 0.0, 101.0]));
        assert_eq!(told(&news), [(Raised, Cluster, "n2", 101.0), (Raised, Node, "n2", 101.0)]);
        assert_eq!(news[0].other.as_deref(), Some("n0"));
        assert!(alarms.cluster_raised() && alarms.node_raised(NodeId(3)) && !alarms.node_raised(NodeId(1)));
        for hovering in [99.0, 120.0, 81.0, 80.0] {
            assert_eq!(told(&alarms.judge(&live(&[0.0, 0.0, hovering]))), [], "{hovering}");
        }
        let news = alarms.judge(&live(&[0.0, 0.0, 79.0]));
        assert_eq!(told(&news), [(Cleared, Cluster, "n2", 79.0), (Cleared, Node, "n2", 79.0)]);
        assert!(!alarms.cluster_raised() && !alarms.node_raised(NodeId(3)));
    }

    #[test]
    fn a_node_that_is_behind_is_as_far_off_as_one_that_is_ahead() {
        let mut alarms = Alarms::new(100.0);
        let news = alarms.judge(&live(&[0.0, 0.0, -101.0]));
        assert_eq!(news.iter().map(|n| n.value_ns).collect::<Vec<_>>(), [101.0, -101.0]);
    }

    #[test]
    fn silence_is_no_recovery_and_no_alarm() {
        let mut alarms = Alarms::new(100.0);
        assert_eq!(alarms.judge(&live(&[0.0, 0.0, 500.0])).len(), 2);
        let silent = survey(&[(Seen::Live, 0.0), (Seen::Silent, 0.0), (Seen::Silent, 500.0)]);
        assert_eq!(told(&alarms.judge(&silent)), []);
        assert!(alarms.node_raised(NodeId(3)) && alarms.cluster_raised());
        assert_eq!(told(&alarms.judge(&live(&[0.0, 0.0]))).len(), 1, "two nodes agree: the cluster does");
        assert!(!alarms.node_raised(NodeId(3)), "it is no longer watched");
    }

    proptest! {
        #[test]
        fn however_a_value_moves_raised_and_cleared_take_turns(
            values in proptest::collection::vec(0.0..200.0f64, 1..60),
        ) {
            let mut alarms = Alarms::new(100.0);
            let mut last = Change::Cleared;
            for value in values {
                for news in alarms.judge(&live(&[0.0, value])).into_iter().filter(|n| n.subject == Subject::Cluster) {
                    prop_assert_ne!(news.change, last);
                    let where_it_belongs = if news.change == Change::Raised { value > 100.0 } else { value < 80.0 };
                    prop_assert!(where_it_belongs);
                    last = news.change;
                }
            }
        }

        #[test]
        fn a_negated_world_raises_the_same_nodes_with_negated_offsets(
            leads_ns in proptest::collection::vec(-300i32..300, 1..12),
        ) {
            let leads_ns: Vec<f64> = leads_ns.into_iter().map(f64::from).collect();
            let negated: Vec<f64> = leads_ns.iter().map(|l| -l).collect();
            let of_nodes = |leads: &[f64]| -> Vec<(String, f64)> {
                let news = Alarms::new(100.0).judge(&live(leads));
                news.into_iter().filter(|n| n.subject == Subject::Node).map(|n| (n.node, n.value_ns)).collect()
            };
            let turned: Vec<_> = of_nodes(&negated).into_iter().map(|(node, value)| (node, -value)).collect();
            prop_assert_eq!(of_nodes(&leads_ns), turned);
        }
    }
}
