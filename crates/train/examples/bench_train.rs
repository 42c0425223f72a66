//! Tokens per second of whole training steps on the CPU (forward, backward, clipping, AdamW), on random documents.
//!
//! `cargo run --release -p potstill-train --example bench_train -- SHAPE BATCH LENGTH THREADS [lora] [checkpointing]`
//!
//! SHAPE is `small` (4 layers of width 256), `smollm2` (SmolLM2-135M with random weights), or
//! `LAYERS,WIDTH,HEADS,KV_HEADS,INTERMEDIATE,VOCABULARY`. `tests/reference/bench_train.py` measures PyTorch on the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::time::Instant;

use burn::module::Module;
use potstill_model::{CausalLm, ModelConfig};
use potstill_train::batch::{Arrangement, micro_batches};
use potstill_train::engine::Engine;
use potstill_train::rows::{Document, one_per_row};
use potstill_train::{LoraConfig, SftConfig, memory, params};

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn shape(name: &str) -> ModelConfig {
    let sizes: Vec<usize> = match name {
        "small" => vec![4, 256, 4, 4, 1024, 4096],
        "smollm2" => vec![30, 576, 9, 3, 1536, 49152],
        sizes => sizes.split(',').map(|size| size.parse().unwrap()).collect(),
    };
    let [layers, width, heads, kv_heads, inner, vocabulary] = sizes[..] else { panic!("six sizes") };
    ModelConfig::llama(vocabulary, width, layers, heads, kv_heads, inner)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().unwrap();
    let (batch, length, threads) = (number(1), number(2), number(3));
    let with = |name: &str| arguments.iter().any(|argument| argument == name);
    let device = burn::tensor::Device::flex();
    let config = shape(&arguments[0]);
    let vocabulary = config.vocab_size;
    let mut model = CausalLm::init(&config, 1, &device).unwrap();
    if with("lora") {
        model = model.with_lora(&LoraConfig::default().spec(), 1, &device).unwrap();
    }
    let mut model = model.train();
    // One token more than is read: the last one is only a target, so that `length` tokens pass through the model.
    let document = |row: usize| Document {
        sample_id: row.to_string(),
        tokens: (0..=length).map(|at| ((row * 31 + at * 7919) % vocabulary) as u32).collect(),
        weights: vec![1.0; length + 1],
        soft: None,
    };
    let documents: Vec<Document> = (0..batch).map(document).collect();
    let rows = one_per_row(&documents);
    let all: Vec<usize> = (0..batch).collect();
    let settings = SftConfig { learning_rate: 1e-3, ..SftConfig::default() };
    let batches = micro_batches(&all, &rows, &documents, settings.micro_batch_tokens, Arrangement::Flat).unwrap();
    let mut engine = Engine::new(device, threads).unwrap();
    engine.extras.checkpointing = with("checkpointing");
    let mut optimizer = potstill_train::Optimizer::new(&settings, &model);
    println!(
        "{} trained parameters, {} micro-batches",
        params::describe(&model).iter().map(params::ParamInfo::size).sum::<usize>(),
        batches.len()
    );
    let (mut best, mut spent, mut steps) = (f64::INFINITY, 0.0, 0);
    while steps < 6 || spent < 8.0 {
        let start = Instant::now();
        let found = engine.gradient(&model, &batches, steps).unwrap();
        let forward_backward = start.elapsed().as_secs_f64();
        let norm = optimizer.norm(engine.split(), &found.gradients);
        model = optimizer.step(&settings, engine.split(), model, &found.gradients, (1e-3, 1.0 / norm.max(1.0)));
        let seconds = start.elapsed().as_secs_f64();
        if steps < 2 {
            println!(
                "step {steps}: loss {:.4}, norm {norm:.3}, {seconds:.3} s, of them {:.3} s after the gradient",
                found.sum.mean(),
                seconds - forward_backward
            );
        } else {
            best = best.min(seconds);
            spent += seconds;
        }
        steps += 1;
    }
    let tokens = (batch * length) as f64;
    let peak = memory::peak().map_or_else(String::new, |bytes| format!(", peak memory {:.2} GB", bytes as f64 / 1e9));
    println!(
        "{threads} threads: {:.0} tokens/s mean, {:.0} best, over {} steps{peak}",
        tokens * (steps - 2) as f64 / spent,
        tokens / best,
        steps - 2
    );
}
