//! Getting attempts out of a student, trained or not, and out of teachers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use potstill_curate::text::apart;
use potstill_data::{Attempt, Problem};
use potstill_generate::Sampling;
use potstill_generate::driver::{Prompt, RunOptions};
use potstill_model::generate::{Batching, Decoder, Decoding, Finish, Generated, Progress, generate};
use potstill_model::{CausalLm, ChatMessage, RenderOptions};
use potstill_pipeline::{Input, StageContext, StageError};
use potstill_train::Student;
use serde_json::{Value, json};

use super::super::rows::parallel;
use super::super::train::train_error;
use super::{Eval, Graders, device_of};
use crate::app::App;
use crate::asking::Asking;

/// Which weights to evaluate.
pub(super) enum Weights {
    /// As they lie in a folder.
    Folder(PathBuf),
    /// Drawn anew for the model in the folder, by the seed that training began with.
    Drawn(PathBuf, u64),
}

/// The trained model.
pub(super) fn trained(model: &Input) -> Result<Weights, StageError> {
    let folder = model.entry.clone().ok_or_else(|| StageError::failed(format!("`{}` has no model folder", model.stage)))?;
    Ok(Weights::Folder(folder))
}

/// The model as it was before training; `None` where it came from another stage.
pub(super) fn untrained(model: &Input) -> Result<Option<Weights>, StageError> {
    let start = &model.artifact.manifest.stats["start"];
    if let Some(folder) = start["folder"].as_str() {
        return Ok(Some(Weights::Folder(PathBuf::from(folder))));
    }
    let Some(seed) = start["init_seed"].as_str() else { return Ok(None) };
    let wrong = |e: std::num::ParseIntError| StageError::failed("the manifest's `init_seed` is no number").caused_by(e);
    let seed = seed.parse().map_err(wrong)?;
    match trained(model)? {
        Weights::Folder(folder) => Ok(Some(Weights::Drawn(folder, seed))),
        drawn @ Weights::Drawn(..) => Ok(Some(drawn)),
    }
}

/// Solves one list of problems with whatever is to be scored.
pub(super) struct Solver<'a> {
    eval: &'a Eval,
    cx: &'a StageContext<'a, App>,
    graders: &'a Graders,
    problems: &'a [Problem],
    system: Option<String>,
}

impl<'a> Solver<'a> {
    pub(super) fn new(
        eval: &'a Eval,
        cx: &'a StageContext<'a, App>,
        graders: &'a Graders,
        problems: &'a [Problem],
    ) -> Result<Self, StageError> {
        let system = eval.system_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?;
        Ok(Self { eval, cx, graders, problems, system })
    }

    /// The student's graded attempts, and how fast it decoded.
    pub(super) fn student(&self, weights: &Weights, name: &str) -> Result<(Vec<Attempt>, Value), StageError> {
        let student = self.load(weights)?;
        let prompts = self.prompts(&student)?;
        let decoding = self.decoding(&student);
        let total = prompts.len() as u64;
        let progress = |now: Progress| {
            self.cx.progress(now.finished as u64, Some(total), "replies", &[("new_tokens", now.new_tokens as f64)]);
            !self.cx.cancelled()
        };
        let decoder = Decoder::new(&student.model, student.tokenizer.clone(), None, self.eval.storage).map_err(model_error)?;
        let batching = Batching { size: self.eval.batch_size, threads: self.cx.app.threads };
        let report = generate(&decoder, &prompts, &decoding, batching, &progress).map_err(model_error)?;
        self.cx.check_cancelled()?;
        let speed = json!({ "new_tokens": report.new_tokens, "tokens_per_second": report.new_tokens as f64 / report.seconds.max(1e-9) });
        let mut attempts = Vec::new();
        for (at, output) in report.outputs.iter().enumerate() {
            let prompt_tokens = u32::try_from(prompts[at].ids.len()).ok();
            attempts.push(self.attempt(at, name, &student, output, prompt_tokens)?);
        }
        Ok((self.graded(attempts)?, speed))
    }

    fn load(&self, weights: &Weights) -> Result<Student, StageError> {
        let device = device_of(&self.eval.device)?;
        match weights {
            Weights::Folder(folder) => load(folder, &device),
            Weights::Drawn(folder, seed) => {
                let student = load(folder, &device)?;
                let model = CausalLm::init(student.model.config(), *seed, &device).map_err(model_error)?;
                Ok(Student { model, ..student })
            }
        }
    }

