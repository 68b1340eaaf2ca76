//! A kernel for tests: `CLOCK_REALTIME` and its discipline as `kernel/time/ntp.c` and `timekeeping.c` have them, as far
//! as a daemon can tell. Time passes only when told. It checks what it is asked as the kernel does, and remembers it.

use std::io;
use std::sync::{Arc, Mutex};

use libc::{
    ADJ_ESTERROR, ADJ_FREQUENCY, ADJ_MAXERROR, ADJ_NANO, ADJ_OFFSET, ADJ_OFFSET_SINGLESHOT, ADJ_SETOFFSET, ADJ_STATUS,
    ADJ_TAI, ADJ_TICK, EINVAL, EPERM, STA_DEL, STA_INS, STA_NANO, STA_PLL, STA_UNSYNC,
};

use super::source::TimeSource;
use crate::sys::time::Pair;
use crate::sys::timex::{ERROR_US_MAX, Timex};

/// Status bits that cannot be written (`STA_RONLY` of `linux/timex.h`).
const READ_ONLY: i32 = 0xff00;
/// The kernel cuts a frequency to this, 2^-16 ppm.
const FREQUENCY_MAX: i64 = 500 << 16;
/// A UTC day.
const DAY_NS: i64 = 86_400_000_000_000;
/// The kernel takes a leap second at its first tick of the new day, so much after it has begun, ns.
const LEAP_LATE_NS: i64 = 4_000_000;
/// What `maxerror` gains by itself, us a second.
const ERROR_GROWTH_US: f64 = 500.0;

/// Handles to one kernel; clones share it.
#[derive(Clone)]
pub struct FakeKernel(Arc<Mutex<State>>);

/// Everything the kernel knows.
pub struct State {
    pub permitted: bool,
    pub raw_ns: i64,
    real_ns: i64,
    real_frac_ns: f64,
    pub frequency: i64,
    pub tick_us: i64,
    pub status: i32,
    pub maxerror_us: f64,
    pub esterror_us: i64,
    pub tai_s: i32,
    /// What the PLL has still to slew, ns: on or off, it does.
    pub pll_ns: f64,
    /// What is left of an adjtime(3), ns.
    pub adjtime_ns: f64,
    /// Of both, what this second slews, ns: it was settled when the second began, and ends with it.
    share_ns: f64,
    /// A leap second was taken, and its announcement still stands (`TIME_WAIT`): there is no other before it goes.
    leap_over: bool,
    /// It is counting down to one (`TIME_INS`, `TIME_DEL`), and has forgotten when because somebody set the clock.
    leap_armed: bool,
    leap_lost: bool,
    requests: Vec<libc::timex>,
}

impl FakeKernel {
    /// A kernel as it is after boot: unsynchronised, at its nominal rate.
    pub fn new() -> Self {
        FakeKernel(Arc::new(Mutex::new(State {
            permitted: true,
            raw_ns: 1_000_000_000,
            real_ns: 1_790_000_000_000_000_000,
            real_frac_ns: 0.0,
            frequency: 0,
            tick_us: 10_000,
            status: STA_UNSYNC,
            maxerror_us: ERROR_US_MAX as f64,
            esterror_us: ERROR_US_MAX,
            tai_s: 37,
            pll_ns: 0.0,
            adjtime_ns: 0.0,
            share_ns: 0.0,
            leap_over: false,
            leap_armed: false,
            leap_lost: false,
            requests: Vec::new(),
        })))
    }

    /// Looks at it, or changes it by hand.
    pub fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// Lets time pass.
    pub fn advance(&self, span_ns: i64) {
        self.with(|state| {
            state.raw_ns += span_ns;
            let ppm = state.frequency as f64 / 65_536.0 + (state.tick_us - 10_000) as f64 * 100.0;
            let mut gained_ns = ppm * 1e-6 * span_ns as f64;
            gained_ns += state.share_ns * span_ns as f64 * 1e-9;
            let total_ns = state.real_frac_ns + gained_ns;
            let before_ns = state.real_ns;
            state.real_ns += span_ns + total_ns.floor() as i64;
            if state.real_ns.div_euclid(1_000_000_000) != before_ns.div_euclid(1_000_000_000) {
                // second_overflow(): a sixteenth at the usual time constant, whether STA_PLL is set or not; and of an
                // adjtime 500 us.
                let (slewed_ns, adjusted_ns) = (state.pll_ns / 16.0, state.adjtime_ns.clamp(-500e3, 500e3));
                state.pll_ns -= slewed_ns;
                state.adjtime_ns -= adjusted_ns;
                state.share_ns = slewed_ns + adjusted_ns;
            }
            state.leap(before_ns);
            state.real_frac_ns = total_ns - total_ns.floor();
            state.maxerror_us += ERROR_GROWTH_US * span_ns as f64 * 1e-9;
            if state.maxerror_us >= ERROR_US_MAX as f64 {
                state.maxerror_us = ERROR_US_MAX as f64;
                state.status |= STA_UNSYNC;
            }
        });
    }

