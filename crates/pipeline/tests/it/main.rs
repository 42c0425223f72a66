//! Tests of the crate through its public interface, against a small application with one kind of stage for every kind of edge.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod app;
mod files;
mod mistakes;
mod runs;
