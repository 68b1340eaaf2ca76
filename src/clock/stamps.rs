//! From `CLOCK_REALTIME`, in which the kernel stamps packets, to the node's raw scale, on which everything is measured.
//! REALTIME is steered by whoever steers it and may be set at any time; the raw scale must notice neither.
//!
//! Both clocks are read together (a bracket) at most every millisecond, and a stamp is carried over from the nearest
//! bracket: at the rates that this program has told the clock, where it steers it, else at the measured rate. When two
//! brackets disagree by more than steering explains, REALTIME was set: for a while every stamp is refused (the caller
//! falls back on its own reading), because a stamp does not say on which side of the jump it was taken. What is not
//! noticed: a jump of less than a millisecond backwards, during the millisecond until the next bracket.

use super::commands::Commands;
use super::oscillator::Oscillator;
use super::source::{Machine, TimeSource};
use crate::sys::seqlock::SeqReader;
use crate::sys::time::Pair;
use crate::unit::RawTime;

/// A bracket is used for this long, ns.
const BRACKET_AGE_NS_MAX: i64 = 1_000_000;
/// The rate between the clocks is measured over at least this, ns: with 10 ns of noise at both ends it is good to
/// 0.3 ppm, which is nothing over a bracket's age.
const RATE_SPAN_NS: i64 = 50_000_000;
/// Change of rate between two brackets that is still steering by others: the kernel's range is +-500 ppm.
const RATE_CHANGE_MAX: f64 = 1e-3;
/// A clock strays by no more than this from the rate it was told by this program (seconds per second).
const RATE_STRAY_MAX: f64 = 1e-6;
/// Disagreement of two brackets that is never called a jump, beyond their widths, ns.
const JUMP_NS_MIN: i64 = 2_000;
/// Stamps are refused for this long after a jump, ns: longer than a packet waits to be read, and long enough to measure
/// the rate anew.
const DISTRUST_NS: i64 = 100_000_000;
/// A stamp may lie this much after its being read, ns: the error of a bracket on a bad day.
const FUTURE_NS_MAX: i64 = 1_000;
/// A stamp older than this is nobody's, ns: nobody waits longer for a transmit stamp.
const STAMP_AGE_NS_MAX: i64 = 2_000_000_000;

/// Turns the kernel's stamps into raw times of this node, and reads that raw time.
pub struct StampConverter<S = Machine> {
    source: S,
    oscillator: Oscillator,
    latest: Pair,
    /// Where the measurement of the rate began.
    anchor: Pair,
    /// How much faster RAW runs than REALTIME.
    rate: f64,
    /// Machine raw time before which no stamp is believed.
    trusted_from_raw_ns: i64,
    jumps: u64,
    /// What REALTIME is told by this program; `None` if it is not.
    steering: Option<SeqReader<Commands>>,
    commands: Commands,
    commands_version: u64,
}

impl<S: TimeSource> StampConverter<S> {
    /// A converter onto the raw scale of `oscillator`.
    pub fn new(mut source: S, oscillator: Oscillator) -> Self {
        let first = source.pair();
        StampConverter {
            source,
            oscillator,
            latest: first,
            anchor: first,
            rate: 0.0,
            trusted_from_raw_ns: i64::MIN,
            jumps: 0,
            steering: None,
            commands: Commands::default(),
            commands_version: 0,
        }
    }

    /// From now on REALTIME is steered by this program, which tells how.
    pub fn heed(&mut self, steering: SeqReader<Commands>) {
        self.steering = Some(steering);
    }

    /// The node's raw time now.
    pub fn now(&mut self) -> RawTime {
        self.oscillator.node_raw(self.source.raw_ns())
    }

    /// The node's raw time at the kernel's stamp `real_ns` (`CLOCK_REALTIME`), or `None` if it cannot be told: the
    /// clock was set lately, or the stamp is from the future or too old. About 30 ns, and 200 more once a millisecond.
    pub fn convert(&mut self, real_ns: i64) -> Option<RawTime> {
        self.machine_raw(real_ns).map(|raw_ns| self.oscillator.node_raw(raw_ns))
    }

    /// The same on the machine's raw clock, ns, which a fake oscillator does not disturb.
    pub fn machine_raw(&mut self, real_ns: i64) -> Option<i64> {
        let now_ns = self.source.raw_ns();
        if self.look_at_commands() || now_ns.wrapping_sub(self.latest.raw_ns) > BRACKET_AGE_NS_MAX {
            self.refresh();
        }
        let mut raw_ns = self.carried(real_ns);
        if raw_ns < self.latest.raw_ns || raw_ns > now_ns + FUTURE_NS_MAX {
            // Unusual for a packet just read. If REALTIME was set since the bracket, a new one shows it.
            self.refresh();
            raw_ns = self.carried(real_ns);
        }
        let oldest_ns = self.trusted_from_raw_ns.max(now_ns - STAMP_AGE_NS_MAX);
        (oldest_ns..=now_ns + FUTURE_NS_MAX).contains(&raw_ns).then_some(raw_ns)
    }

