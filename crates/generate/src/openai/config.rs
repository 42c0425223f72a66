//! The settings of an OpenAI-compatible teacher.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::BatchConfig;
use crate::budget::Price;
use crate::error::GenerateError;

/// An OpenAI-compatible endpoint: a hosted service, or vLLM, SGLang, llama.cpp and the like.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Where the API is, usually ending in `/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Several servers of the same model; requests go to the one with the most room for its weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointConfig>,
    /// The model's name as the server knows it.
    pub model: String,
    /// The name of the environment variable that holds the key (never the key itself).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// A file that holds the key and that only its owner may read (mode 0600).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
    /// The header that carries the key; `Authorization: Bearer KEY` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_header: Option<String>,
    /// More headers of each request; no keys here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// More fields of each request's body, for what a server offers beyond the standard.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// The most requests in flight at once; fewer when the servers push back.
    #[serde(default = "defaults::max_concurrency")]
    pub max_concurrency: usize,
    /// How long one request may take, in seconds.
    #[serde(default = "defaults::timeout_seconds")]
    pub timeout_seconds: f64,
    /// How often a request that failed (not: was turned away) is sent again.
    #[serde(default = "defaults::retries")]
    pub retries: u32,
    /// How long a request may be turned away (429, 503) or a server be unreachable before that counts as failure, in
    /// seconds.
    #[serde(default = "defaults::patience_seconds")]
    pub patience_seconds: f64,
    /// The model's tokenizer, a `tokenizer.json` or the folder that holds it: counts what the server does not count, and
    /// prompts for `plan`. Without it such counts are rough guesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// The service's limit of requests per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// The service's limit of tokens per minute, prompt and completion together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// What its tokens cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The most that may be spent on this teacher in one run, in USD. Needs `price`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// Ask for server-sent events; only for proxies that close quiet connections, it costs the client much more work.
    #[serde(default)]
    pub stream: bool,
    /// Ask for this many samples of a problem in one request (the `n` parameter), where the server supports it.
    #[serde(default = "defaults::choices_per_request")]
    pub choices_per_request: u32,
    /// Ask through the service's batch API: within a day, at the price times `price.batch_factor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchConfig>,
    /// What the server calls the limit of tokens.
    #[serde(default)]
    pub max_tokens_field: TokensField,
    /// Send each sample's seed; off for servers that refuse the parameter.
    #[serde(default = "defaults::send_seed")]
    pub send_seed: bool,
    /// The most bytes of one reply.
    #[serde(default = "defaults::max_reply_bytes")]
    pub max_reply_bytes: usize,
}

/// One of several servers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Where its API is, usually ending in `/v1`.
    pub base_url: String,
    /// Its share of the requests, relative to the others.
    #[serde(default = "defaults::weight")]
    pub weight: f64,
}

/// What a server calls the limit of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokensField {
    /// `max_tokens`: nearly every server.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: `OpenAI`'s reasoning models.
    MaxCompletionTokens,
}

mod defaults {
    pub(super) fn max_concurrency() -> usize {
        64
    }
    pub(super) fn timeout_seconds() -> f64 {
        1800.0
    }
    pub(super) fn retries() -> u32 {
        5
    }
    pub(super) fn patience_seconds() -> f64 {
        600.0
    }
    pub(super) fn choices_per_request() -> u32 {
        1
    }
    pub(super) fn send_seed() -> bool {
        true
    }
    pub(super) fn max_reply_bytes() -> usize {
        32 << 20
    }
    pub(super) fn weight() -> f64 {
        1.0
    }
}

