//! What may be done to the delivered clock, in one place: when it may be stepped, how fast it may be slewed, and by how
//! much it may be moved before somebody should look. Does not know why V is where it is, nor who else moves the clock.
//!
//! A clock is *catching up* after a start (and after an upheaval that the machine itself tells, which is a new start),
//! *returning* when only its peers show that its oscillator jumped, or *restoring* after somebody else moved it: then
//! it may be stepped, and what is below the threshold is slewed as fast as the kernel can, for a short time, unless
//! the slew limit is asked to hold always. Otherwise it is *settled*: never stepped, and slewed within the limit. A
//! clock that may not be stepped at all is slewed within the limit always: who forbids jumps does not want the next
//! best thing to a jump either.
//!
//! Only a start may change the clock by any amount. What others say of this clock later, and what they do to it, is
//! held to the limit on a single change and to the sum of all steps.
//!
//! Whatever goes beyond the limits on a change is refused for good: the guard then says the same for ever, and whoever
//! runs it ends.

use super::law::steer;

/// Fastest slew while the clock catches up: what adjtimex can do (ADJ_TICK, 10 %). 10 ms are gone in 0.2 s.
const SLEW_CATCHING_UP: f64 = 0.1;
/// Ticks in which C closes on V, as far apart as the last two were: a node whose ticks come late for a while closes the
/// more slowly, instead of overshooting.
const CLOSING_TICKS: f64 = 1.0;
/// Ticks are never taken to be further apart than this, s.
const SPACING_S_MAX: f64 = 1.0;
/// V must have held still, against the step threshold, for so many decisions before a step is spent on it, and before
/// the clock is called too far off.
const STILL_DECISIONS: u32 = 8;
/// Closer than this the clock has caught up whatever sigma says, ns.
const CAUGHT_UP_NS: f64 = 1_000.0;

/// The limits of one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// An error above this is stepped, where a step is allowed, ns.
    pub step_threshold_ns: i64,
    /// Whether the clock may be stepped at all.
    pub allow_step: bool,
    /// Fastest slew of a settled clock, and of one that may not be stepped (seconds per second).
    pub slew_max: f64,
    /// Whether that holds in haste too: nothing is then ever slewed faster.
    pub slew_max_always: bool,
    /// The largest change at a start, ns; infinite if any is allowed.
    pub start_change_ns_max: f64,
    /// The largest single change later, ns; infinite if any is allowed.
    pub change_ns_max: f64,
    /// What all steps may add up to, apart from those of a start, ns; infinite if any sum is allowed.
    pub total_ns_max: f64,
}

impl Default for Limits {
    /// A step above 100 ms, 500 ppm (what programs have always had to live with), any change at a start, 1000 s later,
    /// an hour in all.
    fn default() -> Self {
        Limits {
            step_threshold_ns: 100_000_000,
            allow_step: true,
            slew_max: 500e-6,
            slew_max_always: false,
            start_change_ns_max: f64::INFINITY,
            change_ns_max: 1_000e9,
            total_ns_max: 3_600e9,
        }
    }
}

/// Where a clock stands with its guard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// After a start.
    CatchingUp {
        /// The one step has not been spent.
        step_left: bool,
    },
    /// Has caught up with V under agreement.
    Settled,
    /// Its peers show that its oscillator has jumped.
    Returning {
        /// The one step has not been spent.
        step_left: bool,
    },
    /// Somebody else has moved it.
    Restoring,
    /// It would have to be moved further than allowed.
    Refused(Refusal),
}

/// What happens to a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It is steered by agreement and has caught up.
    CaughtUp,
    /// Somebody else has moved it.
    Moved,
    /// Nothing that was known of its oscillator holds any longer: the machine says so.
    StartedAnew,
    /// The same, but only the peers show it.
    Jumped,
    /// The step has been taken.
    Stepped,
}

/// Why a clock is not moved, for good.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The error at the start is too large.
    #[error(
        "at its start the clock is {:.3} s off the cluster's time and --max-change-at-start is {:.3} s: it is left as \
         it is; set it by hand, or raise the limit", ns * 1e-9, max_ns * 1e-9
    )]
    AtStart {
        /// The error, cluster minus clock, ns.
        ns: f64,
        /// The limit, ns.
        max_ns: f64,
    },
    /// A change later is too large.
    #[error(
        "the clock would have to change by {:.3} s and --max-change is {:.3} s: it is left as it is; find out who is \
         right, then start llts again or raise the limit", ns * 1e-9, max_ns * 1e-9
    )]
    Change {
        /// The change, ns.
        ns: f64,
        /// The limit, ns.
        max_ns: f64,
    },
    /// One step more would be one too many.
    #[error(
        "steps after the start add up to {:.3} s with this one and --max-total is {:.3} s: somebody else keeps moving \
         the clock, or the machine keeps losing time; find out what does, or raise the limit", ns * 1e-9, max_ns * 1e-9
    )]
    Total {
        /// The sum of the steps' magnitudes with this one, ns.
        ns: f64,
        /// The limit, ns.
        max_ns: f64,
    },
}

