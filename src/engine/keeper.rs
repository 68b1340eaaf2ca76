//! Keeps, for as long as a node steers the system clock, what its next run should find, and finds what the run before
//! has kept: when to write, what to believe, and the words about it. The files themselves are `kept`'s.

use std::path::PathBuf;

use tracing::{info, warn};

use super::kept::{Drift, RawScale, SavedMapping};
use crate::flow::{Mapping, NodeState};
use crate::pipeline::NodeView;
use crate::sys::time::{raw_now, suspended_ns};
use crate::unit::RawTime;

/// The drift is written this often, ns, and at the end: it changes slowly, and disks wear.
const DRIFT_INTERVAL_NS: i64 = 600_000_000_000;
/// And first after this long in track, ns: ten time constants of the rate.
const DRIFT_AFTER_NS: i64 = 20_000_000_000;
/// A drift this many of its errors off what the file said, and 1 ppm more for the temperature, is worth a word.
const SURPRISE_ERRORS: f64 = 5.0;
/// The mapping is saved this often, ns: into a folder that is memory.
const MAPPING_INTERVAL_NS: i64 = 2_000_000_000;

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The rate against raw that makes the clock run right, if any is known better than the kernel's.
    pub rate: Option<f64>,
    /// V by raw time, if the raw scale has gone on since it was saved.
    pub mapping: Option<Mapping>,
}

/// Writes what is to be found.
pub struct Keeper {
    drift_path: PathBuf,
    mapping_path: Option<PathBuf>,
    drift_due_ns: i64,
    mapping_due_ns: i64,
    tracked_since_ns: Option<i64>,
    /// What the file said, until the oscillator was found to keep to it or not.
    expected: Option<Drift>,
    /// Failures are told once each.
    drift_failed: bool,
    mapping_failed: bool,
}

impl Keeper {
    /// Looks for what an earlier run has kept, and says what it found. `mapping_path` is `None` where no such file can
    /// be had.
    #[must_use]
    pub fn open(drift_path: PathBuf, mapping_path: Option<PathBuf>) -> (Found, Self) {
        let drift = Drift::read(&drift_path).unwrap_or_else(|error| {
            warn!("{error}");
            None
        });
        if let Some(drift) = drift {
            info!("{}: the oscillator gains {:+.6} +- {:.6} ppm", drift_path.display(), drift.ppm, drift.error_ppm);
        }
        let mapping = mapping_path.as_ref().and_then(|path| {
            let scale = raw_scale()?;
            SavedMapping::read(path, &scale, RawTime::from_nanos(raw_now())).unwrap_or_else(|error| {
                warn!("{error}");
                None
            })
        });
        // The rate of this boot is newer than the one in the file.
        let rate = mapping.map(|m| m.rate).or(drift.map(|d| d.rate()));
        let keeper = Keeper {
            drift_path,
            mapping_path,
            drift_due_ns: 0,
            mapping_due_ns: 0,
            tracked_since_ns: None,
            expected: drift,
            drift_failed: false,
            mapping_failed: false,
        };
        (Found { rate, mapping }, keeper)
    }

    /// Writes what is due at `now_ns` (CLOCK_MONOTONIC); only agreement is worth keeping.
    pub fn keep(&mut self, node: &NodeView, now_ns: i64) {
        if node.state != NodeState::Track || !node.bound_ns.is_finite() {
            self.tracked_since_ns = None;
            return;
        }
        let since_ns = *self.tracked_since_ns.get_or_insert(now_ns);
        if now_ns - since_ns >= DRIFT_AFTER_NS && now_ns >= self.drift_due_ns {
            self.drift_due_ns = now_ns + DRIFT_INTERVAL_NS;
            self.write_drift(node);
        }
        if now_ns >= self.mapping_due_ns {
            self.mapping_due_ns = now_ns + MAPPING_INTERVAL_NS;
            self.write_mapping(node);
        }
    }

    /// Writes everything once more, at the end of the node.
    pub fn last(&mut self, node: &NodeView) {
        if node.state == NodeState::Track && node.bound_ns.is_finite() {
            self.write_mapping(node);
            if self.drift_due_ns > 0 {
                self.write_drift(node);
            }
        }
    }

