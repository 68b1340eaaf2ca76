//! When everything that is known of the peers' clocks must be dropped, because the *own* oscillator is no longer what
//! it was: the machine was suspended, a virtual machine was paused or moved to other hardware, the kernel changed its
//! clock source. Some of it the machine tells; the rest shows in that all edges are torn together.
//!
//! An edge is *torn* by an exchange whose hard interval has nothing in common with the one known so far: one of the two
//! oscillators has jumped, whatever the network did. Noise cannot do that. One torn edge is the peer's affair: it is
//! learnt anew before it counts again. If more edges are torn than liars are tolerated, nothing small can be promised
//! until it is clear; if more than half of all are, it is this node that jumped (or so many others that joining them is
//! right all the same), and it starts anew. Of two nodes the one that stood still is told by the other's silence: an
//! oscillator does not run ahead, so a peer that was silent for so long and then is behind by no more was paused, and
//! who sees its only peer jump ahead was paused itself. Where neither explains it, both start anew.
//!
//! What cannot be seen: a jump that hides within the hard interval (half a round trip). The filters find such a jump by
//! itself, as an outlier that stays.

use std::fmt;

use super::Pipeline;
use super::promise::Promise;
use crate::filter::Hard;
use crate::flow::{Correction, Exchange, NodeState, Role};
use crate::limits::OSCILLATOR_RATE_MAX;
use crate::steering::{Happening, Mode};
use crate::unit::{PeerSlot, RawTime};

/// Disagreement of two hard intervals that is called a jump, ns: far beyond what a bad stamp conversion costs; smaller
/// jumps are left to the filters.
const TEAR_NS_MIN: f64 = 50_000.0;
/// Edges that are torn within this belong to one event, ns, and within two intervals of the exchanges if that is
/// longer.
pub(super) const TOGETHER_NS_MIN: i64 = 1_000_000_000;
/// A pause between two ticks that is no longer a scheduler's doing, ns: whoever was held up for so long cannot know how
/// its oscillator spent the time.
pub(super) const HELD_UP_NS: i64 = 2_000_000_000;

/// Why a node starts anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Upheaval {
    /// The clocks of more than half of the peers jumped together by this much against the own, ns: positive if the own
    /// oscillator fell behind. A virtual machine was paused, restored or moved.
    EdgesJumped(f64),
    /// The machine was suspended for this long, ns; its oscillator stood still.
    Suspended(i64),
    /// The kernel counts another oscillator now.
    ClockSource,
}

impl fmt::Display for Upheaval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Upheaval::EdgesJumped(ns) => write!(
                f,
                "all peers' clocks jumped together by {:+.6} s, so it is this machine's oscillator that jumped (a \
                 virtual machine that was paused, restored or moved?)",
                ns * 1e-9
            ),
            Upheaval::Suspended(ns) => write!(f, "the machine was suspended for {:.3} s", *ns as f64 * 1e-9),
            Upheaval::ClockSource => f.write_str("the kernel has changed its clock source"),
        }
    }
}

/// A jump on one edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tear {
    /// Own raw time at which the torn exchange ended.
    pub at: RawTime,
    /// And at which it began: what began earlier belongs to the time before.
    pub began: RawTime,
    /// Least jump of peer minus self that explains it, ns.
    pub jump_ns: f64,
    /// The peer had been silent before for at least as long as its clock fell behind: it was paused.
    pub paused: bool,
}

