//! All logits of the prompts of `tests/fixtures/smollm2.json`, for `tests/reference/smollm2.py logits` to compare.
//!
//! `logits MODEL OUT.safetensors [STORAGE]` — MODEL is a Hugging Face folder or a GGUF file. The file holds, for each prompt
//! `i`, `tokens.i` (the prompt and what transformers continues it with) and `logits.i` of every position.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::Path;

use burn::tensor::Device;
use potstill_model::{Storage, generate::Decoder};
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    prompt: Vec<u32>,
    continuation: Vec<u32>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let storage = arguments.get(2).map_or(Storage::F32, |name| serde_json::from_value(name.clone().into()).unwrap());
    let decoder = Decoder::load(Path::new(&arguments[0]), &Device::flex(), storage).unwrap();
    let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/fixtures/smollm2.json")).unwrap();
    let mut tensors = Vec::new();
    for (index, case) in cases.into_iter().enumerate() {
        let ids = [case.prompt, case.continuation].concat();
        let logits = decoder.logits(&ids, 2).unwrap();
        let shape = vec![ids.len(), logits.len() / ids.len()];
        let tokens: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let logits: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        tensors.push((format!("tokens.{index}"), Dtype::I32, vec![ids.len()], tokens));
        tensors.push((format!("logits.{index}"), Dtype::F32, shape, logits));
    }
    let views = tensors.iter().map(|(name, kind, shape, bytes)| (name, TensorView::new(*kind, shape.clone(), bytes).unwrap()));
    serialize_to_file(views, None, Path::new(&arguments[1])).unwrap();
}
