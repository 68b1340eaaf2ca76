//! How a demo ends: its figures as one JSON object, and as text for people.

use serde::Serialize;

use super::score::Score;
use crate::report::{Align, Table, frequency_text, offset_text, span_text};

/// The object of `llts demo --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Root mean square of the true distance of two nodes, over all pairs and the last half, ns.
    pub pairwise_rms_ns: f64,
    /// The greatest of them, ns.
    pub pairwise_max_ns: f64,
    /// Seconds after the last node's start from which on no pair was 100 us apart; null if that never came.
    pub converged_100us_s: Option<f64>,
    /// The same for 10 us.
    pub converged_10us_s: Option<f64>,
    /// Rate of the mean clock against the mean oscillator over the last half, ppb.
    pub ensemble_drift_ppb: f64,
    /// Times a pair was further apart than both its nodes' bounds.
    pub bound_violations: u64,
    /// Exchanges finished, added up over the nodes; each counts at both its ends.
    pub exchanges: u64,
    /// Whether all of this is agreement.
    pub agreed: bool,
    /// The number that throws the clocks off in the same way again.
    pub seed: u64,
    /// How long it ran.
    pub seconds: u32,
    /// How the nodes agreed.
    pub algorithm: String,
    /// What the restart of a node did, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// A line for each node.
    pub nodes: Vec<NodeSummary>,
}

/// One node of a demo.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct NodeSummary {
    /// Its name.
    pub name: String,
    /// How far its clock was ahead at its start, ns.
    pub initial_offset_ns: i64,
    /// How much too fast its oscillator runs, ppb.
    pub initial_drift_ppb: f64,
    /// Root mean square of its true distance from the mean, over the last half, ns.
    pub true_error_rms_ns: f64,
    /// Its own estimate at the end, ns.
    pub sigma_ns: Option<f64>,
    /// Its own promise at the end, ns.
    pub bound_ns: Option<f64>,
}

/// What the killing and the return of one node did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Restart {
    /// The node.
    pub node: String,
    /// When it was killed, seconds after the last node's start.
    pub killed_s: f64,
    /// When it was started again.
    pub restarted_s: f64,
    /// The greatest true distance of two others, from the kill to the last half, ns.
    pub others_max_ns: f64,
    /// Seconds from its second start until it was never 10 us away from any other again; null if that never came.
    pub returned_10us_s: Option<f64>,
}

impl Summary {
    /// Takes the figures of a score; the rest is for the caller to fill.
    pub fn of(score: &Score) -> Self {
        Summary {
            pairwise_rms_ns: score.pairwise_rms_ns,
            pairwise_max_ns: score.pairwise_max_ns,
            converged_100us_s: score.converged_100us_s,
            converged_10us_s: score.converged_10us_s,
            ensemble_drift_ppb: score.ensemble_drift_ppb,
            bound_violations: score.bound_violations,
            exchanges: 0,
            agreed: score.fault().is_none(),
            seed: 0,
            seconds: 0,
            algorithm: String::new(),
            restart: None,
            nodes: Vec::new(),
        }
    }

    /// Several lines for people, the last one without its newline.
    pub fn text(&self) -> String {
        let converged = |s: Option<f64>| s.map_or_else(|| "never".into(), |s| format!("after {s:.1} s"));
        let mut nodes = Table::new([
            ("NODE", Align::Left),
            ("THROWN OFF BY", Align::Right),
            ("DRIFT", Align::Right),
            ("TRUE ERROR RMS", Align::Right),
            ("SIGMA", Align::Right),
            ("BOUND", Align::Right),
        ]);
        for node in &self.nodes {
            nodes.row([
                node.name.clone(),
                offset_text(Some(node.initial_offset_ns as f64)),
                frequency_text(Some(node.initial_drift_ppb)),
                span_text(Some(node.true_error_rms_ns)),
                span_text(node.sigma_ns),
                span_text(node.bound_ns),
            ]);
        }
        let restart = self.restart.as_ref().map_or_else(String::new, |restart| {
            format!(
                "\nrestart of {:<13} others at most {} apart, back within 10 us {}",
                restart.node,
                span_text(Some(restart.others_max_ns)),
                converged(restart.returned_10us_s)
            )
        });
        format!(
            "{nodes}\n\n\
             within 100 us            {}\n\
             within 10 us             {}\n\
             true distance of pairs   {} rms, {} at most, over the last half\n\
             drift of the ensemble    {} against the mean oscillator\n\
             broken bounds            {}\n\
             exchanges                {}{restart}\n\
             again the same with      --seed {}",
            converged(self.converged_100us_s),
            converged(self.converged_10us_s),
            span_text(Some(self.pairwise_rms_ns)),
            span_text(Some(self.pairwise_max_ns)),
            frequency_text(Some(self.ensemble_drift_ppb)),
            self.bound_violations,
            self.exchanges,
            self.seed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let score = Score {
            pairwise_rms_ns: 800.0,
            pairwise_max_ns: 2_100.0,
            converged_100us_s: Some(0.9),
            converged_10us_s: None,
            ensemble_drift_ppb: 12.0,
            bound_violations: 0,
            true_error_rms_ns: vec![500.0],
        };
        let node = NodeSummary {
            name: "n1".into(),
            initial_offset_ns: -3_000_000,
            initial_drift_ppb: 20_000.0,
            true_error_rms_ns: 500.0,
            sigma_ns: Some(300.0),
            bound_ns: None,
        };
        Summary { nodes: vec![node], ..Summary::of(&score) }
    }

    #[test]
    fn the_object_has_every_key_that_programs_rely_on() {
        let json = serde_json::to_value(summary()).unwrap();
        for key in [
            "pairwise_rms_ns",
            "pairwise_max_ns",
            "converged_100us_s",
            "converged_10us_s",
            "ensemble_drift_ppb",
            "bound_violations",
            "exchanges",
        ] {
            assert!(json.get(key).is_some(), "{key} is missing");
        }
        for key in ["name", "initial_offset_ns", "initial_drift_ppb", "true_error_rms_ns", "sigma_ns", "bound_ns"] {
            assert!(json["nodes"][0].get(key).is_some(), "nodes[].{key} is missing");
        }
        assert!(json["converged_10us_s"].is_null());
        assert!(json.get("restart").is_none());
    }

    #[test]
    fn the_text_says_never_where_the_object_says_null() {
        let text = summary().text();
        assert!(text.contains("within 10 us             never"), "{text}");
        assert!(text.contains("within 100 us            after 0.9 s"), "{text}");
    }
}
