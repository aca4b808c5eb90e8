//! Products of small matrices, blocked for registers.

use super::LANES;
use crate::nn::fused::threads;
use pulp::Simd;

/// Multiply-adds of one product below which everything happens on the calling thread: some 100 µs of one core. A pool
/// wakes in about ten, but a learner of a small network makes several products per update and some thousand updates
/// per second, and the other cores have actors to run.
pub const MIN_PARALLEL_WORK: usize = 1 << 22;

/// Columns of a packed panel: two AVX-512 registers.
const PANEL: usize = 32;

/// Rows of the result that one task of a large product computes.
const TASK_ROWS: usize = 32;

/// Rows of `a` from which copying `b` into panels pays for itself.
const PACK_ROWS: usize = 32;

/// Bytes between two rows of `b` from which on a panel of it no longer fits the few cache lines its addresses map to.
const PACK_STRIDE: usize = 128;

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    /// Nothing.
    Zero,
    /// The same values in every row, `[n]`.
    Rows(&'a [f32]),
    /// What is in the output already.
    Output,
}

/// A left factor: element (i, k) at `i·row + k·col`, so that a transpose costs nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub col: usize,
}

/// A right factor: row `k` begins at `k·stride`, padded to [`LANES`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Right<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

/// Sizes of a product: `[m, k]·[k, n]`, `n` a multiple of [`LANES`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// Writes `start + a·b` to `out`, whose rows are `n` apart. `pack` is memory to work in.
///
/// # Panics
/// If a factor or the output is too short for the sizes.
pub(super) fn product(out: &mut [f32], start: Start, a: Left, b: Right, size: Size, pack: &mut Vec<f32>) {
    let Size { m, k, n } = size;
    check(out, start, a, size);
    if m == 0 || n == 0 {
        return;
    }
    assert!(k == 0 || (k - 1) * b.stride + n <= b.data.len(), "right factor of a product is too short");
    if m < PACK_ROWS || b.stride < PACK_STRIDE {
        return run(out, start, a, Panels { data: b.data, stride: b.stride, panel: PANEL }, size);
    }
    pack.resize(n.div_ceil(PANEL) * PANEL * k, 0.0);
    for (p, panel) in pack.chunks_exact_mut(k * PANEL).enumerate() {
        let first = p * PANEL;
        let width = PANEL.min(n - first);
        for (to, from) in panel.chunks_exact_mut(PANEL).zip(b.data.chunks(b.stride)) {
            to[..width].copy_from_slice(&from[first..first + width]);
        }
    }
    run(out, start, a, Panels { data: pack, stride: PANEL, panel: k * PANEL }, size);
}

/// As [`product`], with the transpose of `b`: element (k, j) of the right factor is at `j·stride + k`.
///
/// # Shapes
/// `b` has `rows` rows; columns of the result from `rows` on are zero plus `start`.
pub(super) fn product_transposed(out: &mut [f32], a: Left, b: Right, rows: usize, size: Size, pack: &mut Vec<f32>) {
    let Size { m, k, n } = size;
    check(out, Start::Zero, a, size);
    if m == 0 || n == 0 {
        return;
    }
    assert!(rows <= n && (rows == 0 || (rows - 1) * b.stride + k <= b.data.len()), "right factor is too short");
    pack.clear();
    pack.resize(n.div_ceil(PANEL) * PANEL * k, 0.0);
    for (p, panel) in pack.chunks_exact_mut(k * PANEL).enumerate() {
        let first = p * PANEL;
        transpose(panel, &b.data[(first * b.stride).min(b.data.len())..], b.stride, rows.saturating_sub(first), k);
    }
    run(out, Start::Zero, a, Panels { data: pack, stride: PANEL, panel: k * PANEL }, size);
}

fn check(out: &[f32], start: Start, a: Left, Size { m, k, n }: Size) {
    assert!(n.is_multiple_of(LANES), "columns of a product are padded");
    assert!(out.len() >= m * n, "output of a product is too short");
    assert!(m == 0 || k == 0 || (m - 1) * a.row + (k - 1) * a.col < a.data.len(), "left factor is too short");
    if let Start::Rows(rows) = start {
        assert!(rows.len() >= n, "first summand of a product is too short");
    }
}

/// Row `k` of `panel` becomes column `k` of the first [`PANEL`] of `rows` rows of `from`, in squares that stay in the
/// first-level cache.
fn transpose(panel: &mut [f32], from: &[f32], stride: usize, rows: usize, k: usize) {
    for square in (0..k).step_by(LANES) {
        let end = (square + LANES).min(k);
        for (j, row) in from.chunks(stride).take(rows.min(PANEL)).enumerate() {
            for (i, &x) in row[square..end].iter().enumerate() {
                panel[(square + i) * PANEL + j] = x;
            }
        }
    }
}

/// A right factor as the kernel reads it: columns `p·PANEL ..` of row `k` begin at `p·panel + k·stride`. A plain matrix
/// is the case `panel = PANEL`.
#[derive(Clone, Copy)]
struct Panels<'a> {
    data: &'a [f32],
    stride: usize,
    panel: usize,
}

