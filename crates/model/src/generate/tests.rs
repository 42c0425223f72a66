use burn::tensor::{Device, Int, Tensor, TensorData};

use super::*;
use crate::{CausalLm, Digits, ModelConfig, SequenceLayout, Storage, Tokenizer, TokenizerSpec};

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

fn decoder(model: &CausalLm) -> Decoder {
    Decoder::new(model, tokenizer(), None, Storage::F32).unwrap()
}

fn run_in(batching: Batching, model: &CausalLm, prompts: &[Prompt], decoding: &Decoding) -> Vec<Generated> {
    generate(&decoder(model), prompts, decoding, batching, &|_| true).unwrap().outputs
}

fn run(model: &CausalLm, prompts: &[Prompt], decoding: &Decoding) -> Vec<Generated> {
    run_in(Batching::default(), model, prompts, decoding)
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
    let sampled = Decoding { temperature: 0.9, top_p: 0.95, logprobs: Some(2), ..long() };
    let together = run_in(Batching { size: 3, threads: 1 }, &model, &prompts(), &sampled);
    for batching in [Batching { size: 3, threads: 3 }, Batching { size: 32, threads: 2 }, Batching { size: 1, threads: 1 }] {
        assert_eq!(together, run_in(batching, &model, &prompts(), &sampled), "{batching:?}");
    }
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
    let decoder = decoder(&model());
    let refused = |ids: Vec<u32>, decoding: Decoding| {
        generate(&decoder, &[Prompt { ids, seed: 0 }], &decoding, Batching::default(), &|_| true).unwrap_err().to_string()
    };
    assert_eq!(
        refused(vec![1; 2000], Decoding { max_new_tokens: 100, ..long() }),
        "generation: prompt 0 has 2000 tokens; with max_new_tokens = 100 it exceeds the model's context of 2048"
    );
    assert_eq!(refused(vec![], long()), "generation: prompt 0 is empty");
    assert!(refused(vec![280], long()).contains("token 280 is outside the vocabulary of 280"));
    assert!(refused(vec![1], Decoding { top_p: 0.0, ..long() }).contains("top_p must be above 0"));
    let stopped = generate(&decoder, &prompts(), &long(), Batching::default(), &|progress| progress.new_tokens < 40).unwrap_err();
    assert!(stopped.to_string().starts_with("generation: stopped after"));
}

#[test]
fn samples_of_one_prompt_share_it_and_come_out_as_if_alone() {
    let model = model();
    let ids: Vec<u32> = (0..40).map(|i| (i * 13 % 280) as u32).collect();
    let samples: Vec<Prompt> = (0..7).map(|seed| Prompt { ids: ids.clone(), seed }).collect();
    let sampled = Decoding { temperature: 1.0, ..long() };
    let alone: Vec<Generated> = samples.iter().flat_map(|sample| run(&model, std::slice::from_ref(sample), &sampled)).collect();
    for size in [1, 3, 7] {
        assert_eq!(run_in(Batching { size, threads: 1 }, &model, &samples, &sampled), alone, "{size} at a time");
    }
    assert!(alone.iter().any(|output| output.ids != alone[0].ids));
}

#[test]
fn a_long_prompt_is_fed_in_pieces() {
    let model = model();
    let prompt = [Prompt { ids: (0..1300).map(|i| (i * 7 % 280) as u32).collect(), seed: 0 }];
    assert_eq!(run(&model, &prompt, &Decoding { max_new_tokens: 3, ..long() })[0].ids, without_cache(&model, &prompt[0].ids, 3));
}

#[test]
fn every_storage_generates_and_int8_stays_close() {
    let model = model();
    let exact = run(&model, &prompts(), &Decoding { max_new_tokens: 1, logprobs: Some(0), ..long() });
    for storage in [Storage::Bf16, Storage::Int8] {
        let decoder = Decoder::new(&model, tokenizer(), None, storage).unwrap();
        let decoding = Decoding { max_new_tokens: 1, logprobs: Some(0), ..long() };
        let close = generate(&decoder, &prompts(), &decoding, Batching { size: 5, threads: 2 }, &|_| true).unwrap().outputs;
        for (exact, close) in exact.iter().zip(&close) {
            assert!((exact.logprobs[0].logprob - close.logprobs[0].logprob).abs() < 0.1, "{storage:?}");
        }
    }
}

/// A model whose every logit is the same, so that the first token of the vocabulary is always best.
fn constant() -> CausalLm {
    let mut config = ModelConfig::llama(280, 32, 1, 4, 2, 48);
    config.initializer_range = 0.0;
    CausalLm::init(&config, 1, &Device::flex()).unwrap()
}

