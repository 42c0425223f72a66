//! A model as one talks to it.

use std::path::Path;

use burn::tensor::Device;

use crate::{CausalLm, ChatTemplate, Error, Result, Tokenizer, gguf, hf};

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
        self.template.as_ref().ok_or_else(|| Error::Template("the model has none; it is a base model".into()))
    }
}

/// Whether the path names a GGUF file rather than a folder.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}
