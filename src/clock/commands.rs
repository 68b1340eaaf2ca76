//! The rates that a clock was told lately, for whoever carries its stamps over to raw time while it is being slewed: a
//! slew that this program ordered is known better than it can be measured, and is no jump. Steps are not in it.

/// Commands kept: a quarter of a second of steering, many times what lies between two looks at both clocks.
const KEPT: usize = 8;

/// One command.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Command {
    /// Machine raw time from which on it holds, ns.
    raw_ns: i64,
    /// How much faster than raw the clock runs (seconds per second).
    rate: f64,
}

/// The last commands; none for a clock that nobody here steers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Commands {
    /// Oldest first.
    kept: [Command; KEPT],
    len: usize,
}

impl Commands {
    /// From `raw_ns` (machine raw time) on the clock runs `rate` faster than raw; not earlier than the command before.
    pub fn push(&mut self, raw_ns: i64, rate: f64) {
        if self.len == KEPT {
            self.kept.rotate_left(1);
            self.len -= 1;
        }
        self.kept[self.len] = Command { raw_ns, rate };
        self.len += 1;
    }

    /// What the clock has gained on raw from one machine raw time to another, ns; negative the other way round. `None`
    /// if one of them lies before the oldest command kept.
    #[must_use]
    pub fn gained_ns(&self, from_ns: i64, to_ns: i64) -> Option<f64> {
        if to_ns < from_ns {
            return self.gained_ns(to_ns, from_ns).map(|gained| -gained);
        }
        let commands = &self.kept[..self.len];
        if commands.first()?.raw_ns > from_ns {
            return None;
        }
        let mut gained_ns = 0.0;
        let mut until_ns = to_ns;
        for command in commands.iter().rev() {
            let since_ns = command.raw_ns.max(from_ns);
            if since_ns < until_ns {
                gained_ns += command.rate * (until_ns - since_ns) as f64;
                until_ns = since_ns;
            }
        }
        Some(gained_ns)
    }

    /// The raw time at which the clock shows `ahead_ns` more than at `from_ns`. `None` as in [`Commands::gained_ns`].
    #[must_use]
    pub fn raw_after(&self, from_ns: i64, ahead_ns: i64) -> Option<i64> {
        let steady_ns = from_ns.checked_add(ahead_ns)?;
        let oldest_ns = self.kept[..self.len].first()?.raw_ns;
        let mut raw_ns = steady_ns;
        // Each turn leaves a tenth of the error at most, as no clock is slewed faster.
        for _ in 0..12 {
            let next_ns = steady_ns - self.gained_ns(from_ns, raw_ns.max(oldest_ns))?.round() as i64;
            let found = (next_ns - raw_ns).abs() <= 1;
            raw_ns = next_ns;
            if found {
                break;
            }
        }
        (raw_ns >= oldest_ns).then_some(raw_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn what_is_gained_is_the_sum_over_the_commands_and_the_way_back_is_its_negative() {
        let mut commands = Commands::default();
        assert_eq!(commands.gained_ns(0, 1), None, "nobody steers it");
        for (at, rate) in [(0, 0.1), (10 * MS, -0.1), (20 * MS, 0.0)] {
            commands.push(at, rate);
        }
        for (from, to, gained) in [(0, 10, 1.0), (0, 20, 0.0), (5, 15, 0.0), (12, 30, -0.8), (25, 30, 0.0)] {
            let gained_ns = gained * MS as f64;
            assert_eq!(commands.gained_ns(from * MS, to * MS), Some(gained_ns));
            assert_eq!(commands.gained_ns(to * MS, from * MS), Some(-gained_ns));
        }
        assert_eq!(commands.gained_ns(-1, 5 * MS), None);
    }

    #[test]
    fn the_raw_time_of_a_stamp_is_found_across_commands_to_a_nanosecond() {
        let mut commands = Commands::default();
        (0..8).for_each(|n| commands.push(n * 10 * MS, if n % 2 == 0 { 0.1 } else { -0.0995 }));
        for from in [5 * MS, 39 * MS, 79 * MS] {
            for to in [1, 7 * MS, 33 * MS, 78 * MS] {
                let ahead_ns = to - from + commands.gained_ns(from, to).unwrap().round() as i64;
                let found = commands.raw_after(from, ahead_ns).unwrap();
                assert!((found - to).abs() <= 2, "{found} instead of {to}");
            }
        }
        assert_eq!(commands.raw_after(5 * MS, -20 * MS), None);
        assert_eq!(commands.raw_after(5 * MS, i64::MIN), None);
    }

    #[test]
    fn the_oldest_commands_are_forgotten() {
        let mut commands = Commands::default();
        (0..9).for_each(|n| commands.push(n * MS, 0.1));
        assert_eq!(commands.gained_ns(MS - 1, 9 * MS), None);
        assert!(commands.gained_ns(MS, 9 * MS).is_some());
    }
}
