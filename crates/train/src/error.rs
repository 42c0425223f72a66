//! What can go wrong in training, in words that name the place, the limit and the value found.

use std::path::{Path, PathBuf};

use potstill_data::DataError;
use thiserror::Error;

/// An error of the trainer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting that cannot be: names the field, the limit and the value.
    #[error("{field} is {value}, but {limit}")]
    Config {
        /// The setting's name as it stands in the pipeline file.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What it must satisfy.
        limit: String,
    },
    /// A sample that cannot be rendered with exact spans.
    #[error("sample {sample_id} cannot be rendered: {reason}")]
    Render {
        /// The sample.
        sample_id: String,
        /// Why.
        reason: String,
    },
    /// Nothing is left to train on.
    #[error("no sample can be trained on: {reason}")]
    Empty {
        /// How the samples were lost, with counts.
        reason: String,
    },
    /// Every one of the last steps had a loss or gradient that was not finite, or a spike.
    #[error(
        "stopped at step {step}: {skipped} steps in a row had a non-finite loss or a gradient spike, last with the samples {samples}; \
         lower learning_rate or look at these samples"
    )]
    Diverged {
        /// The optimizer step.
        step: u64,
        /// How many were skipped in a row.
        skipped: u32,
        /// Ids of the samples of the last skipped step (at most eight).
        samples: String,
    },
    /// The training state does not fit into memory.
    #[error("training needs about {needed_mb} MB ({parts}), but {available_mb} MB are available; what helps: {hints}")]
    Memory {
        /// Estimated peak, in MB; without the weights where these are in memory already.
        needed_mb: u64,
        /// Available in MB.
        available_mb: u64,
        /// What it is made of.
        parts: String,
        /// What would make it smaller.
        hints: String,
    },
    /// A checkpoint was made with other settings or data.
    #[error("cannot resume from {}: {}", path.display(), changes.join("; "))]
    Changed {
        /// The checkpoint.
        path: PathBuf,
        /// One entry per setting that differs: `name: was X, is Y`.
        changes: Vec<String>,
    },
    /// A checkpoint that does not match its manifest.
    #[error("checkpoint {} is damaged: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint folder or the file in it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The observer asked to stop.
    #[error("cancelled after step {step}{}", if *saved { ", a checkpoint is kept" } else { "" })]
    Cancelled {
        /// Optimizer steps done.
        step: u64,
        /// Whether a checkpoint of this step was written.
        saved: bool,
    },
    /// A file that cannot be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was attempted, for instance `cannot write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An error of the model, tokenizer or template.
    #[error(transparent)]
    Model(#[from] potstill_model::Error),
    /// An error of the rows.
    #[error(transparent)]
    Data(#[from] DataError),
}

#[cfg(feature = "cuda")]
impl From<potstill_cuda::Error> for TrainError {
    fn from(error: potstill_cuda::Error) -> Self {
        Self::Model(error.into())
    }
}

impl TrainError {
    /// An I/O error with its place.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// What may help, as a sentence for people.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Model(error) => error.hint(),
            _ => None,
        }
    }

    /// A setting that violates its limit.
    pub(crate) fn config(field: &'static str, value: impl std::fmt::Display, limit: impl Into<String>) -> Self {
        Self::Config { field, value: format!("{value}"), limit: limit.into() }
    }
}

/// Result of the trainer.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
