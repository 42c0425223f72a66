//! The client against servers that break HTTP, JSON, promises and patience.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use potstill_data::{Message, Problem};
use potstill_generate::openai::{EndpointConfig, OpenAi, OpenAiConfig};
use potstill_generate::{ChatRequest, Completion, GenerateError, Generator, Sampling, SecretKey};
use raw::{GOOD, Step, whole};

const KEY: &str = "sk-canary-0123456789abcdef";

fn request() -> ChatRequest {
    ChatRequest {
        problem: Arc::new(Problem::default()),
        messages: [Message::new("user", "6 * 7?")].into(),
        sampling: Arc::new(Sampling::default()),
        sample_index: 0,
        budget: None,
    }
}

fn config(address: std::net::SocketAddr) -> OpenAiConfig {
    OpenAiConfig { timeout_seconds: 2.0, retries: 2, patience_seconds: 5.0, ..OpenAiConfig::new(&format!("http://{address}/v1"), "m") }
}

/// Asks a server that answers its first request with `bad` and later ones well; the answer and the requests seen.
async fn after(bad: Vec<Step>) -> (Result<Completion, GenerateError>, usize) {
    after_with(bad, |config| config).await
}

async fn after_with(bad: Vec<Step>, change: impl Fn(OpenAiConfig) -> OpenAiConfig) -> (Result<Completion, GenerateError>, usize) {
    let (address, count) = raw::start(move |number| if number == 0 { bad.clone() } else { whole("200 OK", "", GOOD) }).await;
    let client = OpenAi::new(change(config(address)), Some(SecretKey::new(KEY).unwrap())).unwrap();
    (client.complete(&request()).await, count.load(Ordering::SeqCst))
}

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

