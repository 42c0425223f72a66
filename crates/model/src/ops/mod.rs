//! The seam between the model and a backend: the operations whose speed decides, as differentiable burn operations.
//!
//! [`FusedOps`] is what the model calls, on a plain or on an autodiff device. [`FusedKernels`] is what a backend
//! implements: each forward pass with what its backward pass needs. A faster backend (CUDA kernels, say) implements
//! the second trait; model, trainer and decoder stay as they are.

mod adapter;
mod cpu;
#[cfg(feature = "cuda")]
mod gpu;
mod gradients;

use std::sync::Arc;

use burn::{
    backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};

use crate::{
    config::Activation,
    kernels::{attention::AttentionSpec, decode::Step},
    layout::SequenceLayout,
    loss::Targets,
};

/// How the input of a projection is had again in the backward pass: what it was made from is kept anyway, and making it a
/// second time costs next to nothing.
#[derive(Debug, Clone, ExtensionType)]
pub(crate) enum Origin<B: Backend> {
    /// It is kept.
    Kept(FloatTensor<B>),
    /// It is `rms_norm(x, weight, ε)`.
    Normed(FloatTensor<B>, FloatTensor<B>, f32),
    /// It is `gated(gate_up, activation)`.
    Gated(FloatTensor<B>, Activation),
}

/// How attention has the merged projections again in the backward pass.
#[derive(Debug, Clone, ExtensionType)]
pub(crate) enum Projections<B: Backend> {
    /// They are kept.
    Kept,
    /// They are made again from what the layer reads. A factor without a rank or a bias without elements is none.
    Made {
        /// What the layer reads,
        x: FloatTensor<B>,
        /// the weight of its norm,
        norm: FloatTensor<B>,
        /// and that norm's ε.
        eps: f32,
        /// The matrix.
        w: FloatTensor<B>,
        /// The bias.
        bias: FloatTensor<B>,
        /// The queries' adapter,
        query_a: FloatTensor<B>,
        query_b: FloatTensor<B>,
        /// the keys',
        key_a: FloatTensor<B>,
        key_b: FloatTensor<B>,
        /// the values',
        value_a: FloatTensor<B>,
        value_b: FloatTensor<B>,
        /// and where they are added.
        places: [Place; 3],
    },
}

/// Where an adapter's product is added, and what it is multiplied by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The first column.
    pub(crate) column: usize,
    /// The factor.
    pub(crate) scale: f32,
}

