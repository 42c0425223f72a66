//! What stages expect to take, for `plan`: never less than what they may take.

use std::path::PathBuf;

use potstill_data::{Attempt, Problem, RowReader};
use potstill_generate::tokens;
use potstill_pipeline::{Estimate, EstimateContext, Port};

use crate::app::App;
use crate::teachers::count;

/// Rows that are looked at for a mean.
pub(crate) const LOOKED_AT: usize = 500;
/// What a chat template puts around the turns of a chat, in tokens.
const AROUND: f64 = 16.0;

/// A stage that passes its input rows on, or fewer of them.
pub(crate) fn passed_on(cx: &EstimateContext<'_, App>) -> Estimate {
    Estimate { rows: rows(cx), row_tokens: mean(cx), ..Estimate::default() }
}

/// A stage that passes at most `most` of its input rows on.
pub(crate) fn at_most(cx: &EstimateContext<'_, App>, most: Option<u64>) -> Estimate {
    let passed = passed_on(cx);
    Estimate { rows: passed.rows.map(|rows| rows.min(most.unwrap_or(rows))).or(most), ..passed }
}

/// The rows of all inputs.
pub(crate) fn rows(cx: &EstimateContext<'_, App>) -> Option<u64> {
    cx.input_rows.iter().copied().sum()
}

/// What a teacher is asked for each row.
pub(crate) struct Asked<'a> {
    /// The teacher.
    pub(crate) teacher: &'a str,
    /// Requests for each row.
    pub(crate) samples: u32,
    /// The most tokens of a reply.
    pub(crate) max_tokens: u32,
    /// Text of each prompt besides the row's own.
    pub(crate) around: &'a str,
    /// What the prompt holds of a row: problems, or attempts with their replies.
    pub(crate) shows: Port,
    /// The stage's own cap, in USD.
    pub(crate) max_cost_usd: Option<f64>,
}

impl Asked<'_> {
    /// Calls, tokens and money at most.
    pub(crate) fn estimate(&self, cx: &EstimateContext<'_, App>) -> Estimate {
        let Ok(teacher) = cx.app.teacher(self.teacher) else { return Estimate::default() };
        let tokenizer = teacher.tokenizer(cx.app).ok().flatten();
        let counter = |text: &str| tokenizer.as_ref().map_or_else(|| tokens::about(text), |tokenizer| count(tokenizer, text));
        let calls = rows(cx).map(|rows| rows * u64::from(self.samples));
        let own = if self.shows == Port::Problems { problems(cx, &counter) } else { self.attempts(cx, &counter) };
        let per_call = own.map(|own| own + f64::from(counter(self.around)) + AROUND);
        let prompt_tokens = calls.zip(per_call).map(|(calls, tokens)| (calls as f64 * tokens).ceil() as u64);
        let completion_tokens = calls.map(|calls| calls * u64::from(self.max_tokens));
        let price = |tokens: Option<u64>, per_million: f64| tokens.map_or(0.0, |tokens| tokens as f64 * per_million / 1e6);
        let cost_usd = teacher
            .price()
            .filter(|_| calls.is_some())
            .map(|p| price(prompt_tokens, p.input_per_million) + price(completion_tokens, p.output_per_million));
        Estimate {
            rows: calls,
            row_tokens: mean(cx),
            calls,
            prompt_tokens,
            completion_tokens,
            cost_usd,
            max_cost_usd: self.cap(cx),
            ..Estimate::default()
        }
    }

    /// The lower of the stage's cap and the teacher's.
    fn cap(&self, cx: &EstimateContext<'_, App>) -> Option<f64> {
        let of_teacher = cx.app.teacher(self.teacher).ok().and_then(crate::teachers::Teacher::max_cost_usd);
        [self.max_cost_usd, of_teacher].into_iter().flatten().reduce(f64::min)
    }

    /// Mean tokens of an attempt. One that is still to be made is as long as a reply may be.
    fn attempts(&self, cx: &EstimateContext<'_, App>, counter: &dyn Fn(&str) -> u32) -> Option<f64> {
        let texts = |attempt: Attempt| [attempt.problem.prompt, attempt.reasoning.unwrap_or_default(), attempt.response];
        let seen = sample::<Attempt>(cx).map(|a| texts(a).iter().map(|text| f64::from(counter(text))).sum::<f64>());
        of(seen).or_else(|| mean(cx).map(|tokens| tokens + f64::from(self.max_tokens)))
    }
}

/// Mean tokens of a problem: counted where it is there, else as the stages before it estimate.
fn problems(cx: &EstimateContext<'_, App>, counter: &dyn Fn(&str) -> u32) -> Option<f64> {
    of(sample::<Problem>(cx).map(|problem| f64::from(counter(&problem.prompt)))).or_else(|| mean(cx))
}

/// The mean of all inputs' problems, about.
fn mean(cx: &EstimateContext<'_, App>) -> Option<f64> {
    let known = cx.input_tokens.iter().copied().collect::<Option<Vec<f64>>>();
    of(sample::<Problem>(cx).map(|problem| f64::from(tokens::about(&problem.prompt)))).or_else(|| of(known?.into_iter()))
}

fn sample<R: potstill_data::Row>(cx: &EstimateContext<'_, App>) -> impl Iterator<Item = R> {
    let files: Vec<PathBuf> = cx.input_files.iter().flatten().cloned().collect();
    let rows = if files.is_empty() { None } else { RowReader::<R>::open(&files).ok() };
    rows.into_iter().flatten().flatten().take(LOOKED_AT)
}

/// The mean of some figures; `None` of none.
pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = figures.fold((0.0, 0.0), |(sum, count), figure| (sum + figure, count + 1.0));
    (count > 0.0).then(|| sum / count)
}
