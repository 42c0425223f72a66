//! Curation through the binary: the shipped graph, its outputs beside the rows, the datasets that come of it.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Float32Type;
use potstill_data::parts::BatchWriter;
use potstill_data::{Attempt, Sample, SampleKind, read_all};
use serde_json::Value;

use crate::support::{Bench, root, shared};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_curation_pipeline_runs_on_its_sample() {
    let bench = Bench::new();
    let file = root().join("pipelines/curate-traces.toml");
    let summary = bench.run_pipeline(&file, &[]);
    let (graded, kept, clean) = (summary.rows("graded"), summary.rows("kept"), summary.rows("clean"));
    assert!(graded > kept && kept > clean && clean >= summary.rows("chosen"), "{graded} graded, {kept} kept, {clean} clean");

    // What was dropped lies beside, and every row of the input is in one of the two.
    let dropped: Vec<Attempt> = read_all(&bench.files("kept", "dropped")).expect("rows");
    assert_eq!(dropped.len() as u64 + kept, graded);
    let kept: Vec<Attempt> = read_all(&bench.files("kept", "rows")).expect("rows");
    assert!(kept.iter().all(|a| a.problem.meta.contains_key("reward_format")), "rewards are columns");

    // The held-out problems are gone, and each is named with the item that it is.
    let matches = lines(&bench.files("clean", "matches")[0]);
    assert!(!matches.is_empty() && matches.iter().all(|m| m["benchmark"] == "arithmetic_held_out" && m["problem_id"] == m["item_id"]));
    let clean: Vec<Attempt> = read_all(&bench.files("clean", "rows")).expect("rows");
    assert!(clean.iter().all(|a| matches.iter().all(|m| m["problem_id"] != a.problem.problem_id.as_str())));

    // The mistakes of journeys do not count in the loss.
    let mixed: Vec<Sample> = read_all(&bench.files("mixed", "rows")).expect("rows");
    let journeys: Vec<&Sample> = mixed.iter().filter(|s| s.kind == SampleKind::Journey).collect();
    assert!(!journeys.is_empty() && journeys.len() < mixed.len());
    for sample in journeys {
        let content = &sample.messages.last().expect("a reply").content;
        let mistake = &content[sample.loss_spans[0].bytes(content)];
        assert!(mistake.ends_with("go back") && sample.loss_spans[0].weight == 0.0, "{mistake}");
    }

    let card = bench.files("dataset", "dataset").into_iter().find(|f| f.ends_with("README.md")).expect("a card");
    let card = std::fs::read_to_string(card).expect("a card");
    for part in ["path: \"data/test-*.parquet\"", "## Pipeline", "arithmetic_held_out (", "| clean | decontaminate |", "procedural-search"]
    {
        assert!(card.contains(part), "missing {part:?} in\n{card}");
    }
    assert_eq!(bench.run_pipeline(&file, &[]).cached(), summary.0["stages"].as_array().expect("stages").len());

    // Where a row ended shows for every stage that leaves some out, with its reason.
    let why = |id: &str| {
        let (file, store) = (file.display().to_string(), bench.store().display().to_string());
        let ran = bench.run(&["show", "why", &file, id, "--store", &store]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let without: Vec<Attempt> = read_all(&bench.files("journeys", "dropped")).expect("rows");
    assert!(why(&without[0].attempt_id()).contains("`journeys` dropped it: no wrong attempt"));
    let beyond: Vec<Sample> = read_all(&bench.files("mixed", "dropped")).expect("rows");
    assert!(why(&beyond[0].sample_id).contains("`mixed` dropped it: beyond its input's share"));
    let told = why(&mixed[0].sample_id);
    assert!(told.contains("read by dataset, report") && !told.contains("dropped"), "{told}");
}

#[test]
fn export_writes_every_layout_and_never_over_files() {
    let bench = Bench::new();
    let file = root().join("tests/pipelines/exports.toml").display().to_string();
    bench.run_pipeline(Path::new(&file), &[]);
    let export = |arguments: &[&str]| {
        let store = bench.store().display().to_string();
        bench.run(&[&["export", file.as_str(), "--store", store.as_str()], arguments].concat())
    };
    for (stage, layout, column) in [
        ("mixed", "messages", "messages"),
        ("mixed", "sharegpt", "conversations"),
        ("mixed", "alpaca", "instruction"),
        ("mixed", "prompt_completion", "completion"),
        ("pairs", "preference", "chosen"),
        ("problems", "rl_prompts", "reward_model"),
    ] {
        for format in ["jsonl", "parquet"] {
            let out = format!("{layout}-{format}");
            let ran = export(&["--stage", stage, "--layout", layout, "--format", format, "--out", &out]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            assert!(bench.path(&out).join("README.md").is_file());
        }
        let rows = lines(&bench.path(&format!("{layout}-jsonl")).join("data/train-00000.jsonl"));
        assert!(!rows.is_empty() && rows.iter().all(|row| row.get(column).is_some()), "{layout}");
    }
    let again = export(&["--stage", "mixed", "--out", "messages-jsonl"]);
    assert!(again.code == 2 && again.stderr.contains("is not empty"), "{}", again.stderr);
    let unfit = export(&["--stage", "mixed", "--layout", "preference", "--out", "new"]);
    assert!(unfit.code == 2 && unfit.stderr.contains("the layout `preference` is not of samples"), "{}", unfit.stderr);
    let splits = export(&["--stage", "mixed", "--stage", "pairs", "--out", "new"]);
    assert!(splits.code == 2 && splits.stderr.contains("need as many names"), "{}", splits.stderr);
}

/// The checks as a stage on published traces: 370 of Sky-T1, 97 of them cut off, most of those looping.
#[test]
fn checks_find_what_is_wrong_with_published_traces() {
    let Some(data) = shared() else { return };
    let bench = Bench::new();
    let pipeline = format!(
        r#"
version = 1
[stage.traces]
kind = "source"
path = "{}/traces/sky_t1_long_cot_amc23_aime24.parquet"
columns = {{ id = "id", prompt = "question", gold = "gold", response = "response", teacher = "model" }}
verifier = "math"
[stage.whole]
kind = "filter"
inputs = ["traces"]
checks = {{ think_tags = true, loops = true, one_language = true }}
[stage.varied]
kind = "filter"
inputs = ["traces"]
checks = {{ loops = true }}
"#,
        data.display()
    );
    let file = bench.write("traces.toml", pipeline);
    let summary = bench.run_pipeline(&file, &[]);
    assert_eq!((summary.rows("traces"), summary.rows("whole")), (370, 273));
    assert_eq!(summary.stage("whole")["dropped"]["think mark not closed"], 97);
    assert_eq!(summary.rows("varied"), 277);
}

/// Problems on three subjects, with vectors that say which: clusters by the vectors, and by the words alone.
#[test]
fn selection_by_clusters_takes_from_every_subject() {
    let bench = Bench::new();
    let subjects = ["angle triangle circle tangent", "prime divisor modulo remainder", "dice coin probability odds"];
    let subject = |n: usize| if n < 40 { 0 } else { 1 + n % 2 };
    let line = |n: usize| {
        let prompt = format!("Find the {} of number {n}", subjects[subject(n)]);
        serde_json::json!({ "id": format!("p{n}"), "prompt": prompt, "gold": "1", "response": "1" }).to_string() + "\n"
    };
    bench.write("rows.jsonl", (0..60).map(line).collect::<String>());
    let vectors = |count: usize| {
        let ids: ArrayRef = Arc::new((0..count).map(|n| Some(format!("p{n}"))).collect::<StringArray>());
        let vector = |n: usize| Some((0..4).map(move |d| Some(if d == subject(n) { 1.0 } else { n as f32 / 1000.0 })));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>((0..count).map(vector)));
        let batch = RecordBatch::try_from_iter([("id", ids), ("embedding", lists)]).expect("a batch");
        let mut out = BatchWriter::create(&bench.path("vectors.parquet"), batch.schema()).expect("a file");
        out.write(&batch).expect("written");
        out.finish().expect("written");
    };
    vectors(60);
    let pipeline = r#"
version = 1
[stage.rows]
kind = "source"
path = "rows.jsonl"
columns = { id = "id", prompt = "prompt", gold = "gold", response = "response" }
[stage.chosen]
kind = "select"
inputs = ["rows"]
method = "clusters"
count = 9
clusters = { count = 3, embeddings = { path = "vectors.parquet", id = "id" } }
[stage.by_words]
kind = "select"
inputs = ["rows"]
method = "clusters"
count = 9
clusters = { count = 3 }
[stage.s1]
kind = "select"
inputs = ["rows"]
method = "s1"
domain = "cluster"
count = 30
clusters = { count = 3, embeddings = { path = "vectors.parquet", id = "id" } }
"#;
    let file = bench.write("p.toml", pipeline);
    let summary = bench.run_pipeline(&file, &[]);
    let counts = |stage: &str| {
        let rows: Vec<Attempt> = read_all(&bench.files(stage, "rows")).expect("rows");
        let of = |s: usize| rows.iter().filter(|a| a.problem.prompt.contains(subjects[s])).count();
        [of(0), of(1), of(2)]
    };
    assert_eq!((counts("chosen"), counts("by_words")), ([3, 3, 3], [3, 3, 3]));
    assert!(counts("s1").iter().all(|n| *n >= 5), "{:?}", counts("s1"));
    assert_eq!(summary.rows("s1"), 30);
    assert_eq!(bench.run_pipeline(&file, &[]).cached(), 4);

    // Other vectors are other parameters; a problem without one is named.
    vectors(59);
    let ran = bench.run(&["run", "p.toml", "--store", &bench.store().display().to_string()]);
    assert!(ran.code == 2 && ran.stderr.contains("1 of 60 problems have no vector in"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the first is `p59`"), "{}", ran.stderr);
    let ran = bench.run(&["check", "p.toml", "--set", "stage.chosen.clusters.embeddings.column=vector"]);
    assert!(ran.code == 2 && ran.stderr.contains("no column `vector`"), "{}", ran.stderr);
}

/// What a mix cannot do is told before anything runs.
#[test]
fn a_wrong_mix_shows_in_check() {
    let bench = Bench::new();
    let file = root().join("pipelines/curate-traces.toml").display().to_string();
    for (set, said) in [
        ("stage.mixed.weights.journey=1", "no input `journey` (there are: journeys, shortcuts); did you mean `journeys`?"),
        ("stage.mixed.weights.journeys=nan", "`weights` must be 0 or more, found NaN for `journeys`"),
        ("stage.mixed.weights.journeys=-1", "`weights` must be 0 or more, found -1 for `journeys`"),
        ("stage.mixed.max_repeats=0", "`max_repeats` must be at least 1, found 0"),
    ] {
        let ran = bench.run(&["check", file.as_str(), "--set", set]);
        let told = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
        assert!(ran.code == 2 && told.contains(said), "{set}: {}", ran.stderr);
    }
}
