//! The kernels of [`crate::ops`] composed of a backend's own operations, for a backend that has none of its own.
//!
//! What a GPU computes with where no kernel was written for it: every model and every loss, at the backend's own speed.
//! The formulas are those of [`crate::kernels`], which the tests hold them against.

use std::ops::{Add, Div, Mul, Range, Sub};

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{Device, FloatTensor, IntTensor},
    },
    tensor::{IndexingUpdateOp, Shape, Slice, TensorData},
};

use crate::{
    config::Activation,
    kernels::{
        attention::AttentionSpec,
        cross_entropy::NO_REST,
        decode::Step,
        gated::{CUBIC, SQRT_2_OVER_PI},
    },
    layout::SequenceLayout,
    loss::Targets,
};

/// Queries handled together.
const BLOCK: usize = 512;
/// Logits held at a time.
const CHUNK_ELEMENTS: usize = 1 << 26;
/// What a score gets where a query may not look; far below every score, and finite.
const HIDDEN: f32 = -1e30;

/// A tensor with the operators of arithmetic; they broadcast.
struct Value<B: Backend>(FloatTensor<B>);

impl<B: Backend> Clone for Value<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

macro_rules! operator {
    ($name:ident, $method:ident, $op:ident) => {
        impl<B: Backend> $name for Value<B> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                Self(B::$op(self.0, other.0))
            }
        }
    };
}
operator!(Add, add, float_add);
operator!(Sub, sub, float_sub);
operator!(Mul, mul, float_mul);
operator!(Div, div, float_div);

impl<B: Backend> Value<B> {
    fn of<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device<B>) -> Self {
        Self(B::float_from_data(TensorData::new(values, shape), device))
    }

    fn zeros<const D: usize>(shape: [usize; D], device: &Device<B>) -> Self {
        Self(B::float_zeros(Shape::new(shape), device, burn::tensor::FloatDType::F32))
    }

    fn dim(&self, at: usize) -> usize {
        self.0.shape().as_slice().get(at).copied().unwrap_or(0)
    }

    fn scaled(self, factor: f32) -> Self {
        Self(B::float_mul_scalar(self.0, factor.into()))
    }

    fn plus(self, number: f32) -> Self {
        Self(B::float_add_scalar(self.0, number.into()))
    }

    fn exp(self) -> Self {
        Self(B::float_exp(self.0))
    }

    fn ln(self) -> Self {
        Self(B::float_log(self.0))
    }

    fn tanh(self) -> Self {
        Self(B::float_tanh(self.0))
    }

    fn squared(self) -> Self {
        self.clone() * self
    }

    fn sigmoid(self) -> Self {
        Self(B::float_recip(self.scaled(-1.0).exp().plus(1.0).0))
    }

    fn at_least(self, number: f32) -> Self {
        Self(B::float_clamp_min(self.0, number.into()))
    }

    /// The last two dimensions as matrices.
    fn times(self, other: Self) -> Self {
        Self(B::float_matmul(self.0, other.0))
    }

    /// The last two dimensions swapped.
    fn t(self) -> Self {
        Self(B::float_transpose(self.0))
    }

    fn swapped(self, one: usize, other: usize) -> Self {
        Self(B::float_swap_dims(self.0, one, other))
    }

    fn shaped<const D: usize>(self, shape: [usize; D]) -> Self {
        Self(B::float_reshape(self.0, Shape::new(shape)))
    }

    /// The sum over a dimension, which stays as one of size 1.
    fn sum(self, dim: usize) -> Self {
        Self(B::float_sum_dim(self.0, dim))
    }

    fn max(self, dim: usize) -> Self {
        Self(B::float_max_dim(self.0, dim))
    }

    fn part(&self, dim: usize, range: Range<usize>) -> Self {
        let sizes = self.0.shape();
        let slices = sizes.as_slice().iter().enumerate().map(|(at, &size)| if at == dim { range.clone() } else { 0..size });
        let slices: Vec<Slice> = slices.map(Slice::from).collect();
        Self(B::float_slice(self.0.clone(), &slices))
    }

    fn joined(parts: Vec<Self>, dim: usize) -> Self {
        Self(B::float_cat(parts.into_iter().map(|part| part.0).collect(), dim))
    }

    /// Of each row of a matrix the elements at these columns.
    fn picked(&self, columns: &IntTensor<B>) -> Self {
        Self(B::float_gather(1, self.0.clone(), columns.clone()))
    }

    /// Adds to the elements at these columns of each row of a matrix.
    fn added_at(self, columns: IntTensor<B>, values: Self) -> Self {
        Self(B::float_scatter(1, self.0, columns, values.0, IndexingUpdateOp::Add))
    }
}

// ---- norm and nonlinearity ---------------------------------------------------------------------------------------

