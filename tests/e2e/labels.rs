//! Teachers that label rows and grow step trees, through a mock endpoint that answers by rule.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use potstill_data::{Attempt, Problem, Sample, Scalar, read_all};
use serde_json::{Value, json};

use crate::support::Bench;

/// Replies to a user turn and the number of times that it was asked before; what it was asked, in order.
struct Mock {
    reply: fn(&str, usize) -> String,
    asked: Mutex<HashMap<String, usize>>,
}

async fn complete(State(mock): State<Arc<Mock>>, Json(request): Json<Value>) -> Json<Value> {
    let question = request["messages"].as_array().and_then(|m| m.last()).and_then(|m| m["content"].as_str()).unwrap_or_default().to_owned();
    let before = {
        let mut asked = mock.asked.lock().expect("a lock");
        let count = asked.entry(question.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let answer = (mock.reply)(&question, before);
    Json(json!({
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": answer } }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12 },
    }))
}

struct Served {
    mock: Arc<Mock>,
    address: String,
    _runtime: tokio::runtime::Runtime,
}

fn serve(reply: fn(&str, usize) -> String) -> Served {
    let mock = Arc::new(Mock { reply, asked: Mutex::default() });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(mock.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    Served { mock, address, _runtime: runtime }
}

impl Served {
    fn asked(&self) -> usize {
        self.mock.asked.lock().expect("a lock").values().sum()
    }

    fn teacher(&self, name: &str) -> String {
        format!("[teacher.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"{name}\"\n", self.address)
    }
}

/// Valid labels for most; prose the first time for every problem with a 7; never anything valid for those with a 9.
fn labeller(question: &str, before: usize) -> String {
    let problem = question.split("Problem:\n").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    if problem.contains('9') {
        return "{\"domain\": \"astrology\", \"difficulty\": 3}".to_owned();
    }
    if problem.contains('7') && before == 0 {
        return "I think this one is arithmetic.".to_owned();
    }
    format!("Let me see {{1}}.\n```json\n{}\n```", json!({ "domain": "Arithmetic", "difficulty": problem.len() % 5 + 1 }))
}

#[test]
fn annotate_fills_columns_retries_and_counts_what_stays_empty() {
    let served = serve(labeller);
    let bench = Bench::new();
    let lines: String = (0..30).map(|n| format!("{{\"id\":\"p{n}\",\"q\":\"What is {n} + 1?\",\"a\":\"{}\"}}\n", n + 1)).collect();
    bench.write("problems.jsonl", lines);
    let pipeline = format!(
        "version = 1\nseed = 1\n{}[stage.problems]\nkind = \"source\"\npath = \"problems.jsonl\"\ncolumns = {{ id = \"id\", prompt = \"q\", gold = \"a\" }}\nverifier = \"number\"\n\
         [stage.labelled]\nkind = \"annotate\"\ninputs = [\"problems\"]\nteacher = \"mock\"\nmax_tokens = 64\n\
         [stage.labelled.columns.domain]\nvalues = [\"arithmetic\", \"other\"]\n[stage.labelled.columns.difficulty]\nkind = \"int\"\nmin = 1\nmax = 10\n\
         [stage.hard]\nkind = \"filter\"\ninputs = [\"labelled\"]\nwhere = \"meta.difficulty >= 2 AND domain = 'arithmetic'\"\n",
        served.teacher("mock")
    );
    let file = bench.write("p.toml", &pipeline);
    let summary = bench.run_pipeline(&file, &[]);
    let rows: Vec<Problem> = read_all(&bench.files("labelled", "rows")).expect("rows");
    assert_eq!((rows.len(), summary.rows("labelled")), (30, 30));
    for row in &rows {
        let labelled = row.meta.contains_key("difficulty");
        assert_eq!(labelled, !row.prompt.contains('9'), "{row:?}");
        assert_eq!(row.domain.as_deref(), labelled.then_some("arithmetic"));
        if labelled {
            assert_eq!(row.meta["difficulty"], Scalar::Int(row.prompt.len() as i64 % 5 + 1));
        }
    }
    // Once for most, twice with a 7 (7, 17, 27), three times with a 9 (9, 19, 29).
    assert_eq!(served.asked(), 24 + 2 * 3 + 3 * 3);
    let shown = bench.run(&["show", "p.toml:labelled", "--store", "store"]);
    assert!(shown.stdout.contains("`domain` has a value that is not allowed\":3"), "{}", shown.stdout);
    // The journal has every reply: another filter asks for nothing again.
    bench.write("p.toml", pipeline.replace(">= 2", ">= 3"));
    bench.run_pipeline(&file, &["stage.labelled.max_cost_usd=100"]);
    assert_eq!(served.asked(), 39);
}

#[test]
fn a_label_that_rows_have_by_themselves_is_a_mistake() {
    let bench = Bench::new();
    bench.write(
        "p.toml",
        "version = 1\n[teacher.t]\nkind = \"procedural\"\n[stage.problems]\nkind = \"source\"\nprocedural = { task = \"arithmetic\", count = 5 }\n\
         [stage.labelled]\nkind = \"annotate\"\ninputs = [\"problems\"]\nteacher = \"t\"\ncolumns = { gold = { kind = \"int\" } }\n",
    );
    let ran = bench.run(&["check", "p.toml"]);
    assert!(ran.code == 2 && ran.stderr.contains("`gold`"), "{}", ran.stderr);
}

/// Steps for sums `a + b + c`: first `a + b`, then the answer; the first way of each place is wrong. The judge knows.
fn stepper(question: &str, before: usize) -> String {
    let part =
        |from: &str, to: &str| question.split(from).nth(1).and_then(|rest| rest.split(to).next()).unwrap_or_default().trim().to_owned();
    let problem = part("Problem:\n", "\n\n");
    let numbers: Vec<i64> = problem.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let [a, b, c] = numbers[..] else { return String::new() };
    let first = a + b;
    if question.contains("New step:") {
        let step = part("New step:\n", "\n\n");
        let right = step.ends_with(&format!("{first}.")) || step.contains(&format!("boxed{{{}}}", first + c));
        let critique = format!("I counted {step} one too high.");
        return if right { "{\"right\": true}".into() } else { json!({ "right": false, "critique": critique }).to_string() };
    }
    let wrong = i64::from(before == 0);
    if part("Steps so far:\n", "\n\n") == "(none yet)" {
        return format!("{a} + {b} is {}.", first + wrong);
    }
    format!("Adding {c} gives \\boxed{{{}}}", first + c + wrong)
}

fn tree_pipeline(served: &Served, tree: &str) -> String {
    format!(
        "version = 1\nseed = 1\n{}{}[stage.problems]\nkind = \"source\"\npath = \"problems.jsonl\"\ncolumns = {{ id = \"id\", prompt = \"q\", gold = \"a\" }}\nverifier = \"number\"\n\
         [stage.trees]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"solver\"\nmax_tokens = 64\ntree = {tree}\n\
         [stage.graded]\nkind = \"verify\"\ninputs = [\"trees\"]\n\
         [stage.journeys]\nkind = \"journey\"\ninputs = [\"graded\"]\nfrom = [\"recovered\"]\nwrong_turns = [\"Wait, something is wrong here.\"]\n",
        served.teacher("solver"),
        served.teacher("judge"),
    )
}

#[test]
fn trees_become_journeys_with_controls_of_the_same_problems() {
    let served = serve(stepper);
    let bench = Bench::new();
    let lines: String =
        (1..13).map(|n| format!("{{\"id\":\"p{n}\",\"q\":\"What is {n} + {} + 5?\",\"a\":\"{}\"}}\n", n + 2, 2 * n + 7)).collect();
    bench.write("problems.jsonl", lines);
    let file = bench.write("p.toml", tree_pipeline(&served, "{ width = 2, depth = 4, judge = \"judge\" }"));
    // One request at a time, so that the mock's first reply to each place is its wrong one.
    bench.run_pipeline(&file, &["teacher.solver.max_concurrency=1"]);
    let rows: Vec<Attempt> = read_all(&bench.files("graded", "rows")).expect("rows");
    assert_eq!(rows.len(), 24, "a straight path and a walk for each problem");
    for pair in rows.chunks(2) {
        assert!(pair.iter().all(|row| row.verdict == Some(potstill_data::Verdict::Correct)), "{pair:?}");
        assert_eq!(
            (&pair[0].problem.meta["tree_role"], &pair[1].problem.meta["tree_role"]),
            (&Scalar::Text("straight".into()), &Scalar::Text("journey".into()))
        );
        let walk = pair[1].reasoning.as_deref().unwrap_or_default();
        assert_eq!(walk.matches("Wait, something is wrong here. I counted").count(), 2, "{walk}");
        assert_eq!(pair[0].response, pair[1].response);
        assert!(!pair[0].reasoning.as_deref().unwrap_or_default().contains("Wait"), "{pair:?}");
    }
    let journeys: Vec<Sample> = read_all(&bench.files("journeys", "rows")).expect("samples");
    let controls: Vec<Sample> = read_all(&bench.files("journeys", "control")).expect("samples");
    let problems = |samples: &[Sample]| samples.iter().map(|s| s.problem_id.clone()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!((journeys.len(), controls.len()), (12, 12));
    assert_eq!(problems(&journeys), problems(&controls));
    // What was bought is not asked again, and the same replies make the same bytes.
    let (asked, committed) = (served.asked(), bench.committed());
    let mut again = bench.potstill(&["run", "p.toml", "--store", "store", "--force", "trees", "--quiet"]);
    assert!(again.status().expect("the binary runs").success());
    assert_eq!((served.asked(), bench.committed()), (asked, committed));
}

#[test]
fn without_a_judge_the_verifier_prunes() {
    let served = serve(stepper);
    let bench = Bench::new();
    bench.write("problems.jsonl", "{\"id\":\"p\",\"q\":\"What is 1 + 2 + 5?\",\"a\":\"8\"}\n");
    let file = bench.write("p.toml", tree_pipeline(&served, "{ width = 2, depth = 4, beam = 4 }"));
    bench.run_pipeline(&file, &["teacher.solver.max_concurrency=1"]);
    let rows: Vec<Attempt> = read_all(&bench.files("graded", "rows")).expect("rows");
    let walk = rows[1].reasoning.as_deref().unwrap_or_default();
    assert!(walk.contains("Wait, something is wrong here. This does not lead to the answer."), "{walk}");
}

#[test]
fn a_program_that_answers_at_once_makes_trees_of_one_step() {
    let bench = Bench::new();
    let pipeline = "version = 1\nseed = 5\n[teacher.careless]\nkind = \"procedural\"\nends_wrong = 0.5\n\
        [stage.problems]\nkind = \"source\"\nprocedural = { task = \"arithmetic\", count = 30, numbers = 3, max_number = 9, max_target = 100 }\n\
        [stage.trees]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"careless\"\ntree = { width = 4 }\n\
        [stage.graded]\nkind = \"verify\"\ninputs = [\"trees\"]\n";
    let file = bench.write("p.toml", pipeline);
    bench.run_pipeline(&file, &[]);
    let rows: Vec<Attempt> = read_all(&bench.files("graded", "rows")).expect("rows");
    let role = |row: &Attempt| row.problem.meta["tree_role"].to_string();
    let walks: Vec<&Attempt> = rows.iter().filter(|row| role(row) == "journey").collect();
    assert!(!walks.is_empty(), "some problems have a wrong and a right way");
    assert!(rows.iter().filter(|row| role(row) != "wrong").all(|row| row.verdict == Some(potstill_data::Verdict::Correct)));
    let ran = bench.run(&["run", "p.toml", "--store", "store", "--set", "stage.trees.tree.width=0"]);
    assert!(ran.code == 2 && ran.stderr.contains("width"), "{}", ran.stderr);
}
