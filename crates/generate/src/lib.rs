//! Ask a model for completions: OpenAI-compatible endpoints, procedural solvers; journal, limits, budget.
//!
//! The seam is [`Generator`]: one request in, one [`Completion`] out. What is expensive about asking a model (money,
//! hours, servers that fail) is handled around that seam, so that a new way to get completions stays one small file:
//!
//! - [`driver`] turns problems into attempts: samples, adaptive rejection sampling, order, progress.
//! - [`journal`] keeps every paid reply on disk before it counts, so that no reply is ever bought twice.
//! - [`budget`] refuses a request that could overrun the money allowed, counting what is in flight.
//! - [`rewrite`] lets a teacher reformat traces and checks that their answers stay.
//! - [`openai`] is the client for any OpenAI-compatible endpoint: limits, retries, failover, batches.
//!
//! To add a generator: implement [`Generator`] in `src/<name>.rs` and add one line to [`GENERATORS`].

mod error;
mod request;
mod secret;

pub mod budget;
pub mod driver;
pub mod journal;
pub mod openai;
pub mod procedural;
pub mod rewrite;
pub mod think;
pub mod tokens;

pub use budget::{Budget, Price};
pub use error::GenerateError;
pub use request::{ChatRequest, Completion, Generator, GeneratorKind, Record, Sampling, TokenLogprob, Tools, Usage};
pub use secret::SecretKey;
pub use tokens::TokenCounter;

/// Every generator that a `[teacher.NAME]` table can name in `kind`.
pub static GENERATORS: &[GeneratorKind] = &[openai::KIND, procedural::KIND];
