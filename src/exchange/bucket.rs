//! A token bucket in virtual time.

use crate::unit::RawTime;

/// Lets `burst` packets through at once and `per_s` a second in the long run.
#[derive(Clone, Copy)]
pub(super) struct Bucket {
    per_s: f64,
    burst: f64,
    tokens: f64,
    filled_at: RawTime,
}

impl std::fmt::Debug for Bucket {
    /// The limits; the level is a count of packets like any counter, and no part of what a node believes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("per_s", &self.per_s).field("burst", &self.burst).finish_non_exhaustive()
    }
}

impl Bucket {
    pub fn new(per_s: u32, burst: u32, now: RawTime) -> Self {
        Bucket { per_s: f64::from(per_s), burst: f64::from(burst), tokens: f64::from(burst), filled_at: now }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: RawTime) -> bool {
        let elapsed_ns = now.since(self.filled_at);
        if elapsed_ns > 0 {
            self.tokens = (self.tokens + elapsed_ns as f64 * 1e-9 * self.per_s).min(self.burst);
            self.filled_at = now;
        }
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let at = |ms: i64| RawTime::from_nanos(ms * 1_000_000);
        let mut bucket = Bucket::new(10, 3, at(0));
        assert_eq!((0..5).filter(|_| bucket.take(at(0))).count(), 3);
        assert!(!bucket.take(at(99)));
        assert!(bucket.take(at(100)));
        assert_eq!((0..100).filter(|i| bucket.take(at(1_000 + i * 100))).count(), 100);
        assert_eq!((0..1000).filter(|_| bucket.take(at(60_000))).count(), 3);
    }
}
