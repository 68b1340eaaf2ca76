//! Levels at which the floors of a path have been: a route that goes and comes back is as asymmetric as it was, to the
//! last nanosecond, and what was learnt of its asymmetry on the way need not be kept. Remembers and compares; moves
//! nothing.

/// Levels that are remembered. The first is the one at which the path was met.
const LEVELS: usize = 4;
/// Two levels are the same if they lie no further apart than this many standard deviations,
/// while the level that was left lies further off.
const SAME_SIGMAS: f64 = 4.0;
/// Standard deviation that a floor itself may have moved while the path was elsewhere, in parts of the stamps' error.
const SAME_STAMP: f64 = 0.1;
/// How often a level just reached is compared, and for how long, exchanges.
const COMPARED_EVERY: u32 = 16;
const COMPARED_UNTIL: u32 = 256;

/// A model's idea of the floors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Level {
    /// Half of the smallest round trip, ns, and its variance.
    pub floor: f64,
    pub p_floor: f64,
    /// Half of the difference of the directions' floors, ns, and its variance.
    pub asymmetry: f64,
    pub p_asymmetry: f64,
}

/// Where the path is and where it has been.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    known: [Option<Level>; LEVELS],
    /// The one where the path is, unless it is nowhere that is known.
    here: Option<usize>,
    /// The level that was left for this one.
    left: Level,
    /// The next to be forgotten.
    next: usize,
}

impl Levels {
    pub(super) fn new() -> Self {
        Levels { known: [None; LEVELS], here: Some(0), left: Level::default(), next: 1 }
    }

    /// The path leaves `level`.
    pub(super) fn leave(&mut self, level: Level) {
        let index = self.here.unwrap_or_else(|| {
            let index = self.next;
            self.next = if index + 1 == LEVELS { 1 } else { index + 1 };
            index
        });
        self.known[index] = Some(level);
        (self.here, self.left) = (None, level);
    }

    /// True if a level that was reached `seen` exchanges ago is to be compared.
    pub(super) fn is_due(&self, seen: u32) -> bool {
        self.here.is_none() && seen <= COMPARED_UNTIL && seen.is_multiple_of(COMPARED_EVERY)
    }

    /// The known level that `level` is, the stamps' error being `stamp_ns`; from now on the path is there.
    pub(super) fn returned(&mut self, level: &Level, stamp_ns: f64) -> Option<Level> {
        let moved = SAME_STAMP * stamp_ns;
        let apart = |a: f64, b: f64, variance: f64| (a - b).abs() > SAME_SIGMAS * (variance + moved * moved).sqrt();
        let differs = |other: &Level| {
            apart(level.floor, other.floor, level.p_floor + other.p_floor)
                || apart(level.asymmetry, other.asymmetry, level.p_asymmetry + other.p_asymmetry)
        };
        if !differs(&self.left) {
            return None;
        }
        let index = self.known.iter().position(|known| known.is_some_and(|known| !differs(&known)))?;
        self.here = Some(index);
        self.known[index]
    }
}
