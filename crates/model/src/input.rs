//! What projections read.

use burn::{backend::Dispatch, tensor::Tensor};

use crate::{
    config::Activation,
    ops::{self, FusedOps},
};

/// What a projection reads. Its gradient needs that again, but what it was made from is kept anyway, and making it a second
/// time costs next to nothing: a third of a layer's activations need not be kept.
#[derive(Clone)]
pub(crate) struct Input {
    value: Tensor<2>,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    Kept,
    Normed(Box<(Tensor<2>, Tensor<1>)>, f32),
    Gated(Box<Tensor<2>>, Activation),
}

impl Input {
    pub(crate) fn normed(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Self {
        Self { value: ops::rms_norm(x.clone(), weight.clone(), eps), origin: Origin::Normed(Box::new((x, weight)), eps as f32) }
    }

    pub(crate) fn gated(gate_up: Tensor<2>, activation: Activation) -> Self {
        Self { value: ops::gated(gate_up.clone(), activation), origin: Origin::Gated(Box::new(gate_up), activation) }
    }

    pub(crate) fn value(&self) -> &Tensor<2> {
        &self.value
    }

    /// `x·w`.
    pub(crate) fn linear(&self, w: Tensor<2>) -> Tensor<2> {
        let (y, w) = (self.value.clone().into_dispatch(), w.into_dispatch());
        Tensor::from_dispatch(match self.origin.clone() {
            Origin::Kept => <Dispatch as FusedOps>::linear(y, w),
            Origin::Normed(from, eps) => {
                let (x, weight) = *from;
                <Dispatch as FusedOps>::linear_normed(y, w, x.into_dispatch(), weight.into_dispatch(), eps)
            }
            Origin::Gated(gate_up, activation) => <Dispatch as FusedOps>::linear_gated(y, w, gate_up.into_dispatch(), activation),
        })
    }
}

impl From<Tensor<2>> for Input {
    fn from(value: Tensor<2>) -> Self {
        Self { value, origin: Origin::Kept }
    }
}
