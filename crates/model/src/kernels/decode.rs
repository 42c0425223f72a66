//! Attention of new tokens over a cache of earlier keys and values.

use super::{
    attention::{AttentionSpec, Rows, attend, gather, rotate},
    simd::{add_scaled, dot, exp_sub_sum, max, vectorized},
};

/// New tokens of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The sequence's row in the cache.
    pub(crate) slot: usize,
    /// Tokens that the cache already holds for it.
    pub(crate) cached: usize,
    /// Tokens that are new; they stand next to each other in the projections.
    pub(crate) count: usize,
}

/// Appends the new tokens' keys and values to the caches (`[slots, capacity, kv_heads·dim]`) and returns attention's
/// output `[tokens, heads·dim]`. `qkv` holds the merged projections of all steps, one after the other.
pub(crate) fn forward(
    qkv: &[f32],
    keys: &mut [f32],
    values: &mut [f32],
    capacity: usize,
    steps: &[Step],
    spec: &AttentionSpec,
) -> Vec<f32> {
    let (dim, stride, out_stride) = (spec.head_dim, spec.row(), spec.heads * spec.head_dim);
    let kv = spec.kv_heads * dim;
    let mut out = vec![0.0; qkv.len() / stride * out_stride];
    let (mut q, mut scores, mut token) = (Vec::new(), Vec::new(), 0);
    for step in steps {
        let rows = &qkv[token * stride..(token + step.count) * stride];
        let out = &mut out[token * out_stride..(token + step.count) * out_stride];
        token += step.count;
        let angles = spec.rope.as_ref().map(|rope| rope.rows(step.cached, step.count));
        let cache = step.slot * capacity * kv..(step.slot + 1) * capacity * kv;
        let (keys, values) = (&mut keys[cache.clone()], &mut values[cache]);
        append(rows, &mut keys[step.cached * kv..], &mut values[step.cached * kv..], angles.as_deref(), spec);
        for head in 0..spec.heads {
            let (q_column, k_column, _) = spec.columns(head);
            let column = k_column - out_stride;
            gather(&mut q, rows, stride, q_column, dim, angles.as_deref(), spec.scale);
            let (k, v) = (Rows { data: &keys[column..], stride: kv }, Rows { data: &values[column..], stride: kv });
            let out = &mut out[q_column..];
            if step.count == 1 {
                attend_one(&q, step.cached, k, v, &mut out[..dim], &mut scores, spec);
            } else {
                scores.resize(step.count, 0.0);
                attend(&q, step.cached, (k, v), out, out_stride, spec, &mut scores);
            }
        }
    }
    out
}

vectorized! {
    fn append(rows: &[f32], keys: &mut [f32], values: &mut [f32], angles: Option<&[f32]>, spec: &AttentionSpec) {
        let dim = spec.head_dim;
        let (q, kv) = (spec.heads * dim, spec.kv_heads * dim);
        let slots = keys.chunks_exact_mut(kv).zip(values.chunks_exact_mut(kv));
        for (i, (row, (key, value))) in rows.chunks_exact(spec.row()).zip(slots).enumerate() {
            for (head, out) in row[q..q + kv].chunks_exact(dim).zip(key.chunks_exact_mut(dim)) {
                rotate(out, head, angles.map(|angles| &angles[i * dim..(i + 1) * dim]), 1.0);
            }
            value.copy_from_slice(&row[q + kv..]);
        }
    }
}

vectorized! {
    /// One query over all its keys, without the detour over a matrix product.
    fn attend_one(q: &[f32], position: usize, k: Rows<'_>, v: Rows<'_>, out: &mut [f32], scores: &mut Vec<f32>, spec: &AttentionSpec) {
        let dim = q.len();
        let first = spec.first_key(position);
        scores.clear();
        scores.resize(position + 1 - first, 0.0);
        for (score, key) in scores.iter_mut().zip(k.data[first * k.stride..].chunks(k.stride)) {
            *score = dot(q, &key[..dim]);
        }
        let shift = max(scores);
        let inverse = 1.0 / exp_sub_sum(scores, shift);
        out.fill(0.0);
        for (&p, value) in scores.iter().zip(v.data[first * v.stride..].chunks(v.stride)) {
            add_scaled(out, p * inverse, &value[..dim]);
        }
    }
}
