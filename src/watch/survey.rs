//! All nodes side by side at one instant: each against the median, every two against each other. Arithmetic on finished
//! sightings; asks nobody.
//!
//! The median of an even number of nodes is the mean of the two in the middle. It costs a sort; the pairs furthest
//! apart are found among those furthest behind and furthest ahead, so that ten thousand nodes need no matrix.

use super::sighting::{Lead, Seen, Sighting};

/// Sightings of one instant, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    sightings: Vec<Sighting>,
    /// Places in `sightings` of the nodes that are compared, from the one furthest behind to the one furthest ahead.
    order: Vec<usize>,
}

/// Two nodes, named by their place in the survey, and how far apart they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The one that is ahead.
    pub ahead: usize,
    /// The one that is behind.
    pub behind: usize,
    /// How far, ns; not negative.
    pub skew_ns: f64,
    /// One standard deviation of the skew as measured, ns.
    pub sigma_ns: Option<f64>,
    /// The skew cannot be further from the truth than this, ns, if both are honest.
    pub bound_ns: Option<f64>,
}

impl Survey {
    /// Compares the sightings that are [`Seen::Live`]; the others only stand in the list. The order of the list stays.
    #[must_use]
    pub fn new(sightings: Vec<Sighting>) -> Self {
        let mut survey = Survey { sightings, order: Vec::new() };
        let mut order: Vec<usize> = (0..survey.sightings.len()).filter(|i| survey.live(*i).is_some()).collect();
        order.sort_by(|a, b| survey.lead(*a).order(survey.lead(*b)));
        survey.order = order;
        survey
    }

    /// Every node, compared or not.
    #[must_use]
    pub fn sightings(&self) -> &[Sighting] {
        &self.sightings
    }

