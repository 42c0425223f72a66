//! What is sent.

use potstill_data::Message;
use serde::Serialize;
use serde_json::{Map, Value};

use super::config::{OpenAiConfig, TokensField};
use crate::request::ChatRequest;

/// Body of `POST /chat/completions`.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The body that asks for `choices` samples, the first of them being `request`'s.
pub(super) fn body(config: &OpenAiConfig, request: &ChatRequest, choices: u32) -> Vec<u8> {
    let sampling = &*request.sampling;
    let limit = |field| (config.max_tokens_field == field).then_some(sampling.max_tokens);
    let body = Body {
        model: &config.model,
        messages: request.messages.iter().map(|message| Turn { role: &message.role, content: &message.content }).collect(),
        max_tokens: limit(TokensField::MaxTokens),
        max_completion_tokens: limit(TokensField::MaxCompletionTokens),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop: &sampling.stop,
        seed: sampling.sample_seed(request.sample_index).filter(|_| config.send_seed),
        n: (choices > 1).then_some(choices),
        logprobs: sampling.top_logprobs.map(|_| true),
        top_logprobs: sampling.top_logprobs.filter(|count| *count > 0),
        stream: config.stream.then_some(true),
        stream_options: config.stream.then_some(StreamOptions { include_usage: true }),
        extra: &config.extra_body,
    };
    // Strings, numbers and maps with string keys: serialising them cannot fail.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The most tokens that a prompt can be: no tokenizer makes a token of less than a byte, and chat templates add a few
/// a turn. For the budget, which must never be too low.
pub(super) fn prompt_tokens_at_most(messages: &[Message]) -> u32 {
    u32::try_from(prompt_bytes(messages) + 32 * (messages.len() + 1)).unwrap_or(u32::MAX)
}

/// A guess at a prompt's tokens, for rate limits.
pub(super) fn prompt_tokens_about(messages: &[Message]) -> u32 {
    u32::try_from(prompt_bytes(messages).div_ceil(4) + 4 * messages.len()).unwrap_or(u32::MAX)
}

fn prompt_bytes(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.role.len() + message.content.len()).sum()
}
