//! Pipeline files, typed graph, fingerprints, artifact store and runner.
//!
//! This crate knows what a pipeline is, but neither models nor rows: stages are trait objects from a table that the application gives,
//! and what flows between them is files that a manifest describes.
//!
//! 1. [`Draft::read`] parses a TOML file with overrides; the application makes its context `C` from the teachers in it;
//!    [`Draft::check`] gives a [`Pipeline`], or all mistakes of the file at once, each underlined at its place.
//! 2. [`plan`] says what a run would do. Every stage has a [`Fingerprint`] of all that decides its output.
//! 3. [`run`] brings the stages' artifacts into a [`Store`]: what is there is left alone, the rest runs concurrently and is committed
//!    whole or not at all.

mod event;
mod file;
mod fingerprint;
mod graph;
mod kind;
mod pipeline;
mod plan;
mod run;
mod schema;
pub mod store;

pub use event::{Event, Level, Record};
pub use file::{Draft, FileError, FileMistake, MAX_NAME, Mistake, Table, Teachers, near};
pub use fingerprint::{Fingerprint, canonical};
pub use kind::{
    CheckContext, DefKind, ErrorClass, Estimate, EstimateContext, Kind, Port, PortError, Resource, Stage, StageError, no_inputs, one_input,
    some_inputs, stage,
};
pub use pipeline::{Edge, Identity, Node, Pipeline, StageFailure};
pub use plan::{PlanState, PlannedStage, plan};
pub use run::{
    CancelToken, Capacity, Input, Outcome, RunError, RunOptions, RunReport, RunSummary, StageContext, StageResult, StageSummary, run,
};
pub use schema::schema;
pub use store::{Artifact, OutputInfo, Store, StoreError, Tokens};
