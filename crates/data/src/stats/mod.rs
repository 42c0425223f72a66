//! What is in the columns of a table: counts, ranges, percentiles, histograms, frequent values.

mod distribution;

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use serde::{Deserialize, Serialize};

pub use distribution::{Bar, NumberStats};

use self::distribution::Sketch;
use crate::Result;
use crate::parts::Located;

/// Distinct texts counted before a column counts as free text.
const DISTINCT: usize = 1000;
/// Texts longer than this are free text.
const NAME_BYTES: usize = 100;
/// Frequent values listed.
const TOP: usize = 12;

/// Statistics of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The number of rows.
    pub rows: u64,
    /// The columns in file order; fields of struct columns as `meta.level`.
    pub columns: Vec<ColumnStats>,
}

/// Statistics of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnStats {
    /// Its name.
    pub name: String,
    /// Its Arrow type.
    pub data_type: String,
    /// Rows where it is null (or absent from the file).
    pub nulls: u64,
    /// The numbers; for text and lists, those of the lengths (bytes, items).
    pub numbers: Option<NumberStats>,
    /// The frequent values of text and truth columns with few distinct ones, most frequent first.
    pub top: Vec<(String, u64)>,
    /// The number of distinct values, where `top` draws from all of them.
    pub distinct: Option<u64>,
}

/// Describes the columns of record batches of one table, in one pass.
///
/// # Errors
/// A batch cannot be read.
pub fn describe(batches: impl Iterator<Item = Result<Located>>) -> Result<Description> {
    let mut tallies: Vec<Tally> = Vec::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut rows = 0;
    for located in batches {
        let batch = located?.batch;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            each_leaf(field.name(), column, &mut |name, leaf| {
                let position = *positions.entry(name.to_owned()).or_insert_with(|| {
                    tallies.push(Tally::new(name, leaf.data_type()));
                    tallies.len() - 1
                });
                tallies[position].add(leaf)
            })?;
        }
        rows += batch.num_rows() as u64;
    }
    Ok(Description { rows, columns: tallies.into_iter().map(|tally| tally.finish(rows)).collect() })
}

/// Calls `visit` with the column, or with each field of a struct column.
fn each_leaf(name: &str, column: &ArrayRef, visit: &mut dyn FnMut(&str, &ArrayRef) -> Result<()>) -> Result<()> {
    let Some(fields) = column.as_struct_opt() else {
        return visit(name, column);
    };
    for (field, inner) in fields.fields().iter().zip(fields.columns()) {
        each_leaf(&format!("{name}.{}", field.name()), inner, visit)?;
    }
    Ok(())
}

/// The statistics of a column in the making.
struct Tally {
    name: String,
    data_type: DataType,
    valid: u64,
    numbers: Sketch,
    /// Counts by text; `None` once there are too many.
    values: Option<HashMap<String, u64>>,
}

impl Tally {
    fn new(name: &str, data_type: &DataType) -> Self {
        let named = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean);
        Self { name: name.to_owned(), data_type: data_type.clone(), valid: 0, numbers: Sketch::default(), values: named.then(HashMap::new) }
    }

    fn add(&mut self, column: &ArrayRef) -> Result<()> {
        self.valid += (column.len() - column.null_count()) as u64;
        match column.data_type() {
            DataType::Utf8 => self.add_texts(column.as_string::<i32>()),
            DataType::LargeUtf8 | DataType::Utf8View => {
                self.add_texts(cast(column, &DataType::Utf8)?.as_string::<i32>());
            }
            DataType::Boolean => {
                for value in column.as_boolean().iter().flatten() {
                    self.add_name(if value { "true" } else { "false" });
                }
            }
            DataType::List(_) => {
                let lists = column.as_list::<i32>();
                for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
                    self.numbers.add(f64::from(lists.value_length(row)));
                }
            }
            number if number.is_numeric() => {
                let numbers = cast(column, &DataType::Float64)?;
                numbers.as_primitive::<Float64Type>().iter().flatten().for_each(|value| self.numbers.add(value));
            }
            _ => {}
        }
        Ok(())
    }

    fn add_texts(&mut self, texts: &StringArray) {
        for text in texts.iter().flatten() {
            self.numbers.add(text.len() as f64);
            self.add_name(text);
        }
    }

    fn add_name(&mut self, text: &str) {
        let Some(values) = &mut self.values else {
            return;
        };
        if let Some(count) = values.get_mut(text) {
            *count += 1;
        } else if text.len() > NAME_BYTES || values.len() == DISTINCT {
            self.values = None;
        } else {
            values.insert(text.to_owned(), 1);
        }
    }

    fn finish(self, rows: u64) -> ColumnStats {
        let distinct = self.values.as_ref().map(|values| values.len() as u64);
        let mut top: Vec<(String, u64)> = self.values.into_iter().flatten().collect();
        top.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        top.truncate(TOP);
        ColumnStats {
            name: self.name,
            data_type: self.data_type.to_string(),
            nulls: rows - self.valid,
            numbers: self.numbers.finish(),
            top,
            distinct,
        }
    }
}