/// Forward passes that keep what the backward pass needs.
pub(crate) trait FusedKernels: Backend {
    /// `x [n, d]`, `weight [d]` to `(y [n, d], scales [n])`.
    fn rms_norm_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradients of `x` and `weight`.
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// `[n, 2·i]` to `[n, i]`.
    fn gated_forward(gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// Gradient of `gate_up`.
    fn gated_backward(gate_up: FloatTensor<Self>, activation: Activation, dout: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Merged projections `[n, row]` to `(out [n, heads·dim], log-sum-exp [heads, n])`.
    fn attention_forward(qkv: FloatTensor<Self>, layout: &SequenceLayout, spec: &AttentionSpec) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradient of the merged projections.
    fn attention_backward(
        qkv: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        dout: FloatTensor<Self>,
        layout: &SequenceLayout,
        spec: &AttentionSpec,
    ) -> FloatTensor<Self>;
    /// The weighted sum `[1]` of the losses of `hidden [n, d] · headᵀ [d, vocab]`, and the gradients of both as `wanted`.
    fn cross_entropy_forward(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: &Targets,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, [Option<FloatTensor<Self>>; 2]);
    /// `x [n, inner] · w [inner, outer]`.
    fn linear_forward(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(x, w)
    }
    /// The gradient of `x` if `w` is given, and of `w` if `x` is.
    fn linear_backward(
        x: Option<FloatTensor<Self>>,
        w: Option<FloatTensor<Self>>,
        dy: FloatTensor<Self>,
    ) -> [Option<FloatTensor<Self>>; 2] {
        let dx = w.map(|w| Self::float_matmul(dy.clone(), Self::float_transpose(w)));
        let dw = x.map(|x| Self::float_matmul(Self::float_transpose(x), dy));
        [dx, dw]
    }
    /// `sum [n, outer]` with `scale·(x·a)·b` added to its columns from `place` on, and `scale·(x·a)`. The factors are `a
    /// [inner, rank]` and `b [rank, columns]`.
    fn adapter_forward(
        sum: FloatTensor<Self>,
        x: FloatTensor<Self>,
        factors: [FloatTensor<Self>; 2],
        place: Place,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        adapter::forward::<Self>(sum, x, factors, place)
    }
    /// The gradients of `x` if it is wanted, of `a` and of `b`, for the gradient `dy` of the sum; `kept` are `x` and
    /// `scale·(x·a)`.
    fn adapter_backward(
        kept: [FloatTensor<Self>; 2],
        factors: [FloatTensor<Self>; 2],
        dy: FloatTensor<Self>,
        place: Place,
        wants_dx: bool,
    ) -> [Option<FloatTensor<Self>>; 3] {
        adapter::backward::<Self>(kept, factors, dy, place, wants_dx)
    }
}

/// The differentiable operations.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Autodiff)]
pub(crate) trait FusedOps: Backend {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    fn gated(gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// `projections` gives `qkv` again.
    fn attention(
        qkv: FloatTensor<Self>,
        #[extension_type] projections: Projections<Self>,
        layout: SequenceLayout,
        spec: AttentionSpec,
    ) -> FloatTensor<Self>;
    fn cross_entropy(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self>;
    /// `y·w`, where `origin` gives `y` again.
    fn linear(y: FloatTensor<Self>, w: FloatTensor<Self>, #[extension_type] origin: Origin<Self>) -> FloatTensor<Self>;
    /// `sum` with `scale·(y·a)·b` added to its columns from `place` on, where `origin` gives `y` again.
    fn adapted(
        sum: FloatTensor<Self>,
        y: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        #[extension_type] origin: Origin<Self>,
        place: Place,
    ) -> FloatTensor<Self>;
}

/// The operation of decoding; it has no gradient.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"))]
pub(crate) trait DecodeOps: Backend {
    /// Appends to the caches (in place when they are not shared) and attends; see [`kernels::decode::forward`].
    fn attention_cached(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        steps: Arc<[Step]>,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

// ---- the model's side ------------------------------------------------------------------------------------------

pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps as f32))
}

pub(crate) fn gated(gate_up: Tensor<2>, activation: Activation) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::gated(gate_up.into_dispatch(), activation))
}

pub(crate) fn attention(qkv: Tensor<2>, projections: Projections<Dispatch>, layout: &SequenceLayout, spec: &AttentionSpec) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::attention(qkv.into_dispatch(), projections, layout.clone(), spec.clone()))
}

pub(crate) fn cross_entropy(hidden: Tensor<2>, head: Tensor<2>, targets: Targets) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::cross_entropy(hidden.into_dispatch(), head.into_dispatch(), targets))
}

pub(crate) fn attention_cached(
    qkv: Tensor<2>,
    keys: Tensor<3>,
    values: Tensor<3>,
    steps: Arc<[Step]>,
    spec: &AttentionSpec,
) -> (Tensor<2>, Tensor<3>, Tensor<3>) {
    let (out, keys, values) =
        <Dispatch as DecodeOps>::attention_cached(qkv.into_dispatch(), keys.into_dispatch(), values.into_dispatch(), steps, spec.clone());
    (Tensor::from_dispatch(out), Tensor::from_dispatch(keys), Tensor::from_dispatch(values))
}

// ---- without gradients -------------------------------------------------------------------------------------------

macro_rules! untracked {
    ($backend:ty) => {
        impl FusedOps for $backend {
            fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
                Self::rms_norm_forward(x, weight, eps).0
            }

            fn gated(gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
                Self::gated_forward(gate_up, activation)
            }

            fn attention(qkv: FloatTensor<Self>, _: Projections<Self>, layout: SequenceLayout, spec: AttentionSpec) -> FloatTensor<Self> {
                Self::attention_forward(qkv, &layout, &spec).0
            }

            fn cross_entropy(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self> {
                Self::cross_entropy_forward(hidden, head, &targets, [false; 2]).0
            }

            fn linear(y: FloatTensor<Self>, w: FloatTensor<Self>, _: Origin<Self>) -> FloatTensor<Self> {
                Self::linear_forward(y, w)
            }

            fn adapted(
                sum: FloatTensor<Self>,
                y: FloatTensor<Self>,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                _: Origin<Self>,
                place: Place,
            ) -> FloatTensor<Self> {
                Self::adapter_forward(sum, y, [a, b], place).0
            }
        }
    };
}
untracked!(Flex);
#[cfg(feature = "cuda")]
untracked!(burn::backend::Cube);
