//! Adapters, checkpointed layers, extra terms of the loss, teachers' distributions, spikes, answers while training.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{Recorder, config, distance, documents, run, samples, student};
use potstill_data::{Sample, Scalar};
use potstill_model::{CausalLm, SequenceLayout};
use potstill_train::batch::{Arrangement, MicroBatch, micro_batches};
use potstill_train::engine::{Engine, StepGradient};
use potstill_train::rows::one_per_row;
use potstill_train::{
    Batching, ComputeType, DistillConfig, LoraConfig, Observer, OptimizerKind, Places, ProbeConfig, SftConfig, SkipReason, Student,
    TrainEvent, params, train,
};

fn engine() -> Engine {
    Engine::new(Device::flex(), 1).unwrap()
}

/// The student with adapters whose `B` is no longer zero.
fn adapted(student: &Student, lora: &LoraConfig) -> CausalLm {
    let model = student.model.clone().with_lora(&lora.spec(), 3, &Device::flex()).unwrap();
    params::update(model, &mut |index, values| {
        values.iter_mut().enumerate().for_each(|(at, value)| *value += 0.05 * ((index * 31 + at) as f32).sin());
    })
}

fn logits(model: &CausalLm, tokens: &[u32]) -> Vec<f32> {
    let tokens: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    let layout = SequenceLayout::flat(&[tokens.len()]);
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [1, layout.len()]), &Device::flex());
    model.forward(tokens, &layout).unwrap().try_into_vec_as().unwrap()
}

fn batches(student: &Student, samples: &[Sample], budget: usize) -> Vec<MicroBatch> {
    let documents = documents(student, samples);
    let rows = one_per_row(&documents);
    let all: Vec<usize> = (0..rows.len()).collect();
    micro_batches(&all, &rows, &documents, budget, Arrangement::Flat).unwrap()
}

#[test]
fn merged_adapters_equal_unmerged_ones() {
    let samples = samples(4);
    let student = student(&samples);
    let tokens = documents(&student, &samples)[0].tokens.clone();
    for lora in [LoraConfig { rank: 4, ..LoraConfig::default() }, LoraConfig { rank: 8, rslora: true, ..LoraConfig::default() }] {
        let model = adapted(&student, &lora);
        let base = logits(&student.model, &tokens);
        let apart = logits(&model, &tokens);
        let together = logits(&model.clone().merge_lora(), &tokens);
        let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(largest(&base, &apart) > 0.05, "the adapters do something");
        assert!(largest(&apart, &together) < 2e-5, "{}", largest(&apart, &together));
        assert_eq!(logits(&model.without_lora(), &tokens), base);
    }
}

