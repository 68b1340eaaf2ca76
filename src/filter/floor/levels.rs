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
/// How often a level that is not home is compared, exchanges.
const COMPARED_EVERY: u32 = 16;
/// The level at which the path was met, where it mostly is. With its round trip it has its asymmetry as well, if what
/// has been learnt of that is not more than this many of the stamps' standard deviations: changes as small as that are
/// overlooked now and then, and an overlooked one is missing in the sum.
const HOME: usize = 0;
const HOME_STAMPS: f64 = 10.0;

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
        Levels { known: [None; LEVELS], here: Some(HOME), left: Level::default(), next: 1 }
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
        self.here != Some(HOME) && seen.is_multiple_of(COMPARED_EVERY)
    }

    /// The known level that `level` is, the stamps' error being `stamp_ns`; from now on the path is there.
    pub(super) fn returned(&mut self, level: &Level, stamp_ns: f64) -> Option<Level> {
        let moved = SAME_STAMP * stamp_ns;
        let within = |variance: f64| SAME_SIGMAS * (variance + moved * moved).sqrt();
        let floor_differs = |other: &Level| (level.floor - other.floor).abs() > within(level.p_floor + other.p_floor);
        let asymmetry_differs = |other: &Level, least: f64| {
            let most = within(level.p_asymmetry + other.p_asymmetry).max(least);
            (level.asymmetry - other.asymmetry).abs() > most
        };
        let differs = |other: &Level| floor_differs(other) || asymmetry_differs(other, 0.0);
        let from = self.here.and_then(|here| self.known[here]).unwrap_or(self.left);
        if !differs(&from) {
            return None;
        }
        let is_home = |home: &Level| {
            floor_differs(&from) && !floor_differs(home) && !asymmetry_differs(home, HOME_STAMPS * stamp_ns)
        };
        let index = if self.known[HOME].as_ref().is_some_and(is_home) {
            HOME
        } else if self.here.is_none() {
            self.known.iter().position(|known| known.is_some_and(|known| !differs(&known)))?
        } else {
            return None;
        };
        self.here = Some(index);
        self.known[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(floor: f64, asymmetry: f64, variance: f64) -> Level {
        Level { floor, p_floor: 4.0, asymmetry, p_asymmetry: variance }
    }

    #[test]
    fn a_path_that_comes_back_has_the_asymmetry_that_it_had() {
        let mut levels = Levels::new();
        let home = level(5_000.0, 0.0, 0.0);
        levels.leave(home);
        assert_eq!(levels.returned(&level(15_000.0, 10_000.0, 25.0), 30.0), None);
        levels.leave(level(15_000.0, 10_004.0, 25.0));
        assert_eq!(levels.returned(&level(5_003.0, 9.0, 50.0), 30.0), Some(home));
        levels.leave(level(5_001.0, 0.0, 0.0));
        assert_eq!(levels.returned(&level(15_003.0, 9_990.0, 30.0), 30.0), Some(level(15_000.0, 10_004.0, 25.0)));
    }

    #[test]
    fn a_path_is_not_back_before_it_can_be_told_from_where_it_was() {
        let mut levels = Levels::new();
        levels.leave(level(5_000.0, 0.0, 0.0));
        assert_eq!(levels.returned(&Level { p_floor: 1e6, ..level(6_000.0, 1_000.0, 1e6) }, 30.0), None);
    }

    #[test]
    fn the_round_trip_of_home_is_not_home_if_one_way_is_much_longer() {
        let mut levels = Levels::new();
        levels.leave(level(5_000.0, 0.0, 0.0));
        levels.leave(level(15_000.0, 10_000.0, 25.0));
        assert_eq!(levels.returned(&level(5_000.0, 20_000.0, 50.0), 30.0), None);
        assert!(levels.returned(&level(5_000.0, 250.0, 50.0), 30.0).is_some(), "ten of the stamps' sigmas");
    }
}
