//! What a `tokenizer.json` must satisfy before the `tokenizers` crate sees it: that crate trusts the file in places, and
//! panics or allocates without bound where the trust is abused (huggingface/tokenizers#2094, #2151, #2198).

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{Error, Result};

const LARGEST_ID: u64 = 1 << 24;

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default, deserialize_with = "null_is_default")]
    added_tokens: Vec<AddedToken>,
    post_processor: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    normalizer: Option<Value>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    vocab: Value,
    #[serde(default)]
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u64,
    content: String,
}

/// Both notations of a merge: `"a b"` and `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Joined(String),
    Pair([String; 2]),
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn refuse(problem: impl Into<String>) -> Error {
    Error::Tokenizer(problem.into())
}

/// Refuses what is known to be harmful.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| refuse(format!("not a tokenizer.json: {error}")))?;
    let vocab = vocabulary(&file.model.vocab)?;
    for (token, &id) in &vocab {
        if id > LARGEST_ID {
            return Err(refuse(format!("token {token:?} has id {id}, the largest allowed is {LARGEST_ID}")));
        }
    }
    if let Some(token) = file.added_tokens.iter().find(|token| token.id > LARGEST_ID) {
        return Err(refuse(format!("added token {:?} has id {}, the largest allowed is {LARGEST_ID}", token.content, token.id)));
    }
    check_merges(&file.model.merges, &vocab)?;
    for part in [&file.post_processor, &file.pre_tokenizer, &file.decoder, &file.normalizer].into_iter().flatten() {
        check_part(part)?;
    }
    Ok(())
}

/// BPE and WordPiece keep a map from token to id, Unigram a list of pairs.
fn vocabulary(vocab: &Value) -> Result<HashMap<&str, u64>> {
    match vocab {
        Value::Object(map) => map
            .iter()
            .map(|(token, id)| {
                id.as_u64()
                    .map(|id| (token.as_str(), id))
                    .ok_or_else(|| refuse(format!("token {token:?} has the id {id}, expected a whole number")))
            })
            .collect(),
        Value::Array(_) => Ok(HashMap::new()),
        _ => Err(refuse("model.vocab is missing")),
    }
}

fn check_merges(merges: &[Merge], vocab: &HashMap<&str, u64>) -> Result<()> {
    for (index, merge) in merges.iter().enumerate() {
        let (left, right) = match merge {
            Merge::Pair([left, right]) => (left.as_str(), right.as_str()),
            Merge::Joined(text) => text.split_once(' ').ok_or_else(|| refuse(format!("merge {index} is {text:?}, expected two tokens")))?,
        };
        let joined = format!("{left}{right}");
        if let Some(missing) = [left, right, joined.as_str()].into_iter().find(|token| !vocab.contains_key(token)) {
            return Err(refuse(format!("merge {index} needs the token {missing:?}, which is not in the vocabulary")));
        }
    }
    Ok(())
}

/// A normalizer, pre-tokenizer, post-processor or decoder, or a sequence of them.
fn check_part(part: &Value) -> Result<()> {
    for key in ["processors", "pretokenizers", "decoders", "normalizers"] {
        if let Some(Value::Array(parts)) = part.get(key) {
            parts.iter().try_for_each(check_part)?;
        }
    }
    match part.get("type").and_then(Value::as_str) {
        Some("FixedLength") if part.get("length").and_then(Value::as_u64) == Some(0) => {
            Err(refuse("FixedLength pre-tokenizer with length 0"))
        }
        Some("TemplateProcessing") => check_template(part),
        _ => Ok(()),
    }
}

/// Every special token that a template names must be defined beside it.
fn check_template(part: &Value) -> Result<()> {
    let defined: HashSet<&str> =
        part.get("special_tokens").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let pieces = ["single", "pair"].into_iter().filter_map(|key| part.get(key)?.as_array()).flatten();
    let mut named = pieces.filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str());
    match named.find(|name| !defined.contains(name)) {
        Some(name) => Err(refuse(format!("the post-processor names the special token {name:?}, which it does not define"))),
        None => Ok(()),
    }
}
