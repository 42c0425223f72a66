//! Asking a teacher from inside a stage. Every stage that does goes through here, so that all share the store's journal,
//! the teacher's limits and money, tell how far they are, and count alike.
//!
//! ```text
//! let mut asking = Asking::new(cx, &self.teacher, options)?.telling("replies", Some(total));
//! asking.each(questions, &mut |mine, answers| { … Ok(()) })?;   // as often as the stage likes
//! Ok(asking.finish()?.rows(ROWS, rows))
//! ```

use std::sync::Arc;

use potstill_data::Attempt;
use potstill_generate::driver::{Answers, Ask, BoxError, Driver, Judge, Progress, RunError, RunOptions, RunReport, Stopped};
use potstill_generate::journal::Journal;
use potstill_generate::{Budget, Generator};
use potstill_pipeline::{Level, StageContext, StageError, StageResult, Tokens};
use serde_json::json;

use crate::app::App;
use crate::stages::generate_error;

/// The folder that keeps every paid reply, shared by all stages and runs of a store.
const JOURNAL: &str = "journal";

/// A teacher, asked by one stage in one or several goes.
pub(crate) struct Asking<'a> {
    cx: &'a StageContext<'a, App>,
    generator: Arc<dyn Generator>,
    journal: Option<Arc<Journal>>,
    budget: Arc<Budget>,
    options: RunOptions,
    judge: Option<&'a Judge<'a>>,
    unit: Option<&'static str>,
    total: Option<u64>,
    report: RunReport,
}

impl<'a> Asking<'a> {
    /// The teacher of that name. `options` hold for all goes together: `max_cost_usd` is what the stage may spend.
    ///
    /// # Errors
    /// A missing key, settings that cannot work, or a journal that cannot be opened.
    pub(crate) fn new(cx: &'a StageContext<'a, App>, teacher: &str, options: RunOptions) -> Result<Self, StageError> {
        let generator = cx.app.generator(teacher)?;
        let journal = generator.journaled().then(|| cx.app.journal(&cx.shared(JOURNAL)?)).transpose()?;
        let budget = Budget::new(options.max_cost_usd, generator.budget());
        let options = RunOptions { budget: Some(Arc::clone(&budget)), ..options };
        Ok(Self { cx, generator, journal, budget, options, judge: None, unit: None, total: None, report: RunReport::default() })
    }

    /// Verifies replies as they arrive, for `stop_when` and `target_rows`.
    pub(crate) fn judged(mut self, judge: Option<&'a Judge<'a>>) -> Self {
        self.judge = judge;
        self
    }

    /// Shows the replies as the stage's progress, of so many in all.
    pub(crate) fn telling(mut self, unit: &'static str, total: Option<u64>) -> Self {
        (self.unit, self.total) = (Some(unit), total);
        self
    }

    /// Asks each question and hands what was answered to `sink`, with the item that came along, in the order of the
    /// items; a question whose requests all failed comes with no attempts.
    ///
    /// # Errors
    /// The teacher cannot be asked at all, the money is spent, or the run is cancelled. What was bought is in the journal.
    pub(crate) fn each<T>(
        &mut self,
        items: impl Iterator<Item = Result<(T, Ask), BoxError>>,
        sink: &mut dyn FnMut(T, Answers) -> Result<(), BoxError>,
    ) -> Result<(), StageError> {
        let before = self.report.totals;
        let driver = Driver {
            runtime: self.cx.app.runtime(),
            generator: Arc::clone(&self.generator),
            options: &self.options,
            judge: self.judge,
            journal: self.journal.clone(),
            progress: &|now: &Progress| self.tell(before, now),
            cancel: &|| self.cx.cancelled(),
        };
        let paid_before = self.budget.spent();
        let report = driver.each(items, sink);
        self.cx.pay(self.budget.spent() - paid_before);
        let report = report.map_err(run_error)?;
        let stopped = report.stopped;
        self.report.add(report);
        match stopped {
            Some(Stopped::Cancelled) => Err(StageError::cancelled()),
            Some(Stopped::Budget) => {
                let (spent, missing) = (self.report.totals.spent_usd, self.report.not_asked);
                let error = StageError::failed(format!("the budget is spent (${spent:.4}); {missing} samples were not asked"));
                Err(error.hint("raise max_cost_usd and run again: what was bought is kept and is not asked for again"))
            }
            Some(Stopped::Time) => {
                let error = StageError::temporary(format!("the {} s of this stage are over", self.options.max_seconds.unwrap_or_default()));
                Err(error.hint("run again: what was answered is kept and is not asked for again"))
            }
            Some(Stopped::Target) | None => Ok(()),
        }
    }

