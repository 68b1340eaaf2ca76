//! How coarse stamps are: a card that counts in eights of nanoseconds, a clock that ticks in microseconds. Learnt from
//! the stamps alone; what it makes of the noise is the caller's part.

use crate::flow::Exchange;

/// The steps in which each node's stamps come: the greatest common divisor of all seen, ns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grain {
    local: u64,
    remote: u64,
}

impl Grain {
    /// Takes in an exchange's stamps.
    pub(super) fn observe(&mut self, exchange: &Exchange) {
        for stamp in [exchange.local_sent, exchange.local_received] {
            self.local = common_divisor(self.local, stamp.nanos().unsigned_abs());
        }
        for stamp in [exchange.remote_sent, exchange.remote_received] {
            self.remote = common_divisor(self.remote, stamp.nanos().unsigned_abs());
        }
    }

    /// Variance of one apparent delay by rounding alone, ns².
    pub(super) fn variance(&self) -> f64 {
        let square = |grain: f64| grain * grain;
        (square(believed_ns(self.local)) + square(believed_ns(self.remote))) / 12.0
    }

    /// What rounding may make of one apparent delay at most, either way, ns.
    pub(super) fn doubt_ns(&self) -> f64 {
        believed_ns(self.local).max(believed_ns(self.remote))
    }
}

/// Steps of more than a millisecond are not believed: after the first few exchanges they are chance.
fn believed_ns(grain: u64) -> f64 {
    if grain > 1_000_000 { 0.0 } else { grain as f64 }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    // The usual case: some odd stamp has been seen, and nothing is left to find.
    if a == 1 {
        return 1;
    }
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}
