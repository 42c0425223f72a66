//! `journey`: incorrect-then-corrected samples, re-verified to end correct, and their shortcut controls.

mod writer;

use std::collections::BTreeMap;

use potstill_curate::journey::{Committed, Drafts, Eyes, Journey, JourneyConfig, JourneyReport, Outcome};
use potstill_data::{Attempt, MetaFields, RowWriter, Sample, Verdict};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use potstill_verify::VerifyOptions;
use potstill_verify::extract::all_answers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decided::{Aside, DROPPED};
use super::groups::Groups;
use super::joined::Joined;
use super::rows::{PART, ROWS, files, parallel};
use super::verify::Graders;
use super::{curate_error, curate_mistake, data_error};
use crate::app::{App, prompt_texts};
use crate::estimate::passed_on;

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
    /// A `[teacher.NAME]` that rewrites every composed thought as one flowing text; without it the thought stays as composed.
    #[serde(default)]
    teacher: Option<String>,
    /// A text file with the writer's prompt, in which `{problem}` and `{draft}` are replaced; a built-in one if absent.
    #[serde(default)]
    writer_prompt: Option<String>,
    /// Tokens of a rewritten thought at most.
    #[serde(default = "writer_tokens")]
    #[schemars(range(min = 1))]
    max_tokens: u32,
}

fn writer_tokens() -> u32 {
    8192
}

/// The output with the shortcut samples of the same problems.
const CONTROL: &str = "control";
/// Problems composed together.
const CHUNK: usize = 512;

