//! Attention: over packed documents, forward and backward, and over a cache.

use std::ops::Range;

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{Device, FloatTensor},
    },
    tensor::Slice,
};

use super::Value;
use crate::{
    kernels::{attention::AttentionSpec, decode::Step},
    layout::SequenceLayout,
};

/// Queries handled together.
pub(super) const BLOCK: usize = 512;
/// What a score gets where a query may not look; far below every score, and finite.
const HIDDEN: f32 = -1e30;

/// Cosines and sines of positions, each `[1, n, dim / 2]`.
struct Angles<B: Backend>(Option<(Value<B>, Value<B>)>);

impl<B: Backend> Angles<B> {
    fn new(spec: &AttentionSpec, positions: Range<usize>, device: &Device<B>) -> Self {
        let (half, n) = (spec.head_dim / 2, positions.len());
        Self(spec.rope.as_ref().map(|rope| {
            let both = Value::<B>::of(rope.rows(positions.start, n).into_owned(), [1, n, spec.head_dim], device);
            (both.part(2, 0..half), both.part(2, half..2 * half))
        }))
    }

    /// Heads `[heads, n, dim]` rotated by their positions, or back.
    fn rotated(&self, heads: Value<B>, back: bool) -> Value<B> {
        let Some((cos, sin)) = &self.0 else { return heads };
        let half = heads.dim(2) / 2;
        let (low, high) = (heads.part(2, 0..half), heads.part(2, half..2 * half));
        let sin = if back { sin.clone().scaled(-1.0) } else { sin.clone() };
        let first = low.clone() * cos.clone() - high.clone() * sin.clone();
        Value::joined(vec![first, high * cos.clone() + low * sin], 2)
    }
}

/// What attends: queries `[heads, n, dim]` from position `first` on, keys and values `[kv_heads, length, dim]` from 0 on.
struct Heads<B: Backend> {
    q: Value<B>,
    k: Value<B>,
    v: Value<B>,
    first: usize,
    angles: Angles<B>,
}

impl<B: Backend> Heads<B> {
    /// Rows of merged projections that stand at positions from `first` on, and see themselves alone.
    fn of(qkv: &Value<B>, rows: Range<usize>, first: usize, spec: &AttentionSpec) -> Self {
        let angles = Angles::new(spec, first..first + rows.len(), &qkv.0.device());
        let rows = qkv.part(0, rows);
        let (dim, q, kv) = (spec.head_dim, spec.heads, spec.kv_heads);
        let heads = |from: usize, count: usize| by_head(rows.part(1, from * dim..(from + count) * dim), dim);
        let k = angles.rotated(heads(q, kv), false);
        Self { q: angles.rotated(heads(0, q), false), k, v: heads(q + kv, kv), first, angles }
    }

    /// Keys, and queries.
    fn len(&self) -> (usize, usize) {
        (self.k.dim(1), self.q.dim(1))
    }

    /// Queries `block` of all heads, those of a group one after the other: `[kv_heads, repeats · block, dim]`.
    fn grouped(spec: &AttentionSpec, heads: &Value<B>, block: &Range<usize>) -> Value<B> {
        let repeats = spec.heads / spec.kv_heads;
        heads.part(1, block.clone()).shaped([spec.kv_heads, repeats * block.len(), spec.head_dim])
    }

    /// Scores of the queries of a block, `[kv_heads, repeats · block, n]`; hidden where they may not look.
    fn scores(&self, spec: &AttentionSpec, block: &Range<usize>) -> Value<B> {
        let (n, repeats) = (self.len().0, spec.heads / spec.kv_heads);
        let scores = Self::grouped(spec, &self.q, block).times(self.k.clone().t()).scaled(spec.scale);
        let mut mask = vec![HIDDEN; block.len() * n];
        for (row, query) in mask.chunks_exact_mut(n).zip(block.clone()) {
            let position = self.first + query;
            row[spec.first_key(position)..=position].fill(0.0);
        }
        let mask = Value::<B>::of(mask, [1, 1, block.len(), n], &self.k.0.device());
        let scores = scores.shaped([spec.kv_heads, repeats, block.len(), n]) + mask;
        scores.shaped([spec.kv_heads, repeats * block.len(), n])
    }
}

/// `[n, heads · dim]` as `[heads, n, dim]`.
fn by_head<B: Backend>(rows: Value<B>, dim: usize) -> Value<B> {
    let shape = [rows.dim(0), rows.dim(1) / dim, dim];
    rows.shaped(shape).swapped(0, 1)
}

/// And back.
fn by_row<B: Backend>(heads: Value<B>) -> Value<B> {
    let shape = [heads.dim(1), heads.dim(0) * heads.dim(2)];
    heads.swapped(0, 1).shaped(shape)
}

fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(n))
}

/// Puts what was computed per document in its place, with zeros where there is no document.
fn placed<B: Backend>(parts: Vec<Value<B>>, layout: &SequenceLayout, dim: usize, blank: impl Fn(usize) -> Value<B>) -> FloatTensor<B> {
    let (mut all, mut at) = (Vec::new(), 0);
    for (document, part) in layout.documents().iter().zip(parts) {
        if document.start > at {
            all.push(blank(document.start - at));
        }
        all.push(part);
        at = document.end;
    }
    if layout.tokens() > at {
        all.push(blank(layout.tokens() - at));
    }
    Value::joined(all, dim).0
}

