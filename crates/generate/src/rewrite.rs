//! A teacher rewrites traces that somebody already has (Sky-T1's reformatting step), and what it changes is checked.
//!
//! The rewritten attempt keeps its problem and its place in the data; only its text is new. A rewrite whose verdict
//! differs from the original's has changed the answer and is turned down.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use potstill_data::{Attempt, Message, Problem, Scalar, Verdict};
use serde::{Deserialize, Serialize};

use crate::driver::{Ask, BoxError, Driver, RunError, RunReport};

/// Column of `meta` with the name of the model that rewrote a trace.
pub const META_REWRITTEN_BY: &str = "rewritten_by";

/// Column of `meta` with the key of the request that rewrote a trace.
pub const META_REWRITE_KEY: &str = "rewrite_key";

/// How traces are put to the model that rewrites them.
#[derive(Debug, Clone)]
pub struct Rewriter {
    system: Option<String>,
    template: String,
}

/// What came of rewriting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RewriteReport {
    /// The requests.
    pub run: RunReport,
    /// Rewritten traces kept.
    pub kept: u64,
    /// Traces dropped, by reason: `answer_changed`, `truncated`, `empty`, `request_failed`.
    pub dropped: BTreeMap<String, u64>,
}

/// One rewritten trace, or the reason why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Rewrite {
    /// The attempt with its new text, verified.
    Kept(Box<Attempt>),
    /// The original, and why its rewrite was turned down.
    Dropped(Box<Attempt>, &'static str),
}

/// A template that shows the model nothing to rewrite.
#[derive(Debug, thiserror::Error)]
#[error("the rewriting prompt holds neither {{trace}} nor {{response}}")]
pub struct TemplateError;

impl Rewriter {
    /// A system prompt and a template of the user's turn with `{prompt}`, `{reasoning}`, `{response}` and `{trace}`
    /// (reasoning and response together).
    ///
    /// # Errors
    /// [`TemplateError`] when the template shows neither the trace nor the response.
    pub fn new(system: Option<String>, template: String) -> Result<Self, TemplateError> {
        if !template.contains("{trace}") && !template.contains("{response}") {
            return Err(TemplateError);
        }
        Ok(Self { system, template })
    }

    /// The chat that asks for a rewrite. Its problem bears the attempt's id, so that replies find their originals.
    #[must_use]
    pub fn ask(&self, attempt: &Attempt) -> Ask {
        let system = self.system.iter().map(|system| Message::new("system", system.trim_end()));
        let problem = Problem { problem_id: attempt.attempt_id(), source: attempt.problem.source.clone(), ..Problem::default() };
        Ask { problem: Arc::new(problem), messages: system.chain([Message::new("user", self.fill(attempt))]).collect() }
    }

    /// One pass over the template: a trace may itself hold the word `{response}`.
    fn fill(&self, attempt: &Attempt) -> String {
        let reasoning = attempt.reasoning.as_deref().unwrap_or_default();
        let mut text = String::new();
        let mut rest = self.template.as_str();
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let places = ["{prompt}", "{reasoning}", "{response}", "{trace}"];
            let Some(place) = places.into_iter().find(|place| rest.starts_with(place)) else {
                text.push('{');
                rest = &rest[1..];
                continue;
            };
            match place {
                "{prompt}" => text.push_str(&attempt.problem.prompt),
                "{reasoning}" => text.push_str(reasoning),
                "{response}" => text.push_str(&attempt.response),
                _ => text.push_str(&[reasoning, &attempt.response].join("\n\n")),
            }
            rest = &rest[place.len()..];
        }
        text + rest
    }

    /// Rewrites each attempt in order. `sink` gets every attempt once, rewritten or with the reason why not.
    ///
    /// The driver asks once for each attempt; its own judge, `stop_when` and `target_rows` have no place here.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run(
        &self,
        driver: &Driver<'_>,
        attempts: impl Iterator<Item = Result<Attempt, BoxError>>,
        judge: &dyn Fn(&Attempt) -> Verdict,
        sink: &mut dyn FnMut(Rewrite) -> Result<(), BoxError>,
    ) -> Result<RewriteReport, RunError> {
        let waiting: RefCell<VecDeque<Attempt>> = RefCell::default();
        let mut report = RewriteReport::default();
        let asks = attempts.map(|attempt| {
            let attempt = attempt?;
            let ask = self.ask(&attempt);
            waiting.borrow_mut().push_back(attempt);
            Ok(ask)
        });
        let mut deliver = |rewrite: Rewrite| {
            match &rewrite {
                Rewrite::Kept(_) => report.kept += 1,
                Rewrite::Dropped(_, reason) => *report.dropped.entry((*reason).to_owned()).or_default() += 1,
            }
            sink(rewrite)
        };
        let run = driver.run(asks, &mut |reply| {
            // Replies come in order; originals passed over on the way had no reply.
            loop {
                let Some(original) = waiting.borrow_mut().pop_front() else { return Ok(()) };
                if original.attempt_id() == reply.problem.problem_id {
                    return deliver(rewritten(original, reply, judge));
                }
                deliver(Rewrite::Dropped(Box::new(original), "request_failed"))?;
            }
        })?;
        for original in waiting.take() {
            deliver(Rewrite::Dropped(Box::new(original), "request_failed")).map_err(RunError::Sink)?;
        }
        report.run = run;
        Ok(report)
    }
}

