//! Checks of a reply's form: whole, thought through, answering, of the right length.

use super::{Check, CountTokens, View};
use crate::decision::Decision;
use crate::text::apart;

fn drop_if(found: bool, reason: &'static str) -> Decision {
    if found { Decision::drop(reason) } else { Decision::Keep }
}

pub(super) struct Empty;

impl Check for Empty {
    fn check(&self, row: &View<'_>) -> Decision {
        drop_if(row.response.trim().is_empty(), "empty response")
    }
}

pub(super) struct Truncated;

impl Check for Truncated {
    fn check(&self, row: &View<'_>) -> Decision {
        drop_if(row.truncated, "truncated")
    }
}

pub(super) struct ThinkTags;

/// Opening and closing marks. The opening `<think>` often stands in the prompt (R1's template), so that a lone closing
/// mark is whole; a second one is not.
const PAIRS: [(&str, &str); 3] =
    [("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|begin_of_solution|>", "<|end_of_solution|>")];

impl Check for ThinkTags {
    fn check(&self, row: &View<'_>) -> Decision {
        for (open, close) in PAIRS {
            let (opened, closed) = (row.response.matches(open).count(), row.response.matches(close).count());
            if opened > closed {
                return Decision::drop("think mark not closed");
            }
            if closed > 1 || row.response.find(close) < row.response.find(open) && opened > 0 {
                return Decision::drop("think marks out of order");
            }
        }
        let (thought, answer) = apart(row.reasoning, row.response);
        if thought.is_none() {
            return Decision::drop("no thought");
        }
        drop_if(answer.is_empty(), "no answer after the thought")
    }
}

pub(super) struct Refusal;

/// Beginnings of refusals, lowercase; looked for in the first sentence or two only.
const REFUSALS: [&str; 14] = [
    "i'm sorry, but i can",
    "i am sorry, but i can",
    "i'm sorry, i can",
    "i apologize, but i can",
    "i can't assist",
    "i cannot assist",
    "i can't help with",
    "i cannot help with",
    "i'm unable to",
    "i am unable to",
    "i cannot provide",
    "as an ai language model",
    "i'm not able to help",
    "i won't be able to",
];

impl Check for Refusal {
    fn check(&self, row: &View<'_>) -> Decision {
        let answer = apart(row.reasoning, row.response).1;
        let head: String = answer.chars().take(160).collect();
        let head = head.to_lowercase().replace('’', "'");
        drop_if(REFUSALS.iter().any(|r| head.contains(r)), "refusal")
    }
}

pub(super) struct LeakedAnswer;

/// What stands before an answer that is given away, lowercase.
const GIVEAWAYS: [&str; 9] = ["answer is", "answer:", "answer =", "####", "\\boxed{", "<answer>", "solution:", "答案是", "réponse est"];

impl Check for LeakedAnswer {
    fn check(&self, row: &View<'_>) -> Decision {
        let Some(gold) = row.gold.map(str::trim).filter(|g| !g.is_empty()) else { return Decision::Keep };
        let (prompt, gold) = (row.prompt.to_lowercase(), gold.to_lowercase());
        let given = |mark: &&str| {
            prompt.match_indices(*mark).any(|(at, _)| {
                let rest = prompt[at + mark.len()..].trim_start_matches([' ', '\n', ':', '$', '*', '(', '`', '"']);
                let end = |after: &str| {
                    !after.starts_with(|c: char| {
                        c.is_alphanumeric() || matches!(c, '.' | ',' | '/') && after[1..].starts_with(|d: char| d.is_ascii_digit())
                    })
                };
                rest.strip_prefix(gold.as_str()).is_some_and(end)
            })
        };
        drop_if(GIVEAWAYS.iter().any(given), "prompt states its answer")
    }
}

pub(super) struct Length {
    pub(super) min: Option<u32>,
    pub(super) max: Option<u32>,
    pub(super) count: Option<CountTokens>,
}

impl Check for Length {
    fn check(&self, row: &View<'_>) -> Decision {
        let known = match &self.count {
            Some(count) => count(row.reasoning.unwrap_or_default()).zip(count(row.response)).map(|(thought, answer)| thought + answer),
            None => row.tokens.map(|tokens| tokens as usize),
        };
        let Some(tokens) = known else { return Decision::drop("length in tokens not known") };
        if self.min.is_some_and(|min| tokens < min as usize) {
            return Decision::drop("fewer tokens than min_tokens");
        }
        drop_if(self.max.is_some_and(|max| tokens > max as usize), "more tokens than max_tokens")
    }
}
