//! The gated feed-forward's nonlinearity: `act(gate) · up`, gate and up side by side in one row.

use super::simd::{sigmoid, tanh, vectorized};
use crate::config::Activation;

const CUBIC: f32 = 0.044_715;
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// `[n, 2·width]` to `[n, width]`.
pub(crate) fn forward(gate_up: &[f32], width: usize, activation: Activation) -> Vec<f32> {
    match activation {
        Activation::Silu => silu_forward(gate_up, width),
        Activation::GeluTanh => gelu_forward(gate_up, width),
    }
}

/// The gradient of `gate_up`.
pub(crate) fn backward(gate_up: &[f32], width: usize, activation: Activation, dout: &[f32]) -> Vec<f32> {
    match activation {
        Activation::Silu => silu_backward(gate_up, width, dout),
        Activation::GeluTanh => gelu_backward(gate_up, width, dout),
    }
}

/// Value and slope of `x · sigmoid(x)`.
#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s * x.mul_add(1.0 - s, 1.0))
}

/// Value and slope of GELU's tanh form.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let t = tanh(SQRT_2_OVER_PI * (CUBIC * x * x).mul_add(x, x));
    let inner = SQRT_2_OVER_PI * (3.0 * CUBIC * x).mul_add(x, 1.0);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
}

vectorized! {
    fn silu_forward(gate_up: &[f32], width: usize) -> Vec<f32> {
        map(gate_up, width, silu)
    }
}

vectorized! {
    fn gelu_forward(gate_up: &[f32], width: usize) -> Vec<f32> {
        map(gate_up, width, gelu)
    }
}

vectorized! {
    fn silu_backward(gate_up: &[f32], width: usize, dout: &[f32]) -> Vec<f32> {
        map_back(gate_up, width, dout, silu)
    }
}

vectorized! {
    fn gelu_backward(gate_up: &[f32], width: usize, dout: &[f32]) -> Vec<f32> {
        map_back(gate_up, width, dout, gelu)
    }
}

#[inline(always)]
fn map(gate_up: &[f32], width: usize, act: impl Fn(f32) -> (f32, f32)) -> Vec<f32> {
    let mut out = vec![0.0; gate_up.len() / 2];
    for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
        let (gate, up) = row.split_at(width);
        for i in 0..width {
            out[i] = act(gate[i]).0 * up[i];
        }
    }
    out
}

#[inline(always)]
fn map_back(gate_up: &[f32], width: usize, dout: &[f32], act: impl Fn(f32) -> (f32, f32)) -> Vec<f32> {
    let mut grad = vec![0.0; gate_up.len()];
    for ((row, dout), grad) in gate_up.chunks_exact(2 * width).zip(dout.chunks_exact(width)).zip(grad.chunks_exact_mut(2 * width)) {
        let (gate, up) = row.split_at(width);
        let (dgate, dup) = grad.split_at_mut(width);
        for i in 0..width {
            let (value, slope) = act(gate[i]);
            dgate[i] = dout[i] * up[i] * slope;
            dup[i] = dout[i] * value;
        }
    }
    grad
}
