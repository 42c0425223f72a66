//! Output head and cross-entropy together, in chunks of rows, so that `tokens × vocabulary` logits never exist at once.

use super::{
    matrix::{Mat, MatMut, matmul},
    simd::{exp_sub_sum, max, vectorized},
};

/// Logits held at a time: 4 MB.
const CHUNK_ELEMENTS: usize = 1 << 20;

/// What one pass gives.
pub(crate) struct Loss {
    /// Σ weightᵢ · −log p(targetᵢ).
    pub(crate) sum: f32,
    /// Its gradient by the hidden states `[n, width]`; empty unless asked for.
    pub(crate) dhidden: Vec<f32>,
    /// Its gradient by the head `[vocab, width]`; empty unless asked for.
    pub(crate) dhead: Vec<f32>,
}

/// `hidden` is `[n, width]`, `head` is `[vocab, width]`; one target and one weight per row.
pub(crate) fn forward(hidden: &[f32], head: &[f32], width: usize, targets: &[u32], weights: &[f32], gradients: bool) -> Loss {
    let (rows, vocab) = (targets.len(), head.len() / width);
    let chunk = (CHUNK_ELEMENTS / vocab).clamp(1, 256);
    let mut logits = vec![0.0; chunk.min(rows) * vocab];
    let mut loss = Loss { sum: 0.0, dhidden: Vec::new(), dhead: Vec::new() };
    if gradients {
        loss.dhidden = vec![0.0; hidden.len()];
        loss.dhead = vec![0.0; head.len()];
    }
    let mut sum = 0.0f64;
    for start in (0..rows).step_by(chunk) {
        let end = (start + chunk).min(rows);
        let logits = &mut logits[..(end - start) * vocab];
        let states = Mat::new(&hidden[start * width..end * width], end - start, width, width);
        let head = Mat::new(head, vocab, width, width);
        matmul(MatMut::new(logits, end - start, vocab, vocab), false, states, head.t());
        sum += softmax_gradient(logits, vocab, &targets[start..end], &weights[start..end]);
        if gradients {
            let slopes = Mat::new(logits, end - start, vocab, vocab);
            let dhidden = &mut loss.dhidden[start * width..end * width];
            matmul(MatMut::new(dhidden, end - start, width, width), false, slopes, head);
            matmul(MatMut::new(&mut loss.dhead, vocab, width, width), true, slopes.t(), states);
        }
    }
    loss.sum = sum as f32;
    loss
}

vectorized! {
    /// Turns logits into `weight · (p − onehot)` in place and returns the weighted losses' sum.
    fn softmax_gradient(logits: &mut [f32], vocab: usize, targets: &[u32], weights: &[f32]) -> f64 {
        let mut sum = 0.0f64;
        for ((row, &target), &weight) in logits.chunks_exact_mut(vocab).zip(targets).zip(weights) {
            let target = target as usize;
            let shift = max(row);
            let at_target = row[target];
            let total = exp_sub_sum(row, shift);
            sum += f64::from(weight * (total.ln() + shift - at_target));
            let scale = weight / total;
            for x in row.iter_mut() {
                *x *= scale;
            }
            row[target] -= weight;
        }
        sum
    }
}
