//! Causal grouped-query attention over the documents of a layout, rotary embedding included.
//!
//! The forward pass walks each document in blocks of queries against the keys they may see; the backward pass
//! recomputes the probabilities from the kept log-sum-exp (Dao et al. 2022, arXiv:2205.14135), so that nothing of
//! size length² is kept.

use std::{ops::Range, sync::Arc};

use super::{
    matrix::{Mat, MatMut, matmul},
    simd::{dot, exp, exp_sub_sum, max, vectorized},
};
use crate::{layout::SequenceLayout, parallel, rope::RopeTable};

/// Queries handled together.
const BLOCK: usize = 64;

/// What attention needs to know besides the projections.
#[derive(Debug, Clone)]
pub(crate) struct AttentionSpec {
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads.
    pub(crate) kv_heads: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Factor on the scores.
    pub(crate) scale: f32,
    /// How many tokens a query sees, itself included.
    pub(crate) window: Option<usize>,
    /// Rotation; none for layers without position embedding.
    pub(crate) rope: Option<Arc<RopeTable>>,
}

impl AttentionSpec {
    /// Width of a row of merged projections.
    pub(crate) fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Where a head's queries, a group's keys and a group's values start in that row.
    pub(crate) fn columns(&self, head: usize) -> (usize, usize, usize) {
        let group = head / (self.heads / self.kv_heads);
        let (k, v) = (self.heads + group, self.heads + self.kv_heads + group);
        (head * self.head_dim, k * self.head_dim, v * self.head_dim)
    }

    /// The first key that the query at `position` sees.
    pub(crate) fn first_key(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

vectorized! {
    /// Copies one head out of merged projections, rotated by its position (`angles`, if any) and multiplied by `factor`.
    pub(crate) fn gather(out: &mut Vec<f32>, rows: &[f32], stride: usize, column: usize, dim: usize, angles: Option<&[f32]>, factor: f32) {
        out.clear();
        out.resize(rows.len() / stride * dim, 0.0);
        for (i, (row, out)) in rows.chunks_exact(stride).zip(out.chunks_exact_mut(dim)).enumerate() {
            rotate(out, &row[column..column + dim], angles.map(|angles| &angles[i * dim..(i + 1) * dim]), factor);
        }
    }
}

/// Rotates a head; `angles` holds the cosines, then the sines.
#[inline(always)]
pub(crate) fn rotate(out: &mut [f32], head: &[f32], angles: Option<&[f32]>, factor: f32) {
    let half = head.len() / 2;
    let Some(angles) = angles else {
        out.iter_mut().zip(head).for_each(|(out, x)| *out = x * factor);
        return;
    };
    let ((out_low, out_high), (low, high)) = (out.split_at_mut(half), head.split_at(half));
    let (cos, sin) = angles.split_at(half);
    for i in 0..half {
        out_low[i] = (low[i] * cos[i] - high[i] * sin[i]) * factor;
        out_high[i] = (high[i] * cos[i] + low[i] * sin[i]) * factor;
    }
}

vectorized! {
    /// Writes a head's gradient back into merged projections, rotated the other way.
    fn scatter(grads: &[f32], rows: &mut [f32], stride: usize, column: usize, dim: usize, angles: Option<&[f32]>, factor: f32) {
        let half = dim / 2;
        for (i, (row, grad)) in rows.chunks_exact_mut(stride).zip(grads.chunks_exact(dim)).enumerate() {
            let out = &mut row[column..column + dim];
            let Some(angles) = angles else {
                out.iter_mut().zip(grad).for_each(|(out, g)| *out = g * factor);
                continue;
            };
            let (cos, sin) = angles[i * dim..(i + 1) * dim].split_at(half);
            let ((out_low, out_high), (low, high)) = (out.split_at_mut(half), grad.split_at(half));
            for j in 0..half {
                out_low[j] = (low[j] * cos[j] + high[j] * sin[j]) * factor;
                out_high[j] = (high[j] * cos[j] - low[j] * sin[j]) * factor;
            }
        }
    }
}

vectorized! {
    /// Scores of queries `first..` (absolute positions within the document) become probabilities; rows of `scores` are
    /// `keys` long and start at key `lowest`. `lse` receives the log-sum-exp of each row.
    fn softmax_rows(scores: &mut [f32], keys: usize, lowest: usize, first: usize, spec: &AttentionSpec, lse: &mut [f32]) {
        for (i, (row, lse)) in scores.chunks_exact_mut(keys).zip(lse).enumerate() {
            let position = first + i;
            let (from, to) = (spec.first_key(position).max(lowest) - lowest, position + 1 - lowest);
            let seen = &mut row[from..to];
            let shift = max(seen);
            let total = exp_sub_sum(seen, shift);
            let inverse = 1.0 / total;
            for p in seen.iter_mut() {
                *p *= inverse;
            }
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            *lse = shift + total.ln();
        }
    }
}

/// Keys or values of one head: rows of `head_dim` elements, one every `stride`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
}

impl<'a> Rows<'a> {
    fn mat(self, first: usize, rows: usize, cols: usize) -> Mat<'a> {
        Mat::new(&self.data[first * self.stride..], rows, cols, self.stride)
    }
}

