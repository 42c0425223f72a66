//! What a run did, for manifests and reports.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Lowest;
use crate::rows::LengthCounts;

/// Mean loss and token accuracy on held-out samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Mean loss per trained token.
    pub loss: f64,
    /// Share of trained tokens whose most probable prediction was right.
    pub token_accuracy: f64,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Optimizer steps, skipped ones included.
    pub steps: u64,
    /// Steps that were planned; more than `steps` if the time limit or `patience` ended the run.
    pub planned_steps: u64,
    /// Step of the checkpoint that the run went on from.
    pub resumed_from: Option<u64>,
    /// Steps skipped for a loss or gradient that was not finite.
    pub skipped_steps: u64,
    /// Parameters of the student.
    pub parameters: u64,
    /// How the samples became documents.
    pub lengths: LengthCounts,
    /// Rows per epoch.
    pub rows: usize,
    /// Share of the packed rows that is filled; none without packing.
    pub packing_fill: Option<f64>,
    /// Tokens read, padding excluded, over the whole run.
    pub tokens: u64,
    /// Trained tokens over the whole run.
    pub trained_tokens: u64,
    /// Loss of the last step, before its update.
    pub last_loss: Option<f64>,
    /// Held-out loss before the first step.
    pub held_out_before: Option<HeldOut>,
    /// Held-out loss of the finished student.
    pub held_out_after: Option<HeldOut>,
    /// Steps after which the held-out loss was lowest, and the loss then.
    pub best: Option<Lowest>,
    /// Wall seconds of this process's steps, evaluation excluded.
    pub step_seconds: f64,
    /// Tokens per second of this process's steps, padding excluded.
    pub tokens_per_second: f64,
    /// Trained tokens per second of this process's steps.
    pub trained_tokens_per_second: f64,
    /// Threads used.
    pub threads: usize,
}
