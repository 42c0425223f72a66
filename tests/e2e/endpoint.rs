//! Problems through an OpenAI-compatible endpoint: a mock server answers GSM8K from stored solutions, right and wrong.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use potstill_data::source::{Columns, Duplicates, Source, SourceSpec};
use potstill_data::{Attempt, read_all};
use serde_json::{Value, json};

use crate::support::{Bench, shared};

/// A key that must appear nowhere.
const CANARY: &str = "canary-4f1d9b7e-never-to-be-seen";
/// Problems asked.
const PROBLEMS: usize = 600;

struct Mock {
    /// Stored solutions of one system by question.
    answers: HashMap<String, String>,
    asked: AtomicUsize,
}

async fn complete(State(mock): State<Arc<Mock>>, headers: HeaderMap, Json(request): Json<Value>) -> Json<Value> {
    mock.asked.fetch_add(1, Ordering::SeqCst);
    assert_eq!(headers["authorization"], format!("Bearer {CANARY}"));
    let question = request["messages"].as_array().and_then(|m| m.last()).and_then(|m| m["content"].as_str()).unwrap_or_default();
    let answer = mock.answers.get(question).cloned().unwrap_or_else(|| "I do not know.".to_owned());
    let tokens = answer.split_whitespace().count();
    Json(json!({
        "id": "mock", "object": "chat.completion", "model": request["model"],
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": answer } }],
        "usage": { "prompt_tokens": question.split_whitespace().count(), "completion_tokens": tokens, "total_tokens": tokens },
    }))
}

/// Stored solutions of the first system for each question, with the stored verdicts.
fn solutions(data: &Path) -> (HashMap<String, String>, HashMap<String, bool>) {
    let columns = Columns {
        id: Some("id".into()),
        prompt: Some("question".into()),
        gold: Some("gold".into()),
        response: Some("response".into()),
        teacher: Some("system".into()),
        meta: vec!["correct".into()],
        ..Columns::default()
    };
    let spec =
        SourceSpec { path: Some("verdicts/gsm8k_openai_model_solutions.parquet".into()), columns: Some(columns), ..SourceSpec::default() };
    let (mut answers, mut verdicts) = (HashMap::new(), HashMap::new());
    for row in Source::open(&spec, data).expect("the source opens") {
        let row = row.expect("a row");
        let correct = row.problem.meta.get("correct") == Some(&potstill_data::Scalar::Bool(true));
        if !answers.contains_key(&row.problem.prompt) && answers.len() < PROBLEMS {
            verdicts.insert(row.problem.prompt.clone(), correct);
            answers.insert(row.problem.prompt, row.response);
        }
    }
    (answers, verdicts)
}