/// One head's queries `[n, dim]` (rotated and scaled, at positions `first..first + n`) against keys and values of the
/// positions before and at them. Writes `[n, dim]` rows of `out` every `out_stride`, and the log-sum-exps.
pub(crate) fn attend(
    q: &[f32],
    first: usize,
    (k, v): (Rows<'_>, Rows<'_>),
    out: &mut [f32],
    out_stride: usize,
    spec: &AttentionSpec,
    lse: &mut [f32],
) {
    let dim = spec.head_dim;
    let n = q.len() / dim;
    let mut scores = vec![0.0; BLOCK.min(n) * (first + n)];
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (lowest, highest) = (spec.first_key(first + start), first + end);
        let keys = highest - lowest;
        let scores = &mut scores[..(end - start) * keys];
        let queries = Mat::new(&q[start * dim..end * dim], end - start, dim, dim);
        matmul(&mut MatMut::new(scores, end - start, keys, keys), false, queries, k.mat(lowest, keys, dim).t());
        softmax_rows(scores, keys, lowest, first + start, spec, &mut lse[start..end]);
        let mut out = MatMut::new(&mut out[start * out_stride..], end - start, dim, out_stride);
        matmul(&mut out, false, Mat::new(scores, end - start, keys, keys), v.mat(lowest, keys, dim));
    }
}

/// Heads of one document that are computed together: a group that shares its keys, or, where threads share the work,
/// one head.
struct Task {
    tokens: Range<usize>,
    heads: Range<usize>,
}

fn tasks(layout: &SequenceLayout, spec: &AttentionSpec) -> Vec<Task> {
    let step = if parallel::current().is_some() { 1 } else { spec.heads / spec.kv_heads };
    let of = |tokens: &Range<usize>| {
        let heads = (0..spec.heads).step_by(step).map(|first| first..first + step);
        heads.map(|heads| Task { tokens: tokens.clone(), heads }).collect::<Vec<_>>()
    };
    layout.documents().iter().flat_map(of).collect()
}

fn each<R: Send>(tasks: &[Task], work: impl Fn(&Task) -> R + Sync) -> Vec<R> {
    match parallel::current() {
        Some(split) => split.map(tasks.len(), |at| work(&tasks[at])),
        None => tasks.iter().map(work).collect(),
    }
}

/// Copies `[n, width]` into the columns from `column` on of rows `stride` long, through `put(place, part)`.
fn place(rows: &mut [f32], stride: usize, column: usize, part: &[f32], width: usize, put: impl Fn(&mut [f32], &[f32])) {
    for (row, part) in rows.chunks_exact_mut(stride).zip(part.chunks_exact(width)) {
        put(&mut row[column..column + width], part);
    }
}

