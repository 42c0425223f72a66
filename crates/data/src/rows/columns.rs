//! From Arrow columns to Rust values, with errors that name column and row.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, LargeListArray, ListArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, Schema, UInt32Type};

use super::build::META;
use super::{LossSpan, Message, MessagePart, Meta, Row, Scalar, ScalarKind};
use crate::error::Place;
use crate::{DataError, Result};

/// Text values of a column that may be absent.
pub(super) struct OptText(Option<StringArray>);

impl OptText {
    pub(super) fn get_str(&self, row: usize) -> Option<&str> {
        self.0.as_ref().filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }

    pub(super) fn get(&self, row: usize) -> Option<String> {
        self.get_str(row).map(str::to_owned)
    }
}

/// Text values of a column that is there and holds no null.
pub(super) struct Text(StringArray);

impl Text {
    pub(super) fn get(&self, row: usize) -> String {
        self.0.value(row).to_owned()
    }
}

/// Numbers of a column that may be absent.
pub(super) struct OptNumber<T: ArrowPrimitiveType>(Option<PrimitiveArray<T>>);

impl<T: ArrowPrimitiveType> OptNumber<T> {
    pub(super) fn get(&self, row: usize) -> Option<T::Native> {
        self.0.as_ref().filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }
}

/// Truth values of a column that may be absent.
pub(super) struct OptBool(Option<BooleanArray>);

impl OptBool {
    pub(super) fn get(&self, row: usize) -> Option<bool> {
        self.0.as_ref().filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }
}

/// What a column of a type holds, in messages.
fn plain_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "text",
        DataType::UInt32 => "counts",
        DataType::Int64 => "whole numbers",
        DataType::Float64 => "numbers",
        _ => "truth values",
    }
}

/// The columns of a batch, found by name and brought to the types that rows have.
pub(super) struct Columns<'a> {
    batch: &'a RecordBatch,
    kind: &'static str,
}

impl<'a> Columns<'a> {
    pub(super) fn new<R: Row>(batch: &'a RecordBatch) -> Self {
        Self { batch, kind: R::NAME }
    }

    fn array(&self, name: &str, wanted: &DataType) -> Result<Option<ArrayRef>> {
        let Some(array) = self.batch.column_by_name(name) else {
            return Ok(None);
        };
        if array.data_type() == wanted {
            return Ok(Some(array.clone()));
        }
        let refused = || DataError::ColumnType {
            place: Place::default(),
            column: name.to_owned(),
            wanted: plain_name(wanted),
            found: array.data_type().to_string(),
        };
        if array.data_type().is_nested() || !can_cast_types(array.data_type(), wanted) {
            return Err(refused());
        }
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(array, wanted, &strict)
            .map(Some)
            .map_err(|error| DataError::value(Place::default(), format!("column `{name}` does not fit {wanted}: {error}")))
    }

    pub(super) fn opt_text(&self, name: &str) -> Result<OptText> {
        Ok(OptText(self.array(name, &DataType::Utf8)?.map(|array| array.as_string::<i32>().clone())))
    }

    pub(super) fn text(&self, name: &str) -> Result<Text> {
        let Some(array) = self.array(name, &DataType::Utf8)? else {
            let known = self.batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            return Err(DataError::NoColumn { place: Place::default(), column: name.to_owned(), known });
        };
        self.no_null(name, &array)?;
        Ok(Text(array.as_string::<i32>().clone()))
    }

    fn no_null(&self, name: &str, array: &ArrayRef) -> Result<()> {
        let Some(row) = (array.null_count() > 0).then(|| (0..array.len()).find(|row| array.is_null(*row))).flatten() else {
            return Ok(());
        };
        let place = Place::row_in_memory(row);
        Err(DataError::value(place, format!("column `{name}` is null, which {} do not allow", self.kind)))
    }

