//! Asking teachers through the binary: rewriting, batches, money, estimates, the doctor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use potstill_data::{Attempt, Scalar, read_all};
use serde_json::{Value, json};

use crate::support::{Bench, Ran};

/// A teacher whose answers are a function of the question; it also has a batch API and counts what it is asked.
#[derive(Default)]
struct Teacher {
    asked: usize,
    files: HashMap<String, String>,
    batches: Vec<Value>,
}

type Shared = Arc<Mutex<Teacher>>;

/// "What is 1 + N?" is answered rightly, a trace to rewrite by its sections; every third rewrite changes the answer.
fn answer(request: &Value) -> Value {
    let turn = request["messages"].as_array().and_then(|turns| turns.last()).expect("a turn")["content"].as_str().expect("text").to_owned();
    let number = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let content = match turn.split_once("Attempt:\n") {
        Some((_, trace)) => {
            let right: u64 = number(trace.rsplit("boxed{").next().unwrap_or_default()).parse().expect("a number");
            let shown = if right.is_multiple_of(3) { right + 1 } else { right };
            format!("[thought]One and the rest.[/thought]\n[solution]\\boxed{{{shown}}}[/solution]")
        }
        None => {
            let sum = number(turn.split_once('+').unwrap_or(("", "0")).1).parse::<u64>().unwrap_or(0) + 1;
            format!("<think>I add.</think>So it is \\boxed{{{sum}}}.")
        }
    };
    let choices: Vec<Value> = (0..request["n"].as_u64().unwrap_or(1))
        .map(|index| json!({ "index": index, "finish_reason": "stop", "message": { "role": "assistant", "content": content } }))
        .collect();
    json!({ "choices": choices, "usage": { "prompt_tokens": 100, "completion_tokens": 1000 } })
}

async fn chat(State(teacher): State<Shared>, Json(request): Json<Value>) -> Response {
    teacher.lock().expect("a lock").asked += 1;
    if request["logprobs"].as_bool() == Some(true) {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": { "message": "logprobs are not supported" } }))).into_response();
    }
    Json(answer(&request)).into_response()
}

async fn upload(State(teacher): State<Shared>, body: String) -> Json<Value> {
    let mut teacher = teacher.lock().expect("a lock");
    let id = format!("file-{}", teacher.files.len());
    teacher.files.insert(id.clone(), body.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n"));
    Json(json!({ "id": id }))
}

async fn submit(State(teacher): State<Shared>, Json(request): Json<Value>) -> Json<Value> {
    let mut teacher = teacher.lock().expect("a lock");
    let input = teacher.files[request["input_file_id"].as_str().expect("an id")].clone();
    let result = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        json!({ "custom_id": line["custom_id"], "response": { "status_code": 200, "body": answer(&line["body"]) } }).to_string()
    };
    let output: Vec<String> = input.lines().map(result).collect();
    teacher.asked += output.len();
    let number = teacher.batches.len();
    teacher.files.insert(format!("out-{number}"), output.join("\n"));
    let batch = json!({ "id": format!("batch_{number}"), "status": "completed", "output_file_id": format!("out-{number}"), "metadata": request["metadata"] });
    teacher.batches.push(batch.clone());
    Json(batch)
}

async fn batch(State(teacher): State<Shared>, Path(id): Path<String>) -> Json<Value> {
    let teacher = teacher.lock().expect("a lock");
    Json(teacher.batches.iter().find(|batch| batch["id"] == id.as_str()).expect("a batch").clone())
}

async fn content(State(teacher): State<Shared>, Path(id): Path<String>) -> String {
    teacher.lock().expect("a lock").files[&id].clone()
}

struct Setting {
    bench: Bench,
    teacher: Shared,
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Setting {
    /// So many problems, and a teacher at $1 and $2 per million tokens.
    fn new(problems: usize, teacher_keys: &str, stages: &str) -> Self {
        let (bench, teacher) = (Bench::new(), Shared::default());
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/models", get(|| async { Json(json!({ "data": [{ "id": "other" }, { "id": "mock-1" }] })) }))
            .route("/v1/files", post(upload))
            .route("/v1/files/{id}/content", get(content))
            .route("/v1/batches", post(submit))
            .route("/v1/batches/{id}", get(batch))
            .with_state(teacher.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        let lines: Vec<String> =
            (0..problems).map(|n| json!({ "question": format!("What is 1 + {n}?"), "gold": (n + 1).to_string() }).to_string()).collect();
        bench.write("problems.jsonl", lines.join("\n"));
        let pipeline = format!(
            "version = 1\nseed = 1\n[teacher.mock]\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"mock-1\"\nprice = {{ input_per_million = 1.0, output_per_million = 2.0, batch_factor = 0.5 }}\n{teacher_keys}\n\
             [stage.problems]\nkind = \"source\"\npath = \"problems.jsonl\"\ncolumns = {{ prompt = \"question\", gold = \"gold\" }}\nverifier = \"math\"\n\
             [stage.traces]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"mock\"\nmax_tokens = 2000\n{stages}"
        );
        bench.write("pipeline.toml", pipeline);
        Self { bench, teacher, url, _runtime: runtime }
    }

    fn asked(&self) -> usize {
        self.teacher.lock().expect("a lock").asked
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.bench.run(&[&["run", "pipeline.toml", "--store", "store", "--json", "out.json"], args].concat())
    }

    fn summary(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.bench.path("out.json")).expect("a summary")).expect("JSON")
    }

