//! What an operator may change about a running pipeline without a restart. Everything else of its configuration is
//! fixed for its life: filters and consensus are built for it.

use super::{Limits, Pipeline};

/// The limits that may change while a node runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// What may be done to the delivered clock.
    pub limits: Limits,
    /// Liars to tolerate; unless told, as many as the members alive allow.
    pub faults: Option<u16>,
}

impl Pipeline {
    /// Takes other limits from the next tick on.
    pub fn retune(&mut self, tuning: Tuning) {
        self.config.limits = tuning.limits;
        self.config.faults = tuning.faults;
        self.guard.set_limits(tuning.limits);
    }
}
