//! `eval`: a student solves problems that it was not trained on; its untrained self and teachers beside it.

mod score;
mod solve;

use std::collections::BTreeSet;

use potstill_curate::Keyed;
use potstill_curate::text::{normalise, text_key};
use potstill_data::source::{Source, SourceSpec};
use potstill_data::{Attempt, MetaFields, Problem, RowReader, RowWriter, Sample, read_all};
use potstill_model::{Storage, ThinkingBudget};
use potstill_pipeline::{Artifact, CheckContext, Input, Level, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use potstill_train::device;
use potstill_verify::VerifyOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data_error;
use super::rows::{PART, ROWS};
use super::verify::Graders;
use crate::app::App;

/// Evaluates a model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Eval {
    /// A dataset manifest with the problems; without it they come from an input.
    #[serde(default)]
    benchmark: Option<String>,
    /// At most so many problems, the first ones.
    #[serde(default)]
    limit: Option<u64>,
    /// Attempts at each problem. More than one need a `temperature`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    samples: u32,
    /// 0 decodes greedily.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10.0))]
    temperature: f32,
    /// Nucleus sampling: the share of probability mass to draw from.
    #[serde(default = "whole")]
    #[schemars(range(min = 0.0, max = 1.0))]
    top_p: f32,
    /// Tokens of a reply at most.
    #[serde(default = "max_new_tokens")]
    #[schemars(range(min = 1))]
    max_new_tokens: usize,
    /// Bounds on the student's thinking before its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingBudget>,
    /// How the student's weights are kept while it decodes on the CPU: bf16 and int8 are faster, f32 is exact.
    #[serde(default, skip_serializing_if = "is_exact")]
    storage: Storage,
    /// Prompts decoded together.
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1))]
    batch_size: usize,
    /// Also score the student as it was before training.
    #[serde(default)]
    baseline: bool,
    /// Also score these teachers, one attempt at each problem.
    #[serde(default)]
    teachers: Vec<String>,
    /// A text file with the system turn; the one that the student was trained with.
    #[serde(default)]
    system_prompt: Option<String>,
    /// The verifier for all problems; without it each problem's own.
    #[serde(default)]
    verifier: Option<String>,
    /// Policies of the verifier.
    #[serde(default)]
    options: VerifyOptions,
    /// `cpu` or `cuda:N`.
    #[serde(default = "cpu")]
    device: String,
}

fn one() -> u32 {
    1
}
fn whole() -> f32 {
    1.0
}
fn max_new_tokens() -> usize {
    1024
}
fn batch_size() -> usize {
    64
}
fn cpu() -> String {
    "cpu".to_owned()
}
fn is_exact(storage: &Storage) -> bool {
    *storage == Storage::F32
}

/// The output with the attempts of the untrained student and of teachers.
const BASELINES: &str = "baselines";

