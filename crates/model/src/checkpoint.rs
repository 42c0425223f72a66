//! A model as one talks to it.

use std::path::Path;

use burn::tensor::Device;

use crate::{CausalLm, ChatTemplate, Error, ModelConfig, Result, Tokenizer, gguf, hf};

/// A model with all that is needed to talk to it.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The weights.
    pub model: CausalLm,
    /// Text to tokens.
    pub tokenizer: Tokenizer,
    /// Conversations to text; base models have none.
    pub template: Option<ChatTemplate>,
}

impl Checkpoint {
    /// Loads a GGUF file or a Hugging Face folder.
    ///
    /// # Errors
    /// As [`gguf::load`] and [`hf::load`].
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        if is_gguf(path) { gguf::load(path, device) } else { hf::load(path, device) }
    }

    /// The template.
    ///
    /// # Errors
    /// When the model came without one.
    pub fn template(&self) -> Result<&ChatTemplate> {
        template_of(self.template.as_ref())
    }
}

/// A model without its weights: enough to see what it reads and how large it is.
#[derive(Debug, Clone)]
pub struct Outline {
    /// What the model is made of.
    pub config: ModelConfig,
    /// Text to tokens.
    pub tokenizer: Tokenizer,
    /// Conversations to text; base models have none.
    pub template: Option<ChatTemplate>,
}

impl Outline {
    /// Reads all but the weights of a GGUF file or a Hugging Face folder.
    ///
    /// # Errors
    /// As [`gguf::load`] and [`hf::load`].
    pub fn read(path: &Path) -> Result<Self> {
        if is_gguf(path) { gguf::outline(path) } else { hf::outline(path) }
    }

    /// The template.
    ///
    /// # Errors
    /// When the model came without one.
    pub fn template(&self) -> Result<&ChatTemplate> {
        template_of(self.template.as_ref())
    }
}

pub(crate) fn template_of(template: Option<&ChatTemplate>) -> Result<&ChatTemplate> {
    template.ok_or_else(|| {
        Error::Template("the model has none, as base models do; put one into the file chat_template.jinja of its folder".into())
    })
}

/// Whether the path names a GGUF file rather than a folder.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}
