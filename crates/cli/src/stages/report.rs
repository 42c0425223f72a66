//! `report`: one HTML file about everything that led to its inputs.

use potstill_pipeline::{Artifact, Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::App;
use crate::report::{Source, render};

/// Writes the report.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportStage {
    /// The report's title.
    #[serde(default = "title")]
    title: String,
    /// How many attempts are shown in full.
    #[serde(default = "dozen")]
    #[schemars(range(max = 200))]
    traces: usize,
}

fn title() -> String {
    "Distillation run".to_owned()
}

fn dozen() -> usize {
    12
}

/// Counts up when the page changes, so that a report of an older form is made again.
const PAGE: u32 = 2;

/// The report's file name.
pub(crate) const FILE: &str = "report.html";

impl Stage<App> for ReportStage {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        if inputs.is_empty() {
            return Err(PortError::number("needs at least one input to report on"));
        }
        Ok(vec![("report".to_owned(), Port::Report)])
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        Ok(json!({ "settings": self, "page": PAGE }))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let artifacts = lineage(cx)?;
        let page = render(&Source { title: &self.title, seed: cx.seed, traces: self.traces, artifacts: &artifacts })?;
        let path = cx.out_file("report", FILE)?;
        std::fs::write(&path, page)
            .map_err(|e| StageError::failed(format!("the report `{}` cannot be written", path.display())).caused_by(e))?;
        Ok(StageResult::default().entry("report", FILE))
    }
}

/// Every artifact that led to the inputs, each after what it was made from.
fn lineage(cx: &StageContext<'_, App>) -> Result<Vec<Artifact>, StageError> {
    let mut artifacts: Vec<Artifact> = Vec::new();
    for input in &cx.inputs {
        for ancestor in &input.artifact.manifest.lineage {
            if artifacts.iter().all(|a| a.manifest.fingerprint != ancestor.fingerprint) {
                artifacts.extend(cx.artifact(&ancestor.fingerprint)?);
            }
        }
        if artifacts.iter().all(|a| a.manifest.fingerprint != input.artifact.manifest.fingerprint) {
            artifacts.push(input.artifact.clone());
        }
    }
    Ok(artifacts)
}
