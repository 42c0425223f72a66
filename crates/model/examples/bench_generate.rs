//! Tokens per second of batched decoding.
//!
//! `bench_generate LAYERS HIDDEN PROMPTS NEW_TOKENS THREADS BATCH`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use burn::tensor::Device;
use potstill_model::{
    CausalLm, ModelConfig, Tokenizer, TokenizerSpec,
    generate::{Decoding, Prompt, generate},
};

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|argument| argument.parse().unwrap()).collect();
    let [layers, hidden, count, new, threads, batch] = arguments[..] else { panic!("LAYERS HIDDEN PROMPTS NEW_TOKENS THREADS BATCH") };
    let heads = hidden / 32;
    let config = ModelConfig::llama(512, hidden, layers, heads, heads.div_ceil(2), hidden * 8 / 3 / 16 * 16);
    let model = CausalLm::init(&config, 1, &Device::flex()).unwrap();
    let tokenizer = Tokenizer::train(["a"].iter(), &TokenizerSpec { vocab_size: 512, ..TokenizerSpec::default() }).unwrap();
    let prompts: Vec<Prompt> =
        (0..count).map(|i| Prompt { ids: (0..60).map(|j| ((i * 31 + j * 7) % 260) as u32).collect(), seed: i as u64 }).collect();
    let decoding =
        Decoding { max_new_tokens: new, temperature: 0.8, stop_ids: vec![u32::MAX], threads, batch_size: batch, ..Decoding::default() };
    let report = generate(&model, &tokenizer, &prompts, &decoding, &|_| true).unwrap();
    println!(
        "{count} prompts × {new} new tokens, {threads} threads: {:.2} s, {:.0} tokens/s",
        report.seconds,
        report.new_tokens as f64 / report.seconds
    );
}
