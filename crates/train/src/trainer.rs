//! The training loop.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::module::Module;
use potstill_data::Sample;
use potstill_model::CausalLm;

use crate::adamw::{AdamW, Moments, clip_factor, global_norm};
use crate::batch::{Arrangement, DataOrder, MicroBatch, micro_batches};
use crate::checkpoint::{self, State};
use crate::config::SftConfig;
use crate::device;
use crate::engine::{Engine, LossSum, StepGradient};
use crate::error::{Result, TrainError};
use crate::memory::{self, MemoryEstimate};
use crate::observe::{Log, Observer, TrainEvent};
use crate::params::{self, ParamInfo};
use crate::render::Renderer;
use crate::report::{HeldOut, TrainReport};
use crate::rows::{Document, LengthCounts, Row, fill, fit_length, one_per_row, pack};
use crate::student::Student;

/// Name of the training log in the output folder.
pub const LOG_FILE: &str = "training_log.jsonl";

/// Where a run writes.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Folder of the finished student (created): Hugging Face files and `training_log.jsonl`.
    pub output: &'a Path,
    /// Folder of the run's checkpoints and growing log; a run that finds a checkpoint there goes on from it. Without it
    /// nothing is kept of an interrupted run.
    pub work: Option<&'a Path>,
}

/// Fine-tunes `student` on `samples` and writes it to `places.output`.
///
/// `held_out` is only measured on. The same config, samples and student give the same weights on the CPU, bit for bit,
/// on any number of threads and with any interruptions in between.
///
/// # Errors
/// See [`TrainError`]; a cancelled run is [`TrainError::Cancelled`].
pub fn train(
    config: &SftConfig,
    student: Student,
    samples: &[Sample],
    held_out: &[Sample],
    places: Places<'_>,
    observer: &mut dyn Observer,
) -> Result<(Student, TrainReport)> {
    config.validate()?;
    let device = device::parse(&config.device)?;
    let threads = if device::is_cpu(&config.device) { config.thread_count() } else { 1 };
    let renderer = Renderer::new(&student.template);
    let data = Data::new(config, renderer.documents(&student.tokenizer, samples, threads)?)?;
    let held_out = Data::held_out(config, renderer.documents(&student.tokenizer, held_out, threads)?)?;
    MemoryEstimate::of_run(config, student.model.config(), data.longest_row(), threads).check(memory::available())?;
    std::fs::create_dir_all(places.output).map_err(TrainError::io("cannot create", places.output))?;
    let model = student.model.clone().to_device(&device).train();
    let Student { tokenizer, template, .. } = student;
    let engine = Engine { device, threads };
    let (mut run, model) = Run::start(config, engine, model, data, held_out, places)?;
    let model = run.work(model, observer)?;
    let report = run.finish(&model, observer)?;
    let student = Student { model: model.valid(), tokenizer, template };
    student.save(places.output)?;
    if let Some(work) = places.work {
        let (from, to) = (work.join(LOG_FILE), places.output.join(LOG_FILE));
        std::fs::copy(&from, &to).map_err(TrainError::io("cannot write", &to))?;
    }
    Ok((student, report))
}

/// The documents of a run and the rows they form.
struct Data {
    documents: Vec<Document>,
    rows: Vec<Row>,
    counts: LengthCounts,
    fill: Option<f64>,
    arrangement: Arrangement,
}

impl Data {
    fn new(config: &SftConfig, documents: Vec<Document>) -> Result<Self> {
        let data = Self::fit(config, documents);
        if data.documents.is_empty() {
            let counts = &data.counts;
            return Err(TrainError::Empty {
                reason: format!(
                    "of {} samples, {} are longer than max_length = {} tokens and {} have no trained token",
                    counts.samples, counts.dropped_over_long, config.max_length, counts.dropped_untrained
                ),
            });
        }
        Ok(data)
    }

