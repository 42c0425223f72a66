//! Arrow columns as polars columns and back, by copy, for the types that rows have.
//!
//! The two libraries have Arrow implementations of their own whose buffers cannot be shared without
//! `unsafe`; the columns that conditions name are few and mostly numbers, so a copy costs little.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray,
    UInt32Array, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use polars::prelude::{Column, DataType, NamedFrom, Series};

use crate::error::Place;
use crate::{DataError, Result};

/// The polars type for an Arrow type, or `None` for what conditions cannot use.
pub(super) fn polars_type(data_type: &ArrowType) -> Option<DataType> {
    Some(match data_type {
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int8 | ArrowType::Int16 | ArrowType::Int32 => DataType::Int32,
        ArrowType::Int64 => DataType::Int64,
        ArrowType::UInt8 | ArrowType::UInt16 | ArrowType::UInt32 => DataType::UInt32,
        ArrowType::UInt64 => DataType::UInt64,
        ArrowType::Float16 | ArrowType::Float32 => DataType::Float32,
        ArrowType::Float64 => DataType::Float64,
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::String,
        ArrowType::List(item) if matches!(item.data_type(), ArrowType::Utf8) => DataType::List(Box::new(DataType::String)),
        _ => return None,
    })
}

fn numbers<T: ArrowPrimitiveType>(name: &str, array: &ArrayRef) -> Series
where
    Series: NamedFrom<Vec<Option<T::Native>>, [Option<T::Native>]> + NamedFrom<Vec<T::Native>, [T::Native]>,
{
    let array = array.as_primitive::<T>();
    if array.null_count() == 0 {
        return Series::new(name.into(), array.values().to_vec());
    }
    Series::new(name.into(), array.iter().collect::<Vec<_>>())
}

/// An Arrow column as a polars column.
pub(super) fn to_polars(name: &str, array: &ArrayRef) -> Result<Column> {
    let series = match array.data_type() {
        ArrowType::Boolean => Series::new(name.into(), array.as_boolean().iter().collect::<Vec<_>>()),
        ArrowType::Int32 => numbers::<Int32Type>(name, array),
        ArrowType::Int64 => numbers::<Int64Type>(name, array),
        ArrowType::UInt32 => numbers::<UInt32Type>(name, array),
        ArrowType::UInt64 => numbers::<UInt64Type>(name, array),
        ArrowType::Float32 => numbers::<Float32Type>(name, array),
        ArrowType::Float64 => numbers::<Float64Type>(name, array),
        ArrowType::Utf8 => Series::new(name.into(), array.as_string::<i32>().iter().collect::<Vec<_>>()),
        ArrowType::List(_) => text_lists(name, array),
        ArrowType::Int8 | ArrowType::Int16 => {
            return to_polars(name, &cast(array, &ArrowType::Int32)?);
        }
        ArrowType::UInt8 | ArrowType::UInt16 => {
            return to_polars(name, &cast(array, &ArrowType::UInt32)?);
        }
        ArrowType::Float16 => return to_polars(name, &cast(array, &ArrowType::Float32)?),
        _ => return to_polars(name, &cast(array, &ArrowType::Utf8)?),
    };
    Ok(series.into())
}

fn text_lists(name: &str, array: &ArrayRef) -> Series {
    let lists = array.as_list::<i32>();
    let texts = |row: usize| {
        let texts = lists.value(row);
        let texts: Vec<Option<&str>> = texts.as_string::<i32>().iter().collect();
        Series::new("".into(), texts)
    };
    let rows: Vec<Option<Series>> = (0..lists.len()).map(|row| lists.is_valid(row).then(|| texts(row))).collect();
    Series::new(name.into(), rows)
}

/// A computed polars column as an Arrow array.
pub(super) fn to_arrow(series: &Series) -> Result<ArrayRef> {
    let fault = |error: polars::error::PolarsError| DataError::value(Place::default(), error.to_string());
    Ok(match series.dtype() {
        DataType::Boolean => Arc::new(series.bool().map_err(fault)?.iter().collect::<BooleanArray>()),
        DataType::Int32 => Arc::new(series.i32().map_err(fault)?.iter().collect::<Int32Array>()),
        DataType::Int64 => Arc::new(series.i64().map_err(fault)?.iter().collect::<Int64Array>()),
        DataType::UInt32 => Arc::new(series.u32().map_err(fault)?.iter().collect::<UInt32Array>()),
        DataType::UInt64 => Arc::new(series.u64().map_err(fault)?.iter().collect::<UInt64Array>()),
        DataType::Float32 => Arc::new(series.f32().map_err(fault)?.iter().collect::<Float32Array>()),
        DataType::Float64 => Arc::new(series.f64().map_err(fault)?.iter().collect::<Float64Array>()),
        DataType::String => Arc::new(series.str().map_err(fault)?.iter().collect::<StringArray>()),
        other => {
            let what = format!("an expression of type {other} is neither a condition nor a key to sort by");
            return Err(DataError::value(Place::default(), what));
        }
    })
}
