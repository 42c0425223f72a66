//! A run in progress: steps, measurements, checkpoints.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Device;
use potstill_model::CausalLm;

use crate::accelerated::{self, Accelerated};
use crate::adamw::{AdamW, clip_factor};
use crate::batch::{DataOrder, MicroBatch};
use crate::checkpoint::{self, Exact, State, Tensors};
use crate::config::{Batching, SftConfig};
use crate::corpus::Corpus;
use crate::device;
use crate::engine::{Engine, LossSum, StepGradient};
use crate::error::{Result, TrainError};
use crate::memory;
use crate::observe::{Log, Observer, SkipReason, TrainEvent};
use crate::optimizer::Optimizer;
use crate::params;
use crate::probe::Probe;
use crate::report::{HeldOut, TrainReport};
use crate::speed::{Flops, Pace};
use crate::spike::{Aside, SkippedStep};
use crate::trainer::{LOG_FILE, Places};

/// A run in progress. The model is handed from step to step, so that its weights are updated without a copy.
pub(crate) struct Run<'a> {
    config: &'a SftConfig,
    engine: Engine,
    /// The optimizer; its state is that of a run on the CPU.
    optimizer: Optimizer,
    /// Weights and optimizer's state of a run on an accelerator.
    accelerated: Option<Accelerated>,
    /// Why a run on a GPU has none.
    without_kernels: Option<String>,
    /// Weights at the lowest held-out loss, if they are to be kept.
    best: Option<Vec<Vec<f32>>>,
    corpus: Corpus,
    held_out: Vec<MicroBatch>,
    probe: Option<Probe>,
    order: DataOrder,
    flops: Flops,
    pace: Pace,
    aside: Aside,
    total: u64,
    state: State,
    resumed_from: Option<u64>,
    checkpoints: Option<PathBuf>,
    log: Log,
    began: Instant,
    /// The last checkpoint, or the start.
    saved: Instant,
    /// Of this process's steps.
    spent: Spent,
    /// The step of the last measurement, and what it gave.
    measured: Option<(u64, HeldOut)>,
}

#[derive(Default)]
struct Spent {
    time: Duration,
    tokens: u64,
    trained: u64,
}

impl<'a> Run<'a> {
    /// Prepares a run, from its newest checkpoint if there is one.
    pub(crate) fn start(
        config: &'a SftConfig,
        engine: Engine,
        mut model: CausalLm,
        corpus: Corpus,
        (held_out, probe): (Vec<MicroBatch>, Option<Probe>),
        places: Places<'_>,
    ) -> Result<(Self, CausalLm)> {
        let mut optimizer = Optimizer::new(config, &model);
        let mut state = State::new(config, corpus.fingerprint(optimizer.infos(), params::frozen_hash(&model)));
        let (mut best, mut resumed_from) = (None, None);
        let checkpoints = places.work.map(|work| work.join("checkpoints"));
        if let Some(folder) = &checkpoints {
            std::fs::create_dir_all(folder).map_err(TrainError::io("cannot create", folder))?;
            if let Some(newest) = checkpoint::list(folder)?.pop() {
                let loaded = checkpoint::load(&newest, optimizer.infos())?;
                check_same(&state, &loaded.state, &newest)?;
                state = State { config: config.clone(), ..loaded.state };
                resumed_from = Some(state.step);
                model = with_weights(model, &loaded.tensors.weights);
                (optimizer.moments, best) = (loaded.tensors.moments, loaded.tensors.best);
            }
        }
        let on_gpu = !device::is_cpu(&config.device);
        let without_kernels = on_gpu.then(|| accelerated::refusal(config, model.config())).flatten();
        let accelerated = if !on_gpu || without_kernels.is_some() {
            None
        } else {
            let moments = std::mem::take(&mut optimizer.moments);
            let moments = resumed_from.is_some().then_some(&moments);
            let lora = config.lora.as_ref().map(crate::lora::LoraConfig::spec);
            Some(Accelerated::new(&config.device, &model, lora.as_ref(), moments)?)
        };
        let order = DataOrder::new(corpus.rows.len(), config.batch_size, config.seed);
        let folder = places.work.unwrap_or(places.output);
        let run = Self {
            config,
            engine,
            optimizer,
            accelerated,
            without_kernels,
            best,
            held_out,
            probe,
            order: if config.batching == Batching::Length { order.grouped(corpus.row_lengths()) } else { order },
            flops: Flops::new(&model),
            pace: Pace::default(),
            aside: Aside::open(folder, state.step)?,
            total: config.total_steps(corpus.rows.len()),
            resumed_from,
            checkpoints,
            log: Log::open(&folder.join(LOG_FILE), state.log_bytes)?,
            began: Instant::now(),
            saved: Instant::now(),
            spent: Spent::default(),
            measured: None,
            state,
            corpus,
        };
        Ok((run, model))
    }

