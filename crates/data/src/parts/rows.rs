//! Rows of a list of parts, one after the other.

use std::marker::PhantomData;
use std::path::Path;
use std::vec;

use super::BatchReader;
use crate::{MetaFields, Result, Row};

/// Streams the rows of a list of parts in order; never holds more than one record batch of them.
///
/// Columns that the row kind does not know are not decoded.
pub struct RowReader<R> {
    batches: BatchReader,
    ready: vec::IntoIter<R>,
    kind: PhantomData<R>,
}

impl<R: Row> RowReader<R> {
    /// Opens parts; every footer is read now, so that a bad part shows before any work.
    ///
    /// # Errors
    /// A part is missing, unreadable or no sound Parquet file.
    pub fn open<P: AsRef<Path>>(parts: &[P]) -> Result<Self> {
        let mut columns: Vec<String> = R::schema(&MetaFields::none()).fields().iter().map(|field| field.name().clone()).collect();
        columns.push(crate::rows::META.to_owned());
        let batches = BatchReader::open(parts)?.with_columns(&columns);
        Ok(Self { batches, ready: Vec::new().into_iter(), kind: PhantomData })
    }

    /// The number of rows of all parts together.
    pub fn rows(&self) -> u64 {
        self.batches.rows()
    }
}

impl<R: Row> Iterator for RowReader<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(Ok(row));
            }
            let located = match self.batches.next()? {
                Ok(located) => located,
                Err(error) => return Some(Err(error)),
            };
            match R::from_batch(&located.batch) {
                Ok(rows) => self.ready = rows.into_iter(),
                Err(error) => return Some(Err(error.located(&located.path, located.first_row))),
            }
        }
    }
}

/// All rows of the parts at once, for inputs that are known to fit in memory.
///
/// # Errors
/// As [`RowReader`].
pub fn read_all<R: Row, P: AsRef<Path>>(parts: &[P]) -> Result<Vec<R>> {
    RowReader::open(parts)?.collect()
}
