//! `train`: a student learns from samples.

use std::path::{Path, PathBuf};

use potstill_curate::{SampleConfig, SampleMaker};
use potstill_data::{Attempt, RowReader, Sample, read_all};
use potstill_model::Device;
use potstill_pipeline::{CheckContext, Level, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use potstill_train::{Observer, Places, ScratchConfig, SftConfig, Student, TrainError, TrainEvent, device};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::joined::Joined;
use super::{curate_error, data_error};
use crate::app::App;
use crate::training::{self, Board, Judge};

/// Fine-tunes a student.
pub(crate) type Train = Joined<Own, SftConfig>;

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// The model to start from: a folder (config.json, safetensors, tokenizer.json) or a GGUF file.
    #[serde(default)]
    student: Option<String>,
    /// Start from random weights of this shape instead, with a tokenizer trained on the samples.
    #[serde(default)]
    from_scratch: Option<ScratchConfig>,
    /// Share of the samples kept from training to measure the held-out loss on, whole problems at a time.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.5))]
    held_out: f64,
    /// Write TensorBoard event files to a folder of the stage's name in this one, which is relative to the pipeline file.
    #[serde(default)]
    tensorboard: Option<String>,
}

/// The output with the trained model.
pub(crate) const MODEL: &str = "model";

impl Stage<App> for Train {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        potstill_pipeline::some_inputs(inputs, &[Port::Samples, Port::Attempts])?;
        Ok(vec![(MODEL.to_owned(), Port::Model)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        match (&self.own.student, &self.own.from_scratch) {
            (Some(_), Some(_)) => mistakes.push(
                Mistake::at("student", "a student is either loaded or made from scratch, not both")
                    .hint("leave `student` or `from_scratch` out"),
            ),
            (Some(folder), None) => mistakes.extend(cx.app.check_model("student", folder)),
            (None, Some(shape)) => mistakes.extend(shape.validate().err().map(|e| Mistake::at("from_scratch", e.to_string()))),
            // Without both, `init_from` must say where the model comes from; the run checks that.
            (None, None) => {}
        }
        mistakes.extend(self.settings.validate().err().map(|e| Mistake::at(field(&e), e.to_string())));
        mistakes.extend(device::parse(&self.settings.device).err().map(|e| Mistake::at("device", e.to_string())));
        mistakes.extend(Judge::new(&self.settings).err().map(|e| Mistake::at("probe.verifier", e.to_string())));
        let teacher = self.settings.distill.as_ref().and_then(|distill| distill.teacher.as_ref());
        mistakes.extend(teacher.and_then(|teacher| cx.app.check_model("distill.teacher", teacher)));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let mut settings = json!(self);
        // Neither speed nor bookkeeping decides the weights.
        if let Value::Object(keys) = &mut settings {
            let free = ["threads", "save_every", "keep_last", "student", "seed", "probe", "peak_tflops", "save_minutes", "tensorboard"];
            free.iter().for_each(|key| drop(keys.remove(*key)));
            // What is not set must not change the fingerprint of what was trained before the setting existed.
            keys.retain(|_, value| !value.is_null());
        }
        let hash = |path: Option<&String>| path.map(|path| content_hash(&app.model_folder(path)?)).transpose();
        let teacher = self.settings.distill.as_ref().and_then(|distill| distill.teacher.as_ref());
        if let (Some(Value::Object(distill)), Some(_)) = (settings.get_mut("distill"), teacher) {
            distill.remove("teacher");
        }
        Ok(json!({ "settings": settings, "student": hash(self.own.student.as_ref())?, "teacher": hash(teacher)? }))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        crate::app::huge_pages(true);
        let (samples, held_out) = self.samples(cx)?;
        let config = self.config(cx)?;
        let judge = Judge::new(&config).map_err(|e| StageError::config(e.to_string()))?;
        let init_seed = cx.rng_seed("init");
        let student = self.student(cx, &samples, init_seed)?;
        let marker = cx.out_file(MODEL, "config.json")?;
        let output = marker.parent().map(Path::to_owned).unwrap_or_default();
        let scratch = cx.scratch()?;
        let board = self.own.tensorboard.as_ref().map(|folder| cx.app.path(folder).join(cx.name));
        let board = Board::open(board.as_deref()).map_err(train_error)?;
        let places = Places { output: &output, work: Some(&scratch) };
        let (_, report) = potstill_train::train(&config, student, &samples, &held_out, places, &mut Watch { cx, judge, board, total: 0 })
            .map_err(train_error)?;
        let mut stats = serde_json::to_value(&report).unwrap_or_default();
        stats["start"] = self.start(init_seed, cx.app)?;
        Ok(StageResult { stats, ..StageResult::default() }.entry(MODEL, "."))
    }
}

impl Train {
    /// The settings with what the pipeline decides: seed, threads, and where files are.
    fn config(&self, cx: &StageContext<'_, App>) -> Result<SftConfig, StageError> {
        let mut config = SftConfig {
            seed: cx.rng_seed("train"),
            threads: if self.settings.threads == 0 { cx.app.threads } else { self.settings.threads },
            ..self.settings.clone()
        };
        if let Some(teacher) = config.distill.as_mut().and_then(|distill| distill.teacher.as_mut()) {
            *teacher = cx.app.model_folder(teacher)?.display().to_string();
        }
        Ok(config)
    }

