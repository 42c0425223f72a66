//! Gradients of a step: forward and backward over its micro-batches, on several threads.
//!
//! There are two ways to use threads. Small students work on several micro-batches at once, each thread with its own
//! replica of the model: the weights are shared, but each replica has its own leaves in the autodiff graph, so that no two
//! threads wait for one lock; gradients are added in the order of the micro-batches, whichever thread made them. Large
//! students, and steps of a single micro-batch, take one micro-batch after the other, and the threads share the work of
//! each operation ([`potstill_model::parallel`]): that needs one set of gradients instead of one per thread. Which way is
//! taken depends on the student and the micro-batches, never on the number of threads, and in both the sums are the same
//! bits on any number of threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use potstill_model::lora::Dropout;
use potstill_model::parallel::Split;
use potstill_model::{CausalLm, Keep, LossTerms, SoftTargets, Targets};

use crate::batch::MicroBatch;
use crate::config::{ComputeType, SftConfig};
use crate::error::{Result, TrainError};
use crate::noise::embedding_noise;
use crate::params::{GradientSum, add, rounded_to_bf16, to_vec};

/// From this width on the matrix products are large enough for several threads each.
pub(crate) const WIDE: usize = 512;

/// Sums over trained tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the weighted losses.
    pub loss: f64,
    /// Number of trained tokens.
    pub tokens: u64,
    /// Trained tokens whose most probable token was the target; counted in evaluation only.
    pub correct: u64,
}

impl LossSum {
    /// Adds another sum.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.tokens += other.tokens;
        self.correct += other.correct;
    }

    /// Mean loss per trained token; 0 without tokens.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.loss / self.tokens as f64 }
    }

    /// Share of trained tokens predicted right by the most probable token.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.correct as f64 / self.tokens as f64 }
    }
}

/// The sums of a step and the gradient of its mean loss by every parameter.
#[derive(Debug)]
pub struct StepGradient {
    /// Loss and tokens.
    pub sum: LossSum,
    /// One gradient per parameter, in the model's order.
    pub gradients: Vec<Vec<f32>>,
}

/// What a training pass does beyond the plain gradient.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras {
    /// Terms of the loss beyond cross-entropy.
    pub terms: LossTerms,
    /// Share of a teacher's divergence in the loss, where documents carry its distributions.
    pub distill: f64,
    /// NEFTune's α; 0 is off.
    pub neftune_alpha: f64,
    /// Dropout of adapters; 0 is off.
    pub lora_dropout: f64,
    /// Compute each layer twice instead of keeping its activations.
    pub checkpointing: bool,
    /// Round the weights to bf16 for the forward and backward pass.
    pub bf16: bool,
    /// Seed of noise and dropout.
    pub seed: u64,
}

/// One pass over a micro-batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// Factor on the sum of losses: one over the trained tokens of the step.
    pub(crate) scale: f64,
    /// Seed of this step's noise.
    pub(crate) seed: u64,
    /// Whether noise, dropout and the extra terms apply.
    pub(crate) training: bool,
}

/// Computes losses and gradients.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Where the model lives (without autodiff).
    pub device: Device,
    /// Threads on the CPU.
    pub threads: usize,
    /// What training does beyond the plain gradient.
    pub extras: Extras,
    split: Split,
}

