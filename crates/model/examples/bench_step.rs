//! Tokens per second of forward and backward passes, one model replica per thread.
//!
//! `bench_step LAYERS HIDDEN BATCH LENGTH THREADS [SECONDS]`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use potstill_model::{CausalLm, ModelConfig, SequenceLayout};

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|argument| argument.parse().unwrap()).collect();
    let [layers, hidden, batch, length, threads, ..] = arguments[..] else { panic!("LAYERS HIDDEN BATCH LENGTH THREADS [SECONDS]") };
    let limit = Duration::from_secs(arguments.get(5).copied().unwrap_or(5) as u64);
    let heads = hidden / 32;
    let config = ModelConfig::llama(512, hidden, layers, heads, heads.div_ceil(2), hidden * 8 / 3 / 16 * 16);
    let device = Device::flex().autodiff();
    let model = CausalLm::init(&config, 1, &device).unwrap();
    let tokens_done = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (replica, device, done) = (model.clone().fork(&device), device.clone(), &tokens_done);
            scope.spawn(move || {
                while started.elapsed() < limit {
                    done.fetch_add(step(&replica, &device, batch / threads, length, thread), Ordering::Relaxed);
                }
            });
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let rate = tokens_done.load(Ordering::Relaxed) as f64 / seconds;
    println!(
        "{layers}×{hidden} ({} parameters), batch {batch}×{length}, {threads} threads: {rate:.0} tokens/s forward and backward",
        config.num_parameters()
    );
}

/// One forward and backward pass; returns its tokens.
fn step(model: &CausalLm, device: &Device, batch: usize, length: usize, seed: usize) -> usize {
    let count = batch * length;
    let ids: Vec<i32> = (0..count).map(|i| ((i * 7919 + seed * 31) % 512) as i32).collect();
    let targets: Vec<u32> = ids.iter().map(|&id| (id as u32 + 1) % 512).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, count]), device);
    let hidden = model.forward_hidden(tokens, &SequenceLayout::flat(&vec![length; batch])).unwrap();
    let loss = model.cross_entropy_sum(hidden, &targets, &vec![1.0 / count as f32; count]).unwrap();
    std::hint::black_box(loss.backward());
    count
}
