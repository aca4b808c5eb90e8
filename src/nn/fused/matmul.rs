//! Matrix products on slices, through the `gemm` crate.
//!
//! The bits of a product depend on its shapes and strides only: `gemm` splits rows and columns of the result among
//! threads, never the sum over the inner dimension.

use super::threads;
use gemm::Parallelism;
use std::mem::MaybeUninit;

/// A matrix inside a slice: element (i, j) at `offset + i·row_stride + j·col_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `cols` values, rows `stride` apart.
    ///
    /// # Panics
    /// If the matrix leaves the slice.
    pub(super) fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || (rows - 1) * stride + cols <= data.len(), "matrix outside of its slice");
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// Row-major `rows` × `cols`.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// The transpose, without moving anything.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            data: self.data,
        }
    }
}

/// Writes `scale·a·b` to the row-major `out`, on several threads if the product is large enough.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn matmul(out: &mut [MaybeUninit<f32>], a: Matrix, b: Matrix, scale: f32) {
    assert_eq!(out.len(), a.rows * b.cols, "output of a matrix product");
    threads::parallel(a.rows * a.cols * b.cols, |threads| {
        // SAFETY: `out` has exactly the rows and columns of the product and is borrowed for the whole call.
        unsafe { product(out.as_mut_ptr().cast(), b.cols, a, b, scale, false, parallelism(threads)) };
    });
}

/// Adds `scale·a·b` to the row-major `out`, as [`matmul`] does.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn matmul_add(out: &mut [f32], a: Matrix, b: Matrix, scale: f32) {
    assert_eq!(out.len(), a.rows * b.cols, "output of a matrix product");
    threads::parallel(a.rows * a.cols * b.cols, |threads| {
        // SAFETY: as in `matmul`; `out` is initialised, so it may be read.
        unsafe { product(out.as_mut_ptr(), b.cols, a, b, scale, true, parallelism(threads)) };
    });
}

fn parallelism(threads: usize) -> Parallelism {
    if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) }
}

/// Writes `scale·a·b` to rows that begin `stride` apart at `out`, on this thread.
///
/// # Safety
/// `out` must be valid for writing `a.rows` rows of `b.cols` values, `stride` apart, and nobody else may touch them
/// meanwhile.
pub(super) unsafe fn matmul_here(out: *mut f32, stride: usize, a: Matrix, b: Matrix, scale: f32) {
    // SAFETY: passed on to the caller.
    unsafe { product(out, stride, a, b, scale, false, Parallelism::None) };
}

/// # Safety
/// As [`matmul_here`]; with `add`, the rows must be initialised.
unsafe fn product(out: *mut f32, stride: usize, a: Matrix, b: Matrix, scale: f32, add: bool, parallelism: Parallelism) {
    assert_eq!(a.cols, b.rows, "inner dimensions of a matrix product");
    // SAFETY: `Matrix` checked that all its elements lie inside its slice; the caller vouches for `out`. Strides are
    // below `isize::MAX` because they index slices.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            if add { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
