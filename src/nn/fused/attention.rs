//! Masked multi-head attention, one task per row of the batch and head, and its backward pass.
//!
//! The attention weights are computed again for the backward pass: that costs a product of many, and to keep them would
//! cost as much memory as another activation of each layer, more for long texts.

use super::buffer::{SharedOutput, assume_init, hold, uninit};
use super::dropout::Mask;
use super::exp::{exp, max, sum, sum2, vectorized};
use super::graph::{Backward, Grad, record};
use super::matmul::{Matrix, matmul_here};
use super::threads::for_each;
use crate::rng::Seed;
use candle_core::{Result, Tensor, bail};

/// Fused form of [`crate::nn::ops::attention`].
///
/// # Errors
/// If the shapes do not fit or a tensor is not F32 on the CPU.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor, heads: usize) -> Result<Tensor> {
    attend([q, k, v], mask, heads, None)
}

/// Fused form of [`crate::nn::ops::attention_dropout`].
///
/// # Errors
/// As [`attention`], and if `p` is not in [0, 1).
pub fn attention_dropout(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Tensor,
    heads: usize,
    p: f64,
    key: &Seed,
) -> Result<Tensor> {
    attend([q, k, v], mask, heads, Some(Mask::new(p, key)?))
}

fn attend([q, k, v]: [&Tensor; 3], mask: &Tensor, heads: usize, dropout: Option<Mask>) -> Result<Tensor> {
    let (rows, tokens, width) = q.dims3()?;
    if heads == 0 || !width.is_multiple_of(heads) {
        bail!("attention: {heads} heads do not divide a width of {width}");
    }
    if k.dims() != q.dims() || v.dims() != q.dims() || mask.dims() != [rows, tokens] {
        let (q, k, v, mask) = (q.dims(), k.dims(), v.dims(), mask.dims());
        bail!("attention: queries {q:?}, keys {k:?}, values {v:?}, mask {mask:?}; the mask is [rows, tokens]");
    }
    let mask = mask.contiguous()?;
    let mask = hold(&mask);
    let mask = mask.get()?;
    // Masked keys at the end of a row have weight 0 exactly, so the products leave them out. A row with nothing to
    // attend to keeps all: its weights are equal.
    let keys =
        mask.chunks_exact(tokens.max(1)).map(|row| row.iter().rposition(|&m| m != 0.0).map_or(tokens, |i| i + 1));
    let op = Attention {
        rows,
        tokens,
        width,
        heads,
        keys: keys.collect(),
        bias: mask.iter().map(|m| (1.0 - m) * f32::MIN).collect(),
        dropout,
    };
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let out = op.forward([hold(&q).get()?, hold(&k).get()?, hold(&v).get()?]);
    record(op, &[&q, &k, &v], out, q.shape())
}

struct Attention {
    rows: usize,
    tokens: usize,
    width: usize,
    heads: usize,
    /// Per row, how many keys from the front can have a weight.
    keys: Vec<usize>,
    /// What is added to the scores of each key, `[rows, tokens]`: 0 or `f32::MIN`.
    bias: Vec<f32>,
    /// Of the attention weights, `[rows, heads, tokens, tokens]`.
    dropout: Option<Mask>,
}

/// One head of one row of the batch.
#[derive(Clone, Copy)]
struct Task {
    index: usize,
    row: usize,
    /// Where its first value stands in `[rows, tokens, width]`.
    start: usize,
    keys: usize,
}

impl Attention {
    fn task(&self, index: usize) -> Task {
        let (row, head) = (index / self.heads, index % self.heads);
        Task { index, row, start: row * self.tokens * self.width + head * self.head_width(), keys: self.keys[row] }
    }

    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Multiply-adds of one product over all tasks.
    fn work(&self) -> usize {
        self.rows * self.tokens * self.tokens * self.width
    }

