//! How many liars are tolerated: by how many members there are and, unless the operator says it, by whether they all
//! hear one another. Counts heads; knows nobody's time.

use crate::flow::Claim;
use crate::unit::{NodeId, RawTime};

/// A smaller number of members lowers the number of tolerated liars only after this: liars may have silenced the rest.
const FAULTS_HOLD_NS: i64 = 10_000_000_000;
/// Members for each liar where all hear one another (Lynch and Welch's 3f + 1)...
const MESH: usize = 3;
/// ... and where they do not. Trimming f values on each side needs a graph in which any two groups hear each other over
/// more than 2f links (LeBlanc et al., r-robustness); random graphs of degree 4 with f = 1 fell into groups that stayed
/// apart for good, of degree 6 and more with this they did not.
const SPARSE: usize = 6;

/// Who a node hears, itself included, as one number: the same at all nodes of a mesh, another at nearly every node of
/// anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Circle(u64);

impl Circle {
    /// With one member more. Node identities are hashes already.
    pub(super) fn with(self, node: NodeId) -> Self {
        Circle(self.0 ^ node.0)
    }

    /// As it stands in a claim, where zero says nothing.
    pub(super) fn to_claim(self) -> u64 {
        self.0.max(1)
    }

    /// Whether the claim is that of a node that hears the same, or says nothing of it.
    pub(super) fn is_of(self, claim: &Claim) -> bool {
        claim.circle == 0 || claim.circle == self.to_claim()
    }
}

/// Those who may vote, by what they hear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    /// All, this node included if it is one of them.
    pub members: usize,
    /// Of these, who hear the same as this node.
    pub alike: usize,
}

/// The number of tolerated liars, and what it is based on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    faults: usize,
    fewer_since: Option<RawTime>,
    /// It is known whether all hear one another.
    known: bool,
    sparse: bool,
    unlike_since: Option<RawTime>,
    /// Others notice who comes and goes up to this much later, ns.
    patience_ns: i64,
}

impl Budget {
    /// Before anybody has been heard; a peer that is silent for `silence_ns` has left.
    pub(super) fn new(silence_ns: i64) -> Self {
        let patience_ns = silence_ns.saturating_add(1_000_000_000);
        Budget { faults: 0, fewer_since: None, known: false, sparse: false, unlike_since: None, patience_ns }
    }

    /// Liars to tolerate.
    pub(super) fn faults(&self) -> usize {
        self.faults
    }

    /// The members are known not to hear one another all.
    pub(super) fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// Peers that a promise may leave out as liars: none until it is known that the others are covered by those who are
    /// not left out.
    pub(super) fn faults_of_promise(&self) -> usize {
        if self.known { self.faults } else { 0 }
    }

    /// Counts anew. False if there are too few for the number `configured`.
    pub(super) fn count(&mut self, configured: Option<u16>, led: bool, heads: Heads, now: RawTime) -> bool {
        let Heads { members, alike } = heads;
        if let Some(faults) = configured.filter(|_| !led) {
            (self.faults, self.known) = (usize::from(faults), true);
            return members > 2 * self.faults;
        }
        // As many as may lie say anything. Where links are few hardly two nodes hear the same.
        let mut fell_apart = false;
        if led || MESH * alike > members {
            (self.known, self.sparse, self.unlike_since) = (true, false, None);
        } else if now.since(*self.unlike_since.get_or_insert(now)) >= self.patience_ns {
            fell_apart = !self.sparse;
            (self.known, self.sparse) = (true, true);
        }
        let allowed = members.saturating_sub(1) / if self.sparse { SPARSE } else { MESH };
        let held = !led && allowed < self.faults && !fell_apart;
        if !held || now.since(*self.fewer_since.get_or_insert(now)) >= FAULTS_HOLD_NS {
            self.faults = allowed;
            self.fewer_since = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(budget: &mut Budget, seconds: i64, members: usize, alike: usize) -> usize {
        let now = RawTime::from_nanos(seconds * 1_000_000_000);
        assert!(budget.count(None, false, Heads { members, alike }, now));
        budget.faults()
    }

    #[test]
    fn a_mesh_tolerates_a_third_and_promises_so_at_once() {
        let mut budget = Budget::new(2_000_000_000);
        assert_eq!(after(&mut budget, 0, 10, 4), 3);
        assert_eq!(budget.faults_of_promise(), 3);
    }

    #[test]
    fn where_members_do_not_hear_one_another_fewer_are_tolerated_once_that_is_sure() {
        let mut budget = Budget::new(2_000_000_000);
        assert_eq!((after(&mut budget, 0, 5, 1), budget.faults_of_promise()), (1, 0));
        assert_eq!((after(&mut budget, 2, 5, 1), budget.faults_of_promise()), (1, 0));
        assert_eq!((after(&mut budget, 3, 5, 1), budget.faults_of_promise()), (0, 0));
        assert_eq!(after(&mut budget, 4, 9, 1), 1);
        assert_eq!(after(&mut budget, 5, 9, 9), 2, "it is a mesh after all");
    }

    #[test]
    fn who_comes_and_goes_is_no_sparse_graph() {
        let mut budget = Budget::new(2_000_000_000);
        for second in 0..20 {
            let alike = if second % 3 == 0 { 10 } else { 1 };
            assert_eq!(after(&mut budget, second, 10, alike), 3);
        }
    }

    #[test]
    fn fewer_members_lower_the_number_only_after_a_while() {
        let mut budget = Budget::new(2_000_000_000);
        assert_eq!(after(&mut budget, 0, 10, 10), 3);
        assert_eq!(after(&mut budget, 1, 4, 4), 3);
        assert_eq!(after(&mut budget, 12, 4, 4), 1);
    }

    #[test]
    fn the_same_members_are_the_same_circle_in_any_order() {
        let of = |nodes: [u64; 3]| nodes.into_iter().map(NodeId).fold(Circle::default(), Circle::with);
        assert_eq!(of([7, 11, 13]), of([13, 7, 11]));
        assert_ne!(of([7, 11, 13]), of([7, 11, 17]));
        assert_ne!(Circle::default().to_claim(), 0);
    }
}
