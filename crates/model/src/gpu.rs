//! A model on an NVIDIA GPU through the kernels of `potstill-cuda`: its shape, and its weights on their way there.

use std::sync::mpsc::sync_channel;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor},
};
use potstill_cuda::{Decoder, Shape};

use crate::{
    Activation, CausalLm, ModelConfig, Result,
    model::attention_specs,
    rope::RopeTable,
    weights::{Source, Weights},
};

/// Positions whose angles are kept on the GPU.
const LONGEST: usize = 1 << 16;

/// Whether the kernels have the model.
///
/// # Errors
/// The name of a part that they do not have.
pub fn supported(config: &ModelConfig) -> Result<(), String> {
    sizes(config).map(drop)
}

/// The model's shape as the kernels take it.
///
/// # Errors
/// As [`supported`].
pub fn shape(config: &ModelConfig) -> Result<Shape, String> {
    let sizes = sizes(config)?;
    let positions = config.max_position_embeddings.min(LONGEST);
    let angles = RopeTable::new(&config.rope, config.head_dim, positions).rows(0, positions).into_owned();
    Ok(Shape { angles, ..sizes })
}

/// The shape without its angles.
fn sizes(config: &ModelConfig) -> Result<Shape, String> {
    let missing = [
        (config.qk_norm, "norms on query and key heads (Qwen3, Gemma 3)"),
        (config.sandwich_norms, "norms after attention and feed-forward (Gemma 3)"),
        (config.activation != Activation::Silu, "GELU"),
        (config.embedding_scale.is_some(), "a scaled embedding"),
        (config.layers.iter().any(|layer| layer.window.is_some()), "windowed attention"),
        (config.layers.iter().any(|layer| layer.no_rope), "layers without rotary embedding (SmolLM3)"),
    ];
    if let Some((_, name)) = missing.iter().find(|(present, _)| *present) {
        return Err((*name).to_owned());
    }
    let shape = Shape {
        vocab: config.vocab_size,
        hidden: config.hidden_size,
        inner: config.intermediate_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        groups: config.num_key_value_heads,
        dim: config.head_dim,
        bias: config.qkv_bias,
        tied: config.tie_word_embeddings,
        eps: config.rms_norm_eps as f32,
        scale: config.attention_scale as f32,
        angles: Vec::new(),
    };
    match shape.check() {
        Ok(()) => Ok(shape),
        Err(potstill_cuda::Error::Unsupported(part)) => Err(part),
        Err(other) => Err(other.to_string()),
    }
}

/// Reads a model from its source into the memory of GPU `number`, a layer at a time: while one goes up, the next is read.
/// The cache has no room yet.
pub(crate) fn load(config: &ModelConfig, shape: Shape, source: &mut dyn Source, number: usize) -> Result<Decoder> {
    config.validate()?;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            let mut parts = Parts::new(config, source);
            // An upload that failed listens no more.
            while let Some(part) = parts.next().transpose()
                && sender.send(part).is_ok()
            {}
        });
        let mut failure = None;
        let parts = receiver.into_iter().map_while(|part| part.map_err(|error| failure = Some(error)).ok());
        let decoder = Decoder::new(number, shape, parts.flatten(), 0);
        failure.map_or_else(|| Ok(decoder?), Err)
    })
}

/// A copy of a model's weights on GPU `number`.
pub(crate) fn copy(model: &CausalLm, shape: Shape, number: usize) -> Result<Decoder> {
    let mut values = Values(Vec::new());
    model.clone().map(&mut values);
    Ok(Decoder::new(number, shape, values.0.into_iter(), 0)?)
}

/// The parameters of a model in the module's order, in groups.
struct Parts<'a> {
    config: &'a ModelConfig,
    weights: Weights<'a>,
    next: usize,
}

impl<'a> Parts<'a> {
    fn new(config: &'a ModelConfig, source: &'a mut dyn Source) -> Self {
        Self { config, weights: Weights::new(config, source), next: 0 }
    }

    fn next(&mut self) -> Result<Option<Vec<Vec<f32>>>> {
        let (at, layers, host) = (self.next, self.config.num_hidden_layers, Device::flex());
        self.next += 1;
        let mut values = Values(Vec::new());
        if at == 0 {
            values.map_float(self.weights.embedding(&host)?);
        } else if let Some(spec) = attention_specs(self.config).nth(at - 1) {
            self.weights.layer(at - 1, spec, &host)?.map(&mut values);
        } else if at == layers + 1 {
            values.map_float(self.weights.final_norm(&host)?);
        } else if at == layers + 2 && !self.config.tie_word_embeddings {
            values.map_float(self.weights.head(&host)?);
        } else {
            return Ok(None);
        }
        Ok(Some(values.0))
    }
}

/// Takes the elements out of parameters: without a copy where nobody else holds them.
struct Values(Vec<Vec<f32>>);

impl ModuleMapper for Values {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        let nothing = Tensor::empty(value.dims().map(|_| 0), &value.device());
        // Tensors of the host in f32 are read as they are.
        self.0.push(value.into_data_as::<f32>().try_into_vec().unwrap_or_default());
        Param::from_mapped_value(id, nothing, mapper)
    }
}
