//! The student: a model with its tokenizer and chat template, loaded or made from scratch.

use std::path::Path;

use burn::tensor::Device;
use potstill_data::Sample;
use potstill_model::{CausalLm, ChatTemplate, Checkpoint, Digits, ModelConfig, Outline, Tokenizer, TokenizerSpec, hf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::SftConfig;
use crate::error::{Result, TrainError};
use crate::memory::{self, MemoryEstimate};
use crate::render::Renderer;

/// A student made from scratch: a small Llama-style decoder and a tokenizer trained on the samples' text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScratchConfig {
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; must divide `heads`.
    pub kv_heads: usize,
    /// Width of the gated feed-forward block.
    pub intermediate_size: usize,
    /// Tokens of the vocabulary at most; fewer if the text has not so many pieces.
    pub vocab_size: usize,
    /// How numbers are cut into tokens.
    pub digits: Digits,
    /// Longest sequence.
    pub max_positions: usize,
    /// Whether the embedding is the output head too.
    pub tie_embeddings: bool,
}

impl Default for ScratchConfig {
    fn default() -> Self {
        Self {
            layers: 3,
            hidden_size: 128,
            heads: 4,
            kv_heads: 2,
            intermediate_size: 384,
            vocab_size: 512,
            digits: Digits::Single,
            max_positions: 2048,
            tie_embeddings: true,
        }
    }
}

impl ScratchConfig {
    /// Checks every limit.
    ///
    /// # Errors
    /// [`TrainError::Config`] with the first setting out of its limits.
    pub fn validate(&self) -> Result<()> {
        let least = [
            ("from_scratch.layers", self.layers, 1),
            ("from_scratch.hidden_size", self.hidden_size, 8),
            ("from_scratch.heads", self.heads, 1),
            ("from_scratch.kv_heads", self.kv_heads, 1),
            ("from_scratch.intermediate_size", self.intermediate_size, 1),
            ("from_scratch.vocab_size", self.vocab_size, 300),
            ("from_scratch.max_positions", self.max_positions, 2),
        ];
        for (field, value, least) in least {
            if value < least {
                return Err(TrainError::config(field, value, format!("it must be at least {least}")));
            }
        }
        if !self.hidden_size.is_multiple_of(2 * self.heads) {
            let limit = format!("it must be a multiple of twice from_scratch.heads = {}", self.heads);
            return Err(TrainError::config("from_scratch.hidden_size", self.hidden_size, limit));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let limit = format!("it must divide from_scratch.heads = {}", self.heads);
            return Err(TrainError::config("from_scratch.kv_heads", self.kv_heads, limit));
        }
        Ok(())
    }
}

/// A model with all that is needed to talk to it.
#[derive(Debug, Clone)]
pub struct Student {
    /// The model, without gradient tracking.
    pub model: CausalLm,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template.
    pub template: ChatTemplate,
}

impl Student {
    /// Makes a student from scratch: trains the tokenizer on the rendered text of `samples` and draws the weights by
    /// `seed`. The same samples and seed give the same student.
    ///
    /// # Errors
    /// If a setting is out of its limits or a sample cannot be rendered.
    pub fn from_scratch(config: &ScratchConfig, samples: &[Sample], seed: u64, device: &Device) -> Result<Self> {
        config.validate()?;
        let template = ChatTemplate::chatml()?;
        let renderer = Renderer::new(&template);
        let texts = samples.iter().map(|sample| Ok(renderer.text(sample)?.text)).collect::<Result<Vec<_>>>()?;
        let spec = TokenizerSpec { vocab_size: config.vocab_size, digits: config.digits, ..TokenizerSpec::default() };
        let tokenizer = Tokenizer::train(texts.iter(), &spec)?;
        let mut model = ModelConfig::llama(
            tokenizer.vocab_size(),
            config.hidden_size,
            config.layers,
            config.heads,
            config.kv_heads,
            config.intermediate_size,
        );
        model.max_position_embeddings = config.max_positions;
        model.tie_word_embeddings = config.tie_embeddings;
        let special = |token: &Option<String>| token.as_ref().and_then(|token| tokenizer.token_id(token));
        model.bos_token_id = special(&template.specials().bos);
        model.eos_token_ids = special(&template.specials().eos).into_iter().collect();
        model.pad_token_id = special(&template.specials().pad);
        let model = CausalLm::init(&model, seed, device)?;
        Ok(Self { model, tokenizer, template })
    }

    /// Loads a student from a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    /// If a file is missing, damaged or asks for what is not supported.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let loaded = Checkpoint::load(path, device)?;
        let template = loaded.template()?.clone();
        Ok(Self { model: loaded.model, tokenizer: loaded.tokenizer, template })
    }

    /// As [`load`](Self::load), for a run with these settings: a student that the run cannot have memory for is refused
    /// before its weights are read.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`TrainError::Memory`].
    pub fn load_to_train(path: &Path, config: &SftConfig, device: &Device) -> Result<Self> {
        MemoryEstimate::at_least(config, &Outline::read(path)?.config).check_before_loading(config, memory::available())?;
        Self::load(path, device)
    }

    /// The student without its weights.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline { config: self.model.config().clone(), tokenizer: self.tokenizer.clone(), template: Some(self.template.clone()) }
    }

    /// Writes the Hugging Face folder: weights, config, tokenizer and chat template.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        Ok(hf::save(folder, &self.model, &self.tokenizer, Some(&self.template))?)
    }
}
