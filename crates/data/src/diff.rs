//! Two tables compared: rows gained, lost and changed, by key.
//!
//! Cells are compared by their text, so that Parquet and JSON lines of the same rows are equal. Memory is about 50 bytes a row and
//! eight a cell of the first table; texts are kept for the few rows that are shown only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;

use crate::table::Table;
use crate::{DataError, Result};

/// Columns that are taken as key, the first that both tables have.
const KEYS: [&str; 4] = ["sample_id", "attempt_id", "problem_id", "id"];
/// Characters of a value that is shown.
const SHOWN: usize = 120;

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// The columns that name a row; `sample_id`, `attempt_id`, `problem_id` or `id` if empty, and whole rows where there is none.
    pub key: Vec<String>,
    /// So many rows of each sort are named.
    pub limit: usize,
}

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The columns that named the rows; empty where whole rows were compared.
    pub key: Vec<String>,
    /// Rows of the first table and of the second.
    pub rows: [u64; 2],
    /// Columns of the first table alone, with their types.
    pub columns_lost: BTreeMap<String, String>,
    /// Columns of the second table alone, with their types.
    pub columns_gained: BTreeMap<String, String>,
    /// Columns with another type in the second table: both types.
    pub columns_retyped: BTreeMap<String, [String; 2]>,
    /// Rows that are the same in both.
    pub same: u64,
    /// Rows of the first table alone.
    pub lost: u64,
    /// Rows of the second table alone.
    pub gained: u64,
    /// Rows with other values in the second table.
    pub changed: u64,
    /// How many rows changed in each column.
    pub changed_columns: BTreeMap<String, u64>,
    /// Keys of the first rows that were lost, in the first table's order.
    pub first_lost: Vec<String>,
    /// Keys of the first rows that were gained, in the second table's order.
    pub first_gained: Vec<String>,
    /// The first values that changed.
    pub first_changed: Vec<Change>,
}

impl Diff {
    /// Whether rows and columns are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost + self.gained + self.changed == 0
            && self.columns_lost.is_empty()
            && self.columns_gained.is_empty()
            && self.columns_retyped.is_empty()
    }
}

/// A value that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The row's key.
    pub key: String,
    /// The column.
    pub column: String,
    /// The value in the first table, shortened; `None` for NULL.
    pub before: Option<String>,
    /// The value in the second table, shortened; `None` for NULL.
    pub after: Option<String>,
}

/// Compares two tables. A key that occurs several times is matched in the order of its rows.
///
/// # Errors
/// A table cannot be read, or a key column is not in both.
pub fn diff(first: &Table, second: &Table, options: &DiffOptions) -> Result<Diff> {
    let (key, mut diff) = (key_of(first, second, &options.key)?, compare_columns(first, second));
    let mut common: Vec<String> = first.schema().fields().iter().map(|field| field.name().clone()).collect();
    common.retain(|name| second.schema().column_with_name(name).is_some());
    let columns = if key.is_empty() { Columns { key: common, rest: Vec::new() } } else { Columns::new(key.clone(), common) };
    let mut known = index(first, &columns, &mut diff)?;
    let wanted = classify(second, &columns, options.limit, &mut known, &mut diff)?;
    diff.lost = known.len() as u64;
    let mut lost: Vec<u64> = known.into_values().map(|entry| entry.row).collect();
    lost.sort_unstable();
    lost.truncate(options.limit);
    fetch_first(first, &columns, &lost.into_iter().collect(), wanted, &mut diff)?;
    diff.key = key;
    Ok(diff)
}

fn key_of(first: &Table, second: &Table, wanted: &[String]) -> Result<Vec<String>> {
    let has = |table: &Table, name: &str| table.schema().column_with_name(name).is_some();
    if wanted.is_empty() {
        let found = KEYS.into_iter().find(|name| has(first, name) && has(second, name));
        return Ok(found.map(str::to_owned).into_iter().collect());
    }
    for name in wanted {
        if let Some(table) = [first, second].into_iter().find(|table| !has(table, name)) {
            let known: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
            let place = table.files().first().map(|file| crate::error::Place::file(file)).unwrap_or_default();
            return Err(DataError::NoColumn { place, column: name.clone(), known });
        }
    }
    Ok(wanted.to_vec())
}

fn compare_columns(first: &Table, second: &Table) -> Diff {
    let types = |table: &Table| -> BTreeMap<String, String> {
        table.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect()
    };
    let (before, mut after) = (types(first), types(second));
    let mut diff = Diff::default();
    for (name, kind) in before {
        match after.remove(&name) {
            None => drop(diff.columns_lost.insert(name, kind)),
            Some(other) if other != kind => drop(diff.columns_retyped.insert(name, [kind, other])),
            Some(_) => {}
        }
    }
    diff.columns_gained = after;
    diff
}

/// The columns that name a row, and the others that both tables have.
struct Columns {
    key: Vec<String>,
    rest: Vec<String>,
}

impl Columns {
    fn new(key: Vec<String>, mut rest: Vec<String>) -> Self {
        rest.retain(|name| !key.contains(name));
        Self { key, rest }
    }
}

/// The cells of a batch as text.
struct Cells<'a> {
    key: Vec<ArrayFormatter<'a>>,
    rest: Vec<(&'a dyn Array, ArrayFormatter<'a>)>,
}