#[test]
fn only_adapters_are_trained_and_their_folder_is_written() {
    let samples = samples(8);
    let lora = LoraConfig { rank: 4, dropout: 0.1, ..LoraConfig::default() };
    let config = SftConfig { lora: Some(lora.clone()), learning_rate: 1e-2, ..config() };
    let output = tempfile::tempdir().unwrap();
    let before = student(&samples);
    let places = Places { output: output.path(), work: None };
    let (after, report) = train(&config, before.clone(), &samples, &samples, places, &mut Recorder::default()).unwrap();
    assert_eq!(report.parameters as usize, lora.spec().num_parameters(before.model.config()));
    assert!(report.held_out_after.unwrap().loss < report.held_out_before.unwrap().loss - 0.05);
    let loaded = Student::load(output.path(), &Device::flex()).unwrap();
    assert_eq!(params::copy_values(&loaded.model), params::copy_values(&after.model));
    let (old, new) = (params::copy_values(&before.model), params::copy_values(&after.model));
    let changed: Vec<bool> = old.iter().zip(&new).map(|(old, new)| old != new).collect();
    let names: Vec<String> = params::describe(&before.model).into_iter().map(|info| info.name).collect();
    for (name, changed) in names.iter().zip(changed) {
        assert_eq!(changed, name.contains("proj"), "{name}");
    }
    let bytes = std::fs::read(output.path().join("adapter/adapter_model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let a = tensors.tensor("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight").unwrap();
    let b = tensors.tensor("base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight").unwrap();
    assert_eq!((a.shape(), b.shape(), tensors.len()), (&[4, 64][..], &[16, 4][..], 2 * 7 * 2));
    let described = std::fs::read_to_string(output.path().join("adapter/adapter_config.json")).unwrap();
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!((&described["r"], &described["lora_alpha"]), (&4.into(), &32.0.into()));
}

fn gradient(engine: &Engine, model: &CausalLm, batches: &[MicroBatch]) -> StepGradient {
    engine.gradient(&model.clone().train(), batches, 5).unwrap()
}

#[test]
fn checkpointed_layers_give_the_same_gradient() {
    let samples = samples(6);
    let student = student(&samples);
    let batches = batches(&student, &samples, 100);
    assert!(batches.len() > 1);
    let lora = LoraConfig { rank: 4, dropout: 0.3, ..LoraConfig::default() };
    for model in [student.model.clone(), adapted(&student, &lora)] {
        let mut plain = engine();
        (plain.extras.neftune_alpha, plain.extras.lora_dropout) = (5.0, lora.dropout);
        let mut checkpointed = plain.clone();
        checkpointed.extras.checkpointing = true;
        for part in [&batches[..], &batches[..1]] {
            let (a, b) = (gradient(&plain, &model, part), gradient(&checkpointed, &model, part));
            assert!((a.sum.loss - b.sum.loss).abs() < 1e-6 * a.sum.loss);
            assert!(distance(&a.gradients, &b.gradients) < 1e-5);
        }
    }
}

#[test]
fn noise_and_dropout_change_from_step_to_step_but_not_from_run_to_run() {
    let samples = samples(4);
    let student = student(&samples);
    let model = adapted(&student, &LoraConfig { rank: 4, ..LoraConfig::default() }).train();
    let batches = batches(&student, &samples, 10_000);
    let loss = |noise: f64, dropout: f64, step: u64| {
        let mut engine = engine();
        (engine.extras.neftune_alpha, engine.extras.lora_dropout) = (noise, dropout);
        engine.gradient(&model, &batches, step).unwrap().sum.loss
    };
    let plain = loss(0.0, 0.0, 1);
    assert_eq!(plain, loss(0.0, 0.0, 2));
    for (noise, dropout) in [(5.0, 0.0), (0.0, 0.5)] {
        let first = loss(noise, dropout, 1);
        assert_eq!(first, loss(noise, dropout, 1));
        assert!(first != plain && first != loss(noise, dropout, 2));
    }
}

#[test]
fn threads_that_share_operations_change_no_bit() {
    // One micro-batch a step: every operation is cut into blocks.
    let samples = samples(20);
    let lora = Some(LoraConfig { rank: 4, dropout: 0.1, ..LoraConfig::default() });
    for config in [config(), SftConfig { lora, activation_checkpointing: true, ..config() }] {
        let config = SftConfig { micro_batch_tokens: 100_000, max_steps: Some(3), ..config };
        let one = run(&config, &samples, &[], None, None).unwrap();
        let three = run(&SftConfig { threads: 3, ..config }, &samples, &[], None, None).unwrap();
        assert_eq!((one.recorder.curve(), one.weights), (three.recorder.curve(), three.weights));
    }
}

/// Runs whole and interrupted, and demands the same weights.
fn resumes(config: &SftConfig) {
    let samples = samples(20);
    let whole = run(config, &samples, &[], None, None).unwrap();
    for stop in [2, 3] {
        let work = tempfile::tempdir().unwrap();
        run(config, &samples, &[], Some(work.path()), Some(stop)).err().unwrap();
        let resumed = run(config, &samples, &[], Some(work.path()), None).unwrap();
        assert_eq!(resumed.report.resumed_from, Some(stop));
        assert_eq!(resumed.recorder.curve(), &whole.recorder.curve()[stop as usize..]);
        assert_eq!(resumed.weights, whole.weights);
    }
}

#[test]
fn interrupted_runs_with_adapters_noise_and_grouped_batches_go_on_as_they_were() {
    let lora = LoraConfig { rank: 4, dropout: 0.2, ..LoraConfig::default() };
    resumes(&SftConfig { lora: Some(lora), neftune_alpha: 5.0, batching: Batching::Length, ..config() });
}

#[test]
fn interrupted_runs_with_muon_and_bf16_go_on_as_they_were() {
    resumes(&SftConfig { optimizer: OptimizerKind::Muon, compute: ComputeType::Bf16, ..config() });
}

#[test]
fn a_resume_upon_another_base_is_refused() {
    let samples = samples(8);
    let config = SftConfig { lora: Some(LoraConfig { rank: 2, ..LoraConfig::default() }), ..config() };
    let work = tempfile::tempdir().unwrap();
    run(&config, &samples, &[], Some(work.path()), Some(1)).err().unwrap();
    let mut other = student(&samples);
    other.model = params::update(other.model, &mut |_, values| values[0] += 0.5);
    let output = tempfile::tempdir().unwrap();
    let places = Places { output: output.path(), work: Some(work.path()) };
    let error = train(&config, other, &samples, &[], places, &mut Recorder::default()).unwrap_err().to_string();
    assert!(error.contains("are others"), "{error}");
}

#[test]
fn muon_and_bf16_and_smoothing_learn() {
    let samples = samples(8);
    let base = SftConfig { max_steps: Some(60), learning_rate: 1e-2, weight_decay: 0.0, ..config() };
    let plain = run(&base, &samples, &samples, None, None).unwrap();
    for config in [
        SftConfig { optimizer: OptimizerKind::Muon, ..base.clone() },
        SftConfig { compute: ComputeType::Bf16, ..base.clone() },
        SftConfig { label_smoothing: 0.05, z_loss: 1e-4, neftune_alpha: 1.0, decay_embeddings: true, ..base.clone() },
    ] {
        let ran = run(&config, &samples, &samples, None, None).unwrap();
        let (before, after) = (ran.report.held_out_before.unwrap().loss, ran.report.held_out_after.unwrap().loss);
        assert!(after < before / 3.0, "{before} {after}");
        assert!(ran.weights != plain.weights);
    }
}

#[test]
fn master_weights_keep_updates_that_bf16_would_lose() {
    // At this rate an update is far below bf16's spacing of most weights.
    let samples = samples(8);
    let config = SftConfig { compute: ComputeType::Bf16, learning_rate: 1e-5, max_steps: Some(3), ..config() };
    let start = params::copy_values(&student(&samples).model).concat();
    let after = run(&config, &samples, &[], None, None).unwrap().weights.concat();
    let moved = start.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(moved * 2 > start.len(), "{moved} of {}", start.len());
}

#[test]
fn a_teacher_that_is_the_student_itself_adds_no_divergence() {
    let samples = samples(8);
    let folder = tempfile::tempdir().unwrap();
    student(&samples).save(folder.path()).unwrap();
    let distill = |weight, top| {
        let teacher = Some(folder.path().display().to_string());
        SftConfig { distill: Some(DistillConfig { weight, teacher, top }), max_steps: Some(1), ..config() }
    };
    let plain = run(&SftConfig { max_steps: Some(1), ..config() }, &samples, &[], None, None).unwrap().recorder.curve()[0].1;
    for top in [5, 400] {
        let half = run(&distill(0.5, top), &samples, &[], None, None).unwrap().recorder.curve()[0];
        assert!((half.1 - plain / 2.0).abs() < 1e-4, "{} {plain}", half.1);
        let all = run(&distill(1.0, top), &samples, &[], None, None).unwrap().recorder.curve()[0];
        assert!(all.1.abs() < 1e-4 && all.2 < 1e-3, "{all:?}");
    }
}

#[test]
fn stored_log_probabilities_are_learned_where_the_tokens_fit() {
    let mut samples = samples(8);
    let student = student(&samples);
    let document = &documents(&student, &samples)[0];
    // The reply in the student's own tokens, each with an alternative.
    let trained: Vec<String> = document
        .tokens
        .iter()
        .zip(&document.weights)
        .filter(|(_, weight)| **weight != 0.0)
        .map(|(&id, _)| student.tokenizer.decode(&[id], false).unwrap())
        .collect();
    let stored: Vec<serde_json::Value> = trained[..trained.len() - 1]
        .iter()
        .map(|token| serde_json::json!({ "token": token, "logprob": -0.2, "top": [[token, -0.2], ["a", -3.0]] }))
        .collect();
    samples[0].meta.insert("logprobs".into(), Scalar::Text(serde_json::to_string(&stored).unwrap()));
    let config = SftConfig { distill: Some(DistillConfig { weight: 0.9, ..DistillConfig::default() }), ..config() };
    let with = run(&config, &samples, &[], None, None).unwrap();
    let without = run(&common::config(), &samples, &[], None, None).unwrap();
    assert_ne!(with.recorder.curve(), without.recorder.curve());

    samples[0].meta.clear();
    let error = run(&config, &samples, &[], None, None).err().unwrap().to_string();
    assert!(error.contains("top_logprobs"), "{error}");
    samples[0].meta.insert("logprobs".into(), Scalar::Text("nonsense".into()));
    assert!(run(&config, &samples, &[], None, None).err().unwrap().to_string().contains("sample s0"));
}

#[test]
fn a_gradient_spike_is_skipped_and_its_samples_are_written_aside() {
    let mut samples = samples(24);
    samples[5].weight = 1e4;
    let config = SftConfig { batch_size: 1, max_steps: Some(48), spike_factor: Some(50.0), learning_rate: 1e-4, ..config() };
    let work = tempfile::tempdir().unwrap();
    let ran = run(&config, &samples, &[], Some(work.path()), None).unwrap();
    let spikes: Vec<_> =
        ran.recorder.events.iter().filter(|event| matches!(event, TrainEvent::Skipped { reason: SkipReason::Spike, .. })).collect();
    assert!(!spikes.is_empty() && ran.report.skipped_steps as usize == spikes.len());
    let aside = std::fs::read_to_string(work.path().join("skipped_steps.jsonl")).unwrap();
    for line in aside.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["reason"], &line["samples"]), (&"spike".into(), &serde_json::json!(["s35"])));
    }
}

