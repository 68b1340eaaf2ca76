//! The names of the algorithms: what `--algorithm` accepts and what status shows. One entry for each file of this room
//! that holds an algorithm; nothing else in the program knows how many there are.

use std::fmt;
use std::str::FromStr;

use super::{Average, Consensus, LynchWelch, Marzullo, Median, Rce, Regression, Saturn, Tree, TrimmedMean};

/// What an algorithm wants to be told of each peer's raw clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeModel {
    /// A Kalman filter with one noise for both directions.
    Gaussian,
    /// A filter that knows the floor of each direction's delay and the shape of what lies above it.
    Floor,
    /// The trips of each round with a short round trip, averaged.
    Rounds,
    /// A weighted regression over as many samples as a runs test allows.
    Regressed,
}

/// One algorithm that can be asked for.
#[derive(Debug)]
pub struct Entry {
    /// The word of `--algorithm` and of JSON.
    pub name: &'static str,
    /// What it is, in one line for `--help`.
    pub summary: &'static str,
    /// Whether it keeps its promise with up to a third of the members lying.
    pub tolerates_liars: bool,
    /// What it is fed with.
    pub edges: EdgeModel,
    /// Builds one for at most so many peers.
    make: fn(usize) -> Box<dyn Consensus>,
}

/// Every algorithm, the default first.
pub const ALGORITHMS: &[Entry] = &[
    Entry {
        name: "rce",
        summary: "raw-clock ensemble: fault-tolerant fusion of filtered raw clocks",
        tolerates_liars: true,
        edges: EdgeModel::Floor,
        make: |capacity| Box::new(Rce::new(capacity)),
    },
    Entry {
        name: "rce-kalman",
        summary: "the same over plain Kalman filters, for comparison: less close where queues are one-sided",
        tolerates_liars: true,
        edges: EdgeModel::Gaussian,
        make: |capacity| Box::new(Rce::new(capacity)),
    },
    Entry {
        name: "average",
        summary: "plain average consensus, for comparison: one liar moves everybody",
        tolerates_liars: false,
        edges: EdgeModel::Gaussian,
        make: |_| Box::new(Average),
    },
    Entry {
        name: "lynch-welch",
        summary: "fault-tolerant midpoint (1988): proven against f < n/3 liars, averages noise less well",
        tolerates_liars: true,
        edges: EdgeModel::Gaussian,
        make: |_| Box::new(LynchWelch),
    },
    Entry {
        name: "trimmed-mean",
        summary: "mean without the f outermost on each side: f < n/3 liars, no anchor against a dragged rate",
        tolerates_liars: true,
        edges: EdgeModel::Gaussian,
        make: |_| Box::new(TrimmedMean),
    },
    Entry {
        name: "median",
        summary: "median of all, crash faults only: liars can hold two groups apart for ever",
        tolerates_liars: false,
        edges: EdgeModel::Gaussian,
        make: |_| Box::new(Median),
    },
    Entry {
        name: "marzullo",
        summary: "intersection of hard intervals (1983): f < n/3 liars, no assumption on noise, coarse",
        tolerates_liars: true,
        edges: EdgeModel::Gaussian,
        make: |_| Box::new(Marzullo),
    },
    Entry {
        name: "saturn",
        summary: "rounds of trips, the slow ones dropped, mean of the rest, with a rate: one liar moves everybody",
        tolerates_liars: false,
        edges: EdgeModel::Rounds,
        make: |_| Box::new(Saturn),
    },
    Entry {
        name: "regression",
        summary: "regression with a runs test, as NTP clients do, combined over peers: one liar moves everybody",
        tolerates_liars: false,
        edges: EdgeModel::Regressed,
        make: |_| Box::new(Regression),
    },
    Entry {
        name: "tree",
        summary: "one leader whom all follow, as in PTP: a lying or broken leader is the time",
        tolerates_liars: false,
        edges: EdgeModel::Gaussian,
        make: |_| Box::new(Tree),
    },
];

/// A choice of algorithm.
#[derive(Clone, Copy)]
pub struct Algorithm(&'static Entry);

impl Algorithm {
    /// The algorithm called `name`.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn named(name: &str) -> Result<Self, UnknownAlgorithm> {
        ALGORITHMS.iter().find(|e| e.name == name).map(Algorithm).ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Its entry.
    #[must_use]
    pub fn entry(self) -> &'static Entry {
        self.0
    }

    /// A fresh instance for peers in slots below `capacity`, with everything it will ever need.
    #[must_use]
    pub fn make(self, capacity: usize) -> Box<dyn Consensus> {
        (self.0.make)(capacity)
    }
}

impl Default for Algorithm {
    fn default() -> Self {
        Algorithm(&ALGORITHMS[0])
    }
}

impl PartialEq for Algorithm {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Algorithm {}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Algorithm({})", self.0.name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Algorithm::named(name)
    }
}

/// An algorithm was asked for that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownAlgorithm(pub String);

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no algorithm '{}'; choose one of", self.0)?;
        for (index, entry) in ALGORITHMS.iter().enumerate() {
            write!(f, "{} {}", if index == 0 { "" } else { "," }, entry.name)?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownAlgorithm {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_found_by_its_name_and_the_default_is_the_first() {
        for entry in ALGORITHMS {
            assert_eq!(entry.name.parse::<Algorithm>().unwrap().as_str(), entry.name);
        }
        assert_eq!(Algorithm::default().as_str(), "rce");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = Algorithm::named("astrology").unwrap_err().to_string();
        assert!(error.starts_with("there is no algorithm 'astrology'; choose one of rce, "), "{error}");
        assert!(ALGORITHMS.iter().all(|entry| error.contains(entry.name)), "{error}");
    }
}
