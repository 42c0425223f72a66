//! `journey`: incorrect-then-corrected samples, re-verified to end correct, and their shortcut controls.

use std::collections::BTreeMap;

use potstill_curate::journey::{Committed, Eyes, Journey, JourneyConfig, JourneyReport, Outcome};
use potstill_data::{Attempt, MetaFields, RowReader, RowWriter, Sample, Verdict};
use potstill_pipeline::{CheckContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs};
use potstill_verify::VerifyOptions;
use potstill_verify::extract::all_answers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::joined::Joined;
use super::rows::{PART, ROWS, files, parallel};
use super::verify::Graders;
use super::{curate_error, data_error};
use crate::app::{App, prompt_texts};

/// Composes journey samples from attempts that were graded.
pub(crate) type JourneyStage = Joined<Own, JourneyConfig>;

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// The verifier for all rows; without it each row's own.
    #[serde(default)]
    verifier: Option<String>,
    /// Policies of the verifier.
    #[serde(default)]
    options: VerifyOptions,
}

/// The output with the shortcut samples of the same problems.
const CONTROL: &str = "control";
/// Problems composed together.
const CHUNK: usize = 512;

impl Stage<App> for JourneyStage {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Attempts])?;
        Ok(vec![(ROWS.to_owned(), Port::Samples), (CONTROL.to_owned(), Port::Samples)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = Vec::new();
        if let Some(file) = &self.settings.render.system_prompt {
            mistakes.extend(cx.app.check_file("render.system_prompt", file));
        }
        mistakes.extend(Journey::new(self.settings.clone(), 0).err().map(|e| Mistake::at("", e.to_string())));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let texts = prompt_texts(app, &[("system_prompt", self.settings.render.system_prompt.as_ref())])?;
        Ok(serde_json::json!({ "settings": self, "prompts": texts }))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let graders = Graders::new(self.own.verifier.as_deref(), &self.own.options)?;
        let mut config = self.settings.clone();
        config.render.system_prompt = config.render.system_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?;
        let journey = Journey::new(config, cx.rng_seed("journey")).map_err(curate_error)?;
        let files = files(cx);
        let problems = Problems::read(&files)?;
        let judge = |attempt: &Attempt| graders.judge(attempt).map_or(Verdict::Undecided, |j| j.verdict);
        let answers = |text: &str| -> Vec<Committed> {
            all_answers(text).into_iter().map(|a| Committed { text: a.text.to_owned(), span: a.span }).collect()
        };
        let eyes = Eyes { answers: &answers, judge: &judge };
        let mut out = Outputs::create(cx, &files)?;
        let total = problems.order.len() as u64;
        for (at, chunk) in problems.order.chunks(CHUNK).enumerate() {
            cx.check_cancelled()?;
            let groups: Vec<&Vec<Attempt>> = chunk.iter().filter_map(|id| problems.attempts.get(id)).collect();
            for outcome in parallel(groups, cx.app.threads, &|group: &Vec<Attempt>| journey.problem(group, &eyes, None)) {
                out.add(outcome)?;
            }
            cx.progress((at * CHUNK + chunk.len()) as u64, Some(total), "problems", &[]);
        }
        out.finish()
    }
}

/// Attempts grouped by problem, in the order in which problems first appear.
struct Problems {
    order: Vec<String>,
    attempts: BTreeMap<String, Vec<Attempt>>,
}

impl Problems {
    fn read(files: &[std::path::PathBuf]) -> Result<Self, StageError> {
        let mut problems = Self { order: Vec::new(), attempts: BTreeMap::new() };
        for row in RowReader::<Attempt>::open(files).map_err(data_error)? {
            let attempt = row.map_err(data_error)?;
            let id = attempt.problem.problem_id.clone();
            let group = problems.attempts.entry(id.clone()).or_insert_with(|| {
                problems.order.push(id);
                Vec::new()
            });
            group.push(attempt);
        }
        Ok(problems)
    }
}

/// The two sample files and the running counts.
struct Outputs {
    journeys: RowWriter<Sample>,
    control: RowWriter<Sample>,
    report: JourneyReport,
}

impl Outputs {
    fn create(cx: &StageContext<'_, App>, files: &[std::path::PathBuf]) -> Result<Self, StageError> {
        let meta = potstill_curate::journey::meta_fields(MetaFields::of_parts(files).map_err(data_error)?);
        let writer = |output| RowWriter::create(&cx.out_file(output, PART)?, &meta).map_err(data_error);
        Ok(Self { journeys: writer(ROWS)?, control: writer(CONTROL)?, report: JourneyReport::default() })
    }

    fn add(&mut self, outcome: Outcome) -> Result<(), StageError> {
        self.report.add(&outcome);
        for sample in outcome.journeys.iter().map(|(_, sample)| sample).chain(&outcome.straight) {
            self.journeys.push(sample).map_err(data_error)?;
        }
        outcome.shortcuts.iter().try_for_each(|sample| self.control.push(sample)).map_err(data_error)
    }

    fn finish(self) -> Result<StageResult, StageError> {
        let dropped = self.report.skipped.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
        let result = StageResult { stats: self.report.to_json(), dropped, ..StageResult::default() };
        let (journeys, control) = (self.journeys.finish().map_err(data_error)?, self.control.finish().map_err(data_error)?);
        Ok(result.rows(ROWS, journeys.rows).rows(CONTROL, control.rows))
    }
}
