//! The map between Hugging Face's tensors (`model.layers.0.self_attn.q_proj.weight`, `[out, in]`) and the module's
//! parameters (`[in, out]`, query/key/value and gate/up merged), in both directions.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Gradients, Tensor, TensorData},
};
use rayon::prelude::*;

use crate::{CausalLm, Error, ModelConfig, Result, kernels::attention::AttentionSpec, model::DecoderLayer};

/// Where tensors come from: a random generator, safetensors, GGUF.
pub(crate) trait Source: Send {
    /// The row-major elements of the tensor with this Hugging Face name.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;
}

/// Refuses weights that are not numbers, or endless.
pub(crate) fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    // Without an early end inside of a piece its loop becomes vector instructions.
    let finite = values.par_chunks(1 << 16).all(|piece| piece.iter().fold(true, |finite, value| finite & value.is_finite()));
    let odd = if finite { None } else { values.iter().position(|value| !value.is_finite()) };
    odd.map_or(Ok(()), |index| Err(Error::weights(name, format!("holds {} at element {index}", values[index]))))
}

/// Assembles the module's parameters from a [`Source`].
pub(crate) struct Weights<'a> {
    config: &'a ModelConfig,
    source: &'a mut dyn Source,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(config: &'a ModelConfig, source: &'a mut dyn Source) -> Self {
        Self { config, source }
    }

    pub(crate) fn embedding(&mut self, device: &Device) -> Result<Param<Tensor<2>>> {
        self.table("model.embed_tokens.weight", device)
    }

    pub(crate) fn head(&mut self, device: &Device) -> Result<Param<Tensor<2>>> {
        self.table("lm_head.weight", device)
    }

    pub(crate) fn final_norm(&mut self, device: &Device) -> Result<Param<Tensor<1>>> {
        self.norm("model.norm.weight", self.config.hidden_size, device)
    }

    pub(crate) fn layer(&mut self, index: usize, spec: AttentionSpec, device: &Device) -> Result<DecoderLayer> {
        let config = self.config;
        let at = |name: &str| format!("model.layers.{index}.{name}");
        let hidden = config.hidden_size;
        let (q, kv, inner) = (config.q_size(), config.kv_size(), config.intermediate_size);
        let names = norm_names(config);
        let qkv = ["q_proj", "k_proj", "v_proj"].map(|name| at(&format!("self_attn.{name}")));
        let qkv_weights = [(q, 0), (kv, 1), (kv, 2)].map(|(width, part)| (format!("{}.weight", qkv[part]), width));
        let optional = |wanted: bool, name: &str| wanted.then(|| at(name));
        Ok(DecoderLayer {
            input_norm: self.norm(&at(names.pre_attention), hidden, device)?,
            qkv_proj: self.merged(&qkv_weights, hidden, device)?,
            qkv_bias: if config.qkv_bias { Some(self.bias(&qkv, device)?) } else { None },
            q_norm: self.optional_norm(optional(config.qk_norm, "self_attn.q_norm.weight"), config.head_dim, device)?,
            k_norm: self.optional_norm(optional(config.qk_norm, "self_attn.k_norm.weight"), config.head_dim, device)?,
            o_proj: self.merged(&[(at("self_attn.o_proj.weight"), hidden)], q, device)?,
            after_attention_norm: self.optional_norm(names.after_attention.map(at), hidden, device)?,
            post_norm: self.norm(&at(names.pre_mlp), hidden, device)?,
            gate_up_proj: self.merged(&[(at("mlp.gate_proj.weight"), inner), (at("mlp.up_proj.weight"), inner)], hidden, device)?,
            down_proj: self.merged(&[(at("mlp.down_proj.weight"), hidden)], inner, device)?,
            after_mlp_norm: self.optional_norm(names.after_mlp.map(at), hidden, device)?,
            lora: None,
            spec,
        })
    }

    fn table(&mut self, name: &str, device: &Device) -> Result<Param<Tensor<2>>> {
        let shape = [self.config.vocab_size, self.config.hidden_size];
        Ok(param(self.source.read(name, &shape)?, shape, device))
    }

    fn norm(&mut self, name: &str, width: usize, device: &Device) -> Result<Param<Tensor<1>>> {
        let mut weight = self.source.read(name, &[width])?;
        if self.config.norm_offset {
            weight.iter_mut().for_each(|w| *w += 1.0);
        }
        Ok(param(weight, [width], device))
    }

    fn optional_norm(&mut self, name: Option<String>, width: usize, device: &Device) -> Result<Option<Param<Tensor<1>>>> {
        name.map(|name| self.norm(&name, width, device)).transpose()
    }

    fn bias(&mut self, projections: &[String; 3], device: &Device) -> Result<Param<Tensor<1>>> {
        let mut merged = Vec::with_capacity(self.config.qkv_size());
        for (name, width) in projections.iter().zip([self.config.q_size(), self.config.kv_size(), self.config.kv_size()]) {
            merged.extend(self.source.read(&format!("{name}.bias"), &[width])?);
        }
        let width = merged.len();
        Ok(param(merged, [width], device))
    }

    /// `[out, in]` matrices of the same `in`, side by side as one `[in, Σ out]`.
    fn merged(&mut self, parts: &[(String, usize)], inputs: usize, device: &Device) -> Result<Param<Tensor<2>>> {
        let width: usize = parts.iter().map(|(_, out)| out).sum();
        let mut merged = vec![0.0; inputs * width];
        let mut column = 0;
        for (name, out) in parts {
            let weight = self.source.read(name, &[*out, inputs])?;
            transpose(&weight, inputs, (*out, inputs), &mut merged[column..], width);
            column += out;
        }
        Ok(param(merged, [inputs, width], device))
    }
}

