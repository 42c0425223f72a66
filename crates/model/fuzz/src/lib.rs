//! The parsers of `potstill-model` alone, so that fuzzing does not build the whole of burn with a sanitizer: the very source
//! files of the crate, in modules of the same names.

#![allow(dead_code, unused_imports, unreachable_pub, unexpected_cfgs, reason = "the crate uses what the targets do not")]

#[path = "../../src/arch/mod.rs"]
mod arch;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/files.rs"]
mod files;
#[path = "../../src/fuzzing.rs"]
pub mod fuzzing;
#[path = "../../src/gguf"]
mod gguf {
    mod dequantize;
    pub(crate) mod header;
}
#[path = "../../src/hf"]
mod hf {
    pub(crate) mod header;
}
#[path = "../../src/rope.rs"]
mod rope;
#[path = "../../src/template/mod.rs"]
mod template;
#[path = "../../src/tokenizer/mod.rs"]
mod tokenizer;

pub use config::{Activation, LayerKind, ModelConfig};
pub use error::{Error, Result};
pub use template::{ChatMessage, ChatTemplate, RenderOptions, Rendered, Specials};
pub use tokenizer::Tokenizer;
