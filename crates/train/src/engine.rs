//! Gradients of a step: forward and backward over its micro-batches, on several threads.
//!
//! burn's CPU kernels use one thread each. So every thread works on its own micro-batches with its own replica of the
//! model: the weights are shared, but each replica has its own leaves in the autodiff graph, so that no two threads wait
//! for one lock. Gradients are added in the order of the micro-batches, whichever thread made them: the sum is the same,
//! bit for bit, on any number of threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use potstill_model::CausalLm;

use crate::batch::MicroBatch;
use crate::error::{Result, TrainError};
use crate::params::{take_gradients, to_vec};

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

/// Computes losses and gradients.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Where the model lives (without autodiff).
    pub device: Device,
    /// Threads on the CPU.
    pub threads: usize,
}

impl Engine {
    /// Gradient of (sum of weighted losses) ÷ (trained tokens of all micro-batches).
    ///
    /// `model` must track gradients.
    ///
    /// # Errors
    /// If the model refuses a micro-batch.
    pub fn gradient(&self, model: &CausalLm, batches: &[MicroBatch]) -> Result<StepGradient> {
        let tokens: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let scale = 1.0 / tokens.max(1) as f64;
        let reducer = Mutex::new(Reducer::default());
        self.each(model, batches.len(), &|model, index| {
            let part = self.micro_gradient(model, &batches[index], scale)?;
            lock(&reducer).add(index, part);
            Ok(())
        })?;
        let reducer = reducer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(StepGradient { sum: reducer.sum, gradients: reducer.gradients })
    }

    /// Loss over micro-batches, without gradients. `model` must not track gradients.
    ///
    /// # Errors
    /// If the model refuses a micro-batch.
    pub fn evaluate(&self, model: &CausalLm, batches: &[MicroBatch]) -> Result<LossSum> {
        let sums = Mutex::new(vec![LossSum::default(); batches.len()]);
        self.each(model, batches.len(), &|model, index| {
            let batch = &batches[index];
            let mut sum = LossSum { tokens: batch.targets.len() as u64, ..LossSum::default() };
            if sum.tokens > 0 {
                let hidden = self.selected_hidden(model, batch)?;
                sum.loss = scalar(model.cross_entropy_sum(hidden.clone(), &batch.targets, &batch.weights)?);
                sum.correct = count_correct(model, &hidden, &batch.targets);
            }
            lock(&sums)[index] = sum;
            Ok(())
        })?;
        let mut total = LossSum::default();
        for sum in sums.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            total.add(sum);
        }
        Ok(total)
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

    /// Hidden states, `[selected, hidden]`, of the positions whose next token is trained; the others never reach the head.
    fn selected_hidden(&self, model: &CausalLm, batch: &MicroBatch) -> Result<Tensor<2>> {
        let shape = [batch.layout.batch(), batch.layout.len()];
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(batch.tokens.clone(), shape), &self.device);
        let hidden = model.forward_hidden(tokens, &batch.layout)?;
        let count = batch.selected.len();
        let index = Tensor::<1, Int>::from_data(TensorData::new(batch.selected.clone(), [count]), &self.device);
        Ok(hidden.select(0, index))
    }

    fn micro_gradient(&self, model: &CausalLm, batch: &MicroBatch, scale: f64) -> Result<StepGradient> {
        let hidden = self.selected_hidden(model, batch)?;
        let loss = model.cross_entropy_sum(hidden, &batch.targets, &batch.weights)?;
        let sum = LossSum { loss: scalar(loss.clone()), tokens: batch.targets.len() as u64, correct: 0 };
        let gradients = take_gradients(model, loss.mul_scalar(scale).backward());
        Ok(StepGradient { sum, gradients })
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
                for (total, part) in total.iter_mut().zip(part) {
                    *total += part;
                }
            }
        }
    }
}
