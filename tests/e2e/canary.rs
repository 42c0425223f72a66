//! The key goes to the teacher and nowhere else: not into logs, journal, Parquet, reports, error output, whatever the
//! server does with it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use potstill_data::{Attempt, RowReader};
use potstill_generate::Record;
use potstill_generate::journal::{Journal, RequestKey};
use serde_json::{Value, json};

use crate::support::{Bench, Ran};

/// A key that must appear nowhere, not in part either.
const CANARY: &str = "sk-canary-4f1d9b7e52c08a36-never-to-be-seen";
/// Its middle: what is left when head and tail are masked.
const MIDDLE: &str = "4f1d9b7e52c08a36";

/// Answers with the key that it was sent, in the reply, the reasoning, or an error.
async fn echo(headers: HeaderMap, Json(request): Json<Value>) -> Response {
    let key = headers["authorization"].to_str().expect("text").to_owned();
    let question = request["messages"][0]["content"].as_str().unwrap_or_default();
    if question.contains("refuse") {
        let words = json!({ "error": { "message": format!("Incorrect API key provided: {key}.") } });
        return (StatusCode::UNAUTHORIZED, Json(words)).into_response();
    }
    if question.contains("fail") {
        return (StatusCode::BAD_REQUEST, format!("cannot serve the bearer of {key}")).into_response();
    }
    let message = json!({ "role": "assistant", "content": format!("Your key is {key}."), "reasoning_content": format!("They sent {key}") });
    Json(json!({ "id": key, "choices": [{ "index": 0, "finish_reason": "stop", "message": message }] })).into_response()
}

struct Setting {
    bench: Bench,
    _runtime: tokio::runtime::Runtime,
}

impl Setting {
    fn new(questions: &[&str], key: &str) -> Self {
        let bench = Bench::new();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/v1/chat/completions", post(echo));
        runtime.spawn(async move { axum::serve(listener, router).await });
        let lines: Vec<String> = questions.iter().map(|q| json!({ "question": q, "gold": "1" }).to_string()).collect();
        bench.write("problems.jsonl", lines.join("\n"));
        let pipeline = format!(
            "version = 1\n[teacher.mock]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodel = \"m\"\nretries = 0\n{key}\n\
             [stage.problems]\nkind = \"source\"\npath = \"problems.jsonl\"\ncolumns = {{ prompt = \"question\", gold = \"gold\" }}\nverifier = \"number\"\n\
             [stage.traces]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"mock\"\n\
             [stage.rewritten]\nkind = \"rewrite\"\ninputs = [\"traces\"]\nteacher = \"mock\"\n\
             [stage.report]\nkind = \"report\"\ninputs = [\"traces\"]\n"
        );
        bench.write("pipeline.toml", pipeline);
        Self { bench, _runtime: runtime }
    }

    fn command(&self, args: &[&str]) -> Ran {
        let mut command = self.bench.potstill(args);
        command.env("TEACHER_API_KEY", CANARY).env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace");
        Ran::of(command.output().expect("the binary runs"))
    }

    fn run(&self) -> Ran {
        self.command(&["run", "pipeline.toml", "--store", "store", "--json", "out.json"])
    }
}

fn clean(what: &str, text: &str) {
    for needle in [CANARY, MIDDLE] {
        assert!(!text.contains(needle), "the key stands in {what}: {text}");
    }
}

/// Every file below a folder as it lies there, and unpacked where it is packed.
fn clean_folder(folder: &Path, seen: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            clean_folder(&path, seen);
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        clean(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        if extension == "parquet" && path.to_string_lossy().contains("attempts") {
            for row in RowReader::<Attempt>::open(&[&path]).expect("a part") {
                clean(&path.display().to_string(), &row.map(|row| format!("{row:?}")).unwrap_or_default());
            }
        }
        seen.push(extension);
    }
}