/// What the clock is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// Rate against raw (seconds per second).
    pub rate: f64,
    /// Step to take first, ns.
    pub step_ns: i64,
}

/// The guard of one delivered clock.
#[derive(Clone, Debug)]
pub struct Guard {
    limits: Limits,
    tick_ns: i64,
    /// Time between the last two ticks, at least `tick_ns`, s.
    spacing_s: f64,
    phase: Phase,
    still: u32,
    /// Magnitudes of all steps but those of a start, ns.
    total_ns: f64,
}

impl Guard {
    /// A guard for a clock that has just started and is looked at every `tick_ns`.
    ///
    /// # Panics
    /// If ticks do not follow one another, or nothing could ever be slewed.
    #[must_use]
    pub fn new(limits: Limits, tick_ns: i64) -> Self {
        assert!(tick_ns > 0, "ticks follow one another");
        assert!(limits.slew_max > 0.0, "a clock that may not be slewed cannot be steered");
        let spacing_s = tick_ns as f64 * 1e-9;
        Guard { limits, tick_ns, spacing_s, phase: Phase::CatchingUp { step_left: true }, still: 0, total_ns: 0.0 }
    }

    /// Takes other limits from now on. None of them moves a clock by itself: a settled clock is not stepped because it
    /// may be, and what was refused stays refused. What steps have added up to so far counts against the new sum.
    ///
    /// # Panics
    /// If nothing could ever be slewed.
    pub fn set_limits(&mut self, limits: Limits) {
        assert!(limits.slew_max > 0.0, "a clock that may not be slewed cannot be steered");
        self.limits = limits;
    }

    /// Whether a clock `lag_ns` behind V with standard deviation `sigma_ns` has caught up with it.
    #[must_use]
    pub fn caught_up(lag_ns: f64, sigma_ns: f64) -> bool {
        lag_ns.abs() <= CAUGHT_UP_NS.max(3.0 * sigma_ns)
    }

    /// Takes in what has happened to the clock.
    pub fn note(&mut self, happening: Happening) {
        let next = next(self.phase, happening);
        if next != self.phase {
            (self.phase, self.still) = (next, 0);
        }
    }

    /// A tick has come `dt_s` after the one before it.
    pub fn ticked(&mut self, dt_s: f64) {
        self.spacing_s = dt_s.clamp(self.tick_ns as f64 * 1e-9, SPACING_S_MAX);
    }

    /// What to do about a lag of `lag_ns` (V minus C) when V runs at `v_rate`; `moved_ns` is how far the newest
    /// decision moved V.
    ///
    /// # Errors
    /// The clock would have to be moved further than allowed: the same answer from now on.
    pub fn advise(&mut self, v_rate: f64, lag_ns: f64, moved_ns: f64) -> Result<Move, Refusal> {
        let closing_s = CLOSING_TICKS * self.spacing_s;
        let may_step = self.limits.allow_step && self.may_step_now();
        let step = may_step && lag_ns.abs() > self.limits.step_threshold_ns.max(0) as f64;
        let too_far = lag_ns.abs() > self.change_ns_max();
        if let Phase::Refused(refusal) = self.phase {
            return Err(refusal);
        }
        if step || too_far {
            // V may still be moving as one peer after another is heard; a step spent too early would be missed later.
            let still = moved_ns.abs() * 10.0 <= self.limits.step_threshold_ns.max(0) as f64;
            self.still = if still { self.still + 1 } else { 0 };
            if self.still < STILL_DECISIONS {
                return Ok(Move { rate: v_rate, step_ns: 0 });
            }
            if too_far {
                return Err(self.refuse(self.too_far(lag_ns)));
            }
            if !matches!(self.phase, Phase::CatchingUp { .. }) {
                let total_ns = self.total_ns + lag_ns.abs();
                if total_ns > self.limits.total_ns_max {
                    return Err(self.refuse(Refusal::Total { ns: total_ns, max_ns: self.limits.total_ns_max }));
                }
                self.total_ns = total_ns;
            }
            self.note(Happening::Stepped);
            return Ok(Move { rate: v_rate, step_ns: lag_ns.round() as i64 });
        }
        Ok(Move { rate: steer(v_rate, lag_ns, closing_s, self.slew_max()), step_ns: 0 })
    }

