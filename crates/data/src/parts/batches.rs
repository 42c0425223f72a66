//! Record batches of a list of parts, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::ParquetError;

use super::PartFile;
use crate::error::Place;
use crate::{DataError, Result};

/// A record batch and where it stands.
#[derive(Debug, Clone)]
pub struct Located {
    /// The rows.
    pub batch: RecordBatch,
    /// The part they come from.
    pub path: Arc<Path>,
    /// The first one's index in that part, from 0.
    pub first_row: u64,
}

/// The part being read.
struct Open {
    path: Arc<Path>,
    reader: ParquetRecordBatchReader,
    next_row: u64,
    rows: u64,
}

/// Streams the record batches of a list of parts in order.
///
/// Batches come as they stand in each file (a few megabytes each); parts may differ in their meta
/// fields, see [`conform`](super::conform()).
pub struct BatchReader {
    rest: vec::IntoIter<PathBuf>,
    columns: Option<Vec<String>>,
    open: Option<Open>,
    rows: u64,
}

impl BatchReader {
    /// Opens parts; every footer is read now, so that a bad part shows before any work.
    ///
    /// # Errors
    /// A part is missing, unreadable, no sound Parquet file or not credible in its size.
    pub fn open<P: AsRef<Path>>(parts: &[P]) -> Result<Self> {
        let rows = super::count_rows(parts)?;
        let paths: Vec<PathBuf> = parts.iter().map(|part| part.as_ref().to_owned()).collect();
        Ok(Self { rest: paths.into_iter(), columns: None, open: None, rows })
    }

    /// Reads only these top-level columns; those that a part lacks are absent from its batches.
    #[must_use]
    pub fn with_columns<S: AsRef<str>>(mut self, columns: &[S]) -> Self {
        self.columns = Some(columns.iter().map(|column| column.as_ref().to_owned()).collect());
        self
    }

    /// The number of rows of all parts together.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn open_next(&mut self) -> Result<bool> {
        let Some(path) = self.rest.next() else {
            return Ok(false);
        };
        let part = PartFile::open(&path)?;
        let rows = part.rows();
        let columns = self.columns.as_deref();
        let reader = part.read(|name| columns.is_none_or(|wanted| wanted.iter().any(|column| column == name)))?;
        self.open = Some(Open { path: path.into(), reader, next_row: 0, rows });
        Ok(true)
    }

    fn advance(&mut self) -> Result<Option<Located>> {
        loop {
            let Some(open) = &mut self.open else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            match next_batch(&mut open.reader) {
                Some(Ok(batch)) => {
                    let first_row = open.next_row;
                    open.next_row += batch.num_rows() as u64;
                    return Ok(Some(Located { batch, path: open.path.clone(), first_row }));
                }
                Some(Err(error)) => return Err(read_error(&open.path, open.next_row, error)),
                None if open.next_row != open.rows => {
                    let what = format!("the footer claims {} rows, but only {} are there", open.rows, open.next_row);
                    return Err(DataError::corrupt_parquet(&open.path, &what));
                }
                None => self.open = None,
            }
        }
    }
}

/// The next batch; what the Parquet library does not expect of a damaged page, it answers with a panic.
fn next_batch(reader: &mut ParquetRecordBatchReader) -> Option<Result<RecordBatch, ArrowError>> {
    catch_unwind(AssertUnwindSafe(|| reader.next())).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|what| (*what).to_owned()));
        Some(Err(ArrowError::ParquetError(what.unwrap_or_else(|| "a damaged page".to_owned()))))
    })
}

/// A failure after the footer was read: the rest of the file is damaged.
fn read_error(path: &Path, row: u64, error: ArrowError) -> DataError {
    let error = match error {
        ArrowError::ParquetError(what) => ParquetError::General(what),
        ArrowError::ExternalError(inner) => match inner.downcast::<ParquetError>() {
            Ok(error) => *error,
            Err(other) => ParquetError::External(other),
        },
        other => ParquetError::General(other.to_string()),
    };
    match DataError::parquet_read(path, error) {
        DataError::Corrupt { what, hint, .. } => DataError::Corrupt { place: Place::row(path, row), what, hint },
        other => other,
    }
}

impl Iterator for BatchReader {
    type Item = Result<Located>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if matches!(item, Some(Err(_))) {
            // After an error there is nothing more to come.
            self.open = None;
            self.rest = Vec::new().into_iter();
        }
        item
    }
}
