//! From the exchanges of one peer to the relation of two raw clocks: the seam behind which edge filters sit. One filter
//! serves one peer and looks at raw stamps only, so nothing that anybody steers can disturb it. It knows no mapping, no
//! third node and no clock; time comes in with the exchanges.

mod envelope;
mod floor;
mod kalman;
mod noise;
mod regressed;
mod rounds;
mod stream;

#[cfg(test)]
mod tests;

use crate::flow::{Exchange, Relation, Span, StampClass};
use crate::unit::RawTime;

pub use floor::Floor;
pub use kalman::Kalman;
pub use regressed::Regressed;
pub use rounds::Rounds;

/// What both ends of an edge agree on, so that both run *the same* filter on the same data and their relations stay
/// exact opposites of each other (ALGORITHMS 2.2). Every field is symmetric in the two published claims.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// By how much the noise of an exchange is divided when the gain is set, because each end fuses many edges; >= 1.
    pub boost: f64,
    /// Random-walk frequency noise of the two oscillators together, q in 1/s (the sum of both).
    pub wander: f64,
    /// Members alive as both ends count them, themselves included (the mean of the two counts).
    pub alive: f64,
}

/// What became of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It moved the estimate.
    Taken,
    /// It lay further off than the noise explains and moved the estimate only as far as the gate allows.
    Clipped,
    /// Several in a row lay far off: one of the clocks has jumped, and the edge starts anew from this exchange.
    Restarted,
    /// The smallest round trip has changed for good: a route has changed, and the estimate is less sure than before.
    RouteChanged,
    /// It belongs to a time before the estimate's; it narrows the hard interval and nothing else.
    Late,
    /// Its stamps are of a weaker class than those of its neighbours; it narrows the hard interval and nothing else.
    WeakerStamp,
    /// Its round trip is shorter than nothing: no honest pair of clocks can produce it. It changes nothing.
    Impossible,
}

/// What is certain of a relation: peer minus self lies within `span` of `base_ns`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hard {
    /// Whole part, ns; that of [`Relation::base_ns`].
    pub base_ns: i64,
    /// That of [`Relation::hard`].
    pub span: Span,
}

/// How well each process noise of a filter's bank explains the exchanges so far; what the nodes pool to learn the
/// wander of their own oscillator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores<'a> {
    /// The candidates: q of the pair, 1/s, ascending in equal ratios.
    pub wander: &'a [f64],
    /// Mean log-likelihood of one exchange under each candidate, natural logarithm, forgetting slowly.
    pub log_likelihood: &'a [f64],
    /// Exchanges behind the means, at most the length of their memory.
    pub samples: u32,
}

/// Turns the exchanges with one peer into the relation of the two raw clocks.
///
/// The contract that every filter keeps: two filters fed with mirrored exchanges and equal [`Pair`]s hold offsets and
/// rates that are exact negatives of each other; nothing is allocated after construction; no exchange, however absurd,
/// panics or leaves a NaN behind.
pub trait EdgeFilter: Send {
    /// Takes one exchange. Exchanges may come late and out of order.
    fn on_exchange(&mut self, exchange: &Exchange, pair: &Pair) -> Outcome;
    /// The relation carried on to the own raw time `at`; `None` before the first exchange.
    fn relation(&self, at: RawTime) -> Option<Relation>;
    /// Of that relation the whole part and the hard interval only, which cost little: they are asked for at every
    /// exchange.
    fn hard(&self, at: RawTime) -> Option<Hard>;
    /// The scores of the filter's bank; empty slices if it has none.
    fn scores(&self) -> Scores<'_>;
    /// Tells `fetch` which memory the next exchange will touch, for whoever has thousands of filters and knows which
    /// comes next.
    fn foresee(&self, fetch: Fetch);
    /// Forgets everything: another peer, or another run of the same, sits here now.
    fn reset(&mut self);
}

/// Is told where some memory begins and how many bytes it has; may ask the processor for it, and must not read it.
pub type Fetch = fn(*const u8, usize);

/// Tells `fetch` of all that stands in `of` itself.
fn fetch_whole<T>(of: &T, fetch: Fetch) {
    fetch(std::ptr::from_ref(of).cast(), size_of::<T>());
}

/// The edge filters that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FilterKind {
    /// The two-state Kalman filter with likelihood-chosen noise of ALGORITHMS 3 and 4.
    #[default]
    Kalman,
    /// The two-sided floor filter: a mixture for the noise of each direction, joined to the mesh by a boosted Kalman.
    Floor,
    /// Saturn's: rounds of trips of which the slow ones are dropped.
    Rounds,
    /// A regression over a window that a runs test chooses.
    Regressed,
}

impl FilterKind {
    /// Every kind, the default first.
    pub const ALL: [FilterKind; 4] = [FilterKind::Kalman, FilterKind::Floor, FilterKind::Rounds, FilterKind::Regressed];

    /// The word by which it is chosen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FilterKind::Kalman => "kalman",
            FilterKind::Floor => "floor",
            FilterKind::Rounds => "rounds",
            FilterKind::Regressed => "regressed",
        }
    }

    /// A filter of this kind, with everything it will ever need.
    #[must_use]
    pub fn make(self) -> Box<dyn EdgeFilter> {
        match self {
            FilterKind::Kalman => Box::new(Kalman::new()),
            FilterKind::Floor => Box::new(Floor::new()),
            FilterKind::Rounds => Box::new(Rounds::new()),
            FilterKind::Regressed => Box::new(Regressed::new()),
        }
    }
}

/// Variance that an exchange of this class is taken to have before anything is known of the path, ns².
/// ALGORITHMS 3.4: 100 ns for network cards, 10 us for kernel stamps; user stamps are a scheduler's delay worse.
const fn prior_var(class: StampClass) -> f64 {
    match class {
        StampClass::Nic => 100.0 * 100.0,
        StampClass::Kernel => 10_000.0 * 10_000.0,
        StampClass::User => 30_000.0 * 30_000.0,
    }
}

/// By how much a stamp of this class can be wrong beyond the delays it measures, ns: the grain of the card's counter,
/// or the error of the measured relation by which kernel and user stamps were brought to raw time.
const fn grain_ns(class: StampClass) -> f64 {
    match class {
        StampClass::Nic => 10.0,
        StampClass::Kernel | StampClass::User => 50.0,
    }
}
