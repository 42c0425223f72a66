//! The gradients of the operations, for every backend that has their forward and backward passes.

use burn::{
    backend::{
        Autodiff, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        tensor::FloatTensor,
    },
    tensor::Shape,
};

use super::{FusedKernels, FusedOps, Origin, Place, Projections};
use crate::{config::Activation, kernels::attention::AttentionSpec, layout::SequenceLayout, loss::Targets};

#[derive(Debug)]
struct RmsNormBackward;
#[derive(Debug)]
struct GatedBackward;
#[derive(Debug)]
struct AttentionBackward;
#[derive(Debug)]
struct CrossEntropyBackward;
#[derive(Debug)]
struct LinearBackward;
#[derive(Debug)]
struct AdapterBackward;

impl<B: FusedKernels, C: CheckpointStrategy> Origin<Autodiff<B, C>> {
    /// Without the graph.
    fn untracked(self) -> Origin<B> {
        match self {
            Self::Kept(x) => Origin::Kept(x.into_primitive()),
            Self::Normed(x, weight, eps) => Origin::Normed(x.into_primitive(), weight.into_primitive(), eps),
            Self::Gated(gate_up, activation) => Origin::Gated(gate_up.into_primitive(), activation),
        }
    }
}

impl<B: FusedKernels> Origin<B> {
    fn make(self) -> FloatTensor<B> {
        match self {
            Self::Kept(x) => x,
            Self::Normed(x, weight, eps) => B::rms_norm_forward(x, weight, eps).0,
            Self::Gated(gate_up, activation) => B::gated_forward(gate_up, activation),
        }
    }
}

impl<B: FusedKernels, C: CheckpointStrategy> Projections<Autodiff<B, C>> {
    /// Without the graph.
    fn untracked(self) -> Projections<B> {
        match self {
            Self::Kept => Projections::Kept,
            Self::Made { x, norm, eps, w, bias, query_a, query_b, key_a, key_b, value_a, value_b, places } => Projections::Made {
                x: x.into_primitive(),
                norm: norm.into_primitive(),
                eps,
                w: w.into_primitive(),
                bias: bias.into_primitive(),
                query_a: query_a.into_primitive(),
                query_b: query_b.into_primitive(),
                key_a: key_a.into_primitive(),
                key_b: key_b.into_primitive(),
                value_a: value_a.into_primitive(),
                value_b: value_b.into_primitive(),
                places,
            },
        }
    }
}

impl<B: FusedKernels> Projections<B> {
    /// The merged projections by the operations of the forward pass, and hence the same bits; none if they are kept.
    fn make(self) -> Option<FloatTensor<B>> {
        let Self::Made { x, norm, eps, w, bias, query_a, query_b, key_a, key_b, value_a, value_b, places } = self else { return None };
        let y = B::rms_norm_forward(x, norm, eps).0;
        let mut qkv = B::linear_forward(y.clone(), w);
        for (factors, place) in [[query_a, query_b], [key_a, key_b], [value_a, value_b]].into_iter().zip(places) {
            if factors[0].shape().num_elements() > 0 {
                qkv = B::adapter_forward(qkv, y.clone(), factors, place).0;
            }
        }
        let width = bias.shape().num_elements();
        Some(if width > 0 { B::float_add(qkv, B::float_reshape(bias, Shape::new([1, width]))) } else { qkv })
    }
}

impl<B: FusedKernels> Backward<B, 2> for RmsNormBackward {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, scales) = ops.state;
        let (dx, dweight) = B::rms_norm_backward(x, weight, scales, dy);
        for (parent, grad) in ops.parents.into_iter().zip([dx, dweight]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: FusedKernels> Backward<B, 1> for GatedBackward {
    type State = (FloatTensor<B>, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = grads.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<B>(parent.id, B::gated_backward(ops.state.0, ops.state.1, dout));
        }
    }
}

impl<B: FusedKernels> Backward<B, 1> for AttentionBackward {
    /// The merged projections or how they are made again, output, log-sum-exp, layout and shape.
    type State = (Option<FloatTensor<B>>, Projections<B>, [FloatTensor<B>; 2], SequenceLayout, AttentionSpec);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = grads.consume::<B>(&ops.node);
        let (qkv, projections, [out, lse], layout, spec) = ops.state;
        if let ([Some(parent)], Some(qkv)) = (ops.parents, qkv.or_else(|| projections.make())) {
            grads.register::<B>(parent.id, B::attention_backward(qkv, out, lse, dout, &layout, &spec));
        }
    }
}

