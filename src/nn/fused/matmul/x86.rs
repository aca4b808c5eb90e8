//! Products with AVX-512 or AVX2.
//!
//! The right matrix is packed into panels of [`COLS`] columns, and [`kernel`] computes a tile of the result from a panel
//! and some rows of the left matrix (after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication",
//! 2008). The left matrix is read where it lies: its values are taken one by one, so that packing them gains nothing.

use super::kernel::{self, COLS, LANES, ROWS, Tile};
use super::pack::pack;
use super::{Kernel, Matrix, Target};
use rayon::prelude::*;
use std::cell::Cell;

/// Inner index of one pass: a panel of either matrix then fits the first or second cache. It is part of the result:
/// each pass begins at zero, which also keeps the rounding error of long sums small.
pub(super) const DEPTH: usize = 256;
/// Rows of the left matrix that meet a panel of the right one in turn, at most: they stay in the second cache.
const BLOCK: usize = 96;
/// Tasks per thread, so that a thread that is held up does not hold up the others.
const TASKS: usize = 4;

thread_local! {
    /// Memory of a packed right matrix, kept for the next product of this thread.
    static RIGHT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// Memory of a scaled block of the left matrix.
    static LEFT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Values kept per thread at most (16 MiB): beyond, the memory goes back at once.
const MAX_KEPT: usize = 4 << 20;

/// Columns including those of zeros that fill the last register.
pub(super) fn padded(cols: usize) -> usize {
    cols.next_multiple_of(LANES)
}

/// Calls `f` with `scale·matrix` in panels.
pub(super) fn with_packed<R>(matrix: Matrix, scale: f32, threads: usize, f: impl FnOnce(&[f32]) -> R) -> R {
    let mut buffer = RIGHT.take();
    let result = f(pack_right(matrix, scale, &mut buffer, threads));
    if buffer.capacity() <= MAX_KEPT {
        RIGHT.set(buffer);
    }
    result
}

/// Packs a right matrix: panels of [`COLS`] columns one after the other, the last one perhaps narrower, each row of a
/// panel after the one above. Needs AVX2.
fn pack_right<'a>(matrix: Matrix, scale: f32, buffer: &'a mut Vec<f32>, threads: usize) -> &'a [f32] {
    let (depth, width) = (matrix.rows, padded(matrix.cols));
    let panels = at_least(buffer, depth * width);
    if panels.is_empty() {
        return panels;
    }
    let panel = |(index, panel): (usize, &mut [f32])| {
        let first = index * COLS;
        let count = (matrix.cols - first).min(COLS);
        let source = &matrix.data[first * matrix.col_stride..];
        // SAFETY: the panel holds `depth` rows of its width; `Matrix` lies inside its slice; callers have AVX2.
        unsafe {
            let columns = (count, matrix.col_stride);
            pack(panel.as_mut_ptr(), panel.len() / depth, source.as_ptr(), columns, (depth, matrix.row_stride), scale);
        }
    };
    match threads {
        1 => panels.chunks_mut(depth * COLS).enumerate().for_each(panel),
        _ => panels.par_chunks_mut(depth * COLS).enumerate().for_each(panel),
    }
    panels
}

/// The first `len` values of `buffer`, whatever they are. It grows if it must and never shrinks, so that small products
/// between large ones do not make the large ones allocate again.
fn at_least(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        // A fresh vector: nothing of the old one is copied.
        *buffer = vec![0.0; len];
    }
    &mut buffer[..len]
}

/// `scale·a·b` for the packed `b` of `cols` columns.
///
/// # Safety
/// `to` must be valid for `a.rows` rows of `cols` values that nobody else touches, initialised if added to. The
/// machine must have `kernel`, which is not the portable one.
pub(super) unsafe fn multiply(
    kernel: Kernel,
    to: Target,
    a: Matrix,
    cols: usize,
    b: &[f32],
    scale: f32,
    threads: usize,
) {
    assert!(b.len() >= a.cols * padded(cols), "packed right matrix");
    if a.rows == 0 || cols == 0 {
        return;
    }
    let product = Product { kernel, to, a, cols, b, scale };
    let grid = Grid::new(a.rows, cols, threads);
    // SAFETY: passed on to the caller; the tasks of a grid write disjoint parts of the output.
    let task = |index: usize| unsafe { product.part(grid.rows_of(index), grid.cols_of(index)) };
    match threads {
        1 => (0..grid.tasks()).for_each(task),
        _ => (0..grid.tasks()).into_par_iter().for_each(task),
    }
}

/// The output cut into tasks.
struct Grid {
    rows: usize,
    cols: usize,
    /// Rows of a task.
    height: usize,
    /// Columns of a task, a multiple of [`COLS`].
    width: usize,
}