#[test]
fn thinking_is_ended_when_its_budget_is_spent() {
    let tokenizer = tokenizer();
    let budget = ThinkingBudget { max_tokens: Some(5), ..ThinkingBudget::default() };
    let decoding = Decoding { max_new_tokens: 60, thinking: Some(budget.clone()), ..long() };
    let decoder = Decoder::new(&constant(), tokenizer.clone(), None, Storage::F32).unwrap();
    let prompt = |text: &str| [Prompt { ids: tokenizer.encode(text).unwrap(), seed: 0 }];
    let run = |text: &str, decoding: &Decoding| {
        generate(&decoder, &prompt(text), decoding, Batching::default(), &|_| true).unwrap().outputs.remove(0)
    };
    let thought = run("few <think>\n", &decoding);
    let forced = tokenizer.encode(&budget.conclude_with).unwrap();
    assert_eq!(thought.ids[5..5 + forced.len()], forced, "{:?}", thought.text);
    assert_eq!(thought.text.matches("</think>").count(), 1);
    assert_eq!(run("few ", &decoding).text.matches("</think>").count(), 0, "it does not think");
}

#[test]
fn an_early_end_of_thinking_is_taken_back_and_thinking_goes_on() {
    let tokenizer = tokenizer();
    let decoder = Decoder::new(&constant(), tokenizer.clone(), None, Storage::F32).unwrap();
    // The first token of the vocabulary is what this model says, so it ends its turn at once.
    let budget = ThinkingBudget { extensions: 2, ..ThinkingBudget::default() };
    let decoding = Decoding { max_new_tokens: 40, stop_ids: vec![0], thinking: Some(budget), logprobs: Some(0), ..Decoding::default() };
    let prompts = [Prompt { ids: tokenizer.encode("few <think>").unwrap(), seed: 0 }];
    let output = generate(&decoder, &prompts, &decoding, Batching::default(), &|_| true).unwrap().outputs.remove(0);
    assert_eq!((output.text.as_str(), output.finish), ("WaitWait", Finish::Stop));
    assert_eq!(output.logprobs.len(), output.ids.len());
}

#[test]
fn an_engine_streams_what_generate_returns_and_can_be_cancelled() {
    use std::sync::mpsc::channel;
    let model = model();
    let engine = Engine::start(decoder(&model), Batching { size: 4, threads: 2 }).unwrap();
    let prompt = prompts().remove(4);
    let sampled = Decoding { temperature: 0.8, ..long() };
    let (sender, receiver) = channel();
    let request = Request { ids: prompt.ids.clone(), seeds: vec![1, 2, 3, 4, 5], decoding: sampled.clone(), stream: true };
    engine.submit(request.clone(), move |update| sender.send(update).is_ok()).unwrap();
    let cancelled = engine.submit(request, |_| false);
    assert!(cancelled.is_ok());
    let (mut texts, mut ended) = (vec![String::new(); 5], vec![None; 5]);
    while ended.iter().any(Option::is_none) {
        match receiver.recv().unwrap() {
            Update::Grew { sample, part } => texts[sample].push_str(&part.text),
            Update::Ended { sample, generated } => ended[sample] = Some(generated),
            Update::Failed(problem) => panic!("{problem}"),
        }
    }
    for (seed, (text, generated)) in texts.iter().zip(ended.into_iter().flatten()).enumerate() {
        let alone = run(&model, &[Prompt { ids: prompt.ids.clone(), seed: seed as u64 + 1 }], &sampled).remove(0);
        assert_eq!(generated, alone);
        assert_eq!(*text, generated.text);
    }
    let refused = engine.submit(Request { ids: vec![], seeds: vec![1], decoding: long(), stream: false }, |_| true).unwrap_err();
    assert_eq!(refused.to_string(), "generation: the prompt is empty");
}

#[test]
fn the_path_of_other_devices_computes_the_same() {
    let model = model();
    let device = model.embed_tokens.val().device();
    let decoder = decoder(&model);
    let mut here = decoder.runner(3, 1).unwrap();
    let mut there = runner::DeviceRunner::new(model.clone(), 3, &device);
    let step = |slot, cached, count| crate::kernels::decode::Step { slot, cached, count };
    let ids: Vec<u32> = (0..20).map(|i| (i * 11 % 280) as u32).collect();
    let mut both = |tokens: &[u32], steps: &[crate::kernels::decode::Step], logits: bool| {
        let (a, b) = (here.forward(tokens, steps, logits).unwrap(), runner::Runner::forward(&mut there, tokens, steps, logits).unwrap());
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3));
    };
    both(&ids, &[step(1, 0, 20)], false);
    both(&[5], &[step(1, 20, 1)], true);
    here.branch(1, 2, 15);
    runner::Runner::branch(&mut there, 1, 2, 15);
    let mut both = |tokens: &[u32], steps: &[crate::kernels::decode::Step], logits: bool| {
        let (a, b) = (here.forward(tokens, steps, logits).unwrap(), runner::Runner::forward(&mut there, tokens, steps, logits).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3));
    };
    both(&[7, 8], &[step(1, 21, 1), step(2, 15, 1)], true);
}
