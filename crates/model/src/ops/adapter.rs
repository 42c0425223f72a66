//! What a low-rank adapter adds, composed of a backend's own operations, for a backend that has no kernel for it.

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::Slice,
};

use super::Place;

fn size<B: Backend>(tensor: &FloatTensor<B>, dim: usize) -> usize {
    tensor.shape().as_slice().get(dim).copied().unwrap_or(0)
}

/// The rows of a matrix whose columns an adapter with this last factor adds to; none if these are all of them.
fn columns<B: Backend>(matrix: &FloatTensor<B>, b: &FloatTensor<B>, place: Place) -> Option<[Slice; 2]> {
    let (all, width) = (size::<B>(matrix, 1), size::<B>(b, 1));
    (width < all).then(|| [Slice::from(0..size::<B>(matrix, 0)), Slice::from(place.column..place.column + width)])
}

/// As [`FusedKernels::adapter_forward`](super::FusedKernels::adapter_forward).
pub(super) fn forward<B: Backend>(
    sum: FloatTensor<B>,
    x: FloatTensor<B>,
    [a, b]: [FloatTensor<B>; 2],
    place: Place,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let low = B::float_mul_scalar(B::float_matmul(x, a), place.scale.into());
    let columns = columns::<B>(&sum, &b, place);
    let delta = B::float_matmul(low.clone(), b);
    let out = match columns {
        Some(columns) => {
            let part = B::float_add(B::float_slice(sum.clone(), &columns), delta);
            B::float_slice_assign(sum, &columns, part)
        }
        None => B::float_add(sum, delta),
    };
    (out, low)
}

/// As [`FusedKernels::adapter_backward`](super::FusedKernels::adapter_backward).
pub(super) fn backward<B: Backend>(
    [x, low]: [FloatTensor<B>; 2],
    [a, b]: [FloatTensor<B>; 2],
    dy: FloatTensor<B>,
    place: Place,
    wants_dx: bool,
) -> [Option<FloatTensor<B>>; 3] {
    let dy = match columns::<B>(&dy, &b, place) {
        Some(columns) => B::float_slice(dy, &columns),
        None => dy,
    };
    let dlow = B::float_mul_scalar(B::float_matmul(dy.clone(), B::float_transpose(b)), place.scale.into());
    let dx = wants_dx.then(|| B::float_matmul(dlow.clone(), B::float_transpose(a)));
    let da = B::float_matmul(B::float_transpose(x), dlow);
    let db = B::float_matmul(B::float_transpose(low), dy);
    [dx, Some(da), Some(db)]
}

#[cfg(test)]
mod tests {
    use burn::{backend::Flex, tensor::TensorData};

    use super::*;
    use crate::ops::FusedKernels;

    type Host = FloatTensor<Flex>;

    fn wave(shape: [usize; 2], step: f32) -> Host {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|at| (at as f32 * step).sin()).collect();
        Host::from_data(TensorData::new(values, shape))
    }

    fn values(tensor: &Host) -> Vec<f32> {
        tensor.to_contiguous().as_slice::<f32>().unwrap().to_vec()
    }

    #[track_caller]
    fn close(ours: &Host, reference: &Host) {
        assert_eq!(ours.shape(), reference.shape());
        let (ours, reference) = (values(ours), values(reference));
        assert!(reference.iter().any(|value| value.abs() > 1e-3));
        assert!(ours.iter().zip(&reference).all(|(a, b)| (a - b).abs() < 1e-5), "{ours:?} against {reference:?}");
    }

    #[test]
    fn the_cpus_kernel_equals_what_is_composed() {
        let (x, sum, dy) = (wave([7, 5], 0.3), wave([7, 12], 0.11), wave([7, 12], 0.7));
        for (width, column) in [(12, 0), (4, 0), (4, 8), (3, 5)] {
            let factors = [wave([5, 2], 0.9), wave([2, width], 1.3)];
            let place = Place { column, scale: 1.5 };
            let ours = Flex::adapter_forward(sum.clone(), x.clone(), factors.clone(), place);
            let reference = forward::<Flex>(sum.clone(), x.clone(), factors.clone(), place);
            close(&ours.0, &reference.0);
            close(&ours.1, &reference.1);
            // Columns of others are left as they were, and so is the tensor that was given.
            let (before, after) = (values(&sum), values(&ours.0));
            let outside = |at: &usize| !(column..column + width).contains(&(at % 12));
            assert!((0..7 * 12).filter(outside).all(|at| before[at] == after[at]));
            assert_eq!(before, values(&wave([7, 12], 0.11)));
            let kept = [x.clone(), ours.1];
            let ours = Flex::adapter_backward(kept.clone(), factors.clone(), dy.clone(), place, true);
            let reference = backward::<Flex>(kept.clone(), factors.clone(), dy.clone(), place, true);
            for (ours, reference) in ours.iter().zip(&reference) {
                close(ours.as_ref().unwrap(), reference.as_ref().unwrap());
            }
            assert!(Flex::adapter_backward(kept, factors, dy.clone(), place, false)[0].is_none());
        }
    }
}
