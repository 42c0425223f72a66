//! How much memory a run takes, estimated before it starts.

use potstill_model::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::config::SftConfig;
use crate::error::{Result, TrainError};

/// Estimated peak of a full fine-tune in f32, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEstimate {
    /// Weights.
    pub weights: u64,
    /// Both moments of AdamW.
    pub optimizer: u64,
    /// The sum of the gradients, and one set in the making per thread.
    pub gradients: u64,
    /// What the backward pass needs of the forward pass, for one micro-batch per thread.
    pub activations: u64,
}

impl MemoryEstimate {
    /// The estimate for a model on this many threads, with micro-batches of up to `tokens` tokens.
    #[must_use]
    pub fn new(model: &ModelConfig, threads: usize, tokens: usize) -> Self {
        let float = size_of::<f32>() as u64;
        let weights = model.num_parameters() as u64 * float;
        let threads = threads.max(1) as u64;
        // Per token and layer: inputs and outputs of two norms and two residual sums, the merged projections, what
        // attention gives, gate and up, and their product.
        let per_layer = 7 * model.hidden_size + model.qkv_size() + 2 * model.q_size() + 3 * model.intermediate_size;
        let per_token = (model.num_hidden_layers * per_layer + 8 * model.hidden_size) as u64;
        Self {
            weights,
            optimizer: 2 * weights,
            gradients: weights * if threads > 1 { threads + 1 } else { 2 },
            activations: per_token * tokens as u64 * threads * float,
        }
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights + self.optimizer + self.gradients + self.activations
    }

    /// The estimate of a run.
    #[must_use]
    pub fn of_run(config: &SftConfig, model: &ModelConfig, longest_row: usize, threads: usize) -> Self {
        Self::new(model, threads, config.micro_batch_tokens.max(longest_row))
    }

    /// Refuses a run that would not fit into `available` bytes.
    ///
    /// # Errors
    /// [`TrainError::Memory`] with both numbers.
    pub fn check(&self, available: Option<u64>) -> Result<()> {
        match available {
            Some(available) if self.total() > available => {
                Err(TrainError::Memory { needed_mb: self.total() >> 20, available_mb: available >> 20 })
            }
            _ => Ok(()),
        }
    }
}

/// Memory that the system can still give, in bytes; none where it does not say.
#[must_use]
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_cannot_fit_is_refused_with_the_numbers() {
        let model = ModelConfig::llama(50_000, 1024, 24, 16, 4, 4096);
        let estimate = MemoryEstimate::new(&model, 2, 2048);
        assert_eq!(estimate.weights, model.num_parameters() as u64 * 4);
        let error = estimate.check(Some(1 << 30)).unwrap_err().to_string();
        assert!(error.contains("but 1024 MB are available"), "{error}");
        estimate.check(None).unwrap();
        estimate.check(Some(1 << 40)).unwrap();
    }
}
