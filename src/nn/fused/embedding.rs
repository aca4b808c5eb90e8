//! Rows of a table, and the mean over the tokens of a text.

use super::buffer::{assume_init, hold, uninit};
use super::exp::vectorized;
use super::graph::{Backward, Grad, add_here, record};
use super::threads::for_each_chunk;
use candle_core::{DType, Result, Tensor, bail};
use std::mem::MaybeUninit;

/// Fused form of [`crate::nn::ops::embedding`].
///
/// # Errors
/// If an id is outside the table or the table is not F32 on the CPU.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (rows, width) = table.dims2()?;
    let mut shape = ids.dims().to_vec();
    shape.push(width);
    let ids = ids.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
    if let Some((at, id)) = ids.iter().enumerate().find(|&(_, &id)| id as usize >= rows) {
        bail!("embedding: id {id} at position {at} is outside of a table with {rows} rows");
    }
    let table = table.contiguous()?;
    let held = hold(&table);
    let values = held.get()?;
    let mut out = Vec::with_capacity(ids.len() * width);
    for &id in &ids {
        out.extend_from_slice(&values[id as usize * width..][..width]);
    }
    record(Embedding { ids }, &[&table], out, shape)
}

struct Embedding {
    ids: Vec<u32>,
}

impl Backward for Embedding {
    fn name(&self) -> &'static str {
        "fused-embedding"
    }

    /// Dense, but the zeros come from the system, which maps them when they are touched: a batch touches few rows.
    fn backward(&self, inputs: &[Tensor], _: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let (rows, width) = inputs[0].dims2()?;
        let mut sums = vec![0.0; rows * width];
        if width > 0 {
            for (&id, grad) in self.ids.iter().zip(grad.chunks_exact(width)) {
                add_here(&mut sums[id as usize * width..][..width], grad);
            }
        }
        Ok(vec![Grad::Own(sums)])
    }
}

/// Fused form of [`crate::nn::ops::masked_mean_pool`].
///
/// # Errors
/// If the shapes do not fit or a tensor is not F32 on the CPU.
pub fn masked_mean_pool(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let (rows, tokens, width) = x.dims3()?;
    if mask.dims() != [rows, tokens] {
        bail!("masked_mean_pool: the input has shape {:?}, the mask {:?}", x.dims(), mask.dims());
    }
    let mask = mask.contiguous()?;
    let mask = hold(&mask);
    let mask = mask.get()?;
    let weights = mask.chunks_exact(tokens.max(1)).flat_map(|row| {
        let total: f32 = row.iter().sum();
        row.iter().map(move |m| m / total)
    });
    let op = MeanPool { weights: weights.collect(), tokens, width };
    let x = x.contiguous()?;
    let held = hold(&x);
    let values = held.get()?;
    let mut out = vec![0.0; rows * width];
    if !out.is_empty() {
        for_each_chunk(&mut out, width, values.len(), |row, out| {
            weighted_sum(&values[row * tokens * width..][..tokens * width], op.row(row), out);
        });
    }
    record(op, &[&x], out, (rows, width))
}

struct MeanPool {
    /// mask / Σ mask, `[rows, tokens]`.
    weights: Vec<f32>,
    tokens: usize,
    width: usize,
}

impl MeanPool {
    fn row(&self, row: usize) -> &[f32] {
        &self.weights[row * self.tokens..][..self.tokens]
    }
}

impl Backward for MeanPool {
    fn name(&self) -> &'static str {
        "fused-masked-mean-pool"
    }

    fn backward(&self, inputs: &[Tensor], _: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let mut dx = uninit(inputs[0].elem_count());
        if !dx.is_empty() {
            let work = dx.len();
            for_each_chunk(&mut dx, self.tokens * self.width, work, |row, dx| {
                spread(&grad[row * self.width..][..self.width], self.row(row), dx);
            });
        }
        // SAFETY: the chunks cover `dx` in whole rows of the batch, and `spread` writes every token of a row.
        Ok(vec![Grad::Own(unsafe { assume_init(dx) })])
    }
}

vectorized! {
    /// Adds Σ weight·token to `out`, for tokens of its length.
    fn weighted_sum<'a>(x: &'a [f32], weights: &'a [f32], out: &'a mut [f32]) {
        for (token, &weight) in x.chunks_exact(out.len()).zip(weights) {
            // Not 0·x: what stands in the padding must not matter, not even if it is infinite.
            if weight != 0.0 {
                for (out, &x) in out.iter_mut().zip(token) {
                    *out = x.mul_add(weight, *out);
                }
            }
        }
    }
}

vectorized! {
    /// Writes weight·grad to every token.
    fn spread<'a>(grad: &'a [f32], weights: &'a [f32], dx: &'a mut [MaybeUninit<f32>]) {
        for (token, &weight) in dx.chunks_exact_mut(grad.len()).zip(weights) {
            for (dx, &grad) in token.iter_mut().zip(grad) {
                dx.write(grad * weight);
            }
        }
    }
}
