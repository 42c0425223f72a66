//! The crate's integration tests, in one binary: linking polars is most of what building them costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;
mod manifests;
mod parts;
mod shared_data;
mod source;
mod source_errors;
mod sql;
mod tables;