    fn write_drift(&mut self, node: &NodeView) {
        let drift = Drift::of(node.frequency, node.wander);
        if let Some(expected) = self.expected.take()
            && surprises(&drift, &expected)
        {
            warn!(
                "the oscillator gains {:+.3} ppm where the drift file said {:+.3} +- {:.3}: another machine's file, or \
                 another oscillator or host; it is written anew",
                drift.ppm, expected.ppm, expected.error_ppm
            );
        }
        if let Err(error) = drift.write(&self.drift_path)
            && !std::mem::replace(&mut self.drift_failed, true)
        {
            warn!("the drift is not kept, so the next start will be a cold one: {error}");
        }
    }

    fn write_mapping(&mut self, node: &NodeView) {
        let (Some(path), Some(scale)) = (&self.mapping_path, raw_scale()) else { return };
        if let Err(error) = (SavedMapping { scale, mapping: node.mapping }).write(path)
            && !std::mem::replace(&mut self.mapping_failed, true)
        {
            warn!("the mapping is not kept, so a restart will begin from the clock: {error}");
        }
    }
}

/// Whether an oscillator found to drift by `drift` is hardly the one that was expected.
fn surprises(drift: &Drift, expected: &Drift) -> bool {
    (drift.ppm - expected.ppm).abs() > SURPRISE_ERRORS * (expected.error_ppm + drift.error_ppm) + 1.0
}

fn raw_scale() -> Option<RawScale> {
    let suspended_ns = (0..10).find_map(|_| suspended_ns())?;
    RawScale::now(suspended_ns).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Role;
    use crate::pipeline::{Config, Pipeline};
    use crate::unit::NodeId;

    fn view(state: NodeState, rate: f64) -> NodeView {
        let now = RawTime::from_nanos(raw_now());
        let mapping = Mapping { epoch: now, offset_ns: 5, offset_frac_ns: 0.0, rate };
        let node = Pipeline::new(&Config::new(NodeId(1)), mapping, now).node_view();
        assert_eq!(node.role, Role::Peer);
        NodeView { state, bound_ns: 10.0, ..node }
    }

    #[test]
    fn an_oscillator_that_is_hardly_the_expected_one_is_told_and_its_error_says_what_is_hardly() {
        let drift = |ppm, error_ppm| Drift { ppm, error_ppm };
        for (found, expected, surprise) in [
            (drift(-12.0, 0.1), drift(-12.5, 0.1), false),
            (drift(-12.0, 0.1), drift(-14.1, 0.1), true),
            (drift(-12.0, 0.1), drift(-14.1, 0.2), false),
            (drift(12.0, 0.1), drift(-12.0, 0.1), true),
            (drift(12.0, 0.1), drift(-12.0, 9.0), false),
        ] {
            assert_eq!(surprises(&found, &expected), surprise, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn a_run_finds_what_the_one_before_has_kept_and_nothing_that_no_agreement_stood_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (drift, mapping) = (folder.path().join("drift"), Some(folder.path().join("mapping")));
        let (found, mut keeper) = Keeper::open(drift.clone(), mapping.clone());
        assert!(found.rate.is_none() && found.mapping.is_none());
        for state in [NodeState::Unset, NodeState::Acquire, NodeState::Holdover] {
            keeper.keep(&view(state, 7e-6), 1);
            keeper.last(&view(state, 7e-6));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        keeper.keep(&view(NodeState::Track, 7e-6), 1);
        assert!(!drift.exists(), "the rate is not settled yet");
        keeper.keep(&view(NodeState::Track, 7e-6), 1 + DRIFT_AFTER_NS);
        let (found, mut keeper) = Keeper::open(drift.clone(), mapping.clone());
        assert!((found.rate.unwrap() - 7e-6).abs() < 1e-15);
        assert_eq!(found.mapping.unwrap().rate, found.rate.unwrap());

        // After a reboot only the drift is left.
        std::fs::remove_file(mapping.as_ref().unwrap()).unwrap();
        let (found, _) = Keeper::open(drift.clone(), mapping.clone());
        assert!((found.rate.unwrap() - 7e-6).abs() < 1e-12 && found.mapping.is_none());

        keeper.last(&view(NodeState::Track, 9e-6));
        assert!((Keeper::open(drift, mapping).0.rate.unwrap() - 9e-6).abs() < 1e-12);
    }
}
