//! Local weights as a teacher: a tiny random model in a folder, asked through the seam that every teacher has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::{path::Path, sync::Arc};

use potstill_data::{Message, Problem};
use potstill_generate::local::{Local, LocalConfig};
use potstill_generate::{ChatRequest, GENERATORS, Generator, Sampling};
use potstill_model::{CausalLm, ChatTemplate, Device, ModelConfig, Tokenizer, TokenizerSpec, hf};
use serde_json::json;

fn save(folder: &Path, seed: u64) {
    let tokenizer =
        Tokenizer::train(["some words to speak of"; 3].iter(), &TokenizerSpec { vocab_size: 300, ..Default::default() }).unwrap();
    let mut config = ModelConfig::llama(300, 32, 2, 4, 2, 48);
    config.eos_token_ids = vec![3];
    let model = CausalLm::init(&config, seed, &Device::flex()).unwrap();
    hf::save(folder, &model, &tokenizer, Some(&ChatTemplate::chatml().unwrap())).unwrap();
}

fn config(folder: &Path, more: serde_json::Value) -> LocalConfig {
    let mut settings = json!({ "model": folder, "threads": 1 });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn request(problem: &str, sample_index: u32) -> ChatRequest {
    let sampling = Sampling { max_tokens: 20, temperature: Some(1.0), seed: Some(9), top_logprobs: Some(2), ..Sampling::default() };
    ChatRequest {
        problem: Arc::new(Problem { problem_id: problem.into(), prompt: "speak".into(), ..Problem::default() }),
        messages: Arc::from([Message::new("user", "speak")]),
        sampling: Arc::new(sampling),
        sample_index,
        budget: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_depend_on_seed_and_weights_alone() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), 1);
    let teacher = Local::new(config(dir.path(), json!({ "batch_size": 3 }))).unwrap();
    let requests: Vec<ChatRequest> = (0..5).map(|sample| request("p", sample)).collect();
    let together = teacher.complete_group(&requests).await;
    for (request, reply) in requests.iter().zip(&together) {
        let (alone, reply) = (teacher.complete(request).await.unwrap(), reply.as_ref().unwrap());
        assert_eq!((&alone.response, &alone.reasoning, alone.usage), (&reply.response, &reply.reasoning, reply.usage));
        assert!(["stop", "length"].contains(&reply.finish_reason.as_str()));
        let logprobs = reply.logprobs.as_ref().unwrap();
        assert_eq!(logprobs.len() as u32, reply.usage.completion_tokens.unwrap());
        assert!(logprobs.iter().all(|place| place.top.len() == 2));
    }
    let texts: std::collections::BTreeSet<&str> = together.iter().map(|reply| reply.as_ref().unwrap().response.as_str()).collect();
    assert!(texts.len() > 1, "samples have seeds of their own");
    assert_ne!(teacher.complete(&request("q", 0)).await.unwrap().response, together[0].as_ref().unwrap().response);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_told_and_the_identity_is_the_content() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    save(one.path(), 1);
    save(other.path(), 1);
    let identity = |folder: &Path, more| Local::new(config(folder, more)).unwrap().identity();
    assert_eq!(identity(one.path(), json!({})), identity(other.path(), json!({ "batch_size": 5, "threads": 2 })));
    assert_ne!(identity(one.path(), json!({})), identity(one.path(), json!({ "storage": "int8" })));
    let before = identity(other.path(), json!({}));
    save(other.path(), 2);
    assert_ne!(before, identity(other.path(), json!({})));
    let teacher = Local::new(config(one.path(), json!({}))).unwrap();
    let mut long = request("p", 0);
    long.sampling = Arc::new(Sampling { max_tokens: 4000, ..Sampling::default() });
    let error = teacher.complete(&long).await.unwrap_err().to_string();
    assert!(error.contains("max_new_tokens = 4000 it exceeds the model's context of 2048"), "{error}");
}

#[test]
fn a_teacher_that_cannot_be_is_refused_at_once() {
    let kind = GENERATORS.iter().find(|kind| kind.name == "local").unwrap();
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), 1);
    for (settings, part) in [
        (json!({ "model": "/nowhere/at/all" }), "`/nowhere/at/all` cannot be read"),
        (json!({ "model": dir.path(), "batch_size": 0 }), "at least 1"),
        (json!({ "model": dir.path(), "min_p": 2.0 }), "min_p must be between 0 and 1, found 2"),
        (json!({ "model": dir.path(), "thinking": { "conclude_with": "so" } }), "contains \"</think>\""),
    ] {
        let Err(error) = (kind.build)(settings.clone(), potstill_generate::Tools::default()) else { panic!("{settings} was accepted") };
        assert!(error.to_string().contains(part), "{settings}: {error}");
    }
}
