//! The innermost loop: a tile of at most [`ROWS`] × [`COLS`] results, kept in registers.
//!
//! Every result is one chain of fused multiply-adds in the order of the inner index, begun at zero, and at the end
//! added to the value that is already there if there is one. So its bits depend neither on the instruction set nor on
//! where a tile begins.

use super::Kernel;
use std::arch::x86_64::*;

/// Rows of a full tile.
pub(super) const ROWS: usize = 8;
/// Columns of a full tile, and of a panel of the right matrix: three registers of AVX-512.
pub(super) const COLS: usize = 48;
/// Columns are padded to a multiple of this in a panel: one register of AVX-512, two of AVX2.
pub(super) const LANES: usize = 16;

/// One tile of work.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// First value of the left matrix.
    pub a: *const f32,
    /// Values between rows of the left matrix.
    pub a_row: usize,
    /// Values between columns of the left matrix.
    pub a_step: usize,
    /// Panel of the right matrix: `depth` × `width`.
    pub b: *const f32,
    /// Columns in a row of `b`: those of the tile, padded to a multiple of [`LANES`].
    pub width: usize,
    /// Length of the inner index.
    pub depth: usize,
    /// First result.
    pub out: *mut f32,
    /// Values between rows of the output.
    pub stride: usize,
    /// Rows of the tile, at most [`ROWS`].
    pub rows: usize,
    /// Columns of the tile, at most [`COLS`].
    pub cols: usize,
    /// Whether to add to the values in `out` instead of replacing them.
    pub add: bool,
}

/// Computes a tile.
///
/// # Safety
/// The CPU must have `kernel`, which is not the portable one. All pointers must be valid for the ranges that [`Tile`]
/// describes.
pub(super) unsafe fn compute(kernel: Kernel, tile: &Tile) {
    // SAFETY: passed on to the caller.
    unsafe {
        match kernel {
            Kernel::Avx512 => avx512(tile),
            _ => avx2(tile),
        }
    }
}

