//! Every architecture against transformers: tiny random models with logits and all gradients, made by
//! `tests/reference/tiny_models.py` and committed under `fixtures/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use potstill_model::{CausalLm, SequenceLayout, hf};
use safetensors::SafeTensors;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

struct Expected {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Tensors of `expected.safetensors`; integers become floats.
fn expected(name: &str) -> BTreeMap<String, Expected> {
    let bytes = fs::read(fixture(name).join("expected.safetensors")).unwrap();
    let number = |integer: bool, b: [u8; 4]| if integer { i32::from_le_bytes(b) as f32 } else { f32::from_le_bytes(b) };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors
        .iter()
        .map(|(name, view)| {
            let integer = view.dtype() == safetensors::Dtype::I32;
            let values = view.data().as_chunks().0.iter().map(|&b| number(integer, b)).collect();
            (name.to_owned(), Expected { shape: view.shape().to_vec(), values })
        })
        .collect()
}

/// The largest difference relative to the largest magnitude.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-6f32, |max, x| max.max(x.abs()));
    found.iter().zip(expected).map(|(f, e)| (f - e).abs() / scale).fold(0.0, f32::max)
}

fn check(name: &str) {
    let device = Device::flex().autodiff();
    let config = hf::load_config(&fixture(name)).unwrap();
    let model = hf::load_weights(&fixture(name), &config, &device).unwrap();
    let expected = expected(name);
    let tokens: Vec<u32> = expected["tokens"].values.iter().map(|&token| token as u32).collect();
    let (batch, len) = (expected["tokens"].shape[0], expected["tokens"].shape[1]);
    let input =
        Tensor::<2, Int>::from_data(TensorData::new(tokens.iter().map(|&token| token as i32).collect::<Vec<_>>(), [batch, len]), &device);
    let hidden = model.forward_hidden(input, &SequenceLayout::dense(batch, len)).unwrap();
    let logits: Vec<f32> = model.lm_head(hidden.clone()).try_into_vec_as().unwrap();
    let apart = difference(&logits, &expected["logits"].values);
    assert!(apart <= 1e-4, "{name}: logits differ by {apart}");

    let last = |index: usize| index % len == len - 1;
    let targets: Vec<u32> = (0..tokens.len()).map(|i| if last(i) { 0 } else { tokens[i + 1] }).collect();
    let weights: Vec<f32> = (0..tokens.len()).map(|i| if last(i) { 0.0 } else { 1.0 }).collect();
    let loss = model.cross_entropy_sum(hidden, &targets, &weights).unwrap();
    let mut gradients = loss.backward();
    assert!(difference(&loss.try_into_vec_as::<f32>().unwrap(), &expected["loss"].values) <= 1e-5, "{name}: loss");
    let gradients = model.named_gradients(&mut gradients).unwrap();
    let wanted: Vec<&str> = expected.keys().filter_map(|key| key.strip_prefix("grad.")).collect();
    assert!(wanted.len() >= 20);
    for key in wanted {
        let apart = difference(&gradients[key], &expected[&format!("grad.{key}")].values);
        assert!(apart <= 1e-4, "{name}: the gradient of {key} differs by {apart}");
    }
}

macro_rules! architectures {
    ($($test:ident = $fixture:literal),* $(,)?) => { $(#[test] fn $test() { check($fixture); })* };
}

architectures! {
    llama = "llama",
    llama3_rope_scaling = "llama3-scaled",
    llama_linear_rope_scaling = "llama-linear",
    qwen2 = "qwen2",
    qwen2_yarn = "qwen2-yarn",
    qwen3 = "qwen3",
    smollm3 = "smollm3",
    gemma3 = "gemma3",
}

/// The folders with models.
fn folders() -> impl Iterator<Item = PathBuf> {
    fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
}

#[test]
fn configurations_survive_being_written() {
    for folder in folders() {
        let config = hf::load_config(&folder).unwrap();
        assert_eq!(potstill_model::ModelConfig::from_json(&config.to_json()).unwrap(), config);
    }
}

#[test]
fn a_seeded_model_of_every_architecture_can_be_made() {
    for folder in folders() {
        let config = hf::load_config(&folder).unwrap();
        assert_eq!(CausalLm::init(&config, 1, &Device::flex()).unwrap().config(), &config);
    }
}
