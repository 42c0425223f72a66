//! Attention of new tokens over the caches of their sequences.

use std::{cell::RefCell, ops::Range};

use super::{
    cache::{Kv, Rows as Cached},
    team::Team,
};
use crate::kernels::{
    attention::{AttentionSpec, Rows, attend, gather, rotate},
    decode::Step,
    simd::{exp_sub_sum, max, vectorized},
    wide::{WIDTH, Wide, widest},
};

#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Appends the keys and values of all steps to their caches and writes attention's output `[tokens, heads·dim]`. `qkv`
/// holds the merged projections of the steps, one after the other.
pub(super) fn forward(qkv: &[f32], steps: &[Step], caches: &mut [Kv], layer: usize, spec: &AttentionSpec, team: &Team, out: &mut Vec<f32>) {
    let (stride, out_stride) = (spec.row(), spec.heads * spec.head_dim);
    out.resize(qkv.len() / stride * out_stride, 0.0);
    let mut token = 0;
    for step in steps {
        if let Some(rows) = caches[step.slot].own(layer) {
            append(&qkv[token * stride..(token + step.count) * stride], step.cached, rows, spec);
        }
        token += step.count;
    }
    let (mut step, mut token) = (0, 0);
    while step < steps.len() {
        let single = steps[step..].iter().take_while(|step| step.count == 1).count();
        let taken = single.max(1);
        let tokens: usize = steps[step..step + taken].iter().map(|step| step.count).sum();
        let rows = &qkv[token * stride..(token + tokens) * stride];
        let out = &mut out[token * out_stride..(token + tokens) * out_stride];
        if single > 0 {
            decode(rows, &steps[step..step + taken], caches, layer, spec, team, out);
        } else {
            prefill(rows, steps[step], &caches[steps[step].slot], layer, spec, team, out);
        }
        (step, token) = (step + taken, token + tokens);
    }
}

/// Rotated keys, and values, of new tokens at the positions from `first` on.
fn append(qkv: &[f32], first: usize, cache: &mut Cached, spec: &AttentionSpec) {
    let dim = spec.head_dim;
    let (q, kv) = (spec.heads * dim, spec.kv_heads * dim);
    let count = qkv.len() / spec.row();
    let angles = spec.rope.as_ref().map(|rope| rope.rows(first, count));
    let start = cache.keys.len();
    cache.keys.resize(start + count * kv, 0.0);
    for (i, (row, key)) in qkv.chunks_exact(spec.row()).zip(cache.keys[start..].chunks_exact_mut(kv)).enumerate() {
        for (head, out) in row[q..q + kv].chunks_exact(dim).zip(key.chunks_exact_mut(dim)) {
            rotate(out, head, angles.as_deref().map(|angles| &angles[i * dim..(i + 1) * dim]), 1.0);
        }
        cache.values.extend_from_slice(&row[q + kv..]);
    }
}

/// One new token per sequence: each piece of work is the group of query heads that share a key head.
fn decode(qkv: &[f32], steps: &[Step], caches: &[Kv], layer: usize, spec: &AttentionSpec, team: &Team, out: &mut [f32]) {
    let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
    let group = spec.heads / spec.kv_heads * dim;
    team.pieces(out, group, |piece, out| {
        let (step, kv_head) = (piece / spec.kv_heads, piece % spec.kv_heads);
        let (row, step) = (&qkv[step * spec.row()..], steps[step]);
        let keys = spec.first_key(step.cached)..step.cached + 1;
        SCRATCH.with_borrow_mut(|Scratch { queries, scores }| {
            let angles = spec.rope.as_ref().map(|rope| rope.rows(step.cached, 1));
            queries.resize(group, 0.0);
            for (out, head) in queries.chunks_exact_mut(dim).zip(row[kv_head * group..(kv_head + 1) * group].chunks_exact(dim)) {
                rotate(out, head, angles.as_deref(), spec.scale);
            }
            scores.resize(group / dim * keys.len(), 0.0);
            let parts = parts(&caches[step.slot], layer, &keys, kv);
            for (rows, part, at) in parts.clone() {
                score(queries, dim, &rows.keys[part.start * kv + kv_head * dim..], kv, part.len(), scores, keys.len(), at);
            }
            out.fill(0.0);
            for ((scores, queries), out) in
                scores.chunks_exact_mut(keys.len()).zip(queries.chunks_exact(dim)).zip(out.chunks_exact_mut(dim))
            {
                debug_assert_eq!(queries.len(), out.len());
                softmax(scores);
                for (rows, part, at) in parts.clone() {
                    mix(&scores[at..at + part.len()], &rows.values[part.start * kv + kv_head * dim..], kv, out);
                }
            }
        });
    });
}

