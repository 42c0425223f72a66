//! A teacher rewrites traces that somebody already has (Sky-T1's reformatting step), and what it changes is checked.
//!
//! The rewritten attempt keeps its problem and its place in the data; only its text is new. A rewrite that does not end
//! in the original's answer is turned down.

use potstill_data::{Attempt, Message, Problem, Scalar, Verdict};

use crate::driver::{Ask, BoxError};

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

    /// The chat that asks for a rewrite.
    #[must_use]
    pub fn ask(&self, attempt: &Attempt) -> Ask {
        let system = self.system.iter().map(|system| Message::new("system", system.trim_end()));
        Ask::new(attempt.attempt_id(), system.chain([Message::new("user", self.fill(attempt))]))
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
}

impl Rewriter {
    /// The original with the reply's text, if that still ends in the same answer; the original and the reason if not:
    /// `request_failed`, `truncated`, `no_sections`, `empty`, `answer_changed`.
    ///
    /// # Errors
    /// Whatever `grade` says.
    pub fn settle(&self, original: Attempt, reply: Option<Attempt>, grade: &Grade<'_>) -> Result<Rewrite, BoxError> {
        let dropped = |original, reason| Ok(Rewrite::Dropped(Box::new(original), reason));
        let Some(reply) = reply else { return dropped(original, "request_failed") };
        if reply.truncated {
            return dropped(original, "truncated");
        }
        let Some(text) = self.text_of(&reply) else { return dropped(original, "no_sections") };
        if text.1.is_empty() {
            return dropped(original, "empty");
        }
        let rewritten = rewritten(&original, reply, text);
        let before = if original.verdict.is_some() { original.clone() } else { grade(original.clone())? };
        let after = grade(rewritten)?;
        if same_answer(&before, &after, grade)? { Ok(Rewrite::Kept(Box::new(after))) } else { dropped(original, "answer_changed") }
    }

    /// Thought and solution of a reply. Where the prompt asks for the marks, what stands between them counts, so that a
    /// reasoning model's thinking about rewriting is not taken for the trace; otherwise the reply as it was read.
    fn text_of(&self, reply: &Attempt) -> Option<(Option<String>, String)> {
        if !self.template.contains(THOUGHT.0) {
            return Some((reply.reasoning.clone(), reply.response.clone()));
        }
        let (_, rest) = reply.response.split_once(THOUGHT.0)?;
        let (thought, rest) = rest.split_once(THOUGHT.1)?;
        let (_, rest) = rest.split_once(SOLUTION.0)?;
        let solution = rest.rsplit_once(SOLUTION.1).map_or(rest, |(solution, _)| solution);
        Some((Some(thought.trim().to_owned()).filter(|thought| !thought.is_empty()), solution.trim().to_owned()))
    }
}

/// Marks of the two sections that the shipped prompt asks for.
const THOUGHT: (&str, &str) = ("[thought]", "[/thought]");
const SOLUTION: (&str, &str) = ("[solution]", "[/solution]");

/// Gives an attempt its verdict and the answer that was read.
pub type Grade<'a> = dyn Fn(Attempt) -> Result<Attempt, BoxError> + Sync + 'a;

/// The original with the reply's text, not graded yet.
fn rewritten(original: &Attempt, reply: Attempt, (reasoning, response): (Option<String>, String)) -> Attempt {
    let mut attempt = Attempt {
        reasoning,
        response,
        truncated: false,
        finish_reason: reply.finish_reason,
        completion_tokens: reply.completion_tokens,
        reasoning_tokens: None,
        tokens_estimated: reply.tokens_estimated,
        cost_usd: [original.cost_usd, reply.cost_usd].into_iter().flatten().reduce(|a, b| a + b),
        verdict: None,
        extracted: None,
        proof: None,
        verifier_note: None,
        ..original.clone()
    };
    attempt.problem.meta.insert(META_REWRITTEN_BY.into(), Scalar::Text(reply.teacher));
    if let Some(key) = reply.request_key {
        attempt.problem.meta.insert(META_REWRITE_KEY.into(), Scalar::Text(key));
    }
    attempt
}

