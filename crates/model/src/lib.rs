//! Decoder-only language models on burn: weights, tokenizer, chat template, generation.
//!
//! * [`ModelConfig`] — what a model is made of; reads and writes Hugging Face's `config.json`.
//! * [`CausalLm`] — the transformer as a burn `Module`; [`SequenceLayout`] says which tokens belong together.
//! * [`Tokenizer`] and [`ChatTemplate`] — text to tokens, conversations to text.
//! * [`generate`] — batched decoding with a cache of keys and values.
//! * [`Checkpoint`] — a model with tokenizer and template; [`hf`] — model folders in and out; [`gguf`] — GGUF files in.
//!
//! The device is a run-time value. On the CPU one model runs on one thread: speed comes from one replica per thread,
//! which `fork` makes (weights are shared until somebody writes to them).

pub mod arch;
mod checkpoint;
mod config;
mod error;
mod files;
pub mod generate;
pub mod gguf;
pub mod hf;
mod init;
mod kernels;
mod layout;
pub mod lora;
mod loss;
mod model;
mod ops;
pub mod parallel;
pub mod rope;
mod template;
mod tokenizer;
mod weights;

pub use checkpoint::Checkpoint;
pub use config::{Activation, LayerKind, ModelConfig};
pub use error::{Error, Result};
pub use layout::SequenceLayout;
pub use loss::{LossTerms, SoftTargets, Targets};
pub use model::{CausalLm, DecoderLayer};
pub use template::{ChatMessage, ChatTemplate, RenderOptions, Rendered, Specials};
pub use tokenizer::{DEFAULT_SPECIAL_TOKENS, Digits, Encoded, Tokenizer, TokenizerSpec};
