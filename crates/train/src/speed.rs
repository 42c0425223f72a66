//! How fast a run is, how much of the device that is, and when it ends.

use std::time::Duration;

use potstill_model::{CausalLm, ModelConfig};

use crate::batch::MicroBatch;

/// Weight of the newest step in the running mean of a step's time.
const NEW: f64 = 0.1;

/// Counts the operations that training needs by its definition: what is computed twice to save memory does not count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flops {
    /// Per token, without attention's scores and the head.
    token: f64,
    /// Per trained token: the head.
    target: f64,
    /// Per pair of a token and one that it sees.
    pair: f64,
}

impl Flops {
    /// Two operations per weight forward, two for the gradient of the inputs, and two for that of the weights where these
    /// are trained (Chowdhery et al. 2022, appendix B).
    pub(crate) fn new(model: &CausalLm) -> Self {
        let config: &ModelConfig = model.config();
        let table = config.vocab_size * config.hidden_size;
        let tables = if config.tie_word_embeddings { table } else { 2 * table };
        let per_weight = if model.has_lora() { 4.0 } else { 6.0 };
        Self {
            token: per_weight * (config.num_parameters() - tables) as f64,
            target: per_weight * table as f64,
            pair: 12.0 * (config.q_size() * config.num_hidden_layers) as f64,
        }
    }

    /// Of a step.
    pub(crate) fn step(&self, batches: &[MicroBatch]) -> f64 {
        let of = |batch: &MicroBatch| {
            let lengths = batch.layout.documents().iter().map(|range| range.len() as f64);
            let (tokens, pairs) = lengths.fold((0.0, 0.0), |(tokens, pairs), n| (tokens + n, pairs + n * (n + 1.0) / 2.0));
            self.token * tokens + self.target * batch.targets.len() as f64 + self.pair * pairs
        };
        batches.iter().map(of).sum()
    }
}

/// The running mean of a step's time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace(Option<f64>);

impl Pace {
    /// Takes a step's time and gives the seconds that `left` more steps take.
    pub(crate) fn add(&mut self, time: Duration, left: u64) -> f64 {
        let new = time.as_secs_f64();
        let mean = self.0.map_or(new, |mean| mean + (new - mean) * NEW);
        self.0 = Some(mean);
        mean * left as f64
    }
}