    /// Sends an event to the log and the observer.
    fn tell(&mut self, observer: &mut dyn Observer, event: &TrainEvent) -> Result<()> {
        observer.event(event);
        self.log.write(event)
    }

    /// All steps; gives back the finished model and what was done.
    pub(crate) fn work(mut self, mut model: CausalLm, observer: &mut dyn Observer) -> Result<(CausalLm, TrainReport)> {
        if self.resumed_from.is_some() {
            // The log has it already.
            observer.event(&self.started());
        } else {
            self.tell(observer, &self.started())?;
            self.state.before = self.evaluate(&model, observer)?.map(Into::into);
            self.answer(&model, observer)?;
        }
        while self.state.step < self.total && !self.out_of_patience() {
            model = self.step(model, observer)?;
            let step = self.state.step;
            let last = step == self.total;
            if !last && self.config.eval_every.is_some_and(|every| step.is_multiple_of(every)) {
                self.measure(&model, observer)?;
            }
            if !last && self.probe.as_ref().is_some_and(|probe| probe.due(step)) {
                self.answer(&model, observer)?;
            }
            let cancelled = observer.cancelled() && !last;
            if cancelled || self.time_to_save() {
                self.save(&model, observer)?;
            }
            if cancelled {
                return Err(TrainError::Cancelled { step, saved: self.checkpoints.is_some() });
            }
            if !last && self.out_of_time() {
                self.tell(observer, &TrainEvent::TimeLimit { step })?;
                break;
            }
        }
        if self.state.step < self.total && self.out_of_patience() {
            self.tell(observer, &TrainEvent::OutOfPatience { step: self.state.step })?;
        }
        self.finish(model, observer)
    }

    fn started(&self) -> TrainEvent {
        TrainEvent::Started {
            step: self.state.step,
            total_steps: self.total,
            parameters: self.parameters(),
            rows: self.corpus.rows.len(),
            tokens: self.corpus.documents.iter().map(|document| document.tokens.len() as u64).sum(),
            trained_tokens: self.corpus.documents.iter().map(|document| document.trained() as u64).sum(),
            lengths: self.corpus.counts.clone(),
            without_kernels: self.without_kernels.clone(),
        }
    }

    fn parameters(&self) -> u64 {
        self.optimizer.infos().iter().map(|param| param.size() as u64).sum()
    }

    fn out_of_patience(&self) -> bool {
        self.config.patience.is_some_and(|patience| self.state.measured_since_best >= patience)
    }

    fn time_to_save(&self) -> bool {
        let minutes = self.config.save_minutes;
        self.config.save_every.is_some_and(|every| self.state.step.is_multiple_of(every))
            || (minutes > 0.0 && self.saved.elapsed().as_secs_f64() > minutes * 60.0)
    }

    fn out_of_time(&self) -> bool {
        self.config.time_limit_minutes.is_some_and(|minutes| self.began.elapsed().as_secs_f64() > minutes * 60.0)
    }

    /// One optimizer step.
    fn step(&mut self, model: CausalLm, observer: &mut dyn Observer) -> Result<CausalLm> {
        let began = Instant::now();
        let step = self.state.step;
        let rows = self.order.step(step).to_vec();
        let batches = self.corpus.batches(&rows, self.config.micro_batch_tokens)?;
        let tokens: u64 = batches.iter().map(|batch| batch.real_tokens as u64).sum();
        let (sum, norm, gradients) = self.gradient(&model, &batches, step)?;
        self.state.step += 1;
        self.state.tokens += tokens;
        self.state.trained_tokens += sum.tokens;
        let finite = sum.loss.is_finite() && norm.is_finite();
        if !finite || self.state.norms.is_spike(norm, self.config.spike_factor) {
            self.skip(observer, &rows, if finite { SkipReason::Spike } else { SkipReason::NotFinite }, (sum.mean(), norm))?;
            return Ok(model);
        }
        self.state.skipped_in_a_row = 0;
        self.state.norms.add(norm);
        self.state.last_loss = Some(Exact(sum.mean()));
        let learning_rate = self.config.learning_rate * self.config.schedule.factor(step, self.total);
        let model = self.update(model, &gradients, learning_rate, clip_factor(norm, self.config.grad_clip))?;
        let time = began.elapsed();
        self.spent.time += time;
        self.spent.tokens += tokens;
        self.spent.trained += sum.tokens;
        let flops = self.flops.step(&batches);
        let event = self.step_event(sum, (learning_rate, norm), tokens, time, flops);
        self.tell(observer, &event)?;
        Ok(model)
    }