/// The original with the reply's text, if it still gives the same answer.
fn rewritten(original: Attempt, reply: Attempt, judge: &dyn Fn(&Attempt) -> Verdict) -> Rewrite {
    // The rewriter's own thinking is about rewriting; what it wrote as the trace stands in its response.
    let (reasoning, response) = crate::think::split(&reply.response);
    let reason = if reply.truncated {
        Some("truncated")
    } else if response.is_empty() {
        Some("empty")
    } else {
        None
    };
    if let Some(reason) = reason {
        return Rewrite::Dropped(Box::new(original), reason);
    }
    let before = original.verdict.unwrap_or_else(|| judge(&original));
    let mut attempt = Attempt {
        reasoning,
        response,
        truncated: false,
        finish_reason: reply.finish_reason,
        completion_tokens: reply.completion_tokens,
        reasoning_tokens: None,
        tokens_estimated: reply.tokens_estimated,
        cost_usd: [original.cost_usd, reply.cost_usd].into_iter().flatten().reduce(|a, b| a + b),
        extracted: None,
        proof: None,
        verifier_note: None,
        ..original.clone()
    };
    attempt.problem.meta.insert(META_REWRITTEN_BY.into(), Scalar::Text(reply.teacher));
    if let Some(key) = reply.request_key {
        attempt.problem.meta.insert(META_REWRITE_KEY.into(), Scalar::Text(key));
    }
    let after = judge(&attempt);
    if after != before {
        return Rewrite::Dropped(Box::new(original), "answer_changed");
    }
    attempt.verdict = Some(after);
    Rewrite::Kept(Box::new(attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(attempt: &Attempt) -> Verdict {
        if attempt.response.contains("42") { Verdict::Correct } else { Verdict::Incorrect }
    }

    fn original() -> Attempt {
        Attempt {
            response: "It is 42, {prompt}.".into(),
            reasoning: Some("hm {response}".into()),
            cost_usd: Some(1.0),
            ..Attempt::default()
        }
    }

    #[test]
    fn a_template_is_filled_once() {
        let rewriter = Rewriter::new(None, "Rewrite \\boxed{}: {trace} for {prompt}".into()).unwrap();
        let ask = rewriter.ask(&Attempt { problem: Problem { prompt: "Q".into(), ..Problem::default() }, ..original() });
        assert_eq!(ask.messages[0].content, "Rewrite \\boxed{}: hm {response}\n\nIt is 42, {prompt}. for Q");
        assert!(Rewriter::new(None, "{prompt}".into()).is_err());
    }

    #[test]
    fn a_rewrite_that_changes_the_answer_is_turned_down() {
        let reply = |text: &str| Attempt { response: text.into(), teacher: "writer".into(), cost_usd: Some(0.5), ..Attempt::default() };
        let good = "<|begin_of_thought|>let me see<|end_of_thought|><|begin_of_solution|>42<|end_of_solution|>";
        let Rewrite::Kept(kept) = rewritten(original(), reply(good), &judge) else { panic!("dropped") };
        assert_eq!((kept.reasoning.as_deref(), kept.response.as_str(), kept.cost_usd), (Some("let me see"), "42", Some(1.5)));
        assert_eq!(kept.problem.meta[META_REWRITTEN_BY], Scalar::Text("writer".into()));
        let cut = Attempt { truncated: true, ..reply("42") };
        for (reply, reason) in [(reply("It is 43."), "answer_changed"), (reply("<think>42"), "empty"), (cut, "truncated")] {
            assert_eq!(rewritten(original(), reply, &judge), Rewrite::Dropped(Box::new(original()), reason));
        }
    }
}
