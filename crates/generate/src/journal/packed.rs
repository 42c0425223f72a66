//! Replies packed into Parquet: what a closed log becomes. Read-only; any Parquet tool can look inside.
//!
//! Columns: `key` (32 bytes, the request's key), `latency_ms` (null for a reply that came over no wire), `body` (the reply
//! as it came). Rows stand in the order in which they were bought, so that whoever asks again in the same order finds its
//! replies side by side; they are read in blocks, of which the last ones are kept.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    Array, BinaryArray, BinaryBuilder, FixedSizeBinaryArray, FixedSizeBinaryBuilder, RecordBatch, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{JournalError, RequestKey};
use crate::request::Record;

pub(super) const EXTENSION: &str = "parquet";

/// Rows of a block, and of a page: one read unpacks one page of each column.
const BLOCK: usize = 64;
/// Bytes of the blocks that are kept.
const KEPT_BYTES: usize = 16 << 20;
/// Bytes of a row group, which the writer holds in memory.
const GROUP_BYTES: usize = 16 << 20;

/// A file of packed replies.
#[derive(Debug)]
pub(super) struct Packed {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    /// The first row of each row group.
    groups: Vec<usize>,
    scanned: AtomicBool,
    blocks: Mutex<VecDeque<Arc<Block>>>,
}

#[derive(Debug)]
struct Block {
    first: usize,
    rows: RecordBatch,
    bytes: usize,
}

fn failed(action: &'static str, path: &Path) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> JournalError {
    move |error| JournalError::io(action, path, io::Error::other(error))
}

impl Packed {
    /// Opens a file; `None` if it is gone.
    pub(super) fn open(path: PathBuf) -> Result<Option<Self>, JournalError> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::io("open", &path, error)),
        };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let foreign = || JournalError::Foreign { path: path.clone() };
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|_| foreign())?;
        if metadata.schema().fields() != schema().fields() {
            return Err(foreign());
        }
        let mut groups = Vec::new();
        let mut row = 0;
        for group in metadata.metadata().row_groups() {
            groups.push(row);
            row += usize::try_from(group.num_rows()).map_err(|_| foreign())?;
        }
        Ok(Some(Self { path, file, metadata, groups, scanned: AtomicBool::new(false), blocks: Mutex::default() }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn reader(&self) -> Result<ParquetRecordBatchReaderBuilder<File>, JournalError> {
        let file = self.file.try_clone().map_err(|error| JournalError::io("read", &self.path, error))?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone()))
    }

    fn columns(&self, names: &[&str]) -> ProjectionMask {
        ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied())
    }

    /// Calls `found` with each key and its row; once only.
    pub(super) fn keys(&self, found: &mut dyn FnMut(RequestKey, u64)) -> Result<(), JournalError> {
        if self.scanned.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let wrong = failed("read", &self.path);
        let reader = self.reader()?.with_projection(self.columns(&["key"])).with_batch_size(1 << 14);
        let mut row = 0;
        for batch in reader.build().map_err(|error| wrong(error.into()))? {
            let batch = batch.map_err(|error| wrong(error.into()))?;
            for key in keys_of(&batch).into_iter().flat_map(|keys| keys.iter()) {
                if let Some(key) = key.and_then(|key| <[u8; 32]>::try_from(key).ok()) {
                    found(RequestKey(key), row);
                }
                row += 1;
            }
        }
        Ok(())
    }

    /// The reply in a row, if it is `key`'s.
    pub(super) fn read(&self, row: u64, key: &RequestKey) -> Result<Option<Record<'static>>, JournalError> {
        let row = usize::try_from(row).unwrap_or(usize::MAX);
        let block = self.block(row)?;
        let at = row - block.first;
        Ok(keys_of(&block.rows).filter(|keys| at < keys.len() && keys.value(at) == key.0).and_then(|_| record(&block.rows, at)))
    }

    /// Every reply in the file's order.
    pub(super) fn each(&self, found: &mut dyn FnMut(RequestKey, Record<'_>) -> Result<(), JournalError>) -> Result<(), JournalError> {
        let wrong = failed("read", &self.path);
        for batch in self.reader()?.with_batch_size(BLOCK).build().map_err(|error| wrong(error.into()))? {
            let batch = batch.map_err(|error| wrong(error.into()))?;
            let Some(keys) = keys_of(&batch) else { continue };
            for at in 0..batch.num_rows() {
                let key = <[u8; 32]>::try_from(keys.value(at));
                if let (Ok(key), Some(record)) = (key, record(&batch, at)) {
                    found(RequestKey(key), record)?;
                }
            }
        }
        Ok(())
    }

    fn block(&self, row: usize) -> Result<Arc<Block>, JournalError> {
        let group = self.groups.partition_point(|first| *first <= row).saturating_sub(1);
        let start = self.groups.get(group).copied().unwrap_or_default();
        let first = start + (row - start) / BLOCK * BLOCK;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = blocks.iter().position(|block| block.first == first) {
            let block = blocks.remove(at).unwrap_or_else(|| Arc::clone(&blocks[0]));
            blocks.push_front(Arc::clone(&block));
            return Ok(block);
        }
        let wrong = failed("read", &self.path);
        let selection = RowSelection::from(vec![RowSelector::skip(first - start), RowSelector::select(BLOCK)]);
        let reader = self.reader()?.with_row_groups(vec![group]).with_row_selection(selection).with_batch_size(BLOCK);
        let batch = reader.build().map_err(|error| wrong(error.into()))?.next().transpose().map_err(|error| wrong(error.into()))?;
        let rows = batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::new(schema())));
        let bytes = rows.get_array_memory_size();
        let block = Arc::new(Block { first, rows, bytes });
        blocks.push_front(Arc::clone(&block));
        let mut kept = 0;
        blocks.retain(|block| {
            kept += block.bytes;
            kept <= KEPT_BYTES || block.first == first
        });
        Ok(block)
    }
}

