//! From graded attempts to the training set: filter, select, journey, split, mix.
//!
//! Everything here is a pure function of rows, settings and a seed: no file is opened and no model is asked. What needs
//! a verifier or a teacher takes it as a callback, so that curation depends on rows alone. Functions over a whole set
//! come in two forms: a pass (`observe` every row, then `finish`) that keeps a few bytes per row, for sets that do not
//! fit in memory; and a function over a slice. Every row that does not go on has a [`Decision`] with its reason.

pub mod annotate;
pub mod card;
pub mod checks;
mod columns;
mod decision;
pub mod decontaminate;
pub mod dedup;
mod error;
pub mod export;
pub mod journey;
pub mod mix;
pub mod pairs;
mod per_problem;
mod quota;
mod render;
pub mod select;
pub mod shingles;
pub mod split;
pub mod text;

pub use annotate::{Label, LabelKind, Labels, Unlabelled};
pub use checks::{CHECKS, Checks, ChecksConfig};
pub use columns::{Keyed, OrderBy, Value, check_column};
pub use decision::{Decision, Decisions, Reason};
pub use decontaminate::{DecontaminateConfig, Decontaminator};
pub use dedup::{DedupConfig, Deduper};
pub use error::CurateError;
pub use journey::{Journey, JourneyConfig};
pub use mix::{MixConfig, Mixer};
pub use per_problem::{NOT_BEST, PerProblem, PerProblemConfig, per_problem};
pub use quota::{By, Quota};
pub use render::{FORMATS, Format, RenderConfig, Renderer, SampleConfig, SampleMaker};
pub use select::{SelectConfig, Selector};
pub use split::{SplitConfig, Splitter};
