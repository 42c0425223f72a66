use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use potstill_model::generate::{Batching, Decoder, Engine};
use potstill_model::{CausalLm, ChatTemplate, Device, ModelConfig, Storage, Tokenizer, TokenizerSpec};
use serde_json::{Value, json};

use super::*;

/// A server over a tiny random model, on a thread of its own.
fn serve(key: Option<&str>, queue: usize) -> SocketAddr {
    let tokenizer =
        Tokenizer::train(["some words to speak of"; 3].iter(), &TokenizerSpec { vocab_size: 300, ..Default::default() }).unwrap();
    let mut config = ModelConfig::llama(300, 32, 2, 4, 2, 48);
    config.eos_token_ids = vec![3];
    config.max_position_embeddings = 512;
    let model = CausalLm::init(&config, 5, &Device::flex()).unwrap();
    let decoder = Decoder::new(&model, tokenizer, Some(ChatTemplate::chatml().unwrap()), Storage::F32).unwrap();
    let engine = Engine::start(decoder, Batching { size: 4, threads: 1 }).unwrap();
    let key = key.map(|key| SecretKey::new(key).unwrap());
    let app = router(Server { engine, name: "tiny".into(), key, queue });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap() });
    });
    address
}

fn exchange(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    (status, reply.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// The body, put together from its chunks where it came in such.
fn joined(body: &str) -> String {
    if body.starts_with('{') {
        return body.to_owned();
    }
    let mut out = String::new();
    let mut rest = body;
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        out.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    out
}

fn chat(address: SocketAddr, more: &Value) -> (u16, Value) {
    let mut body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "speak" }], "max_tokens": 12, "temperature": 0 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, reply) = exchange(address, "POST", "/v1/chat/completions", "", &body.to_string());
    (status, serde_json::from_str(&joined(&reply)).unwrap())
}

#[test]
fn whole_and_streamed_completions_agree() {
    let address = serve(None, 8);
    let (status, whole) = chat(address, &json!({ "n": 2, "seed": 3, "temperature": 1.0, "logprobs": true, "top_logprobs": 2 }));
    assert_eq!(status, 200, "{whole}");
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("tiny")));
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    assert!(["stop", "length"].contains(&choices[0]["finish_reason"].as_str().unwrap()));
    assert!(choices[0]["logprobs"]["content"].as_array().unwrap().iter().all(|place| place["top_logprobs"].as_array().unwrap().len() == 2));
    let body = json!({
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "speak" }] }], "max_completion_tokens": 12, "temperature": 1.0,
        "n": 2, "seed": 3, "stream": true, "stream_options": { "include_usage": true }, "logprobs": true, "top_logprobs": 2,
    });
    let (status, reply) = exchange(address, "POST", "/v1/chat/completions", "", &body.to_string());
    assert_eq!(status, 200);
    let reply = joined(&reply);
    let events: Vec<&str> = reply.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    for (index, choice) in choices.iter().enumerate() {
        let own = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()).filter(|choice| choice["index"] == index);
        let (mut text, mut reasoning, mut places) = (String::new(), String::new(), 0);
        for part in own {
            text.push_str(part["delta"]["content"].as_str().unwrap_or_default());
            reasoning.push_str(part["delta"]["reasoning_content"].as_str().unwrap_or_default());
            places += part["logprobs"]["content"].as_array().map_or(0, Vec::len);
        }
        assert_eq!(text.trim(), choice["message"]["content"].as_str().unwrap().trim_end_matches('\u{FFFD}').trim());
        assert_eq!(reasoning.trim(), choice["message"]["reasoning_content"].as_str().unwrap_or_default().trim());
        assert!(places <= choice["logprobs"]["content"].as_array().unwrap().len());
    }
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
}

#[test]
fn bad_requests_get_errors_in_the_shape_of_the_api() {
    let address = serve(None, 8);
    for (more, status, param, part) in [
        (json!({ "temperature": 3 }), 400, "temperature", "between 0 and 2, found 3"),
        (json!({ "temperature": "warm" }), 400, "temperature", "must be a number, found \"warm\""),
        (json!({ "messages": [] }), 400, "messages", "at least one"),
        (json!({ "messages": [{ "content": "x" }] }), 400, "messages[0].role", "needs a role"),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }), 400, "messages[0].content", "type text"),
        (json!({ "n": 1000 }), 400, "n", "between 1 and 128"),
        (json!({ "max_tokens": 9999 }), 400, "messages", "exceeds the model's context of 512"),
        (json!({ "tools": [1] }), 400, "tools", "not supported"),
        (json!({ "presence_penalty": 0.5 }), 400, "presence_penalty", "only 0 is"),
        (json!({ "top_logprobs": 2 }), 400, "top_logprobs", "needs logprobs"),
        (json!({ "response_format": { "type": "json_object" } }), 400, "response_format", "only the type text"),
        (json!({ "temprature": 1 }), 400, "temprature", "not understood"),
        (json!({ "stop": 4 }), 400, "stop", "a string or a list"),
    ] {
        let (found, reply) = chat(address, &more);
        assert_eq!(found, status, "{more}: {reply}");
        let error = &reply["error"];
        assert_eq!(error["param"], param, "{more}: {reply}");
        assert!(error["message"].as_str().unwrap().contains(part), "{more}: {reply}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let (status, reply) = chat(address, &json!({ "model": "other" }));
    assert_eq!((status, &reply["error"]["code"]), (404, &json!("model_not_found")));
    for (method, path, body, status) in [
        ("POST", "/v1/chat/completions", "{", 400),
        ("POST", "/v1/chat/completions", "[]", 400),
        ("GET", "/v1/chat/completions", "", 405),
        ("GET", "/v1/none", "", 404),
        ("GET", "/v1/models/other", "", 404),
    ] {
        let (found, reply) = exchange(address, method, path, "", body);
        let reply: Value = serde_json::from_str(&joined(&reply)).unwrap_or_else(|error| panic!("{method} {path}: {error} in {reply}"));
        assert_eq!(found, status, "{method} {path}: {reply}");
        assert!(reply["error"]["message"].is_string());
    }
    let (status, reply) = exchange(address, "GET", "/v1/models", "", "");
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&joined(&reply)).unwrap()["data"][0]["id"], "tiny");
}

#[test]
fn a_key_is_demanded_and_a_full_queue_is_told() {
    let address = serve(Some("sk-secret"), 1);
    let (status, reply) = exchange(address, "GET", "/v1/models", "", "");
    assert_eq!(status, 401, "{reply}");
    assert!(!reply.contains("sk-secret"));
    assert_eq!(exchange(address, "GET", "/v1/models", "Authorization: Bearer sk-secreT\r\n", "").0, 401);
    assert_eq!(exchange(address, "GET", "/v1/models", "Authorization: Bearer sk-secret\r\n", "").0, 200);
    assert_eq!(exchange(address, "GET", "/health", "", "").0, 200);
    let none = serve(None, 1);
    // One request holds the only place while it streams; a second one finds none.
    let mut first = TcpStream::connect(none).unwrap();
    let body = json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 480, "stream": true, "n": 100, "temperature": 1.5 })
        .to_string();
    write!(first, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    first.read_exact(&mut [0; 64]).unwrap();
    let (status, reply) = chat(none, &json!({}));
    assert_eq!((status, &reply["error"]["code"]), (429, &json!("queue_full")), "{reply}");
    // A client that goes away makes room.
    drop(first);
    let freed = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        chat(none, &json!({})).0 == 200
    });
    assert!(freed, "the place was never given back");
}