    /// Times that REALTIME was set by someone, as far as was noticed.
    #[must_use]
    pub const fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Reads both clocks anew.
    pub fn refresh(&mut self) {
        let pair = self.source.pair();
        // A command may have come since it was last looked.
        let jumped = self.has_jumped(&pair) && (!self.look_at_commands() || self.has_jumped(&pair));
        if pair.raw_ns >= self.trusted_from_raw_ns && jumped {
            self.jumps += 1;
            self.trusted_from_raw_ns = pair.raw_ns + DISTRUST_NS;
            self.anchor = pair;
        }
        self.latest = pair;
        let raw_span_ns = pair.raw_ns - self.anchor.raw_ns;
        let real_span_ns = pair.real_ns - self.anchor.real_ns;
        if raw_span_ns >= RATE_SPAN_NS && real_span_ns > 0 {
            self.rate = (raw_span_ns - real_span_ns) as f64 / real_span_ns as f64;
            self.anchor = pair;
        }
    }

    /// Takes over what this program has told the clock since it was last asked; true if there is something new.
    fn look_at_commands(&mut self) -> bool {
        let Some(steering) = self.steering.as_ref().filter(|s| s.version() != self.commands_version) else {
            return false;
        };
        (self.commands_version, self.commands) = (steering.version(), steering.read());
        true
    }

    /// Whether `pair` disagrees with the bracket before it by more than steering explains.
    fn has_jumped(&self, pair: &Pair) -> bool {
        let span_ns = pair.raw_ns - self.latest.raw_ns;
        let disagreement_ns = self.carried(pair.real_ns).wrapping_sub(pair.raw_ns).saturating_abs();
        let known = self.commands.gained_ns(self.latest.raw_ns, pair.raw_ns).is_some();
        let steered_ns = (span_ns as f64 * if known { RATE_STRAY_MAX } else { RATE_CHANGE_MAX }) as i64;
        disagreement_ns > JUMP_NS_MIN + steered_ns + (self.latest.width_ns + pair.width_ns) / 2
    }