    /// Sets REALTIME forward as settimeofday does.
    pub fn set(&self, by_ns: i64) {
        self.with(|state| state.inject(by_ns));
    }

    /// The TAI offset that it tells, s.
    pub fn tai_told(&self) -> i32 {
        self.with(|state| state.told_tai_s())
    }

    /// REALTIME now.
    pub fn real_ns(&self) -> i64 {
        self.with(|state| state.real_ns)
    }

    /// What it was asked to change since the last call of this.
    pub fn take(&self) -> Vec<libc::timex> {
        self.with(|state| std::mem::take(&mut state.requests))
    }
}

impl State {
    /// What the announced leap does to the clock, s, and how long before midnight it is due, ns.
    fn leap_due(&self) -> Option<(i32, i64)> {
        match self.status & (STA_INS | STA_DEL) {
            0 => None,
            STA_INS => Some((-1, 0)),
            _ => Some((1, 1_000_000_000)),
        }
    }

    /// Takes the leap second that is announced if the clock has passed its time since it showed `before_ns`. The
    /// states are those of `second_overflow()`: an announcement is looked at once a second.
    fn leap(&mut self, before_ns: i64) {
        let due = self.leap_due();
        if self.real_ns.div_euclid(1_000_000_000) != before_ns.div_euclid(1_000_000_000) {
            self.leap_armed = due.is_some();
            self.leap_lost &= due.is_some();
            self.leap_over &= due.is_some();
        }
        let Some((leap_s, early_ns)) = due.filter(|_| self.leap_armed && !self.leap_lost) else { return };
        let day = |ns: i64| (ns + early_ns - LEAP_LATE_NS).div_euclid(DAY_NS);
        if !self.leap_over && day(self.real_ns) > day(before_ns) {
            self.real_ns += i64::from(leap_s) * 1_000_000_000;
            self.tai_s -= leap_s;
            self.leap_over = true;
        }
    }

    /// The TAI offset as `do_adjtimex()` tells it: of a leap second that is due it knows before the clock does.
    fn told_tai_s(&self) -> i32 {
        match self.leap_due().filter(|_| self.leap_armed && !self.leap_lost && !self.leap_over) {
            Some((leap_s, early_ns)) if (self.real_ns + early_ns).rem_euclid(DAY_NS) < LEAP_LATE_NS => {
                self.tai_s - leap_s
            }
            _ => self.tai_s,
        }
    }

    fn inject(&mut self, by_ns: i64) {
        self.real_ns += by_ns;
        // ntp_clear(): whoever sets the clock makes it unsynchronised, and a leap second that is due is forgotten, but
        // not that it was announced.
        self.leap_lost |= self.leap_armed;
        self.status |= STA_UNSYNC;
        (self.pll_ns, self.adjtime_ns, self.share_ns) = (0.0, 0.0, 0.0);
        self.maxerror_us = ERROR_US_MAX as f64;
        self.esterror_us = ERROR_US_MAX;
    }

    fn refuses(&self, request: &libc::timex) -> Option<i32> {
        let asks = |mode| request.modes & mode != 0;
        let second = if asks(ADJ_NANO) { 1_000_000_000 } else { 1_000_000 };
        if request.modes != 0 && !self.permitted {
            return Some(EPERM);
        }
        let tick = asks(ADJ_TICK) && !(9_000..=11_000).contains(&request.tick);
        let step = asks(ADJ_SETOFFSET) && !(0..second).contains(&request.time.tv_usec);
        (tick || step).then_some(EINVAL)
    }
}

