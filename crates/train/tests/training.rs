//! Whole runs on tiny students: what must not change the result does not change it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use std::path::Path;

use burn::module::Module;
use common::{Recorder, config, distance, documents, run, sample, samples, student};
use potstill_model::ChatTemplate;
use potstill_train::batch::{Arrangement, MicroBatch, micro_batches};
use potstill_train::engine::Engine;
use potstill_train::rows::{Row, one_per_row};
use potstill_train::{Places, Schedule, ScheduleKind, SftConfig, Student, TrainError, TrainEvent, params, train};

fn engine(threads: usize) -> Engine {
    Engine::new(burn::tensor::Device::flex(), threads).unwrap()
}

#[test]
fn one_batch_of_eight_equals_eight_of_one() {
    let samples = samples(8);
    let student = student(&samples);
    let model = student.model.clone().train();
    let documents = documents(&student, &samples);
    let rows = one_per_row(&documents);
    let all: Vec<usize> = (0..rows.len()).collect();
    let whole = micro_batches(&all, &rows, &documents, 100_000, Arrangement::Flat).unwrap();
    let parts = micro_batches(&all, &rows, &documents, 1, Arrangement::Flat).unwrap();
    assert_eq!((whole.len(), parts.len()), (1, 8));
    let (whole, parts) = (engine(1).gradient(&model, &whole, 0).unwrap(), engine(1).gradient(&model, &parts, 0).unwrap());
    assert_eq!(whole.sum.tokens, parts.sum.tokens);
    assert!((whole.sum.loss - parts.sum.loss).abs() < 1e-6 * whole.sum.loss);
    assert!(distance(&whole.gradients, &parts.gradients) < 1e-5);
}

#[test]
fn packed_and_padded_and_flat_rows_are_equal() {
    let samples = samples(6);
    let student = student(&samples);
    let model = student.model.clone().train();
    let documents = documents(&student, &samples);
    let lengths: Vec<usize> = documents.iter().map(|document| document.tokens.len()).collect();
    let longest = *lengths.iter().max().unwrap();
    let gradient = |rows: &[Row], arrangement| {
        let rows: Vec<&Row> = rows.iter().collect();
        engine(1).gradient(&model, &[MicroBatch::new(&rows, &documents, arrangement).unwrap()], 0).unwrap()
    };
    let padded = gradient(&one_per_row(&documents), Arrangement::Rows(longest + 5));
    let flat = gradient(&one_per_row(&documents), Arrangement::Flat);
    let capacity = 3 * longest;
    let rows = potstill_train::rows::pack(&lengths, capacity);
    assert!(rows.len() < documents.len());
    let packed = gradient(&rows, Arrangement::Rows(capacity));
    for other in [&flat, &packed] {
        assert!((padded.sum.loss - other.sum.loss).abs() < 1e-6 * padded.sum.loss);
        assert!(distance(&padded.gradients, &other.gradients) < 1e-5);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let samples = samples(20);
    let one = run(&config(), &samples, &[], None, None).unwrap();
    for threads in [2, 3] {
        let more = run(&SftConfig { threads, ..config() }, &samples, &[], None, None).unwrap();
        assert_eq!(one.recorder.curve(), more.recorder.curve());
        assert_eq!(one.weights, more.weights);
    }
}

#[test]
fn a_resumed_run_equals_the_uninterrupted_one() {
    // Twenty samples in batches of eight: three steps an epoch, so that the stops fall before, on and after its boundary.
    let samples = samples(20);
    let held_out = [sample(1000, 2), sample(1001, 3)];
    let config = SftConfig { max_steps: Some(7), save_every: Some(5), eval_every: Some(2), ..config() };
    let whole = run(&config, &samples, &held_out, None, None).unwrap();
    for stop in [1, 2, 3, 4, 6] {
        let work = tempfile::tempdir().unwrap();
        let error = run(&config, &samples, &held_out, Some(work.path()), Some(stop)).err().unwrap();
        assert!(matches!(error, TrainError::Cancelled { step, saved: true } if step == stop), "{error}");
        let resumed = run(&config, &samples, &held_out, Some(work.path()), None).unwrap();
        assert_eq!(resumed.report.resumed_from, Some(stop));
        assert_eq!(resumed.recorder.curve(), &whole.recorder.curve()[stop as usize..]);
        assert_eq!(resumed.weights, whole.weights, "stopped after {stop}");
        assert_eq!(resumed.report.held_out_after, whole.report.held_out_after);
        assert_eq!(resumed.report.held_out_before, whole.report.held_out_before);
        assert_eq!(logged_steps(work.path()), [1, 2, 3, 4, 5, 6, 7]);
    }
}

fn logged_steps(work: &Path) -> Vec<u64> {
    let log = std::fs::read_to_string(work.join(potstill_train::LOG_FILE)).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "step").map(|line| line["step"].as_u64().unwrap()).collect()
}

