//! Tests of the crate through its public interface, against a small application with one kind of stage for every kind of edge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod app;
mod files;
mod mistakes;
mod runs;
