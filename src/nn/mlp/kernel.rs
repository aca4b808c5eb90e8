//! Products of small matrices, blocked for registers.

use super::LANES;
use crate::nn::fused::{threads, transpose_into_panel};
use pulp::Simd;

/// Multiply-adds of one product up to which everything happens on the calling thread: some 150 µs of one core. A pool
/// wakes in about ten, but a learner of a small network makes several products per update and some thousand updates
/// per second, and the other cores have actors to run: with batches of 64 through 256 by 256 weights a second thread
/// made learning slower.
pub const MIN_PARALLEL_WORK: usize = 1 << 23;

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

/// What happens to a sum before it is stored: while it is in a register, that costs nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    /// Nothing.
    Keep,
    /// Negative sums become 0. NaN stays NaN.
    Relu,
    /// Sums become 0 where the output of a rectifier, laid out as the result, is not above 0.
    ReluSlope(&'a [f32]),
}

/// A left factor: element (i, k) at `i·row + k·col`, so that a transpose costs nothing. One of the two is 1.
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

/// Writes `end(start + a·b)` to `out`, whose rows are `n` apart. `pack` is memory to work in.
///
/// # Panics
/// If a factor or the output is too short for the sizes.
pub(super) fn product(out: &mut [f32], (start, end): (Start, End), a: Left, b: Right, size: Size, pack: &mut Vec<f32>) {
    let Size { m, k, n } = size;
    check(out, (start, end), a, size);
    if m == 0 || n == 0 {
        return;
    }
    assert!(k == 0 || (k - 1) * b.stride + n <= b.data.len(), "right factor of a product is too short");
    if m < PACK_ROWS || b.stride < PACK_STRIDE {
        return run(out, (start, end), a, Panels { data: b.data, stride: b.stride, panel: PANEL }, size);
    }
    let panels = grown(pack, n.div_ceil(PANEL) * PANEL * k);
    for (p, panel) in panels.chunks_exact_mut((k * PANEL).max(1)).enumerate() {
        let first = p * PANEL;
        let width = PANEL.min(n - first);
        for (to, from) in panel.chunks_exact_mut(PANEL).zip(b.data.chunks(b.stride)) {
            to[..width].copy_from_slice(&from[first..first + width]);
        }
    }
    run(out, (start, end), a, Panels { data: panels, stride: PANEL, panel: k * PANEL }, size);
}

/// As [`product`] added to nothing, with the transpose of `b`: element (k, j) of the right factor is at `j·stride + k`.
///
/// # Shapes
/// `b` has `rows` rows; columns of the result from `rows` on are zero.
pub(super) fn product_transposed(
    out: &mut [f32],
    end: End,
    a: Left,
    (b, rows): (Right, usize),
    size: Size,
    pack: &mut Vec<f32>,
) {
    let Size { m, k, n } = size;
    check(out, (Start::Zero, end), a, size);
    if m == 0 || n == 0 {
        return;
    }
    assert!(rows <= n && (rows == 0 || (rows - 1) * b.stride + k <= b.data.len()), "right factor is too short");
    let panels = grown(pack, n.div_ceil(PANEL) * PANEL * k);
    for (p, panel) in panels.chunks_exact_mut((k * PANEL).max(1)).enumerate() {
        let first = p * PANEL;
        let from = &b.data[(first * b.stride).min(b.data.len())..];
        transpose_into_panel(panel, PANEL, from, (rows.saturating_sub(first).min(PANEL), b.stride), k);
    }
    run(out, (Start::Zero, end), a, Panels { data: panels, stride: PANEL, panel: k * PANEL }, size);
}

/// The first `len` values; what they are is left open, so that memory that is written anyway need not be cleared.
pub(super) fn grown(memory: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    &mut memory[..len]
}

fn check(out: &[f32], (start, end): (Start, End), a: Left, Size { m, k, n }: Size) {
    assert!(n.is_multiple_of(LANES), "columns of a product are padded");
    assert!(out.len() >= m * n, "output of a product is too short");
    assert!(a.row == 1 || a.col == 1, "one index of a left factor is contiguous");
    assert!(m == 0 || k == 0 || (m - 1) * a.row + (k - 1) * a.col < a.data.len(), "left factor is too short");
    if let Start::Rows(rows) = start {
        assert!(rows.len() >= n, "first summand of a product is too short");
    }
    if let End::ReluSlope(y) = end {
        assert!(y.len() >= m * n, "outputs of a rectifier are too few");
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

fn run(out: &mut [f32], (start, end): (Start, End), a: Left, b: Panels, size: Size) {
    let Size { m, k, n } = size;
    if m * k * n <= MIN_PARALLEL_WORK {
        return rows(out, (start, end), a, b, size);
    }
    // Rows are independent, so who computes them changes nothing.
    threads::for_each_chunk(&mut out[..m * n], TASK_ROWS * n, m * k * n, |i, out| {
        let a = Left { data: &a.data[i * TASK_ROWS * a.row..], ..a };
        let end = match end {
            End::ReluSlope(y) => End::ReluSlope(&y[i * TASK_ROWS * n..]),
            other => other,
        };
        rows(out, (start, end), a, b, Size { m: out.len() / n, ..size });
    });
}

fn rows(out: &mut [f32], (start, end): (Start, End), a: Left, b: Panels, size: Size) {
    pulp::Arch::new().dispatch(Task { out, start, end, a, b, size });
}

/// A product on one thread.
///
/// `experiment` is typed without `--release`, where every sum of indices is checked for overflow, every access through
/// slices and pointer methods for its preconditions, and a check that may unwind keeps the sums of a tile in memory:
/// slices made this kernel four times slower there. So bounds are asserted once per tile, and the inner loops step
/// pointers and counters with wrapping arithmetic. 64×64×64 runs at 100 GFLOP/s that way, and at 114 in a release
/// build, of 118 that the core has (AMD EPYC 9004).
struct Task<'a> {
    out: &'a mut [f32],
    start: Start<'a>,
    end: End<'a>,
    a: Left<'a>,
    b: Panels<'a>,
    size: Size,
}

impl pulp::WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Size { m, n, .. } = self.size;
        let step = 2 * S::F32_LANES;
        let mut j = 0;
        while j < n {
            // A panel ends at a multiple of PANEL, and so do the columns of one tile at the latest.
            if m == 1 && n - j >= 2 * step && self.b.panel == PANEL {
                // One row: four chains of multiply-adds instead of two, since only their latency counts.
                self.tile::<S, 1, 4>(simd, 0, j);
                j += 2 * step;
            } else if n - j >= step && j % PANEL + step <= PANEL {
                self.columns::<S, 2>(simd, j);
                j += step;
            } else {
                self.columns::<S, 1>(simd, j);
                j += S::F32_LANES;
            }
        }
    }
}

