//! Leap seconds: who announces one, and how a node gets over it. V shows UTC where a reference does, so it takes a leap
//! second as every clock does; nothing else of a node changes by it.
//!
//! Only references know of leap seconds, each from its own clock: what disciplines that clock has told it. If more than
//! half of the references that count announce one, this node's clock is told, and takes it by itself at the end of its
//! UTC day; V goes along at the tick that sees it. An announcement that no reference stands behind is taken back. On
//! any day but the last of June and of December it is a mistake of theirs, and not followed: there never was a leap
//! second on another, and one reference with a stray bit would move every clock.
//!
//! No two nodes take it at the same instant, and each hears of the others' a packet later. For a few seconds around it
//! the whole seconds between two nodes therefore say nothing: what is left of their difference counts, and by that
//! they go on agreeing.

use super::{Pipeline, Standing};
use crate::flow::{Leap, LeapNews, Mapping, Role};
use crate::unit::RawTime;

const SECOND_NS: i64 = 1_000_000_000;
/// A UTC day, ns.
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// So long before and after the end of a day nothing of an announcement is changed, and whole seconds say nothing, ns:
/// the second that is left out or comes twice, and one more for clocks that are not right yet.
const AROUND_NS: i64 = 2 * SECOND_NS;
/// So long after a leap whole seconds say nothing, ns, and for four intervals of the exchanges if that is longer: until
/// every peer has been heard anew.
const AFTER_NS_MIN: i64 = 10 * SECOND_NS;

/// What a node knows of leap seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeapWatch {
    /// What the own clock has been told of the end of this day.
    announced: Leap,
    /// What it is to be told.
    wanted: Leap,
    /// It has been taken, and its announcement has not gone yet.
    over: bool,
    /// When a leap was last taken.
    taken_at: Option<RawTime>,
}

impl LeapWatch {
    /// What a reference says of its clock.
    pub(super) fn own(&self) -> Leap {
        if self.over { Leap::None } else { self.announced }
    }

    /// What the clock has to be told, if it does not know.
    pub(super) fn command(&self) -> Option<Leap> {
        (self.announced != self.wanted).then_some(self.wanted)
    }

    /// Takes in what more than half of the references that count announce; `None` while there is none to ask. `v_ns` is
    /// V, for the time of day.
    fn hear(&mut self, majority: Option<Leap>, v_ns: i64) {
        let waiting = self.wanted != Leap::None && near_midnight(v_ns);
        match majority {
            _ if waiting => {}
            Some(Leap::Insert | Leap::Delete) if !day_may_leap(v_ns) => self.wanted = Leap::None,
            Some(Leap::None) => (self.wanted, self.over) = (Leap::None, false),
            Some(_) if self.over => self.wanted = Leap::None,
            Some(leap) => self.wanted = leap,
            None => {}
        }
    }

    /// Whether whole seconds between two nodes say nothing now.
    fn blurs_seconds(&self, now: RawTime, v_ns: i64, interval_ns: i64) -> bool {
        let after_ns = AFTER_NS_MIN.max(4 * interval_ns);
        let after = self.taken_at.is_some_and(|at| now.since(at) < after_ns);
        after || self.wanted != Leap::None && near_midnight(v_ns)
    }
}

/// Within [`AROUND_NS`] of the end of a UTC day.
fn near_midnight(v_ns: i64) -> bool {
    let since_ns = v_ns.rem_euclid(DAY_NS);
    since_ns < AROUND_NS || DAY_NS - since_ns <= AROUND_NS
}

/// Whether the UTC day ends with June or with December. (Days of a year that begins in March: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", 2013.)
fn day_may_leap(v_ns: i64) -> bool {
    let next = v_ns.div_euclid(DAY_NS) + 1 + 719_468;
    let of_era = next.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // The first of July and of January, counted from the first of March.
    matches!(of_year, 122 | 306)
}

impl Pipeline {
    /// What the delivered clock has to say of leap seconds, as it was just read; before the tick of that reading.
    pub fn on_leap(&mut self, news: LeapNews) {
        let leap = &mut self.leap;
        leap.announced = news.announced;
        if self.config.role == Role::Reference {
            // Whoever announced it to a reference takes that back; to any other node the references do.
            leap.over &= news.announced != Leap::None;
        }
        if news.taken == Leap::None {
            return;
        }
        (leap.over, leap.wanted, leap.taken_at) = (true, Leap::None, Some(self.ticked));
        let by_ns = news.taken.step_s() * SECOND_NS;
        self.mapping = later(&self.mapping, by_ns);
        self.peers.iter_mut().for_each(|peer| peer.leap(by_ns));
        self.follower.forget();
    }

    /// Whether whole seconds between this node and others say nothing at `now`.
    pub(super) fn blurs_seconds(&self, now: RawTime) -> bool {
        self.leap.blurs_seconds(now, self.mapping.virtual_at(now).nanos(), self.config.interval_ns)
    }