    fn step_event(&mut self, sum: LossSum, (rate, norm): (f64, f64), tokens: u64, time: Duration, flops: f64) -> TrainEvent {
        let seconds = time.as_secs_f64().max(1e-9);
        let tflops = flops / seconds / 1e12;
        TrainEvent::Step {
            step: self.state.step,
            epoch: self.state.step as f64 / self.order.steps_per_epoch() as f64,
            loss: sum.mean(),
            learning_rate: rate,
            grad_norm: norm,
            trained_tokens: sum.tokens,
            tokens,
            trained_tokens_per_second: sum.tokens as f64 / seconds,
            tokens_per_second: tokens as f64 / seconds,
            seconds: self.began.elapsed().as_secs_f64(),
            eta_seconds: self.pace.add(time, self.total.saturating_sub(self.state.step)),
            tflops,
            mfu: self.config.peak_tflops.map(|peak| tflops / peak),
            memory: self.accelerated.as_ref().map_or_else(memory::resident, Accelerated::memory),
        }
    }

    /// Loss and norm of the gradient; the gradient itself, unless it stays on the accelerator.
    fn gradient(&mut self, model: &CausalLm, batches: &[MicroBatch], step: u64) -> Result<(LossSum, f64, Vec<Vec<f32>>)> {
        if let Some(accelerated) = &mut self.accelerated {
            let (sum, norm) = accelerated.gradient(batches)?;
            return Ok((sum, norm, Vec::new()));
        }
        let StepGradient { sum, gradients } = self.engine.gradient(model, batches, step)?;
        let norm = self.optimizer.norm(self.engine.split(), &gradients);
        Ok((sum, norm, gradients))
    }

    fn update(&mut self, model: CausalLm, gradients: &[Vec<f32>], learning_rate: f64, scale: f64) -> Result<CausalLm> {
        if let Some(accelerated) = &mut self.accelerated {
            let step = AdamW::new(self.config, learning_rate, accelerated.time());
            accelerated.update(&step, scale, &self.optimizer.decays(self.config))?;
            self.state.updates = accelerated.time();
            return Ok(model);
        }
        let model = self.optimizer.step(self.config, self.engine.split(), model, gradients, (learning_rate, scale));
        self.state.updates = self.optimizer.moments.time;
        Ok(model)
    }

    /// The f32 values of every trained parameter.
    fn weights(&self, model: &CausalLm) -> Result<Vec<Vec<f32>>> {
        self.accelerated.as_ref().map_or_else(|| Ok(params::copy_values(model)), Accelerated::values)
    }

    fn skip(&mut self, observer: &mut dyn Observer, rows: &[usize], reason: SkipReason, (loss, norm): (f64, f64)) -> Result<()> {
        self.state.skipped += 1;
        self.state.skipped_in_a_row += 1;
        let mut samples = self.corpus.sample_ids(rows);
        let (step, skipped) = (self.state.step, self.state.skipped_in_a_row);
        let (loss, grad_norm) = (loss.to_string(), norm.to_string());
        self.aside.write(&SkippedStep {
            step,
            reason: reason.as_str().into(),
            loss: loss.clone(),
            grad_norm: grad_norm.clone(),
            samples: samples.clone(),
        })?;
        samples.truncate(8);
        let listed = samples.join(", ");
        self.tell(observer, &TrainEvent::Skipped { step, reason, loss, grad_norm, samples })?;
        if skipped > self.config.max_skipped {
            return Err(TrainError::Diverged { step, skipped, samples: listed });
        }
        Ok(())
    }

    /// Lets the student answer its prompts, if there are any.
    fn answer(&mut self, model: &CausalLm, observer: &mut dyn Observer) -> Result<()> {
        let Some(probe) = &self.probe else { return Ok(()) };
        let model = match &self.accelerated {
            Some(accelerated) => with_weights(model.valid(), &accelerated.values()?),
            None => model.valid().to_device(&Device::flex()),
        };
        let answers = probe.answers(&model, observer)?;
        let judged: Vec<bool> = answers.iter().filter_map(|answer| answer.correct).collect();
        let right = judged.iter().filter(|correct| **correct).count();
        let accuracy = (!judged.is_empty()).then(|| right as f64 / judged.len() as f64);
        self.tell(observer, &TrainEvent::Answers { step: self.state.step, accuracy, answers })
    }