/// Merged projections `[tokens, row]` to attention's output `[tokens, heads·dim]` and log-sum-exps `[heads, tokens]`.
pub(crate) fn forward(qkv: &[f32], layout: &SequenceLayout, spec: &AttentionSpec) -> (Vec<f32>, Vec<f32>) {
    let (dim, out_stride, tokens) = (spec.head_dim, spec.heads * spec.head_dim, layout.tokens());
    let tasks = tasks(layout, spec);
    let parts = each(&tasks, |task| forward_task(qkv, task, spec));
    let mut out = vec![0.0; tokens * out_stride];
    let mut lse = vec![0.0; tokens * spec.heads];
    for (task, (part, part_lse)) in tasks.iter().zip(parts) {
        let rows = &mut out[task.tokens.start * out_stride..task.tokens.end * out_stride];
        place(rows, out_stride, task.heads.start * dim, &part, task.heads.len() * dim, <[f32]>::copy_from_slice);
        for (head, part) in task.heads.clone().zip(part_lse.chunks_exact(task.tokens.len())) {
            lse[head * tokens + task.tokens.start..head * tokens + task.tokens.end].copy_from_slice(part);
        }
    }
    (out, lse)
}

/// The output `[n, heads·dim]` and log-sum-exps `[heads, n]` of a task's heads.
fn forward_task(qkv: &[f32], task: &Task, spec: &AttentionSpec) -> (Vec<f32>, Vec<f32>) {
    let (dim, stride, n) = (spec.head_dim, spec.row(), task.tokens.len());
    let out_stride = task.heads.len() * dim;
    let rows = &qkv[task.tokens.start * stride..task.tokens.end * stride];
    let angles = spec.rope.as_ref().map(|rope| rope.rows(0, n));
    let mut out = vec![0.0; n * out_stride];
    let mut lse = vec![0.0; n * task.heads.len()];
    let (mut q, mut k) = (Vec::new(), Vec::new());
    let (_, k_column, v_column) = spec.columns(task.heads.start);
    gather(&mut k, rows, stride, k_column, dim, angles.as_deref(), 1.0);
    for (at, head) in task.heads.clone().enumerate() {
        gather(&mut q, rows, stride, spec.columns(head).0, dim, angles.as_deref(), spec.scale);
        let keys_values = (Rows { data: &k, stride: dim }, Rows { data: &rows[v_column..], stride });
        attend(&q, 0, keys_values, &mut out[at * dim..], out_stride, spec, &mut lse[at * n..(at + 1) * n]);
    }
    (out, lse)
}

/// Buffers of the backward pass, reused from head to head.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    p: Vec<f32>,
    dp: Vec<f32>,
}

/// What the backward pass is given besides the projections.
#[derive(Clone, Copy)]
struct Given<'a> {
    out: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
}

/// The gradient of the merged projections.
pub(crate) fn backward(qkv: &[f32], out: &[f32], lse: &[f32], dout: &[f32], layout: &SequenceLayout, spec: &AttentionSpec) -> Vec<f32> {
    let (dim, stride) = (spec.head_dim, spec.row());
    let tasks = tasks(layout, spec);
    let parts = each(&tasks, |task| backward_task(qkv, Given { out, lse, dout }, task, layout.tokens(), spec));
    let mut dqkv = vec![0.0; qkv.len()];
    let add = |sum: &mut [f32], part: &[f32]| sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    for (task, [dq, dk, dv]) in tasks.iter().zip(parts) {
        let rows = &mut dqkv[task.tokens.start * stride..task.tokens.end * stride];
        let (q_column, k_column, v_column) = spec.columns(task.heads.start);
        place(rows, stride, q_column, &dq, task.heads.len() * dim, <[f32]>::copy_from_slice);
        place(rows, stride, k_column, &dk, dim, add);
        place(rows, stride, v_column, &dv, dim, add);
    }
    dqkv
}

