//! Hugging Face model folders: config.json, model.safetensors, tokenizer.json, tokenizer_config.json,
//! generation_config.json.

mod read;
mod safetensors;
mod tokenizer_config;

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

pub use self::safetensors::Precision;
use self::safetensors::{Folder, write};
use crate::{CausalLm, ChatTemplate, Checkpoint, Error, ModelConfig, Result, Tokenizer, files, weights::Weights};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
/// Configurations are small; a larger one is not one.
const LARGEST_CONFIG: u64 = 16 << 20;

/// Loads a model folder. Weights go to the device tensor by tensor, so that beyond the model only the largest tensor is
/// in memory.
///
/// # Errors
/// When a file is missing or damaged, weights do not fit the configuration, or the configuration asks for what is not
/// computed. Pickled weights are refused.
pub fn load(dir: &Path, device: &Device) -> Result<Checkpoint> {
    let mut config = load_config(dir)?;
    let tokenizer = Tokenizer::load(&dir.join(TOKENIZER))?;
    check_vocabulary(&config, &tokenizer)?;
    let template = tokenizer_config::load(dir)?;
    add_stop_tokens(dir, &mut config)?;
    let model = load_weights(dir, &config, device)?;
    Ok(Checkpoint { model, tokenizer, template })
}

/// Reads `config.json`.
///
/// # Errors
/// As [`ModelConfig::from_json`], and when the file cannot be read.
pub fn load_config(dir: &Path) -> Result<ModelConfig> {
    ModelConfig::from_json(&files::read_text(&dir.join(CONFIG), LARGEST_CONFIG)?)
}

/// Loads the safetensors of a folder, one file or shards.
///
/// # Errors
/// When tensors are missing, foreign, of another shape or not finite.
pub fn load_weights(dir: &Path, config: &ModelConfig, device: &Device) -> Result<CausalLm> {
    let mut folder = Folder::open(dir)?;
    let model = CausalLm::from_weights(config, &mut Weights::new(config, &mut folder), device)?;
    folder.check_all_used(config)?;
    Ok(model)
}

/// Writes a model folder that transformers loads; each file appears whole or not at all.
///
/// # Errors
/// When a file cannot be written.
pub fn save(dir: &Path, model: &CausalLm, tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|error| Error::io(dir, error))?;
    let config = model.config();
    check_vocabulary(config, tokenizer)?;
    save_weights(dir, model, Precision::F32)?;
    tokenizer.save(&dir.join(TOKENIZER))?;
    tokenizer_config::save(dir, config, tokenizer, template)?;
    files::write_atomically(&dir.join(GENERATION), generation_config(config).as_bytes())?;
    files::write_atomically(&dir.join(CONFIG), config.to_json().as_bytes())
}

/// Writes `model.safetensors` alone.
///
/// # Errors
/// When the file cannot be written.
pub fn save_weights(dir: &Path, model: &CausalLm, precision: Precision) -> Result<()> {
    write(&dir.join(WEIGHTS), model, precision)
}

fn check_vocabulary(config: &ModelConfig, tokenizer: &Tokenizer) -> Result<()> {
    let (needed, rows) = (tokenizer.vocab_size(), config.vocab_size);
    if needed <= rows {
        return Ok(());
    }
    Err(Error::config("vocab_size", format!("the embedding has {rows} rows, but the tokenizer's ids need {needed}")))
}

fn generation_config(config: &ModelConfig) -> String {
    let mut map = Map::new();
    let eos = match config.eos_token_ids.as_slice() {
        [id] => json!(id),
        ids => json!(ids),
    };
    for (name, value) in [("bos_token_id", json!(config.bos_token_id)), ("eos_token_id", eos), ("pad_token_id", json!(config.pad_token_id))]
    {
        if !(value.is_null() || value == json!([])) {
            map.insert(name.into(), value);
        }
    }
    format!("{:#}\n", Value::Object(map))
}

/// `generation_config.json` often knows more tokens that end a turn than `config.json`.
fn add_stop_tokens(dir: &Path, config: &mut ModelConfig) -> Result<()> {
    let path = dir.join(GENERATION);
    if !path.exists() {
        return Ok(());
    }
    let file: Value = read::json(&path, LARGEST_CONFIG)?;
    let ids = match &file["eos_token_id"] {
        Value::Array(ids) => ids.iter().filter_map(Value::as_u64).collect(),
        one => one.as_u64().into_iter().collect::<Vec<_>>(),
    };
    for id in ids.into_iter().filter_map(|id| u32::try_from(id).ok()) {
        if (id as usize) < config.vocab_size && !config.eos_token_ids.contains(&id) {
            config.eos_token_ids.push(id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
