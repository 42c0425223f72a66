//! What the stages that only keep or drop rows share: two outputs, the second with the reason of every dropped row.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use potstill_curate::{Decisions, Reason};
use potstill_data::parts::{BatchReader, BatchWriter, schema_of_parts};
use potstill_data::{MetaFields, Row};
use potstill_pipeline::{Port, StageContext, StageError, StageResult};

use super::data_error;
use super::rows::{PART, ROWS, row_count};
use crate::app::App;

/// The output with the rows that were dropped; their column `drop_reason` says why.
pub(crate) const DROPPED: &str = "dropped";
const DROP_REASON: &str = "drop_reason";

/// The outputs of a stage that keeps or drops rows of `port`.
pub(crate) fn outputs(port: Port) -> Vec<(String, Port)> {
    vec![(ROWS.to_owned(), port), (DROPPED.to_owned(), port)]
}

/// Writes kept rows and dropped rows as record batches, which are never unpacked.
pub(crate) struct Sorted {
    kept: BatchWriter,
    dropped: BatchWriter,
}

impl Sorted {
    /// Both files, for rows of `schema`.
    ///
    /// # Errors
    /// A file cannot be made.
    pub(crate) fn create(cx: &StageContext<'_, App>, schema: &SchemaRef) -> Result<Self, StageError> {
        let kept = BatchWriter::create(&cx.out_file(ROWS, PART)?, schema.clone()).map_err(data_error)?;
        let dropped = BatchWriter::create(&cx.out_file(DROPPED, PART)?, with_reason_field(schema)).map_err(data_error)?;
        Ok(Self { kept, dropped })
    }

    /// Writes a batch whose first row is row `first` of the decisions.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn write(&mut self, batch: &RecordBatch, first: usize, decisions: &Decisions) -> Result<(), StageError> {
        let rows = first..first + batch.num_rows();
        let mask: BooleanArray = rows.clone().map(|row| Some(decisions.keeps(row))).collect();
        self.kept.write(&filter_record_batch(batch, &mask).map_err(arrow_error)?).map_err(data_error)?;
        if mask.true_count() < batch.num_rows() {
            self.dropped.write(&with_reason(batch, rows, &mask, decisions)?).map_err(data_error)?;
        }
        Ok(())
    }

    /// Ends both files; the result counts what was dropped by its reason.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn finish(self, decisions: &Decisions) -> Result<StageResult, StageError> {
        let (kept, dropped) = (self.kept.finish().map_err(data_error)?, self.dropped.finish().map_err(data_error)?);
        let result = StageResult { dropped: decisions.dropped(), ..StageResult::default() };
        Ok(result.rows(ROWS, kept.rows).rows(DROPPED, dropped.rows))
    }
}

/// Reads the inputs once more and writes what was decided about their rows.
///
/// # Errors
/// A damaged part, a full disk, a cancelled run.
pub(crate) fn write<R: Row>(cx: &StageContext<'_, App>, files: &[PathBuf], decisions: &Decisions) -> Result<StageResult, StageError> {
    let schema = schema_of_parts::<R, _>(files).map_err(data_error)?;
    let mut sorted = Sorted::create(cx, &schema)?;
    let mut first = 0;
    for located in BatchReader::open(files).map_err(data_error)? {
        cx.check_cancelled()?;
        let batch = located.map_err(data_error)?.batch;
        sorted.write(&batch, first, decisions)?;
        first += batch.num_rows();
        cx.progress(first as u64, row_count(cx), "rows", &[]);
    }
    sorted.finish(decisions)
}