    fn fit(config: &SftConfig, documents: Vec<Document>) -> Self {
        let (documents, counts) = fit_length(documents, config.max_length, config.over_long);
        let lengths: Vec<usize> = documents.iter().map(|document| document.tokens.len()).collect();
        let (rows, fill) = if config.packing {
            let rows = pack(&lengths, config.max_length);
            let fill = fill(&lengths, rows.len(), config.max_length);
            (rows, Some(fill))
        } else {
            (one_per_row(&documents), None)
        };
        let arrangement = if device::is_cpu(&config.device) { Arrangement::Flat } else { Arrangement::Rows(config.max_length) };
        Self { documents, rows, counts, fill, arrangement }
    }

    /// Held-out documents as micro-batches: over-long ones are truncated, so that the measure has the same meaning
    /// whatever the policy.
    fn held_out(config: &SftConfig, documents: Vec<Document>) -> Result<Vec<MicroBatch>> {
        let config = SftConfig { over_long: crate::config::OverLong::Truncate, packing: false, ..config.clone() };
        let data = Self::fit(&config, documents);
        let all: Vec<usize> = (0..data.rows.len()).collect();
        data.batches(&all, config.micro_batch_tokens)
    }

    fn batches(&self, step: &[usize], budget: usize) -> Result<Vec<MicroBatch>> {
        micro_batches(step, &self.rows, &self.documents, budget, self.arrangement)
    }

    /// Tokens of the longest row.
    fn longest_row(&self) -> usize {
        let length = |row: &Row| row.iter().map(|&index| self.documents[index].tokens.len()).sum();
        self.rows.iter().map(length).max().unwrap_or(0)
    }

    /// Hash of everything that the weights depend on besides the settings.
    fn fingerprint(&self, params: &[ParamInfo]) -> String {
        let mut hash = blake3::Hasher::new();
        for document in &self.documents {
            hash.update(&(document.tokens.len() as u64).to_le_bytes());
            for (token, weight) in document.tokens.iter().zip(&document.weights) {
                hash.update(&token.to_le_bytes());
                hash.update(&weight.to_le_bytes());
            }
        }
        for param in params {
            hash.update(format!("{}{:?}", param.name, param.shape).as_bytes());
        }
        hash.finalize().to_hex().to_string()
    }

    /// Ids of the samples of a step, each once, at most eight.
    fn sample_ids(&self, step: &[usize]) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for &index in step.iter().flat_map(|&row| &self.rows[row]) {
            let id = &self.documents[index].sample_id;
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids.truncate(8);
        ids
    }
}

/// A run in progress.
struct Run<'a> {
    config: &'a SftConfig,
    engine: Engine,
    params: Vec<ParamInfo>,
    moments: Moments,
    data: Data,
    held_out: Vec<MicroBatch>,
    order: DataOrder,
    total: u64,
    state: State,
    resumed_from: Option<u64>,
    checkpoints: Option<PathBuf>,
    log: Log,
    began: Instant,
    /// Of this process's steps.
    spent: Spent,
    before: Option<HeldOut>,
    last_loss: Option<f64>,
}

#[derive(Default)]
struct Spent {
    time: Duration,
    tokens: u64,
    trained: u64,
}

impl<'a> Run<'a> {
    fn start(
        config: &'a SftConfig,
        engine: Engine,
        model: CausalLm,
        data: Data,
        held_out: Vec<MicroBatch>,
        places: Places<'_>,
    ) -> Result<(Self, CausalLm)> {
        let params = params::describe(&model);
        let sizes: Vec<usize> = params.iter().map(ParamInfo::size).collect();
        let state = State {
            step: 0,
            updates: 0,
            skipped_in_a_row: 0,
            skipped: 0,
            trained_tokens: 0,
            tokens: 0,
            before: None,
            log_bytes: 0,
            data: data.fingerprint(&params),
            config: config.clone(),
        };
        let checkpoints = places.work.map(|work| work.join("checkpoints"));
        if let Some(folder) = &checkpoints {
            std::fs::create_dir_all(folder).map_err(TrainError::io("cannot create", folder))?;
        }
        let order = DataOrder::new(data.rows.len(), config.batch_size, config.seed);
        let total = config.total_steps(data.rows.len());
        let log_path = places.work.unwrap_or(places.output).join(LOG_FILE);
        let found = match &checkpoints {
            Some(folder) => checkpoint::list(folder)?.pop().map(|path| checkpoint::load(&path, &params)).transpose()?,
            None => None,
        };
        let (state, moments, model, resumed_from) = match found {
            Some(loaded) => {
                check_same(&state, &loaded.state, &loaded.path)?;
                let mut weights = loaded.weights;
                let model = params::update(model, &mut |index, values| values.copy_from_slice(&std::mem::take(&mut weights[index])));
                let step = loaded.state.step;
                (State { config: config.clone(), ..loaded.state }, loaded.moments, model, Some(step))
            }
            None => (state, Moments::zeros(&sizes), model, None),
        };
        let run = Self {
            config,
            engine,
            params,
            moments,
            held_out,
            order,
            total,
            resumed_from,
            checkpoints,
            log: Log::open(&log_path, state.log_bytes)?,
            began: Instant::now(),
            spent: Spent::default(),
            before: state.before,
            last_loss: None,
            state,
            data,
        };
        Ok((run, model))
    }

