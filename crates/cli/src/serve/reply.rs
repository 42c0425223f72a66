//! Completions as OpenAI's API writes them.

use potstill_generate::think;
use potstill_model::Tokenizer;
use potstill_model::generate::{Finish, Generated, TokenLogprob};
use serde_json::{Map, Value, json};

use super::split::Piece;

/// What every object of one completion says.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

impl Head {
    fn object(&self, object: &str) -> Map<String, Value> {
        let fields = [("id", json!(self.id)), ("object", json!(object)), ("created", json!(self.created)), ("model", json!(self.model))];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The whole completion. `thinking`: the prompt has opened the thinking already.
    pub(super) fn completion(
        &self,
        samples: &[Generated],
        prompt_tokens: usize,
        logprobs: bool,
        thinking: bool,
        tokenizer: &Tokenizer,
    ) -> Value {
        let mut body = self.object("chat.completion");
        let choices = samples.iter().enumerate().map(|(index, sample)| {
            let text = if thinking { format!("<think>{}", sample.text) } else { sample.text.clone() };
            let (reasoning, answer) = think::split(&text);
            let mut message = json!({ "role": "assistant", "content": answer, "refusal": null });
            if let Some(reasoning) = reasoning {
                message["reasoning_content"] = json!(reasoning);
            }
            let logprobs = if logprobs { places(&sample.logprobs, tokenizer) } else { Value::Null };
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": finish(sample.finish) })
        });
        body.insert("choices".into(), choices.collect());
        body.insert("usage".into(), usage(prompt_tokens, samples));
        Value::Object(body)
    }

    fn chunk(&self, choices: Value) -> Map<String, Value> {
        let mut body = self.object("chat.completion.chunk");
        body.insert("choices".into(), choices);
        body
    }

    /// The first chunk of a sample.
    pub(super) fn opening(&self, index: usize) -> Value {
        let delta = json!({ "role": "assistant", "content": "" });
        Value::Object(self.chunk(json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": null }])))
    }

    /// A piece of a sample's text.
    pub(super) fn piece(&self, index: usize, piece: &Piece, logprobs: Value) -> Value {
        let delta = match piece {
            Piece::Reasoning(text) => json!({ "reasoning_content": text }),
            Piece::Answer(text) => json!({ "content": text }),
        };
        Value::Object(self.chunk(json!([{ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null }])))
    }

    /// The last chunk of a sample.
    pub(super) fn closing(&self, index: usize, reason: Finish) -> Value {
        Value::Object(self.chunk(json!([{ "index": index, "delta": {}, "logprobs": null, "finish_reason": finish(reason) }])))
    }

    /// The last chunk of all, with the usage.
    pub(super) fn usage(&self, prompt_tokens: usize, samples: &[Generated]) -> Value {
        let mut body = self.chunk(json!([]));
        body.insert("usage".into(), usage(prompt_tokens, samples));
        Value::Object(body)
    }
}

fn finish(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

fn usage(prompt_tokens: usize, samples: &[Generated]) -> Value {
    let completion: usize = samples.iter().map(|sample| sample.ids.len()).sum();
    json!({ "prompt_tokens": prompt_tokens, "completion_tokens": completion, "total_tokens": prompt_tokens + completion })
}

/// Log-probabilities, token by token.
pub(super) fn places(logprobs: &[TokenLogprob], tokenizer: &Tokenizer) -> Value {
    let token = |id: u32, logprob: f32| {
        let text = tokenizer.decode(&[id], false).unwrap_or_default();
        // The bytes of a token that is part of a character are not known from its text.
        let bytes = (!text.contains('\u{FFFD}')).then(|| text.as_bytes().to_vec());
        json!({ "token": text, "logprob": logprob, "bytes": bytes })
    };
    let place = |place: &TokenLogprob| {
        let mut entry = token(place.id, place.logprob);
        entry["top_logprobs"] = place.top.iter().map(|&(id, logprob)| token(id, logprob)).collect();
        entry
    };
    json!({ "content": logprobs.iter().map(place).collect::<Vec<_>>(), "refusal": null })
}