#[test]
fn a_run_killed_after_its_checkpoint_repeats_the_lost_steps() {
    // A kill leaves the log ahead of the last checkpoint; the continuation cuts it back.
    let samples = samples(20);
    let config = SftConfig { save_every: Some(2), ..config() };
    let work = tempfile::tempdir().unwrap();
    let whole = run(&config, &samples, &[], Some(work.path()), None).unwrap();
    let checkpoints = potstill_train::checkpoint::list(&work.path().join("checkpoints")).unwrap();
    assert_eq!(checkpoints.len(), 2);
    std::fs::remove_dir_all(&checkpoints[1]).unwrap();
    let resumed = run(&config, &samples, &[], Some(work.path()), None).unwrap();
    assert_eq!(resumed.report.resumed_from, Some(4));
    assert_eq!((resumed.weights, logged_steps(work.path())), (whole.weights, vec![1, 2, 3, 4, 5, 6]));
}

#[test]
fn a_resume_with_other_settings_or_samples_names_them() {
    let work = tempfile::tempdir().unwrap();
    let samples = samples(20);
    run(&config(), &samples, &[], Some(work.path()), Some(2)).err().unwrap();
    let changed = SftConfig { learning_rate: 1e-4, seed: 9, ..config() };
    let error = run(&changed, &samples, &[], Some(work.path()), None).err().unwrap().to_string();
    assert!(error.contains("learning_rate: was 0.003, is 0.0001; seed: was 42, is 9"), "{error}");
    let mut other = samples.clone();
    other[3].weight = 0.5;
    let error = run(&config(), &other, &[], Some(work.path()), None).err().unwrap().to_string();
    assert!(error.contains("the samples, the tokenizer or the student's shape are others"), "{error}");
}

#[test]
fn overfits_eight_samples() {
    let samples = samples(8);
    let config = SftConfig { max_steps: Some(150), learning_rate: 1e-2, weight_decay: 0.0, ..config() };
    let ran = run(&config, &samples, &samples, None, None).unwrap();
    let (before, after) = (ran.report.held_out_before.unwrap(), ran.report.held_out_after.unwrap());
    assert!(before.loss > 4.0 && before.token_accuracy < 0.1, "{before:?}");
    assert!(after.loss < 0.05 && after.token_accuracy > 0.98, "{after:?}");
}

