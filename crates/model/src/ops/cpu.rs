//! The operations on the CPU, by the kernels of this crate.

use std::sync::Arc;

use burn::{
    backend::{Flex, TensorMetadata, tensor::FloatTensor},
    tensor::TensorData,
};

use super::{DecodeOps, FusedKernels, Place};
use crate::{
    config::Activation,
    kernels::{
        self,
        attention::AttentionSpec,
        decode::Step,
        linear::{self, LowRank},
        matrix::Mat,
    },
    layout::SequenceLayout,
    loss::Targets,
};

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

    fn adapter_forward(sum: Host, x: Host, factors: [Host; 2], place: Place) -> (Host, Host) {
        let (n, rank, width) = (rows(&x), last_dim(&factors[0]), last_dim(&sum));
        let mut sum = if sum.layout().contiguous_offsets().is_some() { sum } else { sum.to_contiguous() };
        let elements = sum.layout().contiguous_offsets().map_or(0..0, |(start, end)| start..end);
        let low = with_low_rank(&factors, place, |adapter| {
            with(&x, |x| linear::add_low_rank(&mut sum.storage_mut()[elements], width, x, adapter))
        });
        (sum, host(low, [n, rank]))
    }

    fn adapter_backward([x, low]: [Host; 2], factors: [Host; 2], dy: Host, place: Place, wants_dx: bool) -> [Option<Host>; 3] {
        let (n, inner, width) = (rows(&x), last_dim(&x), last_dim(&dy));
        let (rank, outer) = (last_dim(&factors[0]), last_dim(&factors[1]));
        let (dx, da, db) = with_low_rank(&factors, place, |adapter| {
            with(&x, |x| with(&low, |low| with(&dy, |dy| linear::low_rank_backward(x, low, adapter, (dy, width), wants_dx))))
        });
        [dx.map(|dx| host(dx, [n, inner])), Some(host(da, [inner, rank])), Some(host(db, [rank, outer]))]
    }
}

/// Runs `use_it` on the two factors of an adapter.
fn with_low_rank<R>([a, b]: &[Host; 2], place: Place, use_it: impl FnOnce(LowRank<'_>) -> R) -> R {
    let (inner, rank, outer) = (rows(a), last_dim(a), last_dim(b));
    with(a, |a| {
        with(b, |b| {
            let (a, b) = (Mat::new(a, inner, rank, rank), Mat::new(b, rank, outer, outer));
            use_it(LowRank { a, b, column: place.column, scale: place.scale })
        })
    })
}

impl DecodeOps for Flex {
    fn attention_cached(qkv: Host, mut keys: Host, mut values: Host, steps: Arc<[Step]>, spec: AttentionSpec) -> (Host, Host, Host) {
        let capacity = keys.shape().as_slice().get(1).copied().unwrap_or(0);
        let n = rows(&qkv);
        let out = with(&qkv, |qkv| kernels::decode::forward(qkv, keys.storage_mut(), values.storage_mut(), capacity, &steps, &spec));
        (host(out, [n, spec.heads * spec.head_dim]), keys, values)
    }
}
