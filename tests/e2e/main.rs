//! End-to-end tests: everything through the binary, as a user runs it.
//!
//! Tests on real data read `../shared` beside the checkout and pass without it, saying so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod canary;
mod code;
mod crash;
mod curation;
mod endpoint;
mod errors;
#[path = "../../crates/hub/tests/fake/mod.rs"]
mod fake;
mod hub;
mod judge;
mod labels;
mod look;
mod pipelines;
mod quickstart;
mod real_traces;
mod support;
mod teachers;
