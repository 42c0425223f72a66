//! Sources: tables of other people as problems or attempts.
//!
//! A source streams Parquet, JSON lines, JSON arrays, CSV and TSV (each text format perhaps packed with
//! gzip or zstd) and maps their columns. Memory does not grow with the number of rows but for a few
//! bytes per id, which are needed to name duplicates.
//!
//! The types of meta columns must be known before the first row is written, so formats without types
//! are read twice if there are any.

mod cell;
mod delimited;
mod files;
mod ids;
mod json;
mod mapping;
mod records;
mod spec;
mod table;
mod text;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use self::ids::{Fate, Ids};
use self::mapping::Mapping;
use self::records::{Reading, Records, Seen};
use crate::error::Place;
use crate::parts::PartFile;
use crate::sql::{RowFilter, filter_rows};
use crate::{Attempt, DataError, Manifest, MetaFields, Problem, Result, Row};

pub(crate) use files::{expand, format_of, open};
pub use spec::{Columns, Duplicates, Format, GoldRule, MAX_ROW_BYTES, SourceKind, SourceSpec, TestColumns};

/// Records that are mapped before the condition looks at them together.
const CHUNK: usize = 1024;

/// What became of the records of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSummary {
    /// Records read.
    pub read: u64,
    /// Rows given out.
    pub rows: u64,
    /// Rows that the condition did not keep.
    pub filtered: u64,
    /// Records left out because their id had occurred.
    pub duplicates: u64,
    /// Rows in whose gold column no answer was found.
    pub without_gold: u64,
    /// The first of these.
    pub first_without_gold: Option<Place>,
}

/// An opened source: an iterator over its rows as attempts (problems are attempts without a reply).
pub struct Source {
    files: Vec<PathBuf>,
    reading: Reading,
    mapping: Mapping,
    meta: MetaFields,
    filter: Option<RowFilter>,
    ids: Ids,
    records: Option<Box<dyn Records>>,
    next_file: usize,
    ready: VecDeque<Attempt>,
    to_skip: u64,
    left: u64,
    seen: Vec<bool>,
    /// A column that no record of any file has.
    unseen_column: Option<DataError>,
    summary: SourceSummary,
    exhausted: bool,
    ended: bool,
}

impl SourceSpec {
    /// These settings with the dataset manifest, if there is one, filled in and paths made relative to
    /// `folder`, the folder of the file that the settings stand in.
    ///
    /// # Errors
    /// The manifest is missing or wrong, or neither it nor the settings name a file.
    pub fn resolve(&self, folder: &Path) -> Result<Self> {
        let mut spec = self.clone();
        spec.path = spec.path.map(|path| folder.join(path));
        if let Some(dataset) = &self.dataset {
            let manifest = Manifest::load(&folder.join(dataset))?;
            if self.path.is_none() {
                manifest.require_files()?;
            }
            spec = spec.over(manifest.spec());
        }
        if spec.path.is_none() {
            return Err(DataError::setting("nothing says which file to read", "set `dataset` or `path`"));
        }
        Ok(spec)
    }
}

impl Source {
    /// Opens a source: finds its files, checks columns and settings, and learns the types of its meta
    /// columns. Relative paths start at `folder`.
    ///
    /// # Errors
    /// A file or column is missing, or a setting is wrong.
    pub fn open(spec: &SourceSpec, folder: &Path) -> Result<Self> {
        let spec = spec.resolve(folder)?;
        let pattern = spec.path.clone().unwrap_or_default();
        let files = files::expand(&pattern)?;
        let reading = Reading { format: spec.format, max_row_bytes: spec.max_row_bytes.unwrap_or(MAX_ROW_BYTES) };
        let mapping = Mapping::new(&spec, &spec.name.clone().unwrap_or_else(|| stem(&pattern)))?;
        // Headers are checked now, so that a wrong column shows before any work.
        for file in &files {
            reading.open(file, mapping.wanted())?;
        }
        let meta = meta_fields(&spec, &reading, &files)?;
        let schema = match mapping.kind() {
            SourceKind::Problems => Problem::schema(&meta),
            SourceKind::Attempts => Attempt::schema(&meta),
        };
        let filter = spec.condition.as_deref().map(|sql| RowFilter::new(sql, &schema)).transpose()?;
        Ok(Self {
            filter,
            ids: Ids::new(spec.duplicates.unwrap_or_default()),
            seen: vec![false; mapping.wanted().len()],
            files,
            reading,
            mapping,
            meta,
            records: None,
            next_file: 0,
            ready: VecDeque::new(),
            to_skip: spec.skip.unwrap_or(0),
            left: spec.limit.unwrap_or(u64::MAX),
            unseen_column: None,
            summary: SourceSummary::default(),
            exhausted: false,
            ended: false,
        })
    }