/// Whether a rewrite ends where the original did. Right stays right. Wrong stays wrong in the same way: the original's
/// answer is the gold that the rewrite is held against. An original in which no answer could be read (code in no block,
/// Sky-T1's reason to rewrite before grading) had none to change.
fn same_answer(before: &Attempt, after: &Attempt, grade: &Grade<'_>) -> Result<bool, BoxError> {
    if before.verdict == Some(Verdict::Correct) {
        return Ok(after.verdict == Some(Verdict::Correct));
    }
    let Some(answer) = &before.extracted else { return Ok(true) };
    if after.verdict == Some(Verdict::Correct) {
        return Ok(false);
    }
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    if after.extracted.as_ref().is_some_and(|found| bare(found) == bare(answer)) {
        return Ok(true);
    }
    let problem = Problem { gold: Some(answer.clone()), ..after.problem.clone() };
    Ok(grade(Attempt { problem, ..after.clone() })?.verdict == Some(Verdict::Correct))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the number at the end and compares it with the gold answer.
    fn grade(attempt: Attempt) -> Result<Attempt, BoxError> {
        let number: String = attempt.response.chars().filter(char::is_ascii_digit).collect();
        let right = attempt.problem.gold.as_deref() == Some(number.trim_start_matches('0'));
        let verdict = if right { Verdict::Correct } else { Verdict::Incorrect };
        Ok(Attempt { verdict: Some(verdict), extracted: Some(number).filter(|n| !n.is_empty()), ..attempt })
    }

    fn original(response: &str) -> Attempt {
        let problem = Problem { prompt: "Q".into(), gold: Some("42".into()), ..Problem::default() };
        Attempt { problem, response: response.into(), reasoning: Some("hm {response}".into()), cost_usd: Some(1.0), ..Attempt::default() }
    }

    fn reply(text: &str) -> Attempt {
        Attempt { response: text.into(), teacher: "writer".into(), cost_usd: Some(0.5), ..Attempt::default() }
    }

    #[test]
    fn a_template_is_filled_once() {
        let rewriter = Rewriter::new(None, "Rewrite \\boxed{}: {trace} for {prompt}".into()).unwrap();
        let ask = rewriter.ask(&original("It is 42, {prompt}."));
        assert_eq!(ask.messages[0].content, "Rewrite \\boxed{}: hm {response}\n\nIt is 42, {prompt}. for Q");
        assert!(Rewriter::new(None, "{prompt}".into()).is_err());
    }

    fn marked(text: &str) -> Attempt {
        reply(&format!("Here it is.\n[thought]\nlet me see\n[/thought]\n[solution]\n{text}\n[/solution]"))
    }

    fn sections() -> Rewriter {
        Rewriter::new(None, "[thought] … [/thought] [solution] … [/solution] {trace}".into()).unwrap()
    }

    #[test]
    fn a_rewrite_takes_the_place_of_the_text_and_adds_its_cost() {
        // The editor's own thinking is not the trace.
        let reply = Attempt { reasoning: Some("How shall I put it?".into()), ..marked("It is 42.") };
        let Rewrite::Kept(kept) = sections().settle(original("It is 42."), Some(reply), &grade).unwrap() else { panic!("dropped") };
        assert_eq!((kept.reasoning.as_deref(), kept.response.as_str(), kept.cost_usd), (Some("let me see"), "It is 42.", Some(1.5)));
        assert_eq!((kept.verdict, kept.extracted.as_deref()), (Some(Verdict::Correct), Some("42")));
        assert_eq!(kept.problem.meta[META_REWRITTEN_BY], Scalar::Text("writer".into()));
        // A prompt of one's own without the marks: the reply as it was read.
        let plain = Rewriter::new(None, "{trace}".into()).unwrap();
        let reply = Attempt { reasoning: Some("read from tags".into()), ..super::tests::reply("42") };
        let Rewrite::Kept(kept) = plain.settle(original("42"), Some(reply), &grade).unwrap() else { panic!("dropped") };
        assert_eq!(kept.reasoning.as_deref(), Some("read from tags"));
    }

    #[test]
    fn a_rewrite_that_changes_the_answer_is_turned_down() {
        let fate = |before: &str, after: Option<Attempt>| match sections().settle(original(before), after, &grade).unwrap() {
            Rewrite::Kept(_) => "kept",
            Rewrite::Dropped(row, reason) => {
                assert_eq!(*row, original(before));
                reason
            }
        };
        assert_eq!(fate("42", Some(marked("It is 43."))), "answer_changed");
        assert_eq!(fate("42", Some(marked("It is."))), "answer_changed");
        assert_eq!(fate("41", Some(marked("It is 42."))), "answer_changed", "a mistake is not mended on the sly");
        assert_eq!(fate("41", Some(marked("It is 40."))), "answer_changed");
        assert_eq!(fate("41", Some(marked("It is 41."))), "kept");
        assert_eq!(fate("41", Some(marked("It is 041."))), "kept", "another way to write the same");
        assert_eq!(fate("no number", Some(marked("It is 42."))), "kept");
        assert_eq!(fate("42", Some(marked(""))), "empty");
        assert_eq!(fate("42", Some(reply("It is 42."))), "no_sections");
        assert_eq!(fate("42", Some(Attempt { truncated: true, ..marked("42") })), "truncated");
        assert_eq!(fate("42", None), "request_failed");
    }
}
