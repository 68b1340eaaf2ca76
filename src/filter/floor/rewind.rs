//! What is done about a change once it is recognised. A route that changed is taken into account from where it changed:
//! the estimate goes back to before, and goes through the exchanges since once more, with floors that may have moved.
//! So nothing is left of what it made of them under the wrong idea, and the offset is held by what the oscillators and
//! the other direction say. A level at which the path has been before is taken over whole.

use super::events::{Change, LATE_SIGMAS, LATE_SURPRISE, LATE_SURPRISE_OTHER, QUEUE_S, begun_at};
use super::levels::Level;
use super::model::{MODELS, Models, View};
use super::past::{Cursor, Mark, Recent};
use super::{AGILE, SETTLED_AFTER, Track, greatest};

/// Windows in which a change is looked for that the models have followed, and how often, exchanges.
const FOLLOWED_WINDOWS: [u32; 4] = [16, 32, 64, 128];
const FOLLOWED_EVERY: u32 = 16;
/// What was expected longer ago than this tells no change from floors that creep, seconds.
const FOLLOWED_S: f64 = 60.0;
/// Exchanges since one began before it is looked at.
const FOLLOWED_AFTER: u32 = 8;
/// A quarter of a window below what was expected by this many of the stamps' standard deviations is worth a look.
const FOLLOWED_SIGMAS: f64 = 2.5;
/// What was expected before may be off by this many standard deviations.
const PREDICTED_SIGMAS: f64 = 0.5;
/// There was a change that nothing else shows if that explains the exchanges better than none, and a rate that changed
/// if that explains them better than another change, each by this, nats.
const CHANGE_GAIN: f64 = 40.0;
const RATE_GAIN: f64 = 3.0;
/// Exchanges that it takes to tell another rate from another route, and a change of rate that no oscillator makes,
/// ns/s.
const RATE_AFTER: u32 = 8;
const RATE_MAX: f64 = 1e5;
/// Variance of the moment between two exchanges at which it did, for a rate of half its standard deviation.
const BETWEEN: f64 = 1.0 / 48.0;
/// Two floors that moved almost alike did so each by its own amount if that explains the exchanges better by this,
/// nats.
const APART_GAIN: f64 = 6.0;

/// No change of a path or step of a raw clock is greater than this, ns: it is booked, but nothing is weighed with it.
const CREDIBLE_NS: f64 = 1e10;

/// Levels known worse than this are not compared, ns².
const COMPARED_VAR: f64 = 1e12;

impl Track {
    /// Takes a change into account that began `age` exchanges ago, or, if it is not `sure`, whether there was any; what
    /// explains the exchanges since best is what has happened. Returns that.
    pub(super) fn book(&mut self, found: Change, age: u32, sure: bool) -> Option<Change> {
        let ages = [age, age + age.div_ceil(4), age.saturating_mul(3) / 2, age.saturating_mul(2)];
        let oldest = ages.into_iter().rev().find(|age| self.history.before(*age).is_some());
        let oldest = oldest.filter(|_| found.size() <= CREDIBLE_NS);
        let Some(oldest) = oldest else {
            if !sure {
                if matches!(found, Change::Rate { .. }) {
                    self.follow_agile();
                    return Some(found);
                }
                return None;
            }
            self.levels.leave(self.level());
            self.move_models(&found);
            self.settle_change();
            return Some(found);
        };
        let mut happened = None;
        let nothing = if sure { None } else { self.relived(oldest, None) };
        let nothing = nothing.map_or(f64::NEG_INFINITY, |(_, evidence)| evidence);
        let mut most = nothing + CHANGE_GAIN;
        for age in ages.into_iter().filter(|age| *age <= oldest) {
            let Some((track, evidence)) = self.relived(oldest, Some((found, age))) else { continue };
            if evidence < nothing {
                // If nothing was better before, it is not worth another look.
                happened.as_ref()?;
                break;
            }
            if evidence > most {
                (happened, most) = (Some((track, found)), evidence);
            }
        }
        if let Change::Floor { by, .. } = found {
            let apart = Change::Floors { forward: by, backward: by };
            if let Some((track, evidence)) = self.relived(oldest, Some((apart, age)))
                && evidence > most + APART_GAIN
            {
                (happened, most) = (Some((track, apart)), evidence);
            }
        }
        let least = if matches!(found, Change::Clock { .. }) { 1 } else { RATE_AFTER };
        for age in ages.into_iter().filter(|age| (least..=oldest).contains(age)) {
            let slope = 2.0 * found.size() / (f64::from(age) * self.watch.interval_s());
            if slope > RATE_MAX {
                continue;
            }
            let rate = Change::Rate { variance: slope * slope };
            if let Some((track, evidence)) = self.relived(oldest, Some((rate, age)))
                && evidence > most + RATE_GAIN
            {
                (happened, most) = (Some((track, rate)), evidence);
            }
        }
        let (track, change) = happened?;
        *self = track;
        self.settle_change();
        Some(change)
    }

