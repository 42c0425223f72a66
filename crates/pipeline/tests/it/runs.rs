//! Runs: what is done, what is left alone, and what happens when something goes wrong.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use potstill_pipeline::{Capacity, Event, Outcome, PlanState, Record, RunError, RunOptions, RunReport, RunSummary, Store, plan, run};
use tempfile::TempDir;

use crate::app::{App, WHOLE, load};

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn go(text: &str, store: &Store, options: &RunOptions) -> (RunReport, App) {
    let (pipeline, app) = load(text, &[]).unwrap();
    let report = run(&pipeline, store, &app, options).unwrap();
    (report, app)
}

const ALL: [&str; 6] = ["kept", "math", "more", "score", "sft", "traces"];

#[test]
fn a_second_run_does_nothing_and_a_changed_one_only_what_is_downstream() {
    let (_folder, store) = store();
    let (report, app) = go(WHOLE, &store, &RunOptions::default());
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(app.ran(), ALL);
    assert_eq!(report.summary.cost_usd, 0.25);

    let (report, app) = go(WHOLE, &store, &RunOptions::default());
    assert_eq!(app.ran(), [""; 0]);
    assert!(report.summary.stages.iter().all(|stage| stage.cached));
    assert_eq!(report.summary.cost_usd, 0.0);
    assert_eq!(report.summary.evals.len(), 1);

    let (_, app) = go(&WHOLE.replace("epochs = 3", "epochs = 4"), &store, &RunOptions::default());
    assert_eq!(app.ran(), ["more", "score", "sft"]);
    let (report, app) = go(&WHOLE.replace("stage.score", "stage.marks"), &store, &RunOptions::default());
    assert_eq!(app.ran(), [""; 0]);
    assert_eq!(report.summary.evals[0]["stage"], "marks");
}

#[test]
fn the_summary_is_what_scripts_expect() {
    let (_folder, store) = store();
    let (report, _) = go(WHOLE, &store, &RunOptions::default());
    let text = fs::read_to_string(report.folder.join("summary.json")).unwrap();
    let mut summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::from_str::<RunSummary>(&text).unwrap(), report.summary);
    summary["seconds"] = 1.into();
    for stage in summary["stages"].as_array_mut().unwrap() {
        stage["seconds"] = 1.into();
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&summary).unwrap());
}

#[test]
fn the_manifest_tells_the_whole_lineage() {
    let (_folder, store) = store();
    go(WHOLE, &store, &RunOptions { tool: "potstill 0.1.0".into(), ..RunOptions::default() });
    let (pipeline, app) = load(WHOLE, &[]).unwrap();
    let identities = pipeline.identify(&app).unwrap();
    let artifact = store.find(&identities[5].fingerprint).unwrap().unwrap();
    let manifest = &artifact.manifest;
    let lineage: Vec<&str> = manifest.lineage.iter().map(|ancestor| ancestor.stage.as_str()).collect();
    assert_eq!(lineage, ["math", "traces", "kept", "sft", "more"]);
    assert_eq!((manifest.tool.as_str(), manifest.kind.as_str(), manifest.seed), ("potstill 0.1.0", "eval", 42));
    assert_eq!(manifest.inputs[0].output, "model");
    artifact.verify().unwrap();
    let traces = store.find(&identities[1].fingerprint).unwrap().unwrap();
    assert_eq!((traces.manifest.tokens.completion, traces.manifest.rows()), (400, Some(40)));
    assert_eq!(traces.files(None).len(), 1);
}

