//! Opening one Parquet file with what untrusted files need: budgets and errors with a place.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use crate::error::Place;
use crate::{DataError, Result};

/// Unpacked bytes that one record batch should hold about.
const BATCH_BYTES: u64 = 8 << 20;
/// Rows that one record batch holds at most.
const BATCH_ROWS: u64 = 4096;
/// Rows that a file may claim however small it is.
const FREE_ROWS: u64 = 1_000_000;
/// Rows that a file may claim for each of its bytes, beyond [`FREE_ROWS`]: rows with a text of their own
/// take a byte each at the least.
const ROWS_PER_BYTE: u64 = 64;
/// Unpacked bytes that a column chunk may claim whatever its packed size.
const FREE_CHUNK_BYTES: u64 = 1 << 30;
/// How many times its packed size a chunk larger than [`FREE_CHUNK_BYTES`] may claim.
const CHUNK_RATIO: u64 = 1000;

/// An opened Parquet file whose footer has been read and checked.
pub(crate) struct PartFile {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    rows: u64,
}

impl PartFile {
    /// Opens a file and reads its footer.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| DataError::read(path, error))?;
        let about = file.metadata().map_err(|error| DataError::read(path, error))?;
        if about.is_dir() {
            return Err(DataError::Corrupt {
                place: Place::file(path),
                what: "a folder, where a Parquet file is needed".to_owned(),
                hint: Some("name the files in it".to_owned()),
            });
        }
        if about.len() < 12 {
            return Err(DataError::corrupt_parquet(path, &format!("only {} bytes long", about.len())));
        }
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| DataError::parquet_read(path, error))?;
        let rows = claimed_rows(path, &metadata, about.len())?;
        Ok(Self { path: path.to_owned(), file, metadata, rows })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn unpacked_bytes(&self) -> u64 {
        let chunks = self.metadata.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns);
        chunks.map(|chunk| chunk.uncompressed_size().max(0) as u64).sum()
    }

    /// How many values a column without structs holds: as many as rows, or as there are elements of its lists (an empty or
    /// absent list counts as one). `None` for a column that is not there or has several leaves.
    pub(crate) fn values_of(&self, column: &str) -> Option<u64> {
        let groups = self.metadata.metadata().row_groups();
        let of_group = |group: &RowGroupMetaData| {
            let mut leaves = group.columns().iter().filter(|chunk| chunk.column_path().parts().first().is_some_and(|root| root == column));
            let values = leaves.next()?.num_values();
            if leaves.next().is_some() { None } else { u64::try_from(values).ok() }
        };
        groups.iter().map(of_group).sum()
    }

    /// The names of the top-level columns.
    pub(crate) fn columns(&self) -> Vec<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Starts reading; only the top-level columns that `wanted` accepts are decoded.
    pub(crate) fn read(self, wanted: impl Fn(&str) -> bool) -> Result<ParquetRecordBatchReader> {
        let roots: Vec<usize> =
            self.schema().fields().iter().enumerate().filter(|(_, field)| wanted(field.name())).map(|(index, _)| index).collect();
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let batch_rows = self.batch_rows(&mask);
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.file, self.metadata)
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
            .map_err(|error| DataError::parquet_read(&self.path, error))
    }

    /// As many rows as make up [`BATCH_BYTES`] in the row group with the largest rows.
    fn batch_rows(&self, mask: &ProjectionMask) -> usize {
        let row_bytes = |group: &RowGroupMetaData| {
            let chunks = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
            let bytes: u64 = chunks.map(|(_, chunk)| chunk.uncompressed_size().max(0) as u64).sum();
            bytes / (group.num_rows().max(1) as u64)
        };
        let largest = self.metadata.metadata().row_groups().iter().map(row_bytes).max().unwrap_or(0);
        (BATCH_BYTES / largest.max(1)).clamp(1, BATCH_ROWS) as usize
    }
}

/// The number of rows, once it and the sizes of the chunks are credible for so small a file.
fn claimed_rows(path: &Path, metadata: &ArrowReaderMetadata, file_bytes: u64) -> Result<u64> {
    let metadata = metadata.metadata();
    let claimed = metadata.file_metadata().num_rows();
    let in_groups = metadata
        .row_groups()
        .iter()
        .try_fold(0_i64, |sum, group| if group.num_rows() < 0 { None } else { sum.checked_add(group.num_rows()) });
    let rows = match in_groups {
        Some(sum) if sum == claimed => claimed as u64,
        _ => {
            return Err(DataError::corrupt_parquet(path, "the footer's row counts contradict each other"));
        }
    };
    let bomb = |what: String| DataError::Corrupt {
        place: Place::file(path),
        what,
        hint: Some("no honest table packs so tightly; refusing to unpack it".to_owned()),
    };
    let most = FREE_ROWS.saturating_add(file_bytes.saturating_mul(ROWS_PER_BYTE));
    if rows > most {
        return Err(bomb(format!("claims {rows} rows in {file_bytes} bytes; the limit for that size is {most}")));
    }
    let chunks = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    for chunk in chunks {
        check_chunk(chunk, file_bytes).map_err(|what| DataError::corrupt_parquet(path, &what))?;
        let packed = chunk.compressed_size() as u64;
        let unpacked = chunk.uncompressed_size().max(0) as u64;
        if unpacked > FREE_CHUNK_BYTES.max(packed.saturating_mul(CHUNK_RATIO)) {
            let column = chunk.column_path();
            return Err(bomb(format!("column {column} claims {unpacked} bytes unpacked from {packed}")));
        }
    }
    Ok(rows)
}

/// Whether a chunk lies inside the file; the library's own reader takes that for granted.
fn check_chunk(chunk: &ColumnChunkMetaData, file_bytes: u64) -> Result<(), String> {
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let (start, length) = (u64::try_from(start), u64::try_from(chunk.compressed_size()));
    let end = start.ok().zip(length.ok()).and_then(|(start, length)| start.checked_add(length));
    match end {
        Some(end) if end <= file_bytes && chunk.data_page_offset() >= 0 => Ok(()),
        _ => Err(format!("column {} lies outside of the file's {file_bytes} bytes", chunk.column_path())),
    }
}
