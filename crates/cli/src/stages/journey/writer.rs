//! The writer: a teacher that makes one flowing train of thought of a composed journey.
//!
//! O1 Replication Journey found that raw concatenations train poorly. What the writer returns is verified again by the
//! composer: a text that changes the answer or loses the mistake is not used, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use potstill_curate::journey::Draft;
use potstill_data::{Attempt, Message, Problem};
use potstill_generate::Sampling;
use potstill_generate::driver::{Ask, Driver, RunOptions};
use potstill_pipeline::{StageContext, StageError, Tokens};

use super::super::generate::{open_journal, run_error};
use crate::app::App;

/// Asked when no prompt file is named.
pub(super) const PROMPT: &str = "Rewrite this draft of a solution as one flowing train of thought in the first person. Keep every step, keep the mistake and the moment at which it is noticed, and keep the final answer exactly. Reply with the rewritten thought alone.\n\nProblem:\n{problem}\n\nDraft:\n{draft}";

/// A teacher with its prompt.
pub(super) struct Writer {
    /// The teacher's name in the file.
    pub(super) teacher: String,
    /// The prompt with `{problem}` and `{draft}`.
    pub(super) prompt: String,
    /// Tokens of a rewritten thought at most.
    pub(super) max_tokens: u32,
}

/// What writing cost.
#[derive(Default)]
pub(super) struct Spent {
    pub(super) tokens: Tokens,
    pub(super) cost_usd: Option<f64>,
}

impl Writer {
    /// The rewritten thought of every draft by the draft's id; a draft without one was not answered.
    ///
    /// # Errors
    /// The teacher cannot be asked at all, or the run is cancelled.
    pub(super) fn write(
        &self,
        cx: &StageContext<'_, App>,
        drafts: &[&Draft],
        spent: &mut Spent,
    ) -> Result<BTreeMap<String, String>, StageError> {
        let generator = cx.app.generator(&self.teacher)?;
        let journal = open_journal(cx, generator.journaled())?;
        let sampling = Sampling { seed: Some(cx.rng_seed("journey/writer")), max_tokens: self.max_tokens, ..Sampling::default() };
        let options = RunOptions { sampling, ..RunOptions::default() };
        let driver = Driver {
            runtime: cx.app.runtime(),
            generator,
            options: &options,
            judge: None,
            journal,
            progress: &|_| {},
            cancel: &|| cx.cancelled(),
        };
        let mut written = BTreeMap::new();
        let mut sink = |attempt: Attempt| {
            written.insert(attempt.problem.problem_id, attempt.response);
            Ok(())
        };
        let asks = drafts.iter().map(|draft| Ok(self.ask(draft)));
        let report = driver.run(asks, &mut sink).map_err(run_error)?;
        cx.check_cancelled()?;
        spent.tokens.prompt += report.totals.prompt_tokens;
        spent.tokens.completion += report.totals.completion_tokens;
        spent.cost_usd = report.cost_usd.map(|usd| usd + spent.cost_usd.unwrap_or(0.0)).or(spent.cost_usd);
        Ok(written)
    }

    fn ask(&self, draft: &Draft) -> Ask {
        let thought = draft.reasoning.as_deref().unwrap_or(&draft.response);
        let text = self.prompt.replace("{problem}", &draft.right.problem.prompt).replace("{draft}", thought);
        let problem = Problem { problem_id: draft.sample_id.clone(), ..draft.right.problem.clone() };
        Ask { problem: Arc::new(problem), messages: vec![Message::new("user", text)].into() }
    }
}
