//! The summary that scripts read after a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schedule::Done;

/// The figures of a run, as `--json` writes them. A stable interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Wall-clock seconds of the run.
    pub seconds: f64,
    /// What the run paid, in US dollars, for stages that failed too; what was cached or journaled costs nothing again.
    pub cost_usd: f64,
    /// The stages that are in the store, in topological order.
    pub stages: Vec<StageSummary>,
    /// Results of all evaluations: {stage, model, benchmark, metric, value, low, high, n}.
    pub evals: Vec<Value>,
}

/// The figures of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// The stage's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Rows of its first output, where that carries rows.
    pub rows: Option<u64>,
    /// Seconds it took in this run.
    pub seconds: f64,
    /// Whether nothing had to run.
    pub cached: bool,
    /// What its rows cost when they were bought, in this run or an earlier one, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// What it paid in this run, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_usd: Option<f64>,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl RunSummary {
    pub(super) fn new(seconds: f64, cost_usd: f64) -> Self {
        Self { seconds, cost_usd, stages: Vec::new(), evals: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, done: &Done, paid_usd: Option<f64>) {
        let manifest = &done.artifact.manifest;
        self.evals.extend(manifest.evals.iter().map(|eval| named(name, eval)));
        self.stages.push(StageSummary {
            name: name.to_owned(),
            kind: manifest.kind.clone(),
            rows: manifest.rows(),
            seconds: done.seconds,
            cached: done.cached,
            cost_usd: manifest.cost_usd,
            paid_usd,
            dropped: manifest.dropped.clone(),
        });
    }
}

/// The evaluation with the stage's present name in front: the artifact may come from a time when it had another.
fn named(stage: &str, eval: &Value) -> Value {
    let mut object = Map::from_iter([("stage".to_owned(), Value::from(stage))]);
    match eval {
        Value::Object(fields) => object.extend(fields.iter().filter(|(key, _)| *key != "stage").map(|(k, v)| (k.clone(), v.clone()))),
        other => {
            object.insert("value".to_owned(), other.clone());
        }
    }
    Value::Object(object)
}
