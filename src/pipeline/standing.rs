//! Why a peer counts or does not: one word and one reason for every peer, decided in one place. Looks at what peers say
//! of themselves and at how well they have been heard, never at how far off they are: that is the consensus' business.

use crate::flow::{Claim, NodeState, Role};

/// Where a peer stands with this node at this tick. Every peer that does not count says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Standing {
    /// Its word counts.
    Used,
    /// No exchange with it has been completed.
    #[default]
    NoSamples,
    /// Its last exchange is too long ago.
    Silent,
    /// Too few exchanges to be let into an agreement that already holds.
    Learning,
    /// It has agreed with nobody yet, or is joining and asks for no weight.
    Joining,
    /// It is still closing in on its peers, and there are enough that have.
    Acquiring,
    /// It lost those it agreed with and free-runs.
    Coasting,
    /// It is an observer.
    Observer,
    /// References are alive and lead; peers' words do not count.
    Led,
    /// This node is a reference and follows nobody.
    Unneeded,
    /// Too few members are here to tolerate as many liars as configured.
    NoQuorum,
    /// What it says, or what its clock does, cannot be.
    Absurd,
    /// Its time lies outside what the others agree on.
    Outlier,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 13] = [
        Standing::Used,
        Standing::NoSamples,
        Standing::Silent,
        Standing::Learning,
        Standing::Joining,
        Standing::Acquiring,
        Standing::Coasting,
        Standing::Observer,
        Standing::Led,
        Standing::Unneeded,
        Standing::NoQuorum,
        Standing::Absurd,
        Standing::Outlier,
    ];

    /// The word of status and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Used => "used",
            Standing::NoSamples => "no-samples",
            Standing::Silent => "silent",
            Standing::Learning => "learning",
            Standing::Joining => "joining",
            Standing::Acquiring => "acquiring",
            Standing::Coasting => "coasting",
            Standing::Observer => "observer",
            Standing::Led => "led",
            Standing::Unneeded => "unneeded",
            Standing::NoQuorum => "no-quorum",
            Standing::Absurd => "absurd",
            Standing::Outlier => "outlier",
        }
    }

    /// The reason, for people.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Standing::Used => "its time counts",
            Standing::NoSamples => "no exchange with it has been completed yet",
            Standing::Silent => "it has not answered for a while",
            Standing::Learning => "its clock is not known well enough yet to join an agreement that holds",
            Standing::Joining => "it is joining and asks for no weight yet",
            Standing::Acquiring => "it is still closing in, and enough others already agree",
            Standing::Coasting => "it lost its peers and free-runs; it must agree again before it counts",
            Standing::Observer => "it only observes",
            Standing::Led => "references are alive and lead",
            Standing::Unneeded => "this node is a reference and follows nobody",
            Standing::NoQuorum => "too few members are here for the number of faults to tolerate",
            Standing::Absurd => "what it claims cannot be true of any working clock",
            Standing::Outlier => "its time lies outside what the others agree on",
        }
    }
}

/// What is known of a peer beside its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Its newest claim, if it makes sense.
    pub claim: Option<&'a Claim>,
    /// Whether an exchange has been completed.
    pub heard: bool,
    /// Whether that was long ago.
    pub silent: bool,
    /// Whether its clock is known well enough to enter an agreement that holds, or has been in it before.
    pub warm: bool,
    /// Whether its word has counted before.
    pub admitted: bool,
}

impl Candidate<'_> {
    /// A member that is here and makes sense: somebody who may vote once it is settled.
    pub(super) fn votes(&self) -> bool {
        self.present().is_some_and(|c| c.role == Role::Peer)
    }

    /// A member that has agreed with others and asks for weight.
    pub(super) fn settled(&self) -> bool {
        self.votes() && self.claim.is_some_and(settled)
    }

    /// A reference that is here.
    pub(super) fn refers(&self) -> bool {
        self.present().is_some_and(|c| c.role == Role::Reference && c.state == NodeState::Track && !c.joining)
    }

    fn present(&self) -> Option<&Claim> {
        self.claim.filter(|_| self.heard && !self.silent)
    }
}

/// Whether a node that claims this has agreed with others and asks for weight.
pub(super) fn settled(claim: &Claim) -> bool {
    matches!(claim.state, NodeState::Track | NodeState::Holdover) && !claim.joining
}

/// The situation of this node, by which it judges its peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// Own role.
    pub role: Role,
    /// Own state.
    pub state: NodeState,
    /// Whether this node is joining an older agreement.
    pub joining: bool,
    /// Whether references are alive and usable.
    pub led: bool,
    /// Whether enough settled peers are here to do without those that are still acquiring.
    pub enough_settled: bool,
}

