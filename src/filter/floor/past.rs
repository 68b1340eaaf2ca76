//! What an edge's estimate was a while ago, and what has come since: a change is recognised seconds after it began, and
//! what was made of the exchanges in between was made under a wrong idea of the path. Keeps copies of the state and the
//! newest exchanges, so that they can be gone through once more. Estimates nothing.

use super::mixture::Mixture;
use super::model::{MODELS, Models, View};

/// Exchanges from one copy of the state to the next, and how many copies are kept. The oldest is 160 to 240 exchanges
/// old: the longest window of the late test that is gone through again is 128 (8 s at 16/s), seen up to 32 late.
const MARK_EVERY: u32 = 80;
const MARKS: usize = 3;
const LENGTH: usize = MARK_EVERY as usize * MARKS;

/// Beyond these, an exchange is not gone through again, nor what came before it: a silence as long, seconds, and a
/// round trip or a jump of the clock as great, ns.
const CREDIBLE_S: f32 = 10_000.0;
const CREDIBLE_NS: f32 = 1e10;

/// All that an exchange changes in the estimate of an edge, as it was.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// Exchanges that had been noted then.
    count: u32,
    /// When it was, on the history's own time, seconds.
    pub at_s: f64,
    /// Offset, ns, and rate, ns/s, from where the exchanges after it are told.
    line: [f64; 2],
    pub models: Models,
    pub log_likelihood: [f64; MODELS],
    pub best: usize,
    pub mixture: Mixture,
}

/// An exchange as the models take it in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Past {
    /// Since the one before, seconds.
    pub elapsed_s: f64,
    /// Apparent delays relative to the base, ns.
    pub delays: [f64; 2],
    pub initiator: bool,
}

/// One of the newest exchanges, for whoever looks at many of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    /// On the history's own time, seconds.
    pub at_s: f64,
    /// Apparent delays relative to the base, ns.
    pub delays: [f64; 2],
}

/// Where one is in the exchanges that are gone through again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    at: u32,
    line: [f64; 2],
}

/// The newest exchanges and the copies of the state between them. The delays are told from a straight line that begins
/// at the copy before: in f32 they then are exact to a millionth of the round trip.
#[derive(Clone, Debug)]
pub(super) struct History {
    elapsed_s: [f32; LENGTH],
    delays: [[f32; 2]; LENGTH],
    initiator: [bool; LENGTH],
    /// Exchanges noted so far, wrapping.
    count: u32,
    /// The time of the newest, seconds since the first.
    now_s: f64,
    line: [f64; 2],
    /// No exchange so far was incredible.
    credible: bool,
    marks: [Option<Mark>; MARKS],
}

impl History {
    pub(super) fn new() -> Self {
        History {
            elapsed_s: [0.0; LENGTH],
            delays: [[0.0; 2]; LENGTH],
            initiator: [false; LENGTH],
            count: 0,
            now_s: 0.0,
            line: [0.0; 2],
            credible: true,
            marks: [const { None }; MARKS],
        }
    }

    pub(super) fn note(&mut self, exchange: Past) {
        let elapsed_s = exchange.elapsed_s as f32;
        self.now_s += f64::from(elapsed_s);
        self.line[0] += self.line[1] * f64::from(elapsed_s);
        let slot = self.count as usize % LENGTH;
        self.elapsed_s[slot] = elapsed_s;
        let [forward, backward] = exchange.delays;
        self.delays[slot] = [(forward - self.line[0]) as f32, (backward + self.line[0]) as f32];
        self.initiator[slot] = exchange.initiator;
        let [forward, backward] = self.delays[slot].map(f32::abs);
        if elapsed_s > CREDIBLE_S || forward.max(backward) > CREDIBLE_NS {
            self.forget();
            self.credible = false;
        }
        self.count = self.count.wrapping_add(1);
    }

    /// The time of the newest exchange, seconds since the first.
    pub(super) fn now_s(&self) -> f64 {
        self.now_s
    }

    /// True if it is time for another copy.
    pub(super) fn is_due(&self) -> bool {
        let newest = self.marks.iter().flatten().map(|mark| self.count.wrapping_sub(mark.count)).min();
        newest.is_none_or(|age| age >= MARK_EVERY)
    }

    /// Keeps a copy of the state as it is now.
    pub(super) fn mark(&mut self, models: &Models, log_likelihood: [f64; MODELS], best: usize, mixture: &Mixture) {
        let View { offset, rate, .. } = models.view(best);
        self.line = [offset, rate];
        self.marks.rotate_right(1);
        let (models, mixture) = (*models, mixture.clone());
        let (count, at_s, line) = (self.count, self.now_s, self.line);
        self.marks[0] = Some(Mark { count, at_s, line, models, log_likelihood, best, mixture });
    }

    /// Forgets all copies: what they knew of the path is past.
    pub(super) fn forget(&mut self) {
        self.marks = [const { None }; MARKS];
    }

    /// The newest copy from before the newest `age` exchanges.
    pub(super) fn before(&self, age: u32) -> Option<&Mark> {
        self.marks_before(age).next()
    }

