//! The settings of low-rank adapters.

use potstill_model::lora::{AdapterInfo, LoraSpec, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// Train low-rank adapters beside frozen weights (Hu et al. 2021) instead of the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Width of the bottleneck.
    pub rank: usize,
    /// What the adapters add is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// The projections that get an adapter.
    pub targets: Vec<Target>,
    /// Probability that an input of the adapters is dropped in training.
    pub dropout: f64,
    /// Multiply by `alpha / √rank` instead, which keeps large ranks stable (Kalajdzievski 2023).
    pub rslora: bool,
    /// Put the adapters into the student's weights at the end. Otherwise the student is the base model with the folder
    /// `adapter` beside it, which is written in any case.
    pub merge: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, targets: Target::ALL.into(), dropout: 0.0, rslora: false, merge: true }
    }
}

impl LoraConfig {
    /// Checks every limit.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.rank == 0 {
            return Err(TrainError::config("lora.rank", 0, "it must be at least 1"));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(TrainError::config("lora.alpha", self.alpha, "it must be a finite number above 0"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(TrainError::config("lora.dropout", self.dropout, "it must be at least 0 and below 1"));
        }
        if self.targets.is_empty() {
            let names = Target::ALL.map(Target::name).join(", ");
            return Err(TrainError::config("lora.targets", "empty", format!("it must name some of {names}")));
        }
        Ok(())
    }

    /// The adapters to add.
    #[must_use]
    pub fn spec(&self) -> LoraSpec {
        let rank = self.rank as f64;
        LoraSpec { rank: self.rank, scale: self.alpha / if self.rslora { rank.sqrt() } else { rank }, targets: self.targets.clone() }
    }

    /// What the adapter's folder says of them. It names no base: a path would tie it to one machine.
    pub(crate) fn info(&self) -> AdapterInfo {
        AdapterInfo { rank: self.rank, alpha: self.alpha, dropout: self.dropout, rslora: self.rslora, base: None }
    }
}
