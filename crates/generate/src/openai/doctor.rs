//! Is the teacher well? What a server can do, found out by asking it.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{OpenAi, reply};

/// What one server showed.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointReport {
    /// Its address.
    pub base_url: String,
    /// The models it offers, or why it would not say.
    pub models: Result<Vec<String>, String>,
    /// A tiny chat with the configured model, or why there was none.
    pub chat: Result<ChatReport, String>,
}

/// What a tiny chat showed.
#[derive(Debug, Clone, Serialize)]
pub struct ChatReport {
    /// From sending to the last byte, in milliseconds, making the connection included.
    pub latency_ms: u64,
    /// The same on a connection that was there, in milliseconds: the median of what was asked after the first.
    pub warm_latency_ms: Option<u64>,
    /// The head of the reply.
    pub reply: String,
    /// The reply came with its reasoning told apart, or with tags that tell it apart.
    pub reasoning: bool,
    /// The reply counts its tokens.
    pub usage: bool,
    /// Parameters that the server takes: `seed`, `n`, `logprobs`, `stream`, `max_completion_tokens`, each with the
    /// server's words where it does not.
    pub parameters: Vec<(String, Result<(), String>)>,
}

/// The longest head of a reply that a report shows, in characters.
const HEAD: usize = 80;

impl OpenAi {
    /// Asks each server for its models and a few tiny chats (at most 16 tokens each), one at a time. Retries nothing
    /// and stays within `timeout_seconds` for each request.
    pub async fn examine(&self) -> Vec<EndpointReport> {
        let mut reports = Vec::new();
        for server in 0..self.config.servers().len() {
            reports.push(EndpointReport {
                base_url: self.sender.url(server).to_owned(),
                models: self.models(server).await,
                chat: self.tiny_chat(server).await,
            });
        }
        reports
    }

    /// The models that the first server offers.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn list_models(&self) -> Result<Vec<String>, String> {
        self.models(0).await
    }

    async fn models(&self, server: usize) -> Result<Vec<String>, String> {
        let body = self.sender.get(server, "models").await.map_err(|fault| fault.message)?;
        let listed: Value = serde_json::from_slice(&body).map_err(|error| format!("no JSON: {error}"))?;
        let models = listed.get("data").and_then(Value::as_array).ok_or("the reply holds no list of models")?;
        Ok(models.iter().filter_map(|model| model.get("id")?.as_str().map(str::to_owned)).collect())
    }

    async fn tiny_chat(&self, server: usize) -> Result<ChatReport, String> {
        let began = Instant::now();
        let reply = self.try_with(server, Map::new()).await?;
        let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wishes = [
            ("seed", json!({ "seed": 7 })),
            ("n", json!({ "n": 2 })),
            ("logprobs", json!({ "logprobs": true, "top_logprobs": 1 })),
            ("stream", json!({ "stream": true })),
            ("max_completion_tokens", json!({ "max_completion_tokens": 16 })),
        ];
        let (mut parameters, mut warm) = (Vec::new(), Vec::new());
        for (name, wish) in wishes {
            let Value::Object(wish) = wish else { continue };
            let began = Instant::now();
            let result = self.try_with(server, wish).await;
            warm.extend(result.is_ok().then(|| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)));
            parameters.push((name.to_owned(), result.and_then(|reply| granted(name, &reply))));
        }
        warm.sort_unstable();
        let choice = reply.choices.first();
        let text = choice.map(|choice| choice.response.chars().take(HEAD).collect());
        Ok(ChatReport {
            latency_ms,
            warm_latency_ms: warm.get(warm.len() / 2).copied(),
            reply: text.unwrap_or_default(),
            reasoning: choice.is_some_and(|choice| choice.reasoning.is_some()),
            usage: reply.usage.completion_tokens.is_some(),
            parameters,
        })
    }

    async fn try_with(&self, server: usize, wish: Map<String, Value>) -> Result<reply::Reply, String> {
        let mut body = json!({
            "model": self.config.model,
            "messages": [{ "role": "user", "content": "Say hello." }],
        });
        if let Some(fields) = body.as_object_mut() {
            if !wish.contains_key("max_completion_tokens") {
                let limit = serde_json::to_value(self.config.max_tokens_field).unwrap_or_default();
                fields.insert(limit.as_str().unwrap_or("max_tokens").to_owned(), json!(16));
            }
            fields.extend(self.config.extra_body.clone());
            fields.extend(wish);
        }
        let body = self.sender.send(server, Bytes::from(body.to_string())).await.map_err(|fault| fault.message)?;
        reply::read(&body).map_err(|fault| fault.message)
    }
}

/// Servers may take a parameter and ignore it.
fn granted(name: &str, reply: &reply::Reply) -> Result<(), String> {
    let choices = reply.choices.len();
    match name {
        "n" if choices != 2 => Err(format!("asked for 2 choices, got {choices}")),
        "logprobs" if reply.choices.iter().all(|choice| choice.logprobs.is_none()) => Err("taken, but none came".into()),
        _ => Ok(()),
    }
}
