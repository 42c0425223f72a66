//! Tokens per second of training steps on the CPU, on random documents.
//!
//! `cargo run --release -p potstill-train --example bench_train -- LAYERS WIDTH BATCH LENGTH THREADS [MICRO_BATCH_TOKENS] [VOCAB]`

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
use potstill_train::SftConfig;
use potstill_train::adamw::{AdamW, Moments, global_norm};
use potstill_train::batch::{Arrangement, micro_batches};
use potstill_train::engine::Engine;
use potstill_train::params;
use potstill_train::rows::{Document, one_per_row};

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|argument| argument.parse().unwrap()).collect();
    let [layers, width, batch, length, threads] = arguments[..5] else { unreachable!() };
    let micro = arguments.get(5).copied().unwrap_or(SftConfig::default().micro_batch_tokens);
    let vocabulary = arguments.get(6).copied().unwrap_or(512);
    let device = burn::tensor::Device::flex();
    let heads = (width / 32).max(1);
    let shape = ModelConfig::llama(vocabulary, width, layers, heads, (heads / 2).max(1), 3 * width);
    let mut model = CausalLm::init(&shape, 1, &device).unwrap().train();
    let document = |row: usize| Document {
        sample_id: row.to_string(),
        tokens: (0..length).map(|at| ((row * 31 + at * 7919) % vocabulary) as u32).collect(),
        weights: (0..length).map(|at| if at > length / 8 { 1.0 } else { 0.0 }).collect(),
    };
    let documents: Vec<Document> = (0..batch).map(document).collect();
    let rows = one_per_row(&documents);
    let all: Vec<usize> = (0..batch).collect();
    let batches = micro_batches(&all, &rows, &documents, micro, Arrangement::Flat).unwrap();
    let infos = params::describe(&model);
    let sizes: Vec<usize> = infos.iter().map(params::ParamInfo::size).collect();
    let mut moments = Moments::zeros(&sizes);
    let engine = Engine { device, threads };
    let config = SftConfig { learning_rate: 1e-3, ..SftConfig::default() };
    println!(
        "{} parameters, {} micro-batches of about {} tokens",
        sizes.iter().sum::<usize>(),
        batches.len(),
        batch * length / batches.len()
    );
    let mut best = f64::INFINITY;
    let begun = Instant::now();
    let mut step = 0;
    while step < 5 || begun.elapsed().as_secs_f64() < 5.0 {
        let start = Instant::now();
        let found = engine.gradient(&model, &batches).unwrap();
        let forward_backward = start.elapsed();
        let norm = global_norm(&found.gradients);
        let optimizer = AdamW::new(&config, 1e-3, step);
        model = params::update(model, &mut |index, values| {
            optimizer.update(
                values,
                &found.gradients[index],
                &mut moments.first[index],
                &mut moments.second[index],
                1.0,
                infos[index].decay,
            );
        });
        let seconds = start.elapsed().as_secs_f64();
        best = best.min(seconds);
        if step < 3 {
            println!(
                "step {step}: loss {:.4} norm {norm:.3} {:.1} ms, of them optimizer {:.1} ms",
                found.sum.mean(),
                seconds * 1e3,
                seconds * 1e3 - forward_backward.as_secs_f64() * 1e3
            );
        }
        step += 1;
    }
    let mean = begun.elapsed().as_secs_f64() / step as f64;
    println!(
        "{threads} threads: {:.0} tokens/s mean, {:.0} best, over {step} steps",
        (batch * length) as f64 / mean,
        (batch * length) as f64 / best
    );
}