fn param<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_data(TensorData::new(values, shape), device)
}

/// Writes the transpose of a `rows × cols` block, both row-major within wider matrices, in tiles that stay in the cache.
fn transpose(matrix: &[f32], stride: usize, (rows, cols): (usize, usize), out: &mut [f32], out_stride: usize) {
    const TILE: usize = 32;
    out.par_chunks_mut(TILE * out_stride).enumerate().for_each(|(at, out)| {
        let first = at * TILE;
        for row_tile in (0..rows).step_by(TILE) {
            for row in row_tile..(row_tile + TILE).min(rows) {
                for col in first..(first + TILE).min(cols) {
                    out[(col - first) * out_stride + row] = matrix[row * stride + col];
                }
            }
        }
    });
}

/// Names of a layer's norms. Families with norms on both sides call the one before the feed-forward block differently.
pub(crate) struct NormNames {
    pub(crate) pre_attention: &'static str,
    pub(crate) after_attention: Option<&'static str>,
    pub(crate) pre_mlp: &'static str,
    pub(crate) after_mlp: Option<&'static str>,
}

const PLAIN_NORMS: NormNames = NormNames {
    pre_attention: "input_layernorm.weight",
    after_attention: None,
    pre_mlp: "post_attention_layernorm.weight",
    after_mlp: None,
};

const SANDWICH_NORMS: NormNames = NormNames {
    pre_attention: "input_layernorm.weight",
    after_attention: Some("post_attention_layernorm.weight"),
    pre_mlp: "pre_feedforward_layernorm.weight",
    after_mlp: Some("post_feedforward_layernorm.weight"),
};

pub(crate) fn norm_names(config: &ModelConfig) -> &'static NormNames {
    if config.sandwich_norms { &SANDWICH_NORMS } else { &PLAIN_NORMS }
}

/// Takes one tensor: its Hugging Face name, its shape, and its elements when they are wanted.
pub(crate) type Sink<'a> = dyn FnMut(&str, &[usize], &dyn Fn() -> Result<Vec<f32>>) -> Result<()> + 'a;

/// Hands every tensor of the model to `sink` in a fixed order, one at a time; a tied head is not among them.
///
/// # Errors
/// For adapters that are not merged: without them the tensors would be another model.
pub(crate) fn export(model: &CausalLm, sink: &mut Sink<'_>) -> Result<()> {
    if model.has_lora() {
        return Err(Error::weights("lora", "the adapters must be merged before the weights are written"));
    }
    let config = model.config();
    emit(sink, "model.embed_tokens.weight", &model.embed_tokens)?;
    for (index, layer) in model.layers.iter().enumerate() {
        export_layer(config, index, layer, sink)?;
    }
    emit_norm(config, sink, "model.norm.weight", &model.norm)?;
    model.lm_head.as_ref().map_or(Ok(()), |head| emit(sink, "lm_head.weight", head))
}

