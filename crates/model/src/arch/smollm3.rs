//! SmolLM3: Llama, but every fourth layer has no position embedding.

use serde_json::{Map, Value, json};

use super::{Architecture, Fields, fields::write_rope};
use crate::{Error, ModelConfig, Result};

pub(super) const SMOLLM3: Architecture = Architecture { model_type: "smollm3", class: "SmolLM3ForCausalLM", parse, write };

fn parse(fields: &Fields<'_>) -> Result<ModelConfig> {
    for field in ["attention_bias", "mlp_bias", "use_sliding_window"] {
        fields.must_be(field, &json!(false))?;
    }
    let mut config = fields.common("smollm3", 2_000_000.0)?;
    config.tie_word_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(true);
    let interval = fields.size("no_rope_layer_interval")?.unwrap_or(4);
    let with_rope = fields.sizes("no_rope_layers")?;
    if let Some(flags) = &with_rope
        && flags.len() != config.num_hidden_layers
    {
        return Err(Error::config(
            "no_rope_layers",
            format!("must have one entry per layer ({}), found {}", config.num_hidden_layers, flags.len()),
        ));
    }
    for (index, layer) in config.layers.iter_mut().enumerate() {
        layer.no_rope = match &with_rope {
            Some(flags) => flags[index] == 0,
            None => interval > 0 && (index + 1).is_multiple_of(interval),
        };
    }
    Ok(config)
}

/// Despite its name, `no_rope_layers` holds 1 for the layers that are rotated.
fn write(config: &ModelConfig, map: &mut Map<String, Value>) {
    let flags: Vec<u8> = config.layers.iter().map(|layer| u8::from(!layer.no_rope)).collect();
    map.insert("hidden_act".into(), json!("silu"));
    map.insert("attention_bias".into(), json!(false));
    map.insert("mlp_bias".into(), json!(false));
    map.insert("use_sliding_window".into(), json!(false));
    map.insert("no_rope_layers".into(), json!(flags));
    write_rope(&config.rope, map);
}
