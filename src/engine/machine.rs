//! What the control thread watches of the machine around a steered clock: whether somebody sets it, and whether the
//! kernel changes its clock source. Says who it may have been, and says it seldom: a fight over a clock would fill a
//! disk.

use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, warn};

use crate::clock::{Interference, Rivals};
use crate::sys::clock_set::ClockSetWatch;

const CLOCK_SOURCE_PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// The clock source is looked at this often, ns.
const CLOCK_SOURCE_INTERVAL_NS: i64 = 1_000_000_000;
/// A setting of the clock for which nobody has given a reason by then is told, ns.
const PATIENCE_NS: i64 = 1_000_000_000;
/// Interference is told at once, and then no more often than this, ns.
const QUIET_NS: i64 = 60_000_000_000;

/// The watch.
pub struct MachineWatch {
    clock_set: Option<ClockSetWatch>,
    /// When the clock was set, for a reason that is not known yet.
    set_at_ns: Option<i64>,
    /// When a setting of the clock was last accounted for.
    explained_at_ns: i64,
    clock_source: Option<String>,
    clock_source_due_ns: i64,
    clock_source_changed: Arc<AtomicBool>,
    clock_set_by_others: Arc<AtomicBool>,
    told_at_ns: Option<i64>,
    untold: u64,
}

impl MachineWatch {
    /// Watches the clock source, and with `steers_system` also who sets the system clock. Raises
    /// `clock_source_changed`, and `clock_set_by_others` for settings that nobody accounts for.
    #[must_use]
    pub fn new(
        steers_system: bool,
        clock_source_changed: Arc<AtomicBool>,
        clock_set_by_others: Arc<AtomicBool>,
    ) -> Self {
        let watch = || match ClockSetWatch::new() {
            Ok(watch) => Some(watch),
            Err(error) => {
                debug!("small steps of the clock by others will not be noticed: {error}");
                None
            }
        };
        MachineWatch {
            clock_set: steers_system.then(watch).flatten(),
            set_at_ns: None,
            explained_at_ns: i64::MIN / 2,
            clock_source: clock_source(),
            clock_source_due_ns: 0,
            clock_source_changed,
            clock_set_by_others,
            told_at_ns: None,
            untold: 0,
        }
    }

    /// What becomes readable when somebody sets the clock.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        self.clock_set.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// [`MachineWatch::fd`] is readable.
    pub fn clock_set(&mut self, now_ns: i64) {
        if let Some(watch) = &self.clock_set {
            match watch.was_set() {
                Ok(true) => self.note_set(now_ns),
                Ok(false) => {}
                Err(error) => {
                    warn!("small steps of the clock by others will not be noticed any longer: {error}");
                    self.clock_set = None;
                }
            }
        }
    }

    /// The first setting that nobody has given a reason for stands: whoever sets the clock again and again is told too.
    fn note_set(&mut self, now_ns: i64) {
        self.set_at_ns.get_or_insert(now_ns);
    }

    /// This node has set the clock itself, or knows why the kernel did.
    pub fn explained(&mut self, now_ns: i64) {
        self.explained_at_ns = now_ns;
    }

    /// Somebody else was at the clock.
    pub fn interference(&mut self, interference: Interference, now_ns: i64) {
        self.explained(now_ns);
        self.tell(&interference.to_string(), now_ns);
    }

    /// To be called a few times a second.
    pub fn look(&mut self, now_ns: i64) {
        if let Some(at_ns) = self.set_at_ns
            && now_ns - at_ns >= PATIENCE_NS
        {
            self.set_at_ns = None;
            if (self.explained_at_ns - at_ns).abs() > PATIENCE_NS {
                // The discipline thread meets it like whatever else is done to the clock, and this thread hears of it.
                self.clock_set_by_others.store(true, Ordering::Relaxed);
            }
        }
        if now_ns >= self.clock_source_due_ns {
            self.clock_source_due_ns = now_ns + CLOCK_SOURCE_INTERVAL_NS;
            self.note_clock_source(clock_source());
        }
    }

    fn note_clock_source(&mut self, now: Option<String>) {
        if let (Some(before), Some(now)) = (&self.clock_source, &now)
            && before != now
        {
            warn!("the kernel has changed its clock source from {before} to {now}: another oscillator counts now");
            self.clock_source_changed.store(true, Ordering::Relaxed);
        }
        self.clock_source = now.or(self.clock_source.take());
    }

    fn tell(&mut self, what: &str, now_ns: i64) {
        if self.told_at_ns.is_some_and(|at_ns| now_ns - at_ns < QUIET_NS) {
            self.untold += 1;
            return;
        }
        let before = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            n => format!(" ({n} times more since it was last told)"),
        };
        let who = Rivals::of_this_machine();
        warn!(
            "{what}{before}: {who}; it is put right, and told at most once a minute (--on-conflict refuse would end)"
        );
        self.told_at_ns = Some(now_ns);
    }
}

fn clock_source() -> Option<String> {
    fs::read_to_string(CLOCK_SOURCE_PATH).ok().map(|name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> (MachineWatch, Arc<AtomicBool>) {
        let changed = Arc::new(AtomicBool::new(false));
        (MachineWatch::new(false, Arc::clone(&changed), Arc::default()), changed)
    }

    #[test]
    fn another_clock_source_is_noticed_once_and_a_file_that_cannot_be_read_is_none() {
        let (mut watch, changed) = watch();
        watch.clock_source = Some("tsc".into());
        watch.note_clock_source(Some("tsc".into()));
        watch.note_clock_source(None);
        assert!(!changed.load(Ordering::Relaxed));
        watch.note_clock_source(Some("hpet".into()));
        assert!(changed.swap(false, Ordering::Relaxed));
        watch.note_clock_source(Some("hpet".into()));
        assert!(!changed.load(Ordering::Relaxed));
    }

    #[test]
    fn a_setting_of_the_clock_is_interference_unless_somebody_accounts_for_it() {
        let second = 1_000_000_000;
        for (explained_ns, told) in [(None, true), (Some(10 * second + second / 2), false), (Some(5 * second), true)] {
            let (mut watch, _) = watch();
            watch.set_at_ns = Some(10 * second);
            if let Some(at_ns) = explained_ns {
                watch.explained(at_ns);
            }
            watch.look(11 * second - 1);
            assert!(!watch.clock_set_by_others.load(Ordering::Relaxed), "patience");
            watch.look(11 * second);
            assert_eq!(watch.clock_set_by_others.load(Ordering::Relaxed), told, "{explained_ns:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_again_and_again_is_noticed_while_that_goes_on() {
        let (mut watch, _) = watch();
        for n in 0..5 {
            let now_ns = 10_000_000_000 + n * 300_000_000;
            watch.note_set(now_ns);
            watch.look(now_ns);
        }
        assert!(watch.clock_set_by_others.load(Ordering::Relaxed), "after 1.2 s of it");
    }

    #[test]
    fn a_fight_over_the_clock_is_told_once_a_minute_and_counted() {
        let (mut watch, _) = watch();
        for tick in 0..960 {
            watch.interference(Interference::Loop, tick * 62_500_000);
        }
        assert_eq!((watch.told_at_ns, watch.untold), (Some(0), 959));
        watch.interference(Interference::Loop, QUIET_NS);
        assert_eq!((watch.told_at_ns, watch.untold), (Some(QUIET_NS), 0));
    }
}
