//! A model's tensors, packed as they come from their source.

use super::{
    CpuModel, Layer,
    packed::{Packed, Storage},
};
use crate::{
    CausalLm, Error, ModelConfig, Result,
    kernels::attention::AttentionSpec,
    model::attention_specs,
    weights::{self, Source},
};

/// Reads every tensor of the model from `source`, one at a time.
pub(super) fn load(config: &ModelConfig, source: &mut dyn Source, storage: Storage) -> Result<CpuModel> {
    config.validate()?;
    let mut loader = Loader { config, source, storage };
    let hidden = config.hidden_size;
    let embedding = loader.merged(&[("model.embed_tokens.weight".into(), config.vocab_size)], hidden)?;
    let layers = attention_specs(config).enumerate().map(|(index, spec)| loader.layer(index, spec)).collect::<Result<_>>()?;
    let norm = loader.norm("model.norm.weight", hidden)?;
    let head =
        if config.tie_word_embeddings { None } else { Some(loader.merged(&[("lm_head.weight".into(), config.vocab_size)], hidden)?) };
    Ok(CpuModel { config: config.clone(), embedding, layers, norm, head })
}

struct Loader<'a> {
    config: &'a ModelConfig,
    source: &'a mut dyn Source,
    storage: Storage,
}

impl Loader<'_> {
    fn layer(&mut self, index: usize, spec: AttentionSpec) -> Result<Layer> {
        let config = self.config;
        let at = |name: &str| format!("model.layers.{index}.{name}");
        let hidden = config.hidden_size;
        let (q, kv, inner) = (config.q_size(), config.kv_size(), config.intermediate_size);
        let names = weights::norm_names(config);
        let projections = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)].map(|(name, width)| (at(&format!("self_attn.{name}")), width));
        let qk_norm = |name: &str| config.qk_norm.then(|| at(name));
        Ok(Layer {
            input_norm: self.norm(&at(names.pre_attention), hidden)?,
            qkv: self.merged(&projections.clone().map(|(name, width)| (format!("{name}.weight"), width)), hidden)?,
            qkv_bias: if config.qkv_bias { Some(self.bias(&projections)?) } else { None },
            q_norm: self.optional_norm(qk_norm("self_attn.q_norm.weight"), config.head_dim)?,
            k_norm: self.optional_norm(qk_norm("self_attn.k_norm.weight"), config.head_dim)?,
            o: self.merged(&[(at("self_attn.o_proj.weight"), hidden)], q)?,
            after_attention_norm: self.optional_norm(names.after_attention.map(at), hidden)?,
            post_norm: self.norm(&at(names.pre_mlp), hidden)?,
            gate_up: self.merged(&[(at("mlp.gate_proj.weight"), inner), (at("mlp.up_proj.weight"), inner)], hidden)?,
            down: self.merged(&[(at("mlp.down_proj.weight"), hidden)], inner)?,
            after_mlp_norm: self.optional_norm(names.after_mlp.map(at), hidden)?,
            spec,
        })
    }

    /// `[out, in]` matrices of the same `in`, their outputs side by side.
    fn merged(&mut self, parts: &[(String, usize)], inputs: usize) -> Result<Packed> {
        let mut packed = Packed::zeros(inputs, parts.iter().map(|(_, out)| out).sum(), self.storage);
        let mut first = 0;
        for (name, out) in parts {
            packed.fill(first, &self.source.read(name, &[*out, inputs])?);
            first += out;
        }
        Ok(packed)
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Vec<f32>> {
        let mut weight = self.source.read(name, &[width])?;
        if self.config.norm_offset {
            weight.iter_mut().for_each(|w| *w += 1.0);
        }
        Ok(weight)
    }

    fn optional_norm(&mut self, name: Option<String>, width: usize) -> Result<Option<Vec<f32>>> {
        name.map(|name| self.norm(&name, width)).transpose()
    }

    fn bias(&mut self, projections: &[(String, usize)]) -> Result<Vec<f32>> {
        let read = projections.iter().map(|(name, width)| self.source.read(&format!("{name}.bias"), &[*width]));
        Ok(read.collect::<Result<Vec<_>>>()?.concat())
    }
}

/// The tensors of a model that is in memory.
pub(super) struct ModelSource<'a>(pub(super) &'a CausalLm);

impl Source for ModelSource<'_> {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut found = None;
        weights::export(self.0, &mut |tensor, dims, values| {
            if tensor == name {
                found = Some((dims.to_vec(), values()?));
            }
            Ok(())
        })?;
        match found {
            Some((dims, values)) if dims == shape => Ok(values),
            Some((dims, _)) => Err(Error::weights(name, format!("has the shape {dims:?}, the configuration needs {shape:?}"))),
            None => Err(Error::weights(name, "is missing")),
        }
    }
}
