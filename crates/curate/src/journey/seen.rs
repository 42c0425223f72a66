//! One attempt as the composer reads it: thought apart from answer, its committed answers, its first mistake.

use potstill_data::{Attempt, Verdict};

use super::{Committed, Eyes};
use crate::text::{apart, whole};

/// Different answers of one text that are judged; a looping trace may commit to thousands.
const JUDGED: usize = 16;

/// An attempt, read once.
pub(super) struct Seen<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) id: String,
    pub(super) reasoning: Option<String>,
    pub(super) response: String,
    /// Reasoning and response as one text.
    pub(super) text: String,
    /// Over `text`, in order.
    pub(super) committed: Vec<Committed>,
    pub(super) verdict: Verdict,
}

/// The first wrong thing in a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mistake {
    /// The wrong answer; `None` for a wrong turn without one.
    pub(super) answer: Option<String>,
    /// Where it has been said, in bytes of the text.
    pub(super) end: usize,
}

impl<'a> Seen<'a> {
    pub(super) fn new(attempt: &'a Attempt, eyes: &Eyes<'_>) -> Self {
        let (reasoning, response) = apart(attempt.reasoning.as_deref(), &attempt.response);
        let text = whole(reasoning.as_deref(), &response).into_owned();
        let mut committed = (eyes.answers)(&text);
        // An empty answer is a form to be filled (`\boxed{}` quoted from the task), not a commitment; a span beyond the
        // text or inside a character would be the caller's slip.
        committed.retain(|c| {
            !c.text.trim().is_empty()
                && c.span.start <= c.span.end
                && text.is_char_boundary(c.span.start)
                && text.is_char_boundary(c.span.end)
        });
        let mut verdict = attempt.verdict.unwrap_or_else(|| (eyes.judge)(attempt));
        if verdict == Verdict::Correct && response != attempt.response.trim() {
            // Parted from its thought, the answer must still be one.
            verdict = judge_text(attempt, None, response.clone(), eyes);
        }
        Self { attempt, id: attempt.attempt_id(), reasoning, response, text, committed, verdict }
    }

    /// Whole and right.
    pub(super) fn is_right(&self) -> bool {
        self.verdict == Verdict::Correct && !self.attempt.truncated && !self.response.is_empty()
    }

    /// The first wrong answer before the last one, or else the first of the `wrong_turns` phrases.
    pub(super) fn mistake(&self, eyes: &Eyes<'_>, wrong_turns: &[String]) -> Option<Mistake> {
        let (last, earlier) = match self.committed.split_last() {
            Some((last, earlier)) => (Some(last), earlier),
            None => (None, [].as_slice()),
        };
        let mut judged: Vec<&str> = last.iter().map(|l| l.text.as_str()).collect();
        for answer in earlier {
            if judged.contains(&answer.text.as_str()) {
                continue;
            }
            if judged.len() > JUDGED {
                break;
            }
            judged.push(&answer.text);
            if judge_answer(self.attempt, &answer.text, eyes) == Verdict::Incorrect {
                return Some(Mistake { answer: Some(answer.text.clone()), end: answer.span.end });
            }
        }
        let before = last.map_or(self.text.as_str(), |l| &self.text[..l.span.start]);
        let turn = |phrase: &String| before.find(phrase.as_str()).map(|at| at + phrase.len());
        wrong_turns.iter().filter(|p| !p.is_empty()).filter_map(turn).min().map(|end| Mistake { answer: None, end })
    }

    /// The last committed answer, if the judge finds it wrong.
    pub(super) fn wrong_answer(&self, eyes: &Eyes<'_>) -> Option<&Committed> {
        let last = self.committed.last()?;
        (judge_answer(self.attempt, &last.text, eyes) == Verdict::Incorrect).then_some(last)
    }

    /// The text up to and including the line of `answer`, with what closes a display formula or a tag on the next one.
    pub(super) fn through(&self, answer: &Committed) -> &str {
        let line_end = |from: usize| self.text[from..].find('\n').map_or(self.text.len(), |n| from + n);
        let mut end = line_end(answer.span.end);
        let next = self.text[end..].strip_prefix('\n').map(|_| &self.text[end + 1..line_end(end + 1)]);
        if next.is_some_and(|line| matches!(line.trim().trim_end_matches('.'), "\\]" | "$$" | "</answer>" | "\\end{align*}")) {
            end = line_end(end + 1);
        }
        self.text[..end].trim_end()
    }

    /// The text before the line on which `answer` begins.
    pub(super) fn before(&self, answer: &Committed) -> &str {
        let start = self.text[..answer.span.start].rfind('\n').unwrap_or(0);
        self.text[..start].trim_end()
    }

    /// A trace without separate reasoning, parted at the last paragraph: what is said finally stands alone if the
    /// mistake lies before it.
    pub(super) fn parted(&self, mistake: &Mistake) -> (Option<String>, String) {
        if self.reasoning.is_some() {
            return (self.reasoning.clone(), self.response.clone());
        }
        let last = self.committed.last().map_or(self.text.len(), |c| c.span.start);
        match self.text[..last].rfind("\n\n") {
            Some(at) if at >= mistake.end => (Some(self.text[..at].trim_end().to_owned()), self.text[at..].trim().to_owned()),
            _ => (None, self.response.clone()),
        }
    }
}

/// The verdict on an answer alone. It is put into mark-up that every verifier reads.
pub(super) fn judge_answer(attempt: &Attempt, answer: &str, eyes: &Eyes<'_>) -> Verdict {
    let response = if balanced(answer) { format!("\\boxed{{{answer}}}") } else { format!("<answer>{answer}</answer>") };
    judge_text(attempt, None, response, eyes)
}

/// The verdict on another text in place of an attempt's own.
pub(super) fn judge_text(attempt: &Attempt, reasoning: Option<&str>, response: String, eyes: &Eyes<'_>) -> Verdict {
    (eyes.judge)(&Attempt {
        problem: attempt.problem.clone(),
        sample_index: attempt.sample_index,
        reasoning: reasoning.map(str::to_owned),
        response,
        finish_reason: "stop".into(),
        ..Attempt::default()
    })
}

fn balanced(text: &str) -> bool {
    let mut depth = 0_i64;
    for c in text.chars() {
        depth += i64::from(c == '{') - i64::from(c == '}');
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}