    /// Sends an event to the log and the observer.
    fn tell(&mut self, observer: &mut dyn Observer, event: &TrainEvent) -> Result<()> {
        observer.event(event);
        self.log.write(event)
    }

    /// All steps.
    fn work(&mut self, mut model: CausalLm, observer: &mut dyn Observer) -> Result<CausalLm> {
        if self.resumed_from.is_none() {
            let started = TrainEvent::Started {
                step: 0,
                total_steps: self.total,
                parameters: self.params.iter().map(|param| param.size() as u64).sum(),
                rows: self.data.rows.len(),
                tokens: self.data.documents.iter().map(|document| document.tokens.len() as u64).sum(),
                trained_tokens: self.data.documents.iter().map(|document| document.trained() as u64).sum(),
            };
            self.tell(observer, &started)?;
            self.before = self.evaluate(&model, observer)?;
            self.state.before = self.before;
        }
        while self.state.step < self.total {
            model = self.step(model, observer)?;
            let step = self.state.step;
            let last = step == self.total;
            if !last && self.config.eval_every.is_some_and(|every| step % every == 0) {
                self.evaluate(&model, observer)?;
            }
            let stopped = observer.cancelled() && !last;
            if stopped || self.config.save_every.is_some_and(|every| step % every == 0) {
                self.save(&model, observer)?;
            }
            if stopped {
                return Err(TrainError::Cancelled { step, saved: self.checkpoints.is_some() });
            }
            let limit = self.config.time_limit_minutes;
            if !last && limit.is_some_and(|minutes| self.began.elapsed().as_secs_f64() > minutes * 60.0) {
                self.tell(observer, &TrainEvent::TimeLimit { step })?;
                break;
            }
        }
        Ok(model)
    }

    /// One optimizer step.
    fn step(&mut self, model: CausalLm, observer: &mut dyn Observer) -> Result<CausalLm> {
        let began = Instant::now();
        let step = self.state.step;
        let rows = self.order.step(step).to_vec();
        let batches = self.data.batches(&rows, self.config.micro_batch_tokens)?;
        let tokens: u64 = batches.iter().map(|batch| batch.real_tokens as u64).sum();
        let StepGradient { sum, gradients } = self.engine.gradient(&model, &batches)?;
        let norm = global_norm(&gradients);
        self.state.step += 1;
        self.state.tokens += tokens;
        self.state.trained_tokens += sum.tokens;
        if !(sum.loss.is_finite() && norm.is_finite()) {
            self.skip(observer, &rows, sum.mean(), norm)?;
            return Ok(model);
        }
        self.state.skipped_in_a_row = 0;
        let learning_rate = self.config.learning_rate * self.config.schedule.factor(step, self.total);
        let model = self.update(model, &gradients, learning_rate, clip_factor(norm, self.config.grad_clip));
        self.last_loss = Some(sum.mean());
        let time = began.elapsed();
        self.spent.time += time;
        self.spent.tokens += tokens;
        self.spent.trained += sum.tokens;
        let event = self.step_event(sum, learning_rate, norm, tokens, time);
        self.tell(observer, &event)?;
        Ok(model)
    }

