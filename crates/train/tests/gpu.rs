//! The trainer on a GPU against itself on the CPU. Without a GPU these tests say so and pass.
//! `cargo test --release -p potstill-train --features cuda --test gpu`
#![cfg(feature = "cuda")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use std::path::Path;

use burn::tensor::Device;
use common::{Recorder, config, samples, student};
use potstill_model::lora::Target;
use potstill_train::{ComputeType, LoraConfig, Places, SftConfig, Student, TrainEvent, TrainReport, device, train};

fn gpu() -> bool {
    let found = device::parse("cuda:0");
    if let Err(error) = &found {
        println!("skipped: {error}");
    }
    found.is_ok()
}

fn run(config: &SftConfig, output: &Path, work: Option<&Path>, stop_after: Option<u64>) -> (Recorder, Option<TrainReport>) {
    let samples = samples(40);
    let mut recorder = Recorder { stop_after, ..Recorder::default() };
    let held_out = samples[..6].to_vec();
    let result = train(config, student(&samples), &samples, &held_out, Places { output, work }, &mut recorder);
    (recorder, result.ok().map(|(_, report)| report))
}

#[test]
fn follows_the_cpu_with_rows_padded_and_packed() {
    if !gpu() {
        return;
    }
    for packing in [false, true] {
        let cpu = SftConfig { packing, max_steps: Some(25), learning_rate: 1e-3, micro_batch_tokens: 600, ..config() };
        let gpu = SftConfig { device: "cuda:0".into(), ..cpu.clone() };
        let folder = tempfile::tempdir().unwrap();
        let (expected, expected_report) = run(&cpu, &folder.path().join("cpu"), None, None);
        let (found, report) = run(&gpu, &folder.path().join("gpu"), None, None);
        let (expected, found) = (expected.curve(), found.curve());
        assert_eq!((expected.len(), found.len()), (25, 25));
        let differences: Vec<f64> = expected.iter().zip(&found).map(|(a, b)| (a.1 - b.1).abs()).collect();
        let mean = differences.iter().sum::<f64>() / 25.0;
        println!("packing {packing}: mean |Δ loss| {mean:.5}, first {:.6}, norms {:?} {:?}", differences[0], expected[0].2, found[0].2);
        assert!(mean < 5e-3 && differences[0] < 2e-3, "{differences:?}");
        assert!((expected[0].2 / found[0].2 - 1.0).abs() < 1e-2);
        // The student written there is measured here: the loads and the losses agree.
        let loaded = Student::load(&folder.path().join("gpu"), &Device::flex()).unwrap();
        let (report, expected_report) = (report.unwrap(), expected_report.unwrap());
        let again = SftConfig { learning_rate: 1e-12, max_steps: Some(1), ..cpu.clone() };
        let all = samples(40);
        let places = Places { output: &folder.path().join("again"), work: None };
        let (_, measured) = train(&again, loaded, &all, &all[..6], places, &mut Recorder::default()).unwrap();
        let there = report.held_out_after.unwrap();
        assert!((there.loss - measured.held_out_before.unwrap().loss).abs() < 5e-3, "{there:?} {measured:?}");
        assert!((there.loss - expected_report.held_out_after.unwrap().loss).abs() < 2e-2);
        assert!((there.token_accuracy - measured.held_out_before.unwrap().token_accuracy).abs() < 0.02);
    }
}

