//! Products of single-precision matrices, on slices.
//!
//! Every result is a sum over blocks of the inner index, each one chain of fused multiply-adds. Its bits depend on its row of
//! the left and its column of the right matrix alone: not on the number of threads, nor on the other rows of a batch,
//! nor on whether the CPU has AVX-512 or only AVX2. On CPUs with neither, the `gemm` crate computes the product, whose
//! bits depend on the shapes as well, but not on the number of threads either.

#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod thin;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::threads;
use gemm::Parallelism;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// What computes products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Own kernel with AVX-512F.
    Avx512,
    /// Own kernel with AVX2 and FMA.
    Avx2,
    /// The `gemm` crate.
    Portable,
}

impl Kernel {
    /// The best that this machine has.
    pub(super) fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().first().expect("the portable kernel runs anywhere"))
    }

    /// All that this machine has, best first.
    pub(super) fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // The AVX-512 kernel packs with AVX2.
            if is_x86_feature_detected!("avx512f") {
                found.push(Self::Avx512);
            }
            found.push(Self::Avx2);
        }
        found.push(Self::Portable);
        found
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "own, AVX-512",
            Self::Avx2 => "own, AVX2 and FMA",
            Self::Portable => "gemm crate",
        }
    }
}

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

    /// Number of multiply-adds of `self·right`.
    fn work(&self, right: usize) -> usize {
        self.rows * self.cols * right
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
    let start = Start(out.as_mut_ptr().cast());
    // SAFETY: `out` has exactly the rows and columns of the product and is borrowed for the whole call.
    threads::parallel(a.work(b.cols), |threads| unsafe {
        product(Kernel::best(), Target { start, stride: b.cols, add: false }, a, b, scale, threads);
    });
}

/// Adds `scale·a·b` to the row-major `out`, as [`matmul`] does.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn matmul_add(out: &mut [f32], a: Matrix, b: Matrix, scale: f32) {
    assert_eq!(out.len(), a.rows * b.cols, "output of a matrix product");
    let start = Start(out.as_mut_ptr());
    // SAFETY: as in `matmul`; `out` is initialised, so it may be read.
    threads::parallel(a.work(b.cols), |threads| unsafe {
        product(Kernel::best(), Target { start, stride: b.cols, add: true }, a, b, scale, threads);
    });
}

/// Writes `scale·a·b` to rows that begin `stride` apart at `out`, on this thread.
///
/// # Safety
/// `out` must be valid for writing `a.rows` rows of `b.cols` values, `stride` apart, and nobody else may touch them
/// meanwhile.
pub(super) unsafe fn matmul_here(out: *mut f32, stride: usize, a: Matrix, b: Matrix, scale: f32) {
    let target = Target { start: Start(out), stride, add: false };
    // SAFETY: passed on to the caller.
    unsafe { product(Kernel::best(), target, a, b, scale, 1) };
}

/// Rows `0..rows` of `source`, `stride` apart and `depth` long, as columns: `panel[p·width + r] = source[r·stride + p]`. The
/// rest of each row of `width` values becomes zero.
///
/// # Panics
/// If `width` is not a multiple of eight, there are more rows than that, or a slice is too short.
pub(in crate::nn) fn transpose_into_panel(
    panel: &mut [f32],
    width: usize,
    source: &[f32],
    (rows, stride): (usize, usize),
    depth: usize,
) {
    assert!(width.is_multiple_of(8) && rows <= width && depth * width <= panel.len(), "a panel is too small");
    assert!(rows == 0 || depth == 0 || (rows - 1) * stride + depth <= source.len(), "source of a panel is too short");
    #[cfg(target_arch = "x86_64")]
    if Kernel::best() != Kernel::Portable {
        // SAFETY: the other kernels need AVX2, and the asserts above bound both sides.
        return unsafe {
            pack::transpose(panel.as_mut_ptr(), width, source.as_ptr(), (rows, stride), depth);
        };
    }
    panel[..depth * width].fill(0.0);
    for (r, row) in source.chunks(stride).take(rows).enumerate() {
        for (p, &x) in row[..depth].iter().enumerate() {
            panel[p * width + r] = x;
        }
    }
}

/// Where a product goes.
#[derive(Clone, Copy)]
struct Target {
    start: Start,
    /// Values between the beginnings of two rows.
    stride: usize,
    /// Whether the product is added to what is there.
    add: bool,
}

/// First value of an output that several threads write, each its own part.
#[derive(Clone, Copy)]
struct Start(*mut f32);

// SAFETY: only dereferenced under the contract of `product`, whose tasks write disjoint parts.
unsafe impl Send for Start {}
// SAFETY: as above.
unsafe impl Sync for Start {}

/// # Safety
/// `to` must be valid for writing `a.rows` rows of `b.cols` values, and nobody else may touch them meanwhile; with
/// `add`, they must be initialised. The machine must have `kernel`.
unsafe fn product(kernel: Kernel, to: Target, a: Matrix, b: Matrix, scale: f32, threads: usize) {
    assert_eq!(a.cols, b.rows, "inner dimensions of a matrix product");
    match kernel {
        // SAFETY: passed on to the caller.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 | Kernel::Avx2 if thin::ROWS_HERE.contains(&a.rows) && !to.add => unsafe {
            thin::multiply(kernel, to, a, b, scale, threads);
        },
        // SAFETY: passed on to the caller.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 | Kernel::Avx2 => x86::with_packed(b, 1.0, threads, |packed| unsafe {
            x86::multiply(kernel, to, a, b.cols, packed, scale, threads);
        }),
        // SAFETY: passed on to the caller.
        _ => unsafe { portable(to, a, b, scale, threads) },
    }
}

/// # Safety
/// As [`product`].
unsafe fn portable(to: Target, a: Matrix, b: Matrix, scale: f32, threads: usize) {
    // SAFETY: `Matrix` checked that all its elements lie inside its slice; the caller vouches for the output. Strides
    // are below `isize::MAX` because they index slices.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            to.start.0,
            1,
            to.stride as isize,
            to.add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            if to.add { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) },
        );
    }
}
