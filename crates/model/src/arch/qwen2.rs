//! Qwen2, Qwen2.5 and the R1 distillations of them: Llama with biases on query, key and value.

use serde_json::{Map, Value, json};

use super::{Architecture, Fields, fields::write_rope};
use crate::{ModelConfig, Result};

pub(super) const QWEN2: Architecture = Architecture { model_type: "qwen2", class: "Qwen2ForCausalLM", parse, write };

fn parse(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.must_be("use_sliding_window", &json!(false))?;
    let mut config = fields.common("qwen2", 10_000.0)?;
    config.qkv_bias = true;
    Ok(config)
}

fn write(config: &ModelConfig, map: &mut Map<String, Value>) {
    map.insert("hidden_act".into(), json!("silu"));
    map.insert("use_sliding_window".into(), json!(false));
    write_rope(&config.rope, map);
}
