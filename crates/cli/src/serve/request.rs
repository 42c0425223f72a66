//! Chat completion requests.

use std::collections::BTreeMap;

use potstill_model::generate::{Decoder, Decoding, Request, ThinkingBudget};
use potstill_model::{ChatMessage, RenderOptions};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fault::Fault;

/// Samples of one request at most.
const MOST_SAMPLES: usize = 128;
/// Stop strings at most.
const MOST_STOPS: usize = 16;
/// Alternatives per token at most, as in OpenAI's API.
const MOST_LOGPROBS: usize = 20;

/// Fields that are accepted and change nothing here.
const IGNORED: [&str; 7] = ["model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"];
/// Fields that are understood, but only with the value that changes nothing.
const NEUTRAL: [(&str, f64); 2] = [("presence_penalty", 0.0), ("frequency_penalty", 0.0)];

/// A request that can be run.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) request: Request,
    /// Send chunks as they come.
    pub(super) stream: bool,
    /// Send the usage with the last chunk.
    pub(super) include_usage: bool,
    /// The prompt has opened the thinking already.
    pub(super) thinking: bool,
}

/// Takes fields out of the body; whatever is left at the end is not understood.
struct Body(Map<String, Value>);

impl Body {
    fn take<T: DeserializeOwned>(&mut self, field: &str, expected: &str) -> Result<Option<T>, Fault> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let shown = value.to_string();
                let found = shown.chars().take(80).collect::<String>();
                serde_json::from_value(value)
                    .map(Some)
                    .map_err(|_| Fault::invalid(field, format!("{field} must be {expected}, found {found}")))
            }
        }
    }

    fn within<T: DeserializeOwned + PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        field: &str,
        expected: &str,
        (low, high): (T, T),
    ) -> Result<Option<T>, Fault> {
        let value = self.take::<T>(field, expected)?;
        match value {
            Some(value) if !(value >= low && value <= high) => {
                Err(Fault::invalid(field, format!("{field} must be between {low} and {high}, found {value}")))
            }
            other => Ok(other),
        }
    }
}

/// Reads a request; `name` is the model that is served, `date` today's, `seed` what is drawn from when the request has no seed.
pub(super) fn read(body: Value, decoder: &Decoder, name: &str, date: &str, seed: u64) -> Result<Chat, Fault> {
    let Value::Object(map) = body else {
        return Err(Fault::unreadable(axum::http::StatusCode::BAD_REQUEST, "the body must be a JSON object"));
    };
    let mut body = Body(map);
    if let Some(model) = body.take::<String>("model", "a string")?
        && model != name
    {
        return Err(Fault::not_found(Some("model_not_found"), format!("the model `{model}` is not served here, `{name}` is")));
    }
    refuse_unsupported(&mut body)?;
    let (ids, thinking) = prompt(&mut body, decoder, date)?;
    let samples = body.within("n", "a whole number", (1, MOST_SAMPLES))?.unwrap_or(1);
    let seed = body.take::<i64>("seed", "a whole number")?.map_or(seed, i64::cast_unsigned);
    let stream = body.take("stream", "true or false")?.unwrap_or(false);
    let include_usage =
        body.take::<Map<String, Value>>("stream_options", "an object")?.is_some_and(|o| o.get("include_usage") == Some(&Value::Bool(true)));
    let decoding = decoding(&mut body, decoder, ids.len())?;
    if let Some(field) = body.0.keys().find(|field| !IGNORED.contains(&field.as_str())) {
        return Err(Fault::invalid(field, format!("{field} is not understood")).with_code("unknown_parameter"));
    }
    let request = Request { ids, seeds: (0..samples as u64).map(|sample| seed.wrapping_add(sample)).collect(), decoding, stream };
    Ok(Chat { request, stream, include_usage, thinking })
}

/// Refuses what would change the answer and is not there; drops what asks for nothing.
fn refuse_unsupported(body: &mut Body) -> Result<(), Fault> {
    for (field, neutral) in NEUTRAL {
        if let Some(value) = body.take::<f64>(field, "a number")?
            && value != neutral
        {
            return Err(Fault::invalid(field, format!("{field} is not supported, only {neutral} is; repetition_penalty is")));
        }
    }
    for field in ["tools", "functions", "logit_bias"] {
        let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if body.take::<Value>(field, "")?.is_some_and(|value| !empty(&value)) {
            return Err(Fault::invalid(field, format!("{field} is not supported")));
        }
    }
    for field in ["tool_choice", "function_call", "parallel_tool_calls"] {
        body.0.remove(field);
    }
    match body.take::<Value>("response_format", "")? {
        Some(format) if format["type"] != "text" => {
            Err(Fault::invalid("response_format", format!("only the type text is supported, found {}", format["type"])))
        }
        _ => Ok(()),
    }
}

