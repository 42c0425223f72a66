//! Programs in replies run in the sandbox, through the binary.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use potstill_data::{Attempt, Verdict, read_all};
use serde_json::{Value, json};

use crate::support::{Bench, root};

#[test]
fn the_code_pipeline_keeps_what_passes() {
    let bench = Bench::new();
    // On a machine without any sandbox the sample is run without one; its hostile replies only read and connect.
    let summary = bench.run_pipeline(&root().join("pipelines/code.toml"), &["stage.graded.options.code.unsafe_no_sandbox=true"]);
    assert_eq!((summary.rows("graded"), summary.rows("kept")), (21, 10));
    let graded: Vec<Attempt> = read_all(&bench.files("graded", "rows")).expect("rows");
    for attempt in &graded {
        let note = attempt.verifier_note.as_deref().unwrap_or_default();
        println!("{} {}: {note}", attempt.problem.problem_id, attempt.teacher);
        assert!(note.contains("; sandbox L"), "{note}");
        assert_eq!(
            attempt.verdict == Some(Verdict::Correct),
            attempt.teacher == "careful",
            "{} by {}: {note}",
            attempt.problem.problem_id,
            attempt.teacher
        );
    }
}

#[test]
fn files_with_tests_are_graded() {
    let bench = Bench::new();
    let rows = [
        json!({ "tests": { "test_list": ["assert f(1) == 2"] }, "reply": "def f(x): return x + 1", "was": true }),
        json!({ "tests": { "test_list": ["assert f(1) == 2"] }, "reply": "def f(x): return x", "was": false }),
        json!({ "tests": null, "reply": "def f(x): return x", "was": false }),
    ];
    bench.write("rows.jsonl", rows.map(|row| row.to_string()).join("\n"));
    let common = ["--prediction", "reply", "--verifier", "code", "--out", "out.jsonl", "--unsafe-no-sandbox"];
    let args: Vec<&str> = ["verify", "rows.jsonl", "--tests", "tests", "--reference", "was"].into_iter().chain(common).collect();
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("3 rows, 1 correct (33.3 %), 1 incorrect, 1 undecided"), "{}", ran.stdout);
    assert!(ran.stdout.contains("agrees with the reference on 3 of 3 rows"), "{}", ran.stdout);
    // Several columns become one object.
    bench.write(
        "rows.jsonl",
        json!({ "test_list": ["assert f(1) == 2"], "test_setup_code": "", "reply": "def f(x): return x + 1" }).to_string(),
    );
    let args: Vec<&str> = ["verify", "rows.jsonl", "--tests", "test_list,test_setup_code"].into_iter().chain(common).collect();
    let ran = bench.run(&args);
    assert!(ran.stdout.contains("1 rows, 1 correct"), "{}{}", ran.stdout, ran.stderr);
    let ran = bench.run(&["verify", "rows.jsonl", "--tests", "test_lst", "--prediction", "reply", "--out", "out.jsonl"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no column `test_lst`") && ran.stderr.contains("did you mean `test_list`?"), "{}", ran.stderr);
}

#[test]
fn settings_that_cannot_work_are_told_before_any_work() {
    let bench = Bench::new();
    let pipeline = |options: &str| {
        format!(
            "version = 1\n[stage.a]\nkind = \"source\"\ndataset = \"{}\"\nrows = \"attempts\"\n[stage.b]\nkind = \"verify\"\ninputs = [\"a\"]\nverifier = \"code\"\noptions = {{ code = {{ {options} }} }}\n",
            root().join("datasets/code_sample.toml").display()
        )
    };
    for (options, says) in [
        ("time_limit_s = 1e9", "must be from 0.05 to 600"),
        ("level = \"l3\"", "unsafe_no_sandbox = true"),
        ("time_limit = 3", "time_limit_s"),
    ] {
        bench.write("p.toml", pipeline(options));
        let ran = bench.run(&["check", "p.toml"]);
        assert_eq!(ran.code, 2, "{options}: {}", ran.stdout);
        // The message is broken into lines to fit the terminal.
        let text = ran.stderr.split_whitespace().filter(|word| !word.contains('│')).collect::<Vec<_>>().join(" ");
        assert!(text.contains(says), "{options}: {}", ran.stderr);
    }
}

/// How often each question was asked.
type Asked = Arc<Mutex<HashMap<String, usize>>>;

/// A teacher that gets each program right at the second attempt; the one that is to add 9, never.
async fn programmer(State(asked): State<Asked>, Json(request): Json<Value>) -> Json<Value> {
    let question = request["messages"][0]["content"].as_str().expect("text").to_owned();
    let count = {
        let mut asked = asked.lock().expect("a lock");
        let count = asked.entry(question.clone()).or_default();
        *count += 1;
        *count
    };
    let add = question.rsplit(' ').next().expect("a number");
    let add = if count == 1 || add == "9" { "0" } else { add };
    let reply = format!("Here it is.\n```python\ndef f(x):\n    return x + {add}\n```");
    Json(json!({
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": reply } }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 10 },
    }))
}

#[test]
fn a_teacher_is_asked_until_a_program_passes() {
    let (bench, asked) = (Bench::new(), Asked::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/v1/chat/completions", post(programmer)).with_state(asked.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    let rows = [1, 2, 3, 9].map(|n| {
        let tests = json!({ "test_list": [format!("assert f(1) == {}", n + 1)] }).to_string();
        json!({ "question": format!("Write f that adds {n}"), "tests": tests }).to_string()
    });
    bench.write("problems.jsonl", rows.join("\n"));
    let file = bench.write(
        "pipeline.toml",
        format!(
            "version = 1\nseed = 1\n[teacher.mock]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodel = \"m\"\n\
             [stage.problems]\nkind = \"source\"\npath = \"problems.jsonl\"\ncolumns = {{ prompt = \"question\", tests = \"tests\" }}\nverifier = \"code\"\n\
             [stage.traces]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"mock\"\nsamples = 4\nstop_when = {{ correct = 1 }}\n\
             options = {{ code = {{ unsafe_no_sandbox = true }} }}\n"
        ),
    );
    bench.run_pipeline(&file, &[]);
    let mut counts: Vec<usize> = asked.lock().expect("a lock").values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 2, 2, 4], "solved problems are not asked again");
    let traces: Vec<Attempt> = read_all(&bench.files("traces", "rows")).expect("rows");
    assert_eq!(traces.len(), 10);
    assert_eq!(traces.iter().filter(|attempt| attempt.verdict == Some(Verdict::Correct)).count(), 3);
    // The rows say as much of their verdicts as those of a `verify` stage.
    for row in &traces {
        let note = row.verifier_note.as_deref().expect("a note");
        assert!(note.contains("; sandbox L"), "{note}");
        assert_eq!((row.proof.as_deref(), row.extracted.is_some()), (Some("executed"), true), "{note}");
    }
}
