//! Llama 2 and 3, SmolLM2, and the students that are made from scratch.

use serde_json::{Map, Value, json};

use super::{Architecture, Fields, fields::write_rope};
use crate::{ModelConfig, Result};

pub(super) const LLAMA: Architecture = Architecture { model_type: "llama", class: "LlamaForCausalLM", parse, write };

fn parse(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.must_be("attention_bias", &json!(false))?;
    fields.must_be("mlp_bias", &json!(false))?;
    fields.common("llama", 10_000.0)
}

fn write(config: &ModelConfig, map: &mut Map<String, Value>) {
    map.insert("hidden_act".into(), json!("silu"));
    map.insert("attention_bias".into(), json!(false));
    map.insert("mlp_bias".into(), json!(false));
    write_rope(&config.rope, map);
}
