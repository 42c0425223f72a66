//! Output head and loss together, in chunks of rows, so that `tokens × vocabulary` logits never exist at once.
//!
//! Per row with logits `z`, probabilities `p` and target `t`:
//! `(1 − α)·[(1 − ε)·−log p_t + ε·mean_j −log p_j] + c·(log Σ eᶻ)² + α·KL(q ‖ p)`,
//! with label smoothing `ε`, z-loss `c` (Chowdhery et al. 2022, arXiv:2204.02311) and, where a teacher's distribution `q`
//! is known for the row, distillation `α` (Hinton et al. 2015, arXiv:1503.02531). Of `q` the most probable tokens are
//! known; the rest of the vocabulary counts as one more outcome on both sides, so that the divergence is never negative
//! and is exact when all tokens are known.

use super::{
    linear::product_into,
    matrix::Mat,
    simd::{exp_sub_sum, max, vectorized},
};
use crate::{
    loss::{SoftTargets, Targets},
    parallel,
};

/// Logits held at a time: 64 MB. The head is read once per chunk.
const CHUNK_ELEMENTS: usize = 1 << 24;
const CHUNK_ROWS: usize = 256;
/// Probability below which the unknown rest of a distribution is taken for nothing.
pub(crate) const NO_REST: f32 = 1e-6;

/// What one pass gives.
pub(crate) struct Loss {
    /// The weighted sum of the rows' losses.
    pub(crate) sum: f32,
    /// Its gradient by the hidden states `[n, width]`.
    pub(crate) dhidden: Option<Vec<f32>>,
    /// Its gradient by the head `[vocab, width]`.
    pub(crate) dhead: Option<Vec<f32>>,
}

/// `hidden` is `[n, width]`, `head` is `[vocab, width]`; `wanted` says whether their gradients are.
pub(crate) fn forward(hidden: &[f32], head: &[f32], width: usize, targets: &Targets, wanted: [bool; 2]) -> Loss {
    let (rows, vocab) = (targets.ids.len(), head.len() / width);
    let chunk = (CHUNK_ELEMENTS / vocab).clamp(1, CHUNK_ROWS);
    let mut logits = vec![0.0; chunk.min(rows) * vocab];
    let mut dhidden = wanted[0].then(|| vec![0.0; hidden.len()]);
    let mut dhead = wanted[1].then(|| vec![0.0; head.len()]);
    let mut sum = 0.0f64;
    let head = Mat::new(head, vocab, width, width);
    for start in (0..rows).step_by(chunk) {
        let end = (start + chunk).min(rows);
        let logits = &mut logits[..(end - start) * vocab];
        let states = Mat::new(&hidden[start * width..end * width], end - start, width, width);
        product_into(logits, false, states, head.t());
        sum += slopes(logits, vocab, targets, start);
        let slopes = Mat::new(logits, end - start, vocab, vocab);
        if let Some(dhidden) = &mut dhidden {
            product_into(&mut dhidden[start * width..end * width], false, slopes, head);
        }
        if let Some(dhead) = &mut dhead {
            product_into(dhead, true, slopes.t(), states);
        }
    }
    Loss { sum: sum as f32, dhidden, dhead }
}

/// Turns the logits of rows `start..` into the gradient of their weighted losses, in place, and returns the losses' sum.
fn slopes(logits: &mut [f32], vocab: usize, targets: &Targets, start: usize) -> f64 {
    let row = |at: usize, logits: &mut [f32]| row_slope(logits, targets, start + at);
    match parallel::current() {
        None => logits.chunks_exact_mut(vocab).enumerate().map(|(at, logits)| row(at, logits)).sum(),
        Some(split) => {
            let mut rows: Vec<(&mut [f32], f64)> = logits.chunks_exact_mut(vocab).map(|logits| (logits, 0.0)).collect();
            split.chunks_mut(&mut rows, 8, |block, rows| {
                for (at, (logits, loss)) in rows.iter_mut().enumerate() {
                    *loss = row(block * 8 + at, logits);
                }
            });
            rows.iter().map(|(_, loss)| loss).sum()
        }
    }
}

vectorized! {
    /// One row's logits become its gradient; returns its weighted loss.
    fn row_slope(row: &mut [f32], targets: &Targets, at: usize) -> f64 {
        let (target, weight, terms) = (targets.ids[at] as usize, targets.weights[at], targets.terms);
        let soft = targets.soft.as_ref().and_then(|soft| soft.row(at).map(|row| (soft.weight, row)));
        let hard = 1.0 - soft.map_or(0.0, |(weight, _)| weight);
        let smoothing = terms.label_smoothing;
        let mean = if smoothing > 0.0 { row.iter().sum::<f32>() / row.len() as f32 } else { 0.0 };
        let shift = max(row);
        let at_target = row[target];
        let total = exp_sub_sum(row, shift);
        let log_sum = total.ln() + shift;
        let mut loss = hard * (log_sum - (1.0 - smoothing) * at_target - smoothing * mean) + terms.z_loss * log_sum * log_sum;
        let mut factor = hard + 2.0 * terms.z_loss * log_sum;
        // What the known tokens of a teacher add to the gradient, beside what all tokens get alike.
        let mut known: Vec<(usize, f32)> = Vec::new();
        if let Some((share, (ids, probabilities))) = soft {
            let p = |id: u32| row[id as usize] / total;
            let (divergence, ratio) = SoftTargets::divergence(ids, probabilities, NO_REST, p);
            loss += share * divergence;
            factor += share * (1.0 - ratio);
            let pairs = ids.iter().zip(probabilities).filter(|(_, q)| **q > 0.0);
            known.extend(pairs.map(|(&id, &q)| (id as usize, weight * share * (ratio * p(id) - q))));
        }
        let (scale, flat) = (weight * factor / total, weight * hard * smoothing / row.len() as f32);
        for x in row.iter_mut() {
            *x = x.mul_add(scale, -flat);
        }
        row[target] -= weight * hard * (1.0 - smoothing);
        for (id, slope) in known {
            row[id] += slope;
        }
        f64::from(weight * loss)
    }
}