    fn step_event(&self, sum: LossSum, learning_rate: f64, grad_norm: f64, tokens: u64, time: Duration) -> TrainEvent {
        let seconds = time.as_secs_f64().max(1e-9);
        TrainEvent::Step {
            step: self.state.step,
            epoch: self.state.step as f64 / self.order.steps_per_epoch() as f64,
            loss: sum.mean(),
            learning_rate,
            grad_norm,
            trained_tokens: sum.tokens,
            tokens,
            trained_tokens_per_second: sum.tokens as f64 / seconds,
            tokens_per_second: tokens as f64 / seconds,
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }

    fn update(&mut self, model: CausalLm, gradients: &[Vec<f32>], learning_rate: f64, scale: f64) -> CausalLm {
        let optimizer = AdamW::new(self.config, learning_rate, self.moments.time);
        let (moments, infos) = (&mut self.moments, &self.params);
        let model = params::update(model, &mut |index, values| {
            let (first, second) = (&mut moments.first[index], &mut moments.second[index]);
            optimizer.update(values, &gradients[index], first, second, scale as f32, infos[index].decay);
        });
        self.moments.time += 1;
        self.state.updates = self.moments.time;
        model
    }

    fn skip(&mut self, observer: &mut dyn Observer, rows: &[usize], loss: f64, norm: f64) -> Result<()> {
        self.state.skipped += 1;
        self.state.skipped_in_a_row += 1;
        let samples = self.data.sample_ids(rows);
        let (step, skipped) = (self.state.step, self.state.skipped_in_a_row);
        let listed = samples.join(", ");
        self.tell(observer, &TrainEvent::Skipped { step, loss: loss.to_string(), grad_norm: norm.to_string(), samples })?;
        if skipped > self.config.max_skipped {
            return Err(TrainError::Diverged { step, skipped, samples: listed });
        }
        Ok(())
    }

    /// Measures the held-out loss, if there is anything held out.
    fn evaluate(&mut self, model: &CausalLm, observer: &mut dyn Observer) -> Result<Option<HeldOut>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let sum = self.engine.evaluate(&model.valid(), &self.held_out)?;
        let measured = HeldOut { loss: sum.mean(), token_accuracy: sum.accuracy() };
        let event = TrainEvent::Eval { step: self.state.step, loss: measured.loss, token_accuracy: measured.token_accuracy };
        self.tell(observer, &event)?;
        Ok(Some(measured))
    }

    fn save(&mut self, model: &CausalLm, observer: &mut dyn Observer) -> Result<()> {
        let Some(folder) = self.checkpoints.clone() else { return Ok(()) };
        self.state.log_bytes = self.log.length()?;
        let weights = params::copy_values(model);
        let path = checkpoint::save(&folder, &self.params, &weights, &self.moments, &self.state)?;
        checkpoint::prune(&folder, self.config.keep_last)?;
        observer.event(&TrainEvent::Saved { step: self.state.step, path });
        Ok(())
    }

    fn finish(&mut self, model: &CausalLm, observer: &mut dyn Observer) -> Result<TrainReport> {
        let after = self.evaluate(model, observer)?;
        let seconds = self.spent.time.as_secs_f64();
        let rate = |tokens: u64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        Ok(TrainReport {
            steps: self.state.step,
            planned_steps: self.total,
            resumed_from: self.resumed_from,
            skipped_steps: self.state.skipped,
            parameters: self.params.iter().map(|param| param.size() as u64).sum(),
            lengths: self.data.counts.clone(),
            rows: self.data.rows.len(),
            packing_fill: self.data.fill,
            tokens: self.state.tokens,
            trained_tokens: self.state.trained_tokens,
            last_loss: self.last_loss,
            held_out_before: self.before,
            held_out_after: after,
            step_seconds: seconds,
            tokens_per_second: rate(self.spent.tokens),
            trained_tokens_per_second: rate(self.spent.trained),
            threads: self.engine.threads,
        })
    }
}

/// Refuses a checkpoint of other settings or data, naming each difference.
fn check_same(now: &State, before: &State, path: &Path) -> Result<()> {
    let mut changes = now.config.changes_since(&before.config);
    if now.data != before.data {
        changes.push("the samples, the tokenizer or the student's shape are others".into());
    }
    if changes.is_empty() { Ok(()) } else { Err(TrainError::Changed { path: path.into(), changes }) }
}
