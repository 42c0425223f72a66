//! The gated feed-forward's nonlinearity: `act(gate) · up`, gate and up side by side in one row.

use super::simd::{exp, sigmoid, tanh, vectorized};
use crate::config::Activation;

const CUBIC: f32 = 0.044_715;
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// `[n, 2·width]` to `[n, width]`.
pub(crate) fn forward(gate_up: &[f32], width: usize, activation: Activation) -> Vec<f32> {
    match activation {
        Activation::Silu => map(gate_up, width, |x| x / (1.0 + exp(-x))),
        Activation::GeluTanh => map(gate_up, width, |x| 0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (CUBIC * x * x).mul_add(x, x)))),
    }
}

#[inline(always)]
fn map(gate_up: &[f32], width: usize, act: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(gate_up.len() / 2);
    vectorized(|| {
        for row in gate_up.chunks_exact(2 * width) {
            let (gate, up) = row.split_at(width);
            out.extend(gate.iter().zip(up).map(|(&g, &u)| act(g) * u));
        }
    });
    out
}

/// The gradient of `gate_up`.
pub(crate) fn backward(gate_up: &[f32], width: usize, activation: Activation, dout: &[f32]) -> Vec<f32> {
    match activation {
        Activation::Silu => map_back(gate_up, width, dout, |x| {
            let s = sigmoid(x);
            (x * s, s * x.mul_add(1.0 - s, 1.0))
        }),
        Activation::GeluTanh => map_back(gate_up, width, dout, |x| {
            let t = tanh(SQRT_2_OVER_PI * (CUBIC * x * x).mul_add(x, x));
            let inner = SQRT_2_OVER_PI * (3.0 * CUBIC * x).mul_add(x, 1.0);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
        }),
    }
}

/// `act` gives the activation and its derivative.
#[inline(always)]
fn map_back(gate_up: &[f32], width: usize, dout: &[f32], act: impl Fn(f32) -> (f32, f32)) -> Vec<f32> {
    let mut grad = vec![0.0; gate_up.len()];
    vectorized(|| {
        for ((row, dout), grad) in gate_up.chunks_exact(2 * width).zip(dout.chunks_exact(width)).zip(grad.chunks_exact_mut(2 * width)) {
            let (gate, up) = row.split_at(width);
            let (dgate, dup) = grad.split_at_mut(width);
            for i in 0..width {
                let (value, slope) = act(gate[i]);
                dgate[i] = dout[i] * up[i] * slope;
                dup[i] = dout[i] * value;
            }
        }
    });
    grad
}
