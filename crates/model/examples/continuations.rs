//! Greedy continuations of fixed prompts as JSON, for `tests/reference/load_student.py` to compare with transformers.
//!
//! `continuations MODEL OUT.json [PROMPTS [NEW_TOKENS]]` — MODEL is a Hugging Face folder or a GGUF file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::Path;

use burn::tensor::Device;
use potstill_model::{
    Storage,
    generate::{Batching, Decoder, Decoding, Prompt, generate},
};
use serde_json::json;

const TEXTS: [&str; 5] = ["The capital of France is", "def fibonacci(n):\n", "1 + 2 + 3 =", "Once upon a time", "Water boils at"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.get(2).map_or(20, |n| n.parse().unwrap());
    let max_new_tokens = arguments.get(3).map_or(64, |n| n.parse().unwrap());
    let decoder = Decoder::load(Path::new(&arguments[0]), &Device::flex(), Storage::F32).unwrap();
    let prompt = |i: usize| format!("{} {}", "Now. ".repeat(i / TEXTS.len()), TEXTS[i % TEXTS.len()]);
    let prompts: Vec<Prompt> = (0..count).map(|i| Prompt { ids: decoder.tokenizer.encode(&prompt(i)).unwrap(), seed: 0 }).collect();
    let decoding = Decoding { max_new_tokens, stop_ids: vec![u32::MAX], ..Decoding::default() };
    let report = generate(&decoder, &prompts, &decoding, Batching { size: 8, threads: 2 }, &|_| true).unwrap();
    let cases: Vec<_> = prompts
        .iter()
        .zip(&report.outputs)
        .map(|(prompt, output)| json!({ "prompt": prompt.ids, "continuation": output.ids, "text": output.text }))
        .collect();
    std::fs::write(&arguments[1], serde_json::to_string_pretty(&cases).unwrap()).unwrap();
    println!("{} new tokens in {:.2} s: {:.0} tokens/s", report.new_tokens, report.seconds, report.new_tokens as f64 / report.seconds);
}
