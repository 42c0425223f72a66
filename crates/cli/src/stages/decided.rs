//! What the stages that only keep or drop rows share: two outputs, the second with the reason of every dropped row.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use potstill_curate::Decisions;
use potstill_data::Row;
use potstill_data::parts::{BatchReader, BatchWriter, schema_of_parts};
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
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(DROP_REASON, DataType::Utf8, true)));
        let dropped = BatchWriter::create(&cx.out_file(DROPPED, PART)?, Arc::new(Schema::new(fields))).map_err(data_error)?;
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
