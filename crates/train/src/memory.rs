//! How much memory a run takes, estimated before it starts.

use std::path::Path;

use potstill_model::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::config::{ComputeType, SftConfig};
use crate::device;
use crate::engine::WIDE;
use crate::error::{Result, TrainError};

/// Bytes of an f32.
const FLOAT: u64 = 4;
/// Rows of logits that the loss holds at a time.
const LOSS_ROWS: u64 = 256;

/// Estimated peak of a run on the CPU, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEstimate {
    /// Weights, adapters included.
    pub weights: u64,
    /// Both moments of AdamW for what is trained.
    pub optimizer: u64,
    /// The sum of the gradients, and what is in the making.
    pub gradients: u64,
    /// What the backward pass needs of the forward pass, for the micro-batches that are under way at once.
    pub activations: u64,
}

impl MemoryEstimate {
    /// The estimate of a run whose longest row has this many tokens.
    #[must_use]
    pub fn of_run(config: &SftConfig, model: &ModelConfig, longest_row: usize, threads: usize) -> Self {
        let all = model.num_parameters() as u64;
        let adapters = config.lora.as_ref().map(|lora| lora.spec().num_parameters(model) as u64);
        let trained = adapters.unwrap_or(all);
        let table = (model.vocab_size * model.hidden_size) as u64;
        let step_tokens = (config.batch_size.saturating_mul(longest_row)).max(1);
        let micro_tokens = config.micro_batch_tokens.max(longest_row).min(step_tokens);
        let parts = step_tokens.div_ceil(micro_tokens) as u64;
        let at_once = if model.hidden_size >= WIDE { 1 } else { parts.min(threads.max(1) as u64) };
        let layer = trained / model.num_hidden_layers as u64;
        // The gradient of a table is made twice where it is embedding and head, and added up.
        let tables = if adapters.is_some() { 0 } else { 2 * table };
        let in_the_making = match (config.activation_checkpointing, at_once) {
            (true, 1) => layer + tables,
            (false, 1) if parts == 1 => tables,
            _ => at_once * trained + tables,
        };
        let copies = if config.compute == ComputeType::Bf16 { 2 } else { 1 };
        Self {
            weights: (all * copies + adapters.unwrap_or(0)) * FLOAT,
            optimizer: 2 * trained * FLOAT,
            gradients: (trained + in_the_making) * FLOAT,
            activations: at_once * Self::activations(config, model, micro_tokens as u64) * FLOAT,
        }
    }

    /// What a run takes at least, whatever its samples are; with a GPU, on the host.
    #[must_use]
    pub fn at_least(config: &SftConfig, model: &ModelConfig) -> Self {
        let least = Self::of_run(config, model, 1, 1);
        if device::is_cpu(&config.device) { least } else { Self { optimizer: 0, gradients: 0, activations: 0, ..least } }
    }

    /// Floats that one micro-batch keeps, and those that its backward pass makes on the way.
    fn activations(config: &SftConfig, model: &ModelConfig, tokens: u64) -> u64 {
        let (hidden, inner) = (model.hidden_size as u64, model.intermediate_size as u64);
        // Per token and layer: inputs of two norms, the merged projections, what attention gives, gate and up. What else the
        // projections read is made again.
        let layer = 2 * hidden + (model.qkv_size() + model.q_size()) as u64 + 2 * inner;
        // Adapters keep their bottlenecks; with them the merged projections are made again too, where that can be.
        let adapted = config.lora.as_ref().map_or(0, |lora| (lora.rank * lora.targets.len()) as u64);
        let remade = config.lora.as_ref().is_some_and(|lora| lora.dropout == 0.0) && !model.qk_norm && !config.activation_checkpointing;
        let layer = layer + adapted - if remade { model.qkv_size() as u64 } else { 0 };
        let layers = model.num_hidden_layers as u64;
        let kept = if config.activation_checkpointing { layers * hidden + layer } else { layers * layer };
        let on_the_way = 6 * inner + 4 * hidden;
        tokens * (kept + on_the_way) + LOSS_ROWS.min(tokens) * model.vocab_size as u64
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights + self.optimizer + self.gradients + self.activations
    }

    /// Refuses a run that would not fit into `available` bytes beside the weights, which are there already.
    ///
    /// # Errors
    /// [`TrainError::Memory`] with the numbers and what would help.
    pub fn check(&self, config: &SftConfig, available: Option<u64>) -> Result<()> {
        let loaded = format!("; the weights with {} MB are loaded", mb(self.weights));
        self.refuse(config, self.total() - self.weights, available, &loaded, 0)
    }