/// In bf16 by the kernels: the student is frozen, and adapters beside all or some of its projections are trained.
#[test]
fn adapters_follow_the_cpu() {
    if !gpu() {
        return;
    }
    let some = vec![Target::Value, Target::Output, Target::Up];
    for (targets, packing) in [(Target::ALL.to_vec(), true), (some, false)] {
        let lora = LoraConfig { rank: 4, targets, ..LoraConfig::default() };
        let cpu = SftConfig { lora: Some(lora), packing, max_steps: Some(25), learning_rate: 5e-3, micro_batch_tokens: 600, ..config() };
        let gpu = SftConfig { device: "cuda:0".into(), ..cpu.clone() };
        let folder = tempfile::tempdir().unwrap();
        let (expected, expected_report) = run(&cpu, &folder.path().join("cpu"), None, None);
        let (found, report) = run(&gpu, &folder.path().join("gpu"), Some(&folder.path().join("work")), None);
        assert!(found.events.iter().any(|event| matches!(event, TrainEvent::Started { without_kernels: None, .. })));
        let (expected, found) = (expected.curve(), found.curve());
        assert_eq!((expected.len(), found.len()), (25, 25));
        let differences: Vec<f64> = expected.iter().zip(&found).map(|(a, b)| (a.1 - b.1).abs()).collect();
        let mean = differences.iter().sum::<f64>() / 25.0;
        let norms = [0, 5].map(|step| found[step].2 / expected[step].2 - 1.0);
        println!(
            "adapters, packing {packing}: mean |Δ loss| {mean:.5}, loss {:.4} to {:.4}, norms apart {norms:?}",
            found[0].1, found[24].1
        );
        assert!(mean < 1e-2 && differences[0] < 2e-3, "{differences:?}");
        assert!(found[24].1 < found[0].1 - 0.1, "it learns: {found:?}");
        assert!(norms.iter().all(|apart| apart.abs() < 3e-2), "{norms:?}");
        // What is saved is the merged student: its held-out loss is that of the CPU's.
        let (loss, expected_loss) = (report.unwrap().held_out_after.unwrap().loss, expected_report.unwrap().held_out_after.unwrap().loss);
        assert!((loss - expected_loss).abs() < 3e-2, "{loss} {expected_loss}");
    }
}

#[test]
fn an_interrupted_run_goes_on() {
    if !gpu() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = SftConfig { device: "cuda:0".into(), max_steps: Some(8), ..config() };
    let (whole, _) = run(&config, &folder.path().join("whole"), Some(&folder.path().join("a")), None);
    let work = folder.path().join("b");
    let (first, _) = run(&config, &folder.path().join("parts"), Some(&work), Some(3));
    let (second, report) = run(&config, &folder.path().join("parts"), Some(&work), None);
    assert_eq!(report.unwrap().resumed_from, Some(3));
    let parts = [first.curve(), second.curve()].concat();
    let differences: Vec<f64> = whole.curve().iter().zip(&parts).map(|(a, b)| (a.1 - b.1).abs()).collect();
    println!("resumed: differences {differences:?}");
    assert_eq!(differences.len(), 8);
    assert!(differences.iter().all(|difference| *difference < 1e-3));
}

#[test]
fn what_the_kernels_do_not_have_burn_computes() {
    if !gpu() {
        return;
    }
    let base = SftConfig { max_steps: Some(6), learning_rate: 1e-3, micro_batch_tokens: 600, compute: ComputeType::F32, ..config() };
    let lora = SftConfig { lora: Some(LoraConfig { rank: 4, ..LoraConfig::default() }), activation_checkpointing: true, ..base.clone() };
    let terms = SftConfig { label_smoothing: 0.1, z_loss: 1e-3, neftune_alpha: 2.0, packing: true, ..base };
    for (name, cpu) in [("LoRA", lora), ("terms", terms)] {
        let gpu = SftConfig { device: "cuda:0".into(), ..cpu.clone() };
        let folder = tempfile::tempdir().unwrap();
        let (expected, _) = run(&cpu, &folder.path().join("cpu"), None, None);
        let began = std::time::Instant::now();
        let (found, report) = run(&gpu, &folder.path().join("gpu"), None, None);
        assert!(report.is_some());
        let differences: Vec<f64> = expected.curve().iter().zip(&found.curve()).map(|(a, b)| (a.1 - b.1).abs()).collect();
        println!("{name}: {differences:?} in {:.1} s", began.elapsed().as_secs_f64());
        assert_eq!(differences.len(), 6);
        assert!(differences.iter().all(|difference| *difference < 2e-3), "{name}: {differences:?}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    let error = device::parse("cuda:99").unwrap_err().to_string();
    assert!(error.contains("GPU"), "{error}");
}
