//! Models on a GPU against themselves on the CPU. Without a GPU these tests say so and pass.
//! `cargo test --release -p potstill-model --features cuda --test gpu`
#![cfg(feature = "cuda")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use potstill_model::generate::{Batching, Decoder, Decoding, Generated, Prompt, generate};
use potstill_model::{
    Activation, CausalLm, ChatTemplate, Device, ModelConfig, SequenceLayout, Storage, Targets, Tokenizer, TokenizerSpec, device, hf,
};

fn gpu() -> Option<Device> {
    device::parse("cuda:0").map_err(|error| println!("skipped: {error}")).ok()
}

/// A model that the GPU's kernels have.
fn plain() -> ModelConfig {
    let mut config = ModelConfig::llama(280, 64, 3, 4, 2, 96);
    config.initializer_range = 0.2;
    config
}

/// A model that they do not have: norms on heads, a window, GELU.
fn ornate() -> ModelConfig {
    let mut config = plain();
    config.qk_norm = true;
    config.activation = Activation::GeluTanh;
    config.layers[1].window = Some(9);
    config
}

fn tokenizer() -> Tokenizer {
    let spec = TokenizerSpec { vocab_size: 280, ..TokenizerSpec::default() };
    Tokenizer::train(["a few words, a few more words"; 4].iter(), &spec).unwrap()
}

fn save(folder: &Path, config: &ModelConfig) {
    let model = CausalLm::init(config, 11, &Device::flex()).unwrap();
    hf::save(folder, &model, &tokenizer(), Some(&ChatTemplate::chatml().unwrap())).unwrap();
}

fn run(config: &ModelConfig, device: &Device, size: usize) -> Vec<Generated> {
    let decoder = Decoder::new(&CausalLm::init(config, 11, device).unwrap(), tokenizer(), None, Storage::F32).unwrap();
    // Lengths beyond the first room of the cache, more prompts than places, two samples of one prompt.
    let mut prompts: Vec<Prompt> =
        (0..9).map(|i| Prompt { ids: (0..1 + i * 83 % 160).map(|j| ((i * 31 + j * 17) % 280) as u32).collect(), seed: i as u64 }).collect();
    prompts.push(Prompt { seed: 77, ..prompts[3].clone() });
    let decoding = Decoding { max_new_tokens: 500, stop_ids: vec![9999], logprobs: Some(3), ..Decoding::default() };
    generate(&decoder, &prompts, &decoding, Batching { size, threads: 1 }, &|_| true).unwrap().outputs
}

/// Up to the first token where rounding chose another one, log-probabilities agree.
fn agree(here: &[Generated], there: &[Generated], tolerance: f32) {
    let (mut equal, mut total) = (0, 0);
    for (here, there) in here.iter().zip(there) {
        assert_eq!(here.ids.len(), there.ids.len());
        let same = here.ids.iter().zip(&there.ids).take_while(|(a, b)| a == b).count();
        for (a, b) in here.logprobs.iter().zip(&there.logprobs).take(same) {
            assert!((a.logprob - b.logprob).abs() < tolerance, "{} against {}", a.logprob, b.logprob);
        }
        (equal, total) = (equal + same, total + here.ids.len());
    }
    println!("{equal} of {total} tokens before the first other choice");
    assert!(equal > 0);
}

#[test]
fn decodes_what_the_cpu_decodes() {
    let Some(gpu) = gpu() else { return };
    for (name, config, tolerance) in [("kernels, bf16", plain(), 0.3), ("burn, with products in tf32", ornate(), 0.1)] {
        println!("{name}");
        let (here, there) = (run(&config, &Device::flex(), 4), run(&config, &gpu, 4));
        agree(&here, &there, tolerance);
    }
}

#[test]
fn greedy_choices_on_the_gpu_are_those_of_its_logits() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &plain());
    let decoder = Decoder::load(folder.path(), &gpu, Storage::F32).unwrap();
    let prompts = [Prompt { ids: (0..40).map(|i| i * 7 % 280).collect(), seed: 1 }];
    let greedy = Decoding { max_new_tokens: 60, stop_ids: vec![9999], ..Decoding::default() };
    let told = Decoding { logprobs: Some(1), ..greedy.clone() };
    let run = |decoding: &Decoding| generate(&decoder, &prompts, decoding, Batching::default(), &|_| true).unwrap().outputs.remove(0);
    let (best, told) = (run(&greedy), run(&told));
    let same = best.ids.iter().zip(&told.ids).take_while(|(a, b)| a == b).count();
    println!("{same} of 60 equal");
    // Logits are compared in bf16 where one is chosen there, in f32 where the host chooses.
    assert!(same >= 10, "{same}");
}

