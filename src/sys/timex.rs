//! The kernel's clock discipline as one call, and its units. Knows nothing of when to steer: that is `clock::system`.
//!
//! Everything that changes the clock goes through [`Timex`], so that a recording double can stand in its place: no test
//! of this program steers the machine it runs on.

use std::io;

/// Largest frequency of `ADJ_FREQUENCY` alone, seconds per second.
pub const FREQUENCY_RATE_MAX: f64 = 500e-6;
/// Largest rate that frequency and tick length give together (`ADJ_TICK` is good for 10 %), seconds per second.
pub const RATE_MAX: f64 = 0.1;
/// Largest value of `maxerror` and `esterror`, us: there the kernel itself calls the clock unsynchronised.
pub const ERROR_US_MAX: i64 = 16_000_000;

/// One unit of `timex.freq`: 2^-16 ppm, in seconds per second.
const FREQUENCY_UNIT: f64 = 1e-6 / 65_536.0;
/// `timex.tick` at the nominal rate: microseconds of one of the 100 ticks a second that user space sees.
const TICK_US: i64 = 10_000;
/// One unit of `timex.tick`: 100 ppm.
const TICK_UNIT: f64 = 1e-4;

/// The system call that reads and steers a clock.
pub trait Timex: Send {
    /// Passes `request` to the kernel, which fills it with its state; returns the clock's leap state (`TIME_OK`, ...).
    /// With `modes` 0 nothing changes and no privilege is needed.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_SYS_TIME, `InvalidInput` for values out of range.
    fn adjust(&mut self, request: &mut libc::timex) -> io::Result<i32>;
}

/// The real thing: `CLOCK_REALTIME` of this machine.
#[derive(Debug, Default)]
pub struct KernelTimex;

impl Timex for KernelTimex {
    fn adjust(&mut self, request: &mut libc::timex) -> io::Result<i32> {
        // SAFETY: `request` is a valid timex that the call reads and fills.
        let state = unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, request) };
        if state < 0 { Err(io::Error::last_os_error()) } else { Ok(state) }
    }
}

/// A request that asks for nothing.
#[must_use]
pub fn empty() -> libc::timex {
    // SAFETY: timex is made of integers only, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// A rate in the kernel's units: a frequency, and a tick length for what a frequency cannot reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRate {
    /// `timex.freq`, 2^-16 ppm.
    pub frequency: i64,
    /// `timex.tick`, us.
    pub tick_us: i64,
}

impl KernelRate {
    /// What a kernel does by itself.
    pub const NOMINAL: KernelRate = KernelRate { frequency: 0, tick_us: TICK_US };

    /// The nearest settings to `rate` (seconds per second, positive runs fast), which is cut to +-10 %; NaN counts as
    /// 0.
    #[must_use]
    pub fn from_rate(rate: f64) -> Self {
        let rate = if rate.is_nan() { 0.0 } else { rate.clamp(-RATE_MAX, RATE_MAX) };
        let ticks = if rate.abs() <= FREQUENCY_RATE_MAX { 0.0 } else { (rate / TICK_UNIT).round() };
        KernelRate {
            frequency: ((rate - ticks * TICK_UNIT) / FREQUENCY_UNIT).round() as i64,
            tick_us: TICK_US + ticks as i64,
        }
    }

    /// What the kernel says it is doing.
    #[must_use]
    pub fn of(state: &libc::timex) -> Self {
        KernelRate { frequency: state.freq, tick_us: state.tick }
    }

    /// As seconds per second: the kernel adds the two.
    #[must_use]
    pub fn rate(self) -> f64 {
        self.frequency as f64 * FREQUENCY_UNIT + (self.tick_us - TICK_US) as f64 * TICK_UNIT
    }
}

/// Adds to `request` a move of the clock by `step_ns`, forward when positive. The kernel wants the nanoseconds of a
/// second not negative, and takes them as such only together with `ADJ_NANO`.
pub fn request_step(request: &mut libc::timex, step_ns: i64) {
    request.modes |= libc::ADJ_SETOFFSET | libc::ADJ_NANO;
    request.time.tv_sec = step_ns.div_euclid(1_000_000_000);
    request.time.tv_usec = step_ns.rem_euclid(1_000_000_000);
}

/// Adds to `request` the frequency and the tick length of `rate`.
pub fn request_rate(request: &mut libc::timex, rate: KernelRate) {
    request.modes |= libc::ADJ_FREQUENCY | libc::ADJ_TICK;
    request.freq = rate.frequency;
    request.tick = rate.tick_us;
}

/// Adds to `request` what other programs read: how wrong the clock may be, and whether it is to be trusted.
/// `status_now` is the kernel's present status, whose leap-second bits are kept; its PLL, FLL and PPS are switched off,
/// and stamps are in nanoseconds. Errors in ns, rounded up to the kernel's microseconds; one that is not finite counts
/// as the largest.
pub fn request_status(
    request: &mut libc::timex,
    status_now: i32,
    synchronised: bool,
    max_error_ns: f64,
    estimated_error_ns: f64,
) {
    // STA_NANO cannot be written as a status: it follows the mode.
    request.modes |= libc::ADJ_STATUS | libc::ADJ_NANO | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
    request.status = status_now & (libc::STA_INS | libc::STA_DEL);
    if !synchronised {
        request.status |= libc::STA_UNSYNC;
    }
    request.maxerror = error_us(max_error_ns);
    request.esterror = error_us(estimated_error_ns);
}