    fn rows(&self, stage: &str, output: &str) -> Vec<Attempt> {
        read_all(&self.bench.files(stage, output)).expect("rows")
    }
}

/// A request of these costs 100 · $1 + 1,000 · $2 per million.
const COST: f64 = 0.0021;

fn near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-9)
}

#[test]
fn a_rewrite_that_changes_the_answer_is_dropped_with_its_reason() {
    let stage = "[stage.tidy]\nkind = \"rewrite\"\ninputs = [\"traces\"]\nteacher = \"mock\"\n";
    let setting = Setting::new(30, "", stage);
    assert_eq!(setting.run(&[]).code, 0);
    let (kept, dropped) = (setting.rows("tidy", "rows"), setting.rows("tidy", "dropped"));
    assert_eq!((kept.len(), dropped.len(), setting.asked()), (20, 10, 60));
    assert!(kept.iter().all(|row| row.reasoning.as_deref() == Some("One and the rest.") && row.response.starts_with("\\boxed{")));
    assert!(kept.iter().all(|row| row.problem.meta["rewritten_by"] == Scalar::Text("mock-1".into())));
    assert!(dropped.iter().all(|row| row.response.starts_with("So it is")), "the original stays");
    let summary = setting.summary();
    let tidy = summary["stages"].as_array().expect("stages").iter().find(|stage| stage["name"] == "tidy").expect("tidy");
    assert_eq!(tidy["dropped"], json!({ "answer_changed": 10 }));
    let shown = setting.bench.run(&["show", "pipeline.toml", "--store", "store", "--stage", "tidy.dropped", "-n", "1"]);
    assert!(format!("{}{}", shown.stdout, shown.stderr).contains("answer_changed"), "{}{}", shown.stdout, shown.stderr);
}