impl Situation {
    /// Where a peer stands.
    pub(super) fn judge(&self, peer: Candidate<'_>) -> Standing {
        if !peer.heard {
            return Standing::NoSamples;
        }
        if peer.silent {
            return Standing::Silent;
        }
        let Some(claim) = peer.claim else { return Standing::Absurd };
        if claim.role == Role::Observer {
            return Standing::Observer;
        }
        if self.role == Role::Reference {
            return Standing::Unneeded;
        }
        let starting = matches!(self.state, NodeState::Unset | NodeState::Acquire);
        if claim.role == Role::Reference {
            return if !peer.refers() {
                Standing::Joining
            } else if starting || peer.warm {
                Standing::Used
            } else {
                Standing::Learning
            };
        }
        if self.led {
            return Standing::Led;
        }
        if starting && !self.joining {
            return Standing::Used; // a cold start: all are equals
        }
        if claim.joining || claim.state == NodeState::Unset {
            return Standing::Joining;
        }
        match claim.state {
            NodeState::Acquire if starting || self.joining || self.state == NodeState::Holdover => Standing::Acquiring,
            // Those who start together stay equals, whoever says first that he tracks.
            NodeState::Acquire if self.enough_settled && !peer.admitted => Standing::Acquiring,
            NodeState::Holdover if self.state == NodeState::Track && !self.joining => Standing::Coasting,
            _ if starting || peer.warm => Standing::Used,
            _ => Standing::Learning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Mapping;
    use crate::unit::RawTime;

    fn claim(state: NodeState, joining: bool, role: Role) -> Claim {
        let mapping = Mapping { epoch: RawTime::from_nanos(0), offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 };
        Claim { state, joining, ..Claim::unset(mapping, role) }
    }

    fn judged(situation: Situation, claim: &Claim) -> Standing {
        situation.judge(Candidate { claim: Some(claim), heard: true, silent: false, warm: true, admitted: false })
    }

    const TRACKING: Situation =
        Situation { role: Role::Peer, state: NodeState::Track, joining: false, led: false, enough_settled: true };
    const COLD: Situation = Situation { state: NodeState::Acquire, enough_settled: false, ..TRACKING };

    #[test]
    fn those_who_track_give_no_weight_to_those_who_join() {
        assert_eq!(judged(TRACKING, &claim(NodeState::Unset, true, Role::Peer)), Standing::Joining);
        assert_eq!(judged(TRACKING, &claim(NodeState::Track, true, Role::Peer)), Standing::Joining);
        assert_eq!(judged(TRACKING, &claim(NodeState::Track, false, Role::Peer)), Standing::Used);
        assert_eq!(judged(TRACKING, &claim(NodeState::Holdover, false, Role::Peer)), Standing::Coasting);
    }

    #[test]
    fn an_acquiring_newcomer_is_not_heard_by_an_agreement_but_one_who_started_with_it_is() {
        let claim = claim(NodeState::Acquire, false, Role::Peer);
        let newcomer = Candidate { claim: Some(&claim), heard: true, silent: false, warm: true, admitted: false };
        assert_eq!(TRACKING.judge(newcomer), Standing::Acquiring);
        assert_eq!(TRACKING.judge(Candidate { admitted: true, ..newcomer }), Standing::Used);
    }

    #[test]
    fn at_a_cold_start_all_are_equals() {
        for state in [NodeState::Unset, NodeState::Acquire, NodeState::Track] {
            assert_eq!(judged(COLD, &claim(state, state == NodeState::Unset, Role::Peer)), Standing::Used);
        }
    }

    #[test]
    fn one_who_joins_hears_only_the_settled() {
        let joining = Situation { joining: true, ..COLD };
        assert_eq!(judged(joining, &claim(NodeState::Track, false, Role::Peer)), Standing::Used);
        assert_eq!(judged(joining, &claim(NodeState::Holdover, false, Role::Peer)), Standing::Used);
        assert_eq!(judged(joining, &claim(NodeState::Acquire, false, Role::Peer)), Standing::Acquiring);
        assert_eq!(judged(joining, &claim(NodeState::Unset, true, Role::Peer)), Standing::Joining);
    }

    #[test]
    fn while_references_are_alive_peers_are_not_heard() {
        let led = Situation { led: true, ..TRACKING };
        assert_eq!(judged(led, &claim(NodeState::Track, false, Role::Peer)), Standing::Led);
        assert_eq!(judged(led, &claim(NodeState::Track, false, Role::Reference)), Standing::Used);
    }

    #[test]
    fn an_observer_never_counts_and_a_reference_hears_nobody() {
        let observer = claim(NodeState::Track, false, Role::Observer);
        assert_eq!(judged(COLD, &observer), Standing::Observer);
        let reference = Situation { role: Role::Reference, ..TRACKING };
        assert_eq!(judged(reference, &claim(NodeState::Track, false, Role::Peer)), Standing::Unneeded);
    }

    #[test]
    fn every_standing_has_a_word_of_its_own() {
        let all = Standing::ALL;
        for (index, one) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|o| o.as_str() != one.as_str() && o.reason() != one.reason()));
        }
    }
}
