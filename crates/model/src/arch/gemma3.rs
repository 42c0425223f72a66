//! Gemma 3's text model: five layers with a sliding window to one that sees everything, each kind with its own rotary
//! base; norms on both sides of each block and on query and key heads, stored as `w − 1`; embeddings times √hidden.

use serde_json::{Map, Value, json};

use super::{Architecture, Fields, fields::write_rope};
use crate::{Error, ModelConfig, Result, config::Activation, config::LayerKind, rope::RopeConfig};

pub(super) const GEMMA3: Architecture = Architecture { model_type: "gemma3_text", class: "Gemma3ForCausalLM", parse, write };

const LOCAL_THETA: f64 = 10_000.0;

fn parse(fields: &Fields<'_>) -> Result<ModelConfig> {
    for field in ["attn_logit_softcapping", "final_logit_softcapping"] {
        fields.must_be(field, &Value::Null)?;
    }
    for field in ["attention_bias", "use_bidirectional_attention"] {
        fields.must_be(field, &json!(false))?;
    }
    let mut config = fields.common("gemma3_text", 1_000_000.0)?;
    config.activation = fields.activation("hidden_activation", Activation::GeluTanh)?;
    config.tie_word_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(true);
    config.head_dim = fields.size("head_dim")?.unwrap_or(256);
    config.attention_scale = 1.0 / fields.number("query_pre_attn_scalar")?.unwrap_or(256.0).sqrt();
    config.embedding_scale = Some((config.hidden_size as f64).sqrt());
    (config.qk_norm, config.sandwich_norms, config.norm_offset) = (true, true, true);
    config.local_rope = Some(RopeConfig { theta: fields.number("rope_local_base_freq")?.unwrap_or(LOCAL_THETA), ..RopeConfig::default() });
    if let Some(both) = fields.object("rope_parameters")?
        && let (Some(full), Some(sliding)) = (both.object("full_attention")?, both.object("sliding_attention")?)
    {
        config.rope = full.rope_parameters(1_000_000.0, config.max_position_embeddings)?;
        config.local_rope = Some(sliding.rope_parameters(LOCAL_THETA, config.max_position_embeddings)?);
    }
    config.layers = layers(fields, config.num_hidden_layers)?;
    Ok(config)
}

fn layers(fields: &Fields<'_>, count: usize) -> Result<Vec<LayerKind>> {
    let window = fields.size("sliding_window")?.unwrap_or(4096);
    let local = LayerKind { no_rope: false, window: Some(window), local_rope: true };
    let pattern = fields.size("sliding_window_pattern")?.unwrap_or(6).max(1);
    let Some(types) = fields.get("layer_types").and_then(Value::as_array) else {
        return Ok((1..=count).map(|layer| if layer % pattern == 0 { LayerKind::default() } else { local }).collect());
    };
    let kind = |name: &Value| match name.as_str() {
        Some("sliding_attention") => Ok(local),
        Some("full_attention") => Ok(LayerKind::default()),
        _ => Err(Error::config("layer_types", format!("only sliding_attention and full_attention are supported, found {name}"))),
    };
    types.iter().map(kind).collect()
}

fn write(config: &ModelConfig, map: &mut Map<String, Value>) {
    let types: Vec<&str> =
        config.layers.iter().map(|layer| if layer.window.is_some() { "sliding_attention" } else { "full_attention" }).collect();
    let window = config.layers.iter().find_map(|layer| layer.window);
    map.insert("hidden_activation".into(), json!("gelu_pytorch_tanh"));
    map.insert("query_pre_attn_scalar".into(), json!(config.attention_scale.powi(-2).round()));
    map.insert("layer_types".into(), json!(types));
    map.insert("sliding_window".into(), json!(window.unwrap_or(4096)));
    map.insert("attention_bias".into(), json!(false));
    map.insert("rope_local_base_freq".into(), json!(config.local_rope.as_ref().map_or(LOCAL_THETA, |rope| rope.theta)));
    write_rope(&config.rope, map);
}
