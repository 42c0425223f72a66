//! Supervised fine-tuning: render and mask, batches, the training loop, checkpoints.
//!
//! [`train`] takes samples (conversations) and a [`Student`] and gives back the fine-tuned student. What it computes is
//! defined by a few rules that the tests hold it to:
//!
//! - A sample is rendered once; the assistant's tokens, end-of-turn included, are the only targets ([`render`]).
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
pub mod device;
pub mod engine;
pub mod error;
pub mod memory;
pub mod observe;
pub mod params;
pub mod preview;
pub mod render;
pub mod report;
pub mod rows;
mod run;
pub mod schedule;
pub mod student;
pub mod tensorboard;
pub mod trainer;

pub use checkpoint::Lowest;
pub use config::{OverLong, SftConfig};
pub use error::{Result, TrainError};
pub use observe::{Observer, TrainEvent};
pub use report::{HeldOut, TrainReport};
pub use schedule::{Schedule, ScheduleKind};
pub use student::{ScratchConfig, Student};
pub use trainer::{LOG_FILE, Places, train};
