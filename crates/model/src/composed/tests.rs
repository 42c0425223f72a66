//! What is composed equals the CPU's kernels.

use std::sync::Arc;

use burn::backend::{Flex, TensorMetadata, ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::TensorData;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{attention::BLOCK, *};
use crate::{
    kernels::{attention::AttentionSpec, decode::Step},
    layout::SequenceLayout,
    loss::{LossTerms, SoftTargets, Targets},
    ops::{DecodeOps, FusedKernels},
    rope::{RopeConfig, RopeTable},
};

type Host = FloatTensor<Flex>;

fn random(seed: u64, shape: [usize; 2]) -> Host {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng.random_range(-1.5..1.5)).collect();
    Host::from_data(TensorData::new(values, shape))
}

fn vector(seed: u64, size: usize) -> Host {
    Flex::float_reshape(random(seed, [1, size]), Shape::new([size]))
}

#[track_caller]
fn assert_close(what: &str, ours: &Host, reference: &Host) {
    assert_eq!(ours.shape(), reference.shape(), "{what}");
    let (ours, reference) = (ours.to_contiguous(), reference.to_contiguous());
    let (ours, reference) = (ours.as_slice::<f32>().unwrap(), reference.as_slice::<f32>().unwrap());
    assert!(reference.iter().any(|value| *value != 0.0), "{what} is all zero");
    for (at, (ours, reference)) in ours.iter().zip(reference).enumerate() {
        assert!((ours - reference).abs() <= 2e-5 * (1.0 + reference.abs()), "{what}[{at}]: {ours} against {reference}");
    }
}

#[test]
fn norm() {
    let (x, weight, dy) = (random(1, [5, 12]), vector(2, 12), random(3, [5, 12]));
    let ours = rms_norm_forward::<Flex>(x.clone(), weight.clone(), 1e-5);
    let reference = Flex::rms_norm_forward(x.clone(), weight.clone(), 1e-5);
    assert_close("y", &ours.0, &reference.0);
    assert_close("scales", &ours.1, &reference.1);
    let ours = rms_norm_backward::<Flex>(x.clone(), weight.clone(), ours.1, dy.clone());
    let reference = Flex::rms_norm_backward(x, weight, reference.1, dy);
    assert_close("dx", &ours.0, &reference.0);
    assert_close("dweight", &ours.1, &reference.1);
}

#[test]
fn nonlinearities() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let (x, dout) = (random(4, [6, 16]), random(5, [6, 8]));
        let what = format!("{activation:?}");
        assert_close(&what, &gated_forward::<Flex>(x.clone(), activation), &Flex::gated_forward(x.clone(), activation));
        assert_close(&what, &gated_backward::<Flex>(x.clone(), activation, dout.clone()), &Flex::gated_backward(x, activation, dout));
    }
}

fn attention(layout: &SequenceLayout, spec: &AttentionSpec) {
    let (n, width) = (layout.tokens(), spec.heads * spec.head_dim);
    let (qkv, dout) = (random(6, [n, spec.row()]), random(7, [n, width]));
    let ours = attention_forward::<Flex>(qkv.clone(), layout, spec);
    let reference = Flex::attention_forward(qkv.clone(), layout, spec);
    assert_close("out", &ours.0, &reference.0);
    assert_close("log-sum-exp", &ours.1, &reference.1);
    let ours = attention_backward::<Flex>(qkv.clone(), ours.0, ours.1, dout.clone(), layout, spec);
    let reference = Flex::attention_backward(qkv, reference.0, reference.1, dout, layout, spec);
    assert_close("dqkv", &ours, &reference);
}

#[test]
fn attention_over_documents_padding_and_windows() {
    let rope = RopeTable::new(&RopeConfig::default(), 8, 1024);
    let packed = SequenceLayout::packed(12, &[vec![5, 4], vec![7], vec![12], vec![]]).unwrap();
    for (rope, window) in [(Some(Arc::clone(&rope)), None), (None, Some(3))] {
        attention(&packed, &AttentionSpec { heads: 4, kv_heads: 2, head_dim: 8, scale: 0.35, window, rope });
    }
    // A document of several blocks.
    let spec = AttentionSpec { heads: 2, kv_heads: 1, head_dim: 8, scale: 0.35, window: Some(600), rope: Some(rope) };
    attention(&SequenceLayout::flat(&[BLOCK + 100, 3]), &spec);
}

#[test]
fn attention_over_a_cache() {
    let rope = RopeTable::new(&RopeConfig::default(), 8, 64);
    let spec = AttentionSpec { heads: 4, kv_heads: 2, head_dim: 8, scale: 0.35, window: Some(6), rope: Some(rope) };
    let width = spec.kv_heads * spec.head_dim;
    let cache = |seed| Flex::float_reshape(random(seed, [3 * 12, width]), Shape::new([3, 12, width]));
    // A prompt's part into one slot, one token into another.
    let steps = [Step { slot: 2, cached: 3, count: 5 }, Step { slot: 0, cached: 7, count: 1 }];
    let qkv = random(10, [6, spec.row()]);
    let ours = attention_cached::<Flex>(qkv.clone(), cache(11), cache(12), &steps, &spec);
    let reference = Flex::attention_cached(qkv, cache(11), cache(12), steps.into(), spec);
    assert_close("out", &ours.0, &reference.0);
    assert_close("keys", &ours.1, &reference.1);
    assert_close("values", &ours.2, &reference.2);
}

#[test]
fn losses_and_their_terms() {
    let (n, width, vocab) = (7, 6, 11);
    let (hidden, head) = (random(8, [n, width]), random(9, [vocab, width]));
    let tokens: Vec<u32> = (0..n as u32).map(|at| (at * 3 + 1) % vocab as u32).collect();
    let weights: Vec<f32> = (0..n).map(|at| 0.5 + at as f32 / 4.0).collect();
    let plain = Targets::plain(&tokens, &weights);
    let terms = LossTerms { label_smoothing: 0.1, z_loss: 0.01 };
    // A row with a rest, one that is known whole, one with a repeated token of probability 0, one without a teacher.
    let mut probabilities = vec![0.0; n * 3];
    probabilities[..9].copy_from_slice(&[0.5, 0.2, 0.1, 0.7, 0.2, 0.1, 0.9, 0.0, 0.0]);
    let ids: Vec<u32> = (0..n * 3).map(|at| if at == 7 { 6 } else { at as u32 % vocab as u32 }).collect();
    let soft = SoftTargets { ids: ids.into(), probabilities: probabilities.into(), top: 3, weight: 0.4 };
    for targets in [plain.clone(), Targets { terms, ..plain.clone() }, Targets { terms, soft: Some(soft), ..plain }] {
        let (ours, [dhidden, dhead]) = cross_entropy_forward::<Flex>(hidden.clone(), head.clone(), &targets, [true; 2]);
        let (reference, [reference_dhidden, reference_dhead]) =
            Flex::cross_entropy_forward(hidden.clone(), head.clone(), &targets, [true; 2]);
        assert_close("loss", &ours, &reference);
        assert_close("dhidden", &dhidden.unwrap(), &reference_dhidden.unwrap());
        assert_close("dhead", &dhead.unwrap(), &reference_dhead.unwrap());
    }
}
