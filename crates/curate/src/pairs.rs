//! Preference pairs and prompt sets for reinforcement learning.

use potstill_data::{Attempt, Pair, Problem, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::columns::natural;
use crate::error::CurateError;
use crate::render::{RenderConfig, Renderer, problem_meta};
use crate::text::apart;

/// What is preferred to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// The shortest correct attempt to the longest correct one (Sky-T1-Flash: think no longer than needed).
    ShortToLong,
    /// A correct attempt to an incorrect one, of lengths as near as can be (so that length does not give it away).
    CorrectToIncorrect,
}

/// The `pairs` stage's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PairsConfig {
    /// What is preferred to what.
    pub prefer: Preference,
    /// Pairs of one problem, at most.
    #[schemars(range(min = 1))]
    pub per_problem: u32,
    /// For `short_to_long`: the longer must be at least so many times as long.
    pub min_ratio: f64,
    /// How rows become messages.
    pub render: RenderConfig,
}

impl Default for PairsConfig {
    fn default() -> Self {
        Self { prefer: Preference::CorrectToIncorrect, per_problem: 1, min_ratio: 1.25, render: RenderConfig::default() }
    }
}

/// Makes pairs, problem by problem.
#[derive(Debug, Clone)]
pub struct PairMaker {
    config: PairsConfig,
    renderer: Renderer,
}

impl PairMaker {
    /// Checks the settings.
    ///
    /// # Errors
    /// A count of 0, a ratio below 1, or a wrong `render` table.
    pub fn new(config: PairsConfig) -> Result<Self, CurateError> {
        if config.per_problem == 0 {
            return Err(CurateError::OutOfRange { setting: "per_problem", limit: "at least 1".into(), found: "0".into() });
        }
        if !(config.min_ratio.is_finite() && config.min_ratio >= 1.0) {
            let found = config.min_ratio.to_string();
            return Err(CurateError::OutOfRange { setting: "min_ratio", limit: "at least 1".into(), found });
        }
        Ok(Self { renderer: Renderer::new(&config.render)?, config })
    }

    /// The pairs of one problem's attempts (in any order), or why there is none.
    ///
    /// # Errors
    /// The reason, as counted in reports.
    pub fn problem(&self, attempts: &[Attempt]) -> Result<Vec<Pair>, &'static str> {
        let mut whole: Vec<&Attempt> = attempts.iter().filter(|a| !a.truncated && !a.response.trim().is_empty()).collect();
        whole.sort_by(|a, b| length(a).cmp(&length(b)).then_with(|| natural(&a.attempt_id(), &b.attempt_id())));
        let with = |verdict| whole.iter().copied().filter(|a| a.verdict == Some(verdict)).collect::<Vec<_>>();
        let (correct, incorrect) = (with(Verdict::Correct), with(Verdict::Incorrect));
        if correct.is_empty() {
            return Err("no correct attempt");
        }
        let pairs = match self.config.prefer {
            Preference::ShortToLong => self.short_to_long(&correct),
            Preference::CorrectToIncorrect if incorrect.is_empty() => return Err("no incorrect attempt"),
            Preference::CorrectToIncorrect => nearest_lengths(&correct, &incorrect),
        };
        let pairs: Vec<_> = pairs.into_iter().take(self.config.per_problem as usize).enumerate().collect();
        if pairs.is_empty() {
            return Err("correct attempts of like length");
        }
        Ok(pairs.into_iter().map(|(n, (chosen, rejected))| self.pair(n, chosen, rejected)).collect())
    }

    /// The shortest with the longest, the second shortest with the second longest, … while the ratio holds.
    fn short_to_long<'a>(&self, correct: &[&'a Attempt]) -> Vec<(&'a Attempt, &'a Attempt)> {
        let ends = correct.iter().zip(correct.iter().rev()).take(correct.len() / 2);
        let apart = |(short, long): &(&&Attempt, &&Attempt)| length(long) as f64 >= self.config.min_ratio * length(short).max(1) as f64;
        ends.take_while(apart).map(|(s, l)| (*s, *l)).collect()
    }

    fn pair(&self, n: usize, chosen: &Attempt, rejected: &Attempt) -> Pair {
        let turns = |attempt: &Attempt| {
            let (reasoning, response) = apart(attempt.reasoning.as_deref(), &attempt.response);
            let mut messages = self.renderer.messages(&attempt.problem.prompt, reasoning.as_deref(), &response);
            let reply = messages.split_off(messages.len() - 1);
            (messages, reply)
        };
        let ((prompt, good), (_, bad)) = (turns(chosen), turns(rejected));
        Pair {
            pair_id: format!("{}~pair{n}", chosen.problem.problem_id),
            problem_id: chosen.problem.problem_id.clone(),
            source: chosen.problem.source.clone(),
            prompt,
            chosen: good,
            rejected: bad,
            lineage: vec![chosen.attempt_id(), rejected.attempt_id()],
            meta: problem_meta(&chosen.problem),
        }
    }
}

fn length(attempt: &Attempt) -> usize {
    attempt.reasoning.as_ref().map_or(0, String::len) + attempt.response.len()
}

/// Greedy matching, the pair of nearest lengths first; every attempt stands in one pair at most.
fn nearest_lengths<'a>(correct: &[&'a Attempt], incorrect: &[&'a Attempt]) -> Vec<(&'a Attempt, &'a Attempt)> {
    let mut all: Vec<(usize, usize, usize)> = Vec::with_capacity(correct.len() * incorrect.len());
    for (g, good) in correct.iter().enumerate() {
        all.extend(incorrect.iter().enumerate().map(|(b, bad)| (length(good).abs_diff(length(bad)), g, b)));
    }
    all.sort_unstable();
    let (mut good, mut bad) = (vec![true; correct.len()], vec![true; incorrect.len()]);
    let mut free = |g: usize, b: usize| {
        let both = good[g] && bad[b];
        if both {
            (good[g], bad[b]) = (false, false);
        }
        both
    };
    all.into_iter().filter(|(_, g, b)| free(*g, *b)).map(|(_, g, b)| (correct[g], incorrect[b])).collect()
}

/// A problem as a row of an RL prompt set: TRL's GRPO reads `prompt` (and hands `gold` to the reward function), verl
/// reads `data_source`, `prompt`, `ability` and `reward_model`.
#[must_use]
pub fn rl_prompt(problem: &Problem, system_prompt: Option<&str>) -> Value {
    let mut prompt: Vec<Value> = system_prompt.map(|s| json!({ "role": "system", "content": s })).into_iter().collect();
    prompt.push(json!({ "role": "user", "content": problem.prompt }));
    json!({
        "data_source": problem.source,
        "prompt": prompt,
        "ability": problem.domain,
        "gold": problem.gold,
        "reward_model": { "style": "rule", "ground_truth": problem.gold },
        "extra_info": { "problem_id": problem.problem_id, "verifier": problem.verifier, "tests": problem.tests },
    })
}
