//! Records of a source file, one at a time: only the wanted columns, in the order they are wanted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::cell::Cell;
use super::{Format, delimited, json, table};
use crate::Result;
use crate::error::{Place, Spot};

/// One row of a source table: a cell per wanted column.
pub(super) struct Record {
    pub(super) cells: Vec<Cell>,
    pub(super) place: Place,
}

/// The records of one file.
pub(super) trait Records: Send {
    /// The next record, or `None` at the end.
    fn next_record(&mut self) -> Result<Option<Record>>;

    /// The columns seen so far (all of them, where the file has a header).
    fn known(&self) -> Vec<String>;

    /// Which wanted columns never occurred so far.
    fn unseen(&self) -> Vec<usize> {
        Vec::new()
    }
}

/// How to read the files of a source.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) format: Option<Format>,
    pub(super) max_row_bytes: u64,
}

impl Reading {
    pub(super) fn format_of(&self, path: &Path) -> Result<Format> {
        self.format.map_or_else(|| super::files::format_of(path), Ok)
    }

    /// Opens a file; a wanted column that its header lacks is an error now.
    pub(super) fn open(&self, path: &Path, wanted: &[String]) -> Result<Box<dyn Records>> {
        let limit = self.max_row_bytes;
        Ok(match self.format_of(path)? {
            Format::Parquet => Box::new(table::TableRecords::open(path, wanted, limit)?),
            Format::Csv => Box::new(delimited::DelimitedRecords::open(path, wanted, b',', limit)?),
            Format::Tsv => Box::new(delimited::DelimitedRecords::open(path, wanted, b'\t', limit)?),
            Format::Jsonl | Format::Json => json::open(path, wanted, limit)?,
        })
    }
}

/// Collects the names of columns as objects show them, up to a limit.
#[derive(Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    const MOST: usize = 200;

    pub(super) fn see<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names {
            if self.0.len() < Self::MOST && !self.0.contains(name) {
                self.0.insert(name.clone());
            }
        }
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

/// The parts of a dotted column name from the outermost in.
pub(super) fn path_of(name: &str) -> impl Iterator<Item = &str> {
    name.split('.')
}

/// A spot in one of a source's files: a [`Place`] that takes little memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    file: u32,
    spot: Option<Spot>,
}

impl Seen {
    pub(super) fn new(file: usize, place: &Place) -> Self {
        Self { file: file as u32, spot: place.spot }
    }

    pub(super) fn place(self, files: &[PathBuf]) -> Place {
        Place { path: files.get(self.file as usize).cloned(), spot: self.spot }
    }
}
