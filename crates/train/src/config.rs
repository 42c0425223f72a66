//! The settings of a fine-tuning run: one struct, every default documented, unknown keys denied.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::distill::DistillConfig;
use crate::error::{Result, TrainError};
use crate::lora::LoraConfig;
use crate::probe::ProbeConfig;
use crate::schedule::Schedule;

/// What to do with a sample longer than `max_length` tokens. Every policy counts what it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverLong {
    /// Leave the sample out: a truncated trace never ends, and teaches not to end.
    #[default]
    Drop,
    /// Keep the first `max_length` tokens.
    Truncate,
    /// Cut it into pieces of at most `max_length` tokens; each starts at position 0.
    Split,
}

/// Which rows stand in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Batching {
    /// Any.
    #[default]
    Random,
    /// Rows of like length, the batches in random order: little padding without packing.
    Length,
}

/// What forward and backward passes compute in. Weights, moments and the loss are f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComputeType {
    /// bf16 where a GPU's kernels compute, f32 elsewhere.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// Weights rounded to bf16 for each pass, with f32 master weights. On the CPU this is emulated: it shows what the
    /// rounding does to a run, and is not faster.
    Bf16,
}

/// The optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// AdamW (Loshchilov and Hutter 2019).
    #[default]
    Adamw,
    /// Muon (Jordan et al. 2024), as burn has it, for matrices between hidden states, at a learning rate matched to
    /// AdamW's; AdamW for the rest.
    Muon,
}

/// Supervised fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Passes over the samples; fractions are allowed. One if neither this nor `max_steps` is set.
    pub epochs: Option<f64>,
    /// Upper bound of optimizer steps. With `epochs` too, whichever ends first.
    pub max_steps: Option<u64>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Course of the learning rate over the run.
    pub schedule: Schedule,
    /// Samples (packed rows if `packing`) per optimizer step over all threads and devices; accumulation is derived.
    pub batch_size: usize,
    /// Longest row in tokens.
    pub max_length: usize,
    /// What happens to longer samples.
    pub over_long: OverLong,
    /// Put several samples into one row of `max_length` tokens. They do not see each other.
    pub packing: bool,
    /// Padded tokens of one forward and backward pass (at least one row): bounds memory, never changes the result's meaning.
    pub micro_batch_tokens: usize,
    /// Which rows stand in one batch.
    pub batching: Batching,
    /// Train low-rank adapters instead of the weights.
    pub lora: Option<LoraConfig>,
    /// Keep one layer's activations at a time and compute each layer twice: much less memory for a third more time.
    pub activation_checkpointing: bool,
    /// What forward and backward passes compute in.
    pub compute: ComputeType,
    /// Learn a teacher's distribution over tokens too.
    pub distill: Option<DistillConfig>,
    /// Share of each target's probability that is spread evenly over the vocabulary.
    pub label_smoothing: f64,
    /// Factor on the squared logarithm of the softmax's denominator (Chowdhery et al. 2022); 1e-4 is common.
    pub z_loss: f64,
    /// Noise on the embeddings while training (NEFTune, Jain et al. 2023); 5 is common, 0 is off.
    pub neftune_alpha: f64,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// Decoupled weight decay of the matrices; norms and biases are never decayed.
    pub weight_decay: f64,
    /// Decay the embedding too, as transformers' Trainer does.
    pub decay_embeddings: bool,
    /// AdamW's decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// AdamW's epsilon, added to the root of the bias-corrected second moment.
    pub eps: f64,
    /// Bound of the norm over all gradients together, after accumulation; 0 turns clipping off.
    pub grad_clip: f64,
    /// Seed of the data order and of a new student's weights.
    pub seed: u64,
    /// Steps between measurements of the held-out loss; it is measured before and after in any case.
    pub eval_every: Option<u64>,
    /// End with the weights of the lowest held-out loss instead of the last ones.
    pub keep_best: bool,
    /// Stop after this many measurements in a row (see `eval_every`) without a new lowest held-out loss.
    pub patience: Option<u32>,
    /// Steps between checkpoints.
    pub save_every: Option<u64>,
    /// Minutes after which a checkpoint is written in any case; 0 leaves it to `save_every`.
    pub save_minutes: f64,
    /// Checkpoints kept; older ones are removed after a newer one is complete.
    pub keep_last: usize,
    /// Steps in a row that may be skipped because their loss or gradient is not finite, or a spike.
    pub max_skipped: u32,
    /// Skip a step whose gradient norm is more than this many times the running mean of the last steps' norms.
    pub spike_factor: Option<f64>,
    /// Let the student answer held-out prompts at intervals, so that one sees it learn.
    pub probe: Option<ProbeConfig>,
    /// Peak of the device in TFLOP/s, to report the share of it that is used (MFU).
    pub peak_tflops: Option<f64>,
    /// Stop after this many minutes with the student as it is then. The schedule does not know of it.
    pub time_limit_minutes: Option<f64>,
    /// `cpu`; `cuda:N` is refused by a program that does not contain CUDA.
    pub device: String,
    /// Threads on the CPU; 0 takes all cores. The result does not depend on it.
    pub threads: usize,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            epochs: None,
            max_steps: None,
            learning_rate: 1e-5,
            schedule: Schedule::default(),
            batch_size: 32,
            max_length: 2048,
            over_long: OverLong::Drop,
            packing: false,
            micro_batch_tokens: 2048,
            batching: Batching::Random,
            lora: None,
            activation_checkpointing: false,
            compute: ComputeType::Auto,
            distill: None,
            label_smoothing: 0.0,
            z_loss: 0.0,
            neftune_alpha: 0.0,
            optimizer: OptimizerKind::Adamw,
            weight_decay: 0.0,
            decay_embeddings: false,
            betas: [0.9, 0.95],
            eps: 1e-8,
            grad_clip: 1.0,
            seed: 42,
            eval_every: None,
            keep_best: false,
            patience: None,
            save_every: None,
            save_minutes: 15.0,
            keep_last: 2,
            max_skipped: 5,
            spike_factor: None,
            probe: None,
            peak_tflops: None,
            time_limit_minutes: None,
            device: "cpu".into(),
            threads: 0,
        }
    }
}

