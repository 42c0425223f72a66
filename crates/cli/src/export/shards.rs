//! The data files of one split.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;
use potstill_curate::export::Layout;
use potstill_data::parts::BatchWriter;
use potstill_pipeline::StageError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stages::data_error;

/// The format of data files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileFormat {
    /// Apache Parquet, zstd.
    #[default]
    Parquet,
    /// One JSON object a line.
    Jsonl,
}

impl FileFormat {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Bytes of JSON after which a file is full: what the hub shows and loads well.
const SHARD_BYTES: usize = 1 << 30;
/// Rows and bytes of JSON that become one record batch.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;

enum Open {
    Parquet(Box<BatchWriter>),
    Jsonl(BufWriter<File>),
}

/// Writes rows of a layout to as many files as they need.
pub(crate) struct Shards {
    folder: PathBuf,
    split: String,
    format: FileFormat,
    schema: SchemaRef,
    open: Option<Open>,
    shards: usize,
    in_shard: usize,
    held: Vec<Value>,
    held_bytes: usize,
    rows: u64,
}

impl Shards {
    /// The first file, so that a split without rows has one too.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub(crate) fn create(folder: &Path, split: &str, format: FileFormat, layout: &Layout) -> Result<Self, StageError> {
        let folder = folder.join("data");
        std::fs::create_dir_all(&folder)
            .map_err(|e| StageError::failed(format!("cannot make the folder `{}`", folder.display())).caused_by(e))?;
        let mut shards = Self {
            folder,
            split: split.to_owned(),
            format,
            schema: layout.schema(),
            open: None,
            shards: 0,
            in_shard: 0,
            held: Vec::new(),
            held_bytes: 0,
            rows: 0,
        };
        shards.open()?;
        Ok(shards)
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}-{:05}.{}", self.split, self.shards, self.format.extension()))
    }

    fn open(&mut self) -> Result<(), StageError> {
        let path = self.path();
        self.open = Some(match self.format {
            FileFormat::Parquet => Open::Parquet(Box::new(BatchWriter::create(&path, self.schema.clone()).map_err(data_error)?)),
            FileFormat::Jsonl => Open::Jsonl(BufWriter::new(File::create(&path).map_err(|e| refused(&path, e))?)),
        });
        Ok(())
    }

    /// Appends a row.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn push(&mut self, row: Value) -> Result<(), StageError> {
        self.rows += 1;
        self.held_bytes += weight(&row);
        self.held.push(row);
        if self.held.len() >= BATCH_ROWS || self.held_bytes >= BATCH_BYTES {
            self.flush()?;
            if self.in_shard >= SHARD_BYTES {
                self.close()?;
                (self.shards, self.in_shard) = (self.shards + 1, 0);
                self.open()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StageError> {
        let path = self.path();
        match &mut self.open {
            Some(Open::Parquet(out)) => {
                let unfit = |e: arrow::error::ArrowError| StageError::failed("rows do not fit their layout").caused_by(e);
                let mut decoder = ReaderBuilder::new(self.schema.clone()).with_batch_size(BATCH_ROWS).build_decoder().map_err(unfit)?;
                decoder.serialize(&self.held).map_err(unfit)?;
                if let Some(batch) = decoder.flush().map_err(unfit)? {
                    out.write(&batch).map_err(data_error)?;
                }
            }
            Some(Open::Jsonl(out)) => {
                for row in &self.held {
                    serde_json::to_writer(&mut *out, row).map_err(|e| refused(&path, e.into()))?;
                    out.write_all(b"\n").map_err(|e| refused(&path, e))?;
                }
            }
            None => {}
        }
        self.in_shard += self.held_bytes;
        self.held.clear();
        self.held_bytes = 0;
        Ok(())
    }

    fn close(&mut self) -> Result<(), StageError> {
        let path = self.path();
        match self.open.take() {
            Some(Open::Parquet(out)) => out.finish().map(drop).map_err(data_error),
            Some(Open::Jsonl(out)) => {
                let file = out.into_inner().map_err(|e| refused(&path, e.into_error()))?;
                file.sync_all().map_err(|e| refused(&path, e))
            }
            None => Ok(()),
        }
    }

    /// Ends the last file; gives the rows of all.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn finish(mut self) -> Result<u64, StageError> {
        self.flush()?;
        self.close()?;
        Ok(self.rows)
    }
}

fn refused(path: &Path, error: std::io::Error) -> StageError {
    StageError::failed(format!("cannot write `{}`", path.display())).caused_by(error)
}

/// About how many bytes a value takes as JSON.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 5,
    }
}
