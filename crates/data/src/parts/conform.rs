//! Bringing batches of parts with different meta fields to one schema.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, SchemaRef};

use crate::error::Place;
use crate::{DataError, Result};

/// The batch with the columns of `schema`, in its order: what is absent becomes null, what has another
/// type is cast, what `schema` lacks is left out.
///
/// # Errors
/// A column that may not be null is absent, or a type cannot be cast.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = schema.fields().iter().map(|field| {
        let Some(column) = batch.column_by_name(field.name()) else {
            if field.is_nullable() {
                return Ok(new_null_array(field.data_type(), batch.num_rows()));
            }
            if let DataType::Struct(fields) = field.data_type() {
                return conform_struct(None, fields, batch.num_rows());
            }
            let known = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            return Err(DataError::NoColumn { place: Place::default(), column: field.name().clone(), known });
        };
        conform_column(column, field.data_type())
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn conform_column(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    match (wanted, column.as_struct_opt()) {
        _ if column.data_type() == wanted => Ok(column.clone()),
        (DataType::Struct(fields), Some(found)) => conform_struct(Some(found), fields, column.len()),
        _ => Ok(cast(column, wanted)?),
    }
}

/// A struct column with the given fields; where the part has no such struct, all its fields are null.
fn conform_struct(found: Option<&StructArray>, fields: &Fields, rows: usize) -> Result<ArrayRef> {
    let column = |name: &str| found.and_then(|found| found.column_by_name(name));
    let columns = fields.iter().map(|field| match column(field.name()) {
        Some(column) => conform_column(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), rows)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let nulls = found.and_then(|found| found.nulls().cloned());
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?))
}