fn keys_of(batch: &RecordBatch) -> Option<&FixedSizeBinaryArray> {
    batch.column_by_name("key")?.as_any().downcast_ref()
}

fn record(batch: &RecordBatch, at: usize) -> Option<Record<'static>> {
    let body = batch.column_by_name("body")?.as_any().downcast_ref::<BinaryArray>()?;
    let latency = batch.column_by_name("latency_ms")?.as_any().downcast_ref::<UInt32Array>()?;
    if latency.is_null(at) {
        return serde_json::from_slice(body.value(at)).ok().map(Record::Parsed);
    }
    Some(Record::Raw { body: Cow::Owned(body.value(at).to_vec()), latency_ms: latency.value(at) })
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("key", DataType::FixedSizeBinary(32), false),
        Field::new("latency_ms", DataType::UInt32, true),
        Field::new("body", DataType::Binary, false),
    ])
}

/// Writes a file of packed replies.
pub(super) struct Packer {
    path: PathBuf,
    writer: ArrowWriter<File>,
    keys: FixedSizeBinaryBuilder,
    latencies: UInt32Builder,
    bodies: BinaryBuilder,
    pub(super) rows: u64,
    buffered: usize,
}

impl Packer {
    pub(super) fn create(path: &Path) -> Result<Self, JournalError> {
        let file = File::create(path).map_err(|error| JournalError::io("make", path, error))?;
        let properties = WriterProperties::builder()
            .set_created_by("potstill".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(BLOCK)
            .set_write_batch_size(BLOCK)
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
        let writer =
            ArrowWriter::try_new(file, Arc::new(schema()), Some(properties)).map_err(|error| failed("write", path)(error.into()))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            keys: FixedSizeBinaryBuilder::new(32),
            latencies: UInt32Builder::new(),
            bodies: BinaryBuilder::new(),
            rows: 0,
            buffered: 0,
        })
    }

    pub(super) fn push(&mut self, key: &RequestKey, record: &Record<'_>) -> Result<(), JournalError> {
        let (latency, body) = match record {
            Record::Raw { body, latency_ms } => (Some(*latency_ms), Cow::Borrowed(body.as_ref())),
            Record::Parsed(completion) => (None, Cow::Owned(serde_json::to_vec(completion).unwrap_or_default())),
        };
        self.keys.append_value(key.0).map_err(|error| failed("write", &self.path)(error.into()))?;
        self.latencies.append_option(latency);
        self.bodies.append_value(&body);
        self.rows += 1;
        self.buffered += body.len();
        if self.buffered >= 1 << 20 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.buffered = 0;
        let columns: Vec<Arc<dyn Array>> =
            vec![Arc::new(self.keys.finish()), Arc::new(self.latencies.finish()), Arc::new(self.bodies.finish())];
        let wrong = failed("write", &self.path);
        let batch = RecordBatch::try_new(Arc::new(schema()), columns).map_err(|error| wrong(error.into()))?;
        self.writer.write(&batch).map_err(|error| wrong(error.into()))
    }

    /// The file, whole and on the disk.
    pub(super) fn finish(mut self) -> Result<(), JournalError> {
        self.flush()?;
        let Self { path, writer, .. } = self;
        let file = writer.into_inner().map_err(|error| failed("write", &path)(error.into()))?;
        file.sync_all().map_err(|error| JournalError::io("sync", &path, error))
    }
}
