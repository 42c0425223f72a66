//! Strided views and the matrix product behind one checked, safe function.

use std::marker::PhantomData;

/// A read-only strided matrix.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// `rows × cols`, one row every `row_stride` elements.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            fits(data.len(), rows, cols, row_stride),
            "matrix {rows}×{cols} (stride {row_stride}) needs more than {} elements",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// `count` rows from `start` on.
    pub(crate) fn row_range(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows, "rows {start}..{} of {}", start + count, self.rows);
        Self { data: &self.data[(start * self.row_stride).min(self.data.len())..], rows: count, ..self }
    }

    /// `count` columns from `start` on.
    pub(crate) fn col_range(self, start: usize, count: usize) -> Self {
        self.t().row_range(start, count).t()
    }

    /// The transposed view.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// A writable matrix with unit column stride.
pub(crate) struct MatMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "columns of one matrix are no slices, so that a view holds a pointer")]
// SAFETY: a view is a mutable borrow of its own elements, which no other view has.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// `rows × cols`, one row every `row_stride` elements.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            fits(data.len(), rows, cols, row_stride),
            "matrix {rows}×{cols} (stride {row_stride}) needs more than {} elements",
            data.len()
        );
        Self { data: data.as_mut_ptr(), rows, cols, row_stride, borrowed: PhantomData }
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Views of `height` rows each, the last perhaps of fewer.
    pub(crate) fn in_rows(self, height: usize) -> Vec<Self> {
        let part = |start: usize| self.part(start * self.row_stride, height.min(self.rows - start), self.cols);
        (0..self.rows).step_by(height.max(1)).map(part).collect()
    }

    /// Views of `width` columns each, the last perhaps of fewer.
    pub(crate) fn in_columns(self, width: usize) -> Vec<Self> {
        let part = |start: usize| self.part(start, self.rows, width.min(self.cols - start));
        (0..self.cols).step_by(width.max(1)).map(part).collect()
    }

    /// `count` columns from `start` on.
    pub(crate) fn columns(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.cols, "columns {start}..{} of {}", start + count, self.cols);
        self.part(start, self.rows, count)
    }

    fn part(&self, offset: usize, rows: usize, cols: usize) -> Self {
        Self { data: self.data.wrapping_add(offset), rows, cols, ..*self }
    }
}

fn fits(len: usize, rows: usize, cols: usize, row_stride: usize) -> bool {
    rows == 0 || cols == 0 || (row_stride >= cols && (rows - 1) * row_stride + cols <= len)
}

/// `out ← a·b`, or `out ← out + a·b` with `accumulate`; on the calling thread.
pub(crate) fn matmul(out: &mut MatMut<'_>, accumulate: bool, a: Mat<'_>, b: Mat<'_>) {
    assert_eq!((out.rows, out.cols, a.cols), (a.rows, b.cols, b.rows), "matrix product of shapes that do not fit");
    if out.rows == 0 || out.cols == 0 {
        return;
    }
    #[expect(unsafe_code, reason = "the gemm crate takes pointers; shapes and bounds were asserted when the views were made")]
    // SAFETY: `Mat::new` and `MatMut::new` assert that the last element of each view lies inside its slice, `t` only
    // swaps the axes of such a view, parts lie inside it and apart from each other, and `out` is borrowed mutably, so that
    // it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.data,
            1,
            out.row_stride.cast_signed(),
            accumulate,
            a.data.as_ptr(),
            a.col_stride.cast_signed(),
            a.row_stride.cast_signed(),
            b.data.as_ptr(),
            b.col_stride.cast_signed(),
            b.row_stride.cast_signed(),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_transposed_and_accumulated_products() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0]; // 2×2 with stride 3
        let b = [5.0, 6.0, 7.0, 8.0];
        let mut out = [1.0; 5];
        matmul(&mut MatMut::new(&mut out, 2, 2, 3), true, Mat::new(&a, 2, 2, 3), Mat::new(&b, 2, 2, 2).t());
        assert_eq!(out, [18.0, 24.0, 1.0, 40.0, 54.0]);
    }

    #[test]
    fn parts_of_rows_and_of_columns_cover_a_matrix() {
        let ones = [1.0; 7];
        let mut out = [0.0; 14];
        for (at, mut part) in MatMut::new(&mut out, 2, 5, 7).in_columns(2).into_iter().enumerate() {
            let row = [at as f32; 5];
            let count = part.cols();
            matmul(&mut part, true, Mat::new(&ones, 2, 1, 1), Mat::new(&row, 1, 5, 5).col_range(2 * at, count));
        }
        assert_eq!(out, [0.0, 0.0, 1.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 0.0, 0.0]);
        let heights: Vec<usize> = MatMut::new(&mut out, 5, 1, 2).in_rows(2).iter().map(MatMut::rows).collect();
        assert_eq!(heights, [2, 2, 1]);
    }

    #[test]
    #[should_panic(expected = "needs more than 3 elements")]
    fn a_view_beyond_its_slice_is_refused() {
        Mat::new(&[0.0; 3], 2, 2, 2);
    }
}
