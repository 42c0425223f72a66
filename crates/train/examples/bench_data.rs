//! Samples per second of what happens before the first step: rendering with tokenising, and packing.
//!
//! `cargo run --release -p potstill-train --example bench_data -- TOKENIZER_FOLDER THREADS [FILE.parquet]`
//!
//! The folder holds a model's tokenizer.json and chat template, or is a GGUF file. Without a file of samples it makes some of
//! about 500 tokens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::Path;
use std::time::Instant;

use potstill_data::{Message, Meta, Sample, SampleKind, read_all};
use potstill_train::Student;
use potstill_train::render::Renderer;
use potstill_train::rows::{fill, pack};

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORDS: [&str; 24] = [
    "the",
    "sum",
    "of",
    "these",
    "numbers",
    "is",
    "therefore",
    "we",
    "check",
    "whether",
    "every",
    "divisor",
    "gives",
    "a",
    "remainder",
    "Wait,",
    "that",
    "cannot",
    "be",
    "right:",
    "let",
    "us",
    "compute",
    "again",
];

fn sample(index: usize) -> Sample {
    let word = |at: usize| format!("{} {}", WORDS[(index * 7 + at * at) % WORDS.len()], (index * at) % 1000);
    let text: Vec<String> = (0..160).map(word).collect();
    Sample {
        sample_id: index.to_string(),
        problem_id: index.to_string(),
        source: "bench".into(),
        messages: vec![Message::new("user", format!("What is {index} times 7?")), Message::new("assistant", text.join(" "))],
        kind: SampleKind::Shortcut,
        weight: 1.0,
        loss_spans: Vec::new(),
        lineage: Vec::new(),
        meta: Meta::new(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let student = Student::load(Path::new(&arguments[0]), &burn::tensor::Device::flex()).unwrap();
    let threads: usize = arguments[1].parse().unwrap();
    let samples: Vec<Sample> = match arguments.get(2) {
        Some(file) => read_all(&[file]).unwrap(),
        None => (0..8000).map(sample).collect(),
    };
    let renderer = Renderer::new(&student.template);
    let start = Instant::now();
    let documents = renderer.documents(&student.tokenizer, &samples, threads).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let tokens: usize = documents.iter().map(|document| document.tokens.len()).sum();
    let (count, mean) = (samples.len() as f64, tokens as f64 / samples.len() as f64);
    println!("{threads} threads: {:.0} samples/s of {mean:.0} tokens, {:.0} tokens/s", count / seconds, tokens as f64 / seconds);

    // Lengths of reasoning traces are roughly log-normal.
    let lengths: Vec<usize> = (0..200_000_usize)
        .map(|at| {
            let uniform = |salt: u64| (((at as u64 + 1) ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / (1_u64 << 53) as f64;
            let normal = (-2.0 * uniform(1).max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * uniform(77)).cos();
            ((6.2 + 0.8 * normal).exp() as usize).clamp(16, 4096)
        })
        .collect();
    for (name, lengths) in [("log-normal", lengths), ("these samples", documents.iter().map(|document| document.tokens.len()).collect())] {
        let start = Instant::now();
        let rows = pack(&lengths, 4096);
        let seconds = start.elapsed().as_secs_f64();
        let filled = fill(&lengths, rows.len(), 4096) * 100.0;
        println!(
            "packing {} lengths, {name}: {:.0} samples/s, {} rows, fill {filled:.3} %",
            lengths.len(),
            lengths.len() as f64 / seconds,
            rows.len()
        );
    }
}
