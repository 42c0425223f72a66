//! The batch teacher against a mock batch service: partial failures, expiry, and a run that was killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path as Place, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use potstill_data::{Message, Problem};
use potstill_generate::openai::OpenAiConfig;
use potstill_generate::openai::batch::{BatchConfig, BatchOpenAi};
use potstill_generate::{ChatRequest, Completion, GenerateError, Generator, Price, Sampling};
use serde_json::{Value, json};

/// A service that answers all lines of a batch when it is first polled, except those that `skip` names.
#[derive(Default)]
struct Service {
    files: HashMap<String, String>,
    batches: Vec<Value>,
    lines: usize,
    polls: usize,
    /// Lines left out of the first batch, and lines answered with a status of their own.
    expired: Vec<&'static str>,
    refused: HashMap<&'static str, u16>,
    /// Batches stay under way until this many polls.
    slow: usize,
}

type Shared = Arc<Mutex<Service>>;

async fn upload(State(service): State<Shared>, body: Bytes) -> Json<Value> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("name=\"purpose\"\r\n\r\nbatch\r\n"));
    let lines: String = text.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    let mut service = service.lock().unwrap();
    let id = format!("file-{}", service.files.len());
    service.files.insert(id.clone(), lines);
    Json(json!({ "id": id }))
}

async fn submit(State(service): State<Shared>, Json(request): Json<Value>) -> Json<Value> {
    let mut service = service.lock().unwrap();
    let batch = json!({ "id": format!("batch_{}", service.batches.len()), "status": "in_progress",
        "input_file_id": request["input_file_id"], "metadata": request["metadata"] });
    service.batches.push(batch.clone());
    Json(batch)
}

async fn list(State(service): State<Shared>) -> Json<Value> {
    Json(json!({ "data": service.lock().unwrap().batches, "has_more": false }))
}

async fn status(State(service): State<Shared>, Place(id): Place<String>) -> Json<Value> {
    let mut service = service.lock().unwrap();
    service.polls += 1;
    let number = service.batches.iter().position(|batch| batch["id"] == id.as_str()).unwrap();
    if service.polls <= service.slow {
        return Json(service.batches[number].clone());
    }
    let input = service.files[service.batches[number]["input_file_id"].as_str().unwrap()].clone();
    let mut output = String::new();
    for line in input.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let prompt = line["body"]["messages"][0]["content"].as_str().unwrap();
        if number == 0 && service.expired.contains(&prompt) {
            continue;
        }
        service.lines += 1;
        let refused = service.refused.get(prompt).copied();
        let body = match refused {
            Some(_) => json!({ "error": { "message": "too long" } }),
            None => json!({ "choices": [{ "message": { "content": format!("re: {prompt}") }, "finish_reason": "stop" }],
                "usage": { "prompt_tokens": 10, "completion_tokens": 100 } }),
        };
        output += &format!(
            "{}\n",
            json!({ "custom_id": line["custom_id"], "response": { "status_code": refused.unwrap_or(200), "body": body } })
        );
    }
    let file = format!("out-{number}");
    service.files.insert(file.clone(), output);
    service.batches[number]["status"] = json!(if service.expired.is_empty() { "completed" } else { "expired" });
    service.batches[number]["output_file_id"] = json!(file);
    Json(service.batches[number].clone())
}

async fn content(State(service): State<Shared>, Place(id): Place<String>) -> String {
    service.lock().unwrap().files[&id].clone()
}

async fn start(service: Service) -> (String, Shared) {
    let service = Arc::new(Mutex::new(service));
    let app = Router::new()
        .route("/v1/files", post(upload))
        .route("/v1/files/{id}/content", get(content))
        .route("/v1/batches", post(submit).get(list))
        .route("/v1/batches/{id}", get(status))
        .with_state(Arc::clone(&service));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, service)
}

