//! `filter`: an SQL condition, the best rows of each problem; what is dropped is kept aside with its reason.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use potstill_curate::{Decision, Decisions, Keyed, PerProblem, PerProblemConfig};
use potstill_data::parts::{BatchReader, BatchWriter, schema_of_parts};
use potstill_data::sql::RowFilter;
use potstill_data::{Attempt, MetaFields, Problem, Row, Sample};
use potstill_pipeline::{CheckContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{PART, ROWS, files, row_count, same_rows};
use super::{curate_error, data_error};
use crate::app::App;

/// Keeps rows by a condition and the best of each problem.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// An SQL condition over the row's columns, such as `verdict = 'correct' AND NOT truncated`; extra columns are `meta.NAME`.
    #[serde(default, rename = "where")]
    condition: Option<String>,
    /// At most so many rows of each problem, the best by a column.
    #[serde(default)]
    per_problem: Option<PerProblemConfig>,
}

/// The output with the rows that were dropped; their column `drop_reason` says why.
const DROPPED: &str = "dropped";
const DROP_REASON: &str = "drop_reason";

impl Stage<App> for Filter {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let port = same_rows(inputs)?;
        Ok(vec![(ROWS.to_owned(), port), (DROPPED.to_owned(), port)])
    }

    fn check(&self, _cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        if self.condition.is_none() && self.per_problem.is_none() {
            return vec![
                Mistake::at("", "a filter without `where` and `per_problem` keeps everything")
                    .hint("add one of them, or leave the stage out"),
            ];
        }
        let Some(condition) = self.condition.as_ref().filter(|c| !c.contains("meta.")) else { return Vec::new() };
        // The kind of rows shows only in the graph; a condition that fits no kind is wrong whatever the inputs are.
        let schemas = [Attempt::schema, Problem::schema, Sample::schema].map(|schema| schema(&MetaFields::none()));
        let mut wrong = schemas.iter().map(|schema| RowFilter::new(condition, schema).err());
        let first = wrong.next().flatten();
        match first.filter(|_| wrong.all(|e| e.is_some())) {
            Some(error) => {
                let mistake = Mistake::at("where", error.to_string());
                vec![error.hint().map_or(mistake.clone(), |hint| mistake.hint(hint))]
            }
            None => Vec::new(),
        }
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        Ok(json!({ "where": self.condition, "per_problem": self.per_problem }))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.filter::<Problem>(cx),
            Some(Port::Samples) => self.filter::<Sample>(cx),
            _ => self.filter::<Attempt>(cx),
        }
    }
}

impl Filter {
    fn filter<R: Row + Keyed>(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let files = files(cx);
        let schema = schema_of_parts::<R, _>(&files).map_err(data_error)?;
        let decisions = self.decide::<R>(cx, &files, &schema)?;
        let (mut kept, mut dropped) = self.writers(cx, &schema)?;
        let mut at = 0;
        for located in BatchReader::open(&files).map_err(data_error)? {
            cx.check_cancelled()?;
            let batch = located.map_err(data_error)?.batch;
            let rows = at..at + batch.num_rows();
            at = rows.end;
            let mask: BooleanArray = rows.clone().map(|row| Some(decisions.keeps(row))).collect();
            kept.write(&filter_record_batch(&batch, &mask).map_err(arrow_error)?).map_err(data_error)?;
            dropped.write(&with_reason(&batch, rows, &mask, &decisions)?).map_err(data_error)?;
            cx.progress(at as u64, row_count(cx), "rows", &[]);
        }
        let (kept, dropped) = (kept.finish().map_err(data_error)?, dropped.finish().map_err(data_error)?);
        let result = StageResult { dropped: decisions.dropped(), ..StageResult::default() };
        Ok(result.rows(ROWS, kept.rows).rows(DROPPED, dropped.rows))
    }