/// Settings that may differ between a checkpoint and its continuation, since they cannot change the weights.
const FREE_ON_RESUME: [&str; 8] =
    ["save_every", "save_minutes", "keep_last", "time_limit_minutes", "threads", "max_skipped", "probe", "peak_tflops"];

impl SftConfig {
    /// Checks every limit.
    ///
    /// # Errors
    /// [`TrainError::Config`] with the first setting out of its limits.
    pub fn validate(&self) -> Result<()> {
        let positive = |field, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(TrainError::config(field, value, "it must be a finite number above 0"))
            }
        };
        let within = |field, value: f64, below: f64| {
            if (0.0..below).contains(&value) {
                Ok(())
            } else {
                Err(TrainError::config(field, value, format!("it must be at least 0 and below {below}")))
            }
        };
        let at_least = |field, value: usize, least: usize| {
            if value >= least { Ok(()) } else { Err(TrainError::config(field, value, format!("it must be at least {least}"))) }
        };
        self.epochs.map_or(Ok(()), |value| positive("epochs", value))?;
        self.time_limit_minutes.map_or(Ok(()), |value| positive("time_limit_minutes", value))?;
        if (self.keep_best || self.patience.is_some()) && self.eval_every.is_none() {
            let field = if self.keep_best { "keep_best" } else { "patience" };
            return Err(TrainError::config(field, "set", "eval_every is not, so the held-out loss would not be followed"));
        }
        if self.patience == Some(0) {
            return Err(TrainError::config("patience", 0, "it must be at least 1"));
        }
        if self.max_steps == Some(0) {
            return Err(TrainError::config("max_steps", 0, "it must be at least 1"));
        }
        for (field, value) in [("eval_every", self.eval_every), ("save_every", self.save_every)] {
            if value == Some(0) {
                return Err(TrainError::config(field, 0, "it must be at least 1 (leave it out to turn it off)"));
            }
        }
        positive("learning_rate", self.learning_rate)?;
        positive("eps", self.eps)?;
        within("betas", self.betas[0], 1.0)?;
        within("betas", self.betas[1], 1.0)?;
        within("weight_decay", self.weight_decay, f64::INFINITY)?;
        within("label_smoothing", self.label_smoothing, 1.0)?;
        within("z_loss", self.z_loss, f64::INFINITY)?;
        within("neftune_alpha", self.neftune_alpha, f64::INFINITY)?;
        self.peak_tflops.map_or(Ok(()), |value| positive("peak_tflops", value))?;
        if let Some(factor) = self.spike_factor.filter(|factor| !(factor.is_finite() && *factor > 1.0)) {
            return Err(TrainError::config("spike_factor", factor, "it must be a finite number above 1"));
        }
        if self.packing && self.batching == Batching::Length {
            let limit = "packing is on, which makes all rows of one length already; leave one of them out";
            return Err(TrainError::config("batching", "length", limit));
        }
        self.lora.as_ref().map_or(Ok(()), LoraConfig::validate)?;
        self.distill.as_ref().map_or(Ok(()), DistillConfig::validate)?;
        self.probe.as_ref().map_or(Ok(()), ProbeConfig::validate)?;
        within("save_minutes", self.save_minutes, f64::INFINITY)?;
        within("grad_clip", self.grad_clip, f64::INFINITY)?;
        at_least("batch_size", self.batch_size, 1)?;
        at_least("max_length", self.max_length, 2)?;
        at_least("micro_batch_tokens", self.micro_batch_tokens, 1)?;
        at_least("keep_last", self.keep_last, 1)?;
        self.schedule.validate()
    }

    /// Optimizer steps of the whole run for an epoch of `rows` rows. The last batch of an epoch may be smaller.
    #[must_use]
    pub fn total_steps(&self, rows: usize) -> u64 {
        let per_epoch = rows.div_ceil(self.batch_size).max(1) as f64;
        let by_epochs = |epochs: f64| (epochs * per_epoch).ceil().max(1.0) as u64;
        match (self.epochs, self.max_steps) {
            (Some(epochs), Some(steps)) => by_epochs(epochs).min(steps),
            (Some(epochs), None) => by_epochs(epochs),
            (None, Some(steps)) => steps,
            (None, None) => by_epochs(1.0),
        }
    }

    /// The settings that a continuation must share with its checkpoint and that differ here, as `name: was X, is Y`.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        // `before` was read from JSON, whose floats need not come back bit by bit; what is set now passes through it too,
        // so that no such rounding looks like a change.
        let now = serde_json::to_string(self).and_then(|text| serde_json::from_str::<serde_json::Value>(&text));
        let (Ok(serde_json::Value::Object(now)), Ok(serde_json::Value::Object(was))) = (now, serde_json::to_value(before)) else {
            return Vec::new();
        };
        now.iter()
            .filter(|(name, value)| !FREE_ON_RESUME.contains(&name.as_str()) && was.get(*name) != Some(value))
            .map(|(name, value)| format!("{name}: was {}, is {value}", was.get(name).unwrap_or(&serde_json::Value::Null)))
            .collect()
    }

    /// Threads to use on the CPU.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_epochs_and_the_cap() {
        let config = SftConfig { batch_size: 4, ..SftConfig::default() };
        assert_eq!(config.total_steps(10), 3);
        assert_eq!(SftConfig { epochs: Some(2.5), ..config.clone() }.total_steps(10), 8);
        assert_eq!(SftConfig { epochs: Some(2.0), max_steps: Some(5), ..config.clone() }.total_steps(10), 5);
        assert_eq!(SftConfig { max_steps: Some(50), ..config }.total_steps(10), 50);
    }

    #[test]
    fn every_limit_names_its_setting() {
        let base = SftConfig::default;
        let bad = [
            SftConfig { learning_rate: f64::NAN, ..base() },
            SftConfig { epochs: Some(0.0), ..base() },
            SftConfig { betas: [0.9, 1.0], ..base() },
            SftConfig { batch_size: 0, ..base() },
            SftConfig { max_length: 1, ..base() },
            SftConfig { save_every: Some(0), ..base() },
            SftConfig { keep_best: true, ..base() },
            SftConfig { weight_decay: -0.1, ..base() },
        ];
        let names: Vec<String> = bad.iter().map(|config| config.validate().unwrap_err().to_string()).collect();
        insta::assert_snapshot!(names.join("\n"), @r"
        learning_rate is NaN, but it must be a finite number above 0
        epochs is 0, but it must be a finite number above 0
        betas is 1, but it must be at least 0 and below 1
        batch_size is 0, but it must be at least 1
        max_length is 1, but it must be at least 2
        save_every is 0, but it must be at least 1 (leave it out to turn it off)
        keep_best is set, but eval_every is not, so the held-out loss would not be followed
        weight_decay is -0.1, but it must be at least 0 and below inf
        ");
        base().validate().unwrap();
    }

    #[test]
    fn changed_settings_are_named_one_by_one() {
        let before = SftConfig::default();
        let now = SftConfig { learning_rate: 2e-5, batch_size: 8, threads: 7, save_every: Some(3), ..before.clone() };
        assert_eq!(now.changes_since(&before), ["learning_rate: was 0.00001, is 0.00002", "batch_size: was 32, is 8"]);
    }

    #[test]
    fn unknown_keys_are_denied() {
        assert!(serde_json::from_str::<SftConfig>(r#"{"learning_rat": 1}"#).unwrap_err().to_string().contains("learning_rat"));
    }
}
