//! Decoding against training: both compute the same model. Without a GPU these tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use potstill_cuda::{Batch, Decoder, Draw, Fed, Shape, Trainer, devices};

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
        let whole = decoder.best(&Fed { tokens: &tokens, positions: &rows, places: &rows, last: &rows }).unwrap();
        let places: Vec<i32> = rows.iter().map(|row| row + 100).collect();
        let half = LEN / 2;
        let mut parts =
            decoder.best(&Fed { tokens: &tokens[..half], positions: &rows[..half], places: &places[..half], last: &rows[..half] }).unwrap();
        for at in half..LEN {
            let one = at..at + 1;
            let fed = Fed { tokens: &tokens[one.clone()], positions: &rows[one.clone()], places: &places[one], last: &[0] };
            parts.extend(decoder.best(&fed).unwrap());
        }
        let equal = whole.iter().zip(&parts).filter(|(a, b)| a == b).count();
        assert!(equal >= LEN - 1, "{equal} of {LEN} predictions are equal");
        // The trainer counts the same predictions as right.
        let mut trainer = Trainer::new(0, shape, &parameters, None, None).unwrap();
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
fn a_cache_grows_and_its_rows_are_copied() {
    if devices() == 0 {
        println!("skipped: there is no GPU");
        return;
    }
    let shape = shape(16, 6, 2, true, false);
    let parameters = parameters(&shape);
    let tokens: Vec<i32> = (0..30).map(|i| (i * i * 31 + 5) % 203).collect();
    let positions: Vec<i32> = (0..30).collect();
    let mut decoder = Decoder::new(0, shape.clone(), parameters.into_iter(), 0).unwrap();
    decoder.resize(2, 0, 20).unwrap();
    // 20 tokens in slot 0, then more room, then a copy of 15 of them in slot 1, which goes on alike.
    decoder.feed(&Fed { tokens: &tokens[..20], positions: &positions[..20], places: &positions[..20], last: &[] }).unwrap();
    decoder.resize(2, 20, 50).unwrap();
    decoder.copy(0, 50, 15).unwrap();
    let places: Vec<i32> = (65..80).collect();
    let fed = Fed { tokens: &tokens[15..], positions: &positions[15..], places: &places, last: &[4, 14] };
    let branched = decoder.logits(&fed).unwrap();
    let best = decoder.best(&fed).unwrap();
    let fed = Fed { tokens: &tokens, positions: &positions, places: &positions, last: &[19, 29] };
    let whole = decoder.logits(&fed).unwrap();
    assert_eq!((branched.len(), whole.len()), (2 * 203, 2 * 203));
    let widest = whole.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
    for (a, b) in branched.iter().zip(&whole) {
        assert!((a - b).abs() < 0.03 * widest, "{a} {b}");
    }
    for (row, best) in whole.chunks(203).zip(best) {
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        assert!(most - row[best as usize] < 0.03 * widest);
    }
    assert!(decoder.copy(60, 90, 20).unwrap_err().to_string().contains("100 rows"));
}

#[test]
fn draws_follow_the_cut_probabilities() {
    if devices() == 0 {
        println!("skipped: there is no GPU");
        return;
    }
    let shape = shape(16, 6, 2, true, false);
    let parameters = parameters(&shape);
    let mut decoder = Decoder::new(0, shape, parameters.into_iter(), 300).unwrap();
    // The same place 256 times, so that each draw sees the same logits.
    let (tokens, positions) = (vec![5; 256], vec![0; 256]);
    let rows: Vec<i32> = (0..256).collect();
    let fed = Fed { tokens: &tokens, positions: &positions, places: &rows, last: &rows };
    let logits = decoder.logits(&fed).unwrap()[..203].to_vec();
    for (temperature, top_p, min_p, top_k) in
        [(1.0, 1.0, 0.0, 0), (0.7, 0.8, 0.0, 0), (1.3, 1.0, 0.2, 0), (1.0, 0.9, 0.0, 7), (0.0, 1.0, 0.0, 0)]
    {
        let expected = kept(&logits, temperature, top_p, min_p, top_k as usize);
        let draws: Vec<Draw> = (0..256).map(|at| Draw { temperature, top_p, min_p, top_k, at: (at as f32 + 0.5) / 256.0 }).collect();
        let mut counts = vec![0.0f32; 203];
        for token in decoder.draw(&fed, &draws).unwrap() {
            counts[token as usize] += 1.0 / 256.0;
        }
        // Shares evenly spaced meet each token as often as its probability says, to one draw.
        for (token, (count, expected)) in counts.iter().zip(&expected).enumerate() {
            assert!(
                (count - expected).abs() <= 1.5 / 256.0 + 0.02 * expected,
                "{token}: {count} {expected} at {temperature} {top_p} {min_p} {top_k}"
            );
        }
    }
}

/// Probabilities after the cuts, by sorting.
fn kept(logits: &[f32], temperature: f32, top_p: f32, min_p: f32, top_k: usize) -> Vec<f32> {
    let high = logits.iter().copied().fold(f32::MIN, f32::max);
    let weight = |logit: f32| if temperature == 0.0 { f32::from(u8::from(logit == high)) } else { ((logit - high) / temperature).exp() };
    let mut weights: Vec<(usize, f32)> =
        logits.iter().map(|&logit| weight(logit)).enumerate().filter(|w| w.1 >= min_p.max(1e-13)).collect();
    weights.sort_by(|a, b| b.1.total_cmp(&a.1));
    weights.truncate(if top_k == 0 { usize::MAX } else { top_k });
    let total: f32 = weights.iter().map(|w| w.1).sum();
    let mut reached = 0.0;
    weights.retain(|w| {
        let before = reached;
        reached += w.1;
        before < total * top_p
    });
    let total: f32 = weights.iter().map(|w| w.1).sum();
    let mut probabilities = vec![0.0; logits.len()];
    weights.into_iter().for_each(|(token, weight)| probabilities[token] = weight / total);
    probabilities
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
        decoder.best(&Fed { tokens, positions, places, last: &[0] }).unwrap_err().to_string()
    };
    for (token, position, place) in [(203, 0, 0), (-1, 0, 0), (0, 140, 140), (0, 0, 70), (0, 5, 3)] {
        assert!(error(&[token], &[position], &[place], &mut decoder).contains("a vocabulary of 203"));
    }
    let short = parameters[..4].to_vec();
    assert!(Trainer::new(0, shape.clone(), &short, None, None).err().unwrap().to_string().contains("were given"));
    assert!(Decoder::new(99, shape, parameters.into_iter(), 1).is_err());
}
