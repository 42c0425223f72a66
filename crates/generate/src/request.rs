//! The contract between whoever asks and whatever answers.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use potstill_data::{Message, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Price};
use crate::error::GenerateError;
use crate::secret::SecretKey;
use crate::tokens::TokenCounter;

/// How the model draws its tokens. Every field enters the request's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Temperature; 0 is greedy. The server's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus: the share of probability mass to draw from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The most tokens of one reply, reasoning included. Also what a reply costs at worst.
    pub max_tokens: u32,
    /// Strings that end a reply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Seed of the run; each sample is asked with a seed of its own derived from it ([`Sampling::sample_seed`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Log-probabilities of this many most likely tokens at each place are asked for and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u8>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: None, top_p: None, max_tokens: 4096, stop: Vec::new(), seed: None, top_logprobs: None }
    }
}

impl Sampling {
    /// The seed of one sample: different for each sample index, the same in each run. It fits 31 bits, because some
    /// servers read it as a signed 32-bit number.
    #[must_use]
    pub fn sample_seed(&self, sample_index: u32) -> Option<u32> {
        let seed = self.seed?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&sample_index.to_le_bytes());
        let bytes = hasher.finalize();
        let head = <[u8; 4]>::try_from(&bytes.as_bytes()[..4]).unwrap_or_default();
        Some(u32::from_le_bytes(head) >> 1)
    }
}

/// One question to a model.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The problem behind the messages; procedural solvers read it, endpoints see only the messages.
    pub problem: Arc<Problem>,
    /// The chat so far; the last turn is the user's.
    pub messages: Arc<[Message]>,
    /// How to draw.
    pub sampling: Arc<Sampling>,
    /// Which of a problem's samples this is.
    pub sample_index: u32,
    /// Who pays. A generator that costs money reserves here before each try.
    pub budget: Option<Arc<Budget>>,
}

/// Tokens that a reply took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Of these, how many the server had cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_prompt_tokens: Option<u32>,
    /// Tokens of the reply, reasoning included.
    pub completion_tokens: Option<u32>,
    /// Of these, how many were reasoning.
    pub reasoning_tokens: Option<u32>,
    /// The server did not say: counted here, so not what the bill says.
    pub estimated: bool,
}

/// One token drawn by the teacher, with the most likely ones at its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// Its natural log-probability.
    pub logprob: f64,
    /// The most likely tokens at this place, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(String, f64)>,
}

/// One answer of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The thinking before the answer, apart from it, without its tags.
    pub reasoning: Option<String>,
    /// The answer.
    pub response: String,
    /// Why the model stopped: `stop`, `length`, `content_filter`, …
    pub finish_reason: String,
    /// Tokens taken.
    pub usage: Usage,
    /// What the reply cost when it was bought; absent when no price is known.
    pub cost_usd: Option<f64>,
    /// From sending the request that succeeded to its reply's last byte.
    pub latency_ms: u32,
    /// The request's content key in hex; set by the driver.
    pub request_key: String,
    /// The reply came from the journal and cost nothing now; set by the driver.
    #[serde(default)]
    pub cached: bool,
    /// How often the request was sent (1 when the first try succeeded).
    #[serde(default)]
    pub tries: u32,
    /// The teacher's log-probabilities, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The reply as it came over the wire: what the journal keeps instead of this struct, so that a better reader can
    /// read old replies again.
    #[serde(skip)]
    pub raw: Option<Vec<u8>>,
}

impl Completion {
    /// Whether the reply was cut at `max_tokens`: a result, but an unfinished one.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.finish_reason == "length"
    }
}

/// A reply as the journal keeps it.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// The reply as it came over the wire; only its generator can read it.
    Raw {
        /// The reply's bytes.
        body: Cow<'a, [u8]>,
        /// [`Completion::latency_ms`], which the bytes do not tell.
        latency_ms: u32,
    },
    /// A completion of a generator that has no wire.
    Parsed(Box<Completion>),
}

/// Something that answers.
///
/// The trait is asynchronous because the usual generator waits for a server; one that computes may simply compute.
/// It knows nothing of journals, order or sampling plans: those are the driver's.
#[async_trait]
pub trait Generator: Send + Sync {
    /// The teacher's name, written into every row: the model's name.
    fn name(&self) -> &str;

    /// Everything that decides the answers besides the request: kind, model, settings that reach the model. Never
    /// addresses, keys, concurrency or budgets; it enters fingerprints and request keys.
    fn identity(&self) -> serde_json::Value;

    /// Answers one request.
    ///
    /// # Errors
    /// [`GenerateError`]; retries have already been made.
    async fn complete(&self, request: &ChatRequest) -> Result<Completion, GenerateError>;

    /// Answers several samples of one problem, which differ in `sample_index` only; results in the same order.
    async fn complete_group(&self, requests: &[ChatRequest]) -> Vec<Result<Completion, GenerateError>> {
        futures::future::join_all(requests.iter().map(|request| self.complete(request))).await
    }

    /// How many samples [`Generator::complete_group`] takes in one go.
    fn group_size(&self) -> u32 {
        1
    }

    /// Reads back what the journal kept.
    ///
    /// # Errors
    /// [`GenerateError::Replay`] when the record is not one of this generator's.
    fn replay(&self, request: &ChatRequest, record: Record<'_>) -> Result<Completion, GenerateError> {
        let _ = request;
        match record {
            Record::Parsed(completion) => Ok(*completion),
            Record::Raw { .. } => Err(GenerateError::Replay {
                request_key: String::new(),
                message: format!("holds a server's reply, which {} cannot read", self.name()),
            }),
        }
    }

    /// The most requests that may be in flight at once.
    fn max_concurrency(&self) -> usize {
        1
    }

    /// What tokens cost, when that is known.
    fn price(&self) -> Option<Price> {
        None
    }

    /// The teacher's own cap, shared by every stage that asks it.
    fn budget(&self) -> Option<Arc<Budget>> {
        None
    }

    /// Whether its replies are worth a journal: false where computing one again is as cheap as reading it.
    fn journaled(&self) -> bool {
        true
    }
}

/// An entry of [`crate::GENERATORS`].
pub struct GeneratorKind {
    /// The word in `kind = "…"`.
    pub name: &'static str,
    /// One line for help and documentation.
    pub about: &'static str,
    /// The JSON Schema of the kind's settings.
    pub schema: fn() -> schemars::Schema,
    /// Builds one from its settings (a JSON object without `kind`) and what was found for it.
    pub build: fn(serde_json::Value, Tools) -> Result<Arc<dyn Generator>, GenerateError>,
}

/// What a generator is given beside its settings.
#[derive(Clone, Default)]
pub struct Tools {
    /// The key to its server.
    pub key: Option<SecretKey>,
    /// The tokenizer of its model.
    pub counter: Option<TokenCounter>,
}