impl Engine {
    /// An engine on this many threads.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(device: Device, threads: usize) -> Result<Self> {
        Ok(Self { device, threads, extras: Extras::default(), split: Split::new(threads)? })
    }

    /// The engine of a run.
    pub(crate) fn of_run(config: &SftConfig, device: Device, threads: usize) -> Result<Self> {
        let extras = Extras {
            terms: LossTerms { label_smoothing: config.label_smoothing as f32, z_loss: config.z_loss as f32 },
            distill: config.distill.as_ref().map_or(0.0, |distill| distill.weight),
            neftune_alpha: config.neftune_alpha,
            lora_dropout: config.lora.as_ref().map_or(0.0, |lora| lora.dropout),
            checkpointing: config.activation_checkpointing,
            bf16: config.compute == ComputeType::Bf16,
            seed: config.seed,
        };
        Ok(Self { extras, ..Self::new(device, threads)? })
    }

    /// The threads that share single operations.
    #[must_use]
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// Gradient of (sum of weighted losses) ÷ (trained tokens of all micro-batches) at this step, whose number seeds noise
    /// and dropout.
    ///
    /// `model` must track gradients.
    ///
    /// # Errors
    /// If the model refuses a micro-batch.
    pub fn gradient(&self, model: &CausalLm, batches: &[MicroBatch], step: u64) -> Result<StepGradient> {
        let tokens: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let seed = self.extras.seed ^ (step + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let pass = Pass { scale: 1.0 / tokens.max(1) as f64, seed, training: true };
        let rounded = self.extras.bf16.then(|| rounded_to_bf16(model));
        let model = rounded.as_ref().unwrap_or(model);
        if self.shares_operations(model, batches.len()) {
            let mut gradients = GradientSum::new(model);
            let mut sum = LossSum::default();
            for batch in batches {
                sum.add(self.split.run(|| self.micro_gradient(model, batch, &pass, &mut gradients))?);
            }
            return Ok(StepGradient { sum, gradients: gradients.finish() });
        }
        let reducer = Mutex::new(Reducer::default());
        self.each(model, batches.len(), &|model, index| {
            let mut gradients = GradientSum::new(model);
            let sum = self.micro_gradient(model, &batches[index], &pass, &mut gradients)?;
            lock(&reducer).add(index, StepGradient { sum, gradients: gradients.finish() });
            Ok(())
        })?;
        let reducer = reducer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(StepGradient { sum: reducer.sum, gradients: reducer.gradients })
    }

    /// Loss over micro-batches, without gradients: plain cross-entropy. `model` must not track gradients.
    ///
    /// # Errors
    /// If the model refuses a micro-batch.
    pub fn evaluate(&self, model: &CausalLm, batches: &[MicroBatch]) -> Result<LossSum> {
        let measure = |model: &CausalLm, batch: &MicroBatch| -> Result<LossSum> {
            let mut sum = LossSum { tokens: batch.targets.len() as u64, ..LossSum::default() };
            if sum.tokens > 0 {
                let hidden = self.selected_hidden(model, batch)?;
                sum.loss = scalar(model.cross_entropy_sum(hidden.clone(), &batch.targets, &batch.weights)?);
                sum.correct = count_correct(model, &hidden, &batch.targets);
            }
            Ok(sum)
        };
        let mut total = LossSum::default();
        if self.shares_operations(model, batches.len()) {
            for batch in batches {
                total.add(self.split.run(|| measure(model, batch))?);
            }
            return Ok(total);
        }
        let sums = Mutex::new(vec![LossSum::default(); batches.len()]);
        self.each(model, batches.len(), &|model, index| {
            let sum = measure(model, &batches[index])?;
            lock(&sums)[index] = sum;
            Ok(())
        })?;
        for sum in sums.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            total.add(sum);
        }
        Ok(total)
    }

    /// Whether the threads share single operations rather than take a micro-batch each. A GPU takes one after the other.
    fn shares_operations(&self, model: &CausalLm, batches: usize) -> bool {
        batches == 1 || model.config().hidden_size >= WIDE || self.device != Device::flex()
    }

    /// Calls `work` with every index below `count`, on all threads; the first error by index wins.
    fn each(&self, model: &CausalLm, count: usize, work: &(dyn Fn(&CausalLm, usize) -> Result<()> + Sync)) -> Result<()> {
        let next = AtomicUsize::new(0);
        let device = model.devices().into_iter().next().unwrap_or_else(|| self.device.clone());
        let run = |model: CausalLm| -> Result<(), (usize, TrainError)> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok(());
                }
                work(&model, index).map_err(|error| (index, error))?;
            }
        };
        let replicas: Vec<CausalLm> = (0..self.threads.clamp(1, count.max(1))).map(|_| model.clone().fork(&device)).collect();
        let mut failures: Vec<(usize, TrainError)> = std::thread::scope(|scope| {
            let workers: Vec<_> = replicas.into_iter().map(|replica| scope.spawn(|| run(replica))).collect();
            let ends = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            ends.filter_map(Result::err).collect()
        });
        failures.sort_by_key(|(index, _)| *index);
        failures.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// What goes into the first layer, `[tokens, hidden]`, with noise where that is asked for.
    pub(crate) fn embed(&self, model: &CausalLm, batch: &MicroBatch, pass: &Pass) -> Result<Tensor<2>> {
        let shape = [batch.layout.batch(), batch.layout.len()];
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(batch.tokens.clone(), shape), &self.device);
        let x = model.embed_tokens(tokens, &batch.layout)?;
        if !pass.training || self.extras.neftune_alpha == 0.0 {
            return Ok(x);
        }
        let noise = embedding_noise(batch, model.config().hidden_size, self.extras.neftune_alpha, pass.seed, &x.device());
        Ok(x + noise)
    }

    /// The dropout of a micro-batch.
    pub(crate) fn dropout(&self, batch: &MicroBatch, pass: &Pass) -> Option<Dropout> {
        let rate = self.extras.lora_dropout as f32;
        let first = batch.documents.first().copied().unwrap_or(0) as u64;
        (pass.training && rate > 0.0).then(|| Dropout { rate, seed: pass.seed ^ first.wrapping_mul(0xD6E8_FEB8_6659_FD93) })
    }

    /// Hidden states, `[selected, hidden]`, of the positions whose next token is trained; the others never reach the head.
    fn selected(&self, hidden: Tensor<2>, batch: &MicroBatch) -> Tensor<2> {
        let count = batch.selected.len();
        let index = Tensor::<1, Int>::from_data(TensorData::new(batch.selected.clone(), [count]), &self.device);
        hidden.select(0, index)
    }

    fn selected_hidden(&self, model: &CausalLm, batch: &MicroBatch) -> Result<Tensor<2>> {
        let shape = [batch.layout.batch(), batch.layout.len()];
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(batch.tokens.clone(), shape), &self.device);
        Ok(self.selected(model.forward_hidden(tokens, &batch.layout)?, batch))
    }

    /// The sum of the losses of final hidden states, as a tensor and as numbers.
    pub(crate) fn loss(&self, model: &CausalLm, hidden: Tensor<2>, batch: &MicroBatch, pass: &Pass) -> Result<(Tensor<1>, LossSum)> {
        let mut targets = Targets::plain(&batch.targets, &batch.weights);
        if pass.training {
            targets.terms = self.extras.terms;
            targets.soft = batch.soft.as_ref().filter(|_| self.extras.distill > 0.0).map(|soft| SoftTargets {
                ids: soft.ids.clone().into(),
                probabilities: soft.probabilities.clone().into(),
                top: soft.top,
                weight: self.extras.distill as f32,
            });
        }
        let loss = model.loss_sum(self.selected(hidden, batch), targets)?;
        let sum = LossSum { loss: scalar(loss.clone()), tokens: batch.targets.len() as u64, correct: 0 };
        Ok((loss, sum))
    }

    fn micro_gradient(&self, model: &CausalLm, batch: &MicroBatch, pass: &Pass, gradients: &mut GradientSum) -> Result<LossSum> {
        if self.extras.checkpointing {
            return self.checkpointed_gradient(model, batch, pass, gradients);
        }
        let dropout = self.dropout(batch, pass);
        let mut x = self.embed(model, batch, pass)?;
        for index in 0..model.layers().len() {
            x = model.layer(index, x, &batch.layout, dropout, Keep::Less);
        }
        let (loss, sum) = self.loss(model, model.finish(x), batch, pass)?;
        gradients.add(model, &mut loss.mul_scalar(pass.scale).backward());
        Ok(sum)
    }
}

