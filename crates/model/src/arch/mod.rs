//! The families of models: how each one's `config.json` maps to [`ModelConfig`] and back.
//!
//! To add one: a file with `parse` and `write`, a row in [`ARCHITECTURES`], a logit-parity test.

mod fields;
mod gemma3;
mod llama;
mod qwen2;
mod qwen3;
mod smollm3;

pub use fields::Fields;
use serde_json::{Map, Value, json};

use crate::{Error, ModelConfig, Result};

/// One family.
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The class that transformers instantiates.
    pub class: &'static str,
    /// `config.json` to configuration; names the field it does not understand.
    pub parse: fn(&Fields<'_>) -> Result<ModelConfig>,
    /// Adds the family's own fields to those that [`write_common`] wrote.
    pub write: fn(&ModelConfig, &mut Map<String, Value>),
}

/// Every family that can be loaded.
pub static ARCHITECTURES: &[Architecture] = &[llama::LLAMA, qwen2::QWEN2, qwen3::QWEN3, smollm3::SMOLLM3, gemma3::GEMMA3];

/// Looks a family up.
///
/// # Errors
/// Names the families there are.
pub fn find(model_type: &str) -> Result<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.model_type == model_type).ok_or_else(|| {
        let known: Vec<_> = ARCHITECTURES.iter().map(|architecture| architecture.model_type).collect();
        Error::config("model_type", format!("`{model_type}` is not one of {}", known.join(", ")))
    })
}

/// The fields that all families share.
pub(crate) fn write_common(config: &ModelConfig, map: &mut Map<String, Value>) {
    let class = find(&config.model_type).map_or("", |architecture| architecture.class);
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    };
    let fields = [
        ("architectures", json!([class])),
        ("model_type", json!(config.model_type)),
        ("vocab_size", json!(config.vocab_size)),
        ("hidden_size", json!(config.hidden_size)),
        ("intermediate_size", json!(config.intermediate_size)),
        ("num_hidden_layers", json!(config.num_hidden_layers)),
        ("num_attention_heads", json!(config.num_attention_heads)),
        ("num_key_value_heads", json!(config.num_key_value_heads)),
        ("head_dim", json!(config.head_dim)),
        ("max_position_embeddings", json!(config.max_position_embeddings)),
        ("rms_norm_eps", json!(config.rms_norm_eps)),
        ("tie_word_embeddings", json!(config.tie_word_embeddings)),
        ("initializer_range", json!(config.initializer_range)),
        ("bos_token_id", json!(config.bos_token_id)),
        ("eos_token_id", eos),
        ("pad_token_id", json!(config.pad_token_id)),
    ];
    map.extend(fields.map(|(name, value)| (name.to_owned(), value)));
}
