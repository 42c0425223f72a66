//! The byte-level BPE of a GGUF file as a `tokenizer.json`.

use serde_json::{Map, Value as Json, json};

use super::header::{Gguf, Value};
use crate::{ChatTemplate, Error, Result, Specials, Tokenizer, tokenizer::pattern};

pub(super) const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;

/// How text is cut before merging, by GGUF's name for it: normalizer, pre-tokenizer, and whether a whole piece that is a
/// token is taken without merging.
pub(super) fn cut(pre: &str) -> Result<(Json, Json, bool)> {
    let bytes = |regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": regex });
    let split = |digits: usize| {
        let split = json!({ "type": "Split", "pattern": { "Regex": pattern(digits) }, "behavior": "Isolated", "invert": false });
        json!({ "type": "Sequence", "pretokenizers": [split, bytes(false)] })
    };
    Ok(match pre {
        "gpt-2" | "gpt2" => (Json::Null, bytes(true), false),
        "smollm" => (
            Json::Null,
            json!({ "type": "Sequence", "pretokenizers": [{ "type": "Digits", "individual_digits": true }, bytes(true)] }),
            false,
        ),
        "qwen2" | "deepseek-r1-qwen" => (json!({ "type": "NFC" }), split(1), false),
        "llama-bpe" | "llama3" | "llama-v3" => (Json::Null, split(3), true),
        "smaug-bpe" | "dbrx" => (Json::Null, split(3), false),
        other => {
            let problem = format!(
                "only gpt-2, smollm, qwen2, llama-bpe and smaug-bpe are supported, found {other}; put the model's tokenizer.json beside the file"
            );
            return Err(Error::config("tokenizer.ggml.pre", problem));
        }
    })
}

pub(super) fn build(gguf: &Gguf) -> Result<Tokenizer> {
    let model = gguf.text("tokenizer.ggml.model").unwrap_or_default();
    if model != "gpt2" {
        return Err(Error::config(
            "tokenizer.ggml.model",
            format!("only gpt2 (byte-level BPE) is supported, found {model:?}; put the model's tokenizer.json beside the file"),
        ));
    }
    let (normalizer, pre_tokenizer, ignore_merges) = cut(gguf.text("tokenizer.ggml.pre").unwrap_or("gpt-2"))?;
    let tokens = texts(gguf, "tokenizer.ggml.tokens")?;
    let types = gguf.list("tokenizer.ggml.token_type").unwrap_or_default();
    let vocab: Map<String, Json> = tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    if vocab.len() != tokens.len() {
        return Err(Error::config(
            "tokenizer.ggml.tokens",
            format!("holds {} tokens, but only {} different ones", tokens.len(), vocab.len()),
        ));
    }
    let added: Vec<Json> = tokens
        .iter()
        .enumerate()
        .filter_map(|(id, token)| match types.get(id) {
            Some(Value::Int(CONTROL)) => Some(added_token(id, token, true)),
            Some(Value::Int(USER_DEFINED)) => Some(added_token(id, token, false)),
            _ => None,
        })
        .collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": vocab, "merges": texts(gguf, "tokenizer.ggml.merges")?,
        },
    });
    Tokenizer::from_json(file.to_string().as_bytes())
}

fn added_token(id: usize, content: &str, special: bool) -> Json {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special })
}

fn texts<'a>(gguf: &'a Gguf, key: &str) -> Result<Vec<&'a str>> {
    let list = gguf.list(key).ok_or_else(|| Error::config(key, "is missing"))?;
    let text = |value: &'a Value| match value {
        Value::Text(text) => Ok(text.as_str()),
        other => Err(Error::config(key, format!("expected a list of texts, found {other:?} in it"))),
    };
    list.iter().map(text).collect()
}

/// The chat template with the special tokens it prints.
pub(super) fn template(gguf: &Gguf) -> Result<Option<ChatTemplate>> {
    let tokens = gguf.list("tokenizer.ggml.tokens").unwrap_or_default();
    let token = |key: &str| match tokens.get(usize::try_from(gguf.int(&format!("tokenizer.ggml.{key}_token_id"))?).ok()?)? {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    let specials = Specials { bos: token("bos"), eos: token("eos"), pad: token("padding"), unk: token("unknown") };
    gguf.text("tokenizer.chat_template").map(|source| ChatTemplate::new(source, specials)).transpose()
}
