//! `CLOCK_REALTIME` of this machine as the delivered clock, steered by frequency; a step only when told. One holder per
//! machine. The kernel's own loop is kept off, and what other programs read of it (`STA_UNSYNC`, `maxerror`,
//! `esterror`) is kept honest once a second.
//!
//! A correction's rate is relative to CLOCK_MONOTONIC_RAW. The kernel's frequency is relative to the clock source's
//! nominal rate, and CLOCK_MONOTONIC_RAW *is* the clock source at its nominal rate: the two scales are one, and the
//! rate goes over unchanged. (The kernel realises it by an integer multiplier, so what it does is measured, not
//! assumed.)

use std::io;
use std::path::Path;

use super::source::{Machine, TimeSource};
use super::{Clock, ClockKind};
use crate::flow::{Correction, Reading};
use crate::sys::caps::Capability;
use crate::sys::lock::{ExclusiveLock, LockError};
use crate::sys::timex::{self, KernelRate, KernelTimex, Timex};
use crate::unit::{ClockTime, RawTime};

/// Where the holder of the system clock says so, unless told otherwise.
pub const SYSTEM_LOCK_PATH: &str = "/run/llts/clock.lock";

/// Time between two reports to the kernel of how wrong the clock may be, ns. By itself it adds 500 us a second.
const STATUS_INTERVAL_NS: i64 = 1_000_000_000;

