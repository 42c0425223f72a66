//! AdamW against the course that PyTorch's optimizer takes (`reference/adamw_golden.py` writes it).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use potstill_train::SftConfig;
use potstill_train::adamw::{AdamW, Moments};

#[derive(serde::Deserialize)]
struct Golden {
    start: Vec<f32>,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    runs: Vec<Course>,
}

#[derive(serde::Deserialize)]
struct Course {
    decay: bool,
    values: Vec<Vec<f32>>,
}

/// The formula of the reference script.
fn gradient(step: usize, index: usize) -> f32 {
    ((step as f64 * 1.7 + index as f64 * 0.9).sin() * 10.0_f64.powi(index as i32 - 4)) as f32
}

#[test]
fn follows_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("reference/adamw_golden.json")).unwrap();
    let config = SftConfig { betas: golden.betas, eps: golden.eps, weight_decay: golden.weight_decay, ..SftConfig::default() };
    for course in &golden.runs {
        let mut values = golden.start.clone();
        let mut moments = Moments::zeros(&[values.len()]);
        for (step, expected) in course.values.iter().enumerate() {
            let gradients: Vec<f32> = (0..values.len()).map(|index| gradient(step, index)).collect();
            let rate = 1e-2 * (1.0 - step as f64 / 25.0);
            let optimizer = AdamW::new(&config, rate, step as u64);
            optimizer.update(&mut values, &gradients, &mut moments.first[0], &mut moments.second[0], 1.0, course.decay);
            for (found, expected) in values.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1e-2), "step {step}: {found} {expected}");
            }
        }
    }
}
