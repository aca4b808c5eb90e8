//! The gradient of a table of which few rows were read.
//!
//! A batch reads a thousand of the thirty thousand words of a model. The zeros of all others would be the largest
//! tensor of a step, written, read and kept for nothing. Sums and updates have the bits of the dense form: whoever
//! needs a block of it gets one, with its zeros, and an addend of zero changes no sum that began at zero.

use super::super::optim::buffer::CHUNK;
use crate::Result;
use candle_core::{Device, Tensor};
use std::cell::Cell;

thread_local! {
    /// Zeros between two calls, for blocks of a gradient.
    static BLOCK: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Rows of a gradient `[table rows, width]` that may be other than zero.
#[derive(Clone, Debug, PartialEq)]
pub struct RowGradient {
    table_rows: usize,
    width: usize,
    /// Ascending, each once.
    rows: Vec<u32>,
    /// `[rows, width]`.
    values: Vec<f32>,
}

impl RowGradient {
    /// The sum over tokens: `grads` `[tokens, width]`, added to the row of each token in their order.
    ///
    /// # Panics
    /// If a row is outside of the table, or there is not one gradient for each token.
    pub(in crate::nn) fn sum(table_rows: usize, width: usize, tokens: &[u32], grads: &[f32]) -> Self {
        assert_eq!(grads.len(), tokens.len() * width, "one gradient for each token");
        let mut rows = tokens.to_vec();
        rows.sort_unstable();
        rows.dedup();
        assert!(rows.last().is_none_or(|&last| (last as usize) < table_rows), "row outside of its table");
        let mut sum = Self { table_rows, width, values: vec![0.0; rows.len() * width], rows };
        if width > 0 {
            for (&token, grad) in tokens.iter().zip(grads.chunks_exact(width)) {
                let at = sum.rows.partition_point(|&row| row < token);
                super::super::fused::add_here(&mut sum.values[at * width..][..width], grad);
            }
        }
        sum
    }

    /// Shape of the table.
    #[must_use]
    pub fn dims(&self) -> [usize; 2] {
        [self.table_rows, self.width]
    }

    /// Numbers of the rows that are kept, in order.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The kept rows, one after the other.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All of it, with the zeros.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn to_dense(&self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.dense_values(), (self.table_rows, self.width), &Device::Cpu)?)
    }

    pub(in crate::nn) fn dense_values(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.table_rows * self.width];
        self.add_to(&mut dense);
        dense
    }

    /// Adds it to a dense gradient of the same table.
    pub(in crate::nn) fn add_to(&self, dense: &mut [f32]) {
        for (&row, grad) in self.rows.iter().zip(self.values.chunks_exact(self.width.max(1))) {
            super::super::fused::add_here(&mut dense[row as usize * self.width..][..self.width], grad);
        }
    }

    /// Adds another gradient of the same table.
    ///
    /// # Panics
    /// If it is of another table.
    pub(in crate::nn) fn add(&mut self, other: &Self) {
        assert_eq!(self.dims(), other.dims(), "gradients of two tables");
        if self.rows == other.rows {
            return super::super::fused::add_here(&mut self.values, &other.values);
        }
        let tokens: Vec<u32> = self.rows.iter().chain(&other.rows).copied().collect();
        *self = Self::sum(self.table_rows, self.width, &tokens, &[&self.values[..], &other.values].concat());
    }

    pub(super) fn scale(&mut self, factor: f32) {
        self.values.iter_mut().for_each(|value| *value *= factor);
    }

    /// The parts of the kept rows inside `start..start + len` of the dense form: where each begins in it, and its values.
    fn parts(&self, start: usize, len: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let (width, end) = (self.width.max(1), start + len);
        let first = self.rows.partition_point(|&row| (row as usize + 1) * width <= start);
        let rows = self.rows[first..].iter().enumerate();
        rows.map_while(move |(i, &row)| {
            let begin = row as usize * width;
            let (from, to) = (begin.max(start), (begin + width).min(end));
            (from < to).then(|| (from, &self.values[(first + i) * width + from - begin..][..to - from]))
        })
    }

    /// Calls `f` with `len` values of the dense form, from `start` on.
    pub(in crate::nn) fn with_block<R>(&self, start: usize, len: usize, f: impl FnOnce(&[f32]) -> R) -> R {
        let mut block = BLOCK.take();
        if block.len() < len {
            block.resize(len, 0.0);
        }
        for (at, values) in self.parts(start, len) {
            block[at - start..][..values.len()].copy_from_slice(values);
        }
        let result = f(&block[..len]);
        for (at, values) in self.parts(start, len) {
            block[at - start..][..values.len()].fill(0.0);
        }
        BLOCK.set(block);
        result
    }

    /// Σ of squares in F64, with the bits of the dense form.
    pub(in crate::nn) fn sum_of_squares(&self) -> f64 {
        let total = self.table_rows * self.width;
        let chunk = |start: usize| {
            let len = CHUNK.min(total - start);
            self.with_block(start, len, super::super::optim::buffer::chunk_sum_of_squares)
        };
        let touched = |start: &usize| self.parts(*start, CHUNK.min(total - start)).next().is_some();
        // Not `sum`, whose empty sum is −0.
        (0..total).step_by(CHUNK).filter(touched).map(chunk).fold(0.0, |sum, chunk| sum + chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn random(rows: usize, width: usize, tokens: usize, seed: u64) -> RowGradient {
        let mut rng = Seed::root(seed).rng();
        let ids: Vec<u32> = (0..tokens).map(|_| rng.below(rows) as u32).collect();
        let grads: Vec<f32> = (0..tokens * width).map(|_| rng.normal() as f32).collect();
        RowGradient::sum(rows, width, &ids, &grads)
    }

    #[test]
    fn tokens_of_one_row_are_summed_in_their_order() {
        let sum = RowGradient::sum(5, 2, &[3, 0, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((sum.rows(), sum.values()), (&[0, 3][..], &[3.0, 4.0, 6.0, 8.0][..]));
        assert_eq!(sum.dense_values(), [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 6.0, 8.0, 0.0, 0.0]);
    }

    #[test]
    fn any_block_is_that_of_the_dense_form() {
        let gradient = random(23, 7, 9, 1);
        let dense = gradient.dense_values();
        for start in 0..dense.len() {
            for len in [0, 1, 5, 20, dense.len() - start] {
                let len = len.min(dense.len() - start);
                gradient.with_block(start, len, |block| assert_eq!(block, &dense[start..][..len], "{start} {len}"));
            }
        }
    }

    #[test]
    fn sums_have_the_bits_of_the_dense_form() {
        for (rows, width, tokens) in [(900, 37, 60), (50, 1000, 12), (3, 4, 3), (10, 4, 0)] {
            let (mut a, b) = (random(rows, width, tokens, 2), random(rows, width, tokens, 3));
            let dense: Vec<f32> = a.dense_values().iter().zip(b.dense_values()).map(|(a, b)| a + b).collect();
            a.add(&b);
            assert_eq!(a.dense_values(), dense);
            let square: f64 = crate::nn::optim::buffer::sum_of_squares_of(&dense);
            assert_eq!(a.sum_of_squares().to_bits(), square.to_bits(), "{rows}x{width}");
            assert!(tokens == 0 || square > 0.0);
        }
    }

    #[test]
    fn a_number_that_is_not_finite_shows_in_the_sum() {
        let gradient = RowGradient::sum(4, 2, &[1], &[f32::NAN, 1.0]);
        assert!(gradient.sum_of_squares().is_nan());
    }
}