    /// Asks for rows: each attempt by itself, in order.
    ///
    /// # Errors
    /// As [`Asking::each`].
    pub(crate) fn rows(
        &mut self,
        asks: impl Iterator<Item = Result<Ask, BoxError>>,
        sink: &mut dyn FnMut(Attempt) -> Result<(), BoxError>,
    ) -> Result<(), StageError> {
        self.each(asks.map(|ask| Ok(((), ask?))), &mut |(), answers| answers.attempts.into_iter().try_for_each(&mut *sink))
    }

    /// The stage's result as far as asking goes: tokens, money, statistics, failed requests as dropped rows.
    ///
    /// # Errors
    /// Every request failed.
    pub(crate) fn finish(self) -> Result<StageResult, StageError> {
        let report = self.report;
        for (reason, count) in &report.failures {
            self.cx.message(Level::Warning, format!("{count} requests failed for good: {reason}"));
        }
        let totals = &report.totals;
        if let Some(Err(error)) = self.journal.as_ref().map(|journal| journal.compact()) {
            self.cx.message(Level::Warning, format!("the journal stays as it is: {error}"));
        }
        if totals.rows == 0 && totals.failed > 0 {
            let first = report.failed.first().map(|f| f.message.clone()).unwrap_or_default();
            return Err(StageError::temporary(format!("all {} requests failed; the first: {first}", totals.failed)));
        }
        let stats = json!({
            "replies": totals.replies,
            "from_journal": totals.cached,
            "retries": totals.retries,
            "truncated": report.truncated,
            "tokens_estimated": report.estimated,
            "solved_times": report.solved,
            "not_asked": report.not_asked,
            "spent_usd": totals.spent_usd,
            "cost_per_row_usd": report.cost_usd.filter(|_| totals.rows > 0).map(|usd| usd / totals.rows as f64),
        });
        let dropped = report.failures.iter().map(|(reason, count)| (format!("request failed: {reason}"), *count)).collect();
        let tokens = Tokens { prompt: totals.prompt_tokens, completion: totals.completion_tokens };
        Ok(StageResult { stats, dropped, tokens, cost_usd: report.cost_usd, ..StageResult::default() })
    }

    fn tell(&self, before: Progress, now: &Progress) {
        let Some(unit) = self.unit else { return };
        let mut all = before;
        all.add(now);
        let fields = [
            ("in_flight", all.in_flight as f64),
            ("failed", all.failed as f64),
            ("completion_tokens", all.completion_tokens as f64),
            ("cost_usd", all.spent_usd),
        ];
        self.cx.progress(all.rows, self.total, unit, &fields);
    }
}

fn run_error(error: RunError) -> StageError {
    match error {
        RunError::Generate(error) => generate_error(error),
        RunError::Problem(source) | RunError::Sink(source) => stage_error(source),
        other => StageError::failed(other.to_string()),
    }
}

/// What a stage's own iterator or sink said, as it said it.
pub(crate) fn stage_error(source: BoxError) -> StageError {
    match source.downcast::<StageError>() {
        Ok(error) => *error,
        Err(source) => StageError::failed("rows cannot be read or written").caused_by(source),
    }
}
