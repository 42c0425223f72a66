//! Conditions: which rows to keep.

use std::path::Path;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::Schema;
use polars::prelude::DataType;

use super::RowExpr;
use crate::parts::{BatchReader, BatchWriter};
use crate::{DataError, MetaFields, Result, Row};

/// An SQL condition over the columns of a row kind; rows where it is NULL are not kept.
#[derive(Debug, Clone)]
pub struct RowFilter {
    condition: RowExpr,
}

impl RowFilter {
    /// Parses and types a condition such as `verdict = 'correct' AND NOT truncated`.
    ///
    /// # Errors
    /// As [`RowExpr::new`], or the expression is no condition.
    pub fn new(sql: &str, schema: &Schema) -> Result<Self> {
        let condition = RowExpr::new(sql, schema)?;
        // NULL alone is a condition that keeps nothing.
        if !matches!(condition.data_type(), DataType::Boolean | DataType::Null) {
            return Err(DataError::setting(
                format!("`{sql}` is a value of type {}, not a condition", condition.data_type()),
                "compare it with something, as in `completion_tokens < 4096`",
            ));
        }
        Ok(Self { condition })
    }

    /// The condition as it was given.
    pub fn sql(&self) -> &str {
        self.condition.sql()
    }

    /// The top-level columns that it needs, sorted.
    pub fn columns(&self) -> Vec<String> {
        self.condition.columns()
    }

    /// Whether to keep each row of the batch (never null).
    ///
    /// # Errors
    /// The expression fails on a value.
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let series = self.condition.series(batch)?;
        if series.dtype() == &DataType::Null {
            return Ok(BooleanArray::from(vec![false; batch.num_rows()]));
        }
        let values = super::convert::to_arrow(&series)?;
        let values = values.as_boolean();
        Ok(match values.nulls() {
            Some(nulls) => BooleanArray::new(values.values() & nulls.inner(), None),
            None => values.clone(),
        })
    }

    /// The rows of the batch that are kept, and those that are dropped.
    ///
    /// # Errors
    /// As [`mask`](Self::mask).
    pub fn split(&self, batch: &RecordBatch) -> Result<(RecordBatch, RecordBatch)> {
        let mask = self.mask(batch)?;
        Ok((filter_record_batch(batch, &mask)?, filter_record_batch(batch, &not(&mask)?)?))
    }
}

/// Copies the rows of parts to `kept` or `dropped`, batch by batch, without unpacking them.
///
/// Returns how many were kept and dropped.
///
/// # Errors
/// A part is damaged, the expression fails on a value, or the disk refuses.
pub fn filter_parts(
    parts: &[impl AsRef<Path>],
    filter: &RowFilter,
    kept: &mut BatchWriter,
    dropped: &mut BatchWriter,
) -> Result<(u64, u64)> {
    let mut counts = (0, 0);
    for located in BatchReader::open(parts)? {
        let located = located?;
        let (keep, drop) = filter.split(&located.batch).map_err(|error| error.located(&located.path, located.first_row))?;
        counts.0 += keep.num_rows() as u64;
        counts.1 += drop.num_rows() as u64;
        kept.write(&keep)?;
        dropped.write(&drop)?;
    }
    Ok(counts)
}

/// The rows that a filter keeps, in order.
///
/// # Errors
/// As [`RowFilter::mask`].
pub fn filter_rows<R: Row>(filter: &RowFilter, rows: Vec<R>) -> Result<Vec<R>> {
    let fields = MetaFields::of_rows(rows.iter().map(Row::meta));
    let mask = filter.mask(&R::to_batch(&rows, &fields)?)?;
    Ok(rows.into_iter().enumerate().filter(|(row, _)| mask.value(*row)).map(|(_, row)| row).collect())
}
