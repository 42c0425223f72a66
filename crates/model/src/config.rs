//! What a model is made of, read from and written to Hugging Face's `config.json`.

use serde_json::{Map, Value};

use crate::{Error, Result, arch, rope::RopeConfig};

/// The gate's nonlinearity in the feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)` (Llama, Qwen).
    Silu,
    /// GELU in its tanh form (Gemma).
    GeluTanh,
}

/// What differs between the layers of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerKind {
    /// A layer without rotary embedding (every fourth one of SmolLM3).
    pub no_rope: bool,
    /// A token sees only this many tokens, itself included (Gemma 3's local layers).
    pub window: Option<usize>,
    /// Uses [`ModelConfig::local_rope`] instead of [`ModelConfig::rope`].
    pub local_rope: bool,
}

/// A decoder-only transformer. Field names follow Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `model_type`: the key into [`arch::ARCHITECTURES`].
    pub model_type: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; query heads share them in equal groups.
    pub num_key_value_heads: usize,
    /// Width of one head; not always `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// The longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// Rotary embedding of the layers marked [`LayerKind::local_rope`].
    pub local_rope: Option<RopeConfig>,
    /// One entry per layer.
    pub layers: Vec<LayerKind>,
    /// The output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Biases on the query, key and value projections (Qwen2).
    pub qkv_bias: bool,
    /// RMSNorm on each query and key head before rotation (Qwen3, Gemma 3).
    pub qk_norm: bool,
    /// RMSNorm also after attention and after the feed-forward block (Gemma 3).
    pub sandwich_norms: bool,
    /// The file stores `w − 1` for RMSNorm weights (Gemma); in memory they are always `w`.
    pub norm_offset: bool,
    /// The gate's nonlinearity.
    pub activation: Activation,
    /// Factor on the embedding's output (√hidden_size for Gemma).
    pub embedding_scale: Option<f64>,
    /// Attention scores are multiplied by this; by default `1 / √head_dim`.
    pub attention_scale: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Beginning of text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a turn; several for Llama 3.
    pub eos_token_ids: Vec<u32>,
    /// Padding.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// A Llama-style student of this shape: `head_dim = hidden_size / heads`, tied embeddings, θ = 10,000, 2,048 positions,
    /// fresh weights of deviation √(2/5d) (SmallInit, Nguyen & Salazar 2019).
    #[must_use]
    pub fn llama(vocab_size: usize, hidden_size: usize, layers: usize, heads: usize, kv_heads: usize, intermediate_size: usize) -> Self {
        let head_dim = hidden_size.checked_div(heads).unwrap_or(0);
        Self {
            model_type: "llama".into(),
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            rope: RopeConfig::default(),
            local_rope: None,
            layers: vec![LayerKind::default(); layers],
            tie_word_embeddings: true,
            qkv_bias: false,
            qk_norm: false,
            sandwich_norms: false,
            norm_offset: false,
            activation: Activation::Silu,
            embedding_scale: None,
            attention_scale: 1.0 / (head_dim as f64).sqrt(),
            initializer_range: (0.4 / hidden_size.max(1) as f64).sqrt(),
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// Names the field that is missing, malformed or asks for something that is not computed.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|error| Error::config("config.json", error.to_string()))?;
        let Value::Object(map) = value else { return Err(Error::config("config.json", "expected an object")) };
        let model_type = map.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let config = (arch::find(model_type)?.parse)(&arch::Fields::new(&map))?;
        config.validate()?;
        Ok(config)
    }

    /// Writes a `config.json` that transformers loads.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.to_json_as("float32")
    }

    /// As [`to_json`](Self::to_json), for weights stored in another type (`bfloat16`, `float16`).
    pub(crate) fn to_json_as(&self, torch_dtype: &str) -> String {
        let mut map = Map::new();
        arch::write_common(self, &mut map);
        map.insert("torch_dtype".into(), torch_dtype.into());
        if let Ok(arch) = arch::find(&self.model_type) {
            (arch.write)(self, &mut map);
        }
        let mut text = serde_json::to_string_pretty(&Value::Object(map)).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Width of the query projection.
    #[must_use]
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of the key (and of the value) projection.
    #[must_use]
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Width of the merged query, key and value projection.
    #[must_use]
    pub fn qkv_size(&self) -> usize {
        self.q_size() + 2 * self.kv_size()
    }

    /// Parameters, a tied head counted once.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        let hidden = self.hidden_size;
        let bias = if self.qkv_bias { self.qkv_size() } else { 0 };
        let qk_norm = if self.qk_norm { 2 * self.head_dim } else { 0 };
        let norms = if self.sandwich_norms { 4 } else { 2 } * hidden;
        let layer = hidden * self.qkv_size() + bias + qk_norm + self.q_size() * hidden + 3 * hidden * self.intermediate_size + norms;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        tables * self.vocab_size * hidden + self.num_hidden_layers * layer + hidden
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// Names the first field that does not fit, with the limit and the value.
    pub fn validate(&self) -> Result<()> {
        const LARGEST: usize = 1 << 24;
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 || value > LARGEST {
                return Err(Error::config(field, format!("must be between 1 and {LARGEST}, found {value}")));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let problem = format!("must divide num_attention_heads ({}), found {}", self.num_attention_heads, self.num_key_value_heads);
            return Err(Error::config("num_key_value_heads", problem));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::config("head_dim", format!("must be even to rotate half of it, found {}", self.head_dim)));
        }
        if self.layers.len() != self.num_hidden_layers {
            let problem = format!("describes {} layers, but num_hidden_layers is {}", self.layers.len(), self.num_hidden_layers);
            return Err(Error::config("layer_types", problem));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(Error::config("rms_norm_eps", format!("must be finite and not negative, found {}", self.rms_norm_eps)));
        }
        if let Some(&id) = self.eos_token_ids.iter().chain(&self.bos_token_id).find(|&&id| id as usize >= self.vocab_size) {
            return Err(Error::config("eos_token_id", format!("must be below vocab_size ({}), found {id}", self.vocab_size)));
        }
        self.rope.validate()?;
        self.local_rope.as_ref().map_or(Ok(()), RopeConfig::validate)
    }

    /// Refuses tokens that the embedding has no row for.
    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        let limit = self.vocab_size;
        match tokens.iter().find(|&&token| token as usize >= limit) {
            Some(token) => Err(Error::Input(format!("token {token} is outside the vocabulary of {limit}"))),
            None => Ok(()),
        }
    }
}