impl Grid {
    fn new(rows: usize, cols: usize, threads: usize) -> Self {
        if threads == 1 {
            return Self { rows, cols, height: BLOCK, width: cols.next_multiple_of(COLS) };
        }
        let wanted = threads * TASKS;
        let blocks = rows.div_ceil(BLOCK).next_multiple_of(threads).min(rows.div_ceil(ROWS));
        let height = rows.div_ceil(blocks).next_multiple_of(ROWS);
        let groups = wanted.div_ceil(rows.div_ceil(height)).min(cols.div_ceil(COLS));
        Self { rows, cols, height, width: cols.div_ceil(groups).next_multiple_of(COLS) }
    }

    fn across(&self) -> usize {
        self.cols.div_ceil(self.width)
    }

    fn tasks(&self) -> usize {
        self.rows.div_ceil(self.height) * self.across()
    }

    fn rows_of(&self, task: usize) -> (usize, usize) {
        let first = task / self.across() * self.height;
        (first, (first + self.height).min(self.rows))
    }

    fn cols_of(&self, task: usize) -> (usize, usize) {
        let first = task % self.across() * self.width;
        (first, (first + self.width).min(self.cols))
    }
}

struct Product<'a> {
    kernel: Kernel,
    to: Target,
    a: Matrix<'a>,
    cols: usize,
    b: &'a [f32],
    scale: f32,
}

/// Some rows of the left matrix, as the kernel reads them.
#[derive(Clone, Copy)]
struct Left<'a> {
    /// From the first value of the first row on.
    data: &'a [f32],
    row_stride: usize,
    col_stride: usize,
}

impl Product<'_> {
    /// The results in rows `top..bottom` and columns `left..right`.
    ///
    /// # Safety
    /// As [`multiply`].
    unsafe fn part(&self, (top, bottom): (usize, usize), cols: (usize, usize)) {
        let mut buffer = LEFT.take();
        for top in (top..bottom).step_by(BLOCK) {
            let rows = (top, (bottom - top).min(BLOCK));
            // One pass of depth 0 writes the zeros of an empty sum.
            for first in (0..self.a.cols.max(1)).step_by(DEPTH) {
                let depth = (first, (self.a.cols - first).min(DEPTH));
                let a = self.left(&mut buffer, rows, depth);
                // SAFETY: passed on to the caller.
                unsafe { self.block(a, rows, depth, cols) };
            }
        }
        LEFT.set(buffer);
    }

    /// A block of the left matrix: where it lies, or scaled in `buffer`.
    fn left<'a>(
        &'a self,
        buffer: &'a mut Vec<f32>,
        (top, rows): (usize, usize),
        (first, depth): (usize, usize),
    ) -> Left<'a> {
        let a = &self.a;
        if depth == 0 {
            return Left { data: &[], row_stride: 0, col_stride: 0 };
        }
        let source = &a.data[top * a.row_stride + first * a.col_stride..];
        if self.scale == 1.0 {
            return Left { data: source, row_stride: a.row_stride, col_stride: a.col_stride };
        }
        let width = rows.next_multiple_of(8);
        let block = at_least(buffer, width * depth);
        // SAFETY: the block holds `depth` rows of `width`; `Matrix` lies inside its slice; callers have AVX2.
        unsafe {
            let (rows, depth) = ((rows, a.row_stride), (depth, a.col_stride));
            pack(block.as_mut_ptr(), width, source.as_ptr(), rows, depth, self.scale);
        }
        Left { data: block, row_stride: 1, col_stride: width }
    }

    /// # Safety
    /// As [`multiply`].
    unsafe fn block(
        &self,
        a: Left,
        (top, rows): (usize, usize),
        (first, depth): (usize, usize),
        (left, right): (usize, usize),
    ) {
        for col in (left..right).step_by(COLS) {
            let width = (padded(self.cols) - col).min(COLS);
            let b = self.b[col * self.a.cols + first * width..].as_ptr();
            for row in (0..rows).step_by(ROWS) {
                let tile = Tile {
                    a: a.data.as_ptr().wrapping_add(row * a.row_stride),
                    a_row: a.row_stride,
                    a_step: a.col_stride,
                    b,
                    width,
                    depth,
                    out: self.to.start.0.wrapping_add((top + row) * self.to.stride + col),
                    stride: self.to.stride,
                    rows: (rows - row).min(ROWS),
                    cols: (right - col).min(COLS),
                    add: self.to.add || first > 0,
                };
                // SAFETY: `b` was packed for this depth, `a` has these rows; the output is that of the caller.
                unsafe { kernel::compute(self.kernel, &tile) };
            }
        }
    }
}