    fn prompts(&self, student: &Student) -> Result<Vec<potstill_model::generate::Prompt>, StageError> {
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        let mut prompts = Vec::new();
        for problem in self.problems {
            let system = self.system.iter().map(|text| ChatMessage { role: "system".to_owned(), content: text.clone(), reasoning: None });
            let user = ChatMessage { role: "user".to_owned(), content: problem.prompt.clone(), reasoning: None };
            let messages: Vec<ChatMessage> = system.chain([user]).collect();
            let text = student.template.render(&messages, &options).map_err(model_error)?;
            let ids = student.tokenizer.encode(&text).map_err(model_error)?;
            for sample in 0..self.eval.samples {
                let seed = self.cx.rng_seed(&format!("eval/{}/{sample}", problem.problem_id));
                prompts.push(potstill_model::generate::Prompt { ids: ids.clone(), seed });
            }
        }
        Ok(prompts)
    }

    fn decoding(&self, student: &Student) -> Decoding {
        Decoding {
            max_new_tokens: self.eval.max_new_tokens,
            temperature: self.eval.temperature,
            top_p: self.eval.top_p,
            stop_ids: student.model.config().eos_token_ids.clone(),
            thinking: self.eval.thinking.clone(),
            ..Decoding::default()
        }
    }

    fn attempt(
        &self,
        at: usize,
        name: &str,
        student: &Student,
        output: &Generated,
        prompt_tokens: Option<u32>,
    ) -> Result<Attempt, StageError> {
        let samples = self.eval.samples as usize;
        // With special tokens, because the marks of thinking are among them.
        let text = student.tokenizer.decode(&output.ids, false).map_err(model_error)?;
        let (reasoning, response) = apart(None, &text);
        let truncated = output.finish == Finish::Length;
        Ok(Attempt {
            problem: self.problems[at / samples].clone(),
            sample_index: u32::try_from(at % samples).unwrap_or(u32::MAX),
            teacher: name.to_owned(),
            reasoning,
            response,
            finish_reason: if truncated { "length" } else { "stop" }.to_owned(),
            truncated,
            prompt_tokens,
            completion_tokens: u32::try_from(output.ids.len()).ok(),
            ..Attempt::default()
        })
    }

    fn graded(&self, attempts: Vec<Attempt>) -> Result<Vec<Attempt>, StageError> {
        parallel(attempts, self.cx.app.threads, &|attempt| self.graders.grade(attempt)).into_iter().collect()
    }

    /// One graded attempt of a teacher at each problem.
    pub(super) fn teacher(&self, name: &str) -> Result<Vec<Attempt>, StageError> {
        let sampling = Sampling {
            seed: Some(self.cx.rng_seed("eval")),
            max_tokens: u32::try_from(self.eval.max_new_tokens).unwrap_or(u32::MAX),
            ..Sampling::default()
        };
        let options = RunOptions { sampling, ..RunOptions::default() };
        let mut asking = Asking::new(self.cx, name, options)?;
        let prompt = Prompt::new(self.system.clone(), None).map_err(|e| StageError::config(e.to_string()))?;
        let mut attempts: BTreeMap<String, Attempt> = BTreeMap::new();
        let asks = self.problems.iter().map(|problem| Ok(prompt.ask(problem.clone())));
        let mut sink = |attempt: Attempt| {
            attempts.insert(attempt.problem.problem_id.clone(), attempt);
            Ok(())
        };
        asking.rows(asks, &mut sink)?;
        asking.finish()?;
        // A problem without an answer counts against the teacher, as it does for a student.
        let silent = |problem: &Problem| Attempt {
            problem: problem.clone(),
            teacher: name.to_owned(),
            finish_reason: "error".to_owned(),
            ..Attempt::default()
        };
        let all = self.problems.iter().map(|p| attempts.remove(&p.problem_id).unwrap_or_else(|| silent(p))).collect();
        self.graded(all)
    }
}

fn load(folder: &Path, device: &burn::tensor::Device) -> Result<Student, StageError> {
    Student::load(folder, device).map_err(train_error)
}

fn model_error(error: potstill_model::Error) -> StageError {
    train_error(error.into())
}