impl Task<'_> {
    /// All rows of `NV` registers of columns.
    #[inline(always)]
    fn columns<S: Simd, const NV: usize>(&mut self, simd: S, j: usize) {
        let m = self.size.m;
        let mut i = 0;
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

    /// `MR` rows of `NV` registers of columns, held in registers for the whole sum. Loops over constants are spelt out
    /// because iterators over the sums would take their address.
    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const NV: usize>(&mut self, simd: S, i: usize, j: usize) {
        let (k, n, width) = (self.size.k, self.size.n, NV * S::F32_LANES);
        let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
        match self.start {
            Start::Zero => {}
            Start::Rows(start) => sums = [registers::<S, NV>(simd, &start[j..j + width]); MR],
            Start::Output => {
                let mut r = 0;
                while r < MR {
                    sums[r] = registers::<S, NV>(simd, &self.out[(i + r) * n + j..][..width]);
                    r = r.wrapping_add(1);
                }
            }
        }
        let at = (j / PANEL) * self.b.panel + j % PANEL;
        if k > 0 {
            let last = (at + (k - 1) * self.b.stride, i * self.a.row + (k - 1) * self.a.col);
            assert!(last.0 + width <= self.b.data.len(), "right factor of a product is too short");
            assert!(last.1 + (MR - 1) * self.a.row < self.a.data.len(), "left factor of a product is too short");
        }
        let mut b = self.b.data.as_ptr().wrapping_add(at);
        let mut a = self.a.data.as_ptr().wrapping_add(i * self.a.row);
        for _ in 0..k {
            let mut right = [simd.splat_f32s(0.0); NV];
            let mut v = 0;
            while v < NV {
                // SAFETY: the asserts above; a register of `pulp` has the alignment of its elements.
                right[v] = unsafe { *b.wrapping_add(v.wrapping_mul(S::F32_LANES)).cast::<S::f32s>() };
                v = v.wrapping_add(1);
            }
            let mut r = 0;
            while r < MR {
                // SAFETY: the asserts above.
                let left = simd.splat_f32s(unsafe { *a.wrapping_add(r.wrapping_mul(self.a.row)) });
                let mut v = 0;
                while v < NV {
                    sums[r][v] = simd.mul_add_f32s(left, right[v], sums[r][v]);
                    v = v.wrapping_add(1);
                }
                r = r.wrapping_add(1);
            }
            a = a.wrapping_add(self.a.col);
            b = b.wrapping_add(self.b.stride);
        }
        let zero = simd.splat_f32s(0.0);
        match self.end {
            End::Keep => {}
            End::Relu => {
                let mut r = 0;
                while r < MR {
                    let mut v = 0;
                    while v < NV {
                        let sum = sums[r][v];
                        sums[r][v] = simd.select_f32s(simd.less_than_f32s(sum, zero), zero, sum);
                        v = v.wrapping_add(1);
                    }
                    r = r.wrapping_add(1);
                }
            }
            End::ReluSlope(y) => {
                let mut r = 0;
                while r < MR {
                    let y = registers::<S, NV>(simd, &y[(i + r) * n + j..][..width]);
                    let mut v = 0;
                    while v < NV {
                        let above = simd.less_than_f32s(zero, y[v]);
                        sums[r][v] = simd.select_f32s(above, sums[r][v], zero);
                        v = v.wrapping_add(1);
                    }
                    r = r.wrapping_add(1);
                }
            }
        }
        let mut r = 0;
        while r < MR {
            let out = S::as_mut_simd_f32s(&mut self.out[(i + r) * n + j..][..width]).0;
            let mut v = 0;
            while v < NV {
                out[v] = sums[r][v];
                v = v.wrapping_add(1);
            }
            r = r.wrapping_add(1);
        }
    }
}

/// `NV` registers from as many values as they hold.
#[inline(always)]
fn registers<S: Simd, const NV: usize>(simd: S, from: &[f32]) -> [S::f32s; NV] {
    let from = S::as_simd_f32s(from).0;
    let mut out = [simd.splat_f32s(0.0); NV];
    let mut v = 0;
    while v < NV {
        out[v] = from[v];
        v = v.wrapping_add(1);
    }
    out
}
