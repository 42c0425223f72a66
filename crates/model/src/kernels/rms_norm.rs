//! RMSNorm: `y = x / √(mean x² + ε) · w`.

use super::simd::{dot, sum2, vectorized};

/// Returns `y` and, per row, `1 / √(mean x² + ε)`.
pub(crate) fn forward(x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let mut y = Vec::with_capacity(x.len());
    let mut scales = Vec::with_capacity(x.len() / width.max(1));
    vectorized(|| {
        for row in x.chunks_exact(width) {
            let scale = 1.0 / (dot(row, row) / width as f32 + eps).sqrt();
            scales.push(scale);
            y.extend(row.iter().zip(weight).map(|(&x, &w)| x * scale * w));
        }
    });
    (y, scales)
}

/// Returns the gradients of `x` and of the weight.
pub(crate) fn backward(x: &[f32], weight: &[f32], scales: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let mut dx = Vec::with_capacity(x.len());
    let mut dweight = vec![0.0; width];
    let mut weighted = vec![0.0; width];
    vectorized(|| {
        for ((x, dy), &scale) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(scales) {
            for i in 0..width {
                weighted[i] = dy[i] * weight[i];
                dweight[i] = (dy[i] * x[i]).mul_add(scale, dweight[i]);
            }
            let shrink = scale * scale * sum2(&weighted, x, |g, x| g * x) / width as f32;
            dx.extend(weighted.iter().zip(x).map(|(&g, &x)| scale * x.mul_add(-shrink, g)));
        }
    });
    (dx, dweight)
}
