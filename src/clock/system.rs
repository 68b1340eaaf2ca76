//! `CLOCK_REALTIME` of this machine as the delivered clock, steered by frequency; a step only when told. One holder per
//! machine. The kernel's own loop is kept off, and what other programs read of it (`STA_UNSYNC`, `maxerror`,
//! `esterror`) is kept honest once a second.
//!
//! A correction's rate is relative to CLOCK_MONOTONIC_RAW. The kernel's frequency is relative to the clock source's
//! nominal rate, and CLOCK_MONOTONIC_RAW *is* the clock source at its nominal rate: the two scales are one, and the
//! rate goes over unchanged. (The kernel realises it by an integer multiplier, so what it does is measured, not
//! assumed.)
//!
//! Every read also looks whether somebody else was at the clock since the last command: the kernel is asked for its
//! rate and status, and the clock must stand where that command had let it go, within what the kernel's multiplier and
//! the reading itself explain.
//!
//! What the kernel still has to slew for a daemon that was here before (the offset of its loop, an adjtime(3)) outlives
//! that daemon, and the loop being switched off. It is taken back with the first command, and whenever somebody was at
//! the clock. The share of the second that has begun goes on all the same, up to 25 ms, unless the kernel forgets all
//! of it, as it does whenever the clock is set: so where there is something left, the clock is set, by nothing.
//!
//! A leap second that is announced is the kernel's to take: it sets REALTIME at the end of the UTC day, and its TAI
//! offset with it, by which a leap is told from a setting of the clock by somebody. This program never writes that
//! offset.

use std::fmt;
use std::io;
use std::path::Path;

use super::source::{Machine, TimeSource};
use super::{Clock, ClockKind, Commands, Interference};
use crate::flow::{Correction, Leap, LeapNews, Reading};
use crate::sys::caps::Capability;
use crate::sys::lock::{ExclusiveLock, LockError};
use crate::sys::time::Pair;
use crate::sys::timex::{self, ERROR_US_MAX, KernelRate, KernelTimex, Timex};
use crate::unit::{ClockTime, RawTime};

/// Where the holder of the system clock says so, unless told otherwise.
pub const SYSTEM_LOCK_PATH: &str = "/run/llts/clock.lock";

/// Time between two reports to the kernel of how wrong the clock may be, ns. By itself it adds 500 us a second.
const STATUS_INTERVAL_NS: i64 = 1_000_000_000;
/// A clock that stands further from where it was let go was moved by somebody, ns: the kernel's multiplier strays by
/// tens of nanoseconds.
const MOVED_NS_MIN: f64 = 5_000.0;
/// An announcement is taken back for this long, ns, after the clock was set: the kernel then forgets when the leap
/// second is due, looks for an announcement once a second, and counts again only for a new one.
const LEAP_PAUSE_NS: i64 = 2_200_000_000;
/// A move of the clock this close to a whole second, together with the TAI offset's, is a leap second, ns.
const LEAP_NS_REACH: i64 = 400_000_000;
/// The kernel may run the clock this much off the rate it was told (seconds per second).
const RATE_STRAY_MAX: f64 = 1e-6;

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
    /// Where the clock stood right after the last command, and the rate it was left with.
    left: Option<(Pair, KernelRate)>,
    interference: Option<Interference>,
    /// The kernel may have something left to slew for somebody else.
    slews_for_others: bool,
    foreign_slew: Option<ForeignSlew>,
    /// The rates it was told lately.
    commands: Commands,
    /// Both clocks at the last reading, and the kernel's TAI offset then, s.
    seen: Option<(Pair, i32)>,
    leap: LeapNews,
    /// An announcement that the kernel is to be told at this raw time, ns.
    leap_again: Option<(Leap, i64)>,
}

impl SystemClock {
    /// Takes hold of the system clock; changes nothing until the first correction, but for the haste in which a holder
    /// before may have died.
    ///
    /// # Errors
    /// [`SystemClockError`], a sentence each.
    pub fn open(lock_path: &Path) -> Result<Self, SystemClockError> {
        let permitted = Capability::SysTime.in_effect().map_err(SystemClockError::Unreadable)?;
        SystemClock::with(KernelTimex, Machine, lock_path, permitted)
    }
}

/// What became of a clock that nobody may be holding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Abandoned {
    /// Somebody holds it (process id, if known): it is let be.
    Held(Option<u32>),
    /// Its last holder gave it back itself, or there was none: it is let be.
    GivenBack,
    /// Its holder died. Rate against raw as it was left, and as it is now (seconds per second).
    Released {
        /// The process that died.
        by: u32,
        /// As it was.
        from: f64,
        /// As it is.
        to: f64,
    },
}