/// Gradients of a task's queries `[n, heads·dim]` and of its keys and values `[n, dim]`.
fn backward_task(qkv: &[f32], given: Given<'_>, task: &Task, tokens: usize, spec: &AttentionSpec) -> [Vec<f32>; 3] {
    let (dim, stride, out_stride, n) = (spec.head_dim, spec.row(), spec.heads * spec.head_dim, task.tokens.len());
    let rows = &qkv[task.tokens.start * stride..task.tokens.end * stride];
    let angles = spec.rope.as_ref().map(|rope| rope.rows(0, n));
    let mut scratch = Scratch { dk: vec![0.0; n * dim], dv: vec![0.0; n * dim], ..Scratch::default() };
    let (_, k_column, v_column) = spec.columns(task.heads.start);
    gather(&mut scratch.k, rows, stride, k_column, dim, angles.as_deref(), 1.0);
    let width = task.heads.len() * dim;
    let mut dq = vec![0.0; n * width];
    for (at, head) in task.heads.clone().enumerate() {
        let q_column = spec.columns(head).0;
        gather(&mut scratch.q, rows, stride, q_column, dim, angles.as_deref(), spec.scale);
        let columns = task.tokens.start * out_stride + q_column..;
        let lse = &given.lse[head * tokens + task.tokens.start..head * tokens + task.tokens.end];
        let out = Rows { data: &given.out[columns.clone()], stride: out_stride };
        let dout = Rows { data: &given.dout[columns], stride: out_stride };
        backward_head(&mut scratch, Rows { data: &rows[v_column..], stride }, out, dout, lse, spec);
        scatter(&scratch.dq, &mut dq, width, at * dim, dim, angles.as_deref(), spec.scale);
    }
    let mut dk = vec![0.0; n * dim];
    scatter(&scratch.dk, &mut dk, dim, 0, dim, angles.as_deref(), 1.0);
    [dq, dk, scratch.dv]
}

/// One head of one document: fills `dq`, adds to `dk` and `dv`.
fn backward_head(scratch: &mut Scratch, v: Rows<'_>, out: Rows<'_>, dout: Rows<'_>, lse: &[f32], spec: &AttentionSpec) {
    let (dim, n) = (spec.head_dim, lse.len());
    let Scratch { q, k, dq, dk, dv, p, dp } = scratch;
    dq.resize(n * dim, 0.0);
    p.resize(BLOCK * n, 0.0);
    dp.resize(BLOCK * n, 0.0);
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (count, lowest) = (end - start, spec.first_key(start));
        let keys = end - lowest;
        let (p, dp) = (&mut p[..count * keys], &mut dp[..count * keys]);
        let queries = Mat::new(&q[start * dim..end * dim], count, dim, dim);
        let key_rows = Mat::new(&k[lowest * dim..], keys, dim, dim);
        let douts = dout.mat(start, count, dim);
        matmul(&mut MatMut::new(p, count, keys, keys), false, queries, key_rows.t());
        matmul(&mut MatMut::new(dp, count, keys, keys), false, douts, v.mat(lowest, keys, dim).t());
        softmax_rows_backward(p, dp, keys, lowest, start, out.data, dout.data, dout.stride, lse, spec);
        let (p, dp) = (Mat::new(p, count, keys, keys), Mat::new(dp, count, keys, keys));
        matmul(&mut MatMut::new(&mut dv[lowest * dim..], keys, dim, dim), true, p.t(), douts);
        matmul(&mut MatMut::new(&mut dk[lowest * dim..], keys, dim, dim), true, dp.t(), queries);
        matmul(&mut MatMut::new(&mut dq[start * dim..], count, dim, dim), false, dp, key_rows);
    }
}

vectorized! {
    /// Scores become probabilities `p`, and `dp`, the gradient of the probabilities, becomes that of the scores.
    #[expect(clippy::too_many_arguments, reason = "two blocks in place and four matrices they depend on")]
    fn softmax_rows_backward(p: &mut [f32], dp: &mut [f32], keys: usize, lowest: usize, first: usize, out: &[f32], dout: &[f32], stride: usize, lse: &[f32], spec: &AttentionSpec) {
        for (i, (p, dp)) in p.chunks_exact_mut(keys).zip(dp.chunks_exact_mut(keys)).enumerate() {
            let position = first + i;
            let (from, to) = (spec.first_key(position).max(lowest) - lowest, position + 1 - lowest);
            let columns = position * stride..position * stride + spec.head_dim;
            let delta = dot(&out[columns.clone()], &dout[columns]);
            for (p, dp) in p[from..to].iter_mut().zip(&mut dp[from..to]) {
                *p = exp(*p - lse[position]);
                *dp = *p * (*dp - delta);
            }
            for row in [p, dp] {
                row[..from].fill(0.0);
                row[to..].fill(0.0);
            }
        }
    }
}
