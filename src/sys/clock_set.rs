//! Tells that somebody has set `CLOCK_REALTIME`: a timer far in the future that the kernel cancels when that happens
//! (`TFD_TIMER_CANCEL_ON_SET`). Tells neither who nor by how much, and not that the clock is slewed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The year 2200, seconds since 1970.
const FAR_S: i64 = 7_258_118_400;

/// The timer.
#[derive(Debug)]
pub struct ClockSetWatch {
    timer: TimerFd,
}

impl ClockSetWatch {
    /// Starts to watch; needs no privilege.
    ///
    /// # Errors
    /// The kernel has no such timer to give.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let watch = ClockSetWatch { timer: TimerFd::new(ClockId::CLOCK_REALTIME, flags)? };
        watch.arm()?;
        Ok(watch)
    }

    /// Whether the clock has been set since the last call; to be called when the file is readable.
    ///
    /// # Errors
    /// The timer cannot be set again.
    pub fn was_set(&self) -> io::Result<bool> {
        let mut expirations = [0; 8];
        match nix::unistd::read(self.timer.as_fd(), &mut expirations) {
            Err(Errno::ECANCELED) => {
                self.arm()?;
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Ok(_) => {
                self.arm()?; // the year 2200 has come, or a clock that is as wrong
                Ok(false)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn arm(&self) -> io::Result<()> {
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        Ok(self.timer.set(Expiration::OneShot(TimeSpec::seconds(FAR_S)), flags)?)
    }
}

impl AsRawFd for ClockSetWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_sets_is_not_called_set() {
        // Setting it is nothing that a test may do; that the kernel cancels the timer is seen in virtual machines.
        let watch = ClockSetWatch::new().unwrap();
        assert!(!watch.was_set().unwrap());
    }
}
