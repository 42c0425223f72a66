//! The kernels of [`crate::ops`] composed of a backend's own operations, for a backend that has none of its own.
//!
//! What a GPU computes with where no kernel was written for it: every model and every loss, at the backend's own speed.
//! The formulas are those of [`crate::kernels`], which the tests hold them against.

mod attention;
mod loss;
#[cfg(test)]
mod tests;

use std::ops::{Add, Div, Mul, Range, Sub};

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{Device, FloatTensor, IntTensor},
    },
    tensor::{IndexingUpdateOp, Shape, Slice, TensorData},
};

pub(crate) use self::{
    attention::{attention_backward, attention_cached, attention_forward},
    loss::cross_entropy_forward,
};
use crate::{
    config::Activation,
    kernels::gated::{CUBIC, SQRT_2_OVER_PI},
};

/// A tensor with the operators of arithmetic; they broadcast.
struct Value<B: Backend>(FloatTensor<B>);

impl<B: Backend> Clone for Value<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

macro_rules! operator {
    ($name:ident, $method:ident, $op:ident) => {
        impl<B: Backend> $name for Value<B> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                Self(B::$op(self.0, other.0))
            }
        }
    };
}
operator!(Add, add, float_add);
operator!(Sub, sub, float_sub);
operator!(Mul, mul, float_mul);
operator!(Div, div, float_div);

impl<B: Backend> Value<B> {
    fn of<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device<B>) -> Self {
        Self(B::float_from_data(TensorData::new(values, shape), device))
    }

    fn zeros<const D: usize>(shape: [usize; D], device: &Device<B>) -> Self {
        Self(B::float_zeros(Shape::new(shape), device, burn::tensor::FloatDType::F32))
    }

    fn dim(&self, at: usize) -> usize {
        self.0.shape().as_slice().get(at).copied().unwrap_or(0)
    }

    fn scaled(self, factor: f32) -> Self {
        Self(B::float_mul_scalar(self.0, factor.into()))
    }

    fn plus(self, number: f32) -> Self {
        Self(B::float_add_scalar(self.0, number.into()))
    }

    fn exp(self) -> Self {
        Self(B::float_exp(self.0))
    }

    fn ln(self) -> Self {
        Self(B::float_log(self.0))
    }

    fn tanh(self) -> Self {
        Self(B::float_tanh(self.0))
    }

    fn squared(self) -> Self {
        self.clone() * self
    }

    fn sigmoid(self) -> Self {
        Self(B::float_recip(self.scaled(-1.0).exp().plus(1.0).0))
    }

    fn at_least(self, number: f32) -> Self {
        Self(B::float_clamp_min(self.0, number.into()))
    }

    /// The last two dimensions as matrices.
    fn times(self, other: Self) -> Self {
        Self(B::float_matmul(self.0, other.0))
    }

    /// The last two dimensions swapped.
    fn t(self) -> Self {
        Self(B::float_transpose(self.0))
    }

    fn swapped(self, one: usize, other: usize) -> Self {
        Self(B::float_swap_dims(self.0, one, other))
    }

    fn shaped<const D: usize>(self, shape: [usize; D]) -> Self {
        Self(B::float_reshape(self.0, Shape::new(shape)))
    }

    /// The sum over a dimension, which stays as one of size 1.
    fn sum(self, dim: usize) -> Self {
        Self(B::float_sum_dim(self.0, dim))
    }

    fn max(self, dim: usize) -> Self {
        Self(B::float_max_dim(self.0, dim))
    }

    fn part(&self, dim: usize, range: Range<usize>) -> Self {
        let sizes = self.0.shape();
        let slices = sizes.as_slice().iter().enumerate().map(|(at, &size)| if at == dim { range.clone() } else { 0..size });
        let slices: Vec<Slice> = slices.map(Slice::from).collect();
        Self(B::float_slice(self.0.clone(), &slices))
    }

    fn joined(parts: Vec<Self>, dim: usize) -> Self {
        Self(B::float_cat(parts.into_iter().map(|part| part.0).collect(), dim))
    }

    /// Of each row of a matrix the elements at these columns.
    fn picked(&self, columns: &IntTensor<B>) -> Self {
        Self(B::float_gather(1, self.0.clone(), columns.clone()))
    }

    /// Adds to the elements at these columns of each row of a matrix.
    fn added_at(self, columns: IntTensor<B>, values: Self) -> Self {
        Self(B::float_scatter(1, self.0, columns, values.0, IndexingUpdateOp::Add))
    }
}

pub(crate) fn rms_norm_forward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, eps: f32) -> (FloatTensor<B>, FloatTensor<B>) {
    let (x, weight) = (Value::<B>(x), Value::<B>(weight));
    let (n, d) = (x.dim(0), x.dim(1));
    let mean = x.clone().squared().sum(1).scaled(1.0 / d as f32);
    let scales = Value::<B>(B::float_recip(B::float_sqrt(mean.plus(eps).0)));
    let y = x * scales.clone() * weight.shaped([1, d]);
    (y.0, scales.shaped([n]).0)
}

pub(crate) fn rms_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    scales: FloatTensor<B>,
    dy: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (x, weight, scales, dy) = (Value::<B>(x), Value::<B>(weight), Value::<B>(scales), Value::<B>(dy));
    let (n, d) = (x.dim(0), x.dim(1));
    let scales = scales.shaped([n, 1]);
    let normed = x * scales.clone();
    let dweight = (dy.clone() * normed.clone()).sum(0).shaped([d]);
    let slope = dy * weight.shaped([1, d]);
    let along = (slope.clone() * normed.clone()).sum(1).scaled(1.0 / d as f32);
    let dx = (slope - normed * along) * scales;
    (dx.0, dweight.0)
}

/// Value and slope of the activation.
fn activate<B: Backend>(x: &Value<B>, activation: Activation) -> (Value<B>, Value<B>) {
    match activation {
        Activation::Silu => {
            let s = x.clone().sigmoid();
            let slope = s.clone() * (x.clone() * s.clone().scaled(-1.0).plus(1.0)).plus(1.0);
            (x.clone() * s, slope)
        }
        Activation::GeluTanh => {
            let square = x.clone().squared();
            let inner = x.clone() * square.clone().scaled(CUBIC).plus(1.0);
            let t = inner.scaled(SQRT_2_OVER_PI).tanh();
            let half = t.clone().plus(1.0).scaled(0.5);
            let inner_slope = square.scaled(3.0 * CUBIC).plus(1.0).scaled(SQRT_2_OVER_PI);
            let slope = half.clone() + x.clone().scaled(0.5) * t.squared().scaled(-1.0).plus(1.0) * inner_slope;
            (x.clone() * half, slope)
        }
    }
}

fn halves<B: Backend>(gate_up: FloatTensor<B>) -> (Value<B>, Value<B>) {
    let gate_up = Value::<B>(gate_up);
    let width = gate_up.dim(1) / 2;
    (gate_up.part(1, 0..width), gate_up.part(1, width..2 * width))
}

pub(crate) fn gated_forward<B: Backend>(gate_up: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    let (gate, up) = halves::<B>(gate_up);
    (activate(&gate, activation).0 * up).0
}

pub(crate) fn gated_backward<B: Backend>(gate_up: FloatTensor<B>, activation: Activation, dout: FloatTensor<B>) -> FloatTensor<B> {
    let (gate, up) = halves::<B>(gate_up);
    let (value, slope) = activate(&gate, activation);
    let dout = Value::<B>(dout);
    Value::joined(vec![dout.clone() * up * slope, dout * value], 1).0
}
