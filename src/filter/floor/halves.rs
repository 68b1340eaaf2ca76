//! The newest half round trips of a path, and the smallest of them: no floor lies above it. Knows no directions and no
//! time.

/// How many are remembered.
const LENGTH: usize = 64;

/// Half round trips, ns.
#[derive(Clone, Debug)]
pub(super) struct Halves {
    newest: [f32; LENGTH],
    count: usize,
    next: usize,
    least: f32,
}

impl Halves {
    /// Of a path that has not been travelled.
    pub(super) fn new() -> Self {
        Halves { newest: [0.0; LENGTH], count: 0, next: 0, least: f32::INFINITY }
    }

    /// The smallest, ns; infinite if there is none.
    pub(super) fn least(&self) -> f32 {
        self.least
    }

    /// How far the middle one lies above the smallest, ns; infinite if there is none.
    pub(super) fn spread(&self) -> f64 {
        let mut sorted = self.newest;
        let sorted = &mut sorted[..self.count];
        sorted.sort_unstable_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).map_or(f64::INFINITY, |middle| f64::from(middle - self.least))
    }

    pub(super) fn remember(&mut self, half: f64) {
        let (half, evicted) = (half as f32, self.newest[self.next]);
        let full = self.count == LENGTH;
        self.newest[self.next] = half;
        self.next = (self.next + 1) % LENGTH;
        self.count += usize::from(!full);
        if full && evicted <= self.least {
            self.least = self.newest.iter().copied().fold(f32::INFINITY, f32::min);
        } else {
            self.least = self.least.min(half);
        }
    }

    /// Forgets all but the newest: a change has been seen, and it came after the change.
    pub(super) fn forget(&mut self) {
        let newest = self.newest[(self.next + LENGTH - 1) % LENGTH];
        (self.count, self.next, self.least) = (0, 0, f32::INFINITY);
        self.remember(f64::from(newest));
    }
}
