//! GGUF files: in, with weights dequantised to f32, the configuration from the metadata and the tokenizer rebuilt; and out, for
//! llama.cpp and what is built on it.

mod dequantize;
mod export;
pub(crate) mod header;
mod names;
mod tokenizer;
mod write;

use std::{collections::BTreeSet, os::unix::fs::FileExt, path::Path};

use burn::tensor::Device;
pub use export::{GgufFormat, save};
use header::{Gguf, TensorInfo};
use serde_json::{Map, Value as Json, json};

use crate::{
    CausalLm, ChatTemplate, Checkpoint, Error, ModelConfig, Outline, Result, Tokenizer, arch,
    rope::{RopeConfig, RopeScaling},
    weights::{self, Source},
};

/// Loads a GGUF file, dequantised to f32. A `tokenizer.json` beside it is preferred to the tokenizer inside.
///
/// # Errors
/// When the file is damaged or crafted, or holds an architecture, a tensor type or a tokenizer that is not supported.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint> {
    let (model, tokenizer, template) = load_with(path, |config, source| CausalLm::from_source(config, source, device))?;
    Ok(Checkpoint { model, tokenizer, template })
}

/// Loads a GGUF file, with the weights built by `build`.
pub(crate) fn load_with<M>(
    path: &Path,
    build: impl FnOnce(&ModelConfig, &mut dyn Source) -> Result<M>,
) -> Result<(M, Tokenizer, Option<ChatTemplate>)> {
    let gguf = Gguf::open(path)?;
    let Outline { config, tokenizer, template } = outline_of(&gguf, path)?;
    let mut source = GgufSource { gguf: &gguf, config: &config, used: BTreeSet::new() };
    let model = build(&config, &mut source)?;
    source.check_all_used()?;
    Ok((model, tokenizer, template))
}

/// All of a GGUF file but the weights.
pub(crate) fn outline(path: &Path) -> Result<Outline> {
    outline_of(&Gguf::open(path)?, path)
}

fn outline_of(gguf: &Gguf, path: &Path) -> Result<Outline> {
    let config = config(gguf)?;
    let beside = path.with_file_name("tokenizer.json");
    let tokenizer = if beside.exists() { Tokenizer::load(&beside)? } else { tokenizer::build(gguf)? };
    Ok(Outline { config, tokenizer, template: tokenizer::template(gguf)? })
}

/// GGUF's name of an architecture to Hugging Face's `model_type`.
const MODEL_TYPES: [(&str, &str); 5] =
    [("llama", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("smollm3", "smollm3"), ("gemma3", "gemma3_text")];

/// The metadata as the `config.json` it was made from, read by the architecture's own parser.
fn config(gguf: &Gguf) -> Result<ModelConfig> {
    let name = gguf.text("general.architecture").ok_or_else(|| Error::config("general.architecture", "is missing"))?;
    let model_type = MODEL_TYPES.iter().find(|(gguf, _)| *gguf == name).map(|(_, hf)| *hf).ok_or_else(|| {
        let known: Vec<_> = MODEL_TYPES.iter().map(|(gguf, _)| *gguf).collect();
        Error::config("general.architecture", format!("`{name}` is not one of {}", known.join(", ")))
    })?;
    let mut map = Map::new();
    let sizes = [
        ("hidden_size", "embedding_length"),
        ("intermediate_size", "feed_forward_length"),
        ("num_hidden_layers", "block_count"),
        ("num_attention_heads", "attention.head_count"),
        ("num_key_value_heads", "attention.head_count_kv"),
        ("head_dim", "attention.key_length"),
        ("max_position_embeddings", "context_length"),
        ("sliding_window", "attention.sliding_window"),
    ];
    for (field, key) in sizes {
        if let Some(value) = gguf.int(&format!("{name}.{key}")) {
            map.insert(field.into(), json!(value));
        }
    }
    for (field, key) in [("rms_norm_eps", "attention.layer_norm_rms_epsilon"), ("rope_theta", "rope.freq_base")] {
        // Stored as f32; the shortest decimal of it is the number that was meant.
        if let Some(value) = gguf.number(&format!("{name}.{key}")) {
            map.insert(field.into(), json!((value as f32).to_string().parse().unwrap_or(value)));
        }
    }
    let token = |key: &str| gguf.int(&format!("tokenizer.ggml.{key}_token_id"));
    for (field, id) in [("bos_token_id", token("bos")), ("pad_token_id", token("padding"))] {
        if let Some(id) = id {
            map.insert(field.into(), json!(id));
        }
    }
    let ends: Vec<i64> = token("eos").into_iter().chain(token("eot").filter(|&eot| Some(eot) != token("eos"))).collect();
    map.insert("eos_token_id".into(), json!(ends));
    map.insert("vocab_size".into(), json!(gguf.tensors.get("token_embd.weight").and_then(|info| info.shape.first())));
    map.insert("tie_word_embeddings".into(), json!(!gguf.tensors.contains_key("output.weight")));
    if model_type == "gemma3_text"
        && let Some(dim) = map.get("head_dim").cloned()
    {
        map.insert("query_pre_attn_scalar".into(), dim);
    }
    map.insert("rope_scaling".into(), rope_scaling(gguf, name)?);
    let mut config = (arch::find(model_type)?.parse)(&arch::Fields::new(&map))?;
    config.validate()?;
    if gguf.tensors.contains_key(ROPE_FREQUENCIES) {
        config.rope.scaling = llama3_scaling(gguf, &config)?;
    }
    Ok(config)
}

fn rope_scaling(gguf: &Gguf, name: &str) -> Result<Json> {
    let key = |key: &str| format!("{name}.rope.scaling.{key}");
    match gguf.text(&key("type")) {
        None | Some("none") => Ok(Json::Null),
        Some(kind @ ("linear" | "yarn")) => Ok(json!({
            "rope_type": kind,
            "factor": gguf.number(&key("factor")),
            "original_max_position_embeddings": gguf.int(&key("original_context_length")),
        })),
        Some(other) => Err(Error::config(&key("type"), format!("only none, linear and yarn are supported, found {other}"))),
    }
}

const ROPE_FREQUENCIES: &str = "rope_freqs.weight";

/// GGUF keeps Llama 3's scaling as a table of divisors; finds the published parameters that give this table.
fn llama3_scaling(gguf: &Gguf, config: &ModelConfig) -> Result<RopeScaling> {
    let info = &gguf.tensors[ROPE_FREQUENCIES];
    let table = read(gguf, info)?;
    let plain = RopeConfig { theta: config.rope.theta, scaling: RopeScaling::None }.inverse_frequencies(config.head_dim);
    for factor in [8.0, 32.0] {
        let scaling = RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original: 8192 };
        let scaled = RopeConfig { theta: config.rope.theta, scaling: scaling.clone() }.inverse_frequencies(config.head_dim);
        let same = |((plain, scaled), divisor): ((&f32, &f32), &f32)| (plain / scaled - divisor).abs() <= 1e-3 * divisor;
        if table.len() == plain.len() && plain.iter().zip(&scaled).zip(&table).all(same) {
            return Ok(scaling);
        }
    }
    Err(Error::weights(ROPE_FREQUENCIES, "is not the table of a published Llama 3 scaling"))
}

