//! Qwen3: RMSNorm on every query and key head, `head_dim` of its own, no biases.

use serde_json::{Map, Value, json};

use super::{Architecture, Fields, fields::write_rope};
use crate::{ModelConfig, Result};

pub(super) const QWEN3: Architecture = Architecture { model_type: "qwen3", class: "Qwen3ForCausalLM", parse, write };

fn parse(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.must_be("use_sliding_window", &json!(false))?;
    fields.must_be("attention_bias", &json!(false))?;
    let mut config = fields.common("qwen3", 10_000.0)?;
    if fields.size("head_dim")?.is_none() {
        config.head_dim = 128;
        config.attention_scale = 1.0 / 128f64.sqrt();
    }
    config.qk_norm = true;
    Ok(config)
}

fn write(config: &ModelConfig, map: &mut Map<String, Value>) {
    map.insert("hidden_act".into(), json!("silu"));
    map.insert("attention_bias".into(), json!(false));
    map.insert("use_sliding_window".into(), json!(false));
    write_rope(&config.rope, map);
}
