//! Attempts made for tests, and the eyes of a small verifier: answers in `\boxed{}`, right if equal to the gold.
#![allow(dead_code, reason = "each test file uses its own part")]

use potstill_curate::journey::{Committed, Eyes};
use potstill_data::{Attempt, Problem, Verdict};

pub(crate) fn attempt(problem: &str, sample_index: u32, reasoning: Option<&str>, response: &str) -> Attempt {
    let mut attempt = Attempt {
        problem: Problem {
            problem_id: problem.into(),
            source: "test".into(),
            prompt: format!("What is asked in {problem}?"),
            gold: Some("14".into()),
            ..Problem::default()
        },
        sample_index,
        teacher: "t".into(),
        reasoning: reasoning.map(str::to_owned),
        response: response.into(),
        finish_reason: "stop".into(),
        completion_tokens: Some(response.len() as u32),
        ..Attempt::default()
    };
    attempt.verdict = Some(judge(&attempt));
    attempt
}

pub(crate) fn answers(text: &str) -> Vec<Committed> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("\\boxed{").map(|n| at + n + 7) {
        let Some(close) = text[open..].find('}').map(|n| open + n) else {
            break;
        };
        found.push(Committed { text: text[open..close].into(), span: open..close });
        at = close;
    }
    found
}

pub(crate) fn judge(attempt: &Attempt) -> Verdict {
    match answers(&attempt.response).last() {
        Some(last) if Some(&last.text) == attempt.problem.gold.as_ref() => Verdict::Correct,
        _ => Verdict::Incorrect,
    }
}

pub(crate) fn eyes() -> Eyes<'static> {
    Eyes { answers: &answers, judge: &judge }
}
