//! What comes back: one JSON object, in the dialects that servers speak.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::fault::{Fault, FaultKind};
use crate::request::{TokenLogprob, Usage};
use crate::think;

/// One choice of a reply, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) reasoning: Option<String>,
    pub(super) response: String,
    pub(super) finish_reason: String,
    pub(super) logprobs: Option<Vec<TokenLogprob>>,
}

/// A whole reply, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    /// By their index; a choice that the server left out is absent.
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Usage,
    /// What the server itself says it cost, in USD (`OpenRouter` and others).
    pub(super) cost_usd: Option<f64>,
}

#[derive(Deserialize)]
struct WireReply<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
    // Anthropic's shape: the message is the reply.
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct WireChoice {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    message: Option<WireMessage>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
struct WireMessage {
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    reasoning_content: Option<Value>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    reasoning_details: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
}

/// Reads the body of a 200. Blank lines before it keep slow connections alive and mean nothing (curator#544).
pub(super) fn read(body: &[u8]) -> Result<Reply, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| Fault::new(FaultKind::InvalidUtf8, error.to_string()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(Fault::new(FaultKind::EmptyBody, "status 200 with an empty body"));
    }
    let wire: WireReply<'_> = serde_json::from_str(text).map_err(|error| {
        let head: String = text.chars().take(80).collect();
        Fault::new(FaultKind::InvalidJson, format!("{error}, in {} bytes that begin {head:?}", text.len()))
    })?;
    if let Some(error) = wire.error.as_ref().filter(|error| !error.is_null()) {
        return Err(Fault::in_reply(error));
    }
    let choices = match &wire.choices {
        Some(choices) if !choices.is_empty() => read_choices(choices)?,
        _ if wire.kind.as_deref() == Some("message") || wire.stop_reason.is_some() => {
            let message = WireMessage { content: wire.content, ..WireMessage::default() };
            vec![choice(message, wire.stop_reason.as_deref(), None)]
        }
        _ => return Err(Fault::new(FaultKind::NoChoices, "status 200 without choices")),
    };
    let usage = wire.usage.unwrap_or(Value::Null);
    let cost_usd = usage.get("cost").and_then(Value::as_f64).filter(|cost| cost.is_finite() && *cost >= 0.0);
    Ok(Reply { choices, usage: read_usage(&usage), cost_usd })
}

fn read_choices(raw: &[&RawValue]) -> Result<Vec<Choice>, Fault> {
    let mut choices = Vec::with_capacity(raw.len());
    for (position, raw) in raw.iter().enumerate() {
        let wire: WireChoice =
            serde_json::from_str(raw.get()).map_err(|error| Fault::new(FaultKind::InvalidJson, format!("choice {position}: {error}")))?;
        if let Some(error) = wire.error.as_ref().filter(|error| !error.is_null()) {
            return Err(Fault::in_reply(error));
        }
        let order = wire.index.map_or(position, |index| index as usize);
        choices.push((order, choice(wire.message.unwrap_or_default(), wire.finish_reason.as_deref(), wire.logprobs.as_ref())));
    }
    choices.sort_by_key(|(order, _)| *order);
    Ok(choices.into_iter().map(|(_, choice)| choice).collect())
}

fn choice(message: WireMessage, finish_reason: Option<&str>, logprobs: Option<&Value>) -> Choice {
    let fields = [&message.reasoning_content, &message.reasoning, &message.reasoning_details];
    let mut reasoning = fields.into_iter().flatten().map(text_of).find(|text| !text.trim().is_empty()).unwrap_or_default();
    let mut content = String::new();
    match message.content {
        Some(Value::String(text)) => content = text,
        Some(Value::Array(blocks)) => {
            for block in &blocks {
                let thought = matches!(block.get("type").and_then(Value::as_str), Some("thinking" | "reasoning" | "redacted_thinking"));
                let into = if thought { &mut reasoning } else { &mut content };
                into.push_str(&text_of(block));
            }
        }
        _ => {}
    }
    let mut finish_reason = finish(finish_reason);
    if let Some(refusal) = message.refusal.filter(|refusal| content.trim().is_empty() && !refusal.is_empty()) {
        content = refusal;
        finish_reason = "refusal".into();
    }
    let (tagged, response) = think::split(&content);
    let reasoning = Some(reasoning.trim().to_owned()).filter(|text| !text.is_empty()).or(tagged);
    Choice { reasoning, response, finish_reason, logprobs: logprobs.and_then(read_logprobs) }
}

