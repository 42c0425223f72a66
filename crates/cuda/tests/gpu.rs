//! Decoding against training: both compute the same model. Without a GPU these tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use potstill_cuda::{Batch, Decoder, Fed, Shape, Trainer, devices};

const LEN: usize = 70;

fn shape(dim: usize, heads: usize, groups: usize, bias: bool, tied: bool) -> Shape {
    let angle = |position: usize, i: usize| position as f32 / 10_000f32.powf(2.0 * i as f32 / dim as f32);
    let row = |position: usize| {
        let cos = (0..dim / 2).map(move |i| angle(position, i).cos());
        cos.chain((0..dim / 2).map(move |i| angle(position, i).sin())).collect::<Vec<_>>()
    };
    Shape {
        vocab: 203,
        hidden: 48,
        inner: 72,
        layers: 3,
        heads,
        groups,
        dim,
        bias,
        tied,
        eps: 1e-5,
        scale: 1.0 / (dim as f32).sqrt(),
        angles: (0..2 * LEN).flat_map(row).collect(),
    }
}

/// Weights that spread the logits, the same on every run.
fn parameters(shape: &Shape) -> Vec<Vec<f32>> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let spread = |size: usize| if size == 48 { 0.0 } else { 0.35 };
    shape.sizes().into_iter().map(|size| (0..size).map(|_| if size == 48 { 1.0 } else { next() * spread(size) }).collect()).collect()
}

#[test]
fn decoding_predicts_what_training_does() {
    if devices() == 0 {
        println!("skipped: there is no GPU");
        return;
    }
    for (dim, heads, groups, bias, tied) in
        [(16, 6, 2, true, false), (64, 3, 1, false, true), (8, 4, 4, false, true), (128, 4, 2, true, true)]
    {
        let shape = shape(dim, heads, groups, bias, tied);
        let parameters = parameters(&shape);
        let tokens: Vec<i32> = (0..LEN as i32).map(|i| (i * i * 31 + 5) % 203).collect();
        // Whole, then the first half at once and the rest one by one, in another place of the cache.
        let rows: Vec<i32> = (0..LEN as i32).collect();
        let mut decoder = Decoder::new(0, shape.clone(), parameters.iter().cloned(), 3 * LEN).unwrap();
        let whole = decoder.forward(&Fed { tokens: &tokens, positions: &rows, places: &rows, last: &rows }).unwrap();
        let places: Vec<i32> = rows.iter().map(|row| row + 100).collect();
        let half = LEN / 2;
        let mut parts = decoder
            .forward(&Fed { tokens: &tokens[..half], positions: &rows[..half], places: &places[..half], last: &rows[..half] })
            .unwrap();
        for at in half..LEN {
            let one = at..at + 1;
            let fed = Fed { tokens: &tokens[one.clone()], positions: &rows[one.clone()], places: &places[one], last: &[0] };
            parts.extend(decoder.forward(&fed).unwrap());
        }
        let equal = whole.iter().zip(&parts).filter(|(a, b)| a == b).count();
        assert!(equal >= LEN - 1, "{equal} of {LEN} predictions are equal");
        // The trainer counts the same predictions as right.
        let mut trainer = Trainer::new(0, shape, &parameters, None).unwrap();
        let targets: Vec<u32> = whole.iter().map(|&token| token as u32).collect();
        let starts = vec![0; LEN];
        let weights = vec![1.0; LEN];
        let batch = Batch { rows: 1, len: LEN, tokens: &tokens, starts: &starts, selected: &rows, targets: &targets, weights: &weights };
        let (loss, correct) = trainer.loss(&batch).unwrap();
        println!("heads of {dim}: {equal} equal, {correct} right, loss {:.3}", loss / LEN as f64);
        assert!(correct >= LEN as u64 - 2, "{correct} of {LEN}");
        assert!(loss / (LEN as f64) < (203f64).ln());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    if devices() == 0 {
        println!("skipped: there is no GPU");
        return;
    }
    let shape = shape(16, 4, 2, false, true);
    let parameters = parameters(&shape);
    let mut decoder = Decoder::new(0, shape.clone(), parameters.iter().cloned(), LEN).unwrap();
    let error = |tokens: &[i32], positions: &[i32], places: &[i32], decoder: &mut Decoder| {
        decoder.forward(&Fed { tokens, positions, places, last: &[0] }).unwrap_err().to_string()
    };
    for (token, position, place) in [(203, 0, 0), (-1, 0, 0), (0, 140, 140), (0, 0, 70), (0, 5, 3)] {
        assert!(error(&[token], &[position], &[place], &mut decoder).contains("a vocabulary of 203"));
    }
    let short = parameters[..4].to_vec();
    assert!(Trainer::new(0, shape.clone(), &short, None).err().unwrap().to_string().contains("were given"));
    assert!(Decoder::new(99, shape, parameters.into_iter(), 1).is_err());
}
