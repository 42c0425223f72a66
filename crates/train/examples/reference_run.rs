//! A short run written out for `tests/reference/train_compare.py`: the untrained student, the documents of every step, and
//! the losses and gradient norms found.
//!
//! `cargo run --release -p potstill-train --example reference_run -- FOLDER [STUDENT_FOLDER] [lora]`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::path::{Path, PathBuf};

use potstill_data::{Message, Meta, Sample, SampleKind};
use potstill_model::ChatTemplate;
use potstill_model::lora::{AdapterInfo, save_adapter};
use potstill_train::batch::DataOrder;
use potstill_train::render::Renderer;
use potstill_train::{LoraConfig, Places, Schedule, ScratchConfig, SftConfig, Student, TrainEvent, train};
use serde_json::json;

const STEPS: u64 = 30;
/// Every step has as many samples: TRL knows no smaller batch in the middle of its data.
const BATCH: usize = 4;

/// Plain ChatML, which the script writes too.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// One turn or two; the reply holds its reasoning in its text, so that every renderer sees the same.
fn sample(index: usize) -> Sample {
    let (a, b) = (index * 37 % 97, index * 61 % 89);
    let reasoning = (0..1 + index % 5).map(|step| format!("{a} + {step} is {}.", a + step)).collect::<Vec<_>>().join(" ");
    let mut messages = vec![
        Message::new("user", format!("What is {a} + {b}?")),
        Message::new("assistant", format!("<think>\n{reasoning}\n</think>\n\nThe answer is {}", a + b)),
    ];
    if index.is_multiple_of(3) {
        messages.push(Message::new("user", "And one more?"));
        messages.push(Message::new("assistant", format!("Then it is {}", a + b + 1)));
    }
    Sample {
        sample_id: index.to_string(),
        problem_id: index.to_string(),
        source: "reference".into(),
        messages,
        kind: SampleKind::Shortcut,
        weight: 1.0,
        loss_spans: Vec::new(),
        lineage: Vec::new(),
        meta: Meta::new(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(&arguments[0]);
    let lora = arguments.iter().any(|argument| argument == "lora");
    let device = burn::tensor::Device::flex();
    let samples: Vec<Sample> = (0..STEPS as usize * BATCH).map(sample).collect();
    let (mut student, learning_rate) = match arguments.get(1).filter(|argument| *argument != "lora") {
        Some(student) => (Student::load(Path::new(student), &device).unwrap(), 1e-5),
        None => {
            (Student::from_scratch(&ScratchConfig { hidden_size: 64, ..ScratchConfig::default() }, &samples, 7, &device).unwrap(), 3e-3)
        }
    };
    student.template = ChatTemplate::new(TEMPLATE, student.template.specials().clone()).unwrap();
    student.save(&folder.join("student")).unwrap();
    let config = SftConfig {
        max_steps: Some(STEPS),
        learning_rate: if lora { 10.0 * learning_rate } else { learning_rate },
        lora: lora.then(LoraConfig::default),
        schedule: Schedule { warmup_steps: Some(5), ..Schedule::default() },
        batch_size: BATCH,
        weight_decay: 0.1,
        micro_batch_tokens: 256,
        ..SftConfig::default()
    };
    if let Some(lora) = &config.lora {
        let info = AdapterInfo { rank: lora.rank, alpha: lora.alpha, dropout: 0.0, rslora: lora.rslora, base: None };
        let start = student.model.clone().with_lora(&lora.spec(), config.seed, &device).unwrap();
        save_adapter(&folder.join("adapter_start"), &start, &info).unwrap();
    }
    let documents = Renderer::new(&student.template).documents(&student.tokenizer, &samples, 2).unwrap();
    let mut order = DataOrder::new(documents.len(), config.batch_size, config.seed);
    let steps: Vec<_> = (0..STEPS)
        .map(|step| {
            let document = |&row: &usize| {
                let document = &documents[row];
                json!({ "tokens": document.tokens, "weights": document.weights, "messages": samples[row].messages })
            };
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
