//! Any OpenAI-compatible endpoint as a teacher.
//!
//! One request goes through, in this order: a place at a server ([`limits::router`]), money ([`crate::budget`]), the
//! service's limits per minute ([`limits::rate`]), the wire ([`send`]), and the reader ([`reply`]). A try that fails
//! gives all of that back before it waits for the next, so that nothing idle holds a place.

pub mod batch;
mod client;
mod config;
mod doctor;
mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod limits;
mod reply;
mod send;
mod stream;
mod wire;

#[cfg(test)]
mod corpus_tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use config::{EndpointConfig, OpenAiConfig, TokensField};
pub use doctor::{ChatReport, EndpointReport};

use crate::budget::{Budget, Price};
use crate::error::GenerateError;
use crate::request::{ChatRequest, Completion, Generator, GeneratorKind, Record, Tools};
use crate::secret::SecretKey;
use crate::tokens::TokenCounter;
use limits::rate::Rate;
use limits::retries::RetryBudget;
use limits::router::Router;
use send::Sender;

/// The entry in [`crate::GENERATORS`].
pub(crate) const KIND: GeneratorKind = GeneratorKind {
    name: "openai",
    about: "any OpenAI-compatible endpoint (hosted, vLLM, SGLang, llama.cpp, …)",
    schema: || schemars::schema_for!(OpenAiConfig),
    build: |settings, Tools { key, counter }| {
        let config: OpenAiConfig = serde_json::from_value(settings)
            .map_err(|error| GenerateError::Config { field: "teacher".into(), message: error.to_string() })?;
        if config.batch.is_some() {
            return Ok(Arc::new(batch::BatchOpenAi::new(config, key)?.counting(counter)));
        }
        Ok(Arc::new(OpenAi::new(config, key)?.counting(counter)))
    },
};

/// A teacher behind an HTTP API.
pub struct OpenAi {
    config: OpenAiConfig,
    sender: Sender,
    router: Arc<Router>,
    rate: Rate,
    retries: RetryBudget,
    budget: Arc<Budget>,
    counter: Option<TokenCounter>,
}

impl OpenAi {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`GenerateError::Config`] naming the setting that cannot work.
    pub fn new(config: OpenAiConfig, key: Option<SecretKey>) -> Result<Self, GenerateError> {
        config.check()?;
        send::make_room_for_connections(config.max_concurrency)?;
        let weights: Vec<f64> = config.servers().iter().map(|server| server.weight).collect();
        Ok(Self {
            sender: Sender::new(&config, key)?,
            router: Router::new(&weights, config.max_concurrency, Duration::from_secs_f64(config.patience_seconds)),
            rate: Rate::new(config.requests_per_minute, config.tokens_per_minute),
            retries: RetryBudget::new(config.max_concurrency),
            budget: Budget::new(config.max_cost_usd, None),
            counter: None,
            config,
        })
    }

    /// Counts by this tokenizer what the server does not count.
    #[must_use]
    pub fn counting(mut self, counter: Option<TokenCounter>) -> Self {
        self.set_counter(counter);
        self
    }

    fn set_counter(&mut self, counter: Option<TokenCounter>) {
        self.counter = counter;
    }

    /// The settings it was made of.
    #[must_use]
    pub fn config(&self) -> &OpenAiConfig {
        &self.config
    }
}

#[async_trait]
impl Generator for OpenAi {
    fn name(&self) -> &str {
        &self.config.model
    }

    fn identity(&self) -> serde_json::Value {
        let mut identity = serde_json::json!({ "kind": "openai", "model": self.config.model });
        if let (false, Some(fields)) = (self.config.extra_body.is_empty(), identity.as_object_mut()) {
            fields.insert("extra_body".into(), self.config.extra_body.clone().into());
        }
        identity
    }

    async fn complete(&self, request: &ChatRequest) -> Result<Completion, GenerateError> {
        let mut completions = self.ask(request, 1).await?;
        Ok(completions.swap_remove(0))
    }

    async fn complete_group(&self, requests: &[ChatRequest]) -> Vec<Result<Completion, GenerateError>> {
        let Some(first) = requests.first() else { return Vec::new() };
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let mut results: Vec<Result<Completion, GenerateError>> = match self.ask(first, count).await {
            Ok(completions) => completions.into_iter().map(Ok).collect(),
            // A server that refuses `n` may well answer one at a time.
            Err(GenerateError::Rejected { .. }) if count > 1 => Vec::new(),
            Err(error) => vec![Err(error)],
        };
        results.truncate(requests.len());
        // Servers that ignore `n` send one choice: the others are asked for by themselves.
        let rest = requests[results.len()..].iter().map(|request| self.complete(request));
        results.extend(futures::future::join_all(rest).await);
        results
    }

    fn group_size(&self) -> u32 {
        self.config.choices_per_request
    }

    fn replay(&self, request: &ChatRequest, record: Record<'_>) -> Result<Completion, GenerateError> {
        match record {
            Record::Parsed(completion) => Ok(*completion),
            Record::Raw { body, latency_ms } => {
                let mut reply =
                    reply::read(&body).map_err(|fault| GenerateError::Replay { request_key: String::new(), message: fault.message })?;
                let cost = reply.cost_usd;
                let choice = reply.choices.swap_remove(0);
                Ok(self.completion(request, choice, reply.usage, cost, Duration::from_millis(latency_ms.into())))
            }
        }
    }

    fn max_concurrency(&self) -> usize {
        self.config.max_concurrency
    }

    fn price(&self) -> Option<Price> {
        self.config.price
    }

    fn budget(&self) -> Option<Arc<Budget>> {
        Some(Arc::clone(&self.budget))
    }
}