pub(crate) fn rms_norm_forward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, eps: f32) -> (FloatTensor<B>, FloatTensor<B>) {
    let (x, weight) = (Value::<B>(x), Value::<B>(weight));
    let (n, d) = (x.dim(0), x.dim(1));
    let mean = x.clone().squared().sum(1).scaled(1.0 / d as f32);
    let scales = Value::<B>(B::float_recip(B::float_sqrt(mean.plus(eps).0)));
    let y = x * scales.clone() * weight.shaped([1, d]);
    (y.0, scales.shaped([n]).0)
}

pub(crate) fn rms_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    scales: FloatTensor<B>,
    dy: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (x, weight, scales, dy) = (Value::<B>(x), Value::<B>(weight), Value::<B>(scales), Value::<B>(dy));
    let (n, d) = (x.dim(0), x.dim(1));
    let scales = scales.shaped([n, 1]);
    let normed = x * scales.clone();
    let dweight = (dy.clone() * normed.clone()).sum(0).shaped([d]);
    let slope = dy * weight.shaped([1, d]);
    let along = (slope.clone() * normed.clone()).sum(1).scaled(1.0 / d as f32);
    let dx = (slope - normed * along) * scales;
    (dx.0, dweight.0)
}

/// Value and slope of the activation.
fn activate<B: Backend>(x: &Value<B>, activation: Activation) -> (Value<B>, Value<B>) {
    match activation {
        Activation::Silu => {
            let s = x.clone().sigmoid();
            let slope = s.clone() * (x.clone() * s.clone().scaled(-1.0).plus(1.0)).plus(1.0);
            (x.clone() * s, slope)
        }
        Activation::GeluTanh => {
            let square = x.clone().squared();
            let inner = x.clone() * square.clone().scaled(CUBIC).plus(1.0);
            let t = inner.scaled(SQRT_2_OVER_PI).tanh();
            let half = t.clone().plus(1.0).scaled(0.5);
            let inner_slope = square.scaled(3.0 * CUBIC).plus(1.0).scaled(SQRT_2_OVER_PI);
            let slope = half.clone() + x.clone().scaled(0.5) * t.squared().scaled(-1.0).plus(1.0) * inner_slope;
            (x.clone() * half, slope)
        }
    }
}

fn halves<B: Backend>(gate_up: FloatTensor<B>) -> (Value<B>, Value<B>) {
    let gate_up = Value::<B>(gate_up);
    let width = gate_up.dim(1) / 2;
    (gate_up.part(1, 0..width), gate_up.part(1, width..2 * width))
}

pub(crate) fn gated_forward<B: Backend>(gate_up: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    let (gate, up) = halves::<B>(gate_up);
    (activate(&gate, activation).0 * up).0
}

pub(crate) fn gated_backward<B: Backend>(gate_up: FloatTensor<B>, activation: Activation, dout: FloatTensor<B>) -> FloatTensor<B> {
    let (gate, up) = halves::<B>(gate_up);
    let (value, slope) = activate(&gate, activation);
    let dout = Value::<B>(dout);
    Value::joined(vec![dout.clone() * up * slope, dout * value], 1).0
}

// ---- attention -----------------------------------------------------------------------------------------------------

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

// ---- output head and loss --------------------------------------------------------------------------------------------

/// What a teacher's distributions are to a chunk of rows, as tensors.
struct Soft<B: Backend> {
    ids: IntTensor<B>,
    /// Probabilities `[n, top]`, and ones where they are above 0.
    q: Value<B>,
    known: Value<B>,
    /// Per row `[n, 1]`: Σ q ln q over known tokens and rest; the rest's q; the share of the divergence in the loss.
    entropy: Value<B>,
    rest: Value<B>,
    share: Value<B>,
}

impl<B: Backend> Soft<B> {
    fn of(targets: &Targets, rows: Range<usize>, device: &Device<B>) -> Option<Self> {
        let soft = targets.soft.as_ref()?;
        let (n, part) = (rows.len(), rows.start * soft.top..rows.end * soft.top);
        let q: Vec<f32> = soft.probabilities[part.clone()].to_vec();
        let (mut entropy, mut rest, mut share) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        for (at, row) in q.chunks_exact(soft.top).enumerate().filter(|(_, row)| row.iter().any(|&q| q > 0.0)) {
            let known: f32 = row.iter().sum();
            let left = if 1.0 - known > NO_REST { 1.0 - known } else { 0.0 };
            let log = |q: f32| if q > 0.0 { q * q.ln() } else { 0.0 };
            (entropy[at], rest[at], share[at]) = (row.iter().map(|&q| log(q)).sum::<f32>() + log(left), left, soft.weight);
        }
        let known = q.iter().map(|&q| f32::from(u8::from(q > 0.0))).collect();
        let column = |values| Value::<B>::of(values, [n, 1], device);
        Some(Self {
            ids: ids::<B>(&soft.ids[part], [n, soft.top], device),
            known: Value::of(known, [n, soft.top], device),
            q: Value::of(q, [n, soft.top], device),
            entropy: column(entropy),
            rest: column(rest),
            share: column(share),
        })
    }
}