    /// Measures the held-out loss, if there is anything held out.
    fn evaluate(&mut self, model: &CausalLm, observer: &mut dyn Observer) -> Result<Option<HeldOut>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let sum = match &mut self.accelerated {
            Some(accelerated) => accelerated.evaluate(&self.held_out)?,
            None => self.engine.evaluate(&model.valid(), &self.held_out)?,
        };
        let measured = HeldOut { loss: sum.mean(), token_accuracy: sum.accuracy() };
        let event = TrainEvent::Eval { step: self.state.step, loss: measured.loss, token_accuracy: measured.token_accuracy };
        self.tell(observer, &event)?;
        Ok(Some(measured))
    }

    /// Measures the held-out loss, once per step, and remembers where it was lowest.
    fn measure(&mut self, model: &CausalLm, observer: &mut dyn Observer) -> Result<Option<HeldOut>> {
        if let Some((step, held_out)) = self.measured
            && step == self.state.step
        {
            return Ok(Some(held_out));
        }
        let measured = self.evaluate(model, observer)?;
        if let Some(held_out) = measured {
            self.measured = Some((self.state.step, held_out));
            if self.state.lowest().is_none_or(|lowest| held_out.loss < lowest.held_out.loss) {
                self.state.best = Some((self.state.step, held_out.into()));
                self.state.measured_since_best = 0;
                self.best = if self.config.keep_best { Some(self.weights(model)?) } else { None };
            } else {
                self.state.measured_since_best += 1;
            }
        }
        Ok(measured)
    }

    fn save(&mut self, model: &CausalLm, observer: &mut dyn Observer) -> Result<()> {
        let Some(folder) = self.checkpoints.clone() else { return Ok(()) };
        self.state.log_bytes = self.log.length()?;
        // The moments and the best weights are lent for the time of writing.
        let (lent, best) = (std::mem::take(&mut self.optimizer.moments), self.best.take());
        let (moments, lent) = match &self.accelerated {
            Some(accelerated) => (accelerated.moments()?, Some(lent)),
            None => (lent, None),
        };
        let tensors = Tensors { weights: self.weights(model)?, moments, best };
        let saved = checkpoint::save(&folder, self.optimizer.infos(), &tensors, &self.state);
        (self.optimizer.moments, self.best) = (lent.unwrap_or(tensors.moments), tensors.best);
        checkpoint::prune(&folder, self.config.keep_last)?;
        self.saved = Instant::now();
        observer.event(&TrainEvent::Saved { step: self.state.step, path: saved? });
        Ok(())
    }

    fn finish(mut self, mut model: CausalLm, observer: &mut dyn Observer) -> Result<(CausalLm, TrainReport)> {
        let mut after = self.measure(&model, observer)?;
        if let Some(accelerated) = &self.accelerated {
            model = with_weights(model, &accelerated.values()?);
        }
        if let (Some(weights), Some(best)) = (&self.best, self.state.lowest())
            && best.step != self.state.step
        {
            model = with_weights(model, weights);
            after = Some(best.held_out);
        }
        self.answer(&model, observer)?;
        let seconds = self.spent.time.as_secs_f64();
        let rate = |tokens: u64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        let report = TrainReport {
            steps: self.state.step,
            planned_steps: self.total,
            resumed_from: self.resumed_from,
            skipped_steps: self.state.skipped,
            parameters: self.parameters(),
            rows: self.corpus.rows.len(),
            packing_fill: self.corpus.fill,
            tokens: self.state.tokens,
            trained_tokens: self.state.trained_tokens,
            last_loss: self.state.last_loss.map(|loss| loss.0),
            held_out_before: self.state.before.map(Into::into),
            held_out_after: after,
            best: self.state.lowest(),
            step_seconds: seconds,
            tokens_per_second: rate(self.spent.tokens),
            trained_tokens_per_second: rate(self.spent.trained),
            threads: self.engine.threads,
            lengths: self.corpus.counts,
        };
        Ok((model, report))
    }
}

/// The model with other values, given in its order of parameters.
fn with_weights(model: CausalLm, weights: &[Vec<f32>]) -> CausalLm {
    params::update(model, &mut |index, values| values.copy_from_slice(&weights[index]))
}

/// Refuses a checkpoint of other settings or data, naming each difference.
fn check_same(now: &State, before: &State, path: &Path) -> Result<()> {
    let mut changes = now.config.changes_since(&before.config);
    if now.data != before.data {
        changes.push("the samples, the tokenizer or the student's shape are others".into());
    }
    if changes.is_empty() { Ok(()) } else { Err(TrainError::Changed { path: path.into(), changes }) }
}