/// Calls every answer right that is the reply itself.
#[derive(Default)]
struct Judge {
    answers: Vec<(u64, Option<f64>, usize)>,
}

impl Observer for Judge {
    fn event(&mut self, event: &TrainEvent) {
        if let TrainEvent::Answers { step, accuracy, answers } = event {
            self.answers.push((*step, *accuracy, answers.len()));
        }
    }

    fn judge(&mut self, sample: &Sample, answer: &str) -> Option<bool> {
        Some(answer.contains(&sample.messages.last()?.content))
    }
}

#[test]
fn the_student_answers_at_intervals_and_gets_better() {
    let samples = samples(8);
    let probe = Some(ProbeConfig { every: 50, count: 3, max_new_tokens: 60, ..ProbeConfig::default() });
    let config = SftConfig { probe, max_steps: Some(120), learning_rate: 1e-2, ..config() };
    let output = tempfile::tempdir().unwrap();
    let mut judge = Judge::default();
    train(&config, student(&samples), &samples, &[], Places { output: output.path(), work: None }, &mut judge).unwrap();
    assert_eq!(judge.answers.iter().map(|(step, _, count)| (*step, *count)).collect::<Vec<_>>(), [(0, 3), (50, 3), (100, 3), (120, 3)]);
    assert_eq!((judge.answers[0].1, judge.answers[3].1), (Some(0.0), Some(1.0)));
}