    /// Where the weights came from, so that an evaluation can load the untrained student.
    fn start(&self, init_seed: u64, app: &App) -> Result<Value, StageError> {
        Ok(match (&self.own.student, &self.own.from_scratch) {
            (Some(folder), _) => json!({ "folder": app.model_folder(folder)?.display().to_string() }),
            (None, Some(_)) => json!({ "init_seed": init_seed.to_string() }),
            (None, None) => json!({ "init_from": true }),
        })
    }

    fn student(&self, cx: &StageContext<'_, App>, samples: &[Sample], init_seed: u64) -> Result<Student, StageError> {
        let cpu = Device::flex();
        match (&self.own.student, &self.own.from_scratch, &cx.init_from) {
            (Some(folder), _, None) => Student::load_to_train(&cx.app.model_folder(folder)?, &self.settings, &cpu).map_err(train_error),
            (None, Some(shape), None) => Student::from_scratch(shape, samples, init_seed, &cpu).map_err(train_error),
            (None, None, Some(input)) => {
                let folder = input.entry.clone().ok_or_else(|| StageError::failed(format!("`{}` has no model folder", input.stage)))?;
                Student::load_to_train(&folder, &self.settings, &cpu).map_err(train_error)
            }
            (None, None, None) => {
                Err(StageError::config("nothing says which student to train").hint("set `student`, `from_scratch` or `init_from`"))
            }
            _ => Err(StageError::config("`init_from` already says which student to train").hint("leave `student` and `from_scratch` out")),
        }
    }

    /// All samples, attempts turned into samples as they are, parted by problem.
    fn samples(&self, cx: &StageContext<'_, App>) -> Result<(Vec<Sample>, Vec<Sample>), StageError> {
        let mut samples: Vec<Sample> = Vec::new();
        for input in &cx.inputs {
            match input.port {
                Port::Attempts => {
                    let maker = SampleMaker::new(&SampleConfig::default()).map_err(curate_error)?;
                    for row in RowReader::<Attempt>::open(&input.files).map_err(data_error)? {
                        samples.extend(maker.sample(&row.map_err(data_error)?).ok());
                    }
                }
                _ => samples.extend(read_all::<Sample, _>(&input.files).map_err(data_error)?),
            }
        }
        if samples.is_empty() {
            let from: Vec<&str> = cx.inputs.iter().map(|i| i.stage.as_str()).collect();
            return Err(StageError::failed(format!("no samples to train on: {} gave none", from.join(", ")))
                .hint("`potstill show` tells what was dropped and why"));
        }
        let seed = cx.rng_seed("held_out");
        let aside = |sample: &Sample| {
            let rank = potstill_curate::text::seeded_rank(seed, "held_out", &sample.problem_id);
            (rank as f64 / u64::MAX as f64) < self.own.held_out
        };
        let (held_out, train): (Vec<_>, Vec<_>) = samples.into_iter().partition(aside);
        if held_out.is_empty() && self.own.held_out > 0.0 {
            cx.message(Level::Warning, "too few problems to hold any out; the held-out loss is not measured");
        }
        Ok((train, held_out))
    }
}

/// Passes a training run's events on.
struct Watch<'a, 'c> {
    cx: &'a StageContext<'c, App>,
    judge: Judge,
    board: Board,
    total: u64,
}

impl Observer for Watch<'_, '_> {
    fn event(&mut self, event: &TrainEvent) {
        if let TrainEvent::Started { total_steps, .. } = event {
            self.total = *total_steps;
        }
        self.board.write(event);
        if let TrainEvent::Step { step, .. } = event {
            self.cx.progress(*step, Some(self.total), "steps", &training::figures(event));
        }
        if let Some((warning, text)) = training::message(event, self.total) {
            self.cx.message(if warning { Level::Warning } else { Level::Info }, text);
        }
    }

    fn judge(&mut self, sample: &Sample, answer: &str) -> Option<bool> {
        self.judge.judge(sample, answer)
    }

    fn cancelled(&self) -> bool {
        self.cx.cancelled()
    }
}

/// The key that a configuration error is about.
fn field(error: &TrainError) -> String {
    match error {
        TrainError::Config { field, .. } => (*field).to_owned(),
        _ => String::new(),
    }
}

pub(crate) fn train_error(error: TrainError) -> StageError {
    let told = match &error {
        TrainError::Cancelled { .. } => StageError::cancelled(),
        TrainError::Config { .. } => StageError::config(error.to_string()),
        _ => StageError::failed(error.to_string()),
    };
    match error.hint() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// One hash over a file, or over the files of a model folder by name and content.
fn content_hash(path: &Path) -> Result<String, StageError> {
    let unreadable = |e: std::io::Error| StageError::config(format!("the model `{}` cannot be read", path.display())).caused_by(e);
    let mut files: Vec<PathBuf> = Vec::new();
    if path.is_dir() {
        for entry in path.read_dir().map_err(unreadable)? {
            files.push(entry.map_err(unreadable)?.path());
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let mut hasher = blake3::Hasher::new();
    for file in files.iter().filter(|f| f.is_file()) {
        hasher.update(file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default());
        hasher.update_reader(std::fs::File::open(file).map_err(unreadable)?).map_err(unreadable)?;
    }
    Ok(hasher.finalize().to_string())
}