/// The text of a string, a block, or a list of them.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect(),
        Value::Object(fields) => {
            ["text", "thinking", "content", "summary"].iter().find_map(|key| fields.get(*key)).map(text_of).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// One word for each way to stop, whatever the server calls it.
fn finish(word: Option<&str>) -> String {
    match word {
        None | Some("") => "unknown",
        Some("length" | "max_tokens" | "MAX_TOKENS" | "model_length" | "max_output_tokens" | "max_completion_tokens") => "length",
        Some("stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "STOP" | "COMPLETE") => "stop",
        Some(other) => other,
    }
    .to_owned()
}

fn read_usage(usage: &Value) -> Usage {
    let number = |value: Option<&Value>| {
        let value = value?;
        let number = value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))?;
        Some(u32::try_from(number).unwrap_or(u32::MAX))
    };
    let at = |path: &str| number(usage.pointer(path));
    // Anthropic counts cached prompt tokens apart from the others; OpenAI and DeepSeek count them among them.
    let cached_apart = at("/cache_read_input_tokens");
    let prompt = at("/prompt_tokens").or_else(|| at("/input_tokens").map(|tokens| tokens.saturating_add(cached_apart.unwrap_or(0))));
    Usage {
        prompt_tokens: prompt,
        cached_prompt_tokens: at("/prompt_tokens_details/cached_tokens").or_else(|| at("/prompt_cache_hit_tokens")).or(cached_apart),
        completion_tokens: at("/completion_tokens").or_else(|| at("/output_tokens")),
        reasoning_tokens: at("/completion_tokens_details/reasoning_tokens").or_else(|| at("/reasoning_tokens")),
        // A share of a count for several choices is no count of this one.
        estimated: usage.get("potstill_shared").is_some(),
    }
}

fn read_logprobs(value: &Value) -> Option<Vec<TokenLogprob>> {
    let entries = value.get("content")?.as_array()?;
    let pair = |entry: &Value| Some((entry.get("token")?.as_str()?.to_owned(), entry.get("logprob")?.as_f64()?));
    let read = |entry: &Value| {
        let (token, logprob) = pair(entry)?;
        let top = entry.get("top_logprobs").and_then(Value::as_array).map(|top| top.iter().filter_map(pair).collect());
        Some(TokenLogprob { token, logprob, top: top.unwrap_or_default() })
    };
    Some(entries.iter().filter_map(read).collect())
}

/// One choice of a reply as a reply of its own, for the journal, where each sample has its own record. The choice
/// keeps its bytes. The server counts all choices together: each gets its share by length, and only the first the
/// prompt, which was read (and is paid) once.
pub(super) fn split_choices(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let wire: WireReply<'_> = serde_json::from_str(text).ok()?;
    let mut raw = wire.choices?;
    let index = |raw: &RawValue| serde_json::from_str::<WireChoice>(raw.get()).ok().and_then(|choice| choice.index);
    raw.sort_by_key(|raw| index(raw).unwrap_or(u32::MAX));
    let usage = read_usage(&wire.usage.clone().unwrap_or(Value::Null));
    let cost = wire.usage.as_ref().and_then(|usage| usage.get("cost")).and_then(Value::as_f64);
    let bytes: u64 = raw.iter().map(|raw| raw.get().len() as u64).sum();
    let (mut begun, mut counted) = (0, 0);
    let parts = raw.iter().enumerate().map(|(position, raw)| {
        begun += raw.get().len() as u64;
        let share = serde_json::json!({
            "prompt_tokens": if position == 0 { usage.prompt_tokens } else { usage.prompt_tokens.map(|_| 0) },
            "completion_tokens": usage.completion_tokens.map(|total| {
                // Running totals are rounded, so that the shares add up to what was billed.
                let until = u64::from(total) * begun / bytes.max(1);
                let own = until - counted;
                counted = until;
                own
            }),
            "cost": cost.map(|cost| cost * raw.get().len() as f64 / bytes.max(1) as f64),
            "potstill_shared": true,
        });
        format!("{{\"choices\":[{}],\"usage\":{share}}}", raw.get()).into_bytes()
    });
    Some(parts.collect())
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