impl<B: FusedKernels> Backward<B, 2> for CrossEntropyBackward {
    /// The gradients for a loss whose own gradient is one.
    type State = [Option<FloatTensor<B>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let slope = grads.consume::<B>(&ops.node);
        let slope = B::float_reshape(slope, Shape::new([1, 1]));
        for (parent, grad) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<B>(parent.id, B::float_mul(grad, slope.clone()));
            }
        }
    }
}

impl<B: FusedKernels> Backward<B, 2> for LinearBackward {
    /// `x` if the gradient of `w` is needed, and `w` if that of `x` is.
    type State = (Option<Origin<B>>, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let gradients = B::linear_backward(ops.state.0.map(Origin::make), ops.state.1, dy);
        for (parent, grad) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: FusedKernels> Backward<B, 4> for AdapterBackward {
    /// How `y` is had again, `scale·(y·a)`, `a`, `b`, and where the product was added.
    type State = (Origin<B>, FloatTensor<B>, [FloatTensor<B>; 2], Place);

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (origin, low, factors, place) = ops.state;
        let [sum, y, a, b] = ops.parents;
        let [dx, da, db] = B::adapter_backward([origin.make(), low], factors, dy.clone(), place, y.is_some());
        for (parent, grad) in [(sum, Some(dy)), (y, dx), (a, da), (b, db)] {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: FusedOps + FusedKernels, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match Backward::<B, 2>::prepare::<C>(RmsNormBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, scales) = B::rms_norm_forward(x.clone(), weight.clone(), eps);
                prep.finish((x, weight, scales), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::rms_norm(x, weight, eps)),
        }
    }

    fn gated(gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let nodes = [gate_up.node()];
        let gate_up = gate_up.into_primitive();
        match Backward::<B, 1>::prepare::<C>(GatedBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::gated_forward(gate_up.clone(), activation);
                prep.finish((gate_up, activation), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::gated(gate_up, activation)),
        }
    }

    fn attention(qkv: FloatTensor<Self>, projections: Projections<Self>, layout: SequenceLayout, spec: AttentionSpec) -> FloatTensor<Self> {
        let nodes = [qkv.node()];
        let (qkv, projections) = (qkv.into_primitive(), projections.untracked());
        match Backward::<B, 1>::prepare::<C>(AttentionBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, lse) = B::attention_forward(qkv.clone(), &layout, &spec);
                let kept = matches!(projections, Projections::Kept).then_some(qkv);
                prep.finish((kept, projections, [out.clone(), lse], layout, spec), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(<B as FusedOps>::attention(qkv, projections, layout, spec)),
        }
    }

    fn cross_entropy(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self> {
        let (nodes, wanted) = ([hidden.node(), head.node()], [hidden.is_tracked(), head.is_tracked()]);
        let (hidden, head) = (hidden.into_primitive(), head.into_primitive());
        match Backward::<B, 2>::prepare::<C>(CrossEntropyBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, gradients) = B::cross_entropy_forward(hidden, head, &targets, wanted);
                prep.finish(gradients, loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::cross_entropy(hidden, head, targets)),
        }
    }

    fn linear(y: FloatTensor<Self>, w: FloatTensor<Self>, origin: Origin<Self>) -> FloatTensor<Self> {
        let (nodes, tracked) = ([y.node(), w.node()], [y.is_tracked(), w.is_tracked()]);
        let origin = tracked[1].then(|| origin.untracked());
        let (y, w) = (y.into_primitive(), w.into_primitive());
        match Backward::<B, 2>::prepare::<C>(LinearBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((origin, tracked[0].then(|| w.clone())), B::linear_forward(y, w)),
            OpsKind::UnTracked(prep) => prep.finish(B::linear_forward(y, w)),
        }
    }

    fn adapted(
        sum: FloatTensor<Self>,
        y: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        origin: Origin<Self>,
        place: Place,
    ) -> FloatTensor<Self> {
        let nodes = [sum.node(), y.node(), a.node(), b.node()];
        let origin = origin.untracked();
        let (sum, y, factors) = (sum.into_primitive(), y.into_primitive(), [a.into_primitive(), b.into_primitive()]);
        match Backward::<B, 4>::prepare::<C>(AdapterBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, low) = B::adapter_forward(sum, y, factors.clone(), place);
                prep.finish((origin, low, factors, place), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::adapter_forward(sum, y, factors, place).0),
        }
    }
}