/// Bytes read at a time: beside the tensor itself nothing large is in memory.
const PIECE: usize = 1 << 20;

fn read(gguf: &Gguf, info: &TensorInfo) -> Result<Vec<f32>> {
    let piece = PIECE / info.format.block_bytes() * info.format.block_bytes();
    let mut bytes = vec![0; piece.min(info.bytes)];
    let mut values = Vec::with_capacity(info.shape.iter().product());
    for start in (0..info.bytes).step_by(piece) {
        let bytes = &mut bytes[..piece.min(info.bytes - start)];
        gguf.file.read_exact_at(bytes, info.offset + start as u64).map_err(|error| Error::io(&gguf.path, error))?;
        info.format.decode(bytes, &mut values);
    }
    Ok(values)
}

/// Gives the module its weights under their Hugging Face names.
struct GgufSource<'a> {
    gguf: &'a Gguf,
    config: &'a ModelConfig,
    used: BTreeSet<String>,
}

impl GgufSource<'_> {
    fn check_all_used(&self) -> Result<()> {
        match self.gguf.tensors.keys().find(|name| !self.used.contains(*name) && *name != ROPE_FREQUENCIES) {
            Some(name) => {
                Err(Error::weights(name.as_str(), format!("is not part of a {} model of this configuration", self.config.model_type)))
            }
            None => Ok(()),
        }
    }

    /// llama.cpp interleaves the two halves of each rotated head for its own rotation; puts them back.
    fn unpermute(&self, rows: &[f32], heads: usize) -> Vec<f32> {
        let (dim, width) = (self.config.head_dim, rows.len() / (heads * self.config.head_dim));
        let mut out = Vec::with_capacity(rows.len());
        for head in rows.chunks_exact(dim * width) {
            for half in 0..2 {
                for pair in 0..dim / 2 {
                    let row = 2 * pair + half;
                    out.extend_from_slice(&head[row * width..(row + 1) * width]);
                }
            }
        }
        out
    }
}

impl Source for GgufSource<'_> {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let broken = |problem: String| Error::weights(name, problem);
        let stored = names::gguf_name(name, self.config.sandwich_norms);
        let info = self.gguf.tensors.get(&stored).ok_or_else(|| broken(format!("is missing (`{stored}` in GGUF)")))?;
        self.used.insert(stored);
        if info.shape != shape {
            return Err(broken(format!("has the shape {:?}, the metadata needs {shape:?}", info.shape)));
        }
        let mut values = read(self.gguf, info)?;
        weights::check_finite(name, &values)?;
        if let Some(heads) = names::permuted_heads(name, self.config) {
            values = self.unpermute(&values, heads);
        }
        if self.config.norm_offset && name.ends_with("norm.weight") {
            // GGUF stores these norms as they are applied, Hugging Face one less.
            values.iter_mut().for_each(|w| *w -= 1.0);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