/// Rows of logits that are compared at a time.
const ACCURACY_ROWS: usize = 128;

/// How many of the targets are the most probable token at their position.
fn count_correct(model: &CausalLm, hidden: &Tensor<2>, targets: &[u32]) -> u64 {
    let mut correct = 0;
    for (chunk, targets) in targets.chunks(ACCURACY_ROWS).enumerate() {
        let from = chunk * ACCURACY_ROWS;
        let logits = model.lm_head(hidden.clone().narrow(0, from, targets.len()));
        let best = logits.argmax(1).into_data();
        correct += best.iter::<i64>().zip(targets).filter(|(best, target)| *best == i64::from(**target)).count() as u64;
    }
    correct
}

fn scalar(tensor: Tensor<1>) -> f64 {
    to_vec(tensor.without_autodiff()).first().copied().map_or(f64::NAN, f64::from)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Adds gradients in the order of the micro-batches, in whatever order they arrive.
#[derive(Default)]
struct Reducer {
    next: usize,
    waiting: BTreeMap<usize, StepGradient>,
    sum: LossSum,
    gradients: Vec<Vec<f32>>,
}

impl Reducer {
    fn add(&mut self, index: usize, part: StepGradient) {
        self.waiting.insert(index, part);
        while let Some(part) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.sum.add(part.sum);
            if self.gradients.is_empty() {
                self.gradients = part.gradients;
                continue;
            }
            for (total, part) in self.gradients.iter_mut().zip(part.gradients) {
                add(total, &part);
            }
        }
    }
}
