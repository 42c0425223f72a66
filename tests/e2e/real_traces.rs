//! Real traces go the same way as generated ones.

use potstill_data::{Attempt, read_all};
use serde_json::Value;

use crate::support::{Bench, root, shared};

#[test]
fn farel_traces_are_verified_curated_and_trained_on() {
    if shared().is_none() {
        return;
    }
    let bench = Bench::new();
    let summary = bench.run_pipeline(&root().join("tests/pipelines/real-traces.toml"), &["stage.student.max_steps=30"]);
    assert_eq!(summary.rows("traces"), 675);
    let disputed: Vec<Attempt> = read_all(&bench.files("graded", "disagreements")).expect("rows");
    let graded: Vec<Attempt> = read_all(&bench.files("graded", "rows")).expect("rows");
    println!("farel: {} of {} verdicts agree with the stored ones", graded.len() - disputed.len(), graded.len());
    assert!(
        disputed.is_empty(),
        "{:?}",
        disputed.iter().map(|a| (&a.problem.problem_id, &a.extracted, &a.problem.gold)).collect::<Vec<_>>()
    );
    assert!(summary.rows("kept") > 400, "{}", summary.rows("kept"));
    let manifest = std::fs::read_dir(bench.store().join("artifacts")).expect("artifacts").find_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("manifest.json")).ok()?;
        let manifest: Value = serde_json::from_str(&text).ok()?;
        (manifest["manifest"]["stage"] == "student").then(|| manifest["manifest"]["stats"].clone())
    });
    let stats = manifest.expect("the student's manifest");
    let loss = |when: &str| stats[when]["loss"].as_f64().expect("a held-out loss");
    println!("held-out loss {:.3} before, {:.3} after", loss("held_out_before"), loss("held_out_after"));
    assert!(loss("held_out_after") < loss("held_out_before") - 1.0, "{stats}");
}
