//! The way in: samples and a student to a fine-tuned student.

use std::path::Path;

use burn::module::Module;
use potstill_data::Sample;

use crate::config::SftConfig;
use crate::corpus::Corpus;
use crate::device;
use crate::engine::Engine;
use crate::error::{Result, TrainError};
use crate::memory::{self, MemoryEstimate};
use crate::observe::Observer;
use crate::render::Renderer;
use crate::report::TrainReport;
use crate::run::Run;
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
    let corpus = Corpus::new(config, renderer.documents(&student.tokenizer, samples, threads)?)?;
    let held_out = renderer.documents(&student.tokenizer, held_out, threads)?;
    check_context(config, &student, &corpus)?;
    let held_out = Corpus::held_out(config, held_out)?;
    if device::is_cpu(&config.device) {
        MemoryEstimate::of_run(config, student.model.config(), corpus.longest_row(), threads).check(memory::available())?;
    }
    std::fs::create_dir_all(places.output).map_err(TrainError::io("cannot create", places.output))?;
    let model = student.model.clone().to_device(&device).train();
    let Student { tokenizer, template, .. } = student;
    let engine = Engine { device, threads };
    let (run, model) = Run::start(config, engine, model, corpus, held_out, places)?;
    let (model, report) = run.work(model, observer)?;
    let student = Student { model: model.valid(), tokenizer, template };
    student.save(places.output)?;
    if let Some(work) = places.work {
        let (from, to) = (work.join(LOG_FILE), places.output.join(LOG_FILE));
        std::fs::copy(&from, &to).map_err(TrainError::io("cannot write", &to))?;
    }
    Ok((student, report))
}

/// Refuses documents longer than what the student was made for.
fn check_context(config: &SftConfig, student: &Student, corpus: &Corpus) -> Result<()> {
    let longest = corpus.documents.iter().map(|document| document.tokens.len()).max().unwrap_or(0);
    let context = student.model.config().max_position_embeddings;
    if longest <= context {
        return Ok(());
    }
    let limit = format!("a sample has {longest} tokens and the student's context is {context}");
    Err(TrainError::config("max_length", config.max_length, limit))
}