fn export_layer(config: &ModelConfig, index: usize, layer: &DecoderLayer, sink: &mut Sink<'_>) -> Result<()> {
    let at = |name: &str| format!("model.layers.{index}.{name}");
    let names = norm_names(config);
    let (q, kv, inner) = (config.q_size(), config.kv_size(), config.intermediate_size);
    let qkv = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)];
    emit_norm(config, sink, &at(names.pre_attention), &layer.input_norm)?;
    emit_split(sink, &qkv.map(|(name, width)| (at(&format!("self_attn.{name}.weight")), width)), &layer.qkv_proj)?;
    if let Some(bias) = &layer.qkv_bias {
        let mut start = 0;
        for (name, width) in qkv {
            sink(&at(&format!("self_attn.{name}.bias")), &[width], &|| Ok(read(bias)?[start..start + width].to_vec()))?;
            start += width;
        }
    }
    for (name, norm) in [("self_attn.q_norm.weight", &layer.q_norm), ("self_attn.k_norm.weight", &layer.k_norm)] {
        norm.as_ref().map_or(Ok(()), |norm| emit_norm(config, sink, &at(name), norm))?;
    }
    emit_split(sink, &[(at("self_attn.o_proj.weight"), config.hidden_size)], &layer.o_proj)?;
    emit_norm(config, sink, &at(names.pre_mlp), &layer.post_norm)?;
    for (name, norm) in [(names.after_attention, &layer.after_attention_norm), (names.after_mlp, &layer.after_mlp_norm)] {
        name.zip(norm.as_ref()).map_or(Ok(()), |(name, norm)| emit_norm(config, sink, &at(name), norm))?;
    }
    emit_split(sink, &[(at("mlp.gate_proj.weight"), inner), (at("mlp.up_proj.weight"), inner)], &layer.gate_up_proj)?;
    emit_split(sink, &[(at("mlp.down_proj.weight"), config.hidden_size)], &layer.down_proj)
}

fn read<const D: usize>(param: &Param<Tensor<D>>) -> Result<Vec<f32>> {
    param.val().try_into_vec_as::<f32>().map_err(|error| Error::weights("device", format!("cannot be read back: {error:?}")))
}

fn emit<const D: usize>(sink: &mut Sink<'_>, name: &str, param: &Param<Tensor<D>>) -> Result<()> {
    sink(name, &param.val().dims(), &|| read(param))
}

fn emit_norm(config: &ModelConfig, sink: &mut Sink<'_>, name: &str, param: &Param<Tensor<1>>) -> Result<()> {
    let offset = if config.norm_offset { 1.0 } else { 0.0 };
    sink(name, &param.val().dims(), &|| Ok(read(param)?.into_iter().map(|w| w - offset).collect()))
}

/// The columns of a merged `[in, Σ out]` as separate `[out, in]` tensors.
fn emit_split(sink: &mut Sink<'_>, parts: &[(String, usize)], param: &Param<Tensor<2>>) -> Result<()> {
    let [inputs, width] = param.val().dims();
    let mut column = 0;
    for (name, out) in parts {
        sink(name, &[*out, inputs], &|| {
            let mut values = vec![0.0; out * inputs];
            transpose(&read(param)?[column..], width, (inputs, *out), &mut values, inputs);
            Ok(values)
        })?;
        column += out;
    }
    Ok(())
}

impl CausalLm {
    /// Takes the gradients of all parameters out of `gradients`, by Hugging Face name and in its layout (`[out, in]`,
    /// query, key, value, gate and up apart); zeros for a parameter that did not take part. For comparing with other
    /// implementations.
    ///
    /// # Errors
    /// When a gradient cannot be read back from the device.
    pub fn named_gradients(&self, gradients: &mut Gradients) -> Result<BTreeMap<String, Vec<f32>>> {
        let of_gradients = self.clone().map(&mut TakeGradients { gradients });
        let mut named = BTreeMap::new();
        export(&of_gradients, &mut |name, _, values| {
            named.insert(name.to_owned(), values()?);
            Ok(())
        })?;
        if self.config().norm_offset {
            // `export` writes norms as `w − 1`; gradients have no such offset.
            named
                .iter_mut()
                .filter(|(name, _)| name.ends_with("norm.weight"))
                .for_each(|(_, values)| values.iter_mut().for_each(|g| *g += 1.0));
        }
        Ok(named)
    }
}

/// Replaces every parameter by its gradient, zeros where there is none.
struct TakeGradients<'a> {
    gradients: &'a mut Gradients,
}

impl ModuleMapper for TakeGradients<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = param.val();
        let gradient = value.grad_remove(self.gradients).unwrap_or_else(|| value.inner().zeros_like());
        Param::initialized(param.id, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_into_columns_of_a_wider_matrix() {
        let (rows, cols, stride) = (40, 35, 50);
        let matrix: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
        let mut out = vec![-1.0; cols * stride];
        transpose(&matrix, cols, (rows, cols), &mut out[3..], stride);
        assert_eq!(out[3 + 34 * stride + 39], matrix[39 * cols + 34]);
        assert_eq!(out[2], -1.0);
        assert_eq!(out[3 + 40], -1.0);
    }
}
