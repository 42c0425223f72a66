//! What ships works: every pipeline file passes `check`, every template can be written, the schema is JSON.

use crate::support::{Bench, root};

#[test]
fn every_shipped_pipeline_passes_check() {
    let bench = Bench::new();
    let mut files: Vec<String> = std::fs::read_dir(root().join("pipelines"))
        .expect("pipelines")
        .map(|e| e.expect("an entry").path().display().to_string())
        .collect();
    files.retain(|f| f.ends_with(".toml"));
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    let args: Vec<&str> = std::iter::once("check").chain(files.iter().map(String::as_str)).collect();
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout.matches("no mistakes").count(), files.len());
}

#[test]
fn plan_needs_no_store_and_shows_every_stage() {
    let bench = Bench::new();
    let ran = bench.run(&["plan"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for stage in ["problems", "journeys", "journey_student", "report"] {
        assert!(ran.stdout.contains(stage), "{}", ran.stdout);
    }
}

#[test]
fn the_schema_is_the_committed_one() {
    let bench = Bench::new();
    let ran = bench.run(&["schema"]);
    let committed = std::fs::read_to_string(root().join("docs/pipeline.schema.json")).expect("docs/pipeline.schema.json");
    assert!(ran.stdout == committed, "out of date: potstill schema >docs/pipeline.schema.json");
}

#[test]
fn new_writes_a_pipeline_and_never_over_a_file() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["new", "quickstart", "mine.toml"]).code, 0);
    assert_eq!(bench.run(&["check", "mine.toml"]).code, 0);
    assert_eq!(bench.run(&["new", "quickstart", "mine.toml"]).code, 1);
}
