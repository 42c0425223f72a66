//! A short run written out for `tests/reference/compare_transformers.py`: the untrained student, the documents of every
//! step, and the losses and gradient norms found.
//!
//! `cargo run --release -p potstill-train --example reference_run -- FOLDER [STUDENT_FOLDER]`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::PathBuf;

use potstill_data::{Message, Meta, Sample, SampleKind};
use potstill_train::batch::DataOrder;
use potstill_train::render::Renderer;
use potstill_train::{Places, Schedule, ScratchConfig, SftConfig, Student, TrainEvent, train};
use serde_json::json;

const STEPS: u64 = 30;

fn sample(index: usize) -> Sample {
    let (a, b) = (index * 37 % 97, index * 61 % 89);
    let reasoning = (0..1 + index % 5).map(|step| format!("{a} + {step} is {}.", a + step)).collect::<Vec<_>>().join(" ");
    let answer = Message { role: "assistant".into(), content: format!("The answer is {}", a + b), reasoning: Some(reasoning) };
    Sample {
        sample_id: index.to_string(),
        problem_id: index.to_string(),
        source: "reference".into(),
        messages: vec![Message::new("user", format!("What is {a} + {b}?")), answer],
        kind: SampleKind::Shortcut,
        weight: 1.0,
        loss_spans: Vec::new(),
        lineage: Vec::new(),
        meta: Meta::new(),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let folder = arguments.next().unwrap();
    let device = burn::tensor::Device::flex();
    let samples: Vec<Sample> = (0..100).map(sample).collect();
    let (student, learning_rate) = match arguments.next() {
        Some(student) => (Student::load(&student, &device).unwrap(), 1e-5),
        None => {
            (Student::from_scratch(&ScratchConfig { hidden_size: 64, ..ScratchConfig::default() }, &samples, 7, &device).unwrap(), 3e-3)
        }
    };
    student.save(&folder.join("student")).unwrap();
    let config = SftConfig {
        max_steps: Some(STEPS),
        learning_rate,
        schedule: Schedule { warmup_steps: Some(5), ..Schedule::default() },
        batch_size: 8,
        weight_decay: 0.1,
        micro_batch_tokens: 256,
        ..SftConfig::default()
    };
    let documents = Renderer::new(&student.template).documents(&student.tokenizer, &samples, 2).unwrap();
    let mut order = DataOrder::new(documents.len(), config.batch_size, config.seed);
    let steps: Vec<_> = (0..STEPS)
        .map(|step| {
            let document = |&row: &usize| json!({ "tokens": documents[row].tokens, "weights": documents[row].weights });
            order.step(step).iter().map(document).collect::<Vec<_>>()
        })
        .collect();
    let mut curve = Vec::new();
    let mut observer = |event: &TrainEvent| {
        if let TrainEvent::Step { step, loss, grad_norm, learning_rate, .. } = *event {
            println!("step {step}: loss {loss:.6}, gradient norm {grad_norm:.6}");
            curve.push(json!({ "loss": loss, "grad_norm": grad_norm, "learning_rate": learning_rate }));
        }
    };
    let output = folder.join("trained");
    train(&config, student, &samples, &[], Places { output: &output, work: None }, &mut observer).unwrap();
    let run = json!({ "config": config, "steps": steps, "curve": curve });
    std::fs::write(folder.join("run.json"), run.to_string()).unwrap();
}
