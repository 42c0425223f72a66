//! Attention of a training step, forward and backward.

use super::room::{Saved, Scratch};
use super::{F, H, Trainer};
use crate::Result;
use crate::gpu::{Buffer, Matrix, args};
use crate::shape::LayerIndex;

impl Trainer {
    /// Rows of merged projections to attention's output.
    pub(super) fn attention(&self, saved: &Saved, scratch: &Scratch, at: LayerIndex, rows: usize, len: usize) -> Result<()> {
        let (gpu, shape, n) = (&self.gpu, &self.shape, rows * len);
        let threads = n * (shape.heads + 2 * shape.groups) * shape.dim / 2;
        let bias = at.bias.map_or(0, |bias| self.base.float(bias));
        gpu.each(
            "split",
            threads,
            args![
                &scratch.row,
                bias,
                &self.angles,
                &scratch.positions,
                &saved.q,
                &saved.k,
                &saved.v,
                shape.heads,
                shape.groups,
                len,
                shape.scale,
                threads as i64,
            ],
        )?;
        for part in Part::all(self, rows, len) {
            let scores = part.scores(&scratch.scores);
            gpu.product(part.q(&saved.q), part.k(&saved.k).turned(), scores, (part.queries, len, shape.dim), false, false, part.batch)?;
            gpu.launch(
                "softmax",
                (part.rows * shape.heads * len, 1),
                128,
                0,
                args![
                    &scratch.scores,
                    saved.lse.at(part.row * shape.heads * len, F),
                    scratch.starts.at(part.row * len, F),
                    shape.heads,
                    len,
                ],
            )?;
            gpu.product(scores, part.k(&saved.v), part.q(&scratch.heads), (part.queries, shape.dim, len), false, false, part.batch)?;
        }
        let count = n * shape.heads * shape.dim;
        gpu.each("to_rows", count, args![&scratch.heads, &saved.attended, shape.heads, len, count as i64])
    }

    /// The gradient of attention's output, rows in `dheads`, to that of the merged projections in `row`.
    pub(super) fn attention_backward(&self, saved: &Saved, scratch: &Scratch, rows: usize, len: usize) -> Result<()> {
        let (gpu, shape, n) = (&self.gpu, &self.shape, rows * len);
        let count = n * shape.heads * shape.dim;
        // Output and its gradient by heads; the row buffer is free until the end and holds the former.
        gpu.each("to_heads", count, args![&saved.attended, &scratch.row, shape.heads, len, count as i64])?;
        gpu.each("to_heads", count, args![&scratch.dheads, &scratch.heads, shape.heads, len, count as i64])?;
        let dots = n * shape.heads;
        gpu.each("row_dots", dots * 32, args![&scratch.row, &scratch.heads, &scratch.delta, dots as i64])?;
        for part in Part::all(self, rows, len) {
            let (scores, dscores) = (part.scores(&scratch.scores), part.scores(&scratch.dscores));
            let (q, k, v, dout) = (part.q(&saved.q), part.k(&saved.k), part.k(&saved.v), part.q(&scratch.heads));
            let (m, dim, batch) = (part.queries, shape.dim, part.batch);
            gpu.product(q, k.turned(), scores, (m, len, dim), false, false, batch)?;
            gpu.product(dout, v.turned(), dscores, (m, len, dim), false, false, batch)?;
            let at = part.row * shape.heads * len;
            gpu.launch(
                "softmax_backward",
                (part.rows * shape.heads * len, 1),
                128,
                0,
                args![
                    &scratch.scores,
                    &scratch.dscores,
                    saved.lse.at(at, F),
                    scratch.delta.at(at, F),
                    scratch.starts.at(part.row * len, F),
                    shape.heads,
                    len,
                ],
            )?;
            gpu.product(scores.turned(), dout, part.k(&scratch.dv), (len, dim, m), false, false, batch)?;
            gpu.product(dscores.turned(), q, part.k(&scratch.dk), (len, dim, m), false, false, batch)?;
            gpu.product(dscores, k, part.q(&scratch.dq), (m, dim, len), false, false, batch)?;
        }
        let threads = n * (shape.heads + 2 * shape.groups) * shape.dim / 2;
        gpu.each(
            "merge",
            threads,
            args![
                &scratch.dq,
                &scratch.dk,
                &scratch.dv,
                &self.angles,
                &scratch.positions,
                &scratch.row,
                shape.heads,
                shape.groups,
                len,
                shape.scale,
                threads as i64,
            ],
        )
    }
}

/// Some rows of a micro-batch, whose scores fit at once. A group's query heads are the rows of one matrix.
#[derive(Clone, Copy)]
struct Part {
    row: usize,
    rows: usize,
    len: usize,
    /// Rows of a group's matrix of queries.
    queries: usize,
    /// Products at once: one for each row and group.
    batch: usize,
    groups: usize,
    dim: usize,
}

impl Part {
    fn all(trainer: &Trainer, rows: usize, len: usize) -> impl Iterator<Item = Self> {
        let (shape, most) = (&trainer.shape, trainer.rows_at_once(rows, len));
        let (groups, dim, group) = (shape.groups, shape.dim, shape.group());
        (0..rows).step_by(most).map(move |row| {
            let rows = most.min(rows - row);
            Self { row, rows, len, queries: group * len, batch: rows * groups, groups, dim }
        })
    }

    fn q(&self, buffer: &Buffer) -> Matrix {
        Matrix::new(buffer.at(self.row * self.groups * self.queries * self.dim, H), self.dim).step(self.queries * self.dim)
    }

    fn k(&self, buffer: &Buffer) -> Matrix {
        Matrix::new(buffer.at(self.row * self.groups * self.len * self.dim, H), self.dim).step(self.len * self.dim)
    }

    fn scores(&self, buffer: &Buffer) -> Matrix {
        Matrix::new(buffer.at(0, H), self.len).step(self.queries * self.len)
    }
}