/// Adds to `request` that the kernel's own loop (PLL) has nothing to slew any more. It takes an offset only while that
/// loop is on, and goes on slewing what is left of one when it is off: whoever switches it off must do this first.
/// `status_now` is the kernel's present status.
pub fn request_no_offset(request: &mut libc::timex, status_now: i32) {
    request.modes |= libc::ADJ_STATUS | libc::ADJ_OFFSET;
    request.status = status_now | libc::STA_PLL;
    request.offset = 0;
}

/// Asks, alone, that what is left of somebody's adjtime(3) is not slewed any more.
pub fn request_no_adjtime(request: &mut libc::timex) {
    request.modes = libc::ADJ_OFFSET_SINGLESHOT;
    request.offset = 0;
}

/// Adds to `request` the announcement `leap` (`STA_INS`, `STA_DEL` or 0) in place of the one in `status_now`, and
/// changes nothing else of it.
pub fn request_leap(request: &mut libc::timex, status_now: i32, leap: i32) {
    request.modes |= libc::ADJ_STATUS;
    request.status = status_now & !(libc::STA_INS | libc::STA_DEL) | leap;
}

/// Adds to `request` that the clock is not to be trusted, and changes nothing else of `status_now`.
pub fn request_unsynchronised(request: &mut libc::timex, status_now: i32) {
    request.modes |= libc::ADJ_STATUS;
    request.status = status_now | libc::STA_UNSYNC;
}

fn error_us(error_ns: f64) -> i64 {
    if error_ns.is_finite() { ((error_ns / 1_000.0).ceil() as i64).clamp(0, ERROR_US_MAX) } else { ERROR_US_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_can_be_read_without_changing_it() {
        let mut state = empty();
        KernelTimex.adjust(&mut state).unwrap();
        assert!((9_000..=11_000).contains(&state.tick));
        assert!(KernelRate::of(&state).rate().abs() <= RATE_MAX + FREQUENCY_RATE_MAX);
    }

    #[test]
    fn one_ppm_is_65536_units_and_keeps_its_sign() {
        assert_eq!(KernelRate::from_rate(1e-6), KernelRate { frequency: 65_536, tick_us: 10_000 });
        assert_eq!(KernelRate::from_rate(-1e-6), KernelRate { frequency: -65_536, tick_us: 10_000 });
    }

    #[test]
    fn the_tick_helps_only_beyond_500_ppm_and_the_sum_is_exact() {
        assert_eq!(KernelRate::from_rate(500e-6), KernelRate { frequency: 500 << 16, tick_us: 10_000 });
        assert_eq!(KernelRate::from_rate(-730e-6), KernelRate { frequency: -(30 << 16), tick_us: 9_993 });
        for rate in [-0.1, -0.033_333, -500.01e-6, -1e-9, 0.0, 3e-6, 501e-6, 0.099_99] {
            let set = KernelRate::from_rate(rate);
            assert!((set.rate() - rate).abs() <= FREQUENCY_UNIT / 2.0 + 1e-15, "{rate}: {set:?}");
            assert!(set.frequency.abs() <= 500 << 16 && (9_000..=11_000).contains(&set.tick_us), "{rate}: {set:?}");
        }
    }

    #[test]
    fn a_rate_from_nowhere_is_cut_to_what_the_kernel_takes() {
        assert_eq!(KernelRate::from_rate(f64::INFINITY).tick_us, 11_000);
        assert_eq!(KernelRate::from_rate(f64::NEG_INFINITY).tick_us, 9_000);
        assert_eq!(KernelRate::from_rate(f64::NAN), KernelRate { frequency: 0, tick_us: 10_000 });
    }

    #[test]
    fn a_step_back_is_written_with_nanoseconds_that_are_not_negative() {
        for (step_ns, seconds, nanos) in
            [(-1, -1, 999_999_999), (1_500_000_000, 1, 500_000_000), (-2_000_000_000, -2, 0)]
        {
            let mut request = empty();
            request_step(&mut request, step_ns);
            assert_eq!((request.time.tv_sec, request.time.tv_usec), (seconds, nanos));
            assert_eq!(request.modes, libc::ADJ_SETOFFSET | libc::ADJ_NANO);
        }
    }

    #[test]
    fn the_status_keeps_leap_seconds_and_drops_the_kernels_own_loop() {
        let found = libc::STA_PLL | libc::STA_INS | libc::STA_FREQHOLD | libc::STA_UNSYNC | libc::STA_NANO;
        let mut request = empty();
        request_status(&mut request, found, true, 1_500.0, 1.0);
        assert_eq!(request.status, libc::STA_INS);
        assert_eq!((request.maxerror, request.esterror), (2, 1));
        request_status(&mut request, 0, false, f64::INFINITY, f64::NAN);
        assert_eq!(request.status, libc::STA_UNSYNC);
        assert_eq!((request.maxerror, request.esterror), (ERROR_US_MAX, ERROR_US_MAX));
    }
}
