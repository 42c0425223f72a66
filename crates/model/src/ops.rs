//! The seam between the model and a backend: the operations whose speed decides, as differentiable burn operations.
//!
//! [`FusedOps`] is what the model calls, on a plain or on an autodiff device. [`FusedKernels`] is what a backend
//! implements: each forward pass with what its backward pass needs. A faster backend (CUDA kernels, say) implements
//! the second trait; model, trainer and decoder stay as they are.

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{Tensor, TensorData},
};

use crate::{
    config::Activation,
    kernels::{self, attention::AttentionSpec, decode::Step, linear, matrix::Mat},
    layout::SequenceLayout,
    loss::Targets,
};

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
}

/// The differentiable operations.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Autodiff)]
pub(crate) trait FusedOps: Backend {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    fn gated(gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    fn attention(qkv: FloatTensor<Self>, layout: SequenceLayout, spec: AttentionSpec) -> FloatTensor<Self>;
    fn cross_entropy(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self>;
    fn linear(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self>;
    /// As `linear` for a `y` that is `rms_norm(x, weight, eps)` and is made again when it is needed.
    fn linear_normed(
        y: FloatTensor<Self>,
        w: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    /// As `linear` for a `y` that is `gated(gate_up, activation)` and is made again when it is needed.
    fn linear_gated(y: FloatTensor<Self>, w: FloatTensor<Self>, gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
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

pub(crate) fn attention(qkv: Tensor<2>, layout: &SequenceLayout, spec: &AttentionSpec) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::attention(qkv.into_dispatch(), layout.clone(), spec.clone()))
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

// ---- the CPU ---------------------------------------------------------------------------------------------------

type Host = FloatTensor<Flex>;

fn host<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Host {
    Host::from_data(TensorData::new(values, shape))
}

/// Runs `read` on the tensor's elements in row-major order.
fn with<R>(tensor: &Host, read: impl FnOnce(&[f32]) -> R) -> R {
    match tensor.as_slice::<f32>() {
        Some(elements) => read(elements),
        None => read(tensor.to_contiguous().as_slice::<f32>().unwrap_or_default()),
    }
}

fn last_dim(tensor: &Host) -> usize {
    tensor.shape().as_slice().last().copied().unwrap_or(0)
}

fn rows(tensor: &Host) -> usize {
    tensor.shape().as_slice().first().copied().unwrap_or(0)
}

impl FusedKernels for Flex {
    fn rms_norm_forward(x: Host, weight: Host, eps: f32) -> (Host, Host) {
        let (n, d) = (rows(&x), last_dim(&x));
        let (y, scales) = with(&x, |x| with(&weight, |weight| kernels::rms_norm::forward(x, weight, eps)));
        (host(y, [n, d]), host(scales, [n]))
    }

    fn rms_norm_backward(x: Host, weight: Host, scales: Host, dy: Host) -> (Host, Host) {
        let (n, d) = (rows(&x), last_dim(&x));
        let (dx, dweight) = with(&x, |x| {
            with(&weight, |weight| with(&scales, |scales| with(&dy, |dy| kernels::rms_norm::backward(x, weight, scales, dy))))
        });
        (host(dx, [n, d]), host(dweight, [d]))
    }

    fn gated_forward(gate_up: Host, activation: Activation) -> Host {
        let (n, width) = (rows(&gate_up), last_dim(&gate_up) / 2);
        host(with(&gate_up, |gate_up| kernels::gated::forward(gate_up, width, activation)), [n, width])
    }

    fn gated_backward(gate_up: Host, activation: Activation, dout: Host) -> Host {
        let (n, width) = (rows(&gate_up), last_dim(&gate_up) / 2);
        host(with(&gate_up, |gate_up| with(&dout, |dout| kernels::gated::backward(gate_up, width, activation, dout))), [n, 2 * width])
    }

    fn attention_forward(qkv: Host, layout: &SequenceLayout, spec: &AttentionSpec) -> (Host, Host) {
        let n = rows(&qkv);
        let (out, lse) = with(&qkv, |qkv| kernels::attention::forward(qkv, layout, spec));
        (host(out, [n, spec.heads * spec.head_dim]), host(lse, [spec.heads, n]))
    }

    fn attention_backward(qkv: Host, out: Host, lse: Host, dout: Host, layout: &SequenceLayout, spec: &AttentionSpec) -> Host {
        let shape = [rows(&qkv), spec.row()];
        let grad = with(&qkv, |qkv| {
            with(&out, |out| with(&lse, |lse| with(&dout, |dout| kernels::attention::backward(qkv, out, lse, dout, layout, spec))))
        });
        host(grad, shape)
    }

    fn cross_entropy_forward(hidden: Host, head: Host, targets: &Targets, wanted: [bool; 2]) -> (Host, [Option<Host>; 2]) {
        let (n, width, vocab) = (rows(&hidden), last_dim(&hidden), rows(&head));
        let loss = with(&hidden, |hidden| with(&head, |head| kernels::cross_entropy::forward(hidden, head, width, targets, wanted)));
        let dhidden = loss.dhidden.map(|values| host(values, [n, width]));
        let dhead = loss.dhead.map(|values| host(values, [vocab, width]));
        (host(vec![loss.sum], [1]), [dhidden, dhead])
    }

    fn linear_forward(x: Host, w: Host) -> Host {
        let (n, inner, outer) = (rows(&x), last_dim(&x), last_dim(&w));
        let y = with(&x, |x| with(&w, |w| linear::product(Mat::new(x, n, inner, inner), Mat::new(w, inner, outer, outer))));
        host(y, [n, outer])
    }

    fn linear_backward(x: Option<Host>, w: Option<Host>, dy: Host) -> [Option<Host>; 2] {
        let (n, outer) = (rows(&dy), last_dim(&dy));
        let inner = w.as_ref().map(rows).or(x.as_ref().map(last_dim)).unwrap_or(0);
        let optional = |tensor: &Option<Host>, read: &mut dyn FnMut(Option<&[f32]>)| match tensor {
            Some(tensor) => with(tensor, |values| read(Some(values))),
            None => read(None),
        };
        let mut gradients = (None, None);
        with(&dy, |dy| {
            optional(&x, &mut |x| optional(&w, &mut |w| gradients = linear::backward(x, w, dy, (n, inner, outer))));
        });
        [gradients.0.map(|dx| host(dx, [n, inner])), gradients.1.map(|dw| host(dw, [inner, outer]))]
    }
}

impl DecodeOps for Flex {
    fn attention_cached(qkv: Host, mut keys: Host, mut values: Host, steps: Arc<[Step]>, spec: AttentionSpec) -> (Host, Host, Host) {
        let capacity = keys.shape().as_slice().get(1).copied().unwrap_or(0);
        let n = rows(&qkv);
        let out = with(&qkv, |qkv| kernels::decode::forward(qkv, keys.storage_mut(), values.storage_mut(), capacity, &steps, &spec));
        (host(out, [n, spec.heads * spec.head_dim]), keys, values)
    }
}

// ---- any GPU that burn has a backend for --------------------------------------------------------------------------

#[cfg(feature = "cuda")]
mod gpu {
    use burn::backend::{Cube, tensor::FloatTensor};

    use super::{Arc, AttentionSpec, DecodeOps, FusedKernels, SequenceLayout, Step, Targets};
    use crate::{composed, config::Activation};

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

        fn attention_backward(
            qkv: Remote,
            out: Remote,
            lse: Remote,
            dout: Remote,
            layout: &SequenceLayout,
            spec: &AttentionSpec,
        ) -> Remote {
            composed::attention_backward::<Self>(qkv, out, lse, dout, layout, spec)
        }

        fn cross_entropy_forward(hidden: Remote, head: Remote, targets: &Targets, wanted: [bool; 2]) -> (Remote, [Option<Remote>; 2]) {
            composed::cross_entropy_forward::<Self>(hidden, head, targets, wanted)
        }
    }

    impl DecodeOps for Cube {
        fn attention_cached(
            qkv: Remote,
            keys: Remote,
            values: Remote,
            steps: Arc<[Step]>,
            spec: AttentionSpec,
        ) -> (Remote, Remote, Remote) {
            composed::attention_cached::<Self>(qkv, keys, values, &steps, &spec)
        }
    }
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

            fn attention(qkv: FloatTensor<Self>, layout: SequenceLayout, spec: AttentionSpec) -> FloatTensor<Self> {
                Self::attention_forward(qkv, &layout, &spec).0
            }

            fn cross_entropy(hidden: FloatTensor<Self>, head: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self> {
                Self::cross_entropy_forward(hidden, head, &targets, [false; 2]).0
            }

            fn linear(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::linear_forward(x, w)
            }

            fn linear_normed(
                y: FloatTensor<Self>,
                w: FloatTensor<Self>,
                _: FloatTensor<Self>,
                _: FloatTensor<Self>,
                _: f32,
            ) -> FloatTensor<Self> {
                Self::linear_forward(y, w)
            }

            fn linear_gated(y: FloatTensor<Self>, w: FloatTensor<Self>, _: FloatTensor<Self>, _: Activation) -> FloatTensor<Self> {
                Self::linear_forward(y, w)
            }
        }
    };
}
untracked!(Flex);
#[cfg(feature = "cuda")]
untracked!(burn::backend::Cube);

// ---- gradients -------------------------------------------------------------------------------------------------

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

/// How the input of a projection is had in the backward pass.
#[derive(Debug, Clone)]
enum Recipe<B: Backend> {
    Kept(FloatTensor<B>),
    Normed(FloatTensor<B>, FloatTensor<B>, f32),
    Gated(FloatTensor<B>, Activation),
}

impl<B: FusedKernels> Recipe<B> {
    fn make(self) -> FloatTensor<B> {
        match self {
            Self::Kept(x) => x,
            Self::Normed(x, weight, eps) => B::rms_norm_forward(x, weight, eps).0,
            Self::Gated(gate_up, activation) => B::gated_forward(gate_up, activation),
        }
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
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, SequenceLayout, AttentionSpec);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = grads.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            let (qkv, out, lse, layout, spec) = ops.state;
            grads.register::<B>(parent.id, B::attention_backward(qkv, out, lse, dout, &layout, &spec));
        }
    }
}

impl<B: FusedKernels> Backward<B, 2> for CrossEntropyBackward {
    /// The gradients for a loss whose own gradient is one.
    type State = [Option<FloatTensor<B>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let slope = grads.consume::<B>(&ops.node);
        let slope = B::float_reshape(slope, burn::tensor::Shape::new([1, 1]));
        for (parent, grad) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<B>(parent.id, B::float_mul(grad, slope.clone()));
            }
        }
    }
}

