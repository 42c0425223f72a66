//! The quickstart at reduced size: the whole way, twice, and the same bytes both times.

use serde_json::Value;

use crate::support::{Bench, root};

/// Small enough for a test, whole enough to go through every stage.
const SMALL: &[&str] = &[
    "stage.problems.procedural.count=400",
    "stage.halves.test=30",
    "stage.journey_student.max_steps=12",
    "stage.shortcut_student.max_steps=12",
    "stage.journey_eval.max_new_tokens=40",
    "stage.shortcut_eval.max_new_tokens=40",
];

#[test]
fn it_goes_the_whole_way_and_a_second_run_does_nothing() {
    let bench = Bench::new();
    let file = root().join("pipelines/quickstart.toml");
    let first = bench.run_pipeline(&file, SMALL);
    assert_eq!(first.rows("problems"), 400);
    assert_eq!(first.rows("halves"), 370);
    assert_eq!(first.rows("searches"), 370);
    let kept = first.rows("kept");
    assert!((300..370).contains(&kept), "verification drops the wrong endings and keeps the others: {kept}");
    let dropped: u64 = first.stage("kept")["dropped"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
    assert_eq!(kept + dropped, 370);
    let evals = first.0["evals"].as_array().expect("evals");
    let models: Vec<&str> = evals.iter().filter_map(|e| e["model"].as_str()).collect();
    assert_eq!(models, ["journey_student", "journey_student before training", "teacher searcher", "shortcut_student"]);
    for eval in evals {
        let figure = |key: &str| eval[key].as_f64().expect("a figure");
        assert_eq!(eval["n"], 30);
        assert!(figure("low") <= figure("value") && figure("value") <= figure("high"), "{eval}");
    }
    assert!(evals[2]["value"].as_f64().expect("a figure") > 0.8, "the teacher solves what it poses");
    report_is_self_contained(&bench);

    let second = bench.run_pipeline(&file, SMALL);
    assert_eq!(second.cached(), second.0["stages"].as_array().expect("stages").len());
    let changed = bench.run_pipeline(&file, &[SMALL, &["stage.shortcut_student.learning_rate=1e-3"]].concat());
    let ran: Vec<&str> = changed.0["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .filter(|s| s["cached"] == false)
        .filter_map(|s| s["name"].as_str())
        .collect();
    assert_eq!(ran, ["shortcut_student", "shortcut_eval", "report"], "one changed parameter runs only what lies downstream");
}

fn report_is_self_contained(bench: &Bench) {
    let files = bench.files("report", "report");
    let html = std::fs::read_to_string(&files[0]).expect("the report");
    for part in ["<svg", "Funnel", "Evaluation", "Traces", "Lineage", "Training loss", "<mark>"] {
        assert!(html.contains(part), "the report lacks {part}");
    }
    for outside in ["http://", "https://", "<script", "<link", "@import"] {
        assert!(!html.contains(outside), "the report reaches out: {outside}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let file = root().join("pipelines/quickstart.toml");
    let run = || {
        let bench = Bench::new();
        bench.run_pipeline(&file, &[SMALL, &["stage.problems.procedural.count=120"]].concat());
        let mut files = bench.committed();
        // Training logs and the report tell how long things took.
        files.retain(|(_, path), _| path.ends_with(".parquet") || path.ends_with(".safetensors") || path.ends_with("tokenizer.json"));
        files
    };
    let (first, second) = (run(), run());
    assert!(first.len() > 15, "{}", first.len());
    assert_eq!(first, second);
}
