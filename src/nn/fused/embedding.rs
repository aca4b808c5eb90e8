//! Rows of a table, and the mean over the tokens of a text.

use super::buffer::{assume_init, hold, uninit};
use super::exp::vectorized;
use super::graph::{Backward, Grad, record};
use super::threads::for_each_chunk;
use crate::nn::RowGradient;
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
    let ids = rows_of(ids, rows)?;
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

    fn backward(&self, inputs: &[Tensor], _: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let (rows, width) = inputs[0].dims2()?;
        Ok(vec![Grad::Rows(RowGradient::sum(rows, width, &self.ids, &grad))])
    }
}

/// Fused form of [`crate::nn::ops::embedding_sum`].
///
/// # Errors
/// If the shapes do not fit, an id is outside its table, or a table is not F32 on the CPU.
pub fn embedding_sum(
    words: &Tensor,
    positions: &Tensor,
    segments: &Tensor,
    ids: &Tensor,
    segment_ids: &Tensor,
) -> Result<Tensor> {
    let (rows, tokens) = ids.dims2()?;
    let ((vocabulary, width), (places, _), (kinds, _)) = (words.dims2()?, positions.dims2()?, segments.dims2()?);
    if positions.dim(1)? != width || segments.dim(1)? != width || segment_ids.dims() != ids.dims() || tokens > places {
        let (words, positions, segments) = (words.dims(), positions.dims(), segments.dims());
        let (ids, segment_ids) = (ids.dims(), segment_ids.dims());
        bail!(
            "embedding_sum: tables {words:?}, {positions:?}, {segments:?}, ids {ids:?} and {segment_ids:?} do not fit"
        );
    }
    let ids = rows_of(ids, vocabulary)?;
    let segment_ids = rows_of(segment_ids, kinds)?;
    let (words, positions, segments) = (words.contiguous()?, positions.contiguous()?, segments.contiguous()?);
    let (w, p, s) = (hold(&words), hold(&positions), hold(&segments));
    let (w, p, s) = (w.get()?, p.get()?, s.get()?);
    let op = EmbeddingSum { ids, segment_ids, tokens };
    let mut out = Vec::with_capacity(op.ids.len() * width);
    for [word, position, segment] in op.rows() {
        let [w, p, s] = [(w, word), (p, position), (s, segment)].map(|(table, row)| &table[row * width..][..width]);
        out.extend(w.iter().zip(p).zip(s).map(|((w, p), s)| w + p + s));
    }
    record(op, &[&words, &positions, &segments], out, (rows, tokens, width))
}

/// Flat row numbers, all below `count`.
fn rows_of(ids: &Tensor, count: usize) -> Result<Vec<u32>> {
    let ids = ids.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
    if let Some((at, id)) = ids.iter().enumerate().find(|&(_, &id)| id as usize >= count) {
        bail!("embedding: id {id} at position {at} is outside of a table with {count} rows");
    }
    Ok(ids)
}

struct EmbeddingSum {
    ids: Vec<u32>,
    segment_ids: Vec<u32>,
    tokens: usize,
}

impl EmbeddingSum {
    /// For each token its row in the three tables.
    fn rows(&self) -> impl Iterator<Item = [usize; 3]> {
        let both = self.ids.iter().zip(&self.segment_ids);
        both.enumerate().map(|(i, (&word, &segment))| [word as usize, i % self.tokens, segment as usize])
    }
}

impl Backward for EmbeddingSum {
    fn name(&self) -> &'static str {
        "fused-embedding-sum"
    }

    fn backward(&self, inputs: &[Tensor], wanted: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let table = |which: usize| {
            if !wanted[which] {
                return Ok(Grad::None);
            }
            let (rows, width) = inputs[which].dims2()?;
            let tokens: Vec<u32> = self.rows().map(|rows| rows[which] as u32).collect();
            Ok(Grad::Rows(RowGradient::sum(rows, width, &tokens, &grad)))
        };
        (0..3).map(table).collect()
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
    let mut weights = Vec::with_capacity(mask.len());
    for (number, row) in mask.chunks_exact(tokens.max(1)).enumerate() {
        let total: f32 = row.iter().sum();
        if total.is_nan() || total <= 0.0 {
            bail!("masked_mean_pool: row {number} is all padding; every row needs at least one token");
        }
        weights.extend(row.iter().map(|m| m / total));
    }
    let op = MeanPool { weights, tokens, width };
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

    fn reads(&self, _: usize, _: &[bool]) -> bool {
        false
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
