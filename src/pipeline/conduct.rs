//! At which mean rate a V runs against its raw clock, all its moves of phase included: what a node says is its rate is
//! only what it means to keep to, and a cluster that is dragged is dragged by moves of phase. Looks at mappings only,
//! so no path's noise is in it.

/// Least memory, seconds: what the ensemble is dragged meanwhile is not taken back.
const MEMORY_S: f64 = 5.0;
/// Memory in intervals between words: the anchor must not outrun what it hears.
const MEMORY_INTERVALS: f64 = 4.0;

/// How a V has moved since both ends agreed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Conduct {
    memory_s: f64,
    watched_s: f64,
    rate: f64,
}

impl Conduct {
    /// Nothing watched yet of a V that is heard every so often.
    pub(super) fn new(interval_ns: i64) -> Self {
        let memory_s = MEMORY_S.max(MEMORY_INTERVALS * interval_ns as f64 * 1e-9);
        Conduct { memory_s, watched_s: 0.0, rate: 0.0 }
    }

    /// How far it looks back, seconds. Nothing is said of a V before it has been watched for so long.
    pub(super) fn memory_s(&self) -> f64 {
        self.memory_s
    }

    /// What has been watched belongs to the past.
    pub(super) fn forget(&mut self) {
        (self.watched_s, self.rate) = (0.0, 0.0);
    }

    /// Takes in that in `dt_s` V has left what was said of it before by `moved_ns`, having said that its rate was
    /// `rate` (seconds per second).
    pub(super) fn note(&mut self, moved_ns: f64, rate: f64, dt_s: f64) {
        if dt_s <= 0.0 {
            return;
        }
        self.watched_s += dt_s;
        let share = (dt_s / self.memory_s.min(self.watched_s)).min(1.0);
        self.rate += share * (rate + moved_ns * 1e-9 / dt_s - self.rate);
    }

    /// Mean rate of V against its raw clock (seconds per second); `None` until watched.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.watched_s > self.memory_s).then_some(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_a_v_before_it_has_been_watched() {
        let mut conduct = Conduct::new(125_000_000);
        conduct.note(1.0, 0.0, 1.0);
        assert_eq!(conduct.rate(), None);
    }

    #[test]
    fn moves_of_phase_are_part_of_the_rate() {
        let mut conduct = Conduct::new(125_000_000);
        for _ in 0..800 {
            conduct.note(40.0, 2e-6, 0.125);
        }
        assert!((conduct.rate().unwrap() - 2e-6 - 320e-9).abs() < 1e-12);
    }
}