pub(crate) fn attention_forward<B: Backend>(
    qkv: FloatTensor<B>,
    layout: &SequenceLayout,
    spec: &AttentionSpec,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let qkv = Value::<B>(qkv);
    let device = qkv.0.device();
    let width = spec.heads * spec.head_dim;
    let (outs, sums) = layout.documents().iter().map(|document| heads_forward(&Heads::of(&qkv, document.clone(), 0, spec), spec)).unzip();
    let out = placed(outs, layout, 0, |rows| Value::zeros([rows, width], &device));
    let lse = placed(sums, layout, 1, |rows| Value::zeros([spec.heads, rows], &device));
    (out, lse)
}

/// `[n, heads · dim]`, and the log-sum-exps `[heads, n]`.
fn heads_forward<B: Backend>(heads: &Heads<B>, spec: &AttentionSpec) -> (Value<B>, Value<B>) {
    let (mut outs, mut sums) = (Vec::new(), Vec::new());
    for block in blocks(heads.len().1) {
        let scores = heads.scores(spec, &block);
        let shift = scores.clone().max(2);
        let e = (scores - shift.clone()).exp();
        let total = e.clone().sum(2);
        let out = (e / total.clone()).times(heads.v.clone());
        outs.push(by_row(out.shaped([spec.heads, block.len(), spec.head_dim])));
        sums.push((total.ln() + shift).shaped([spec.heads, block.len()]));
    }
    (Value::joined(outs, 0), Value::joined(sums, 1))
}

pub(crate) fn attention_backward<B: Backend>(
    qkv: FloatTensor<B>,
    out: FloatTensor<B>,
    lse: FloatTensor<B>,
    dout: FloatTensor<B>,
    layout: &SequenceLayout,
    spec: &AttentionSpec,
) -> FloatTensor<B> {
    let (qkv, out, lse, dout) = (Value::<B>(qkv), Value::<B>(out), Value::<B>(lse), Value::<B>(dout));
    let device = qkv.0.device();
    let parts = layout.documents().iter().map(|document| {
        let heads = Heads::of(&qkv, document.clone(), 0, spec);
        let of = |rows: &Value<B>| by_head(rows.part(0, document.clone()), spec.head_dim);
        heads_backward(&heads, spec, &of(&out), &lse.part(1, document.clone()), &of(&dout))
    });
    placed(parts.collect(), layout, 0, |rows| Value::zeros([rows, spec.row()], &device))
}

/// The gradient `[n, row]` of a document's merged projections.
fn heads_backward<B: Backend>(heads: &Heads<B>, spec: &AttentionSpec, out: &Value<B>, lse: &Value<B>, dout: &Value<B>) -> Value<B> {
    let (n, repeats) = (heads.len().0, spec.heads / spec.kv_heads);
    let mut dq = Vec::new();
    let mut dkv: Option<(Value<B>, Value<B>)> = None;
    for block in blocks(n) {
        let sums = lse.part(1, block.clone()).shaped([spec.kv_heads, repeats * block.len(), 1]);
        let p = (heads.scores(spec, &block) - sums).exp();
        let (out, dout) = (Heads::grouped(spec, out, &block), Heads::grouped(spec, dout, &block));
        let dp = dout.clone().times(heads.v.clone().t());
        let delta = (out * dout.clone()).sum(2);
        let dscores = (p.clone() * (dp - delta)).scaled(spec.scale);
        dq.push(dscores.clone().times(heads.k.clone()).shaped([spec.heads, block.len(), spec.head_dim]));
        let dk = dscores.t().times(Heads::grouped(spec, &heads.q, &block));
        let dv = p.t().times(dout);
        dkv = Some(match dkv {
            Some((keys, values)) => (keys + dk, values + dv),
            None => (dk, dv),
        });
    }
    let device = heads.k.0.device();
    let none = || Value::zeros([spec.kv_heads, n, spec.head_dim], &device);
    let (dk, dv) = dkv.unwrap_or_else(|| (none(), none()));
    let dq = heads.angles.rotated(Value::joined(dq, 1), true);
    let dk = heads.angles.rotated(dk, true);
    Value::joined(vec![by_row(dq), by_row(dk), by_row(dv)], 1)
}

/// Appends the steps' keys and values to the caches `[slots, capacity, kv_heads · dim]` and attends over them: the output
/// `[tokens, heads · dim]`, and both caches.
pub(crate) fn attention_cached<B: Backend>(
    qkv: FloatTensor<B>,
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    steps: &[Step],
    spec: &AttentionSpec,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (qkv, mut keys, mut values) = (Value::<B>(qkv), keys, values);
    let (mut outs, mut at, width) = (Vec::with_capacity(steps.len()), 0, spec.kv_heads * spec.head_dim);
    for step in steps {
        let new = Heads::of(&qkv, at..at + step.count, step.cached, spec);
        at += step.count;
        let end = step.cached + step.count;
        let place = [step.slot..step.slot + 1, step.cached..end, 0..width].map(Slice::from);
        let append = |cache, heads: Value<B>| B::float_slice_assign(cache, &place, by_row(heads).shaped([1, step.count, width]).0);
        (keys, values) = (append(keys, new.k), append(values, new.v));
        let all = |cache: &FloatTensor<B>| {
            let rows = Value::<B>(cache.clone()).part(0, step.slot..step.slot + 1).part(1, 0..end);
            by_head(rows.shaped([end, width]), spec.head_dim)
        };
        let heads = Heads { q: new.q, k: all(&keys), v: all(&values), first: new.first, angles: new.angles };
        outs.push(heads_forward(&heads, spec).0);
    }
    (Value::joined(outs, 0).0, keys, values)
}
