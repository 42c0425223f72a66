//! The rule rewards of R1-Zero as columns to filter by and to plot.

use potstill_data::{Attempt, Meta, MetaFields, Scalar, ScalarKind, Verdict};

use super::language::{prose, scripts};

/// The three rewards of one attempt, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rewards {
    /// 1 if the verdict is correct; `None` where there is none or it is undecided.
    pub accuracy: Option<f64>,
    /// 1 for a thought that is not empty, then an answer that is not empty; both as marks in the reply
    /// (`<think>…</think> <answer>…</answer>`, the second pair may be missing) or as `reasoning` and `response`.
    pub format: f64,
    /// Share of the letters of the reply's prose that are in the script of the prompt (Latin if it has no letters).
    pub language: f64,
}

impl Rewards {
    /// The meta columns that [`Rewards::write`] may write.
    #[must_use]
    pub fn meta_fields(mut of_rows: MetaFields) -> MetaFields {
        ["reward_accuracy", "reward_format", "reward_language"].iter().for_each(|name| of_rows.add(name, ScalarKind::Float));
        of_rows
    }

    /// The rewards as meta columns: `reward_accuracy`, `reward_format`, `reward_language`.
    pub fn write(&self, meta: &mut Meta) {
        let rewards = [("accuracy", self.accuracy), ("format", Some(self.format)), ("language", Some(self.language))];
        for (name, reward) in rewards {
            if let Some(reward) = reward {
                meta.insert(format!("reward_{name}"), Scalar::Float(reward));
            }
        }
    }
}

/// The rewards of an attempt.
#[must_use]
pub fn rewards(attempt: &Attempt) -> Rewards {
    Rewards {
        accuracy: match attempt.verdict {
            Some(Verdict::Correct) => Some(1.0),
            Some(Verdict::Incorrect) => Some(0.0),
            Some(Verdict::Undecided) | None => None,
        },
        format: f64::from(u8::from(well_formed(attempt.reasoning.as_deref(), &attempt.response))),
        language: language(attempt),
    }
}

fn well_formed(reasoning: Option<&str>, response: &str) -> bool {
    let (thought, answer) = match (reasoning, response.split_once("</think>")) {
        (Some(reasoning), None) => (reasoning, response),
        (None, Some((thought, answer))) => (thought.trim_start().strip_prefix("<think>").unwrap_or(thought), answer),
        _ => return false,
    };
    let answer = answer.trim();
    let answer = answer.strip_prefix("<answer>").and_then(|a| a.strip_suffix("</answer>")).unwrap_or(answer);
    let marks = ["<think>", "</think>", "<answer>", "</answer>"];
    !thought.trim().is_empty() && !answer.trim().is_empty() && !marks.iter().any(|m| thought.contains(m) || answer.contains(m))
}

fn language(attempt: &Attempt) -> f64 {
    let of_prompt = scripts(&prose(&attempt.problem.prompt));
    let main = of_prompt.into_iter().max_by_key(|(_, n)| *n).map_or(super::Script::Latin, |(s, _)| s);
    let mut counts = scripts(&prose(&attempt.response));
    for (script, n) in scripts(&prose(attempt.reasoning.as_deref().unwrap_or_default())) {
        *counts.entry(script).or_default() += n;
    }
    let all: usize = counts.values().sum();
    if all == 0 { 1.0 } else { counts.get(&main).copied().unwrap_or(0) as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_a_thought_and_then_an_answer() {
        assert!(well_formed(None, "<think>a</think> <answer>b</answer>"));
        assert!(well_formed(None, "a</think>b") && well_formed(Some("a"), "b"));
        for bad in ["b", "<think></think>b", "<think>a</think>", "<think>a</think>b</think>", "<think>a</think><answer>b"] {
            assert!(!well_formed(None, bad), "{bad}");
        }
        assert!(!well_formed(Some("a"), "<think>a</think>b"));
    }

    #[test]
    fn rewards_become_columns() {
        let mut attempt = Attempt { response: "So it is 七七七七 x".into(), verdict: Some(Verdict::Correct), ..Attempt::default() };
        attempt.problem.prompt = "What is it?".into();
        let found = rewards(&attempt);
        assert_eq!((found.accuracy, found.format), (Some(1.0), 0.0));
        assert!((found.language - 7.0 / 11.0).abs() < 1e-9, "{}", found.language);
        let mut meta = Meta::new();
        found.write(&mut meta);
        assert_eq!(meta.keys().collect::<Vec<_>>(), ["reward_accuracy", "reward_format", "reward_language"]);
    }
}
