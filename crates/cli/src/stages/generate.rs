//! `generate`: a teacher answers problems.

use std::sync::Arc;

use potstill_data::{Attempt, MetaFields, Problem, RowReader, RowWriter, ScalarKind, Verdict};
use potstill_generate::driver::{
    Driver, META_LOGPROBS, META_PASS_RATE, Progress, Prompt, RunError, RunOptions, RunReport, StopWhen, Stopped,
};
use potstill_generate::journal::Journal;
use potstill_generate::{GenerateError, Sampling};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Level, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, Tokens,
    some_inputs,
};
use potstill_verify::VerifyOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::joined::Joined;
use super::rows::{PART, ROWS, files, row_count};
use super::verify::Graders;
use super::{data_error, generate_error};
use crate::app::{App, prompt_texts};

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
    /// The verifier for `stop_when`; without it each problem's own.
    #[serde(default)]
    verifier: Option<String>,
    /// Policies of that verifier.
    #[serde(default)]
    options: VerifyOptions,
}

fn one() -> u32 {
    1
}

/// The folder that keeps every paid reply, shared by all stages and runs of a store.
const JOURNAL: &str = "journal";

impl Stage<App> for Generate {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Problems])?;
        Ok(vec![(ROWS.to_owned(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = cx.app.check_teacher("teacher", &self.own.teacher).into_iter().collect();
        mistakes.extend(self.own.system_prompt.as_ref().and_then(|file| cx.app.check_file("system_prompt", file)));
        mistakes.extend(Prompt::new(None, self.own.prompt_template.clone()).err().map(|e| Mistake::at("prompt_template", e.to_string())));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let texts = prompt_texts(app, &[("system_prompt", self.own.system_prompt.as_ref())])?;
        let mut settings = json!(self);
        // Neither the teacher's name in this file nor what may be spent decides an answer.
        if let Value::Object(keys) = &mut settings {
            ["teacher", "system_prompt", "max_cost_usd"].iter().for_each(|key| drop(keys.remove(*key)));
        }
        Ok(json!({ "settings": settings, "prompts": texts, "teacher": app.teacher(&self.own.teacher)?.identity()? }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        app.generator(&self.own.teacher).map(drop)
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        let problems = cx.input_rows.iter().copied().sum::<Option<u64>>();
        let calls = problems.map(|n| n * u64::from(self.own.samples));
        let worst = calls.map(|n| n * u64::from(self.settings.max_tokens));
        let price = cx.app.teacher(&self.own.teacher).ok()?.price();
        let cost_usd = worst.zip(price).map(|(tokens, price)| tokens as f64 * price.output_per_million / 1e6);
        Some(Estimate { rows: self.own.target_rows.or(calls), calls, completion_tokens: worst, cost_usd, ..Estimate::default() })
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let generator = cx.app.generator(&self.own.teacher)?;
        let journal = open_journal(cx, generator.journaled())?;
        let graders = Graders::new(self.own.verifier.as_deref(), &self.own.options)?;
        let judge = |attempt: &Attempt| graders.judge(attempt).map_or(Verdict::Undecided, |j| j.verdict);
        let judged = self.own.stop_when.is_some();
        let options = self.run_options(cx.rng_seed("generate"));
        let driver = Driver {
            runtime: cx.app.runtime(),
            generator,
            options: &options,
            judge: if judged { Some(&judge) } else { None },
            journal,
            progress: &|progress: &Progress| show(cx, progress, self.own.samples),
            cancel: &|| cx.cancelled(),
        };
        let files = files(cx);
        let prompt = self.prompt(cx.app)?;
        let problems = RowReader::<Problem>::open(&files).map_err(data_error)?;
        let asks = problems.map(|problem| Ok(prompt.ask(problem?)));
        let mut out = RowWriter::<Attempt>::create(&cx.out_file(ROWS, PART)?, &self.meta(&files, judged)?).map_err(data_error)?;
        let report = driver.run(asks, &mut |attempt| Ok(out.push(&attempt)?)).map_err(run_error)?;
        finish(cx, &report)?;
        let rows = out.finish().map_err(data_error)?.rows;
        Ok(result(&report).rows(ROWS, rows))
    }
}

/// The store's journal of paid replies, for a generator whose replies are worth one.
///
/// # Errors
/// The journal cannot be opened.
pub(crate) fn open_journal(cx: &StageContext<'_, App>, wanted: bool) -> Result<Option<Arc<Journal>>, StageError> {
    if !wanted {
        return Ok(None);
    }
    let folder = cx.shared(JOURNAL)?;
    Journal::open(&folder).map(|journal| Some(Arc::new(journal))).map_err(|e| generate_error(GenerateError::from(e)))
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

fn show(cx: &StageContext<'_, App>, progress: &Progress, samples: u32) {
    let total = row_count(cx).map(|n| n * u64::from(samples));
    let fields = [
        ("in_flight", progress.in_flight as f64),
        ("failed", progress.failed as f64),
        ("completion_tokens", progress.completion_tokens as f64),
        ("cost_usd", progress.spent_usd),
    ];
    cx.progress(progress.rows, total, "attempts", &fields);
}

pub(crate) fn run_error(error: RunError) -> StageError {
    match error {
        RunError::Generate(error) => generate_error(error),
        RunError::Problem(source) | RunError::Sink(source) => StageError::failed("rows cannot be read or written").caused_by(source),
        other => StageError::failed(other.to_string()),
    }
}

/// Ends a run that stopped early for want of money or by the user: the replies are in the journal, the stage is not done.
fn finish(cx: &StageContext<'_, App>, report: &RunReport) -> Result<(), StageError> {
    for (reason, count) in &report.failures {
        cx.message(Level::Warning, format!("{count} requests failed for good: {reason}"));
    }
    let totals = &report.totals;
    match report.stopped {
        Some(Stopped::Cancelled) => Err(StageError::cancelled()),
        Some(Stopped::Budget) => {
            let message = format!("the budget is spent (${:.4}); {} samples were not asked", totals.spent_usd, report.not_asked);
            Err(StageError::failed(message).hint("raise max_cost_usd and run again: what was bought is kept and is not asked for again"))
        }
        _ if totals.rows == 0 && totals.failed > 0 => {
            let first = report.failed.first().map(|f| f.message.clone()).unwrap_or_default();
            Err(StageError::temporary(format!("all {} requests failed; the first: {first}", totals.failed)))
        }
        _ => Ok(()),
    }
}

fn result(report: &RunReport) -> StageResult {
    let totals = &report.totals;
    let stats = json!({
        "replies": totals.replies,
        "from_journal": totals.cached,
        "retries": totals.retries,
        "truncated": report.truncated,
        "tokens_estimated": report.estimated,
        "solved_times": report.solved,
        "not_asked": report.not_asked,
        "spent_usd": totals.spent_usd,
    });
    let dropped = report.failures.iter().map(|(reason, count)| (format!("request failed: {reason}"), *count)).collect();
    let tokens = Tokens { prompt: totals.prompt_tokens, completion: totals.completion_tokens };
    StageResult { stats, dropped, tokens, cost_usd: report.cost_usd, ..StageResult::default() }
}
