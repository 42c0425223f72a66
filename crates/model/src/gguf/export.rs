//! A model as a GGUF file.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    MODEL_TYPES, ROPE_FREQUENCIES,
    dequantize::Format,
    header::Value,
    names,
    tokenizer::{CONTROL, USER_DEFINED, cut},
    write::{ALIGNMENT, Entry, header},
};
use crate::{
    CausalLm, ChatTemplate, Error, ModelConfig, Result, Tokenizer, files,
    rope::{RopeConfig, RopeScaling},
    weights,
};

/// How matrices are stored; norms and biases are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GgufFormat {
    /// 32-bit floats.
    #[default]
    F32,
    /// IEEE half floats.
    F16,
    /// Brain floats.
    Bf16,
    /// Eight-bit integers with one scale for 32 of them. Rows that 32 does not divide stay f32.
    Q8_0,
}

impl GgufFormat {
    fn of_rows(self, width: usize) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::Bf16 => Format::Bf16,
            Self::Q8_0 if width.is_multiple_of(Format::Q8_0.block()) => Format::Q8_0,
            Self::Q8_0 => Format::F32,
        }
    }

    /// `general.file_type`.
    fn file_type(self) -> i64 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }
}

/// Writes a GGUF file that llama.cpp loads; it appears whole or not at all.
///
/// # Errors
/// When the tokenizer cuts text in a way that GGUF has no name for, the architecture or its position scaling is not
/// known to GGUF, or the file cannot be written.
pub fn save(
    path: &Path,
    model: &CausalLm,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    name: &str,
    format: GgufFormat,
) -> Result<()> {
    let config = model.config();
    let mut metadata = Metadata::default();
    metadata.describe(config, name, format)?;
    metadata.tokenizer(config, tokenizer)?;
    if let Some(template) = template {
        metadata.put("tokenizer.chat_template", Value::Text(template.source().to_owned()));
    }
    let divisors = rope_divisors(config);
    let mut entries: Vec<Entry> = Vec::new();
    if let Some(divisors) = &divisors {
        entries.push(Entry { name: ROPE_FREQUENCIES.into(), shape: vec![divisors.len()], format: Format::F32 });
    }
    weights::export(model, &mut |name, shape, _| {
        let format = if shape.len() > 1 { format.of_rows(shape[shape.len() - 1]) } else { Format::F32 };
        entries.push(Entry { name: names::gguf_name(name, config.sandwich_norms), shape: shape.to_vec(), format });
        Ok(())
    })?;
    files::write_with(path, |file| {
        let mut out = BufWriter::new(file);
        out.write_all(&header(&metadata.entries, &entries))?;
        let mut entries = entries.iter();
        let mut write = |values: &[f32]| -> std::io::Result<()> {
            let Some(entry) = entries.next() else { return Ok(()) };
            out.write_all(&entry.format.encode(values).unwrap_or_default())?;
            let padding = entry.bytes().next_multiple_of(ALIGNMENT) - entry.bytes();
            out.write_all(&[0; ALIGNMENT as usize][..padding as usize])
        };
        if let Some(divisors) = &divisors {
            write(divisors)?;
        }
        let written = weights::export(model, &mut |name, _, values| {
            write(&arranged(name, values()?, config)).map_err(|error| Error::io(path, error))
        });
        written.map_err(std::io::Error::other)?;
        out.flush()
    })
}

/// A tensor's elements as llama.cpp wants them: rotated heads interleaved, norms as they are applied.
fn arranged(name: &str, mut values: Vec<f32>, config: &ModelConfig) -> Vec<f32> {
    if config.norm_offset && name.ends_with("norm.weight") {
        values.iter_mut().for_each(|w| *w += 1.0);
    }
    let Some(heads) = names::permuted_heads(name, config) else { return values };
    let (dim, width) = (config.head_dim, values.len() / (heads * config.head_dim));
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(dim * width) {
        for pair in 0..dim / 2 {
            for half in [0, dim / 2] {
                out.extend_from_slice(&head[(half + pair) * width..(half + pair + 1) * width]);
            }
        }
    }
    out
}