    /// The first `count` tokens of the task in a `[rows, tokens, width]` tensor.
    fn part<'a>(&self, x: &'a [f32], task: Task, count: usize) -> Matrix<'a> {
        Matrix::strided(&x[task.start..], count, self.head_width(), self.width)
    }

    /// Where the task writes its first `count` tokens.
    fn place(&self, out: SharedOutput, task: Task, count: usize) -> *mut f32 {
        out.block(task.start, count, self.head_width(), self.width)
    }

    /// The attention weights `[tokens, keys]` of a task.
    fn weights(&self, task: Task, q: &[f32], k: &[f32], out: &mut [f32]) {
        let (q, k) = (self.part(q, task, self.tokens), self.part(k, task, task.keys));
        let scale = 1.0 / (self.head_width() as f32).sqrt();
        assert_eq!(out.len(), self.tokens * task.keys, "attention weights");
        // SAFETY: `out` has the tokens × keys values of the product.
        unsafe { matmul_here(out.as_mut_ptr(), task.keys, q, k.t(), scale) };
        softmax_rows(out, &self.bias[task.row * self.tokens..][..task.keys]);
    }

    /// Multiplies values `[tokens, keys]` of a task by their factors, if there is dropout.
    fn drop(&self, task: Task, values: &mut [f32]) {
        let (Some(mask), true) = (self.dropout, task.keys > 0) else { return };
        let mut factors = mask.from(task.index * self.tokens * self.tokens);
        for row in values.chunks_exact_mut(task.keys) {
            // A factor for each token, also for those that no key stands for.
            for (place, factor) in factors.by_ref().take(self.tokens).enumerate() {
                if let Some(value) = row.get_mut(place) {
                    *value *= factor;
                }
            }
        }
    }

    fn forward(&self, [q, k, v]: [&[f32]; 3]) -> Vec<f32> {
        let mut out = uninit(q.len());
        let shared = SharedOutput::of(&mut out);
        for_each(self.rows * self.heads, 2 * self.work(), |index| {
            let task = self.task(index);
            let mut weights = vec![0.0; self.tokens * task.keys];
            self.weights(task, q, k, &mut weights);
            self.drop(task, &mut weights);
            let p = Matrix::new(&weights, self.tokens, task.keys);
            // SAFETY: the block is inside the output, and tasks differ in row or in columns (heads).
            unsafe {
                matmul_here(self.place(shared, task, self.tokens), self.width, p, self.part(v, task, task.keys), 1.0);
            }
        });
        // SAFETY: the tasks cover all rows, tokens and heads of the output.
        unsafe { assume_init(out) }
    }

    /// Gradients of q, k and v, from those of the output.
    fn gradients(&self, q: &[f32], k: &[f32], v: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
        let mut out = [uninit(q.len()), uninit(q.len()), uninit(q.len())];
        let shared = out.each_mut().map(|o| SharedOutput::of(o));
        for_each(self.rows * self.heads, 5 * self.work(), |index| {
            let task = self.task(index);
            let mut weights = vec![0.0; self.tokens * task.keys];
            self.weights(task, q, k, &mut weights);
            let mut scores = vec![0.0; weights.len()];
            self.task_gradients(task, [q, k, v, dy], &weights, &mut scores, shared);
        });
        // SAFETY: the tasks cover all rows, tokens and heads of the three outputs.
        out.map(|o| unsafe { assume_init(o) })
    }

    /// Writes the part of the three gradients that belongs to a task; `scores` is room for tokens × keys values.
    fn task_gradients(
        &self,
        task: Task,
        [q, k, v, dy]: [&[f32]; 4],
        weights: &[f32],
        scores: &mut [f32],
        [dq, dk, dv]: [SharedOutput; 3],
    ) {
        let (tokens, keys, width) = (self.tokens, task.keys, self.width);
        let dy = self.part(dy, task, tokens);
        let mut dropped = Vec::new();
        if self.dropout.is_some() {
            dropped.extend_from_slice(weights);
            self.drop(task, &mut dropped);
        }
        let p = Matrix::new(if self.dropout.is_some() { &dropped } else { weights }, tokens, keys);
        // SAFETY: `scores` has the tokens × keys values of the product.
        unsafe { matmul_here(scores.as_mut_ptr(), keys, dy, self.part(v, task, keys).t(), 1.0) };
        self.drop(task, scores);
        softmax_backward(weights, scores, keys);
        let ds = Matrix::new(scores, tokens, keys);
        let scale = 1.0 / (self.head_width() as f32).sqrt();
        // SAFETY: each block is inside its output, and tasks differ in row or in columns (heads).
        unsafe {
            matmul_here(self.place(dq, task, tokens), width, ds, self.part(k, task, keys), scale);
            matmul_here(self.place(dk, task, keys), width, ds.t(), self.part(q, task, tokens), scale);
            matmul_here(self.place(dv, task, keys), width, p.t(), dy, 1.0);
        }
        for out in [dk, dv] {
            for token in keys..tokens {
                let place = out.block(task.start + token * width, 1, self.head_width(), width);
                // SAFETY: as above; these tokens are behind the last key, which the products left out.
                unsafe { place.write_bytes(0, self.head_width()) };
            }
        }
    }
}

impl Backward for Attention {
    fn name(&self) -> &'static str {
        "fused-attention"
    }

    fn backward(&self, inputs: &[Tensor], wanted: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]].map(hold);
        let grads = self.gradients(q.get()?, k.get()?, v.get()?, &grad);
        let own = |(grad, &wanted): (Vec<f32>, &bool)| if wanted { Grad::Own(grad) } else { Grad::None };
        Ok(grads.into_iter().zip(wanted).map(own).collect())
    }
}

vectorized! {
    /// softmax(row + bias) of rows of the bias' length, in place.
    fn softmax_rows<'a>(scores: &'a mut [f32], bias: &'a [f32]) {
        if bias.is_empty() {
            return;
        }
        for row in scores.chunks_exact_mut(bias.len()) {
            for (score, &bias) in row.iter_mut().zip(bias) {
                *score += bias;
            }
            let top = max(row);
            for score in row.iter_mut() {
                *score = exp(*score - top);
            }
            let inverse = 1.0 / sum(row, |v| v);
            for score in row.iter_mut() {
                *score *= inverse;
            }
        }
    }
}

vectorized! {
    /// From softmax `weights` and their gradients in rows of `cols` to the gradients of the scores, in place.
    fn softmax_backward<'a>(weights: &'a [f32], grads: &'a mut [f32], cols: usize) {
        if cols == 0 {
            return;
        }
        for (weights, grads) in weights.chunks_exact(cols).zip(grads.chunks_exact_mut(cols)) {
            let mean = sum2(weights, grads, |w, g| w * g);
            for (grad, &weight) in grads.iter_mut().zip(weights) {
                *grad = weight * (*grad - mean);
            }
        }
    }
}
