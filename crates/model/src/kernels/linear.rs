//! Matrix products of the projections, in parts where threads share the work.

use super::matrix::{Mat, MatMut, matmul};
use crate::parallel;

/// Rows or columns of a part at least; fewer would read the other matrix too often.
const PART: usize = 144;
/// Parts at most, and even numbers of them, so that threads end together.
const PARTS: usize = 16;

/// `a·b` for `a [rows, inner]` and `b [inner, cols]`.
pub(crate) fn product(a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
    let mut out = vec![0.0; a.rows() * b.cols()];
    product_into(&mut out, false, a, b);
    out
}

/// `out ← a·b`, or `out ← out + a·b` with `accumulate`.
pub(crate) fn product_into(out: &mut [f32], accumulate: bool, a: Mat<'_>, b: Mat<'_>) {
    let (rows, cols) = (a.rows(), b.cols());
    product_to(MatMut::new(out, rows, cols, cols), accumulate, a, b);
}

fn product_to(mut out: MatMut<'_>, accumulate: bool, a: Mat<'_>, b: Mat<'_>) {
    let (rows, cols) = (a.rows(), b.cols());
    let Some(split) = parallel::current() else { return matmul(&mut out, accumulate, a, b) };
    // Every part reads the whole of the other matrix: that should be the smaller one.
    if cols > rows {
        let width = part_of(cols);
        split.chunks_mut(&mut out.in_columns(width), 1, |at, parts| {
            parts.iter_mut().for_each(|out| matmul(out, accumulate, a, b.col_range(at * width, out.cols())));
        });
    } else {
        let height = part_of(rows);
        split.chunks_mut(&mut out.in_rows(height), 1, |at, parts| {
            parts.iter_mut().for_each(|out| matmul(out, accumulate, a.row_range(at * height, out.rows()), b));
        });
    }
}

/// The size of a part; it depends on the shape alone, so that sums are the same on any number of threads.
fn part_of(size: usize) -> usize {
    let parts = (size / PART).clamp(1, PARTS);
    let even = if parts > 1 { parts / 2 * 2 } else { 1 };
    size.div_ceil(even).next_multiple_of(16)
}

/// The gradients of `x [n, inner]` and `w [inner, outer]` of a product `x·w`, those that are wanted.
pub(crate) fn backward(
    x: Option<&[f32]>,
    w: Option<&[f32]>,
    dy: &[f32],
    (n, inner, outer): (usize, usize, usize),
) -> (Option<Vec<f32>>, Option<Vec<f32>>) {
    let dy = Mat::new(dy, n, outer, outer);
    let dx = w.map(|w| product(dy, Mat::new(w, inner, outer, outer).t()));
    let dw = x.map(|x| product(Mat::new(x, n, inner, inner).t(), dy));
    (dx, dw)
}

/// An adapter: `scale·(x·a)·b` for the columns of a product from `column` on.
#[derive(Clone, Copy)]
pub(crate) struct LowRank<'a> {
    pub(crate) a: Mat<'a>,
    pub(crate) b: Mat<'a>,
    pub(crate) column: usize,
    pub(crate) scale: f32,
}

/// Adds what the adapter gives for `x` to `sum`, whose rows are `width` long; returns `scale·(x·a)`.
pub(crate) fn add_low_rank(sum: &mut [f32], width: usize, x: &[f32], adapter: LowRank<'_>) -> Vec<f32> {
    let (inner, rank) = (adapter.a.rows(), adapter.a.cols());
    let n = x.len() / inner;
    let low = scaled_product(Mat::new(x, n, inner, inner), adapter.a, adapter.scale);
    let out = MatMut::new(sum, n, width, width).columns(adapter.column, adapter.b.cols());
    product_to(out, true, Mat::new(&low, n, rank, rank), adapter.b);
    low
}

/// The gradients of `x` if it is wanted, of `a` and of `b`; `dy` are the sum's gradient and the length of its rows.
pub(crate) fn low_rank_backward(
    x: &[f32],
    low: &[f32],
    adapter: LowRank<'_>,
    (dy, width): (&[f32], usize),
    wants_dx: bool,
) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
    let (inner, rank) = (adapter.a.rows(), adapter.a.cols());
    let n = x.len() / inner;
    let dy = Mat::new(dy, n, width, width).col_range(adapter.column, adapter.b.cols());
    let dlow = scaled_product(dy, adapter.b.t(), adapter.scale);
    let dlow = Mat::new(&dlow, n, rank, rank);
    let dx = wants_dx.then(|| product(dlow, adapter.a.t()));
    let da = product(Mat::new(x, n, inner, inner).t(), dlow);
    let db = product(Mat::new(low, n, rank, rank).t(), dy);
    (dx, da, db)
}

fn scaled_product(a: Mat<'_>, b: Mat<'_>, scale: f32) -> Vec<f32> {
    let mut out = product(a, b);
    out.iter_mut().for_each(|value| *value *= scale);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Split;

    #[test]
    fn blocks_give_the_product_on_any_number_of_threads() {
        let (n, inner, outer) = (300, 20, 7);
        let wave = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
        let (x, w, dy) = (wave(n * inner, 0.3), wave(inner * outer, 0.7), wave(n * outer, 0.9));
        let all = || {
            let y = product(Mat::new(&x, n, inner, inner), Mat::new(&w, inner, outer, outer));
            (y, backward(Some(&x), Some(&w), &dy, (n, inner, outer)))
        };
        let whole = all();
        let one = Split::new(1).unwrap().run(all);
        assert_eq!(one, Split::new(3).unwrap().run(all));
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near(&whole.0, &one.0) && near(whole.1.0.as_ref().unwrap(), one.1.0.as_ref().unwrap()));
        assert!(near(whole.1.1.as_ref().unwrap(), one.1.1.as_ref().unwrap()));
        let exact: f32 = (0..inner).map(|k| x[299 * inner + k] * w[k * outer + 6]).sum();
        assert!((one.0[299 * outer + 6] - exact).abs() < 1e-4);
        assert_eq!(backward(None, Some(&w), &dy, (n, inner, outer)).1, None);
    }
}
