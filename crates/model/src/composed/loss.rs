//! The output head and the losses over it, a chunk of logits at a time.

use std::ops::Range;

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{Device, FloatTensor, IntTensor},
    },
    tensor::TensorData,
};

use super::Value;
use crate::{kernels::cross_entropy::NO_REST, loss::Targets};

/// Logits held at a time.
const CHUNK_ELEMENTS: usize = 1 << 26;

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