    /// True if it is known of every node whether it is compared: nobody is waited for any longer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sightings.iter().all(|sighting| !matches!(sighting.seen, Seen::Unheard | Seen::Learning))
    }

    /// How many nodes are compared.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.order.len()
    }

    /// Node `index` minus the median of all that are compared, ns: positive means that it is ahead of the cluster.
    /// `None` if it is not compared.
    #[must_use]
    pub fn offset_ns(&self, index: usize) -> Option<f64> {
        let own = self.live(index)?;
        let n = self.order.len();
        let (low, high) = (self.lead(self.order[(n - 1) / 2]), self.lead(self.order[n / 2]));
        // Halved before they are added, so that each difference keeps the precision of small numbers.
        Some(own.minus_ns(low) / 2.0 + own.minus_ns(high) / 2.0)
    }

    /// Node `one` minus node `other`, ns: positive means that `one` is ahead. `None` unless both are compared.
    #[must_use]
    pub fn skew_ns(&self, one: usize, other: usize) -> Option<f64> {
        Some(self.live(one)?.minus_ns(self.live(other)?))
    }

    /// The two nodes furthest apart; `None` if fewer than two are compared.
    #[must_use]
    pub fn largest(&self) -> Option<Pair> {
        match self.order.as_slice() {
            [behind, .., ahead] => Some(self.pair(*ahead, *behind)),
            _ => None,
        }
    }

    /// The `most` pairs furthest apart, the largest skew first.
    #[must_use]
    pub fn furthest(&self, most: usize) -> Vec<Pair> {
        let n = self.order.len();
        // A pair with at least `most` nodes beyond either of its two is none of the furthest.
        let behind = 0..n.min(most);
        let places = behind.flat_map(|low| (n.saturating_sub(most).max(low + 1)..n).map(move |high| (low, high)));
        let mut pairs: Vec<Pair> = places.map(|(low, high)| self.pair(self.order[high], self.order[low])).collect();
        pairs.sort_by(|a, b| b.skew_ns.total_cmp(&a.skew_ns).then((a.ahead, a.behind).cmp(&(b.ahead, b.behind))));
        pairs.truncate(most);
        pairs
    }

    /// Row minus column of every two nodes in the order of the list, ns; `None` if there are more than `most`.
    #[must_use]
    pub fn matrix(&self, most: usize) -> Option<Vec<Vec<Option<f64>>>> {
        let n = self.sightings.len();
        (n <= most).then(|| (0..n).map(|row| (0..n).map(|column| self.skew_ns(row, column)).collect()).collect())
    }

    fn pair(&self, ahead: usize, behind: usize) -> Pair {
        let (a, b) = (&self.sightings[ahead], &self.sightings[behind]);
        Pair {
            ahead,
            behind,
            skew_ns: self.lead(ahead).minus_ns(self.lead(behind)),
            sigma_ns: a.sigma_ns.zip(b.sigma_ns).map(|(a, b)| a.hypot(b)),
            bound_ns: a.bound_ns.zip(b.bound_ns).map(|(a, b)| a + b),
        }
    }

    fn live(&self, index: usize) -> Option<Lead> {
        let sighting = self.sightings.get(index)?;
        sighting.lead.filter(|_| sighting.seen == Seen::Live)
    }

    fn lead(&self, index: usize) -> Lead {
        self.live(index).expect("only what is live is put in order")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::unit::NodeId;

    /// The time of nodes that started today.
    const TODAY_NS: i64 = 1_790_000_000_000_000_000;

    fn sighting(n: usize, lead: Lead) -> Sighting {
        let unheard = Sighting::unheard(NodeId(n as u64 + 1), format!("n{n}"), None);
        Sighting { seen: Seen::Live, lead: Some(lead), sigma_ns: Some(3.0), bound_ns: Some(50.0), ..unheard }
    }

    fn survey(base_ns: i64, leads_ns: &[f64]) -> Survey {
        Survey::new(leads_ns.iter().enumerate().map(|(n, lead)| sighting(n, Lead::new(base_ns, *lead))).collect())
    }

    #[test]
    fn an_offset_is_against_the_median_and_one_node_far_off_does_not_move_it() {
        let survey = survey(TODAY_NS, &[100.0, -20.0, 5e6, 40.0, 60.0]);
        let offsets: Vec<f64> = (0..5).map(|i| survey.offset_ns(i).unwrap()).collect();
        assert_eq!(offsets, [40.0, -80.0, 5e6 - 60.0, -20.0, 0.0]);
        let largest = survey.largest().unwrap();
        assert_eq!((largest.ahead, largest.behind, largest.skew_ns), (2, 1, 5e6 + 20.0));
        assert_eq!((largest.sigma_ns, largest.bound_ns), (Some(18f64.sqrt()), Some(100.0)));
    }

    #[test]
    fn of_two_nodes_each_is_half_their_skew_from_the_median() {
        let survey = survey(TODAY_NS, &[6e6, 0.0]);
        assert_eq!((survey.offset_ns(0), survey.offset_ns(1)), (Some(3e6), Some(-3e6)));
        assert_eq!((survey.skew_ns(0, 1), survey.skew_ns(1, 0)), (Some(6e6), Some(-6e6)));
    }

    #[test]
    fn only_live_nodes_are_compared_and_one_alone_is_no_pair() {
        let mut sightings: Vec<Sighting> = (0..5).map(|n| sighting(n, Lead::new(TODAY_NS, n as f64))).collect();
        for (place, seen) in [Seen::Unheard, Seen::Learning, Seen::Observer, Seen::Silent].into_iter().enumerate() {
            sightings[place + 1].seen = seen;
        }
        let survey = Survey::new(sightings);
        assert_eq!((survey.live_count(), survey.largest(), survey.furthest(9)), (1, None, vec![]));
        assert_eq!((survey.offset_ns(0), survey.offset_ns(1), survey.skew_ns(0, 4)), (Some(0.0), None, None));
        assert_eq!(Survey::new(Vec::new()).largest(), None);
        assert!(!survey.is_settled(), "two have not been measured yet");
    }

    #[test]
    fn the_matrix_is_given_up_to_its_limit_and_not_one_node_further() {
        let survey = survey(TODAY_NS, &[0.0, 1.0, 3.0]);
        assert_eq!(survey.matrix(2), None);
        let matrix = survey.matrix(3).unwrap();
        assert_eq!(matrix[2], [Some(3.0), Some(2.0), Some(0.0)]);
    }

    proptest! {
        #[test]
        fn the_skew_matrix_is_antisymmetric_and_adds_up(
            base_ns in any::<i64>(),
            leads_ns in proptest::collection::vec(-1e9..1e9f64, 1..12),
        ) {
            let survey = survey(base_ns / 2, &leads_ns);
            let skew = |i, j| survey.skew_ns(i, j).unwrap();
            for i in 0..leads_ns.len() {
                prop_assert_eq!(skew(i, i), 0.0);
                for j in 0..leads_ns.len() {
                    prop_assert_eq!(skew(i, j), -skew(j, i));
                    prop_assert!((skew(i, j) - (leads_ns[i] - leads_ns[j])).abs() < 1e-5);
                    let by_median = survey.offset_ns(i).unwrap() - survey.offset_ns(j).unwrap();
                    prop_assert!((skew(i, j) - by_median).abs() < 1e-5);
                    for k in 0..leads_ns.len() {
                        prop_assert!((skew(i, j) + skew(j, k) - skew(i, k)).abs() < 1e-5);
                    }
                }
            }
        }

        #[test]
        fn a_negated_world_gives_negated_offsets_and_the_same_pairs_turned_round(
            leads_ns in proptest::collection::vec(-1_000_000_000i64..1_000_000_000, 2..40),
        ) {
            // Distinct leads, so that the order of pairs is the same both ways.
            let leads_ns: Vec<f64> = leads_ns.iter().enumerate().map(|(n, l)| *l as f64 + n as f64 / 64.0).collect();
            let negated: Vec<f64> = leads_ns.iter().map(|l| -l).collect();
            let (plain, turned) = (survey(TODAY_NS, &leads_ns), survey(-TODAY_NS, &negated));
            for i in 0..leads_ns.len() {
                prop_assert_eq!(plain.offset_ns(i), turned.offset_ns(i).map(|o| -o));
            }
            let (one, other) = (plain.largest().unwrap(), turned.largest().unwrap());
            prop_assert_eq!((one.ahead, one.behind, one.skew_ns), (other.behind, other.ahead, other.skew_ns));
        }

        #[test]
        fn the_furthest_pairs_are_those_that_all_pairs_give(
            leads_ns in proptest::collection::vec(-1_000i32..1_000, 0..30),
            most in 1usize..14,
        ) {
            let leads_ns: Vec<f64> = leads_ns.into_iter().map(f64::from).collect();
            let survey = survey(TODAY_NS, &leads_ns);
            let n = leads_ns.len();
            let every = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
            let mut all: Vec<f64> = every.map(|(i, j)| (leads_ns[i] - leads_ns[j]).abs()).collect();
            all.sort_by(|a, b| b.total_cmp(a));
            all.truncate(most);
            let found: Vec<f64> = survey.furthest(most).iter().map(|p| p.skew_ns).collect();
            prop_assert_eq!(found, all);
        }

        #[test]
        fn what_the_watchers_own_clock_shows_changes_no_skew(
            shift_ns in -1_000_000_000_000_000i64..1_000_000_000_000_000,
            leads_ns in proptest::collection::vec(-1e9..1e9f64, 2..12),
        ) {
            let (here, there) = (survey(TODAY_NS, &leads_ns), survey(TODAY_NS + shift_ns, &leads_ns));
            for i in 0..leads_ns.len() {
                prop_assert_eq!(here.offset_ns(i), there.offset_ns(i));
                prop_assert_eq!(here.skew_ns(0, i), there.skew_ns(0, i));
            }
        }
    }
}