#[tokio::test]
async fn whatever_goes_wrong_once_is_tried_again() {
    let half = &GOOD[..GOOD.len() / 2];
    let cases: Vec<(&str, Vec<Step>)> = vec![
        ("closed without a word", vec![]),
        ("reset", vec![Step::Reset]),
        ("no HTTP", vec![send("hello\r\n\r\n")]),
        ("cut body", vec![send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{half}", GOOD.len()))]),
        ("half JSON", whole("200 OK", "", half)),
        ("empty body", whole("200 OK", "", "")),
        ("only blank lines", whole("200 OK", "", "\n\n\n")),
        ("error in a 200", whole("200 OK", "", r#"{"error":{"message":"overloaded"}}"#)),
        ("no choices", whole("200 OK", "", "{}")),
        ("empty reply", whole("200 OK", "", r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#)),
        ("not UTF-8", vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\"\xff\xfe\"".to_vec())]),
        ("500", whole("500 Internal Server Error", "", "engine died")),
        ("503", whole("503 Service Unavailable", "", "<html>")),
        ("429", whole("429 Too Many Requests", "retry-after: 0\r\n", "")),
        ("429 in a 200", whole("200 OK", "", r#"{"error":{"message":"slow down","code":429}}"#)),
    ];
    for (name, steps) in cases {
        let (result, count) = after(steps).await;
        assert_eq!((result.unwrap().response.as_str(), count), ("42", 2), "{name}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_or_drips_is_left_after_the_timeout() {
    let drip = std::iter::once(send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"))
        .chain((0..100).flat_map(|_| [send(" "), Step::Pause(Duration::from_millis(50))]));
    let stream = vec![send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n"), Step::Hang];
    for steps in [vec![Step::Hang], drip.collect(), stream] {
        let began = Instant::now();
        let (result, count) = after(steps).await;
        assert_eq!((result.unwrap().response.as_str(), count), ("42", 2));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_reply_beyond_the_limit_is_not_read() {
    let body = " ".repeat(100 << 10);
    let (result, count) = after_with(whole("200 OK", "", &body), |config| OpenAiConfig { max_reply_bytes: 10 << 10, ..config }).await;
    assert_eq!((result.unwrap().response.as_str(), count), ("42", 2));
}

#[tokio::test]
async fn blank_lines_before_the_body_keep_the_connection_and_mean_nothing() {
    let length = GOOD.len() + 6;
    let mut steps = vec![send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))];
    steps.extend((0..6).flat_map(|_| [send("\n"), Step::Pause(Duration::from_millis(20))]));
    steps.push(send(GOOD));
    let (result, count) = after(steps).await;
    assert_eq!((result.unwrap().response.as_str(), count), ("42", 1));
}

#[tokio::test]
async fn a_stream_is_put_together() {
    let events = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"6 sevens\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"42\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n"
    );
    let steps = vec![send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"), send(events), Step::Hang];
    let (result, count) = after_with(steps, |config| OpenAiConfig { stream: true, ..config }).await;
    let completion = result.unwrap();
    assert_eq!((completion.reasoning.as_deref(), completion.response.as_str(), count), (Some("6 sevens"), "42", 1));
    assert!(completion.usage.estimated);
}

#[tokio::test]
async fn refusals_are_told_in_the_servers_words_without_the_key() {
    for (status, fatal) in [("401 Unauthorized", true), ("402 Payment Required", true), ("403 Forbidden", true), ("400 Bad Request", false)]
    {
        let body = format!("{{\"error\":{{\"message\":\"Incorrect key: {KEY}, or sk-canar****89abcdef\"}}}}");
        let (result, count) = after(whole(status, "", &body)).await;
        let error = result.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("Incorrect key") && !shown.contains("canary") && !shown.contains("abcdef"), "{shown}");
        assert_eq!((error.is_fatal(), count), (fatal, 1), "{status}");
    }
}

#[tokio::test]
async fn a_key_echoed_in_a_reply_goes_nowhere() {
    let body = GOOD.replace("42", &format!("your key is {KEY}"));
    let (result, _) = after(whole("200 OK", "", &body)).await;
    let completion = result.unwrap();
    assert_eq!(completion.response, "your key is [key]");
    assert!(!format!("{completion:?}").contains("canary") && !String::from_utf8(completion.raw.unwrap()).unwrap().contains("canary"));
}

#[tokio::test]
async fn being_turned_away_uses_up_no_tries_and_retry_after_is_honoured() {
    let (address, count) = raw::start(|number| match number {
        0..6 => whole("429 Too Many Requests", "retry-after-ms: 100\r\n", ""),
        _ => whole("200 OK", "", GOOD),
    })
    .await;
    let client = OpenAi::new(OpenAiConfig { retries: 0, ..config(address) }, None).unwrap();
    let began = Instant::now();
    assert_eq!(client.complete(&request()).await.unwrap().response, "42");
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(count.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_key_away() {
    let (elsewhere, visits) = raw::start(|_| whole("200 OK", "", GOOD)).await;
    let location = format!("location: http://{elsewhere}/v1/chat/completions\r\n");
    let (result, _) = after(whole("307 Temporary Redirect", &location, "")).await;
    assert!(result.is_err());
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_dead_server_loses_its_share_to_the_others() {
    let (good, count) = raw::start(|_| whole("200 OK", "", GOOD)).await;
    let dead = "127.0.0.1:9".parse().unwrap();
    let endpoint = EndpointConfig { base_url: format!("http://{good}/v1"), weight: 1.0 };
    let client = Arc::new(OpenAi::new(OpenAiConfig { endpoints: vec![endpoint], retries: 10, ..config(dead) }, None).unwrap());
    let asked = (0..60).map(|_| {
        let client = Arc::clone(&client);
        async move { client.complete(&request()).await.unwrap() }
    });
    futures::future::join_all(asked).await;
    assert_eq!(count.load(Ordering::SeqCst), 60);
}

#[tokio::test]
async fn nobody_there_is_said_soon() {
    let dead = "127.0.0.1:9".parse().unwrap();
    let client = Arc::new(OpenAi::new(OpenAiConfig { retries: 100, ..config(dead) }, None).unwrap());
    let began = Instant::now();
    let asked = (0..20).map(|_| {
        let client = Arc::clone(&client);
        async move { client.complete(&request()).await.unwrap_err() }
    });
    for error in futures::future::join_all(asked).await {
        assert!(error.is_fatal() && error.is_temporary() && error.to_string().contains("127.0.0.1:9"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
