//! What an operator may change about a running pipeline without a restart. Everything else of its configuration is
//! fixed for its life: filters and consensus are built for it.

use super::Pipeline;

/// The limits that may change while a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// An error of the delivered clock above this at start is stepped, ns.
    pub step_threshold_ns: i64,
    /// Liars to tolerate; unless told, as many as the members alive allow.
    pub faults: Option<u16>,
}

impl Pipeline {
    /// Takes other limits from the next tick on.
    pub fn retune(&mut self, tuning: Tuning) {
        self.config.limits.step_threshold_ns = tuning.step_threshold_ns;
        self.config.faults = tuning.faults;
        self.guard.set_step_threshold(tuning.step_threshold_ns);
    }
}
