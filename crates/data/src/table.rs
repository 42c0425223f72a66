//! Any table as record batches, whatever its columns are: what `show` and `diff` look into.
//!
//! A [`Table`] is Parquet or JSON lines (each text file perhaps packed with gzip or zstd), in one file, in the files that a
//! pattern stands for, or in a folder. Rows keep the columns they have; nothing is mapped.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema;

use crate::error::Place;
use crate::parts::{BatchReader, Located, PartFile, conform};
use crate::source::{Format, expand, format_of, open};
use crate::{DataError, Result};

/// Rows of a text file read at a time.
const CHUNK: usize = 4096;

/// Record batches of a table, each with its place.
pub type Batches = Box<dyn Iterator<Item = Result<Located>>>;

/// The files of a table and the columns of all of them.
#[derive(Debug, Clone)]
pub struct Table {
    files: Vec<PathBuf>,
    schema: SchemaRef,
    rows: u64,
}

impl Table {
    /// A file, the files of a pattern with `*`, or the Parquet and JSON lines files of a folder, by name.
    ///
    /// # Errors
    /// Nothing is there, a name tells neither format, a file is damaged, or a column has types that do not go together.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() { Self::of_files(in_folder(path)?) } else { Self::of_files(expand(path)?) }
    }

    /// These files, in this order.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn of_files(files: Vec<PathBuf>) -> Result<Self> {
        let mut schemas = Vec::with_capacity(files.len());
        let mut rows = 0;
        for file in &files {
            let (schema, count) = schema_of(file)?;
            schemas.push(schema);
            rows += count;
        }
        let schema = Schema::try_merge(schemas).map_err(|error| DataError::Setting {
            what: format!("the files have columns that do not go together: {error}"),
            hint: Some("name one of the files".to_owned()),
        })?;
        Ok(Self { files, schema: Arc::new(schema), rows })
    }

    /// The table with these columns only, as far as it has them; the others are not read.
    #[must_use]
    pub fn with_columns(mut self, columns: &[&str]) -> Self {
        let wanted = self.schema.fields().iter().filter(|field| columns.contains(&field.name().as_str()));
        self.schema = Arc::new(Schema::new(wanted.cloned().collect::<Vec<_>>()));
        self
    }

    /// The columns of all files; what a file lacks is null in its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows the files hold.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The files, in the order in which they are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The rows of all files in order, with the columns of [`schema`](Self::schema).
    pub fn batches(&self) -> Batches {
        let schema = self.schema.clone();
        let wanted = schema.clone();
        let all = self.files.clone().into_iter().flat_map(move |file| -> Batches {
            match batches_of(&file, &wanted) {
                Ok(batches) => batches,
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        });
        Box::new(all.map(move |located| {
            let located = located?;
            let batch = conform(&located.batch, &schema).map_err(|error| error.located(&located.path, located.first_row))?;
            Ok(Located { batch, ..located })
        }))
    }
}

/// The table files of a folder.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = folder.read_dir().map_err(|error| DataError::read(folder, error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.retain(|file| matches!(format_of(file), Ok(Format::Parquet | Format::Jsonl)));
    files.sort();
    if files.is_empty() {
        return Err(DataError::Missing {
            path: folder.join("*.parquet"),
            hint: Some("the folder holds no .parquet and no .jsonl file".into()),
        });
    }
    Ok(files)
}

fn is_parquet(file: &Path) -> Result<bool> {
    match format_of(file) {
        Ok(Format::Parquet) => Ok(true),
        Ok(Format::Jsonl) => Ok(false),
        Ok(other) => Err(DataError::setting(
            format!("{} holds {other:?}, which is read through a `source` stage only", file.display()),
            "tables are looked at as .parquet or .jsonl (perhaps .gz or .zst)",
        )),
        Err(_) => Err(DataError::setting(
            format!("the name of {} does not tell its format", file.display()),
            "tables are looked at as .parquet or .jsonl (perhaps .gz or .zst)",
        )),
    }
}

/// The columns, of which every one may be null, because another file may lack it; and how many rows there are.
fn schema_of(file: &Path) -> Result<(Schema, u64)> {
    let (schema, rows) = if is_parquet(file)? {
        let part = PartFile::open(file)?;
        (part.schema().as_ref().clone(), part.rows())
    } else {
        let rows = check_lines(file)?;
        (infer_json_schema(open(file)?, None).map_err(|error| not_lines(file, &error.to_string()))?.0, rows)
    };
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Ok((Schema::new(schema.fields().iter().map(nullable).collect::<Vec<_>>()), rows))
}

fn batches_of(file: &Path, schema: &SchemaRef) -> Result<Batches> {
    if is_parquet(file)? {
        let columns: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        return Ok(Box::new(BatchReader::open(&[file])?.with_columns(&columns)));
    }
    let wrong = |error: arrow::error::ArrowError, path: &Path| not_lines(path, &error.to_string());
    let reader = ReaderBuilder::new(schema.clone())
        .with_coerce_primitive(true)
        .with_batch_size(CHUNK)
        .build(open(file)?)
        .map_err(|error| wrong(error, file))?;
    let path: Arc<Path> = file.into();
    let mut first_row = 0;
    Ok(Box::new(reader.map(move |batch| {
        let batch = batch.map_err(|error| wrong(error, &path))?;
        let located = Located { first_row, path: path.clone(), batch };
        first_row += located.batch.num_rows() as u64;
        Ok(located)
    })))
}

fn not_lines(file: &Path, what: &str) -> DataError {
    let hint = Some("a .jsonl file holds one JSON object a line, with values of one type in a column".to_owned());
    DataError::Corrupt { place: Place::file(file), what: format!("no table of JSON lines: {what}"), hint }
}

/// Finds the line that is no UTF-8 or no JSON object before any work; returns how many hold one.
fn check_lines(file: &Path) -> Result<u64> {
    let mut reader = open(file)?;
    let mut rows = 0;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(|error| DataError::read(file, error))? == 0 {
            break;
        }
        let at = |what: String| DataError::Corrupt {
            place: Place::line(file, number),
            what,
            hint: Some("each line holds one JSON object".to_owned()),
        };
        let text = std::str::from_utf8(&line).map_err(|error| at(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        if !text.trim().is_empty() {
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
                .map_err(|error| at(format!("not a JSON object: {error}")))?;
            rows += 1;
        }
    }
    Ok(rows)
}