/// Llama 3's scaling, which GGUF keeps as what each frequency is divided by.
fn rope_divisors(config: &ModelConfig) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { .. } = config.rope.scaling else { return None };
    let plain = RopeConfig { theta: config.rope.theta, scaling: RopeScaling::None }.inverse_frequencies(config.head_dim);
    Some(plain.iter().zip(config.rope.inverse_frequencies(config.head_dim)).map(|(plain, scaled)| plain / scaled).collect())
}

#[derive(Default)]
struct Metadata {
    entries: Vec<(String, Value)>,
}

impl Metadata {
    fn put(&mut self, key: &str, value: Value) {
        self.entries.push((key.to_owned(), value));
    }

    fn size(&mut self, key: &str, size: usize) {
        self.put(key, Value::Int(size as i64));
    }

    fn describe(&mut self, config: &ModelConfig, name: &str, format: GgufFormat) -> Result<()> {
        let known = MODEL_TYPES.iter().find(|(_, hf)| *hf == config.model_type).map(|(gguf, _)| *gguf);
        let arch = known.ok_or_else(|| Error::config("model_type", format!("`{}` has no name in GGUF", config.model_type)))?;
        let key = |key: &str| format!("{arch}.{key}");
        self.put("general.architecture", Value::Text(arch.into()));
        self.put("general.type", Value::Text("model".into()));
        self.put("general.name", Value::Text(name.into()));
        self.put("general.file_type", Value::Int(format.file_type()));
        self.put("general.quantization_version", Value::Int(2));
        for (field, size) in [
            ("context_length", config.max_position_embeddings),
            ("embedding_length", config.hidden_size),
            ("block_count", config.num_hidden_layers),
            ("feed_forward_length", config.intermediate_size),
            ("attention.head_count", config.num_attention_heads),
            ("attention.head_count_kv", config.num_key_value_heads),
            ("attention.key_length", config.head_dim),
            ("attention.value_length", config.head_dim),
            ("rope.dimension_count", config.head_dim),
            ("vocab_size", config.vocab_size),
        ] {
            self.size(&key(field), size);
        }
        if let Some(window) = config.layers.iter().find_map(|layer| layer.window) {
            self.size(&key("attention.sliding_window"), window);
        }
        self.put(&key("attention.layer_norm_rms_epsilon"), Value::Float(config.rms_norm_eps));
        self.put(&key("rope.freq_base"), Value::Float(config.rope.theta));
        self.scaling(&key, &config.rope.scaling)
    }

    fn scaling(&mut self, key: &dyn Fn(&str) -> String, scaling: &RopeScaling) -> Result<()> {
        let (name, factor, original) = match scaling {
            // Llama 3's is a tensor; the dynamic one is none within the context.
            RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Dynamic { .. } => return Ok(()),
            RopeScaling::Linear { factor } => ("linear", *factor, None),
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original, attention_factor, truncate } => {
                let published = (0.1 * factor.ln() + 1.0 - attention_factor).abs() < 1e-6;
                if (*beta_fast, *beta_slow, *truncate) != (32.0, 1.0, true) || !published {
                    return Err(Error::config("rope_scaling", "GGUF has YaRN with its published defaults only"));
                }
                ("yarn", *factor, Some(*original))
            }
        };
        self.put(&key("rope.scaling.type"), Value::Text(name.into()));
        self.put(&key("rope.scaling.factor"), Value::Float(factor));
        if let Some(original) = original {
            self.size(&key("rope.scaling.original_context_length"), original);
        }
        Ok(())
    }

    fn tokenizer(&mut self, config: &ModelConfig, tokenizer: &Tokenizer) -> Result<()> {
        let broken = |error: serde_json::Error| Error::Tokenizer(format!("its own file cannot be read back: {error}"));
        let file: Json = serde_json::from_str(&tokenizer.to_json()?).map_err(broken)?;
        self.put("tokenizer.ggml.model", Value::Text("gpt2".into()));
        self.put("tokenizer.ggml.pre", Value::Text(pre_tokenizer(&file)?.into()));
        let (tokens, types) = vocabulary(&file, config.vocab_size)?;
        self.put("tokenizer.ggml.tokens", Value::List(tokens.into_iter().map(Value::Text).collect()));
        self.put("tokenizer.ggml.token_type", Value::List(types.into_iter().map(Value::Int).collect()));
        self.put("tokenizer.ggml.merges", Value::List(merges(&file).into_iter().map(Value::Text).collect()));
        let ends = &config.eos_token_ids;
        for (key, id) in
            [("bos", config.bos_token_id), ("eos", ends.first().copied()), ("eot", ends.get(1).copied()), ("padding", config.pad_token_id)]
        {
            if let Some(id) = id {
                self.put(&format!("tokenizer.ggml.{key}_token_id"), Value::Int(id.into()));
            }
        }
        let adds_bos = file["post_processor"].to_string().contains("TemplateProcessing");
        self.put("tokenizer.ggml.add_bos_token", Value::Bool(adds_bos && config.bos_token_id.is_some()));
        self.put("tokenizer.ggml.add_space_prefix", Value::Bool(false));
        Ok(())
    }
}