impl Tear {
    /// The tear that `exchange` shows in an edge of which `known` is certain in its middle, if it shows one; the peer
    /// was silent for `silence_ns` before it.
    pub(super) fn between(known: &Hard, exchange: &Exchange, silence_ns: i64) -> Option<Tear> {
        let (began, at) = ends(exchange);
        // Within one exchange the two oscillators part by no more than this.
        let slack_ns = TEAR_NS_MIN + 2.0 * OSCILLATOR_RATE_MAX * at.since(began) as f64;
        let high_ns = exchange.forward_ns().wrapping_sub(known.base_ns) as f64;
        let low_ns = exchange.backward_ns().wrapping_neg().wrapping_sub(known.base_ns) as f64;
        if low_ns > high_ns + slack_ns {
            return None; // no honest pair of clocks produces it: the filter refuses it
        }
        let (below_ns, above_ns) = (high_ns - known.span.low_ns, low_ns - known.span.high_ns);
        let jump_ns = if below_ns < -slack_ns {
            below_ns
        } else if above_ns > slack_ns {
            above_ns
        } else {
            return None;
        };
        let paused = jump_ns < 0.0 && -jump_ns <= silence_ns as f64 + slack_ns;
        Some(Tear { at, began, jump_ns, paused })
    }
}

/// When an exchange began and ended at this node.
pub(super) fn ends(exchange: &Exchange) -> (RawTime, RawTime) {
    let (sent, received) = (exchange.local_sent, exchange.local_received);
    if received.since(sent) >= 0 { (sent, received) } else { (received, sent) }
}

/// The edges that count, as they stand at one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Edges {
    /// Peers that are here.
    pub known: usize,
    /// Of these, those whose edge was torn lately.
    pub torn: usize,
    /// Of those, the peers whose own pause explains it.
    pub paused: usize,
    /// Of these, those that were heard since the first of these tears (or since the doubt began), and are whole.
    pub whole: usize,
}

/// What torn edges mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing is torn, or only what a few may do to us.
    Calm,
    /// Something jumped, and it is not clear yet who.
    Unclear,
    /// It is this node.
    Mine,
}

impl Edges {
    /// What it means if at most `faults` peers may lie.
    pub(super) fn meaning(self, faults: usize) -> Meaning {
        let Edges { known, torn, paused, whole } = self;
        if known == 1 && paused == 1 {
            Meaning::Calm
        } else if torn > 0 && 2 * torn > known {
            Meaning::Mine
        } else if torn <= faults || torn + whole >= known {
            Meaning::Calm
        } else {
            Meaning::Unclear
        }
    }
}

impl Pipeline {
    /// The machine tells that its oscillator is no longer what it was: the next tick starts anew.
    pub fn unsettle(&mut self, why: Upheaval) {
        self.told = Some(why);
    }

    /// Somebody else has moved the delivered clock: it is put right under the rules for that.
    pub fn moved_by_others(&mut self) {
        self.guard.note(Happening::Moved);
    }

    /// What the clock is to be left with when the node ends: the best rate that is known, without the haste of the last
    /// tick. `None` if it was never this node's to steer.
    #[must_use]
    pub fn farewell(&self) -> Option<Correction> {
        let steered = self.config.role == Role::Peer && self.state() != NodeState::Unset;
        steered.then(|| Correction {
            rate: self.mapping.rate,
            step_ns: 0,
            sigma_ns: self.promise.sigma_ns(self.wander, self.lag_ns),
            bound_ns: self.bound_ns(self.lag_ns),
            synchronised: false,
        })
    }

    /// Looks whether the own oscillator is still what it was, `gap_ns` after the last tick; starts anew if not.
    pub(super) fn look_for_upheaval(&mut self, now: RawTime, gap_ns: i64) -> Option<Upheaval> {
        if gap_ns >= HELD_UP_NS {
            self.doubt = Some(now);
        }
        let edges = self.edges(now);
        let meaning = edges.meaning(self.budget.faults());
        if meaning == Meaning::Calm && edges.whole > self.budget.faults() {
            self.doubt = None;
        }
        self.doubtful = self.doubt.is_some() || meaning == Meaning::Unclear;
        let seen = (meaning == Meaning::Mine).then(|| Upheaval::EdgesJumped(self.typical_jump_ns()));
        let upheaval = self.told.take().or(seen)?;
        self.start_anew(now);
        self.guard.note(match upheaval {
            Upheaval::EdgesJumped(_) => Happening::Jumped,
            Upheaval::Suspended(_) | Upheaval::ClockSource => Happening::StartedAnew,
        });
        Some(upheaval)
    }

