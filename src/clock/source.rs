//! Where this room gets the machine's time from: the kernel, or a test that plays one.

use crate::sys::time::{self, Pair};

/// Rounds of an ordinary bracket.
const ROUNDS: usize = 3;
/// Rounds of a second try.
const ROUNDS_AGAIN: usize = 9;
/// A bracket wider than this was interrupted, ns; ordinary ones are some 50 ns wide.
const WIDTH_NS_MAX: i64 = 1_000;

/// The clocks of a machine that steers nothing here.
pub trait TimeSource: Send {
    /// `CLOCK_MONOTONIC_RAW`, ns.
    fn raw_ns(&mut self) -> i64;

    /// `CLOCK_REALTIME` and `CLOCK_MONOTONIC_RAW` together.
    fn pair(&mut self) -> Pair;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl TimeSource for Machine {
    fn raw_ns(&mut self) -> i64 {
        time::raw_now()
    }

    fn pair(&mut self) -> Pair {
        let first = time::bracket(ROUNDS);
        if first.width_ns <= WIDTH_NS_MAX {
            return first;
        }
        let second = time::bracket(ROUNDS_AGAIN);
        if second.width_ns <= first.width_ns { second } else { first }
    }
}

#[cfg(test)]
pub mod played {
    //! A machine whose clocks a test moves by hand.

    use std::sync::{Arc, Mutex};

    use super::{Pair, TimeSource};

    /// Handles to one played machine; clones share it.
    #[derive(Clone, Default)]
    pub struct Played(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        raw_ns: i64,
        /// REALTIME minus RAW, whole ns: too large for a float.
        ahead_ns: i64,
        /// What it has gained by running fast, ns.
        gained_ns: f64,
        /// How much faster REALTIME runs than RAW.
        rate: f64,
    }

    impl Played {
        /// A machine whose raw clock reads `raw_ns` and whose REALTIME is `ahead_ns` ahead of it.
        pub fn new(raw_ns: i64, ahead_ns: i64) -> Self {
            Played(Arc::new(Mutex::new(State { raw_ns, ahead_ns, ..State::default() })))
        }

        /// Lets time pass.
        pub fn advance(&self, span_ns: i64) {
            let mut state = self.0.lock().unwrap();
            state.raw_ns += span_ns;
            state.gained_ns += state.rate * span_ns as f64;
        }

        /// Makes REALTIME run `rate` faster than RAW.
        pub fn slew(&self, rate: f64) {
            self.0.lock().unwrap().rate = rate;
        }

        /// Sets REALTIME forward.
        pub fn step(&self, step_ns: i64) {
            self.0.lock().unwrap().ahead_ns += step_ns;
        }

        /// REALTIME now.
        pub fn real_ns(&self) -> i64 {
            let state = self.0.lock().unwrap();
            state.raw_ns + state.ahead_ns + state.gained_ns.round() as i64
        }
    }

    impl TimeSource for Played {
        fn raw_ns(&mut self) -> i64 {
            self.0.lock().unwrap().raw_ns
        }

        fn pair(&mut self) -> Pair {
            Pair { raw_ns: self.raw_ns(), real_ns: self.real_ns(), width_ns: 40 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_pair_holds_its_two_clocks_at_one_instant() {
        let mut machine = Machine;
        let before_ns = machine.raw_ns();
        let pair = machine.pair();
        assert!((before_ns..=machine.raw_ns()).contains(&pair.raw_ns));
    }
}
