//! The crate's integration tests, in one binary: linking polars is most of what building them costs.

mod common;
mod manifests;
mod parts;
mod shared_data;
mod source;
mod source_errors;
mod sql;
