//! Typed access to the fields of a `config.json`, with errors that name the field.

use serde_json::{Map, Value, json};

use crate::{
    Error, ModelConfig, Result,
    config::{Activation, LayerKind},
    rope::{RopeConfig, RopeScaling},
};

/// The fields of one `config.json`. A field that is `null` counts as absent.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Wraps the parsed file.
    #[must_use]
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self { map }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn typed<T>(&self, field: &str, expected: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Error::config(field, format!("expected {expected}, found {value}")))
    }

    pub(crate) fn size(&self, field: &str) -> Result<Option<usize>> {
        self.typed(field, "a whole number", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>> {
        self.typed(field, "a number", Value::as_f64)
    }

    pub(crate) fn flag(&self, field: &str) -> Result<Option<bool>> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&self, field: &str) -> Result<Option<&'a str>> {
        self.typed(field, "a string", Value::as_str)
    }

    pub(crate) fn required(&self, field: &str) -> Result<usize> {
        self.size(field)?.ok_or_else(|| Error::config(field, "is missing"))
    }

    /// Refuses a field that is set to anything but `expected`, because another value would change the arithmetic.
    pub(crate) fn must_be(&self, field: &str, expected: &Value) -> Result<()> {
        match self.get(field) {
            Some(value) if value != expected => Err(Error::config(field, format!("only {expected} is supported, found {value}"))),
            _ => Ok(()),
        }
    }

    fn token_id(&self, field: &str) -> Result<Option<u32>> {
        self.typed(field, "a token id", |value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
    }

    fn token_ids(&self, field: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = self.typed(field, "a token id or a list of them", |value| match value {
            Value::Array(ids) => ids.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        });
        Ok(ids?.unwrap_or_default())
    }

    pub(crate) fn sizes(&self, field: &str) -> Result<Option<Vec<usize>>> {
        let size = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.typed(field, "a list of whole numbers", |value| value.as_array()?.iter().map(size).collect())
    }

    pub(crate) fn activation(&self, field: &str, default: Activation) -> Result<Activation> {
        match self.text(field)? {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some(other) => Err(Error::config(field, format!("only silu and gelu_pytorch_tanh are supported, found {other}"))),
        }
    }

    /// The shape that every family shares; `theta` is the family's default base.
    pub(crate) fn common(&self, model_type: &str, theta: f64) -> Result<ModelConfig> {
        let heads = self.required("num_attention_heads")?;
        let hidden = self.required("hidden_size")?;
        let layers = self.required("num_hidden_layers")?;
        if layers > 4096 {
            return Err(Error::config("num_hidden_layers", format!("must be at most 4096, found {layers}")));
        }
        let max_positions = self.size("max_position_embeddings")?.unwrap_or(2048);
        let kv_heads = self.size("num_key_value_heads")?.unwrap_or(heads);
        let mut config =
            ModelConfig::llama(self.required("vocab_size")?, hidden, layers, heads, kv_heads, self.required("intermediate_size")?);
        if let Some(head_dim) = self.size("head_dim")? {
            config.head_dim = head_dim;
        } else if heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(Error::config("hidden_size", format!("must be a multiple of num_attention_heads ({heads}), found {hidden}")));
        }
        model_type.clone_into(&mut config.model_type);
        config.attention_scale = 1.0 / (config.head_dim as f64).sqrt();
        config.max_position_embeddings = max_positions;
        config.rms_norm_eps = self.number("rms_norm_eps")?.unwrap_or(1e-6);
        config.rope = self.rope(theta, max_positions)?;
        config.layers = vec![LayerKind::default(); layers];
        config.tie_word_embeddings = self.flag("tie_word_embeddings")?.unwrap_or(false);
        config.activation = self.activation("hidden_act", Activation::Silu)?;
        config.initializer_range = self.number("initializer_range")?.unwrap_or(0.02);
        config.bos_token_id = self.token_id("bos_token_id")?.filter(|&id| (id as usize) < config.vocab_size);
        config.eos_token_ids = self.token_ids("eos_token_id")?;
        config.pad_token_id = self.token_id("pad_token_id")?;
        self.must_be("partial_rotary_factor", &json!(1.0))?;
        self.must_be("quantization_config", &Value::Null)?;
        Ok(config)
    }

    /// Both the older `rope_theta` + `rope_scaling` and the newer `rope_parameters`.
    fn rope(&self, theta: f64, max_positions: usize) -> Result<RopeConfig> {
        if let Some(parameters) = self.object("rope_parameters")? {
            return parameters.rope_parameters(self.number("rope_theta")?.unwrap_or(theta), max_positions);
        }
        let scaling = self.object("rope_scaling")?.map_or(Ok(RopeScaling::None), |scaling| scaling.rope_scaling(max_positions))?;
        Ok(RopeConfig { theta: self.number("rope_theta")?.unwrap_or(theta), scaling })
    }

    /// Reads the inside of `rope_parameters`.
    pub(crate) fn rope_parameters(&self, theta: f64, max_positions: usize) -> Result<RopeConfig> {
        Ok(RopeConfig { theta: self.number("rope_theta")?.unwrap_or(theta), scaling: self.rope_scaling(max_positions)? })
    }

    pub(crate) fn object(&self, field: &str) -> Result<Option<Fields<'a>>> {
        Ok(self.typed(field, "an object", Value::as_object)?.map(Fields::new))
    }

    /// Reads the inside of `rope_scaling`.
    fn rope_scaling(&self, max_positions: usize) -> Result<RopeScaling> {
        let kind = self.text("rope_type")?.or(self.text("type")?).unwrap_or("default");
        let number = |field: &str| self.number(field)?.ok_or_else(|| Error::config(&format!("rope_scaling.{field}"), "is missing"));
        let original = self.size("original_max_position_embeddings")?;
        Ok(match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: number("factor")? },
            "dynamic" => RopeScaling::Dynamic { factor: number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original: original.ok_or_else(|| Error::config("rope_scaling.original_max_position_embeddings", "is missing"))?,
            },
            "yarn" => {
                let factor = number("factor")?;
                RopeScaling::Yarn {
                    factor,
                    beta_fast: self.number("beta_fast")?.unwrap_or(32.0),
                    beta_slow: self.number("beta_slow")?.unwrap_or(1.0),
                    original: original.unwrap_or(max_positions),
                    attention_factor: self.yarn_attention_factor(factor)?,
                    truncate: self.flag("truncate")?.unwrap_or(true),
                }
            }
            other => {
                return Err(Error::config(
                    "rope_scaling",
                    format!("only default, linear, dynamic, llama3 and yarn are supported, found {other}"),
                ));
            }
        })
    }

    fn yarn_attention_factor(&self, factor: f64) -> Result<f64> {
        let mscale = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        if let Some(given) = self.number("attention_factor")? {
            return Ok(given);
        }
        Ok(match (self.number("mscale")?, self.number("mscale_all_dim")?) {
            (Some(one), Some(all)) if one != 0.0 && all != 0.0 => mscale(one) / mscale(all),
            _ => mscale(1.0),
        })
    }
}

/// Writes rotary settings both ways, so that older and newer readers find them.
pub(crate) fn write_rope(rope: &RopeConfig, map: &mut Map<String, Value>) {
    let scaling = match &rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original,
        }),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original, attention_factor, truncate } => json!({
            "rope_type": "yarn", "factor": factor, "beta_fast": beta_fast, "beta_slow": beta_slow,
            "original_max_position_embeddings": original, "attention_factor": attention_factor, "truncate": truncate,
        }),
    };
    map.insert("rope_theta".into(), json!(rope.theta));
    map.insert("rope_scaling".into(), scaling);
}
