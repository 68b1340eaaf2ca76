//! What lasts of the distance between two V: the edge's noise averaged over longer than its filter does, but every move
//! that either V makes followed at once and in full, because that is read off the mappings and has no noise. A lie can
//! be told from an edge's noise by it: the lie lasts. Looks at one peer and decides nothing.

use crate::flow::{Mapping, Relation};
use crate::unit::RawTime;

/// Averaged over this many of the time constants of the edge's filter. Longer tells noise from lies better and follows
/// the oscillators worse.
const MEMORY: f64 = 1.5;
/// Further than this from what is averaged, ns, it is about other seconds.
const OTHER_SECONDS_NS: f64 = 5e8;

/// The average and what it was last taken through.
#[derive(Clone, Copy, Debug)]
struct Average {
    ns: f64,
    theirs: Mapping,
    own: Mapping,
    at: RawTime,
    age_s: f64,
}

/// The lasting distance of one peer's V.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steady(Option<Average>);

impl Steady {
    /// Takes the relation as it is `now` and what both V are, `through` which it is the distance that it returns (peer
    /// minus self, ns). Gives the distance and what lasts of it.
    pub(super) fn follow(
        &mut self,
        relation: &Relation,
        (theirs, own): (Mapping, Mapping),
        now: RawTime,
        through: impl Fn(&Mapping, &Mapping) -> f64,
    ) -> (f64, f64) {
        let z_ns = through(&theirs, &own);
        let fresh = Average { ns: z_ns, theirs, own, at: now, age_s: 0.0 };
        let next = self.0.map_or(fresh, |before| {
            let moved_ns = z_ns - through(&before.theirs, &before.own);
            let passed_s = now.since(before.at).max(0) as f64 * 1e-9;
            let age_s = before.age_s + passed_s;
            let memory_s = MEMORY * (relation.edge_var / relation.edge_rate_var).sqrt() * 1e-9;
            let share = (passed_s / memory_s.min(age_s)).min(1.0);
            let ns = before.ns + moved_ns;
            // Not a number, where nothing has passed and nothing is known, is as far.
            let near = (z_ns - ns).abs() < OTHER_SECONDS_NS && share >= 0.0;
            if near { Average { ns: ns + share * (z_ns - ns), age_s, ..fresh } } else { fresh }
        });
        self.0 = Some(next);
        (z_ns, next.ns)
    }

    /// The edge is learnt anew.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Span, StampClass};

    const TICK_NS: i64 = 62_500_000;

    /// Distances through mappings whose offset is all that counts.
    fn followed(steady: &mut Steady, turn: i64, edge_ns: f64, theirs_ns: i64, own_ns: i64) -> f64 {
        let mapping = |offset_ns| Mapping { epoch: RawTime::from_nanos(0), offset_ns, offset_frac_ns: 0.0, rate: 0.0 };
        let now = RawTime::from_nanos(turn * TICK_NS);
        let relation = Relation {
            at: now,
            base_ns: 0,
            offset_ns: edge_ns,
            rate: 0.0,
            offset_var: 1e4,
            offset_rate_cov: 0.0,
            rate_var: 1e-16,
            noise_var: 1e6,
            edge_var: 1e4,
            edge_rate_var: 1e-16, // a time constant of ten seconds
            hard: Span { low_ns: -1e6, high_ns: 1e6 },
            delay_ns: 2e4,
            class: StampClass::Kernel,
            samples: 100,
        };
        let through = |theirs: &Mapping, own: &Mapping| edge_ns + (theirs.offset_ns - own.offset_ns) as f64;
        steady.follow(&relation, (mapping(theirs_ns), mapping(own_ns)), now, through).1
    }

    #[test]
    fn what_either_v_moves_is_followed_at_once() {
        let mut steady = Steady::default();
        for turn in 0..1_600 {
            assert_eq!(followed(&mut steady, turn, 30.0, 5, 2), 33.0);
        }
        assert_eq!(followed(&mut steady, 1_600, 30.0, 105, 2), 133.0);
        assert_eq!(followed(&mut steady, 1_601, 30.0, 105, 42), 93.0);
    }

    #[test]
    fn what_the_edge_says_is_averaged() {
        let mut steady = Steady::default();
        for turn in 0..1_600 {
            followed(&mut steady, turn, 0.0, 0, 0);
        }
        let at_once = followed(&mut steady, 1_600, 100.0, 0, 0);
        assert!((0.3..0.6).contains(&at_once), "{at_once}");
        let later = (1_601..1_840).fold(at_once, |_, turn| followed(&mut steady, turn, 100.0, 0, 0));
        assert!((60.0..66.0).contains(&later), "after its memory of 15 s: {later}");
    }

    #[test]
    fn after_a_leap_second_or_a_pause_of_no_time_it_begins_anew() {
        let mut steady = Steady::default();
        followed(&mut steady, 1, 0.0, 0, 0);
        assert_eq!(followed(&mut steady, 1, 7.0, 0, 0), 7.0, "no time has passed, nothing was known");
        assert_eq!(followed(&mut steady, 2, 1e9, 0, 0), 1e9);
    }
}