    fn may_step_now(&self) -> bool {
        use Phase::{CatchingUp, Restoring, Returning};
        matches!(self.phase, CatchingUp { step_left: true } | Returning { step_left: true } | Restoring)
    }

    fn slew_max(&self) -> f64 {
        let may_hurry = self.limits.allow_step && !self.limits.slew_max_always;
        let hurries = may_hurry && self.phase != Phase::Settled;
        if hurries { SLEW_CATCHING_UP.max(self.limits.slew_max) } else { self.limits.slew_max }
    }

    fn change_ns_max(&self) -> f64 {
        match self.phase {
            Phase::CatchingUp { .. } => self.limits.start_change_ns_max,
            _ => self.limits.change_ns_max,
        }
    }

    fn too_far(&self, ns: f64) -> Refusal {
        let max_ns = self.change_ns_max();
        match self.phase {
            Phase::CatchingUp { .. } => Refusal::AtStart { ns, max_ns },
            _ => Refusal::Change { ns, max_ns },
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.phase = Phase::Refused(refusal);
        refusal
    }
}

/// The table of a clock's phases.
#[rustfmt::skip]
fn next(phase: Phase, happening: Happening) -> Phase {
    use Happening::{CaughtUp, Jumped, Moved, StartedAnew, Stepped};
    use Phase::{CatchingUp, Refused, Restoring, Returning, Settled};
    match (phase, happening) {
        (Refused(refusal),                  _)           => Refused(refusal),
        (_,                                 StartedAnew) => CatchingUp { step_left: true },
        (_,                                 CaughtUp)    => Settled,
        (CatchingUp { .. },                 Stepped)     => CatchingUp { step_left: false },
        (Returning { .. },                  Stepped)     => Returning { step_left: false },
        // What happens to the clock before the step was spent changes nothing; afterwards it counts.
        (CatchingUp { step_left: true },    Jumped)      => CatchingUp { step_left: true },
        (_,                                 Jumped)      => Returning { step_left: true },
        (CatchingUp { step_left: true },    Moved)       => CatchingUp { step_left: true },
        (Returning { step_left: true },     Moved)       => Returning { step_left: true },
        (_,                                 Moved)       => Restoring,
        // What the one step has left over is slewed in haste; `CaughtUp` comes only with the next agreement.
        (Restoring,                         Stepped)     => Restoring,
        (Settled,                           Stepped)     => unreachable!("a settled clock is not stepped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: i64 = 62_500_000;
    const MS: f64 = 1e6;
    const S: f64 = 1e9;

    fn guard(limits: Limits) -> Guard {
        Guard::new(limits, TICK_NS)
    }

    fn settled(limits: Limits) -> Guard {
        let mut guard = guard(limits);
        guard.note(Happening::CaughtUp);
        guard
    }

    fn moved(limits: Limits) -> Guard {
        let mut guard = settled(limits);
        guard.note(Happening::Moved);
        guard
    }

    /// Lets a clock follow a still V for `ticks`; gives the lag left and the steps taken, or the refusal.
    fn follow(guard: &mut Guard, mut lag_ns: f64, ticks: u32) -> Result<(f64, Vec<i64>), Refusal> {
        let mut steps = Vec::new();
        for _ in 0..ticks {
            let advice = guard.advise(0.0, lag_ns, 0.0)?;
            if advice.step_ns != 0 {
                steps.push(advice.step_ns);
            }
            lag_ns -= advice.step_ns as f64 + advice.rate * TICK_NS as f64;
        }
        Ok((lag_ns, steps))
    }

    fn steps(guard: &mut Guard, lag_ns: f64) -> Vec<i64> {
        follow(guard, lag_ns, 10).unwrap().1
    }

    #[test]
    fn other_limits_hold_at_once_and_move_no_clock_by_themselves() {
        // A settled clock 1 s off is not stepped because a step is allowed now, and slews within the new limit.
        let none = Limits { allow_step: false, ..Limits::default() };
        let mut guard = settled(none);
        guard.set_limits(Limits { slew_max: 20e-6, step_threshold_ns: 1, ..Limits::default() });
        let advice = guard.advise(0.0, 1e9, 0.0).unwrap();
        assert_eq!((advice.step_ns, advice.rate), (0, 20e-6));
        guard.set_limits(Limits { slew_max: 40e-6, ..Limits::default() });
        assert_eq!(guard.advise(0.0, 1e9, 0.0).unwrap().rate, 40e-6);
        // A narrower limit on changes ends it, and a wider one afterwards does not take that back.
        guard.set_limits(Limits { change_ns_max: 1e8, ..Limits::default() });
        let refusal = follow(&mut guard, 1e9, 10).unwrap_err();
        assert!(matches!(refusal, Refusal::Change { max_ns: 1e8, .. }), "{refusal}");
        guard.set_limits(Limits::default());
        assert_eq!(follow(&mut guard, 0.0, 1).unwrap_err(), refusal);
        // At a start: forbidden steps are not taken, allowed ones are.
        let mut guard = Guard::new(none, TICK_NS);
        assert!(steps(&mut guard, 1e9).is_empty());
        guard.set_limits(Limits::default());
        assert_eq!(steps(&mut guard, 1e9), [1_000_000_000]);
        // What was stepped before counts against the new sum.
        let mut guard = moved(Limits::default());
        assert_eq!(steps(&mut guard, 2e9).len(), 1);
        guard.set_limits(Limits { total_ns_max: 3e9, ..Limits::default() });
        let refusal = follow(&mut guard, 2e9, 10).unwrap_err();
        assert!(matches!(refusal, Refusal::Total { ns: 4e9, .. }), "{refusal}");
    }

    #[test]
    fn the_table_of_phases() {
        use Happening::{CaughtUp, Jumped, Moved, StartedAnew, Stepped};
        let fresh = Phase::CatchingUp { step_left: true };
        let spent = Phase::CatchingUp { step_left: false };
        let back = Phase::Returning { step_left: true };
        let refused = Phase::Refused(Refusal::Total { ns: 1.0, max_ns: 0.0 });
        let table: &[(&[Happening], Phase)] = &[
            (&[], fresh),
            (&[Stepped], spent),
            (&[Moved], fresh),
            (&[Stepped, Moved], Phase::Restoring),
            (&[Stepped, StartedAnew], fresh),
            (&[Jumped], fresh),
            (&[Stepped, Jumped], back),
            (&[CaughtUp, Jumped], back),
            (&[CaughtUp, Jumped, Jumped], back),
            (&[CaughtUp, Jumped, Moved], back),
            (&[CaughtUp, Jumped, Stepped], Phase::Returning { step_left: false }),
            (&[CaughtUp, Jumped, Stepped, Moved], Phase::Restoring),
            (&[CaughtUp, Jumped, Stepped, CaughtUp], Phase::Settled),
            (&[CaughtUp, Jumped, StartedAnew], fresh),
            (&[CaughtUp, Moved, Jumped], back),
            (&[CaughtUp], Phase::Settled),
            (&[Stepped, CaughtUp], Phase::Settled),
            (&[CaughtUp, Moved], Phase::Restoring),
            (&[CaughtUp, Moved, Moved], Phase::Restoring),
            (&[CaughtUp, Moved, Stepped], Phase::Restoring),
            (&[CaughtUp, Moved, Stepped, CaughtUp], Phase::Settled),
            (&[CaughtUp, StartedAnew], fresh),
            (&[CaughtUp, Moved, StartedAnew], fresh),
        ];
        for (happenings, phase) in table {
            let mut guard = guard(Limits::default());
            happenings.iter().for_each(|happening| guard.note(*happening));
            assert_eq!(guard.phase, *phase, "{happenings:?}");
        }
        for happening in [CaughtUp, Jumped, Moved, StartedAnew, Stepped] {
            assert_eq!(next(refused, happening), refused, "{happening:?}: a refusal is for good");
        }
    }

    #[test]
    fn a_large_error_at_start_is_stepped_exactly_once() {
        let mut guard = guard(Limits::default());
        let (lag_ns, steps) = follow(&mut guard, 3.0 * S, 10).unwrap();
        assert_eq!(steps, [3_000_000_000]);
        assert!(lag_ns.abs() < 1.0);
        assert!(follow(&mut guard, 3.0 * S, 10).unwrap().1.is_empty());
    }

    #[test]
    fn a_clock_whose_ticks_come_late_is_not_overshot() {
        let mut guard = Guard::new(Limits::default(), TICK_NS);
        let late_ns = 2.5 * TICK_NS as f64;
        let mut lag_ns = 50_000.0;
        for _ in 0..20 {
            guard.ticked(late_ns * 1e-9);
            lag_ns -= guard.advise(0.0, lag_ns, 0.0).unwrap().rate * late_ns;
        }
        assert!(lag_ns.abs() < 1.0, "{lag_ns} ns left");
    }

    #[test]
    fn an_error_at_the_threshold_is_slewed_and_one_past_it_is_stepped() {
        for make in [guard, moved] {
            assert!(steps(&mut make(Limits::default()), 100.0 * MS).is_empty());
            assert_eq!(steps(&mut make(Limits::default()), 100.0 * MS + 1.0), [100_000_001]);
            assert_eq!(steps(&mut make(Limits::default()), -100.0 * MS - 1.0), [-100_000_001]);
        }
    }

    #[test]
    fn ten_milliseconds_are_gone_within_half_a_second() {
        let (lag_ns, steps) = follow(&mut guard(Limits::default()), 10.0 * MS, 8).unwrap();
        assert!(steps.is_empty() && lag_ns < 100_000.0, "{lag_ns} ns left");
        assert!(follow(&mut guard(Limits::default()), 10.0 * MS, 16).unwrap().0 < 1_000.0);
    }

    #[test]
    fn the_step_waits_until_v_holds_still() {
        let mut guard = guard(Limits::default());
        for _ in 0..20 {
            assert_eq!(guard.advise(0.0, 2.0 * S, 0.5 * S).unwrap().step_ns, 0);
        }
        assert_eq!(follow(&mut guard, 2.0 * S, 8).unwrap().1, [2_000_000_000]);
    }

    #[test]
    fn after_the_start_nothing_is_stepped_and_nothing_slewed_faster_than_the_limit() {
        let advice = settled(Limits::default()).advise(0.0, 5.0 * S, 0.0).unwrap();
        assert_eq!(advice, Move { rate: 500e-6, step_ns: 0 });
        let slow = Limits { slew_max: 20e-6, ..Limits::default() };
        assert_eq!(settled(slow).advise(3e-6, -5.0 * S, 0.0).unwrap(), Move { rate: -17e-6, step_ns: 0 });
    }

    #[test]
    fn a_clock_that_must_not_be_stepped_is_never_slewed_faster_than_the_limit() {
        let never = Limits { allow_step: false, ..Limits::default() };
        for make in [guard, moved, settled] {
            let advice = make(never).advise(0.0, 5.0 * S, 0.0).unwrap();
            assert_eq!(advice, Move { rate: 500e-6, step_ns: 0 });
            assert!(steps(&mut make(never), 5.0 * S).is_empty());
        }
    }

    #[test]
    fn what_somebody_else_moved_is_put_right_at_once_and_then_never_again_without_cause() {
        let mut guard = moved(Limits::default());
        let (lag_ns, steps) = follow(&mut guard, 200.0 * MS, 10).unwrap();
        assert!(steps == [200_000_000] && lag_ns.abs() < 1.0, "{steps:?} {lag_ns}");
        guard.note(Happening::CaughtUp);
        assert!(follow(&mut guard, 200.0 * MS, 10).unwrap().1.is_empty());
        let (lag_ns, steps) = follow(&mut moved(Limits::default()), 90.0 * MS, 30).unwrap();
        assert!(steps.is_empty() && lag_ns < 1_000.0, "{lag_ns}");
    }

    #[test]
    fn a_change_at_its_limit_is_made_and_one_past_it_is_refused_for_good() {
        let limits = Limits { start_change_ns_max: 60.0 * S, change_ns_max: 2.0 * S, ..Limits::default() };
        assert_eq!(steps(&mut guard(limits), 60.0 * S), [60_000_000_000]);
        assert_eq!(steps(&mut moved(limits), -2.0 * S), [-2_000_000_000]);
        assert!(follow(&mut settled(limits), 2.0 * S, 10).is_ok());

        let at_start = follow(&mut guard(limits), 60.0 * S + 1.0, 10).unwrap_err();
        assert_eq!(at_start, Refusal::AtStart { ns: 60.0 * S + 1.0, max_ns: 60.0 * S });
        for make in [moved, settled] {
            let mut guard = make(limits);
            let refusal = follow(&mut guard, -2.0 * S - 1.0, 10).unwrap_err();
            assert_eq!(refusal, Refusal::Change { ns: -2.0 * S - 1.0, max_ns: 2.0 * S });
            assert_eq!(guard.advise(0.0, 0.0, 0.0).unwrap_err(), refusal, "for good");
        }
        // Without the right to step the limits hold as well.
        let never = Limits { allow_step: false, ..limits };
        assert!(follow(&mut guard(never), 60.0 * S + 1.0, 10).is_err());
    }

    #[test]
    fn a_clock_is_not_called_too_far_off_while_v_moves() {
        let mut guard = settled(Limits { change_ns_max: S, ..Limits::default() });
        for _ in 0..20 {
            assert!(guard.advise(0.0, 2.0 * S, 0.5 * S).is_ok());
        }
        assert!(follow(&mut guard, 2.0 * S, 8).is_err());
    }

    #[test]
    fn steps_that_put_right_what_others_did_add_up_to_the_limit_and_not_beyond() {
        let limits = Limits { total_ns_max: 3.0 * S, ..Limits::default() };
        let mut guard = guard(limits);
        assert_eq!(steps(&mut guard, 50.0 * S), [50_000_000_000], "the step at start does not count");
        for step_ns in [1e9, -1e9, 1e9] {
            guard.note(Happening::CaughtUp);
            guard.note(Happening::Moved);
            assert_eq!(steps(&mut guard, step_ns), [step_ns as i64]);
        }
        guard.note(Happening::CaughtUp);
        guard.note(Happening::Moved);
        let refusal = follow(&mut guard, 100.0 * MS + 1.0, 10).unwrap_err();
        assert!(matches!(refusal, Refusal::Total { ns, .. } if ns == 3.1 * S + 1.0), "{refusal:?}");
    }

    #[test]
    fn only_a_start_may_change_a_clock_by_any_amount() {
        let jumped = |limits| {
            let mut guard = settled(limits);
            guard.note(Happening::Jumped);
            guard
        };
        let limits = Limits { change_ns_max: 2.0 * S, total_ns_max: 5.0 * S, ..Limits::default() };
        assert_eq!(steps(&mut guard(limits), 86_400.0 * S), [86_400_000_000_000]);
        let refusal = follow(&mut jumped(limits), 2.0 * S + 1.0, 10).unwrap_err();
        assert_eq!(refusal, Refusal::Change { ns: 2.0 * S + 1.0, max_ns: 2.0 * S });
        // One step for each jump, and all of them add up.
        let mut guard = jumped(limits);
        for _ in 0..2 {
            assert_eq!(follow(&mut guard, 2.0 * S, 30).unwrap().1, [2_000_000_000]);
            assert!(follow(&mut guard, 2.0 * S, 30).unwrap().1.is_empty(), "the one step is spent");
            guard.note(Happening::Jumped);
        }
        assert!(matches!(follow(&mut guard, 2.0 * S, 10).unwrap_err(), Refusal::Total { ns: 6e9, .. }));
    }

    #[test]
    fn who_keeps_setting_a_clock_that_has_not_caught_up_yet_comes_to_an_end() {
        let mut guard = guard(Limits { total_ns_max: 10.0 * S, ..Limits::default() });
        let mut taken = 0;
        let refusal = loop {
            match follow(&mut guard, -3.0 * S, 30) {
                Ok((_, steps)) => taken += steps.len(),
                Err(refusal) => break refusal,
            }
            guard.note(Happening::Moved);
        };
        assert_eq!((taken, refusal), (4, Refusal::Total { ns: 12.0 * S, max_ns: 10.0 * S }), "the start's and three");
    }

    #[test]
    fn a_slew_limit_that_is_to_hold_always_holds_in_haste_too() {
        let limits = Limits { slew_max: 200e-6, slew_max_always: true, ..Limits::default() };
        for make in [guard, moved, settled] {
            let advice = make(limits).advise(0.0, -50.0 * MS, 0.0).unwrap();
            assert_eq!(advice, Move { rate: -200e-6, step_ns: 0 });
        }
        assert_eq!(steps(&mut guard(limits), 5.0 * S), [5_000_000_000], "a step is another matter");
    }

    #[test]
    fn a_refusal_is_a_sentence_that_names_the_option() {
        for (refusal, option) in [
            (Refusal::AtStart { ns: -86_400e9, max_ns: S }, "--max-change-at-start"),
            (Refusal::Change { ns: 1_500e9, max_ns: 1_000e9 }, "--max-change is 1000.000 s"),
            (Refusal::Total { ns: 2.0, max_ns: 1.0 }, "--max-total"),
        ] {
            assert!(refusal.to_string().contains(option), "{refusal}");
        }
    }
}
