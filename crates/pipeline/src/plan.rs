//! What a run would do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::kind::{Estimate, EstimateContext, Port};
use crate::pipeline::{Edge, Node, Pipeline};
use crate::run::RunError;
use crate::store::Store;

/// Whether a stage would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Its artifact is in the store.
    Cached,
    /// It would run; the store has an artifact of a stage of this name and kind with other parameters or inputs.
    Stale,
    /// It would run for the first time.
    New,
}

/// A stage in the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStage {
    /// The stage's name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its inputs and the model it starts from, as `STAGE.OUTPUT`.
    pub inputs: Vec<String>,
    /// Its outputs.
    pub outputs: Vec<(String, Port)>,
    /// The address of its artifact.
    pub fingerprint: Fingerprint,
    /// Whether it would run.
    pub state: PlanState,
    /// Rows of its first output: counted when cached, estimated otherwise.
    pub rows: Option<u64>,
    /// What it is expected to take; `None` when cached or unknown.
    pub estimate: Option<Estimate>,
}

/// The plan: every stage in topological order. Without a store, everything is new.
///
/// # Errors
/// Files that decide what a stage does cannot be read, or the store cannot.
pub fn plan<C>(pipeline: &Pipeline<C>, store: Option<&Store>, app: &C) -> Result<Vec<PlannedStage>, RunError> {
    let identities = pipeline.identify(app).map_err(RunError::Identity)?;
    let known = store.map(known_stages).transpose()?.unwrap_or_default();
    let mut planned: Vec<PlannedStage> = Vec::new();
    let mut files: Vec<Vec<Vec<PathBuf>>> = Vec::new();
    for (node, identity) in pipeline.nodes().iter().zip(&identities) {
        let artifact = store.map(|store| store.find(&identity.fingerprint)).transpose()?.flatten();
        let state = match &artifact {
            Some(_) => PlanState::Cached,
            None if known.contains(&(node.name.clone(), node.kind.name.to_owned())) => PlanState::Stale,
            None => PlanState::New,
        };
        let estimate = match &artifact {
            Some(_) => None,
            None => estimate(node, &planned, &files, app),
        };
        let rows = match &artifact {
            Some(artifact) => artifact.manifest.rows(),
            None => estimate.as_ref().and_then(|estimate| estimate.rows),
        };
        planned.push(PlannedStage {
            name: node.name.clone(),
            kind: node.kind.name,
            inputs: node.edges().map(|edge| format!("{}.{}", pipeline.nodes()[edge.stage].name, edge.output)).collect(),
            outputs: node.outputs.clone(),
            fingerprint: identity.fingerprint,
            state,
            rows,
            estimate,
        });
        files.push(node.outputs.iter().map(|(output, _)| artifact.as_ref().map(|a| a.files(Some(output))).unwrap_or_default()).collect());
    }
    Ok(planned)
}

fn estimate<C>(node: &Node<C>, planned: &[PlannedStage], files: &[Vec<Vec<PathBuf>>], app: &C) -> Option<Estimate> {
    let input_rows: Vec<Option<u64>> = node.inputs.iter().map(|edge| planned[edge.stage].rows).collect();
    let input_tokens: Vec<Option<f64>> =
        node.inputs.iter().map(|edge| planned[edge.stage].estimate.as_ref().and_then(|estimate| estimate.row_tokens)).collect();
    let of_output = |edge: &Edge| {
        let at = planned[edge.stage].outputs.iter().position(|(output, _)| *output == edge.output)?;
        files[edge.stage].get(at).cloned()
    };
    let input_files: Vec<Vec<PathBuf>> = node.inputs.iter().map(|edge| of_output(edge).unwrap_or_default()).collect();
    node.stage.estimate(&EstimateContext { app, input_rows: &input_rows, input_tokens: &input_tokens, input_files: &input_files })
}

/// Name and kind of every stage that the store has an artifact of; manifests that cannot be read are left to the stages they belong to.
fn known_stages(store: &Store) -> Result<BTreeSet<(String, String)>, RunError> {
    let mut known = BTreeSet::new();
    for fingerprint in store.fingerprints()? {
        if let Ok(Some(artifact)) = store.find(&fingerprint) {
            known.insert((artifact.manifest.stage, artifact.manifest.kind));
        }
    }
    Ok(known)
}
