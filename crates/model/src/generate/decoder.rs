//! A model that is ready to generate.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{module::Module, tensor::Device};

#[cfg(feature = "cuda")]
use super::gpu::GpuRunner;
use super::runner::{CpuRunner, DeviceRunner, Runner};
#[cfg(feature = "cuda")]
use crate::gpu;
use crate::{
    CausalLm, ChatTemplate, Checkpoint, Error, ModelConfig, Result, Tokenizer,
    checkpoint::template_of,
    cpu::{CpuModel, Storage},
    gguf, hf,
    kernels::decode::Step,
    weights::Source,
};

/// A model laid out for generating, with all that is needed to talk to it; clones share the weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Text to tokens.
    pub tokenizer: Tokenizer,
    /// Conversations to text; base models have none.
    pub template: Option<ChatTemplate>,
    weights: Arc<Weights>,
}

#[derive(Debug)]
enum Weights {
    Cpu(CpuModel),
    /// On a GPU whose kernels have the model; in bf16.
    #[cfg(feature = "cuda")]
    Gpu {
        decoder: Box<Mutex<potstill_cuda::Decoder>>,
        config: ModelConfig,
    },
    /// Wherever else burn computes.
    Device {
        model: Mutex<CausalLm>,
        config: ModelConfig,
        device: Device,
    },
}