#[test]
fn what_was_paid_is_told_once_and_what_rows_cost_stays_with_them() {
    let setting = Setting::new(10, "", "");
    assert_eq!(setting.run(&[]).code, 0);
    let first = setting.summary();
    assert!(near(&first["cost_usd"], 10.0 * COST), "{first}");
    let traces = |summary: &Value| summary["stages"][1].clone();
    assert!(near(&traces(&first)["cost_usd"], 10.0 * COST) && near(&traces(&first)["paid_usd"], 10.0 * COST), "{first}");
    // Two more samples of each problem are paid; those that the journal has are not, but their rows cost what they did.
    assert_eq!(setting.run(&["--set", "stage.traces.samples=3"]).code, 0);
    let more = setting.summary();
    assert_eq!(setting.asked(), 30);
    assert!(near(&more["cost_usd"], 20.0 * COST) && near(&traces(&more)["cost_usd"], 30.0 * COST), "{more}");
    assert!(near(&traces(&more)["paid_usd"], 20.0 * COST), "{more}");
    assert!(setting.rows("traces", "rows").iter().all(|row| row.cost_usd.is_some_and(|usd| (usd - COST).abs() < 1e-9)));
    // A stage that runs out of money has still paid.
    let ran = setting.run(&["--set", "stage.traces.samples=9", "--set", "stage.traces.max_cost_usd=0.02"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("the budget is spent") && ran.stderr.contains("raise max_cost_usd"), "{}", ran.stderr);
    let spent = setting.summary()["cost_usd"].as_f64().expect("a cost");
    assert!(spent > 0.01 && spent <= 0.02 + 1e-9, "{spent}");
    assert!((setting.asked() - 30) as f64 * COST <= 0.02 + 1e-9);
}

#[test]
fn one_cap_holds_for_all_stages_that_ask_a_teacher() {
    let stage = "[stage.more]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"mock\"\nmax_tokens = 2000\ntemperature = 0.5\n";
    let setting = Setting::new(20, "max_cost_usd = 0.05", stage);
    let ran = setting.run(&[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(setting.asked() < 40 && setting.asked() as f64 * COST <= 0.05 + 1e-9, "{}", setting.asked());
    assert!(setting.summary()["cost_usd"].as_f64().is_some_and(|usd| usd <= 0.05 + 1e-9));
}

#[test]
fn a_batch_api_is_asked_from_a_pipeline_at_its_discount() {
    let keys = "batch = { gather_seconds = 0.2, poll_seconds = 0.1 }";
    let setting = Setting::new(25, keys, "");
    let ran = setting.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!((setting.asked(), setting.teacher.lock().expect("a lock").batches.len()), (25, 1));
    assert!(near(&setting.summary()["cost_usd"], 25.0 * COST / 2.0), "{}", setting.summary());
    assert!(setting.bench.store().join("shared/batches").is_dir(), "notes of batches lie in the store");
    // What a batch answered is in the journal like anything else: asking one at a time asks nothing.
    assert_eq!(setting.run(&["--force", "traces"]).code, 0);
    assert_eq!(setting.asked(), 25);
    let planned = setting.bench.run(&["plan", "pipeline.toml", "--store", "elsewhere", "--json"]);
    let plan: Value = serde_json::from_str(&planned.stdout).expect("JSON");
    assert!(plan[1]["estimate"]["cost_usd"].as_f64().is_some_and(|usd| usd < 25.0 * 2000.0 * 2e-6 * 0.6), "{plan}");
}

#[test]
fn a_plan_counts_prompts_and_warns_of_caps() {
    let setting = Setting::new(
        40,
        "",
        "max_cost_usd = 0.05\nsamples = 2\n[stage.tidy]\nkind = \"rewrite\"\ninputs = [\"traces\"]\nteacher = \"mock\"\nmax_tokens = 1000\n",
    );
    let planned = setting.bench.run(&["plan", "pipeline.toml", "--json"]);
    let plan: Value = serde_json::from_str(&planned.stdout).expect("JSON");
    let (traces, tidy) = (&plan[1]["estimate"], &plan[2]["estimate"]);
    assert_eq!((&traces["calls"], &traces["completion_tokens"], &tidy["calls"]), (&json!(80), &json!(160_000), &json!(80)));
    let prompt = traces["prompt_tokens"].as_u64().expect("prompt tokens");
    assert!((80 * 7..80 * 40).contains(&prompt), "{prompt}");
    let cost = prompt as f64 * 1e-6 + 160_000.0 * 2e-6;
    assert!(near(&traces["cost_usd"], cost), "{traces}");
    assert!(tidy["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 80 * 1000), "a trace may be as long as it likes: {tidy}");
    let planned = setting.bench.run(&["plan", "pipeline.toml"]);
    assert!(planned.stdout.contains("over its cap of $0.05"), "{}", planned.stdout);
    assert_eq!(setting.asked(), 0);
}

/// Without a teacher the doctor looks at this machine.
#[test]
fn the_doctor_tells_how_programs_are_shut_in() {
    let setting = Setting::new(1, "", "");
    let ran = setting.bench.run(&["doctor", "--json"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    for level in ["L1", "L2"] {
        let works = found["sandbox"][level]["works"].as_bool().expect("a level works or not");
        assert!(works || found["sandbox"][level]["error"].as_str().is_some_and(|why| !why.is_empty()), "{found}");
        let text = setting.bench.run(&["doctor"]).stdout;
        assert!(text.contains(&format!("{} sandbox {level}", if works { "+" } else { "x" })), "{text}");
    }
    assert!(found["languages"].get("Python").or(found["languages"].get("python")).is_some(), "{found}");
}

#[test]
fn the_doctor_tells_what_an_endpoint_can_do() {
    let setting = Setting::new(1, "", "");
    let ran = setting.bench.run(&["doctor", "mock", "--pipeline", "pipeline.toml"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    for line in [
        "`mock-1` is one of 2",
        "told apart",
        "tokens are counted",
        "+ n ",
        "x logprobs               no: logprobs are not supported",
        "ms on an open connection",
    ] {
        assert!(ran.stdout.contains(line), "no `{line}` in\n{}", ran.stdout);
    }
    let ran = setting.bench.run(&["doctor", &setting.url, "--model", "mock-2", "--json"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&found[0]["models"]["has_model"], &found[0]["chat"]["parameters"]["logprobs"]["supported"]),
        (&json!(false), &json!(false))
    );
    assert!(found[0]["chat"]["latency_ms"].is_u64());
    // An address alone: the first model listed is asked.
    let ran = setting.bench.run(&["doctor", &setting.url, "--json"]);
    assert!(ran.stdout.contains("\"model\": \"other\""), "{}{}", ran.stdout, ran.stderr);
    let ran = setting.bench.run(&["doctor", "http://127.0.0.1:9/v1", "--model", "m"]);
    assert_eq!(ran.code, 75, "{}{}", ran.stdout, ran.stderr);
    let ran = setting.bench.run(&["doctor", "mok", "--pipeline", "pipeline.toml"]);
    assert!(ran.code == 2 && ran.stderr.contains("did you mean `mock`?"), "{}", ran.stderr);
    let ran = setting.bench.run(&["doctor", "mock"]);
    assert!(ran.code == 2 && ran.stderr.contains("--pipeline FILE"), "{}", ran.stderr);
}
