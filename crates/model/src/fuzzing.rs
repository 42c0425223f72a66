//! What parses foreign bytes, as functions of those bytes: for the fuzz targets in `crates/model/fuzz` and for
//! `tests/corpus.rs`, which runs their corpus. Each must return, within bounded time and memory, whatever the bytes are.

use crate::{ChatMessage, ChatTemplate, ModelConfig, RenderOptions, Specials, Tokenizer, gguf, hf};

/// The header of a GGUF file.
pub fn gguf_header(bytes: &[u8]) -> bool {
    gguf::header::parse(bytes, bytes.len() as u64).is_ok()
}

/// The header of a safetensors file.
pub fn safetensors_header(mut bytes: &[u8]) -> bool {
    let size = bytes.len() as u64;
    hf::header::parse(&mut bytes, size).is_ok()
}

/// A `tokenizer.json`, and some text through it.
pub fn tokenizer(bytes: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::from_json(bytes) else { return false };
    tokenizer.encode("a b 12 é\n").is_ok_and(|ids| tokenizer.decode(&ids, true).is_ok())
}

/// A chat template, and a conversation through it.
pub fn template(bytes: &[u8]) -> bool {
    let Ok(source) = std::str::from_utf8(bytes) else { return false };
    let Ok(template) = ChatTemplate::new(source, Specials::default()) else { return false };
    let messages = [ChatMessage::new("system", "be brief"), ChatMessage::new("user", "2 + 2?")];
    template.render(&messages, &RenderOptions::prompt()).is_ok()
}

/// A `config.json`.
pub fn config(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| ModelConfig::from_json(text).is_ok())
}
