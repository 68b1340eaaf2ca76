//! At which mean rate a V runs against its raw clock, all its moves of phase included: what a node says is its rate is
//! only what it means to keep to, and a cluster that is dragged is dragged by moves of phase. Looks at mappings only,
//! so no path's noise is in it.

/// Memory, seconds.
const MEMORY_S: f64 = 20.0;
/// Nothing is said of a V before it has been watched for so long, seconds.
const WATCHED_S: f64 = 20.0;

/// How a V has moved since both ends agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Conduct {
    watched_s: f64,
    rate: f64,
}

impl Conduct {
    /// Takes in that in `dt_s` V has left what was said of it before by `moved_ns`, having said that its rate was
    /// `rate` (seconds per second).
    pub(super) fn note(&mut self, moved_ns: f64, rate: f64, dt_s: f64) {
        if dt_s <= 0.0 {
            return;
        }
        self.watched_s += dt_s;
        let share = (dt_s / MEMORY_S.min(self.watched_s)).min(1.0);
        self.rate += share * (rate + moved_ns * 1e-9 / dt_s - self.rate);
    }

    /// Mean rate of V against its raw clock (seconds per second); `None` until watched.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.watched_s > WATCHED_S).then_some(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_a_v_before_it_has_been_watched() {
        let mut conduct = Conduct::default();
        conduct.note(1.0, 0.0, 1.0);
        assert_eq!(conduct.rate(), None);
    }

    #[test]
    fn moves_of_phase_are_part_of_the_rate() {
        let mut conduct = Conduct::default();
        for _ in 0..800 {
            conduct.note(40.0, 2e-6, 0.125);
        }
        assert!((conduct.rate().unwrap() - 2e-6 - 320e-9).abs() < 1e-12);
    }
}