    /// All models go on from where the most agile one is, and the past speaks for none of them. For a clock on the move
    /// of which nothing need be weighed, as that model has followed it, or nothing can be, as too little is left of the
    /// past: after a jump or in heat the others know nothing that is still true, and waiting until the scores turn took
    /// half a minute.
    pub(super) fn follow_agile(&mut self) {
        self.models.all_as(AGILE);
        self.log_likelihood = [self.log_likelihood[AGILE]; MODELS];
        self.watch.clear();
        self.halves.forget();
        self.history.forget();
    }

    /// Moves all models alike.
    fn move_models(&mut self, change: &Change) {
        match *change {
            Change::Clock { by, variance } => self.models.step_offset(by, variance),
            Change::Rate { variance } => {
                // It did so somewhere between two exchanges.
                let between_s = self.watch.interval_s();
                self.models.step_offset(0.0, BETWEEN * variance * between_s * between_s);
                self.models.unsettle_rate(variance);
            }
            Change::Floor { by, variance } => self.models.move_floor(by, variance),
            Change::Floors { forward, backward } => self.models.move_floors(forward, backward),
        }
        self.watch.clear();
        self.halves.forget();
    }

    /// No floor is higher than the smallest of the newest half round trips.
    pub(super) fn cap_floors(&mut self) {
        let highest = f64::from(self.halves.least()) + self.mixture.stamp_ns();
        self.models.cap_floor(highest);
    }

    /// What is left to do after a change.
    fn settle_change(&mut self) {
        self.compare();
        self.history.forget();
    }

    /// Keeps a copy of the state for later.
    pub(super) fn mark(&mut self) {
        self.history.mark(&self.models, self.log_likelihood, self.best, &self.mixture);
    }

    /// The best model's idea of the floors.
    pub(super) fn level(&self) -> Level {
        self.models.level(self.best)
    }

    /// If the path is where it has been before, its asymmetry is what it was then.
    pub(super) fn compare(&mut self) {
        let level = self.level();
        if level.p_asymmetry.max(level.p_floor) > COMPARED_VAR {
            // As good as unknown, and rounding would leave nothing of the other variances.
            return;
        }
        if let Some(known) = self.levels.returned(&level, self.mixture.stamp_ns()) {
            self.models.know_asymmetry(known.asymmetry, known.p_asymmetry);
        }
    }

    /// The track as it would be had `change` been known so many exchanges ago, and how well, in nats, it explains what
    /// came since the copy of the state from before the newest `oldest` exchanges.
    fn relived(&self, oldest: u32, change: Option<(Change, u32)>) -> Option<(Track, f64)> {
        let mark = self.history.before(oldest)?;
        let mut track = self.clone();
        let mut cursor = self.history.cursor(mark);
        (track.models, track.log_likelihood, track.best) = (mark.models, mark.log_likelihood, mark.best);
        track.mixture = mark.mixture.clone();
        track.samples = self.samples - self.history.since(mark);
        track.reliving = true;
        let mut evidence = [0.0; MODELS];
        let begun = change.map_or(0, |(_, age)| age);
        while track.history.left(&cursor) > begun {
            track.take_again(&mut cursor, &mut evidence);
        }
        if let Some((change, _)) = change {
            track.begin(change, cursor);
            while track.history.left(&cursor) > 0 {
                let half = track.take_again(&mut cursor, &mut evidence);
                if !matches!(change, Change::Rate { .. } | Change::Clock { .. }) {
                    track.halves.remember(half);
                }
                track.cap_floors();
                track.choose();
            }
        }
        track.reliving = false;
        Some((track, evidence[greatest(&evidence)]))
    }