    /// Refuses a run that would not fit into `available` bytes, of which the weights have taken none yet.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_before_loading(&self, config: &SftConfig, available: Option<u64>) -> Result<()> {
        self.refuse(config, self.total(), available, &format!(", weights {}", mb(self.weights)), self.weights)
    }

    /// `least` is what no setting takes away from what is needed.
    fn refuse(&self, config: &SftConfig, needed: u64, available: Option<u64>, weights: &str, least: u64) -> Result<()> {
        let Some(available) = available.filter(|available| needed > *available) else { return Ok(()) };
        let mut hints = Vec::new();
        let hopeless = least > available;
        if config.lora.is_none() && !hopeless {
            hints.push("set lora to train adapters alone");
        }
        if !config.activation_checkpointing && self.activations > 0 && !hopeless {
            hints.push("set activation_checkpointing = true");
        }
        if self.activations > 0 && !hopeless {
            hints.push("lower micro_batch_tokens or max_length");
        }
        hints.push(if hopeless { "take a smaller student, for no setting makes the weights smaller" } else { "take a smaller student" });
        Err(TrainError::Memory {
            needed_mb: mb(needed),
            available_mb: mb(available),
            parts: format!(
                "optimizer {}, gradients {}, activations {}{weights}",
                mb(self.optimizer),
                mb(self.gradients),
                mb(self.activations)
            ),
            hints: hints.join("; "),
        })
    }
}

/// Memory that this process holds, in bytes; none where the system does not say.
#[must_use]
pub fn resident() -> Option<u64> {
    kib(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The most memory that this process has held so far, in bytes; none where the system does not say.
#[must_use]
pub fn peak() -> Option<u64> {
    kib(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The value of a line `name: N kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Memory that the system can still give to this process, in bytes; none where it does not say. A limit of the process's
/// control groups (containers, batch systems) counts.
#[must_use]
pub fn available() -> Option<u64> {
    let machine = kib(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limited = groups.lines().filter_map(left_of_groups).min();
    Some(limited.map_or(machine, |limited| limited.min(machine)))
}

/// The least that a control group of a line of `/proc/self/cgroup`, or one above it, may still take.
fn left_of_groups(line: &str) -> Option<u64> {
    let (_, named) = line.split_once(':')?;
    let (root, group, [limit, held, cached]) = match named.split_once(':')? {
        ("", group) => ("/sys/fs/cgroup", group, ["memory.max", "memory.current", "inactive_file "]),
        ("memory", group) => ("/sys/fs/cgroup/memory", group, ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "]),
        _ => return None,
    };
    let left = |folder: &Path| {
        // Without a limit the file says `max`.
        let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let statistics = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        // What caches files is given back on demand.
        let cached = statistics.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse().ok()).unwrap_or(0_u64);
        Some(number(limit)?.saturating_sub(number(held)?.saturating_sub(cached)))
    };
    let folder = Path::new(root).join(group.trim_start_matches('/'));
    folder.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(left).min()
}

fn mb(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::LoraConfig;

    #[test]
    fn a_run_that_cannot_fit_is_refused_with_the_numbers_and_what_helps() {
        let model = ModelConfig::llama(50_000, 1024, 24, 16, 4, 4096);
        let config = SftConfig { batch_size: 2, ..SftConfig::default() };
        let full = MemoryEstimate::of_run(&config, &model, 1024, 2);
        assert_eq!(full.weights, model.num_parameters() as u64 * 4);
        let error = full.check(&config, Some(1 << 30)).unwrap_err().to_string();
        assert!(error.contains("but 1024 MB are available") && error.contains("set lora"), "{error}");
        full.check(&config, None).unwrap();
        full.check(&config, Some(1 << 40)).unwrap();

        // Before the weights are read they count too, and samples are not known yet.
        let least = MemoryEstimate::at_least(&config, &model);
        assert!(least.total() < full.total() && least.optimizer == full.optimizer);
        let error = least.check_before_loading(&config, Some(least.total() - 1)).unwrap_err().to_string();
        assert!(error.contains(&format!("weights {}", full.weights >> 20)), "{error}");
        least.check_before_loading(&config, Some(least.total())).unwrap();
        // Where the weights alone do not fit, no setting is named.
        let error = least.check_before_loading(&config, Some(least.weights - 1)).unwrap_err().to_string();
        assert!(error.contains("no setting") && !error.contains("set lora"), "{error}");
        let lent = SftConfig { device: "cuda".into(), ..config.clone() };
        assert_eq!(MemoryEstimate::at_least(&lent, &model).total(), full.weights);

        let less = SftConfig { activation_checkpointing: true, ..config.clone() };
        assert!(MemoryEstimate::of_run(&less, &model, 1024, 2).activations * 4 < full.activations);
        let lora = SftConfig { lora: Some(LoraConfig::default()), ..less };
        let small = MemoryEstimate::of_run(&lora, &model, 1024, 2);
        // Without dropout the merged projections are made again.
        let of = |dropout| SftConfig { lora: Some(LoraConfig { dropout, ..LoraConfig::default() }), ..config.clone() };
        let [less, more] = [0.0, 0.1].map(|dropout| MemoryEstimate::of_run(&of(dropout), &model, 1024, 2).activations);
        assert!(less < more);
        assert!(small.optimizer + small.gradients < full.weights / 4, "{small:?}");
        assert!(!small.check(&lora, Some(1 << 20)).unwrap_err().to_string().contains("set "));
    }
}
