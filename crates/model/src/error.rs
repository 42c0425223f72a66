//! What can go wrong with a model, its files, its tokenizer or its template.

use std::path::{Path, PathBuf};

/// Every failure of this crate; the text names the place, the limit and the value found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `config.json` (or its GGUF counterpart) asks for something this crate does not compute.
    #[error("config field `{field}`: {problem}")]
    Config {
        /// The field's name as it stands in the file.
        field: String,
        /// The limit and the value found.
        problem: String,
    },
    /// A weight file is damaged, incomplete or belongs to another model.
    #[error("weights `{place}`: {problem}")]
    Weights {
        /// The file or the tensor.
        place: String,
        /// The limit and the value found.
        problem: String,
    },
    /// The tokenizer file is unusable, or a text could not be encoded.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template does not compile or refused the messages.
    #[error("chat template: {0}")]
    Template(String),
    /// A device that this program cannot use.
    #[error("device {device:?} cannot be used: {reason}")]
    Device {
        /// Its name as asked for.
        device: String,
        /// Why not.
        reason: String,
    },
    /// The GPU failed.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Gpu(#[from] potstill_cuda::Error),
    /// A generation request that does not fit the model.
    #[error("generation: {0}")]
    Generate(String),
    /// Tokens and layout, or targets and hidden states, do not fit together.
    #[error("input: {0}")]
    Input(String),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What may help, as a sentence for people.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "a model is a folder with config.json, tokenizer.json and safetensors files, or one .gguf file"
            }
            Self::Config { .. } => {
                "the value would change what is computed, so it is not ignored; see which models and settings docs/models.md lists"
            }
            Self::Weights { problem, .. } if problem.starts_with("holds ") => {
                "the run that wrote these weights went wrong: take an earlier checkpoint, or fetch the model again"
            }
            Self::Weights { .. } => {
                "the files are damaged, incomplete or of different models: fetch the model again, or export it anew as safetensors \
                 in F32, F16 or BF16"
            }
            Self::Tokenizer(problem) if !problem.contains("GGUF") => {
                "take tokenizer.json from where the model comes from; it is written by the tokenizers library"
            }
            Self::Template(_) => {
                "the template in tokenizer_config.json or chat_template.jinja decides which roles and fields it takes; correct the \
                 messages or the template"
            }
            Self::Generate(problem) if problem.contains("exceeds the model's context") => {
                "ask for fewer new tokens, shorten the prompt, or take a model with a longer context"
            }
            _ => return None,
        };
        Some(hint)
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn config(field: &str, problem: impl Into<String>) -> Self {
        Self::Config { field: field.to_owned(), problem: problem.into() }
    }

    pub(crate) fn weights(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Weights { place: place.into(), problem: problem.into() }
    }
}
