//! RMSNorm: `y = x / √(mean x² + ε) · w`.

use super::simd::{dot, sum2, vectorized};

vectorized! {
    /// Returns `y` and, per row, `1 / √(mean x² + ε)`.
    pub(crate) fn forward(x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
        let width = weight.len();
        let mut y = vec![0.0; x.len()];
        let mut scales = vec![0.0; x.len() / width];
        for ((x, y), scale) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(&mut scales) {
            *scale = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
            for i in 0..width {
                y[i] = x[i] * *scale * weight[i];
            }
        }
        (y, scales)
    }
}

vectorized! {
    /// Returns the gradients of `x` and of the weight.
    pub(crate) fn backward(x: &[f32], weight: &[f32], scales: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let width = weight.len();
        let mut dx = vec![0.0; x.len()];
        let mut dweight = vec![0.0; width];
        for (((x, dy), dx), &scale) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)).zip(scales) {
            for i in 0..width {
                dx[i] = dy[i] * weight[i];
                dweight[i] = (dy[i] * x[i]).mul_add(scale, dweight[i]);
            }
            let shrink = scale * scale * sum2(dx, x, |g, x| g * x) / width as f32;
            for i in 0..width {
                dx[i] = scale * x[i].mul_add(-shrink, dx[i]);
            }
        }
        (dx, dweight)
    }
}