    /// What the rows are.
    pub fn kind(&self) -> SourceKind {
        self.mapping.kind()
    }

    /// The meta columns that rows may carry.
    pub fn meta_fields(&self) -> &MetaFields {
        &self.meta
    }

    /// The files that are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The most rows that can come of it, told from the footers alone, where all files are Parquet; `where` and duplicates may
    /// leave fewer.
    pub fn most_rows(&self) -> Option<u64> {
        let rows = |file: &PathBuf| {
            let is_table = self.reading.format_of(file).is_ok_and(|format| format == Format::Parquet);
            let part = is_table.then(|| PartFile::open(file).ok()).flatten()?;
            // A list of replies makes an attempt of each.
            self.mapping.reply_column().map_or(Some(part.rows()), |column| part.values_of(column))
        };
        let all: u64 = self.files.iter().map(rows).sum::<Option<u64>>()?;
        Some(all.saturating_sub(self.to_skip).min(self.left))
    }

    /// What became of the records so far.
    pub fn summary(&self) -> &SourceSummary {
        &self.summary
    }

    /// The rows as problems, without any replies.
    pub fn problems(&mut self) -> impl Iterator<Item = Result<Problem>> {
        self.map(|row| row.map(|attempt| attempt.problem))
    }

    /// The next record of any file, mapped and made unique; `None` at the end of the last file.
    fn next_unique(&mut self) -> Result<Option<Fate>> {
        loop {
            let Some(records) = &mut self.records else {
                let Some(file) = self.files.get(self.next_file) else {
                    return Ok(None);
                };
                self.records = Some(self.reading.open(file, self.mapping.wanted())?);
                self.next_file += 1;
                continue;
            };
            let Some(record) = records.next_record()? else {
                self.end_file();
                continue;
            };
            self.summary.read += 1;
            let known = |error| explain(error, records.as_ref());
            let mapped = self.mapping.map(&record, &self.meta).map_err(known)?;
            if mapped.without_gold {
                self.summary.without_gold += 1;
                self.summary.first_without_gold.get_or_insert_with(|| record.place.clone());
            }
            let seen = Seen::new(self.next_file - 1, &record.place);
            return match self.mapping.kind() {
                SourceKind::Problems => self.ids.problem(mapped, seen, &self.files),
                SourceKind::Attempts => self.ids.attempts(mapped, seen, &self.files),
            }
            .map(Some);
        }
    }

    fn end_file(&mut self) {
        let Some(records) = self.records.take() else {
            return;
        };
        let unseen = records.unseen();
        for (column, seen) in self.seen.iter_mut().enumerate() {
            *seen |= !unseen.contains(&column);
        }
        if let (Some(file), false) = (self.files.last(), self.next_file < self.files.len())
            && let Some(column) = self.seen.iter().position(|seen| !seen)
            && self.summary.read > 0
        {
            self.unseen_column = Some(DataError::NoColumn {
                place: Place::file(file),
                column: self.mapping.wanted()[column].clone(),
                known: records.known(),
            });
        }
    }