/// Computes a tile with AVX-512.
///
/// # Safety
/// The CPU must have AVX-512F. All pointers must be valid for the ranges that [`Tile`] describes.
#[target_feature(enable = "avx512f")]
unsafe fn avx512(tile: &Tile) {
    // SAFETY: passed on to the caller.
    unsafe {
        match tile.width / LANES {
            1 => avx512_rows::<1>(tile),
            2 => avx512_rows::<2>(tile),
            _ => avx512_rows::<3>(tile),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn avx512_rows<const N: usize>(tile: &Tile) {
    // SAFETY: passed on to the caller.
    unsafe {
        match tile.rows {
            1 => avx512_tile::<1, N>(tile),
            2 => avx512_tile::<2, N>(tile),
            3 => avx512_tile::<3, N>(tile),
            4 => avx512_tile::<4, N>(tile),
            5 => avx512_tile::<5, N>(tile),
            6 => avx512_tile::<6, N>(tile),
            7 => avx512_tile::<7, N>(tile),
            _ => avx512_tile::<8, N>(tile),
        }
    }
}

/// `M` rows of `N` registers.
// Indices instead of iterators: only then do the sums stay in registers.
#[expect(clippy::needless_range_loop, reason = "iterators would put the sums into memory")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512_tile<const M: usize, const N: usize>(tile: &Tile) {
    // SAFETY: the caller vouches for the pointers; masks keep loads and stores inside the tile's columns.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        let (mut a, mut b) = (tile.a, tile.b);
        for _ in 0..tile.depth {
            let mut right = [_mm512_setzero_ps(); N];
            for j in 0..N {
                right[j] = _mm512_loadu_ps(b.wrapping_add(j * LANES));
            }
            for i in 0..M {
                let left = _mm512_set1_ps(a.wrapping_add(i * tile.a_row).read());
                for j in 0..N {
                    sums[i][j] = _mm512_fmadd_ps(left, right[j], sums[i][j]);
                }
            }
            a = a.wrapping_add(tile.a_step);
            b = b.wrapping_add(N * LANES);
        }
        if tile.add {
            for i in 0..M {
                for j in 0..N {
                    let out = tile.out.wrapping_add(i * tile.stride + j * LANES);
                    sums[i][j] = _mm512_add_ps(_mm512_maskz_loadu_ps(mask(tile.cols, j), out), sums[i][j]);
                }
            }
        }
        for i in 0..M {
            for j in 0..N {
                let out = tile.out.wrapping_add(i * tile.stride + j * LANES);
                _mm512_mask_storeu_ps(out, mask(tile.cols, j), sums[i][j]);
            }
        }
    }
}

/// Lanes of register `j` that are columns of the tile.
fn mask(cols: usize, j: usize) -> __mmask16 {
    let lanes = cols.saturating_sub(j * LANES).min(LANES);
    ((1u32 << lanes) - 1) as __mmask16
}

/// Columns that AVX2 takes at once: three of its registers.
const AVX2_COLS: usize = 24;
/// Rows that AVX2 takes at once.
const AVX2_ROWS: usize = 4;

/// Computes a tile with AVX2 and FMA, in parts that fit its sixteen registers.
///
/// # Safety
/// The CPU must have AVX2 and FMA. All pointers must be valid for the ranges that [`Tile`] describes.
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(tile: &Tile) {
    for row in (0..tile.rows).step_by(AVX2_ROWS) {
        for col in (0..tile.cols).step_by(AVX2_COLS) {
            let rows = (tile.rows - row).min(AVX2_ROWS);
            // SAFETY: passed on to the caller; a part lies inside the tile.
            unsafe {
                match (tile.width - col).min(AVX2_COLS) / 8 {
                    1 => avx2_rows::<1>(tile, row, col, rows),
                    2 => avx2_rows::<2>(tile, row, col, rows),
                    _ => avx2_rows::<3>(tile, row, col, rows),
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_rows<const N: usize>(tile: &Tile, row: usize, col: usize, rows: usize) {
    // SAFETY: passed on to the caller.
    unsafe {
        match rows {
            1 => avx2_tile::<1, N>(tile, row, col),
            2 => avx2_tile::<2, N>(tile, row, col),
            3 => avx2_tile::<3, N>(tile, row, col),
            _ => avx2_tile::<4, N>(tile, row, col),
        }
    }
}

/// `M` rows of `N` registers from (`row`, `col`) on.
#[expect(clippy::needless_range_loop, reason = "iterators would put the sums into memory")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_tile<const M: usize, const N: usize>(tile: &Tile, row: usize, col: usize) {
    // SAFETY: the caller vouches for the pointers; masks keep loads and stores inside the tile's columns.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); N]; M];
        let cols = tile.cols - col;
        let first = tile.out.wrapping_add(row * tile.stride + col);
        let (mut a, mut b) = (tile.a.wrapping_add(row * tile.a_row), tile.b.wrapping_add(col));
        for _ in 0..tile.depth {
            let mut right = [_mm256_setzero_ps(); N];
            for j in 0..N {
                right[j] = _mm256_loadu_ps(b.wrapping_add(j * 8));
            }
            for i in 0..M {
                let left = _mm256_set1_ps(a.wrapping_add(i * tile.a_row).read());
                for j in 0..N {
                    sums[i][j] = _mm256_fmadd_ps(left, right[j], sums[i][j]);
                }
            }
            a = a.wrapping_add(tile.a_step);
            b = b.wrapping_add(tile.width);
        }
        if tile.add {
            for i in 0..M {
                for j in 0..N {
                    let out = first.wrapping_add(i * tile.stride + j * 8);
                    sums[i][j] = _mm256_add_ps(_mm256_maskload_ps(out, avx2_mask(cols, j)), sums[i][j]);
                }
            }
        }
        for i in 0..M {
            for j in 0..N {
                let out = first.wrapping_add(i * tile.stride + j * 8);
                if cols >= (j + 1) * 8 {
                    _mm256_storeu_ps(out, sums[i][j]);
                } else {
                    // Slow on some CPUs, and only at the right edge.
                    _mm256_maskstore_ps(out, avx2_mask(cols, j), sums[i][j]);
                }
            }
        }
    }
}

/// Lanes of register `j` that are among the first `cols` columns, all bits set.
#[target_feature(enable = "avx2")]
fn avx2_mask(cols: usize, j: usize) -> __m256i {
    let lanes = cols.saturating_sub(j * 8).min(8) as i32;
    _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}
