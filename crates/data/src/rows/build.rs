//! From vectors of rows to Arrow columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::{Meta, MetaFields, Row, Scalar, ScalarKind};
use crate::error::Place;
use crate::{DataError, Result};

/// The name of the struct column that holds a row's extra columns.
pub(crate) const META: &str = "meta";

pub(super) fn text_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

pub(super) fn text<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(super) fn opt_text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

impl ScalarKind {
    /// The Arrow type of a meta column.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Text => DataType::Utf8,
        }
    }

    /// The meta type that takes values of an Arrow type; what has none of its own becomes text.
    pub fn of_data_type(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float,
            // u64 does not fit i64; its digits are kept as text.
            DataType::UInt64 => Self::Text,
            integer if integer.is_integer() => Self::Int,
            _ => Self::Text,
        }
    }
}

impl MetaFields {
    pub(crate) fn arrow_fields(&self) -> Fields {
        self.0.iter().map(|(name, kind)| Field::new(name, kind.data_type(), true)).collect()
    }

    /// The meta fields of an Arrow schema of rows.
    pub fn of_schema(schema: &Schema) -> Self {
        let Ok(field) = schema.field_with_name(META) else {
            return Self::none();
        };
        let DataType::Struct(fields) = field.data_type() else {
            return Self::none();
        };
        Self(fields.iter().map(|field| (field.name().clone(), ScalarKind::of_data_type(field.data_type()))).collect())
    }
}

/// The schema of a row kind: its own fields, then `meta` if there is any.
pub(super) fn schema(mut fields: Vec<Field>, meta: &MetaFields) -> SchemaRef {
    if !meta.is_empty() {
        fields.push(Field::new(META, DataType::Struct(meta.arrow_fields()), false));
    }
    Arc::new(Schema::new(fields))
}

/// A batch of a row kind's own columns with the rows' metas added.
pub(super) fn batch<R: Row>(schema: SchemaRef, mut columns: Vec<ArrayRef>, rows: &[R], meta: &MetaFields) -> Result<RecordBatch> {
    for (row, value) in rows.iter().enumerate() {
        check_meta(row, value.meta(), meta)?;
    }
    if !meta.is_empty() {
        let columns_of_meta = meta.0.iter().map(|(name, kind)| meta_column(rows, name, *kind)).collect();
        columns.push(Arc::new(StructArray::try_new(meta.arrow_fields(), columns_of_meta, None)?));
    }
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn check_meta(row: usize, meta: &Meta, fields: &MetaFields) -> Result<()> {
    let misfit = meta.iter().find(|(name, value)| !fields.0.get(*name).is_some_and(|kind| kind.holds(value)));
    let Some((field, value)) = misfit else {
        return Ok(());
    };
    Err(DataError::Meta {
        place: Place::row_in_memory(row),
        field: field.clone(),
        value: value.to_string(),
        columns: fields.0.iter().map(|(name, kind)| format!("{name}: {kind:?}")).collect::<Vec<_>>().join(", ").into(),
    })
}

fn meta_column<R: Row>(rows: &[R], name: &str, kind: ScalarKind) -> ArrayRef {
    let values = rows.iter().map(|row| row.meta().get(name));
    match kind {
        ScalarKind::Bool => {
            Arc::new(values.map(|value| if let Some(Scalar::Bool(value)) = value { Some(*value) } else { None }).collect::<BooleanArray>())
        }
        ScalarKind::Int => {
            Arc::new(values.map(|value| if let Some(Scalar::Int(value)) = value { Some(*value) } else { None }).collect::<Int64Array>())
        }
        ScalarKind::Float => Arc::new(
            values
                .map(|value| match value {
                    Some(Scalar::Float(value)) => Some(*value),
                    Some(Scalar::Int(value)) => Some(*value as f64),
                    _ => None,
                })
                .collect::<Float64Array>(),
        ),
        ScalarKind::Text => Arc::new(values.map(|value| value.map(Scalar::to_string)).collect::<StringArray>()),
    }
}

pub(super) fn meta_bytes(meta: &Meta) -> usize {
    let value_bytes = |value: &Scalar| {
        if let Scalar::Text(text) = value { text.len() } else { 8 }
    };
    meta.values().map(value_bytes).sum()
}
