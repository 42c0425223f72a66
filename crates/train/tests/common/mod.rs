//! Tiny students and samples that the tests share.
#![allow(dead_code, reason = "not every test file uses every helper")]

use std::path::Path;

use potstill_data::{Message, Meta, Sample, SampleKind};
use potstill_train::render::Renderer;
use potstill_train::rows::Document;
use potstill_train::{Observer, Places, ScratchConfig, SftConfig, Student, TrainError, TrainEvent, TrainReport, params, train};

/// A conversation with a think block; `size` changes its length.
pub(crate) fn sample(index: usize, size: usize) -> Sample {
    let (a, b) = (index % 10, (index / 10) % 10);
    let steps: Vec<String> = (0..size).map(|step| format!("{} + {step} = {}.", a + step, a + 2 * step)).collect();
    Sample {
        sample_id: format!("s{index}"),
        problem_id: format!("p{index}"),
        source: "test".into(),
        messages: vec![
            Message::new("user", format!("What is {a} + {b}?")),
            Message { role: "assistant".into(), content: format!("The answer is {}", a + b), reasoning: Some(steps.join(" ")) },
        ],
        kind: SampleKind::Shortcut,
        weight: 1.0,
        loss_spans: Vec::new(),
        lineage: Vec::new(),
        meta: Meta::new(),
    }
}

/// Samples of different lengths.
pub(crate) fn samples(count: usize) -> Vec<Sample> {
    (0..count).map(|index| sample(index * 7, 1 + index % 4)).collect()
}

/// A student with two layers of width 32.
pub(crate) fn student(samples: &[Sample]) -> Student {
    let config = ScratchConfig {
        layers: 2,
        hidden_size: 32,
        heads: 4,
        kv_heads: 2,
        intermediate_size: 64,
        vocab_size: 320,
        max_positions: 512,
        ..ScratchConfig::default()
    };
    Student::from_scratch(&config, samples, 1, &burn::tensor::Device::flex()).unwrap()
}

/// Settings of a short run.
pub(crate) fn config() -> SftConfig {
    SftConfig {
        learning_rate: 3e-3,
        batch_size: 8,
        max_length: 256,
        max_steps: Some(6),
        micro_batch_tokens: 150,
        weight_decay: 0.01,
        threads: 1,
        ..SftConfig::default()
    }
}

/// Keeps every event, and asks to stop after a given step.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) events: Vec<TrainEvent>,
    pub(crate) stop_after: Option<u64>,
    pub(crate) step: u64,
}

impl Observer for Recorder {
    fn event(&mut self, event: &TrainEvent) {
        if let TrainEvent::Step { step, .. } = event {
            self.step = *step;
        }
        self.events.push(event.clone());
    }

    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|stop| self.step >= stop)
    }
}

impl Recorder {
    /// Step, loss, gradient norm and learning rate of every step, exactly.
    pub(crate) fn curve(&self) -> Vec<(u64, f64, f64, f64)> {
        let step = |event: &TrainEvent| match *event {
            TrainEvent::Step { step, loss, grad_norm, learning_rate, .. } => Some((step, loss, grad_norm, learning_rate)),
            _ => None,
        };
        self.events.iter().filter_map(step).collect()
    }
}

pub(crate) fn documents(student: &Student, samples: &[Sample]) -> Vec<Document> {
    Renderer::new(&student.template).documents(&student.tokenizer, samples, 1).unwrap()
}

/// Largest difference between two gradients, relative to the largest element of the first.
pub(crate) fn distance(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let (a, b) = (a.concat(), b.concat());
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    a.iter().zip(&b).fold(0.0_f32, |max, (a, b)| max.max((a - b).abs())) / largest
}

pub(crate) struct Ran {
    pub(crate) report: TrainReport,
    pub(crate) recorder: Recorder,
    pub(crate) weights: Vec<Vec<f32>>,
}

pub(crate) fn run(
    config: &SftConfig,
    samples: &[Sample],
    held_out: &[Sample],
    work: Option<&Path>,
    stop: Option<u64>,
) -> Result<Ran, TrainError> {
    let output = tempfile::tempdir().unwrap();
    let mut recorder = Recorder { stop_after: stop, ..Recorder::default() };
    let places = Places { output: output.path(), work };
    let (student, report) = train(config, student(samples), samples, held_out, places, &mut recorder)?;
    Ok(Ran { report, recorder, weights: params::copy_values(&student.model) })
}
