//! Matrices rearranged into panels, so that the innermost loop reads memory in one direction.

use std::arch::x86_64::*;

/// Writes `panel[p·width + r] = scale·source[r·r_stride + p·p_stride]` for `r` in `0..count` and `p` in `0..depth`;
/// the rest of each row of `width` values becomes zero.
///
/// # Safety
/// The CPU must have AVX2. `panel` must be valid for `depth·width` values, `source` for all that are named above.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn pack(
    panel: *mut f32,
    width: usize,
    source: *const f32,
    (count, r_stride): (usize, usize),
    (depth, p_stride): (usize, usize),
    scale: f32,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        if r_stride == 1 {
            copy(panel, width, source, count, (depth, p_stride));
        } else if p_stride == 1 {
            transpose(panel, width, source, (count, r_stride), depth);
        } else {
            gather(panel, width, source, (count, r_stride), (depth, p_stride));
        }
        if scale != 1.0 {
            for value in std::slice::from_raw_parts_mut(panel, depth * width) {
                *value *= scale;
            }
        }
    }
}

#[target_feature(enable = "avx2")]
unsafe fn copy(panel: *mut f32, width: usize, source: *const f32, count: usize, (depth, stride): (usize, usize)) {
    let whole = count / 8 * 8;
    for p in 0..depth {
        let (row, from) = (panel.wrapping_add(p * width), source.wrapping_add(p * stride));
        // SAFETY: passed on to the caller of `pack`.
        unsafe {
            // A call of `memcpy` would cost more than the eight values that a row often has.
            for r in (0..whole).step_by(8) {
                _mm256_storeu_ps(row.wrapping_add(r), _mm256_loadu_ps(from.wrapping_add(r)));
            }
            for r in whole..count {
                *row.wrapping_add(r) = *from.wrapping_add(r);
            }
            for r in count..width {
                *row.wrapping_add(r) = 0.0;
            }
        }
    }
}

unsafe fn gather(
    panel: *mut f32,
    width: usize,
    source: *const f32,
    (count, r_stride): (usize, usize),
    (depth, p_stride): (usize, usize),
) {
    for p in 0..depth {
        for r in 0..width {
            // SAFETY: passed on to the caller of `pack`.
            unsafe {
                let value = if r < count { *source.add(r * r_stride + p * p_stride) } else { 0.0 };
                *panel.add(p * width + r) = value;
            }
        }
    }
}

/// Writes `panel[p·width + r] = source[r·stride + p]`, as [`pack`] does; `width` is a multiple of eight.
///
/// # Safety
/// As [`pack`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose(
    panel: *mut f32,
    width: usize,
    source: *const f32,
    (count, stride): (usize, usize),
    depth: usize,
) {
    let whole = depth / 8 * 8;
    for r in (0..width).step_by(8) {
        let rows = count.saturating_sub(r).min(8);
        for p in (0..whole).step_by(8) {
            // SAFETY: passed on to the caller of `pack`; `rows` and `whole` keep loads inside of the source.
            unsafe {
                let (to, from) = (panel.wrapping_add(p * width + r), source.wrapping_add(r * stride + p));
                transpose_block(to, width, from, stride, rows);
            }
        }
        for p in whole..depth {
            for i in 0..8 {
                // SAFETY: as above. The product is taken only for rows that exist.
                unsafe {
                    let value = if i < rows { *source.add((r + i) * stride + p) } else { 0.0 };
                    *panel.add(p * width + r + i) = value;
                }
            }
        }
    }
}

/// Transposes eight by eight values; source rows from `rows` on count as zero.
///
/// # Safety
/// The CPU must have AVX2. `to` must be valid for writing and the first `rows` rows of `from` for reading eight values
/// in each row.
#[expect(clippy::needless_range_loop, reason = "iterators would put the registers into memory")]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose_block(
    to: *mut f32,
    to_stride: usize,
    from: *const f32,
    from_stride: usize,
    rows: usize,
) {
    // SAFETY: passed on to the caller of `pack`.
    unsafe {
        let mut row = [_mm256_setzero_ps(); 8];
        if rows == 8 {
            for i in 0..8 {
                row[i] = _mm256_loadu_ps(from.wrapping_add(i * from_stride));
            }
        } else {
            for i in 0..rows {
                row[i] = _mm256_loadu_ps(from.wrapping_add(i * from_stride));
            }
        }
        // Halves of columns 0, 1, 4, 5 and 2, 3, 6, 7 of rows 2i and 2i + 1, interleaved.
        let mut low = [_mm256_setzero_ps(); 4];
        let mut high = [_mm256_setzero_ps(); 4];
        for i in 0..4 {
            low[i] = _mm256_unpacklo_ps(row[2 * i], row[2 * i + 1]);
            high[i] = _mm256_unpackhi_ps(row[2 * i], row[2 * i + 1]);
        }
        // Columns c and c + 4 of rows 0 to 3, and of rows 4 to 7.
        let mut top = [_mm256_setzero_ps(); 4];
        let mut bottom = [_mm256_setzero_ps(); 4];
        top[0] = _mm256_shuffle_ps::<0x44>(low[0], low[1]);
        top[1] = _mm256_shuffle_ps::<0xEE>(low[0], low[1]);
        top[2] = _mm256_shuffle_ps::<0x44>(high[0], high[1]);
        top[3] = _mm256_shuffle_ps::<0xEE>(high[0], high[1]);
        bottom[0] = _mm256_shuffle_ps::<0x44>(low[2], low[3]);
        bottom[1] = _mm256_shuffle_ps::<0xEE>(low[2], low[3]);
        bottom[2] = _mm256_shuffle_ps::<0x44>(high[2], high[3]);
        bottom[3] = _mm256_shuffle_ps::<0xEE>(high[2], high[3]);
        for column in 0..4 {
            let (top, bottom) = (top[column], bottom[column]);
            _mm256_storeu_ps(to.wrapping_add(column * to_stride), _mm256_permute2f128_ps::<0x20>(top, bottom));
            let right = to.wrapping_add((column + 4) * to_stride);
            _mm256_storeu_ps(right, _mm256_permute2f128_ps::<0x31>(top, bottom));
        }
    }
}