    /// Machine raw time at the REALTIME `real_ns`, carried over from the latest bracket.
    fn carried(&self, real_ns: i64) -> i64 {
        let since_ns = real_ns.wrapping_sub(self.latest.real_ns);
        if let Some(raw_ns) = self.commands.raw_after(self.latest.raw_ns, since_ns) {
            return raw_ns;
        }
        let gained_ns = (since_ns as f64 * self.rate).round() as i64;
        self.latest.raw_ns.wrapping_add(since_ns).wrapping_add(gained_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::played::Played;
    use super::*;
    use crate::sys::seqlock::seqlock;

    const REAL_AHEAD_NS: i64 = 1_790_000_000_000_000_000;

    fn converter() -> (Played, StampConverter<Played>) {
        let machine = Played::new(1_000_000_000_000, REAL_AHEAD_NS);
        (machine.clone(), StampConverter::new(machine, Oscillator::IDENTITY))
    }

    /// Takes a stamp, waits, and returns the error of its conversion, ns.
    fn error_after(machine: &Played, converter: &mut StampConverter<Played>, wait_ns: i64) -> Option<i64> {
        let (truth, stamp) = (converter.now(), machine.real_ns());
        machine.advance(wait_ns);
        converter.convert(stamp).map(|at| at.since(truth))
    }

    #[test]
    fn a_stamp_of_this_machine_lies_between_the_raw_reads_around_it() {
        let mut converter = StampConverter::new(Machine, Oscillator::IDENTITY);
        for _ in 0..1_000 {
            let before = converter.now();
            let stamp = crate::sys::time::real_now();
            let after = converter.now();
            // The brackets' own error is their half width: all reads of this loop may be interrupted, so be generous.
            let at = converter.convert(stamp).expect("nobody sets the clock of a machine under test");
            assert!(at.plus(5_000) >= before && after.plus(5_000) >= at, "{before:?} {at:?} {after:?}");
        }
    }

    #[test]
    fn a_steered_realtime_costs_no_nanoseconds_once_its_rate_is_known() {
        for rate in [-500e-6, 37e-6, 500e-6] {
            let (machine, mut converter) = converter();
            machine.slew(rate);
            for n in 0..2_000 {
                machine.advance(100_000);
                let error_ns = error_after(&machine, &mut converter, 20_000).expect("steering is no jump");
                // Before: at most a bracket's age times the rate.
                let allowed_ns = if n < 1_000 { 600 } else { 2 };
                assert!(error_ns.abs() <= allowed_ns, "{error_ns} ns at {n}, rate {rate}");
            }
            assert_eq!(converter.jumps(), 0);
        }
    }

    #[test]
    fn a_stamp_that_waited_a_second_is_carried_back_at_the_known_rate() {
        let (machine, mut converter) = converter();
        machine.slew(100e-6);
        for _ in 0..100 {
            machine.advance(1_000_000);
            converter.refresh();
        }
        assert!(error_after(&machine, &mut converter, 1_000_000_000).unwrap().abs() <= 5);
        assert_eq!(error_after(&machine, &mut converter, STAMP_AGE_NS_MAX + 1_000_000), None);
    }

    #[test]
    fn a_step_of_realtime_loses_stamps_for_a_moment_and_corrupts_none() {
        for step_ns in [-3_600_000_000_000, -50_000_000, -1_500_000, 5_000, 40_000, 1_500_000, 3_600_000_000_000] {
            let (machine, mut converter) = converter();
            let mut lost = 0;
            for n in 0..4_000 {
                machine.advance(61_000);
                let (truth, stamp) = (converter.now(), machine.real_ns());
                machine.advance(20_000);
                // Between the stamp of a packet and its reading is where a step hurts most.
                if n == 1_000 {
                    machine.step(step_ns);
                }
                match converter.convert(stamp) {
                    Some(at) => assert!(at.since(truth).abs() <= 2, "{} ns off at {n}", at.since(truth)),
                    None => lost += 1,
                }
            }
            assert_eq!(converter.jumps(), 1, "step {step_ns}");
            assert!((1..2_000).contains(&lost), "step {step_ns}: {lost} lost");
        }
    }

    #[test]
    fn a_clock_slewed_by_ten_percent_is_followed_after_a_moment_of_distrust() {
        let (machine, mut converter) = converter();
        machine.advance(500_000);
        machine.slew(0.1);
        for _ in 0..5_000 {
            machine.advance(100_000);
            let _ = error_after(&machine, &mut converter, 20_000);
        }
        assert!(error_after(&machine, &mut converter, 20_000).unwrap().abs() <= 2);
        assert!(converter.jumps() <= 2);
    }

    #[test]
    fn a_clock_that_this_program_slews_is_followed_to_the_nanosecond_and_no_stamp_is_lost() {
        let (machine, mut converter) = converter();
        let (mut writer, reader) = seqlock(Commands::default());
        converter.heed(reader);
        let mut commands = Commands::default();
        for n in 0..4_000_i64 {
            if n % 300 == 0 {
                // A step by a tick's slew at ten percent, then less and less, as at a start.
                let rate = 0.1 * 0.5_f64.powi((n / 300) as i32) * if n % 600 == 0 { 1.0 } else { -1.0 };
                machine.slew(rate);
                commands.push(converter.now().nanos(), rate);
                writer.write(commands);
            }
            machine.advance(100_000);
            let error_ns = error_after(&machine, &mut converter, 40_000).expect("it was told");
            assert!(error_ns.abs() <= 2, "{error_ns} ns at {n}");
        }
        assert_eq!(converter.jumps(), 0);
        // Somebody else's step is a jump as ever.
        machine.step(40_000);
        machine.advance(2_000_000);
        assert_eq!(error_after(&machine, &mut converter, 20_000), None);
        assert_eq!(converter.jumps(), 1);
    }

    #[test]
    fn a_stamp_from_the_future_is_refused() {
        let (machine, mut converter) = converter();
        assert!(converter.convert(machine.real_ns() + FUTURE_NS_MAX).is_some());
        assert_eq!(converter.convert(machine.real_ns() + FUTURE_NS_MAX + 1), None);
        for nonsense in [i64::MIN, 0, i64::MAX] {
            assert_eq!(converter.convert(nonsense), None);
        }
    }

    #[test]
    fn stamps_pass_through_the_fake_oscillator() {
        let machine = Played::new(1_000_000_000, REAL_AHEAD_NS);
        let oscillator = Oscillator::new(1_000_000_000, 10_000_000, 50e-6);
        let mut converter = StampConverter::new(machine.clone(), oscillator);
        machine.advance(1_000_000_000);
        let now = converter.now();
        assert!((now.nanos() - 2_010_050_000).abs() <= 1, "{now:?}");
        assert_eq!(converter.convert(machine.real_ns()), Some(now));
    }
}
