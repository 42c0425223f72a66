//! The corpus of the fuzz targets, and what a few thousand small changes make of it, on the stable compiler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::{fs, path::PathBuf};

use potstill_model::fuzzing;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus")).join(target);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// Cuts, flips, repeats and inserts.
fn changed(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..out.len().max(1)).min(out.len());
        match rng.random_range(0..4) {
            0 => out.truncate(at),
            1 if at < out.len() => out[at] = rng.random(),
            2 => out.splice(at..at, [rng.random::<u8>(), 0xFF, b'{', b'%'].into_iter().take(rng.random_range(1..5))).for_each(drop),
            _ => {
                let piece = out[at..(at + 8).min(out.len())].to_vec();
                out.extend(piece);
            }
        }
    }
    out
}

/// Runs a target on its corpus; `good` names the seeds that are valid, all others must be refused.
fn run(target: &str, parse: fn(&[u8]) -> bool, good: &[&str], changes: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (name, bytes) in seeds(target) {
        assert_eq!(parse(&bytes), good.contains(&name.as_str()), "{target}/{name}");
        for _ in 0..changes {
            parse(&changed(&bytes, &mut rng));
        }
    }
}

#[test]
fn gguf_headers() {
    run("gguf_header", fuzzing::gguf_header, &["plain", "q4_k", "lists"], 500);
}

#[test]
fn safetensors_headers() {
    run("safetensors_header", fuzzing::safetensors_header, &["plain"], 500);
}

#[test]
fn tokenizers() {
    run("tokenizer", fuzzing::tokenizer, &["plain", "regex"], 60);
}

#[test]
fn templates() {
    run("template", fuzzing::template, &["chatml"], 8);
}

#[test]
fn configurations() {
    run("config", fuzzing::config, &["llama", "gemma3"], 300);
}