fn teacher(url: &str, dir: &Path) -> BatchOpenAi {
    let price = Price { input_per_million: 0.0, output_per_million: 10.0, cached_input_per_million: None, batch_factor: Some(0.5) };
    let batch = BatchConfig { gather_seconds: 0.1, poll_seconds: 0.1, dir: Some(dir.to_owned()), ..BatchConfig::default() };
    BatchOpenAi::new(OpenAiConfig { price: Some(price), batch: Some(batch), ..OpenAiConfig::new(url, "m") }, None).unwrap()
}

async fn ask(teacher: &BatchOpenAi, prompts: &[&str]) -> Vec<Result<Completion, GenerateError>> {
    let request = |prompt: &&str| ChatRequest {
        problem: Arc::new(Problem::default()),
        messages: [Message::new("user", *prompt)].into(),
        sampling: Arc::new(Sampling::default()),
        sample_index: 0,
        budget: None,
    };
    let requests: Vec<ChatRequest> = prompts.iter().map(request).collect();
    futures::future::join_all(requests.iter().map(|request| teacher.complete(request))).await
}

#[tokio::test]
async fn a_batch_answers_everybody_at_the_discount() {
    let (url, service) = start(Service::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let teacher = teacher(&url, dir.path());
    for (result, expected) in ask(&teacher, &["a", "b", "c"]).await.into_iter().zip(["re: a", "re: b", "re: c"]) {
        let completion = result.unwrap();
        assert_eq!(completion.response, expected);
        assert!((completion.cost_usd.unwrap() - 0.0005).abs() < 1e-12);
    }
    assert!((teacher.budget().unwrap().spent() - 0.0015).abs() < 1e-12);
    assert_eq!(service.lock().unwrap().batches.len(), 1);
}

#[tokio::test]
async fn expired_lines_are_asked_again_and_refused_ones_are_told() {
    let service = Service { expired: vec!["b"], refused: HashMap::from([("c", 400)]), ..Service::default() };
    let (url, service) = start(service).await;
    let dir = tempfile::tempdir().unwrap();
    let results = ask(&teacher(&url, dir.path()), &["a", "b", "c"]).await;
    assert_eq!(results[0].as_ref().unwrap().response, "re: a");
    assert_eq!(results[1].as_ref().unwrap().response, "re: b");
    let error = results[2].as_ref().unwrap_err();
    assert!(matches!(error, GenerateError::Rejected { status: 400, .. }) && error.to_string().contains("too long"), "{error}");
    assert_eq!(service.lock().unwrap().batches.len(), 2);
}

#[tokio::test]
async fn a_killed_run_finds_its_batch_again() {
    let (url, service) = start(Service { slow: 8, ..Service::default() }).await;
    let dir = tempfile::tempdir().unwrap();
    {
        let killed = teacher(&url, dir.path());
        let patience = std::time::Duration::from_millis(500);
        assert!(tokio::time::timeout(patience, ask(&killed, &["a", "b"])).await.is_err());
    }
    assert_eq!(service.lock().unwrap().batches.len(), 1);
    let results = ask(&teacher(&url, dir.path()), &["b", "a", "new"]).await;
    let replies: Vec<&str> = results.iter().map(|result| result.as_ref().unwrap().response.as_str()).collect();
    assert_eq!(replies, ["re: b", "re: a", "re: new"]);
    let service = service.lock().unwrap();
    assert_eq!((service.batches.len(), service.lines), (2, 3), "what was handed in is not handed in again");
}

#[tokio::test]
async fn a_batch_whose_id_was_never_noted_is_found_by_its_name() {
    let (url, service) = start(Service::default()).await;
    let dir = tempfile::tempdir().unwrap();
    ask(&teacher(&url, dir.path()), &["a"]).await.remove(0).unwrap();
    // As if the process had been killed right after handing in.
    let note = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let mut batch: Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    batch["phase"] = json!("begun");
    std::fs::write(&note, batch.to_string()).unwrap();
    assert_eq!(ask(&teacher(&url, dir.path()), &["a"]).await.remove(0).unwrap().response, "re: a");
    assert_eq!(service.lock().unwrap().batches.len(), 1);
}
