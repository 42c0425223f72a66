//! A teacher for tests and benchmarks: answers are a function of the question, faults are seeded, and everything that
//! was asked is counted.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of it")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

/// What the mock does besides answering.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct Behaviour {
    /// Mean latency; each reply's is drawn evenly from `latency_ms ± spread_ms`.
    pub latency_ms: u64,
    pub spread_ms: u64,
    /// Bytes of reasoning.
    pub reasoning_bytes: usize,
    /// 429 above this many in flight.
    pub limit: Option<usize>,
    /// So many requests are worked on at once; the others wait without end and without a word.
    pub places: Option<usize>,
    /// Shares of requests that go wrong, by kind.
    pub faults: Faults,
    /// A `Retry-After` on each 429, in seconds.
    pub retry_after: Option<f64>,
    /// Leave `usage` out.
    pub no_usage: bool,
    /// Repeats the key that it was sent, in replies and errors.
    pub echo_key: bool,
    /// Understands `n`.
    pub many: bool,
    pub seed: u64,
}

impl Behaviour {
    /// Answers at once, in few words.
    pub const NONE: Self = Self {
        latency_ms: 0,
        spread_ms: 0,
        reasoning_bytes: 0,
        limit: None,
        places: None,
        faults: Faults::NONE,
        retry_after: None,
        no_usage: false,
        echo_key: false,
        many: false,
        seed: 0,
    };
}

/// Shares of requests, each from 0 to 1.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct Faults {
    pub busy: f64,
    pub error: f64,
    pub cut: f64,
    pub half_json: f64,
    pub length: f64,
    pub empty: f64,
    pub slow: f64,
}

impl Faults {
    pub const NONE: Self = Self { busy: 0.0, error: 0.0, cut: 0.0, half_json: 0.0, length: 0.0, empty: 0.0, slow: 0.0 };
    /// The mix of the benchmark's table.
    pub const TABLE: Self = Self { busy: 0.05, error: 0.03, cut: 0.01, half_json: 0.01, length: 0.01, empty: 0.005, slow: 0.02 };
}

/// What the mock has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: AtomicUsize,
    pub answered: AtomicUsize,
    pub in_flight: AtomicUsize,
    pub most_in_flight: AtomicUsize,
    /// Requests by question (last user turn and seed).
    pub questions: Mutex<HashMap<String, usize>>,
    pub keys: Mutex<Vec<String>>,
}

pub struct Mock {
    pub behaviour: Behaviour,
    pub seen: Seen,
    places: Option<tokio::sync::Semaphore>,
}

/// A number from 0 to 1 that depends on nothing but its arguments.
fn draw(seed: u64, what: &str, question: &str) -> f64 {
    let hash = blake3::hash(format!("{seed}/{what}/{question}").as_bytes());
    let head = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
    (head >> 11) as f64 / (1u64 << 53) as f64
}

/// Starts the mock on the current runtime.
pub async fn start(behaviour: Behaviour) -> (SocketAddr, Arc<Mock>) {
    let mock = Arc::new(Mock { behaviour, seen: Seen::default(), places: behaviour.places.map(tokio::sync::Semaphore::new) });
    let app = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(|| async { axum::Json(json!({"object": "list", "data": [{"id": "mock"}]})) }))
        .route("/stats", get(stats))
        .with_state(Arc::clone(&mock));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, mock)
}

/// What was seen, for another process.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    pub requests: usize,
    pub answered: usize,
    pub in_flight: usize,
    pub most_in_flight: usize,
    pub questions: usize,
}

async fn stats(State(mock): State<Arc<Mock>>) -> axum::Json<Stats> {
    let count = |number: &AtomicUsize| number.load(Ordering::SeqCst);
    let seen = &mock.seen;
    axum::Json(Stats {
        requests: count(&seen.requests),
        answered: count(&seen.answered),
        in_flight: count(&seen.in_flight),
        most_in_flight: count(&seen.most_in_flight),
        questions: seen.questions.lock().unwrap().len(),
    })
}

