//! The operations on any GPU that burn has a backend for.

use std::sync::Arc;

use burn::backend::{Cube, tensor::FloatTensor};

use super::{DecodeOps, FusedKernels};
use crate::{
    composed,
    config::Activation,
    kernels::{attention::AttentionSpec, decode::Step},
    layout::SequenceLayout,
    loss::Targets,
};

type Remote = FloatTensor<Cube>;

impl FusedKernels for Cube {
    fn rms_norm_forward(x: Remote, weight: Remote, eps: f32) -> (Remote, Remote) {
        composed::rms_norm_forward::<Self>(x, weight, eps)
    }

    fn rms_norm_backward(x: Remote, weight: Remote, scales: Remote, dy: Remote) -> (Remote, Remote) {
        composed::rms_norm_backward::<Self>(x, weight, scales, dy)
    }

    fn gated_forward(gate_up: Remote, activation: Activation) -> Remote {
        composed::gated_forward::<Self>(gate_up, activation)
    }

    fn gated_backward(gate_up: Remote, activation: Activation, dout: Remote) -> Remote {
        composed::gated_backward::<Self>(gate_up, activation, dout)
    }

    fn attention_forward(qkv: Remote, layout: &SequenceLayout, spec: &AttentionSpec) -> (Remote, Remote) {
        composed::attention_forward::<Self>(qkv, layout, spec)
    }

    fn attention_backward(qkv: Remote, out: Remote, lse: Remote, dout: Remote, layout: &SequenceLayout, spec: &AttentionSpec) -> Remote {
        composed::attention_backward::<Self>(qkv, out, lse, dout, layout, spec)
    }

    fn cross_entropy_forward(hidden: Remote, head: Remote, targets: &Targets, wanted: [bool; 2]) -> (Remote, [Option<Remote>; 2]) {
        composed::cross_entropy_forward::<Self>(hidden, head, targets, wanted)
    }
}

impl DecodeOps for Cube {
    fn attention_cached(qkv: Remote, keys: Remote, values: Remote, steps: Arc<[Step]>, spec: AttentionSpec) -> (Remote, Remote, Remote) {
        composed::attention_cached::<Self>(qkv, keys, values, &steps, &spec)
    }
}
