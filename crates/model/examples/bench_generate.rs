//! Tokens per second of prefill and of decoding, for a published model.
//!
//! `bench_generate MODEL STORAGE(f32|bf16|int8) BATCH [PROMPT_TOKENS] [NEW_TOKENS] [THREADS]` — MODEL is a Hugging Face folder or a
//! GGUF file. `tests/reference/bench_generate.py` measures transformers the same way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::{path::Path, time::Instant};

use burn::tensor::Device;
use potstill_model::{
    Storage,
    generate::{Batching, Decoder, Decoding, Prompt, generate},
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| arguments.get(index).map_or(default, |argument| argument.parse().unwrap());
    let storage: Storage = serde_json::from_value(arguments[1].clone().into()).unwrap();
    let (batch, prompt_tokens, new, threads) = (number(2, 1), number(3, 128), number(4, 128), number(5, 2));
    let started = Instant::now();
    let decoder = Decoder::load(Path::new(&arguments[0]), &Device::flex(), storage).unwrap();
    let load = started.elapsed().as_secs_f64();
    let vocab = decoder.config().vocab_size;
    let ids = |i: usize| (0..prompt_tokens).map(|j| ((i * 7919 + j * 104_729 + 1000) % (vocab - 1000)) as u32).collect();
    let prompts: Vec<Prompt> = (0..batch).map(|i| Prompt { ids: ids(i), seed: i as u64 }).collect();
    let run = |new: usize| {
        let decoding = Decoding { max_new_tokens: new, stop_ids: vec![u32::MAX], ..Decoding::default() };
        generate(&decoder, &prompts, &decoding, Batching { size: batch, threads }, &|_| true).unwrap().seconds
    };
    run(2);
    let (first, all) = (run(1), run(new));
    let decode = (batch * (new - 1)) as f64 / (all - first);
    println!(
        "{storage:?} batch {batch}, {threads} threads: load {load:.2} s, prefill {:.0} tokens/s, decode {decode:.1} tokens/s, {:.1} GB/s of weights",
        (batch * prompt_tokens) as f64 / first,
        decode / batch as f64 * decoder.bytes_per_step().unwrap_or(0) as f64 / 1e9
    );
}
