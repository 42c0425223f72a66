//! `dedup`: equal and nearly equal prompts or replies; the best of each cluster stays.

use std::path::PathBuf;

use potstill_curate::dedup::{Duplicates, Reply};
use potstill_curate::{DedupConfig, Deduper, Keyed};
use potstill_data::{Attempt, Problem, Sample};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Level, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided;
use super::rows::{Ahead, files, json_lines, row_count, same_rows};
use super::{curate_error, curate_mistake, data_error};
use crate::app::App;
use crate::estimate::passed_on;

/// Drops what repeats.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Dedup(DedupConfig);

/// The output that lists what stayed, and what went for it.
const CLUSTERS: &str = "clusters";

impl Stage<App> for Dedup {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let port = same_rows(inputs)?;
        let mut outputs = decided::outputs(port);
        outputs.push((CLUSTERS.to_owned(), Port::Report));
        Ok(outputs)
    }

    fn check(&self, _cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        // The kind of rows shows only in the graph; an order that fits none is wrong whatever the inputs are.
        let of = [self.0.check::<Attempt>(), self.0.check::<Problem>(), self.0.check::<Sample>()];
        let mut wrong = of.into_iter().map(Result::err);
        let first = wrong.next().flatten();
        first.filter(|_| wrong.all(|e| e.is_some())).map(curate_mistake).into_iter().collect()
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        Ok(json!(self.0))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(passed_on(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.dedup::<Problem>(cx),
            Some(Port::Samples) => self.dedup::<Sample>(cx),
            _ => self.dedup::<Attempt>(cx),
        }
    }
}

impl Dedup {
    fn dedup<R: potstill_data::Row + Keyed + Reply>(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let files = files(cx);
        let found = self.find::<R>(cx, &files)?;
        if found.capped > 0 {
            let capped = found.capped;
            cx.message(Level::Warning, format!("{capped} texts met too many unlike candidates; duplicates of theirs may remain"));
        }
        let clusters = found.clusters.len() as u64;
        json_lines(&cx.out_file(CLUSTERS, "clusters.jsonl")?, &found.clusters)?;
        let sizes = found.clusters.iter().map(|c| c.dropped.len()).max().unwrap_or(0);
        let stats = json!({ "clusters": clusters, "largest": sizes + usize::from(sizes > 0), "verified_pairs": found.verified, "capped": found.capped });
        let result = decided::write::<R>(cx, &files, &found.decisions)?;
        Ok(StageResult { stats, ..result }.rows(CLUSTERS, clusters))
    }

    /// Two passes: band keys of every text, then the n-grams of the texts that share a band with another.
    fn find<R: potstill_data::Row + Keyed + Reply>(&self, cx: &StageContext<'_, App>, files: &[PathBuf]) -> Result<Duplicates, StageError> {
        let mut first = Deduper::new::<R>(&self.0).map_err(curate_error)?;
        let total = row_count(cx).map(|rows| 2 * rows);
        for (at, row) in Ahead::<R>::open(files).map_err(data_error)?.enumerate() {
            first.observe(&row.map_err(data_error)?);
            if at % 4096 == 0 {
                cx.check_cancelled()?;
                cx.progress(at as u64, total, "rows", &[]);
            }
        }
        let mut second = first.candidates();
        if second.any() {
            for (at, row) in Ahead::<R>::open(files).map_err(data_error)?.enumerate() {
                second.observe(&row.map_err(data_error)?);
                if at % 4096 == 0 {
                    cx.check_cancelled()?;
                    cx.progress(row_count(cx).unwrap_or(0) + at as u64, total, "rows", &[]);
                }
            }
        }
        Ok(second.finish())
    }
}
