//! Supervised fine-tuning: render and mask, batches, the training loop, checkpoints.
//!
//! [`train`] takes samples (conversations) and a [`Student`] and gives back the fine-tuned student. What it computes is
//! defined by a few rules that the tests hold it to:
//!
//! - A sample is rendered once; the assistant's tokens, end-of-turn included, are the only targets ([`render`]).
//! - Either all weights are trained or low-rank adapters beside them ([`lora`]).
//! - The loss of an optimizer step is the sum of its weighted token losses divided by its number of trained tokens,
//!   however the step is cut into micro-batches ([`engine`]).
//! - Documents of a packed row do not see each other ([`batch`]).
//! - On the CPU the weights depend on the settings, the samples and the student alone: not on the number of threads, and
//!   not on where a run was interrupted ([`checkpoint`]).

mod accelerated;
pub mod adamw;
pub mod batch;
pub mod checkpoint;
pub mod config;
mod corpus;
pub mod distill;
pub mod engine;
pub mod error;
pub mod lora;
pub mod memory;
mod noise;
pub mod observe;
pub mod optimizer;
pub mod params;
pub mod preview;
pub mod probe;
pub mod render;
pub mod report;
pub mod rows;
mod run;
pub mod schedule;
mod segments;
mod speed;
pub mod spike;
pub mod student;
pub mod tensorboard;
pub mod trainer;

pub use checkpoint::Lowest;
pub use config::{Batching, ComputeType, OptimizerKind, OverLong, SftConfig};
pub use distill::DistillConfig;
pub use error::{Result, TrainError};
pub use lora::LoraConfig;
pub use observe::{Observer, SkipReason, TrainEvent};
pub use optimizer::Optimizer;
pub use potstill_model::device;
pub use probe::ProbeConfig;
pub use report::{HeldOut, TrainReport};
pub use schedule::{Schedule, ScheduleKind};
pub use student::{ScratchConfig, Student};
pub use trainer::{LOG_FILE, Places, train};