    /// Asks the references that count.
    pub(super) fn hear_of_leaps(&mut self, now: RawTime) {
        if self.config.role == Role::Reference {
            return;
        }
        let mut votes = [0; 3];
        for peer in self.peers.iter().filter(|p| p.standing == Standing::Used) {
            if let Some(claim) = peer.claim.filter(|c| c.role == Role::Reference) {
                votes[claim.leap as usize] += 1;
            }
        }
        let asked: usize = votes.iter().sum();
        let majority = [Leap::Insert, Leap::Delete].into_iter().find(|leap| 2 * votes[*leap as usize] > asked);
        let heard = match asked {
            // References that are gone may have announced something that is still to come.
            0 if self.leaderless() => None,
            _ => Some(majority.unwrap_or_default()),
        };
        self.leap.hear(heard, self.mapping.virtual_at(now).nanos());
    }
}

/// The mapping with V so much later.
pub(super) fn later(mapping: &Mapping, by_ns: i64) -> Mapping {
    Mapping { offset_ns: mapping.offset_ns.wrapping_add(by_ns), ..*mapping }
}

/// A difference of two V without its whole seconds, ns, in [-0.5, 0.5) s.
pub(super) fn without_seconds(ns: f64) -> f64 {
    let second = SECOND_NS as f64;
    ns - (ns / second).round() * second
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 31st of December 1970.
    const LAST_NS: i64 = 364 * DAY_NS;
    const NOON_NS: i64 = LAST_NS + DAY_NS / 2;

    #[test]
    fn a_leap_second_is_believed_on_the_last_day_of_june_and_of_december_only() {
        // Days since 1970 of dates that `date -u -d DATE +%s` gives, and their neighbours.
        for (day, leaps) in [(364, true), (180, true), (363, false), (365, false), (179, false), (181, false)] {
            assert_eq!(day_may_leap(day * DAY_NS + 5), leaps, "{day}");
        }
        // 31 December 1999, 2000, 2026, 2100; 30 June 2000, 2026, 2100; 28 and 29 February 2000; 31 December 1969.
        for (day, leaps) in [
            (10_956, true),
            (11_322, true),
            (20_818, true),
            (47_846, true),
            (11_138, true),
            (20_634, true),
            (47_662, true),
            (11_015, false),
            (11_016, false),
            (-1, true),
        ] {
            assert_eq!(day_may_leap(day * DAY_NS), leaps, "{day}");
        }
        let mut watch = LeapWatch::default();
        watch.hear(Some(Leap::Insert), NOON_NS - DAY_NS);
        assert_eq!(watch.command(), None, "a stray bit");
    }

    #[test]
    fn an_announcement_is_followed_and_taken_back_but_not_at_the_last_moment() {
        let mut watch = LeapWatch::default();
        watch.hear(Some(Leap::Insert), NOON_NS);
        assert_eq!(watch.command(), Some(Leap::Insert));
        watch.announced = Leap::Insert;
        assert_eq!(watch.command(), None);
        watch.hear(None, NOON_NS);
        assert_eq!(watch.command(), None, "references that are gone take nothing back");
        for moment_ns in [DAY_NS - AROUND_NS, DAY_NS - 1, DAY_NS, DAY_NS + AROUND_NS - 1].map(|ns| LAST_NS + ns) {
            watch.hear(Some(Leap::None), moment_ns);
            assert_eq!(watch.command(), None, "a reference leaps some ms earlier");
        }
        watch.hear(Some(Leap::None), LAST_NS + DAY_NS - AROUND_NS - 1);
        assert_eq!(watch.command(), Some(Leap::None));
    }

    #[test]
    fn what_has_been_taken_is_not_announced_again_while_references_still_speak_of_it() {
        let mut watch = LeapWatch { announced: Leap::Insert, over: true, ..LeapWatch::default() };
        assert_eq!((watch.own(), watch.command()), (Leap::None, Some(Leap::None)));
        watch.hear(Some(Leap::Insert), NOON_NS);
        assert_eq!(watch.command(), Some(Leap::None));
        watch.hear(Some(Leap::None), NOON_NS);
        watch.hear(Some(Leap::Delete), NOON_NS);
        watch.announced = Leap::None;
        assert_eq!(watch.command(), Some(Leap::Delete), "another one, another day");
    }

    #[test]
    fn seconds_are_blurred_around_a_leap_only() {
        let at = |s: i64| RawTime::from_nanos(s * SECOND_NS);
        let coming = LeapWatch { wanted: Leap::Insert, ..LeapWatch::default() };
        assert!(coming.blurs_seconds(at(0), DAY_NS - AROUND_NS, SECOND_NS));
        assert!(!coming.blurs_seconds(at(0), DAY_NS - AROUND_NS - 1, SECOND_NS));
        assert!(!LeapWatch::default().blurs_seconds(at(0), DAY_NS, SECOND_NS), "an ordinary midnight");
        let taken = LeapWatch { taken_at: Some(at(100)), ..LeapWatch::default() };
        assert!(taken.blurs_seconds(at(109), NOON_NS, SECOND_NS) && !taken.blurs_seconds(at(110), NOON_NS, SECOND_NS));
        assert!(taken.blurs_seconds(at(139), NOON_NS, 10 * SECOND_NS));
    }

    #[test]
    fn what_is_left_without_seconds_keeps_its_sign() {
        for (ns, left_ns) in [(-1e9 + 40.0, 40.0), (1e9 - 40.0, -40.0), (40.0, 40.0), (2e9, 0.0)] {
            assert_eq!(without_seconds(ns), left_ns);
        }
    }
}
