//! `select`: which attempts become the training set, by difficulty, length, quota, domain or diversity.

mod places;

use potstill_curate::{SelectConfig, Selector};
use potstill_data::{Attempt, Vectors};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided;
use super::rows::{Ahead, content_hash, files, row_count};
use super::{curate_error, curate_mistake, data_error};
use crate::app::App;
use crate::estimate::at_most;

/// Chooses attempts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Select(SelectConfig);

impl Stage<App> for Select {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        Ok(decided::outputs(some_inputs(inputs, &[Port::Attempts])?))
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let settings = self.0.check().err().map(curate_mistake);
        let vectors = self.vectors(cx.app).and_then(Result::err).map(|error| {
            let mistake = Mistake::at("clusters.embeddings", error.to_string());
            error.hint().map_or(mistake.clone(), |hint| mistake.hint(hint))
        });
        settings.into_iter().chain(vectors).collect()
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let mut identity = json!(self.0);
        // Absent where not used, so that artifacts from before this key keep their address.
        if self.0.clusters.is_none() {
            identity.as_object_mut().map(|keys| keys.remove("clusters"));
        }
        let Some(vectors) = self.vectors(app).transpose().map_err(data_error)? else { return Ok(identity) };
        // What the vectors are counts, not where they lie.
        identity["clusters"]["embeddings"].as_object_mut().map(|keys| keys.remove("path"));
        let hashes = vectors.files().iter().map(|file| content_hash(file)).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "settings": identity, "vectors": hashes }))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(at_most(cx, self.0.count))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let (files, seed) = (files(cx), cx.rng_seed("select"));
        let mut selector = Selector::new(&self.0, seed).map_err(curate_error)?;
        let mut stats = Value::Null;
        if let Some(config) = self.0.needed_clusters() {
            let vectors = self.vectors(cx.app).transpose().map_err(data_error)?;
            let placed = places::place(cx, &files, &config, vectors.as_ref(), seed)?;
            stats = json!({ "clusters": placed.clusters });
            selector = selector.with_clusters(placed.problems);
        }
        for (at, row) in Ahead::<Attempt>::open(&files).map_err(data_error)?.enumerate() {
            selector.observe(&row.map_err(data_error)?);
            if at % 4096 == 0 {
                cx.check_cancelled()?;
                cx.progress(at as u64, row_count(cx), "rows", &[]);
            }
        }
        let result = decided::write::<Attempt>(cx, &files, &selector.finish().map_err(curate_error)?)?;
        Ok(StageResult { stats, ..result })
    }
}

impl Select {
    /// The file of vectors, where one is named.
    fn vectors(&self, app: &App) -> Option<Result<Vectors, potstill_data::DataError>> {
        let embeddings = self.0.clusters.as_ref()?.embeddings.as_ref()?;
        Some(Vectors::open(&app.path(&embeddings.path), &embeddings.id, &embeddings.column))
    }
}
