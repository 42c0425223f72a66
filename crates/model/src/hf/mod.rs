//! Hugging Face model folders: config.json, model.safetensors, tokenizer.json, tokenizer_config.json,
//! generation_config.json.

mod card;
pub(crate) mod header;
mod read;
mod safetensors;
mod tokenizer_config;

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use self::safetensors::{Folder, write};
pub use self::{card::ModelCard, safetensors::Precision};
use crate::{CausalLm, ChatTemplate, Checkpoint, Error, ModelConfig, Outline, Result, Tokenizer, files, weights::Source};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "README.md";
/// Configurations are small; a larger one is not one.
const LARGEST_CONFIG: u64 = 16 << 20;

/// Loads a model folder. Weights go to the device tensor by tensor, so that beyond the model only the largest tensor is
/// in memory.
///
/// # Errors
/// When a file is missing or damaged, weights do not fit the configuration, or the configuration asks for what is not
/// computed. Pickled weights are refused.
pub fn load(dir: &Path, device: &Device) -> Result<Checkpoint> {
    let (model, tokenizer, template) = load_with(dir, |config, source| CausalLm::from_source(config, source, device))?;
    Ok(Checkpoint { model, tokenizer, template })
}

/// Loads a model folder, with the weights built by `build`.
pub(crate) fn load_with<M>(
    dir: &Path,
    build: impl FnOnce(&ModelConfig, &mut dyn Source) -> Result<M>,
) -> Result<(M, Tokenizer, Option<ChatTemplate>)> {
    let Outline { config, tokenizer, template } = outline(dir)?;
    Ok((weights_with(dir, &config, build)?, tokenizer, template))
}

/// All of a model folder but the weights.
pub(crate) fn outline(dir: &Path) -> Result<Outline> {
    let mut config = load_config(dir)?;
    let tokenizer = Tokenizer::load(&dir.join(TOKENIZER))?;
    check_vocabulary(&config, &tokenizer)?;
    let template = tokenizer_config::load(dir)?;
    add_stop_tokens(dir, &mut config)?;
    Ok(Outline { config, tokenizer, template })
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
    weights_with(dir, config, |config, source| CausalLm::from_source(config, source, device))
}

fn weights_with<M>(dir: &Path, config: &ModelConfig, build: impl FnOnce(&ModelConfig, &mut dyn Source) -> Result<M>) -> Result<M> {
    let mut folder = Folder::open(dir)?;
    let model = build(config, &mut folder)?;
    folder.check_all_used(config)?;
    Ok(model)
}

/// How a model folder is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveOptions {
    /// How weights are stored.
    pub precision: Precision,
    /// Weights beyond so many bytes are split over several files.
    pub largest_file: u64,
    /// The text of `README.md`, if one is to be written.
    pub card: Option<String>,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { precision: Precision::F32, largest_file: 5_000_000_000, card: None }
    }
}

/// Writes a model folder that transformers loads; each file appears whole or not at all.
///
/// # Errors
/// When a file cannot be written.
pub fn save(dir: &Path, model: &CausalLm, tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> Result<()> {
    save_with(dir, model, tokenizer, template, &SaveOptions::default())
}

/// As [`save`], in another precision, in files of bounded size or with a model card.
///
/// # Errors
/// When a file cannot be written.
pub fn save_with(
    dir: &Path,
    model: &CausalLm,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    options: &SaveOptions,
) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|error| Error::io(dir, error))?;
    let config = model.config();
    check_vocabulary(config, tokenizer)?;
    write(dir, model, options.precision, options.largest_file)?;
    tokenizer.save(&dir.join(TOKENIZER))?;
    tokenizer_config::save(dir, config, tokenizer, template)?;
    files::write_atomically(&dir.join(GENERATION), generation_config(config).as_bytes())?;
    if let Some(card) = &options.card {
        files::write_atomically(&dir.join(CARD), card.as_bytes())?;
    }
    files::write_atomically(&dir.join(CONFIG), config.to_json_as(options.precision.torch_name()).as_bytes())
}

/// Writes the weights alone, as one `model.safetensors`.
///
/// # Errors
/// When the file cannot be written.
pub fn save_weights(dir: &Path, model: &CausalLm, precision: Precision) -> Result<()> {
    write(dir, model, precision, u64::MAX)
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
