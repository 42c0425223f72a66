//! Rows (problems, attempts, samples) as Arrow and Parquet, sources, dataset manifests, SQL.
//!
//! Every arrow of a pipeline is a folder of Parquet parts that hold rows of one kind:
//! [`Problem`] → [`Attempt`] (a problem with one reply) → [`Sample`] (a conversation to train on) or [`Pair`] (a preference).
//! The kinds share one seam, [`Row`], so that readers, writers, SQL and statistics are written once.
//!
//! Rows are plain structs because verifiers, teachers and curators work on one row at a time. Where a
//! stage only keeps or drops rows, [`parts`] offers record batches instead, which are never unpacked.

pub mod diff;
pub mod error;
pub mod manifest;
mod near;
pub mod parts;
pub mod rows;
pub mod source;
pub mod sql;
pub mod stats;
pub mod table;
pub mod vectors;

pub use error::{DataError, Result};
pub use manifest::Manifest;
pub use parts::{PartSummary, RowReader, RowWriter, read_all};
pub use rows::{
    Attempt, LossSpan, Message, MessagePart, Meta, MetaFields, Pair, Problem, Row, Sample, SampleKind, Scalar, ScalarKind, Verdict,
};
pub use source::{Source, SourceKind, SourceSpec};
pub use sql::{Query, RowFilter, query};
pub use table::Table;
pub use vectors::Vectors;