/// The prompt's tokens, and whether it ends inside of thinking.
fn prompt(body: &mut Body, decoder: &Decoder, date: &str) -> Result<(Vec<u32>, bool), Fault> {
    let messages = body.take::<Vec<Value>>("messages", "a list of messages")?.unwrap_or_default();
    if messages.is_empty() {
        return Err(Fault::invalid("messages", "messages must hold at least one message"));
    }
    let messages = messages.iter().enumerate().map(|(at, message)| message_of(at, message)).collect::<Result<Vec<_>, _>>()?;
    let extra = body.take::<BTreeMap<String, Value>>("chat_template_kwargs", "an object")?.unwrap_or_default();
    let options = RenderOptions { add_generation_prompt: true, date: Some(date.to_owned()), extra };
    let wrong = |error: potstill_model::Error| Fault::invalid("messages", error.to_string());
    let text = decoder.template().and_then(|template| template.render(&messages, &options)).map_err(wrong)?;
    let ids = decoder.tokenizer.encode(&text).map_err(wrong)?;
    Ok((ids, text.trim_end().ends_with("<think>")))
}

fn message_of(at: usize, message: &Value) -> Result<ChatMessage, Fault> {
    let place = |field: &str| format!("messages[{at}].{field}");
    let role = message["role"].as_str().ok_or_else(|| Fault::invalid(&place("role"), "a message needs a role, a string"))?;
    let content = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(parts) => {
            let text = |part: &Value| (part["type"] == "text").then(|| part["text"].as_str().map(str::to_owned)).flatten();
            let parts: Option<Vec<String>> = parts.iter().map(text).collect();
            parts.ok_or_else(|| Fault::invalid(&place("content"), "only parts of the type text are supported"))?.concat()
        }
        other => return Err(Fault::invalid(&place("content"), format!("content must be a string or a list of parts, found {other}"))),
    };
    let reasoning = ["reasoning_content", "reasoning"].iter().find_map(|field| message[*field].as_str()).map(str::to_owned);
    Ok(ChatMessage { role: role.to_owned(), content, reasoning })
}

fn decoding(body: &mut Body, decoder: &Decoder, prompt: usize) -> Result<Decoding, Fault> {
    let context = decoder.config().max_position_embeddings;
    let newer = body.take::<usize>("max_completion_tokens", "a whole number")?;
    let asked = body.take::<usize>("max_tokens", "a whole number")?;
    let max_new_tokens = newer.or(asked).unwrap_or_else(|| context.saturating_sub(prompt).max(1));
    let wants = body.take("logprobs", "true or false")?.unwrap_or(false);
    let top = body.within("top_logprobs", "a whole number", (0, MOST_LOGPROBS))?;
    if top.is_some() && !wants {
        return Err(Fault::invalid("top_logprobs", "top_logprobs needs logprobs = true"));
    }
    let decoding = Decoding {
        max_new_tokens,
        temperature: body.within("temperature", "a number", (0.0, 2.0))?.unwrap_or(1.0),
        top_p: body.within("top_p", "a number", (0.0, 1.0))?.unwrap_or(1.0),
        top_k: body.take::<i64>("top_k", "a whole number")?.map_or(0, |k| usize::try_from(k).unwrap_or(0)),
        min_p: body.within("min_p", "a number", (0.0, 1.0))?.unwrap_or(0.0),
        repetition_penalty: body.take("repetition_penalty", "a number")?.unwrap_or(1.0),
        stop_ids: Vec::new(),
        stop_strings: stops(body)?,
        logprobs: wants.then(|| top.unwrap_or(0)),
        special_tokens: decoder.marks_thinking_specially(),
        thinking: body
            .take::<ThinkingBudget>("thinking", "an object with max_tokens, extensions, extend_with, open, close or conclude_with")?,
    };
    decoding.validate().map_err(|error| Fault::invalid("body", error.to_string()))?;
    Ok(decoding)
}

fn stops(body: &mut Body) -> Result<Vec<String>, Fault> {
    let stops = match body.take::<Value>("stop", "")? {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(list) => {
            serde_json::from_value::<Vec<String>>(list).map_err(|_| Fault::invalid("stop", "stop must be a string or a list of strings"))?
        }
    };
    if stops.len() > MOST_STOPS {
        return Err(Fault::invalid("stop", format!("at most {MOST_STOPS} stop strings are supported, found {}", stops.len())));
    }
    Ok(stops)
}