fn ids<B: Backend>(ids: &[u32], shape: [usize; 2], device: &Device<B>) -> IntTensor<B> {
    B::int_from_data(TensorData::new(ids.iter().map(|&id| id as i32).collect::<Vec<_>>(), shape), device)
}

pub(crate) fn cross_entropy_forward<B: Backend>(
    hidden: FloatTensor<B>,
    head: FloatTensor<B>,
    targets: &Targets,
    wanted: [bool; 2],
) -> (FloatTensor<B>, [Option<FloatTensor<B>>; 2]) {
    let (hidden, head) = (Value::<B>(hidden), Value::<B>(head));
    let (rows, vocab) = (hidden.dim(0), head.dim(0));
    let mut loss = Value::<B>::zeros([1, 1], &hidden.0.device());
    let (mut dhidden, mut dhead) = (Vec::new(), None);
    for start in (0..rows).step_by((CHUNK_ELEMENTS / vocab).max(1)) {
        let chunk = start..(start + (CHUNK_ELEMENTS / vocab).max(1)).min(rows);
        let states = hidden.part(0, chunk.clone());
        let (sum, slopes) = slopes(states.clone().times(head.clone().t()), targets, chunk);
        loss = loss + sum;
        if wanted[0] {
            dhidden.push(slopes.clone().times(head.clone()));
        }
        if wanted[1] {
            let part = slopes.t().times(states);
            dhead = Some(match dhead {
                Some(sum) => sum + part,
                None => part,
            });
        }
    }
    let dhidden = wanted[0].then(|| if dhidden.is_empty() { hidden.clone().scaled(0.0) } else { Value::joined(dhidden, 0) });
    let dhead = wanted[1].then(|| dhead.unwrap_or_else(|| head.clone().scaled(0.0)));
    (loss.shaped([1]).0, [dhidden.map(|grad| grad.0), dhead.map(|grad| grad.0)])
}

/// The weighted sum `[1, 1]` of the losses of these rows of logits, and its gradient by the logits.
fn slopes<B: Backend>(logits: Value<B>, targets: &Targets, rows: Range<usize>) -> (Value<B>, Value<B>) {
    let (n, vocab, device) = (rows.len(), logits.dim(1), logits.0.device());
    let smoothing = targets.terms.label_smoothing;
    let z_loss = targets.terms.z_loss;
    let weight = Value::<B>::of(targets.weights[rows.clone()].to_vec(), [n, 1], &device);
    let target = ids::<B>(&targets.ids[rows.clone()], [n, 1], &device);
    let soft = Soft::<B>::of(targets, rows, &device);
    let hard = match &soft {
        Some(soft) => soft.share.clone().scaled(-1.0).plus(1.0),
        None => weight.clone().scaled(0.0).plus(1.0),
    };
    let shift = logits.clone().max(1);
    let e = (logits.clone() - shift.clone()).exp();
    let total = e.clone().sum(1);
    let log_sum = total.clone().ln() + shift;
    let mean = logits.clone().sum(1).scaled(smoothing / vocab as f32);
    let cross = log_sum.clone() - logits.picked(&target).scaled(1.0 - smoothing) - mean;
    let mut loss = hard.clone() * cross + log_sum.clone().squared().scaled(z_loss);
    let mut factor = hard.clone() + log_sum.scaled(2.0 * z_loss);
    let mut known = None;
    if let Some(soft) = soft {
        let p = e.picked(&soft.ids) / total.clone();
        let seen = p.clone() * soft.known.clone();
        let rest = seen.clone().sum(1).scaled(-1.0).plus(1.0).at_least(NO_REST);
        let ratio = soft.rest.clone() / rest.clone();
        let crossed = (soft.q.clone() * p.at_least(f32::MIN_POSITIVE).ln()).sum(1) + soft.rest * rest.ln();
        loss = loss + soft.share.clone() * (soft.entropy - crossed);
        factor = factor + soft.share.clone() * ratio.clone().scaled(-1.0).plus(1.0);
        known = Some((soft.ids, weight.clone() * soft.share * (ratio * seen - soft.q)));
    }
    let flat = (weight.clone() * hard.clone()).scaled(smoothing / vocab as f32);
    let slopes = e * (weight.clone() * factor / total) - flat;
    let mut slopes = slopes.added_at(target, (weight.clone() * hard).scaled(smoothing - 1.0));
    if let Some((ids, values)) = known {
        slopes = slopes.added_at(ids, values);
    }
    ((weight * loss).sum(0), slopes)
}

#[cfg(test)]
mod tests;
