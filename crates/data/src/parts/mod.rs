//! Parquet parts: files of rows of one kind, read and written as streams.
//!
//! Two levels: [`RowReader`] and [`RowWriter`] for stages that look at rows, [`BatchReader`] and
//! [`BatchWriter`] for those that only keep, drop or copy them. Neither holds more than a batch (a few
//! megabytes) besides the Parquet row group in the making, whatever the number of rows.

mod batches;
mod conform;
mod open;
mod rows;
mod writer;

use std::path::Path;

use arrow::datatypes::SchemaRef;

pub use batches::{BatchReader, Located};
pub use conform::conform;
pub use rows::{RowReader, read_all};
pub use writer::{BatchWriter, PartSummary, RowWriter};

pub(crate) use open::PartFile;

use crate::{MetaFields, Result, Row};

impl MetaFields {
    /// The meta fields that occur in any of the given parts (reads footers only).
    ///
    /// # Errors
    /// A part is missing or no sound Parquet file.
    pub fn of_parts<P: AsRef<Path>>(parts: &[P]) -> Result<Self> {
        let mut fields = Self::none();
        for part in parts {
            fields = fields.union(&Self::of_schema(PartFile::open(part.as_ref())?.schema()));
        }
        Ok(fields)
    }
}

/// The schema that holds the rows of all the given parts: the kind's own columns and every meta field.
///
/// # Errors
/// A part is missing or no sound Parquet file.
pub fn schema_of_parts<R: Row, P: AsRef<Path>>(parts: &[P]) -> Result<SchemaRef> {
    Ok(R::schema(&MetaFields::of_parts(parts)?))
}

/// How many rows the parts hold (reads footers only).
///
/// # Errors
/// A part is missing or no sound Parquet file.
pub fn count_rows<P: AsRef<Path>>(parts: &[P]) -> Result<u64> {
    parts.iter().map(|part| Ok(PartFile::open(part.as_ref())?.rows())).sum()
}

/// About how many bytes the rows of the parts take unpacked (reads footers only).
///
/// # Errors
/// A part is missing or no sound Parquet file.
pub fn unpacked_bytes<P: AsRef<Path>>(parts: &[P]) -> Result<u64> {
    parts.iter().map(|part| Ok(PartFile::open(part.as_ref())?.unpacked_bytes())).sum()
}
