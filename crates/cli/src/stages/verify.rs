//! `verify`: attempts get a verdict, with its proof and the answer that was graded.

mod graders;
mod pseudo_gold;
mod second_tier;
mod tally;

use potstill_data::{Attempt, MetaFields, RowReader, RowWriter};
use potstill_pipeline::{
    CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult, some_inputs,
};
use potstill_verify::majority::MajorityOptions;
use potstill_verify::{VerifyOptions, code, verifier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use self::graders::Graders;
use self::pseudo_gold::PseudoGolds;
use self::second_tier::{Judge, SecondTier};
use self::tally::Tally;
use super::data_error;
use super::rows::{ROWS, files, in_order, writer};
use crate::app::App;
use crate::estimate::{Asked, passed_on};

/// Grades attempts by the verifier that each problem names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verify {
    /// The verifier for all rows; without it each row's own (the column `verifier`).
    #[serde(default)]
    verifier: Option<String>,
    /// Policies: how answers are found and compared.
    #[serde(default)]
    options: VerifyOptions,
    /// A meta column with a verdict from elsewhere (true/false, 1/0 or a word) to compare with; rows on which the two differ come out as `NAME.disagreements`.
    #[serde(default)]
    reference: Option<String>,
    /// A second tier: a language model judges what the rules leave open. It fails closed: what is no clear opinion in the form that was asked for is no vote.
    #[serde(default)]
    judge: Option<Judge>,
    /// Majority voting for problems without a gold answer: the answer of most attempts stands in for it. Such rows have the proof `majority` and `gold_by` in their meta.
    #[serde(default)]
    majority: Option<MajorityOptions>,
}

/// Rows that are judged together.
const CHUNK: usize = 1024;

/// The output with the rows on which verdict and reference differ.
const DISAGREEMENTS: &str = "disagreements";

impl Stage<App> for Verify {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        some_inputs(inputs, &[Port::Attempts])?;
        let mut outputs = vec![(ROWS.to_owned(), Port::Attempts)];
        if self.reference.is_some() {
            outputs.push((DISAGREEMENTS.to_owned(), Port::Attempts));
        }
        Ok(outputs)
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = Vec::new();
        if let Some(name) = &self.verifier {
            mistakes.extend(verifier(name, &self.options).err().map(|e| Mistake::at("verifier", e.to_string())));
        }
        if let Some(judge) = &self.judge {
            mistakes.extend(judge.check(cx, self.reference.is_some()));
        }
        let wrong = self.majority.as_ref().and_then(MajorityOptions::mistake);
        mistakes.extend(wrong.map(|(field, message)| Mistake::at(format!("majority.{field}"), message)));
        mistakes
    }

    fn identity(&self, app: &App) -> Result<Value, StageError> {
        let judge = self.judge.as_ref().map(|judge| judge.identity(app)).transpose()?;
        Ok(json!({
            "verifier": self.verifier,
            "options": self.options,
            "reference": self.reference,
            "majority": self.majority,
            "judge": judge,
        }))
    }

    fn ready(&self, app: &App) -> Result<(), StageError> {
        if let Some(judge) = &self.judge {
            app.generator(&judge.teacher)?;
        }
        if self.verifier.as_deref() != Some("code") {
            return Ok(());
        }
        // Before any row is read: without a sandbox every verdict would be "undecided".
        code::sandbox(&crate::sandbox::ready(&self.options).code).map(drop).map_err(|e| {
            StageError::config(e.to_string()).hint("`options.code.unsafe_no_sandbox = true` runs programs of replies without protection")
        })
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        let Some(judge) = &self.judge else { return Some(passed_on(cx)) };
        // At most every row is judged.
        let template = judge.template(cx.app).unwrap_or_default();
        let asked = Asked {
            teacher: &judge.teacher,
            samples: judge.votes,
            max_tokens: judge.sampling.max_tokens,
            around: &template,
            shows: Port::Attempts,
            max_cost_usd: judge.max_cost_usd,
        };
        Some(Estimate { rows: passed_on(cx).rows, ..asked.estimate(cx) })
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        let files = files(cx);
        let graders = Graders::new(self.verifier.as_deref(), &self.options)?;
        let golds = self.majority.as_ref().map(|m| PseudoGolds::count(cx, &files, m, &self.options.extract)).transpose()?;
        let mut meta = MetaFields::of_parts(&files).map_err(data_error)?;
        if golds.is_some() {
            PseudoGolds::add_columns(&mut meta);
        }
        let mut out = Outputs {
            reference: self.reference.as_deref(),
            judge: self.judge.as_ref().map(|judge| SecondTier::new(cx, judge, self.reference.as_deref())).transpose()?,
            rows: writer::<Attempt>(cx, ROWS, &meta)?,
            disputed: self.reference.as_ref().map(|_| writer::<Attempt>(cx, DISAGREEMENTS, &meta)).transpose()?,
            waiting: Vec::new(),
            tally: Tally::default(),
        };
        let rows = RowReader::<Attempt>::open(&files).map_err(data_error)?;
        let grade = |attempt| match &golds {
            Some(golds) => golds.grade(&graders, attempt),
            None => graders.grade(attempt),
        };
        in_order(cx, rows, grade, |attempt| out.take(attempt?))?;
        out.settle()?;
        out.tally.warn(cx);
        let mut result = out.finish()?;
        if let Some((problems, decided)) = golds.map(|golds| golds.counts()) {
            result.stats["majority"] = json!({ "problems_without_gold": problems, "with_a_majority": decided });
        }
        Ok(result)
    }
}

/// Where graded rows go.
struct Outputs<'a> {
    reference: Option<&'a str>,
    judge: Option<SecondTier<'a>>,
    rows: RowWriter<Attempt>,
    disputed: Option<RowWriter<Attempt>>,
    waiting: Vec<Attempt>,
    tally: Tally,
}

impl Outputs<'_> {
    fn take(&mut self, attempt: Attempt) -> Result<(), StageError> {
        self.waiting.push(attempt);
        if self.waiting.len() < CHUNK { Ok(()) } else { self.settle() }
    }

    /// Lets the judge see the rows that wait, and writes them.
    fn settle(&mut self) -> Result<(), StageError> {
        let mut rows = std::mem::take(&mut self.waiting);
        if let Some(judge) = &mut self.judge {
            judge.judge(&mut rows)?;
        }
        for attempt in &rows {
            self.tally.add(attempt);
            if let (Some(column), Some(disputed)) = (self.reference, &mut self.disputed)
                && self.tally.compare(attempt, column)
            {
                disputed.push(attempt).map_err(data_error)?;
            }
            self.rows.push(attempt).map_err(data_error)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<StageResult, StageError> {
        let mut stats = self.tally.stats(self.reference.is_some());
        let mut result = StageResult::default();
        if let Some(judge) = self.judge {
            let (asked, agreement) = judge.finish()?;
            stats["judge"] = agreement;
            // A request that failed costs a vote, not a row.
            result = StageResult { dropped: Default::default(), ..asked };
        }
        result.stats = stats;
        if let Some(disputed) = self.disputed {
            result = result.rows(DISAGREEMENTS, disputed.finish().map_err(data_error)?.rows);
        }
        Ok(result.rows(ROWS, self.rows.finish().map_err(data_error)?.rows))
    }
}
