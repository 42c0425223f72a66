//! The buffers of a training step.

use super::{F, H, Trainer};
use crate::Result;
use crate::gpu::Buffer;

/// Scores of attention held at a time.
const SCORES: usize = 1 << 27;
/// Logits held at a time.
const LOGITS: usize = 1 << 27;

/// What the backward pass needs of a layer's forward pass.
pub(super) struct Saved {
    pub(super) input: Buffer,
    pub(super) input_scales: Buffer,
    pub(super) input_normed: Buffer,
    pub(super) q: Buffer,
    pub(super) k: Buffer,
    pub(super) v: Buffer,
    pub(super) lse: Buffer,
    pub(super) attended: Buffer,
    pub(super) middle: Buffer,
    pub(super) middle_scales: Buffer,
    pub(super) middle_normed: Buffer,
    pub(super) gate_up: Buffer,
    pub(super) fed: Buffer,
    /// Of the adapters.
    pub(super) low: Buffer,
}

/// Buffers that layers use one after the other.
pub(super) struct Scratch {
    pub(super) ids: Buffer,
    pub(super) positions: Buffer,
    pub(super) starts: Buffer,
    /// The residual stream after the last layer.
    pub(super) last: Buffer,
    pub(super) last_scales: Buffer,
    pub(super) hidden: Buffer,
    /// Gradient of the residual stream, f32, and its bf16 copy.
    pub(super) slope: Buffer,
    pub(super) slope_half: Buffer,
    pub(super) row: Buffer,
    pub(super) heads: Buffer,
    pub(super) dheads: Buffer,
    pub(super) dq: Buffer,
    pub(super) dk: Buffer,
    pub(super) dv: Buffer,
    pub(super) delta: Buffer,
    pub(super) wide: Buffer,
    pub(super) inner: Buffer,
    pub(super) normed: Buffer,
    pub(super) scores: Buffer,
    pub(super) dscores: Buffer,
    pub(super) logits: Buffer,
    pub(super) chosen: Buffer,
    pub(super) dchosen: Buffer,
    pub(super) low: Buffer,
}

/// Everything sized by the micro-batch.
pub(super) struct Room {
    pub(super) rows: usize,
    pub(super) len: usize,
    pub(super) layers: Vec<Saved>,
    pub(super) scratch: Scratch,
}

impl Trainer {
    pub(super) fn make_room(&self, rows: usize, len: usize) -> Result<Room> {
        let (gpu, shape, n) = (&self.gpu, &self.shape, rows * len);
        let float = |count: usize| gpu.alloc(count * F);
        let half = |count: usize| gpu.alloc(count * H);
        let (d, inner, q, kv) = (shape.hidden, shape.inner, shape.heads * shape.dim, shape.groups * shape.dim);
        let (low, rank) = self.adapters.as_ref().map_or((0, 0), |(adapters, _)| (adapters.low(), adapters.rank));
        let layer = |_| {
            Ok(Saved {
                input: float(n * d)?,
                input_scales: float(n)?,
                input_normed: half(n * d)?,
                q: half(n * q)?,
                k: half(n * kv)?,
                v: half(n * kv)?,
                lse: float(n * shape.heads)?,
                attended: half(n * q)?,
                middle: float(n * d)?,
                middle_scales: float(n)?,
                middle_normed: half(n * d)?,
                gate_up: half(n * 2 * inner)?,
                fed: half(n * inner)?,
                low: half(n * low)?,
            })
        };
        let scores = self.rows_at_once(rows, len) * shape.heads * len * len;
        let chunk = self.chunk(n);
        let scratch = Scratch {
            ids: gpu.alloc(n * F)?,
            positions: gpu.alloc(n * F)?,
            starts: gpu.alloc(n * F)?,
            last: float(n * d)?,
            last_scales: float(n)?,
            hidden: half(n * d)?,
            slope: float(n * d)?,
            slope_half: half(n * d)?,
            row: half(n * shape.row())?,
            heads: half(n * q)?,
            dheads: half(n * q)?,
            dq: half(n * q)?,
            dk: half(n * kv)?,
            dv: half(n * kv)?,
            delta: float(n * shape.heads)?,
            wide: half(n * 2 * inner)?,
            inner: half(n * inner)?,
            normed: half(n * d)?,
            scores: half(scores)?,
            dscores: half(scores)?,
            logits: half(chunk * shape.vocab)?,
            chosen: half(chunk * d)?,
            dchosen: half(chunk * d)?,
            low: half(n * rank)?,
        };
        Ok(Room { rows, len, layers: (0..shape.layers).map(layer).collect::<Result<_>>()?, scratch })
    }

    pub(super) fn rows_at_once(&self, rows: usize, len: usize) -> usize {
        (SCORES / (self.shape.heads * len * len).max(1)).clamp(1, rows)
    }

    pub(super) fn chunk(&self, tokens: usize) -> usize {
        (LOGITS / self.shape.vocab).clamp(1, tokens.max(1))
    }
}