/// Leaves the system clock as its holder would have if that holder has died with the clock in its hands: without the
/// haste of a last command, which may be as much as 10 %, and called unsynchronised. The rate is `best` if any is
/// known, else the nominal one.
///
/// # Errors
/// [`SystemClockError`], a sentence each.
pub fn release_abandoned(lock_path: &Path, best: Option<f64>) -> Result<Abandoned, SystemClockError> {
    if !Capability::SysTime.in_effect().map_err(SystemClockError::Unreadable)? {
        return Err(SystemClockError::NotPermitted);
    }
    release_abandoned_by(&mut KernelTimex, lock_path, best)
}

fn release_abandoned_by(
    timex: &mut impl Timex,
    lock_path: &Path,
    best: Option<f64>,
) -> Result<Abandoned, SystemClockError> {
    if !lock_path.exists() {
        return Ok(Abandoned::GivenBack);
    }
    let lock = match ExclusiveLock::acquire(lock_path) {
        Ok(lock) => lock,
        Err(LockError::Held { pid, .. }) => return Ok(Abandoned::Held(pid)),
        Err(error) => return Err(SystemClockError::Lock(error)),
    };
    let Some(by) = lock.left_by() else { return Ok(Abandoned::GivenBack) };
    let mut state = timex::empty();
    if let Err(error) = timex.adjust(&mut state) {
        lock.leave_undone();
        return Err(SystemClockError::Unreadable(error));
    }
    let left = KernelRate::of(&state);
    if let Err(error) = end_haste(timex, &mut state, best) {
        lock.leave_undone();
        return Err(SystemClockError::Unreadable(error));
    }
    Ok(Abandoned::Released { by, from: left.rate(), to: KernelRate::of(&state).rate() })
}

/// Leaves a kernel at the best rate that is known, or at the nominal one: how much of what it was told was haste nobody
/// knows. It is called unsynchronised. `state` is what the kernel says, before and after.
fn end_haste(timex: &mut impl Timex, state: &mut libc::timex, best: Option<f64>) -> io::Result<()> {
    let mut request = timex::empty();
    timex::request_rate(&mut request, best.map_or(KernelRate::NOMINAL, KernelRate::from_rate));
    timex::request_unsynchronised(&mut request, state.status);
    timex.adjust(&mut request)?;
    *state = request;
    Ok(())
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
        let known = timex.adjust(&mut state).and_then(|_| match lock.left_by() {
            // Else the haste in which a holder died would go on for as long as this one hears nobody.
            Some(_) => end_haste(&mut timex, &mut state, None),
            None => Ok(()),
        });
        if let Err(error) = known {
            lock.leave_undone();
            return Err(SystemClockError::Unreadable(error));
        }
        Ok(SystemClock {
            timex,
            source,
            _lock: lock,
            rate: KernelRate::of(&state),
            status: state.status,
            reported: None,
            left: None,
            interference: None,
            slews_for_others: true,
            foreign_slew: None,
            commands: Commands::default(),
            seen: None,
            leap: LeapNews::default(),
            leap_again: None,
        })
    }

    /// Tells the kernel, now.
    fn tell_leap(&mut self, leap: Leap) -> io::Result<()> {
        let mut request = timex::empty();
        timex::request_leap(
            &mut request,
            self.status,
            match leap {
                Leap::None => 0,
                Leap::Insert => libc::STA_INS,
                Leap::Delete => libc::STA_DEL,
            },
        );
        self.timex.adjust(&mut request)?;
        self.status = request.status;
        Ok(())
    }

    /// Takes back what the kernel may have left to slew for somebody else; true if there was something. The loop is on
    /// after it until the status is written, a moment later.
    fn end_foreign_slew(&mut self) -> io::Result<bool> {
        let mut state = timex::empty();
        self.timex.adjust(&mut state)?;
        let mut request = timex::empty();
        timex::request_no_adjtime(&mut request);
        self.timex.adjust(&mut request)?;
        let per_unit = if state.status & libc::STA_NANO != 0 { 1 } else { 1_000 };
        let slew = ForeignSlew { loop_ns: state.offset * per_unit, adjtime_ns: request.offset * 1_000 };
        let mut request = timex::empty();
        timex::request_no_offset(&mut request, self.status);
        self.timex.adjust(&mut request)?;
        (self.status, self.slews_for_others) = (request.status, false);
        self.foreign_slew = Some(slew).filter(|slew| *slew != ForeignSlew::default());
        Ok(self.foreign_slew.is_some())
    }

    /// By how much the clock stands elsewhere at `after`, right behind a command, than its rates before and since and
    /// the step explain, ns, since it was last read; 0 for what may be measurement.
    fn strayed_ns(&self, after: &Pair, before: KernelRate, step_ns: i64) -> i64 {
        let Some((then, _)) = &self.seen else { return 0 };
        let span_ns = after.raw_ns.wrapping_sub(then.raw_ns);
        let gained_ns = after.real_ns.wrapping_sub(then.real_ns).wrapping_sub(span_ns).wrapping_sub(step_ns) as f64;
        let (one, other) = (before.rate() * span_ns as f64, self.rate.rate() * span_ns as f64);
        let rest_ns = gained_ns - gained_ns.clamp(one.min(other), one.max(other));
        let doubt_ns = (after.width_ns + then.width_ns) as f64 / 2.0 + RATE_STRAY_MAX * span_ns as f64;
        if rest_ns.abs() > MOVED_NS_MIN + doubt_ns { rest_ns.round() as i64 } else { 0 }
    }

    /// What was done to the clock since the last command, if it stands at `now` and the kernel says `state`.
    fn examine(&self, now: &Pair, state: &libc::timex) -> Option<Interference> {
        let (then, rate) = self.left.as_ref()?;
        let found = KernelRate::of(state);
        let span_ns = now.raw_ns.wrapping_sub(then.raw_ns);
        let gained_ns = now.real_ns.wrapping_sub(then.real_ns).wrapping_sub(span_ns) as f64;
        let moved_ns = gained_ns - rate.rate() * span_ns as f64;
        // Another rate explains a move of its own, since any time in between.
        let explained_ns = (found.rate() - rate.rate()) * span_ns as f64;
        let rest_ns = moved_ns - moved_ns.clamp(explained_ns.min(0.0), explained_ns.max(0.0));
        let doubt_ns = (now.width_ns + then.width_ns) as f64 / 2.0 + RATE_STRAY_MAX * span_ns as f64;
        if rest_ns.abs() > MOVED_NS_MIN + doubt_ns {
            Some(Interference::Moved(moved_ns.round() as i64))
        } else if found != *rate {
            Some(Interference::Rate { found: found.rate(), left: rate.rate() })
        } else if state.status & (libc::STA_PLL | libc::STA_FLL) != 0 || state.offset != 0 {
            Some(Interference::Loop)
        } else {
            None
        }
    }
}

