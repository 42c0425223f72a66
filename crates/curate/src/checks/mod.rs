//! Checks: what a reply must not be. Each names its own reason; a row is dropped for the first that it fails.
//!
//! To add one: a file here with a type that implements [`Check`], a setting in [`ChecksConfig`], a line in [`CHECKS`].

mod form;
mod function_words;
mod language;
mod loops;
mod rewards;

use std::sync::Arc;

use potstill_data::{Attempt, Problem, Sample};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::error::CurateError;

pub use language::{Script, prose, scripts};
pub use loops::{Repetition, repetition};
pub use rewards::{Rewards, rewards};

/// The parts of a row that checks look at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The task.
    pub prompt: &'a str,
    /// The reference answer.
    pub gold: Option<&'a str>,
    /// The thought, where it is kept apart.
    pub reasoning: Option<&'a str>,
    /// The reply.
    pub response: &'a str,
    /// Was the reply cut off by a limit?
    pub truncated: bool,
    /// Tokens of thought and reply, as counted by the teacher.
    pub tokens: Option<u32>,
}

impl<'a> From<&'a Attempt> for View<'a> {
    fn from(row: &'a Attempt) -> Self {
        Self {
            prompt: &row.problem.prompt,
            gold: row.problem.gold.as_deref(),
            reasoning: row.reasoning.as_deref(),
            response: &row.response,
            truncated: row.truncated,
            tokens: row.completion_tokens,
        }
    }
}

impl<'a> From<&'a Problem> for View<'a> {
    /// A task without a reply: only checks of the prompt make sense.
    fn from(row: &'a Problem) -> Self {
        Self { prompt: &row.prompt, gold: row.gold.as_deref(), reasoning: None, response: "", truncated: false, tokens: None }
    }
}

impl<'a> From<&'a Sample> for View<'a> {
    /// The last user turn and the last assistant turn.
    fn from(row: &'a Sample) -> Self {
        let last = |role: &str| row.messages.iter().rev().find(|m| m.role == role);
        let reply = last("assistant");
        Self {
            prompt: last("user").map_or("", |m| &m.content),
            gold: None,
            reasoning: reply.and_then(|m| m.reasoning.as_deref()),
            response: reply.map_or("", |m| &m.content),
            truncated: false,
            tokens: None,
        }
    }
}

/// One check.
pub trait Check: Send + Sync {
    /// Keep, or drop with the check's reason.
    fn check(&self, row: &View<'_>) -> Decision;
}

/// Counts the tokens of a text with a named tokenizer; `None` where it cannot encode the text.
pub type CountTokens = Arc<dyn Fn(&str) -> Option<usize> + Send + Sync>;

/// The `checks` table of a `filter` stage; every check is off unless set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChecksConfig {
    /// Drop empty replies.
    pub empty: bool,
    /// Drop replies that were cut off by a limit.
    pub truncated: bool,
    /// Drop replies that end in a loop or repeat themselves (see `repeated_share`).
    pub loops: bool,
    /// Share of a text's word 8-grams that stood in it before, above which it counts as repetitive.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub repeated_share: f64,
    /// Drop replies whose think marks do not pair up, and those without any thought.
    pub think_tags: bool,
    /// Drop replies that change script or language within their prose (formulas and code are not looked at; scripts
    /// that stand in the prompt are allowed).
    pub one_language: bool,
    /// Drop problems whose prompt states its own answer.
    pub leaked_answer: bool,
    /// Drop refusals.
    pub refusals: bool,
    /// Drop replies of fewer tokens.
    pub min_tokens: Option<u32>,
    /// Drop replies of more tokens.
    pub max_tokens: Option<u32>,
}

impl ChecksConfig {
    /// Is a check switched on that looks at the reply?
    #[must_use]
    pub fn of_replies(&self) -> bool {
        let lengths = self.min_tokens.is_some() || self.max_tokens.is_some();
        self.empty || self.truncated || self.loops || self.think_tags || self.one_language || self.refusals || lengths
    }
}

