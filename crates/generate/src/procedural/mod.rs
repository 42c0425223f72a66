//! The procedural teacher: a program that writes its search out as text. It is no language model.
//!
//! It solves problems that it can also pose (Countdown, multi-step arithmetic) and puts every step on paper: wrong
//! turns, noticing them, going back, and the answer. Training on such streams of search teaches a small student more
//! than the solution alone (Gandhi et al., "Stream of Search", arXiv 2404.03683). It needs no network, key or weights,
//! so it shows the whole pipeline on any machine, and its mistakes (on request) give verification work to do.

mod arithmetic;
mod countdown;
mod problems;

use std::sync::Arc;

use async_trait::async_trait;
use potstill_data::Problem;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use problems::{ProblemSpec, Problems, Task};

use crate::error::GenerateError;
use crate::request::{ChatRequest, Completion, Generator, GeneratorKind, Tools, Usage};

/// How much of its search the procedural teacher writes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Everything it tries, wrong turns included, in the order tried.
    #[default]
    Search,
    /// The steps of the solution alone.
    Direct,
}

/// Settings of `kind = "procedural"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProceduralConfig {
    /// How much of the search is written down.
    pub style: Style,
    /// Share of attempts that end without an answer, 0 to 1.
    pub gives_up: f64,
    /// Share of attempts that end with a wrong answer, 0 to 1: a slip that is not noticed.
    pub ends_wrong: f64,
    /// Share of arithmetic steps that go wrong at first and are noticed (search style); Countdown has wrong turns of its own.
    pub slips: f64,
    /// Intermediate results above this are not pursued in Countdown.
    pub max_value: i64,
    /// Pairs of numbers tried in Countdown before it gives up.
    pub max_tries: u32,
}

impl Default for ProceduralConfig {
    fn default() -> Self {
        Self { style: Style::Search, gives_up: 0.0, ends_wrong: 0.0, slips: 0.3, max_value: 60, max_tries: 400 }
    }
}

impl ProceduralConfig {
    fn check(&self) -> Result<(), GenerateError> {
        for (key, share) in [("gives_up", self.gives_up), ("ends_wrong", self.ends_wrong), ("slips", self.slips)] {
            if !(0.0..=1.0).contains(&share) {
                let message = format!("a share from 0 to 1, found {share}");
                return Err(GenerateError::Config { field: key.to_owned(), message });
            }
        }
        if self.gives_up + self.ends_wrong > 1.0 {
            let sum = self.gives_up + self.ends_wrong;
            let message = format!("together with `gives_up` at most 1, found {sum}");
            return Err(GenerateError::Config { field: "ends_wrong".to_owned(), message });
        }
        Ok(())
    }
}

/// How one attempt is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Right,
    Wrong,
    GivesUp,
}

/// What a solver writes: its search, and the final answer if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    reasoning: String,
    answer: Option<String>,
}

/// The teacher of `kind = "procedural"`.
pub struct Procedural {
    config: ProceduralConfig,
    name: String,
}

impl Procedural {
    /// Checks the settings.
    ///
    /// # Errors
    /// A share outside 0 to 1.
    pub fn new(config: ProceduralConfig) -> Result<Self, GenerateError> {
        config.check()?;
        let style = match config.style {
            Style::Search => "search",
            Style::Direct => "direct",
        };
        Ok(Self { config, name: format!("procedural-{style}") })
    }

    /// Solves one problem; the draw decides how the attempt ends and where it slips.
    fn solve(&self, problem: &Problem, rng: &mut ChaCha8Rng) -> Result<Written, GenerateError> {
        let unsolvable = |why: String| {
            let id = &problem.problem_id;
            GenerateError::Other(format!("the procedural teacher solves Countdown and arithmetic only, not problem {id}: {why}"))
        };
        let tests = problem.tests.as_deref().ok_or_else(|| unsolvable("`tests` is empty".into()))?;
        let tests: Tests = serde_json::from_str(tests).map_err(|e| unsolvable(format!("`tests` does not say which ({e})")))?;
        let ending = self.ending(rng);
        match (tests.expression, tests.numbers, tests.target) {
            (Some(expression), _, _) => arithmetic::solve(&expression, &self.config, ending, rng).map_err(unsolvable),
            (None, Some(numbers), Some(target)) => Ok(countdown::solve(&numbers, target, &self.config, ending, rng)),
            _ => Err(unsolvable("`tests` holds neither `expression` nor `numbers` and `target`".into())),
        }
    }

    fn ending(&self, rng: &mut ChaCha8Rng) -> Ending {
        let draw: f64 = rng.random();
        if draw < self.config.gives_up {
            Ending::GivesUp
        } else if draw < self.config.gives_up + self.config.ends_wrong {
            Ending::Wrong
        } else {
            Ending::Right
        }
    }
}

/// What the problem's `tests` column tells a solver.
#[derive(Deserialize)]
struct Tests {
    expression: Option<String>,
    #[serde(alias = "nums")]
    numbers: Option<Vec<i64>>,
    target: Option<i64>,
}

#[async_trait]
impl Generator for Procedural {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "kind": "procedural", "settings": self.config })
    }

    async fn complete(&self, request: &ChatRequest) -> Result<Completion, GenerateError> {
        let mut rng = sample_rng(request);
        let written = self.solve(&request.problem, &mut rng)?;
        let response = match written.answer {
            Some(answer) => format!("<answer>{answer}</answer>"),
            None => "I give up.".to_owned(),
        };
        let usage = Usage {
            prompt_tokens: Some(words(&request.problem.prompt)),
            completion_tokens: Some(words(&written.reasoning) + words(&response)),
            reasoning_tokens: Some(words(&written.reasoning)),
            estimated: true,
            ..Usage::default()
        };
        Ok(Completion {
            reasoning: Some(written.reasoning),
            response,
            finish_reason: "stop".to_owned(),
            usage,
            tries: 1,
            ..Completion::default()
        })
    }

    fn journaled(&self) -> bool {
        false
    }
}

/// A generator of its own for each sample, so that neither order nor other problems change it.
fn sample_rng(request: &ChatRequest) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&request.sampling.seed.unwrap_or(0).to_le_bytes());
    hasher.update(&request.sample_index.to_le_bytes());
    hasher.update(request.problem.problem_id.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Words and signs, which is what the text's tokens come down to; marked as an estimate.
fn words(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

/// The entry of [`crate::GENERATORS`].
pub(crate) const KIND: GeneratorKind = GeneratorKind {
    name: "procedural",
    about: "solves Countdown and arithmetic by writing its search out as text (no language model, no network)",
    schema: || schemars::schema_for!(ProceduralConfig),
    build,
};

fn build(settings: serde_json::Value, _tools: Tools) -> Result<Arc<dyn Generator>, GenerateError> {
    let config: ProceduralConfig =
        serde_json::from_value(settings).map_err(|e| GenerateError::Config { field: "procedural".to_owned(), message: e.to_string() })?;
    Ok(Arc::new(Procedural::new(config)?))
}