impl Stage<App> for Eval {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let models = inputs.iter().filter(|port| **port == Port::Model).count();
        if models != 1 {
            return Err(PortError::number(format!("evaluates one model, found {models} among its inputs")));
        }
        if let Some(at) = inputs.iter().position(|port| !matches!(port, Port::Model | Port::Problems)) {
            return Err(PortError::wrong(at, inputs[at], &[Port::Model, Port::Problems]));
        }
        if (inputs.len() == 1) == self.benchmark.is_none() {
            let found = if self.benchmark.is_some() { "both" } else { "neither" };
            return Err(PortError::number(format!("takes its problems from an input or from `benchmark`, found {found}")));
        }
        Ok(vec![(ROWS.to_owned(), Port::Attempts), (BASELINES.to_owned(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = self.benchmark.iter().filter_map(|file| cx.app.check_file("benchmark", file)).collect();
        mistakes.extend(self.system_prompt.iter().filter_map(|file| cx.app.check_file("system_prompt", file)));
        mistakes.extend(self.teachers.iter().enumerate().filter_map(|(at, name)| cx.app.check_teacher(&format!("teachers.{at}"), name)));
        mistakes.extend(device::parse(&self.device).err().map(|e| Mistake::at("device", e.to_string())));
        if self.samples > 1 && self.temperature == 0.0 {
            mistakes.push(
                Mistake::at("samples", format!("{} greedy attempts are all the same", self.samples))
                    .hint("set `temperature`, or `samples = 1`"),
            );
        }
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let texts = crate::app::prompt_texts(app, &[("system_prompt", self.system_prompt.as_ref())])?;
        let benchmark = self.benchmark().map(|spec| app.dataset_identity(&spec)).transpose()?;
        let teachers = self.teachers.iter().map(|name| app.teacher(name)?.identity(app)).collect::<Result<Vec<_>, StageError>>()?;
        let mut settings = json!(self);
        if let Value::Object(keys) = &mut settings {
            ["batch_size", "system_prompt", "benchmark", "teachers"].iter().for_each(|key| drop(keys.remove(*key)));
        }
        Ok(json!({ "settings": settings, "prompts": texts, "benchmark": benchmark, "teachers": teachers }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        self.benchmark().map_or(Ok(()), |spec| app.ensure_dataset(&spec))?;
        self.teachers.iter().try_for_each(|name| app.generator(name).map(drop))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        crate::app::huge_pages(true);
        let (problems, benchmark) = self.problems(cx)?;
        let model =
            cx.inputs.iter().find(|input| input.port == Port::Model).ok_or_else(|| StageError::config("no model among the inputs"))?;
        let disjoint = disjoint(cx, model, &problems)?;
        let graders = Graders::new(self.verifier.as_deref(), &self.options)?;
        let mut evals = Vec::new();
        let solver = solve::Solver::new(self, cx, &graders, &problems)?;
        let (student, speed) = solver.student(&solve::trained(model)?, &model.stage)?;
        evals.extend(score::evals(&model.stage, &benchmark, false, &student, self.samples));
        let mut baselines = Vec::new();
        if self.baseline {
            if let Some(untrained) = solve::untrained(model)? {
                let (attempts, _) = solver.student(&untrained, "untrained")?;
                evals.extend(score::evals(&format!("{} before training", model.stage), &benchmark, true, &attempts, self.samples));
                baselines.push(attempts);
            } else {
                cx.message(
                    Level::Warning,
                    format!("`{}` started from another stage's model; evaluate that one for a baseline", model.stage),
                );
            }
        }
        for name in &self.teachers {
            let attempts = solver.teacher(name)?;
            evals.extend(score::evals(&format!("teacher {name}"), &benchmark, true, &attempts, 1));
            baselines.push(attempts);
        }
        let meta = MetaFields::of_rows(problems.iter().map(|p| &p.meta));
        let rows = write(cx, ROWS, &meta, student.into_iter())?;
        let base_rows = write(cx, BASELINES, &meta, renumbered(baselines).into_iter())?;
        let stats = json!({ "problems": problems.len(), "disjoint_from_training": disjoint, "decoding": speed });
        Ok(StageResult { stats, evals, ..StageResult::default() }.rows(ROWS, rows).rows(BASELINES, base_rows))
    }
}

impl Eval {
    /// The problems with the benchmark's name.
    /// The dataset with the problems, where they do not come from an input.
    fn benchmark(&self) -> Option<SourceSpec> {
        let dataset = Some(self.benchmark.as_ref()?.into());
        Some(SourceSpec { dataset, limit: self.limit, ..SourceSpec::default() })
    }

    fn problems(&self, cx: &StageContext<'_, App>) -> Result<(Vec<Problem>, String), StageError> {
        let limit = self.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let (mut problems, name) = match self.benchmark() {
            Some(spec) => {
                let mut source = Source::open(&spec, cx.app.base()).map_err(data_error)?;
                let problems = source.problems().collect::<Result<Vec<_>, _>>().map_err(data_error)?;
                let name = problems.first().map_or_else(String::new, |p| p.source.clone());
                (problems, name)
            }
            None => {
                let inputs: Vec<&Input> = cx.inputs.iter().filter(|input| input.port == Port::Problems).collect();
                let mut problems = Vec::new();
                for input in &inputs {
                    problems.extend(read_all::<Problem, _>(&input.files).map_err(data_error)?);
                }
                let names: Vec<String> = inputs.iter().map(|i| format!("{}.{}", i.stage, i.output)).collect();
                (problems, names.join(" + "))
            }
        };
        problems.truncate(limit);
        if problems.is_empty() {
            return Err(StageError::failed(format!("{name} has no problems to evaluate on")));
        }
        Ok((problems, name))
    }
}

/// Proves that no problem was trained on, by id and by text, over all training that led to the model.
fn disjoint(cx: &StageContext<'_, App>, model: &Input, problems: &[Problem]) -> Result<Value, StageError> {
    let (mut ids, mut texts) = (BTreeSet::new(), BTreeSet::new());
    let mut trained: Vec<Artifact> = Vec::new();
    for ancestor in model.artifact.manifest.lineage.iter().filter(|a| a.kind == "train") {
        trained.extend(cx.artifact(&ancestor.fingerprint)?);
    }
    trained.push(model.artifact.clone());
    for input in trained.iter().flat_map(|a| &a.manifest.inputs) {
        let Some(artifact) = cx.artifact(&input.fingerprint)? else { continue };
        let files = artifact.files(Some(&input.output));
        match input.port {
            Port::Samples => see::<Sample>(&files, &mut ids, &mut texts)?,
            Port::Attempts => see::<Attempt>(&files, &mut ids, &mut texts)?,
            _ => {}
        }
    }
    let shared = |p: &&Problem| ids.contains(&p.problem_id) || texts.contains(&text_key(&normalise(&p.prompt)));
    let shared: Vec<&str> = problems.iter().filter(shared).map(|p| p.problem_id.as_str()).collect();
    if let Some(first) = shared.first() {
        let message = format!(
            "{} of {} problems were trained on, the first is `{first}`: their score would say nothing",
            shared.len(),
            problems.len()
        );
        return Err(StageError::failed(message).hint("hold problems out with a `split` stage before `generate`"));
    }
    Ok(json!({ "trained_problems": ids.len(), "shared_ids": 0, "shared_texts": 0 }))
}

fn see<R: potstill_data::Row + Keyed>(
    files: &[std::path::PathBuf],
    ids: &mut BTreeSet<String>,
    texts: &mut BTreeSet<u128>,
) -> Result<(), StageError> {
    for row in RowReader::<R>::open(files).map_err(data_error)? {
        let row = row.map_err(data_error)?;
        ids.insert(row.problem_id().to_owned());
        texts.insert(text_key(&normalise(&row.prompt())));
    }
    Ok(())
}

/// Attempts of several models in one list: sample indexes go on from one to the next, so that ids stay unique.
fn renumbered(models: Vec<Vec<Attempt>>) -> Vec<Attempt> {
    let mut all = Vec::new();
    let mut next = 0;
    for attempts in models {
        let samples = attempts.iter().map(|a| a.sample_index + 1).max().unwrap_or(0);
        all.extend(attempts.into_iter().map(|a| Attempt { sample_index: a.sample_index + next, ..a }));
        next += samples;
    }
    all
}

fn write(cx: &StageContext<'_, App>, output: &str, meta: &MetaFields, rows: impl Iterator<Item = Attempt>) -> Result<u64, StageError> {
    let mut out = RowWriter::<Attempt>::create(&cx.out_file(output, PART)?, meta).map_err(data_error)?;
    for row in rows {
        out.push(&row).map_err(data_error)?;
    }
    Ok(out.finish().map_err(data_error)?.rows)
}

/// The device of the evaluation.
fn device_of(name: &str) -> Result<burn::tensor::Device, StageError> {
    device::parse(name).map_err(|error| StageError::failed(error.to_string()))
}
