//! Hugging Face's tensor names in GGUF.

use crate::ModelConfig;

const LAYER: [(&str, &str); 7] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("input_layernorm", "attn_norm"),
];

/// The name in the file; unknown names come back as they are.
pub(super) fn gguf_name(name: &str, sandwich_norms: bool) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let Some((layer, rest)) = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) else { return name.into() };
    let inner = match rest.strip_suffix("_proj.weight").and_then(|rest| rest.strip_prefix("mlp.")) {
        Some(part) => format!("ffn_{part}.weight"),
        None => rest.into(),
    };
    let norms: &[(&str, &str)] = if sandwich_norms {
        &[
            ("post_attention_layernorm", "post_attention_norm"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ]
    } else {
        &[("post_attention_layernorm", "ffn_norm")]
    };
    let found = LAYER.iter().chain(norms).find_map(|(hf, gguf)| Some(format!("{gguf}{}", inner.strip_prefix(hf)?)));
    format!("blk.{layer}.{}", found.unwrap_or(inner))
}

/// How many heads of this tensor llama.cpp interleaves for its own rotation; none for tensors and families it leaves alone.
pub(super) fn permuted_heads(name: &str, config: &ModelConfig) -> Option<usize> {
    let family = matches!(config.model_type.as_str(), "llama" | "smollm3");
    match name {
        _ if !family => None,
        _ if name.contains("self_attn.q_proj") => Some(config.num_attention_heads),
        _ if name.contains("self_attn.k_proj") => Some(config.num_key_value_heads),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::gguf_name;

    #[test]
    fn names_of_both_kinds_of_layers() {
        for (hf, gguf) in [
            ("model.layers.3.self_attn.q_proj.bias", "blk.3.attn_q.bias"),
            ("model.layers.12.mlp.gate_proj.weight", "blk.12.ffn_gate.weight"),
            ("model.layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"),
            ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
            ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
            ("model.embed_tokens.weight", "token_embd.weight"),
        ] {
            assert_eq!(gguf_name(hf, false), gguf);
        }
        assert_eq!(gguf_name("model.layers.0.post_attention_layernorm.weight", true), "blk.0.post_attention_norm.weight");
    }
}
