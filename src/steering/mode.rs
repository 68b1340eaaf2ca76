//! The states of a node as one table of transitions. What the signs mean for anything else is not said here.

use crate::flow::NodeState;

/// Agreement must have held this long before a node says that it tracks, seconds.
const CLOSE_S: f64 = 1.0;
/// A node that joined a settled cluster asks for weight after it has agreed for this long, seconds (ALGORITHMS 7.3).
const JOINED_S: f64 = 5.0;
/// A moment without agreement takes back this many times its length of the time that agreement has held: a scheduler's
/// delay or a lost packet is no reason to begin again, but what fails every fifth time does not hold.
const LAPSE: f64 = 4.0;
/// A tracking node that has been apart for this long acquires anew, seconds.
const ESTRANGED_S: f64 = 10.0;

/// What one tick has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Somebody's word counts.
    pub usable: bool,
    /// The decision moved V by no more than noise explains.
    pub close: bool,
    /// It moved V by so much that this is no agreement.
    pub apart: bool,
    /// The delivered clock is where V is, or is none of this node's business.
    pub caught_up: bool,
    /// The references that this node followed are gone; it agrees with its peers but not with them.
    pub leaderless: bool,
}

/// A node's state and how long it has been close, lapses taken off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    state: NodeState,
    close_s: f64,
    apart_s: f64,
    tracked_once: bool,
}

impl Mode {
    /// The state of the node.
    #[must_use]
    pub fn state(&self) -> NodeState {
        self.state
    }

    /// Whether the node has agreed long enough to be given weight after a join.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.close_s >= JOINED_S
    }

    /// Whether the node has ever tracked.
    #[must_use]
    pub fn tracked_once(&self) -> bool {
        self.tracked_once
    }

    /// Takes in what a tick has seen; `dt_s` has passed since the last. Returns the states before and after if they
    /// differ.
    pub fn tick(&mut self, signs: Signs, dt_s: f64) -> Option<(NodeState, NodeState)> {
        self.close_s = match signs {
            Signs { usable: true, close: true, .. } => self.close_s + dt_s,
            Signs { usable: true, apart: false, .. } => (self.close_s - LAPSE * dt_s).max(0.0),
            _ => 0.0,
        };
        self.apart_s = if signs.usable && signs.apart { self.apart_s + dt_s } else { 0.0 };
        let before = self.state;
        self.state = self.next(signs);
        if self.state == before {
            return None;
        }
        if self.state == NodeState::Track {
            self.tracked_once = true;
        }
        if self.state == NodeState::Acquire {
            (self.close_s, self.apart_s) = (0.0, 0.0);
        }
        Some((before, self.state))
    }

    #[rustfmt::skip]
    fn next(&self, signs: Signs) -> NodeState {
        use NodeState::{Acquire, Holdover, Track, Unset};
        let close = self.close_s >= CLOSE_S;
        let estranged = self.apart_s >= ESTRANGED_S;
        match (self.state, signs) {
            (Unset,    Signs { usable: true, .. })                                          => Acquire,
            (Unset,    _)                                                                   => Unset,

            (Acquire,  Signs { usable: false, .. }) if self.tracked_once                    => Holdover,
            (Acquire,  Signs { usable: false, .. })                                         => Unset,
            (Acquire,  Signs { leaderless: false, caught_up: true, .. }) if close           => Track,
            (Acquire,  _)                                                                   => Acquire,

            (Track,    Signs { usable: false, .. } | Signs { leaderless: true, .. })        => Holdover,
            (Track,    _) if estranged                                                      => Acquire,
            (Track,    _)                                                                   => Track,

            (Holdover, Signs { usable: true, leaderless: false, close: true, .. })          => Track,
            (Holdover, Signs { usable: true, leaderless: false, close: false, .. })         => Acquire,
            (Holdover, _)                                                                   => Holdover,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Signs = Signs { usable: true, close: true, apart: false, caught_up: true, leaderless: false };
    const ALONE: Signs = Signs { usable: false, close: false, apart: false, caught_up: true, leaderless: false };

    fn after(signs: &[(Signs, u32)]) -> NodeState {
        let mut mode = Mode::default();
        for (signs, ticks) in signs {
            for _ in 0..*ticks {
                mode.tick(*signs, 0.0625);
            }
        }
        mode.state()
    }

    #[test]
    fn a_moment_of_noise_delays_a_join_and_does_not_begin_it_anew() {
        let noise = Signs { close: false, ..GOOD };
        let joined = |second: &[Signs], seconds: u32| {
            let mut mode = Mode::default();
            (0..seconds).for_each(|_| {
                second.iter().for_each(|s| {
                    assert_ne!(mode.tick(*s, 1.0 / second.len() as f64), Some((NodeState::Track, NodeState::Unset)))
                })
            });
            mode.joined()
        };
        let with = |of: usize| -> Vec<Signs> { (0..32).map(|i| if i % of == 1 { noise } else { GOOD }).collect() };
        assert!(joined(&with(32), 7), "one tick of 32 is noise");
        assert!(!joined(&with(32), 5));
        assert!(!joined(&with(4), 1_000), "a quarter of the time is too much");
        let gross = Signs { apart: true, ..noise };
        assert!(!joined(&[&[gross][..], &[GOOD; 31][..]].concat(), 1_000), "what is far apart begins anew");
    }

    #[test]
    fn a_node_walks_the_table() {
        let apart = Signs { close: false, apart: true, ..GOOD };
        let lagging = Signs { caught_up: false, ..GOOD };
        let leaderless = Signs { leaderless: true, ..GOOD };
        let tracking = (GOOD, 40);
        let table: &[(&[(Signs, u32)], NodeState)] = &[
            (&[(ALONE, 9)], NodeState::Unset),
            (&[(GOOD, 1)], NodeState::Acquire),
            (&[(GOOD, 9), (ALONE, 1)], NodeState::Unset),
            (&[(apart, 99)], NodeState::Acquire),
            (&[(lagging, 99)], NodeState::Acquire),
            (&[tracking], NodeState::Track),
            (&[tracking, (apart, 159)], NodeState::Track),
            (&[tracking, (apart, 160)], NodeState::Acquire),
            (&[tracking, (apart, 160), (ALONE, 1)], NodeState::Holdover),
            (&[tracking, (ALONE, 1)], NodeState::Holdover),
            (&[tracking, (leaderless, 1)], NodeState::Holdover),
            (&[tracking, (ALONE, 1), (leaderless, 50)], NodeState::Holdover),
            (&[tracking, (ALONE, 1), (GOOD, 1)], NodeState::Track),
            (&[tracking, (ALONE, 1), (apart, 1)], NodeState::Acquire),
        ];
        for (signs, state) in table {
            assert_eq!(after(signs), *state, "{signs:?}");
        }
    }

    #[test]
    fn closeness_counts_only_while_it_lasts() {
        let noise = Signs { close: false, ..GOOD };
        let gross = Signs { apart: true, ..noise };
        assert_eq!(after(&[(GOOD, 15), (gross, 1), (GOOD, 15)]), NodeState::Acquire);
        assert_eq!(after(&[(GOOD, 15), (noise, 1), (GOOD, 4)]), NodeState::Acquire);
        assert_eq!(after(&[(GOOD, 15), (noise, 1), (GOOD, 6)]), NodeState::Track);
    }
}