impl OpenAiConfig {
    /// The settings of a server with everything else at its default.
    #[must_use]
    pub fn new(base_url: &str, model: &str) -> Self {
        Self {
            base_url: Some(base_url.to_owned()),
            endpoints: Vec::new(),
            model: model.to_owned(),
            api_key_env: None,
            api_key_file: None,
            api_key_header: None,
            headers: BTreeMap::new(),
            extra_body: serde_json::Map::new(),
            max_concurrency: defaults::max_concurrency(),
            timeout_seconds: defaults::timeout_seconds(),
            retries: defaults::retries(),
            patience_seconds: defaults::patience_seconds(),
            tokenizer: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            price: None,
            max_cost_usd: None,
            stream: false,
            choices_per_request: defaults::choices_per_request(),
            batch: None,
            max_tokens_field: TokensField::default(),
            send_seed: defaults::send_seed(),
            max_reply_bytes: defaults::max_reply_bytes(),
        }
    }

    /// Every server with its weight.
    pub(super) fn servers(&self) -> Vec<EndpointConfig> {
        let single = self.base_url.iter().map(|base_url| EndpointConfig { base_url: base_url.clone(), weight: 1.0 });
        single.chain(self.endpoints.iter().cloned()).collect()
    }

    /// Checks what can be checked without a network.
    ///
    /// # Errors
    /// [`GenerateError::Config`] naming the first setting that cannot work.
    pub fn check(&self) -> Result<(), GenerateError> {
        let servers = self.servers();
        if servers.is_empty() {
            return Err(wrong("base_url", "missing: where is the server?"));
        }
        for server in &servers {
            check_url(&server.base_url)?;
            if !(server.weight.is_finite() && server.weight > 0.0) {
                return Err(wrong("endpoints.weight", format!("expected more than 0, found {}", server.weight)));
            }
        }
        if self.model.trim().is_empty() {
            return Err(wrong("model", "empty"));
        }
        let at_least_one = [
            ("max_concurrency", self.max_concurrency),
            ("choices_per_request", self.choices_per_request as usize),
            ("requests_per_minute", self.requests_per_minute.unwrap_or(1) as usize),
            ("tokens_per_minute", self.tokens_per_minute.unwrap_or(1) as usize),
            ("max_reply_bytes", self.max_reply_bytes),
        ];
        if let Some((field, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(wrong(field, "expected at least 1, found 0"));
        }
        // A million seconds is eleven days; beyond it a timeout is a mistake of units.
        for (field, value) in [("timeout_seconds", self.timeout_seconds), ("patience_seconds", self.patience_seconds)] {
            if !(value > 0.0 && value <= 1e6) {
                return Err(wrong(field, format!("expected more than 0 and at most 1000000, found {value}")));
            }
        }
        // A header that carries a key would put it into a file that is made to be shared.
        if let Some(name) = self.headers.keys().find(|name| carries_a_key(name)) {
            return Err(wrong(
                &format!("headers.{name}"),
                "carries a key, which belongs in api_key_env (and api_key_header names the header)",
            ));
        }
        if self.batch.is_some() && self.choices_per_request > 1 {
            return Err(wrong("choices_per_request", "a batch API is asked for one choice a request"));
        }
        self.price.map_or(Ok(()), |price| price.check())?;
        match (self.max_cost_usd, self.price) {
            (Some(_), None) => Err(wrong("max_cost_usd", "needs `price`: what a token costs is never guessed")),
            (Some(cap), _) if !(cap.is_finite() && cap >= 0.0) => Err(wrong("max_cost_usd", format!("expected at least 0, found {cap}"))),
            _ => Ok(()),
        }
    }
}

fn check_url(text: &str) -> Result<(), GenerateError> {
    // An address with a key in it is not repeated.
    let shown = if text.contains(['@', '?']) { "this" } else { text };
    let url = reqwest::Url::parse(text).map_err(|error| wrong("base_url", format!("`{shown}` is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("base_url", format!("expected http:// or https://, found {}://", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("base_url", "holds a user name, a password or a query; keys belong in api_key_env"));
    }
    Ok(())
}

fn carries_a_key(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    name.ends_with("token") || ["authorization", "api-key", "apikey", "secret", "cookie"].iter().any(|word| name.contains(word))
}

pub(super) fn wrong(field: &str, message: impl Into<String>) -> GenerateError {
    GenerateError::Config { field: field.to_owned(), message: message.into() }
}