    pub(super) fn opt_u32(&self, name: &str) -> Result<OptNumber<UInt32Type>> {
        Ok(OptNumber(self.array(name, &DataType::UInt32)?.map(|array| array.as_primitive().clone())))
    }

    pub(super) fn opt_f64(&self, name: &str) -> Result<OptNumber<Float64Type>> {
        Ok(OptNumber(self.array(name, &DataType::Float64)?.map(|array| array.as_primitive().clone())))
    }

    pub(super) fn opt_bool(&self, name: &str) -> Result<OptBool> {
        Ok(OptBool(self.array(name, &DataType::Boolean)?.map(|array| array.as_boolean().clone())))
    }

    /// A name of a closed set of states.
    pub(super) fn parse<T: FromStr>(&self, name: &str, row: usize, value: Option<&str>) -> Result<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        let place = || Place::row_in_memory(row);
        let parse = |text: &str| text.parse().map_err(|error| DataError::value(place(), format!("column `{name}`: {error}")));
        value.map(parse).transpose()
    }

    /// The rows' metas: one (perhaps empty) per row of the batch.
    pub(super) fn meta(&self) -> Result<Vec<Meta>> {
        let mut metas = vec![BTreeMap::new(); self.batch.num_rows()];
        let Some(array) = self.batch.column_by_name(META) else {
            return Ok(metas);
        };
        let Some(fields) = array.as_struct_opt() else {
            return Err(DataError::ColumnType {
                place: Place::default(),
                column: META.to_owned(),
                wanted: "a struct of plain values",
                found: array.data_type().to_string(),
            });
        };
        for (field, column) in fields.fields().iter().zip(fields.columns()) {
            let kind = ScalarKind::of_data_type(field.data_type());
            let flat = RecordBatch::try_from_iter([(field.name().as_str(), column.clone())])?;
            let flat = Columns { batch: &flat, kind: self.kind };
            let scalars = flat.scalars(field.name(), kind)?;
            for ((row, meta), scalar) in metas.iter_mut().enumerate().zip(scalars) {
                if let (true, Some(scalar)) = (fields.is_valid(row), scalar) {
                    meta.insert(field.name().clone(), scalar);
                }
            }
        }
        Ok(metas)
    }

    fn scalars(&self, name: &str, kind: ScalarKind) -> Result<Vec<Option<Scalar>>> {
        let rows = 0..self.batch.num_rows();
        Ok(match kind {
            ScalarKind::Bool => {
                let values = self.opt_bool(name)?;
                rows.map(|row| values.get(row).map(Scalar::Bool)).collect()
            }
            ScalarKind::Int => {
                let values = OptNumber::<Int64Type>(self.array(name, &DataType::Int64)?.map(|array| array.as_primitive().clone()));
                rows.map(|row| values.get(row).map(Scalar::Int)).collect()
            }
            ScalarKind::Float => {
                let values = self.opt_f64(name)?;
                rows.map(|row| values.get(row).map(Scalar::Float)).collect()
            }
            ScalarKind::Text => {
                let values = self.opt_text(name)?;
                rows.map(|row| values.get(row).map(Scalar::Text)).collect()
            }
        })
    }

    /// The elements of each row of a list column, or `None` where it is absent.
    fn lists(&self, name: &str, wanted: &'static str) -> Result<Option<(ArrayRef, Vec<std::ops::Range<usize>>)>> {
        let Some(array) = self.batch.column_by_name(name) else {
            return Ok(None);
        };
        let ranges = |offsets: Vec<usize>| {
            let range = |(row, pair): (usize, &[usize])| {
                if array.is_null(row) { 0..0 } else { pair[0]..pair[1] }
            };
            offsets.windows(2).enumerate().map(range).collect()
        };
        if let Some(list) = array.as_any().downcast_ref::<ListArray>() {
            let offsets = list.value_offsets().iter().map(|offset| *offset as usize).collect();
            return Ok(Some((list.values().clone(), ranges(offsets))));
        }
        if let Some(list) = array.as_any().downcast_ref::<LargeListArray>() {
            let offsets = list.value_offsets().iter().map(|offset| *offset as usize).collect();
            return Ok(Some((list.values().clone(), ranges(offsets))));
        }
        Err(DataError::ColumnType { place: Place::default(), column: name.to_owned(), wanted, found: array.data_type().to_string() })
    }

    /// A list of texts per row; absent columns and nulls read as empty lists.
    pub(super) fn text_lists(&self, name: &str) -> Result<Vec<Vec<String>>> {
        let Some((values, ranges)) = self.lists(name, "a list of texts")? else {
            return Ok(vec![Vec::new(); self.batch.num_rows()]);
        };
        let flat = RecordBatch::try_from_iter([(name, values)])?;
        let texts = Columns { batch: &flat, kind: self.kind }.opt_text(name)?;
        Ok(ranges.into_iter().map(|range| range.filter_map(|index| texts.get(index)).collect()).collect())
    }

    /// A list of (role, content, reasoning) per row.
    pub(super) fn messages(&self, name: &str) -> Result<Vec<Vec<Message>>> {
        let wanted = "a list of structs with `role` and `content`";
        let Some((values, ranges)) = self.lists(name, wanted)? else {
            let known = self.batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            return Err(DataError::NoColumn { place: Place::default(), column: name.to_owned(), known });
        };
        let flat = flattened(name, wanted, &values)?;
        let turns = Columns { batch: &flat, kind: "messages" };
        let roles = turns.text("role")?;
        // Tool calls of other tools have a null content.
        let contents = turns.opt_text("content")?;
        let reasonings = turns.opt_text("reasoning")?;
        let message = |index: usize| Message {
            role: roles.get(index),
            content: contents.get(index).unwrap_or_default(),
            reasoning: reasonings.get(index),
        };
        Ok(ranges.into_iter().map(|range| range.map(message).collect()).collect())
    }

    /// A list of spans with a weight of their own per row; absent columns and nulls read as empty lists.
    pub(super) fn loss_spans(&self, name: &str) -> Result<Vec<Vec<LossSpan>>> {
        let wanted = "a list of structs with `message`, `part`, `start`, `end` and `weight`";
        let Some((values, ranges)) = self.lists(name, wanted)? else {
            return Ok(vec![Vec::new(); self.batch.num_rows()]);
        };
        let flat = flattened(name, wanted, &values)?;
        let spans = Columns { batch: &flat, kind: "loss spans" };
        let (messages, starts, ends) = (spans.opt_u32("message")?, spans.opt_u32("start")?, spans.opt_u32("end")?);
        let (parts, weights) = (spans.opt_text("part")?, spans.opt_f64("weight")?);
        let span = |index: usize| {
            let part = spans.parse::<MessagePart>("part", index, parts.get_str(index))?;
            let fields = (messages.get(index), part, starts.get(index), ends.get(index), weights.get(index));
            let (Some(message), Some(part), Some(start), Some(end), Some(weight)) = fields else {
                return Err(DataError::value(
                    Place::row_in_memory(index),
                    format!("column `{name}` must be {wanted}, found a null in one"),
                ));
            };
            Ok(LossSpan { message, part, start, end, weight: weight as f32 })
        };
        ranges.into_iter().map(|range| range.map(span).collect()).collect()
    }
}

/// The structs of a list column as a batch of their fields.
fn flattened(name: &str, wanted: &'static str, values: &ArrayRef) -> Result<RecordBatch> {
    let Some(structs) = values.as_struct_opt() else {
        return Err(DataError::ColumnType {
            place: Place::default(),
            column: name.to_owned(),
            wanted,
            found: values.data_type().to_string(),
        });
    };
    Ok(RecordBatch::try_new(Arc::new(Schema::new(structs.fields().clone())), structs.columns().to_vec())?)
}
