//! What can go wrong with rows and files: each error says where, and [`DataError::hint`] what helps.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

/// The crate's result type.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// A spot in a file. All numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// A row of a table.
    Row(u64),
    /// A line of a text file.
    Line(u64),
    /// A character of a text file.
    Character {
        /// Its line.
        line: u64,
        /// Its place in the line.
        column: u64,
    },
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(f, "row {row}"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Character { line, column } => write!(f, "line {line}, column {column}"),
        }
    }
}

/// Where in the input something is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file; none for rows in memory.
    pub path: Option<PathBuf>,
    /// The spot in it; none for the file as a whole.
    pub spot: Option<Spot>,
}

impl Place {
    /// A whole file.
    pub fn file(path: &Path) -> Self {
        Self { path: Some(path.to_owned()), spot: None }
    }

    /// A spot in a file.
    pub fn at(path: &Path, spot: Spot) -> Self {
        Self { path: Some(path.to_owned()), spot: Some(spot) }
    }

    /// A row of a table, by its index from 0.
    pub fn row(path: &Path, index: u64) -> Self {
        Self::at(path, Spot::Row(index + 1))
    }

    /// A line of a text file, counted from 1.
    pub fn line(path: &Path, line: u64) -> Self {
        Self::at(path, Spot::Line(line))
    }

    /// A row in memory, by its index from 0; who knows its file adds that later.
    pub(crate) fn row_in_memory(index: usize) -> Self {
        Self { path: None, spot: Some(Spot::Row(index as u64 + 1)) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}", path.display())?,
            None => f.write_str("rows in memory")?,
        }
        self.spot.map_or(Ok(()), |spot| write!(f, ", {spot}"))
    }
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file is not there.
    #[error("no file {}", path.display())]
    Missing {
        /// The file asked for.
        path: PathBuf,
        /// How to get it, or names that are near.
        hint: Option<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what its format demands.
    #[error("{place}: {what}")]
    Corrupt {
        /// Where.
        place: Place,
        /// What is wrong.
        what: String,
        /// What helps.
        hint: Option<String>,
    },
    /// A column is not there.
    #[error("{place}: no column `{column}`")]
    NoColumn {
        /// The file.
        place: Place,
        /// The column asked for.
        column: String,
        /// The columns that there are.
        known: Vec<String>,
    },
    /// A column has a type that cannot serve.
    #[error("{place}: column `{column}` holds {found}, but {wanted} is needed")]
    ColumnType {
        /// The file.
        place: Place,
        /// The column.
        column: String,
        /// What is needed.
        wanted: &'static str,
        /// The type found.
        found: String,
    },
    /// A value cannot serve.
    #[error("{place}: {what}")]
    Value {
        /// Where.
        place: Place,
        /// What is wrong with it.
        what: String,
        /// What helps.
        hint: Option<String>,
    },
    /// There are no rows.
    #[error("{place}: no rows")]
    Empty {
        /// The file.
        place: Place,
        /// What helps.
        hint: Option<String>,
    },
    /// Two rows have one id.
    #[error("id `{id}` occurs twice: {first} and {second}")]
    Duplicate {
        /// The id.
        id: Box<str>,
        /// Where it stands first.
        first: Place,
        /// Where it stands again.
        second: Place,
    },
    /// A setting cannot serve.
    #[error("{what}")]
    Setting {
        /// What is wrong with it.
        what: String,
        /// What helps.
        hint: Option<String>,
    },
    /// A dataset manifest has mistakes; all of them are named.
    #[error("{}: {}", path.display(), listed(mistakes))]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Its mistakes, in the order of their lines.
        mistakes: Vec<crate::manifest::Mistake>,
    },
    /// A row carries a meta field that the file does not have.
    #[error("{place}: meta field `{field}` = {value} does not fit the file's meta columns ({columns})")]
    Meta {
        /// Which row.
        place: Place,
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What the file has.
        columns: Box<str>,
    },
    /// Arrow refuses (a batch too large for its offsets, for example).
    #[error("cannot build columns: {0}")]
    Arrow(#[from] ArrowError),
}

fn listed(mistakes: &[crate::manifest::Mistake]) -> String {
    match mistakes {
        [only] => only.to_string(),
        several => several.iter().fold(format!("{} mistakes", several.len()), |list, mistake| format!("{list}\n  {mistake}")),
    }
}

impl DataError {
    /// What the user can do about it, where something helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { hint, .. }
            | Self::Corrupt { hint, .. }
            | Self::Value { hint, .. }
            | Self::Empty { hint, .. }
            | Self::Setting { hint, .. } => hint.clone(),
            Self::NoColumn { column, known, .. } => Some(crate::near::columns_hint(column, known)),
            Self::Duplicate { .. } => Some("set `duplicates = \"first\"` to keep the first, or `\"suffix\"` to number them".to_owned()),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space or choose another store; a rerun continues".to_owned())
            }
            Self::Write { source, .. } | Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("check the owner and permissions of the file and its folder".to_owned())
            }
            _ => None,
        }
    }

    /// Whether trying again later may help (a full disk, an interrupted call), as opposed to wrong input.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Write { source, .. } | Self::Read { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::Interrupted)
            }
            _ => false,
        }
    }

    /// Names the file and moves row numbers of a batch to row numbers of the file.
    pub(crate) fn located(mut self, path: &Path, first_row: u64) -> Self {
        if let Self::NoColumn { place, .. }
        | Self::ColumnType { place, .. }
        | Self::Value { place, .. }
        | Self::Corrupt { place, .. }
        | Self::Meta { place, .. } = &mut self
            && place.path.is_none()
        {
            place.path = Some(path.to_owned());
            if let Some(Spot::Row(row)) = &mut place.spot {
                *row += first_row;
            }
        }
        self
    }

    pub(crate) fn value(place: Place, what: impl Into<String>) -> Self {
        Self::Value { place, what: what.into(), hint: None }
    }

    pub(crate) fn setting(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Setting { what: what.into(), hint: Some(hint.into()) }
    }

    /// A failure to open or read a file; a missing one comes with the near names of its folder.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            return Self::Missing { path: path.to_owned(), hint: crate::near::files_hint(path) };
        }
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    /// A failure of the Parquet writer: almost always the disk's.
    pub(crate) fn parquet_write(path: &Path, error: ParquetError) -> Self {
        let source = match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(other) => io::Error::other(other),
            },
            other => io::Error::other(other),
        };
        Self::write(path, source)
    }

    /// A failure of the Parquet reader: the system's, or the file's own fault.
    pub(crate) fn parquet_read(path: &Path, error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => Self::read(path, *error),
                Err(other) => Self::corrupt_parquet(path, &other.to_string()),
            },
            other => Self::corrupt_parquet(path, &other.to_string()),
        }
    }

    pub(crate) fn corrupt_parquet(path: &Path, what: &str) -> Self {
        let what = what.strip_prefix("Parquet error: ").unwrap_or(what);
        Self::Corrupt {
            place: Place::file(path),
            what: format!("no sound Parquet file: {what}"),
            hint: Some("the file may be truncated or damaged; fetch or write it again".to_owned()),
        }
    }
}