#[test]
fn targets_and_force() {
    let (_folder, store) = store();
    let targets = RunOptions { targets: vec!["kept".into()], ..RunOptions::default() };
    let (report, app) = go(WHOLE, &store, &targets);
    assert_eq!(app.ran(), ["kept", "math", "traces"]);
    assert_eq!(report.summary.stages.len(), 3);

    let force = RunOptions { targets: vec!["kept".into()], force: vec!["traces".into()], ..RunOptions::default() };
    let (report, app) = go(WHOLE, &store, &force);
    assert_eq!(app.ran(), ["kept", "traces"]);
    assert_eq!(report.outcome, Outcome::Done);

    let (pipeline, app) = load(WHOLE, &[]).unwrap();
    let unknown = RunOptions { targets: vec!["kpet".into()], ..RunOptions::default() };
    match run(&pipeline, &store, &app, &unknown) {
        Err(RunError::UnknownStage { name, near }) => {
            assert_eq!((name.as_str(), near.as_deref()), ("kpet", Some("kept")));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_plan_knows_what_is_cached_and_what_is_stale() {
    let (_folder, store) = store();
    go(WHOLE, &store, &RunOptions { targets: vec!["sft".into()], ..RunOptions::default() });
    let (pipeline, app) = load(&WHOLE.replace("epochs = 3", "epochs = 4"), &[]).unwrap();
    let plan = plan(&pipeline, Some(&store), &app).unwrap();
    let states: Vec<PlanState> = plan.iter().map(|stage| stage.state).collect();
    use PlanState::{Cached, New, Stale};
    assert_eq!(states, [Cached, Cached, Cached, Stale, New, New]);
    assert_eq!(plan[2].rows, Some(20));
}

/// A source, a healthy branch, and stages of the kind `fault` behind the source.
fn faulty(modes: &[&str]) -> String {
    let mut text = "version = 1\n[stage.math]\nkind = \"source\"\nrows = 4\n".to_owned();
    text += "[stage.healthy]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"math\"]\n";
    for (index, mode) in modes.iter().enumerate() {
        text += &format!("[stage.f{index}]\nkind = \"fault\"\nmode = \"{mode}\"\nnumber = {index}\ninputs = [\"math\"]\n");
        text += &format!("[stage.after{index}]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"f{index}\"]\n");
    }
    text
}

#[test]
fn independent_branches_finish_and_all_failures_are_told() {
    let (_folder, store) = store();
    let (report, app) = go(&faulty(&["fail", "panic", "temporary", "undeclared"]), &store, &RunOptions::default());
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(app.ran(), ["healthy", "math"]);
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    insta::assert_debug_snapshot!(failures);
    assert_eq!(report.failures[0].error.causes(), ["the cause"]);
    assert_eq!(report.failures[0].error.hint_text(), Some("do it right"));
    assert_eq!(report.not_run, ["after0", "after1", "after2", "after3"]);
    let attempts = fs::read_dir(store.root().join("attempts")).unwrap().count();
    assert_eq!(attempts, 2, "failed attempts leave nothing behind");
}

#[test]
fn the_worst_failure_decides_the_outcome() {
    let (_folder, store) = store();
    let outcome = |modes: &[&str]| go(&faulty(modes), &store, &RunOptions::default()).0.outcome;
    assert_eq!(outcome(&["temporary"]), Outcome::Temporary);
    assert_eq!(outcome(&["temporary", "config"]), Outcome::Config);
    assert_eq!(outcome(&["temporary", "config", "fail"]), Outcome::Failed);
}

#[test]
fn scratch_outlives_a_failure_and_goes_with_the_commit() {
    let (_folder, store) = store();
    let text = faulty(&["resume"]);
    let scratch = store.root().join("scratch");
    assert_eq!(go(&text, &store, &RunOptions::default()).0.outcome, Outcome::Temporary);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 1);
    assert_eq!(go(&text, &store, &RunOptions::default()).0.outcome, Outcome::Done);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn capacity_bounds_what_runs_at_once() {
    let (_folder, store) = store();
    let three = NonZeroUsize::new(3).unwrap();
    let options = RunOptions { capacity: Capacity { network: three, ..Capacity::default() }, ..RunOptions::default() };
    let (report, app) = go(&faulty(&["slow"; 7]), &store, &options);
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(app.peak.load(Ordering::SeqCst), 3);
}

#[test]
fn an_interrupted_run_stops_soon_and_continues_later() {
    let (_folder, store) = store();
    let options = RunOptions::default();
    let cancel = options.cancel.clone();
    let interrupt = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
    });
    let began = Instant::now();
    let (report, _) = go(&faulty(&["wait", "slow"]), &store, &options);
    interrupt.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert!(report.not_run.contains(&"f0".to_owned()) && report.failures.is_empty());
    let (report, app) = go(&faulty(&["slow", "slow"]), &store, &RunOptions::default());
    assert_eq!(report.outcome, Outcome::Done);
    assert!(!app.ran().contains(&"math".to_owned()), "what was done before the interruption is kept");
}

#[test]
fn all_that_is_missing_is_told_before_any_work() {
    let (_folder, store) = store();
    let text = WHOLE.to_owned() + "[stage.again]\nkind = \"generate\"\nteacher = \"qwq\"\nsamples = 2\ninputs = [\"math\"]\n";
    let (pipeline, mut app) = load(&text, &[]).unwrap();
    app.missing = Some("`TEACHER_API_KEY` is not set".into());
    match run(&pipeline, &store, &app, &RunOptions::default()) {
        Err(RunError::NotReady(failures)) => {
            let stages: Vec<&str> = failures.iter().map(|failure| failure.stage.as_str()).collect();
            assert_eq!(stages, ["traces", "again"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(app.ran(), [""; 0]);

    app.missing = None;
    run(&pipeline, &store, &app, &RunOptions::default()).unwrap();
    app.missing = Some("no key is needed for what is in the store".into());
    run(&pipeline, &store, &app, &RunOptions::default()).unwrap();
}

#[test]
fn events_reach_the_listener_and_the_log() {
    let (_folder, store) = store();
    let (sender, receiver) = mpsc::channel();
    let options = RunOptions { listener: Some(sender), ..RunOptions::default() };
    let (report, _) = go(&faulty(&["fail"]), &store, &options);
    drop(options);
    let heard: Vec<Event> = receiver.iter().collect();
    let log = fs::read_to_string(report.folder.join("events.jsonl")).unwrap();
    let logged: Vec<Event> = log.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().event).collect();
    assert_eq!(heard, logged);
    assert!(matches!(&heard[0], Event::RunStarted { stages, .. } if stages.len() == 4));
    assert!(matches!(heard.last(), Some(Event::RunFinished { outcome: Outcome::Failed, .. })));
    let count = |wanted: fn(&Event) -> bool| heard.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::StageStarted { cached: false, .. })), 3);
    assert_eq!(count(|event| matches!(event, Event::StageFinished { .. })), 2);
    assert_eq!(count(|event| matches!(event, Event::StageFailed { .. })), 1);
    assert_eq!(count(|event| matches!(event, Event::StageSkipped { .. })), 1);
    assert!(count(|event| matches!(event, Event::Progress { .. })) >= 2);
}

#[test]
fn a_broken_artifact_fails_its_stage_and_force_heals_it() {
    let (_folder, store) = store();
    go(WHOLE, &store, &RunOptions::default());
    let (pipeline, app) = load(WHOLE, &[]).unwrap();
    let fingerprint = pipeline.identify(&app).unwrap()[3].fingerprint;
    let manifest = store.root().join("artifacts").join(fingerprint.to_string()).join("manifest.json");
    fs::write(&manifest, "{").unwrap();
    let (report, _) = go(WHOLE, &store, &RunOptions::default());
    assert_eq!((report.outcome, report.failures.len()), (Outcome::Failed, 1));
    let error = &report.failures[0].error;
    assert!(error.to_string().contains(manifest.to_str().unwrap()), "{error}");
    assert!(error.hint_text().unwrap().contains("remove the folder"));
    let (report, _) = go(WHOLE, &store, &RunOptions { force: vec!["sft".into()], ..RunOptions::default() });
    assert_eq!(report.outcome, Outcome::Done);
}

/// The bytes of every output by fingerprint and path below its attempt.
fn contents(store: &Store) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for fingerprint in store.fingerprints().unwrap() {
        let artifact = store.find(&fingerprint).unwrap().unwrap();
        for output in &artifact.manifest.outputs {
            for path in artifact.files(Some(&output.name)) {
                all.push((format!("{fingerprint}/{}", output.name), fs::read(path).unwrap()));
            }
        }
    }
    all
}

