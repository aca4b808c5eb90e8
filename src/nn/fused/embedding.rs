//! Rows of a table, and the mean over the tokens of a text.

use super::buffer::{assume_init, hold, uninit, values};
use super::exp::vectorized;
use super::threads::for_each_chunk;
use super::vars;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
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
    table.contiguous()?.apply_op1(Embedding { ids, width, shape: Shape::from(shape) })
}

struct Embedding {
    ids: Vec<u32>,
    width: usize,
    shape: Shape,
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "fused-embedding"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let table = values(table, layout)?;
        let mut out = Vec::with_capacity(self.ids.len() * self.width);
        for &id in &self.ids {
            out.extend_from_slice(&table[id as usize * self.width..][..self.width]);
        }
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }

    /// Dense, but the zeros come from the system, which maps them when they are touched: a batch touches few rows.
    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let grad = hold(&grad);
        let mut sums = vec![0.0; table.elem_count()];
        if self.width > 0 {
            for (&id, grad) in self.ids.iter().zip(grad.get()?.chunks_exact(self.width)) {
                add(&mut sums[id as usize * self.width..][..self.width], grad);
            }
        }
        vars::deliver(table, sums)
    }
}

vectorized! {
    fn add<'a>(sum: &'a mut [f32], x: &'a [f32]) {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
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
    x.contiguous()?.apply_op1(MeanPool { weights: weights.collect(), rows, tokens, width })
}

struct MeanPool {
    /// mask / Σ mask, `[rows, tokens]`.
    weights: Vec<f32>,
    rows: usize,
    tokens: usize,
    width: usize,
}

impl CustomOp1 for MeanPool {
    fn name(&self) -> &'static str {
        "fused-masked-mean-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let mut out = vec![0.0; self.rows * self.width];
        let row_len = self.tokens * self.width;
        if !out.is_empty() {
            for_each_chunk(&mut out, self.width, x.len(), |row, out| {
                weighted_sum(&x[row * row_len..][..row_len], &self.weights[row * self.tokens..][..self.tokens], out);
            });
        }
        Ok((CpuStorage::F32(out), Shape::from((self.rows, self.width))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let grad = hold(&grad);
        let grad = grad.get()?;
        let mut dx = uninit(x.elem_count());
        if !dx.is_empty() {
            let work = dx.len();
            for_each_chunk(&mut dx, self.tokens * self.width, work, |row, dx| {
                let weights = &self.weights[row * self.tokens..][..self.tokens];
                spread(&grad[row * self.width..][..self.width], weights, dx);
            });
        }
        // SAFETY: the chunks cover `dx` in whole rows of the batch, and `spread` writes every token of a row.
        Ok(Some(Tensor::from_vec(unsafe { assume_init(dx) }, x.shape(), x.device())?))
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