impl Stage<App> for JourneyStage {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Attempts])?;
        Ok(vec![(ROWS.to_owned(), Port::Samples), (CONTROL.to_owned(), Port::Samples), (DROPPED.to_owned(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = Vec::new();
        if let Some(file) = &self.settings.render.system_prompt {
            mistakes.extend(cx.app.check_file("render.system_prompt", file));
        }
        mistakes.extend(self.own.teacher.as_ref().and_then(|name| cx.app.check_teacher("teacher", name)));
        mistakes.extend(self.own.writer_prompt.as_ref().and_then(|file| cx.app.check_file("writer_prompt", file)));
        mistakes.extend(Journey::new(self.settings.clone(), 0).err().map(curate_mistake));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let prompts = [("system_prompt", self.settings.render.system_prompt.as_ref()), ("writer_prompt", self.own.writer_prompt.as_ref())];
        let texts = prompt_texts(app, &prompts)?;
        let teacher = self.own.teacher.as_ref().map(|name| app.teacher(name)?.identity(app)).transpose()?;
        let mut settings = serde_json::json!(self);
        // The texts and the teacher's identity decide, not what they are called.
        if let Value::Object(keys) = &mut settings {
            ["teacher", "writer_prompt"].iter().for_each(|key| drop(keys.remove(*key)));
        }
        Ok(serde_json::json!({ "settings": settings, "prompts": texts, "teacher": teacher }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        self.own.teacher.as_ref().map_or(Ok(()), |name| app.generator(name).map(drop))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(passed_on(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let graders = Graders::new(self.own.verifier.as_deref(), &self.own.options)?;
        let mut config = self.settings.clone();
        config.render.system_prompt = config.render.system_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?;
        let journey = Journey::new(config, cx.rng_seed("journey")).map_err(curate_error)?;
        let files = files(cx);
        let mut groups = Groups::open(&files)?;
        let judge = |attempt: &Attempt| graders.judge(attempt).map_or(Verdict::Undecided, |j| j.verdict);
        let answers = |text: &str| -> Vec<Committed> {
            all_answers(text).into_iter().map(|a| Committed { text: a.text.to_owned(), span: a.span }).collect()
        };
        let eyes = Eyes { answers: &answers, judge: &judge };
        let mut writer = self.writer(cx)?;
        let mut out = Outputs::create(cx, &files)?;
        let (total, mut done) = (groups.problems() as u64, 0);
        while let Some(window) = groups.next_window()? {
            for chunk in window.chunks(CHUNK) {
                cx.check_cancelled()?;
                let drafts = parallel(chunk.iter().collect(), cx.app.threads, &|group: &Vec<Attempt>| journey.draft(group, &eyes));
                let texts = match &mut writer {
                    Some(writer) => writer.write(&drafts.iter().flat_map(|d| &d.drafts).collect::<Vec<_>>())?,
                    None => BTreeMap::new(),
                };
                let asked = writer.is_some();
                let settle = |drafts: Drafts| {
                    let text = |id: &String| texts.get(id).cloned().ok_or_else(|| "no answer".to_owned());
                    let written = drafts.drafts.iter().map(|d| asked.then(|| text(&d.sample_id))).collect();
                    journey.settle(drafts, written, &eyes)
                };
                for (attempts, outcome) in chunk.iter().zip(parallel(drafts, cx.app.threads, &settle)) {
                    out.add(attempts, &outcome)?;
                }
                done += chunk.len() as u64;
                cx.progress(done, Some(total), "problems", &[]);
            }
        }
        let result = out.finish()?;
        let Some(written) = writer.map(writer::Writer::finish).transpose()? else { return Ok(result) };
        Ok(StageResult { tokens: written.tokens, cost_usd: written.cost_usd, ..result })
    }
}

impl JourneyStage {
    fn writer<'a>(&self, cx: &'a StageContext<'a, App>) -> Result<Option<writer::Writer<'a>>, StageError> {
        let Some(teacher) = &self.own.teacher else { return Ok(None) };
        let prompt = self.own.writer_prompt.as_deref().map(|file| cx.app.prompt(file)).transpose()?;
        let prompt = prompt.unwrap_or_else(|| writer::PROMPT.to_owned());
        writer::Writer::new(cx, teacher, prompt, self.own.max_tokens).map(Some)
    }
}

/// The two sample files, the attempts of problems that gave none, and the running counts.
struct Outputs {
    journeys: RowWriter<Sample>,
    control: RowWriter<Sample>,
    aside: Aside<Attempt>,
    report: JourneyReport,
}

impl Outputs {
    fn create(cx: &StageContext<'_, App>, files: &[std::path::PathBuf]) -> Result<Self, StageError> {
        let of_attempts = MetaFields::of_parts(files).map_err(data_error)?;
        let aside = Aside::create(cx, &of_attempts)?;
        let meta = potstill_curate::journey::meta_fields(of_attempts);
        let writer = |output| RowWriter::create(&cx.out_file(output, PART)?, &meta).map_err(data_error);
        Ok(Self { journeys: writer(ROWS)?, control: writer(CONTROL)?, aside, report: JourneyReport::default() })
    }

    fn add(&mut self, attempts: &[Attempt], outcome: &Outcome) -> Result<(), StageError> {
        self.report.add(outcome);
        for sample in outcome.journeys.iter().map(|(_, sample)| sample).chain(&outcome.straight) {
            self.journeys.push(sample).map_err(data_error)?;
        }
        if let Some(skip) = outcome.skipped.filter(|_| outcome.straight.is_none()) {
            attempts.iter().try_for_each(|attempt| self.aside.push(attempt.clone(), skip.as_str()))?;
        }
        outcome.shortcuts.iter().try_for_each(|sample| self.control.push(sample)).map_err(data_error)
    }

    fn finish(self) -> Result<StageResult, StageError> {
        // Counted by problems; the rows aside are their attempts.
        let dropped = self.report.skipped.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
        let result = StageResult { stats: self.report.to_json(), dropped, ..StageResult::default() };
        let (journeys, control) = (self.journeys.finish().map_err(data_error)?, self.control.finish().map_err(data_error)?);
        Ok(result.rows(ROWS, journeys.rows).rows(CONTROL, control.rows).rows(DROPPED, self.aside.finish()?.rows))
    }
}
