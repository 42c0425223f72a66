//! `generate`: a teacher answers problems.

mod tree;

use potstill_data::{Attempt, MetaFields, Problem, RowReader, RowWriter, ScalarKind};
use potstill_generate::Sampling;
use potstill_generate::driver::{Judge, META_LOGPROBS, META_PASS_RATE, Prompt, RunOptions, StopWhen};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use potstill_verify::VerifyOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data_error;
use super::joined::Joined;
use super::rows::{PART, ROWS, files, row_count};
use super::verify::Graders;
use crate::app::{App, prompt_texts};
use crate::asking::Asking;
use crate::estimate::Asked;

/// Asks a teacher for attempts.
pub(crate) type Generate = Joined<Own, Sampling>;

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// Who is asked: a `[teacher.NAME]` table.
    teacher: String,
    /// Attempts at each problem; at most so many with `stop_when`.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    samples: u32,
    /// A text file with the system turn.
    #[serde(default)]
    system_prompt: Option<String>,
    /// The user turn, with `{prompt}` where the problem's text goes.
    #[serde(default)]
    prompt_template: Option<String>,
    /// Adaptive rejection sampling: verify answers as they arrive and stop asking about a problem once so many are correct.
    #[serde(default)]
    stop_when: Option<StopWhen>,
    /// Stop at exactly so many accepted rows: correct ones with `stop_when`, otherwise all.
    #[serde(default)]
    #[schemars(range(min = 1))]
    target_rows: Option<u64>,
    /// The most that this stage may spend, in US dollars, what is in flight included.
    #[serde(default)]
    max_cost_usd: Option<f64>,
    /// How long this stage may ask, in seconds; run again, it goes on.
    #[serde(default)]
    max_seconds: Option<f64>,
    /// The verifier for `stop_when`; without it each problem's own.
    #[serde(default)]
    verifier: Option<String>,
    /// Policies of that verifier.
    #[serde(default)]
    options: VerifyOptions,
    /// Grow step trees instead of asking for whole replies: journeys with controls from the same trees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tree: Option<tree::TreeMode>,
}

fn one() -> u32 {
    1
}

impl Stage<App> for Generate {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Problems])?;
        Ok(vec![(ROWS.to_owned(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = cx.app.check_teacher("teacher", &self.own.teacher).into_iter().collect();
        mistakes.extend(self.own.system_prompt.as_ref().and_then(|file| cx.app.check_file("system_prompt", file)));
        mistakes.extend(Prompt::new(None, self.own.prompt_template.clone()).err().map(|e| Mistake::at("prompt_template", e.to_string())));
        mistakes.extend(self.own.tree.iter().flat_map(|tree| tree.check(cx)));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let texts = prompt_texts(app, &[("system_prompt", self.own.system_prompt.as_ref())])?;
        let mut settings = json!(self);
        // Neither the teacher's name in this file nor what may be spent decides an answer.
        if let Value::Object(keys) = &mut settings {
            ["teacher", "system_prompt", "max_cost_usd", "max_seconds", "tree"].iter().for_each(|key| drop(keys.remove(*key)));
        }
        let tree = self.own.tree.as_ref().map(|tree| tree.identity(app)).transpose()?;
        Ok(json!({ "settings": settings, "prompts": texts, "teacher": app.teacher(&self.own.teacher)?.identity(app)?, "tree": tree }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        self.own.tree.iter().try_for_each(|tree| tree.ready(app))?;
        app.generator(&self.own.teacher).map(drop)
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        let system = self.own.system_prompt.as_deref().and_then(|file| cx.app.prompt(file).ok()).unwrap_or_default();
        let asked = Asked {
            teacher: &self.own.teacher,
            samples: self.own.tree.as_ref().map_or(self.own.samples, tree::TreeMode::calls),
            max_tokens: self.settings.max_tokens,
            around: &(system + self.own.prompt_template.as_deref().unwrap_or_default()),
            shows: Port::Problems,
            max_cost_usd: self.own.max_cost_usd,
        };
        let estimate = asked.estimate(cx);
        Some(Estimate { rows: self.own.target_rows.or(estimate.rows), ..estimate })
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        if let Some(mode) = &self.own.tree {
            return tree::run(self, mode, cx);
        }
        let graders = Graders::new(self.own.verifier.as_deref(), &self.own.options)?;
        let judge = |attempt: &mut Attempt| graders.settle(attempt);
        let judged = self.own.stop_when.is_some();
        let total = row_count(cx).map(|n| n * u64::from(self.own.samples));
        let mut asking = Asking::new(cx, &self.own.teacher, self.run_options(cx.rng_seed("generate")))?
            .judged(judged.then_some(&judge as &Judge<'_>))
            .telling("attempts", total);
        let files = files(cx);
        let prompt = self.prompt(cx.app)?;
        let problems = RowReader::<Problem>::open(&files).map_err(data_error)?;
        let asks = problems.map(|problem| Ok(prompt.ask(problem?)));
        let mut out = RowWriter::<Attempt>::create(&cx.out_file(ROWS, PART)?, &self.meta(&files, judged)?).map_err(data_error)?;
        asking.rows(asks, &mut |attempt| Ok(out.push(&attempt)?))?;
        let rows = out.finish().map_err(data_error)?.rows;
        Ok(asking.finish()?.rows(ROWS, rows))
    }
}

impl Generate {
    fn prompt(&self, app: &App) -> Result<Prompt, StageError> {
        let system = self.own.system_prompt.as_deref().map(|file| app.prompt(file)).transpose()?;
        Prompt::new(system, self.own.prompt_template.clone()).map_err(|e| StageError::config(e.to_string()))
    }

    fn run_options(&self, seed: u64) -> RunOptions {
        let seed = self.settings.seed.unwrap_or(seed);
        RunOptions {
            samples: self.own.samples,
            sampling: Sampling { seed: Some(seed), ..self.settings.clone() },
            stop_when: self.own.stop_when,
            target_rows: self.own.target_rows,
            max_cost_usd: self.own.max_cost_usd,
            max_seconds: self.own.max_seconds,
            ..RunOptions::default()
        }
    }

    fn meta(&self, files: &[std::path::PathBuf], judged: bool) -> Result<MetaFields, StageError> {
        let mut meta = MetaFields::of_parts(files).map_err(data_error)?;
        if judged {
            meta.add(META_PASS_RATE, ScalarKind::Float);
        }
        if self.settings.top_logprobs.is_some() {
            meta.add(META_LOGPROBS, ScalarKind::Text);
        }
        Ok(meta)
    }
}