#[test]
fn a_server_that_echoes_the_key_spreads_it_nowhere() {
    let setting = Setting::new(&["one", "two", "fail"], "api_key_env = \"TEACHER_API_KEY\"");
    let ran = setting.run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    clean("standard error", &ran.stderr);
    clean("standard output", &ran.stdout);
    let traces: Vec<Attempt> = potstill_data::read_all(&setting.bench.files("traces", "rows")).expect("rows");
    assert_eq!(traces.len(), 2);
    assert!(traces.iter().all(|row| row.response == "Your key is Bearer [key]."), "{traces:?}");
    let mut seen = Vec::new();
    clean_folder(&setting.bench.store(), &mut seen);
    for extension in ["parquet", "jsonl", "json", "html"] {
        assert!(seen.iter().any(|s| s == extension), "no {extension} file was looked at: {seen:?}");
    }
    let journal = Journal::open(&setting.bench.store().join("shared/journal")).expect("the journal");
    for row in &traces {
        let key = row.request_key.as_deref().and_then(RequestKey::from_hex).expect("a key");
        let Some(Record::Raw { body, .. }) = journal.get(&key).expect("the journal") else { panic!("not in the journal") };
        clean("the journal", &String::from_utf8_lossy(&body));
    }
    let shown = setting.command(&["show", "pipeline.toml", "--store", "store", "--stage", "traces", "-n", "5"]);
    clean("show", &format!("{}{}", shown.stdout, shown.stderr));
}

#[test]
fn a_refusal_shows_the_servers_words_without_the_key() {
    let setting = Setting::new(&["refuse"], "api_key_env = \"TEACHER_API_KEY\"");
    let ran = setting.run();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("Incorrect API key provided: Bearer [key]") && ran.stderr.contains("401"), "{}", ran.stderr);
    clean("standard error", &ran.stderr);
    clean_folder(&setting.bench.store(), &mut Vec::new());
    let doctor = setting.command(&["doctor", "mock", "--pipeline", "pipeline.toml"]);
    clean("the doctor", &format!("{}{}", doctor.stdout, doctor.stderr));
}

#[test]
fn a_key_file_must_be_its_owners_alone_and_is_not_shown() {
    let setting = Setting::new(&["one"], "api_key_file = \"key\"");
    let file = setting.bench.write("key", format!("{CANARY}\n"));
    for (mode, code) in [(0o644, 2), (0o600, 0)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let ran = setting.run();
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(code == 0 || ran.stderr.contains("mode 644"), "{}", ran.stderr);
        clean("standard error", &ran.stderr);
    }
    clean_folder(&setting.bench.store(), &mut Vec::new());
}

#[test]
fn a_key_in_the_pipeline_file_is_refused_and_not_repeated() {
    for line in [format!("api_key = \"{CANARY}\""), format!("headers = {{ Authorization = \"Bearer {CANARY}\" }}")] {
        let setting = Setting::new(&["one"], &line);
        for command in ["check", "plan", "run"] {
            let ran = setting.command(&[command, "pipeline.toml"]);
            assert_eq!(ran.code, 2, "{command}: {}{}", ran.stdout, ran.stderr);
            clean(command, &format!("{}{}", ran.stdout, ran.stderr));
        }
    }
    for address in
        [format!("http://user:{CANARY}@localhost/v1"), format!("http://localhost/v1?key={CANARY}"), format!("http://u:{CANARY}@:x")]
    {
        let setting = Setting::new(&["one"], "");
        let text = std::fs::read_to_string(setting.bench.path("pipeline.toml")).expect("the file");
        let start = text.find("base_url").expect("a line");
        let end = start + text[start..].find('\n').expect("its end");
        setting.bench.write("pipeline.toml", format!("{}base_url = \"{address}\"{}", &text[..start], &text[end..]));
        for command in ["check", "run"] {
            let ran = setting.command(&[command, "pipeline.toml"]);
            assert!(command == "check" || ran.code == 2, "{command}: {}{}", ran.stdout, ran.stderr);
            clean(command, &format!("{}{}", ran.stdout, ran.stderr));
        }
    }
}
