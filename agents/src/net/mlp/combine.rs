//! From the outputs of streams to those of heads, and back for gradients.

use crate::net::{Head, Per};
use retune::nn::mlp::padded;

/// Copies rows of `cols` values from memory with padded rows to memory without.
pub(super) fn unpad(padded_rows: &[f32], cols: usize, out: &mut [f32]) {
    for (to, from) in out.chunks_exact_mut(cols).zip(padded_rows.chunks_exact(padded(cols))) {
        to.copy_from_slice(&from[..cols]);
    }
}

/// The other way round.
pub(super) fn pad(values: &[f32], cols: usize, padded_rows: &mut [f32]) {
    for (from, to) in values.chunks_exact(cols).zip(padded_rows.chunks_exact_mut(padded(cols))) {
        to[..cols].copy_from_slice(from);
    }
}

/// Sizes of a dueling head.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct Dueling<'a> {
    pub candidates: usize,
    pub width: usize,
    /// `[rows, candidates]`.
    pub mask: &'a [u8],
}

impl Dueling<'_> {
    /// Turns advantages in `q`, `[rows, candidates, width]`, into `V + A − mean A`; `value` is `[rows, width]`.
    pub fn combine(&self, value: &[f32], q: &mut [f32]) {
        let mut mean = vec![0.0f32; self.width];
        for (row, q) in q.chunks_exact_mut(self.candidates * self.width).enumerate() {
            self.mean_of_legal(row, q, &mut mean);
            let value = &value[row * self.width..][..self.width];
            for each in q.chunks_exact_mut(self.width) {
                for ((q, &v), &m) in each.iter_mut().zip(value).zip(&mean) {
                    *q += v - m;
                }
            }
        }
    }

    /// Turns the gradient with respect to Q in `grad` into that with respect to advantages, and writes that with
    /// respect to the value.
    pub fn separate(&self, grad: &mut [f32], value: &mut [f32]) {
        for (row, grad) in grad.chunks_exact_mut(self.candidates * self.width).enumerate() {
            let value = &mut value[row * self.width..][..self.width];
            value.fill(0.0);
            for each in grad.chunks_exact(self.width) {
                value.iter_mut().zip(each).for_each(|(v, &g)| *v += g);
            }
            let legal = self.legal(row);
            let share = 1.0 / legal.iter().filter(|&&m| m != 0).count().max(1) as f32;
            for (each, _) in grad.chunks_exact_mut(self.width).zip(legal).filter(|(_, m)| **m != 0) {
                each.iter_mut().zip(value.iter()).for_each(|(g, &v)| *g -= share * v);
            }
        }
    }

    fn legal(&self, row: usize) -> &[u8] {
        &self.mask[row * self.candidates..][..self.candidates]
    }

    fn mean_of_legal(&self, row: usize, advantages: &[f32], mean: &mut [f32]) {
        let legal = self.legal(row);
        mean.fill(0.0);
        for (each, _) in advantages.chunks_exact(self.width).zip(legal).filter(|(_, m)| **m != 0) {
            mean.iter_mut().zip(each).for_each(|(m, &a)| *m += a);
        }
        let share = 1.0 / legal.iter().filter(|&&m| m != 0).count().max(1) as f32;
        mean.iter_mut().for_each(|m| *m *= share);
    }
}

/// Numbers of a head per observation, before heads are put together.
pub(super) fn stream_cols(head: &Head, is_value: bool, candidates: usize) -> usize {
    if is_value || head.per == Per::State { head.width } else { candidates * head.width }
}