impl<T: Timex, S: TimeSource> Clock for SystemClock<T, S> {
    fn read(&mut self) -> io::Result<Reading> {
        let mut pair = self.source.pair();
        let mut state = timex::empty();
        self.timex.adjust(&mut state)?;
        let mut announced = announced(state.status);
        let (mut taken, mut tai_s) = (Leap::None, state.tai);
        if let Some((then, tai_then_s)) = self.seen.filter(|(_, then_s)| *then_s != tai_s) {
            // It may have happened between the two calls: only now both clocks are surely on the same side of it.
            pair = self.source.pair();
            taken = leap_between(&then, &pair, tai_s.wrapping_sub(tai_then_s));
            if taken == Leap::None && i64::from(tai_s.wrapping_sub(tai_then_s)) == -announced.step_s() {
                // The kernel says so from the first nanosecond of the new day on, and moves the clock at its next tick.
                tai_s = tai_then_s;
            }
        }
        self.seen = Some((pair, tai_s));
        if let Some((left, _)) = &mut self.left {
            // The kernel was asked to: nobody has interfered.
            left.real_ns += taken.step_s() * 1_000_000_000;
        }
        self.interference = self.examine(&pair, &state);
        self.slews_for_others |= self.interference.is_some();
        (self.rate, self.status) = (KernelRate::of(&state), state.status);
        if announced != Leap::None && matches!(self.interference, Some(Interference::Moved(_))) {
            self.tell_leap(Leap::None)?;
            self.leap_again = Some((announced, pair.raw_ns + LEAP_PAUSE_NS));
        }
        if let Some((leap, _)) = self.leap_again.filter(|(_, due_ns)| pair.raw_ns >= *due_ns) {
            self.leap_again = None;
            self.tell_leap(leap)?;
            announced = leap;
        }
        self.leap = LeapNews { announced: self.leap_again.map_or(announced, |(leap, _)| leap), taken };
        Ok(Reading { raw: RawTime::from_nanos(pair.raw_ns), clock: ClockTime::from_nanos(pair.real_ns) })
    }