impl Default for ChecksConfig {
    fn default() -> Self {
        Self {
            empty: false,
            truncated: false,
            loops: false,
            repeated_share: 0.5,
            think_tags: false,
            one_language: false,
            leaked_answer: false,
            refusals: false,
            min_tokens: None,
            max_tokens: None,
        }
    }
}

/// An entry of the table of checks.
pub struct CheckKind {
    /// The setting that switches it on.
    pub name: &'static str,
    /// What it drops.
    pub about: &'static str,
    /// The check, if the settings switch it on.
    pub build: fn(&ChecksConfig, Option<&CountTokens>) -> Option<Box<dyn Check>>,
}

impl std::fmt::Debug for CheckKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckKind").field("name", &self.name).finish_non_exhaustive()
    }
}

fn on<C: Check + 'static>(switch: bool, check: C) -> Option<Box<dyn Check>> {
    if switch { Some(Box::new(check)) } else { None }
}

/// All checks, the cheap ones first.
pub static CHECKS: &[CheckKind] = &[
    CheckKind { name: "empty", about: "empty replies", build: |c, _| on(c.empty, form::Empty) },
    CheckKind { name: "truncated", about: "replies cut off by a limit", build: |c, _| on(c.truncated, form::Truncated) },
    CheckKind {
        name: "think_tags",
        about: "think marks that do not pair up, and replies without thought",
        build: |c, _| on(c.think_tags, form::ThinkTags),
    },
    CheckKind { name: "refusals", about: "refusals", build: |c, _| on(c.refusals, form::Refusal) },
    CheckKind {
        name: "leaked_answer",
        about: "prompts that state their own answer",
        build: |c, _| on(c.leaked_answer, form::LeakedAnswer),
    },
    CheckKind {
        name: "min_tokens, max_tokens",
        about: "replies too short or too long",
        build: |c, count| {
            let check = form::Length { min: c.min_tokens, max: c.max_tokens, count: count.cloned() };
            on(c.min_tokens.is_some() || c.max_tokens.is_some(), check)
        },
    },
    CheckKind {
        name: "loops",
        about: "replies that end in a loop or repeat themselves",
        build: |c, _| on(c.loops, loops::Loops { repeated_share: c.repeated_share }),
    },
    CheckKind {
        name: "one_language",
        about: "replies that change script or language",
        build: |c, _| on(c.one_language, language::OneLanguage),
    },
];

/// The checks that the settings switch on.
pub struct Checks(Vec<Box<dyn Check>>);

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checks({})", self.0.len())
    }
}

impl Checks {
    /// Builds them. Without `count` lengths are those that the teacher counted.
    ///
    /// # Errors
    /// A share outside 0 to 1, or a `min_tokens` above `max_tokens`.
    pub fn new(config: &ChecksConfig, count: Option<&CountTokens>) -> Result<Self, CurateError> {
        if !(0.0..=1.0).contains(&config.repeated_share) {
            return Err(CurateError::OutOfRange {
                setting: "repeated_share",
                limit: "from 0 to 1".into(),
                found: config.repeated_share.to_string(),
            });
        }
        if let (Some(min), Some(max)) = (config.min_tokens, config.max_tokens)
            && min > max
        {
            return Err(CurateError::OutOfRange {
                setting: "min_tokens",
                limit: format!("at most max_tokens = {max}"),
                found: min.to_string(),
            });
        }
        Ok(Self(CHECKS.iter().filter_map(|kind| (kind.build)(config, count)).collect()))
    }

    /// Is no check switched on?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first reason to drop the row, or keep.
    #[must_use]
    pub fn decide<'a>(&self, row: impl Into<View<'a>>) -> Decision {
        let row = row.into();
        self.0.iter().map(|c| c.check(&row)).find(|d| !d.is_keep()).unwrap_or(Decision::Keep)
    }
}
