//! Reading the machine's clocks, and sleeping until a point on one of them. Sets nothing, and knows nothing of the fake
//! oscillators of test nodes (that is `clock::Oscillator`).

/// Two reads of MONOTONIC further apart than this were interrupted, ns.
const SUSPENDED_WIDTH_NS_MAX: i64 = 100_000;

/// `CLOCK_REALTIME` and `CLOCK_MONOTONIC_RAW` at one instant, as well as two clocks can be read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// `CLOCK_MONOTONIC_RAW` in the middle of the bracket, ns.
    pub raw_ns: i64,
    /// `CLOCK_REALTIME` read inside the bracket, ns since 1970.
    pub real_ns: i64,
    /// From the raw read before to the raw read after, ns: the pair is off by at most half of it.
    pub width_ns: i64,
}

/// `CLOCK_MONOTONIC_RAW`, ns: the oscillator that nobody steers.
#[must_use]
pub fn raw_now() -> i64 {
    read(libc::CLOCK_MONOTONIC_RAW)
}

/// `CLOCK_REALTIME`, ns since 1970: the clock in which the kernel stamps packets.
#[must_use]
pub fn real_now() -> i64 {
    read(libc::CLOCK_REALTIME)
}

/// `CLOCK_MONOTONIC`, ns: the clock to sleep by.
#[must_use]
pub fn monotonic_now() -> i64 {
    read(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_BOOTTIME`, ns: it minus [`monotonic_now`] changes only when the machine was suspended.
#[must_use]
pub fn boottime_now() -> i64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Processor time that this thread has used, ns.
#[must_use]
pub fn thread_cpu_now() -> i64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// For how long the machine has been suspended since it booted, ns; good to the distance of two reads, tens of ns.
/// `None` if this process was interrupted in between, which happens.
#[must_use]
pub fn suspended_ns() -> Option<i64> {
    let before_ns = monotonic_now();
    let boottime_ns = boottime_now();
    let after_ns = monotonic_now();
    (after_ns - before_ns <= SUSPENDED_WIDTH_NS_MAX).then(|| boottime_ns - before_ns - (after_ns - before_ns) / 2)
}

/// Reads REALTIME between two RAW reads, `rounds` times (at least once), and returns the narrowest bracket: an
/// interrupt widens a bracket, so the narrowest was not interrupted. Three to nine rounds give some ten nanoseconds; a
/// round costs two vDSO reads, about 45 ns.
#[must_use]
pub fn bracket(rounds: usize) -> Pair {
    let mut before_ns = raw_now();
    let mut best = Pair { raw_ns: 0, real_ns: 0, width_ns: i64::MAX };
    for _ in 0..rounds.max(1) {
        let real_ns = real_now();
        let after_ns = raw_now();
        let width_ns = after_ns - before_ns;
        if width_ns < best.width_ns {
            best = Pair { raw_ns: before_ns + width_ns / 2, real_ns, width_ns };
        }
        before_ns = after_ns;
    }
    best
}

/// Sleeps until `CLOCK_MONOTONIC` reads at least `until_ns`; returns at once if it already does. Signals do not shorten
/// the sleep.
pub fn sleep_until_monotonic(until_ns: i64) {
    let until_ns = until_ns.max(0);
    let until = libc::timespec {
        tv_sec: (until_ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (until_ns % 1_000_000_000) as libc::c_long,
    };
    loop {
        // SAFETY: `until` is a valid timespec that outlives the call; with TIMER_ABSTIME the remainder may be null.
        let rc = unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut())
        };
        match rc {
            0 => return,
            libc::EINTR => {}
            errno => panic!("clock_nanosleep refused a normalised absolute time (errno {errno})"),
        }
    }
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec that the call fills.
    let rc = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(rc, 0, "clock {clock} exists on every Linux this program supports");
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_lies_between_the_reads_around_it() {
        for rounds in [0, 1, 5] {
            let before_ns = raw_now();
            let pair = bracket(rounds);
            let after_ns = raw_now();
            assert!(before_ns <= pair.raw_ns && pair.raw_ns <= after_ns);
            assert!(0 <= pair.width_ns && pair.width_ns <= after_ns - before_ns);
        }
    }

    #[test]
    fn a_sleep_ends_after_its_time_and_one_in_the_past_at_all() {
        let until_ns = monotonic_now() + 2_000_000;
        sleep_until_monotonic(until_ns);
        assert!(monotonic_now() >= until_ns);
        sleep_until_monotonic(until_ns - 1);
        sleep_until_monotonic(-5);
    }

    #[test]
    fn a_machine_that_is_awake_is_not_suspended_meanwhile() {
        let read = || (0..100).find_map(|_| suspended_ns()).expect("not every read is interrupted");
        let (before_ns, after_ns) = (read(), read());
        assert!(before_ns > -1_000_000 && (after_ns - before_ns).abs() < 1_000_000, "{before_ns} {after_ns}");
    }

    #[test]
    fn boottime_never_runs_behind_monotonic() {
        let monotonic_ns = monotonic_now();
        assert!(boottime_now() >= monotonic_ns);
    }
}