    /// One pass for the condition, which looks at the columns it names only, and one for the best of each problem.
    fn decide<R: Row + Keyed>(&self, cx: &StageContext<'_, App>, files: &[PathBuf], schema: &Schema) -> Result<Decisions, StageError> {
        let mut decisions = Decisions::new();
        let condition = self.condition.as_ref().map(|sql| RowFilter::new(sql, schema)).transpose().map_err(data_error)?;
        let reason = format!("not ({})", self.condition.as_deref().unwrap_or_default());
        let meta: Vec<String> = MetaFields::of_parts(files).map_err(data_error)?.0.into_keys().collect();
        let names: Vec<&str> = meta.iter().map(String::as_str).collect();
        let mut best =
            self.per_problem.as_ref().map(|config| PerProblem::new::<R>(config, Some(&names))).transpose().map_err(curate_error)?;
        let mut observed = Vec::new();
        let mut reader = BatchReader::open(files).map_err(data_error)?;
        if let (Some(condition), None) = (&condition, &best) {
            reader = reader.with_columns(&condition.columns());
        }
        for located in reader {
            cx.check_cancelled()?;
            let batch = located.map_err(data_error)?.batch;
            let batch = potstill_data::parts::conform(&batch, &Arc::new(projected(schema, &batch))).map_err(data_error)?;
            let mask = condition.as_ref().map(|c| c.mask(&batch)).transpose().map_err(data_error)?;
            let keep = |row: usize| mask.as_ref().is_none_or(|m| m.value(row));
            for row in 0..batch.num_rows() {
                if keep(row) {
                    observed.push(decisions.len());
                    decisions.push(Decision::Keep);
                } else {
                    decisions.push(Decision::Drop(reason.clone().into()));
                }
            }
            if let Some(best) = &mut best {
                let rows = R::from_batch(&batch).map_err(data_error)?;
                rows.iter().enumerate().filter(|(row, _)| keep(*row)).for_each(|(_, row)| best.observe(row));
            }
        }
        if let Some(best) = best.map(PerProblem::finish) {
            for (place, row) in observed.into_iter().enumerate() {
                if let Some(reason) = best.reason(place) {
                    decisions.set(row, Decision::Drop(reason.to_owned().into()));
                }
            }
        }
        Ok(decisions)
    }

    fn writers(&self, cx: &StageContext<'_, App>, schema: &SchemaRef) -> Result<(BatchWriter, BatchWriter), StageError> {
        let kept = BatchWriter::create(&cx.out_file(ROWS, PART)?, schema.clone()).map_err(data_error)?;
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(DROP_REASON, DataType::Utf8, true)));
        let schema = Arc::new(Schema::new(fields));
        Ok((kept, BatchWriter::create(&cx.out_file(DROPPED, PART)?, schema).map_err(data_error)?))
    }
}

/// The schema's fields that the batch has.
fn projected(schema: &Schema, batch: &RecordBatch) -> Schema {
    let fields = schema.fields().iter().filter(|f| batch.schema().column_with_name(f.name()).is_some());
    Schema::new(fields.cloned().collect::<Vec<_>>())
}

/// The batch's dropped rows with the reason as a last column.
fn with_reason(
    batch: &RecordBatch,
    rows: std::ops::Range<usize>,
    mask: &BooleanArray,
    decisions: &Decisions,
) -> Result<RecordBatch, StageError> {
    let dropped = filter_record_batch(batch, &arrow::compute::not(mask).map_err(arrow_error)?).map_err(arrow_error)?;
    // A `dropped` output that is filtered again already has a reason: the new one replaces it.
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, column) in dropped.schema().fields().iter().zip(dropped.columns()) {
        if field.name() != DROP_REASON {
            columns.push((field.name().clone(), column.clone()));
        }
    }
    let reasons: StringArray = rows.filter_map(|row| decisions.reason(row).map(Some)).collect();
    columns.push((DROP_REASON.to_owned(), Arc::new(reasons)));
    RecordBatch::try_from_iter(columns).map_err(arrow_error)
}

fn arrow_error(error: arrow::error::ArrowError) -> StageError {
    StageError::failed("rows cannot be filtered").caused_by(error)
}
