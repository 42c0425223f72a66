//! The way in: samples and a student to a fine-tuned student.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use potstill_data::Sample;
use potstill_model::lora::save_adapter;

use crate::accelerated;
use crate::batch::MicroBatch;
use crate::config::SftConfig;
use crate::corpus::Corpus;
use crate::device;
use crate::distill::{self, DistillConfig, LOGPROBS, Vocabulary};
use crate::engine::Engine;
use crate::error::{Result, TrainError};
use crate::memory::{self, MemoryEstimate};
use crate::observe::Observer;
use crate::probe::Probe;
use crate::render::Renderer;
use crate::report::TrainReport;
use crate::rows::Document;
use crate::run::Run;
use crate::spike::SKIPPED_FILE;
use crate::student::Student;

/// Name of the training log in the output folder.
pub const LOG_FILE: &str = "training_log.jsonl";
/// Name of the adapters' folder in the output folder.
pub const ADAPTER_FOLDER: &str = "adapter";

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
    let (corpus, held_out_batches) = documents(config, &student, (samples, held_out), threads, &device)?;
    if device::is_cpu(&config.device) {
        MemoryEstimate::of_run(config, student.model.config(), corpus.longest_row(), threads).check(config, memory::available())?;
    }
    let probe = probe(config, &student, if held_out.is_empty() { samples } else { held_out }, threads)?;
    std::fs::create_dir_all(places.output).map_err(TrainError::io("cannot create", places.output))?;
    let Student { model, tokenizer, template } = student;
    // A base model's own end of text is not what ends a turn of its new template.
    let model = model.with_stop_tokens(corpus.stop_tokens(&tokenizer));
    // The GPU's own kernels take the weights from the host; whatever else computes needs them where it is.
    let accelerates = accelerated::refusal(config, model.config()).is_none();
    let device = if accelerates { Device::flex() } else { device };
    let model = match &config.lora {
        Some(lora) => model.to_device(&device).with_lora(&lora.spec(), config.seed, &device)?,
        None => model.to_device(&device),
    };
    let engine = Engine::of_run(config, device, threads)?;
    let (run, model) = Run::start(config, engine, model.train(), corpus, (held_out_batches, probe), places)?;
    let (model, report) = run.work(model, observer)?;
    let model = model.valid().to_device(&Device::flex());
    let student = finish(config, Student { model, tokenizer, template }, places)?;
    Ok((student, report))
}

/// The documents of training and of measuring, with a teacher's distributions where these are to be learned.
fn documents(
    config: &SftConfig,
    student: &Student,
    (samples, held_out): (&[Sample], &[Sample]),
    threads: usize,
    device: &Device,
) -> Result<(Corpus, Vec<MicroBatch>)> {
    let renderer = Renderer::new(&student.template);
    let mut documents = renderer.documents(&student.tokenizer, samples, threads)?;
    if let Some(distill) = &config.distill {
        add_teacher(distill, student, samples, &mut documents, config.max_length, device)?;
    }
    let corpus = Corpus::new(config, documents)?;
    check_context(config, student, &corpus)?;
    let held_out = renderer.documents(&student.tokenizer, held_out, threads)?;
    Ok((corpus, Corpus::held_out(config, held_out)?))
}

fn add_teacher(
    distill: &DistillConfig,
    student: &Student,
    samples: &[Sample],
    documents: &mut [Document],
    max_length: usize,
    device: &Device,
) -> Result<()> {
    if let Some(folder) = &distill.teacher {
        let teacher = Student::load(Path::new(folder), device)?;
        // What is longer is cut or dropped later; a teacher need not read all of it.
        let fits = documents.iter_mut().filter(|document| document.tokens.len() <= max_length);
        return distill::add_local(&teacher, student, fits, distill.top, device);
    }
    let vocabulary = Vocabulary::new(&student.tokenizer);
    let mut known = 0;
    for (sample, document) in samples.iter().zip(documents) {
        known += vocabulary.add_stored(sample, document, distill.top)?;
    }
    if known > 0 {
        return Ok(());
    }
    let limit = format!(
        "no sample has log-probabilities in its meta column {LOGPROBS} that fit the student's tokens; \
         set top_logprobs of the teacher that generates, or distill.teacher to a local model"
    );
    Err(TrainError::config("distill", "set", limit))
}

fn probe(config: &SftConfig, student: &Student, samples: &[Sample], threads: usize) -> Result<Option<Probe>> {
    config.probe.as_ref().map(|probe| Probe::new(probe, student, samples, config.seed, threads)).transpose()
}

/// Writes the student; adapters apart, and into its weights if they are to be merged.
fn finish(config: &SftConfig, mut student: Student, places: Places<'_>) -> Result<Student> {
    if let Some(lora) = &config.lora {
        save_adapter(&places.output.join(ADAPTER_FOLDER), &student.model, &lora.info())?;
        if !lora.merge {
            Student { model: student.model.clone().without_lora(), ..student.clone() }.save(places.output)?;
        }
        student.model = student.model.merge_lora();
    }
    if config.lora.as_ref().is_none_or(|lora| lora.merge) {
        student.save(places.output)?;
    }
    if let Some(work) = places.work {
        for name in [LOG_FILE, SKIPPED_FILE] {
            let (from, to) = (work.join(name), places.output.join(name));
            if from.exists() {
                std::fs::copy(&from, &to).map_err(TrainError::io("cannot write", &to))?;
            }
        }
    }
    Ok(student)
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
