//! What projections read.

use burn::{backend::Dispatch, tensor::Tensor};

use crate::{
    config::Activation,
    ops::{self, FusedOps, Origin, Place},
};

/// What a projection reads. Its gradient needs that again, and has it from `origin`: a third of a layer's activations need
/// not be kept.
#[derive(Clone)]
pub(crate) struct Input {
    value: Tensor<2>,
    origin: Origin<Dispatch>,
}

impl Input {
    pub(crate) fn normed(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Self {
        let value = ops::rms_norm(x.clone(), weight.clone(), eps);
        Self { value, origin: Origin::Normed(x.into_dispatch(), weight.into_dispatch(), eps as f32) }
    }

    pub(crate) fn gated(gate_up: Tensor<2>, activation: Activation) -> Self {
        Self { value: ops::gated(gate_up.clone(), activation), origin: Origin::Gated(gate_up.into_dispatch(), activation) }
    }

    pub(crate) fn value(&self) -> &Tensor<2> {
        &self.value
    }

    /// `x·w`.
    pub(crate) fn linear(&self, w: Tensor<2>) -> Tensor<2> {
        let y = self.value.clone().into_dispatch();
        Tensor::from_dispatch(<Dispatch as FusedOps>::linear(y, w.into_dispatch(), self.origin.clone()))
    }

    /// `sum` with `scale·(x·a)·b` added to its columns from `place` on.
    pub(crate) fn adapted(&self, sum: Tensor<2>, a: Tensor<2>, b: Tensor<2>, place: Place) -> Tensor<2> {
        let (sum, y) = (sum.into_dispatch(), self.value.clone().into_dispatch());
        let (a, b) = (a.into_dispatch(), b.into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOps>::adapted(sum, y, a, b, self.origin.clone(), place))
    }
}

impl From<Tensor<2>> for Input {
    fn from(value: Tensor<2>) -> Self {
        Self { origin: Origin::Kept(value.clone().into_dispatch()), value }
    }
}
