//! What a run tells while it runs: events to an observer, and one JSON line per event in the training log.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use potstill_data::Sample;
use serde::Serialize;

use crate::error::{Result, TrainError};
use crate::probe::Answer;
use crate::rows::LengthCounts;

/// What happens in a run. Rates are of wall time; everything else is the same for the same seed and inputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrainEvent {
    /// The run begins (or goes on, from `step`).
    Started {
        /// Steps done before.
        step: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// Parameters of the student.
        parameters: u64,
        /// Rows per epoch.
        rows: usize,
        /// Tokens per epoch, padding excluded.
        tokens: u64,
        /// Trained tokens per epoch.
        trained_tokens: u64,
        /// How the samples became documents.
        lengths: LengthCounts,
        /// Why burn's backend computes on a GPU and not the faster kernels made for it.
        without_kernels: Option<String>,
    },
    /// An optimizer step.
    Step {
        /// Steps done, this one included.
        step: u64,
        /// Passes over the data after this step.
        epoch: f64,
        /// Mean loss per trained token, before the update.
        loss: f64,
        /// Learning rate of the update.
        learning_rate: f64,
        /// Norm over all gradients, before clipping.
        grad_norm: f64,
        /// Trained tokens of this step.
        trained_tokens: u64,
        /// Tokens of this step, padding excluded.
        tokens: u64,
        /// Trained tokens per second.
        trained_tokens_per_second: f64,
        /// Tokens per second, padding excluded.
        tokens_per_second: f64,
        /// Seconds since the start of this process's part of the run.
        seconds: f64,
        /// Seconds that the remaining steps take at the present pace.
        eta_seconds: f64,
        /// Operations per second, in TFLOP/s, of what training needs by its definition.
        tflops: f64,
        /// Their share of the device's peak, where that is set.
        mfu: Option<f64>,
        /// Bytes of memory: of a GPU whose kernels compute what is in use there, else what this process holds, where the system tells.
        memory: Option<u64>,
    },
    /// The held-out loss was measured.
    Eval {
        /// Steps done.
        step: u64,
        /// Mean loss per trained token.
        loss: f64,
        /// Share of trained tokens whose most probable prediction was right.
        token_accuracy: f64,
    },
    /// The student answered prompts.
    Answers {
        /// Steps done.
        step: u64,
        /// Share that the judge called correct, of those it judged.
        accuracy: Option<f64>,
        /// What it wrote.
        answers: Vec<Answer>,
    },
    /// A step whose loss or gradient was not finite, or whose gradient was a spike, was skipped.
    Skipped {
        /// The step.
        step: u64,
        /// Why.
        reason: SkipReason,
        /// Its loss.
        loss: String,
        /// Its gradient norm.
        grad_norm: String,
        /// Ids of its samples, at most eight; all are in the file of skipped steps.
        samples: Vec<String>,
    },
    /// A checkpoint is complete.
    Saved {
        /// Steps done.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
    /// The held-out loss has not fallen for `patience` measurements, which ends the run early.
    OutOfPatience {
        /// Steps done.
        step: u64,
    },
    /// The time limit ended the run early.
    TimeLimit {
        /// Steps done.
        step: u64,
    },
}

/// Why a step was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The loss or the gradient was not finite.
    NotFinite,
    /// The gradient was far larger than before.
    Spike,
}

impl SkipReason {
    /// Its name in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFinite => "not_finite",
            Self::Spike => "spike",
        }
    }
}

/// Receives the events of a run and may stop it.
pub trait Observer {
    /// An event happened.
    fn event(&mut self, event: &TrainEvent);

    /// Whether the student's answer to a sample's prompt is right; none where that cannot be told.
    fn judge(&mut self, sample: &Sample, answer: &str) -> Option<bool> {
        let _ = (sample, answer);
        None
    }

    /// Whether to stop after the current step, keeping a checkpoint.
    fn cancelled(&self) -> bool {
        false
    }
}

impl<F: FnMut(&TrainEvent)> Observer for F {
    fn event(&mut self, event: &TrainEvent) {
        self(event);
    }
}

/// The training log: one JSON object per line.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log and cuts it to `length` bytes: what a resumed run has already logged.
    pub(crate) fn open(path: &Path, length: u64) -> Result<Self> {
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(path);
        let mut file = file.map_err(TrainError::io("cannot write", path))?;
        let present = file.metadata().map_err(TrainError::io("cannot read", path))?.len();
        file.set_len(length.min(present)).map_err(TrainError::io("cannot write", path))?;
        file.seek(std::io::SeekFrom::End(0)).map_err(TrainError::io("cannot write", path))?;
        Ok(Self { path: path.into(), file })
    }

    /// Appends an event.
    pub(crate) fn write(&mut self, event: &TrainEvent) -> Result<()> {
        let fail = |error: std::io::Error| TrainError::Io { action: "cannot write", path: self.path.clone(), source: error };
        let mut line = serde_json::to_vec(event).map_err(|error| fail(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)
    }

    /// Length in bytes.
    pub(crate) fn length(&mut self) -> Result<u64> {
        self.file.stream_position().map_err(TrainError::io("cannot read", &self.path))
    }
}