impl Timex for FakeKernel {
    fn adjust(&mut self, request: &mut libc::timex) -> io::Result<i32> {
        self.with(|state| {
            if let Some(errno) = state.refuses(request) {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let asks = |mode| request.modes & mode != 0;
            if request.modes != 0 {
                state.requests.push(*request);
            }
            if request.modes == ADJ_OFFSET_SINGLESHOT {
                let left_ns = std::mem::replace(&mut state.adjtime_ns, request.offset as f64 * 1_000.0);
                request.offset = (left_ns / 1_000.0) as i64;
                return Ok(libc::TIME_OK);
            }
            if asks(ADJ_SETOFFSET) {
                let unit = if asks(ADJ_NANO) { 1 } else { 1_000 };
                state.inject(request.time.tv_sec * 1_000_000_000 + request.time.tv_usec * unit);
            }
            if asks(ADJ_STATUS) {
                state.status = state.status & READ_ONLY | request.status & !READ_ONLY;
            }
            if asks(ADJ_NANO) {
                state.status |= STA_NANO;
            }
            if asks(ADJ_FREQUENCY) {
                state.frequency = request.freq.clamp(-FREQUENCY_MAX, FREQUENCY_MAX);
            }
            if asks(ADJ_TICK) {
                state.tick_us = request.tick;
            }
            if asks(ADJ_MAXERROR) {
                state.maxerror_us = request.maxerror.clamp(0, ERROR_US_MAX) as f64;
            }
            if asks(ADJ_ESTERROR) {
                state.esterror_us = request.esterror.clamp(0, ERROR_US_MAX);
            }
            if asks(ADJ_TAI) {
                state.tai_s = request.constant as i32;
            }
            if asks(ADJ_OFFSET) && state.status & STA_PLL != 0 {
                state.pll_ns = request.offset as f64;
            }
            (request.freq, request.tick, request.status) = (state.frequency, state.tick_us, state.status);
            (request.maxerror, request.esterror) = (state.maxerror_us as i64, state.esterror_us);
            request.tai = state.told_tai_s();
            request.offset = state.pll_ns as i64 / if state.status & STA_NANO != 0 { 1 } else { 1_000 };
            Ok(if state.status & STA_UNSYNC != 0 { libc::TIME_ERROR } else { libc::TIME_OK })
        })
    }
}

impl TimeSource for FakeKernel {
    fn raw_ns(&mut self) -> i64 {
        self.with(|state| state.raw_ns)
    }

    fn pair(&mut self) -> Pair {
        self.with(|state| Pair { raw_ns: state.raw_ns, real_ns: state.real_ns, width_ns: 40 })
    }
}

#[cfg(test)]
mod tests {
    use libc::timex;

    use super::*;
    use crate::sys::timex::empty;

    fn ask(kernel: &FakeKernel, fill: impl FnOnce(&mut timex)) -> io::Result<timex> {
        let mut request = empty();
        fill(&mut request);
        kernel.clone().adjust(&mut request)?;
        Ok(request)
    }

    #[test]
    fn it_refuses_what_the_kernel_refuses_and_cuts_what_the_kernel_cuts() {
        let kernel = FakeKernel::new();
        let tick = |tick| ask(&kernel, |request| (request.modes, request.tick) = (ADJ_TICK, tick));
        assert!(tick(9_000).is_ok() && tick(11_000).is_ok() && tick(8_999).is_err() && tick(11_001).is_err());
        let asked = ask(&kernel, |request| (request.modes, request.freq) = (ADJ_FREQUENCY, 501 << 16)).unwrap();
        assert_eq!(asked.freq, 500 << 16);
        assert!(
            ask(&kernel, |r| {
                r.modes = ADJ_SETOFFSET | ADJ_NANO;
                r.time.tv_usec = -1;
            })
            .is_err()
        );
        kernel.with(|state| state.permitted = false);
        assert!(ask(&kernel, |_| ()).is_ok() && tick(10_000).is_err());
    }

    #[test]
    fn an_error_nobody_renews_grows_until_the_clock_counts_as_unsynchronised() {
        let kernel = FakeKernel::new();
        ask(&kernel, |r| (r.modes, r.status, r.maxerror) = (ADJ_STATUS | ADJ_MAXERROR, 0, 1_000)).unwrap();
        kernel.advance(2_000_000_000);
        assert_eq!(ask(&kernel, |_| ()).unwrap().maxerror, 2_000);
        kernel.advance(31_990_000_000_000);
        assert_eq!(kernel.with(|state| state.status) & STA_UNSYNC, 0);
        kernel.advance(20_000_000_000);
        assert_eq!(kernel.with(|state| state.status) & STA_UNSYNC, STA_UNSYNC);
    }
}