/// Reads inputs once more and writes those of their rows aside that were dropped.
///
/// # Errors
/// A damaged part, a full disk, a cancelled run.
pub(crate) fn write_dropped<R: Row>(cx: &StageContext<'_, App>, inputs: &[(&[PathBuf], &Decisions)]) -> Result<u64, StageError> {
    let files: Vec<&PathBuf> = inputs.iter().flat_map(|(files, _)| *files).collect();
    let schema = schema_of_parts::<R, _>(&files).map_err(data_error)?;
    let mut dropped = BatchWriter::create(&cx.out_file(DROPPED, PART)?, with_reason_field(&schema)).map_err(data_error)?;
    for (files, decisions) in inputs.iter().filter(|(_, decisions)| decisions.kept() < decisions.len()) {
        let mut first = 0;
        for located in BatchReader::open(files).map_err(data_error)? {
            cx.check_cancelled()?;
            let batch = located.map_err(data_error)?.batch;
            let rows = first..first + batch.num_rows();
            let mask: BooleanArray = rows.clone().map(|row| Some(decisions.keeps(row))).collect();
            if mask.true_count() < batch.num_rows() {
                dropped.write(&with_reason(&batch, rows, &mask, decisions)?).map_err(data_error)?;
            }
            first += batch.num_rows();
        }
    }
    Ok(dropped.finish().map_err(data_error)?.rows)
}

/// The batch's dropped rows with the reason as a last column.
fn with_reason(
    batch: &RecordBatch,
    rows: std::ops::Range<usize>,
    mask: &BooleanArray,
    decisions: &Decisions,
) -> Result<RecordBatch, StageError> {
    let dropped = filter_record_batch(batch, &not(mask).map_err(arrow_error)?).map_err(arrow_error)?;
    // A `dropped` output that is sorted again already has a reason: the new one replaces it.
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

pub(crate) fn arrow_error(error: arrow::error::ArrowError) -> StageError {
    StageError::failed("rows cannot be sorted out").caused_by(error)
}

/// The schema with the column for the reason as its last one.
fn with_reason_field(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().filter(|field| field.name() != DROP_REASON).cloned().collect();
    fields.push(Arc::new(Field::new(DROP_REASON, DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

/// Rows that are gathered before they are written aside.
const ASIDE: usize = 512;

/// The output [`DROPPED`] of a stage that drops rows one at a time.
pub(crate) struct Aside<R> {
    out: BatchWriter,
    meta: MetaFields,
    rows: Vec<R>,
    reasons: Vec<Reason>,
    counts: BTreeMap<String, u64>,
}

/// What was put aside.
pub(crate) struct PutAside {
    /// How many rows.
    pub(crate) rows: u64,
    /// How many for each reason.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl<R: Row> Aside<R> {
    /// Makes the output's file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn create(cx: &StageContext<'_, App>, meta: &MetaFields) -> Result<Self, StageError> {
        let out = BatchWriter::create(&cx.out_file(DROPPED, PART)?, with_reason_field(&R::schema(meta))).map_err(data_error)?;
        Ok(Self { out, meta: meta.clone(), rows: Vec::new(), reasons: Vec::new(), counts: BTreeMap::new() })
    }

    /// Puts a row aside.
    ///
    /// # Errors
    /// The rows cannot be written.
    pub(crate) fn push(&mut self, row: R, reason: impl Into<Reason>) -> Result<(), StageError> {
        let reason = reason.into();
        match self.counts.get_mut(reason.as_ref()) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(reason.to_string(), 1)),
        }
        self.rows.push(row);
        self.reasons.push(reason);
        if self.rows.len() < ASIDE { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), StageError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = R::to_batch(&self.rows, &self.meta).map_err(data_error)?;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(std::mem::take(&mut self.reasons).iter().map(Some).collect::<StringArray>()));
        self.rows.clear();
        let batch = RecordBatch::try_new(with_reason_field(&batch.schema()), columns).map_err(arrow_error)?;
        self.out.write(&batch).map_err(data_error)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The rows cannot be written.
    pub(crate) fn finish(mut self) -> Result<PutAside, StageError> {
        self.flush()?;
        Ok(PutAside { rows: self.out.finish().map_err(data_error)?.rows, reasons: self.counts })
    }
}