#[test]
fn the_best_weights_are_kept_and_patience_ends_the_run() {
    // Far too high a rate makes the held-out loss rise after a while.
    let samples = samples(8);
    let held_out = [sample(1000, 2), sample(1001, 3)];
    let schedule = Schedule { kind: ScheduleKind::Constant, ..Schedule::default() };
    let base = SftConfig { max_steps: Some(60), learning_rate: 1e-2, eval_every: Some(2), schedule, ..config() };
    let config = SftConfig { keep_best: true, patience: Some(3), ..base };
    let ran = run(&config, &samples, &held_out, None, None).unwrap();
    let losses: Vec<(u64, f64)> = ran
        .recorder
        .events
        .iter()
        .filter_map(|event| match event {
            TrainEvent::Eval { step, loss, .. } if *step > 0 => Some((*step, *loss)),
            _ => None,
        })
        .collect();
    let lowest = losses.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let best = ran.report.best.unwrap();
    assert_eq!((best.step, best.held_out.loss), lowest);
    assert_eq!(ran.report.held_out_after, Some(best.held_out));
    assert!(ran.report.steps < 60 && ran.report.steps == best.step + 6, "{:?}", ran.report);
    // A continuation of an interrupted run keeps the same weights.
    let work = tempfile::tempdir().unwrap();
    run(&config, &samples, &held_out, Some(work.path()), Some(best.step + 1)).err().unwrap();
    let resumed = run(&config, &samples, &held_out, Some(work.path()), None).unwrap();
    assert_eq!((resumed.weights, resumed.report.best), (ran.weights, ran.report.best));
}

#[test]
fn a_step_with_a_broken_sample_is_skipped_and_named() {
    let mut samples = samples(8);
    samples[5].weight = f32::INFINITY;
    let config = SftConfig { batch_size: 1, max_steps: Some(8), max_skipped: 1, ..config() };
    let ran = run(&config, &samples, &[], None, None).unwrap();
    let skipped: Vec<_> = ran.recorder.events.iter().filter(|event| matches!(event, TrainEvent::Skipped { .. })).collect();
    assert!(matches!(&skipped[..], [TrainEvent::Skipped { samples, .. }] if samples == &["s35"]), "{skipped:?}");
    assert_eq!((ran.report.skipped_steps, ran.report.steps), (1, 8));
    assert!(ran.weights.concat().iter().all(|value| value.is_finite()));

    samples.iter_mut().for_each(|sample| sample.weight = f32::NAN);
    let error = run(&config, &samples, &[], None, None).err().unwrap();
    assert!(matches!(error, TrainError::Diverged { step: 2, skipped: 2, .. }), "{error}");
}

#[test]
fn the_student_is_written_with_its_log_and_loads() {
    let samples = samples(8);
    let output = tempfile::tempdir().unwrap();
    let places = Places { output: output.path(), work: None };
    let (trained, _) = train(&config(), student(&samples), &samples, &[], places, &mut Recorder::default()).unwrap();
    let loaded = Student::load(output.path(), &burn::tensor::Device::flex()).unwrap();
    assert_eq!(params::copy_values(&trained.model), params::copy_values(&loaded.model));
    assert_eq!(documents(&trained, &samples), documents(&loaded, &samples));
    assert!(output.path().join(potstill_train::LOG_FILE).metadata().unwrap().len() > 500);
}

#[test]
fn what_ends_a_turn_of_the_template_ends_the_students_answers() {
    let samples = samples(8);
    let mut start = student(&samples);
    let source = start.template.source().replace("<|im_end|>", "<|pad|>");
    start.template = ChatTemplate::new(&source, start.template.specials().clone()).unwrap();
    let (before, pad) = (start.model.config().eos_token_ids.clone(), start.tokenizer.token_id("<|pad|>").unwrap());
    assert!(!before.contains(&pad));
    let output = tempfile::tempdir().unwrap();
    let places = Places { output: output.path(), work: None };
    train(&config(), start, &samples, &[], places, &mut Recorder::default()).unwrap();
    let loaded = Student::load(output.path(), &burn::tensor::Device::flex()).unwrap();
    assert_eq!(loaded.model.config().eos_token_ids, [before, vec![pad]].concat());
}

#[test]
fn nothing_to_train_on_is_an_error_with_counts() {
    let samples = samples(3);
    let config = SftConfig { max_length: 4, ..config() };
    let error = run(&config, &samples, &[], None, None).err().unwrap().to_string();
    assert!(error.contains("of 3 samples, 3 are longer than max_length = 4 tokens"), "{error}");
}
