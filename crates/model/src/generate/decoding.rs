//! How a sequence is continued.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How tokens are chosen and when a sequence ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// Most tokens to generate per prompt.
    pub max_new_tokens: usize,
    /// Softmax temperature; 0 always takes the most probable token.
    pub temperature: f32,
    /// Nucleus: sample from the most probable tokens that together reach this probability. 1 is off.
    pub top_p: f32,
    /// Sample from this many most probable tokens. 0 is off.
    pub top_k: usize,
    /// Drop tokens less probable than this fraction of the most probable one. 0 is off.
    pub min_p: f32,
    /// Logits of tokens that already occurred are divided (positive) or multiplied (negative) by this. 1 is off.
    pub repetition_penalty: f32,
    /// Tokens that end a sequence; the model's own when empty.
    pub stop_ids: Vec<u32>,
    /// Strings that end a sequence; they are cut off.
    pub stop_strings: Vec<String>,
    /// Report each token's log-probability, and those of this many most probable tokens at its place.
    pub logprobs: Option<usize>,
    /// Print special tokens in the text, except the one that ends the sequence.
    pub special_tokens: bool,
    /// Bounds on the thinking before the answer.
    pub thinking: Option<ThinkingBudget>,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            max_new_tokens: 512,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            stop_ids: Vec::new(),
            stop_strings: Vec::new(),
            logprobs: None,
            special_tokens: false,
            thinking: None,
        }
    }
}

/// Budget forcing (Muennighoff et al. 2025, s1, arXiv:2501.19393): thinking that goes on for too long is ended, and an end
/// that comes too early is replaced by a word that makes the model go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThinkingBudget {
    /// Thinking is ended after this many tokens. `max_new_tokens` must leave room for the answer.
    pub max_tokens: Option<usize>,
    /// How often an end of thinking is taken back.
    pub extensions: u32,
    /// What stands in its place then.
    pub extend_with: String,
    /// Opens thinking. A prompt may end with it.
    pub open: String,
    /// Closes thinking.
    pub close: String,
    /// What is written when `max_tokens` are reached; it contains `close`.
    pub conclude_with: String,
}

impl Default for ThinkingBudget {
    fn default() -> Self {
        Self {
            max_tokens: None,
            extensions: 0,
            extend_with: "Wait".into(),
            open: "<think>".into(),
            close: "</think>".into(),
            conclude_with: "\n</think>\n\n".into(),
        }
    }
}

/// How much is computed together. Results on the CPU do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Sequences decoded together.
    pub size: usize,
    /// Threads.
    pub threads: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { size: 32, threads: 1 }
    }
}

fn wrong<T>(name: &str, limit: &str, found: impl ToString) -> Result<T> {
    Err(Error::Generate(format!("{name} must be {limit}, found {}", found.to_string())))
}

impl Batching {
    pub(crate) fn validate(&self) -> Result<()> {
        if self.size == 0 || self.threads == 0 {
            return wrong("batch size and threads", "at least 1", 0);
        }
        Ok(())
    }
}

impl Decoding {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// Names the setting, its range and the value found.
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return wrong("temperature", "finite and not negative", self.temperature);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", "above 0 and at most 1", self.top_p);
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min_p", "between 0 and 1", self.min_p);
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return wrong("repetition_penalty", "finite and positive", self.repetition_penalty);
        }
        if self.max_new_tokens == 0 {
            return wrong("max_new_tokens", "at least 1", 0);
        }
        if self.stop_strings.iter().any(String::is_empty) {
            return wrong("a stop string", "at least one character long", "an empty one");
        }
        self.thinking.as_ref().map_or(Ok(()), ThinkingBudget::validate)
    }
}

impl Decoding {
    /// Marks of thinking may be special tokens, so a budget for thinking has them printed.
    pub(crate) fn prints_special(&self) -> bool {
        self.special_tokens || self.thinking.is_some()
    }
}

impl ThinkingBudget {
    fn validate(&self) -> Result<()> {
        if self.open.is_empty() || self.close.is_empty() {
            return wrong("thinking.open and thinking.close", "at least one character long", "an empty one");
        }
        if !self.conclude_with.contains(&self.close) {
            return wrong("thinking.conclude_with", &format!("a text that contains {:?}", self.close), format!("{:?}", self.conclude_with));
        }
        if self.extensions > 0 && self.extend_with.is_empty() {
            return wrong("thinking.extend_with", "at least one character long", "an empty one");
        }
        Ok(())
    }
}