#[test]
fn steps_tell_speed_memory_and_the_time_left() {
    let samples = samples(8);
    let config = SftConfig { peak_tflops: Some(0.1), ..config() };
    let ran = run(&config, &samples, &[], None, None).unwrap();
    let last = ran.recorder.events.iter().rev().find_map(|event| match event {
        TrainEvent::Step { eta_seconds, tflops, mfu, memory, .. } => Some((*eta_seconds, *tflops, *mfu, *memory)),
        _ => None,
    });
    let (eta, tflops, mfu, memory) = last.unwrap();
    assert!(eta == 0.0 && tflops > 0.0 && (mfu.unwrap() - tflops / 0.1).abs() < 1e-12);
    assert!(memory.is_none_or(|bytes| bytes > 1 << 20));
}

#[test]
fn extra_settings_are_checked() {
    let refused = |config: SftConfig| config.validate().unwrap_err().to_string();
    let lora = |lora| refused(SftConfig { lora: Some(lora), ..SftConfig::default() });
    assert!(lora(LoraConfig { rank: 0, ..LoraConfig::default() }).contains("lora.rank is 0"));
    assert!(lora(LoraConfig { targets: Vec::new(), ..LoraConfig::default() }).contains("q_proj"));
    assert!(lora(LoraConfig { dropout: 1.0, ..LoraConfig::default() }).contains("lora.dropout is 1"));
    assert!(refused(SftConfig { packing: true, batching: Batching::Length, ..SftConfig::default() }).contains("packing is on"));
    assert!(refused(SftConfig { spike_factor: Some(1.0), ..SftConfig::default() }).contains("spike_factor is 1"));
    assert!(refused(SftConfig { label_smoothing: 1.0, ..SftConfig::default() }).contains("label_smoothing"));
    let distill = DistillConfig { weight: 0.0, ..DistillConfig::default() };
    assert!(refused(SftConfig { distill: Some(distill), ..SftConfig::default() }).contains("distill.weight"));
    let probe = ProbeConfig { every: 0, ..ProbeConfig::default() };
    assert!(refused(SftConfig { probe: Some(probe), ..SftConfig::default() }).contains("probe.every"));
}
