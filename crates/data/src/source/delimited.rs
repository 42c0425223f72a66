//! CSV and TSV with a header line.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ErrorKind, StringRecord};

use super::cell::Cell;
use super::files::{self, Stream};
use super::records::{Record, Records};
use crate::error::{Place, Spot};
use crate::{DataError, Result};

pub(super) struct DelimitedRecords {
    path: PathBuf,
    reader: csv::Reader<Metered>,
    budget: Arc<AtomicU64>,
    limit: u64,
    header: Vec<String>,
    /// Where each wanted column stands.
    positions: Vec<usize>,
    record: StringRecord,
}

/// Passes bytes on until a budget is spent: a quote that never closes would swallow the whole file.
struct Metered {
    stream: Stream,
    budget: Arc<AtomicU64>,
}

/// What the CSV reader may read ahead of the current row.
const AHEAD: u64 = 1 << 20;

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "row over the limit"));
        }
        let read = self.stream.read(buffer)?;
        self.budget.store(left.saturating_sub(read as u64), Ordering::Relaxed);
        Ok(read)
    }
}

impl DelimitedRecords {
    pub(super) fn open(path: &Path, wanted: &[String], delimiter: u8, limit: u64) -> Result<Self> {
        let budget = Arc::new(AtomicU64::new(limit.saturating_add(AHEAD)));
        let metered = Metered { stream: files::open(path)?, budget: budget.clone() };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(metered);
        let header = reader.headers().map_err(|error| fault(path, limit, error))?;
        let header: Vec<String> = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        let position = |name: &String| {
            header.iter().position(|known| known == name).ok_or_else(|| DataError::NoColumn {
                place: Place::file(path),
                column: name.clone(),
                known: header.clone(),
            })
        };
        let positions = wanted.iter().map(position).collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), reader, budget, limit, header, positions, record: StringRecord::new() })
    }
}

impl Records for DelimitedRecords {
    fn next_record(&mut self) -> Result<Option<Record>> {
        self.budget.store(self.limit.saturating_add(AHEAD), Ordering::Relaxed);
        let more = self.reader.read_record(&mut self.record).map_err(|error| fault(&self.path, self.limit, error))?;
        if !more {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let place = Place::line(&self.path, line);
        let bytes = self.record.as_slice().len() as u64;
        if bytes > self.limit {
            return Err(over_limit(place, self.limit));
        }
        let cell = |position: &usize| match self.record.get(*position) {
            None | Some("") => Cell::Null,
            Some(text) => Cell::Text(text.to_owned()),
        };
        Ok(Some(Record { cells: self.positions.iter().map(cell).collect(), place }))
    }

    fn known(&self) -> Vec<String> {
        self.header.clone()
    }
}

fn over_limit(place: Place, limit: u64) -> DataError {
    DataError::Value {
        place,
        what: format!("a row of more than {limit} bytes, the limit"),
        hint: Some("a quote may not be closed; else raise `max_row_bytes`".to_owned()),
    }
}

fn fault(path: &Path, limit: u64, error: csv::Error) -> DataError {
    let spot = error.position().map(|position| Spot::Line(position.line()));
    let place = Place { spot, ..Place::file(path) };
    let corrupt = |what: String, hint: &str| DataError::Corrupt { place: place.clone(), what, hint: Some(hint.to_owned()) };
    match error.into_kind() {
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => over_limit(place, limit),
        ErrorKind::Io(error) => corrupt(format!("cannot read on: {error}"), "the file may be truncated or damaged; fetch it again"),
        ErrorKind::Utf8 { err, .. } => {
            let what = format!("invalid UTF-8 in field {}, at byte {} of it", err.field() + 1, err.valid_up_to() + 1);
            corrupt(what, "convert the file to UTF-8, for example with iconv")
        }
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            corrupt(format!("{len} fields, where the header has {expected_len}"), "a comma in a field needs quotes around the field")
        }
        other => corrupt(format!("bad CSV: {other:?}"), "see the line"),
    }
}
