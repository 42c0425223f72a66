//! End-to-end tests: everything through the binary, as a user runs it.
//!
//! Tests on real data read `../shared` beside the checkout and pass without it, saying so.

mod crash;
mod endpoint;
mod errors;
mod pipelines;
mod quickstart;
mod real_traces;
mod support;