    /// The change begins here.
    fn begin(&mut self, change: Change, cursor: Cursor) {
        match change {
            Change::Rate { .. } => self.move_models(&change),
            Change::Clock { .. } => {
                let moved = self.moved_since(cursor, change.directions());
                let again = Change::of(moved).filter(|again| matches!(again, Change::Clock { .. }));
                self.move_models(&again.unwrap_or(change));
            }
            Change::Floor { .. } | Change::Floors { .. } => {
                let [forward, backward] = self.moved_since(cursor, change.directions());
                let change = match change {
                    Change::Floor { variance, .. } => Change::Floor { by: (forward + backward) / 2.0, variance },
                    _ => Change::Floors { forward, backward },
                };
                self.levels.leave(self.level());
                self.move_models(&change);
            }
        }
    }

    /// Takes in one exchange of the past and adds how likely each model held it to be. Returns its half round trip.
    fn take_again(&mut self, cursor: &mut Cursor, evidence: &mut [f64; MODELS]) -> f64 {
        let Some(past) = self.history.next(cursor) else { return f64::INFINITY };
        let before = self.log_likelihood;
        self.take(past.elapsed_s, past.delays, past.initiator);
        for ((evidence, before), after) in evidence.iter_mut().zip(before).zip(self.log_likelihood) {
            *evidence += before + (after - before) * self.memory().max(1.0);
        }
        0.5 * (past.delays[0] + past.delays[1])
    }

    /// A change that may have been, and how many exchanges ago it began: a clock on the move, or a route that the
    /// models have followed instead of being surprised by it, judged by what was expected before, not by what is now.
    pub(super) fn followed_change(&self) -> Option<(Change, u32)> {
        if let Some(moving) = self.watch.moving() {
            return Some(moving);
        }
        if self.samples <= SETTLED_AFTER {
            return None;
        }
        if !self.watch.seen().is_multiple_of(FOLLOWED_EVERY) {
            return None;
        }
        let recent = |mark: &&Mark| f64::from(self.history.since(mark)) * self.watch.interval_s() <= FOLLOWED_S;
        let is_long = |window: &u32| f64::from(*window) * self.watch.interval_s() >= QUEUE_S;
        let longer = FOLLOWED_WINDOWS.into_iter().skip(1).find(is_long);
        let mut place = [Recent::default(); FOLLOWED_WINDOWS[FOLLOWED_WINDOWS.len() - 1] as usize];
        let newest = self.history.recall(&mut place[..longer.unwrap_or(FOLLOWED_WINDOWS[0]) as usize]);
        for window in FOLLOWED_WINDOWS.into_iter().take(1).chain(longer) {
            let long = is_long(&window);
            for mark in self.history.marks_before(window).filter(|mark| self.watch.seen() >= window && recent(mark)) {
                let newest = &newest[newest.len() - window as usize..];
                let Some((change, age)) = self.moved_from(mark, newest, long) else { continue };
                if age < self.history.since(mark) {
                    return Some((change, age));
                }
            }
        }
        None
    }

