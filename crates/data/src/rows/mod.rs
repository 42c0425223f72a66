//! The kinds of rows and what they have in common.

mod attempt;
mod build;
mod columns;
mod meta;
mod pair;
mod problem;
mod sample;

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub(crate) use build::META;

pub use attempt::{Attempt, Verdict};
pub use meta::{Meta, MetaFields, Scalar, ScalarKind};
pub use pair::Pair;
pub use problem::Problem;
pub use sample::{LossSpan, Message, MessagePart, Sample, SampleKind};

use crate::Result;

/// A kind of row that Parquet parts can hold.
///
/// The conversion stands between plain structs and Arrow once per kind; readers, writers, SQL and
/// statistics know only this trait. A column that is absent from a batch reads as `None` (or as the
/// field's empty value) where the type allows, so that files written by other tools load too.
pub trait Row: Sized + Clone + Send + Sync + 'static {
    /// The kind's name in manifests and messages: `problems`, `attempts`, `samples` or `pairs`.
    const NAME: &'static str;

    /// The Arrow schema with the given meta fields as the struct column `meta` (absent if there are none).
    fn schema(meta: &MetaFields) -> SchemaRef;

    /// Rows as one record batch of [`schema`](Self::schema).
    ///
    /// # Errors
    /// A row carries a meta field that `meta` lacks or whose type does not hold its value.
    fn to_batch(rows: &[Self], meta: &MetaFields) -> Result<RecordBatch>;

    /// The rows of a record batch; columns are found by name, in any order.
    ///
    /// # Errors
    /// A needed column is missing, has another type or holds a null, or a name in it is unknown.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>>;

    /// The row's own id.
    fn id(&self) -> Cow<'_, str>;

    /// The row's extra columns.
    fn meta(&self) -> &Meta;

    /// About how many bytes the row's values take, for writers that bound memory.
    fn approx_bytes(&self) -> usize;
}

/// A text that names none of a closed set of states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {what}; known are {known}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: String,
}

impl UnknownName {
    fn new<const N: usize>(what: &'static str, name: &str, known: [&str; N]) -> Self {
        Self { what, name: name.to_owned(), known: known.map(|name| format!("`{name}`")).join(", ") }
    }
}