impl<'a> Cells<'a> {
    fn new(batch: &'a RecordBatch, columns: &Columns, options: &'a FormatOptions<'a>) -> Result<Self> {
        let find = |name: &String| -> Option<&'a dyn Array> { batch.column_by_name(name).map(AsRef::as_ref) };
        let key = columns.key.iter().filter_map(find).map(|array| ArrayFormatter::try_new(array, options)).collect::<Result<_, _>>()?;
        let rest = columns.rest.iter().filter_map(find).map(|array| Ok((array, ArrayFormatter::try_new(array, options)?)));
        Ok(Self { key, rest: rest.collect::<Result<_, arrow::error::ArrowError>>()? })
    }

    /// The hash of the key's parts, and their text for showing.
    fn key(&self, row: usize, buffer: &mut String) -> u128 {
        let mut hasher = blake3::Hasher::new();
        for part in &self.key {
            buffer.clear();
            // Writing to a String fails only where a value cannot be formatted; its place in the row is then empty.
            let _ = write!(buffer, "{}", part.value(row));
            hasher.update(&(buffer.len() as u64).to_le_bytes()).update(buffer.as_bytes());
        }
        let hash = hasher.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        u128::from_le_bytes(bytes)
    }

    fn key_text(&self, row: usize) -> String {
        let parts: Vec<String> = self.key.iter().map(|part| shorten(&part.value(row).to_string())).collect();
        parts.join(" · ")
    }

    fn hashes(&self, row: usize, buffer: &mut String) -> Box<[u64]> {
        let hash = |(array, formatter): &(&dyn Array, ArrayFormatter<'_>)| {
            if array.is_null(row) {
                return 0;
            }
            buffer.clear();
            let _ = write!(buffer, "{}", formatter.value(row));
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&blake3::hash(buffer.as_bytes()).as_bytes()[..8]);
            u64::from_le_bytes(bytes)
        };
        self.rest.iter().map(hash).collect()
    }

    fn text(&self, column: usize, row: usize) -> Option<String> {
        let (array, formatter) = self.rest.get(column)?;
        array.is_valid(row).then(|| shorten(&formatter.value(row).to_string()))
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A row of the first table.
struct Entry {
    row: u64,
    cells: Box<[u64]>,
}

/// Rows by key and by how many rows with the same key stand before.
type Known = HashMap<(u128, u32), Entry>;

/// Calls `visit` with every row's cells, its place in its batch and in the table.
fn each_row(table: &Table, columns: &Columns, mut visit: impl FnMut(&Cells<'_>, usize, u64)) -> Result<()> {
    let options = FormatOptions::default();
    let mut first = 0;
    for located in table.batches() {
        let batch = located?.batch;
        let cells = Cells::new(&batch, columns, &options)?;
        (0..batch.num_rows()).for_each(|row| visit(&cells, row, first + row as u64));
        first += batch.num_rows() as u64;
    }
    Ok(())
}

fn index(first: &Table, columns: &Columns, diff: &mut Diff) -> Result<Known> {
    let (mut known, mut seen, mut buffer) = (Known::new(), HashMap::<u128, u32>::new(), String::new());
    each_row(first, columns, |cells, at, row| {
        let key = cells.key(at, &mut buffer);
        let nth = seen.entry(key).or_default();
        known.insert((key, *nth), Entry { row, cells: cells.hashes(at, &mut buffer) });
        *nth += 1;
        diff.rows[0] += 1;
    })?;
    Ok(known)
}

/// Changed values whose old text is still to be read: by row of the first table, the column and the change.
type Wanted = BTreeMap<u64, Vec<(usize, Change)>>;

fn classify(second: &Table, columns: &Columns, limit: usize, known: &mut Known, diff: &mut Diff) -> Result<Wanted> {
    let (mut seen, mut buffer, mut wanted) = (HashMap::<u128, u32>::new(), String::new(), Wanted::new());
    each_row(second, columns, |cells, at, _| {
        let key = cells.key(at, &mut buffer);
        let nth = seen.entry(key).or_default();
        let entry = known.remove(&(key, *nth));
        *nth += 1;
        diff.rows[1] += 1;
        let Some(entry) = entry else {
            diff.gained += 1;
            if diff.first_gained.len() < limit {
                diff.first_gained.push(cells.key_text(at));
            }
            return;
        };
        let hashes = cells.hashes(at, &mut buffer);
        let differing: Vec<usize> = (0..hashes.len()).filter(|column| hashes[*column] != entry.cells[*column]).collect();
        if differing.is_empty() {
            diff.same += 1;
            return;
        }
        diff.changed += 1;
        for column in &differing {
            *diff.changed_columns.entry(columns.rest[*column].clone()).or_default() += 1;
        }
        if wanted.len() < limit {
            let change = |column: usize| {
                let after = cells.text(column, at);
                (column, Change { key: cells.key_text(at), column: columns.rest[column].clone(), before: None, after })
            };
            wanted.insert(entry.row, differing.into_iter().map(change).collect());
        }
    })?;
    Ok(wanted)
}

/// Reads the keys of the first lost rows and the old values of the first changed ones.
fn fetch_first(first: &Table, columns: &Columns, lost: &BTreeSet<u64>, mut wanted: Wanted, diff: &mut Diff) -> Result<()> {
    if lost.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    each_row(first, columns, |cells, at, row| {
        if lost.contains(&row) {
            diff.first_lost.push(cells.key_text(at));
        }
        for (column, change) in wanted.get_mut(&row).into_iter().flatten() {
            change.before = cells.text(*column, at);
        }
    })?;
    diff.first_changed = wanted.into_values().flatten().map(|(_, change)| change).collect();
    Ok(())
}
