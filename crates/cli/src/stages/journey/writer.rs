//! The writer: a teacher that makes one flowing train of thought of a composed journey.
//!
//! O1 Replication Journey found that raw concatenations train poorly. What the writer returns is verified again by the
//! composer: a text that changes the answer or loses the mistake is not used, and counted.

use std::collections::BTreeMap;

use potstill_curate::journey::Draft;
use potstill_data::Message;
use potstill_generate::Sampling;
use potstill_generate::driver::{Ask, RunOptions};
use potstill_pipeline::{StageContext, StageError, StageResult};

use crate::app::App;
use crate::asking::Asking;

/// Asked when no prompt file is named.
pub(super) const PROMPT: &str = "Rewrite this draft of a solution as one flowing train of thought in the first person. Keep every step, keep the mistake and the moment at which it is noticed, and keep the final answer exactly. Reply with the rewritten thought alone.\n\nProblem:\n{problem}\n\nDraft:\n{draft}";

/// A teacher with its prompt.
pub(super) struct Writer<'a> {
    asking: Asking<'a>,
    prompt: String,
}

impl<'a> Writer<'a> {
    /// The teacher of that name with the prompt, in which `{problem}` and `{draft}` are replaced.
    ///
    /// # Errors
    /// The teacher cannot be asked.
    pub(super) fn new(cx: &'a StageContext<'a, App>, teacher: &str, prompt: String, max_tokens: u32) -> Result<Self, StageError> {
        let sampling = Sampling { seed: Some(cx.rng_seed("journey/writer")), max_tokens, ..Sampling::default() };
        let asking = Asking::new(cx, teacher, RunOptions { sampling, ..RunOptions::default() })?;
        Ok(Self { asking, prompt })
    }

    /// The rewritten thought of every draft by the draft's id; a draft without one was not answered.
    ///
    /// # Errors
    /// The teacher cannot be asked at all, or the run is cancelled.
    pub(super) fn write(&mut self, drafts: &[&Draft]) -> Result<BTreeMap<String, String>, StageError> {
        let mut written = BTreeMap::new();
        let asks: Vec<(String, Ask)> = drafts.iter().map(|draft| (draft.sample_id.clone(), self.ask(draft))).collect();
        self.asking.each(asks.into_iter().map(Ok), &mut |id, answers| {
            written.extend(answers.attempts.into_iter().map(|attempt| (id.clone(), attempt.response)));
            Ok(())
        })?;
        Ok(written)
    }

    /// What writing took.
    ///
    /// # Errors
    /// Every request failed.
    pub(super) fn finish(self) -> Result<StageResult, StageError> {
        self.asking.finish()
    }

    fn ask(&self, draft: &Draft) -> Ask {
        let thought = draft.reasoning.as_deref().unwrap_or(&draft.response);
        let text = self.prompt.replace("{problem}", &draft.right.problem.prompt).replace("{draft}", thought);
        Ask::new(draft.sample_id.clone(), [Message::new("user", text)])
    }
}