/// Norms on query and key heads: no kernels have them, so that burn computes what was read from the folder.
#[test]
fn a_folder_that_the_kernels_do_not_have_is_loaded_for_burn() {
    let Some(gpu) = gpu() else { return };
    let qwen3 = r#"{"model_type": "qwen3", "vocab_size": 280, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "max_position_embeddings": 512, "initializer_range": 0.2, "tie_word_embeddings": true}"#;
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &ModelConfig::from_json(qwen3).unwrap());
    let prompts = [Prompt { ids: (0..40).map(|i| i * 7 % 280).collect(), seed: 1 }];
    let decoding = Decoding { max_new_tokens: 60, stop_ids: vec![9999], logprobs: Some(1), ..Decoding::default() };
    let run = |device: &Device| {
        let decoder = Decoder::load(folder.path(), device, Storage::F32).unwrap();
        generate(&decoder, &prompts, &decoding, Batching::default(), &|_| true).unwrap().outputs
    };
    agree(&run(&Device::flex()), &run(&gpu), 0.1);
}

#[test]
fn draws_on_the_gpu_depend_on_the_seed_alone() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &plain());
    let decoder = Decoder::load(folder.path(), &gpu, Storage::F32).unwrap();
    let prompts: Vec<Prompt> = (0..6).map(|seed| Prompt { ids: vec![5, 9, 11], seed }).collect();
    let decoding = Decoding { max_new_tokens: 40, temperature: 0.8, top_p: 0.9, stop_ids: vec![9999], ..Decoding::default() };
    let run = |prompts: &[Prompt]| generate(&decoder, prompts, &decoding, Batching { size: 6, threads: 1 }, &|_| true).unwrap().outputs;
    let all = run(&prompts);
    assert_eq!(all, run(&prompts));
    let texts: std::collections::BTreeSet<&[u32]> = all.iter().map(|output| &output.ids[..]).collect();
    assert_eq!(texts.len(), 6);
}

#[test]
fn gradients_through_burn_equal_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let config = ornate();
    let layout = SequenceLayout::packed(24, &[vec![10, 11], vec![24], vec![7]]).unwrap();
    let tokens: Vec<i32> = (0..layout.tokens() as i32).map(|i| (i * 37 + 11) % 280).collect();
    let selected = [0, 4, 8, 12, 30, 47, 50];
    let targets: Vec<u32> = (0..7).map(|i| i * 31 % 280).collect();
    let weights = vec![1.0f32; 7];
    let run = |device: &Device| {
        let model = CausalLm::init(&config, 5, &device.clone().autodiff()).unwrap();
        let ints = |values: &[i32], shape: [usize; 2]| Tensor::<2, Int>::from_data(TensorData::new(values.to_vec(), shape), device);
        let hidden = model.forward_hidden(ints(&tokens, [3, 24]), &layout).unwrap();
        let index = Tensor::<1, Int>::from_data(TensorData::new(selected.to_vec(), [7]), device);
        let targets = Targets::plain(&targets, &weights);
        let loss = model.loss_sum(hidden.select(0, index), targets).unwrap();
        let value = loss.clone().into_data_as::<f32>().try_into_vec::<f32>().unwrap()[0];
        let mut gradients = loss.backward();
        (value, model.named_gradients(&mut gradients).unwrap())
    };
    let ((loss, here), (other_loss, there)) = (run(&Device::flex()), run(&gpu));
    println!("losses {loss} and {other_loss}");
    assert!((loss - other_loss).abs() < 1e-3 * loss.abs());
    assert!(here.len() > 20);
    for (name, here) in &here {
        let norm = here.iter().map(|x| x * x).sum::<f32>().sqrt();
        let apart = here.iter().zip(&there[name]).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        // Products are computed in tf32 there.
        assert!(apart < 1e-2 * norm, "{name}: {apart} of {norm}");
    }
}