/// Names that GGUF has for ways to cut text, in the order in which they are tried.
const PRE_TOKENIZERS: [&str; 5] = ["smollm", "qwen2", "llama-bpe", "smaug-bpe", "gpt-2"];

/// GGUF's name for how this tokenizer cuts text.
fn pre_tokenizer(file: &Json) -> Result<&'static str> {
    if file["model"]["type"] != "BPE" || file["model"]["byte_fallback"] == true {
        return Err(Error::Tokenizer("only a byte-level BPE can be written to GGUF".into()));
    }
    if !(file["normalizer"].is_null() || file["normalizer"]["type"] == "NFC") {
        return Err(Error::Tokenizer(format!("its normalizer {} has no counterpart in GGUF", file["normalizer"]["type"])));
    }
    let whole_pieces = file["model"]["ignore_merges"] == true;
    let found = plain(&file["pre_tokenizer"]);
    for name in PRE_TOKENIZERS {
        let (_, pre, ignore_merges) = cut(name)?;
        if plain(&pre) == found && ignore_merges == whole_pieces {
            return Ok(name);
        }
    }
    Err(Error::Tokenizer(format!(
        "the way it cuts text has no name in GGUF (there are {}); a tokenizer trained with single digits has one",
        PRE_TOKENIZERS.join(", ")
    )))
}

/// A pre-tokenizer without what does not change how it cuts.
fn plain(pre: &Json) -> Json {
    match pre {
        Json::Object(map) => map.iter().filter(|(key, _)| *key != "trim_offsets").map(|(key, value)| (key.clone(), plain(value))).collect(),
        Json::Array(list) => list.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// Tokens in the order of their ids, with their types; ids that no token has are unused.
fn vocabulary(file: &Json, rows: usize) -> Result<(Vec<String>, Vec<i64>)> {
    const NORMAL: i64 = 1;
    const UNUSED: i64 = 5;
    let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; rows];
    let mut set = |id: &Json, token: &str, kind: i64| match id.as_u64().and_then(|id| usize::try_from(id).ok()) {
        Some(id) if id < rows => {
            token.clone_into(&mut tokens[id]);
            types[id] = kind;
            Ok(())
        }
        _ => Err(Error::Tokenizer(format!("token {token:?} has the id {id}, the embedding has {rows} rows"))),
    };
    for (token, id) in file["model"]["vocab"].as_object().into_iter().flatten() {
        set(id, token, NORMAL)?;
    }
    for token in file["added_tokens"].as_array().into_iter().flatten() {
        let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
        set(&token["id"], token["content"].as_str().unwrap_or_default(), kind)?;
    }
    Ok((tokens, types))
}

fn merges(file: &Json) -> Vec<String> {
    let joined = |merge: &Json| match merge {
        Json::Array(pair) => pair.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "),
        one => one.as_str().unwrap_or_default().to_owned(),
    };
    file["model"]["merges"].as_array().into_iter().flatten().map(joined).collect()
}
