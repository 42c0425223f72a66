use burn::tensor::{Device, Int, Tensor, TensorData};

use super::*;
use crate::{Digits, ModelConfig, SequenceLayout, TokenizerSpec};

fn tokenizer() -> Tokenizer {
    Tokenizer::train(
        ["a few words, a few more words"; 4].iter(),
        &TokenizerSpec { vocab_size: 280, digits: Digits::Single, ..TokenizerSpec::default() },
    )
    .unwrap()
}

fn model() -> CausalLm {
    let mut config = ModelConfig::llama(280, 32, 2, 4, 2, 48);
    config.initializer_range = 0.4;
    config.layers[1].window = Some(9);
    CausalLm::init(&config, 11, &Device::flex()).unwrap()
}

fn prompts() -> Vec<Prompt> {
    (0..11).map(|i| Prompt { ids: (0..1 + i * 5 % 17).map(|j| ((i * 31 + j * 17) % 280) as u32).collect(), seed: i as u64 }).collect()
}

fn run(model: &CausalLm, prompts: &[Prompt], decoding: &Decoding) -> Vec<Generated> {
    generate(model, &tokenizer(), prompts, decoding, &|_| true).unwrap().outputs
}

fn long() -> Decoding {
    Decoding { max_new_tokens: 24, stop_ids: vec![9999], ..Decoding::default() }
}

/// Greedy continuation by running the whole sequence anew for every token.
fn without_cache(model: &CausalLm, prompt: &[u32], new: usize) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    for _ in 0..new {
        let tokens = TensorData::new(ids.iter().map(|&id| id as i32).collect::<Vec<_>>(), [1, ids.len()]);
        let logits = model.forward(Tensor::<2, Int>::from_data(tokens, &Device::flex()), &SequenceLayout::dense(1, ids.len())).unwrap();
        let logits: Vec<f32> = logits.try_into_vec_as().unwrap();
        let last = &logits[(ids.len() - 1) * 280..];
        let best = (0..280).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap();
        ids.push(best as u32);
    }
    ids[prompt.len()..].to_vec()
}

#[test]
fn decoding_with_a_cache_equals_the_full_forward_pass() {
    let model = model();
    for (prompt, output) in prompts().iter().zip(run(&model, &prompts(), &long())) {
        assert_eq!(output.ids, without_cache(&model, &prompt.ids, 24));
        assert_eq!(output.finish, Finish::Length);
    }
}

#[test]
fn a_prompt_is_continued_alike_alone_in_a_batch_and_on_any_number_of_threads() {
    let model = model();
    let sampled = Decoding { temperature: 0.9, top_p: 0.95, batch_size: 3, ..long() };
    let together = run(&model, &prompts(), &sampled);
    assert_eq!(together, run(&model, &prompts(), &Decoding { threads: 3, ..sampled.clone() }));
    for (prompt, output) in prompts().iter().zip(&together) {
        assert_eq!(run(&model, std::slice::from_ref(prompt), &sampled), std::slice::from_ref(output));
    }
    let reseeded: Vec<Prompt> = prompts().into_iter().map(|prompt| Prompt { seed: prompt.seed + 100, ..prompt }).collect();
    assert_ne!(together, run(&model, &reseeded, &sampled));
}

#[test]
fn sequences_end_at_stop_tokens_and_before_stop_strings() {
    let model = model();
    let prompt = &prompts()[4..5];
    let free = run(&model, prompt, &long());
    let stop = free[0].ids[10];
    let first = free[0].ids.iter().position(|&id| id == stop).unwrap();
    let stopped = run(&model, prompt, &Decoding { stop_ids: vec![stop], ..long() });
    assert_eq!((stopped[0].ids.as_slice(), stopped[0].finish), (&free[0].ids[..first], Finish::Stop));
    let word: String = free[0].text.chars().skip(6).take(2).collect();
    let cut = run(&model, prompt, &Decoding { stop_strings: vec![word.clone()], ..long() });
    assert_eq!((cut[0].text.as_str(), cut[0].finish), (free[0].text.split(&word).next().unwrap(), Finish::Stop));
}

#[test]
fn requests_that_do_not_fit_are_refused_with_the_numbers() {
    let (model, tokenizer) = (model(), tokenizer());
    let refused = |ids: Vec<u32>, decoding: Decoding| {
        generate(&model, &tokenizer, &[Prompt { ids, seed: 0 }], &decoding, &|_| true).unwrap_err().to_string()
    };
    assert_eq!(
        refused(vec![1; 2000], Decoding { max_new_tokens: 100, ..long() }),
        "generation: prompt 0 has 2000 tokens; with max_new_tokens = 100 it exceeds the model's context of 2048"
    );
    assert_eq!(refused(vec![], long()), "generation: prompt 0 is empty");
    assert!(refused(vec![280], long()).contains("token 280 is outside the vocabulary of 280"));
    assert!(refused(vec![1], Decoding { top_p: 0.0, ..long() }).contains("top_p must be above 0"));
    let stopped = generate(&model, &tokenizer, &prompts(), &long(), &|progress| progress.new_tokens < 40).unwrap_err();
    assert!(stopped.to_string().starts_with("generation: stopped after"));
}
