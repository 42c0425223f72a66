//! Decoder-only language models on burn: weights, tokenizer, chat template, generation.
//!
//! * [`ModelConfig`] — what a model is made of; reads and writes Hugging Face's `config.json`.
//! * [`CausalLm`] — the transformer as a burn `Module`; [`SequenceLayout`] says which tokens belong together.
//! * [`Tokenizer`] and [`ChatTemplate`] — text to tokens, conversations to text.
//! * [`generate`] — continuous batching over a model laid out for decoding, as a call or as an engine for requests.
//! * [`Checkpoint`] — a model with tokenizer and template, [`Outline`] — all but its weights; [`hf`] — model folders in and out; [`gguf`] — GGUF files in.
//!
//! The device is a run-time value. On the CPU training runs one replica per thread, which `fork` makes (weights are shared
//! until somebody writes to them); decoding has its own layout of the weights, and a team of threads shares each product.

pub mod arch;
mod checkpoint;
#[cfg(any(test, feature = "cuda"))]
mod composed;
mod config;
mod cpu;
pub mod device;
mod error;
mod files;
#[doc(hidden)]
pub mod fuzzing;
pub mod generate;
pub mod gguf;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod hf;
mod init;
mod input;
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

pub use burn::tensor::Device;
pub use checkpoint::{Checkpoint, Outline};
pub use config::{Activation, LayerKind, ModelConfig};
pub use cpu::Storage;
pub use error::{Error, Result};
pub use generate::ThinkingBudget;
pub use layout::SequenceLayout;
pub use loss::{LossTerms, SoftTargets, Targets};
pub use model::{CausalLm, DecoderLayer, Keep};
pub use template::{ChatMessage, ChatTemplate, RenderOptions, Rendered, Specials};
pub use tokenizer::{DEFAULT_SPECIAL_TOKENS, Digits, Encoded, Tokenizer, TokenizerSpec};
