//! The gated feed-forward's nonlinearity: `act(gate) · up`, gate and up side by side in one row.

use super::simd::{sigmoid, tanh, vectorized};
use crate::{config::Activation, parallel};

/// Rows per block where threads share the work.
const ROWS: usize = 32;

pub(crate) const CUBIC: f32 = 0.044_715;
pub(crate) const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// `[n, 2·width]` to `[n, width]`.
pub(crate) fn forward(gate_up: &[f32], width: usize, activation: Activation) -> Vec<f32> {
    let mut out = vec![0.0; gate_up.len() / 2];
    let block = |gate_up: &[f32], out: &mut [f32]| match activation {
        Activation::Silu => silu_forward(gate_up, width, out),
        Activation::GeluTanh => gelu_forward(gate_up, width, out),
    };
    match parallel::current() {
        Some(split) => split.chunks_mut(&mut out, ROWS * width, |at, out| {
            let start = at * ROWS * 2 * width;
            block(&gate_up[start..start + 2 * out.len()], out);
        }),
        None => block(gate_up, &mut out),
    }
    out
}

/// The gradient of `gate_up`.
pub(crate) fn backward(gate_up: &[f32], width: usize, activation: Activation, dout: &[f32]) -> Vec<f32> {
    let mut grad = vec![0.0; gate_up.len()];
    let block = |gate_up: &[f32], dout: &[f32], grad: &mut [f32]| match activation {
        Activation::Silu => silu_backward(gate_up, width, dout, grad),
        Activation::GeluTanh => gelu_backward(gate_up, width, dout, grad),
    };
    match parallel::current() {
        Some(split) => split.chunks_mut(&mut grad, ROWS * 2 * width, |at, grad| {
            let (start, count) = (at * ROWS * width, grad.len() / 2);
            block(&gate_up[2 * start..2 * (start + count)], &dout[start..start + count], grad);
        }),
        None => block(gate_up, dout, &mut grad),
    }
    grad
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
    fn silu_forward(gate_up: &[f32], width: usize, out: &mut [f32]) {
        map(gate_up, width, out, silu);
    }
}

vectorized! {
    fn gelu_forward(gate_up: &[f32], width: usize, out: &mut [f32]) {
        map(gate_up, width, out, gelu);
    }
}

vectorized! {
    fn silu_backward(gate_up: &[f32], width: usize, dout: &[f32], grad: &mut [f32]) {
        map_back(gate_up, width, dout, grad, silu);
    }
}

vectorized! {
    fn gelu_backward(gate_up: &[f32], width: usize, dout: &[f32], grad: &mut [f32]) {
        map_back(gate_up, width, dout, grad, gelu);
    }
}

#[inline(always)]
fn map(gate_up: &[f32], width: usize, out: &mut [f32], act: impl Fn(f32) -> (f32, f32)) {
    for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
        let (gate, up) = row.split_at(width);
        for i in 0..width {
            out[i] = act(gate[i]).0 * up[i];
        }
    }
}

#[inline(always)]
fn map_back(gate_up: &[f32], width: usize, dout: &[f32], grad: &mut [f32], act: impl Fn(f32) -> (f32, f32)) {
    for ((row, dout), grad) in gate_up.chunks_exact(2 * width).zip(dout.chunks_exact(width)).zip(grad.chunks_exact_mut(2 * width)) {
        let (gate, up) = row.split_at(width);
        let (dgate, dup) = grad.split_at_mut(width);
        for i in 0..width {
            let (value, slope) = act(gate[i]);
            dgate[i] = dout[i] * up[i] * slope;
            dup[i] = dout[i] * value;
        }
    }
}