impl<B: FusedKernels> Backward<B, 2> for LinearBackward {
    /// `x` if the gradient of `w` is needed, and `w` if that of `x` is.
    type State = (Option<Recipe<B>>, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let gradients = B::linear_backward(ops.state.0.map(Recipe::make), ops.state.1, dy);
        for (parent, grad) in ops.parents.into_iter().zip(gradients) {
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

    fn attention(qkv: FloatTensor<Self>, layout: SequenceLayout, spec: AttentionSpec) -> FloatTensor<Self> {
        let nodes = [qkv.node()];
        let qkv = qkv.into_primitive();
        match Backward::<B, 1>::prepare::<C>(AttentionBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, lse) = B::attention_forward(qkv.clone(), &layout, &spec);
                prep.finish((qkv, out.clone(), lse, layout, spec), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(<B as FusedOps>::attention(qkv, layout, spec)),
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

    fn linear(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked_linear::<B, C>(x.clone(), w, || Recipe::Kept(x.into_primitive()))
    }

    fn linear_normed(
        y: FloatTensor<Self>,
        w: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        tracked_linear::<B, C>(y, w, || Recipe::Normed(x.into_primitive(), weight.into_primitive(), eps))
    }

    fn linear_gated(y: FloatTensor<Self>, w: FloatTensor<Self>, gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        tracked_linear::<B, C>(y, w, || Recipe::Gated(gate_up.into_primitive(), activation))
    }
}

/// `x·w` with its gradients; `recipe` gives `x` again.
fn tracked_linear<B: FusedKernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    w: FloatTensor<Autodiff<B, C>>,
    recipe: impl FnOnce() -> Recipe<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let (nodes, tracked) = ([x.node(), w.node()], [x.is_tracked(), w.is_tracked()]);
    let (x, w) = (x.into_primitive(), w.into_primitive());
    match Backward::<B, 2>::prepare::<C>(LinearBackward, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let kept = (tracked[1].then(recipe), tracked[0].then(|| w.clone()));
            prep.finish(kept, B::linear_forward(x, w))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::linear_forward(x, w)),
    }
}