struct InFlight(Arc<Mock>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.seen.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn chat(State(mock): State<Arc<Mock>>, headers: HeaderMap, body: Bytes) -> Response {
    let seen = &mock.seen;
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let now = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    let _guard = InFlight(Arc::clone(&mock));
    let b = mock.behaviour;
    if b.limit.is_some_and(|limit| now > limit) {
        return busy(b);
    }
    seen.most_in_flight.fetch_max(now, Ordering::SeqCst);
    if let Some(key) = headers.get("authorization") {
        let mut keys = seen.keys.lock().unwrap();
        if keys.len() < 4 {
            keys.push(key.to_str().unwrap().to_owned());
        }
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let prompt =
        request["messages"].as_array().and_then(|turns| turns.last()).map_or("", |turn| turn["content"].as_str().unwrap_or_default());
    let question = format!("{prompt}/{}", request["seed"]);
    let nth = {
        let mut questions = seen.questions.lock().unwrap();
        let count = questions.entry(question.clone()).or_default();
        *count += 1;
        *count
    };
    let spread = (draw(b.seed, "latency", &question) * 2.0 - 1.0) * b.spread_ms as f64;
    let mut latency = Duration::from_secs_f64((b.latency_ms as f64 + spread).max(0.0) / 1000.0);
    let fault = draw(b.seed, &format!("fault {nth}"), &question);
    if draw(b.seed, "slow", &question) < b.faults.slow {
        latency += Duration::from_secs(3);
    }
    let f = b.faults;
    let edges = [f.busy, f.error, f.cut, f.half_json, f.empty];
    let mut sum = 0.0;
    let kind = edges.iter().position(|share| {
        sum += share;
        fault < sum
    });
    if kind == Some(0) {
        return busy(b);
    }
    let place = match &mock.places {
        Some(places) => Some(places.acquire().await.unwrap()),
        None => None,
    };
    tokio::time::sleep(latency).await;
    drop(place);
    let truncated = draw(b.seed, "length", &question) < f.length;
    let key = headers.get("authorization").filter(|_| b.echo_key).map_or("", |key| key.to_str().unwrap());
    let reply = reply(b, &request, &question, truncated).replace("The answer is", &format!("{key} The answer is"));
    match kind {
        Some(1) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{{\"error\":{{\"message\":\"engine died {key}\"}}}}")).into_response(),
        Some(2) => {
            let half = Bytes::copy_from_slice(&reply.as_bytes()[..reply.len() / 2]);
            let pieces = [Ok(half), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures::stream::iter(pieces)).into_response()
        }
        Some(3) => reply[..reply.len() / 2].to_owned().into_response(),
        Some(4) => "".into_response(),
        _ => {
            seen.answered.fetch_add(1, Ordering::SeqCst);
            ([("content-type", "application/json")], reply).into_response()
        }
    }
}

fn busy(behaviour: Behaviour) -> Response {
    let mut response = (StatusCode::TOO_MANY_REQUESTS, "{\"error\":{\"message\":\"slow down\"}}").into_response();
    if let Some(seconds) = behaviour.retry_after {
        response.headers_mut().insert("retry-after", seconds.to_string().parse().unwrap());
    }
    response
}

fn reply(b: Behaviour, request: &Value, question: &str, truncated: bool) -> String {
    let count = if b.many { request["n"].as_u64().unwrap_or(1) } else { 1 };
    let choices: Vec<Value> = (0..count)
        .map(|index| {
            let (reasoning, answer) = answer(b, &format!("{question}/{index}"));
            let content = if truncated { String::new() } else { format!("The answer is \\boxed{{{answer}}}.") };
            json!({"index": index, "finish_reason": if truncated { "length" } else { "stop" },
                "message": {"role": "assistant", "content": content, "reasoning_content": reasoning}})
        })
        .collect();
    let mut reply = json!({"id": "x", "object": "chat.completion", "model": "mock", "choices": choices});
    if !b.no_usage {
        reply["usage"] = json!({"prompt_tokens": 20, "completion_tokens": 1000 * count});
    }
    reply.to_string()
}

/// Reasoning of some length, and an answer from 0 to 9.
pub fn answer(b: Behaviour, question: &str) -> (String, u32) {
    const WORDS: [&str; 16] = [
        "so ", "we ", "have ", "the ", "sum ", "of ", "both ", "sides, ", "wait, ", "that ", "gives ", "x = ", "minus ", "two; ",
        "check: ", "again ",
    ];
    let mut bytes = blake3::Hasher::new().update(format!("{}/{question}", b.seed).as_bytes()).finalize_xof();
    let mut buffer = [0; 256];
    let mut text = String::with_capacity(b.reasoning_bytes + 8);
    while text.len() < b.reasoning_bytes {
        bytes.fill(&mut buffer);
        for byte in buffer {
            text.push_str(WORDS[usize::from(byte % 16)]);
            if byte >= 192 {
                text.push(char::from(b'0' + byte % 10));
            }
        }
    }
    text.truncate(b.reasoning_bytes);
    (text.trim().to_owned(), (draw(b.seed, "answer", question) * 10.0) as u32)
}