    /// Counts the edges of those who agree with somebody; who says of itself that it starts anew is no witness.
    fn edges(&mut self, now: RawTime) -> Edges {
        let together_ns = TOGETHER_NS_MIN.max(2 * self.config.interval_ns);
        let mut since = self.doubt;
        for peer in &mut self.peers {
            peer.tear.take_if(|tear| now.since(tear.at) > together_ns);
            if let Some(tear) = peer.tear {
                since = Some(since.map_or(tear.began, |s| if tear.began.since(s) < 0 { tear.began } else { s }));
            }
        }
        let mut edges = Edges::default();
        for peer in self.peers.iter().filter(|peer| peer.is_witness(now)) {
            edges.known += 1;
            if let Some(tear) = peer.tear {
                edges.torn += 1;
                edges.paused += usize::from(tear.paused);
            } else if since.zip(peer.whole).is_some_and(|(since, whole)| whole.since(since) >= 0) {
                edges.whole += 1;
            }
        }
        edges
    }

    /// The smallest jump that was seen, ns: the closest to what all have in common.
    fn typical_jump_ns(&self) -> f64 {
        let jumps = self.peers.iter().filter_map(|peer| peer.tear).map(|tear| tear.jump_ns);
        jumps.min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0)
    }

    fn start_anew(&mut self, now: RawTime) {
        let torn = self.peers.iter().filter_map(|peer| peer.tear).map(|tear| tear.began);
        self.born = Some(torn.reduce(|a, b| if a.since(b) < 0 { a } else { b }).unwrap_or(now));
        for (slot, peer) in self.peers.iter_mut().enumerate() {
            self.consensus.forget(PeerSlot(slot as u16));
            peer.relearn();
        }
        self.mode = Mode::default();
        self.follower.forget();
        self.promise = Promise::NOTHING;
        (self.first_heard, self.started, self.doubt) = (None, None, None);
        (self.joining, self.led, self.led_once, self.resumed, self.doubtful) = (false, false, false, false, false);
        (self.agreed_s, self.rate_at_agreement) = (0.0, None);
        self.start_rate = self.mapping.rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_all_edges_torn_is_me_and_fewer_are_they() {
        let table = [
            ((0, 0, 0), 0, Meaning::Calm),
            ((4, 0, 4), 1, Meaning::Calm),
            // One of two peers: unclear until the other is heard.
            ((2, 1, 0), 0, Meaning::Unclear),
            ((2, 1, 1), 0, Meaning::Calm),
            ((2, 2, 0), 0, Meaning::Mine),
            // A single peer: nobody can tell, so both start anew, unless its silence tells.
            ((1, 1, 0), 0, Meaning::Mine),
            // As many as may lie change nothing; one more makes it unclear, more than half is me.
            ((9, 3, 0), 3, Meaning::Calm),
            ((9, 4, 0), 3, Meaning::Unclear),
            ((9, 4, 5), 3, Meaning::Calm),
            ((9, 5, 0), 3, Meaning::Mine),
            ((4, 2, 0), 1, Meaning::Unclear),
            ((4, 2, 2), 1, Meaning::Calm),
            ((4, 3, 0), 1, Meaning::Mine),
        ];
        for ((known, torn, whole), faults, meaning) in table {
            let edges = |paused| Edges { known, torn, paused, whole };
            assert_eq!(edges(0).meaning(faults), meaning, "{known} {torn} {whole}, {faults}");
            // That all others were paused is no better an explanation than one pause here, unless there is only one.
            let told = if known == 1 { Meaning::Calm } else { meaning };
            assert_eq!(edges(torn).meaning(faults), told, "{known} {torn} {whole}, {faults}");
        }
    }

    #[test]
    fn an_upheaval_is_told_in_words() {
        assert!(Upheaval::EdgesJumped(-1e10).to_string().contains("-10.000000 s"));
        assert!(Upheaval::Suspended(1_500_000_000).to_string().contains("1.500 s"));
    }
}
