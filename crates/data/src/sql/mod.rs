//! SQL over rows: conditions for filters, keys to sort by, and queries for looking at an artifact.
//!
//! Expressions are parsed and typed against the row kind's schema before anything runs, and evaluated
//! by polars on one record batch after the other, on the columns that they name and no others. They
//! decide row by row: what looks at several rows at once (aggregates, window functions) would depend on
//! where a batch ends and is refused.

mod convert;
mod expr;
mod filter;
mod query;

pub use expr::RowExpr;
pub use filter::{RowFilter, filter_parts, filter_rows};
pub use query::{Query, query};