    /// The copies from before the newest `age` exchanges, newest first.
    pub(super) fn marks_before(&self, age: u32) -> impl Iterator<Item = &Mark> {
        self.marks.iter().flatten().filter(move |mark| self.since(mark) >= age && self.holds(mark))
    }

    fn holds(&self, mark: &Mark) -> bool {
        self.count.wrapping_sub(mark.count) as usize <= LENGTH
    }

    /// How many exchanges came since a copy.
    pub(super) fn since(&self, mark: &Mark) -> u32 {
        self.count.wrapping_sub(mark.count)
    }

    /// The newest exchanges, newest last: as many as there is place for, or as there are since the oldest copy.
    pub(super) fn recall<'a>(&self, place: &'a mut [Recent]) -> &'a [Recent] {
        let wanted = place.len() as u32;
        let oldest = self.marks.iter().flatten().rfind(|mark| self.holds(mark));
        let Some(mark) = self.before(wanted).or(oldest) else { return &[] };
        let (mut cursor, mut at_s) = (self.cursor(mark), mark.at_s);
        let mut count = 0;
        while let Some(past) = self.next(&mut cursor) {
            at_s += past.elapsed_s;
            if self.left(&cursor) < wanted {
                place[count] = Recent { at_s, delays: past.delays };
                count += 1;
            }
        }
        &place[..count]
    }

    /// From the first exchange noted, as long as all of them are there, none was incredible and no copy has been made.
    pub(super) fn beginning(&self) -> Option<Cursor> {
        let whole = self.credible && self.count as usize <= LENGTH && self.marks.iter().all(Option::is_none);
        whole.then_some(Cursor { at: 0, line: [0.0; 2] })
    }

    /// From the first exchange after a copy.
    pub(super) fn cursor(&self, mark: &Mark) -> Cursor {
        Cursor { at: mark.count, line: mark.line }
    }

    /// Exchanges from the cursor to the newest.
    pub(super) fn left(&self, cursor: &Cursor) -> u32 {
        self.count.wrapping_sub(cursor.at)
    }

    /// The exchange at the cursor, which moves on.
    pub(super) fn next(&self, cursor: &mut Cursor) -> Option<Past> {
        if cursor.at == self.count {
            return None;
        }
        if let Some(mark) = self.marks.iter().flatten().find(|mark| mark.count == cursor.at) {
            cursor.line = mark.line;
        }
        let slot = cursor.at as usize % LENGTH;
        let elapsed_s = f64::from(self.elapsed_s[slot]);
        cursor.line[0] += cursor.line[1] * elapsed_s;
        cursor.at = cursor.at.wrapping_add(1);
        let [forward, backward] = self.delays[slot].map(f64::from);
        let delays = [forward + cursor.line[0], backward - cursor.line[0]];
        Some(Past { elapsed_s, delays, initiator: self.initiator[slot] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(n: u32) -> Past {
        let drift = 20_000.0 * 0.125 * f64::from(n);
        let delays = [5_000.0 + drift + f64::from(n % 7), 5_000.0 - drift + f64::from(n % 5)];
        Past { elapsed_s: 0.125, delays, initiator: n.is_multiple_of(3) }
    }

    #[test]
    fn what_is_told_again_is_what_has_come() {
        let models = Models::new(0.0, 5_000.0, 20_000.0, 1.0, &Mixture::new(5_000.0));
        let mut history = History::new();
        for n in 0..1_000 {
            history.note(past(n));
            if history.is_due() {
                history.mark(&models, [0.0; MODELS], 0, &Mixture::new(5_000.0));
            }
            if n > 300 {
                let mark = history.before(100).expect("marks come every 80 exchanges");
                let since = history.since(mark);
                assert!((100..180).contains(&since), "{since}");
                let mut cursor = history.cursor(mark);
                for age in (0..since).rev() {
                    let (told, came) = (history.next(&mut cursor).unwrap(), past(n - age));
                    let apart = [0, 1].map(|d| (told.delays[d] - came.delays[d]).abs());
                    assert!(apart[0].max(apart[1]) < 1.0, "{told:?} {came:?}");
                    assert_eq!((told.elapsed_s, told.initiator), (came.elapsed_s, came.initiator));
                }
                assert_eq!(history.next(&mut cursor), None);
                let mut place = [Recent::default(); 64];
                let newest = history.recall(&mut place);
                assert_eq!(newest.len(), 64);
                for (age, recent) in newest.iter().rev().enumerate() {
                    let (told_s, came) = (0.125 * f64::from(n + 1 - age as u32), past(n - age as u32));
                    assert!((recent.at_s - told_s).abs() < 1e-9 && (recent.delays[0] - came.delays[0]).abs() < 1.0);
                }
            }
        }
        let mut place = [Recent::default(); 1_000];
        assert_eq!(history.recall(&mut place).len() as u32, history.since(history.marks_before(1).last().unwrap()));
        history.forget();
        assert!(history.before(1).is_none() && history.recall(&mut place).is_empty());
    }
}
