//! 8-bit rows to F32.

use super::buffer::{assume_init, uninit};
use super::exp::vectorized;
use super::threads::for_each_chunk;
use std::mem::MaybeUninit;

/// Values per task.
const CHUNK: usize = 1 << 14;

/// (q − 128)·scale of each row of `columns` values; one scale for each row.
///
/// # Panics
/// If there are not as many scales as rows.
pub(in crate::nn) fn dequantise(q: &[u8], scale: &[f32], columns: usize) -> Vec<f32> {
    assert_eq!(q.len(), scale.len() * columns, "one scale for each row of an 8-bit matrix");
    let mut out = uninit(q.len());
    if q.is_empty() {
        return Vec::new();
    }
    let rows = CHUNK.div_ceil(columns);
    for_each_chunk(&mut out, rows * columns, q.len(), |i, out| {
        let (q, scale) = (&q[i * rows * columns..][..out.len()], &scale[i * rows..]);
        for ((out, q), &scale) in out.chunks_exact_mut(columns).zip(q.chunks_exact(columns)).zip(scale) {
            row(q, scale, out);
        }
    });
    // SAFETY: the chunks cover `out` in whole rows, and `row` writes every value of one.
    unsafe { assume_init(out) }
}

vectorized! {
    /// One multiplication and one rounding for each value, as everywhere else: every instruction set gives the same bits.
    fn row<'a>(q: &'a [u8], scale: f32, out: &'a mut [MaybeUninit<f32>]) {
        for (out, &q) in out.iter_mut().zip(q) {
            out.write((f32::from(q) - 128.0) * scale);
        }
    }
}
