//! `source`: problems, or attempts that somebody already has, from files or from a procedural generator.

use potstill_data::source::{Source as Table, SourceKind, SourceSpec};
use potstill_data::{Attempt, DataError, Manifest, MetaFields, Problem, RowWriter};
use potstill_generate::procedural::ProblemSpec;
use potstill_generate::tokens;
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Level, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, no_inputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::joined::Joined;
use super::rows::{PART, ROWS};
use super::{data_error, generate_error};
use crate::app::App;
use crate::estimate::LOOKED_AT;

/// Rows from outside the pipeline.
pub(crate) type Source = Joined<Own, SourceSpec>;

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// Pose problems instead of reading a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    procedural: Option<ProblemSpec>,
}

impl Stage<App> for Source {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        no_inputs(inputs)?;
        let port = match self.settings.kind() {
            SourceKind::Problems => Port::Problems,
            SourceKind::Attempts => Port::Attempts,
        };
        Ok(vec![(ROWS.to_owned(), port)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        if let Some(spec) = &self.own.procedural {
            let mut mistakes: Vec<Mistake> =
                spec.problems(cx.seed).err().map(|e| Mistake::at("procedural", e.to_string())).into_iter().collect();
            if self.settings != SourceSpec::default() {
                mistakes.push(
                    Mistake::at("procedural", "a procedural source has no file, columns or rules besides").hint("leave the other keys out"),
                );
            }
            return mistakes;
        }
        match Table::open(&self.settings, cx.app.base()) {
            // A run fetches what a hub has.
            Err(DataError::Missing { .. }) if cx.app.fetchable(&self.settings) => Vec::new(),
            Err(error) => {
                let key = if self.settings.dataset.is_some() { "dataset" } else { "path" };
                let mistake = Mistake::at(key, error.to_string());
                vec![error.hint().map_or(mistake.clone(), |hint| mistake.hint(hint))]
            }
            Ok(table) if table.kind() != self.settings.kind() => {
                vec![Mistake::at("dataset", "the manifest maps replies, so the rows are attempts").hint("add `rows = \"attempts\"`")]
            }
            Ok(_) => Vec::new(),
        }
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        if self.own.procedural.is_some() {
            return Ok(json!(self));
        }
        app.dataset_identity(&self.settings)
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        if let Some(spec) = &self.own.procedural {
            return Some(Estimate { rows: Some(spec.count as u64), ..Estimate::default() });
        }
        if let Some(rows) = cx.app.published_rows(&self.settings) {
            return Some(Estimate { rows: Some(rows), ..Estimate::default() });
        }
        let table = Table::open(&self.settings, cx.app.base()).ok()?;
        // Footers tell how many rows a table has; of a text file every line must be read to know.
        let most = table.most_rows();
        let (mut count, mut sum) = (0u64, 0.0);
        for row in table.flatten().take(most.map_or(usize::MAX, |_| LOOKED_AT)) {
            count += 1;
            sum += f64::from(tokens::about(&row.problem.prompt));
        }
        Some(Estimate { rows: most.or(Some(count)), row_tokens: (count > 0).then(|| sum / count as f64), ..Estimate::default() })
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match &self.own.procedural {
            Some(spec) => pose(spec, cx),
            None => self.read(cx),
        }
    }
}

fn pose(spec: &ProblemSpec, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
    let path = cx.out_file(ROWS, PART)?;
    let mut out = RowWriter::<Problem>::create(&path, &MetaFields::none()).map_err(data_error)?;
    for (at, problem) in spec.problems(cx.rng_seed("problems")).map_err(generate_error)?.enumerate() {
        cx.check_cancelled()?;
        out.push(&problem.map_err(generate_error)?).map_err(data_error)?;
        cx.progress(at as u64 + 1, Some(spec.count as u64), "problems", &[]);
    }
    Ok(StageResult::default().rows(ROWS, out.finish().map_err(data_error)?.rows))
}

impl Source {
    /// What the manifest says of the dataset, for the cards of what is made of it.
    fn dataset(&self, app: &App) -> Result<Value, StageError> {
        let Some(path) = &self.settings.dataset else { return Ok(Value::Null) };
        let manifest = Manifest::load(&app.base().join(path)).map_err(data_error)?;
        let name = self.settings.name.as_ref().or(manifest.source.name.as_ref()).unwrap_or(&manifest.name);
        let licence = &manifest.licence;
        Ok(json!({ "name": name, "licence": licence.name, "licence_note": licence.note, "url": manifest.homepage }))
    }

    fn read(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let mut table = Table::open(&self.settings, cx.app.base()).map_err(data_error)?;
        let path = cx.out_file(ROWS, PART)?;
        let meta = table.meta_fields().clone();
        let rows = match table.kind() {
            SourceKind::Problems => {
                let mut out = RowWriter::<Problem>::create(&path, &meta).map_err(data_error)?;
                copy(cx, &mut table, |row| out.push(&row.problem).map_err(data_error))?;
                out.finish()
            }
            SourceKind::Attempts => {
                let mut out = RowWriter::<Attempt>::create(&path, &meta).map_err(data_error)?;
                copy(cx, &mut table, |row| out.push(&row).map_err(data_error))?;
                out.finish()
            }
        };
        let rows = rows.map_err(data_error)?.rows;
        let summary = table.summary();
        if summary.without_gold > 0 {
            let first = summary.first_without_gold.as_ref().map(ToString::to_string).unwrap_or_default();
            cx.message(Level::Warning, format!("{} rows have no gold answer by the gold rule, the first at {first}", summary.without_gold));
        }
        let stats = json!({ "read": summary.read, "without_gold": summary.without_gold, "dataset": self.dataset(cx.app)? });
        let mut result = StageResult { stats, ..StageResult::default() };
        for (reason, count) in [("not (where)", summary.filtered), ("duplicate id", summary.duplicates)] {
            if count > 0 {
                result.dropped.insert(reason.to_owned(), count);
            }
        }
        Ok(result.rows(ROWS, rows))
    }
}

fn copy(cx: &StageContext<'_, App>, table: &mut Table, mut push: impl FnMut(Attempt) -> Result<(), StageError>) -> Result<(), StageError> {
    for (at, row) in table.by_ref().enumerate() {
        cx.check_cancelled()?;
        push(row.map_err(data_error)?)?;
        cx.progress(at as u64 + 1, None, "rows", &[]);
    }
    Ok(())
}
