//! Writing parts: zstd Parquet whose bytes depend on the rows alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::conform;
use crate::{DataError, MetaFields, Result, Row};

/// Encoded bytes of a row group: what the writer holds in memory before it reaches the disk.
const GROUP_BYTES: usize = 16 << 20;
/// Rows of a row group, at most.
const GROUP_ROWS: usize = 1 << 17;
/// Bytes of rows that are gathered before they become columns.
const BUFFER_BYTES: usize = 4 << 20;
/// Rows that are gathered before they become columns.
const BUFFER_ROWS: usize = 4096;
/// The writer's name in the file: fixed, so that a new version of a library does not change bytes.
const CREATED_BY: &str = "potstill";

/// What a finished part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct PartSummary {
    /// Its rows.
    pub rows: u64,
    /// Its size on disk, in bytes.
    pub bytes: u64,
}

/// Writes record batches of one schema as a part.
///
/// The file has no footer, and so is no Parquet file, until [`finish`](Self::finish) returns; dropping
/// the writer leaves the torn file behind for its owner to delete.
pub struct BatchWriter {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    rows: u64,
}

impl BatchWriter {
    /// Creates (or empties) the file.
    ///
    /// # Errors
    /// The file cannot be created; the error keeps path and cause.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        let file = File::create(path).map_err(|error| DataError::write(path, error))?;
        let writer =
            ArrowWriter::try_new(file, schema.clone(), Some(properties())).map_err(|error| DataError::parquet_write(path, error))?;
        Ok(Self { path: path.to_owned(), schema, writer, rows: 0 })
    }

    /// Appends a batch, [brought to](super::conform()) the part's schema where it differs.
    ///
    /// # Errors
    /// The disk refuses, or the batch does not fit the schema.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = conform(batch, &self.schema)?;
        self.writer.write(&batch).map_err(|error| DataError::parquet_write(&self.path, error))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer and waits until the disk has everything.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(self) -> Result<PartSummary> {
        let Self { path, writer, rows, .. } = self;
        let file = writer.into_inner().map_err(|error| DataError::parquet_write(&path, error))?;
        let refused = |error| DataError::write(&path, error);
        file.sync_all().map_err(refused)?;
        let bytes = file.metadata().map_err(refused)?.len();
        Ok(PartSummary { rows, bytes })
    }
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        // Level 1 packs reasoning text to within a tenth of level 3 at twice its speed.
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        // Pages' own statistics double the footer of text columns and nothing reads them.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .build()
}

/// Writes rows as a part.
pub struct RowWriter<R> {
    batches: BatchWriter,
    meta: MetaFields,
    buffer: Vec<R>,
    buffered: usize,
}

impl<R: Row> RowWriter<R> {
    /// Creates (or empties) the file for rows that carry the given meta fields.
    ///
    /// # Errors
    /// The file cannot be created; the error keeps path and cause.
    pub fn create(path: &Path, meta: &MetaFields) -> Result<Self> {
        let batches = BatchWriter::create(path, R::schema(meta))?;
        Ok(Self { batches, meta: meta.clone(), buffer: Vec::new(), buffered: 0 })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// The disk refuses, or a row carries a meta field that the part does not have.
    pub fn push(&mut self, row: &R) -> Result<()> {
        self.buffered += row.approx_bytes();
        self.buffer.push(row.clone());
        if self.buffered >= BUFFER_BYTES || self.buffer.len() >= BUFFER_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let batch = R::to_batch(&self.buffer, &self.meta).map_err(|error| error.located(&self.batches.path, self.batches.rows))?;
        self.batches.write(&batch)?;
        self.buffer.clear();
        self.buffered = 0;
        Ok(())
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> u64 {
        self.batches.rows + self.buffer.len() as u64
    }

    /// Writes what is left and the footer, and waits until the disk has everything.
    ///
    /// # Errors
    /// The disk refuses, or a row does not fit the part's meta fields.
    pub fn finish(mut self) -> Result<PartSummary> {
        self.flush()?;
        self.batches.finish()
    }
}