/// Whether tensors of this device lie in the main memory.
fn on_cpu(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

impl Decoder {
    /// Loads a GGUF file or a Hugging Face folder. On the CPU the weights go straight into the layout for decoding, one
    /// tensor at a time. A GPU's kernels keep them in bf16, whatever `storage` says; models that the kernels do not have
    /// are computed by burn in f32.
    ///
    /// # Errors
    /// As [`gguf::load`] and [`hf::load`].
    pub fn load(path: &Path, device: &Device, storage: Storage) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some(number) = crate::device::number_of(device) {
            return Self::load_to_gpu(path, device, number, storage);
        }
        if !on_cpu(device) {
            let Checkpoint { model, tokenizer, template } = Checkpoint::load(path, device)?;
            return Self::new(&model, tokenizer, template, storage);
        }
        let pack = |config: &ModelConfig, source: &mut dyn Source| CpuModel::load(config, source, storage);
        let (model, tokenizer, template) =
            if crate::checkpoint::is_gguf(path) { gguf::load_with(path, pack)? } else { hf::load_with(path, pack)? };
        Ok(Self { tokenizer, template, weights: Arc::new(Weights::Cpu(model)) })
    }

    /// A model on a GPU: for its kernels where they have it, for burn where they do not.
    #[cfg(feature = "cuda")]
    fn load_to_gpu(path: &Path, device: &Device, number: usize, storage: Storage) -> Result<Self> {
        let load = |config: &ModelConfig, source: &mut dyn Source| match gpu::shape(config) {
            Ok(shape) => {
                let decoder = Box::new(Mutex::new(gpu::load(config, shape, source, number)?));
                Ok(Ok(Weights::Gpu { decoder, config: config.clone() }))
            }
            Err(_) => CausalLm::from_source(config, source, device).map(Err),
        };
        let (loaded, tokenizer, template) =
            if crate::checkpoint::is_gguf(path) { gguf::load_with(path, load)? } else { hf::load_with(path, load)? };
        match loaded {
            Ok(weights) => Ok(Self { tokenizer, template, weights: Arc::new(weights) }),
            Err(model) => Self::new(&model, tokenizer, template, storage),
        }
    }

    /// Lays a copy of a model's weights out for generating.
    ///
    /// # Errors
    /// When weights cannot be read from the device, or `storage` is not f32 on another device than the CPU.
    pub fn new(model: &CausalLm, tokenizer: Tokenizer, template: Option<ChatTemplate>, storage: Storage) -> Result<Self> {
        let device = model.embed_tokens.val().device();
        #[cfg(feature = "cuda")]
        if let Some(number) = crate::device::number_of(&device)
            && let Ok(shape) = gpu::shape(model.config())
        {
            let decoder = Box::new(Mutex::new(gpu::copy(model, shape, number)?));
            let weights = Weights::Gpu { decoder, config: model.config().clone() };
            return Ok(Self { tokenizer, template, weights: Arc::new(weights) });
        }
        let weights = if on_cpu(&device) {
            Weights::Cpu(CpuModel::of(model, storage)?)
        } else if storage == Storage::F32 {
            let model = model.valid();
            let device = model.embed_tokens.val().device();
            Weights::Device { config: model.config().clone(), model: Mutex::new(model), device }
        } else {
            return Err(Error::Generate(format!("weights are kept as {storage:?} on the CPU only, the model is on {device:?}")));
        };
        Ok(Self { tokenizer, template, weights: Arc::new(weights) })
    }

    /// What the model is made of.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        match &*self.weights {
            Weights::Cpu(model) => model.config(),
            #[cfg(feature = "cuda")]
            Weights::Gpu { config, .. } => config,
            Weights::Device { config, .. } => config,
        }
    }

    /// The template.
    ///
    /// # Errors
    /// When the model came without one.
    pub fn template(&self) -> Result<&ChatTemplate> {
        template_of(self.template.as_ref())
    }

    /// Logits after every token of a text, `[tokens, vocab]`, by the same path as generation: for comparing with other
    /// programs, and for scoring texts.
    ///
    /// # Errors
    /// When there are no tokens, foreign ones, or more than the context holds.
    pub fn logits(&self, ids: &[u32], threads: usize) -> Result<Vec<f32>> {
        self.check_prompt("the text", ids, 0)?;
        // One step for each token, all of the same sequence: each sees those before it.
        let steps: Vec<Step> = (0..ids.len()).map(|cached| Step { slot: 0, cached, count: 1 }).collect();
        self.runner(1, threads)?.forward(ids, &steps, true)
    }

    /// Bytes of weights that one decoding step reads; on the CPU only.
    #[must_use]
    pub fn bytes_per_step(&self) -> Option<usize> {
        match &*self.weights {
            Weights::Cpu(model) => Some(model.bytes()),
            #[cfg(feature = "cuda")]
            Weights::Gpu { .. } => None,
            Weights::Device { .. } => None,
        }
    }

    /// Whether the marks of thinking are special tokens, which text leaves out unless it is asked for them.
    #[must_use]
    pub fn marks_thinking_specially(&self) -> bool {
        let Some(id) = self.tokenizer.token_id("</think>") else { return false };
        self.tokenizer.decode(&[id], true).is_ok_and(|text| text.is_empty())
    }

    /// Whether several runners side by side are as good as one.
    pub(super) fn replicable(&self) -> bool {
        matches!(&*self.weights, Weights::Cpu(_))
    }

    pub(super) fn runner(&self, slots: usize, threads: usize) -> Result<Box<dyn Runner + '_>> {
        Ok(match &*self.weights {
            Weights::Cpu(model) => Box::new(CpuRunner::new(model, slots, threads)?),
            #[cfg(feature = "cuda")]
            Weights::Gpu { decoder, config } => {
                let decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
                Box::new(GpuRunner::new(decoder, slots, config.max_position_embeddings)?)
            }
            Weights::Device { model, device, .. } => {
                let model = model.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Box::new(DeviceRunner::new(model, slots, device))
            }
        })
    }

    /// Refuses a prompt that is empty, has foreign tokens or does not fit the context with `new` tokens; `name` says which.
    pub(super) fn check_prompt(&self, name: &str, ids: &[u32], new: usize) -> Result<()> {
        let (length, config) = (ids.len(), self.config());
        if length == 0 {
            return Err(Error::Generate(format!("{name} is empty")));
        }
        let limit = config.max_position_embeddings;
        if length.saturating_add(new) > limit {
            return Err(Error::Generate(format!(
                "{name} has {length} tokens; with max_new_tokens = {new} it exceeds the model's context of {limit}"
            )));
        }
        config.check_tokens(ids)
    }
}
