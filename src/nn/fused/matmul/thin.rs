//! Products with few rows on the left, such as one text through a linear layer.
//!
//! Packing the right matrix, the weights, would cost as much as the product itself. So the roles are swapped: the few
//! rows are packed as if they were columns, the weights are read where they lie, and each tile is transposed on its
//! way into the output. Every result is the same chain of operations as in [`super::x86`], to the bit.

use super::kernel::{COLS, ROWS, Tile, compute};
use super::pack::transpose_block;
use super::x86::{DEPTH, padded, with_packed};
use super::{Kernel, Matrix, Start, Target};
use rayon::prelude::*;

/// Left rows with which this is faster than packing the right matrix. Fewer would leave most lanes of a register empty.
pub(super) const ROWS_HERE: std::ops::RangeInclusive<usize> = 9..=192;
/// Columns of the output per task.
const TASK: usize = 8 * ROWS;

/// Writes `scale·a·b`.
///
/// # Safety
/// `to` must be valid for `a.rows` rows of `b.cols` values that nobody else touches, and is not added to. The machine
/// must have `kernel`, which is not the portable one.
pub(super) unsafe fn multiply(kernel: Kernel, to: Target, a: Matrix, b: Matrix, scale: f32, threads: usize) {
    // `a` is small: one thread packs it sooner than several would wake up.
    with_packed(a.t(), scale, 1, |packed| {
        let product = Thin { kernel, out: to.start, stride: to.stride, rows: a.rows, packed, b };
        let task = |index: usize| {
            let first = index * TASK;
            for col in (first..(first + TASK).min(b.cols)).step_by(ROWS) {
                // SAFETY: passed on to the caller; the tasks write different columns.
                unsafe { product.columns(col) };
            }
        };
        let tasks = b.cols.div_ceil(TASK);
        match threads {
            1 => (0..tasks).for_each(task),
            _ => (0..tasks).into_par_iter().for_each(task),
        }
    });
}

struct Thin<'a> {
    kernel: Kernel,
    out: Start,
    stride: usize,
    rows: usize,
    /// The left matrix in panels of [`COLS`] rows.
    packed: &'a [f32],
    b: Matrix<'a>,
}

impl Thin<'_> {
    /// The results in all rows and at most [`ROWS`] columns from `col` on.
    ///
    /// # Safety
    /// As [`multiply`].
    unsafe fn columns(&self, col: usize) {
        let count = (self.b.cols - col).min(ROWS);
        for row in (0..self.rows).step_by(COLS) {
            let mut tile = [0.0; ROWS * COLS];
            for first in (0..self.b.rows).step_by(DEPTH) {
                // SAFETY: `tile` is a full tile; the rest is passed on to the caller.
                unsafe { self.pass(&mut tile, (row, col), (first, count)) };
            }
            // SAFETY: passed on to the caller.
            unsafe { self.store(&tile, row, (col, count)) };
        }
    }

    /// Adds the terms from inner index `first` on, at most [`DEPTH`] of them, to a transposed tile.
    ///
    /// # Safety
    /// As [`multiply`].
    unsafe fn pass(&self, tile: &mut [f32; ROWS * COLS], (row, col): (usize, usize), (first, count): (usize, usize)) {
        let b = &self.b;
        let width = (padded(self.rows) - row).min(COLS);
        let tile = Tile {
            a: b.data[col * b.col_stride + first * b.row_stride..].as_ptr(),
            a_row: b.col_stride,
            a_step: b.row_stride,
            b: self.packed[row * b.rows + first * width..].as_ptr(),
            width,
            depth: (b.rows - first).min(DEPTH),
            out: tile.as_mut_ptr(),
            stride: COLS,
            rows: count,
            cols: width,
            add: first > 0,
        };
        // SAFETY: passed on to the caller.
        unsafe { compute(self.kernel, &tile) };
    }

    /// Writes a transposed tile to the rows from `row` on.
    ///
    /// # Safety
    /// As [`multiply`].
    unsafe fn store(&self, tile: &[f32; ROWS * COLS], row: usize, (col, count): (usize, usize)) {
        for row_in_tile in (0..(self.rows - row).min(COLS)).step_by(8) {
            let out = self.out.0.wrapping_add((row + row_in_tile) * self.stride + col);
            let rows = (self.rows - row - row_in_tile).min(8);
            if rows == 8 && count == ROWS {
                // SAFETY: eight rows of eight values are inside of both; callers have AVX2.
                unsafe { transpose_block(out, self.stride, tile[row_in_tile..].as_ptr(), COLS, ROWS) };
                continue;
            }
            for i in 0..rows {
                for j in 0..count {
                    // SAFETY: passed on to the caller.
                    unsafe { out.add(i * self.stride + j).write(tile[j * COLS + row_in_tile + i]) };
                }
            }
        }
    }
}