/// The rows of a cache that hold the keys `seen`: where they are, which of its rows, and their place among `seen`.
fn parts<'a>(
    cache: &'a Kv,
    layer: usize,
    seen: &Range<usize>,
    width: usize,
) -> impl Iterator<Item = (&'a Cached, Range<usize>, usize)> + Clone {
    let seen = seen.clone();
    let mut before = 0;
    let parts = cache.parts(layer).map(|rows| {
        let (start, end) = (before, before + rows.map_or(0, |rows| rows.keys.len() / width));
        before = end;
        let part = seen.start.max(start)..seen.end.min(end);
        rows.filter(|_| !part.is_empty()).map(|rows| (rows, part.start - start..part.end - start, part.start - seen.start))
    });
    parts.into_iter().flatten()
}

widest! {
    /// Scores of all queries against `count` keys, to columns `at..` of `[queries, seen]`.
    #[expect(clippy::too_many_arguments, reason = "two strided matrices and a block of the third")]
    fn score<W>(queries: &[f32], dim: usize, keys: &[f32], stride: usize, count: usize, scores: &mut [f32], seen: usize, at: usize) {
        for (i, key) in keys.chunks(stride).take(count).enumerate() {
            let key = &key[..dim];
            for (query, scores) in queries.chunks_exact(dim).zip(scores.chunks_exact_mut(seen)) {
                scores[at + i] = dot::<W>(query, key);
            }
        }
    }
}

#[inline(always)]
fn dot<W: Wide>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<WIDTH>(), b.as_chunks::<WIDTH>());
    let mut sum = W::splat(0.0);
    for (a, b) in a.iter().zip(b) {
        sum = W::load(a).mul_add(W::load(b), sum);
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sum.sum() + tail
}

vectorized! {
    fn softmax(scores: &mut [f32]) {
        let shift = max(scores);
        let inverse = 1.0 / exp_sub_sum(scores, shift);
        for score in scores.iter_mut() {
            *score *= inverse;
        }
    }
}

widest! {
    /// `out ← out + Σ weightᵢ·valueᵢ`.
    fn mix<W>(weights: &[f32], values: &[f32], stride: usize, out: &mut [f32]) {
        let dim = out.len();
        let (whole, rest) = out.as_chunks_mut::<WIDTH>();
        let mut column = 0;
        for fours in whole.chunks_mut(4) {
            let mut sums = [W::splat(0.0); 4];
            for (sum, out) in sums.iter_mut().zip(fours.iter()) {
                *sum = W::load(out);
            }
            for (&weight, value) in weights.iter().zip(values.chunks(stride)) {
                let weight = W::splat(weight);
                let value = value[column..column + WIDTH * fours.len()].as_chunks::<WIDTH>().0;
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = W::load(value).mul_add(weight, *sum);
                }
            }
            for (sum, out) in sums.iter().zip(fours.iter_mut()) {
                sum.store(out);
            }
            column += WIDTH * fours.len();
        }
        for (&weight, value) in weights.iter().zip(values.chunks(stride)) {
            for (out, &value) in rest.iter_mut().zip(&value[column..dim]) {
                *out = value.mul_add(weight, *out);
            }
        }
    }
}

/// Many new tokens of one sequence: each head apart, as matrix products.
fn prefill(qkv: &[f32], step: Step, cache: &Kv, layer: usize, spec: &AttentionSpec, team: &Team, out: &mut [f32]) {
    let (dim, stride, out_stride, kv) = (spec.head_dim, spec.row(), spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let joined;
    let rows = match cache.parts(layer) {
        [None, Some(own)] => own,
        [shared, own] => {
            joined = join(shared.into_iter().chain(own));
            &joined
        }
    };
    let angles = spec.rope.as_ref().map(|rope| rope.rows(step.cached, step.count));
    let mut heads = vec![0.0; out.len()];
    team.pieces(&mut heads, step.count * dim, |head, out| {
        let (q_column, k_column, _) = spec.columns(head);
        let column = k_column - out_stride;
        let mut queries = Vec::new();
        gather(&mut queries, qkv, stride, q_column, dim, angles.as_deref(), spec.scale);
        let (k, v) = (Rows { data: &rows.keys[column..], stride: kv }, Rows { data: &rows.values[column..], stride: kv });
        attend(&queries, step.cached, (k, v), out, dim, spec, &mut vec![0.0; step.count]);
    });
    for (head, values) in heads.chunks_exact(step.count * dim).enumerate() {
        for (out, value) in out.chunks_exact_mut(out_stride).zip(values.chunks_exact(dim)) {
            out[head * dim..(head + 1) * dim].copy_from_slice(value);
        }
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a Cached>) -> Cached {
    let mut joined = Cached::default();
    for part in parts {
        joined.keys.extend_from_slice(&part.keys);
        joined.values.extend_from_slice(&part.values);
    }
    joined
}
