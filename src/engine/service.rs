//! What the service manager is told (systemd's notify protocol): that the node is up, that it reads its configuration
//! again, how it is doing in a line, and that it is alive. Alive means that both other threads have moved since the
//! last time: a daemon that answers but no longer keeps time is to be ended and started again. Without a service
//! manager nothing of this happens.

use sd_notify::NotifyState;

use crate::flow::NodeState;

/// The line to the service manager.
pub(super) struct Service {
    /// How often it wants to hear that the node is alive, ns.
    watchdog_ns: Option<i64>,
    told_ns: i64,
    pulse: [u64; 2],
}

impl Service {
    /// Of this process; `pulse` counts what the other two threads have done.
    pub fn here(now_ns: i64, pulse: [u64; 2]) -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let watchdog_ns = watchdog.map(|interval| i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX));
        Service { watchdog_ns, told_ns: now_ns, pulse }
    }

    /// The node is up.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status("unset: has agreed with nobody yet")]);
    }

    /// The configuration is about to be read again; [`Service::reloaded`] follows.
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// It has been read again.
    pub fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// How the node is doing.
    pub fn state(&self, state: NodeState, used: u16) {
        let plural = if used == 1 { "" } else { "s" };
        tell(&[NotifyState::Status(&format!("{}, {used} peer{plural} used", state.as_str()))]);
    }

    /// The node is ending.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Says that the node is alive, if it is time to and it is.
    pub fn watch(&mut self, now_ns: i64, pulse: [u64; 2]) {
        if self.is_due(now_ns, pulse) {
            tell(&[NotifyState::Watchdog]);
            (self.told_ns, self.pulse) = (now_ns, pulse);
        }
    }

    fn is_due(&self, now_ns: i64, pulse: [u64; 2]) -> bool {
        let moved = pulse[0] != self.pulse[0] && pulse[1] != self.pulse[1];
        self.watchdog_ns.is_some_and(|watchdog_ns| now_ns - self.told_ns >= watchdog_ns / 3) && moved
    }
}

fn tell(what: &[NotifyState<'_>]) {
    // A service manager that does not listen is no reason to stop keeping time.
    let _unheard = sd_notify::notify(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_alive_only_when_it_is_time_and_both_threads_have_moved() {
        let service = Service { watchdog_ns: Some(3_000), told_ns: 0, pulse: [4, 6] };
        for (now_ns, pulse, due) in [
            (1_000, [5, 7], true),
            (999, [5, 7], false),
            (9_000, [4, 7], false),
            (9_000, [5, 6], false),
            (9_000, [4, 6], false),
        ] {
            assert_eq!(service.is_due(now_ns, pulse), due, "{now_ns} {pulse:?}");
        }
        let nobody = Service { watchdog_ns: None, ..service };
        assert!(!nobody.is_due(9_000, [5, 7]));
    }
}