fn run(out: &mut [f32], start: Start, a: Left, b: Panels, size: Size) {
    let Size { m, k, n } = size;
    if m * k * n < MIN_PARALLEL_WORK {
        return rows(out, start, a, b, size);
    }
    // Rows are independent, so who computes them changes nothing.
    threads::for_each_chunk(&mut out[..m * n], TASK_ROWS * n, m * k * n, |i, out| {
        let a = Left { data: &a.data[i * TASK_ROWS * a.row..], ..a };
        rows(out, start, a, b, Size { m: out.len() / n, ..size });
    });
}

fn rows(out: &mut [f32], start: Start, a: Left, b: Panels, size: Size) {
    let (start, accumulate) = match start {
        Start::Zero => (None, false),
        Start::Rows(rows) => (Some(rows), false),
        Start::Output => (None, true),
    };
    // SAFETY: `check` and the callers have compared the lengths of all slices with the sizes; the kernel reads
    // `a(i, k)`, `b(k, j)`, `start(j)` and writes `out(i, j)` only for i < m, k < k, j < n.
    let raw = Raw { out: out.as_mut_ptr(), start: start.map(<[f32]>::as_ptr), accumulate, a, b, size };
    pulp::Arch::new().dispatch(raw);
}

/// A product with its bounds already checked.
struct Raw<'a> {
    out: *mut f32,
    start: Option<*const f32>,
    accumulate: bool,
    a: Left<'a>,
    b: Panels<'a>,
    size: Size,
}

impl pulp::WithSimd for Raw<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Size { m, n, .. } = self.size;
        // The panel of `b` is the larger part that is read again, so it is the one that stays in the cache.
        let mut j = 0;
        while j < n {
            let width = PANEL.min(n - j);
            if m == 1 && n - j >= 4 * S::F32_LANES && self.b.panel == PANEL {
                // One row: four chains of multiply-adds instead of two, since only their latency counts.
                // SAFETY: four registers of columns are left, and the rows of `b` are not cut into panels.
                unsafe { self.tile::<S, 1, 4>(simd, 0, j) };
                j += 4 * S::F32_LANES;
                continue;
            }
            // SAFETY: `strip` stays inside the `width` columns from `j` on.
            unsafe { self.strip(simd, j, width) };
            j += width;
        }
    }
}

impl Raw<'_> {
    /// All rows of the columns `j .. j + width`.
    #[inline(always)]
    unsafe fn strip<S: Simd>(&self, simd: S, j: usize, width: usize) {
        let step = 2 * S::F32_LANES;
        let mut done = 0;
        // SAFETY: for all three, the columns lie inside the strip.
        while done + step <= width {
            unsafe { self.column::<S, 2>(simd, j + done) };
            done += step;
        }
        while done < width {
            unsafe { self.column::<S, 1>(simd, j + done) };
            done += S::F32_LANES;
        }
    }

    /// All rows of `NV` registers of columns.
    #[inline(always)]
    unsafe fn column<S: Simd, const NV: usize>(&self, simd: S, j: usize) {
        let m = self.size.m;
        let mut i = 0;
        // SAFETY: rows i .. i + MR are below m.
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                while i + 8 <= m {
                    self.tile::<S, 8, NV>(simd, i, j);
                    i += 8;
                }
            }
            while i + 4 <= m {
                self.tile::<S, 4, NV>(simd, i, j);
                i += 4;
            }
            while i < m {
                self.tile::<S, 1, NV>(simd, i, j);
                i += 1;
            }
        }
    }

    /// `MR` rows of `NV` registers of columns, held in registers for the whole sum.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(&self, simd: S, i: usize, j: usize) {
        let (n, lanes) = (self.size.n, S::F32_LANES);
        let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
        // SAFETY: the caller vouches for rows i .. i + MR and columns j .. j + NV·lanes; `Raw` for everything else.
        unsafe {
            let out = self.out.add(i * n + j);
            if let Some(start) = self.start {
                for v in 0..NV {
                    let first = load::<S>(start.add(j + v * lanes));
                    for row in &mut sums {
                        row[v] = first;
                    }
                }
            } else if self.accumulate {
                for (r, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate() {
                        *sum = load::<S>(out.add(r * n + v * lanes));
                    }
                }
            }
            let mut a = self.a.data.as_ptr().add(i * self.a.row);
            let mut b = self.b.data.as_ptr().add((j / PANEL) * self.b.panel + j % PANEL);
            for _ in 0..self.size.k {
                let mut right = [simd.splat_f32s(0.0); NV];
                for (v, x) in right.iter_mut().enumerate() {
                    *x = load::<S>(b.add(v * lanes));
                }
                for (r, row) in sums.iter_mut().enumerate() {
                    let left = simd.splat_f32s(*a.add(r * self.a.row));
                    for (sum, &x) in row.iter_mut().zip(&right) {
                        *sum = simd.mul_add_f32s(left, x, *sum);
                    }
                }
                a = a.wrapping_add(self.a.col);
                b = b.wrapping_add(self.b.stride);
            }
            for (r, row) in sums.iter().enumerate() {
                for (v, sum) in row.iter().enumerate() {
                    out.add(r * n + v * lanes).cast::<S::f32s>().write_unaligned(*sum);
                }
            }
        }
    }
}

/// One register of values.
///
/// # Safety
/// `from` must be valid for reading `S::F32_LANES` values.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: passed on to the caller; any bits are a valid register.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}
