//! `decontaminate`: problems that hold benchmark items go, with all their attempts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use potstill_curate::decontaminate::Index;
use potstill_curate::dedup::Reply;
use potstill_curate::{DecontaminateConfig, Decontaminator, Keyed};
use potstill_data::source::Source as Table;
use potstill_data::{Attempt, Problem, Row, Sample, SourceSpec};
use potstill_pipeline::{CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided;
use super::joined::Joined;
use super::rows::{Ahead, files, json_lines, row_count, same_rows};
use super::{curate_error, curate_mistake, data_error};
use crate::app::App;
use crate::estimate::passed_on;

/// Clears rows of benchmark items.
pub(crate) type Decontaminate = Joined<Own, DecontaminateConfig>;

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// The dataset manifests (`datasets/*.toml`) of the benchmarks to keep clear of.
    #[schemars(length(min = 1))]
    benchmarks: Vec<String>,
}

/// The output that tells which benchmark item matched which row.
const MATCHES: &str = "matches";

impl Stage<App> for Decontaminate {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let mut outputs = decided::outputs(same_rows(inputs)?);
        outputs.push((MATCHES.to_owned(), Port::Report));
        Ok(outputs)
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = Index::new(&self.settings).err().map(curate_mistake).into_iter().collect();
        if self.own.benchmarks.is_empty() {
            mistakes.push(Mistake::at("benchmarks", "no benchmark to keep clear of").hint("name dataset manifests"));
        }
        for manifest in &self.own.benchmarks {
            // A run fetches what a hub has.
            if let Err(error) = table(cx.app, manifest)
                && !cx.app.fetchable(&of_manifest(manifest))
            {
                let mistake = Mistake::at("benchmarks", error.to_string());
                mistakes.push(error.hint().map_or(mistake.clone(), |hint| mistake.hint(hint)));
            }
        }
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let benchmarks = self.own.benchmarks.iter().map(|manifest| app.dataset_identity(&of_manifest(manifest)));
        let benchmarks = benchmarks.collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "settings": self.settings, "benchmarks": benchmarks }))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(passed_on(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.clear::<Problem>(cx),
            Some(Port::Samples) => self.clear::<Sample>(cx),
            _ => self.clear::<Attempt>(cx),
        }
    }
}

fn table(app: &App, manifest: &str) -> Result<Table, potstill_data::DataError> {
    Table::open(&of_manifest(manifest), app.base())
}

fn of_manifest(manifest: &str) -> SourceSpec {
    SourceSpec { dataset: Some(PathBuf::from(manifest)), ..SourceSpec::default() }
}

impl Decontaminate {
    fn index(&self, cx: &StageContext<'_, App>) -> Result<(Index, BTreeMap<String, u64>), StageError> {
        let mut index = Index::new(&self.settings).map_err(curate_error)?;
        let mut items = BTreeMap::new();
        for manifest in &self.own.benchmarks {
            for row in table(cx.app, manifest).map_err(data_error)? {
                let problem = row.map_err(data_error)?.problem;
                index.add(&problem.source, &problem.problem_id, &problem.prompt);
                *items.entry(problem.source).or_default() += 1;
            }
        }
        Ok((index, items))
    }

    fn clear<R: Row + Keyed + Reply>(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let (index, items) = self.index(cx)?;
        let files = files(cx);
        let mut pass = Decontaminator::new(&index);
        for (at, row) in Ahead::<R>::open(&files).map_err(data_error)?.enumerate() {
            pass.observe(&row.map_err(data_error)?);
            if at % 4096 == 0 {
                cx.check_cancelled()?;
                cx.progress(at as u64, row_count(cx), "rows", &[]);
            }
        }
        let found = pass.finish();
        json_lines(&cx.out_file(MATCHES, "matches.jsonl")?, &found.matches)?;
        // Benchmarks without a match are named too: that they were looked at is what the dataset card tells.
        let removed = found.by_benchmark();
        let removed: BTreeMap<&String, u64> = items.keys().map(|name| (name, removed.get(name).copied().unwrap_or(0))).collect();
        let stats = json!({ "benchmark_items": items, "problems_removed": removed });
        let result = decided::write::<R>(cx, &files, &found.decisions)?;
        Ok(StageResult { stats, ..result }.rows(MATCHES, found.matches.len() as u64))
    }
}