    fn apply(&mut self, correction: &Correction) -> io::Result<()> {
        assert!(correction.rate.is_finite(), "steering bounds the rate it commands");
        let mut request = timex::empty();
        let slewed = self.slews_for_others && self.end_foreign_slew()?;
        let forgets = slewed || correction.step_ns != 0;
        if forgets {
            timex::request_step(&mut request, correction.step_ns);
        }
        let (rate, before) = (KernelRate::from_rate(correction.rate), self.rate);
        // With a rate the kernel takes the change at once, else with its next tick, as late as 10 ms.
        if rate != self.rate || slewed {
            timex::request_rate(&mut request, rate);
        }
        let now_ns = self.source.raw_ns();
        // At its largest error the kernel calls the clock unsynchronised by itself.
        let synchronised = correction.synchronised && correction.bound_ns < (ERROR_US_MAX * 1_000) as f64;
        // Whoever sets the clock, this node included, makes the kernel forget how good it is, and a loop that is on
        // must go off at once.
        let spoilt = forgets
            || synchronised && self.status & libc::STA_UNSYNC != 0
            || self.status & (libc::STA_PLL | libc::STA_FLL) != 0;
        let due = spoilt
            || self
                .reported
                .is_none_or(|(at_ns, before)| synchronised != before || now_ns - at_ns >= STATUS_INTERVAL_NS);
        let announced = announced(self.status);
        if forgets && announced != Leap::None {
            self.status &= !(libc::STA_INS | libc::STA_DEL);
            self.leap_again = Some((announced, now_ns + LEAP_PAUSE_NS));
        }
        if due {
            timex::request_status(&mut request, self.status, synchronised, correction.bound_ns, correction.sigma_ns);
        }
        if request.modes != 0 {
            self.timex.adjust(&mut request)?;
            self.rate = rate;
            self.status = request.status;
        }
        if due {
            self.reported = Some((now_ns, synchronised));
        }
        let after = self.source.pair();
        if request.modes & libc::ADJ_FREQUENCY != 0 || self.left.is_none() {
            // It took effect between the two readings.
            self.commands.push(now_ns + (after.raw_ns - now_ns) / 2, self.rate.rate());
        }
        // What was still slewed for somebody until this command is known by now, and is over.
        let strayed_ns = if slewed { 0 } else { self.strayed_ns(&after, before, correction.step_ns) };
        // What somebody did while the command was on its way shows at the next reading, like all that others do.
        self.left = Some((Pair { real_ns: after.real_ns - strayed_ns, ..after }, self.rate));
        if strayed_ns != 0 {
            // The command has just renewed a promise that holds no more: it is taken back, and not a tick later.
            let mut request = timex::empty();
            timex::request_status(&mut request, self.status, false, f64::INFINITY, f64::INFINITY);
            self.timex.adjust(&mut request)?;
            self.status = request.status;
            self.reported = Some((now_ns, false));
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
        self.left = None;
        Ok(())
    }

    fn interference(&mut self) -> Option<Interference> {
        self.interference.take()
    }

    fn foreign_slew_ended(&mut self) -> Option<ForeignSlew> {
        self.foreign_slew.take()
    }

    fn commands(&self) -> Option<&Commands> {
        Some(&self.commands)
    }

    fn leap(&self) -> LeapNews {
        self.leap
    }

    fn announce_leap(&mut self, leap: Leap) -> io::Result<()> {
        match &mut self.leap_again {
            Some((later, _)) if leap != Leap::None => *later = leap,
            _ => {
                self.leap_again = None;
                self.tell_leap(leap)?;
            }
        }
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.rate.rate()
    }

    fn kind(&self) -> ClockKind {
        ClockKind::System
    }
}

/// What a kernel still had to slew for somebody else, ns, positive = forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForeignSlew {
    /// The offset of its own loop (PLL).
    pub loop_ns: i64,
    /// What was left of an adjtime(3).
    pub adjtime_ns: i64,
}

impl fmt::Display for ForeignSlew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_s = (self.loop_ns + self.adjtime_ns) as f64 * 1e-9;
        write!(f, "the kernel had {left_s:+.6} s left to slew for a daemon that was here before: that is taken back")
    }
}

/// The announcement in the kernel's status.
fn announced(status: i32) -> Leap {
    if status & libc::STA_INS != 0 {
        Leap::Insert
    } else if status & libc::STA_DEL != 0 {
        Leap::Delete
    } else {
        Leap::None
    }
}

/// The leap second that was taken between two readings, if the kernel's TAI offset has grown by `tai_s` meanwhile: the
/// clock must have moved too, for others write that offset by hand.
fn leap_between(then: &Pair, now: &Pair, tai_s: i32) -> Leap {
    let leap = match tai_s {
        1 => Leap::Insert,
        -1 => Leap::Delete,
        _ => return Leap::None,
    };
    let gained_ns = now.real_ns.wrapping_sub(then.real_ns).wrapping_sub(now.raw_ns.wrapping_sub(then.raw_ns));
    let beside_ns = gained_ns.wrapping_sub(leap.step_s() * 1_000_000_000);
    if beside_ns.saturating_abs() <= LEAP_NS_REACH { leap } else { Leap::None }
}

#[cfg(test)]
mod tests;