    /// Fills `ready` from the next records; says whether there may be more.
    fn fill(&mut self) -> Result<bool> {
        let mut chunk = Vec::new();
        let mut more = true;
        while chunk.len() < CHUNK {
            match self.next_unique()? {
                Some(Fate::Keep(attempts)) => chunk.extend(attempts),
                Some(Fate::Duplicate) => self.summary.duplicates += 1,
                None => {
                    more = false;
                    break;
                }
            }
        }
        if let Some(filter) = &self.filter {
            let before = chunk.len();
            chunk = match self.mapping.kind() {
                SourceKind::Attempts => filter_rows(filter, chunk)?,
                SourceKind::Problems => {
                    let problems = chunk.into_iter().map(|attempt| attempt.problem).collect();
                    let kept = filter_rows(filter, problems)?;
                    kept.into_iter().map(|problem: Problem| Attempt { problem, ..Attempt::default() }).collect()
                }
            };
            self.summary.filtered += (before - chunk.len()) as u64;
        }
        self.ready = chunk.into();
        Ok(more)
    }

    /// Nothing came of the whole source, or of its gold rule.
    fn check_end(&self) -> Result<()> {
        let place = Place::file(self.files.first().map_or(Path::new(""), PathBuf::as_path));
        let summary = &self.summary;
        if summary.read == 0 {
            return Err(DataError::Empty { place, hint: Some("the file has no records".to_owned()) });
        }
        if summary.rows == 0 {
            let hint = format!(
                "of {} records, `where` left out {}, duplicates {}, and `skip` and `limit` the rest",
                summary.read, summary.filtered, summary.duplicates
            );
            return Err(DataError::Empty { place, hint: Some(hint) });
        }
        if summary.without_gold == summary.read {
            return Err(DataError::Value {
                place,
                what: "no row has a gold answer that the rule finds".to_owned(),
                hint: Some("check `columns.gold` and `gold_rule` or `gold_pattern`".to_owned()),
            });
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Attempt>> {
        loop {
            while self.left > 0
                && let Some(row) = self.ready.pop_front()
            {
                if self.to_skip > 0 {
                    self.to_skip -= 1;
                    continue;
                }
                self.left -= 1;
                self.summary.rows += 1;
                return Ok(Some(row));
            }
            if self.ended {
                return Ok(None);
            }
            if self.exhausted || self.left == 0 {
                self.ended = true;
                self.check_end()?;
                return Ok(None);
            }
            self.exhausted = !self.fill()?;
            if let Some(error) = self.unseen_column.take() {
                return Err(error);
            }
        }
    }
}

impl Iterator for Source {
    type Item = Result<Attempt>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if matches!(item, Some(Err(_))) {
            self.ended = true;
            self.ready.clear();
        }
        item
    }
}

/// Checks settings as far as that goes without the files.
pub(crate) fn check_spec(spec: &SourceSpec) -> Result<()> {
    Mapping::new(spec, "").map(|_| ())
}

/// The file's name without its endings.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().trim_end_matches(['*', '-', '_']).to_owned()
}

/// Names the columns that there are, where a value is missing because its column is.
fn explain(error: DataError, records: &dyn Records) -> DataError {
    match error {
        DataError::Value { place, what, hint: None } if what.ends_with("is missing or null") => {
            let known = records.known().join("`, `");
            DataError::Value { place, what, hint: Some(format!("columns so far are `{known}`")) }
        }
        other => other,
    }
}

/// The types of the meta columns: from the schema where there is one, else from every value.
fn meta_fields(spec: &SourceSpec, reading: &Reading, files: &[PathBuf]) -> Result<MetaFields> {
    let mut fields = MetaFields::none();
    let names = spec.columns.as_ref().map_or(&[][..], |columns| &columns.meta);
    if names.is_empty() {
        return Ok(fields);
    }
    for file in files {
        let format = reading.format_of(file)?;
        if format == Format::Parquet {
            for name in names {
                fields.add(name, table::scalar_kind(file, name)?);
            }
            continue;
        }
        let untyped = matches!(format, Format::Csv | Format::Tsv);
        let mut records = reading.open(file, names)?;
        while let Some(record) = records.next_record()? {
            for (name, cell) in names.iter().zip(&record.cells) {
                if let Some(kind) = cell.scalar_kind(untyped) {
                    fields.add(name, kind);
                }
            }
        }
    }
    Ok(fields)
}