/// Why the system clock is not ours to steer.
#[derive(Debug, thiserror::Error)]
pub enum SystemClockError {
    /// The process lacks the privilege.
    #[error(
        "steering the system clock needs {}, which this process does not have; run as root, grant it with setcap \
         or AmbientCapabilities=, or use --clock virtual",
        Capability::SysTime
    )]
    NotPermitted,
    /// Another process holds it.
    #[error("the system clock has one holder per machine: {0}; stop it, or use --clock virtual")]
    Held(#[source] LockError),
    /// The lock file cannot be made.
    #[error("{0}; choose another place for it, or use --clock virtual")]
    Lock(#[source] LockError),
    /// The kernel's clock cannot be read, or the privileges cannot.
    #[error("the state of the system clock cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

/// The system clock.
pub struct SystemClock<T = KernelTimex, S = Machine> {
    timex: T,
    source: S,
    _lock: ExclusiveLock,
    /// What the kernel does now.
    rate: KernelRate,
    /// `timex.status` as the kernel last gave it.
    status: i32,
    /// Raw time of the last report, ns, and whether it called the clock synchronised; `None` while nothing was changed.
    reported: Option<(i64, bool)>,
}

impl SystemClock {
    /// Takes hold of the system clock; changes nothing until the first correction.
    ///
    /// # Errors
    /// [`SystemClockError`], a sentence each.
    pub fn open(lock_path: &Path) -> Result<Self, SystemClockError> {
        let permitted = Capability::SysTime.in_effect().map_err(SystemClockError::Unreadable)?;
        SystemClock::with(KernelTimex, Machine, lock_path, permitted)
    }
}

impl<T: Timex, S: TimeSource> SystemClock<T, S> {
    /// As [`SystemClock::open`], with the system call, the clocks and the privilege as given.
    fn with(mut timex: T, source: S, lock_path: &Path, permitted: bool) -> Result<Self, SystemClockError> {
        if !permitted {
            return Err(SystemClockError::NotPermitted);
        }
        let lock = ExclusiveLock::acquire(lock_path).map_err(|error| match error {
            LockError::Held { .. } => SystemClockError::Held(error),
            LockError::Unusable { .. } => SystemClockError::Lock(error),
        })?;
        let mut state = timex::empty();
        timex.adjust(&mut state).map_err(SystemClockError::Unreadable)?;
        Ok(SystemClock {
            timex,
            source,
            _lock: lock,
            rate: KernelRate::of(&state),
            status: state.status,
            reported: None,
        })
    }
}

impl<T: Timex, S: TimeSource> Clock for SystemClock<T, S> {
    fn read(&mut self) -> io::Result<Reading> {
        let pair = self.source.pair();
        Ok(Reading { raw: RawTime::from_nanos(pair.raw_ns), clock: ClockTime::from_nanos(pair.real_ns) })
    }

    fn apply(&mut self, correction: &Correction) -> io::Result<()> {
        assert!(correction.rate.is_finite(), "steering bounds the rate it commands");
        let mut request = timex::empty();
        if correction.step_ns != 0 {
            timex::request_step(&mut request, correction.step_ns);
        }
        let rate = KernelRate::from_rate(correction.rate);
        if rate != self.rate {
            timex::request_rate(&mut request, rate);
        }
        let now_ns = self.source.raw_ns();
        let due = self.reported.is_none_or(|(at_ns, synchronised)| {
            synchronised != correction.synchronised || now_ns - at_ns >= STATUS_INTERVAL_NS
        });
        if due {
            timex::request_status(
                &mut request,
                self.status,
                correction.synchronised,
                correction.bound_ns,
                correction.sigma_ns,
            );
        }
        if request.modes == 0 {
            return Ok(());
        }
        self.timex.adjust(&mut request)?;
        self.rate = rate;
        self.status = request.status;
        if due {
            self.reported = Some((now_ns, correction.synchronised));
        }
        Ok(())
    }

    fn release(&mut self) -> io::Result<()> {
        if self.reported.take().is_none() {
            // Nothing was changed: the clock stays as it was found.
            return Ok(());
        }
        let mut request = timex::empty();
        timex::request_unsynchronised(&mut request, self.status);
        self.timex.adjust(&mut request)?;
        self.status = request.status;
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.rate.rate()
    }

    fn kind(&self) -> ClockKind {
        ClockKind::System
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use libc::{
        ADJ_ESTERROR, ADJ_FREQUENCY, ADJ_MAXERROR, ADJ_NANO, ADJ_OFFSET, ADJ_SETOFFSET, ADJ_STATUS, ADJ_TICK,
        STA_FREQHOLD, STA_INS, STA_NANO, STA_PLL, STA_UNSYNC,
    };

    use super::super::source::played::Played;
    use super::*;

    const REPORT: u32 = ADJ_STATUS | ADJ_NANO | ADJ_MAXERROR | ADJ_ESTERROR;
    const RATE: u32 = ADJ_FREQUENCY | ADJ_TICK;

    /// Stands in place of the kernel: obeys as `kernel/time/ntp.c` does, and remembers what it was asked.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        requests: Vec<libc::timex>,
        frequency: i64,
        tick_us: i64,
        status: i32,
        refusal: Option<i32>,
    }

    impl Recorder {
        fn new(frequency: i64, status: i32) -> Self {
            Recorder(Arc::new(Mutex::new(State { frequency, status, tick_us: 10_000, ..State::default() })))
        }

        /// What changed something since the last call of this.
        fn take(&self) -> Vec<libc::timex> {
            let mut requests = std::mem::take(&mut self.0.lock().unwrap().requests);
            requests.retain(|request| request.modes != 0);
            requests
        }

        fn refuse(&self, errno: Option<i32>) {
            self.0.lock().unwrap().refusal = errno;
        }

        fn status(&self) -> i32 {
            self.0.lock().unwrap().status
        }
    }

    impl Timex for Recorder {
        fn adjust(&mut self, request: &mut libc::timex) -> io::Result<i32> {
            let mut state = self.0.lock().unwrap();
            if let Some(errno) = state.refusal {
                return Err(io::Error::from_raw_os_error(errno));
            }
            state.requests.push(*request);
            if request.modes & ADJ_STATUS != 0 {
                state.status = state.status & STA_NANO | request.status & !STA_NANO;
            }
            if request.modes & ADJ_NANO != 0 {
                state.status |= STA_NANO;
            }
            if request.modes & ADJ_FREQUENCY != 0 {
                state.frequency = request.freq;
            }
            if request.modes & ADJ_TICK != 0 {
                state.tick_us = request.tick;
            }
            (request.freq, request.tick, request.status) = (state.frequency, state.tick_us, state.status);
            Ok(libc::TIME_OK)
        }
    }

    struct Bench {
        kernel: Recorder,
        machine: Played,
        clock: SystemClock<Recorder, Played>,
        _folder: tempfile::TempDir,
    }

    /// A clock held on a kernel that was left with `frequency` and `status`.
    fn bench(frequency: i64, status: i32) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (kernel, machine) = (Recorder::new(frequency, status), Played::new(0, 1_000));
        let clock =
            SystemClock::with(kernel.clone(), machine.clone(), &folder.path().join("clock.lock"), true).unwrap();
        Bench { kernel, machine, clock, _folder: folder }
    }

    fn correction(rate: f64, step_ns: i64) -> Correction {
        Correction { rate, step_ns, sigma_ns: 2_500.0, bound_ns: 40_000.0, synchronised: true }
    }

    #[test]
    fn taking_hold_changes_nothing_and_finds_the_rate_the_clock_has() {
        let mut bench = bench(3 << 16, STA_PLL | STA_UNSYNC);
        assert!((bench.clock.rate() - 3e-6).abs() < 1e-15);
        assert_eq!(bench.clock.read().unwrap().clock.nanos(), 1_000);
        bench.clock.release().unwrap();
        assert!(bench.kernel.take().is_empty());
    }

    #[test]
    fn the_first_correction_takes_the_clock_over_in_one_call() {
        let mut bench = bench(0, STA_PLL | STA_INS | STA_FREQHOLD | STA_UNSYNC);
        bench.clock.apply(&correction(-20e-6, 0)).unwrap();
        let [request] = bench.kernel.take()[..] else { panic!("one call") };
        assert_eq!(request.modes, RATE | REPORT);
        assert_eq!((request.freq, request.tick), (-(20 << 16), 10_000));
        assert_eq!((request.maxerror, request.esterror), (40, 3));
        assert_eq!(bench.kernel.status(), STA_INS | STA_NANO);
        assert!((bench.clock.rate() + 20e-6).abs() < 1e-15);
    }

    #[test]
    fn a_step_is_relative_in_nanoseconds_and_comes_with_the_rate() {
        let mut bench = bench(0, 0);
        bench.clock.apply(&correction(1e-6, -1_500_000_000)).unwrap();
        let [request] = bench.kernel.take()[..] else { panic!("one call") };
        assert_eq!(request.modes, ADJ_SETOFFSET | RATE | REPORT);
        assert_eq!((request.time.tv_sec, request.time.tv_usec), (-2, 500_000_000));
    }

    #[test]
    fn beyond_500_ppm_the_tick_helps_and_is_taken_back_after() {
        let mut bench = bench(0, 0);
        bench.clock.apply(&correction(830e-6, 0)).unwrap();
        bench.clock.apply(&correction(10e-6, 0)).unwrap();
        let set: Vec<_> = bench.kernel.take().iter().map(|request| (request.tick, request.freq)).collect();
        assert_eq!(set, [(10_008, 30 << 16), (10_000, 10 << 16)]);
    }

    #[test]
    fn the_kernel_is_told_only_what_changes_and_the_error_once_a_second() {
        let mut bench = bench(0, 0);
        bench.clock.apply(&correction(1e-6, 0)).unwrap();
        bench.kernel.take();

        bench.machine.advance(500_000_000);
        bench.clock.apply(&correction(1e-6, 0)).unwrap();
        assert!(bench.kernel.take().is_empty());
        bench.clock.apply(&correction(2e-6, 0)).unwrap();
        assert_eq!(bench.kernel.take()[0].modes, RATE);
        bench.machine.advance(500_000_000);
        bench.clock.apply(&correction(2e-6, 0)).unwrap();
        assert_eq!(bench.kernel.take()[0].modes, REPORT);

        // Losing the cluster is said at once.
        bench.clock.apply(&Correction { synchronised: false, ..correction(2e-6, 0) }).unwrap();
        assert_eq!(bench.kernel.take()[0].modes, REPORT);
        assert_eq!(bench.kernel.status(), STA_NANO | STA_UNSYNC);
    }

    #[test]
    fn the_kernels_own_loop_never_gets_an_offset() {
        let mut bench = bench(0, STA_PLL);
        for n in 0..100 {
            bench.clock.apply(&correction(f64::from(n) * 1e-6, i64::from(n % 7))).unwrap();
            bench.machine.advance(62_500_000);
        }
        for request in bench.kernel.take() {
            // ADJ_SETOFFSET is another bit; ADJ_OFFSET is what feeds the PLL.
            assert_eq!(request.modes & ADJ_OFFSET, 0);
            assert_eq!(request.status & STA_PLL, 0);
        }
    }

    #[test]
    fn at_release_the_clock_is_called_unsynchronised_and_keeps_its_rate() {
        let mut bench = bench(0, 0);
        bench.clock.apply(&correction(7e-6, 0)).unwrap();
        bench.kernel.take();
        bench.clock.release().unwrap();
        let [request] = bench.kernel.take()[..] else { panic!("one call") };
        assert_eq!(request.modes, ADJ_STATUS);
        assert_eq!(bench.kernel.status(), STA_NANO | STA_UNSYNC);
        assert_eq!(request.freq, 0, "not asked for");
        assert!((bench.clock.rate() - 7e-6).abs() < 1e-15);
        bench.clock.release().unwrap();
        assert!(bench.kernel.take().is_empty(), "once is enough");
    }

    #[test]
    fn a_correction_refused_by_the_kernel_is_tried_again_in_full() {
        let mut bench = bench(0, 0);
        bench.kernel.refuse(Some(libc::EPERM));
        let refused = bench.clock.apply(&correction(1e-6, 0)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(bench.clock.rate(), 0.0);
        bench.kernel.refuse(None);
        bench.clock.apply(&correction(1e-6, 0)).unwrap();
        assert_eq!(bench.kernel.take()[0].modes, RATE | REPORT);
    }

    #[test]
    fn without_the_privilege_or_with_another_holder_one_sentence_says_what_to_do() {
        let bench = bench(0, 0);
        let path = bench._folder.path().join("clock.lock");
        let refusal = |permitted| {
            SystemClock::with(Recorder::default(), Played::default(), &path, permitted).map(|_| ()).unwrap_err()
        };
        let denied = refusal(false).to_string();
        assert!(denied.contains("CAP_SYS_TIME") && denied.contains("--clock virtual"), "{denied}");
        let held = refusal(true).to_string();
        assert!(held.contains(&format!("process {}", std::process::id())), "{held}");
    }
}