    /// What the exchanges of a window, the `newest`, say against what was expected at `mark`; packets that come late
    /// only count if the window is `long`er than a queue.
    fn moved_from(&self, mark: &Mark, newest: &[Recent], long: bool) -> Option<(Change, u32)> {
        let expected = Expected::at(&mark.models, mark.best);
        let stamp_ns = mark.mixture.stamp_ns();
        let whole_s = f64::from(self.history.since(mark)) * self.watch.interval_s();
        let doubt = PREDICTED_SIGMAS * expected.variance(whole_s, self.q).sqrt();
        let early = -(FOLLOWED_SIGMAS * stamp_ns + doubt);
        let least_early = newest.len() / 4;
        let innovations = |recent: &Recent| expected.innovations(recent.at_s - mark.at_s, recent.delays);
        // Nearly always there is nothing to see, and this is looked at all the time.
        let late = if long { LATE_SIGMAS * stamp_ns + doubt } else { f64::INFINITY };
        let mut found = [[0, 0]; 2];
        for nu in newest.iter().map(innovations) {
            for (found, nu) in found.iter_mut().zip(nu) {
                found[0] += usize::from(nu < early);
                found[1] += usize::from(nu > late);
            }
        }
        if found.iter().all(|[early, late]| *early < least_early && *late < newest.len()) {
            return None;
        }
        let mut seen = [Seen::new(); 2];
        for nu in newest.iter().map(innovations) {
            for (seen, own) in seen.iter_mut().zip(nu) {
                seen.note(own);
                seen.both = seen.both.min(nu[0] + nu[1]);
                if own < early {
                    seen.both_early = seen.both_early.min(nu[0] + nu[1]);
                }
            }
        }
        let surprise = [0, 1].map(|d| {
            let least = seen[d].least[0] - doubt;
            if !long || least <= LATE_SIGMAS * stamp_ns {
                return 0.0;
            }
            -(newest.len() as f64) * mark.mixture.ln_above(d, least / stamp_ns, stamp_ns)
        });
        let early = found.map(|[early, _]| early >= least_early);
        if !early[0] && !early[1] && surprise[0].max(surprise[1]) <= LATE_SURPRISE {
            return None;
        }
        let moved = [0, 1].map(|d| match early[d] {
            true => seen[d].least[1],
            false if surprise[d] > LATE_SURPRISE_OTHER => seen[d].least[0],
            false => 0.0,
        });
        if moved[0] * moved[1] < 0.0 {
            return None;
        }
        // What a moving clock adds to one direction it takes from the other: both together do not move with it.
        for d in 0..2 {
            let both =
                if moved[d] > 0.0 { seen[d].both < 0.25 * moved[d] } else { seen[d].both_early > 0.5 * moved[d] };
            if moved[d] != 0.0 && moved[1 - d] == 0.0 && both {
                return None;
            }
        }
        let mut age = [0, 0];
        let (mut cursor, mut later_s) = (self.history.cursor(mark), 0.0);
        while let Some(past) = self.history.next(&mut cursor) {
            later_s += past.elapsed_s;
            let nu = expected.innovations(later_s, past.delays);
            for d in 0..2 {
                let begun = if moved[d] > 0.0 {
                    nu[d] >= begun_at(moved[d], stamp_ns)
                } else {
                    age[d] > 0 || nu[d] <= 0.6 * moved[d]
                };
                age[d] = if begun { age[d] + 1 } else { 0 };
            }
        }
        let age = match moved {
            [0.0, _] => age[1],
            [_, 0.0] => age[0],
            _ => age[0].min(age[1]),
        };
        if age >= FOLLOWED_AFTER { Some((Change::of(moved)?, age)) } else { None }
    }

    /// How far the directions that `may` have moved lie off what was expected before, by the exchanges from the cursor
    /// on: the smallest of those that come late, the second smallest of those that come early, ns.
    fn moved_since(&self, mut cursor: Cursor, may: [f64; 2]) -> [f64; 2] {
        let expected = Expected::at(&self.models, self.best);
        let (mut later_s, mut seen) = (0.0, [Seen::new(); 2]);
        while let Some(past) = self.history.next(&mut cursor) {
            later_s += past.elapsed_s;
            for (seen, nu) in seen.iter_mut().zip(expected.innovations(later_s, past.delays)) {
                seen.note(nu);
            }
        }
        [0, 1].map(|direction| match may[direction] {
            way if way > 0.0 => seen[direction].least[0],
            way if way < 0.0 => seen[direction].least[1].min(0.0),
            _ => 0.0,
        })
    }
}

/// What a model expects of the delays to come, if nothing more were learnt.
struct Expected {
    state: View,
    level: Level,
}

impl Expected {
    fn at(models: &Models, lane: usize) -> Self {
        Expected { state: models.view(lane), level: models.level(lane) }
    }

    /// How far both delays of an exchange lie off, `later_s` seconds later, ns.
    fn innovations(&self, later_s: f64, delays: [f64; 2]) -> [f64; 2] {
        let relation = self.state.offset + self.state.rate * later_s + self.level.asymmetry;
        [delays[0] - self.level.floor - relation, delays[1] - self.level.floor + relation]
    }

    /// Variance of what is expected, under process noise `q`, ns²: what all exchanges of that time have in common.
    fn variance(&self, later_s: f64, q: f64) -> f64 {
        let state = &self.state;
        let drift = later_s * (2.0 * state.p_offset_rate + later_s * (state.p_rate + q * later_s / 3.0));
        (state.p_offset + drift + self.level.p_floor).max(0.0)
    }
}

/// What was seen of one direction's innovations.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The smallest and the second smallest, ns.
    least: [f64; 2],
    /// The smallest sum of both directions' innovations, of all exchanges and of those early in this direction, ns.
    both: f64,
    both_early: f64,
}

impl Seen {
    fn new() -> Self {
        Seen { least: [f64::INFINITY; 2], both: f64::INFINITY, both_early: f64::INFINITY }
    }

    fn note(&mut self, nu: f64) {
        let [first, second] = self.least;
        self.least = [first.min(nu), second.min(nu.max(first))];
    }
}