#[test]
fn gsm8k_through_an_endpoint_keeps_what_verifies() {
    let Some(data) = shared() else { return };
    let (answers, verdicts) = solutions(&data);
    assert!(answers.len() >= 500, "{} questions", answers.len());
    let bench = Bench::new();
    let questions: Vec<String> = answers.keys().cloned().collect();
    let gold = golds(&data);
    let mut lines: Vec<String> =
        questions.iter().filter_map(|q| Some(json!({ "question": q, "gold": gold.get(q)? }).to_string())).collect();
    lines.sort();
    bench.write("problems.jsonl", lines.join("\n"));
    let mock = Arc::new(Mock { answers, asked: AtomicUsize::new(0) });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(mock.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });

    let pipeline = format!(
        "version = 1\nseed = 1\n[teacher.mock]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodel = \"stored\"\napi_key_env = \"TEACHER_API_KEY\"\nprice = {{ input_per_million = 1.0, output_per_million = 2.0 }}\n\
         [stage.problems]\nkind = \"source\"\npath = \"problems.jsonl\"\ncolumns = {{ prompt = \"question\", gold = \"gold\" }}\nverifier = \"number\"\n\
         [stage.traces]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"mock\"\nmax_tokens = 512\n\
         [stage.graded]\nkind = \"verify\"\ninputs = [\"traces\"]\n\
         [stage.kept]\nkind = \"filter\"\ninputs = [\"graded\"]\nwhere = \"verdict = 'correct'\"\n"
    );
    bench.write("pipeline.toml", &pipeline);
    let run = |args: &[&str]| {
        let mut command = bench.potstill(&["run", "pipeline.toml", "--store", "store", "--json", "out.json"]);
        let ran = crate::support::Ran::of(command.args(args).env("TEACHER_API_KEY", CANARY).output().expect("the binary runs"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    let ran = run(&[]);
    assert_eq!(mock.asked.load(Ordering::SeqCst), lines.len(), "every problem is asked once");
    let graded: Vec<Attempt> = read_all(&bench.files("graded", "rows")).expect("rows");
    let kept: Vec<Attempt> = read_all(&bench.files("kept", "rows")).expect("rows");
    assert_eq!(graded.len(), lines.len());
    let agree = graded.iter().filter(|a| (a.verdict == Some(potstill_data::Verdict::Correct)) == verdicts[&a.problem.prompt]).count();
    println!("gsm8k: {} kept of {}, {agree} verdicts agree with the stored ones", kept.len(), graded.len());
    assert!(kept.len() < graded.len(), "wrong ones are rejected");
    assert!(agree as f64 >= graded.len() as f64 * 0.99, "{agree} of {}", graded.len());
    assert!(graded.iter().all(|a| a.cost_usd.is_some_and(|usd| usd > 0.0)));

    run(&["--set", "stage.problems.limit=550", "--force", "traces"]);
    assert_eq!(mock.asked.load(Ordering::SeqCst), lines.len(), "what was answered is not asked again");
    assert!(!ran.stderr.contains(CANARY) && !ran.stdout.contains(CANARY));
    no_canary(&bench.store());
}

fn golds(data: &Path) -> HashMap<String, String> {
    let columns = Columns { id: Some("id".into()), prompt: Some("question".into()), gold: Some("gold".into()), ..Columns::default() };
    let spec = SourceSpec {
        path: Some("verdicts/gsm8k_openai_model_solutions.parquet".into()),
        columns: Some(columns),
        duplicates: Some(Duplicates::First),
        ..SourceSpec::default()
    };
    let rows = Source::open(&spec, data).expect("the source opens");
    rows.map(|row| row.expect("a row").problem).filter_map(|p| Some((p.prompt, p.gold?))).collect()
}

/// The key stands in no file of the store.
fn no_canary(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            no_canary(&path);
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            assert!(!bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()), "the key stands in {}", path.display());
        }
    }
}

/// Answers with the draft it was sent, after a few words of its own; every third time it loses the draft.
async fn smooth(State(asked): State<Arc<AtomicUsize>>, Json(request): Json<Value>) -> Json<Value> {
    let nth = asked.fetch_add(1, Ordering::SeqCst);
    let text = request["messages"][0]["content"].as_str().unwrap_or_default();
    let draft = text.split("Draft:\n").nth(1).unwrap_or_default();
    let answer = if nth % 3 == 2 { "I would rather not.".to_owned() } else { format!("Let me think. {draft}") };
    Json(
        json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": answer } }], "usage": { "prompt_tokens": 5, "completion_tokens": 7 } }),
    )
}

#[test]
fn a_teacher_smooths_journeys_and_what_it_spoils_stays_as_composed() {
    let bench = Bench::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/v1/chat/completions", post(smooth)).with_state(asked.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    let pipeline = format!(
        "version = 1\nseed = 3\n[teacher.solver]\nkind = \"procedural\"\nends_wrong = 0.5\n[teacher.writer]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodel = \"w\"\nmax_concurrency = 1\n\
         [stage.problems]\nkind = \"source\"\nprocedural = {{ task = \"arithmetic\", count = 40 }}\n\
         [stage.attempts]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"solver\"\nsamples = 4\n\
         [stage.graded]\nkind = \"verify\"\ninputs = [\"attempts\"]\n\
         [stage.journeys]\nkind = \"journey\"\ninputs = [\"graded\"]\nfrom = [\"joined\"]\nteacher = \"writer\"\n"
    );
    let file = bench.write("pipeline.toml", &pipeline);
    let summary = bench.run_pipeline(&file, &[]);
    let journeys: Vec<potstill_data::Sample> = read_all(&bench.files("journeys", "rows")).expect("rows");
    assert!(
        journeys.len() > 10 && asked.load(Ordering::SeqCst) == journeys.len(),
        "{} of {}",
        journeys.len(),
        asked.load(Ordering::SeqCst)
    );
    assert_eq!(summary.rows("journeys"), journeys.len() as u64);
    let smoothed =
        journeys.iter().filter(|j| j.messages.iter().any(|m| m.reasoning.as_deref().is_some_and(|r| r.starts_with("Let me think."))));
    let smoothed = smoothed.count();
    assert!(smoothed * 2 >= journeys.len() && smoothed < journeys.len(), "{smoothed} of {}", journeys.len());
}
