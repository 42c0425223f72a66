//! Answers at intervals: the student writes, so that one sees it learn, and a judge may say what is right.

use potstill_data::Sample;
use potstill_model::generate::{Batching, Decoder, Decoding, Finish, Prompt, generate};
use potstill_model::{CausalLm, Storage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::observe::Observer;
use crate::render::Renderer;
use crate::student::Student;

/// When and what the student answers during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// Steps between answers; it also answers before and after training.
    pub every: u64,
    /// Prompts: the first samples that are held out, or of the training samples if none are.
    pub count: usize,
    /// Longest answer in tokens.
    pub max_new_tokens: usize,
    /// Softmax temperature; 0 always takes the most probable token.
    pub temperature: f64,
    /// The verifier that compares an answer with the final answer of the sample's own reply; without one answers are
    /// shown and not judged.
    pub verifier: Option<String>,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { every: 100, count: 4, max_new_tokens: 256, temperature: 0.0, verifier: None }
    }
}

impl ProbeConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        for (field, value) in
            [("probe.every", self.every), ("probe.count", self.count as u64), ("probe.max_new_tokens", self.max_new_tokens as u64)]
        {
            if value == 0 {
                return Err(TrainError::config(field, 0, "it must be at least 1"));
            }
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(TrainError::config("probe.temperature", self.temperature, "it must be a finite number of at least 0"));
        }
        Ok(())
    }
}

/// An answer of the student in training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The sample whose prompt it answers.
    pub sample_id: String,
    /// What it wrote.
    pub text: String,
    /// Whether it ended by itself.
    pub finished: bool,
    /// What the judge said, if there is one.
    pub correct: Option<bool>,
}

/// The prompts of a run.
#[derive(Debug)]
pub(crate) struct Probe {
    config: ProbeConfig,
    samples: Vec<Sample>,
    prompts: Vec<Prompt>,
    /// The student's tokenizer and template; its model is put in for the time of writing.
    tokenizer: potstill_model::Tokenizer,
    threads: usize,
}

impl Probe {
    /// Renders the prompts that the student's context has room for.
    pub(crate) fn new(config: &ProbeConfig, student: &Student, samples: &[Sample], seed: u64, threads: usize) -> Result<Self> {
        let renderer = Renderer::new(&student.template);
        let room = student.model.config().max_position_embeddings;
        let (mut kept, mut prompts) = (Vec::new(), Vec::new());
        for sample in samples {
            if prompts.len() == config.count {
                break;
            }
            let ids = student.tokenizer.encode(&renderer.prompt(sample)?)?;
            if ids.len() + config.max_new_tokens <= room {
                prompts.push(Prompt { ids, seed: seed.wrapping_add(prompts.len() as u64) });
                kept.push(sample.clone());
            }
        }
        Ok(Self { config: config.clone(), samples: kept, prompts, tokenizer: student.tokenizer.clone(), threads })
    }

    /// Whether it is time to answer.
    pub(crate) fn due(&self, step: u64) -> bool {
        step.is_multiple_of(self.config.every)
    }

    /// The answers to all prompts. `model` must not track gradients.
    pub(crate) fn answers(&self, model: &CausalLm, observer: &mut dyn Observer) -> Result<Vec<Answer>> {
        let decoding =
            Decoding { max_new_tokens: self.config.max_new_tokens, temperature: self.config.temperature as f32, ..Decoding::default() };
        let threads = self.threads.max(1);
        let batching = Batching { size: self.prompts.len().div_ceil(threads).clamp(1, 32), threads };
        let decoder = Decoder::new(model, self.tokenizer.clone(), None, Storage::F32)?;
        let report = generate(&decoder, &self.prompts, &decoding, batching, &|_| true)?;
        let answers = self.samples.iter().zip(report.outputs).map(|(sample, output)| Answer {
            sample_id: sample.sample_id.clone(),
            correct: observer.judge(sample, &output.text),
            finished: output.finish == Finish::Stop,
            text: output.text,
        });
        Ok(answers.collect())
    }
}