#[test]
fn two_runs_at_once_share_the_work() {
    let (folder, first) = store();
    let second = Store::open(folder.path().join("store")).unwrap();
    let (pipeline, app) = load(&faulty(&["slow"; 4]), &[]).unwrap();
    std::thread::scope(|scope| {
        let runs = [&first, &second].map(|store| scope.spawn(|| run(&pipeline, store, &app, &RunOptions::default()).unwrap()));
        for report in runs.map(|run| run.join().unwrap()) {
            assert_eq!(report.outcome, Outcome::Done);
        }
    });
    let ran = app.ran();
    assert_eq!(ran.len(), 10, "no stage ran twice: {ran:?}");
}

#[test]
fn the_same_file_gives_the_same_bytes_in_any_store() {
    let ((_a, first), (_b, second)) = (store(), store());
    go(WHOLE, &first, &RunOptions::default());
    let one = Capacity { network: NonZeroUsize::MIN, cpu: NonZeroUsize::MIN, accelerator: NonZeroUsize::MIN };
    go(WHOLE, &second, &RunOptions { capacity: one, ..RunOptions::default() });
    assert_eq!(contents(&first), contents(&second));
    assert_eq!(contents(&first).len(), 7);
}

#[test]
fn an_unusable_store_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Store::open(file.join("store")).unwrap_err();
    assert!(error.to_string().contains("file/store"), "{error}");
    assert!(error.hint().unwrap().contains("--store"));
    let error = Store::open_read_only(Path::new("no/such/store")).unwrap_err();
    assert!(error.to_string().contains("there is no store at"), "{error}");
}
