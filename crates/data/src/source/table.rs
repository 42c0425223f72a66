//! Parquet tables of any schema.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use super::cell::Cell;
use super::records::{Record, Records, path_of};
use crate::error::Place;
use crate::parts::{BatchReader, Located, PartFile};
use crate::{DataError, Result, ScalarKind};

pub(super) struct TableRecords {
    path: PathBuf,
    batches: BatchReader,
    wanted: Vec<String>,
    known: Vec<String>,
    limit: u64,
    columns: Vec<ArrayRef>,
    first_row: u64,
    next: usize,
    rows: usize,
}

impl TableRecords {
    pub(super) fn open(path: &Path, wanted: &[String], limit: u64) -> Result<Self> {
        let part = PartFile::open(path)?;
        for name in wanted {
            if field_of(part.schema(), name).is_none() {
                return Err(DataError::NoColumn { place: Place::file(path), column: name.clone(), known: part.columns() });
            }
        }
        let roots: Vec<&str> = wanted.iter().map(|name| root_of(part.schema(), name)).collect();
        let batches = BatchReader::open(&[path])?.with_columns(&roots);
        Ok(Self {
            path: path.to_owned(),
            batches,
            wanted: wanted.to_owned(),
            known: part.columns(),
            limit,
            columns: Vec::new(),
            first_row: 0,
            next: 0,
            rows: 0,
        })
    }

    fn load(&mut self, located: &Located) -> Result<()> {
        let column = |name: &String| column_of(&located.batch, name);
        let columns = self.wanted.iter().map(column).collect::<Result<Vec<_>>>();
        self.columns = columns.map_err(|error| error.located(&self.path, located.first_row))?;
        self.first_row = located.first_row;
        self.next = 0;
        self.rows = located.batch.num_rows();
        Ok(())
    }
}

impl Records for TableRecords {
    fn next_record(&mut self) -> Result<Option<Record>> {
        while self.next == self.rows {
            let Some(located) = self.batches.next().transpose()? else {
                return Ok(None);
            };
            self.load(&located)?;
        }
        let row = self.next;
        self.next += 1;
        let place = Place::row(&self.path, self.first_row + row as u64);
        let cells = self.columns.iter().map(|column| cell(column, row)).collect::<Result<Vec<_>>>();
        let cells = cells.map_err(|error| error.located(&self.path, self.first_row))?;
        let bytes: u64 = cells.iter().map(|cell| cell.bytes() as u64).sum();
        if bytes > self.limit {
            return Err(DataError::Value {
                place,
                what: format!("a row of {bytes} bytes, over the limit of {}", self.limit),
                hint: Some("raise `max_row_bytes` if such rows are meant to be".to_owned()),
            });
        }
        Ok(Some(Record { cells, place }))
    }

    fn known(&self) -> Vec<String> {
        self.known.clone()
    }
}

/// The meta type of a column of a Parquet file.
pub(super) fn scalar_kind(path: &Path, name: &str) -> Result<ScalarKind> {
    let part = PartFile::open(path)?;
    field_of(part.schema(), name).map(|data_type| ScalarKind::of_data_type(&data_type)).ok_or_else(|| DataError::NoColumn {
        place: Place::file(path),
        column: name.to_owned(),
        known: part.columns(),
    })
}

/// The top-level column that holds a column or a path into one.
fn root_of<'a>(schema: &Schema, name: &'a str) -> &'a str {
    if schema.field_with_name(name).is_ok() { name } else { path_of(name).next().unwrap_or(name) }
}

fn field_of(schema: &Schema, name: &str) -> Option<DataType> {
    if let Ok(field) = schema.field_with_name(name) {
        return Some(field.data_type().clone());
    }
    let mut steps = path_of(name);
    let first = schema.field_with_name(steps.next()?).ok()?.data_type().clone();
    steps.try_fold(first, |data_type, step| match data_type {
        DataType::Struct(fields) => fields.find(step).map(|(_, field)| field.data_type().clone()),
        _ => None,
    })
}

fn column_of(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let found = batch.column_by_name(name).cloned().or_else(|| {
        let mut steps = path_of(name);
        let first = batch.column_by_name(steps.next()?)?.clone();
        steps.try_fold(first, |array, step| array.as_struct_opt()?.column_by_name(step).cloned())
    });
    let Some(array) = found else {
        let known = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        return Err(DataError::NoColumn { place: Place::default(), column: name.to_owned(), known });
    };
    // Categories and views of text are plain text; every whole number fits i64 but u64.
    Ok(match array.data_type() {
        DataType::Dictionary(_, value) if !value.is_nested() => cast(&array, &DataType::Utf8)?,
        DataType::LargeUtf8 | DataType::Utf8View | DataType::UInt64 => cast(&array, &DataType::Utf8)?,
        integer if integer.is_integer() => cast(&array, &DataType::Int64)?,
        DataType::Float16 | DataType::Float32 => cast(&array, &DataType::Float64)?,
        _ => array,
    })
}

fn cell(array: &ArrayRef, row: usize) -> Result<Cell> {
    if array.is_null(row) {
        return Ok(Cell::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        nested if nested.is_nested() => Cell::Json(json(array, row)?),
        _ => Cell::from(json(array, row)?),
    })
}

/// One value as JSON; what JSON has no type for (dates, decimals) as text.
fn json(array: &ArrayRef, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let items = |items: ArrayRef| (0..items.len()).map(|item| json(&items, item)).collect::<Result<Vec<_>>>();
    Ok(match array.data_type() {
        DataType::List(_) => Value::Array(items(array.as_list::<i32>().value(row))?),
        DataType::LargeList(_) => Value::Array(items(array.as_list::<i64>().value(row))?),
        DataType::FixedSizeList(..) => Value::Array(items(array.as_fixed_size_list().value(row))?),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let pairs = columns.map(|(field, column)| Ok((field.name().clone(), json(column, row)?)));
            Value::Object(pairs.collect::<Result<Map<_, _>>>()?)
        }
        DataType::Map(..) => {
            let entries: ArrayRef = Arc::new(array.as_map().value(row));
            Value::Array(items(entries)?)
        }
        DataType::Boolean => Value::from(array.as_boolean().value(row)),
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => binary(array, row)?,
        integer if integer.is_signed_integer() => {
            Value::from(cast(&array.slice(row, 1), &DataType::Int64)?.as_primitive::<Int64Type>().value(0))
        }
        number if number.is_numeric() && !matches!(number, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            let text = display(array, row)?;
            serde_json::from_str(&text).unwrap_or(Value::from(text))
        }
        _ => Value::from(display(array, row)?),
    })
}

fn display(array: &ArrayRef, row: usize) -> Result<String> {
    let options = FormatOptions::default();
    Ok(ArrayFormatter::try_new(array, &options)?.value(row).try_to_string()?)
}

/// Bytes that are text in truth, as some writers store it.
fn binary(array: &ArrayRef, row: usize) -> Result<Value> {
    let text = cast(&array.slice(row, 1), &DataType::Utf8)?;
    if text.is_null(0) {
        let place = Place::row_in_memory(row);
        return Err(DataError::value(place, "bytes that are not UTF-8 text"));
    }
    Ok(Value::from(text.as_string::<i32>().value(0)))
}
