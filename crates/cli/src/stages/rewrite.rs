//! `rewrite`: a teacher puts attempts into a tidy form; a rewrite that does not end in the same answer is dropped.

use potstill_data::{Attempt, MetaFields, RowReader, RowWriter, ScalarKind};
use potstill_generate::Sampling;
use potstill_generate::driver::{Answers, BoxError, RunOptions};
use potstill_generate::rewrite::{META_REWRITE_KEY, META_REWRITTEN_BY, Rewrite as Settled, Rewriter};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use potstill_verify::VerifyOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data_error;
use super::decided::{Aside, DROPPED};
use super::joined::Joined;
use super::rows::{ROWS, files, parallel, row_count, writer};
use super::verify::Graders;
use crate::app::{App, prompt_texts};
use crate::asking::{Asking, stage_error};
use crate::estimate::Asked;

/// Lets a teacher rewrite attempts.
pub(crate) type Rewrite = Joined<Own, Sampling>;

/// The prompt when no file is named.
const PROMPT: &str = include_str!("../../../../pipelines/prompts/rewrite.txt");

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    /// Who rewrites: a `[teacher.NAME]` table.
    teacher: String,
    /// A text file with the user turn, in which `{prompt}`, `{reasoning}`, `{response}` and `{trace}` (reasoning and response) are replaced; `prompts/rewrite.txt` of potstill if absent.
    #[serde(default)]
    prompt: Option<String>,
    /// A text file with the system turn.
    #[serde(default)]
    system_prompt: Option<String>,
    /// The most that this stage may spend, in US dollars, what is in flight included.
    #[serde(default)]
    max_cost_usd: Option<f64>,
    /// How long this stage may ask, in seconds; run again, it goes on.
    #[serde(default)]
    max_seconds: Option<f64>,
    /// The verifier that tells whether the answer stayed; without it each problem's own.
    #[serde(default)]
    verifier: Option<String>,
    /// Policies of that verifier.
    #[serde(default)]
    options: VerifyOptions,
}

impl Stage<App> for Rewrite {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Attempts])?;
        Ok(vec![(ROWS.to_owned(), Port::Attempts), (DROPPED.to_owned(), Port::Attempts)])
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let files = [("prompt", self.own.prompt.as_deref()), ("system_prompt", self.own.system_prompt.as_deref())];
        let missing = files.iter().filter_map(|(key, file)| cx.app.check_file(key, (*file)?));
        let mut mistakes: Vec<Mistake> = cx.app.check_teacher("teacher", &self.own.teacher).into_iter().chain(missing).collect();
        if mistakes.is_empty() {
            mistakes.extend(self.rewriter(cx.app).err().map(|e| Mistake::at("prompt", e.to_string())));
        }
        mistakes.extend(Graders::new(self.own.verifier.as_deref(), &self.own.options).err().map(|e| Mistake::at("options", e.to_string())));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let files = [("prompt", self.own.prompt.as_ref()), ("system_prompt", self.own.system_prompt.as_ref())];
        let mut texts = prompt_texts(app, &files)?;
        texts.entry("prompt".to_owned()).or_insert_with(|| PROMPT.to_owned());
        let mut settings = json!(self);
        if let Value::Object(keys) = &mut settings {
            ["teacher", "prompt", "system_prompt", "max_cost_usd", "max_seconds"].iter().for_each(|key| drop(keys.remove(*key)));
        }
        Ok(json!({ "settings": settings, "prompts": texts, "teacher": app.teacher(&self.own.teacher)?.identity(app)? }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        app.generator(&self.own.teacher).map(drop)
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        let prompt = self.own.prompt.as_deref().map_or_else(|| Ok(PROMPT.to_owned()), |file| cx.app.prompt(file)).unwrap_or_default();
        let asked = Asked {
            teacher: &self.own.teacher,
            samples: 1,
            max_tokens: self.settings.max_tokens,
            around: &prompt,
            shows: Port::Attempts,
            max_cost_usd: self.own.max_cost_usd,
        };
        Some(asked.estimate(cx))
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let graders = Graders::new(self.own.verifier.as_deref(), &self.own.options)?;
        let rewriter = self.rewriter(cx.app)?;
        let files = files(cx);
        let mut meta = MetaFields::of_parts(&files).map_err(data_error)?;
        let aside = Aside::create(cx, &meta)?;
        [META_REWRITTEN_BY, META_REWRITE_KEY].iter().for_each(|column| meta.add(column, ScalarKind::Text));
        let kept = writer(cx, ROWS, &meta)?;
        let mut out = Outputs { graders, rewriter: &rewriter, threads: cx.app.threads, waiting: Vec::new(), kept, aside };
        let mut asking = Asking::new(cx, &self.own.teacher, self.run_options(cx.rng_seed("rewrite")))?.telling("rewrites", row_count(cx));
        let items = RowReader::<Attempt>::open(&files).map_err(data_error)?.map(|attempt| {
            let attempt = attempt?;
            let ask = rewriter.ask(&attempt);
            Ok((attempt, ask))
        });
        asking.each(items, &mut |original, answers| out.take(original, answers))?;
        out.settle()?;
        let (kept, aside) = (out.kept.finish().map_err(data_error)?.rows, out.aside.finish()?);
        // A request that failed shows among the dropped rows, by its original.
        let result = StageResult { dropped: aside.reasons, ..asking.finish()? };
        Ok(result.rows(ROWS, kept).rows(DROPPED, aside.rows))
    }
}

impl Rewrite {
    fn rewriter(&self, app: &App) -> Result<Rewriter, StageError> {
        let text = |file: &Option<String>| file.as_deref().map(|file| app.prompt(file)).transpose();
        let prompt = text(&self.own.prompt)?.unwrap_or_else(|| PROMPT.to_owned());
        Rewriter::new(text(&self.own.system_prompt)?, prompt).map_err(|e| StageError::config(e.to_string()))
    }

    fn run_options(&self, seed: u64) -> RunOptions {
        let seed = self.settings.seed.unwrap_or(seed);
        let sampling = Sampling { seed: Some(seed), ..self.settings.clone() };
        RunOptions { sampling, max_cost_usd: self.own.max_cost_usd, max_seconds: self.own.max_seconds, ..RunOptions::default() }
    }
}

/// Rewrites that are verified together.
const CHUNK: usize = 128;

/// Where rewrites go once they are verified.
struct Outputs<'a> {
    graders: Graders,
    rewriter: &'a Rewriter,
    threads: usize,
    waiting: Vec<(Attempt, Option<Attempt>)>,
    kept: RowWriter<Attempt>,
    aside: Aside<Attempt>,
}

impl Outputs<'_> {
    fn take(&mut self, original: Attempt, answers: Answers) -> Result<(), BoxError> {
        self.waiting.push((original, answers.attempts.into_iter().next()));
        if self.waiting.len() < CHUNK { Ok(()) } else { Ok(self.settle()?) }
    }

    fn settle(&mut self) -> Result<(), StageError> {
        let grade = |attempt| Ok(self.graders.grade(attempt)?);
        let settled =
            parallel(std::mem::take(&mut self.waiting), self.threads, &|(original, reply)| self.rewriter.settle(original, reply, &grade));
        for rewrite in settled {
            match rewrite.map_err(stage_error)? {
                Settled::Kept(attempt) => self.kept.push(&attempt).map_err(data_error)?,
                Settled::Dropped(original, reason) => self.aside.push(*original, reason)?,
            }
        }
        Ok(())
    }
}
